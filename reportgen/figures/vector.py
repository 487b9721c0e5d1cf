"""Values without positions: what each unit of a layer gave for each image, as curves, a heat map and a table.

Tokens without positions (a class token, register tokens) that stand beside a grid of others are such values too.
"""

from collections.abc import Iterable, Iterator, Mapping

import numpy as np
import torch
from numpy.typing import NDArray

from reportgen.drawing.curves import Curve, curve_plot
from reportgen.drawing.heat import Folding, fold, paint
from reportgen.drawing.palette import palette
from reportgen.drawing.png import encode_indexed
from reportgen.entities import Activation
from reportgen.figures.base import BaseKind, DataFile, Figure, FigureOptions, Product, Subject
from reportgen.figures.vector_table import TOP_UNITS, VectorTable
from reportgen.figures.wording import conversion_sentence, count, describe_range, json_number
from reportgen.numerics.envelope import part_size, thin
from reportgen.numerics.real import as_floating
from reportgen.numerics.scaling import GAP, Scale, apply_scale, finite_ranges, quantise

MOST_VECTOR_CHARTS = 24
"""Up to so many layers of vectors have their chart as SVG and PDF too."""


def vectors_of(activation: Activation) -> torch.Tensor | None:
    """Return an activation as one vector an image, (N, D) floating, or None when it is none.

    Vectors are values laid out as NC, maps of one position (N, C, 1, 1), and one value an image (N,), as (N, 1);
    complex values as their magnitudes. The result may be a view, and is borrowed like the activation.
    """
    value, maps = activation.value, activation.reading.maps
    if maps is not None:
        return as_floating(maps.flatten(1)) if maps.shape[2:] == (1, 1) else None
    if not isinstance(value, torch.Tensor) or activation.layer.op == "get_attr":
        return None
    if not value.numel() or value.shape[0:1] != (len(activation.images),):
        return None
    if value.dim() == 1:
        return as_floating(value[:, None])
    return as_floating(value) if value.dim() == 2 and activation.reading.layout == "NC" else None


def tokens_of(activation: Activation) -> Mapping[str, torch.Tensor]:
    """Return the activation's tokens without positions by name, (N, D) floating each.

    None where the whole activation is one vector an image: its parts are drawn with it. Borrowed, too.
    """
    if activation.layer.op == "get_attr" or activation.reading.layout == "NC":
        return {}
    images = len(activation.images)
    return {
        name: as_floating(token)
        for name, token in activation.reading.vectors.items()
        if token.dim() == 2 and token.numel() and token.shape[0] == images
    }


def rows_of(vectors: torch.Tensor) -> list[NDArray[np.float64]]:
    """Return copies of the rows of `vectors` (N, D)."""
    return list(vectors.detach().cpu().to(torch.float64, copy=True).numpy())


class Vector(BaseKind):
    """Two figures a layer of vectors, over all drawn images; `data.view` is `lines` or `heat` (a heat map).

    Drawing the curves takes about 0.1 s a layer as PNG, and 0.25 s more as SVG and PDF. A convolutional network has
    a handful of such layers, one with gates in every block has dozens: above 24 of them only the PNG is drawn, and
    the values remain on offer as CSV. A transformer has hundreds of layers with a class token: of a token there is
    the heat map alone, `data.token` is its name and `data.view` its name in files.
    """

    name = "vector"
    title = "Values"
    order = 25

    def __init__(self, options: FigureOptions, subject: Subject) -> None:
        super().__init__(options, subject)
        # All vectors share one range, so it serves `channel` and `layer` alike.
        self._scale = options.scale if options.scale.mode in ("symmetric", "fixed") else Scale("layer")
        self._palette = palette(options.colour_map)
        self._tables: dict[tuple[str, str], VectorTable] = {}

    def update(self, activation: Activation) -> Iterable[Product]:
        vectors = vectors_of(activation)
        if vectors is not None and self._is_sure(activation):
            self._add(activation, "", vectors)
        for token, values in tokens_of(activation).items():
            self._add(activation, token, values)
        return ()

    def _add(self, activation: Activation, token: str, vectors: torch.Tensor) -> None:
        key = (activation.layer.name, token)
        if key not in self._tables:
            conversion = conversion_sentence(activation.value)
            self._tables[key] = VectorTable(activation.layer, token, conversion)
        self._tables[key].add(activation.images, vectors)

    def _is_sure(self, activation: Activation) -> bool:
        """Whether the one axis of a 1-D value is the images: with one image, any single number looks like that."""
        value = activation.value
        alone = isinstance(value, torch.Tensor) and value.dim() == 1
        return not alone or activation.reading.layout == "N" or activation.layer.name in self.subject.outputs

    def compute(self) -> Iterable[Product]:
        vector = sum(not table.token for table in self._tables.values()) <= MOST_VECTOR_CHARTS
        for table in self._tables.values():
            yield DataFile(table.file, table.csv())
            if not table.token:
                yield self._lines(table, vector)
            yield self._heat(table)

    def _lines(self, table: VectorTable, vector: bool) -> Figure:
        curves = []
        for image, row in zip(table.images, table.exact_rows(), strict=True):
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
            alt=f"Plot of {count(table.units, 'value')} of {table.name}{each}, {table.range}",
            caption=" ".join(_line_sentences(table)),
            data={
                "view": "lines",
                "pixels": 2 / 3,
                **table.facts,
                "low": json_number(table.ends[0]),
                "high": json_number(table.ends[1]),
            },
            downloads=(table.file,),
        )

    def _heat(self, table: VectorTable) -> Figure:
        indices, ends = self._indices(table)
        folding = fold(len(table.rows), table.units)
        return Figure(
            kind=self.name,
            layer=table.layer.name,
            image=None,
            files={"png": encode_indexed(paint(indices, folding, GAP), self._palette)},
            width=folding.width,
            height=folding.height,
            alt=f"Heat map of {count(table.units, 'value')} of {table.name}, "
            f"{count(len(table.rows), 'row')}, a row an image, {table.range}",
            caption=" ".join((*_heat_sentences(table, folding), *self._colour_sentences(table, ends))),
            data={
                "view": table.view or "heat",
                "pixels": 1,
                **table.facts,
                "columns": folding.columns,
                "lines": folding.lines,
                "cell_width": folding.cell_width,
                "cell_height": folding.cell_height,
                "gap": folding.gap,
                "scale": str(self._scale),
                "cmap": self._palette.name,
                "low": json_number(ends[0]),
                "high": json_number(ends[1]),
                "top": table.top(),
            },
            downloads=(table.file,) if table.token else (),
        )

    def _indices(self, table: VectorTable) -> tuple[NDArray[np.uint8], tuple[float, float]]:
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

    def _colour_sentences(self, table: VectorTable, ends: tuple[float, float]) -> Iterator[str]:
        if ends[0] == ends[1]:
            yield "All of them are equal: drawn in the lowest colour."
        elif np.isfinite(ends[0]):
            clipped = ", values outside are clipped" if self._scale.mode == "fixed" else ""
            yield f"Colours span {describe_range(*ends)} ({self._palette.name}){clipped}."
        if any(table.holes):
            yield "NaN is magenta, +Inf orange, −Inf cyan."


def _opening(table: VectorTable) -> str:
    """`Values of fc (Linear, ...) for 2 images: 10 values an image`."""
    images = len(table.images)
    over = f"{images:,} images" if images > 1 else table.images[0].name
    each = " an image" if images > 1 else ""
    return f"Values of {table.described} for {over}: {count(table.units, 'value')}{each}"


def _line_sentences(table: VectorTable) -> Iterator[str]:
    each = f", a {'line' if table.units > 1 else 'dot'} an image" if len(table.images) > 1 else ""
    yield f"{_opening(table)}{each}, {table.range}."
    size = part_size(table.units)
    if size > 1:
        yield f"Of every {size} units, the smallest and the largest value are drawn."
    if any(table.holes):
        yield f"{_holes(table)}: the lines have holes there."
    if table.conversion:
        yield table.conversion


def _heat_sentences(table: VectorTable, folding: Folding) -> Iterator[str]:
    images = len(table.images)
    reading = f"a row for each of {count(images, 'image')}, a column a unit" if images > 1 else "a column a unit"
    if table.token:
        yield f"{_opening(table)}, {table.range}, as a heat map: {reading}."
    else:
        yield f"The same values as a heat map: {reading}."
    if images > TOP_UNITS:
        yield "Images stand in the order of the report."
    elif images > 1:
        yield f"From the top: {', '.join(image.name for image in table.images)}."
    if folding.lines > 1:
        yield f"Every {folding.columns:,} units a new line begins."
    if table.token and any(table.holes):
        yield f"{_holes(table)}."
    if table.token and table.conversion:
        yield table.conversion


def _holes(table: VectorTable) -> str:
    missing, infinite = table.holes
    return (
        f"{missing + infinite:,} of {count(table.values.size, 'value')} not finite ({missing:,} not a number, "
        f"{infinite:,} infinite)"
    )
