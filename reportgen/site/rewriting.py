"""A page of a site as a part of one long document: its ids, links, pictures and downloads put right.

In the document an id begins with the address of its page and a slash: `layers/conv.html/cat`. So ids are unique,
an element's address says where it stands, and a link to a place on a page becomes one to a fragment.
"""

import html
import posixpath
import re
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from html.parser import HTMLParser
from urllib.parse import quote, unquote, urlsplit

MIME = {
    "png": "image/png",
    "jpg": "image/jpeg",
    "jpeg": "image/jpeg",
    "gif": "image/gif",
    "webp": "image/webp",
    "svg": "image/svg+xml",
    "csv": "text/csv",
    "json": "application/json",
    "woff": "font/woff",
    "woff2": "font/woff2",
}
"""What may be embedded, by the end of its name."""

VOID = frozenset(
    {"area", "base", "br", "col", "embed", "hr", "img", "input", "link", "meta", "source", "track", "wbr"}
)

_REFERENCES = frozenset(
    {
        "for", "form", "list", "headers", "popovertarget", "commandfor", "aria-activedescendant", "aria-controls",
        "aria-describedby", "aria-details", "aria-errormessage", "aria-flowto", "aria-labelledby", "aria-owns",
    }
)  # fmt: skip
"""Attributes that hold ids, several of them with spaces between."""

_PAINT = re.compile(r"url\(#")

Attributes = list[tuple[str, str | None]]


@dataclass(frozen=True)
class Picture:
    """An `img` of a page, to be written with the file's content; `classes` are those of the elements around it."""

    file: str
    attributes: tuple[tuple[str, str | None], ...]
    classes: frozenset[str]


@dataclass(frozen=True)
class Content:
    """A file's content as a `data:` address."""

    file: str


Piece = str | Picture | Content


def prefix_of(page: str) -> str:
    """Return what the ids of a page begin with."""
    return f"{page}/"


def fragment_to(page: str, place: str = "") -> str:
    """Return the link to a place on a page, encoded as site.js does it."""
    return "#" + quote(prefix_of(page) + place, safe="/:!*'()")


@dataclass(frozen=True)
class Holdings:
    """What the document holds: `pages` as parts of it, and `downloads` as data."""

    pages: Collection[str]
    downloads: Collection[str]


class Rewriter(HTMLParser):
    """Turns the elements of one page into pieces, in order, each written out before the next is read.

    `main` becomes a `section` that knows its page. With `frame=True` the elements are those around the pages,
    which keep their ids, and end where a page's begin.
    """

    def __init__(self, page: str, holdings: Holdings, *, title: str = "", frame: bool = False) -> None:
        super().__init__(convert_charrefs=False)
        self._page, self._holdings, self._title, self._frame = page, holdings, title, frame
        self._prefix = "" if frame else prefix_of(page)
        self._pieces: list[Piece] = []
        self._classes: list[tuple[str, frozenset[str]]] = []
        self._dropped = ""

    def rewrite(self, text: str) -> Iterator[Piece]:
        """Yield the pieces of a part of the page that is well-formed in itself."""
        self.feed(text)
        self.close()
        yield from self._pieces

    # What the parser reports

    def handle_starttag(self, tag: str, attrs: Attributes) -> None:
        self._start(tag, attrs, "")
        if tag not in VOID:
            self._classes.append((tag, frozenset((dict(attrs).get("class") or "").split())))

    def handle_startendtag(self, tag: str, attrs: Attributes) -> None:
        self._start(tag, attrs, "" if tag in VOID else "/")

    def handle_endtag(self, tag: str) -> None:
        self._leave(tag)
        if self._dropped:
            self._dropped = "" if tag == self._dropped else self._dropped
        elif tag not in VOID:
            self._write(f"</{_section(tag)}>")

    def handle_data(self, data: str) -> None:
        self._write(data)

    def handle_entityref(self, name: str) -> None:
        self._write(f"&{name};")

    def handle_charref(self, name: str) -> None:
        self._write(f"&#{name};")

    # What becomes of it

    def _write(self, text: str) -> None:
        if not self._dropped:
            self._pieces.append(text)

    def _leave(self, tag: str) -> None:
        for at in range(len(self._classes) - 1, -1, -1):
            if self._classes[at][0] == tag:
                del self._classes[at:]
                return

    def _start(self, tag: str, attributes: Attributes, slash: str) -> None:
        if self._dropped:
            return
        if tag in ("script", "style", "link", "meta", "base"):
            # Nothing of these may run or load in the document; the policy would block it, too.
            self._dropped = tag if tag in ("script", "style") and not slash else ""
        elif tag == "img":
            self._picture(attributes)
        elif tag == "a" and self._is_lost(attributes):
            self._dropped = tag
        else:
            self._element(tag, attributes, slash)

    def _element(self, tag: str, attributes: Attributes, slash: str) -> None:
        if tag == "main":
            about = [("data-prefix", self._prefix), ("data-title", self._title)]
            attributes = [("id", ""), *(each for each in attributes if each[0] != "id"), *about]
        self._write(f"<{_section(tag)}")
        for name, value in attributes:
            self._attribute(tag, name, value)
        self._write(f"{slash}>")

    def _attribute(self, tag: str, name: str, value: str | None) -> None:
        if name in ("src", "srcset", "download"):
            return
        if value is None:
            self._write(f" {name}")
        elif name in ("href", "xlink:href"):
            self._link(name, value)
        else:
            self._write(f' {name}="{html.escape(self._moved(tag, name, value))}"')

    def _moved(self, tag: str, name: str, value: str) -> str:
        """The value with the ids in it, if any, as they are in the document."""
        if name == "id" or (tag == "a" and name == "name"):
            return self._prefix + value
        if name in _REFERENCES:
            return " ".join(self._prefix + each for each in value.split())
        return _PAINT.sub(lambda _: f"url(#{self._prefix}", value)

    def _picture(self, attributes: Attributes) -> None:
        source = dict(attributes).get("src") or ""
        if source.startswith("data:"):
            self._write(f"<img{''.join(attribute(name, value) for name, value in attributes)}>")
            return
        moved = [(name, value and self._moved("img", name, value)) for name, value in attributes]
        around = frozenset().union(*(classes for _, classes in self._classes)) if self._classes else frozenset()
        kept = tuple(each for each in moved if each[0] not in ("src", "srcset"))
        self._pieces.append(Picture(self._file(source), kept, around))

    def _file(self, address: str) -> str:
        path = unquote(urlsplit(address).path)
        return posixpath.normpath(posixpath.join(posixpath.dirname(self._page), path)) if path else self._page

    def _is_lost(self, attributes: Attributes) -> bool:
        """Whether the element offers a file for download that the document doesn't hold."""
        given = dict(attributes)
        address = given.get("href") or ""
        return "download" in given and _is_internal(address) and self._file(address) not in self._holdings.downloads

    def _link(self, name: str, address: str) -> None:
        if not _is_internal(address) or (self._frame and address.startswith("#")):
            self._write(f' {name}="{html.escape(address)}"')
            return
        file = self._file(address)
        if file in self._holdings.pages:
            fragment = fragment_to(file, unquote(urlsplit(address).fragment))
            self._write(f' {name}="{html.escape(fragment)}"')
        elif file in self._holdings.downloads:
            self._write(f' {name}="')
            self._pieces.append(Content(file))
            self._write(f'" download="{html.escape(posixpath.basename(file))}"')
        # A link to a picture that stands on the page, or to a file that isn't here, leads nowhere: no address.


def _section(tag: str) -> str:
    return "section" if tag == "main" else tag


def _is_internal(address: str) -> bool:
    try:
        parts = urlsplit(address)
    except ValueError:
        return False
    return not parts.scheme and not parts.netloc


def attribute(name: str, value: str | None) -> str:
    """Return an attribute as it stands in a start tag, with the space before it."""
    return f" {name}" if value is None else f' {name}="{html.escape(value)}"'


def embeddable(name: str) -> bool:
    """Whether the file's kind is known well enough to stand in a `data:` address."""
    return name.rpartition(".")[2] in MIME
