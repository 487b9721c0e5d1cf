"""Each node of a graph computed a second time, from copies of its inputs, to compare it with what is handed over.

The copies are made right before the node runs and share no memory with the model's values, so that nothing which
runs later can reach the second result. One result is kept at a time, until its node is handed over.
"""

import copy
from collections.abc import Callable, Set
from typing import Any

import torch
from torch import fx, nn

from reportgen.network.comparison import DIFFERENT, EQUAL, UNKNOWN, Check, compared, worst
from reportgen.network.isolation import rehearsing
from reportgen.parts import flatten

_CALLS = ("call_module", "call_function", "call_method")
_PLAIN = (int, float, complex, bool, str, type(None), torch.Size, torch.dtype, torch.device, slice)


class Recomputed:
    """The second results of those nodes that are `wanted` (None: all), by name."""

    def __init__(self, wanted: Set[str] | None = None) -> None:
        self._wanted = wanted
        self._results: dict[str, Any] = {}

    def run(
        self, interpreter: fx.Interpreter, node: fx.Node, name: str | None, run: Callable[[fx.Node], Any]
    ) -> Any:
        """Run `node` with `run` and return its value; before that compute it from copies, if it is wanted."""
        if name is None or (self._wanted is not None and name not in self._wanted):
            return run(node)
        if node.op not in _CALLS:  # an input or a parameter: nothing computes it
            value = run(node)
            self._results[name] = _kept(value)
            return value
        try:
            self._results[name] = _again(interpreter, node)
        except Exception as error:  # noqa: BLE001 - the user's code, and values that can't be copied
            self._results[name] = Check(UNKNOWN, f"it could not be computed again ({type(error).__name__})")
        return run(node)

    def check(self, name: str, value: object) -> Check:
        """Compare what is handed over for a node with its second result, which is then dropped."""
        again = self._results.pop(name, None)
        if again is None:
            return Check(UNKNOWN, "it was not computed again")
        return again if isinstance(again, Check) else _compared(value, *again)


def _again(interpreter: fx.Interpreter, node: fx.Node) -> tuple[dict[str, torch.Tensor], object]:
    # A deep copy keeps what tensors share among themselves: an operation may read what it writes.
    args, kwargs = copy.deepcopy(interpreter.fetch_args_kwargs_from_env(node))
    module = interpreter.fetch_attr(str(node.target)) if node.op == "call_module" else nn.Module()
    with rehearsing(module):
        return _kept(getattr(interpreter, node.op)(node.target, args, kwargs))


def _kept(value: object) -> tuple[dict[str, torch.Tensor], object]:
    """Copies of the tensors in a value by name, and of what is not a tensor that which can be compared."""
    tensors = {name: tensor.detach().clone() for name, tensor in flatten(value)}
    return tensors, None if tensors else value


def _compared(value: object, tensors: dict[str, torch.Tensor], plain: object) -> Check:
    found = dict(flatten(value))
    if found.keys() != tensors.keys():
        return Check(DIFFERENT, "it holds other tensors")
    if found:
        return worst(compared(found[name], tensors[name], name) for name in found)
    if not _is_plain(value):
        return Check(UNKNOWN, f"a {type(value).__name__} can't be compared")
    return Check(EQUAL) if value == plain else Check(DIFFERENT, f"{value!r} instead of {plain!r}")


def _is_plain(value: object) -> bool:
    if isinstance(value, tuple | list) and not isinstance(value, torch.Size):
        return all(map(_is_plain, value))
    return isinstance(value, _PLAIN)
