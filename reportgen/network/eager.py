"""The same stream for models that torch.fx can't trace: the model runs as it is and is watched.

Hooks on modules say where the run is; a TorchFunctionMode sees each operation outside leaf modules. A first pass
learns the nodes. In later ones the model runs in a thread of its own that hands each value over and waits: its next
operation runs only when the next node is asked for.

Where torch.fx can trace the model, too, `_Mirror` takes for a node what torch.fx takes for one. The values are
those of the run, and so are the names: of torch.fx it is only known which functions it was told to wrap.
"""

import inspect
import operator
import threading
import weakref
from collections.abc import Callable, Iterator, Mapping, Sequence, Set
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn
from torch.overrides import TorchFunctionMode

from reportgen.entities import Activation, Attention, Batch, Failure, Layer, Reading
from reportgen.errors import InputError, lacks_memory, shortage
from reportgen.names import listed, slugify
from reportgen.network.attention import attention_of
from reportgen.network.axes import Axes, is_known
from reportgen.network.base import Settings, Walk
from reportgen.network.bytecode import is_operator, parts_taken, size_parts
from reportgen.network.graph import describe
from reportgen.network.isolation import attributes_kept
from reportgen.network.layout import read
from reportgen.network.leaves import Leaves, is_leaf
from reportgen.network.naming import Namer, base_name, identifier
from reportgen.network.operations import (
    Call,
    Operand,
    axes_after,
    demanded_axes,
    demands_channels_first,
    input_axes,
    operation_name,
    parameter_axes,
    part_axes,
    plain_name,
)
from reportgen.network.recomputing import Recomputed, Run, Second, computed_again, kept
from reportgen.network.standins import Parts, has_stand_in, plain, stand_in
from reportgen.network.wrapping import calls_seen, reads_seen
from reportgen.parts import flatten

_REFLECTED = {
    "rsub": "sub", "radd": "add", "rmul": "mul", "rpow": "pow", "rdiv": "truediv", "rtruediv": "truediv",
    "rfloordiv": "floordiv", "rmatmul": "matmul", "rmod": "mod", "iadd": "add", "and": "and_", "or": "or_",
    "xor": "xor", "rand": "and_", "ror": "or_",
}  # fmt: skip
# `x / y` arrives as div, `x *= y` as mul_, which torch.fx calls by their operators.
_OPERATORS = {"div": "truediv", "remainder": "mod", "add_": "add", "sub_": "sub", "mul_": "mul", "div_": "truediv"}

_QUERIES = frozenset(
    ("size", "stride", "dim", "numel", "nelement", "storage_offset", "is_contiguous", "is_floating_point",
     "is_complex", "get_device", "element_size", "__len__")
)  # fmt: skip


@dataclass(frozen=True)
class _Step:
    """One node as a pass met it."""

    name: str
    op: str
    target: str
    operation: nn.Module | str
    parents: tuple[str, ...]
    value: object
    axes: Any
    call: Call | None = None
    arguments: tuple[Sequence[Any], Mapping[str, Any]] = ((), {})
    second: Second | None = None
    """What it came to when it was computed again; None where that was not asked for."""


@dataclass
class _Trouble:
    """Where a pass ended early, and why."""

    name: str
    reason: str


class _Stopped(BaseException):
    """Ends the model's thread when nobody asks for its next node; no model's `except Exception` holds it up."""


Emit = Callable[[_Step], None]


@dataclass
class _Known:
    """A tensor that a node made."""

    name: str
    axes: Axes | None
    tensor: "weakref.ref[torch.Tensor]"


class _Watch(TorchFunctionMode):
    """Sees every operation and leaf module of one pass and emits a step for each that depends on the input."""

    proving = False
    """Whether each node is computed a second time, right before it runs."""

    def __init__(self, module: nn.Module, images: int, demands: Set[str], deep: bool, emit: Emit) -> None:
        super().__init__()
        self._root, self._images, self._demands, self._deep, self._emit = module, images, demands, deep, emit
        self._paths: dict[int, str] = {}
        for path, child in module.named_modules():
            self._paths.setdefault(id(child), path)
        self._parameters = {id(parameter): name for name, parameter in module.named_parameters()}
        self._namer = Namer(path for path in self._paths.values())
        self._way: list[str] = [""]
        self._inside = 0
        self._giving = False
        self._known: dict[int, _Known] = {}
        self._seconds: dict[int, Second | None] = {}
        self.demanded: set[str] = set()
        self.trouble: _Trouble | None = None

    # Watching

    @contextmanager
    def hooked(self) -> Iterator[None]:
        """Hooks on every module below the root; all of them gone afterwards."""
        handles = []
        for child in self._root.modules():
            if child is self._root or isinstance(child, torch.jit.ScriptFunction):
                continue
            try:
                if self.proving:
                    handles.append(child.register_forward_pre_hook(self._rehearse, prepend=True, with_kwargs=True))
                handles.append(child.register_forward_pre_hook(self._enter, with_kwargs=True))
                handles.append(child.register_forward_hook(self._leave, with_kwargs=True, always_call=True))
            except (RuntimeError, AttributeError):  # compiled modules take no hooks: they are seen from outside
                continue
        try:
            yield
        finally:
            for handle in handles:
                handle.remove()

    def _rehearse(self, module: nn.Module, args: Any, kwargs: Any) -> None:
        """A leaf is computed again from what it is called with: that runs the hooks of the model's own, too."""
        if self._giving or self._inside or not self._is_leaf(module):
            return
        args, kwargs = self._plain((args, kwargs))
        with self._unseen():
            self._seconds[id(module)] = self._again(
                lambda args, kwargs: module(*args, **kwargs), args, kwargs, [module]
            )

    def _enter(self, module: nn.Module, args: Any, kwargs: Any) -> Any:
        """Inside a leaf the mode is off: with one, torch's own modules would take slower ways."""
        if self._giving:
            return None
        given = None
        if not self._inside and self._is_leaf(module):
            given = self._plain((args, kwargs))
            self._go_inside(given)
        self._way.append(self._paths.get(id(module), self._way[-1]))
        return given

    def _leave(self, module: nn.Module, args: Any, kwargs: Any, output: Any) -> Any:
        if self._giving:
            return None
        path = self._way.pop()
        if self._inside <= len(self._way):
            return None
        self._inside = 0
        second = self._seconds.pop(id(module), None)
        try:
            if output is None:
                return self._note_trouble(path, "")
            return self._add(self._namer.name(path), "call_module", path, module, args, kwargs, output, second)
        finally:
            self.__enter__()  # type: ignore[no-untyped-call]

    def _is_leaf(self, module: nn.Module) -> bool:
        return is_leaf(module, deep=self._deep)

    def _go_inside(self, given: Any) -> None:
        self.__exit__(None, None, None)  # type: ignore[no-untyped-call]  # torch annotates neither
        self._read_parameters(given)
        self._inside = len(self._way) + 1

    def _plain(self, value: Any) -> Any:
        """What torch or a leaf is given for a value of the model's own code."""
        return value

    def given_back(self, output: Any) -> Any:
        """Return what the caller gets for the model's output."""
        return self._plain(output)

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        if self._inside:
            return func(*args, **kwargs)
        if func is torch.Tensor.__iter__:
            return self._iterate(args[0])
        dependent = self._depends((args, kwargs))
        args, kwargs = self._plain((args, dict(kwargs)))
        second = self._operated(func, args, kwargs) if dependent and not _is_query(func) else None
        try:
            value = func(*args, **kwargs)
        except Exception as error:
            self._note_trouble(base_name(self._way[-1], _name(func)), _told(error))
            raise
        if isinstance(value, torch.Size) or not _is_shown(func, value):
            return self._count(func, value, dependent=dependent)
        return self._see(func, args, kwargs, value, second) if dependent else value

    def _iterate(self, tensor: torch.Tensor) -> Iterator[torch.Tensor]:
        """`for part in tensor` and `a, b = tensor`: each part is a node, as torch.fx has it."""
        second = self._again(lambda args, _: args[0].unbind(0), (tensor,), {}) if self._find(tensor) else None
        parts = tensor.unbind(0)
        if self._find(tensor):
            seconds = second.parts(parts) if second else {}
            for place, part in enumerate(parts):
                self._add_item(tensor, place, part, seconds.get(id(part)))
        return iter(parts)

    def _count(self, func: Any, value: Any, *, dependent: bool) -> Any:
        """Numbers in the names count the parts of sizes too, in torch.fx."""
        if isinstance(value, torch.Size):
            self._namer.name(base_name(self._way[-1], _name(func)))
            for _ in range(size_parts()):
                self._namer.name(base_name(self._way[-1], "getitem"))
        return value

    def _see(
        self, func: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any], value: Any, second: Second | None
    ) -> Any:
        """Emit the node of an operation and return what the model gets for its value."""
        if _is_query(func):  # it wrote nothing, and most are no nodes
            second = self._operated(func, args, kwargs)
        self._read_parameters((args, kwargs))
        short = _name(func)
        name = self._namer.name(base_name(self._way[-1], short))
        shown = _shown(func, args, value)
        op = "call_method" if getattr(func, "__objclass__", None) is not None and short == func.__name__ else ""
        rule = _getter_name(func) if _is_getter(func) else operation_name(func)
        operation = rule if rule != "setitem" else "clone"
        return self._add(name, op or "call_function", _target(func, short), operation, args, kwargs, shown, second)

    def _give(self, step: _Step) -> None:
        """Whoever is given a step may run modules, to compute attention again."""
        with self._aside():
            self._emit(step)

    @contextmanager
    def _aside(self) -> Iterator[None]:
        """Whatever runs is not the model's run."""
        self._giving = True
        try:
            yield
        finally:
            self._giving = False

    @contextmanager
    def _unseen(self) -> Iterator[None]:
        """The mode is off."""
        self.__exit__(None, None, None)  # type: ignore[no-untyped-call]
        try:
            yield
        finally:
            self.__enter__()  # type: ignore[no-untyped-call]

    # Proving

    def _again(
        self, run: Run, args: Any, kwargs: Mapping[str, Any], modules: Sequence[nn.Module] = ()
    ) -> Second | None:
        """Compute a node a second time, if that was asked for; the mode must be off."""
        if not self.proving:
            return None
        with self._aside():
            return computed_again(run, args, kwargs, modules)

    def _operated(self, func: Any, args: Any, kwargs: Mapping[str, Any]) -> Second | None:
        return self._again(lambda args, kwargs: _shown(func, args, func(*args, **kwargs)), args, kwargs)

    def _same(self, tensor: torch.Tensor) -> Second | None:
        """What nothing computes is compared with a copy of itself."""
        return kept(tensor) if self.proving else None

    # Knowing

    def _find(self, tensor: torch.Tensor) -> _Known | None:
        known = self._known.get(id(tensor))
        return known if known is not None and known.tensor() is tensor else None

    def _depends(self, arguments: Any) -> bool:
        return any(self._find(tensor) or id(tensor) in self._parameters for _, tensor in flatten(arguments))

    def _keep(self, tensor: torch.Tensor, name: str, axes: Axes | None) -> None:
        self._known[id(tensor)] = _Known(name, axes, weakref.ref(tensor))

    def _read_parameters(self, arguments: Any) -> None:
        """A parameter that an operation reads is a node, once."""
        for _, tensor in flatten(arguments):
            target = self._parameters.get(id(tensor))
            if target is not None and not self._find(tensor):
                name = self._namer.name(base_name(self._way[-1], identifier(target)))
                axes = parameter_axes(tensor.shape, target)
                self._keep(tensor, name, axes)
                self._give(_Step(name, "get_attr", target, "", (), tensor, axes, second=self._same(tensor)))

    def add_input(self, name: str, tensor: torch.Tensor) -> None:
        """Enter a tensor that the model is called with."""
        axes = input_axes(tensor.shape, self._images)
        name = self._namer.name(name)
        self._keep(tensor, name, axes)
        self._give(_Step(name, "placeholder", name, "", (), tensor, axes, second=self._same(tensor)))

    def _add(
        self,
        name: str,
        op: str,
        target: str,
        operation: nn.Module | str,
        args: Any,
        kwargs: Mapping[str, Any],
        value: Any,
        second: Second | None,
    ) -> Any:
        """Emit the node and, when it returned several tensors, each of them; return what the model gets."""
        parents = tuple(dict.fromkeys(known.name for known in self._knowns((args, kwargs))))
        call_args, call_kwargs = self._operands(args), {key: self._operands(one) for key, one in kwargs.items()}
        shape = tuple(value.shape) if isinstance(value, torch.Tensor) else ()
        call = Call(operation, tuple(call_args), call_kwargs, shape, self._images)
        self._note_demand(call, args)
        if isinstance(value, torch.Tensor):
            axes = self._demanded(name, value, axes_after(call))
            self._keep(value, name, axes)
            self._give(_Step(name, op, target, operation, parents, value, axes, call, (args, kwargs), second))
            return value
        self._give(_Step(name, op, target, operation, parents, value, None, call, (args, kwargs), second))
        seconds = second.parts(value) if second else {}
        if isinstance(value, tuple | list):
            return self._add_parts(name, part_axes(call, value), value, seconds)
        for part, tensor in flatten(value):
            one = Call(call.operation, call.args, call.kwargs, tuple(tensor.shape), self._images)
            self._add_part(f"{name}.{part}", name, tensor, axes_after(one), seconds.get(id(tensor)))
        return value

    def _add_parts(self, name: str, axes: Sequence[Axes | None], value: Any, seconds: Mapping[int, Second]) -> Any:
        for place in parts_taken(len(value)):
            part = value[place]
            if isinstance(part, torch.Tensor):
                base = base_name(self._way[-1], "getitem")
                self._add_part(base, name, part, axes[place], seconds.get(id(part)))
            else:
                self._namer.name(base_name(self._way[-1], "getitem"))
                for inner, tensor in flatten(part):
                    self._add_part(f"{name}.{place}.{inner}", name, tensor, None, seconds.get(id(tensor)))
        for place, part in enumerate(value):
            if isinstance(part, torch.Tensor) and not self._find(part):
                self._keep(part, name, axes[place])
        return value

    def _add_part(
        self, base: str, parent: str, tensor: torch.Tensor, axes: Axes | None, second: Second | None
    ) -> None:
        name = self._namer.name(base)
        self._keep(tensor, name, axes)
        target = "_operator.getitem"
        self._give(_Step(name, "call_function", target, "getitem", (parent,), tensor, axes, second=second))

    def _add_item(self, whole: torch.Tensor, place: int, part: torch.Tensor, second: Second | None) -> None:
        known = self._find(whole)
        call = Call("getitem", (self._operands(whole), place), {}, tuple(part.shape), self._images)
        self._add_part(
            base_name(self._way[-1], "getitem"), known.name if known else "", part, axes_after(call), second
        )

    def _knowns(self, arguments: Any) -> Iterator[_Known]:
        for _, tensor in flatten(arguments):
            known = self._find(tensor)
            if known:
                yield known

    def _operands(self, value: Any) -> Any:
        if isinstance(value, torch.Tensor):
            known = self._find(value)
            return Operand(tuple(value.shape), known.axes if known else None)
        if isinstance(value, Mapping):
            return {key: self._operands(part) for key, part in value.items()}
        if isinstance(value, tuple | list) and not isinstance(value, torch.Size):
            return type(value)(map(self._operands, value)) if type(value) in (tuple, list) else value
        return value

    def _note_demand(self, call: Call, args: Any) -> None:
        """A value of unknown axes that is taken for (N, C, positions) is read so in the passes to come."""
        known = self._find(args[0]) if args and isinstance(args[0], torch.Tensor) else None
        unread = known is not None and (known.axes is None or not all(map(is_known, known.axes)))
        if known and unread and demands_channels_first(call.operation):
            self.demanded.add(known.name)

    def _demanded(self, name: str, value: torch.Tensor, axes: Axes | None) -> Axes | None:
        unread = axes is None or not all(map(is_known, axes))
        if unread and name in self._demands and value.dim() in (3, 4, 5):
            return demanded_axes(value.shape, axes, self._images) or axes
        return axes

    def _note_trouble(self, name: str, reason: str) -> None:
        if self.trouble is None:
            self.trouble = _Trouble(name or "output", reason)

    def end(self, error: Exception) -> None:
        """The pass ended with an error."""
        self._note_trouble(base_name(self._way[-1], "forward"), "")
        if self.trouble and not self.trouble.reason:
            self.trouble.reason = f"{self.trouble.name} raised {_told(error)}"

    def returned(self, output: Any) -> tuple[str, ...]:
        """Return the names of the nodes that the model returned; what no node made becomes one."""
        names = []
        for part, tensor in flatten(output):
            known = self._find(tensor)
            if known is None:
                name = self._namer.name(f"output.{part}" if part else "output")
                self._keep(tensor, name, None)
                unseen = Second(unknown="no operation on the input was seen that computes it")
                self._give(_Step(name, "output", name, "", (), tensor, None, second=unseen))
                known = self._find(tensor)
            if known:
                names.append(known.name)
        return tuple(dict.fromkeys(names))


class _Mirror(_Watch):
    """Watches a model that torch.fx can trace, and takes for a node what torch.fx takes for one.

    Wrapped functions are one node, parameters are nodes where the model's code reads them, and what is computed
    from sizes alone depends on the input, too.
    """

    def __init__(
        self, module: nn.Module, images: int, demands: Set[str], deep: bool, emit: Emit, leaves: Leaves
    ) -> None:
        super().__init__(module, images, demands, deep, emit)
        self._leaves = leaves
        self._thread = 0
        self._handling = False

    @contextmanager
    def hooked(self) -> Iterator[None]:
        """See `_Watch.hooked`; wrapped functions and reads of parameters are seen, too."""
        self._thread = threading.get_ident()
        functions = self._leaves.functions
        with super().hooked(), calls_seen(functions, self._root, self._call), reads_seen(self._root, self._read):
            try:
                yield
            finally:
                self._thread = 0

    def _is_leaf(self, module: nn.Module) -> bool:
        return super()._is_leaf(module) or isinstance(module, self._leaves.classes)

    def _plain(self, value: Any) -> Any:
        return plain(value)

    def _depends(self, arguments: Any) -> bool:
        return has_stand_in(arguments) or super()._depends(arguments)

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        self._handling = True
        try:
            return super().__torch_function__(func, types, args, kwargs)
        finally:
            self._handling = False

    def _is_watching(self) -> bool:
        """Whether the model's own code runs: not an operation, nor whoever is given the values."""
        busy = self._inside or self._giving or self._handling
        return not busy and threading.get_ident() == self._thread

    def _read(self, parameter: nn.Parameter) -> None:
        if self._is_watching():
            with self._unseen():
                self._read_parameters((parameter,))

    def _call(self, function: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """A wrapped function is called: it is one node where what it gets depends on the input."""
        if not self._is_watching() or not self._depends((args, kwargs)):
            return function(*args, **kwargs)
        args, kwargs = plain((args, kwargs))
        with self._unseen():
            return self._wrapped(function, args, kwargs)

    def _wrapped(self, function: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        base = base_name(self._way[-1], identifier(function.__name__))
        second = self._again(lambda args, kwargs: function(*args, **kwargs), args, kwargs)
        self._inside = len(self._way) + 1
        self._way.append(self._way[-1])
        try:
            value = function(*args, **kwargs)
        except Exception as error:
            self._note_trouble(base, _told(error))
            raise
        finally:
            self._way.pop()
            self._inside = 0
        name, target = self._namer.name(base), f"{function.__module__}.{function.__name__}"
        if not isinstance(value, torch.Tensor | tuple | list):
            return stand_in(value, self)
        return self._add(name, "call_function", target, operation_name(function), args, kwargs, value, second)

    def _count(self, func: Any, value: Any, *, dependent: bool) -> Any:
        if not dependent:
            return value
        self._namer.name(base_name(self._way[-1], _name(func)))
        return value if _is_conversion(func) else stand_in(value, self)

    def _add_parts(self, name: str, axes: Sequence[Axes | None], value: Any, seconds: Mapping[int, Second]) -> Any:
        """Parts are nodes where the model's code takes them: see `take`."""
        for place, part in enumerate(value):
            if isinstance(part, torch.Tensor) and not self._find(part):
                self._keep(part, name, axes[place])
        return stand_in(value, self, name, axes)

    # The witness of stand-ins

    def note(self, operation: str) -> None:
        if self._is_watching():
            self._namer.name(base_name(self._way[-1], operation))

    def take(self, parts: Parts, key: Any) -> Any:
        axes = parts.axes[key] if parts.axes else None
        return self._taken(parts, "getitem", operator.itemgetter(key), axes)

    def take_field(self, parts: Parts, name: str) -> Any:
        return self._taken(parts, "getattr", operator.attrgetter(name), None)

    def _taken(self, parts: Parts, operation: str, read: Callable[[Any], Any], axes: Any) -> Any:
        value = read(parts.whole)
        if not isinstance(value, torch.Tensor):
            self.note(operation)
            return stand_in(value, self, parts.name, axes)
        if self._is_watching():
            with self._unseen():
                second = self._again(lambda args, _: read(args[0]), (parts.whole,), {})
                self._add_part(base_name(self._way[-1], operation), parts.name, value, axes, second)
        return value


def _told(error: Exception) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())}"


def _is_shown(func: Any, value: Any) -> bool:
    return isinstance(value, torch.Tensor | tuple | list) or _name(func) == "setitem"


def _shown(func: Any, args: Sequence[Any], value: Any) -> Any:
    """The value of an operation's node: what `x[key] = y` writes to, else what the operation returns."""
    return args[0] if _name(func) == "setitem" else value


def _is_query(func: Any) -> bool:
    """Whether an operation only looks at a tensor."""
    return _is_getter(func) or getattr(func, "__name__", "") in _QUERIES


def _is_conversion(func: Any) -> bool:
    """Whether Python asked for a number of its own: `float(x)`, `len(x)`, `if x`."""
    return str(getattr(func, "__name__", "")).startswith("__") and not _is_getter(func)


def _is_getter(func: Any) -> bool:
    return getattr(func, "__name__", "") == "__get__"


def _getter_name(func: Any) -> str:
    return plain_name(str(getattr(getattr(func, "__self__", None), "__name__", "")))


def _name(func: Any) -> str:
    """The name that torch.fx would give the operation's node."""
    if _is_getter(func):
        return "getattr"
    name = str(getattr(func, "__name__", "operation")).partition(".")[0]
    if name.startswith("__") and name.endswith("__"):
        return _REFLECTED.get(name[2:-2], name[2:-2])
    return _OPERATORS.get(name, name) if name in _OPERATORS and is_operator() else identifier(name)


def _target(func: Any, short: str) -> str:
    home = getattr(func, "__module__", None) or "torch.Tensor"
    return f"{home}.{_getter_name(func) or short if _is_getter(func) else short}"


# Passes


class EagerNetwork:
    """A model that runs as it is and is watched."""

    tracer = "eager"

    def __init__(
        self,
        module: nn.Module,
        batch: Batch,
        reason: str,
        *,
        deep: bool = False,
        settings: Settings | None = None,
        mirrored: Leaves | None = None,
    ) -> None:
        """Run `module` once on `batch` to learn its nodes.

        `mirrored` says that torch.fx can trace the model, with these functions and classes as one node each: then
        the nodes that are tensors are those of torch.fx, name for name. None opens all that is not a leaf.

        Raises InputError when it can't be run on it at all.
        """
        self._module, self._deep, self._settings = module, deep, settings or Settings()
        self._mirrored = mirrored
        self.tracer_reason = reason
        self.differences: list[str] = []
        self._demands: frozenset[str] = frozenset()
        layers: list[Layer] = []
        footprint, images = self._settings.footprint, len(batch.tensor)

        def learn(step: _Step) -> None:
            layers.append(self._layer(len(layers), step))
            if footprint:
                footprint.add(step.name, step.value, self._reading(step, images))

        if footprint:
            footprint.begin(images)
        run = _Pass(self, batch, learn)
        run.run()
        if run.watch.trouble:
            self._check_begun(layers, run)
            layers.append(_failed_layer(len(layers), run.watch.trouble, layers))
        self.whole = run.error is None
        """Whether the model ran to its end."""
        self._demands = frozenset(run.watch.demanded)
        self.layers = tuple(layers)
        self.outputs = run.outputs

    def watch(self, images: int, emit: Emit, *, proving: bool = False) -> _Watch:
        """Return what watches one pass over a batch of `images`; `proving` computes each node a second time."""
        if self._mirrored is None:
            watch = _Watch(self._module, images, self._demands, self._deep, emit)
        else:
            watch = _Mirror(self._module, images, self._demands, self._deep, emit, self._mirrored)
        watch.proving = proving
        return watch

    def _check_begun(self, layers: Sequence[Layer], run: "_Pass") -> None:
        trouble = run.watch.trouble
        if trouble and all(layer.op == "placeholder" for layer in layers):
            raise InputError(
                f"{type(self._module).__name__}: the model can't be run on a picture: {trouble.reason}; wrap it in "
                "a model that takes a batch of pictures and nothing else"
            ) from run.error

    def _layer(self, index: int, step: _Step) -> Layer:
        module = step.operation if isinstance(step.operation, nn.Module) else None
        return Layer(
            index=index,
            name=step.name,
            slug=slugify(step.name),
            op=step.op,
            target=step.target,
            module_type=type(module).__name__ if module is not None else "",
            parents=step.parents,
            detail=describe(module) if module is not None else "",
        )

    def module_of(self, layer: Layer) -> nn.Module | None:
        return self._module.get_submodule(layer.target) if layer.op == "call_module" else None

    def walk(self, batch: Batch, wanted: Set[str] | None = None, recomputed: Recomputed | None = None) -> Walk:
        """See `base.Provable.walk`. Where a pass computes other nodes than were learned, `differences` says so."""
        known = {layer.name: layer for layer in self.layers}
        missing = dict(known)
        extra: list[str] = []
        handover = _Handover()

        def emit(step: _Step) -> None:
            layer = missing.pop(step.name, None)
            if layer is None:
                extra.append(step.name)
            elif wanted is None or layer.name in wanted:
                if recomputed is not None and step.second is not None:
                    recomputed.keep(layer.name, step.second)
                handover.offer(self._activation(layer, step, batch))

        run = _Pass(self, batch, emit, proving=recomputed is not None)
        yield from handover.watch(run.run)
        yield from self._missing(missing, run, batch, wanted)
        if extra:
            names = ", ".join(image.name for image in batch.images) or "this batch"
            self.differences.append(_difference(names, extra))
        return run.output

    def _activation(self, layer: Layer, step: _Step, batch: Batch) -> Activation:
        reading = self._reading(step, len(batch.tensor))
        return Activation(layer, batch.images, step.value, reading, self._attention(step))

    @staticmethod
    def _reading(step: _Step, images: int) -> Reading:
        return read(step.value, step.axes, images, parameter=step.op == "get_attr")

    def _attention(self, step: _Step) -> Attention | None:
        if not self._settings.attention or step.call is None:
            return None
        # What is computed again is not the model's: it keeps its digits where the model runs in fewer.
        device = step.value.device.type if isinstance(step.value, torch.Tensor) else "cpu"
        with torch.autocast(device, enabled=False):
            return attention_of(step.call, *step.arguments, step.value, step.axes)

    def _missing(
        self, missing: Mapping[str, Layer], run: "_Pass", batch: Batch, wanted: Set[str] | None
    ) -> Iterator[Failure]:
        trouble = run.watch.trouble
        for name, layer in missing.items():
            if wanted is not None and name not in wanted:
                continue
            if trouble is None:
                reason = "the model did not compute it: it took another way than with the first image"
            else:
                reason = trouble.reason if name == trouble.name else f"it was not reached: {trouble.reason}"
            yield Failure(layer, batch.images, reason)


def _failed_layer(index: int, trouble: _Trouble, layers: Sequence[Layer]) -> Layer:
    """The node at which the first pass ended."""
    taken = {layer.name for layer in layers}
    name = trouble.name
    while name in taken:
        name += "_failed"
    trouble.name = name
    parents = (layers[-1].name,) if layers else ()
    return Layer(index, name, slugify(name), "call_function", name, "", parents)


def _difference(names: str, extra: Sequence[str]) -> str:
    return f"{names}: the model computed nodes that it had not with the first image: {listed(extra)}"


@dataclass
class _Pass:
    """One run of the model under watch."""

    network: EagerNetwork
    batch: Batch
    emit: Emit
    proving: bool = False
    output: Any = None
    outputs: tuple[str, ...] = ()
    error: Exception | None = None
    watch: _Watch = field(init=False)

    def __post_init__(self) -> None:
        self.watch = self.network.watch(len(self.batch.tensor), self.emit, proving=self.proving)

    @torch.no_grad()
    def run(self) -> None:
        """Run the model; what it raises is kept in `error` and in the watch's `trouble`."""
        module, args, kwargs = self.network._module, self.batch.arguments, dict(self.batch.kwargs)
        for name, tensor in _inputs(module, args, kwargs):
            self.watch.add_input(name, tensor)
        try:
            with attributes_kept(module), self.network._settings.precision(), self.watch.hooked(), self.watch:
                output = self.watch.given_back(module(*args, **kwargs))
            self.outputs = self.watch.returned(output)
            self.output = output
        except Exception as error:
            if lacks_memory(error):
                raise shortage("while the model was run", error) from error
            self.error = error
            self.watch.end(error)


def _inputs(
    module: nn.Module, args: Sequence[Any], kwargs: Mapping[str, Any]
) -> Iterator[tuple[str, torch.Tensor]]:
    """The tensors that the model is called with, by its forward's own words."""
    try:
        bound: Mapping[str, Any] = inspect.signature(module.forward).bind(*args, **kwargs).arguments
    except (TypeError, ValueError):
        bound = {"input": tuple(args), **kwargs}
    yield from flatten(dict(bound))


class _Handover:
    """Hands events from the model's thread to the consumer's: one at a time, the giver waits."""

    def __init__(self) -> None:
        self._ready, self._taken = threading.Semaphore(0), threading.Semaphore(0)
        self._event: Activation | None = None
        self._closed = False

    def offer(self, event: Activation) -> None:
        """Called in the model's thread: wait until the event was taken and the next is asked for."""
        self._event = event
        del event
        self._ready.release()
        self._taken.acquire()
        if self._closed:
            raise _Stopped

    def watch(self, run: Callable[[], None]) -> Iterator[Activation]:
        """Run `run` in a thread and yield what it offers; raises what it raises."""
        raised: list[BaseException] = []
        done = threading.Event()

        def work() -> None:
            try:
                run()
            except _Stopped:
                pass
            except BaseException as error:  # noqa: BLE001 - raised again where it can be seen
                raised.append(error)
            done.set()
            self._ready.release()

        thread = threading.Thread(target=work, name="reportgen-model", daemon=True)
        thread.start()
        try:
            yield from self._events(done)
        finally:
            self._closed = True
            self._taken.release()
            thread.join(timeout=2)  # an operation that stands still must not hold up an interrupt
        if raised:
            raise raised[0]

    def _events(self, done: threading.Event) -> Iterator[Activation]:
        while True:
            self._ready.acquire()
            event, self._event = self._event, None
            if event is None:
                if done.is_set():
                    return
                continue
            yield event
            del event
            self._taken.release()
