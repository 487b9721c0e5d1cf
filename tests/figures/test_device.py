"""Figures of maps that lie on another device: the same bytes, and little but palette indices crosses the bus."""

import dataclasses
from collections.abc import Iterator, Mapping
from functools import cache

import pytest
import torch
from torch import nn

from fake_device import Copy, fake_device, held
from figures.attention_cases import attending
from figures.figure_cases import activation, layer, vector
from figures.test_contract import NAMES
from reportgen.entities import Activation, Batch, Reading
from reportgen.figures.base import FigureKind, FigureOptions, Product, Subject
from reportgen.figures.registry import figure_kinds
from reportgen.numerics.binning import BINS
from reportgen.numerics.scaling import Scale

IMAGES, CHANNELS, HEIGHT, WIDTH = 2, 24, 40, 30
VALUES = CHANNELS * HEIGHT * WIDTH
OUT = 10

MOST_NUMBERS: Mapping[str, int] = {
    "channel_sum": 2,
    "channel_grid": 2 * CHANNELS,
    "attention": 10 * 10,
    "class_map": HEIGHT * WIDTH,
    "detections": 4,
    "hypercolumn": HEIGHT * WIDTH,
    "overview": 2 * 3,
    "layer_cka": IMAGES * 64 * 64,
    "vector": IMAGES * OUT,
    "predictions": IMAGES * OUT,
    "filters": 2 * 64,
    "channel_cka": 16 * CHANNELS,
    "health": BINS * (BINS + 1),
    "preview": 2,
    "input": 0,
    "colour_bar": 0,
}
"""By kind, how many numbers of more than a byte may be copied at a time: ranges, means and products, never maps."""


def values(kind: str) -> torch.Tensor:
    maps = torch.randn(IMAGES, CHANNELS, HEIGHT, WIDTH, generator=torch.Generator().manual_seed(0))
    if kind == "holes":
        maps[0, 3, 2, 1], maps[1, 4] = torch.inf, torch.nan
    return maps


def make(name: str, options: FigureOptions, weight: torch.Tensor) -> FigureKind:
    """A fresh kind for a convolution, its activation, scores and a sequence of tokens."""
    convolution = nn.Conv2d(4, CHANNELS, 3)
    del convolution.weight
    convolution.weight = weight
    subject = Subject(LAYERS, ("fc",), lambda one: convolution if one is LAYERS[0] else None, images=IMAGES)
    return next(kind for kind in figure_kinds(options, subject) if kind.name == name)


LAYERS = (
    layer(index=0),
    layer("relu", index=1, module_type="ReLU", parents=("stem.conv",)),
    layer("fc", index=2, module_type="Linear"),
    layer("tokens", index=3, module_type="LayerNorm"),
)


def events(maps: torch.Tensor, scores: torch.Tensor) -> Iterator[Activation]:
    yield activation(maps, LAYERS[0])
    yield activation(maps.relu(), LAYERS[1])
    yield dataclasses.replace(vector(scores), layer=LAYERS[2])
    tokens = Reading("NLC", maps, vectors={"class token": scores})
    weights = maps[:, :4, :10, :10].softmax(3)
    attention = attending(weights, (3, 3))
    yield dataclasses.replace(activation(maps, LAYERS[3]), reading=tokens, attention=attention)


def products(kind: FigureKind, maps: torch.Tensor, batch: torch.Tensor, scores: torch.Tensor) -> list[Product]:
    found: list[Product] = []
    of_node = list(events(maps, scores))
    found += kind.begin_batch(Batch(of_node[0].images, batch))
    for event in of_node:
        if kind.wants(event.layer):
            kind.observe(event)
            found += kind.update(event)
    boxes = scores.abs()[:, :4]
    for output in ({"out": maps}, [{"boxes": row[None], "labels": row[:1], "scores": row[:1]} for row in boxes]):
        found += kind.returned(Batch(of_node[0].images, batch), output)
    return [*found, *kind.end_batch(), *kind.compute()]


OPTIONS = {
    "default": FigureOptions(),
    "other": FigureOptions(Scale("symmetric"), arrays=True, channel_similarity="correlation"),
}


@cache
def both(name: str, kind: str, chosen: str = "default") -> tuple[list[Product], list[Product], list[Copy]]:
    """What a kind makes of maps on the CPU, of the same on the device, and what was copied from there."""
    maps, options = values(kind), OPTIONS[chosen]
    batch, scores = maps[:, :3].nan_to_num().clone(), maps[:, :OUT, 0, 0].clone()
    weight = torch.randn(CHANNELS, 4, 3, 3, generator=torch.Generator().manual_seed(1))
    here = products(make(name, options, weight), maps, batch, scores)
    with fake_device() as copies:
        there = products(make(name, options, held(weight)), held(maps), held(batch), held(scores))
    return here, there, copies


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("kind", ["plain", "holes"])
@pytest.mark.parametrize("chosen", OPTIONS)
def test_maps_on_a_device_give_the_same_report(name: str, kind: str, chosen: str) -> None:
    here, there, copies = both(name, kind, chosen)
    assert here == there
    assert bool(copies) == (name not in ("input", "colour_bar"))


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("kind", ["plain", "holes"])
def test_bytes_and_few_numbers_cross_the_bus(name: str, kind: str) -> None:
    _, _, copies = both(name, kind)
    inputs = 3 * HEIGHT * WIDTH if name == "health" else 0  # told apart by their bytes, once an image
    numbers = [copy.count for copy in copies if copy.dtype not in (torch.uint8, torch.bool)]
    assert max((count for count in numbers if count != inputs), default=0) <= MOST_NUMBERS[name] < VALUES


@pytest.mark.parametrize("name", ["channel_grid", "channel_sum", "overview"])
def test_a_node_waits_for_the_device_twice_an_image(name: str) -> None:
    """For all ranges together, and for all indices; the number of channels changes nothing."""
    _, _, copies = both(name, "plain")
    assert len(copies) == 2 * 3 * IMAGES
    shown = {"channel_grid": CHANNELS, "channel_sum": 1, "overview": 3}[name] * HEIGHT * WIDTH
    assert copies.count(Copy(torch.uint8, shown)) == 3 * IMAGES
