"""While a model runs, names are bound to something that tells, for one thread alone; then they are as before."""

import copy
import threading
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn
from torchvision.models import swin_transformer

from network.architectures import build
from reportgen.entities import Activation, Batch, Failure
from reportgen.network.tracing import trace_model
from reportgen.network.wrapping import calls_seen, reads_seen


def doubled(x: float) -> float:
    return 2 * x


class Calling(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(()))

    def forward(self, x: float) -> float:
        return doubled(x)


ORIGINAL = [doubled]


def test_calls_on_the_watching_thread_are_seen_and_no_others() -> None:
    model = Calling()
    seen: list[tuple[str, float]] = []

    def watcher(who: str) -> Callable[..., Any]:
        def watch(function: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
            assert function in ORIGINAL
            seen.append((who, *args))
            return function(*args, **kwargs)

        return watch

    outer, inner = calls_seen(ORIGINAL, model, watcher("outer")), calls_seen(ORIGINAL, model, watcher("inner"))
    with outer:
        assert model(1.0) == 2
        with inner:
            assert model(2.0) == 4
        assert model(3.0) == 6
        thread = threading.Thread(target=model, args=(4.0,))
        thread.start()
        thread.join()
        assert doubled is not ORIGINAL[0]
    assert doubled is ORIGINAL[0]
    assert seen == [("outer", 1), ("inner", 2), ("outer", 3)]


def test_watchers_may_end_in_any_order() -> None:
    model = Calling()
    first = calls_seen(ORIGINAL, model, lambda *_: "first")
    second = calls_seen(ORIGINAL, model, lambda *_: "second")
    first.__enter__()
    second.__enter__()
    first.__exit__(None, None, None)
    assert doubled is not ORIGINAL[0]
    second.__exit__(None, None, None)
    assert doubled is ORIGINAL[0]


def test_reads_of_parameters_are_seen() -> None:
    model = Calling()
    before = vars(model)["_parameters"]
    seen: list[nn.Parameter] = []
    with reads_seen(model, seen.append):
        assert list(model.parameters()) == [before["scale"]]
        assert type(copy.deepcopy(model)._parameters) is dict
        assert seen == []
        assert model.scale is before["scale"]
    assert seen == [before["scale"]]
    assert vars(model)["_parameters"] is before


def test_a_walk_that_is_given_up_leaves_everything_as_it_was() -> None:
    original = swin_transformer.shifted_window_attention
    model: Any = build("swin_t")
    batch = Batch((), torch.randn(1, 3, 32, 32))
    walker = trace_model(model, batch, tracer="eager").walk(batch)
    names = []
    for event in walker:
        names.append(event.layer.name)
        list(model.parameters())
        if swin_transformer.shifted_window_attention is not original:
            assert model.features[1][0].attn.qkv.weight.shape == (288, 96)  # whoever looks on is not watched
        if "attention" in event.layer.name:
            break
    assert swin_transformer.shifted_window_attention is not original
    walker.close()
    assert swin_transformer.shifted_window_attention is original
    assert all(type(module._parameters) is dict for module in model.modules())
    expected = [layer.name for layer in trace_model(model, batch).layers]
    assert [name for name in expected if name in names] == names


class Refusing(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 3, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        found: torch.Tensor = torch.relu(refusing(self.conv(x), 5.0))
        return found


@torch.fx.wrap
def refusing(x: torch.Tensor, limit: float) -> torch.Tensor:
    if float(x.abs().max()) > limit:
        raise ValueError("too bright")
    return x * 2 + 1


@pytest.mark.filterwarnings("error")
def test_a_wrapped_function_is_one_node_and_one_that_raises_is_a_failure() -> None:
    torch.manual_seed(0)
    model, batch = Refusing().eval(), Batch((), torch.zeros(1, 3, 2, 2))
    network = trace_model(model, batch, tracer="eager")
    events = list(network.walk(batch))
    assert [event.layer.name for event in events] == ["x", "conv", "refusing", "relu"]
    wrapped = events[2]
    assert isinstance(wrapped, Activation)
    assert wrapped.layer.parents == ("conv",)
    bright = list(network.walk(Batch((), torch.full((1, 3, 2, 2), 1e3))))
    assert [type(event) for event in bright] == [Activation, Activation, Failure, Failure]
    assert isinstance(bright[2], Failure)
    assert bright[2].reason == "ValueError: too bright"
    opened = [layer.name for layer in trace_model(model, batch, tracer="eager", deep=True).layers]
    assert opened == ["x", "conv", "abs", "max", "mul", "add", "relu"]


@pytest.fixture(autouse=True)
def _as_before() -> Any:
    before = swin_transformer.shifted_window_attention
    yield
    assert swin_transformer.shifted_window_attention is before
