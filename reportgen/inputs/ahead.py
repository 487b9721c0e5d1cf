"""The next batch is decoded while the network runs on this one."""

import threading
from collections.abc import Iterator
from typing import Generic, TypeVar

_Item = TypeVar("_Item")


def ahead(items: Iterator[_Item]) -> Iterator[_Item]:
    """Yield `items`, the next of which is made in another thread meanwhile: one, and no more.

    What making one raises is raised when it is asked for.
    """
    coming = _Next(items)
    while True:
        coming.wait()
        if coming.ended:
            return
        item, coming = coming.item, _Next(items)
        yield item


class _Next(Generic[_Item]):
    """One item on its way. The thread is a daemon, so that an image that can't be read through holds up no exit."""

    item: _Item
    ended = False

    def __init__(self, items: Iterator[_Item]) -> None:
        self._items = items
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._make, name="reportgen-decode", daemon=True)
        self._thread.start()

    def wait(self) -> None:
        """Wait for the item, or for there being none. Raises what making it raised."""
        self._thread.join()
        if self._error is not None:
            raise self._error

    def _make(self) -> None:
        try:
            self.item = next(self._items)
        except StopIteration:
            self.ended = True
        except BaseException as error:  # noqa: BLE001 - it is raised in the thread that waits
            self._error = error
