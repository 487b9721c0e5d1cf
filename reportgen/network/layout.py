"""Which axis of a value is which, decided from the operations that make and use it.

A layout is a string with a letter an axis: N image, C channel, H row, W column, L token. It is followed through
the graph: convolutions and pooling say NCHW, permutes move letters, LayerNorm, Linear and elementwise operations
keep what they were given. A value that nothing speaks for keeps no layout and is not
drawn as a map: a guess could be wrong without anybody noticing.
"""

import operator
from collections.abc import Callable, Sequence
from typing import Any, cast

import torch
import torchvision
from torch import fx, nn
from torch.nn import functional

from reportgen.entities import Reading

_FIRST = {2: "NC", 3: "NCL", 4: "NCHW"}
_LAST = {2: "NC", 3: "NLC"}

_CHANNELS_FIRST_MODULES = (
    nn.modules.conv._ConvNd,
    nn.modules.batchnorm._BatchNorm,
    nn.modules.instancenorm._InstanceNorm,
    nn.modules.pooling._MaxPoolNd,
    nn.modules.pooling._AvgPoolNd,
    nn.modules.pooling._AdaptiveAvgPoolNd,
    nn.modules.pooling._AdaptiveMaxPoolNd,
    nn.GroupNorm,
    nn.LocalResponseNorm,
    nn.PixelShuffle,
    nn.PixelUnshuffle,
    nn.Upsample,
    torchvision.ops.Conv2dNormActivation,
    torchvision.ops.DeformConv2d,
    torchvision.ops.FrozenBatchNorm2d,
    torchvision.ops.SqueezeExcitation,
)
_CHANNELS_LAST_MODULES = (nn.Linear, nn.LayerNorm, nn.RMSNorm, torchvision.ops.MLP)

_CHANNELS_FIRST_FUNCTIONS: frozenset[object] = frozenset(
    {
        functional.adaptive_avg_pool2d,
        functional.adaptive_max_pool2d,
        functional.avg_pool2d,
        functional.batch_norm,
        functional.conv2d,
        functional.conv_transpose2d,
        functional.group_norm,
        functional.instance_norm,
        functional.interpolate,
        functional.max_pool2d,
        functional.pixel_shuffle,
        functional.pixel_unshuffle,
        torch.avg_pool1d,
        torch.conv2d,
        torch.conv_transpose2d,
        torch.max_pool2d,
        torch.pixel_shuffle,
        torch.pixel_unshuffle,
        torchvision.ops.deform_conv2d,
    }
)
_CHANNELS_LAST_FUNCTIONS: frozenset[object] = frozenset({functional.layer_norm, functional.linear})
_PERMUTES: frozenset[object] = frozenset({"permute", torch.permute})
_TRANSPOSES: frozenset[object] = frozenset(
    {"transpose", "swapaxes", "swapdims", torch.transpose, torch.swapaxes, torch.swapdims}
)
# The axes of what these return are not those of what they read.
_REARRANGING: frozenset[object] = frozenset(
    {
        "reshape", "view", "flatten", "unflatten", "movedim", "moveaxis", "matmul", "bmm", "unfold", "t",
        "squeeze", "unsqueeze", "expand", "repeat", "gather",
        torch.reshape, torch.unflatten, torch.movedim, torch.moveaxis, torch.matmul, torch.bmm,
        torch.einsum, torch.tensordot, torch.squeeze, torch.unsqueeze, torch.gather, torch.stack,
        operator.matmul, functional.unfold, functional.fold, functional.scaled_dot_product_attention,
    }
)  # fmt: skip
_FLATTENS: frozenset[object] = frozenset({"flatten", "reshape", "view", torch.flatten, torch.reshape})
_REDUCTIONS: frozenset[object] = frozenset(
    {"mean", "sum", "amax", "amin", torch.mean, torch.sum, torch.amax, torch.amin}
)


class LayoutReader:
    """Reads one node after the other, in execution order, and remembers their layouts (never their values)."""

    def __init__(self, root: nn.Module) -> None:
        self._modules = dict(root.named_modules(remove_duplicate=False))
        self._layouts: dict[fx.Node, str] = {}
        self._shapes: dict[fx.Node, tuple[int, ...]] = {}

    def read(self, node: fx.Node, value: object, images: int) -> Reading:
        """Return how `value`, which `node` computed for `images` images, is to be read."""
        if not isinstance(value, torch.Tensor):
            self._layouts[node] = self._container_layout(node, value)
            return Reading("", None, _describe_container(value))
        layout = self._layout(node, value)
        self._layouts[node], self._shapes[node] = layout, tuple(value.shape)
        if node.op == "get_attr":
            return Reading(layout, None, "a parameter of the model: the same for every image")
        return _as_maps(value, layout, images)

    def _layout(self, node: fx.Node, value: torch.Tensor) -> str:
        layout = self._asserted(node, value.dim()) or self._moved(node, value)
        if not layout and not self._rearranges(node) and not self._mixes_last_axis(node):
            layout = self._inherited(node, value)
        return layout or self._used_as(node, value.dim())

    def _asserted(self, node: fx.Node, axes: int) -> str:
        """The layout that the operation itself demands, if it does."""
        if node.op == "placeholder":
            return "NCHW" if axes == 4 else ""
        operation = self._operation(node)
        if _is_one_of(operation, _CHANNELS_FIRST_MODULES, _CHANNELS_FIRST_FUNCTIONS):
            return _FIRST.get(axes, "")
        if _is_one_of(operation, _CHANNELS_LAST_MODULES, _CHANNELS_LAST_FUNCTIONS):
            return self._channels_last(node, axes)
        return ""

    def _channels_last(self, node: fx.Node, axes: int) -> str:
        """LayerNorm and Linear speak for the last axis alone: four axes may be windows and their tokens."""
        before = self._first_parent_layout(node)
        return before if before.endswith("C") and len(before) == axes else _LAST.get(axes, "")

    def _moved(self, node: fx.Node, value: torch.Tensor) -> str:
        """The layout after a permute, transpose, flatten or reduction of a value whose layout is known."""
        before = self._first_parent_layout(node)
        operation = self._operation(node)
        if not before:
            return ""
        if isinstance(operation, torchvision.ops.Permute):
            return "".join(before[axis] for axis in operation.dims)
        arguments = node.args[1:] or tuple(node.kwargs.values())
        if operation in _PERMUTES:
            return _permuted(before, arguments)
        if operation in _TRANSPOSES:
            return _transposed(before, arguments)
        if operation in _REDUCTIONS:
            return _reduced(before, node, value.dim())
        flattens = operation in _FLATTENS or isinstance(operation, nn.Flatten)
        return "NC" if flattens and value.dim() == 2 and before.startswith("NC") else ""

    def _inherited(self, node: fx.Node, value: torch.Tensor) -> str:
        """The layout of the parents with as many axes, one of the value's own shape before the others."""
        parents = sorted(node.all_input_nodes, key=lambda parent: self._shapes.get(parent) != tuple(value.shape))
        for parent in parents:
            layout = self._layouts.get(parent, "")
            if len(layout) == value.dim():
                return layout
        return ""

    def _used_as(self, node: fx.Node, axes: int, depth: int = 8) -> str:
        """The layout that the operations which read the value demand, looking through those that keep it."""
        for user in node.users if depth else ():
            operation = self._operation(user)
            if _is_one_of(operation, _CHANNELS_FIRST_MODULES, _CHANNELS_FIRST_FUNCTIONS):
                return _FIRST.get(axes, "")
            if not self._rearranges(user) and (found := self._used_as(user, axes, depth - 1)):
                return found
        return ""

    def _container_layout(self, node: fx.Node, value: object) -> str:
        """Pieces of one tensor (`chunk`, `split`, `unbind`) are laid out as the whole when the axes stay."""
        before = self._first_parent_layout(node)
        pieces = value if isinstance(value, tuple | list) else ()
        same = bool(pieces) and all(
            isinstance(piece, torch.Tensor) and piece.dim() == len(before) for piece in pieces
        )
        return before if same else ""

    def _first_parent_layout(self, node: fx.Node) -> str:
        return self._layouts.get(node.all_input_nodes[0], "") if node.all_input_nodes else ""

    def _rearranges(self, node: fx.Node) -> bool:
        operation = self._operation(node)
        moves = operation in _REARRANGING or operation in _PERMUTES or operation in _TRANSPOSES
        return moves or (operation is operator.getitem and _drops_axes(node.args[1]))

    def _mixes_last_axis(self, node: fx.Node) -> bool:
        return _is_one_of(self._operation(node), _CHANNELS_LAST_MODULES, _CHANNELS_LAST_FUNCTIONS)

    def _operation(self, node: fx.Node) -> Any:
        """The module that a node calls, or its function, or its method's name."""
        return self._modules.get(str(node.target)) if node.op == "call_module" else node.target


def _is_one_of(operation: object, modules: tuple[type, ...], functions: frozenset[object]) -> bool:
    if isinstance(operation, nn.Module):
        return isinstance(operation, modules)
    return isinstance(operation, Callable | str) and operation in functions  # type: ignore[arg-type]


def _drops_axes(index: object) -> bool:
    """Whether `value[index]` adds, drops or moves axes; an int into a tuple of pieces does not."""
    if isinstance(index, int | slice):
        return False
    parts = index if isinstance(index, tuple) else (index,)
    return not all(isinstance(part, slice) or part is Ellipsis for part in parts)


def _permuted(before: str, arguments: Sequence[Any]) -> str:
    order = arguments[0] if arguments and isinstance(arguments[0], Sequence) else arguments
    whole = len(order) == len(before) and all(isinstance(axis, int) for axis in order)
    return "".join(before[axis] for axis in order) if whole else ""


def _transposed(before: str, arguments: Sequence[Any]) -> str:
    if len(arguments) != 2 or not all(isinstance(axis, int) for axis in arguments):
        return ""
    letters = list(before)
    first, second = cast(Sequence[int], arguments)
    letters[first], letters[second] = letters[second], letters[first]
    return "".join(letters)


def _reduced(before: str, node: fx.Node, axes: int) -> str:
    """The layout after a reduction over the axes given as `dim`."""
    if axes == len(before):
        return before
    dim = node.kwargs.get("dim", node.args[1] if len(node.args) > 1 else ())
    gone = {axis % len(before) for axis in (dim if isinstance(dim, Sequence) else (dim,)) if isinstance(axis, int)}
    left = "".join(letter for axis, letter in enumerate(before) if axis not in gone)
    return left if len(left) == axes else ""


def _as_maps(value: torch.Tensor, layout: str, images: int) -> Reading:
    shape = " × ".join(map(str, value.shape))
    if sorted(layout) != sorted("NCHW"):
        return Reading(layout, None, _why_no_map(value, layout, shape))
    if value.shape[0] != images:
        return Reading(layout, None, f"a value of {shape} whose first axis is not the {images} images")
    if value.is_complex():
        return Reading(layout, None, f"complex values ({shape}) have no single brightness")
    if not value.numel():
        return Reading(layout, None, f"an empty value ({shape})")
    return Reading(layout, value.permute([layout.index(letter) for letter in "NCHW"]))


def _why_no_map(value: torch.Tensor, layout: str, shape: str) -> str:
    if layout == "NC":
        return f"a vector of {value.shape[1]} values an image: it has no positions to draw as a map"
    if layout == "NLC":
        return f"{value.shape[1]} tokens of {value.shape[2]} channels: no grid of positions to draw as a map"
    if value.dim() == 4:
        return f"a tensor of {shape}: no operation says which of its axes are channels and positions"
    return f"a tensor of {value.dim()} axes ({shape or 'a single number'}): it is not a set of maps"


def _describe_container(value: object) -> str:
    if value is None or isinstance(value, bool | int | float | str):
        return f"a value of type {type(value).__name__}, not a tensor"
    if isinstance(value, torch.Size):
        return f"a size of {len(value)} numbers, not a tensor"
    if isinstance(value, tuple | list | dict):
        kind = type(value).__name__
        return f"a {kind} of {len(value)} values, each a node of its own where it is read"
    return f"a {type(value).__name__}, not a tensor"
