"""Which stream a model gets, and why."""

import pytest
import timm
import torch
from torch import nn

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
    assert network.tracer_reason == "torch.fx traced the forward pass with the leaves that timm declares for it"


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
