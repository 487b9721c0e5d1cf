"""Names of nodes: module path, operation, and a number from the second of the same name on."""

import re
from collections.abc import Iterable

_NUMBERED = re.compile(r"(.+)_[0-9]+")
_HUMP = re.compile(r"(?<=[a-z])([A-Z])")
_NO_IDENTIFIER = re.compile(r"[^0-9a-zA-Z_]+")


class Namer:
    """Gives out names in execution order, each once.

    A module's name is its path, number and all; those among `modules` that end in a number are never given to
    another node.
    """

    def __init__(self, modules: Iterable[str]) -> None:
        self._taken = {name for name in modules if _NUMBERED.fullmatch(name)}
        self._calls: dict[str, int] = {}

    def name(self, base: str) -> str:
        """Return the next name for a node that is called `base` the first time."""
        call = self._calls.get(base, 0)
        name = f"{base}_{call}" if call else base
        while call and name in self._taken:
            call += 1
            name = f"{base}_{call}"
        self._calls[base] = call + 1
        self._taken.add(name)
        return name


def base_name(path: str, operation: str) -> str:
    """The name of an operation inside the module at `path`, without a number of its own."""
    numbered = _NUMBERED.fullmatch(operation)
    name = numbered[1] if numbered else operation
    return f"{path}.{name}" if path else name


def identifier(name: str) -> str:
    """Write a name of something as torch.fx does: `Conv2d_1a.bn.A` as `conv2d_1a_bn_a`."""
    return _NO_IDENTIFIER.sub("_", _HUMP.sub(r"_\1", name).lower())
