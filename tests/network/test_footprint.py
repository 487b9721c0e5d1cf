"""The memory of one pass, against sums made by hand."""

import pytest
import torch
from torch import nn

from reportgen.entities import Batch
from reportgen.network.base import Settings
from reportgen.network.footprint import Footprint, Value
from reportgen.network.isolation import untouched
from reportgen.network.tracing import trace_model

SIDE = 8
FLOATS = 4 * SIDE * SIDE
"""Bytes of one channel."""


class Branches(nn.Module):
    """A wide value that lives through two operations, the second of them in place."""

    def __init__(self) -> None:
        super().__init__()
        self.wide = nn.Conv2d(3, 16, 3, padding=1)
        self.narrow = nn.Conv2d(16, 2, 1)
        self.relu = nn.ReLU(inplace=True)
        self.last = nn.Conv2d(16, 5, 1)

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        wide = self.wide(x)
        narrow = self.narrow(wide)
        return narrow, self.last(self.relu(wide))


def learn(model: nn.Module, found: Footprint, images: int = 1, tracer: str = "auto") -> None:
    batch = torch.ones(images, 3, SIDE, SIDE)
    with untouched(model):
        trace_model(model, Batch((), batch, args=(batch,)), tracer=tracer, settings=Settings(footprint=found))


def footprint(model: nn.Module, images: int, tracer: str) -> Footprint:
    found = Footprint()
    learn(model, found, images, tracer)
    return found


@pytest.mark.parametrize("tracer", ["auto", "fx", "eager"])
@pytest.mark.parametrize("images", [1, 3])
def test_what_is_alive_at_once_counts_once(tracer: str, images: int) -> None:
    found = footprint(Branches(), images, tracer)
    # The input, which the caller holds, the wide value, which the ReLU overwrites, and both outputs.
    assert found.passing == (3 + 16 + 2 + 5) * FLOATS
    assert found.values["wide"] == Value(16 * FLOATS, 16, SIDE * SIDE)
    assert found.values["last"] == Value(5 * FLOATS, 5, SIDE * SIDE)


@pytest.mark.parametrize("tracer", ["fx", "eager"])
def test_what_is_used_no_more_does_not_count(tracer: str) -> None:
    chain = nn.Sequential(*(nn.Conv2d(3, 3, 1) for _ in range(9)))
    assert footprint(chain, 1, tracer).passing <= 4 * 3 * FLOATS  # the input and what is handed on


def test_parameters_do_not_count() -> None:
    class Adds(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.large = nn.Parameter(torch.zeros(1, 3, SIDE, SIDE))

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x + self.large

    found = footprint(Adds(), 1, "fx")
    assert found.values["large"].size == 0
    assert found.passing == 6 * FLOATS


def test_each_pass_is_counted_anew() -> None:
    found = Footprint()
    for channels in (50, 1):
        learn(nn.Sequential(nn.Conv2d(3, channels, 1)), found)
    assert found.passing == 4 * FLOATS
    assert found.largest() == 3 * FLOATS


def test_the_largest_value_is_that_of_the_nodes_asked_for() -> None:
    found = footprint(Branches(), 1, "fx")
    assert found.largest() == 16 * FLOATS
    assert found.largest({"narrow", "last"}) == 5 * FLOATS
