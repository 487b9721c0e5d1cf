"""The kernels of convolutions, and what the activation that follows does to a convolution's maps."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from reportgen.drawing.kernels import annotated, describe_unit, encode_colours, plan_planes, unit
from reportgen.drawing.matrix import encode_matrix
from reportgen.drawing.mosaic import Mosaic, assemble, plan
from reportgen.drawing.palette import palette
from reportgen.drawing.png import encode_indexed
from reportgen.entities import Activation, Batch, Layer
from reportgen.figures.base import BaseKind, Figure, FigureOptions, Product, Subject
from reportgen.figures.before_after import CMAP, BeforeAfter, find_chains
from reportgen.figures.wording import (
    conversion_sentence,
    count,
    count_shown,
    describe_layer,
    describe_number,
    describe_range,
    json_number,
)
from reportgen.numerics.kernels import Summary, coloured, planes, summarise
from reportgen.numerics.real import as_real
from reportgen.numerics.scaling import GAP, apply_scale, finite_ranges, parse_scale, quantise

MOST_IN_MATRIX = 512
"""Rows and columns at most in a picture of 1 x 1 kernels, unless all filters are asked for."""
SMALL_LAYER = 64
ANNOTATED = 9
MOST_SIDE = 7
MOST_IN_A_ROW = 16
"""Layers of at most 64 slices of at most 7 x 7 are small: the first 9 slices are also shown with their values. So
are all of at most 64 kernels of 1 x 1, in a matrix of at most 16 rows and columns."""

_CONVOLUTIONS = (
    nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d
)  # fmt: skip


class Convolution(Protocol):
    """What torch's convolutions have in common with their quantised counterparts, whose `weight` is a method."""

    in_channels: int
    kernel_size: tuple[int, ...]
    dilation: tuple[int, ...]
    groups: int
    transposed: bool
    weight: Any


def convolution_of(module: nn.Module | None) -> Convolution | None:
    """Return a convolution, also where it comes first in a block that runs as one node; else None."""
    if isinstance(module, nn.Sequential) and len(module):
        module = module[0]
    found = isinstance(module, _CONVOLUTIONS) or _is_quantised(module)
    return cast(Convolution, module) if found else None


def _is_quantised(module: nn.Module | None) -> bool:
    """Whether a module is a quantised convolution, fused with an activation or not."""
    parts = ("kernel_size", "dilation", "groups", "transposed", "in_channels")
    return callable(getattr(module, "weight", None)) and all(hasattr(module, part) for part in parts)


def weight_of(module: Convolution) -> torch.Tensor:
    """Return the weight as the module keeps it, of any dtype."""
    weight: torch.Tensor = module.weight() if callable(module.weight) else module.weight
    return weight.detach()


@dataclass(frozen=True)
class _Kernels:
    """The kernels of one node: weights (out, in per group, planes, height, width) and what is said of them."""

    layer: Layer
    module: Convolution
    weights: torch.Tensor
    sees_image: bool
    summary: Summary
    conversion: str
    """What drawing made of weights that are complex or quantised, in a sentence; else empty."""

    @property
    def pointwise(self) -> bool:
        return self.weights[0, 0].numel() == 1

    @property
    def size(self) -> str:
        return " × ".join(map(str, self.module.kernel_size))

    def inputs_of(self, output: int) -> range:
        """The input channels that an output channel reads: those of its group."""
        outputs, inputs = self.weights.shape[:2]
        start = output // (outputs // self.module.groups) * inputs
        return range(start, start + inputs)


class Filters(BaseKind):
    """The kernels of a convolution once a report, and its maps before and after its activation for each image.

    Kernels that read an image of three channels are drawn in its colours, of one channel in gray, all of them;
    those of other layers as slices (an output and an input channel), `--max-filters` of them; 1 x 1 kernels as a
    matrix. Zero is always white in a slice, so `--cmap` does not apply.
    """

    name = "filters"
    title = "Filters"
    order = 40

    def __init__(self, options: FigureOptions, subject: Subject) -> None:
        super().__init__(options, subject)
        found = {layer.name: convolution_of(subject.module_of(layer)) for layer in subject.layers}
        self._convolutions = {name: module for name, module in found.items() if module is not None}
        self._deeper = _behind(subject.layers, self._convolutions)
        self._pairs = BeforeAfter(self.name, find_chains(subject.layers, self._convolutions))
        self._seen: dict[str, Layer] = {}

    def wants(self, layer: Layer) -> bool:
        return layer.name in self._convolutions or self._pairs.reads(layer)

    def begin_batch(self, batch: Batch) -> Iterable[Product]:
        self._pairs.forget()
        return ()

    def observe(self, activation: Activation) -> None:
        if activation.layer.name in self._convolutions:
            self._seen[activation.layer.name] = activation.layer

    def update(self, activation: Activation) -> Iterable[Product]:
        return self._pairs.update(activation) if self._pairs.reads(activation.layer) else ()

    def end_batch(self) -> Iterable[Product]:
        self._pairs.forget()
        return ()

    def compute(self) -> Iterable[Product]:
        for layer in self._seen.values():
            yield from self._of_layer(layer)

    def _of_layer(self, layer: Layer) -> Iterator[Figure]:
        module = self._convolutions[layer.name]
        weight = weight_of(module)
        if not weight.numel():
            return
        weights = planes(as_real(weight), transposed=module.transposed, groups=module.groups)
        conversion = conversion_sentence(weight).replace("values", "weights")
        kernels = _Kernels(layer, module, weights, layer.name not in self._deeper, summarise(weights), conversion)
        yield self._picture(kernels)
        if _is_small(kernels):
            yield _annotated(kernels)

    def _picture(self, kernels: _Kernels) -> Figure:
        if kernels.pointwise:
            return _matrix(kernels, self.options.max_filters)
        flat = kernels.weights.shape[2] == 1 and kernels.weights.shape[3] > 1
        if kernels.sees_image and kernels.module.groups == 1:
            if kernels.module.in_channels == 3 and len(kernels.module.kernel_size) > 1:
                return _colours(kernels)
            if kernels.module.in_channels == 1 and flat:
                return _grays(kernels)
        return _slices(kernels, self.options.max_filters)


def _behind(layers: Sequence[Layer], convolutions: Mapping[str, object]) -> frozenset[str]:
    """The names of the layers that read a convolution, directly or through others: what they read is no image."""
    behind: set[str] = set()
    for layer in layers:
        if any(parent in behind or parent in convolutions for parent in layer.parents):
            behind.add(layer.name)
    return frozenset(behind)


def _colours(kernels: _Kernels) -> Figure:
    """Kernels over red, green and blue: a tile each, or a tile a plane side by side."""
    outputs, _, depth, height, width = kernels.weights.shape
    found = coloured(kernels.weights)
    mosaic = plan_planes(outputs, depth, height, width) if depth > 1 else plan(outputs, height, width)
    png = encode_colours(found.tiles.flatten(0, 1).cpu().numpy(), mosaic)
    sentences = [
        f"{_each(kernels, outputs, outputs, 'kernel', mosaic)}, red, green and blue being the weights for the "
        "three input channels.",
        "Each kernel is scaled over its own range, jointly over the three.",
        *_flat_sentence(int(found.constant.sum()), "gray"),
        *(["A position with a weight that is not finite is magenta."] if kernels.summary.not_finite else []),
    ]
    facts = {"reading": "colour", "shown": outputs, "total": outputs, "scale": "kernel", "cmap": ""}
    return _figure(kernels, png, mosaic, sentences, facts)


def _grays(kernels: _Kernels) -> Figure:
    """Kernels over the one channel of a gray image, each over its own range."""
    outputs = kernels.weights.shape[0]
    values = kernels.weights.flatten(0, 2)
    ranges = finite_ranges(values)
    mosaic = plan(outputs, values.shape[1], values.shape[2])
    indices = quantise(values, ranges, *apply_scale(parse_scale("channel"), ranges))
    png = encode_indexed(assemble(indices.cpu().numpy(), mosaic, GAP), palette("gray"))
    sentences = [
        f"{_each(kernels, outputs, outputs, 'kernel', mosaic)}.",
        "Each kernel is scaled over its own range, white being its largest weight.",
        *_flat_sentence(int(ranges.constant.sum()), "black"),
        *_non_finite_sentence(kernels.summary),
    ]
    facts = {"reading": "gray", "shown": outputs, "total": outputs, "scale": "kernel", "cmap": "gray"}
    return _figure(kernels, png, mosaic, sentences, facts)


def _slices(kernels: _Kernels, most: int) -> Figure:
    """Slices (an output and an input channel) in order, all on one scale about zero."""
    outputs, inputs, depth, height, width = kernels.weights.shape
    total = outputs * inputs
    values = kernels.weights.reshape(total, depth, height, width)[: most or total]
    mosaic = plan_planes(len(values), depth, height, width) if depth > 1 else plan(len(values), height, width)
    limit = summarise(values).magnitude
    indices = _about_zero(values.flatten(0, 1), limit)
    png = encode_indexed(assemble(indices, mosaic, GAP), palette(CMAP))
    order = "by output channel" if inputs == 1 else "by output channel, then by input channel"
    sentences = [
        f"{_each(kernels, len(values), total, 'slice', mosaic)}; a slice holds the weights from one input channel "
        f"to one output channel, and they stand in order {order}.",
        _scale_sentence(limit, "the largest magnitude shown"),
        *_non_finite_sentence(kernels.summary),
    ]
    facts = {
        "reading": "slices", "shown": len(values), "total": total, "scale": "symmetric", "cmap": CMAP,
        "limit": json_number(limit),
    }  # fmt: skip
    return _figure(kernels, png, mosaic, sentences, facts)


def _matrix(kernels: _Kernels, most: int) -> Figure:
    """1 x 1 kernels: a row an output channel, a column an input channel (of its group)."""
    whole = kernels.weights.flatten(1)
    side = max(whole.shape) if most == 0 else MOST_IN_MATRIX
    values = whole[:side, :side]
    rows, columns = values.shape
    limit = summarise(values).magnitude
    png = encode_matrix(_about_zero(values[None], limit)[0], CMAP)
    mosaic = Mosaic(1, 1, columns, rows, 0)
    group = " of its group" if kernels.module.groups > 1 else ""
    part = "" if values.numel() == whole.numel() else f" (of {whole.shape[0]:,} × {whole.shape[1]:,})"
    sentences = [
        f"Kernels of {describe_layer(kernels.layer)} as a matrix of {rows:,} × {columns:,}{part} weights: a row an "
        f"output channel, a column an input channel{group}.",
        _scale_sentence(limit, "the largest magnitude shown"),
        *(["NaN is gray, +Inf orange, −Inf cyan."] if kernels.summary.not_finite else []),
    ]
    facts = {
        "reading": "matrix", "shown": values.numel(), "total": whole.numel(), "scale": "symmetric", "cmap": CMAP,
        "limit": json_number(limit),
    }  # fmt: skip
    return _figure(kernels, png, mosaic, sentences, facts)


def _about_zero(values: torch.Tensor, limit: float) -> NDArray[np.uint8]:
    """Palette indices of (K, H, W) on a scale from -limit to limit."""
    ranges = finite_ranges(values)
    ends = torch.full_like(ranges.low, limit)
    indices: NDArray[np.uint8] = quantise(values, ranges, -ends, ends).cpu().numpy()
    return indices


def _figure(
    kernels: _Kernels, png: bytes, mosaic: Mosaic, sentences: Iterable[str], facts: Mapping[str, Any]
) -> Figure:
    layer, summary = kernels.layer, kernels.summary
    shown = count_shown(facts["shown"], facts["total"], "weight" if facts["reading"] == "matrix" else "slice")
    what = f"{shown} of the kernels" if facts["reading"] in ("matrix", "slices") else "The kernels"
    numbers = {name: json_number(getattr(summary, name)) for name in ("low", "high", "mean", "std")}
    return Figure(
        kind=Filters.name,
        layer=layer.name,
        image=None,
        files={"png": png},
        width=mosaic.width,
        height=mosaic.height,
        alt=f"{what[0].upper()}{what[1:]} of {layer.name}",
        caption=" ".join((*sentences, *_facts(kernels), _statistics(summary))),
        data={
            "view": "kernels",
            **facts,
            "columns": mosaic.columns,
            "tile_width": mosaic.tile_width,
            "tile_height": mosaic.tile_height,
            "gap": mosaic.gap,
            **numbers,
            "not_finite": summary.not_finite,
        },
    )


def _annotated(kernels: _Kernels) -> Figure:
    """The first slices of a small layer, each weight written on its cell."""
    outputs, inputs = kernels.weights.shape[:2]
    if kernels.pointwise:
        slices = kernels.weights.flatten(1)[None]
        titles, shown = ["rows: outputs, columns: inputs"], f"all {outputs * inputs} weights"
        columns = 1
    else:
        number = ANNOTATED if inputs > ANNOTATED else min(outputs, ANNOTATED // inputs) * inputs
        slices = kernels.weights.flatten(0, 2)[:number]
        places = [divmod(place, inputs) for place in range(number)]
        titles = [f"out {output}, in {kernels.inputs_of(output)[place]}" for output, place in places]
        shown = count_shown(number, outputs * inputs, "slice")
        columns = min(3, number)
    values = slices.double().cpu().numpy()
    limit = summarise(slices).magnitude
    chart = annotated(values, titles, columns=columns, limit=limit, cmap=CMAP)
    return Figure(
        kind=Filters.name,
        layer=kernels.layer.name,
        image=None,
        files=chart.files,
        width=chart.width,
        height=chart.height,
        alt=f"The values of {shown} of {kernels.layer.name}, each written on its cell",
        caption=f"The values of the kernels of {kernels.layer.name}: {shown}{describe_unit(limit)}. "
        + _scale_sentence(limit, "the largest magnitude shown"),
        data={
            "view": "annotated",
            "pixels": 2 / 3,
            "shown": slices.numel(),
            "limit": json_number(limit),
            "unit": unit(limit),
        },
    )


def _is_small(kernels: _Kernels) -> bool:
    outputs, inputs, depth, height, width = kernels.weights.shape
    if kernels.pointwise:
        return max(outputs, inputs) <= MOST_IN_A_ROW and outputs * inputs <= SMALL_LAYER
    return outputs * inputs <= SMALL_LAYER and depth == 1 and max(height, width) <= MOST_SIDE


def _each(kernels: _Kernels, shown: int, total: int, noun: str, mosaic: Mosaic) -> str:
    """`Kernels of conv1 (...): all 64 kernels in order, row by row, 8 a row, each 7 × 7`."""
    depth = kernels.weights.shape[2]
    a_row = mosaic.columns // depth
    planes_ = f", its {depth} planes side by side" if depth > 1 else ""
    return (
        f"Kernels of {describe_layer(kernels.layer)}: {count_shown(shown, total, noun)}, row by row, {a_row} a "
        f"row, each {kernels.size}{planes_}"
    )


def _facts(kernels: _Kernels) -> Iterator[str]:
    """What the picture of a kernel does not show."""
    module = kernels.module
    if kernels.conversion:
        yield kernels.conversion
    if module.transposed:
        yield "The convolution is transposed: a kernel is the pattern that one input value adds to the output."
    if max(module.dilation) > 1:
        apart = " × ".join(map(str, module.dilation)) if len(set(module.dilation)) > 1 else str(module.dilation[0])
        yield f"Neighbours in a kernel read positions that lie {apart} apart (dilation)."
    if module.groups > 1:
        yield f"The convolution has {module.groups:,} groups: an output reads the inputs of its own group only."


def _scale_sentence(limit: float, why: str) -> str:
    return f"Colours span ±{describe_number(limit)}, {why}; zero is white ({CMAP})."


def _flat_sentence(number: int, colour: str) -> Iterator[str]:
    if number:
        yield f"{count(number, 'kernel')} constant: drawn {colour}."


def _non_finite_sentence(summary: Summary) -> Iterator[str]:
    if summary.not_finite:
        yield "NaN is magenta, +Inf orange, −Inf cyan."


def _statistics(summary: Summary) -> str:
    if summary.low != summary.low:
        return "No weight is finite."
    missing = f", {count(summary.not_finite, 'weight')} not finite" if summary.not_finite else ""
    return (
        f"All weights of the layer: {describe_range(summary.low, summary.high)}, mean "
        f"{describe_number(summary.mean)}, standard deviation {describe_number(summary.std)}{missing}."
    )
