"""Each node computed a second time, from copies of its inputs, to compare it with what is handed over.

The copies are made right before the node runs and share no memory with the model's values, so that nothing which
runs later can reach the second result. One result is kept at a time, until its node is handed over. The second run
draws the random numbers that the first will draw, and what it writes to in modules is put back.
"""

import copy
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import fx, nn

from reportgen.network.comparison import DIFFERENT, EQUAL, UNKNOWN, Check, compared, worst
from reportgen.network.isolation import rehearsing
from reportgen.parts import flatten

_CALLS = ("call_module", "call_function", "call_method")
_PLAIN = (int, float, complex, bool, str, type(None), torch.Size, torch.dtype, torch.device, slice)

Run = Callable[[tuple[Any, ...], dict[str, Any]], Any]
"""What computes a node from its arguments."""


@dataclass(frozen=True)
class Second:
    """What a node came to the second time: copies of its `tensors` by name, or, where it has none, `plain`.

    `unknown` says why there is none of both, if so.
    """

    tensors: Mapping[str, torch.Tensor] = field(default_factory=dict)
    plain: object = None
    unknown: str = ""

    def check(self, value: object) -> Check:
        """Compare with this what is handed over for the node."""
        if self.unknown:
            return Check(UNKNOWN, self.unknown)
        found = dict(flatten(value))
        if found.keys() != self.tensors.keys():
            return Check(DIFFERENT, "it holds other tensors")
        if found:
            return worst(compared(found[name], self.tensors[name], name) for name in found)
        if not _is_plain(value):
            return Check(UNKNOWN, f"a {type(value).__name__} can't be compared")
        return Check(EQUAL) if value == self.plain else Check(DIFFERENT, f"{value!r} instead of {self.plain!r}")

    def parts(self, value: object) -> "dict[int, Second]":
        """Second results of the tensors inside `value`, which the node came to the first time, by their ids."""
        return {id(tensor): self._part(name) for name, tensor in flatten(value)}

    def _part(self, name: str) -> "Second":
        if self.unknown:
            return self
        if name in self.tensors:
            return Second({"": self.tensors[name]})
        return Second(unknown="what it is taken from held other tensors when it was computed again")


def kept(value: object) -> Second:
    """Copies of the tensors in a value, and of what holds none that which can be compared."""
    tensors = {name: tensor.detach().clone() for name, tensor in flatten(value)}
    return Second(tensors, None if tensors else value)


def computed_again(
    run: Run, args: tuple[Any, ...], kwargs: Mapping[str, Any], modules: Sequence[nn.Module] = ()
) -> Second:
    """Compute a node from copies of its arguments.

    The buffers and attributes of `modules`, and of modules among the arguments, are put back afterwards, and so is
    the random state.
    """
    modules = [*modules, *_modules_in((args, dict(kwargs)))]
    try:
        own_args, own_kwargs = _copies((args, dict(kwargs)), modules)
    except Exception:  # noqa: BLE001 - whatever a model hands over: iterators, open files
        return Second(unknown=_uncopied((*args, *kwargs.values()), modules))
    try:
        with rehearsing(nn.ModuleList(modules)):
            return kept(run(own_args, own_kwargs))
    except Exception as error:  # noqa: BLE001 - the user's code
        return Second(unknown=f"it could not be computed again ({type(error).__name__})")


def _copies(arguments: Any, modules: Sequence[nn.Module]) -> Any:
    """Deep copies keep what tensors share among themselves: an operation may read what it writes."""
    memo: dict[int, Any] = {id(module): module for module in modules}
    for _, tensor in flatten(arguments):
        if tensor.requires_grad:  # of those that depend on others, torch copies only what is detached
            memo[id(tensor)] = copy.deepcopy(tensor.detach(), memo)
    return copy.deepcopy(arguments, memo)


def _uncopied(arguments: Iterable[Any], modules: Sequence[nn.Module]) -> str:
    """Say which of the arguments can't be copied."""
    for argument in arguments:
        try:
            _copies(argument, modules)
        except Exception:  # noqa: BLE001 - see above
            return f"it reads a {type(argument).__name__} that can't be copied"
    return "its inputs can't be copied"


def _modules_in(arguments: Any) -> Iterator[nn.Module]:
    if isinstance(arguments, nn.Module):
        yield arguments
    elif isinstance(arguments, tuple | list | dict):
        for part in arguments.values() if isinstance(arguments, dict) else arguments:
            yield from _modules_in(part)


class Recomputed:
    """The second results of those nodes that are `wanted` (None: all), by name."""

    def __init__(self, wanted: Set[str] | None = None) -> None:
        self._wanted = wanted
        self._results: dict[str, Second] = {}

    def run(
        self, interpreter: fx.Interpreter, node: fx.Node, name: str | None, run: Callable[[fx.Node], Any]
    ) -> Any:
        """Run `node` with `run` and return its value; before that compute it from copies, if it is wanted."""
        if name is None or (self._wanted is not None and name not in self._wanted):
            return run(node)
        if node.op not in _CALLS:  # an input or a parameter: nothing computes it
            value = run(node)
            self.keep(name, kept(value))
            return value
        self.keep(name, _again(interpreter, node))
        return run(node)

    def keep(self, name: str, second: Second) -> None:
        """Keep a node's second result until it is compared."""
        self._results[name] = second

    def check(self, name: str, value: object) -> Check:
        """Compare what is handed over for a node with its second result, which is then dropped."""
        second = self._results.pop(name, None)
        return Check(UNKNOWN, "it was not computed again") if second is None else second.check(value)


def _again(interpreter: fx.Interpreter, node: fx.Node) -> Second:
    modules = [interpreter.fetch_attr(str(node.target))] if node.op == "call_module" else []
    args, kwargs = interpreter.fetch_args_kwargs_from_env(node)
    call = getattr(interpreter, node.op)
    return computed_again(lambda args, kwargs: call(node.target, args, kwargs), args, kwargs, modules)


def _is_plain(value: object) -> bool:
    if isinstance(value, tuple | list) and not isinstance(value, torch.Size):
        return all(map(_is_plain, value))
    return isinstance(value, _PLAIN)
