"""Attention rollout over the layers of a network, one map an image."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from reportgen.entities import Attention, InputImage, Layer, Run, describe_runs
from reportgen.figures.attention_pictures import Painter, lies_over
from reportgen.figures.attention_queries import (
    AUTO,
    CLASS,
    MEAN,
    describe_kind,
    describe_query,
    fold,
    positions,
    row_of,
    shares_of,
    total,
)
from reportgen.figures.base import DataFile, Figure, FigureOptions, Product
from reportgen.figures.hypercolumn import display_factor
from reportgen.figures.wording import count, describe_number, describe_range, json_number, percent
from reportgen.numerics.npz import npz_bytes
from reportgen.numerics.rollout import roll
from reportgen.numerics.scaling import finite_ranges, quantise

LARGEST = 2048
"""Layers with more tokens are left out: a product takes time with their third power."""
_NAMED = 2
"""A caption names all layers of a list of at most so many."""


@dataclass(frozen=True)
class _Row:
    """One image's rollout for one query: `map` (H, W) float64, `shares` of the row that goes to other tokens."""

    map: torch.Tensor
    query: str
    note: str
    shares: Mapping[str, float]


class Rollouts:
    """The rollouts of the images of a batch: what is kept is one (tokens, tokens) matrix an image."""

    def __init__(self, kind: str, options: FigureOptions, painter: Painter, cmap: str) -> None:
        self._kind = kind
        self._options = options
        self._painter = painter
        self._cmap = cmap
        self.begin()

    def begin(self) -> None:
        """Forget the batch before."""
        self._products: list[torch.Tensor] = []
        self._images: tuple[InputImage, ...] = ()
        self._tokens: tuple[Run, ...] = ()
        self._layers: list[str] = []
        self._left_out: dict[str, str] = {}

    def add(self, layer: Layer, images: tuple[InputImage, ...], attention: Attention) -> str:
        """Take in a layer's attention; return why it can't be part of the rollout, or an empty string."""
        reason = why_not(attention, len(images)) or self._why_other(attention.keys)
        if reason:
            self._left_out[layer.name] = reason
            return reason
        before: Sequence[torch.Tensor | None] = self._products or [None] * len(images)
        # Image by image, so that not a bit depends on how many images share a batch.
        self._products = [roll(*pair) for pair in zip(before, attention.weights, strict=True)]
        self._images, self._tokens = images, attention.keys
        self._layers.append(layer.name)
        return ""

    def _why_other(self, keys: tuple[Run, ...]) -> str:
        if not self._layers or keys == self._tokens:
            return ""
        if total(keys) != total(self._tokens):
            return f"{count(total(keys), 'token')}, not the {total(self._tokens):,} of {self._layers[0]}"
        return f"other tokens than those of {self._layers[0]}"

    def products(self) -> Iterator[Product]:
        """Yield a figure an image, and with `arrays` its numbers; nothing where no layer could take part."""
        for image, product in zip(self._images, self._products, strict=True):
            row = _read(product, self._tokens, self._options.attention_query)
            downloads: tuple[str, ...] = ()
            if self._options.arrays:
                downloads = (f"rollout/{image.id}.npz",)
                arrays = {"look": row.map, "rollout": product}
                yield DataFile(
                    downloads[0], npz_bytes(**{key: value.float().numpy() for key, value in arrays.items()})
                )
            yield self._figure(image, row, downloads)

    def _figure(self, image: InputImage, row: _Row, downloads: tuple[str, ...]) -> Figure:
        values = row.map[None]
        ranges = finite_ranges(values)
        indices = quantise(values, ranges, ranges.low, ranges.high).numpy()
        over = lies_over(self._tokens, indices.shape[1:], image)
        if over:
            drawn = self._painter.paint(indices, image, side=max(image.seen.size))
        else:
            drawn = self._painter.paint_alone(indices)
        width, height = drawn.mosaic.width, drawn.mosaic.height
        ends = (float(ranges.low[0]), float(ranges.high[0]))
        layers = count(len(self._layers), "layer")
        return Figure(
            kind=self._kind,
            layer=None,
            image=image.id,
            files={"png": drawn.png},
            width=width,
            height=height,
            alt=f"Attention rollout over {layers} for {image.name}{', over the image in gray' if over else ''}",
            caption=self._caption(image, row, ends, over),
            data={
                "view": "rollout",
                "pixels": display_factor(width, height),
                **self._facts(row, ends, ranges.finite),
            },
            downloads=downloads,
        )

    def _facts(self, row: _Row, ends: tuple[float, float], finite: bool) -> dict[str, Any]:
        return {
            "query": row.query,
            "tokens": describe_runs(self._tokens, "token"),
            "layers": list(self._layers),
            "left_out": dict(self._left_out),
            "shares": {label: json_number(share) for label, share in row.shares.items()},
            "low": json_number(ends[0]),
            "high": json_number(ends[1]),
            "cmap": self._cmap,
            "finite": finite,
        }

    def _caption(self, image: InputImage, row: _Row, ends: tuple[float, float], over: bool) -> str:
        sentences = [
            f"Attention rollout for {image.name} (Abnar and Zuidema, 2020) over {_list_of(self._layers)}: how much "
            f"of each position has reached {describe_query(row.query, self._tokens)} after the last of them, by "
            f"attention alone. Heads are averaged; half of each token stays, for the residual connection.",
            f"{describe_runs(self._tokens, 'token')}.",
            _say_ends(ends, self._cmap, over),
            *self._say_shares(row),
            row.note,
            *_say_left_out(self._left_out),
        ]
        return " ".join(sentence for sentence in sentences if sentence)

    def _say_shares(self, row: _Row) -> Iterator[str]:
        for label, share in row.shares.items():
            yield f"{percent(share)} comes from {describe_kind(label, self._tokens)}."


def why_not(attention: Attention, images: int) -> str:
    """Return why a node can't be part of a rollout, whatever the other nodes are, or an empty string."""
    queries, keys = attention.weights.shape[-2:]
    if attention.windowed or attention.weights.shape[0] != images:
        return "attention within windows"
    if queries != keys or attention.queries != attention.keys:
        return f"{count(queries, 'query')} look at {count(keys, 'key')} of other tokens"
    if keys > LARGEST:
        return f"{count(keys, 'token')}, more than {LARGEST:,}"
    try:
        positions(attention.keys)
    except ValueError as error:
        return str(error)
    return ""


def _read(product: torch.Tensor, tokens: Sequence[Run], asked: str) -> _Row:
    """The row of the query asked for; of the class token, or the mean over the positions, where there is none."""
    note = ""
    for query in (CLASS, MEAN) if asked == AUTO else (asked, CLASS, MEAN):
        try:
            row = row_of(product, tokens, query)
        except ValueError as error:
            note = note or f"For the query {asked}: {error}."
            continue
        shares = {label: float(share) for label, share in shares_of(row, tokens).items()}
        return _Row(fold(row, tokens), query, "" if asked in (AUTO, query) else note, shares)
    raise ValueError(note)


def _list_of(names: Sequence[str]) -> str:
    """`2 layers (a, b)`; of more the first and the last."""
    told = ", ".join(names) if len(names) <= _NAMED else f"{names[0]} to {names[-1]}"
    return f"{count(len(names), 'layer')} ({told})"


def _say_left_out(left_out: Mapping[str, str]) -> Iterable[str]:
    reasons: dict[str, list[str]] = {}
    for name, reason in left_out.items():
        reasons.setdefault(reason, []).append(name)
    return [f"Left out: {_list_of(names)}, {reason}." for reason, names in reasons.items()]


def _say_ends(ends: tuple[float, float], cmap: str, over: bool) -> str:
    if ends[0] != ends[0]:
        return "No value is finite."
    where = ", over the image in gray" if over else ""
    if ends[0] == ends[1]:
        return f"It is {describe_number(ends[0])} everywhere{where}."
    return f"Colours span {describe_range(*ends)} ({cmap}){where}."
