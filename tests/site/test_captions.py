"""Captions: files found and matched, Markdown rendered, and nothing published that could run or reach out."""

import hashlib
import os
import re
from pathlib import Path
from xml.etree.ElementTree import Element

import html5lib
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from markupsafe import Markup

from reportgen.errors import UsageError
from reportgen.site.captions import (
    MAX_BYTES,
    Captions,
    Illustration,
    pictures_in,
    read_captions,
    to_html,
    unknown_references,
    unmatched,
)

PLAIN = """
h3 h4 h5 h6 p blockquote hr pre br del em strong sub ul dl dt dd table caption thead tbody tfoot tr
"""
ALLOWED: dict[str, set[str]] = {tag: set() for tag in PLAIN.split()} | {
    "a": {"href", "title", "class", "rel"},
    "code": {"class"},
    "div": {"class"},
    "li": {"id"},
    "ol": {"start"},
    "span": {"class"},
    "sup": {"id"},
    "td": {"class"},
    "th": {"class"},
}
CLASSES = re.compile(
    r"footnote|footnote-ref|footnote-backref|unknown-reference|align-(left|center|right)|language-[\w+#.-]+"
)


def link(name: str) -> str | None:
    """Address every name but those that start with `no`."""
    return None if name.startswith("no") else f"layers/{name}.html"


def render(markdown: str, prefix: str = "p") -> str:
    html = to_html(markdown, link=link, prefix=prefix)
    assert isinstance(html, Markup)
    return str(html)


def parse(html: str) -> Element:
    """Parse a fragment as a browser would, and stop at anything that HTML does not allow."""
    fragment = html5lib.HTMLParser(strict=True, namespaceHTMLElements=False).parseFragment(html)
    assert isinstance(fragment, Element)
    return fragment


def find(html: str, path: str) -> list[Element]:
    return parse(html).findall(f".//{path}")


def text_of(element: Element) -> str:
    return "".join(element.itertext())


def links(html: str) -> list[tuple[str | None, str]]:
    return [(a.get("href"), text_of(a)) for a in find(html, "a")]


def browser_scheme(address: str) -> str:
    """Return the scheme that a browser sees: it trims controls and spaces, and drops tabs and line breaks."""
    trimmed = re.sub(r"[\t\n\r]", "", address.strip("".join(map(chr, range(33)))))
    found = re.match(r"([A-Za-z][A-Za-z0-9+.-]*):", trimmed)
    return found[1].lower() if found else ""


def assert_safe(html: str) -> None:
    elements = list(parse(html).iter())[1:]
    ids = [element.get("id") for element in elements if element.get("id")]
    assert len(ids) == len(set(ids))
    for element in elements:
        assert isinstance(element.tag, str), "a comment survived"
        assert element.tag in ALLOWED
        assert set(element.attrib) <= ALLOWED[element.tag], element.attrib
        assert re.fullmatch("[0-9]{1,9}", element.get("start", "1"))
        assert CLASSES.fullmatch(element.get("class", "footnote"))
        address = element.get("href")
        if element.tag == "a":
            assert element.get("rel") == "noopener noreferrer"
        if address is not None:
            assert_safe_address(address, ids)


def assert_safe_address(address: str, ids: list[str | None]) -> None:
    assert browser_scheme(address) in ("", "http", "https", "mailto")
    assert not address.strip().startswith(("/", "\\"))
    if address.startswith("#_p-fn"):
        assert address[1:] in ids


# Rendering


def test_empty_markdown_gives_nothing() -> None:
    assert to_html("", link=link, prefix="p") == Markup("")
    assert to_html(" \n\t\n", link=link, prefix="p") == Markup("")


def test_headings_start_at_the_third_level() -> None:
    html = render("# a\n\n## b\n\n### c\n\n#### d\n\n##### e\n\n###### f")
    assert [element.tag for element in parse(html)] == ["h3", "h4", "h5", "h6", "h6", "h6"]


@pytest.mark.parametrize(
    ("markdown", "tags"),
    [
        ("# a\n\n## b\n\n# c", ["h2", "h3", "h2"]),
        ("## a\n\n#### b", ["h2", "h3"]),
        ("###### a", ["h2"]),
    ],
)
def test_headings_follow_the_level_of_their_place_without_a_gap(markdown: str, tags: list[str]) -> None:
    html = str(to_html(markdown, link=link, prefix="p", level=2))
    assert [element.tag for element in parse(html)] == tags


def test_raw_headings_of_the_page_lose_their_tags() -> None:
    html = render("<h1>Mine</h1>\n\n<h2>Too</h2>")
    assert_safe(html)
    assert "Mine" in html
    assert "Too" in html


def test_table_with_alignment() -> None:
    html = render("| layer | size | n |\n|:--|--:|:-:|\n| conv1 | **64** | 1 |")
    assert [text_of(cell) for cell in find(html, "th")] == ["layer", "size", "n"]
    cells = find(html, "tbody/tr/td")
    assert [cell.get("class") for cell in cells] == ["align-left", "align-right", "align-center"]
    assert text_of(cells[1]) == "64"
    assert "style" not in html


def test_fenced_code_keeps_html_and_references_as_text() -> None:
    source = '<script>alert("1")</script>\n[[conv1]] &amp; <b onclick="x">'
    html = render(f"```html\n{source}\n```")
    (code,) = find(html, "pre/code")
    assert text_of(code) == source + "\n"
    assert code.get("class") == "language-html"
    assert len(code) == 0


def test_list_keeps_its_start_and_kind() -> None:
    html = render("3. three\n4. four\n\ntext\n\n- dash")
    (ordered,) = find(html, "ol")
    assert ordered.get("start") == "3"
    assert [text_of(item) for item in find(html, "ul/li")] == ["dash"]


def test_inline_html_that_markdown_lacks_is_kept() -> None:
    html = render("H<sub>2</sub>O, x<sup>2</sup>, <del>old</del>")
    assert [find(html, tag)[0].text for tag in ("sub", "sup", "del")] == ["2", "2", "old"]


@pytest.mark.parametrize(
    "markdown",
    ["![a *cat*](cat.png)", "![a *cat*][c]\n\n[c]: cat.png", '![a *cat*](https://x.org/t.gif "t")'],
)
def test_picture_becomes_its_alternative_text(markdown: str) -> None:
    html = render(markdown)
    assert text_of(parse(html)) == "a *cat*"
    assert_safe(html)


def shown(markdown: str) -> str:
    """The HTML of a caption in a report that holds a picture for every address that starts with `a`."""
    held = Illustration("../static/picture.0123456789.png", 30, 20)
    html = to_html(
        markdown, link=link, prefix="p", illustrations=lambda address: held if address[:1] == "a" else None
    )
    parse(html)
    return str(html)


@pytest.mark.parametrize("markdown", ["![{}](a.png{})", "![{}][p]\n\n[p]: a.png{}", "- x\n    - ![{}](<a.png>{})"])
def test_a_picture_of_the_report_is_shown(markdown: str) -> None:
    html = shown(markdown.replace("{}", 'a "b" & <c>', 1).replace("{}", ' "t <i> &amp;"'))
    (picture,) = find(html, "img")
    assert dict(picture.attrib) == {
        "class": "illustration",
        "src": "../static/picture.0123456789.png",
        "alt": 'a "b" & <c>',
        "title": "t <i> &",
        "width": "30",
        "height": "20",
        "loading": "lazy",
        "decoding": "async",
    }
    assert find(shown("![](a.png)"), "img")[0].attrib.keys() == dict(picture.attrib).keys() - {"title"}


def test_pictures_keep_their_places_among_others() -> None:
    html = shown("[![one](a1)](https://example.org) two ![three](b) `![four](a)` ![five](a2)")
    assert [picture.get("alt") for picture in find(html, "img")] == ["one", "five"]
    assert find(html, "a")[0].find(".//img") is not None
    assert text_of(parse(html)) == " two three ![four](a) "


@pytest.mark.parametrize(
    "markdown",
    [
        '<img src="a.png" alt="x">',
        "<img class='illustration' src='../static/picture.0123456789.png'>",
        "x <img src=a.png onerror=alert(1)> y",
        "<p>![x](a.png)</p>",
    ],
)
def test_raw_pictures_are_never_shown(markdown: str) -> None:
    assert find(shown(markdown), "img") == []


def test_marks_of_pictures_cant_be_written_by_an_author() -> None:
    text = "![x](a.png) !0; \x02!0;"
    for _ in range(3):  # not even by one who knows what an earlier text's token was
        text += " " + hashlib.sha256(text.encode()).hexdigest() + "!0;"
    assert len(find(shown(text), "img")) == 1


@pytest.mark.parametrize("frame", ["{}", "> {}", "| a |\n|--|\n| {} |", "x[^p]\n\n[^p]: {}"])
def test_no_attack_changes_what_a_picture_loads(frame: str) -> None:
    for attack in ATTACKS:
        for text in (
            attack,
            f"![{attack}](a.png '{attack}')",
            f"![x](a{attack})",
            f"<b title='![x](a.png)'>{attack}",
        ):
            root = html5lib.HTMLParser(namespaceHTMLElements=False).parseFragment(
                shown_raw(frame.replace("{}", text))
            )
            for picture in root.iter("img"):
                assert picture.attrib.keys() - {"title"} == PICTURE, attack
                assert picture.get("src") == "s.png"
            assert not [name for element in root.iter() for name in element.attrib if name.startswith("on")], attack


PICTURE = {"class", "src", "alt", "width", "height", "loading", "decoding"}


def shown_raw(markdown: str) -> str:
    held = Illustration("s.png", 1, 1)
    return str(to_html(markdown, link=link, prefix="p", illustrations=lambda address: held))


def test_addresses_of_pictures_are_listed_once_in_reading_order() -> None:
    text = "![x](b.png) `![x](c.png)` ![y][a] ![z](b.png 't') ![](https://e.org/?a&amp;b)\n\n[a]: a&#46;png"
    assert pictures_in(text) == ["b.png", "a.png", "https://e.org/?a&b"]
    assert pictures_in("[x](y.png) ! [z](y.png)") == []


@pytest.mark.parametrize(
    "address",
    [
        "https://example.org/?a=1&b=2",
        "http://example.org",
        "mailto:a@example.org",
        "about.html#x",
        "../a/b:c",
        "#t",
    ],
)
def test_ordinary_link_is_kept(address: str) -> None:
    html = render(f"[text]({address})")
    assert links(html) == [(address, "text")]
    assert find(html, "a")[0].get("rel") == "noopener noreferrer"


@pytest.mark.parametrize(
    "address", ["javascript:x", "%6aavascript:x", "1:x", ":x", "ftp://x", "//x.org", "/x", "\\\\x", "a\\b"]
)
def test_other_address_is_dropped_and_the_text_stays(address: str) -> None:
    assert links(render(f"<a href='{address}'>text</a>")) == [(None, "text")]


def test_rendering_is_deterministic() -> None:
    markdown = "a[^x] [[conv1]] <me@example.org>\n\n[^x]: b"
    assert render(markdown) == render(markdown)


def test_deep_nesting_falls_back_to_plain_text() -> None:
    markdown = "\n".join("    " * depth + "- <b>item" for depth in range(400))
    html = render(markdown)
    assert html.startswith("<pre>")
    assert text_of(parse(html)).count("- <b>item") == 400


# Footnotes


def test_footnotes_lead_there_and_back_and_do_not_collide() -> None:
    markdown = 'one[^a], two[^b "<], one again[^a]\n\n[^a]: First *note*\n[^b "<]: Second, on [[conv1]]'
    page = render(markdown, prefix="layers/conv1") + render(markdown, prefix="layers/conv2")
    ids = [element.get("id") for element in parse(page).iter() if element.get("id")]
    assert len(ids) == len(set(ids)) == 2 * (3 + 2)
    assert all(re.fullmatch(r"[a-z0-9._-]+", str(name)) for name in ids)
    fragments = [href[1:] for href, _ in links(page) if href and href.startswith("#")]
    assert sorted(set(fragments)) == sorted(str(name) for name in ids)
    assert [text_of(a) for a in find(page, "a[@class='footnote-ref']")] == ["1", "2", "1"] * 2
    assert ("layers/conv1.html", "conv1") in links(page)


def test_footnote_without_a_reference_has_no_link_back() -> None:
    html = render("text\n\n[^a]: never used")
    assert "never used" in html
    assert links(html) == []


def test_footnote_defined_inside_another_is_found() -> None:
    html = render("x[^1] y[^2]\n\n[^1]: > [^2]: inner")
    assert_safe(html)
    assert "inner" in text_of(find(html, "li")[1])


def test_footnote_whose_reference_was_dropped_leads_nowhere() -> None:
    html = render("x[^1] <script> y\n\n[^1]: note")
    assert_safe(html)
    assert find(html, "a")[0].get("href") is None


# References to layers


@pytest.mark.parametrize(
    ("markdown", "expected"),
    [
        ("[[conv1]]", ("layers/conv1.html", "conv1")),
        ("[[ conv1 ]]", ("layers/conv1.html", "conv1")),
        ("[[layer1.0.relu_1]]", ("layers/layer1.0.relu_1.html", "layer1.0.relu_1")),
        ("[[_a_b_]]", ("layers/_a_b_.html", "_a_b_")),
        ("[[__init__]]", ("layers/__init__.html", "__init__")),
        ("[[a*b*c]]", ("layers/a*b*c.html", "a*b*c")),
        ("[[conv1|the first layer]]", ("layers/conv1.html", "the first layer")),
        ("[[conv1|the\nfirst]]", ("layers/conv1.html", "the\nfirst")),
        ("[[conv1|a *fine* `one`]]", ("layers/conv1.html", "a fine one")),
        ("[[conv1|]]", ("layers/conv1.html", "conv1")),
        ("[[blocks[0].mlp]]", ("layers/blocks[0].mlp.html", "blocks[0].mlp")),
        (r"[[a\]b]]", ("layers/a]b.html", "a]b")),
        (r"[[a\_b]]", ("layers/a_b.html", "a_b")),
        ("[[a&lt;b&c]]", ("layers/a&lt;b&c.html", "a&lt;b&c")),
        (
            "[[<img src=x onerror='1'>\"]]",
            ("layers/<img src=x onerror='1'>\".html", "<img src=x onerror='1'>\""),
        ),
    ],
)
def test_reference_is_a_link(markdown: str, expected: tuple[str, str]) -> None:
    html = render(f"see {markdown}, and")
    assert links(html) == [expected]
    assert_safe(html)


def test_several_references_with_underscores_stay_apart() -> None:
    html = render("from [[layer_1_a]] to _[[layer_2_b]]_ [[[conv]]]")
    assert [text for _, text in links(html)] == ["layer_1_a", "layer_2_b", "conv"]
    assert text_of(parse(html)) == "from layer_1_a to layer_2_b [conv]"


def test_unknown_reference_is_marked_and_escaped() -> None:
    name = "no<script>alert('1')</script>\" & so"
    html = render(f"see [[{name}]] and [[nothing|that *one*]]")
    spans = find(html, "span[@class='unknown-reference']")
    assert [text_of(span) for span in spans] == [name, "that one"]
    assert links(html) == []
    assert_safe(html)


@pytest.mark.parametrize(
    "markdown",
    [
        "`[[conv1]]`",
        "    [[conv1]]",
        "```\n[[conv1]]\n```",
        "~~~\n[[conv1]]\n~~~",
        r"\[[conv1]]",
        "<p>[[conv1]]</p>",
    ],
)
def test_reference_is_left_alone(markdown: str) -> None:
    html = render(markdown)
    assert text_of(parse(html)).strip() == "[[conv1]]"
    assert links(html) == []


@pytest.mark.parametrize("markdown", ["[[]]", "[[ ]]", "[[|x]]", "[[a", "[[^1]]", "[[a\nb]]", "[[[[]]]]"])
def test_what_is_no_reference_stays(markdown: str) -> None:
    assert text_of(parse(render(markdown))) == markdown


def test_references_in_a_table() -> None:
    html = render("| a | b |\n|--|--|\n| [[conv_1_x]] | [[conv_2\\|second]] |")
    assert [text_of(cell) for cell in find(html, "td")] == ["conv_1_x", "second"]
    assert [href for href, _ in links(html)] == ["layers/conv_1_x.html", "layers/conv_2.html"]


@pytest.mark.parametrize("address", ["javascript:alert(1)", "//evil.example/", "/etc/passwd", "data:text/html,x"])
def test_address_from_the_caller_is_checked_too(address: str) -> None:
    html = str(to_html("[[a]]", link=lambda name: address, prefix="p"))
    assert links(html) == [(None, "a")]


def test_a_reference_is_shown_as_its_label_says() -> None:
    text = "[[conv]] [[conv|a *word*]] [[no]] `[[conv]]`"
    html = str(to_html(text, link=link, prefix="p", label=lambda name: f"<{name}> &lt;"))
    assert [shown for _, shown in links(html)] == ["<conv> &lt;", "a word"]
    assert text_of(find(html, "span")[0]) == "no"
    assert text_of(find(html, "code")[0]) == "[[conv]]"


def test_unknown_references_are_listed_once_in_reading_order() -> None:
    markdown = (
        "[[no.b]] [[conv1]] `[[no.code]]`\n\n- x\n    - [[no.a|shown]]\n\n"
        "| t |\n|--|\n| [[no.b]] [[no.t]] |\n\n"
        "end[^1] [[no<&>]]\n\n[^1]: [[no.note]]"
    )
    assert unknown_references(markdown, link) == ["no.b", "no.a", "no.t", "no<&>", "no.note"]
    assert unknown_references("", link) == []


# Attacks

ATTACKS = [
    "<script>alert(1)</script>",
    "<SCRIPT SRC=//evil.example/x.js></SCRIPT>",
    "<scr<script>ipt>alert(1)</scr</script>ipt>",
    "<script/x>alert(1)</script >",
    "text <script\n>alert(1)</script\n> text",
    "<<script>alert(1);//<</script>",
    "<script>",
    "</script><script>alert(1)</script>",
    "<img src=x onerror=alert(1)>",
    '<img """><script>alert(1)</script>">',
    "<img src=`x` onerror=alert(1)>",
    "<p onclick=alert(1)>x</p>",
    "<p/onmouseover=alert(1)>x</p>",
    "<a href=x onclick = 'alert(1)'>x</a>",
    "<em\tONMOUSEOVER\n=\nalert(1)>x</em>",
    "# heading {onclick=alert(1) #id .class}",
    "paragraph\n{: onclick=alert(1) id=x class=y style=z }",
    "*em*{: onclick='alert(1)'}",
    "[x](y){: onclick='alert(1)'}",
    "``` {.python onclick=alert(1) #x}\ncode\n```",
    '```"><script>alert(1)</script>\ncode\n```',
    "```language-x onclick=alert(1)\ncode\n```",
    "[x](javascript:alert(1))",
    "[x](JaVaScRiPt:alert(1))",
    "[x]( javascript:alert(1))",
    "[x](<javascript:alert(1)>)",
    "[x](<java\tscript:alert(1)>)",
    "[x](java&#115;cript:alert(1))",
    "[x](&#106;&#97;&#118;&#97;script:alert(1))",
    "[x](javascript&colon;alert(1))",
    "[x](javascript&#58;alert(1))",
    "[x](java&Tab;script:alert(1))",
    "[x](java&NewLine;script:alert(1))",
    "[x](\x01javascript:alert(1))",
    "[x](vbscript:msgbox(1))",
    "[x](livescript:x)",
    "[x](data:text/html,<script>alert(1)</script>)",
    "[x](data:text/html;base64,PHNjcmlwdD5hbGVydCgxKTwvc2NyaXB0Pg==)",
    "[x](file:///etc/passwd)",
    "[x](blob:https://example.org/1)",
    "[x](//evil.example/x)",
    "[x](\\\\evil.example\\share)",
    "[x](/\\evil.example)",
    "[x](///evil.example)",
    "[x](/etc/passwd)",
    "[x][r]\n\n[r]: javascript:alert(1)",
    "[x][r]\n\n[r]: <data:text/html,x> 'title\" onclick=\"alert(1)'",
    "[x](y 'a\" onmouseover=\"alert(1)')",
    '[x](y"onmouseover="alert(1))',
    "<javascript:alert(1)>",
    "<data:text/html,alert(1)>",
    "<a href='javascript:alert(1)'>x</a>",
    "<a href='  java\nscript:alert(1)'>x</a>",
    "<a href='&#x6A;avascript:alert(1)'>x</a>",
    "<a href='&#1;javascript:alert(1)'>x</a>",
    "<a href='java&#0;script:alert(1)'>x</a>",
    "<a href='java&#13;script:alert(1)'>x</a>",
    "<a href='javascript&#x3A;alert(1)'>x</a>",
    "<a href=javascript:alert(1)//http://x>x</a>",
    "<a xlink:href='javascript:alert(1)'>x</a>",
    "<a href='http://x' rel=opener target=_blank ping=//evil.example download style='position:fixed'>x</a>",
    "![x](javascript:alert(1))",
    '![x" onerror="alert(1)](y)',
    "![x](data:image/svg+xml,<svg/onload=alert(1)>)",
    "<svg onload=alert(1)><a xlink:href='javascript:alert(1)'>x</a></svg>",
    "<svg><style><img src=x onerror=alert(1)></style></svg>",
    "<svg></p><style><a title='</style><img src=x onerror=alert(1)>'>",
    "<math><mtext><table><mglyph><style><!--</style><img title='--&gt;&lt;img src=x onerror=alert(1)&gt;'>",
    "<math><a xlink:href='javascript:alert(1)'>x</a></math>",
    "<form><math><mtext></form><form><mglyph><style></math><img src onerror=alert(1)>",
    "<iframe src='javascript:alert(1)'></iframe>",
    "<iframe srcdoc='<script>alert(1)</script>'></iframe>",
    "<object data='javascript:alert(1)'></object><embed src=x><applet code=x></applet>",
    "<form action='javascript:alert(1)'><input type=submit formaction='javascript:alert(1)'></form>",
    "<button onclick=alert(1)><p><p>x</button>",
    "<base href='//evil.example/'>",
    "<meta http-equiv=refresh content='0;url=javascript:alert(1)'>",
    "<link rel=stylesheet href='//evil.example/x.css'>",
    "<style>*{background:url(javascript:alert(1))}</style>",
    "<p style='background:url(javascript:alert(1))'>x</p>",
    "<div style=position:fixed class='page header' id=top>x</div>",
    "<body onload=alert(1)><html onclick=alert(1)><head><title>x</title>",
    "<video src=x onerror=alert(1)><source onerror=alert(1)></video><audio src=x onloadstart=alert(1)>",
    "<details open ontoggle=alert(1)>x</details>",
    "<marquee onstart=alert(1)>x</marquee><isindex type=image src=1 onerror=alert(1)>",
    "<template><script>alert(1)</script></template>",
    "<noscript><p title='</noscript><img src=x onerror=alert(1)>'>",
    "<textarea><script>alert(1)</script></textarea>",
    "<xmp><img src=x onerror=alert(1)></xmp><plaintext>rest",
    "<select><option><style></select><img src=x onerror=alert(1)></style>",
    "<!-- comment --><!--><script>alert(1)</script>-->",
    "<!-- --!><script>alert(1)</script>",
    "<![CDATA[<script>alert(1)</script>]]>",
    "<?php echo 1 ?><?xml-stylesheet href='javascript:alert(1)'?>",
    "<!DOCTYPE html [<!ENTITY x 'y'>]>",
    "&lt;script&gt;alert(1)&lt;/script&gt;",
    "&#60;script&#62;alert(1)&#60;/script&#62;",
    "&amp;lt;script&amp;gt;",
    "<a href='x\"><script>alert(1)</script>'>x</a>",
    '<p title="`"><img src=x onerror=alert(1)>`">',
    "<p <script>alert(1)</script>>",
    "<p\x00onclick=alert(1)>x<\x00script>alert(1)</\x00script>",
    "<table><tr><td background='javascript:alert(1)' colspan=9><script>alert(1)</script></table>",
    "| a |\n|--|\n| <script>alert(1)</script> [x](javascript:alert(1)) |",
    "<ol start='1;alert(1)' type=a reversed><li value=9 id=fn-1>x</ol>",
    "<ol start=99999999999999999999><li>x</ol>",
    "<sup id='_p-fnref-1'>x</sup><li id='_p-fn-1'>y</li><a class='footnote-ref' href='#_p-fn-1'>z</a>"
    "\n\nt[^1]\n\n[^1]: n",
    'a[^"><script>alert(1)</script>]\n\n[^"><script>alert(1)</script>]: <script>alert(1)</script>',
    "a[^1]\n\n[^1]: [x](javascript:alert(1)) <img src=x onerror=alert(1)>",
    '[["><script>alert(1)</script>]] [[no"><img src=x onerror=alert(1)>]]',
    "[[a|<img src=x onerror=alert(1)>]] [[no|<script>alert(1)</script>]] [[a|[x](javascript:alert(1))]]",
    "<a title='[[a]]' href='[[no]]'>x</a> <[[a]] onclick=alert(1)>",
    "[[a]](javascript:alert(1)) [t [[b]] u](javascript:alert(1))",
    "<span class=unknown-reference data-name=x id=y>x</span>",
    "\x02wzxhzdk:0\x03 \x02klzzwxh:0000\x03 &#2;wzxhzdk:0&#3; \x0260\x03script\x0262\x03",
    "<script>a</script>\n\n&#2;wzxhzdk:0&#3;\n\n\x02amp\x03lt;",
    "<a href=x><table><tr><td><a href=y>nested</a></table></a>",
    "<p><button><p>x</p></button></p>",
    "<em>" * 300 + "deep",
    "> " * 300 + "<script>alert(1)</script>",
    "+ADw-script+AD4-alert(1)+ADw-/script+AD4-",
    "\ufeff<script>alert(1)</script>\u2028<script>alert(1)</script>\ufffe\ud800",
]


@pytest.mark.parametrize("attack", ATTACKS, ids=range(len(ATTACKS)))
@pytest.mark.parametrize("frame", ["{}", "before {} after", "- item\n\n    {}", "> {}", "x[^p]\n\n[^p]: {}"])
def test_attack_leaves_nothing_that_is_not_allowed(attack: str, frame: str) -> None:
    markdown = frame.replace("{}", attack)
    assert_safe(render(markdown))
    unknown_references(markdown, link)


TOKENS = """
< > & " ' ` ``` ~~~ * ** _ # - + 1. | |-| [ ] [[ ]] ![ ]( ) [^a] [^a]: [^b]: \\ / = : // ; ! -- <!-- -->
<a <p <table> <tr> <td> </td> </table> <li> </li> <ul> <sup <em> </em> <code> </code> <pre> <div> </div>
<svg> <math> <style> </style> <script> </script> <select> <template> <button> <title> <h1> <form> <b>
href= id= class= start= title= onclick= style= javascript: data: mailto: https: &#x3a; &#2; &colon; &lt;
conv1 no layer_1 _p-fn-1 footnote
"""
PIECES = st.one_of(
    st.sampled_from(TOKENS.split()),
    st.sampled_from(["\n", "\n\n", "\n    ", "\n        ", "\t", " ", "\r", "\x02", "\x03", "\x00", "\x0c"]),
    st.sampled_from(ATTACKS),
    st.text(max_size=5),
)


@settings(max_examples=150, deadline=None)
@given(st.lists(PIECES, max_size=40).map("".join))
def test_any_text_gives_allowed_html(markdown: str) -> None:
    assert_safe(render(markdown))
    unknown_references(markdown, link)


@settings(max_examples=100, deadline=None)
@given(st.text(st.characters(exclude_characters="[]|\\`\r\n^", exclude_categories=["Cc", "Cs", "Cn"]), min_size=1))
def test_any_name_is_shown_as_it_is(name: str) -> None:
    asked: list[str] = []
    html = str(to_html(f"x [[{name}]] y", link=asked.append, prefix="p"))
    assert_safe(html)
    if name.strip():
        assert asked == [name.strip()]
        assert text_of(find(html, "span")[0]) == name.strip()


# Files


def write(directory: Path, **texts: str) -> None:
    for key, text in texts.items():
        path = directory / (key + ".md")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(text.encode())


def test_files_are_read_by_place(tmp_path: Path) -> None:
    write(tmp_path, index="\ufeffHello\r\nthere é")
    write(tmp_path, about="About")
    write(
        tmp_path,
        **{"layers/a/b": "Nested", "layers/layer1.*": "Glob", "images/cat": "Cat", "figures/sum": "Sum"},
    )
    write(tmp_path, **{".hidden/x": "no", "layers/.x": "no"})
    (tmp_path / "notes.txt").write_bytes(b"\xff")
    captions = read_captions(tmp_path)
    assert list(captions.texts) == [
        "about", "figures/sum", "images/cat", "index", "layers/a/b", "layers/layer1.*",
    ]  # fmt: skip
    assert captions.index == "Hello\nthere é"
    assert captions.about == "About"
    assert captions.layer("a/b") == "Nested"
    assert captions.layer("layer1.0.conv1") == "Glob"
    assert captions.image("cat") == "Cat"
    assert captions.figure("sum") == "Sum"
    assert captions.image("dog") == captions.figure("x") == captions.layer("fc") == ""


def test_no_captions() -> None:
    assert Captions().index == Captions().layer("conv1") == ""


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("layer1.0.conv1", "exact"),
        ("layer1.0.conv2", "layer1.0.*"),
        ("layer1.1.conv1", "layer1.*"),
        ("layer2.0.conv1", "layer?.0.*"),
        ("layer3.0.bn9", "first"),
        ("fc", "*"),
        ("silent", ""),
        ("Layer1.0", "*"),
    ],
)
def test_exact_name_then_longest_glob(name: str, expected: str) -> None:
    globs = ["*", "layer1.*", "layer1.0.*", "layer?.0.*"]
    ties = {"layers/layer3.*.bn?": "first", "layers/layer3.?.bn*": "second"}
    texts = {f"layers/{glob}": glob for glob in globs} | ties
    captions = Captions(texts | {"layers/layer1.0.conv1": "exact", "layers/silent": ""})
    assert captions.layer(name) == expected


def test_name_with_brackets_is_found_by_its_own_file() -> None:
    assert Captions({"layers/blocks[0]": "mine", "layers/*": "all"}).layer("blocks[0]") == "mine"


def test_globs_are_for_layers_alone() -> None:
    captions = Captions({"images/*": "x", "figures/*": "x"})
    assert captions.image("cat") == captions.figure("sum") == ""


def test_missing_directory_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"texts' does not exist") as raised:
        read_captions(tmp_path / "texts")
    assert raised.value.exit_code == 2


def test_file_in_place_of_the_directory_is_refused(tmp_path: Path) -> None:
    write(tmp_path, index="x")
    with pytest.raises(UsageError, match=r"index\.md' is not a directory"):
        read_captions(tmp_path / "index.md")


def test_file_that_is_not_utf8_is_refused(tmp_path: Path) -> None:
    (tmp_path / "about.md").write_bytes("Zür".encode("latin-1"))
    with pytest.raises(UsageError, match=r"about\.md' is not UTF-8 \(byte 1\)"):
        read_captions(tmp_path)


def test_file_that_is_too_large_is_refused(tmp_path: Path) -> None:
    (tmp_path / "about.md").write_bytes(b"x" * (MAX_BYTES + 1))
    with pytest.raises(UsageError, match=r"about\.md' has 262145 bytes"):
        read_captions(tmp_path)


def test_link_that_leads_outside_is_refused(tmp_path: Path) -> None:
    write(tmp_path, private="text")
    directory = tmp_path / "captions"
    directory.mkdir()
    (directory / "index.md").symlink_to(Path("..") / "private.md")
    with pytest.raises(UsageError, match=r"index\.md' links to a file outside"):
        read_captions(directory)


def test_link_to_a_directory_is_refused(tmp_path: Path) -> None:
    directory = tmp_path / "captions"
    directory.mkdir()
    (directory / "layers").symlink_to(tmp_path, target_is_directory=True)
    with pytest.raises(UsageError, match=r"layers' is a link"):
        read_captions(directory)


def test_links_within_the_directory_are_followed(tmp_path: Path) -> None:
    write(tmp_path / "real", about="same")
    (tmp_path / "real" / "index.md").symlink_to("about.md")
    (tmp_path / "captions").symlink_to("real", target_is_directory=True)
    assert read_captions(tmp_path / "captions").index == "same"


def test_link_to_nothing_and_pipe_are_refused(tmp_path: Path) -> None:
    (tmp_path / "index.md").symlink_to("gone.md")
    with pytest.raises(UsageError, match=r"index\.md' can't be read: No such file"):
        read_captions(tmp_path)
    (tmp_path / "index.md").unlink()
    os.mkfifo(tmp_path / "index.md")
    with pytest.raises(UsageError, match=r"index\.md' is not a regular file"):
        read_captions(tmp_path)


# Warnings


def warnings_for(*keys: str) -> list[str]:
    captions = Captions(dict.fromkeys(keys, "text"))
    return unmatched(
        captions, layers=["conv1", "layer1.0.relu_1", "a/b"], images=["cat", "dog"], kinds=["channel_grid"]
    )


def test_captions_that_match_give_no_warning() -> None:
    keys = [
        "index",
        "about",
        "layers/conv1",
        "layers/layer1.*",
        "layers/a/b",
        "images/cat",
        "figures/channel_grid",
    ]
    assert warnings_for(*keys) == []


@pytest.mark.parametrize(
    ("key", "parts"),
    [
        ("layers/conv9", ["a node's name or a glob", "did you mean conv1"]),
        ("layers/layer9.*", ["layers/layer9.*.md", "a node's name or a glob"]),
        ("images/cats", ["an image's id", "did you mean cat"]),
        ("images/c*", ["an image's id"]),
        ("figures/grid", ["a kind of figure", "did you mean channel_grid?"]),
        ("foo", ["index.md, about.md, layers/<node name or glob>.md"]),
        ("layer/conv1", ["images/<id>.md", "did you mean layers"]),
        ("indx", ["did you mean index"]),
        ("layers", ["did you mean layers"]),
        ("index/x", ["did you mean index"]),
        ("layers/a\nb\x1b[31m", ["a node's name"]),
    ],
)
def test_caption_that_matches_nothing_is_a_warning(key: str, parts: list[str]) -> None:
    (warning,) = warnings_for(key, "index")
    assert all(part in warning for part in parts), warning
    assert warning.isprintable()
    if key.isprintable():
        assert f"{key}.md" in warning


def test_warnings_come_in_the_order_of_keys() -> None:
    assert [line.split()[1] for line in warnings_for("zzz", "layers/q", "images/q")] == [
        "images/q.md", "layers/q.md", "zzz.md",
    ]  # fmt: skip


def test_a_guess_at_an_id_of_the_page_is_no_link() -> None:
    assert find(render("<a href='#_p-fn-1'>z</a>"), "a")[0].get("href") is None
