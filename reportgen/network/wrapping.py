"""Calls of functions and reads of parameters, seen while a model runs.

Functions that torch.fx was told to wrap are one node each. As torch.fx does while it traces, the names under which
a model's code finds them are bound to something that tells of each call. That holds for the thread that watches
alone: everybody else's calls pass straight through. When the last watcher is gone, the names are bound as before.
"""

import functools
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torchvision
from torch import nn
from torch.nn.modules.lazy import LazyModuleMixin

Function = Callable[..., Any]
Watcher = Callable[[Function, tuple[Any, ...], dict[str, Any]], Any]


class _Here(threading.local):
    watcher: Watcher | None = None


@dataclass
class _Binding:
    """A name in a module's globals that is bound to something that tells."""

    scope: dict[str, Any]
    name: str
    function: Function
    watchers: int = 0


_here = _Here()
_lock = threading.Lock()
_bindings: dict[tuple[int, str], _Binding] = {}


@contextmanager
def calls_seen(functions: Sequence[Function], module: nn.Module, watcher: Watcher) -> Iterator[None]:
    """Hand each call of `functions` by the code of `module`, on this thread, to `watcher`; it returns the value.

    `functions` are Python functions.
    """
    with _lock:
        bound = [key for scope in _scopes(functions, module) for key in _bind(scope, functions)]
    before, _here.watcher = _here.watcher, watcher
    try:
        yield
    finally:
        _here.watcher = before
        with _lock:
            for key in bound:
                _release(key)


def _scopes(functions: Iterable[Function], module: nn.Module) -> list[dict[str, Any]]:
    """Where torch.fx looks for the functions: globals of each forward, their own modules, torchvision.ops."""
    if not functions:
        return []
    owners = [*functions, *(getattr(child, "forward", None) for child in module.modules())]
    scopes = [vars(torchvision.ops), *(getattr(owner, "__globals__", {}) for owner in owners)]
    return list({id(scope): scope for scope in scopes}.values())


def _bind(scope: dict[str, Any], functions: Sequence[Function]) -> list[tuple[int, str]]:
    wanted = {id(function) for function in functions}
    bound = []
    for name, value in list(scope.items()):
        key = (id(scope), name)
        binding = _bindings.get(key)
        function = binding.function if binding else value
        if id(function) not in wanted:
            continue
        if binding is None:
            binding = _bindings[key] = _Binding(scope, name, function)
            scope[name] = _telling(function)
        binding.watchers += 1
        bound.append(key)
    return bound


def _release(key: tuple[int, str]) -> None:
    binding = _bindings[key]
    binding.watchers -= 1
    if not binding.watchers:
        binding.scope[binding.name] = _bindings.pop(key).function


def _telling(function: Function) -> Function:
    @functools.wraps(function)
    def call(*args: Any, **kwargs: Any) -> Any:
        watcher = _here.watcher
        return function(*args, **kwargs) if watcher is None else watcher(function, args, kwargs)

    return call


class _Read(dict[str, Any]):
    """A module's parameters, each of which tells when it is looked up."""

    told: Callable[[nn.Parameter], None]

    def __getitem__(self, name: str) -> Any:
        parameter = super().__getitem__(name)
        if parameter is not None:
            self.told(parameter)
        return parameter

    def __reduce__(self) -> tuple[Any, ...]:
        return dict, (dict(self),)


@contextmanager
def reads_seen(module: nn.Module, told: Callable[[nn.Parameter], None]) -> Iterator[None]:
    """Call `told` with each parameter that is read from `module` or a module inside it, before it is used."""
    before = []
    for child in module.modules():
        parameters = vars(child).get("_parameters")
        if parameters and isinstance(parameters, dict) and not isinstance(child, LazyModuleMixin):
            before.append((vars(child), parameters))
            vars(child)["_parameters"] = seen = _Read(parameters)
            seen.told = told
    try:
        yield
    finally:
        for attributes, parameters in before:
            attributes["_parameters"] = parameters
