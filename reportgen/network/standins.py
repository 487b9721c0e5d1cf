"""What stands for sizes, numbers and tuples in a model that torch.fx can trace, so that both streams count alike.

torch.fx gives such a model proxies, and every operation on one is a node with a number of its own: `h * w`,
`x.shape[0]`, the parts of a split. Here the values are real, and only tell when they are used. They never leave the
model's own code: `plain` takes them out of whatever is handed to torch, to a leaf or to the caller. A model that
torch.fx can trace accepts proxies in their place, and so accepts these.
"""

import operator
from collections.abc import Callable, Iterator
from typing import Any, Protocol

import torch


class Witness(Protocol):
    """Who is told."""

    def note(self, operation: str) -> None:
        """An operation computed something that is no tensor."""
        ...

    def take(self, parts: "Parts", key: Any) -> Any:
        """Return what stands for `parts.whole[key]`."""
        ...

    def take_field(self, parts: "Parts", name: str) -> Any:
        """Return what stands for a field of a named tuple."""
        ...


class Whole(int):
    """An integer that depends on the input."""

    witness: Witness

    def __reduce__(self) -> tuple[Any, ...]:
        return int, (int.__int__(self),)


class Real(float):
    """A floating number that depends on the input."""

    witness: Witness

    def __reduce__(self) -> tuple[Any, ...]:
        return float, (float.__float__(self),)


class Parts(tuple[Any, ...]):
    """A tuple, list or size that an operation returned; each part that is taken is told."""

    whole: Any
    name: str
    axes: Any
    witness: Witness

    def __getitem__(self, key: Any) -> Any:
        return self.witness.take(self, plain(key))

    def __iter__(self) -> Iterator[Any]:
        return (self[place] for place in range(len(self)))

    def __add__(self, other: Any) -> Any:
        self.witness.note("add")
        return stand_in(self.whole + plain(other), self.witness)

    def __radd__(self, other: Any) -> Any:
        self.witness.note("add")
        return stand_in(plain(other) + self.whole, self.witness)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return self.witness.take_field(self, name)

    def __reduce__(self) -> tuple[Any, ...]:
        return plain, (self.whole,)


class Device:
    """A device that was read from a tensor: torch.fx takes what is made there for something that depends on it."""

    def __init__(self, device: torch.device) -> None:
        self.whole = device

    def __getattr__(self, name: str) -> Any:
        return getattr(object.__getattribute__(self, "whole"), name)

    def __eq__(self, other: object) -> bool:
        return bool(self.whole == plain(other))

    def __hash__(self) -> int:
        return hash(self.whole)

    def __str__(self) -> str:
        return str(self.whole)

    __repr__ = __str__

    def __reduce__(self) -> tuple[Any, ...]:
        return plain, (self.whole,)

    @classmethod
    def __torch_function__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """With this, torch accepts a stand-in where it wants a device."""
        args, kwargs = plain((args, kwargs or {}))
        return func(*args, **kwargs)


_BINARY = ("add", "sub", "mul", "floordiv", "truediv", "mod", "pow", "lshift", "rshift", "and", "or", "xor")
_COMPARING = ("eq", "ne", "lt", "le", "gt", "ge")
_UNARY = ("neg", "pos", "invert")
_ROUNDING = ("ceil", "floor", "trunc")
"""What `math` asks a number to do itself."""


def _method(base: type, special: str, operation: str) -> Callable[..., Any] | None:
    own = getattr(base, f"__{special}__", None)
    if own is None:
        return None

    def method(self: Any, *others: Any) -> Any:
        value = own(self, *map(plain, others))
        if value is not NotImplemented:
            self.witness.note(operation)
            return stand_in(value, self.witness)
        return value

    return method


def _equip(number: type, base: type) -> None:
    """Let every arithmetic operation on a number be told."""
    names = {name: getattr(operator, f"__{name}__").__name__ for name in (*_BINARY, *_COMPARING, *_UNARY)}
    names |= {f"r{name}": names[name] for name in _BINARY} | {name: name for name in _ROUNDING}
    for name, operation in names.items():
        method = _method(base, name, operation)
        if method is not None:
            setattr(number, f"__{name}__", method)


_equip(Whole, int)
_equip(Real, float)


def stand_in(value: Any, witness: Witness, name: str = "", axes: Any = None) -> Any:
    """Return what stands for a number, tuple or device that depends on the input; all else stands for itself."""
    found: Any
    if type(value) is int:
        found = Whole(value)
    elif type(value) is float:
        found = Real(value)
    elif isinstance(value, tuple | list) and not isinstance(value, Parts):
        found = tuple.__new__(Parts, value)
        found.whole, found.name, found.axes = value, name, axes
    else:
        return Device(value) if isinstance(value, torch.device) else value
    found.witness = witness
    return found


def plain(value: Any) -> Any:
    """Return `value` with what it stands for in the place of stand-ins; the very same object where it has none."""
    if isinstance(value, Whole):
        return int.__int__(value)
    if isinstance(value, Real):
        return float.__float__(value)
    if isinstance(value, Parts | Device):
        return value.whole
    if type(value) in (tuple, list, torch.Size):
        return _rebuilt(value, [plain(part) for part in value])
    if type(value) is dict:
        parts = [plain(part) for part in value.values()]
        return value if all(map(operator.is_, parts, value.values())) else dict(zip(value, parts, strict=True))
    if isinstance(value, slice):
        parts = [plain(value.start), plain(value.stop), plain(value.step)]
        return slice(*parts)
    return value


def _rebuilt(whole: Any, parts: list[Any]) -> Any:
    return whole if all(map(operator.is_, parts, whole)) else type(whole)(parts)


def has_stand_in(value: Any) -> bool:
    """Whether a stand-in is in `value`, inside tuples, lists, dicts and slices."""
    if isinstance(value, Whole | Real | Parts | Device):
        return True
    if type(value) in (tuple, list, torch.Size):
        return any(map(has_stand_in, value))
    if type(value) is dict:
        return any(map(has_stand_in, value.values()))
    return isinstance(value, slice) and any(map(has_stand_in, (value.start, value.stop, value.step)))
