"""A finished site judged as a graph of files: what a reader, a web server or an archive would stumble over."""

import hashlib
import os
import re
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path
from urllib.parse import unquote, urlsplit
from xml.etree.ElementTree import Element

import html5lib
from html5lib.constants import E as PARSE_ERRORS

MANIFEST = "SHA256SUMS"
BUDGET_BYTES = 1_500_000
BUDGET_ELEMENTS = 15_000
EAGER = 16
"""So many pictures of a page, those that a reader may see first, may be loaded at once."""

_ADDRESSES = ("href", "src", "poster", "data", "action", "formaction", "background", "xlink:href")
_REFERENCES = ("aria-labelledby", "aria-describedby", "aria-controls", "for")
_CAPTION_RELATION = {"noopener", "noreferrer"}


def check_site(site: Path, base_url: str = "") -> list[str]:
    """Return every problem of the site at `site`, one line each, empty for a site without any.

    `base_url` is what its user said the site's address on the web is, with a slash at the end.

    - Every internal address leads to a file of the site, and its fragment to an id there. None is absolute.
    - Nothing is loaded from elsewhere. A link may lead elsewhere where a user's caption holds it: such links, and
      no others, bear `rel="noopener noreferrer"`.
    - Pages are valid HTML with unique ids, one h1 and one main; headings follow without a gap, landmarks have
      names of their own; pictures have alt, width and height, and all but the first are lazy; nothing is inline:
      no script, style or event handler. A content policy allows the site's own files alone. No page is larger
      than the budget.
    - Style sheets and scripts load nothing from elsewhere.
    - No text holds a path of the machine that made it.
    - The picture that a page names for previews is one of the site. With `base_url`, and only with it, pages name
      their own address on the web, and that of the picture.
    - No name starts with a dot or an underscore, SHA256SUMS lists every other file with its hash, and every page
      can be reached from index.html.
    """
    files = _files(site)
    pages = {name: _read_page(site, name) for name in sorted(files) if name.endswith(".html")}
    problems = [f"{name}: {problem}" for name, page in pages.items() for problem in page.problems]
    problems += [
        f"{name}: {problem}"
        for name, page in pages.items()
        for problem in (*_check_links(page, files, pages), *_check_preview(page, files, base_url))
    ]
    checks = (_check_sheets, _check_scripts, _check_paths, _check_names, _check_manifest)
    return [*problems, *(problem for check in checks for problem in check(site)), *_check_reach(pages)]


@dataclass(frozen=True)
class _Page:
    name: str
    root: Element
    parse_errors: tuple[str, ...]
    size: int = 0

    @cached_property
    def elements(self) -> tuple[Element, ...]:
        return tuple(element for element in self.root.iter() if isinstance(element.tag, str))

    @cached_property
    def parents(self) -> dict[Element, Element]:
        return {child: parent for parent in self.root.iter() for child in parent}

    @cached_property
    def ids(self) -> Counter[str]:
        return Counter(element.attrib["id"] for element in self.elements if "id" in element.attrib)

    @cached_property
    def problems(self) -> tuple[str, ...]:
        """What is wrong with the page by itself."""
        return tuple(_check_page(self))

    @cached_property
    def addresses(self) -> tuple[tuple[Element, str], ...]:
        return tuple((element, address) for element in self.elements for address in _addresses_of(element))

    def file_of(self, address: str) -> str:
        """The path in the site that a relative address leads to; it starts with `..` when it leaves the site."""
        path = unquote(urlsplit(address).path)
        return os.path.normpath(f"{Path(self.name).parent}/{path}") if path else self.name


def _addresses_of(element: Element) -> Iterator[str]:
    yield from (element.attrib[key] for key in _ADDRESSES if key in element.attrib)
    yield from (candidate.split()[0] for candidate in element.get("srcset", "").split(",") if candidate.strip())


def _files(site: Path) -> set[str]:
    return {path.relative_to(site).as_posix() for path in site.rglob("*") if not path.is_dir()}


def _read_page(site: Path, name: str) -> _Page:
    return _parse(name, (site / name).read_bytes())


@lru_cache(maxsize=256)  # many sites of the tests have most of their pages in common
def _parse(name: str, content: bytes) -> _Page:
    parser = html5lib.HTMLParser(namespaceHTMLElements=False)
    try:
        text = content.decode("utf-8")
    except UnicodeDecodeError:
        return _Page(name, Element("html"), ("not UTF-8",))
    root = parser.parse(text)
    errors = tuple(f"line {place[0]}: {PARSE_ERRORS[code] % values}" for place, code, values in parser.errors)
    return _Page(name, root, errors, len(content))


def _check_page(page: _Page) -> Iterator[str]:
    for error in page.parse_errors:
        yield f"not valid HTML: {error}"
    for identifier, count in page.ids.items():
        if count > 1:
            yield f"id {identifier!r} stands {count} times"
    for check_whole in (
        _check_policy,
        _check_budget,
        _check_single,
        _check_headings,
        _check_landmarks,
        _check_laziness,
    ):
        yield from check_whole(page)
    for element in page.elements:
        for check in (_check_picture, _check_inline, _check_references):
            yield from check(element, page)


def count_elements(html: str) -> int:
    """Count the elements of a page by their start tags, which each of our pages' elements has."""
    return len(re.findall(r"<[a-zA-Z]", html))


def _check_policy(page: _Page) -> Iterator[str]:
    """What the page allows itself stands before anything that it could load."""
    metas = [element for element in page.elements if element.get("http-equiv") == "Content-Security-Policy"]
    loading = [element for element in page.elements if element.tag in ("link", "script", "style", "img")]
    if len(metas) != 1 or any(page.elements.index(metas[0]) > page.elements.index(each) for each in loading[:1]):
        yield "no content policy before what it would hold for"
        return
    rules = {rule.split()[0]: rule.split()[1:] for rule in metas[0].get("content", "").split(";")}
    for name in ("default-src", "base-uri", "form-action"):
        if rules.pop(name, None) != ["'none'"]:
            yield f"the content policy allows something by {name}"
    for name, allowed in rules.items():
        if name not in ("script-src", "style-src", "img-src") or not set(allowed) <= {"'self'", "file:"}:
            yield f"the content policy allows {' '.join(allowed)} by {name}"


def _check_budget(page: _Page) -> Iterator[str]:
    if page.size > BUDGET_BYTES:
        yield f"{page.size} bytes, more than {BUDGET_BYTES}"
    if len(page.elements) > BUDGET_ELEMENTS:
        yield f"{len(page.elements)} elements, more than {BUDGET_ELEMENTS}"


def _check_single(page: _Page) -> Iterator[str]:
    for tag in ("h1", "main"):
        count = sum(element.tag == tag for element in page.elements)
        if count != 1:
            yield f"{count} elements {tag}, not one"


def _check_headings(page: _Page) -> Iterator[str]:
    level = 0
    for element in page.elements:
        if re.fullmatch("h[1-6]", element.tag):
            if int(element.tag[1]) > level + 1:
                before = f"h{level}" if level else "none"
                yield f"heading {''.join(element.itertext())!r} is {element.tag} after {before}"
            level = int(element.tag[1])


def _check_landmarks(page: _Page) -> Iterator[str]:
    navigation = [element for element in page.elements if element.tag == "nav"]
    if any("aria-label" not in element.attrib for element in navigation):
        yield "a nav without aria-label"
    for label, count in Counter(element.get("aria-label") for element in navigation).items():
        if label is not None and count > 1:
            yield f"{count} elements nav are called {label!r}"
    for figcaption in page.elements:
        if figcaption.tag == "figcaption" and page.parents[figcaption].tag != "figure":
            yield "a figcaption that is no part of a figure"


def _check_laziness(page: _Page) -> Iterator[str]:
    pictures = [element for element in page.elements if element.tag == "img"]
    for element in pictures[EAGER:]:
        if element.get("loading") != "lazy":
            yield f"picture {element.get('src')!r} is not lazy"


def _check_picture(element: Element, _: _Page) -> Iterator[str]:
    if element.tag != "img":
        return
    for attribute in ("src", "alt", "width", "height"):
        if attribute not in element.attrib:
            yield f"picture {element.get('src')!r} has no {attribute}"
    for attribute in ("width", "height"):
        if not re.fullmatch("[1-9][0-9]*", element.get(attribute, "1")):
            yield f"picture {element.get('src')!r} has {attribute} {element.get(attribute)!r}"


def _check_inline(element: Element, _: _Page) -> Iterator[str]:
    if element.tag == "style":
        yield "an element style"
    if element.tag == "script" and "src" not in element.attrib:
        yield "an inline script"
    for attribute in element.attrib:
        if attribute == "style":
            yield f"an inline style on {element.tag}"
        if attribute.startswith("on"):
            yield f"an event handler {attribute} on {element.tag}"


def _check_references(element: Element, page: _Page) -> Iterator[str]:
    for attribute in _REFERENCES:
        for identifier in element.get(attribute, "").split():
            if identifier not in page.ids:
                yield f"{attribute} names {identifier!r}, which no element is"


def _check_links(page: _Page, files: set[str], pages: dict[str, _Page]) -> Iterator[str]:
    for element, address in page.addresses:
        if element.get("rel") == "canonical":  # see _check_preview
            continue
        kind = _kind_of(address)
        if kind == "internal":
            yield from _check_internal(page, address, files, pages)
        elif not _is_allowed(element, kind):
            yield f"{kind} address {address!r} in {element.tag}"


def _check_preview(page: _Page, files: set[str], base_url: str) -> Iterator[str]:
    told = {
        element.get("property"): element.get("content", "") for element in page.elements if element.tag == "meta"
    }
    picture = told.get("og:image")
    if picture is not None:
        path = picture.removeprefix(base_url) if base_url else page.file_of(picture)
        if path not in files or _kind_of(picture) != ("remote" if base_url else "internal"):
            yield f"og:image {picture!r} is no picture of the site"
    canonical = [element.get("href") for element in page.elements if element.get("rel") == "canonical"]
    own = base_url and base_url + page.name.removesuffix("index.html" if page.name == "index.html" else "")
    if canonical != ([own] if own else []) or told.get("og:url", "") != own:
        yield f"its address on the web is {canonical} and {told.get('og:url')!r}, not {own!r}"


def _kind_of(address: str) -> str:
    """`internal`, `absolute`, `data`, `remote`, or another scheme's name."""
    try:
        parts = urlsplit(address.strip())
    except ValueError:
        return "malformed"
    if parts.scheme in ("http", "https", "mailto") or parts.netloc:
        return "remote"
    if parts.scheme == "file" or parts.path.startswith(("/", "\\")):
        return "absolute"
    return parts.scheme or "internal"


def _is_allowed(element: Element, kind: str) -> bool:
    if kind == "data":
        return element.tag in ("img", "link")
    return kind == "remote" and element.tag == "a" and set(element.get("rel", "").split()) == _CAPTION_RELATION


def _check_internal(page: _Page, address: str, files: set[str], pages: dict[str, _Page]) -> Iterator[str]:
    target = page.file_of(address)
    fragment = unquote(urlsplit(address).fragment)
    if target not in files:
        yield f"{address!r} leads to no file of the site"
    elif fragment and (target not in pages or fragment not in pages[target].ids):
        yield f"{address!r} leads to no id of {target}"


def _check_sheets(site: Path) -> Iterator[str]:
    for path in sorted(site.rglob("*.css")):
        text = re.sub(r"/\*.*?\*/", "", path.read_text(encoding="utf-8"), flags=re.DOTALL)
        name = path.relative_to(site).as_posix()
        if "@import" in text:
            yield f"{name}: imports another style sheet"
        for address in re.findall(r"url\(\s*['\"]?([^'\")]*)", text):
            kind = _kind_of(address)
            if kind not in ("data", "internal"):
                yield f"{name}: {kind} address {address!r}"
            elif kind == "internal" and not (path.parent / unquote(urlsplit(address).path)).is_file():
                yield f"{name}: {address!r} leads to no file of the site"


# What loads something by itself, and the start of an address elsewhere, but for the names that XML is known by.
_LOADING = re.compile(
    r"\b(?:fetch|XMLHttpRequest|WebSocket|EventSource|sendBeacon|importScripts)\b|\bimport\b\s*\("
)
_ELSEWHERE = re.compile(r"(?:https?:|[\"'`])//(?!www\.w3\.org/)[\w.-]+")


def _check_scripts(site: Path) -> Iterator[str]:
    for path in sorted(site.rglob("*.js")):
        # The list of layers is data: their titles may name anything.
        code = "" if path.name.startswith("layers.") else _without_comments(path.read_text(encoding="utf-8"))
        for match in (*_LOADING.finditer(code), *_ELSEWHERE.finditer(code)):
            yield f"{path.relative_to(site).as_posix()}: may load from elsewhere: {match[0]!r}"


def _without_comments(code: str) -> str:
    return re.sub(r"^\s*//.*$|/\*.*?\*/", "", code, flags=re.MULTILINE | re.DOTALL)


_TEXTS = (".html", ".css", ".js", ".json", ".csv", ".svg")
_MACHINE_PATH = re.compile(
    r"(?<![\w.:/-])/(?:home|root|tmp|private|var|Users|mnt|opt|usr)/[\w.-]+|\b[A-Z]:\\\\?Users"
)


def _check_paths(site: Path) -> Iterator[str]:
    for path in sorted(site.rglob("*")):
        if path.suffix in _TEXTS and path.is_file():
            text = path.read_text(encoding="utf-8", errors="replace")
            for found in sorted(set(_MACHINE_PATH.findall(text))):
                yield f"{path.relative_to(site).as_posix()}: holds the path {found!r}"


def _check_names(site: Path) -> Iterator[str]:
    for path in sorted(site.rglob("*")):
        if path.name.startswith((".", "_")):
            yield f"{path.relative_to(site).as_posix()}: the name starts with {path.name[0]!r}"


def _check_manifest(site: Path) -> Iterator[str]:
    if not (site / MANIFEST).is_file():
        yield f"{MANIFEST}: missing"
        return
    listed: dict[str, str] = {}
    for line in (site / MANIFEST).read_text(encoding="utf-8").splitlines():
        match = re.fullmatch(r"([0-9a-f]{64})  (.+)", line)
        if not match or match[2] in listed:
            yield f"{MANIFEST}: {'twice' if match else 'not a line of sha256sum'}: {line!r}"
        else:
            listed[match[2]] = match[1]
    yield from _compare(listed, site)


def _compare(listed: dict[str, str], site: Path) -> Iterator[str]:
    present = _files(site) - {MANIFEST}
    for name in sorted(present - set(listed)):
        yield f"{MANIFEST}: does not list {name}"
    for name, digest in sorted(listed.items()):
        if name not in present:
            yield f"{MANIFEST}: lists {name}, which is no file of the site"
        elif hashlib.sha256((site / name).read_bytes()).hexdigest() != digest:
            yield f"{MANIFEST}: {name} has another hash"


def _check_reach(pages: dict[str, _Page]) -> Iterator[str]:
    if "index.html" not in pages:
        yield "index.html: missing"
        return
    reached, waiting = {"index.html"}, ["index.html"]
    while waiting:
        found = _linked_pages(pages[waiting.pop()], pages.__contains__) - reached
        reached |= found
        waiting += found
    for name in sorted(set(pages) - reached):
        yield f"{name}: no link leads here from index.html"


def _linked_pages(page: _Page, is_page: Callable[[str], bool]) -> set[str]:
    addresses = (address for element, address in page.addresses if element.tag == "a")
    return {target for target in map(page.file_of, filter(_is_internal, addresses)) if is_page(target)}


def _is_internal(address: str) -> bool:
    return _kind_of(address) == "internal"
