"""The value seen is the value computed: against hooks and interpreters that clone every output."""

from typing import Any

import pytest
import torch
from torch import fx, nn

from network.architectures import build
from reportgen.entities import Activation, Batch, Failure
from reportgen.network.base import stream
from reportgen.network.capture import GraphNetwork, walk
from reportgen.network.graph import Network, trace
from reportgen.network.isolation import evaluating

SMALL = {"swin_t": 64, "vit_b_16": 32}
ARCHITECTURES = [
    "resnet18",
    "vgg11_bn",
    "densenet121",
    "mobilenet_v3_small",
    "googlenet",
    "swin_t",
    "vit_b_16",
]


class Oracle(fx.Interpreter):
    """Runs the graph as torch.fx does and clones what each node returns, the moment it returns."""

    def __init__(self, network: Network) -> None:
        super().__init__(network.root, graph=network.graph)
        self.seen: dict[str, Any] = {}
        self._layers = network.layer_of

    def run_node(self, n: fx.Node) -> Any:
        value = super().run_node(n)
        if n in self._layers and isinstance(value, torch.Tensor):
            self.seen[self._layers[n].name] = value.clone()
        return value


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_every_value_is_the_one_computed(name: str) -> None:
    torch.manual_seed(1)
    model = build(name)
    network = trace(model)
    image = torch.randn(2, 3, SMALL.get(name, 64), SMALL.get(name, 64))
    oracle = Oracle(network)
    with torch.no_grad():
        oracle.run(image.clone())
        expected = model(image.clone())
    compared = 0
    walker = walk(network, Batch((), image.clone()))
    try:
        while True:
            event = next(walker)
            assert isinstance(event, Activation)
            if isinstance(event.value, torch.Tensor):
                assert torch.equal(event.value, oracle.seen[event.layer.name]), event.layer.name
                compared += 1
    except StopIteration as stopped:
        assert torch.equal(stopped.value, expected)  # bit for bit
    assert compared == len(oracle.seen)


def test_module_hooks_saw_the_same() -> None:
    """A second oracle, which has nothing of torch.fx in it."""
    torch.manual_seed(2)
    model = build("resnet18")
    image = torch.randn(1, 3, 64, 64)
    seen: dict[str, list[torch.Tensor]] = {}
    hooks = []
    for path, module in model.named_modules():
        if not list(module.children()):

            def keep(_: nn.Module, __: Any, value: torch.Tensor, path: str = path) -> None:
                seen.setdefault(path, []).append(value.clone())

            hooks.append(module.register_forward_hook(keep))
    with torch.no_grad():
        model(image)
    for hook in hooks:
        hook.remove()
    compared = 0
    for event in walk(trace(model), Batch((), image)):
        if isinstance(event, Activation) and event.layer.op == "call_module":
            call = int(event.layer.name.rsplit("_", 1)[1]) if event.layer.name.endswith("relu_1") else 0
            assert torch.equal(event.value, seen[event.layer.target][call])  # type: ignore[arg-type]
            compared += 1
    assert compared == sum(map(len, seen.values()))


class InPlace(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3)
        self.relu = nn.ReLU(inplace=True)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.conv(x)
        z: torch.Tensor = self.relu(y)
        z += 1
        return z.mul_(2)


def test_the_value_before_an_in_place_operation_is_seen_before_it() -> None:
    model = InPlace().eval()
    image = torch.randn(1, 3, 8, 8)
    with torch.no_grad():
        convolved = model.conv(image)
    steps = {
        "conv": convolved,
        "relu": convolved.clamp(min=0),
        "add": convolved.clamp(min=0) + 1,
        "mul_": (convolved.clamp(min=0) + 1) * 2,
    }
    for event in walk(trace(model), Batch((), image)):
        if event.layer.name in steps:
            assert isinstance(event, Activation)
            torch.testing.assert_close(event.value, steps.pop(event.layer.name), rtol=0, atol=0)
    assert not steps


def test_nothing_is_cloned_and_values_go_after_their_last_use() -> None:
    """The in-place ReLU's value is the convolution's own memory; a plain chain holds two values at most."""
    import weakref

    model = nn.Sequential(nn.Conv2d(3, 4, 1), nn.ReLU(inplace=True), nn.Conv2d(4, 4, 1), nn.Conv2d(4, 4, 1)).eval()
    addresses, alive = [], []
    for event in walk(trace(model), Batch((), torch.randn(1, 3, 4, 4))):
        assert isinstance(event, Activation)
        assert isinstance(event.value, torch.Tensor)
        addresses.append(event.value.data_ptr())
        alive.append(weakref.ref(event.value))
        del event
        # The convolution and the ReLU after it are one tensor, so values are counted, not nodes.
        assert len({id(value()) for value in alive[1:] if value() is not None}) <= 2
    assert addresses[1] == addresses[2]
    assert not any(value() is not None for value in alive[1:])


def test_the_next_node_runs_only_when_asked_for() -> None:
    calls: list[str] = []

    class Counting(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.one, self.two = nn.ReLU(), nn.ReLU()

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            found: torch.Tensor = self.two(self.one(x))
            return found

    model = Counting().eval()
    network = trace(model)
    for name in ("one", "two"):
        model.get_submodule(name).register_forward_hook(lambda *_, name=name: calls.append(name))
    walker = walk(network, Batch((), torch.zeros(1, 1, 2, 2)))
    next(walker)
    next(walker)
    assert calls == ["one"]
    walker.close()
    assert calls == ["one"]


class Fragile(nn.Module):
    """`one` feeds a node that raises, and a branch that does not need it."""

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        one = torch.relu(x)
        broken = torch.reshape(one, (7, 7, 7))
        after = torch.tanh(broken)
        return torch.sigmoid(one), after


def test_a_node_that_raises_does_not_stop_the_rest() -> None:
    events = {event.layer.name: event for event in walk(trace(Fragile()), Batch((), torch.ones(1, 1, 4, 4)))}
    assert isinstance(events["reshape"], Failure)
    assert "RuntimeError" in events["reshape"].reason
    assert isinstance(events["tanh"], Failure)
    assert events["tanh"].reason.startswith("it reads a node that failed: reshape raised")
    sigmoid = events["sigmoid"]
    assert isinstance(sigmoid, Activation)
    torch.testing.assert_close(sigmoid.value, torch.sigmoid(torch.ones(1, 1, 4, 4)))


def test_only_wanted_nodes_are_handed_over() -> None:
    network = trace(build("resnet18"))
    batch = Batch((), torch.randn(1, 3, 32, 32))
    assert [event.layer.name for event in walk(network, batch, {"fc", "layer1.0.relu"})] == ["layer1.0.relu", "fc"]


def test_gradients_are_off_inside_and_on_outside() -> None:
    model = nn.Sequential(nn.Conv2d(1, 1, 1)).eval()
    for event in walk(trace(model), Batch((), torch.ones(1, 1, 2, 2))):
        assert torch.is_grad_enabled()  # the consumer's mode is its own
        assert isinstance(event, Activation)
        assert isinstance(event.value, torch.Tensor)
        assert not event.value.requires_grad


def test_stream_walks_each_batch_in_turn() -> None:
    model = nn.Sequential(nn.ReLU(), nn.Tanh())
    with evaluating(model):
        batches = [Batch((), torch.zeros(1, 1, 2, 2)), Batch((), torch.ones(3, 1, 2, 2))]
        shapes = [
            event.value.shape[0]
            for event in stream(GraphNetwork(trace(model), "torch.fx traced it"), batches)
            if isinstance(event, Activation) and isinstance(event.value, torch.Tensor)
        ]
    assert shapes == [1, 1, 1, 3, 3, 3]
