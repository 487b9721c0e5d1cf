"""The report as data: what report.json holds. Pages are made from this alone.

The schema is a contract: keys may be added, none is renamed or dropped within schema 1.
"""

import json
import math
import re
from array import array
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from reportgen.errors import InputError

SCHEMA = 1
FILE_NAME = "report.json"

DRAWN, SKIPPED, FAILED = "drawn", "skipped", "failed"


@dataclass(frozen=True)
class ModelEntry:
    """The network: how it was asked for, and whose weights it had. `tracer_reason` says why that tracer.

    `weights_sha256` is of the file of weights, `state_sha256` of the state dict as it was run, `source_sha256` of
    the Python file of the factory, or of the class where there was none.
    """

    spec: str
    class_name: str = field(metadata={"key": "class"})
    parameters: int
    weights: str
    weights_sha256: str | None
    random_weights: bool
    preprocess: str
    tracer: str
    tracer_reason: str
    state_sha256: str | None = None
    source_sha256: str | None = None


@dataclass(frozen=True)
class ImageEntry:
    """One image; `width` and `height` are those of the upright original, in pixels.

    `sha256` is of the file, `pixels_sha256` of the upright original as 8-bit RGB, row by row.
    """

    id: str
    name: str
    width: int
    height: int
    sha256: str
    note: str = ""
    pixels_sha256: str = ""


@dataclass(frozen=True)
class StatisticsImageEntry:
    """An image that only fed the statistics; the hashes are as an ImageEntry's."""

    name: str
    sha256: str
    pixels_sha256: str


@dataclass(frozen=True)
class SkippedImageEntry:
    """An image that was left out because it could not be used, and why."""

    name: str
    reason: str


@dataclass(frozen=True)
class LayerEntry:
    """One node of the graph. `shape` is that of its value for one image; `selected` whether it has a page.

    `layout` has a letter an axis, or several in parentheses for one that is made of several: `NCHW`, `(NHW)LC`;
    empty where nothing says which axis is which. `reading` says in words how the value was read. `finite` says
    whether no value, on any image, is NaN or infinite; None where nothing was computed, or no tensor. `proved`, of
    reports that were to prove each node, is how its value compares with its second result: equal (to the bit),
    close, different or unknown, on the image where that came out worst.
    """

    index: int
    name: str
    slug: str
    op: str
    module_type: str
    target: str
    parents: list[str]
    shape: list[int] | None
    dtype: str | None
    layout: str
    status: str
    reason: str
    detail: str = ""
    title: str = ""
    selected: bool = True
    reading: str = ""
    finite: bool | None = None
    proved: str | None = None


class StoredData(Mapping[str, Any]):
    """A figure's data, JSON values by name, of which long lists of numbers are packed until they are asked for.

    A report of many images has millions of numbers, which as Python's objects would take all memory.
    """

    def __init__(self, data: Mapping[str, Any]) -> None:
        long = ((name, value) for name, value in data.items() if isinstance(value, list) and len(value) >= _LONG)
        packed = {name: content for name, value in long if (content := _packed(value)) is not None}
        self.state: tuple[dict[str, Any], list[str]] = ({**data, **packed}, list(packed))
        """The values by name, and the names of those that are packed: plain objects."""

    @classmethod
    def of(cls, state: tuple[dict[str, Any], list[str]]) -> "StoredData":
        """Return the data that had this `state`."""
        made = cls.__new__(cls)
        made.state = state
        return made

    def __getitem__(self, name: str) -> Any:
        values, packed = self.state
        return _unpacked(values[name]) if name in packed else values[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self.state[0])

    def __len__(self) -> int:
        return len(self.state[0])

    def __repr__(self) -> str:
        return repr(dict(self))


def _packed(values: list[Any]) -> bytes | None:
    """A list of floats as the bytes of float64, None as NaN, which JSON doesn't have; None for all else."""
    kinds = set(map(type, values))
    if not kinds <= {float, type(None)}:
        return None
    numbers = values if kinds == {float} else [math.nan if number is None else number for number in values]
    return array("d", numbers).tobytes()


def _unpacked(content: bytes) -> list[float | None]:
    numbers = array("d")
    numbers.frombytes(content)
    return [None if number != number else number for number in numbers]


_LONG = 32


@dataclass(frozen=True)
class FigureEntry:
    """One figure; `files` are paths within the site, the first is the one that pages show."""

    kind: str
    layer: str | None
    image: str | None
    files: list[str]
    width: int
    height: int
    alt: str
    caption: str
    data: Mapping[str, Any]
    downloads: list[str] = field(default_factory=list)
    """Paths within the site of the files of numbers behind the figure."""
    scripts: list[str] = field(default_factory=list)
    """Paths within the site of the scripts that hand numbers to the page; a key that earlier versions lack."""


@dataclass(frozen=True)
class IllustrationEntry:
    """A picture in a caption: `reference` is its address there, `file` its path within the site.

    `caption` is the key of the caption's text; `width` and `height` are what pages show it with, in pixels.
    """

    caption: str
    reference: str
    file: str
    width: int
    height: int


@dataclass(frozen=True)
class ProofEntry:
    """How the output of the first walk compares with that of a plain call of the model.

    `output` is equal (to the bit), close (within the tolerance of sums in another order), different, or unknown;
    `told` says how far they are apart, or why it is unknown. `nodes` has a line for each node that could not be
    proved, with the reason.
    """

    output: str
    told: str = ""
    nodes: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class KindEntry:
    """A kind of figure: its name, its heading, and where it stands among the others on a page."""

    name: str
    title: str
    order: int


@dataclass(frozen=True)
class Record:
    """Everything that the pages of a site are made from, except the templates."""

    title: str
    model: ModelEntry
    images: list[ImageEntry]
    layers: list[LayerEntry]
    figures: Sequence[FigureEntry]
    kinds: list[KindEntry]
    problems: list[str]
    """What failed, a line each: figures that could not be drawn, nodes that raised."""
    captions: Mapping[str, str]
    """The user's Markdown by place, so that pages can be made again without the files."""
    environment: Mapping[str, str]
    options: Mapping[str, Any]
    schema: int = SCHEMA
    generator: str = "reportgen"
    skipped_images: list[SkippedImageEntry] = field(default_factory=list)
    """Images that were left out; a key that earlier versions did not write."""
    reductions: list[str] = field(default_factory=list)
    """What `reportgen pack` left out or made coarser, a sentence each; empty for a whole report."""
    statistics_images: list[StatisticsImageEntry] = field(default_factory=list)
    """Images that only fed the statistics; a key that earlier versions did not write."""
    proof: ProofEntry | None = None
    """Whether the walk returned what the model does; a key that earlier versions did not write."""
    notes: list[str] = field(default_factory=list)
    """What was done otherwise than by default, a sentence each; a key that earlier versions did not write."""
    illustrations: list[IllustrationEntry] = field(default_factory=list)
    """The pictures in captions; a key that earlier versions did not write."""

    @property
    def illustrated(self) -> frozenset[str]:
        """The files of the pictures in captions: what `static/` holds besides the pages' own files."""
        return frozenset(entry.file for entry in self.illustrations)


def to_json(record: Record) -> str:
    """Return `record` as JSON: a line a layer, image and figure, so that two records can be compared by line."""
    return "".join(json_parts(record))


def json_parts(record: Record) -> Iterator[str]:
    """Yield what `to_json` returns, a part at a time."""
    # What tells a report from other files named report.json comes first, so that a glance is enough.
    parts = sorted(fields(record), key=lambda part: part.name not in ("generator", "schema"))
    for number, part in enumerate(parts):
        yield f"{',' if number else '{'}\n{json.dumps(_key(part))}: "
        yield from _value_json(getattr(record, part.name))
    yield "\n}\n"


def _value_json(value: Any) -> Iterator[str]:
    if not isinstance(value, Sequence) or isinstance(value, str):
        yield _dump(value)
        return
    yield "["
    for number, element in enumerate(value):
        yield f"{',' if number else ''}\n  {_dump(element)}"
    yield "]"


def _dump(value: Any) -> str:
    plain = _plain(value) if type(value) in _KEYS else value
    return json.dumps(plain, ensure_ascii=False, allow_nan=False)


def _plain(entry: Any) -> dict[str, Any]:
    """The entry's fields by key; shallow, since a figure's data can be long."""
    values = {key: getattr(entry, name) for name, key in _KEYS[type(entry)]}
    return {key: dict(value) if isinstance(value, StoredData) else value for key, value in values.items()}


def _key(part: Any) -> str:
    return str(part.metadata.get("key", part.name))


def from_json(text: str, where: str = FILE_NAME) -> Record:
    """Read a record. Raises InputError, naming `where`, when the text is not one of schema 1."""
    try:
        values = json.loads(text)
        if values["schema"] != SCHEMA:
            raise InputError(
                f"{where}: written with schema {values['schema']}, and this version reads {SCHEMA}; "
                "install the reportgen that wrote it"
            )
        values = {**_ADDED, **values}
        parts = {part.name: values[_key(part)] for part in fields(Record)}
        parts |= {name: [_entry(kind, value) for value in values[name]] for name, kind in _LISTS.items()}
        parts["proof"] = _entry(ProofEntry, values["proof"]) if values["proof"] else None
        record = Record(**{**parts, "model": _entry(ModelEntry, values["model"])})
        _check(record)
    except (AttributeError, KeyError, RecursionError, TypeError, ValueError) as error:
        raise InputError(f"{where}: not a record of reportgen: {type(error).__name__} {error}") from None
    return record


# What comes from elsewhere must not make `reportgen render` write, or a page load, anything outside its site.
_INSIDE = re.compile(r"(?:[A-Za-z0-9][\w.-]*/)*[A-Za-z0-9][\w.-]*", re.ASCII)


_ILLUSTRATION = re.compile(r"static/picture\.[0-9a-f]{10}\.(?:png|jpg)", re.ASCII)


def _check(record: Record) -> None:
    """Raise TypeError or ValueError for what no page can be made of, and for addresses that leave the site."""
    for part in ("captions", "environment", "options"):
        if not isinstance(getattr(record, part), Mapping):
            raise TypeError(f"{part} is not an object")
    for figure in record.figures:
        if not figure.files or min(figure.width, figure.height) < 1:
            raise ValueError(f"a figure {figure.kind} without files or size")
    for entry in record.illustrations:
        _check_illustration(entry)
    for address in _addresses(record):
        if not _INSIDE.fullmatch(address):
            raise ValueError(f"{address!r} is no address within a site")


def _check_illustration(entry: IllustrationEntry) -> None:
    if not _ILLUSTRATION.fullmatch(entry.file) or min(entry.width, entry.height) < 1:
        raise ValueError(f"{entry.file!r} is no picture of a caption")


def _addresses(record: Record) -> Iterator[str]:
    yield from (layer.slug for layer in record.layers)
    yield from (image.id for image in record.images)
    for figure in record.figures:
        yield from (*figure.files, *figure.downloads, *figure.scripts)


_LISTS: Mapping[str, type[Any]] = {
    "images": ImageEntry,
    "layers": LayerEntry,
    "figures": FigureEntry,
    "kinds": KindEntry,
    "skipped_images": SkippedImageEntry,
    "statistics_images": StatisticsImageEntry,
    "illustrations": IllustrationEntry,
}
_ENTRIES: tuple[type[Any], ...] = (ModelEntry, ProofEntry, *_LISTS.values())
_KEYS: Mapping[type[Any], tuple[tuple[str, str], ...]] = {
    kind: tuple((part.name, _key(part)) for part in fields(kind)) for kind in _ENTRIES
}
"""The name of each field of an entry, with its key in JSON."""
_ADDED: Mapping[str, Any] = {
    "skipped_images": (),
    "reductions": [],
    "statistics_images": (),
    "proof": None,
    "notes": [],
    "illustrations": (),
}
"""Keys that were added to schema 1, with what they are in records written before."""


def _entry(kind: type[Any], values: Mapping[str, Any]) -> Any:
    """Make an entry from what JSON holds; keys that a later version added are left out."""
    keys = {key: name for name, key in _KEYS[kind]}
    return kind(**{keys[key]: value for key, value in values.items() if key in keys})


def read_record(site: Path) -> Record:
    """Read the record of the site at `site`. Raises InputError when there is none that can be read."""
    path = site / FILE_NAME
    try:
        return from_json(path.read_text(encoding="utf-8"), str(path))
    except FileNotFoundError:
        raise InputError(f"{site}: not a report: it has no {FILE_NAME}") from None
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: can't be read: {error}") from None
