"""The first channels of the first layers in one picture: columns are layers, rows are channels."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray

from reportgen.drawing.palette import palette
from reportgen.drawing.sheet import contact_sheet
from reportgen.entities import Activation, Batch, InputImage, Layer
from reportgen.figures.base import BaseKind, Figure, FigureOptions, Product, Subject
from reportgen.figures.wording import count, count_shown, json_values
from reportgen.numerics.scaling import finite_ranges, quantise

LARGEST_SIDE = 256
"""Of larger maps, every k-th row and column is drawn."""


@dataclass(frozen=True)
class _Cells:
    """What a layer's column shows of one image: palette indices of at most LARGEST_SIDE a side, and ranges."""

    pictures: Sequence[NDArray[np.uint8]]
    low: Sequence[float | None]
    high: Sequence[float | None]
    size: tuple[int, int]
    finite: bool
    thinned: bool


@dataclass
class _Column:
    """One layer: how many channels it has, and its cells for each image of the batch."""

    layer: str
    channels: int
    cells: list[_Cells] = field(default_factory=list)


class Overview(BaseKind):
    """One picture an image, as PNG, SVG and PDF; `--overview COLUMNSxROWS` says how many layers and channels.

    Layers are taken in execution order, as far as they have maps; the network's input is left out. What is kept of
    a batch are uint8 copies of the cells that are drawn.
    """

    name = "overview"
    title = "Overview"
    order = 50

    def __init__(self, options: FigureOptions, subject: Subject) -> None:
        super().__init__(options, subject)
        self._palette = palette(options.colour_map)
        self._images: tuple[InputImage, ...] = ()
        self._columns: list[_Column] = []
        self._mapped = 0
        self._clips = False

    def wants(self, layer: Layer) -> bool:
        return layer.op not in ("placeholder", "get_attr")

    def begin_batch(self, batch: Batch) -> Iterable[Product]:
        self._images = batch.images if batch.drawn else ()
        self._columns, self._mapped, self._clips = [], 0, False
        return ()

    def update(self, activation: Activation) -> Iterable[Product]:
        maps = activation.reading.maps
        if maps is not None:
            self._mapped += 1
            if len(self._columns) < self.options.overview[0]:
                frames = activation.reading.frames
                cells = [self._cells(middle_frame(one, frames)) for one in maps]
                self._clips = self._clips or frames > 1
                self._columns.append(_Column(activation.layer.name, maps.shape[1], cells))
        return ()

    def _cells(self, maps: torch.Tensor) -> _Cells:
        shown = maps[: self.options.overview[1]]
        ranges = finite_ranges(shown)
        low, high = ranges.low, ranges.high
        if self.options.scale.mode == "symmetric":
            high = torch.maximum(low.abs(), high.abs())
            low = -high
        step = -(-max(shown.shape[1:]) // LARGEST_SIDE)
        indices = quantise(shown[:, ::step, ::step], ranges, low, high).cpu().numpy()
        size = (shown.shape[1], shown.shape[2])
        return _Cells(tuple(indices), json_values(low), json_values(high), size, ranges.finite, step > 1)

    def end_batch(self) -> Iterable[Product]:
        if self._columns:
            for place, image in enumerate(self._images):
                yield self._figure(image, [column.cells[place] for column in self._columns])
        self._columns = []

    def _figure(self, image: InputImage, cells: Sequence[_Cells]) -> Figure:
        names = [column.layer for column in self._columns]
        rows = min(self.options.overview[1], max(column.channels for column in self._columns))
        height, width = cells[0].size
        chart = contact_sheet(
            [(name, one.pictures) for name, one in zip(names, cells, strict=True)],
            [str(row) for row in range(rows)],
            self._palette,
            width / height,
        )
        return Figure(
            kind=self.name,
            layer=None,
            image=image.id,
            files=chart.files,
            width=chart.width,
            height=chart.height,
            alt=f"{_channels(rows)} of {_layers(len(names), self._mapped)} for {image.name}, a column a layer",
            caption=self._caption(image, rows, cells),
            data={
                "pixels": 2 / 3,
                "columns": len(names),
                "rows": rows,
                "layers": names,
                "layers_total": self._mapped,
                "channels": [column.channels for column in self._columns],
                "low": [one.low for one in cells],
                "high": [one.high for one in cells],
                "cmap": self._palette.name,
            },
        )

    def _caption(self, image: InputImage, rows: int, cells: Sequence[_Cells]) -> str:
        about_zero = " about zero" if self.options.scale.mode == "symmetric" else ""
        sentences = [
            f"Overview for {image.name}: {_channels(rows).lower()} (rows, numbered from 0) of "
            f"{_layers(len(cells), self._mapped)} (columns, in execution order).",
            f"Each cell is coloured over its own range{about_zero} ({self._palette.name}).",
        ]
        if any(column.channels < rows for column in self._columns):
            sentences.append("A dash stands where a layer has no such channel.")
        if self._clips:
            sentences.append("Of clips the middle frame is shown.")
        if any(one.thinned for one in cells):
            sentences.append(f"Of maps larger than {LARGEST_SIDE} pixels, every k-th row and column is drawn.")
        if not all(one.finite for one in cells):
            sentences.append("NaN is magenta, +Inf orange, −Inf cyan.")
        return " ".join(sentences)


def middle_frame(maps: torch.Tensor, frames: int) -> torch.Tensor:
    """Return the middle one of `frames` that stand side by side in maps (C, H, frames x W): (C, H, W)."""
    return maps.reshape(*maps.shape[:2], frames, -1)[:, :, frames // 2] if frames > 1 else maps


def _channels(rows: int) -> str:
    return "The first channel" if rows == 1 else f"The first {count(rows, 'channel')}"


def _layers(shown: int, total: int) -> str:
    """`the first 15 of 66 layers that have maps`."""
    first = "the first " if shown < total else ""
    have = "has" if total == 1 else "have"
    return f"{first}{count_shown(shown, total, 'layer')} that {have} maps"
