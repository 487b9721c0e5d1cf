"""Networks of 8-bit integers: every value is read as its counterpart of floats is, and drawn dequantised."""

import copy
import warnings
from collections.abc import Callable
from typing import Any

import pytest
import torch
import torchvision
from torch import nn

from reportgen.entities import Activation, Batch
from reportgen.network.tracing import trace_model
from reportgen.numerics.real import is_quantised

pytestmark = [
    pytest.mark.skipif(
        {*torch.backends.quantized.supported_engines} <= {"none"}, reason="this machine's torch has no such kernels"
    ),
    pytest.mark.filterwarnings("ignore"),
]

TRACERS = ["fx", "eager"]


def shown(model: nn.Module, image: torch.Tensor, tracer: str) -> dict[str, Activation]:
    """Every node, its value and its maps copied before the next operation runs."""
    batch = Batch((), image)
    found = {}
    for event in trace_model(model, batch, tracer=tracer).walk(batch):
        assert isinstance(event, Activation), event
        found[event.layer.name] = copy.deepcopy(event)
    return found


def returned(model: nn.Module, image: torch.Tensor) -> dict[str, list[torch.Tensor]]:
    """What each module returned, call by call, as plain numbers: without any stream."""
    found: dict[str, list[torch.Tensor]] = {}

    def keep(name: str) -> Callable[[nn.Module, object, torch.Tensor], None]:
        def hook(_: nn.Module, given: object, value: torch.Tensor) -> None:
            found.setdefault(name, []).append(value.dequantize() if value.is_quantized else value.clone())

        return hook

    hooks = [child.register_forward_hook(keep(name)) for name, child in model.named_modules()]
    with torch.no_grad():
        model(image)
    for hook in hooks:
        hook.remove()
    return found


def torchvisions(name: str) -> nn.Module:
    arguments = {"init_weights": False} if name in ("quantized_googlenet", "quantized_inception_v3") else {}
    with warnings.catch_warnings(), torch.random.fork_rng(devices=[]):
        warnings.simplefilter("ignore")
        torch.manual_seed(0)
        model: nn.Module = torchvision.models.get_model(name, weights=None, quantize=True, **arguments)
    return model.eval()


@pytest.mark.parametrize("tracer", TRACERS)
@pytest.mark.parametrize(
    ("name", "side"),
    [
        ("quantized_resnet18", 64),
        ("quantized_shufflenet_v2_x0_5", 64),
        ("quantized_mobilenet_v2", 64),
        ("quantized_mobilenet_v3_large", 64),
        ("quantized_googlenet", 64),
        ("quantized_inception_v3", 75),
    ],
)
def test_every_value_of_torchvisions_networks_is_read(name: str, side: int, tracer: str) -> None:
    model, image = torchvisions(name), torch.randn(2, 3, side, side)
    nodes = shown(model, image, tracer)
    values = [(node, node.value) for node in nodes.values() if isinstance(node.value, torch.Tensor)]
    assert [node.layer.name for node, _ in values if not node.reading.layout] == []
    oracle = returned(model, image)
    modules = [(node, value) for node, value in values if node.layer.op == "call_module" and value.dim() == 4]
    for node, _ in modules:
        assert node.reading.maps is not None, node.layer.name
        assert torch.equal(node.reading.maps, oracle[node.layer.target].pop(0)), node.layer.name
    assert len(modules) >= 60
    assert any(is_quantised(value) for _, value in modules)


def quantised(x: torch.Tensor) -> torch.Tensor:
    return torch.quantize_per_tensor(x, 0.125, 8, torch.quint8)


class Functions(nn.Module):
    """Operations on quantised values, by name."""

    def __init__(self, operation: str) -> None:
        super().__init__()
        self.operation = operation
        weight = torch.quantize_per_tensor(torch.randn(4, 6, 1, 1), 0.1, 0, torch.qint8)
        self.conv = torch.ops.quantized.conv2d_prepack(weight, torch.zeros(4), [1, 1], [0, 0], [1, 1], 1)
        self.linear = torch.ops.quantized.linear_prepack(weight.reshape(4, 6), torch.zeros(4))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        q, ops, out = quantised(x), torch.ops.quantized, (0.25, 3)
        found: dict[str, Callable[[], torch.Tensor]] = {
            "conv2d": lambda: ops.conv2d(q, self.conv, *out),
            "conv2d_relu": lambda: ops.conv2d_relu(q, self.conv, *out),
            "linear": lambda: ops.linear(q.permute(0, 2, 3, 1), self.linear, *out),
            "linear_relu": lambda: ops.linear_relu(q.flatten(2).transpose(1, 2), self.linear, *out),
            "linear_dynamic": lambda: ops.linear_dynamic(x.permute(0, 2, 3, 1), self.linear),
            "add": lambda: ops.add(q, q, *out),
            "add_relu": lambda: ops.add_relu(q, q, *out),
            "mul": lambda: ops.mul(q, q, *out),
            "add_scalar": lambda: ops.add_scalar(q, 0.5),
            "cat": lambda: ops.cat([q, q], 1, *out),
            "batch_norm2d_relu": lambda: ops.batch_norm2d_relu(q, *[torch.ones(6)] * 4, 1e-5, *out),
            "batch_norm": lambda: ops.batch_norm(q, *[torch.ones(6)] * 4, 1e-5, *out),
            "hardswish": lambda: ops.hardswish(q, *out),
            "relu6": lambda: ops.relu6(q),
            "max_pool2d": lambda: nn.functional.max_pool2d(q, 2),
            "instance_norm": lambda: ops.instance_norm(q, torch.ones(6), torch.zeros(6), 1e-5, *out),
            "dequantize": q.dequantize,
            "int_repr": q.int_repr,
        }
        return found[self.operation]()


LAYOUTS = {"linear": "NHWC", "linear_relu": "NLC", "linear_dynamic": "NHWC"}


@pytest.mark.parametrize("tracer", TRACERS)
@pytest.mark.parametrize(
    "operation",
    [
        *[
            "conv2d",
            "conv2d_relu",
            "linear",
            "linear_relu",
            "linear_dynamic",
            "add",
            "add_relu",
            "mul",
            "add_scalar",
        ],
        *[
            "cat",
            "batch_norm2d_relu",
            "batch_norm",
            "hardswish",
            "relu6",
            "max_pool2d",
            "instance_norm",
            "dequantize",
        ],
        "int_repr",
    ],
)
def test_functions_are_read(operation: str, tracer: str) -> None:
    model, image = Functions(operation).eval(), torch.randn(2, 6, 4, 4)
    nodes = list(shown(model, image, tracer).values())
    reading = nodes[-1].reading
    assert nodes[-1].layer.name.startswith(operation)
    assert reading.layout == LAYOUTS.get(operation, "NCHW")
    assert reading.maps is not None
    value = model(image)
    plain = value.dequantize() if value.is_quantized else value
    last = plain.movedim(-1, 1) if operation in LAYOUTS else plain
    assert torch.equal(reading.maps, last.reshape(reading.maps.shape))


class Modules(nn.Module):
    """Modules of torch.ao.nn that share no class with those they stand for, and those that functions go through."""

    def __init__(self) -> None:
        super().__init__()
        ao: Any = torch.ao.nn
        self.quantize = ao.quantized.Quantize(0.1, 8, torch.quint8)
        self.conv = ao.intrinsic.quantized.ConvReLU2d(3, 4, 3, padding=1)
        self.transposed = ao.quantized.ConvTranspose2d(4, 5, 2, stride=2)
        self.norm = ao.intrinsic.quantized.BNReLU2d(5)
        self.hardswish = ao.quantized.Hardswish(0.1, 8)
        self.sums = ao.quantized.QFunctional()
        self.pool = nn.AvgPool2d(2)
        self.linear = ao.intrinsic.quantized.LinearReLU(10, 6)
        self.dequantize = ao.quantized.DeQuantize()
        self.dynamic = ao.quantized.dynamic.Linear(6, 7)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        maps = self.hardswish(self.norm(self.transposed(self.conv(self.quantize(x)))))
        both = self.pool(self.sums.cat([maps, self.sums.add_relu(maps, maps)], 1))
        tokens: torch.Tensor = self.dynamic(self.dequantize(self.linear(both.flatten(2).transpose(1, 2))))
        return tokens


@pytest.mark.parametrize("tracer", TRACERS)
def test_modules_are_read(tracer: str) -> None:
    model, image = Modules().eval(), torch.randn(2, 3, 4, 6)
    nodes, oracle = shown(model, image, tracer), returned(model, image)
    layouts = {
        name: nodes[name].reading.layout for name in ("conv", "transposed", "norm", "pool", "linear", "dynamic")
    }
    assert layouts == {
        **dict.fromkeys(["conv", "transposed", "norm", "pool"], "NCHW"),
        "linear": "NLC",
        "dynamic": "NLC",
    }
    for name in layouts:
        maps, expected = nodes[name].reading.maps, oracle[name][0]
        assert maps is not None
        assert torch.equal(maps, expected if expected.dim() == 4 else expected.mT.reshape(maps.shape)), name
    assert nodes["linear"].reading.description == "24 tokens = 4 × 6"


def test_a_network_that_was_quantised_through_its_graph_is_read() -> None:
    from torch.ao.quantization import get_default_qconfig_mapping
    from torch.ao.quantization.quantize_fx import convert_fx, prepare_fx

    image = torch.randn(1, 3, 32, 32)
    floats = torchvision.models.resnet18(weights=None).eval()
    prepared = prepare_fx(floats, get_default_qconfig_mapping(torch.backends.quantized.engine), (image,))
    prepared(image)
    nodes = shown(convert_fx(prepared), image, "fx")
    unread = [
        name
        for name, node in nodes.items()
        if isinstance(node.value, torch.Tensor) and node.value.dim() > 1 and not node.reading.layout
    ]
    assert unread == []
    drawn = [node.value for node in nodes.values() if node.reading.maps is not None]
    assert sum(is_quantised(value) for value in drawn if isinstance(value, torch.Tensor)) > 20
