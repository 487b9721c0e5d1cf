"""Encoding and writing beside the walk: threads make the files of figures, while the next node is computed.

Results come back in the order in which products were handed in, whatever the number of threads, so the record
doesn't depend on it. Pictures, of which a walk makes hundreds, go to a process that encodes and writes them; charts
to others that draw them, since drawing never releases Python's lock.
"""

import threading
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Protocol

from reportgen.encoder import Encoder, Written
from reportgen.errors import ReportError
from reportgen.figures.base import DataFile, Figure, Product
from reportgen.later import Later
from reportgen.numerics.threads import stop_spinning
from reportgen.timings import Timings
from reportgen.worker import MOST_WORKERS, Workers

_A_THREAD = 8
"""Products that may wait for each thread to be made."""
_ENCODED_BESIDE = 40
"""And for the process that encodes: pictures are many, and it is never to wait for the next."""
_MOST_UNTOLD = 400
"""Products that may be written and wait for an earlier one, which takes long, to be told of."""
_MOST_WAITING = 64 << 20
"""Bytes that products may hold while they wait to be made; one product may always wait."""


class Writer(Protocol):
    """Where files go: a `site.writer.SiteWriter`."""

    def write(self, name: str, content: bytes | str) -> None: ...
    def path_of(self, name: str) -> str | None: ...
    def enter(self, name: str, digest: str, size: int) -> None: ...


Make = Callable[[Mapping[str, bytes]], Mapping[str, bytes]]
"""What makes the files of a product."""


@dataclass
class _Waiting:
    """A product to be told of: `contents` are let go once they are written."""

    product: Product
    files: list[str]
    contents: Mapping[str, bytes]
    done: Future[None] = field(default_factory=Future)


class Saver:
    """Takes products in, and says of each figure, in order, when it is written (`written`) or why not (`broken`).

    Both are called in the caller's own thread. `threads` is how many others there are; with 0, files are made in
    it, too. `encoder`, the caller's, takes pictures in when it is ready; it is closed if they are given up. When
    too much waits, `save` makes some of it itself, and waits where nothing is left to be begun.
    Raises OutputError, from `save` or `finish`, when a file can't be written.
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
        encoder: Encoder | None = None,
    ) -> None:
        self._writer = writer
        self._place = place
        self._written = written
        self._broken = broken
        self._timings = timings
        self._threads = _Threads(threads) if threads else None
        self._most = threads * _A_THREAD
        self._encoder = encoder if threads else None
        self._waiting: deque[_Waiting] = deque()
        self._load = _Load()

    def save(self, product: Product) -> None:
        """Have the files of `product` written."""
        files = _names(product, self._place)
        contents = product.files if isinstance(product, Figure) else {"": product.content}
        waiting = _Waiting(_without_files(product), files, contents)
        self._waiting.append(waiting)
        if self._threads:
            held = held_by(contents)
            self._load.add(held)
            if not self._encoded_beside(waiting):
                waiting.done = self._threads.submit(contents, partial(self._make, files, contents))
            waiting.done.add_done_callback(partial(self._let_go, waiting, held))
        self._tell_of_written()
        while self._is_full():
            self._help()

    def finish(self) -> None:
        """Wait until everything is written."""
        while self._waiting:
            self._help()

    def close(self) -> None:
        """Give up what has not begun, and wait for what has."""
        self._waiting.clear()
        if self._encoder and self._encoder.busy:
            self._encoder.close()
        if self._threads:
            self._threads.close()

    def _is_full(self) -> bool:
        if not self._threads:
            return bool(self._waiting)
        beside = _ENCODED_BESIDE if self._encoder and self._encoder.busy else 0
        return self._load.exceeds(self._most + beside) or len(self._waiting) > _MOST_UNTOLD

    def _help(self) -> None:
        """Make the first of what nobody has begun; where there is none, wait until something is written."""
        unwritten = [one for one in self._waiting if not one.done.done()]
        for one in unwritten:
            contents = one.contents
            if not self._threads or one.done.cancel():
                one.done = _done(partial(self._make, one.files, contents, _made, beside=False))
                break
        else:
            with self._timings.of("wait for files"):
                if self._encoder and self._encoder.busy:
                    self._encoder.collect(wait=True)
                else:
                    wait([one.done for one in unwritten], return_when=FIRST_COMPLETED)
        self._tell_of_written()

    def _encoded_beside(self, waiting: _Waiting) -> bool:
        """Have a picture made by the process for that, if it can take it in."""
        contents = waiting.contents
        if not self._encoder or not isinstance(contents, Later) or not contents.picture:
            return False
        paths = [self._writer.path_of(name) for name in waiting.files]
        taken = self._encoder.submit(
            contents, dict(zip(contents, paths, strict=True)), partial(self._encoded, waiting)
        )
        if taken:
            waiting.done.set_running_or_notify_cancel()
        return taken

    def _encoded(self, waiting: _Waiting, written: Written | None) -> None:
        """Enter what the process wrote; what it could not, whatever the reason, is made here."""
        if written is None:
            _do(partial(self._make, waiting.files, waiting.contents, _made, beside=False), waiting.done)
            return
        self._timings.add("encode", written.encoding, beside=True)
        self._timings.add("write", written.writing, beside=True)
        for name, (digest, size) in zip(waiting.files, written.sums, strict=True):
            self._writer.enter(name, digest, size)
        waiting.done.set_result(None)

    def _let_go(self, waiting: _Waiting, held: int, _: Future[None]) -> None:
        waiting.contents = {}
        self._load.take(held)

    def _tell_of_written(self) -> None:
        if self._encoder:
            self._encoder.collect()
        while self._waiting and self._waiting[0].done.done():
            self._tell(self._waiting.popleft())

    def _make(self, files: list[str], contents: Mapping[str, bytes], make: Make, *, beside: bool = True) -> None:
        where = ", in the walk" if self._threads and not beside else ""
        with self._timings.of(f"{_doing(contents)}{where}", beside=beside):
            made = make(contents)
        with self._timings.of(f"write{where}", beside=beside):
            for name, suffix in zip(files, contents, strict=True):
                self._writer.write(name, made[suffix])

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


class _Threads:
    """Threads that encode and write, and others that wait for the processes that draw."""

    def __init__(self, count: int) -> None:
        self._pool = ThreadPoolExecutor(count, "reportgen-save")
        self._workers = Workers(min(count, MOST_WORKERS))
        self._pool.submit(stop_spinning).result()

    def submit(self, contents: Mapping[str, bytes], work: Callable[[Make], None]) -> Future[None]:
        """Have `work` called with what makes such `contents`."""
        if isinstance(contents, Later) and contents.slow:
            return self._workers.submit(lambda worker: work(partial(_made, make=worker.make)))
        return self._pool.submit(work, _made)

    def close(self) -> None:
        """Give up what has not begun, and wait for what has."""
        self._pool.shutdown(wait=False, cancel_futures=True)
        self._workers.close()
        self._pool.shutdown(wait=True)


class _Load:
    """How many products wait to be made, and how many bytes they hold; several threads may say so."""

    def __init__(self) -> None:
        self._count = self._held = 0
        self._lock = threading.Lock()

    def add(self, held: int) -> None:
        with self._lock:
            self._count += 1
            self._held += held

    def take(self, held: int) -> None:
        with self._lock:
            self._count -= 1
            self._held -= held

    def exceeds(self, most: int) -> bool:
        with self._lock:
            return self._count > most or (self._count > 1 and self._held > _MOST_WAITING)


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
    return contents.held if isinstance(contents, Later) else sum(map(len, contents.values()))


def _made(
    contents: Mapping[str, bytes], make: Callable[[Later], Mapping[str, bytes]] = Later.make
) -> Mapping[str, bytes]:
    return make(contents) if isinstance(contents, Later) else contents


def _doing(contents: Mapping[str, bytes]) -> str:
    return "draw charts" if isinstance(contents, Later) and contents.slow else "encode"


def _without_files(product: Product) -> Product:
    """What is told of a figure when its files are written."""
    return replace(product, files={}) if isinstance(product, Figure) else replace(product, content=b"")


def _done(make: Callable[[], None]) -> Future[None]:
    """What `make` comes to, right now."""
    done: Future[None] = Future()
    _do(make, done)
    return done


def _do(make: Callable[[], None], done: Future[None]) -> None:
    """Have `done` be what `make` comes to."""
    try:
        make()
    except Exception as error:  # noqa: BLE001 - it is raised, or told, where the result is asked for
        done.set_exception(error)
    else:
        done.set_result(None)


def _names(product: Product, place: Callable[[Figure], str]) -> list[str]:
    if isinstance(product, DataFile):
        return [f"data/{product.name}"]
    return [f"figures/{place(product)}.{suffix}" for suffix in product.files]
