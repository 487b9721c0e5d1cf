"""The checker of sites, on sites that are broken on purpose: each kind of problem is found, and only that one."""

import hashlib
from pathlib import Path

import pytest

from canned import make_record, write_site
from checker import check_site

POLICY = (
    "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; script-src 'self'; "
    "style-src 'self'; img-src 'self'; base-uri 'none'; form-action 'none'\">"
)
PAGE = f"""<!doctype html>
<html lang="en"><head><meta charset="utf-8">{POLICY}<title>A page</title>
<link rel="icon" href="data:,"><link rel="stylesheet" href="static/site.css"></head>
<body><main id="main"><h1>A page</h1>
<p><a href="other.html">Other</a> <a href="other.html#part">Part</a> <a href="#main">Up</a></p>
<img src="figures/a%20map.png" alt="" width="4" height="4">
</main></body></html>
"""
OTHER = f"""<!doctype html>
<html lang="en"><head><meta charset="utf-8">{POLICY}<title>Other</title></head>
<body><main><h1>Other</h1><h2 id="part">Part</h2><p><a href="index.html">Back</a></p></main></body></html>
"""


def make_site(site: Path, page: str = PAGE, **more: str) -> Path:
    """Write a small site and its manifest; `more` are further files, `__` in a name standing for a slash."""
    files = {"index.html": page, "other.html": OTHER, "figures/a map.png": "a picture", "static/site.css": "p {}"}
    for name, text in {**files, **{key.replace("__", "/"): text for key, text in more.items()}}.items():
        (site / name).parent.mkdir(parents=True, exist_ok=True)
        (site / name).write_text(text, encoding="utf-8")
    sign(site)
    return site


def sign(site: Path) -> None:
    names = sorted(path.relative_to(site).as_posix() for path in site.rglob("*") if path.is_file())
    sums = {name: hashlib.sha256((site / name).read_bytes()).hexdigest() for name in names if name != "SHA256SUMS"}
    (site / "SHA256SUMS").write_text("".join(f"{digest}  {name}\n" for name, digest in sums.items()))


def test_a_sound_site_has_no_problems(tmp_path: Path) -> None:
    assert check_site(make_site(tmp_path)) == []


@pytest.mark.parametrize(
    ("policy", "problem"),
    [
        ("", "no content policy before what it would hold for"),
        (POLICY * 2, "no content policy before what it would hold for"),
        (f'<link rel="icon" href="data:,">{POLICY}', "no content policy before what it would hold for"),
        (POLICY.replace("base-uri 'none'; ", ""), "the content policy allows something by base-uri"),
        (
            POLICY.replace("default-src 'none'", "default-src *"),
            "the content policy allows something by default-src",
        ),
        (POLICY.replace("img-src 'self'", "img-src *"), "the content policy allows * by img-src"),
        (POLICY.replace("img-src 'self'", "connect-src 'self'"), "the content policy allows 'self' by connect-src"),
    ],
)
def test_a_page_without_a_strict_content_policy_is_found(tmp_path: Path, policy: str, problem: str) -> None:
    assert check_site(make_site(tmp_path, PAGE.replace(POLICY, policy))) == [f"index.html: {problem}"]


def test_the_canned_report_has_no_problems(tmp_path: Path) -> None:
    assert check_site(write_site(make_record(), tmp_path / "site")) == []


@pytest.mark.parametrize(
    ("added", "problem"),
    [
        ('<a href="gone.html">x</a>', "'gone.html' leads to no file of the site"),
        ('<a href="../outside.html">x</a>', "'../outside.html' leads to no file of the site"),
        ('<a href="figures/">x</a>', "'figures/' leads to no file of the site"),
        ('<a href="Other.html">x</a>', "'Other.html' leads to no file of the site"),
        ('<a href="other.html#gone">x</a>', "'other.html#gone' leads to no id of other.html"),
        ('<a href="#gone">x</a>', "'#gone' leads to no id of index.html"),
        ('<a href="static/site.css#part">x</a>', "'static/site.css#part' leads to no id of static/site.css"),
        ('<img src="gone.png" alt="" width="1" height="1">', "'gone.png' leads to no file of the site"),
        (
            '<img src="figures/a map.png" srcset="figures/b.png 2x" alt="" width="1" height="1">',
            "'figures/b.png' leads to no file of the site",
        ),
        ('<script src="gone.js"></script>', "'gone.js' leads to no file of the site"),
        ('<img src="figures/a map.png" width="1" height="1">', "picture 'figures/a map.png' has no alt"),
        ('<img src="figures/a map.png" alt="" height="1">', "picture 'figures/a map.png' has no width"),
        ('<img src="figures/a map.png" alt="" width="1">', "picture 'figures/a map.png' has no height"),
        ('<img src="figures/a map.png" alt="" width="1" height="0">', "picture 'figures/a map.png' has height '0'"),
        (
            '<img src="figures/a map.png" alt="" width="5%" height="1">',
            "picture 'figures/a map.png' has width '5%'",
        ),
        (
            '<img src="https://example.org/a.png" alt="" width="1" height="1">',
            "remote address 'https://example.org/a.png' in img",
        ),
        ('<script src="//example.org/a.js"></script>', "remote address '//example.org/a.js' in script"),
        (
            '<link rel="stylesheet" href="http://example.org/a.css">',
            "remote address 'http://example.org/a.css' in link",
        ),
        ('<a href="https://example.org">x</a>', "remote address 'https://example.org' in a"),
        ('<a href="mailto:a@example.org">x</a>', "remote address 'mailto:a@example.org' in a"),
        ('<a href="javascript:alert(1)">x</a>', "javascript address 'javascript:alert(1)' in a"),
        ('<a href="data:text/html,x">x</a>', "data address 'data:text/html,x' in a"),
        ('<iframe src="data:text/html,x"></iframe>', "data address 'data:text/html,x' in iframe"),
        ('<a href="/other.html">x</a>', "absolute address '/other.html' in a"),
        ('<a href="file:///tmp/other.html">x</a>', "absolute address 'file:///tmp/other.html' in a"),
        ('<a href="https://[">x</a>', "malformed address 'https://[' in a"),
        ('<p onclick="f()">x</p>', "an event handler onclick on p"),
        ('<p style="color: red">x</p>', "an inline style on p"),
        ("<style>p {}</style>", "an element style"),
        ("<script>f()</script>", "an inline script"),
        ('<p id="main">x</p>', "id 'main' stands 2 times"),
        ("<h1>x</h1>", "2 elements h1, not one"),
        ("<main>x</main>", "2 elements main, not one"),
        ('<p aria-labelledby="main gone">x</p>', "aria-labelledby names 'gone', which no element is"),
        ("<h3>x</h3>", "heading 'x' is h3 after h1"),
        ("<nav>x</nav>", "a nav without aria-label"),
        ('<nav aria-label="Up">x</nav>' * 2, "2 elements nav are called 'Up'"),
        ("<figure><div><figcaption>x</figcaption></div></figure>", "a figcaption that is no part of a figure"),
        ('<img src="data:," alt="" width="1" height="1">' * 16, "picture 'data:,' is not lazy"),
        ("<br>" * 15_000, "15015 elements, more than 15000"),
        ("x" * 1_500_000, f"{len(PAGE) + 1_500_000} bytes, more than 1500000"),
        ("<p>/home/someone/photos</p>", "holds the path '/home/someone'"),
    ],
)
def test_a_problem_of_a_page_is_found(tmp_path: Path, added: str, problem: str) -> None:
    site = make_site(tmp_path, PAGE.replace("</main>", f"{added}</main>"))
    assert check_site(site) == [f"index.html: {problem}"]


@pytest.mark.parametrize(
    "added",
    [
        '<a href="https://example.org" rel="noopener noreferrer">x</a>',
        '<a href="other.html?page=2#part">x</a>',
        '<img src="data:image/png;base64,AA==" alt="" width="1" height="1">',
        '<script src="static/site.css"></script>',
        '<img src="data:," alt="" width="1" height="1" loading="lazy">' * 20,
        "<p>https://example.org/home/someone and ../tmp/x</p>",
        "<h2>x</h2><h3>x</h3><h2>x</h2>",
    ],
)
def test_what_is_allowed_is_no_problem(tmp_path: Path, added: str) -> None:
    assert check_site(make_site(tmp_path, PAGE.replace("</main>", f"{added}</main>"))) == []


@pytest.mark.parametrize("tag", ["h1", "main"])
def test_a_page_without_heading_or_main_is_found(tmp_path: Path, tag: str) -> None:
    bare = PAGE.replace(f"<{tag}", "<div").replace(f"</{tag}>", "</div>")
    assert check_site(make_site(tmp_path, bare)) == [f"index.html: 0 elements {tag}, not one"]


@pytest.mark.parametrize(
    "wrong",
    [
        PAGE.replace("<!doctype html>", ""),
        PAGE.replace("</h1>", ""),
        PAGE.replace('lang="en"', 'lang="en" lang="de"'),
        PAGE.replace("A page</h1>", "A \x01 page</h1>"),
        PAGE.replace("<p>", "<p><table><p>x</p></table>"),
        PAGE.replace("</h1>", "&nosuch;</h1>"),
    ],
)
def test_invalid_html_is_found(tmp_path: Path, wrong: str) -> None:
    problems = check_site(make_site(tmp_path, wrong))
    assert any(problem.startswith("index.html: not valid HTML: line ") for problem in problems)


def test_a_page_in_another_encoding_is_found(tmp_path: Path) -> None:
    site = make_site(tmp_path)
    (site / "other.html").write_bytes(OTHER.replace("Back", "Zurück").encode("latin-1"))
    sign(site)
    assert "other.html: not valid HTML: not UTF-8" in check_site(site)


@pytest.mark.parametrize(
    ("sheet", "problem"),
    [
        ("@import 'more.css';", "imports another style sheet"),
        ("p { background: url(gone.png) }", "'gone.png' leads to no file of the site"),
        ("p { background: url( 'https://example.org/a.png' ) }", "remote address 'https://example.org/a.png'"),
        ("p { background: url(/a.png) }", "absolute address '/a.png'"),
    ],
)
def test_a_problem_of_a_style_sheet_is_found(tmp_path: Path, sheet: str, problem: str) -> None:
    assert check_site(make_site(tmp_path, **{"static__site.css": sheet})) == [f"static/site.css: {problem}"]


def test_a_style_sheet_may_load_what_lies_in_the_site(tmp_path: Path) -> None:
    sheet = "/* url(gone.png) */ p { background: url('../figures/a%20map.png'), url(data:image/png;base64,AA==) }"
    assert check_site(make_site(tmp_path, **{"static__site.css": sheet})) == []


@pytest.mark.parametrize(
    ("script", "found"),
    [
        ("fetch('data.json');", "fetch"),
        ("new XMLHttpRequest()", "XMLHttpRequest"),
        ("import('./more.js')", "import("),
        ("image.src = 'https://example.org/a.png'", "https://example.org"),
        ("image.src = '//example.org/a.png'", "'//example.org"),
    ],
)
def test_a_script_that_may_load_from_elsewhere_is_found(tmp_path: Path, script: str, found: str) -> None:
    site = make_site(tmp_path, **{"static__site.js": script})
    assert check_site(site) == [f"static/site.js: may load from elsewhere: {found!r}"]


def test_a_script_may_name_namespaces_and_explain_itself(tmp_path: Path) -> None:
    script = "// We never fetch.\n/* https://example.org */\nmake('http://www.w3.org/2000/svg', 'a'); // on\n"
    assert check_site(make_site(tmp_path, **{"static__site.js": script})) == []


@pytest.mark.parametrize(
    ("name", "hidden"),
    [
        (".hidden", ".hidden"),
        ("_private", "_private"),
        ("figures/.a.png", "figures/.a.png"),
        (".dir/a.png", ".dir"),
        ("deep/_dir/a.png", "deep/_dir"),
    ],
)
def test_a_name_that_servers_hide_is_found(tmp_path: Path, name: str, hidden: str) -> None:
    site = make_site(tmp_path)
    (site / name).parent.mkdir(parents=True, exist_ok=True)
    (site / name).write_text("x")
    sign(site)
    assert check_site(site) == [f"{hidden}: the name starts with {Path(hidden).name[0]!r}"]


def test_a_file_that_the_manifest_does_not_list_is_found(tmp_path: Path) -> None:
    site = make_site(tmp_path)
    (site / "extra.txt").write_text("x")
    assert check_site(site) == ["SHA256SUMS: does not list extra.txt"]


def test_a_file_that_is_only_listed_is_found(tmp_path: Path) -> None:
    site = make_site(tmp_path, extra="x")
    (site / "extra").unlink()
    assert check_site(site) == ["SHA256SUMS: lists extra, which is no file of the site"]


def test_a_changed_file_is_found(tmp_path: Path) -> None:
    site = make_site(tmp_path)
    (site / "static/site.css").write_text("p { color: red }")
    assert check_site(site) == ["SHA256SUMS: static/site.css has another hash"]


def test_a_broken_manifest_is_found(tmp_path: Path) -> None:
    site = make_site(tmp_path)
    with (site / "SHA256SUMS").open("a") as file:
        file.write("nonsense\n" + (site / "SHA256SUMS").read_text().splitlines()[0] + "\n")
    problems = check_site(site)
    assert "SHA256SUMS: not a line of sha256sum: 'nonsense'" in problems
    assert any(problem.startswith("SHA256SUMS: twice: ") for problem in problems)
    assert len(problems) == 2


def test_a_missing_manifest_is_found(tmp_path: Path) -> None:
    site = make_site(tmp_path)
    (site / "SHA256SUMS").unlink()
    assert check_site(site) == ["SHA256SUMS: missing"]


HERE = "https://example.org/report/"


def head(page: str, added: str) -> str:
    return page.replace("</head>", f"{added}</head>")


def addressed(name: str, picture: str = f"{HERE}figures/a map.png") -> str:
    return (
        f'<link rel="canonical" href="{HERE}{name}"><meta property="og:url" content="{HERE}{name}">'
        f'<meta property="og:image" content="{picture}">'
    )


def test_addresses_on_the_web_are_those_that_were_given(tmp_path: Path) -> None:
    site = make_site(tmp_path, head(PAGE, addressed("")), **{"other.html": head(OTHER, addressed("other.html"))})
    assert check_site(site, HERE) == []
    assert len(check_site(site)) == 4
    assert len(check_site(site, "https://example.org/")) == 4


@pytest.mark.parametrize("picture", ["https://example.org/other.png", "figures/gone.png", "/figures/a map.png"])
def test_a_preview_that_is_no_picture_of_the_site_is_found(tmp_path: Path, picture: str) -> None:
    site = make_site(tmp_path, head(PAGE, f'<meta property="og:image" content="{picture}">'))
    assert check_site(site) == [f"index.html: og:image {picture!r} is no picture of the site"]


def test_pages_that_no_link_leads_to_are_found(tmp_path: Path) -> None:
    lost = OTHER.replace('href="index.html"', 'href="../lost/two.html"')
    back = OTHER.replace('href="index.html"', 'href="one.html"')
    site = make_site(tmp_path, **{"lost__one.html": lost, "lost__two.html": back})
    assert check_site(site) == [
        "lost/one.html: no link leads here from index.html",
        "lost/two.html: no link leads here from index.html",
    ]


def test_a_page_is_reached_over_several_links(tmp_path: Path) -> None:
    way = OTHER.replace("</main>", '<a href="deep/far.html">On</a></main>')
    far = OTHER.replace('href="index.html"', 'href="../index.html"')
    assert check_site(make_site(tmp_path, **{"other.html": way, "deep__far.html": far})) == []


def test_a_site_without_an_index_is_found(tmp_path: Path) -> None:
    site = make_site(tmp_path)
    (site / "index.html").unlink()
    (site / "other.html").unlink()
    sign(site)
    assert check_site(site) == ["index.html: missing"]
