"""What each operation does to the axes of what it reads: one rule an operation, by its name.

A rule takes the Call and returns the axes of the value, or None where it can't tell. Names are those of torch's
functions and methods without underscores at their ends; operations of other packages have no rule of their own.
"""

import operator
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
import torchvision
from torch import nn

from reportgen.entities import Run
from reportgen.network.axes import (
    Atom,
    Axes,
    Axis,
    axis,
    axis_of_runs,
    cut,
    grid_axis,
    is_known,
    is_position,
    join,
    kinds_of,
    reshape,
    size_of,
    unknown,
)


class Operand(NamedTuple):
    """A tensor that an operation reads: its shape, and its axes where they are known."""

    shape: tuple[int, ...]
    axes: Axes | None

    @property
    def known(self) -> Axes:
        """The axes, unknown ones where nothing is known."""
        return self.axes if self.axes is not None else unknown(self.shape)


@dataclass(frozen=True)
class Call:
    """One operation: the module or the name of the function, its arguments with Operands for tensors, its value's
    shape, and how many images there are."""

    operation: nn.Module | str
    args: tuple[Any, ...]
    kwargs: Mapping[str, Any]
    shape: tuple[int, ...] = ()
    images: int = 0

    @property
    def operands(self) -> list[Operand]:
        return list(operands_in((self.args, self.kwargs)))

    @property
    def first(self) -> Operand:
        return self.operands[0]

    def argument(self, position: int, name: str, default: Any = None) -> Any:
        """The argument at `position` (0 is the tensor itself) or called `name`."""
        if name in self.kwargs:
            return self.kwargs[name]
        return self.args[position] if len(self.args) > position else default

    def numbers(self, name: str) -> tuple[int, ...]:
        """Whole numbers given one by one or as a sequence, after the tensor."""
        given = self.kwargs.get(name, self.kwargs.get("dims", self.args[1:]))
        given = given[0] if isinstance(given, tuple) and given and isinstance(given[0], Sequence) else given
        return tuple(given) if isinstance(given, Sequence) else (given,)


Rule = Callable[[Call], Axes | None]


def operands_in(value: Any) -> "list[Operand]":
    """Every Operand in nested arguments, in order."""
    if isinstance(value, Operand):
        return [value]
    if isinstance(value, Mapping):
        value = tuple(value.values())
    if isinstance(value, tuple | list):
        return [found for part in value for found in operands_in(part)]
    return []


def axes_after(call: Call) -> Axes | None:
    """Return the axes of the value of `call`, or None when no operand is known and no operation speaks."""
    if not call.operands:
        return None
    try:
        axes = _rule_of(call.operation)(call)
    except Exception:  # noqa: BLE001 - a rule meets whatever arguments a network gives: where it stumbles, it can't tell
        return None
    if axes is None or len(axes) != len(call.shape):
        return None
    sizes_fit = all(size_of(one) == size for one, size in zip(axes, call.shape, strict=True))
    return _settled(axes) if sizes_fit else None


def _settled(axes: Axes) -> Axes:
    """Keys are positions like others once nothing else is."""
    if any(is_position(one) for one in axes):
        return axes
    return tuple(one[0].of if len(one) == 1 and one[0].kind == "K" and one[0].of else one for one in axes)


def _rule_of(operation: nn.Module | str) -> Rule:
    if isinstance(operation, str):
        return _FUNCTIONS.get(operation, _broadcast)
    found = next((rule for classes, rule in _MODULES if isinstance(operation, classes)), None)
    return found or _rule_of_quantised(operation) or _broadcast


def _rule_of_quantised(module: nn.Module) -> Rule | None:
    """The rule of a module of torch.ao.nn that shares no class with the one it stands for.

    By name, since newer versions of torch have no torch.ao.nn.
    """
    bases = (base.__name__ for base in type(module).__mro__ if base.__module__.startswith("torch.ao.nn."))
    return next((_QUANTISED[name] for name in bases if name in _QUANTISED), None)


# Elementwise


def _broadcast(call: Call) -> Axes | None:
    """Each axis as the operands have it, those that depend on the image before the others."""
    ranked = sorted(call.operands, key=lambda operand: (not _has_images(operand), operand.shape != call.shape))
    if all(operand.axes is None for operand in ranked):
        return None
    if not _broadcasts(call):
        return _same_but_for_ones(ranked[0], call.shape)
    return tuple(_shared(ranked, place - len(call.shape), size) for place, size in enumerate(call.shape))


def _same_but_for_ones(operand: Operand, shape: tuple[int, ...]) -> Axes | None:
    """The operand's axes, where axes of one step are all that it differs in."""
    alike = [size for size in operand.shape if size > 1] == [size for size in shape if size > 1]
    return reshape(operand.axes, shape) if operand.axes is not None and alike else None


def _broadcasts(call: Call) -> bool:
    try:
        shapes = [operand.shape for operand in call.operands]
        return tuple(torch.broadcast_shapes(*shapes)) == call.shape  # type: ignore[no-untyped-call]  # not annotated
    except RuntimeError:
        return False


def _has_images(operand: Operand) -> bool:
    return any("N" in kinds_of(one) for one in operand.axes or ())


def _shared(operands: Sequence[Operand], place: int, size: int) -> Axis:
    candidates = [
        operand.known[place]
        for operand in operands
        if len(operand.shape) >= -place and operand.shape[place] == size
    ]
    best = next((one for one in candidates if one and is_known(one)), None)
    return best if best is not None else (unknown((size,))[0])


def _like_first(call: Call) -> Axes | None:
    """As the first operand where the sizes are the same; a position axis of another size is a new one."""
    before = call.first
    if before.axes is None or len(before.shape) != len(call.shape):
        return None
    return tuple(map(_resized, before.axes, call.shape))


def _resized(one: Axis, size: int) -> Axis:
    if size_of(one) == size:
        return one
    kinds = kinds_of(one)
    if kinds == {"C"} or (len(one) == 1 and kinds <= set("DHW") and one[0].stride == 1):
        return axis(next(iter(kinds)), size)
    return unknown((size,))[0]


# Channels first


@dataclass(frozen=True)
class _Spatial:
    """The rule of operations on (N, C, positions), of which there are `dimensions`; 0 as many as there are."""

    dimensions: int
    new_channels: bool

    def __call__(self, call: Call) -> Axes | None:
        count = len(call.shape)
        sides = self.dimensions or max(1, count - 2)
        if call.operands and len(call.first.shape) != count:
            return None
        if count not in (sides + 1, sides + 2) or (not self.dimensions and count < 3):
            return _broadcast(call) or _table(call)
        before = call.first.known
        lead = () if count == sides + 1 else (_images_axis(call),)
        channels = before[-sides - 1]
        fits = size_of(channels) == call.shape[-sides - 1] and channels and is_known(channels)
        keep = fits and not self.new_channels
        flipped = "C" in kinds_of(before[-1]) and size_of(channels) > 1 and "C" not in kinds_of(channels)
        positions = (
            _side(before[place] if not flipped else (), "DHW"[place], call.shape[place])
            for place in range(-sides, 0)
        )
        return (*lead, channels if keep else axis("C", call.shape[-sides - 1]), *positions)


def _side(before: Axis, kind: str, size: int) -> Axis:
    return before if before and is_known(before) and size_of(before) == size else axis(kind, size)


def _images_axis(call: Call) -> Axis:
    """The first axis: as before; where nothing is known of the value, the images when there are as many."""
    first = call.first
    if first.axes is not None and (first.axes[0] or call.images != 1) and size_of(first.axes[0]) == call.shape[0]:
        return first.axes[0]
    return axis("N", call.shape[0]) if call.shape[0] == call.images else unknown(call.shape[:1])[0]


_CHANNELS_SECOND = _Spatial(0, new_channels=False)


def _table(call: Call) -> Axes | None:
    return (_images_axis(call), axis("C", call.shape[1])) if len(call.shape) == 2 else None


def _norm(call: Call) -> Axes | None:
    """Batch, instance and group norms: as before, else channels second."""
    before = call.first.axes
    if before is not None and all(map(is_known, before)):
        return before
    return _CHANNELS_SECOND(call)


# Channels last


def _linear(call: Call) -> Axes | None:
    """All but the last axis as before, then new channels; a mixture of positions is no channel."""
    before = call.first
    if before.axes is None:
        return _tokens(call)
    mixed = is_position(before.axes[-1]) or "K" in kinds_of(before.axes[-1])
    return (*before.axes[:-1], axis("?" if mixed else "C", call.shape[-1]))


def _layer_norm(call: Call) -> Axes | None:
    return call.first.axes if call.first.axes is not None else _tokens(call)


def _tokens(call: Call) -> Axes | None:
    """(N, C) or (N, tokens, C) of which nothing is known but the last axis."""
    if len(call.shape) not in (2, 3):
        return None
    middle = (axis_of_runs([Run(call.shape[1], "token")]),) if len(call.shape) == 3 else ()
    return (_images_axis(call), *middle, axis("C", call.shape[-1]))


def _embedding(call: Call) -> Axes | None:
    operand = call.operands[-1] if call.operation == "embedding" and len(call.operands) > 1 else call.first
    operand = operand if len(operand.shape) == len(call.shape) - 1 else call.first
    return (*operand.known, axis("C", call.shape[-1]))


# Moving axes


def _permute(call: Call) -> Axes | None:
    operation = call.operation
    order = operation.dims if isinstance(operation, torchvision.ops.Permute) else call.numbers("dims")
    before = call.first.known
    whole = len(order) == len(before) and all(isinstance(place, int) for place in order)
    return tuple(before[place] for place in order) if whole else None


def _transpose(call: Call) -> Axes | None:
    one, other = call.argument(1, "dim0"), call.argument(2, "dim1")
    if not isinstance(one, int) or not isinstance(other, int):
        return None
    axes = list(call.first.known)
    axes[one], axes[other] = axes[other], axes[one]
    return tuple(axes)


def _swap_last(call: Call) -> Axes | None:
    axes = call.first.known
    return (*axes[:-2], axes[-1], axes[-2]) if len(axes) > 1 else axes


def _movedim(call: Call) -> Axes | None:
    marks = torch.empty(tuple(range(1, len(call.first.shape) + 1)), device="meta")
    moved = marks.movedim(call.argument(1, "source"), call.argument(2, "destination"))
    return tuple(call.first.known[size - 1] for size in moved.shape)


def _reshape(call: Call) -> Axes | None:
    return reshape(call.first.axes, call.shape) if call.first.axes is not None else None


def _squeeze(call: Call) -> Axes | None:
    dims = call.argument(1, "dim")
    count = len(call.first.shape)
    gone = (
        range(count) if dims is None else [dim % count for dim in (dims if isinstance(dims, Sequence) else [dims])]
    )
    shape = call.first.shape
    return tuple(one for place, one in enumerate(call.first.known) if place not in gone or shape[place] != 1)


def _unsqueeze(call: Call) -> Axes | None:
    place = int(call.argument(1, "dim")) % len(call.shape)
    axes = call.first.known
    return (*axes[:place], (), *axes[place:])


def _expand(call: Call) -> Axes | None:
    """New steps along an axis of one: as many as there are images, at the front, are the images."""
    before = call.first.known
    before = ((),) * (len(call.shape) - len(before)) + before
    asked = call.numbers("size") if call.operation == "expand" else call.shape
    axes = []
    for place, (one, size) in enumerate(zip(before, call.shape, strict=True)):
        explicit = place < len(asked) and asked[place] == size
        if place == 0 and not one and size == call.images and explicit:
            axes.append(axis("N", size))
        else:
            axes.append(one if size_of(one) == size else unknown((size,))[0])
    return tuple(axes)


def _repeat(call: Call) -> Axes | None:
    return _expand(Call("expand_as", call.args, call.kwargs, call.shape, call.images))


# Choosing


def _getitem(call: Call) -> Axes | None:
    if not isinstance(call.args[0], Operand):
        return _chosen_part(call)
    index = call.args[1] if isinstance(call.args[1], tuple) else (call.args[1],)
    if any(isinstance(part, Operand | list | bool) for part in index):
        return _at_positions(call, index)
    return _sliced(call.args[0].known, index)


def _chosen_part(call: Call) -> Axes | None:
    """A part of a tuple of tensors."""
    part = call.args[0][call.args[1]] if isinstance(call.args[0], tuple | list) else None
    return part.axes if isinstance(part, Operand) else None


def _at_positions(call: Call, index: tuple[Any, ...]) -> Axes | None:
    """Chosen by a tensor of indices: that axis is tokens without a place; None where axes come and go."""
    tensors = [part for part in index if isinstance(part, Operand | list | bool)]
    before = call.args[0].known
    if len(tensors) > 1 or len(before) != len(call.shape) or Ellipsis in index or None in index:
        return None
    return tuple(
        one if place >= len(index) or not isinstance(index[place], Operand | list) else _scattered(one, size)
        for place, (one, size) in enumerate(zip(before, call.shape, strict=True))
    )


def _scattered(one: Axis, size: int) -> Axis:
    """Steps in an order of their own: channels stay channels, positions become tokens without a place."""
    if kinds_of(one) == {"C"}:
        return axis("C", size)
    return axis_of_runs([Run(size, "token")]) if is_position(one) else unknown((size,))[0]


def _sliced(before: Axes, index: Sequence[Any]) -> Axes | None:
    spare = len(before) - sum(part is not None and part is not Ellipsis for part in index)
    wide = [part for part in index if part is not Ellipsis]
    at = next((place for place, part in enumerate(index) if part is Ellipsis), len(index))
    whole = [*wide[:at], *([slice(None)] * spare), *wide[at:]]
    axes: list[Axis] = []
    rest = list(before)
    for part in whole:
        if part is None:
            axes.append(())
        elif isinstance(part, slice):
            one = rest.pop(0)
            steps = range(size_of(one))[part]
            axes.append(cut(one, steps.start, len(steps), steps.step))
        elif isinstance(part, int):
            rest.pop(0)
        else:
            return None
    return tuple(axes)


def _select(call: Call) -> Axes | None:
    place = int(call.argument(1, "dim")) % len(call.first.shape)
    return tuple(one for number, one in enumerate(call.first.known) if number != place)


def _narrow(call: Call) -> Axes | None:
    place, start, size = (call.argument(1, "dim"), call.argument(2, "start"), call.argument(3, "length"))
    if not all(isinstance(number, int) for number in (place, start, size)):
        return None
    axes = list(call.first.known)
    axes[place] = cut(axes[place], start % size_of(axes[place]), size)
    return tuple(axes)


def _gather(call: Call) -> Axes | None:
    place = call.argument(2 if call.operation in ("topk", "take_along_dim") else 1, "dim", -1)
    if not isinstance(place, int) or len(call.first.shape) != len(call.shape):
        return None
    axes = [_resized(one, size) for one, size in zip(call.first.known, call.shape, strict=True)]
    axes[place] = _scattered(call.first.known[place], call.shape[place])
    return tuple(axes)


# Putting together


def _cat(call: Call) -> Axes | None:
    place = call.argument(1, "dim", 0)
    place = call.kwargs.get("axis", place)
    parts = [operand for operand in call.operands if operand.shape != (0,)]
    if all(part.axes is None for part in parts) or any(len(part.shape) != len(call.shape) for part in parts):
        return None
    ranked = sorted(parts, key=lambda operand: not _has_images(operand))
    axes = [_shared(ranked, number - len(call.shape), size) for number, size in enumerate(call.shape)]
    axes[place] = join([part.known[place] for part in parts])
    return tuple(axes)


def _stack(call: Call) -> Axes | None:
    """A new axis: the images where single images are stacked, else channels."""
    place = call.argument(1, "dim", 0) % len(call.shape)
    axes = call.first.known
    alone = place == 0 and call.shape[0] == call.images and not _has_images(call.first)
    return (*axes[:place], axis("N" if alone else "C", call.shape[place]), *axes[place:])


def _reduce(call: Call) -> Axes | None:
    """The axes that are left; one that is kept with one step keeps its meaning."""
    before = call.first.known
    dims = call.argument(1, "dim", call.kwargs.get("axis"))
    keeps = len(call.shape) == len(before)
    if dims is None or isinstance(dims, Operand):
        return before if call.shape == call.first.shape else () if not call.shape else None
    dims = dims if isinstance(dims, Sequence) else (dims,)
    gone = {dim % len(before) for dim in dims if isinstance(dim, int) and before}
    if keeps:
        return tuple(_one_step(one) if place in gone else one for place, one in enumerate(before))
    return tuple(one for place, one in enumerate(before) if place not in gone)


def _one_step(one: Axis) -> Axis:
    if len(one) == 1 and one[0].kind in "NCDHW":
        return axis(one[0].kind, 1)
    return axis_of_runs([Run(1, "mean token")]) if is_position(one) else ()


def _matmul(call: Call) -> Axes | None:
    left, right = call.operands[-2:] if call.operation == "baddbmm" else call.operands[:2]
    if len(left.shape) < 2 or len(right.shape) < 2:
        return None
    batch = Call("", (_without_last(left), _without_last(right)), {}, call.shape[:-2])
    lead = _broadcast(batch) if call.shape[:-2] else ()
    rows, columns = left.known[-2], right.known[-1]
    lead = unknown(call.shape[:-2]) if lead is None else lead
    return (*lead, rows, _keys(rows, columns))


def _without_last(operand: Operand) -> Operand:
    return Operand(operand.shape[:-2], operand.known[:-2])


def _keys(rows: Axis, columns: Axis) -> Axis:
    """Positions against positions: those of the second operand are what attention calls keys."""
    if is_position(rows) and is_position(columns):
        return (Atom("K", size_of(columns), of=columns),)
    return columns


def _einsum(call: Call) -> Axes | None:
    equation = call.args[0]
    if not isinstance(equation, str) or "->" not in equation:
        return None
    inputs, output = equation.replace(" ", "").split("->")
    found: dict[str, Axis] = {}
    for letters, operand in zip(inputs.split(","), call.operands, strict=False):
        if "." in letters or len(letters) != len(operand.shape):
            return None
        for letter, one in zip(letters, operand.known, strict=True):
            if letter not in found or not is_known(found[letter]) or not found[letter]:
                found[letter] = one
    axes = [found.get(letter, ()) for letter in output]
    seen = False
    for place, letter in enumerate(output):
        later = letter not in inputs.split(",")[0]
        if is_position(axes[place]) and later and seen:
            axes[place] = (Atom("K", size_of(axes[place]), of=axes[place]),)
        seen = seen or is_position(axes[place])
    return tuple(axes)


def _fused_attention(call: Call) -> Axes | None:
    query, value = call.operands[0], call.operands[2]
    return (*query.known[:-1], value.known[-1] if value.known[-1] else axis("C", call.shape[-1]))


def _like_query(call: Call) -> Axes | None:
    """Attention modules: the output as the query; the weights of one head or of all have an axis of keys."""
    query, key = call.operands[0], call.operands[min(1, len(call.operands) - 1)]
    if call.shape == query.shape:
        return query.known
    first = bool(getattr(call.operation, "batch_first", False))
    if len(query.shape) != 3 or len(call.shape) not in (3, 4):
        return None
    rows, columns = query.known[1 if first else 0], key.known[1 if first else 0]
    heads = (axis("C", call.shape[1]),) if len(call.shape) == 4 else ()
    return (query.known[0 if first else 1], *heads, rows, _keys(rows, columns))


def _unfold(call: Call) -> Axes | None:
    """Patches as columns: their grid from the kernel's size, stride, padding and dilation."""
    module = call.operation if isinstance(call.operation, nn.Module) else None
    names = ("kernel_size", "dilation", "padding", "stride")
    defaults = (None, 1, 0, 1)
    given = [
        getattr(module, name) if module else call.argument(place + 1, name, default)
        for place, (name, default) in enumerate(zip(names, defaults, strict=True))
    ]
    if len(call.shape) != 3 or len(call.first.shape) != 4 or given[0] is None:
        return None
    kernel, dilation, padding, stride = (
        value if isinstance(value, Sequence) else (value, value) for value in given
    )
    grid = [
        (call.first.shape[2 + side] + 2 * padding[side] - dilation[side] * (kernel[side] - 1) - 1) // stride[side]
        + 1
        for side in range(2)
    ]
    return (_images_axis(call), axis("C", call.shape[1]), grid_axis(grid))


def _folded(call: Call) -> Axes | None:
    """(N, C, H, W) whatever was read: patches put back to their places, a level of a feature pyramid."""
    if len(call.shape) != 4:
        return None
    return (_images_axis(call), *(axis(kind, size) for kind, size in zip("CHW", call.shape[1:], strict=True)))


def _regions(call: Call) -> Axes | None:
    """Regions of interest: the first axis is not the images."""
    return (axis("?", call.shape[0]), axis("C", call.shape[1]), axis("H", call.shape[2]), axis("W", call.shape[3]))


def _complex_view(call: Call) -> Axes | None:
    return (*call.first.known, axis("C", 2)) if call.operation == "view_as_real" else call.first.known[:-1]


def _no_rule(_: Call) -> Axes | None:
    return None


_FUNCTIONS: dict[str, Rule] = {
    **dict.fromkeys(["conv1d", "conv_transpose1d"], _Spatial(1, new_channels=True)),
    **dict.fromkeys(["conv2d", "conv_transpose2d", "deform_conv2d", "pixel_shuffle", "pixel_unshuffle"],
                    _Spatial(2, new_channels=True)),
    **dict.fromkeys(["conv3d", "conv_transpose3d"], _Spatial(3, new_channels=True)),
    **{f"{kind}_pool{sides}d": _Spatial(sides, new_channels=False) for sides in (1, 2, 3)
       for kind in ("avg", "max", "lp", "adaptive_avg", "adaptive_max", "fractional_max")},
    **dict.fromkeys(["interpolate", "upsample", "grid_sample", "local_response_norm"],
                    _Spatial(0, new_channels=False)),
    **dict.fromkeys(["instance_norm", "group_norm"], _norm),
    **dict.fromkeys(["linear", "bilinear"], _linear),
    **{f"conv{sides}d{rest}": _Spatial(sides, new_channels=True) for sides in (1, 2, 3)
       for rest in ("_relu", "_add", "_add_relu", "_dynamic")},
    **{f"conv_transpose{sides}d_dynamic": _Spatial(sides, new_channels=True) for sides in (1, 2, 3)},
    **{f"batch_norm{sides}{rest}": _norm for sides in ("", "1d", "2d", "3d") for rest in ("", "_relu")},
    **{f"linear_{rest}": _linear
       for rest in ("relu", "leaky_relu", "tanh", "dynamic", "dynamic_fp16", "relu_dynamic", "relu_dynamic_fp16")},
    **dict.fromkeys(["layer_norm", "rms_norm"], _layer_norm),
    **dict.fromkeys(["embedding", "one_hot", "embedding_byte", "embedding_4bit"], _embedding),
    "permute": _permute, **dict.fromkeys(["transpose", "swapaxes", "swapdims"], _transpose),
    **dict.fromkeys(["t", "mT", "adjoint", "T", "mH"], _swap_last),
    **dict.fromkeys(["movedim", "moveaxis"], _movedim),
    **dict.fromkeys(["reshape", "view", "flatten", "unflatten", "reshape_as", "view_as", "ravel", "unsafe_view"],
                    _reshape),
    "squeeze": _squeeze, "unsqueeze": _unsqueeze,
    **dict.fromkeys(["expand", "expand_as", "broadcast_to"], _expand), **dict.fromkeys(["repeat", "tile"], _repeat),
    "getitem": _getitem, "select": _select, "narrow": _narrow,
    **dict.fromkeys(["gather", "index_select", "take_along_dim", "topk", "sort", "argsort", "msort"], _gather),
    **dict.fromkeys(["cat", "concat", "concatenate", "cat_relu"], _cat), "stack": _stack,
    **dict.fromkeys(["mean", "sum", "amax", "amin", "max", "min", "prod", "norm", "std", "var", "all", "any",
                     "logsumexp", "argmax", "argmin", "median", "nanmean", "nansum", "vector_norm",
                     "linalg_vector_norm", "linalg_norm", "count_nonzero"], _reduce),
    **dict.fromkeys(["matmul", "bmm", "baddbmm"], _matmul), "einsum": _einsum,
    "scaled_dot_product_attention": _fused_attention, "multi_head_attention_forward": _like_query,
    **dict.fromkeys(["fold", "col2im"], _folded), "unfold": _unfold,
    **dict.fromkeys(["pad", "roll", "flip", "_patch_merging_pad"], _like_first),
    **{f"fft_{kind}fft{sides}": _like_first for kind in ("", "i", "r", "ir") for sides in ("", "2", "n")},
    **dict.fromkeys(["roi_align", "roi_pool", "ps_roi_align", "ps_roi_pool"], _regions),
    **dict.fromkeys(["view_as_real", "view_as_complex"], _complex_view),
    **dict.fromkeys(["tensordot", "outer", "ger", "unique", "nonzero", "masked_select", "repeat_interleave", "nms",
                     "new_zeros", "new_full", "new_ones", "new_empty", "new_tensor", "bincount", "diagonal", "diag",
                     "cdist", "as_strided", "take", "kron", "rot90"], _no_rule),
}  # fmt: skip

_MODULES: Sequence[tuple[tuple[type, ...], Rule]] = (
    ((nn.modules.conv._ConvNd, nn.PixelShuffle, nn.PixelUnshuffle, torchvision.ops.DeformConv2d,
      torchvision.ops.Conv2dNormActivation, torchvision.ops.Conv3dNormActivation),
     _Spatial(0, new_channels=True)),
    ((nn.modules.pooling._MaxPoolNd, nn.modules.pooling._AvgPoolNd, nn.modules.pooling._AdaptiveAvgPoolNd,
      nn.modules.pooling._AdaptiveMaxPoolNd, nn.modules.pooling._LPPoolNd, nn.Upsample, nn.LocalResponseNorm,
      torchvision.ops.SqueezeExcitation),
     _Spatial(0, new_channels=False)),
    ((nn.modules.batchnorm._BatchNorm, nn.modules.instancenorm._InstanceNorm, nn.GroupNorm,
      torchvision.ops.FrozenBatchNorm2d), _norm),
    ((nn.Linear, nn.Bilinear, torchvision.ops.MLP, nn.RNNBase), _linear),
    ((nn.LayerNorm, nn.RMSNorm), _layer_norm),
    ((nn.Embedding,), _embedding),
    ((torchvision.ops.Permute,), _permute),
    ((nn.Flatten, nn.Unflatten), _reshape),
    ((nn.MultiheadAttention, nn.TransformerEncoderLayer, nn.TransformerEncoder, nn.TransformerDecoderLayer,
      nn.TransformerDecoder), _like_query),
    ((nn.Unfold,), _unfold),
    ((nn.Fold,), _folded),
    ((torchvision.ops.FeaturePyramidNetwork,), _folded),
    ((nn.modules.padding._ConstantPadNd, nn.modules.padding._ReflectionPadNd,
      nn.modules.padding._ReplicationPadNd, nn.modules.padding._CircularPadNd), _like_first),
    ((torchvision.ops.RoIAlign, torchvision.ops.RoIPool, torchvision.ops.MultiScaleRoIAlign), _regions),
)  # fmt: skip

_QUANTISED: Mapping[str, Rule] = {
    "_ConvNd": _Spatial(0, new_channels=True),
    "Linear": _linear,
    "Embedding": _embedding,
    **dict.fromkeys(["RNNBase", "LSTM"], _linear),
}
"""By the name of a class of torch.ao.nn: itself or one that it is derived from."""


def demands_channels_first(operation: nn.Module | str) -> bool:
    """Whether an operation takes its input for (N, C, positions)."""
    rule = _rule_of(operation)
    return rule is _norm or isinstance(rule, _Spatial)


def keeps_axes(operation: nn.Module | str) -> bool:
    """Whether an operation leaves axes as they are."""
    return _rule_of(operation) is _broadcast


def operation_name(function: Any) -> str:
    """The name by which a function of torch or `operator` has its rule; empty for functions of others."""
    home = getattr(function, "__module__", None) or ""
    ours = function is getattr(operator, getattr(function, "__name__", ""), None) or not home
    if not ours and home.partition(".")[0] not in ("torch", "torchvision", "_operator", "math"):
        return ""
    name = str(getattr(function, "__name__", ""))
    return name if name.startswith("_") and home.startswith("torchvision") else plain_name(name)


def plain_name(name: str) -> str:
    """A function's or method's name without what marks it as in place or as Python's own: `add_`, `__getitem__`."""
    return name.partition(".")[0].strip("_")


def part_axes(call: Call, value: Sequence[Any]) -> list[Axes | None]:
    """The axes of each tensor in what an operation returns as a tuple or list.

    Pieces of one tensor are cut along `dim` (`chunk`, `split`, `unbind`); otherwise each part is read like a value
    of its own.
    """
    name = call.operation if isinstance(call.operation, str) else ""
    shapes = [tuple(part.shape) if isinstance(part, torch.Tensor) else None for part in value]
    if name in ("chunk", "split", "tensor_split", "unsafe_chunk", "unsafe_split", "split_with_sizes", "unbind"):
        place = call.argument(1 if name == "unbind" else 2, "dim", 0)
        return _pieces(call.first, place, shapes, drop=name == "unbind") if call.operands else [None] * len(value)
    calls = [Call(call.operation, call.args, call.kwargs, shape or (), call.images) for shape in shapes]
    return [axes_after(one) if shape is not None else None for one, shape in zip(calls, shapes, strict=True)]


def _pieces(
    whole: Operand, place: int, shapes: Sequence[tuple[int, ...] | None], *, drop: bool
) -> list[Axes | None]:
    place %= max(1, len(whole.shape))
    pieces: list[Axes | None] = []
    start = 0
    for shape in shapes:
        axes = list(whole.known)
        if shape is None or whole.axes is None:
            pieces.append(None)
        elif drop:
            pieces.append(tuple(one for number, one in enumerate(axes) if number != place))
        else:
            axes[place] = cut(axes[place], start, shape[place])
            start += shape[place]
            pieces.append(tuple(axes))
    return pieces


def input_axes(shape: Sequence[int], images: int) -> Axes | None:
    """The axes of what the network is given: (N, C, H, W), clips with D before H, lines without H; one image."""
    count = len(shape)
    if count == 3 and (shape[0] != images or images == 1):
        kinds = "CHW"
    else:
        kinds = {2: "NC", 3: "NCW", 4: "NCHW", 5: "NCDHW"}.get(count, "")
    return tuple(axis(kind, size) for kind, size in zip(kinds, shape, strict=True)) if kinds else None


def demanded_axes(shape: Sequence[int], axes: Axes | None, images: int) -> Axes | None:
    """The axes of a value that an operation takes for (N, C, positions), as far as its own `axes` are not known.

    None where its first axis is neither the images nor known to be, say, the images' positions.
    """
    if shape[0] == images:
        return input_axes(shape, images)
    lead = axes[0] if axes else ()
    # Windows are a part of a grid: nothing says how the rest of it lies in the positions that are demanded.
    if "N" not in kinds_of(lead) or any(atom.stride != 1 for atom in lead) or "?" in kinds_of(lead):
        return None
    kinds = f"C{'DHW'[2 - len(shape) :]}"
    return (lead, *(axis(kind, size) for kind, size in zip(kinds, shape[1:], strict=True)))


def parameter_axes(shape: Sequence[int], name: str) -> Axes:
    """The axes of a parameter: the last its channels, those before tokens that bear its name."""
    label = token_label(name)
    if len(shape) not in (2, 3):
        return unknown(shape)
    middle = axis_of_runs([Run(shape[-2], label)])
    return (*(() if size == 1 else axis("?", size) for size in shape[:-2]), middle, axis("C", shape[-1]))


_LABELS = {
    "cls": "class token", "class": "class token", "dist": "distillation token", "reg": "register token",
    "storage": "register token", "det": "detection token", "mask": "mask token", "query": "object query",
    "queries": "object query", "probe": "probe token", "latent": "latent token",
}  # fmt: skip


def token_label(name: str) -> str:
    """What tokens are called that start from the parameter `name`: `cls_token` is a class token."""
    words = name.rsplit(".", 1)[-1].lower().split("_")
    for word in words:
        for start, label in _LABELS.items():
            if word == start or (len(start) > 2 and word.startswith(start)):
                return label
    return f"token of {name.rsplit('.', 1)[-1]}"
