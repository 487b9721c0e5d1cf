"""Where each head of an attention node looks, on the image; and attention rollout over the layers."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional

from reportgen.drawing.palette import palette
from reportgen.entities import Activation, Attention, Batch, InputImage, Layer, describe_runs
from reportgen.figures.attention_pictures import Drawn, Painter, lies_over
from reportgen.figures.attention_queries import (
    Look,
    describe_kind,
    describe_query,
    look,
    positions,
    sized,
)
from reportgen.figures.attention_rollout import Rollouts
from reportgen.figures.base import BaseKind, DataFile, Figure, FigureOptions, Product, Subject
from reportgen.figures.wording import count, describe_layer, describe_number, json_number, json_values, percent
from reportgen.numerics.npz import npz_bytes
from reportgen.numerics.scaling import Ranges, finite_ranges, quantise

LONGEST_SIDE = 512
"""Weights without positions are drawn as matrices of at most so many rows and columns."""


@dataclass(frozen=True)
class _Tiles:
    """The maps of one node and image, the mean over the heads last: `values` (tiles, H, W), named in order."""

    values: torch.Tensor
    names: tuple[str, ...]
    ranges: Ranges
    low: float
    high: torch.Tensor


class AttentionMaps(BaseKind):
    """One mosaic a node and image, and one rollout an image.

    The colours of each map span 0 to its own highest weight, so that an even look is bright everywhere and is not
    stretched into a pattern; with `--scale layer`, 0 to the highest weight of all heads. Of a batch only the
    running products of the rollout are kept, one matrix an image.
    """

    name = "attention"
    title = "Attention"
    order = 15

    def __init__(self, options: FigureOptions, subject: Subject) -> None:
        super().__init__(options, subject)
        # Weights have no middle that a diverging map could show: `--scale symmetric` does not choose one for them.
        self._palette = palette(options.cmap or "viridis")
        self._painter = Painter(self._palette)
        self._rollouts = Rollouts(self.name, options, self._painter, self._palette.name)

    def begin_batch(self, batch: Batch) -> Iterable[Product]:
        self._painter.forget()
        self._rollouts.begin()
        return ()

    def update(self, activation: Activation) -> Iterable[Product]:
        attention = activation.attention
        if attention is None:
            return
        left_out = self._rollouts.add(activation.layer, activation.images, attention)
        try:
            found = look(attention, self.options.attention_query, len(activation.images))
        except ValueError as error:
            yield from self._matrices(activation, attention, str(error))
            return
        for image, place in zip(activation.images, range(len(found.maps)), strict=True):
            yield from self._looks(activation.layer, image, attention, found, place, left_out)

    def end_batch(self) -> Iterable[Product]:
        yield from self._rollouts.products()
        self._rollouts.begin()

    def _looks(
        self, layer: Layer, image: InputImage, attention: Attention, found: Look, place: int, left_out: str
    ) -> Iterator[Product]:
        maps = found.maps[place]
        tiles = self._tiles(maps)
        shares = {label: with_mean(share[place]).tolist() for label, share in found.shares.items()}
        drawn = self._paint(tiles, image, attention, found.query)
        downloads: tuple[str, ...] = ()
        if self.options.arrays:
            downloads = (f"attention/{image.id}/{layer.slug}.npz",)
            yield DataFile(downloads[0], npz_bytes(look=maps.cpu().numpy()))
        query = describe_query(found.query, attention.queries)
        told = [
            _opening(f"Where {query} looks in", layer, image, tiles, drawn),
            _say_keys(attention, len(found.maps), drawn.over),
            self._say_colours(tiles, attention),
            _say_shares(shares, attention),
            _say_source(attention.source),
            "The query's own part is outlined in white." if drawn.over and _cell(found.query, attention) else "",
            f"For the query {self.options.attention_query}: {found.note}." if found.note else "",
            f"Not in the rollout: {left_out}." if left_out else "",
        ]
        yield self._figure(
            layer,
            image,
            drawn,
            alt=f"Where {query} looks in {count(len(maps), 'head')} of {layer.name} for {image.name}",
            told=told,
            data={"view": "heads", "query": found.query, **self._facts(tiles, drawn, attention, shares)},
            downloads=downloads,
        )

    def _matrices(self, activation: Activation, attention: Attention, reason: str) -> Iterator[Product]:
        """Where no query gives a map: the weights themselves, a row a query and a column a key."""
        images = len(activation.images)
        for image, weights in zip(activation.images, attention.weights.chunk(images), strict=True):
            values, note = _matrix(weights)
            tiles = self._tiles(values)
            drawn = self._painter.paint_alone(_indices(tiles))
            layer = activation.layer
            told = [
                _opening("The attention weights of", layer, image, tiles, drawn),
                f"No map: {reason}.",
                f"A row is a query, a column a key: {describe_runs(attention.queries, 'query')}, "
                f"{describe_runs(attention.keys, 'key')}{note}.",
                self._say_colours(tiles, attention),
                _say_source(attention.source),
            ]
            yield self._figure(
                layer,
                image,
                drawn,
                alt=f"Attention weights of {count(len(values), 'head')} of {layer.name} for {image.name}",
                told=told,
                data={"view": "weights", "query": "", **self._facts(tiles, drawn, attention, {})},
            )

    def _figure(
        self,
        layer: Layer,
        image: InputImage,
        drawn: Drawn,
        *,
        alt: str,
        told: Sequence[str],
        data: Mapping[str, Any],
        downloads: tuple[str, ...] = (),
    ) -> Figure:
        return Figure(
            kind=self.name,
            layer=layer.name,
            image=image.id,
            files={"png": drawn.png},
            width=drawn.mosaic.width,
            height=drawn.mosaic.height,
            alt=alt,
            caption=" ".join(sentence for sentence in told if sentence),
            data=data,
            downloads=downloads,
        )

    def _tiles(self, maps: torch.Tensor) -> _Tiles:
        values = with_mean(maps)
        names = tuple(str(head) for head in range(len(maps)))
        ranges = finite_ranges(values)
        known = ranges.low[~torch.isnan(ranges.low)]
        low = min(0.0, float(known.min())) if len(known) else 0.0
        high = ranges.high
        if self._common and len(known):
            high = torch.full_like(high, float(high[~torch.isnan(high)].max()))
        return _Tiles(values, (*names, "mean") if len(values) > len(maps) else names, ranges, low, high)

    def _paint(self, tiles: _Tiles, image: InputImage, attention: Attention, query: str) -> Drawn:
        indices = _indices(tiles)
        if lies_over(attention.keys, indices.shape[1:], image):
            return self._painter.paint(indices, image, cell=_cell(query, attention))
        return self._painter.paint_alone(indices)

    @property
    def _common(self) -> bool:
        """Whether all maps of a node and image are coloured over the same range."""
        return self.options.scale.mode == "layer"

    def _say_colours(self, tiles: _Tiles, attention: Attention) -> str:
        known = [value for value in tiles.ranges.high.tolist() if value == value]
        if not known:
            return "No value is finite."
        low, cmap = describe_number(tiles.low), self._palette.name
        if self._common or len(tiles.names) == 1:
            said = f"Colours span {low} to {describe_number(max(known))}, the highest weight ({cmap})"
        else:
            ends = f"between {describe_number(min(known))} and {describe_number(max(known))}"
            said = f"The colours of each map span {low} to its own highest weight, {ends} ({cmap})"
        if not attention.windowed:
            said += f"; an even look would give every key {describe_number(1 / attention.weights.shape[-1])}"
        return f"{said}." if tiles.ranges.finite else f"{said}. NaN is magenta, +Inf orange, −Inf cyan."

    def _facts(
        self, tiles: _Tiles, drawn: Drawn, attention: Attention, shares: Mapping[str, Sequence[float]]
    ) -> dict[str, Any]:
        mosaic = drawn.mosaic
        common = self._common or len(tiles.names) == 1
        return {
            "tokens": describe_runs(attention.keys, "key"),
            "source": attention.source,
            "windowed": attention.windowed,
            "names": list(tiles.names),
            "low": json_values(tiles.ranges.low),
            "high": json_values(tiles.ranges.high),
            "shares": {label: [json_number(share) for share in each] for label, each in shares.items()},
            "colours": [json_number(tiles.low), json_number(float(tiles.high[0])) if common else None],
            "cmap": self._palette.name,
            "finite": tiles.ranges.finite,
            "over": drawn.over,
            "pixels": drawn.pixels,
            "columns": mosaic.columns,
            "rows": mosaic.rows,
            "tile_width": mosaic.tile_width,
            "tile_height": mosaic.tile_height,
            "gap": mosaic.gap,
        }


def with_mean(values: torch.Tensor) -> torch.Tensor:
    """Return (heads, ...) with the mean over the heads after them, if there are several."""
    return values if len(values) == 1 else torch.cat([values, values.mean(dim=0, keepdim=True)])


def _indices(tiles: _Tiles) -> NDArray[np.uint8]:
    low = torch.full_like(tiles.high, tiles.low)
    indices: NDArray[np.uint8] = quantise(tiles.values, tiles.ranges, low, tiles.high).cpu().numpy()
    return indices


def _matrix(weights: torch.Tensor) -> tuple[torch.Tensor, str]:
    """One image's (windows, heads, queries, keys) as maps (heads, H, W), and what was averaged for them."""
    note = f"; the mean over {weights.shape[0]:,} windows" if weights.shape[0] > 1 else ""
    values = weights.to(torch.float32).mean(dim=0)
    size = (min(values.shape[1], LONGEST_SIDE), min(values.shape[2], LONGEST_SIDE))
    if size == tuple(values.shape[1:]):
        return values, note
    return functional.adaptive_avg_pool2d(values, size), f"{note}; drawn as the means over parts of {sized(size)}"


def _cell(query: str, attention: Attention) -> tuple[int, int, tuple[int, int]] | None:
    """The row and column of a query that is one position, with its grid of rows and columns."""
    if "," not in query:
        return None
    grid = positions(attention.queries)[0].grid
    row, column = (int(part) for part in query.split(","))
    return (row, column, (grid[0], grid[1])) if len(grid) == 2 else None


def _opening(what: str, layer: Layer, image: InputImage, tiles: _Tiles, drawn: Drawn) -> str:
    heads = sum(name != "mean" for name in tiles.names)
    if heads == 1:
        order = "its one head"
    else:
        order = f"{heads} heads in order and then their mean, row by row, {drawn.mosaic.columns} a row"
    over = ", over the image in gray" if drawn.over else ""
    return f"{what} {describe_layer(layer)} for {image.name}: {order}{over}."


def _say_keys(attention: Attention, images: int, over: bool) -> str:
    keys = describe_runs(attention.keys, "key")
    if attention.windowed:
        windows = count(attention.weights.shape[0] // images, "window")
        keys = f"Attention within {windows} of {keys}"
    return f"{keys}; each weight lies over its part of the image." if over else f"{keys}."


def _say_shares(shares: Mapping[str, Sequence[float]], attention: Attention) -> str:
    heads = attention.weights.shape[1]
    told = [
        f"{_span(each[:heads])} of {'a head' if heads > 1 else 'the head'}'s weight goes to "
        f"{describe_kind(label, attention.keys)}"
        for label, each in shares.items()
    ]
    return f"Not on the map: {', '.join(told)}." if told else ""


def _span(shares: Sequence[float]) -> str:
    ends = percent(min(shares)), percent(max(shares))
    return ends[0] if ends[0] == ends[1] else " to ".join(ends)


def _say_source(source: str) -> str:
    return f"The weights were {source}."
