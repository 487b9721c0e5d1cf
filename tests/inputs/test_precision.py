"""Device, dtype and autocast: what is asked for happens, and never to the user's own module."""

import copy
from contextlib import nullcontext
from typing import Any

import pytest
import torch
from torch import nn

from reportgen.errors import InputError
from reportgen.inputs.models import load_model
from reportgen.inputs.precision import Precision, device_name


class Mixed(nn.Module):
    """Parameters and buffers of several types, one of them shared."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 2, 1)
        self.again = self.conv
        self.norm = nn.BatchNorm2d(2)
        self.phase = nn.Parameter(torch.ones(2, dtype=torch.complex64) * 1j)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        result: torch.Tensor = self.norm(self.conv(x))
        return result


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float64"])
def test_a_module_passed_in_stays_as_it_is(dtype: str) -> None:
    module = Mixed()
    module.conv.weight.grad = torch.ones_like(module.conv.weight)
    tensors = dict(module.named_parameters(remove_duplicate=False)) | dict(module.named_buffers())
    values = {name: (tensor.clone(), tensor.dtype, tensor.device) for name, tensor in tensors.items()}
    model = load_model(module, dtype=dtype)
    assert model.module is not module
    after = dict(module.named_parameters(remove_duplicate=False)) | dict(module.named_buffers())
    assert after.keys() == tensors.keys()
    for name, tensor in after.items():
        assert tensor is tensors[name]
        value, kind, device = values[name]
        assert (tensor.dtype, tensor.device) == (kind, device)
        assert torch.equal(tensor, value)
    assert torch.equal(module.conv.weight.grad, torch.ones(2, 3, 1, 1))
    assert {p.dtype for p in model.module.parameters()} == {getattr(torch, dtype), torch.complex64}
    assert torch.equal(model.module.get_parameter("phase"), module.phase)  # no imaginary part is dropped
    assert model.module.get_submodule("again") is model.module.get_submodule("conv")


@pytest.mark.parametrize("options", [{}, {"dtype": "float32"}, {"device": "cpu"}, {"dtype": "autocast:bfloat16"}])
def test_nothing_is_copied_where_nothing_changes(options: dict[str, Any]) -> None:
    module = Mixed()
    assert load_model(module, **options).module is module


def test_a_module_that_cannot_be_copied_is_refused_in_one_line() -> None:
    module = nn.Conv2d(3, 2, 1)
    del module.bias
    module.bias = module.weight.sum((1, 2, 3))  # no leaf of the graph
    with pytest.raises(InputError) as caught:
        load_model(module, dtype="float64")
    told = str(caught.value)
    assert told.startswith("model Conv2d: can't be copied (RuntimeError: ")
    assert "move and convert it before passing it in" in told
    assert "\n" not in told
    assert module.weight.dtype == torch.float32


def test_a_model_made_here_is_converted_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(copy, "deepcopy", lambda *_: pytest.fail("copied"))
    model = load_model("squeezenet1_1", weights="none", dtype="bfloat16")
    assert {parameter.dtype for parameter in model.module.parameters()} == {torch.bfloat16}


def test_autocast_is_handed_over_and_the_module_stays() -> None:
    module = nn.Conv2d(3, 2, 1)
    model = load_model(module, dtype="autocast:bfloat16")
    x = torch.randn(1, 3, 4, 4)
    with model.precision():
        assert module(x).dtype == torch.bfloat16
    with model.precision():  # as often as there are batches
        assert module(x).dtype == torch.bfloat16
    assert module(x).dtype == torch.float32
    assert load_model(module).precision is nullcontext


@pytest.mark.parametrize("device", ["cuda", "cuda:0", "cuda:7", "mps"])
def test_a_device_that_is_not_there_is_refused(device: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    with pytest.raises(
        InputError, match=f"^device {device}: torch finds none; give another, or leave --device out$"
    ):
        load_model("no-such-model", device=device)


def test_a_number_beyond_the_devices_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "current_device", lambda: 1)
    assert Precision.read("cuda:0").device == torch.device("cuda", 0)
    assert Precision.read("cuda").device == torch.device("cuda", 1)
    with pytest.raises(InputError, match="device cuda:2: there are 2 of its kind"):
        Precision.read("cuda:2")


def test_a_model_that_cannot_be_moved_is_refused() -> None:
    class Stubborn(nn.Conv2d):
        def to(self, *_: Any, **__: Any) -> Any:
            raise RuntimeError("out of memory")

    with pytest.raises(InputError, match=r"model Stubborn: can't be put on meta \(RuntimeError: out of memory\)"):
        Precision(torch.device("meta")).place(Stubborn(3, 2, 1), ours=True)


def test_devices_are_named_for_people(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: "NVIDIA X")
    assert device_name(torch.device("cpu")) == "cpu"
    assert device_name(torch.device("cuda", 1)) == "cuda:1 (NVIDIA X)"
