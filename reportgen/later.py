"""Files that are made when they are asked for; by which thread or process is not a figure's business."""

from collections.abc import Callable, Iterator, Mapping
from functools import cached_property
from typing import Any

Maker = Callable[..., Mapping[str, bytes]]


class Later(Mapping[str, bytes]):
    """Files by suffix, which `function(*arguments())` makes all at once.

    Another thread may call it, later on: `arguments`, which may wait for a device, gives arrays that nobody else
    changes, never a borrowed activation. `held` is how many bytes these take. With `slow` another process may: then
    `function` is one of a module of `reportgen.drawing`, and the arguments can be pickled. With `picture` the same
    holds, it takes hardly longer than writing its files does, and the arguments wait for nothing.
    """

    def __init__(
        self,
        function: Maker,
        arguments: Callable[[], tuple[Any, ...]],
        suffixes: tuple[str, ...] = ("png",),
        *,
        held: int = 0,
        slow: bool = False,
        picture: bool = False,
    ) -> None:
        self.function = function
        self.arguments = arguments
        self.held = held
        self.slow = slow
        self.picture = picture
        self._suffixes = suffixes

    def make(self) -> Mapping[str, bytes]:
        """Return the files, made anew."""
        return self.function(*self.arguments())

    @cached_property
    def _made(self) -> Mapping[str, bytes]:
        return self.make()

    def __getitem__(self, suffix: str) -> bytes:
        return self._made[suffix]

    def __contains__(self, suffix: object) -> bool:
        return suffix in self._suffixes

    def __iter__(self) -> Iterator[str]:
        return iter(self._suffixes)

    def __len__(self) -> int:
        return len(self._suffixes)
