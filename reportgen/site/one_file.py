"""A site as one HTML file: its pages as sections, pictures and small tables as `data:`, scripts and styles inline.

The document is made piece by piece, so that at most one page and one picture are in memory. Its content policy lets
only the scripts and styles run that it lists by their hash, and lets nothing be loaded.
"""

import base64
import html
import posixpath
import re
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import BinaryIO
from urllib.parse import unquote

from reportgen.errors import InputError
from reportgen.site.inlining import data_block, policy, script_text, style_text
from reportgen.site.render import templates_directory
from reportgen.site.rewriting import MIME, Content, Holdings, Picture, Piece, Rewriter, attribute, embeddable
from reportgen.site.source import Source
from reportgen.site.writer import MANIFEST

MARK = ' data-packed="reportgen">'
"""Stands near the start of the document, so that a later one may take its place."""

SMALL = 64 * 1024
"""A table of at most so many bytes is embedded for download."""

_SCRIPT = re.compile(r'<script\b[^>]*\ssrc="([^"]*)"')
_SHEET = re.compile(r'<link rel="stylesheet" href="([^"]*)"')
_TITLE = re.compile(r"<title>(.*?)</title>", re.DOTALL)
_LANGUAGE = re.compile(r'<html[^>]*\slang="([^"]*)"')
_DESCRIPTION = re.compile(r'<meta name="description" content="[^"]*">')
_MAIN_ID = re.compile(r'<main[^>]*\sid="([^"]*)"')
_MAIN = re.compile(r"<main[\s>].*</main>", re.DOTALL)

_FIT = {"clip": "xMinYMid slice", "thumbs": "xMidYMid meet", "jump": "xMidYMid slice"}
"""How a drawn picture fills its place where the style gives its `img` another object-fit than to stretch it."""

_FOLDER = "packed"
"""Where among the templates the scripts and styles are that only a document has."""


@dataclass(frozen=True)
class Parts:
    """The bytes of a document: of its pages with all but the pictures and files for download, and of these."""

    pages: int
    pictures: int
    downloads: int

    @property
    def total(self) -> int:
        return self.pages + self.pictures + self.downloads


@dataclass
class _Places:
    """Where one picture stands: how often, and the bytes of the markup there, as `img` and drawn."""

    count: int = 0
    plain: int = 0
    drawn: int = 0


class _Census:
    """Counts pieces: the bytes of text, the places of each picture, and how often each file can be downloaded."""

    def __init__(self) -> None:
        self.text = 0
        self.places: dict[str, _Places] = {}
        self.downloads: Counter[str] = Counter()

    def add(self, pieces: Iterable[Piece]) -> None:
        for piece in pieces:
            if isinstance(piece, str):
                self.text += len(piece.encode())
            elif isinstance(piece, Content):
                self.downloads[piece.file] += 1
            else:
                self._place(piece)

    def _place(self, picture: Picture) -> None:
        places = self.places.setdefault(picture.file, _Places())
        places.count += 1
        places.plain += _text_size(_plain(picture))
        places.drawn += _text_size(_drawn(picture, 0))


class Document:
    """A site as one document, to be measured and then written.

    Raises InputError when a page has no `main` or shows a picture that is no file of the site.
    """

    def __init__(self, source: Source) -> None:
        self._source = source
        self._pages = source.pages()
        small = (name for name, size in source.sizes.items() if name.startswith("data/") and size <= SMALL)
        self._holdings = Holdings(frozenset(self._pages), frozenset(filter(embeddable, small)))
        self._census = _Census()
        self._scripts: dict[str, None] = {}
        self._sheets: dict[str, None] = {}
        for page in self._pages:
            self._survey(page)
        self._before, self._after = self._frame()
        for pieces in (self._before, self._after):
            self._census.add(pieces)
        several = (name for name, places in self._census.places.items() if places.count > 1)
        self._shared = {name: number for number, name in enumerate(several)}
        self._check()

    # A first look at every page

    def _survey(self, page: str) -> None:
        text = self._text_of(page)
        head = text.partition("</head>")[0]
        self._scripts |= dict.fromkeys(_beside(page, address) for address in _SCRIPT.findall(text))
        self._sheets |= dict.fromkeys(_beside(page, address) for address in _SHEET.findall(head))
        self._census.add(self._section(page, text))

    def _text_of(self, page: str) -> str:
        try:
            return self._source.text(page)
        except UnicodeDecodeError:
            raise InputError(f"{page}: not UTF-8; build the report again") from None

    def _section(self, page: str, text: str) -> Iterator[Piece]:
        main, title = _MAIN.search(text), _TITLE.search(text)
        if main is None:
            raise InputError(f"{page}: has no element main, which a page in one file is made of")
        named = html.unescape(title[1]) if title else page
        yield from Rewriter(page, self._holdings, title=named).rewrite(main[0])
        yield "\n"

    def _frame(self) -> tuple[list[Piece], list[Piece]]:
        """What stands around the pages: as on the index."""
        text = self._text_of(self._pages[0])
        before, after = _MAIN.split(text)
        identity = _MAIN_ID.search(text)
        body = before[before.index("<body") :]
        rewriters = [Rewriter(self._pages[0], self._holdings, frame=True) for _ in range(2)]
        start = f"<main{attribute('id', identity[1])}>\n" if identity else "<main>\n"
        return (
            [*rewriters[0].rewrite(body), start],
            ["</main>", *rewriters[1].rewrite(after[: after.rindex("</body>")])],
        )

    def _check(self) -> None:
        for name in (*self._census.places, *self._scripts, *self._sheets):
            if name not in self._source.sizes:
                raise InputError(f"a page needs {name}, which {MANIFEST} doesn't list; build the report again")

    # Measuring

    @cached_property
    def parts(self) -> Parts:
        """How many bytes the document will have; the estimate is exact."""
        census = self._census
        added = [self._head, *self._store(placeholder=True), self._note, *self._data_blocks(), self._ending]
        pages = census.text + _text_size(added)
        pictures = sum(self._picture_size(name) for name in census.places)
        downloads = sum(count * self._data_size(name) for name, count in census.downloads.items())
        return Parts(pages, pictures, downloads)

    def _picture_size(self, name: str) -> int:
        places = self._census.places[name]
        return (places.drawn if name in self._shared else places.plain) + self._data_size(name)

    def _data_size(self, name: str) -> int:
        return len(_data_start(name)) + 4 * -(-self._source.sizes[name] // 3)

    # Writing

    def write(self, file: BinaryIO) -> None:
        """Write the document, reading each picture when its place comes."""
        for piece in self._pieces():
            for part in self._resolved(piece):
                file.write(part.encode() if isinstance(part, str) else self._embedded(part.file))

    def _pieces(self) -> Iterator[Piece]:
        yield self._head
        yield from self._before[:-1]
        yield from self._store()
        yield self._before[-1]
        for page in self._pages:
            yield from self._section(page, self._text_of(page))
        yield self._note
        yield from self._after
        yield from self._data_blocks()
        yield self._ending

    def _resolved(self, piece: Piece) -> Iterable[str | Content]:
        if not isinstance(piece, Picture):
            return (piece,)
        if piece.file in self._shared:
            return _drawn(piece, self._shared[piece.file])
        return _plain(piece)

    def _embedded(self, name: str) -> bytes:
        return _data_start(name).encode() + base64.b64encode(self._source.read(name))

    # The document's own parts

    @cached_property
    def _style(self) -> str:
        own = _own_file("pack.css")
        return "\n".join([*(style_text(name, self._source) for name in self._sheets), own])

    @cached_property
    def _running(self) -> list[str]:
        """The scripts at the document's end, in the order in which the pages load them, and its own."""
        texts = [self._source.text(name) for name in self._scripts]
        return [script_text(text) for text in (*texts, _own_file("pack.js"))]

    @cached_property
    def _head(self) -> str:
        text = self._text_of(self._pages[0]).partition("</head>")[0]
        language, title, description = (each.search(text) for each in (_LANGUAGE, _TITLE, _DESCRIPTION))
        opening = _own_file("opening.js")
        allowed = policy(self._style, [opening, *self._running])
        lines = [
            "<!doctype html>",
            f'<html lang="{language[1] if language else "en"}" data-root=""{MARK}',
            '<head>\n<meta charset="utf-8">',
            f'<meta http-equiv="Content-Security-Policy" content="{allowed}">',
            '<meta name="viewport" content="width=device-width, initial-scale=1">',
            '<meta name="color-scheme" content="light dark">',
            f"<meta{attribute('name', 'generator')}{attribute('content', self._source.record.generator)}>",
            *([description[0]] if description else []),
            f"<title>{title[1] if title else ''}</title>",
            '<link rel="icon" href="data:,">',
            f"<style>{self._style}</style>",
            f"<script>{opening}</script>\n</head>\n",
        ]
        return "\n".join(lines)

    def _store(self, *, placeholder: bool = False) -> Iterator[Piece]:
        """Pictures that stand in several places, held once; with `placeholder` without their content."""
        if not self._shared:
            return
        yield '\n<svg class="pictures-store" aria-hidden="true" focusable="false"><defs>\n'
        for name, number in self._shared.items():
            yield f'<image id="{_identity(number)}" width="1" height="1" preserveAspectRatio="none" href="'
            if not placeholder:
                yield Content(name)
            yield '"></image>\n'
        yield "</defs></svg>\n"

    def _data_blocks(self) -> Iterator[str]:
        for name in self._data_scripts:
            yield data_block(name, self._source.text(name))

    @cached_property
    def _data_scripts(self) -> list[str]:
        """What pages may load later, as far as it is data."""
        names = sorted(name for name in self._source.sizes if name.endswith(".js") and name not in self._scripts)
        return [name for name in names if data_block(name, self._source.text(name))]

    @cached_property
    def _note(self) -> str:
        """What of the site the document lacks."""
        census = self._census
        here = {*self._pages, *census.places, *census.downloads, *self._scripts, *self._sheets, *self._data_scripts}
        lacking = [name for name in self._source.sizes if name not in here]
        if not lacking:
            return ""
        counts = Counter(name.rpartition(".")[2].upper() for name in lacking)
        size = sum(self._source.sizes[name] for name in lacking)
        listed = ", ".join(f"{count:,} {suffix}" for suffix, count in sorted(counts.items()))
        return (
            f'<p class="packed">This is a report in one file. The site that it was made from has {len(lacking):,} '
            f"more file{'s' if len(lacking) > 1 else ''} ({listed}; {size / 1e6:.1f} MB): charts as "
            "vector graphics, larger tables, arrays, and the record report.json, as far as there are such.</p>\n"
        )

    @cached_property
    def _ending(self) -> str:
        return "".join(f"<script>{script}</script>\n" for script in self._running) + "</body>\n</html>\n"


def is_document(start: bytes) -> bool:
    """Whether a file that begins with `start`, at least 200 bytes of it, is a document that was written here."""
    return MARK.encode() in start[:200]


def _own_file(name: str) -> str:
    path: Path = templates_directory() / _FOLDER / name
    return path.read_text(encoding="utf-8")


def _beside(page: str, address: str) -> str:
    return posixpath.normpath(posixpath.join(posixpath.dirname(page), unquote(html.unescape(address))))


def _data_start(name: str) -> str:
    return f"data:{MIME[name.rpartition('.')[2]]};base64,"


def _identity(number: int) -> str:
    """An id of a fixed length, and none that a page could have: those hold a slash."""
    return f"_picture-{number:06d}"


def _plain(picture: Picture) -> Iterator[str | Content]:
    yield '<img src="'
    yield Content(picture.file)
    yield f'"{"".join(attribute(name, value) for name, value in picture.attributes)}>'


def _drawn(picture: Picture, number: int) -> Iterator[str | Content]:
    """The picture as a drawing of one that is held elsewhere in the document; it looks and reads the same."""
    given = dict(picture.attributes)
    alt, classes = given.pop("alt", None) or "", given.pop("class", None) or ""
    width, height = given.get("width") or "1", given.get("height") or "1"
    for name in ("loading", "decoding"):
        given.pop(name, None)
    title = given.pop("title", None)
    tip = f"<title>{html.escape(title)}</title>" if title else ""
    told = {"role": "img", "aria-label": alt} if alt else {"aria-hidden": "true"}
    fit = next((_FIT[name] for name in _FIT if name in picture.classes), "none")
    attributes = {
        "class": f"picture {classes}".rstrip(),
        **told,
        **given,
        "viewBox": f"0 0 {width} {height}",
        "preserveAspectRatio": fit,
    }
    written = "".join(attribute(name, value) for name, value in attributes.items())
    yield f'<svg{written}>{tip}<use href="#{_identity(number)}" transform="scale({width} {height})"></use></svg>'


def _text_size(parts: Iterable[str | Content | Piece]) -> int:
    return sum(len(part.encode()) for part in parts if isinstance(part, str))
