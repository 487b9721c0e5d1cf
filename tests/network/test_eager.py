"""The eager stream: the same names and values as torch.fx, and models that torch.fx can't trace."""

from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch import nn

from models_for_tests import ControlFlow
from reportgen.entities import Activation, Batch, Failure
from reportgen.errors import InputError
from reportgen.network.base import Network
from reportgen.network.eager import EagerNetwork
from reportgen.network.tracing import trace_model


def tensors(network: Network, batch: Batch) -> Iterator[tuple[str, torch.Tensor]]:
    for event in network.walk(batch):
        assert isinstance(event, Activation), event
        if isinstance(event.value, torch.Tensor):
            yield event.layer.name, event.value.clone()


def test_what_torch_fx_cannot_trace_is_run_as_it_is() -> None:
    model = ControlFlow().eval()
    batch = Batch((), torch.randn(1, 3, 4, 4))
    network = trace_model(model, batch)
    assert network.tracer == "eager"
    assert network.tracer_reason.startswith("torch.fx can't trace it (TraceError: ")
    with pytest.raises(InputError):
        trace_model(model, batch, tracer="fx")
    with torch.no_grad():
        convolved = model.conv(batch.tensor)
    assert torch.equal(dict(tensors(network, batch))["conv"], convolved)


class InPlace(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        z: torch.Tensor = self.conv(x)
        if float(z.sum()) > -1e9:
            z += 1
            z[:, 0] = 5
        return z.mul_(2)


def test_each_value_is_seen_before_the_next_operation_overwrites_it() -> None:
    model = InPlace().eval()
    image = torch.randn(1, 3, 8, 8)
    with torch.no_grad():
        convolved = model.conv(image)
    filled = convolved + 1
    filled[:, 0] = 5
    steps = {"conv": convolved, "add": convolved + 1, "setitem": filled, "mul_": filled * 2}
    batch = Batch((), image)
    found = dict(tensors(trace_model(model, batch), batch))
    for name, value in steps.items():
        torch.testing.assert_close(found[name], value, rtol=0, atol=0)


def test_the_model_waits_for_the_consumer_and_hooks_are_gone_afterwards() -> None:
    calls: list[str] = []
    model = nn.Sequential(nn.ReLU(), nn.Tanh()).eval()
    batch = Batch((), torch.zeros(1, 1, 2, 2))
    network = trace_model(model, batch, tracer="eager")
    own = [
        module.register_forward_hook(lambda *_, name=str(place): calls.append(name))
        for place, module in enumerate(model)
    ]
    walker = network.walk(batch)
    assert [next(walker).layer.name for _ in range(2)] == ["input", "0"]
    assert calls == ["0"]
    walker.close()
    assert calls == ["0"]
    for hook in own:
        hook.remove()
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in model.modules())


class Fickle(nn.Module):
    """Takes another way for bright images, and refuses very bright ones."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 3, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y: torch.Tensor = self.conv(x)
        if float(x.mean()) > 50:
            raise ValueError("far too bright")
        return torch.tanh(y) if float(x.mean()) > 5 else torch.sigmoid(y)


def test_another_way_and_an_error_are_told_and_nothing_stops() -> None:
    model = Fickle().eval()
    network = trace_model(model, Batch((), torch.zeros(1, 3, 2, 2)))
    assert [layer.name for layer in network.layers] == ["x", "conv", "mean", "mean_1", "sigmoid"]
    bright = list(network.walk(Batch((), torch.full((1, 3, 2, 2), 9.0))))
    assert isinstance(bright[-1], Failure)
    assert bright[-1].reason == "the model did not compute it: it took another way than with the first image"
    assert network.differences == [
        "this batch: the model computed nodes that it had not with the first image: tanh"
    ]
    refused = list(network.walk(Batch((), torch.full((1, 3, 2, 2), 99.0))))
    assert [type(event) for event in refused] == [Activation] * 3 + [Failure] * 2
    assert isinstance(refused[-1], Failure)
    assert refused[-1].reason.endswith("ValueError: far too bright")


class Several(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 1)
        self.attention = nn.MultiheadAttention(4, 2, batch_first=True)

    def forward(self, x: torch.Tensor) -> Any:
        if x.sum() == 0.5:
            return None
        maps = self.conv(x)
        for _ in range(2):
            maps = self.conv.forward(x) + maps
        first, second = maps.chunk(2, 1)
        tokens = maps.flatten(2).transpose(1, 2)
        attended, _ = self.attention(tokens, tokens, tokens)
        return {"maps": [first, second], "tokens": attended, "count": 3}


def test_containers_and_repeats_have_named_parts() -> None:
    model, batch = Several().eval(), Batch((), torch.randn(2, 3, 4, 4))
    network = trace_model(model, batch, tracer="eager")
    names = [layer.name for layer in network.layers]
    assert names.count("chunk") == 1
    assert {"conv2d", "conv2d_1", "add", "add_1", "getitem", "getitem_1", "attention", "getitem_2"} <= set(names)
    assert network.outputs == ("getitem", "getitem_1", "getitem_2")
    found = dict(tensors(network, batch))
    with torch.no_grad():
        output = model(batch.tensor)
    assert torch.equal(found["getitem_1"], output["maps"][1])
    assert torch.equal(found["getitem_2"], output["tokens"])


def test_a_model_that_needs_more_than_pictures_is_refused() -> None:
    class Needy(nn.Module):
        def forward(self, x: torch.Tensor, *, text: torch.Tensor) -> torch.Tensor:
            return x + text

    with pytest.raises(InputError, match=r"Needy: the model can't be run on a picture: .*text"):
        EagerNetwork(Needy(), Batch((), torch.zeros(1, 3, 2, 2)), "asked for")


def test_gradients_are_off_inside_and_a_lone_parameter_is_a_node() -> None:
    class Scaled(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.scale = nn.Parameter(torch.ones(1, 3, 1, 1))

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x * self.scale

    batch = Batch((), torch.ones(1, 3, 2, 2))
    events = list(trace_model(Scaled(), batch, tracer="eager").walk(batch))
    assert [event.layer.name for event in events] == ["x", "scale", "mul"]
    last = events[-1]
    assert isinstance(last, Activation)
    assert isinstance(last.value, torch.Tensor)
    assert not last.value.requires_grad
    assert isinstance(events[1], Activation)
    assert "a parameter" in events[1].reading.reason
