"""A user's own texts: Markdown files, found by what they describe, turned into HTML that is safe to publish.

Markdown here has tables, footnotes, fenced code, and references to layers and figures:

- `[[layer1.0.relu_1]]` links to the page of that layer, `[[layer1.0.relu_1|the first block]]` shows other
  text, which may hold Markdown of its own. A reference to nothing known is shown as its text.
- `[[fig:channel_grid/conv1/cat]]` links to that figure and is shown as its number: `Figure 12`. See
  `reportgen.site.numbering`.
- In a table cell, where a bare `|` starts the next cell, write `[[conv1\\|the first layer]]`.
- `\\[[conv1]]`, code and blocks of raw HTML are left as they are.

A caption's `#` becomes `<h2>` or `<h3>`, since the levels above belong to the page. Raw HTML is allowed as far as
Markdown could have said it, `<img>` never.

`![alternative text](photos/cat.png "title")` shows a picture that the report holds, which is one of the captions'
directory (`reportgen.site.illustrations`); of any other the alternative text stays. The sanitiser sees a mark in
its place, which becomes an `<img>` of our own making afterwards: nothing that an author writes is an address there.
"""

import hashlib
import html as html_entities
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path
from xml.etree.ElementTree import Element

import nh3
from markdown import Markdown
from markdown.extensions import Extension
from markdown.extensions.fenced_code import FencedCodeExtension
from markdown.extensions.footnotes import FootnoteExtension
from markdown.extensions.sane_lists import SaneListExtension
from markdown.extensions.tables import TableExtension
from markdown.inlinepatterns import InlineProcessor
from markdown.treeprocessors import Treeprocessor
from markdown.util import AMP_SUBSTITUTE, ETX, STX, AtomicString
from markupsafe import Markup

from reportgen.errors import UsageError
from reportgen.names import as_written, did_you_mean, slugify

Link = Callable[[str], str | None]
"""From a reference (a node's name, or a figure) to its relative address, or None when there is no such thing."""

Label = Callable[[str], str]
"""From a reference to what it is shown as, where its author gives no other words."""


@dataclass(frozen=True)
class Illustration:
    """A picture as a page shows it: its address, relative to the page, and its size in pixels."""

    address: str
    width: int
    height: int


Illustrations = Callable[[str], Illustration | None]
"""From a picture's address as the caption has it to what the report holds of it, or None when that is nothing."""

MAX_BYTES = 256 * 1024
"""The largest caption file that is read."""

_PLACES = "index.md, about.md, layers/<node name or glob>.md, images/<id>.md and figures/<kind>.md"


@dataclass(frozen=True)
class Captions:
    """Markdown texts, each by the place that it describes.

    Keys are `index`, `about`, `layers/<node name or glob>`, `images/<id>`, `figures/<kind>`, in order.
    """

    texts: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        object.__setattr__(self, "texts", dict(sorted(self.texts.items())))

    def find(self, place: str, name: str | None = None) -> str:
        """Return the Markdown for `place`, or for the thing called `name` in it; "" when there is none.

        A layer without a text of its own takes that of the longest glob that matches its name (of equally
        long ones, the first by alphabet). An empty file is a text too: it keeps a glob's text off a layer.
        """
        return self.texts.get(self.key(place, name), "")

    def key(self, place: str, name: str | None = None) -> str:
        """Return the key of the text that `find` returns; that of no text where there is none."""
        key = place if name is None else f"{place}/{name}"
        if key in self.texts or place != "layers" or name is None:
            return key
        globs = [glob for glob in self._names("layers") if fnmatchcase(name, glob)]
        best = min(globs, key=lambda glob: (-len(glob), glob), default=None)
        return key if best is None else f"layers/{best}"

    def _names(self, place: str) -> Iterator[str]:
        return (key.removeprefix(f"{place}/") for key in self.texts if key.startswith(f"{place}/"))

    @property
    def index(self) -> str:
        """The text of the first page."""
        return self.find("index")

    @property
    def about(self) -> str:
        """The text of the page about the report."""
        return self.find("about")

    def layer(self, name: str) -> str:
        """The text of the layer called `name`: its own, or that of the most specific glob."""
        return self.find("layers", name)

    def image(self, image_id: str) -> str:
        """The text of one image."""
        return self.find("images", image_id)

    def figure(self, kind: str) -> str:
        """The text that goes with all figures of one kind."""
        return self.find("figures", kind)


def read_captions(directory: Path) -> Captions:
    """Read every `*.md` below `directory`, as UTF-8 with or without a byte order mark.

    A file's key is its path without the suffix: `layers/layer1.*.md` is `layers/layer1.*`, and
    `layers/a/b.md` speaks of the node `a/b`. Hidden files and directories are passed over.

    Raises UsageError for a missing or unreadable directory or file, a file that is too large or not UTF-8,
    a link to a file outside `directory`, and any link to a directory.
    """
    return Captions({key: text for key, _, text in caption_files(directory)})


def caption_files(directory: Path) -> Iterator[tuple[str, Path, str]]:
    """Yield key, path and text of every caption below `directory`; see `read_captions`."""
    if not directory.is_dir():
        problem = "is not a directory" if directory.exists() else "does not exist"
        raise UsageError(f"captions directory {str(directory)!r} {problem}; give one that holds *.md files")
    root = directory.resolve()
    for path in _find_files(directory):
        yield _key(path, directory), path, _read(path, root)


def _key(path: Path, directory: Path) -> str:
    return as_written(path.relative_to(directory).as_posix()).removesuffix(".md")


def _find_files(directory: Path) -> Iterator[Path]:
    for path in _list(directory):
        if path.is_dir():
            if path.is_symlink():
                raise UsageError(f"caption directory {str(path)!r} is a link; put a directory there instead")
            yield from _find_files(path)
        elif path.suffix == ".md":
            yield path


def _list(directory: Path) -> list[Path]:
    try:
        return sorted(path for path in directory.iterdir() if not path.name.startswith("."))
    except OSError as error:
        raise UsageError(f"captions directory {str(directory)!r} can't be read: {error.strerror}") from error


def _read(path: Path, root: Path) -> str:
    try:
        _check(path, root)
        return path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise UsageError(f"caption {str(path)!r} can't be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise UsageError(
            f"caption {str(path)!r} is not UTF-8 (byte {error.start}); save it in that encoding"
        ) from error


def _check(path: Path, root: Path) -> None:
    if not path.resolve().is_relative_to(root):
        raise UsageError(f"caption {str(path)!r} links to a file outside the captions; copy that file there")
    status = path.stat()
    if not path.is_file():
        raise UsageError(f"caption {str(path)!r} is not a regular file; replace or remove it")
    if status.st_size > MAX_BYTES:
        raise UsageError(
            f"caption {str(path)!r} has {status.st_size} bytes, more than the {MAX_BYTES} allowed; shorten it"
        )


def unmatched(
    captions: Captions, *, layers: Iterable[str], images: Iterable[str], kinds: Iterable[str]
) -> list[str]:
    """Return one warning for each caption that describes nothing in the report, in the order of keys."""
    known = {"layers": list(layers), "images": list(images), "figures": list(kinds)}
    warnings = (_warn(key, known) for key in captions.texts)
    return [" ".join(replace_controls(warning).split()) for warning in warnings if warning]


def _warn(key: str, known: Mapping[str, list[str]]) -> str:
    """Return what is wrong with the caption `key`, or an empty string."""
    place, _, name = key.partition("/")
    if key in ("index", "about") or (name in known.get(place, ()) and name):
        return ""
    if not name or place not in known:
        hint = did_you_mean(place, ["index", "about", *known])
        return f"caption {key}.md is not used: captions are {_PLACES}; {hint}".rstrip("; ")
    if place == "layers" and any(fnmatchcase(layer, name) for layer in known[place]):
        return ""
    wanted = {"layers": "a node's name or a glob", "images": "an image's id", "figures": "a kind of figure"}
    problem = f"caption {key}.md is not used: {name!r} must be {wanted[place]} that this report has"
    return f"{problem}; {did_you_mean(name, known[place])}".rstrip("; ")


def _no_pictures(_: str) -> None:
    """The illustrations of a report that holds none."""


def to_html(
    markdown: str,
    *,
    link: Link,
    prefix: str,
    label: Label = str,
    level: int = 3,
    illustrations: Illustrations = _no_pictures,
) -> Markup:
    """Return `markdown` as HTML that holds nothing but the allowed elements, attributes and addresses.

    `link` gives the address for the name in each `[[name]]`, `label` its text; where there is no address the name
    stays, marked `<span class="unknown-reference">`. Different values of `prefix` (any text) keep the ids of
    footnotes apart when several captions share a page; `id` occurs nowhere else. The highest headings become those
    of `level` (1 to 6), and the others follow without a gap. `illustrations` gives the picture for the address in
    each `![...](address)`; where there is none the alternative text stays.

    Addresses may be relative to the page, fragments, or `http`, `https` and `mailto`; those of pictures are what
    `illustrations` says. Classes are `footnote`, `footnote-ref`, `footnote-backref`, `illustration`,
    `unknown-reference`, `align-left`, `align-center`, `align-right`, and `language-*` on code.
    """
    if not markdown.strip():
        return Markup("")
    token = hashlib.sha256(markdown.encode("utf-8", "surrogatepass")).hexdigest()
    finish = _Finish(f"{token}_{slugify(prefix)}-", token, level, illustrations)
    cleaned = _sanitise(_convert(markdown, _References(link, label), finish), token, level)
    shown = re.sub(rf"{token}!(\d+);", lambda found: finish.shown[int(found[1])], cleaned).replace(token, "")
    # nh3 has escaped or removed everything that isn't on the lists below; what is shown since is written by _img.
    return Markup(replace_controls(shown).strip())  # noqa: S704


def unknown_references(markdown: str, link: Link) -> list[str]:
    """Return each name in `[[name]]` for which `link` gives None, once, in the order they are shown in."""
    finish = _Finish()
    _convert(markdown, _References(link), finish)
    return list(dict.fromkeys(finish.unknown))


def pictures_in(markdown: str) -> list[str]:
    """Return the address of each `![...](address)`, once, in the order they are shown in."""
    if "![" not in markdown:  # most captions
        return []
    finish = _Finish()
    _convert(markdown, _References(str), finish)
    return list(dict.fromkeys(finish.pictures))


@dataclass(frozen=True)
class _References:
    """What names in double square brackets lead to, and how they read."""

    address_of: Link
    label_of: Label = str

    def element(self, name: str) -> Element:
        address = self.address_of(name)
        if address is None:
            element = Element("span", {"class": "unknown-reference", "data-name": name})
            element.text = AtomicString(_literally(name))
        else:
            element = Element("a", {"href": _literally(address)})
            element.text = AtomicString(_literally(self.label_of(name)))
        return element


def _convert(markdown: str, references: _References, finish: "_Finish") -> str:
    """Run Markdown, whose tree `finish` then sees; what it returns is not yet safe."""
    text = replace_controls(markdown.replace("\r\n", "\n").replace("\r", "\n"))
    extensions = [
        TableExtension(use_align_attribute=True),
        _Footnotes(BACKLINK_TEXT="&#8617;&#65038;", BACKLINK_TITLE="Back to the text"),
        FencedCodeExtension(),
        SaneListExtension(),
        _Additions(references, finish),
    ]
    try:
        return Markdown(extensions=extensions).convert(text)
    except RecursionError:  # lists nested some hundred levels deep
        return f"<pre>{html_entities.escape(text)}</pre>"


class _Footnotes(FootnoteExtension):
    """Footnotes whose ids are numbers, `fn:1` and `fnref:1`, whatever their labels hold."""

    def makeFootnoteId(self, id: str) -> str:  # noqa: N802
        return super().makeFootnoteId(self._number(id))

    def makeFootnoteRefId(self, id: str, found: bool = False) -> str:  # noqa: N802
        return super().makeFootnoteRefId(self._number(id), found)

    def makeFootnotesDiv(self, root: Element) -> Element | None:  # noqa: N802
        # The base class iterates over the footnotes while it parses them: find those within others first.
        parsed: set[str] = set()
        while new := [label for label in self.footnotes if label not in parsed]:
            parsed.update(new)
            for label in new:
                self.parser.parseChunk(Element("div"), self.footnotes[label])
        return super().makeFootnotesDiv(root)

    def _number(self, label: str) -> str:
        return str(list(self.footnotes).index(label) + 1)


class _Additions(Extension):
    """References, and the finishing of the tree, after everything else has changed it."""

    def __init__(self, references: _References, finish: "_Finish") -> None:
        super().__init__()
        self._references = references
        self._finish = finish

    def extendMarkdown(self, md: Markdown) -> None:  # noqa: N802
        # After code spans (190), before backslash escapes (180), footnotes and links.
        md.inlinePatterns.register(_Reference(self._references), "layer-reference", 185)
        md.treeprocessors.register(self._finish, "finish", -10)


class _Reference(InlineProcessor):
    """`[[name]]` and `[[name|shown text]]`; brackets in a name are balanced, or escaped by a backslash."""

    OPENING = r"(?<!\\)(?:\\\\)*(?P<opening>\[\[)(?![\[^])"
    PART = rf"[^\[\]|\\\n{STX}{ETX}]"
    ESCAPED = rf"\\[^|\n{STX}{ETX}]"
    NAME = rf"(?P<name>(?:{PART}|{ESCAPED}|\[(?:{PART})*\])+)"
    SHOWN = r"(?:\\?\|(?P<shown>(?:(?!\[\[).){0,500}?))?"

    def __init__(self, references: _References) -> None:
        super().__init__(rf"{self.OPENING}{self.NAME}{self.SHOWN}\]\]")
        self._references = references

    def handleMatch(  # type: ignore[override]  # noqa: N802
        self, m: re.Match[str], data: str
    ) -> tuple[Element | None, int | None, int | None]:
        name = re.sub(r"\\([!-/:-@\[-`{-~])", r"\1", m["name"]).strip()
        if not name:
            return None, None, None
        element = self._references.element(name)
        element.text = (m["shown"] or "").strip() or element.text
        return element, m.start("opening"), m.end()


def _literally(text: str) -> str:
    """Keep Markdown's serialiser from reading `&lt;` in `text` as an entity."""
    return text.replace("&", f"{AMP_SUBSTITUTE}amp;")


class _Finish(Treeprocessor):
    """Shifts headings, marks pictures and generated attributes, and collects pictures and unknown references.

    `token` stands at the head of every class, `prefix` of every id that is generated, and the mark of a picture is
    `token!number;`. The token can't occur in the text, being its hash: that tells them from an author's.
    """

    def __init__(
        self, prefix: str = "", token: str = "", level: int = 3, illustrations: Illustrations = _no_pictures
    ) -> None:
        super().__init__()
        self.unknown: list[str] = []
        self.pictures: list[str] = []
        """The address of each picture, as its author means it."""
        self.shown: list[str] = []
        """What stands for each mark of a picture, as HTML."""
        self._level = level
        self._prefix = prefix
        self._token = token
        self._illustrations = illustrations

    def run(self, root: Element) -> None:
        _drop_dead_backlinks(root)
        _shift_headings(root, self._level)
        for element in root.iter():
            if "data-name" in element.attrib:
                self.unknown.append(element.attrib.pop("data-name"))
            if element.tag == "img":
                self._place(element)
            if "align" in element.attrib:
                element.set("class", f"align-{element.attrib.pop('align')}")
            self._mark(element)

    def _place(self, element: Element) -> None:
        """Put the mark of a picture, or the alternative text, in place of the `img` that Markdown made."""
        address, alternative, title = (_meant(element.get(name, "")) for name in ("src", "alt", "title"))
        self.pictures.append(address)
        illustration = self._illustrations(address)
        element.attrib.clear()
        element.tag, element.text = "span", _literally(alternative)
        if illustration is not None:
            element.text = f"{self._token}!{len(self.shown)};"
            self.shown.append(_img(illustration, alternative, title))

    def _mark(self, element: Element) -> None:
        attributes = element.attrib
        if attributes.get("class", "").startswith("footnote-"):
            attributes["href"] = "#" + self._rename(attributes["href"][1:])
        if "id" in attributes:
            attributes["id"] = self._rename(attributes["id"])
        if "class" in attributes:
            attributes["class"] = self._token + attributes["class"]

    def _rename(self, footnote_id: str) -> str:
        return self._prefix + footnote_id.replace(":", "-")


def _meant(attribute: str) -> str:
    """The value of an attribute that Markdown's serialiser, and then a browser, would make of `attribute`."""
    return html_entities.unescape(attribute.replace(AMP_SUBSTITUTE, "&")).strip()


def _img(illustration: Illustration, alternative: str, title: str) -> str:
    attributes = {"class": "illustration", "src": illustration.address, "alt": alternative}
    attributes |= {"width": str(illustration.width), "height": str(illustration.height)}
    attributes |= {"loading": "lazy", "decoding": "async"} | ({"title": title} if title else {})
    written = (f' {name}="{html_entities.escape(value)}"' for name, value in attributes.items())
    return f"<img{''.join(written)}>"


def _shift_headings(root: Element, level: int) -> None:
    headings = [element for element in root.iter() if re.fullmatch("h[1-6]", element.tag)]
    levels = sorted({element.tag for element in headings})
    for element in headings:
        element.tag = f"h{min(level + levels.index(element.tag), 6)}"


def _drop_dead_backlinks(root: Element) -> None:
    """Remove the links back from footnotes that the text never refers to."""
    ids = {element.get("id") for element in root.iter()}
    for parent in list(root.iter()):
        for child in list(parent):
            if child.get("class") == "footnote-backref" and child.get("href", "")[1:] not in ids:
                parent.remove(child)


_BLOCKS = frozenset(["p", "div", "blockquote", "hr", "pre"])
_INLINES = frozenset(["a", "br", "code", "del", "em", "span", "strong", "sub", "sup"])
_LISTS = frozenset(["ul", "ol", "li", "dl", "dt", "dd"])
_TABLES = frozenset(["table", "caption", "thead", "tbody", "tfoot", "tr", "th", "td"])
_TAGS = _BLOCKS | _INLINES | _LISTS | _TABLES
_ATTRIBUTES = {
    "a": {"href", "title", "class"},
    "code": {"class"},
    "div": {"class"},
    "li": {"id"},
    "ol": {"start"},
    "span": {"class"},
    "sup": {"id"},
    "td": {"class"},
    "th": {"class"},
}
_SCHEMES = frozenset(["http", "https", "mailto"])
_ROUNDS = 8
# Characters that HTML forbids: most controls, surrogates, noncharacters.
_CONTROLS = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff\ufdd0-\ufdef"
    + "".join(chr(plane + last) for plane in range(0, 0x110000, 0x10000) for last in (0xFFFE, 0xFFFF))
    + "]"
)


def replace_controls(text: str) -> str:
    # Replaced and not removed, since what they part might become a tag or a scheme.
    return text if text.isprintable() else _CONTROLS.sub("\ufffd", text)


def _sanitise(html: str, token: str, level: int) -> str:
    """Return `html` with the allowed parts alone, such that cleaning it again would change nothing.

    Dropping an element can leave its content where HTML does not allow it (a link in a link), and drop the
    place that a footnote leads back to: hence the rounds.
    """
    ids: set[str] | None = None
    for _ in range(_ROUNDS):
        found: set[str] = set()
        cleaned = nh3.clean(
            html,
            tags=_TAGS | {f"h{number}" for number in range(level, 7)},
            attributes=_ATTRIBUTES,
            attribute_filter=_attribute_filter(token, ids, found),
            url_schemes=set(_SCHEMES),
            link_rel="noopener noreferrer",
        )
        if cleaned == html and ids == found:
            break
        html, ids = cleaned, found
    return html


def _attribute_filter(token: str, ids: set[str] | None, found: set[str]) -> Callable[[str, str, str], str | None]:
    """Return nh3's judge of single attributes; it adds the ids that it meets to `found`.

    `ids` are those that footnotes may lead to, None while they aren't known.
    """

    def judge(tag: str, attribute: str, value: str) -> str | None:
        if attribute == "href":
            dead = ids is not None and value.startswith(f"#{token}") and value[1:] not in ids
            # Ids that start with an underscore are the page's own: an author's guess at one may lead nowhere.
            return None if dead or value.strip().startswith("#_") else _safe_address(value)
        if attribute == "id" and value.startswith(token):
            found.add(value)
        return value if _is_allowed(tag, attribute, value, token) else None

    return judge


def _is_allowed(tag: str, attribute: str, value: str, token: str) -> bool:
    if attribute == "rel":  # nh3's own: it is on no list, so an author's is gone by now
        return True
    if attribute not in _ATTRIBUTES.get(tag, ()):  # nh3 lets title and lang through everywhere
        return False
    if attribute == "start":
        return re.fullmatch("[0-9]{1,9}", value) is not None
    if attribute == "class" and tag == "code":
        return re.fullmatch(r"language-[\w+#.-]{1,40}", value) is not None
    if attribute in ("id", "class"):
        return value.startswith(token)
    return attribute == "title"


def _safe_address(address: str) -> str | None:
    """Return an address that leads to the web, to a mailbox or to a place within the site; None for others.

    `//host` and `\\\\host` name other machines without a scheme, and `/path` the root of the reader's disk.
    """
    stripped = address.strip()
    if re.search(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\\]", stripped) or stripped.startswith("/"):
        return None
    head, colon, _ = re.split(r"[/?#]", stripped, maxsplit=1)[0].partition(":")
    return stripped if not colon or head.lower() in _SCHEMES else None
