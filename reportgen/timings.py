"""Where the time of a build went."""

import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager
from typing import TypeVar

_Item = TypeVar("_Item")
_LABEL, _NUMBER = 28, 9


class Timings:
    """Seconds by what they were spent on; any thread may add to them.

    What runs beside the walk, in other threads, is `beside`: its seconds overlap the others.
    """

    def __init__(self, clock: Callable[[], float] = time.perf_counter) -> None:
        self.clock = clock
        self._started = clock()
        self._lock = threading.Lock()
        self._seconds: dict[str, float] = defaultdict(float)
        self._beside: set[str] = set()

    def of(self, what: str, *, beside: bool = False) -> AbstractContextManager[None]:
        """Count the time that the block takes as spent on `what`."""
        return _Span(self, what, beside)

    def each(self, what: str, items: Iterable[_Item]) -> Iterator[_Item]:
        """Yield `items`, counting the time that each of them takes to come as spent on `what`."""
        waiting = iter(items)
        while True:
            try:
                with self.of(what):
                    item = next(waiting)
            except StopIteration:
                return
            yield item

    def add(self, what: str, seconds: float, *, beside: bool = False) -> None:
        """Count so many seconds as spent on `what`."""
        with self._lock:
            self._seconds[what] += seconds
            if beside:
                self._beside.add(what)

    @property
    def seconds(self) -> dict[str, float]:
        """The seconds so far, by what they were spent on, in the order in which each first ended."""
        with self._lock:
            return dict(self._seconds)

    @property
    def beside(self) -> frozenset[str]:
        """What ran beside the walk."""
        with self._lock:
            return frozenset(self._beside)

    @property
    def whole(self) -> float:
        """The seconds since this object was made."""
        return self.clock() - self._started

    def table(self) -> str:
        """Return a table for people: a row each, the longest first, and the time since this object was made."""
        whole, beside = self.whole, self.beside
        spent = sorted(self.seconds.items(), key=lambda item: -item[1])
        rows = [(what, seconds) for what, seconds in spent if what not in beside]
        rows.append(("everything else", max(0.0, whole - sum(seconds for _, seconds in rows))))
        lines = [f"{'where the time went':<{_LABEL}}{'seconds':>{_NUMBER}}{'share':>{_NUMBER}}"]
        lines += [_row(what, seconds, whole) for what, seconds in rows]
        lines.append(_row("in all", whole, whole))
        if beside:
            lines.append("beside it, in other threads and processes")
            lines += [_row(f"  {what}", seconds, whole) for what, seconds in spent if what in beside]
        return "\n".join(lines)


class _Span(AbstractContextManager[None]):
    """A block whose time is counted. A walk has thousands, and `contextmanager` takes twice as long."""

    __slots__ = ("_beside", "_started", "_timings", "_what")

    def __init__(self, timings: Timings, what: str, beside: bool) -> None:
        self._timings, self._what, self._beside = timings, what, beside

    def __enter__(self) -> None:
        self._started = self._timings.clock()

    def __exit__(self, *_: object) -> None:
        self._timings.add(self._what, self._timings.clock() - self._started, beside=self._beside)


def _row(what: str, seconds: float, whole: float) -> str:
    share = f"{100 * seconds / whole:.1f} %" if whole else ""
    return f"{what:<{_LABEL}}{seconds:>{_NUMBER}.2f}{share:>{_NUMBER}}"
