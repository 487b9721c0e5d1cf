"""Files made and written beside the walk: in order, bounded, and with every error told."""

import threading
import time
from collections.abc import Callable, Mapping

import pytest

from reportgen.errors import OutputError
from reportgen.figures.base import DataFile, Figure, Later
from reportgen.saving import Saver, held_by, saving
from reportgen.timings import Timings


class Kept:
    """Where files go in these tests."""

    def __init__(self) -> None:
        self.files: dict[str, bytes | str] = {}

    def write(self, name: str, content: bytes | str) -> None:
        self.files[name] = content


class Full(Kept):
    """A disk without room for one file."""

    def write(self, name: str, content: bytes | str) -> None:
        if name.endswith("/3.png"):
            raise OutputError("site: can't be written: No space left on device")
        super().write(name, content)


class Told:
    """What a saver said, in the order in which it did."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.threads: set[int] = set()

    def written(self, figure: Figure, files: list[str]) -> None:
        self.threads.add(threading.get_ident())
        self.lines.append(f"{figure.alt}: {' '.join(files)}")

    def broken(self, figure: Figure, error: Exception) -> None:
        self.lines.append(f"{figure.alt} raised {type(error).__name__}: {error}")


def figure(name: str, files: Mapping[str, bytes]) -> Figure:
    return Figure("kind", None, None, files, 1, 1, name, "A caption.")


def saver(kept: Kept, told: Told, threads: int) -> Saver:
    return Saver(kept, lambda one: one.alt, told.written, told.broken, threads=threads, timings=Timings())


def make(content: bytes, seconds: float = 0.0) -> Callable[[], bytes]:
    def made() -> bytes:
        time.sleep(seconds)
        return content

    return made


@pytest.mark.parametrize("threads", [0, 1, 4])
def test_files_are_written_and_figures_told_of_in_order(threads: int) -> None:
    kept, told = Kept(), Told()
    with saving(saver(kept, told, threads)) as one:
        for number in range(40):
            content = make(b"%d" % number, 0.002 * (number % 3))
            one.save(figure(str(number), Later(1, png=content, svg=make(b"svg"))))
            one.save(DataFile(f"{number}.csv", b"numbers"))
    assert told.lines == [f"{number}: figures/{number}.png figures/{number}.svg" for number in range(40)]
    assert told.threads == {threading.get_ident()}
    assert [kept.files[f"figures/{number}.png"] for number in range(40)] == [b"%d" % each for each in range(40)]
    assert len(kept.files) == 120


@pytest.mark.parametrize("threads", [0, 2])
def test_a_figure_that_cant_be_encoded_is_told_of_and_the_others_are_there(threads: int) -> None:
    def fails() -> bytes:
        raise MemoryError("too large")

    kept, told = Kept(), Told()
    with saving(saver(kept, told, threads)) as one:
        for number in range(6):
            one.save(figure(str(number), Later(1, png=fails if number == 2 else make(b"png"))))
    assert told.lines[2] == "2 raised MemoryError: too large"
    assert len(told.lines) == 6
    assert sorted(kept.files) == [f"figures/{number}.png" for number in (0, 1, 3, 4, 5)]


@pytest.mark.parametrize("threads", [0, 2])
def test_a_full_disk_ends_it(threads: int) -> None:
    started = []

    def counted() -> bytes:
        started.append(1)
        return b"png"

    kept, told = Full(), Told()
    with pytest.raises(OutputError, match="No space left"), saving(saver(kept, told, threads)) as one:
        for number in range(500):
            one.save(figure(str(number), Later(1, png=counted)))
    assert len(started) < 60
    assert all(not thread.name.startswith("reportgen-save") for thread in threading.enumerate())


def test_an_interrupt_leaves_nothing_running() -> None:
    kept, told = Kept(), Told()
    with pytest.raises(KeyboardInterrupt), saving(saver(kept, told, 2)) as one:
        for number in range(6):
            one.save(figure(str(number), Later(1, png=make(b"png", 0.05))))
        raise KeyboardInterrupt
    assert all(not thread.name.startswith("reportgen-save") for thread in threading.enumerate())
    assert len(kept.files) < 6


@pytest.mark.parametrize(("held", "most"), [(1, 2 * 4 + 1), (40 << 20, 2)])
def test_a_slow_disk_does_not_fill_memory(held: int, most: int) -> None:
    alive, peak, lock = 0, 0, threading.Lock()

    class Slow(Kept):
        def write(self, name: str, content: bytes | str) -> None:
            nonlocal alive
            time.sleep(0.002)
            with lock:
                alive -= 1

    with saving(saver(Slow(), Told(), 2)) as one:
        for number in range(30):
            with lock:
                alive += 1
                peak = max(peak, alive)
            one.save(figure(str(number), Later(held, png=make(b"png"))))
    assert peak <= most


def test_what_waits_counts_what_it_holds() -> None:
    assert held_by({"png": b"123", "svg": b"4"}) == 4
    assert held_by(Later(77, png=make(b"1"))) == 77


def test_files_made_later_are_made_when_looked_up() -> None:
    calls = []
    files = Later(5, png=lambda: calls.append(1) or b"png", svg=make(b"svg"))  # type: ignore[func-returns-value]
    assert (list(files), len(files), "png" in files, calls) == (["png", "svg"], 2, True, [])
    assert (files["png"], calls) == (b"png", [1])
    assert (files["png"], dict(files)) == (b"png", {"png": b"png", "svg": b"svg"})
