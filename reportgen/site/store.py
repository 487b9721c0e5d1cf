"""Figures' entries on disk: a report of many images has more of them than memory should hold."""

import io
import marshal
import pickle
import threading
import weakref
from array import array
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import fields
from operator import attrgetter
from typing import IO, Any, overload

from reportgen.errors import OutputError
from reportgen.site.record import FigureEntry, StoredData

Place = tuple[str | None, str | None]
"""The image and the layer of a figure."""

_RECENT = 256
"""Entries that are kept when they were read: a page asks for the same ones several times."""


class FigureStore(Sequence[FigureEntry]):
    """A sequence that entries are appended to, and that makes each anew when it is asked for.

    They are written to `file`, which is closed when the last store that reads it is gone; without one they stay in
    memory. Raises OutputError where that file can't be written or read.
    """

    def __init__(self, file: IO[bytes] | None = None) -> None:
        self._content = _Content(io.BytesIO() if file is None else file)
        self._places: list[Place] = []
        self._order: Sequence[int] = range(0)

    def append(self, entry: FigureEntry) -> None:
        """Add `entry` at the end. A store that `ordered` returned has another order, and takes no more."""
        self._content.append(entry)
        self._places.append((entry.image, entry.layer))
        self._order = range(len(self._places))

    def clear(self) -> None:
        """Forget all entries."""
        self._content.clear()
        self._places.clear()
        self._order = range(0)

    def ordered(self, key: Callable[[Place], Any]) -> "FigureStore":
        """Return the same entries sorted by `key` of their places; of equal ones the earlier comes first."""
        view = FigureStore.__new__(FigureStore)
        view._content, view._places = self._content, self._places
        view._order = array("Q", sorted(self._order, key=lambda number: key(self._places[number])))
        return view

    def __len__(self) -> int:
        return len(self._order)

    @overload
    def __getitem__(self, index: int) -> FigureEntry: ...
    @overload
    def __getitem__(self, index: slice) -> list[FigureEntry]: ...
    def __getitem__(self, index: int | slice) -> FigureEntry | list[FigureEntry]:
        if isinstance(index, slice):
            return [self._content.entry(number) for number in self._order[index]]
        return self._content.entry(self._order[index])

    def __iter__(self) -> Iterator[FigureEntry]:
        return map(self._content.entry, self._order)

    def __eq__(self, other: object) -> bool:
        return list(self) == list(other) if isinstance(other, Sequence) else NotImplemented

    __hash__ = None  # type: ignore[assignment]  # as that of a list

    def __repr__(self) -> str:
        return f"<FigureStore of {len(self)} figures>"

    def __reduce__(self) -> tuple[Any, ...]:
        return list, (list(self),)  # the file is this process's own


class _Content:
    """Entries in a file, one after another, and those that were read last. Several threads may read."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self._starts = array("Q", [0])
        self._recent: OrderedDict[int, FigureEntry] = OrderedDict()
        self._lock = threading.Lock()
        weakref.finalize(self, file.close).atexit = False  # the system closes what is open then

    def append(self, entry: FigureEntry) -> None:
        part = _dump(entry)
        with self._lock, _told("kept", "make room there, or draw fewer images or layers"):
            self._file.seek(self._starts[-1])
            rest = memoryview(part)
            while rest:  # a disk that becomes full takes a part first
                rest = rest[self._file.write(rest) :]
            self._starts.append(self._starts[-1] + len(part))

    def clear(self) -> None:
        del self._starts[1:]
        self._recent.clear()

    def entry(self, number: int) -> FigureEntry:
        with self._lock:
            found = self._recent.get(number)
            if found is None:
                found = self._recent[number] = self._read(number)
                if len(self._recent) > _RECENT:
                    self._recent.popitem(last=False)
            return found

    def _read(self, number: int) -> FigureEntry:
        start, end = self._starts[number], self._starts[number + 1]
        with _told("read again", "build again"):
            self._file.seek(start)
            return _load(self._file.read(end - start))


def _dump(entry: FigureEntry) -> bytes:
    """An entry as bytes. Those of plain objects, as all of reportgen's are, take a fifth of the time of pickle."""
    data = entry.data if isinstance(entry.data, StoredData) else StoredData(entry.data)
    try:
        return _PLAIN + marshal.dumps((*_values_of(entry), data.state))
    except ValueError:  # another package's kind may have others
        return _ANY + pickle.dumps(entry, protocol=pickle.HIGHEST_PROTOCOL)


def _load(part: bytes) -> FigureEntry:
    entry: FigureEntry
    if part.startswith(_ANY):
        entry = pickle.loads(part[len(_ANY) :])  # noqa: S301 - written above
    else:
        *values, state = marshal.loads(memoryview(part)[len(_PLAIN) :])  # noqa: S302 - written above
        entry = FigureEntry(**dict(zip(_NAMES, values, strict=True)), data=StoredData.of(state))
    return entry


_NAMES = tuple(part.name for part in fields(FigureEntry) if part.name != "data")
_values_of = attrgetter(*_NAMES)
_PLAIN, _ANY = b"m", b"p"


@contextmanager
def _told(done: str, advice: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise OutputError(
            f"what figures say can't be {done} beside the report: {error.strerror}; {advice}"
        ) from None
