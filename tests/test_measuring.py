"""Kinds that take long work beside the others: the same products in the same order, from values that still hold."""

import threading
import time
from collections.abc import Iterable, Sequence

import pytest
import torch
from torch import nn

from figures.figure_cases import image
from reportgen.entities import Activation, Batch, Layer
from reportgen.errors import UsageError
from reportgen.figures.base import BaseKind, DataFile, FigureKind, FigureOptions, Product, Subject
from reportgen.ledger import Ledger
from reportgen.measuring import measure
from reportgen.network.selection import select
from reportgen.network.tracing import trace_model
from reportgen.numerics.threads import one_thread
from reportgen.progress import Progress
from reportgen.timings import Timings


class Quick(BaseKind):
    """Says the sum of a value, and in which thread and with how many of torch's it was asked."""

    name, title, order, wait = "quick", "Quick", 1, 0.0

    def __init__(self) -> None:
        super().__init__(FigureOptions(), Subject())
        self.threads: set[str] = set()
        self.torch_threads: set[int] = set()

    def wants(self, layer: Layer) -> bool:
        return layer.op != "get_attr"

    def update(self, activation: Activation) -> Iterable[Product]:
        self.threads.add(threading.current_thread().name.rsplit("_", 1)[0])
        self.torch_threads.add(torch.get_num_threads())
        time.sleep(self.wait)
        assert isinstance(activation.value, torch.Tensor)
        total = float(activation.value.double().sum())
        yield DataFile(f"{self.name}/{activation.layer.name}", repr(total).encode())


class First(Quick):
    """Takes a moment, in which other threads begin."""

    wait = 0.05


class Slow(Quick):
    """Reads the value after a while, when the next operation would have overwritten it."""

    name, title, order, beside, wait = "slow", "Slow", 2, True, 0.02


class Breaking(Slow):
    """Raises on one layer."""

    name, title, order, error = "breaking", "Breaking", 3, RuntimeError("no luck")

    def update(self, activation: Activation) -> Iterable[Product]:
        if activation.layer.name == "1":
            raise self.error
        return super().update(activation)


class Last(Quick):
    name, title, order = "last", "Last", 4


def walk(kinds: Sequence[FigureKind], threads: int) -> tuple[list[Product], Ledger]:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(inplace=True), nn.Conv2d(4, 4, 3), nn.Hardtanh(inplace=True))
    inputs = torch.randn(2, 3, 16, 16)
    batch = Batch((image("a"), image("b")), inputs)
    network = trace_model(model.eval(), batch)
    selection = select(network.layers)
    ledger = Ledger(network, selection)
    with Progress(2, len(network.layers), quiet=True) as progress:
        products = list(measure(network, selection, [batch], kinds, ledger, progress, Timings(), threads))
    return products, ledger


def told(products: Iterable[Product]) -> list[tuple[str, bytes]]:
    return [(one.name, one.content) for one in products if isinstance(one, DataFile)]


def test_values_hold_until_all_have_read_them_and_products_keep_their_order() -> None:
    alone, _ = walk([First(), Slow(), Last()], threads=1)
    kinds = [First(), Slow(), Last()]
    beside, _ = walk(kinds, threads=3)
    assert told(beside) == told(alone)
    names = [name for name, _ in told(beside)]
    assert names[:6] == [f"{kind}/{layer}" for layer in ("input", "0") for kind in ("quick", "slow", "last")]
    sums = dict(told(beside))
    assert all(sums[f"quick/{layer}"] == sums[f"slow/{layer}"] for layer in "0123"), "a value was overwritten"
    assert sums["quick/0"] != sums["quick/1"]
    assert kinds[1].threads == {"reportgen-figures"}
    assert kinds[0].threads == kinds[2].threads == {"MainThread"}


def test_the_caller_makes_itself_what_no_other_thread_has_begun() -> None:
    class Long(Slow):
        wait = 0.3

    class Second(Slow):
        name, title, order, wait = "second", "Second", 3, 0.0

    alone, _ = walk([First(), Long(), Second()], threads=1)
    kinds = [First(), Long(), Second()]
    beside, _ = walk(kinds, threads=2)
    assert told(beside) == told(alone)
    assert kinds[1].threads == {"reportgen-figures"}
    assert kinds[2].threads == {"MainThread"}, "it waited for the only other thread"
    assert kinds[2].torch_threads == {1}


def test_operations_side_by_side_have_a_thread_each() -> None:
    kinds, before = [Quick(), Slow()], torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        walk(kinds, threads=2)
        assert torch.get_num_threads() == 2
        assert kinds[0].torch_threads == kinds[1].torch_threads == {1}
        alone = Quick()
        walk([alone], threads=2)
        assert alone.torch_threads == {2}
    finally:
        torch.set_num_threads(before)


@pytest.mark.parametrize("threads", [1, 2, 3])
def test_a_slow_kind_that_raises_is_entered_and_the_others_go_on(threads: int) -> None:
    products, ledger = walk([Quick(), Breaking(), Last()], threads)
    names = [name for name, _ in told(products)]
    assert "breaking/0" in names
    assert "breaking/1" not in names
    assert {"quick/1", "last/1", "breaking/2", "last/3"} <= set(names)
    assert [problem for problem in ledger.problems if "no luck" in problem and "breaking" in problem]


@pytest.mark.parametrize("threads", [1, 3])
def test_an_option_that_a_figure_cant_follow_ends_the_walk_and_its_threads(threads: int) -> None:
    kind = Breaking()
    kind.error = UsageError("not so")  # type: ignore[assignment]
    with pytest.raises(UsageError, match="not so"):
        walk([Quick(), kind], threads)
    assert all(not thread.name.startswith("reportgen-figures") for thread in threading.enumerate())


def test_one_thread_gives_back_what_it_took() -> None:
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    try:
        with pytest.raises(ValueError, match="x"), one_thread():
            assert torch.get_num_threads() == 1
            with one_thread():
                assert torch.get_num_threads() == 1
            raise ValueError("x")
        assert torch.get_num_threads() == 3
    finally:
        torch.set_num_threads(before)
