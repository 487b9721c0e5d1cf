"""Encoding and writing beside the walk: threads make the files of figures, while the next node is computed.

Results come back in the order in which products were handed in, whatever the number of threads, so the record
doesn't depend on it. Compression, hashing and writing release Python's lock.
"""

from collections import deque
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Protocol

from reportgen.errors import ReportError
from reportgen.figures.base import DataFile, Figure, Product
from reportgen.numerics.threads import stop_spinning
from reportgen.timings import Timings

_A_THREAD = 4
"""Products that may wait for each thread."""
_MOST_WAITING = 64 << 20
"""Bytes that products may hold while they wait; one product may always wait."""


class Writer(Protocol):
    """Where files go: a `site.writer.SiteWriter`."""

    def write(self, name: str, content: bytes | str) -> None: ...


@dataclass(frozen=True)
class _Waiting:
    product: Product
    files: list[str]
    held: int
    done: Future[None]


class Saver:
    """Takes products in, and says of each figure, in order, when it is written (`written`) or why not (`broken`).

    Both are called in the caller's own thread. `threads` is how many others there are; with 0, files are made in
    it, too. When too much waits, `save` waits for the oldest. Raises OutputError, from `save` or `finish`, when a
    file can't be written.
    """

    def __init__(
        self,
        writer: Writer,
        place: Callable[[Figure], str],
        written: Callable[[Figure, list[str]], None],
        broken: Callable[[Figure, Exception], None],
        *,
        threads: int,
        timings: Timings,
    ) -> None:
        self._writer = writer
        self._place = place
        self._written = written
        self._broken = broken
        self._timings = timings
        self._threads = threads
        self._pool = ThreadPoolExecutor(threads, "reportgen-save") if threads else None
        self._waiting: deque[_Waiting] = deque()
        if self._pool:
            self._pool.submit(stop_spinning).result()

    def save(self, product: Product) -> None:
        """Have the files of `product` written."""
        files = _names(product, self._place)
        contents = product.files if isinstance(product, Figure) else {"": product.content}
        waiting = _Waiting(product, files, held_by(contents), self._start(files, contents))
        self._waiting.append(waiting)
        while self._is_full():
            self._tell(self._waiting.popleft())

    def finish(self) -> None:
        """Wait until everything is written."""
        while self._waiting:
            self._tell(self._waiting.popleft())

    def close(self) -> None:
        """Give up what has not begun, and wait for what has."""
        self._waiting.clear()
        if self._pool:
            self._pool.shutdown(wait=True, cancel_futures=True)

    def _is_full(self) -> bool:
        count = len(self._waiting)
        if not self._pool:
            return count > 0
        return count > self._threads * _A_THREAD or (
            count > 1 and sum(one.held for one in self._waiting) > _MOST_WAITING
        )

    def _start(self, files: list[str], contents: Mapping[str, bytes]) -> Future[None]:
        if self._pool:
            return self._pool.submit(self._make, files, contents)
        done: Future[None] = Future()
        try:
            self._make(files, contents)
            done.set_result(None)
        except Exception as error:  # noqa: BLE001 - it is raised, or told, where the result is asked for
            done.set_exception(error)
        return done

    def _make(self, files: list[str], contents: Mapping[str, bytes]) -> None:
        for name, suffix in zip(files, contents, strict=True):
            with self._timings.of("encode", beside=self._pool is not None):
                content = contents[suffix]
            with self._timings.of("write", beside=self._pool is not None):
                self._writer.write(name, content)

    def _tell(self, waiting: _Waiting) -> None:
        try:
            waiting.done.result()
        except ReportError:
            raise
        except Exception as error:
            if not isinstance(waiting.product, Figure):
                raise
            self._broken(waiting.product, error)
        else:
            if isinstance(waiting.product, Figure):
                self._written(waiting.product, waiting.files)


@contextmanager
def saving(saver: Saver) -> Iterator[Saver]:
    """Close the saver when the block ends; when it ends well, everything is written."""
    try:
        yield saver
        saver.finish()
    finally:
        saver.close()


def held_by(contents: Mapping[str, bytes]) -> int:
    """Return how many bytes a product holds while it waits to be written."""
    held = getattr(contents, "held", None)
    return sum(map(len, contents.values())) if held is None else int(held)


def _names(product: Product, place: Callable[[Figure], str]) -> list[str]:
    if isinstance(product, DataFile):
        return [f"data/{product.name}"]
    return [f"figures/{place(product)}.{suffix}" for suffix in product.files]
