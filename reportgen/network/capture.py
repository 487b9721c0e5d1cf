"""The walk through torch.fx: one node's value at a time, each as the network computed it.

The stream is pulled. The next node can't run until the consumer asks for it, so a value is handed over before a
later operation can overwrite it in place; nothing is cloned, and a value is dropped after its last use.
"""

import inspect
from collections.abc import Callable, Generator, Mapping, Set
from typing import Any

import torch
from torch import fx, nn
from torch.fx.immutable_collections import immutable_dict, immutable_list

from reportgen.entities import Activation, Batch, Failure, Layer, Reading
from reportgen.errors import lacks_memory, shortage
from reportgen.network.attention import attention_of
from reportgen.network.axes import Axes, is_known
from reportgen.network.base import Precision, Settings, Walk
from reportgen.network.graph import Network
from reportgen.network.layout import read
from reportgen.network.operations import (
    Call,
    Operand,
    axes_after,
    demanded_axes,
    demands_channels_first,
    input_axes,
    keeps_axes,
    operation_name,
    parameter_axes,
    part_axes,
    plain_name,
)
from reportgen.network.recomputing import Recomputed


class GraphNetwork:
    """A model that torch.fx traced."""

    tracer = "fx"

    def __init__(self, network: Network, reason: str, settings: Settings | None = None) -> None:
        self._network = network
        self._settings = settings or Settings()
        self.layers = network.layers
        self.outputs = network.outputs
        self.tracer_reason = reason
        self.differences: list[str] = []
        self._axes = KnownAxes()

    @property
    def wrapped(self) -> tuple[Callable[..., Any], ...]:
        """The functions that are one node because torch.fx was told to wrap them."""
        return self._network.wrapped

    @property
    def precision(self) -> Precision:
        """The context of each forward pass."""
        return self._settings.precision

    def module_of(self, layer: Layer) -> nn.Module | None:
        return self._network.root.get_submodule(layer.target) if layer.op == "call_module" else None

    def walk(self, batch: Batch, wanted: Set[str] | None = None, recomputed: Recomputed | None = None) -> Walk:
        """See `base.Provable.walk`."""
        return walk(self._network, batch, wanted, self._settings, recomputed, self._axes)


KnownAxes = dict[fx.Node, tuple[tuple[Any, ...], Any]]
"""What the axes of each node's value followed from in an earlier walk, and the axes."""


@torch.no_grad()  # as a decorator: inside a generator, a with statement would leak into the consumer
def walk(
    network: Network,
    batch: Batch,
    wanted: Set[str] | None = None,
    settings: Settings | None = None,
    recomputed: Recomputed | None = None,
    known: KnownAxes | None = None,
) -> Generator[Activation | Failure, None, Any]:
    """Run `network` on `batch`; yield each wanted node (default: all) as soon as it is computed.

    A node that raises becomes a Failure, and so does each that reads it; all others still run. Returns (as the
    generator's value) what the model itself returns, or None when its output could not be computed. `known` is
    filled, and spares a later walk of values of the same shapes the following of axes.

    The model must be in eval mode (`isolation.evaluating`).
    """
    settings = settings or Settings()
    interpreter = _Interpreter(network.root, graph=network.graph)
    interpreter.recomputed, interpreter.layer_of = recomputed, network.layer_of
    interpreter.args_iter = iter(_placeholders(network, batch))
    axes = _AxesOfNodes(network, interpreter.env, len(batch.tensor), {} if known is None else known)
    failed: dict[fx.Node, str] = {}
    for node in network.graph.nodes:
        layer = network.layer_of.get(node)
        with settings.precision():
            reason = _run(interpreter, node, failed)
        if node.op == "output":
            return interpreter.env.get(node)
        chosen = layer is not None and (wanted is None or layer.name in wanted)
        if not reason:
            reading = axes.read(node, interpreter.env[node], wanted=chosen)
            if layer is not None and chosen:
                attention = axes.attention(node) if settings.attention else None
                yield Activation(layer, batch.images, interpreter.env[node], reading, attention)
                del attention
            del reading
        elif layer is not None and chosen:
            yield Failure(layer, batch.images, reason)
        _forget(interpreter, node)
    return None


class _Interpreter(fx.Interpreter):
    """Hands functions lists and dicts of their own, as the code does that torch.fx writes: they may change them."""

    recomputed: Recomputed | None = None
    layer_of: Mapping[fx.Node, Layer] = {}

    def run_node(self, n: fx.Node) -> Any:
        if self.recomputed is None:
            return super().run_node(n)
        layer = self.layer_of.get(n)
        return self.recomputed.run(self, n, layer.name if layer else None, super().run_node)

    def fetch_args_kwargs_from_env(self, n: fx.Node) -> tuple[tuple[Any, ...], dict[str, Any]]:
        args, kwargs = super().fetch_args_kwargs_from_env(n)
        return _own(args), {name: _own(value) for name, value in kwargs.items()}


def _own(value: Any) -> Any:
    """Copy the lists and dicts that a graph holds; what a node computed is handed on as it is."""
    if type(value) is tuple:
        return tuple(map(_own, value))
    if isinstance(value, immutable_list):
        return list(map(_own, value))
    if isinstance(value, immutable_dict):
        return {key: _own(part) for key, part in value.items()}
    return value


def _placeholders(network: Network, batch: Batch) -> list[Any]:
    """The arguments in the order of the graph's placeholders; those with a default may be missing at the end."""
    names = [str(node.target).lstrip("*") for node in network.graph.nodes if node.op == "placeholder"]
    given = dict(zip(names, batch.arguments, strict=False)) | dict(batch.kwargs)
    last = max((place for place, name in enumerate(names) if name in given), default=-1)
    return [given.get(name, inspect.Parameter.empty) for name in names[: last + 1]]


class _AxesOfNodes:
    """Follows the axes of each node's value, in execution order (never the values)."""

    def __init__(self, network: Network, values: Mapping[fx.Node, Any], images: int, known: KnownAxes) -> None:
        self._known = known
        self._modules = dict(network.root.named_modules(remove_duplicate=False))
        self._values = values
        self._images = images
        self._axes: dict[fx.Node, Any] = {}

    def read(self, node: fx.Node, value: object, *, wanted: bool) -> Reading:
        """Return how `value`, which `node` computed, is to be read."""
        given = self._given(node, value)
        before = self._known.get(node) if given else None
        self._axes[node] = before[1] if before and before[0] == given else self._after(node, value)
        if given:
            self._known[node] = given, self._axes[node]
        axes = self._axes[node] if isinstance(value, torch.Tensor) else None
        return read(value, axes, self._images, parameter=node.op == "get_attr", wanted=wanted)

    def _given(self, node: fx.Node, value: object) -> tuple[Any, ...]:
        """What the axes of a tensor follow from besides the graph; () where that can't be compared."""
        if not isinstance(value, torch.Tensor):
            return ()
        given: list[Any] = [self._images, value.shape]
        for parent in node.all_input_nodes:
            part = self._values.get(parent)
            if isinstance(part, torch.Tensor):
                given.append((part.shape, self._axes.get(parent)))
            elif isinstance(part, int | float | str | torch.Size):
                given.append(part)
            else:
                return ()
        return tuple(given)

    def _after(self, node: fx.Node, value: object) -> Any:
        if node.op == "get_attr" and isinstance(value, torch.Tensor):
            return parameter_axes(value.shape, str(node.target)) if isinstance(value, nn.Parameter) else None
        if isinstance(value, torch.Tensor):
            given = node.op == "placeholder"
            axes = input_axes(value.shape, self._images) if given else axes_after(self._call(node, value))
            if axes is None or not all(map(is_known, axes)):
                return self._demanded(node, value, axes) or axes
            return axes
        if isinstance(value, tuple | list) and any(isinstance(part, torch.Tensor) for part in value):
            return part_axes(self._call(node, None), value)
        return None

    def _call(self, node: fx.Node, value: torch.Tensor | None) -> Call:
        args, kwargs = fx.node.map_arg((node.args, dict(node.kwargs)), self._operand)
        shape = tuple(value.shape) if value is not None else ()
        return Call(self._operation(node), tuple(args), dict(kwargs), shape, self._images)

    def _operand(self, node: fx.Node) -> Any:
        value = self._values.get(node)
        if isinstance(value, torch.Tensor):
            return Operand(tuple(value.shape), self._axes.get(node))
        if isinstance(value, tuple | list) and not isinstance(value, torch.Size):
            known = self._axes.get(node) or [None] * len(value)
            return [
                Operand(tuple(part.shape), axes) if isinstance(part, torch.Tensor) else part
                for part, axes in zip(value, known, strict=False)
            ]
        return value

    def _operation(self, node: fx.Node) -> nn.Module | str:
        if node.op == "call_module":
            module: nn.Module = self._modules[str(node.target)]
            return module
        if node.target is getattr:
            return plain_name(str(node.args[1]))
        return plain_name(str(node.target)) if node.op == "call_method" else operation_name(node.target)

    def _demanded(self, node: fx.Node, value: torch.Tensor, axes: Axes | None) -> Axes | None:
        """The axes that operations which read the value demand, looking through those that keep them."""
        demanded = value.dim() in (3, 4, 5) and self._used_channels_first(node, 8)
        return demanded_axes(value.shape, axes, self._images) if demanded else None

    def _used_channels_first(self, node: fx.Node, depth: int) -> bool:
        for user in node.users if depth else ():
            operation = self._operation(user) if user.op.startswith("call") else ""
            if demands_channels_first(operation):
                return user.all_input_nodes[0] is node
            if user.op.startswith("call") and keeps_axes(operation) and self._used_channels_first(user, depth - 1):
                return True
        return False

    def attention(self, node: fx.Node) -> Any:
        """What the node weighed, if it is attention."""
        if not node.op.startswith("call") or not isinstance(self._values[node], torch.Tensor | tuple):
            return None
        arguments = fx.node.map_arg((node.args, dict(node.kwargs)), lambda parent: self._values.get(parent))
        call = self._call(node, self._values[node] if isinstance(self._values[node], torch.Tensor) else None)
        return attention_of(call, arguments[0], arguments[1], self._values[node], self._axes[node])


def _run(interpreter: fx.Interpreter, node: fx.Node, failed: dict[fx.Node, str]) -> str:
    """Run one node into the interpreter's environment; return why it failed, or an empty string."""
    broken = next((parent for parent in node.all_input_nodes if parent in failed), None)
    if broken is not None:
        failed[node] = failed[broken]
        return f"it reads a node that failed: {failed[broken]}"
    try:
        interpreter.env[node] = interpreter.run_node(node)
    except Exception as error:
        if lacks_memory(error):
            raise shortage(f"at the node {node.name}", error) from error
        failed[node] = f"{node.name} raised {type(error).__name__}: {' '.join(str(error).split())}"
        return failed[node]
    return ""


def _forget(interpreter: fx.Interpreter, node: fx.Node) -> None:
    for last_used in interpreter.user_to_last_uses.get(node, ()):
        interpreter.env.pop(last_used, None)
