"""A report reduced to a setting: its record says what is left, and each picture that changes knows how."""

import dataclasses
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any

from reportgen.drawing.mosaic import Mosaic
from reportgen.drawing.png import is_indexed
from reportgen.drawing.reduction import cut_mosaic, is_opaque_colour, plan_cut, sample_map, shrink
from reportgen.packing.ladder import VECTORS, Setting
from reportgen.site.record import FigureEntry, IllustrationEntry, Record
from reportgen.site.source import Source

GRID = "channel_grid"
_GEOMETRY = ("columns", "tile_width", "tile_height", "gap")
_A_CHANNEL = ("low", "high", "value_low", "value_high")
"""What a grid says of each channel, in order."""

_WIDER = 8
"""The side of a map on its own, in sides of a channel in a grid."""

_SMALL = 128
"""Photographs and charts are not made smaller than this, in pixels of their longer side."""

_WORTH = 0.8
"""A photograph becomes a JPEG where that is at most this part of its size."""


@dataclass(frozen=True)
class Job:
    """A picture of the report that changes: the file it is made of, and what makes it."""

    source: str
    make: Callable[[bytes], bytes]


@dataclass(frozen=True)
class Reduced:
    """A record, the pictures in it that are made anew, the files that are left out, and sentences about it all."""

    record: Record
    jobs: Mapping[str, Job]
    dropped: frozenset[str]


class Reducer:
    """Reduces one report to any setting. What it finds out about pictures it keeps; a picture itself it doesn't."""

    def __init__(self, source: Source) -> None:
        self._source = source
        self._maps: dict[str, bool] = {}
        self._photographs: dict[tuple[str, int], bool] = {}

    def reduce(self, setting: Setting, *, tell_vectors: bool) -> Reduced:
        """Return the report reduced to `setting`; `tell_vectors` says whether the file would have held VECTORS."""
        dropped = frozenset(self._dropped(setting))
        jobs: dict[str, Job] = {}
        tally: Counter[str] = Counter()
        figures = []
        for figure in self._source.record.figures:
            kept = _without(figure, dropped)
            changed = next(filter(None, (way(kept, setting, jobs, tally) for way in self._ways())), kept)
            figures.append(changed)
        illustrations = [
            self._illustration(each, setting, jobs, tally) for each in self._source.record.illustrations
        ]
        sentences = [*_of_files(dropped, setting, self._source, tell_vectors), *_of_pictures(tally, setting)]
        record = dataclasses.replace(
            self._source.record, figures=figures, illustrations=illustrations, reductions=sentences
        )
        return Reduced(record, jobs, dropped)

    def _ways(self) -> Iterator[Callable[..., FigureEntry | None]]:
        yield from (self._photograph, self._mosaic, self._map)

    def _dropped(self, setting: Setting) -> Iterator[str]:
        shown = {figure.files[0] for figure in self._source.record.figures}
        for name in self._source.sizes:
            # Scripts beside the tables are what the pages themselves work with.
            offered = name.startswith(("figures/", "data/")) and name not in shown and not name.endswith(".js")
            if offered and (name.endswith(VECTORS) or not setting.tables):
                yield name

    def _photograph(
        self, figure: FigureEntry, setting: Setting, jobs: dict[str, Job], tally: Counter[str]
    ) -> FigureEntry | None:
        """A photograph or chart, in fewer pixels that each stand for more, and as JPEG where that is worth it."""
        name = figure.files[0]
        step = min(setting.divisor, max(1, max(figure.width, figure.height) // _SMALL))
        if "pixels" not in figure.data or not name.endswith(".png"):
            return None
        jpeg = setting.jpeg and self._is_photograph(name, step)
        if self._is_map(name):
            return None
        if step == 1 and not jpeg:
            return figure
        renamed = str(PurePosixPath(name).with_suffix(".jpg")) if jpeg else name
        jobs[renamed] = Job(name, lambda content: shrink(content, step, jpeg=jpeg))
        tally["jpeg"] += jpeg
        changes: dict[str, Any] = {"files": [renamed, *figure.files[1:]]}
        if step > 1:
            tally["divided"] += 1
            changes |= _said(figure, f"1/{step} of the original's width and height in pixels")
            changes |= {"width": -(-figure.width // step), "height": -(-figure.height // step)}
            changes["data"] = {**figure.data, "pixels": figure.data["pixels"] * step}
        return dataclasses.replace(figure, **changes)

    def _illustration(
        self, entry: IllustrationEntry, setting: Setting, jobs: dict[str, Job], tally: Counter[str]
    ) -> IllustrationEntry:
        """A picture of a caption, reduced as a photograph is; it is shown as large as before."""
        name = entry.file
        step = min(setting.divisor, max(1, max(entry.width, entry.height) // _SMALL))
        jpeg = setting.jpeg and name.endswith(".png") and self._is_photograph(name, step)
        if not name.endswith(".png") or (step == 1 and not jpeg):
            return entry
        renamed = str(PurePosixPath(name).with_suffix(".jpg")) if jpeg else name
        if renamed not in jobs:  # shown in several captions, it is one picture
            jobs[renamed] = Job(name, lambda content: shrink(content, step, jpeg=jpeg))
            tally["jpeg"] += jpeg
            tally["divided"] += step > 1
        return dataclasses.replace(entry, file=renamed)

    def _mosaic(
        self, figure: FigureEntry, setting: Setting, jobs: dict[str, Job], tally: Counter[str]
    ) -> FigureEntry | None:
        """A mosaic of tiles: true samples of each tile, and of a channel grid the first channels."""
        data, name = figure.data, figure.files[0]
        mosaic = _mosaic_of(figure)
        if mosaic is None or not self._is_map(name):
            return None
        shown = data["channels_shown"] if figure.kind == GRID else mosaic.columns * mosaic.rows
        keep = min(shown, setting.channels or shown) if figure.kind == GRID else shown
        step = _step(max(mosaic.tile_width, mosaic.tile_height), setting.side)
        if keep == shown and step == 1:
            return figure
        cut = plan_cut(mosaic, shown, keep, step)
        jobs[name] = Job(name, lambda content: cut_mosaic(content, mosaic, cut, keep, step))
        tally["fewer"] += keep < shown
        _count_step(step, tally)
        words = [f"the first {keep:,} of {shown:,} channels drawn, {cut.columns} a row"] if keep < shown else []
        words += [f"every {_ordinal(step)} row and column of each tile"] if step > 1 else []
        return dataclasses.replace(
            figure,
            width=cut.width,
            height=cut.height,
            data={**_first_channels(data, keep, shown), **_geometry(cut, data)},
            **_said(figure, ", ".join(words)),
        )

    def _map(
        self, figure: FigureEntry, setting: Setting, jobs: dict[str, Job], tally: Counter[str]
    ) -> FigureEntry | None:
        """A map on its own: true samples of it. One in rows that are no axis (`columns`) stays as it is."""
        name, side = figure.files[0], max(figure.width, figure.height)
        step = _step(side, setting.side * _WIDER)
        if (
            step == 1
            or min(figure.width, figure.height) < step
            or "columns" in figure.data
            or not self._is_map(name)
        ):
            return None
        jobs[name] = Job(name, lambda content: sample_map(content, step))
        _count_step(step, tally)
        width, height = -(-figure.width // step), -(-figure.height // step)
        pixels = {"pixels": figure.data["pixels"] * step} if "pixels" in figure.data else {}
        said = _said(figure, f"every {_ordinal(step)} row and column")
        return dataclasses.replace(figure, width=width, height=height, data={**figure.data, **pixels}, **said)

    def _is_map(self, name: str) -> bool:
        if name not in self._maps:
            self._maps[name] = name.endswith(".png") and is_indexed(self._source.read(name))
        return self._maps[name]

    def _is_photograph(self, name: str, step: int) -> bool:
        if (name, step) not in self._photographs:
            content = self._source.read(name)
            self._photographs[name, step] = is_opaque_colour(content) and len(
                shrink(content, step, jpeg=True)
            ) <= _WORTH * len(shrink(content, step, jpeg=False) if step > 1 else content)
        return self._photographs[name, step]


def _without(figure: FigureEntry, dropped: frozenset[str]) -> FigureEntry:
    files = [name for name in figure.files if name not in dropped]
    return dataclasses.replace(figure, files=files, downloads=[x for x in figure.downloads if x not in dropped])


def _mosaic_of(figure: FigureEntry) -> Mosaic | None:
    """How the tiles of a picture lie; None where its data doesn't say, or its size says otherwise."""
    data = figure.data
    if not set(_GEOMETRY) <= data.keys():
        return None
    rows = (figure.height + data["gap"]) // (data["tile_height"] + data["gap"])
    mosaic = Mosaic(rows=rows, **{key: data[key] for key in _GEOMETRY})
    return mosaic if (mosaic.width, mosaic.height) == (figure.width, figure.height) else None


def _geometry(mosaic: Mosaic, data: Mapping[str, Any]) -> dict[str, int]:
    return {key: value for key, value in dataclasses.asdict(mosaic).items() if key in data}


def _step(side: int, limit: int) -> int:
    """The smallest whole step that brings `side` down to `limit`; 1 without a limit."""
    return -(-side // limit) if limit else 1


def _first_channels(data: Mapping[str, Any], keep: int, shown: int) -> dict[str, Any]:
    """A grid's data for its first channels."""
    if keep == shown:
        return dict(data)
    cut = {key: data[key][:keep] for key in _A_CHANNEL if isinstance(data.get(key), list)}
    constant = [channel for channel in data.get("constant", []) if channel < keep]
    return {**data, **cut, "constant": constant, "channels_shown": keep}


def _said(figure: FigureEntry, words: str) -> dict[str, Any]:
    """Caption and alternative text, led by what of the original is left."""
    return {
        "caption": f"Reduced in this file: {words}. What follows is about the original. {figure.caption}",
        "alt": f"Reduced: {words}. The original: {figure.alt}",
    }


def _ordinal(number: int) -> str:
    ending = "th" if 10 <= number % 100 <= 20 else {1: "st", 2: "nd", 3: "rd"}.get(number % 10, "th")
    return f"{number}{ending}"


def _count_step(step: int, tally: Counter[str]) -> None:
    if step > 1:
        tally["coarser"] += 1
        tally["largest step"] = max(tally["largest step"], step)


def _of_files(dropped: Iterable[str], setting: Setting, source: Source, tell_vectors: bool) -> Iterator[str]:
    vectors = [name for name in dropped if name.endswith(VECTORS)]
    if vectors and tell_vectors:
        size = sum(source.sizes[name] for name in vectors) / 1e6
        yield f"{_plural(len(vectors), 'file')} of vector graphics and arrays left out ({size:.1f} MB)"
    tables = [name for name in dropped if not name.endswith(VECTORS)]
    if tables and not setting.tables:
        size = sum(source.sizes[name] for name in tables) / 1e6
        offered = _plural(len(tables), "table or picture", "tables and pictures")
        yield f"{offered} for download left out ({size:.1f} MB)"


def _of_pictures(tally: Counter[str], setting: Setting) -> Iterator[str]:
    if tally["fewer"]:
        grids = _plural(tally["fewer"], "channel grid shows", "channel grids show")
        yield f"{grids} only the first {_plural(setting.channels, 'channel')}"
    if tally["coarser"]:
        most = tally["largest step"]
        steps = "every 2nd row and column" if most == 2 else f"every 2nd to {_ordinal(most)} row and column"
        yield f"{_plural(tally['coarser'], 'picture of maps shows', 'pictures of maps show')} only {steps}"
    if tally["divided"]:
        pictures = _plural(tally["divided"], "photograph or chart has", "photographs and charts have")
        parts = "1/2" if setting.divisor == 2 else f"1/2 to 1/{setting.divisor}"
        yield f"{pictures} {parts} of the width and height in pixels"
    if tally["jpeg"]:
        yield f"{_plural(tally['jpeg'], 'picture is', 'pictures are')} JPEG, which is not exact to the pixel"


def _plural(count: int, one: str, many: str = "") -> str:
    return f"{count:,} {one if count == 1 else many or one + 's'}"
