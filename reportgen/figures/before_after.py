"""What an activation function does to the maps of the convolution that feeds it, directly or through a norm."""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from reportgen.drawing.mosaic import Mosaic, assemble
from reportgen.drawing.palette import palette
from reportgen.drawing.png import encode_indexed
from reportgen.entities import Activation, InputImage, Layer
from reportgen.figures.base import Figure
from reportgen.figures.wording import describe_layer, describe_number
from reportgen.numerics.scaling import GAP, finite_ranges, quantise

MOST_CHANNELS = 16
COLUMNS = 8
CMAP = "RdBu_r"
"""Zero is white: what an activation cuts off loses its colour."""

_ACTIVATIONS = frozenset(
    {
        "relu", "relu6", "leakyrelu", "prelu", "rrelu", "gelu", "gelutanh", "quickgelu", "silu", "swish", "mish",
        "hardswish", "hardmish", "elu", "celu", "selu", "sigmoid", "hardsigmoid", "tanh", "hardtanh", "softplus",
        "softsign",
    }
)  # fmt: skip
_SQUASHING = frozenset({"sigmoid", "hardsigmoid", "tanh", "hardtanh", "softsign", "softplus"})
"""What these give for small values may be larger than the values: their scale reaches 1."""
_NORM = re.compile(r"(frozen)?(batch|group|instance|layer|localresponse|rms)norm(1d|2d|3d)?")


@dataclass(frozen=True)
class Chain:
    """A convolution, the norm that reads it if there is one, and the activation that reads that."""

    stages: tuple[Layer, ...]

    @property
    def limit_at_least(self) -> float:
        return 1.0 if operation(self.stages[-1]) in _SQUASHING else 0.0


def operation(layer: Layer) -> str:
    """A layer's operation in one spelling: `leakyrelu` for LeakyReLU, leaky_relu and leaky_relu_."""
    name = layer.module_type or layer.target.rsplit(".", 1)[-1]
    return name.replace("_", "").lower()


def find_chains(layers: Sequence[Layer], convolutions: Mapping[str, object]) -> tuple[Chain, ...]:
    """Return a chain for each of `convolutions` (by name) that feeds an activation: the first that reads it."""
    by_name = {layer.name: layer for layer in layers}
    found: dict[str, Chain] = {}
    for layer in layers:
        if operation(layer) in _ACTIVATIONS:
            stages = _back_to_convolution(layer, by_name, convolutions)
            if stages:
                found.setdefault(stages[0].name, Chain(stages))
    return tuple(found.values())


def _back_to_convolution(
    activation: Layer, by_name: Mapping[str, Layer], convolutions: Mapping[str, object]
) -> tuple[Layer, ...]:
    """The stages that lead to an activation, or () when it reads anything but a convolution or its norm."""
    before = _read_by(activation, by_name)
    if before is not None and before.name in convolutions:
        return before, activation
    first = _read_by(before, by_name) if before is not None and _NORM.fullmatch(operation(before)) else None
    if before is not None and first is not None and first.name in convolutions:
        return first, before, activation
    return ()


def _read_by(layer: Layer, by_name: Mapping[str, Layer]) -> Layer | None:
    return by_name.get(layer.parents[0]) if layer.parents else None


@dataclass(frozen=True)
class _Tiles:
    """The first channels of one image as palette indices, (C, H, W) uint8, on a scale from -limit to limit."""

    indices: NDArray[np.uint8]
    limit: float
    finite: bool
    clipped: bool
    total: int


class BeforeAfter:
    """Keeps at most 16 channels of a convolution, 8 bits a value, until its activation runs, within one batch."""

    def __init__(self, kind: str, chains: Iterable[Chain]) -> None:
        self._kind = kind
        self._palette = palette(CMAP)
        self._places = {layer.name: (chain, place) for chain in chains for place, layer in enumerate(chain.stages)}
        self._kept: dict[str, list[list[_Tiles]]] = {}

    def reads(self, layer: Layer) -> bool:
        """Whether a layer is part of a chain."""
        return layer.name in self._places

    def forget(self) -> None:
        """Drop what a batch left behind."""
        self._kept.clear()

    def update(self, activation: Activation) -> Iterator[Figure]:
        """Take in one node that `reads` names; once the activation has run, give a figure for each image."""
        chain, place = self._places[activation.layer.name]
        head, maps = chain.stages[0].name, activation.reading.maps
        if place == 0:
            self._kept[head] = []
        if maps is None or len(self._kept.get(head, ())) != place:
            return
        self._kept[head].append(self._tiles(chain, place, maps))
        if place == len(chain.stages) - 1:
            yield from self._figures(chain, activation.images, self._kept.pop(head))

    def _tiles(self, chain: Chain, place: int, maps: torch.Tensor) -> list[_Tiles]:
        """The tiles of each image of `maps` (N, C, H, W); the activation's on the scale of what it reads."""
        last = place == len(chain.stages) - 1
        before = self._kept[chain.stages[0].name][-1] if last else None
        least = chain.limit_at_least if place == len(chain.stages) - 2 else 0.0
        limits = [one.limit for one in before] if before else [None] * len(maps)
        return [_quantised(one, least, limit) for one, limit in zip(maps, limits, strict=True)]

    def _figures(
        self, chain: Chain, images: Sequence[InputImage], stages: Sequence[Sequence[_Tiles]]
    ) -> Iterator[Figure]:
        for image, tiles in zip(images, zip(*stages, strict=True), strict=True):
            if len({one.indices.shape for one in tiles}) == 1:
                yield self._figure(chain, image, tiles)

    def _figure(self, chain: Chain, image: InputImage, tiles: Sequence[_Tiles]) -> Figure:
        lines, mosaic = bands([one.indices for one in tiles])
        first, last = chain.stages[0], chain.stages[-1]
        shown = len(tiles[0].indices)
        return Figure(
            kind=self._kind,
            layer=first.name,
            image=image.id,
            files={"png": encode_indexed(lines, self._palette)},
            width=lines.shape[1] - 1,
            height=lines.shape[0],
            alt=f"The first {shown} channels of {first.name} for {image.name}, before and after {last.name}",
            caption=_caption(chain, image, tiles),
            data={
                "view": "before-after",
                "stages": [layer.name for layer in chain.stages],
                "limits": [float(f"{one.limit:.6g}") for one in tiles],
                "channels_shown": shown,
                "channels_total": tiles[0].total,
                "columns": mosaic.columns,
                "tile_width": mosaic.tile_width,
                "tile_height": mosaic.tile_height,
                "gap": mosaic.gap,
                "cmap": CMAP,
                "finite": all(one.finite for one in tiles),
            },
        )


def _quantised(maps: torch.Tensor, least: float, limit: float | None) -> _Tiles:
    """The first channels of `maps` (C, H, W) on their own scale about zero, or on the one given."""
    shown = maps[:MOST_CHANNELS]
    ranges = finite_ranges(shown)
    reach = torch.maximum(ranges.low.abs(), ranges.high.abs()).nan_to_num(0.0)
    largest = float(reach.max())
    end = limit if limit is not None else max(largest, least) or 1.0
    ends = torch.full_like(ranges.low, end)
    indices = quantise(shown, ranges, -ends, ends).cpu().numpy()
    return _Tiles(indices, end, ranges.finite, largest > end, maps.shape[0])


def bands(stages: Sequence[NDArray[np.uint8]]) -> tuple[NDArray[np.uint8], Mosaic]:
    """Lay out tiles (C, H, W) of several stages so that the stages of a channel stand below each other.

    Returns scan lines for `png.encode_indexed` and the mosaic of one band: up to 8 channels, a row for each stage.
    Bands are set apart by a wider gap.
    """
    channels, height, width = stages[0].shape
    columns = min(COLUMNS, channels)
    mosaic = Mosaic(columns, len(stages), width, height, gap=2 if max(height, width) >= 64 else 1)
    space = np.full((4 * mosaic.gap, 1 + mosaic.width), GAP, np.uint8)
    space[:, 0] = 0
    parts: list[NDArray[np.uint8]] = []
    for start in range(0, channels, columns):
        tiles = np.concatenate([_padded(stage[start : start + columns], columns) for stage in stages])
        parts += [assemble(tiles, mosaic, GAP), space]
    return np.concatenate(parts[:-1]), mosaic


def _padded(tiles: NDArray[np.uint8], count: int) -> NDArray[np.uint8]:
    """The tiles, followed by empty ones up to `count`."""
    return np.pad(tiles, ((0, count - len(tiles)), (0, 0), (0, 0)), constant_values=GAP)


def _caption(chain: Chain, image: InputImage, tiles: Sequence[_Tiles]) -> str:
    shown, total = len(tiles[0].indices), tiles[0].total
    which = f"the first {shown} of {total:,} channels" if shown < total else f"all {total} channels"
    if total == 1:
        which = "the one channel"
    names = [layer.name for layer in chain.stages]
    rows = ", ".join(f"{name} {word}" for name, word in zip(names, _words(len(names)), strict=True))
    sentences = [
        f"Before and after the activation that follows {describe_layer(chain.stages[0])}, for {image.name}: "
        f"{which}, in rows of {rows}.",
        _scale_sentence(chain, tiles),
    ]
    if tiles[-1].clipped:
        sentences.append(f"Values of {names[-1]} outside it are clipped.")
    if not all(one.finite for one in tiles):
        sentences.append("NaN is magenta, +Inf orange, −Inf cyan.")
    return " ".join(sentences)


def _words(stages: int) -> tuple[str, ...]:
    return ("on top", "below it") if stages == 2 else ("on top", "below it", "at the bottom")


def _scale_sentence(chain: Chain, tiles: Sequence[_Tiles]) -> str:
    names = [layer.name for layer in chain.stages]
    sentence = (
        f"{names[-2]} and {names[-1]} share one scale of ±{describe_number(tiles[-2].limit)}, zero white ({CMAP})"
    )
    if len(tiles) == 2:
        return f"{sentence}."
    return f"{sentence}; {names[0]} has its own, ±{describe_number(tiles[0].limit)}."
