"""What a model computes, learnt without torch.fx, without function modes and without anything of reportgen.

The model is run once as it is, below a `TorchDispatchMode`: every tensor that an ATen operation returns is digested
(shape, type and bytes) the moment it is returned, in order. A value that a stream hands over must be one of them,
bit for bit, and later in the order than the value before it; only an operation that hands on what it was given
(dropout in eval mode, `contiguous`, an item of a tuple) may repeat an earlier one. So a value that the next
operation overwrote is caught twice: it stands where nothing new is left for that operation to show.

Modules have a second oracle: what each call returned, digested by a global forward hook.
"""

import hashlib
import re
import weakref
from bisect import bisect_left
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn
from torch.nn.modules.module import register_module_forward_hook
from torch.utils._python_dispatch import TorchDispatchMode, _disable_current_modes

from reportgen.entities import Activation, Failure

Digest = tuple[tuple[int, ...], str, bytes]

HANDS_ON = re.compile(
    r"(^|\.)_?(getitem|getattr|contiguous|to|type_as|float|half|double|detach|data|dropout\w*|feature_dropout|identity|"
    r"alias|real|requires_grad_|resolve_conj|flatten|squeeze|pin_memory|cpu|cuda|broadcast_tensors|meshgrid|unbind|pop|next|"
    r"atleast_\dd|positive|conj|expand_as|as_tensor|asarray|repeat_interleave|setitem|set_|get|"
    r"_assert\w*)(_\d+)?$",
    re.IGNORECASE,
)
"""Functions that may return the very value they were given."""

HANDING_MODULES = re.compile(r"Identity|Drop|Flatten|StochasticDepth|Stub")
"""Modules that may."""


def digest(tensor: torch.Tensor) -> Digest:
    """The fingerprint of a tensor's value: equal for equal bits, NaNs and the sign of zero included."""
    plain = tensor.detach()
    if plain.is_quantized:
        kind, plain = f"{plain.dtype} {plain.qscheme()}", plain.int_repr()
    else:
        kind = str(plain.dtype)
    plain = plain.resolve_conj().resolve_neg().cpu().clone(memory_format=torch.contiguous_format)
    data = plain.view(-1).view(torch.uint8).numpy().data if plain.numel() else b""
    return tuple(tensor.shape), kind, hashlib.blake2b(data, digest_size=16).digest()


def tensors_of(value: object) -> Iterator[torch.Tensor]:
    """Every tensor inside a value, in order: of tuples, lists, mappings and objects with attributes."""
    if isinstance(value, torch.Tensor):
        yield value
    elif isinstance(value, Mapping):
        for part in value.values():
            yield from tensors_of(part)
    elif isinstance(value, list | tuple | set | frozenset):
        for part in value:
            yield from tensors_of(part)
    elif hasattr(value, "__dict__") and not isinstance(value, type | nn.Module):
        yield from tensors_of(list(vars(value).values()))


def digests_of(value: object) -> tuple[Digest, ...]:
    """The digests of every tensor inside a value."""
    return tuple(digest(tensor) for tensor in tensors_of(value))


@dataclass
class Recording:
    """What one run computed: where in the order each digest stands, and what each module's calls returned."""

    positions: dict[Digest, list[int]] = field(default_factory=dict)
    given: set[Digest] = field(default_factory=set)
    """Inputs, parameters and buffers."""
    leaves: set[str] = field(default_factory=set)
    """The paths of the modules that are always nodes: those of torch.nn and torchvision.ops without children."""
    calls: dict[str, list[tuple[Digest, ...]]] = field(default_factory=dict)
    returned: tuple[Digest, ...] = ()
    length: int = 0

    def add(self, value: object) -> None:
        """Append every tensor of a value."""
        for fingerprint in digests_of(value):
            self.positions.setdefault(fingerprint, []).append(self.length)
            self.length += 1

    def next_after(self, fingerprint: Digest, position: int) -> int | None:
        """The first position beyond `position` where this value was computed."""
        found = self.positions.get(fingerprint, [])
        index = bisect_left(found, position + 1)
        return found[index] if index < len(found) else None


class _Listener(TorchDispatchMode):  # type: ignore[no-untyped-call]  # torch annotates neither
    def __init__(self, recording: Recording) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._recording = recording
        self._sharing: dict[int, list[weakref.ref[torch.Tensor]]] = {}

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        result = func(*args, **(kwargs or {}))
        self._recording.add(result)
        for tensor in tensors_of(result):
            self._sharing.setdefault(_storage(tensor), []).append(weakref.ref(tensor))
        if func._schema.is_mutable:
            self._add_views(tensors_of(args))
        return result

    def _add_views(self, changed: Iterator[torch.Tensor]) -> None:
        """Append the tensors that share memory with those that an operation changed: they have changed, too."""
        for storage in {_storage(tensor) for tensor in changed}:
            alive = [reference for reference in self._sharing.get(storage, []) if reference() is not None]
            self._sharing[storage] = alive
            self._recording.add([reference() for reference in alive])


def _storage(tensor: torch.Tensor) -> int:
    return tensor.untyped_storage().data_ptr()


@torch.no_grad()
def record(module: nn.Module, args: Sequence[Any], kwargs: Mapping[str, Any], seed: int = 0) -> Recording:
    """Run a model once and return what every operation and every module's call computed."""
    recording = Recording()
    recording.given.update(digests_of([list(args), dict(kwargs), *module.parameters(), *module.buffers()]))
    path_of = {child: path for path, child in module.named_modules()}
    recording.leaves.update(path for child, path in path_of.items() if _is_leaf(child))

    def note(child: nn.Module, given: Any, returned: Any) -> None:
        if child in path_of:
            with _disable_current_modes():
                recording.calls.setdefault(path_of[child], []).append(digests_of(returned))

    hook = register_module_forward_hook(note)
    try:
        torch.manual_seed(seed)
        with _Listener(recording):
            returned = module(*args, **kwargs)
    finally:
        hook.remove()
    recording.returned = digests_of(returned)
    return recording


def _is_leaf(module: nn.Module) -> bool:
    of_torch = type(module).__module__.startswith(("torch.nn.", "torchvision.ops."))
    return of_torch and not list(module.children()) and not isinstance(module, nn.Sequential)


@dataclass
class Comparison:
    """How the values of a stream compare with a recording; `differences` has a line for each that does not."""

    compared: int = 0
    differences: list[str] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)
    _position: int = -1
    _calls: dict[str, int] = field(default_factory=dict)

    def check(self, event: Activation | Failure, recording: Recording) -> None:
        """Compare one event, before the stream goes on."""
        layer = event.layer
        if isinstance(event, Failure):
            self.failures.append(f"{layer.name}: {event.reason}")
            return
        found = digests_of(event.value)
        self.compared += bool(found)
        if layer.op == "call_module":
            self._check_call(event, found, recording)
        unplaced = [part for part in found if not self._place(part, event, recording)]
        if unplaced:
            known = [part in recording.positions for part in unplaced]
            what = "a value from another moment" if all(known) else "a value that the model never computed"
            shapes = ", ".join(str(part[0]) for part in unplaced)
            self.differences.append(
                f"{layer.name} ({layer.op} {layer.module_type or layer.target}): {what} {shapes}"
            )

    def _check_call(self, event: Activation, found: tuple[Digest, ...], recording: Recording) -> None:
        target = event.layer.target
        call = self._calls.get(target, 0)
        self._calls[target] = call + 1
        calls = recording.calls.get(target, [])
        if call >= len(calls) or calls[call] != found:
            which = "not what the module returned" if call < len(calls) else "the module was not called so often"
            self.differences.append(f"{event.layer.name} (call {call} of {target}): {which}")

    def _place(self, part: Digest, event: Activation, recording: Recording) -> bool:
        """Find a value's place in the order; the first that is left, unless the operation hands on what it got."""
        earlier = (
            part in recording.given or recording.positions.get(part, [self._position + 1])[0] <= self._position
        )
        if earlier and _hands_on(event):
            return True
        position = recording.next_after(part, self._position)
        if position is not None:
            self._position = position
        return position is not None

    def finish(self, returned: object, recording: Recording) -> None:
        """Compare what the stream returned, and find calls of leaf modules that it never showed."""
        if not self.failures and digests_of(returned) != recording.returned:
            self.differences.append("the stream does not return what the model does")
        for path in sorted(recording.calls):
            if self._is_missing(path, recording):
                seen, called = self._calls.get(path, 0), len(recording.calls[path])
                self.differences.append(f"{path}: called {called} times, shown {seen} times")

    def _is_missing(self, path: str, recording: Recording) -> bool:
        """Whether a module without children was called more often than it was shown, itself or in a block."""
        parts = path.split(".")
        shown = any(".".join(parts[:depth]) in self._calls for depth in range(1, len(parts)))
        calls = sum(bool(call) for call in recording.calls[path])
        return path in recording.leaves and not shown and self._calls.get(path, 0) < calls


def _hands_on(event: Activation) -> bool:
    layer = event.layer
    if not isinstance(event.value, torch.Tensor):
        return True  # the parts of a tuple come in an order of its own
    if layer.op == "call_module":
        return bool(HANDING_MODULES.search(layer.module_type))
    own = layer.op == "call_function" and layer.target.partition(".")[0] not in ("torch", "_operator")
    return own or layer.op in ("placeholder", "get_attr", "output") or bool(HANDS_ON.search(layer.target))
