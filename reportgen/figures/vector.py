"""Values without positions: what each unit of a layer gave for each image, as curves, a heat map and a table."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
import torch
from numpy.typing import NDArray

from reportgen.drawing.curves import Curve, curve_plot
from reportgen.drawing.heat import Folding, fold, paint
from reportgen.drawing.palette import palette
from reportgen.drawing.png import encode_indexed
from reportgen.entities import Activation, InputImage, Layer
from reportgen.figures.base import BaseKind, DataFile, Figure, FigureOptions, Product, Subject
from reportgen.figures.tables import csv_bytes
from reportgen.figures.wording import count, describe_layer, describe_number, describe_range, json_number
from reportgen.numerics.envelope import part_size, thin
from reportgen.numerics.scaling import GAP, Scale, apply_scale, finite_ranges, quantise

MOST_VECTOR_CHARTS = 24
"""Up to so many layers of vectors have their chart as SVG and PDF too."""

TOP_UNITS = 8


def vectors_of(activation: Activation) -> torch.Tensor | None:
    """Return an activation as one vector an image, (N, D) floating, or None when it is none.

    Vectors are values laid out as NC, maps of one position (N, C, 1, 1), and one value an image (N,), as (N, 1).
    The result may be a view, and is borrowed like the activation.
    """
    value, maps = activation.value, activation.reading.maps
    if maps is not None:
        return _floating(maps.flatten(1)) if maps.shape[2:] == (1, 1) else None
    if not isinstance(value, torch.Tensor) or activation.layer.op == "get_attr" or value.is_complex():
        return None
    if not value.numel() or value.shape[0:1] != (len(activation.images),):
        return None
    if value.dim() == 1:
        return _floating(value[:, None])
    return _floating(value) if value.dim() == 2 and activation.reading.layout == "NC" else None


def rows_of(vectors: torch.Tensor) -> list[NDArray[np.float64]]:
    """Return copies of the rows of `vectors` (N, D)."""
    return list(vectors.detach().cpu().to(torch.float64, copy=True).numpy())


def _floating(values: torch.Tensor) -> torch.Tensor:
    return values if values.is_floating_point() else values.to(torch.float64)


@dataclass
class _Table:
    """The vectors of one layer: a row an image. Rows differ in length only where the images' tensors do."""

    layer: Layer
    images: list[InputImage] = field(default_factory=list)
    rows: list[NDArray[np.float64]] = field(default_factory=list)
    wide: bool = False
    """Whether the values had float64's digits."""

    @property
    def units(self) -> int:
        return max(row.size for row in self.rows)

    @cached_property
    def values(self) -> NDArray[np.float64]:
        """All values of all images, one after the other."""
        return np.concatenate(self.rows)

    @cached_property
    def ends(self) -> tuple[float, float]:
        """The smallest and largest finite value, NaN where there is none."""
        known = self.values[np.isfinite(self.values)]
        return (float(known.min()), float(known.max())) if known.size else (float("nan"), float("nan"))

    @property
    def holes(self) -> tuple[int, int]:
        """How many values are NaN, and how many infinite."""
        return int(np.isnan(self.values).sum()), int(np.isinf(self.values).sum())


class Vector(BaseKind):
    """Two figures a layer of vectors, over all drawn images; `data.view` is `lines` or `heat` (a heat map).

    Drawing the curves takes about 0.1 s a layer as PNG, and 0.25 s more as SVG and PDF. A convolutional network has
    a handful of such layers, one with gates in every block has dozens: above 24 of them only the PNG is drawn, and
    the values remain on offer as CSV.
    """

    name = "vector"
    title = "Values"
    order = 25

    def __init__(self, options: FigureOptions, subject: Subject) -> None:
        super().__init__(options, subject)
        # All vectors share one range, so it serves `channel` and `layer` alike.
        self._scale = options.scale if options.scale.mode in ("symmetric", "fixed") else Scale("layer")
        self._palette = palette(options.colour_map)
        self._tables: dict[str, _Table] = {}

    def update(self, activation: Activation) -> Iterable[Product]:
        vectors = vectors_of(activation)
        if vectors is None or not self._is_sure(activation):
            return ()
        layer = activation.layer
        table = self._tables.setdefault(layer.name, _Table(layer))
        table.images.extend(activation.images)
        table.rows.extend(rows_of(vectors))
        table.wide = table.wide or vectors.dtype == torch.float64
        return ()

    def _is_sure(self, activation: Activation) -> bool:
        """Whether the one axis of a 1-D value is the images: with one image, any single number looks like that."""
        value = activation.value
        alone = isinstance(value, torch.Tensor) and value.dim() == 1
        return not alone or activation.reading.layout == "N" or activation.layer.name in self.subject.outputs

    def compute(self) -> Iterable[Product]:
        vector = len(self._tables) <= MOST_VECTOR_CHARTS
        for table in self._tables.values():
            yield DataFile(_csv_name(table.layer), _csv(table))
            yield self._lines(table, vector)
            yield self._heat(table)

    def _lines(self, table: _Table, vector: bool) -> Figure:
        curves = []
        for image, row in zip(table.images, table.rows, strict=True):
            places = thin(row)
            curves.append(Curve(image.name, places, row[places]))
        chart = curve_plot(curves, span=table.units, x_label="unit", y_label="value", vector=vector)
        images = len(table.images)
        each = f", one {'line' if table.units > 1 else 'dot'} for each of {images:,} images" if images > 1 else ""
        return Figure(
            kind=self.name,
            layer=table.layer.name,
            image=None,
            files=chart.files,
            width=chart.width,
            height=chart.height,
            alt=f"Plot of {count(table.units, 'value')} of {table.layer.name}{each}, {_range(table)}",
            caption=_lines_caption(table),
            data={
                "view": "lines",
                "pixels": 2 / 3,
                **_facts(table),
                "low": json_number(table.ends[0]),
                "high": json_number(table.ends[1]),
            },
            downloads=(_csv_name(table.layer),),
        )

    def _heat(self, table: _Table) -> Figure:
        indices, ends = self._indices(table)
        folding = fold(len(table.rows), table.units)
        return Figure(
            kind=self.name,
            layer=table.layer.name,
            image=None,
            files={"png": encode_indexed(paint(indices, folding, GAP), self._palette)},
            width=folding.width,
            height=folding.height,
            alt=f"Heat map of {count(table.units, 'value')} of {table.layer.name}, "
            f"{count(len(table.rows), 'row')}, a row an image, {_range(table)}",
            caption=self._heat_caption(table, folding, ends),
            data={
                "view": "heat",
                "pixels": 1,
                **_facts(table),
                "columns": folding.columns,
                "lines": folding.lines,
                "cell_width": folding.cell_width,
                "cell_height": folding.cell_height,
                "gap": folding.gap,
                "scale": str(self._scale),
                "cmap": self._palette.name,
                "low": json_number(ends[0]),
                "high": json_number(ends[1]),
                "top": {image.id: _top(row) for image, row in zip(table.images, table.rows, strict=True)},
            },
        )

    def _indices(self, table: _Table) -> tuple[NDArray[np.uint8], tuple[float, float]]:
        """Palette indices (images, units), and the ends of the colours."""
        maps = torch.from_numpy(table.values)[None, None]
        ranges = finite_ranges(maps)
        low, high = apply_scale(self._scale, ranges)
        flat = quantise(maps, ranges, low, high).flatten().numpy()
        indices = np.full((len(table.rows), table.units), GAP, np.uint8)
        starts = np.cumsum([0, *(row.size for row in table.rows)])
        for number, row in enumerate(table.rows):
            indices[number, : row.size] = flat[starts[number] : starts[number + 1]]
        return indices, (float(low[0]), float(high[0]))

    def _heat_caption(self, table: _Table, folding: Folding, ends: tuple[float, float]) -> str:
        sentences = [
            f"The same values as a heat map: a row for each of {count(len(table.rows), 'image')}, a column a unit."
            if len(table.rows) > 1
            else "The same values as a heat map: a column a unit.",
            _row_order(table.images),
        ]
        if folding.lines > 1:
            sentences.append(f"Every {folding.columns:,} units a new line begins.")
        if ends[0] == ends[1]:
            sentences.append("All of them are equal: drawn in the lowest colour.")
        elif np.isfinite(ends[0]):
            clipped = ", values outside are clipped" if self._scale.mode == "fixed" else ""
            sentences.append(f"Colours span {describe_range(*ends)} ({self._palette.name}){clipped}.")
        if any(table.holes):
            sentences.append("NaN is magenta, +Inf orange, −Inf cyan.")
        return " ".join(sentence for sentence in sentences if sentence)


def _facts(table: _Table) -> dict[str, object]:
    missing, infinite = table.holes
    return {
        "units": table.units,
        "images": [image.id for image in table.images],
        "nan": missing,
        "infinite": infinite,
    }


def _lines_caption(table: _Table) -> str:
    images = len(table.images)
    over = f"{images:,} images" if images > 1 else table.images[0].name
    each = f", a {'line' if table.units > 1 else 'dot'} an image" if images > 1 else ""
    values = f"{count(table.units, 'value')}{' an image' if images > 1 else ''}"
    sentences = [f"Values of {describe_layer(table.layer)} for {over}: {values}{each}, {_range(table)}."]
    size = part_size(table.units)
    if size > 1:
        sentences.append(f"Of every {size} units, the smallest and the largest value are drawn.")
    missing, infinite = table.holes
    if missing or infinite:
        sentences.append(
            f"{missing + infinite:,} of {count(table.values.size, 'value')} not finite ({missing:,} not a number, "
            f"{infinite:,} infinite): the lines have holes there."
        )
    return " ".join(sentences)


def _range(table: _Table) -> str:
    low, high = table.ends
    if low == high:
        return f"all {describe_number(low)}" if table.values.size > 1 else describe_number(low)
    return "none of them finite" if low != low else f"from {describe_range(low, high)}"


def _row_order(images: Sequence[InputImage]) -> str:
    if len(images) == 1:
        return ""
    names = ", ".join(image.name for image in images)
    return f"From the top: {names}." if len(images) <= TOP_UNITS else "Images stand in the order of the report."


def _top(row: NDArray[np.float64]) -> list[list[float | int | None]]:
    """The units with the largest finite values, [unit, value] each; of equal ones the lower unit first."""
    places = np.flatnonzero(np.isfinite(row))
    best = places[np.argsort(-row[places], kind="stable")[:TOP_UNITS]]
    return [[int(unit), json_number(float(row[unit]))] for unit in best]


def _csv_name(layer: Layer) -> str:
    return f"vectors/{layer.slug}.csv"


def _csv(table: _Table) -> bytes:
    """A row a unit, a column an image; an empty cell where an image has no such unit."""
    digits = ".17g" if table.wide else ".9g"
    columns = [[format(value, digits) for value in row.tolist()] for row in table.rows]
    columns = [column + [""] * (table.units - len(column)) for column in columns]
    rows = ([unit, *cells] for unit, cells in enumerate(zip(*columns, strict=True)))
    return csv_bytes(["unit", *(image.id for image in table.images)], rows)
