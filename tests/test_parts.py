"""Containers taken apart: every tensor found, by the way that leads to it."""

import dataclasses
from collections import OrderedDict, namedtuple
from typing import Any, NamedTuple

import pytest
import torch
from torch import nn

from reportgen.parts import MOST_ATTRIBUTES, MOST_NESTED, flatten

A, B, C = (torch.full((1,), float(number)) for number in range(3))


@dataclasses.dataclass
class Result:
    logits: torch.Tensor
    states: tuple[torch.Tensor, ...] = ()
    loss: torch.Tensor | None = None
    seconds: float = 1.5


@dataclasses.dataclass(slots=True)
class Slotted:
    boxes: torch.Tensor


class Pair(NamedTuple):
    mean: torch.Tensor
    spread: list[torch.Tensor]


class Padded:
    """As torchvision's ImageList: a plain object that holds tensors beside other things."""

    def __init__(self, **attributes: Any) -> None:
        self.__dict__.update(attributes)


Point = namedtuple("Point", "x y")


@pytest.mark.parametrize(
    ("value", "names"),
    [
        (A, {"": A}),
        ((A, B), {"0": A, "1": B}),
        ([[A], [B, C]], {"0.0": A, "1.0": B, "1.1": C}),
        ({"out": A, "aux": B}, {"out": A, "aux": B}),
        (OrderedDict(b=A, a=B), {"b": A, "a": B}),
        ({3: A, ("x", 1): B}, {"3": A, "('x', 1)": B}),
        ([{"boxes": A, "labels": B}, {"boxes": C}], {"0.boxes": A, "0.labels": B, "1.boxes": C}),
        (Result(A, (B, C)), {"logits": A, "states.0": B, "states.1": C}),
        (Slotted(A), {"boxes": A}),
        (Pair(A, [B, C]), {"mean": A, "spread.0": B, "spread.1": C}),
        (Point(A, B), {"x": A, "y": B}),
        (Padded(tensors=A, image_sizes=[(3, 4)], inner=Padded(mask=B)), {"tensors": A, "inner.mask": B}),
        ({"a": [Result(A, loss=B)], "b": Padded(p=Pair(C, []))}, {"a.0.logits": A, "a.0.loss": B, "b.p.mean": C}),
        ((A, A), {"0": A, "1": A}),
    ],
)  # fmt: skip
def test_every_tensor_is_named_by_its_way(value: object, names: dict[str, torch.Tensor]) -> None:
    found = list(flatten(value))
    assert [name for name, _ in found] == list(names)
    assert all(tensor is names[name] for name, tensor in found)


@pytest.mark.parametrize(
    ("value", "names"),
    [
        (torch.tensor([[1.0, 3.0, 2.0]]).max(1), ["values", "indices"]),
        (torch.linalg.svd(torch.eye(2)), ["U", "S", "Vh"]),
        (torch.linalg.slogdet(torch.eye(2)), ["sign", "logabsdet"]),
        (torch.eye(2).topk(1), ["values", "indices"]),
        (torch.eye(2).unbind(), ["0", "1"]),
    ],
)
def test_torchs_own_return_types_keep_their_names(value: tuple[torch.Tensor, ...], names: list[str]) -> None:
    found = list(flatten(value))
    assert [name for name, _ in found] == names
    assert all(tensor is part for (_, tensor), part in zip(found, value, strict=True))


@pytest.mark.parametrize(
    "value",
    [
        None, 1.5, "text", b"bytes", {A}, object(), range(3), torch.Size((1, 2)), torch.float32, Result, nn, print,
        nn.Linear(2, 2), {"model": nn.Linear(2, 2)}, Padded(model=nn.Linear(2, 2), kind=Result), (), {}, [[], {}],
        (part for part in (A, B)),
    ],
)  # fmt: skip
def test_all_else_is_skipped(value: object) -> None:
    assert list(flatten(value)) == []


def test_a_generator_is_left_unread() -> None:
    value = (part for part in (A, B))
    list(flatten([value]))
    assert list(value) == [A, B]


def test_what_holds_itself_is_entered_once() -> None:
    listed: list[object] = [A]
    listed += [listed, {"again": listed, "b": B}]
    assert [name for name, _ in flatten(listed)] == ["0", "2.b"]
    one = Padded(tensor=A)
    one.__dict__["other"] = Padded(back=one, tensor=B)
    assert [name for name, _ in flatten(one)] == ["tensor", "other.tensor"]


def test_depth_is_bounded() -> None:
    nested: object = A
    for _ in range(MOST_NESTED):
        nested = [nested]
    assert [name for name, _ in flatten(nested)] == [".".join("0" * MOST_NESTED)]
    assert list(flatten([nested])) == []


def test_an_object_with_many_attributes_is_no_container() -> None:
    few = {f"a{number}": A for number in range(MOST_ATTRIBUTES)}
    assert len(list(flatten(Padded(**few)))) == MOST_ATTRIBUTES
    assert list(flatten(Padded(**few, more=A))) == []
    assert len(list(flatten({**few, "more": A}))) == MOST_ATTRIBUTES + 1


def test_an_image_list_of_torchvision() -> None:
    from torchvision.models.detection.image_list import ImageList

    assert [name for name, _ in flatten(ImageList(A, [(1, 1)]))] == ["tensors"]


def test_a_model_output_of_transformers() -> None:
    outputs = pytest.importorskip("transformers.modeling_outputs")
    value = outputs.SemanticSegmenterOutput(logits=A, hidden_states=(B, C))
    assert [name for name, _ in flatten(value)] == ["logits", "hidden_states.0", "hidden_states.1"]
