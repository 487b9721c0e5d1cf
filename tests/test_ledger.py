"""What the record says of a node: its shape for one image, its dtype, and how its value was read."""

import pytest
import torch
from torch import nn

from figures.figure_cases import image
from reportgen.entities import Activation, Reading
from reportgen.ledger import Ledger
from reportgen.network.capture import GraphNetwork
from reportgen.network.graph import trace
from reportgen.network.selection import select
from reportgen.site.record import LayerEntry


def entry(value: object, reading: Reading, images: int = 2) -> LayerEntry:
    """The record's entry of a node that computed `value`."""
    network = GraphNetwork(trace(nn.Sequential(nn.Identity())), "torch.fx traced it")
    ledger = Ledger(network, select(network.layers))
    layer = network.layers[-1]
    pictures = tuple(image(f"image{number}") for number in range(images))
    ledger.add_activation(Activation(layer, pictures, value, reading))
    return ledger.layers()[-1]


@pytest.mark.parametrize(
    ("shape", "layout", "recorded"),
    [
        ((2, 5, 4, 4), "NCHW", [1, 5, 4, 4]),
        ((2, 5, 4, 4), "", [1, 5, 4, 4]),
        ((7, 2, 5), "LNC", [7, 1, 5]),
        ((2, 2, 5), "LNC", [2, 1, 5]),
        ((18, 4, 5), "(NHW)LC", [9, 4, 5]),
        ((7, 4, 5), "(NHW)LC", [7, 4, 5]),
        ((6, 5, 3, 3), "NCHW", [6, 5, 3, 3]),
        ((3, 4), "NLC", [3, 4]),
        ((2,), "N", [1]),
        ((), "", []),
    ],
)
def test_shapes_are_those_of_one_image(shape: tuple[int, ...], layout: str, recorded: list[int]) -> None:
    assert entry(torch.zeros(shape), Reading(layout, None, "why")).shape == recorded


def test_how_a_value_was_read_is_entered() -> None:
    told = "5 tokens = 1 class token + 2 × 2"
    found = entry(torch.zeros(2, 5, 3, dtype=torch.bfloat16), Reading("NLC", None, "why", description=told))
    assert (found.reading, found.layout, found.dtype) == (told, "NLC", "bfloat16")
    assert entry((1, 2), Reading("", None, "a tuple")).reading == ""
