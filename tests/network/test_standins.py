"""Stand-ins for sizes, numbers and tuples: they are what they stand for, and tell when they are used."""

import copy
import math
import operator
from collections.abc import Callable
from typing import Any

import pytest
import torch

from reportgen.network.standins import Device, Parts, Real, Whole, has_stand_in, plain, stand_in


class Clerk:
    """Writes down what it is told."""

    def __init__(self) -> None:
        self.told: list[str] = []

    def note(self, operation: str) -> None:
        self.told.append(operation)

    def take(self, parts: Parts, key: Any) -> Any:
        self.note("getitem")
        return stand_in(parts.whole[key], self)

    def take_field(self, parts: Parts, name: str) -> Any:
        self.note("getattr")
        return getattr(parts.whole, name)


@pytest.mark.parametrize(
    "operation",
    [
        operator.add, operator.sub, operator.mul, operator.floordiv, operator.truediv, operator.mod, operator.pow,
        operator.lshift, operator.rshift, operator.and_, operator.or_, operator.xor, operator.eq, operator.ne,
        operator.lt, operator.le, operator.gt, operator.ge,
    ],
)  # fmt: skip
@pytest.mark.parametrize("stands", [(True, False), (False, True), (True, True)])
def test_arithmetic_is_pythons_and_is_told_once(
    operation: Callable[[Any, Any], Any], stands: tuple[bool, bool]
) -> None:
    clerk = Clerk()
    one, other = (stand_in(value, clerk) if stands[place] else value for place, value in enumerate((13, 5)))
    found = operation(one, other)
    assert found == operation(13, 5)
    assert len(clerk.told) == 1 + isinstance(found, Whole | Real)  # the comparison in the line above is told, too
    mirrored = {"lt": "gt", "gt": "lt", "le": "ge", "ge": "le"} if stands == (False, True) else {}
    name = str(operation.__name__)
    assert clerk.told[0] == mirrored.get(name, name)
    assert isinstance(found, bool | Whole | Real)


def test_numbers_that_no_longer_are_whole_stay_stand_ins() -> None:
    clerk = Clerk()
    half = stand_in(7, clerk) / 2
    up, down, negative = math.ceil(half), math.floor(half), -half
    assert list(map(type, (half, up, down, negative))) == [Real, Whole, Whole, Real]
    assert list(map(plain, (half, up, down, negative))) == [3.5, 4, 3, -3.5]
    assert clerk.told == ["truediv", "ceil", "floor", "neg"]
    assert type(stand_in(2, clerk) + stand_in(0.5, clerk)) is Real


def test_a_stand_in_is_what_it_stands_for() -> None:
    clerk = Clerk()
    three = stand_in(3, clerk)
    assert {3: "found"}[three] == "found"
    assert [0] * three == [0, 0, 0]
    assert list(range(three)) == [0, 1, 2]
    for number in (three, stand_in(0.5, clerk)):
        assert type(copy.deepcopy(number)) in (int, float)
    device = stand_in(torch.device("cpu"), clerk)
    assert isinstance(device, Device)
    assert device == torch.device("cpu")
    assert torch.device("cpu") == device
    assert device.type == "cpu"
    assert str(device) == "cpu"
    assert hash(device) == hash(torch.device("cpu"))
    assert torch.zeros(2).to(device=device).shape == (2,)  # type: ignore[call-overload]
    assert stand_in(True, clerk) is True
    assert stand_in(None, clerk) is None


def test_taking_parts_is_told() -> None:
    clerk = Clerk()
    size = stand_in(torch.Size([2, 3, 4]), clerk)
    first, *_ = size
    assert type(first) is Whole
    assert clerk.told == ["getitem"] * 3
    longer = operator.add(size[1:], (5,))
    assert plain(longer) == (3, 4, 5)
    assert plain(operator.add((1,), size)) == (1, 2, 3, 4)
    assert clerk.told[3:] == ["getitem", "add", "add"]
    assert torch.zeros(2, 3, 4).view(plain(size)).shape == (2, 3, 4)
    values = stand_in(torch.max(torch.tensor([[1.0, 2.0]]), 1), clerk)
    assert values.indices.item() == 1
    assert len(values) == 2


def test_what_holds_no_stand_in_is_the_same_object() -> None:
    clerk = Clerk()
    for value in ((1, [2, {"a": 3}]), [1, 2], {"a": (1, 2)}, torch.Size([1]), torch.zeros(1), "text"):
        assert plain(value) is value
        assert not has_stand_in(value)
    mixed = (1, [stand_in(2, clerk)], {"a": slice(None, stand_in(3, clerk))}, torch.device("cpu"))
    assert has_stand_in(mixed)
    found = plain(mixed)
    assert found == (1, [2], {"a": slice(None, 3)}, torch.device("cpu"))
    assert type(found[1][0]) is int
    assert type(found[2]["a"].stop) is int
