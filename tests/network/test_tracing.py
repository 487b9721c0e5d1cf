"""Which stream a model gets, and why."""

from typing import Any

import pytest
import timm
import torch
from torch import nn

from models_for_tests import InPlaceFirst
from network.architectures import build
from reportgen.entities import Activation, Batch
from reportgen.network.tracing import trace_model


def failures(module: nn.Module, batch: Batch) -> list[object]:
    return [event for event in trace_model(module, batch).walk(batch) if not isinstance(event, Activation)]


class Misleading(nn.Module):
    """torch.fx takes the branch for a constant: at tracing, `training` says that the size is 4."""

    def __init__(self) -> None:
        super().__init__()
        self.seen = 0

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        side = x.shape[-1] if isinstance(x, torch.Tensor) else 4
        return x.reshape(-1, 3, side * side) * 2


def test_a_graph_that_cannot_be_run_is_not_taken() -> None:
    batch = Batch((), torch.randn(2, 3, 6, 6))
    network = trace_model(Misleading().eval(), batch)
    assert network.tracer == "eager"
    assert network.tracer_reason.startswith(
        "the graph that torch.fx traced can't be run (reshape raised RuntimeError"
    )
    assert failures(Misleading().eval(), batch) == []


class Broken(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.relu(x).reshape(7, 7)


def test_a_model_that_fails_itself_keeps_its_graph() -> None:
    batch = Batch((), torch.randn(1, 3, 4, 4))
    network = trace_model(Broken().eval(), batch)
    assert network.tracer == "fx"
    assert [event.layer.name for event in network.walk(batch)] == ["x", "relu", "reshape"]


def test_timms_own_leaves_are_tried_before_the_eager_stream() -> None:
    model = timm.create_model("convit_tiny", pretrained=False).eval()
    network = trace_model(model, Batch((), torch.zeros(1, 3, 224, 224)))
    assert network.tracer == "fx"
    assert network.tracer_reason.startswith("torch.fx can't trace it (TraceError: ")
    closed = [layer for layer in network.layers if layer.module_type == "GPSA"]
    assert len(closed) == 10
    assert network.tracer_reason.endswith(
        "), but with the leaves that timm declares for it; what 10 nodes do inside (GPSA × 10) is not shown, "
        "`--tracer eager` shows it"
    )


def test_a_wrapped_function_is_told_and_opened_when_deep_and_eager_are_asked_for() -> None:
    torch.manual_seed(0)
    model, batch = build("swin_t"), Batch((), torch.randn(1, 3, 64, 64))
    network = trace_model(model, batch)
    wrapped = [layer.name for layer in network.layers if layer.target.endswith("shifted_window_attention")]
    assert len(wrapped) == 12
    assert network.tracer_reason == (
        "torch.fx traced the whole forward pass; what 27 nodes do inside (_get_relative_position_bias × 12, "
        "shifted_window_attention × 12, _patch_merging_pad × 3) is not shown, `--tracer eager --deep` shows it"
    )
    closed = {layer.name for layer in trace_model(model, batch, tracer="eager").layers}
    opened = {layer.name for layer in trace_model(model, batch, tracer="eager", deep=True).layers}
    assert set(wrapped) <= closed
    assert not set(wrapped) & opened
    assert "features.1.0.attn.softmax" in opened


class Particular(nn.Module):
    """Minds what stands for its sizes."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        side = x.shape[-1]
        if type(side) not in (int, torch.fx.Proxy):
            raise TypeError(f"{type(side).__name__} is no size")
        return x.reshape(-1, side) * (side * 2)


def test_a_model_that_minds_its_sizes_is_run_as_it_is() -> None:
    batch = Batch((), torch.randn(1, 3, 4, 4))
    network = trace_model(Particular().eval(), batch, tracer="eager")
    assert network.tracer_reason == "the eager stream was asked for"
    events = list(network.walk(batch))
    assert [event.layer.name for event in events] == ["x", "reshape", "mul"]
    assert all(isinstance(event, Activation) for event in events)


@pytest.mark.parametrize("name", ["convit_tiny", "test_vit"])
def test_what_torch_fx_cannot_trace_is_opened_by_the_eager_stream(name: str) -> None:
    """timm's leaves are for torch.fx: who asks for the eager stream sees inside them."""
    model: Any = timm.create_model(name, pretrained=False).eval()
    side = model.default_cfg["input_size"][-1]
    network = trace_model(model, Batch((), torch.zeros(1, 3, side, side)), tracer="eager")
    assert network.tracer_reason.startswith("the eager stream was asked for; torch.fx can't trace it (")
    assert not any(layer.module_type == "GPSA" or "resample_abs" in layer.target for layer in network.layers)


class Counting(nn.Module):
    count: torch.Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("count", torch.zeros(()))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.count += 1
        return x * self.count if float(x.sum()) < 1e9 else x


@pytest.mark.parametrize("tracer", ["auto", "eager"])
def test_learning_leaves_no_trace(tracer: str) -> None:
    model = Counting().eval()
    batch = Batch((), torch.ones(1, 1, 2, 2))
    network = trace_model(model, batch, tracer=tracer)
    assert float(model.count) == 0
    events = list(network.walk(batch))
    last = events[-1]
    assert isinstance(last, Activation)
    assert isinstance(last.value, torch.Tensor)
    assert float(last.value.flatten()[0]) == 1


class Optional(nn.Module):
    """torch.fx gives the argument that nobody gives, so its graph doubles what the model doesn't."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 2, 1)

    def forward(self, x: torch.Tensor, mask: torch.Tensor | None = None) -> torch.Tensor:
        y: torch.Tensor = self.conv(x)
        return y if mask is None else y * 2


def test_a_graph_that_returns_something_else_is_not_taken() -> None:
    model, batch = Optional().eval(), Batch((), torch.randn(1, 3, 4, 4))
    network = trace_model(model, batch)
    assert network.tracer == "eager"
    assert network.tracer_reason.startswith("the graph that torch.fx traced returns something else")
    assert [layer.name for layer in network.layers] == ["x", "conv"]


@pytest.mark.parametrize("tracer", ["auto", "eager"])
def test_what_the_model_overwrites_is_whole_when_it_is_shown(tracer: str) -> None:
    batch = Batch((), torch.full((2, 3, 2, 2), 3.0))
    network = trace_model(InPlaceFirst().eval(), batch, tracer=tracer)
    assert torch.equal(batch.tensor, torch.full((2, 3, 2, 2), 3.0))
    first = next(iter(network.walk(batch)))
    assert isinstance(first, Activation)
    assert torch.equal(first.value, torch.full((2, 3, 2, 2), 3.0))  # type: ignore[arg-type]


class Caching(nn.Module):
    """Computes a table once and keeps it, in a dict and in an attribute."""

    def __init__(self) -> None:
        super().__init__()
        self.bias = nn.Parameter(torch.ones(1, 3, 1, 1))
        self.cache: dict[str, torch.Tensor] = {}
        self.last: torch.Tensor | None = None

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if "table" not in self.cache:
            self.cache["table"] = self.bias * 2
        if self.last is None:
            self.last = self.bias + 1
        return x + self.cache["table"] + self.last if float(x.sum()) < 1e9 else x


def test_a_model_with_a_cache_goes_the_same_way_each_time() -> None:
    model = Caching().eval()
    batch = Batch((), torch.zeros(1, 3, 2, 2))
    network = trace_model(model, batch, tracer="eager")
    for _ in range(2):
        names = [event.layer.name for event in network.walk(batch) if isinstance(event, Activation)]
        assert names == [layer.name for layer in network.layers]
        assert "mul" in names
    assert network.differences == []
    assert model.cache == {}
    assert model.last is None
