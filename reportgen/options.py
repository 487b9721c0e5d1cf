"""What a report is asked to be: from keyword arguments, a TOML file and the command line, checked in one place.

Nothing here imports torch, so that a typing error is answered at once.
"""

import dataclasses
import glob
import os
import re
import tomllib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from datetime import UTC, date, datetime, time
from pathlib import Path
from typing import Any

from reportgen.errors import UsageError
from reportgen.names import did_you_mean

_DTYPES = ("float16", "bfloat16", "float32", "float64")
_DEVICE = re.compile(r"cpu|mps|cuda(:\d{1,3})?")


@dataclass(frozen=True)
class Options:
    """Every option of a build, with its default. The TOML keys and keyword arguments are the same words."""

    nodes: Mapping[str, str] = dataclasses.field(default_factory=dict)
    """Patterns of nodes to draw, each with a title or ''; empty: every node."""
    exclude: tuple[str, ...] = ()
    tracer: str = "auto"
    """How the network is walked: through torch.fx, run as it is (eager), or whichever can."""
    deep: bool = False
    """Open torchvision's composite blocks."""
    figures: tuple[str, ...] = ()
    """Kinds of figures; empty: every kind."""
    captions: Path | None = None
    title: str = ""
    templates: Path | None = None
    """A directory of templates and static files that replace the built-in ones of the same path."""
    base_url: str = ""
    """The site's address on the web, for link previews; '': not known."""
    scale: str = "channel"
    cmap: str = ""
    max_channels: int = 0
    """Tiles in a channel grid; 0: all channels."""
    weights: str | None = None
    size: tuple[int, int] | None = None
    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None
    categories: tuple[str, ...] = ()
    """The names of the classes, in the order of the model's outputs; a list, or a file with a name a line."""
    model_arg: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    """Arguments for what builds the model, by name."""
    device: str = ""
    """Where the model runs: cpu, cuda, cuda:1, mps; '': where it is."""
    dtype: str = ""
    """The floating-point type that the model is converted to, or autocast:TYPE; '': its own."""
    batch_size: int = 0
    """Images that one forward pass compares; 0: as suits the report. Pictures come from passes of one image."""
    statistics: Path | None = None
    """A directory of further images that feed statistics and CKA and are not drawn."""
    hypercolumns: Mapping[str, tuple[str, ...]] = dataclasses.field(default_factory=dict)
    """Named sets of node patterns; empty: early, middle and stages."""
    balance: str = "channels"
    """What weighs the same in a hypercolumn average: each of the `channels`, or each of the `layers`."""
    cka: str = "debiased"
    cka_examples: str = "auto"
    channel_similarity: str = "cka"
    overview: tuple[int, int] = (15, 3)
    """Columns (layers) and rows (channels) of the overview."""
    max_filters: int = 64
    """Kernels in a picture of filters; 0: all."""
    attention_query: str = "auto"
    """Whose attention is drawn: `class`, `mean` or `ROW,COLUMN`; auto: the class token, without one the mean."""
    arrays: bool = False
    """Also write the maps themselves, as data/**/*.npz."""
    max_pixels: int = 0
    """The most pixels that an image may have; 0: 89,478,485, which as RGB is 256 MiB."""
    anonymous: bool = False
    """Name no file, of the model its class only, and give no title: for a review that must not know the author."""
    prove: bool = False
    """Compute each node a second time, from copies of its inputs, and compare."""
    skip_bad: bool = False
    """Leave out images that can't be decoded or preprocessed, and say so, instead of ending."""
    strict: bool = False
    force: bool = False
    resume: bool = False
    """Keep what is done when the build is interrupted, and go on with what an interrupted build has kept."""
    quiet: bool = False
    timings: bool = False
    """Say on stderr where the time went."""


@dataclass(frozen=True)
class Request:
    """A build as asked for in a TOML file and on the command line: what to run on what, and the options."""

    model: str | None = None
    images: tuple[str, ...] = ()
    out: Path | None = None
    options: Options = Options()
    directory: Path | None = None
    """Where a relative path in `model` starts, when a file gave it."""


def make_options(values: Mapping[str, Any], *, where: str = "", directory: Path | None = None) -> Options:
    """Check `values` and return them as Options.

    `where` names the source in messages; relative paths start at `directory`. Raises UsageError for an unknown
    option (with the nearest) and for a value that an option can't have.
    """
    prefix = f"{where}: " if where else ""
    checked: dict[str, Any] = {}
    for key, value in values.items():
        name = key.replace("-", "_")
        if name not in _READERS:
            known = [*_READERS, *(("model", "images", "out") if where else ())]
            raise UsageError(f"{prefix}there is no option '{key}'; {did_you_mean(name, known)}".rstrip("; "))
        try:
            checked[name] = _READERS[name](value)
        except (TypeError, ValueError) as error:
            raise UsageError(f"{prefix}{key} = {value!r}: {error}") from None
    if directory:
        _resolve(checked, directory)
    if isinstance(checked.get("categories"), Path):
        checked["categories"] = _read_categories(checked["categories"])
    return Options(**checked)


def source_date() -> str:
    """Return the time that the environment variable SOURCE_DATE_EPOCH gives (seconds since 1970), or ''.

    Raises UsageError when it is no such number. See https://reproducible-builds.org/specs/source-date-epoch/
    """
    text = os.environ.get("SOURCE_DATE_EPOCH", "")
    if not text:
        return ""
    try:
        return datetime.fromtimestamp(int(text), UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
    except (ValueError, OverflowError, OSError):
        raise UsageError(f"SOURCE_DATE_EPOCH = {text!r}: must be a number of seconds since 1970") from None


def _resolve(checked: dict[str, Any], directory: Path) -> None:
    """Let relative paths among the checked values start at `directory`."""
    for name in ("captions", "templates", "statistics", "categories"):
        if isinstance(checked.get(name), Path):
            checked[name] = directory / checked[name]
    if checked.get("weights") not in (None, "default", "none"):
        checked["weights"] = str((directory / checked["weights"]).absolute())


def _read_categories(path: Path) -> tuple[str, ...]:
    try:
        names = [line.strip() for line in path.read_text(encoding="utf-8-sig").rstrip().split("\n")]
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"{path}: can't read the categories, a name a line in UTF-8: {error}") from None
    if "" in names:
        raise UsageError(f"{path}: line {names.index('') + 1} is empty; a name a line, the first is class 0")
    return tuple(names)


def read_request(path: Path, changes: Mapping[str, Any]) -> Request:
    """Read the TOML file at `path`; `changes` (from the command line) win over what it says.

    Paths in the file are relative to the file. Raises UsageError when it can't be read or understood.
    """
    values = _load(path)
    directory = path.parent.absolute()
    model, images, out = values.pop("model", None), values.pop("images", []), values.pop("out", None)
    for key, value, kind in (("model", model, str), ("images", images, list), ("out", out, str)):
        if value is not None and not isinstance(value, kind):
            raise UsageError(f"{path.name}: {key} must be a {'list of paths' if kind is list else 'text'}")
    if not all(isinstance(image, str) for image in images):
        raise UsageError(f"{path.name}: images must be a list of paths")
    options = make_options(values, where=path.name, directory=directory)
    return Request(
        model,
        tuple(_beside(directory, image) for image in images),
        directory / out if out else None,
        dataclasses.replace(options, **_given(make_options(changes, directory=Path.cwd()), changes)),
        directory,
    )


def _beside(directory: Path, image: str) -> str:
    """A glob is relative to the file too, whose own directory is no glob."""
    start = glob.escape(str(directory)) if glob.has_magic(image) else str(directory)
    return str(Path(start) / image)


def _load(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UsageError(f"{path}: can't read the configuration: {error.strerror}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UsageError(f"{path.name}: not valid TOML: {error}") from None


def _given(options: Options, changes: Mapping[str, Any]) -> dict[str, Any]:
    return {key.replace("-", "_"): getattr(options, key.replace("-", "_")) for key in changes}


def _nodes(value: object) -> dict[str, str]:
    if isinstance(value, Mapping):
        if not all(isinstance(title, str) for title in value.values()):
            raise ValueError("every title must be a text")
        return {str(pattern): title for pattern, title in value.items()}
    return dict.fromkeys(_texts(value), "")


def _texts(value: object) -> tuple[str, ...]:
    if isinstance(value, str):
        return (value,)
    parts = tuple(value) if isinstance(value, Iterable) else (None,)
    if not all(isinstance(part, str) for part in parts):
        raise ValueError("must be a text or a list of texts")
    return parts


def _kinds(value: object) -> tuple[str, ...]:
    parts = [part.strip() for text in _texts(value) for part in text.split(",")]
    return tuple(part for part in parts if part)


def _text(value: object) -> str:
    if not isinstance(value, str | os.PathLike):
        raise ValueError("must be a text")
    return os.fspath(value)


def _path(value: object) -> Path:
    return Path(_text(value))


def _sets(value: object) -> dict[str, tuple[str, ...]]:
    if not isinstance(value, Mapping):
        raise ValueError("must be a table of names, each with a list of nodes")
    return {str(name): _texts(patterns) for name, patterns in value.items()}


def _one_of(*words: str) -> Callable[[object], str]:
    def read(value: object) -> str:
        if value not in words:
            raise ValueError(f"must be {' or '.join(word for word in words if word)}")
        return str(value)

    return read


def _arguments(value: object) -> dict[str, Any]:
    """Read a table, or a list of `key=value` with TOML values; what is no TOML value is a text."""
    if isinstance(value, Mapping):
        pairs = [(str(key), part) for key, part in value.items()]
    else:
        pairs = [
            (key.strip(), _literal(part)) for key, _, part in (text.partition("=") for text in _assignments(value))
        ]
    wrong = next((key for key, _ in pairs if not key.isidentifier()), None)
    if wrong is not None:
        raise ValueError(f"{wrong!r} is no name of an argument")
    return dict(pairs)


def _assignments(value: object) -> tuple[str, ...]:
    texts = _texts(value)
    if not all("=" in text for text in texts):
        raise ValueError("must be KEY=VALUE, such as depth=4")
    return texts


def _literal(text: str) -> Any:
    try:
        table = tomllib.loads(f"value = {text}")
    except tomllib.TOMLDecodeError:
        return text
    plain = table.keys() == {"value"} and not isinstance(table["value"], date | time)
    return table["value"] if plain else text


def _device(value: object) -> str:
    if not isinstance(value, str) or not _DEVICE.fullmatch(value):
        raise ValueError("must be cpu, cuda, cuda:0 (or another number), or mps")
    return value


def _columns_by_rows(value: object) -> tuple[int, int]:
    parts = value.lower().split("x") if isinstance(value, str) else value
    if not isinstance(parts, Sequence) or len(parts) != 2 or min(_int(part) for part in parts) < 1:
        raise ValueError("must be COLUMNSxROWS, such as 15x3")
    return int(parts[0]), int(parts[1])


def _query(value: object) -> str:
    """A position may be a list of two numbers, too."""
    if value in ("auto", "class", "mean"):
        return str(value)
    parts = value.split(",") if isinstance(value, str) else value
    texts = [str(part).strip() for part in parts] if isinstance(parts, Sequence) else []
    if len(texts) != 2 or not all(text.isascii() and text.isdecimal() for text in texts):
        raise ValueError("must be auto, class, mean or ROW,COLUMN, counted from 0, such as 7,7")
    return ",".join(str(int(text)) for text in texts)


def _web_address(value: object) -> str:
    """`https://host/path/`, with a slash at the end."""
    text = value if isinstance(value, str) else ""
    if not re.fullmatch(r"https?://[^\s/?#@\\]+(/[^\s?#\\]*)?", text):
        raise ValueError("must be an address such as https://example.org/report/")
    return f"{text.rstrip('/')}/"


def _flag(value: object) -> bool:
    if not isinstance(value, bool):
        raise ValueError("must be true or false")
    return value


def _whole(least: int) -> Callable[[object], int]:
    def read(value: object) -> int:
        if isinstance(value, bool) or not isinstance(value, int) or value < least:
            raise ValueError(f"must be a whole number, {least} or more")
        return value

    return read


def _int(value: object) -> int:
    text = str(value)
    return int(text) if text.isdecimal() else 0


def _size(value: object) -> tuple[int, int] | None:
    if value is None:
        return None
    parts = value.lower().split("x") if isinstance(value, str) else value
    sides = [_int(side) for side in (parts if isinstance(parts, Sequence) else (parts,))]
    if len(sides) not in (1, 2) or min(sides) < 1:
        raise ValueError("must be a side in pixels, or HEIGHTxWIDTH")
    return sides[0], sides[-1]


def _numbers(value: object) -> tuple[float, ...] | None:
    if value is None:
        return None
    parts = value.replace(",", " ").split() if isinstance(value, str) else value
    try:
        return tuple(float(str(part)) for part in (parts if isinstance(parts, Sequence) else (parts,)))
    except ValueError:
        raise ValueError("must be a list of numbers") from None


def _optional(read: Callable[[object], Any]) -> Callable[[object], Any]:
    return lambda value: None if value is None else read(value)


_READERS: Mapping[str, Callable[[Any], Any]] = {
    "nodes": _nodes,
    "exclude": _texts,
    "tracer": _one_of("auto", "fx", "eager"),
    "deep": _flag,
    "figures": _kinds,
    "captions": _optional(_path),
    "title": _text,
    "templates": lambda value: None if value in (None, "none") else _path(value),
    "base_url": lambda value: "" if value in ("", "none") else _web_address(value),
    "scale": _text,
    "cmap": _text,
    "max_channels": _whole(0),
    "weights": _optional(_text),
    "size": _size,
    "mean": _numbers,
    "std": _numbers,
    "categories": lambda value: Path(value) if isinstance(value, str | os.PathLike) else _texts(value),
    "model_arg": _arguments,
    "device": lambda value: "" if value == "" else _device(value),
    "dtype": _one_of("", *_DTYPES, *(f"autocast:{name}" for name in _DTYPES[:2])),
    "batch_size": _whole(0),
    "statistics": _optional(_path),
    "hypercolumns": _sets,
    "balance": _one_of("channels", "layers"),
    "cka": _one_of("debiased", "biased"),
    "cka_examples": _one_of("auto", "images", "positions"),
    "channel_similarity": _one_of("cka", "correlation"),
    "overview": _columns_by_rows,
    "max_filters": _whole(0),
    "attention_query": _query,
    "arrays": _flag,
    "max_pixels": _whole(0),
    "anonymous": _flag,
    "prove": _flag,
    "skip_bad": _flag,
    "strict": _flag,
    "force": _flag,
    "resume": _flag,
    "quiet": _flag,
    "timings": _flag,
}
assert set(_READERS) == {field.name for field in fields(Options)}  # noqa: S101 - a slip of ours, not input
