"""How alike the channels of a layer are: CKA between all pairs, per image, or squared correlation over all images.

Rows of a map are the examples and columns the features, so CKA depends on the map's orientation; squared
correlation takes every position as one example and does not.
"""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from reportgen.entities import Activation, InputImage, Layer
from reportgen.figures.base import BaseKind, DataFile, Figure, FigureOptions, Product, Subject
from reportgen.figures.pictures import matrix_files
from reportgen.figures.wording import count, describe_layer, describe_range
from reportgen.numerics.channels import ChannelSimilarity, Correlation, channel_cka
from reportgen.numerics.npz import npz_bytes
from reportgen.numerics.scaling import finite_ranges, quantise
from reportgen.numerics.similarity import MIN_EXAMPLES

MOST_PIXELS = 512
"""A matrix of more channels is drawn as the means of blocks of channels."""
MOST_CHANNELS = 4096
"""More are not compared: a correlation volume has a channel for each position of a picture."""


@dataclass
class _Kept:
    """What a layer leaves behind: its matrices, (C, C) float32 each and only with `--arrays`, or its moments."""

    layer: Layer
    ids: list[str] = field(default_factory=list)
    matrices: list[NDArray[np.float32]] = field(default_factory=list)
    correlation: Correlation = field(default_factory=Correlation)
    cause: str = ""
    """Why there is nothing to show of some image, or an empty string."""


class ChannelCKA(BaseKind):
    """One matrix a layer and image (`--channel-similarity correlation`: one a layer, over all images).

    `--arrays` keeps every matrix until the end: 4 C x C bytes a layer and image, 17 MB at 2048 channels.
    Correlation keeps one matrix of second moments a layer: 8 C x C bytes, 4 C x C above 512 channels.
    """

    name = "channel_cka"
    title = "Similarity of channels"
    order = 45
    beside = True

    def __init__(self, options: FigureOptions, subject: Subject) -> None:
        super().__init__(options, subject)
        self._correlates = options.channel_similarity == "correlation"
        self._kept: dict[str, _Kept] = {}

    def wants(self, layer: Layer) -> bool:
        return layer.op != "get_attr"

    def observe(self, activation: Activation) -> None:
        maps = activation.reading.maps
        if maps is None:
            return
        kept = self._kept.setdefault(activation.layer.name, _Kept(activation.layer))
        kept.cause = kept.cause or self._cause(maps)
        if self._correlates and not self._cause(maps):
            for one in maps:
                kept.correlation.add(one)

    def update(self, activation: Activation) -> Iterable[Product]:
        maps = activation.reading.maps
        if maps is None or self._correlates or self._cause(maps):
            return
        for image, one in zip(activation.images, maps, strict=True):
            found = channel_cka(one, debiased=self.options.cka == "debiased")
            self._keep(activation.layer, image, found)
            yield self._figure(activation.layer, image, found, self._cka_words(activation.layer, image, one))

    def _cause(self, maps: torch.Tensor) -> str:
        """Why maps (N, C, H, W) give no similarity of channels, or an empty string."""
        channels, height = maps.shape[1:3]
        if channels < 2:
            return "it has one channel, so there is no pair to compare"
        if channels > MOST_CHANNELS:
            return f"it has {channels:,} channels, where at most {MOST_CHANNELS:,} are compared"
        if not self._correlates and height < MIN_EXAMPLES:
            return f"the rows of its maps are the examples: {count(height, 'row')}, where {MIN_EXAMPLES} are needed"
        return ""

    def _keep(self, layer: Layer, image: InputImage, found: ChannelSimilarity) -> None:
        if self.options.arrays:
            kept = self._kept[layer.name]
            kept.ids.append(image.id)
            kept.matrices.append(found.with_nan().float().cpu().numpy())

    def compute(self) -> Iterable[Product]:
        for kept in self._kept.values():
            if kept.matrices:
                yield DataFile(_file(kept.layer), npz_bytes(cka=np.stack(kept.matrices), images=np.array(kept.ids)))
                kept.matrices.clear()
            positions = kept.correlation.positions
            if positions >= MIN_EXAMPLES:
                yield from self._over_images(kept.layer, kept.correlation)
            elif positions:
                kept.cause = (
                    f"the positions of all images are the examples: {positions}, where {MIN_EXAMPLES} are needed"
                )
        causes = {name: kept.cause for name, kept in self._kept.items() if kept.cause}
        if causes:
            content = json.dumps({"undefined": causes}, indent=1, ensure_ascii=False) + "\n"
            yield DataFile("channel_cka.json", content.encode())

    def _over_images(self, layer: Layer, correlation: Correlation) -> Iterable[Product]:
        found = correlation.similarity()
        if self.options.arrays:
            squared = found.with_nan().float().cpu().numpy()
            yield DataFile(
                _file(layer),
                npz_bytes(squared_correlation=squared, images=correlation.images, positions=correlation.positions),
            )
        yield self._figure(layer, None, found, _correlation_words(layer, correlation, len(found.constant)))

    def _figure(self, layer: Layer, image: InputImage | None, found: ChannelSimilarity, words: "_Words") -> Figure:
        channels, masks = len(found.constant), found.masks()
        block = -(-channels // MOST_PIXELS)
        drawn = found.block_means(block) if block > 1 else found.with_nan()
        ranges = finite_ranges(drawn[None])
        low = min(0.0, float(ranges.low.nan_to_num(0.0)[0]))
        indices = quantise(drawn[None], ranges, torch.full_like(ranges.low, low), torch.ones_like(ranges.low))
        cmap = self.options.cmap or "viridis"
        subject = f" for {image.name}" if image else " over all images"
        return Figure(
            kind=self.name,
            layer=layer.name,
            image=image.id if image else None,
            files=matrix_files(indices[0].cpu().numpy(), cmap),
            width=drawn.shape[1],
            height=drawn.shape[0],
            alt=f"Matrix of the similarity between the {channels:,} channels of {layer.name}{subject}",
            caption=" ".join((words.opening, _drawing_sentence(channels, block, low, cmap), *_missing(masks))),
            data={
                "measure": words.measure,
                "channels_total": channels,
                "block": block,
                "low": _number(low),
                "high": 1.0,
                "cmap": cmap,
                **{cause: np.flatnonzero(mask).tolist() for cause, mask in masks.items()},
                "pairs": [[first, second, _number(value)] for first, second, value in found.most_alike()],
                **words.facts,
            },
            downloads=(_file(layer),) if self.options.arrays else (),
        )

    def _cka_words(self, layer: Layer, image: InputImage, maps: torch.Tensor) -> "_Words":
        channels, height, width = maps.shape
        opening = (
            f"Similarity of the {channels:,} channels of {describe_layer(layer)} for {image.name}: linear CKA "
            f"({self.options.cka}); the {height:,} rows of a map are the examples, its "
            f"{count(width, 'column')} the features."
        )
        if self.options.cka == "biased":
            opening += " The biased estimate is high for unrelated channels, too, when rows are few."
        facts = {"estimator": self.options.cka, "examples": height, "features": width}
        return _Words("CKA", opening, facts)


@dataclass(frozen=True)
class _Words:
    """What a figure says of how its values came about, in a sentence and as data."""

    measure: str
    opening: str
    facts: dict[str, Any]


def _correlation_words(layer: Layer, correlation: Correlation, channels: int) -> _Words:
    opening = (
        f"Similarity of the {channels:,} channels of {describe_layer(layer)}: squared correlation over "
        f"{count(correlation.positions, 'position')} of {count(correlation.images, 'image')}."
    )
    facts = {"images": correlation.images, "examples": correlation.positions}
    return _Words("squared correlation", opening, facts)


def _drawing_sentence(channels: int, block: int, low: float, cmap: str) -> str:
    ends = f"colours span {describe_range(low, 1.0)} ({cmap})"
    if block == 1:
        return f"A pixel is a pair of channels, channel 0 at the top left; {ends}."
    last = channels % block
    rest = f", the last row and column {count(last, 'channel')}" if last else ""
    return f"A pixel is the mean over {block} × {block} channels{rest}; {ends}."


def _missing(masks: Mapping[str, NDArray[np.bool_]]) -> Iterable[str]:
    causes = {
        "constant": "the same for every example",
        "infinite": "with values that are not finite or too large",
        "degenerate": "with examples that are all equally far apart",
    }
    parts = [f"{count(int(mask.sum()), 'channel')} {causes[name]}" for name, mask in masks.items() if mask.any()]
    if parts:
        yield f"Undefined (gray): {', '.join(parts)}."


def _file(layer: Layer) -> str:
    return f"channel_cka/{layer.slug}.npz"


def _number(value: float) -> float:
    return float(f"{value:.6g}")
