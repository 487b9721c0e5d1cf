"""Texts made to do harm, in every place that a text can go: names, captions, reasons, options."""

import dataclasses
import functools
import json
import os
import random
import re
import tempfile
import unicodedata
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from typing import Any
from xml.etree.ElementTree import Element

import html5lib
from PIL import Image

from canned import IMAGES, KINDS, LAYERS, figures_of, make_record
from hostile_images import png
from reportgen.errors import UsageError
from reportgen.illustrating import encode
from reportgen.names import slugify
from reportgen.site.captions import to_html
from reportgen.site.illustrations import read_illustrated
from reportgen.site.record import Record, SkippedImageEntry
from reportgen.site.render import render

RUN = "pwned=1"
"""What each payload would run."""
PAYLOADS = (
    "plain",
    f"\"'><script>{RUN}</script><img src=x onerror={RUN}>&lt;b&gt;</title></main>{{{{ 7 * 7 }}}}<!--",
    f"<script>{RUN}</script>",
    f"</script><script>{RUN}</script>",
    f"<!--<script>{RUN}</script>",
    f"]]><script>{RUN}</script>",
    f'" onload="{RUN}" onerror="{RUN}" autofocus onfocus="{RUN}',
    f"' onmouseover='{RUN}' style='width:100vw;height:100vh;position:fixed",
    f"` onload=`{RUN}",
    f"<img src=x onerror={RUN}>",
    f"<img/src/onerror={RUN}>",
    f"<svg onload={RUN}>",
    f"<svg><script>{RUN}</script></svg>",
    f"<svg><a xlink:href='javascript:{RUN}'><text>x</text></a><animate onbegin={RUN}></svg>",
    f"<math><mtext><table><mglyph><style><!--</style><img title='--&gt;&lt;img src=1 onerror={RUN}&gt;'>",
    f"<svg></p><style><a id='</style><img src=1 onerror={RUN}>'>",
    f"<noscript><p title='</noscript><img src=x onerror={RUN}>'>",
    f"<template><img src=x onerror={RUN}></template>",
    f"<form><math><mtext></form><form><mglyph><style></math><img src onerror={RUN}>",
    f"<textarea><img title='</textarea><img src=x onerror={RUN}>'>",
    f"</title><script>{RUN}</script>",
    f"</style><script>{RUN}</script>",
    f"<iframe srcdoc='<script>parent.{RUN}</script>'>",
    f"<iframe src='javascript:parent.{RUN}'>",
    f"<object data='javascript:{RUN}'><embed src='javascript:{RUN}'>",
    f"<base href='javascript:{RUN}//'><meta http-equiv=refresh content='0;url=javascript:{RUN}'>",
    f"<link rel=stylesheet href='data:text/css,*{{}}'><style>@import 'javascript:{RUN}'</style>",
    f"<details open ontoggle={RUN}><marquee onstart={RUN}>",
    f"[x](javascript:{RUN})",
    f"[x](JaVaScRiPt:{RUN})",
    f"[x](java\tscript:{RUN}) [x](java&#10;script:{RUN}) [x](java&Tab;script:{RUN})",
    f"[x](&#106;avascript:{RUN}) [x](javascript&colon;{RUN}) [x](\x01javascript:{RUN})",
    f"[x](data:text/html,<script>{RUN}</script>) [x](vbscript:{RUN}) [x](blob:{RUN})",
    f"<javascript:{RUN}>",
    f"<a href='javascript:{RUN}' ping='https://example.org' target=_blank>x</a>",
    f"[x]: javascript:{RUN}\n\n[x]",
    f"![x](javascript:{RUN}) ![x](https://example.org/x.png) ![x](x.png \"' onerror='{RUN}\")",
    f"[[{LAYERS[1].name}|<img src=x onerror={RUN}>]] [[fig:x'\"><script>{RUN}</script>]]",
    f'```"><script>{RUN}</script>\nx\n```\n\n`</code><script>{RUN}</script>`',
    f"|<script>{RUN}</script>|b|\n|-|-|\n|[x](javascript:{RUN})|<img src=x onerror={RUN}>|",
    f'a[^"><script>{RUN}</script>]\n\n[^"><script>{RUN}</script>]: [x](javascript:{RUN})',
    "{{ 7 * 7 }}{% include 'base.html.jinja' %}{# x #}{{ ''.__class__.__mro__ }}",
    "${7*7}#{7*7}<%= 7*7 %>",
    "\u202eevil\u202c \u2066x\u2069 \u200f\u200e \ufeff \u2028 \u2029 \x85",
    "\x00\x01\x0b\x1f\x7f\x9f\ufdd0\uffff\udcff\ud800",
    "__proto__",
    "constructor",
    "</main></body></html>",
    "]]></svg>--!><?xml version='1.0'?><!DOCTYPE x [<!ENTITY e SYSTEM 'file:///etc/passwd'>]>&e;",
    "../../../../etc/passwd",
    "x" * 5_000,
    "<b>" * 1_000,
    "\n\n# Heading\n\n- list\n\n---\n",
    "a\\b/c:d*e?f|g%2e%2e%2f#h&i=j;k",
)
ELSEWHERE = (
    "../secret.png", "../../secret.png", "./../secret.png", "x/../../secret.png", "%2e%2e/secret.png",
    "..%2fsecret.png", "%2E%2E%2Fsecret.png", "%252e%252e/secret.png", "..\\secret.png", "..%5csecret.png",
    "../captions/own.png", ".far/secret.png", "link.png", "LINK.PNG", "link.png?x#y", "ring.png", "device.png",
    "pipe.png", "directory.png", "directory.png/", ".", "..", "/etc/passwd", "file:///etc/passwd",
    "FILE:/etc/passwd", "file:secret.png", "C:\\secret.png", "c:secret.png", "//host/secret.png",
    "\\\\host\\share\\secret.png", "https://example.org/x.png", "HtTp://example.org/x.png", "own.png%00", "%00",
    "own.png%0a", "data:image/svg+xml,<svg onload=alert(1)>", f"javascript:{RUN}", "&#106;avascript:own.png",
    "\x02wzxhzdk:0\x03", "own.png' onerror='x", 'own.png" onerror="x', "x" * 5_000,
)  # fmt: skip
"""Addresses of pictures that are none in the directory of the captions."""
REFUSED = ("script.svg", "huge.png", "cut.png", "./cut.png", "%68uge.png")
"""Files of that directory which can't be shown."""
OWN, SECRET = (0, 128, 128), (255, 0, 0)
_PARTS = (
    *(part for payload in PAYLOADS for part in re.findall(r"\w+|\W", payload)[:60]),
    "<", ">", '"', "'", "&", "`", "=", "/", "\\", "(", ")", "[", "]", "!", "|", "\n", "\n\n", " ", "\t", "#",
    "&#x6a;", "javascript:", "data:", "<a href=", "<img src=", "<svg>", "<math>", "<style>", "</p>", "<!--", "-->",
    "onclick=", "é", "e\u0301", "ß", "ſ", "İ", "ı", "K", "漢", "🐈", "CON", "aux", "com1", ".", "..", "-", "_",
    "\x00", "\ud800",
)  # fmt: skip
_PLAIN = """
a blockquote br caption code dd del div dl dt em h2 h3 h4 h5 h6 hr li ol p pre span strong sub sup
table tbody td tfoot th thead tr ul
"""
_TAGS = frozenset(_PLAIN.split())
_PICTURE = frozenset(["alt", "class", "decoding", "height", "loading", "src", "title", "width"])
_ATTRIBUTES = frozenset(["class", "href", "id", "rel", "start", "title"])


def texts(count: int) -> Iterator[str]:
    """Yield `count` texts: the payloads, then parts of them shuffled; the same ones every time."""
    yield from PAYLOADS[:count]
    for seed in range(count - len(PAYLOADS)):
        chance = random.Random(seed)
        yield "".join(chance.choices(_PARTS, k=chance.choice((1, 3, 10, 30)))) + str(seed)


# Captions


def caption_fault(text: str) -> str:
    """Say what of a caption's HTML could run, load, or lead where it must not; "" if nothing."""
    html = to_html(text, link=lambda name: None if len(name) % 2 else "layers/x.html", prefix=text[:9], level=2)
    if reason := html_fault(html):
        return f"caption {text!r}: {reason}"
    return ""


def html_fault(html: str) -> str:
    """Say what in a fragment of HTML is no part of a caption."""
    root = html5lib.HTMLParser(namespaceHTMLElements=False).parseFragment(html)
    for element in root.iter():
        if element.tag == "DOCUMENT_FRAGMENT":
            continue
        if element.tag not in _TAGS:
            return f"element {element.tag}"
        if not element.attrib.keys() <= _ATTRIBUTES:
            return f"attributes {sorted(element.attrib)}"
        if reason := address_fault(element.get("href", "")):
            return reason
    return ""


def address_fault(address: str) -> str:
    """Say what is wrong with where a link leads; browsers pass over controls and blanks in a scheme."""
    bare = re.sub(r"[\x00-\x20]", "", address).lower()
    scheme = re.match(r"([a-z][a-z0-9+.-]*):", bare)
    if bare.startswith(("//", "\\", "/")) or (scheme and scheme[1] not in ("http", "https", "mailto")):
        return f"address {address!r}"
    return ""


def caption_image_fault(payload: str) -> str:
    """Say what a caption with a picture loads, whatever the picture's address, where the report holds none."""
    text = f'![a]({payload}) ![b](<{payload}> "t") <img src="{payload}" srcset="{payload} 2x">\n\n![c][p]'
    text += f"\n\n[p]: {payload}"
    pages = render(make_record(captions=dict.fromkeys(["index", "about", "layers/*", "images/disc"], text))).files
    for name, plain in _plain_pages().items():
        root = _tree(pages[name])
        if _loaded(root) != _loaded(plain):
            return f"picture {payload!r}: {name} loads other things"
    return ""


@contextmanager
def trapped_captions() -> Iterator[Path]:
    """A directory of captions with one good picture, `own.png`, in a place full of traps."""
    with tempfile.TemporaryDirectory() as name:
        captions = Path(name, "captions")
        captions.mkdir()
        Image.new("RGB", (9, 7), OWN).save(captions / "own.png")
        Image.new("RGB", (9, 7), SECRET).save(captions.parent / "secret.png")
        (captions / "link.png").symlink_to(captions.parent / "secret.png")
        (captions / "ring.png").symlink_to("ring.png")
        (captions / "device.png").symlink_to("/dev/zero")
        (captions / ".far").symlink_to(captions.parent)
        (captions / "directory.png").mkdir()
        os.mkfifo(captions / "pipe.png")
        (captions / "script.svg").write_text(f"<svg xmlns='http://www.w3.org/2000/svg' onload='{RUN}'/>")
        (captions / "huge.png").write_bytes(png(65_535, 65_535))
        (captions / "cut.png").write_bytes((captions / "own.png").read_bytes()[:-30])
        yield captions


def caption_file_fault(captions: Path, address: str) -> str:
    """Say what a report holds or loads of a picture with this address in a caption, besides that of `own.png`."""
    text = f"![own](own.png) ![a]({address}) ![b](<{address}> 't') ![c][p]\n\n[p]: {address}"
    (captions / "index.md").write_bytes(text.encode("utf-8", "replace"))
    try:
        found = read_illustrated(captions, encode)
    except UsageError as error:
        known = address in REFUSED and f"picture '{address}'" in str(error)
        return "" if known else f"picture {address!r}: {error}"
    if address in REFUSED:
        return f"picture {address!r}: not refused"
    for content in found.files.values():
        with Image.open(BytesIO(content)) as picture:
            if picture.getcolors() != [(63, OWN)] or picture.info:
                return f"picture {address!r}: another file was taken"
    record = make_record(captions=found.texts, illustrations=list(found.entries))
    index = _tree(render(record).files["index.html"])
    more = [load for load in _loaded(index) if load not in _loaded(_plain_pages()["index.html"])]
    if set(more) != {("img", name) for name in found.files}:
        return f"picture {address!r}: the index loads {more}"
    return html_fault_of_pictures(index)


def html_fault_of_pictures(root: Element) -> str:
    """Say which picture of a caption has an attribute that none may have."""
    for element in root.iter("img"):
        if element.get("class") == "illustration" and not element.attrib.keys() <= _PICTURE:
            return f"picture {element.get('alt')!r} has {sorted(element.attrib)}"
    return ""


def _loaded(root: Element) -> list[tuple[str, str]]:
    """Every element that loads something, with its address."""
    return [
        (str(element.tag), str(element.get(key)))
        for element in root.iter()
        for key in ("src", "srcset", "data", "poster", "background")
        if key in element.attrib
    ]


# Names and other texts, everywhere


def with_texts(text: str) -> Record:
    """A record that ends every text it holds in `text`."""
    layers = [_spoil(layer, text, "op slug status layout") for layer in LAYERS]
    layers = [dataclasses.replace(each, parents=[f"{name}{text}" for name in each.parents]) for each in layers]
    images = [_spoil(image, text, "id") for image in IMAGES]
    figures = [_spoil(figure, text, "kind image") for figure in figures_of(LAYERS, IMAGES)]
    return make_record(
        layers,
        images,
        figures=figures,
        title=f"title{text}",
        model=_spoil(make_record().model, text, ""),
        kinds=[_spoil(kind, text, "name") for kind in KINDS],
        problems=[f"problem{text}"],
        environment={f"package{text}": f"1.0{text}"},
        options={
            f"option{text}": f"value{text}",
            "many": [f"one{text}", f"two{text}"],
            "map": {text: text},
        },
        generator=f"reportgen{text}",
        skipped_images=[SkippedImageEntry(f"left out{text}", f"reason{text}")],
        reductions=[f"reduced{text}"],
    )


def _spoil(entry: Any, text: str, kept: str) -> Any:
    spoilt = {
        part.name: f"{getattr(entry, part.name)}{text}"
        for part in dataclasses.fields(entry)
        if isinstance(getattr(entry, part.name), str) and part.name not in kept.split()
    }
    return dataclasses.replace(entry, **spoilt)


def structure(root: Element) -> list[tuple[str, tuple[str, ...]]]:
    """What a text must never change: every element with the names of its attributes."""
    return [(str(element.tag), tuple(sorted(element.attrib))) for element in root.iter()]


def page_faults(text: str) -> str:
    """Say on which page a text, put wherever texts can go, changes anything but texts; "" if on none."""
    files = render(with_texts(text)).files
    # Dots part the names of modules, and so the rows of lists.
    for name, plain in _plain_texts(re.sub("[^.]", "a", text) if "." in text else "plain").items():
        page = _tree(files[name])
        if structure(page) != plain:
            return f"text {text!r}: {name} has other elements"
        for element in page.iter():
            if reason := address_fault(element.get("href", "")):
                return f"text {text!r}: {name} has the {reason}"
    scripts = [content for name, content in files.items() if re.fullmatch(r"static/layers\.\w+\.js", name)]
    return next((f"text {text!r}: {fault}" for fault in map(_script_fault, scripts) if fault), "")


def _script_fault(script: str) -> str:
    """Say whether a script is anything else than one list of numbers and texts."""
    found = re.fullmatch(r"reportgen\.layers = (\[.*\]);?\n", script, re.DOTALL)
    if not found or not isinstance(json.loads(found[1]), list):
        return "the list of layers is no list"
    return (
        "the list of layers could end its script" if re.search("</script|<!--|[\u2028\u2029]", script, re.I) else ""
    )


def _tree(html: str) -> Element:
    root: Element = html5lib.HTMLParser(namespaceHTMLElements=False).parse(html.encode("utf-8").decode("utf-8"))
    return root


@functools.cache
def _plain_texts(text: str) -> dict[str, list[tuple[str, tuple[str, ...]]]]:
    files = render(with_texts(text)).files
    return {name: structure(_tree(text)) for name, text in files.items() if name.endswith(".html")}


@functools.cache
def _plain_pages() -> dict[str, Element]:
    plain = make_record(captions=dict.fromkeys(["index", "about", "layers/*", "images/disc"], "plain"))
    return {name: _tree(text) for name, text in render(plain).files.items() if name.endswith(".html")}


# Slugs

_DEVICES = re.compile(r"(con|prn|aux|nul|com[0-9]|lpt[0-9])", re.I)


def as_file_systems_compare(name: str) -> str:
    """What names have in common that one file system or another takes for the same."""
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", name).casefold())


def slug_faults(names: Iterable[str]) -> Iterator[str]:
    """Yield for each distinct name what is wrong with its slug, "" if nothing."""
    met: dict[str, str] = {}
    for name in dict.fromkeys(names):
        slug = slugify(name)
        other = met.setdefault(as_file_systems_compare(slug), name)
        if other != name:
            yield f"slug {slug!r} of {name!r} is that of {other!r}"
        elif not re.fullmatch(r"[a-z0-9][a-z0-9._-]{0,99}", slug) or _DEVICES.fullmatch(slug.split(".")[0]):
            yield f"slug {slug!r} of {name!r}"
        else:
            yield ""
