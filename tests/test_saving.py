"""Files made and written beside the walk: in order, bounded, and with every error told."""

import threading
import time
import weakref
from collections.abc import Mapping
from functools import partial

import numpy as np
import pytest

from reportgen.drawing.curves import Curve, curve_plot
from reportgen.errors import OutputError
from reportgen.figures.base import DataFile, Figure
from reportgen.later import Later
from reportgen.saving import Saver, held_by, saving
from reportgen.timings import Timings


class Kept:
    """Where files go in these tests."""

    def __init__(self) -> None:
        self.files: dict[str, bytes | str] = {}
        self.entered: dict[str, tuple[str, int]] = {}

    def write(self, name: str, content: bytes | str) -> None:
        self.files[name] = content

    def path_of(self, name: str) -> None:
        """Another process may write nowhere."""

    def enter(self, name: str, digest: str, size: int) -> None:
        self.entered[name] = digest, size


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


def later(held: int = 1, seconds: float = 0.0, **contents: bytes) -> Later:
    """Files that take so many seconds to be made."""

    def make() -> dict[str, bytes]:
        time.sleep(seconds)
        return contents

    return Later(make, tuple, tuple(contents), held=held)


@pytest.mark.parametrize("threads", [0, 1, 4])
def test_files_are_written_and_figures_told_of_in_order(threads: int) -> None:
    kept, told = Kept(), Told()
    with saving(saver(kept, told, threads)) as one:
        for number in range(40):
            files = later(seconds=0.002 * (number % 3), png=b"%d" % number, svg=b"svg")
            one.save(figure(str(number), files))
            one.save(DataFile(f"{number}.csv", b"numbers"))
    assert told.lines == [f"{number}: figures/{number}.png figures/{number}.svg" for number in range(40)]
    assert told.threads == {threading.get_ident()}
    assert [kept.files[f"figures/{number}.png"] for number in range(40)] == [b"%d" % each for each in range(40)]
    assert len(kept.files) == 120


@pytest.mark.parametrize("threads", [0, 2])
def test_a_figure_that_cant_be_encoded_is_told_of_and_the_others_are_there(threads: int) -> None:
    def fails() -> dict[str, bytes]:
        raise MemoryError("too large")

    kept, told = Kept(), Told()
    with saving(saver(kept, told, threads)) as one:
        for number in range(6):
            one.save(figure(str(number), Later(fails, tuple) if number == 2 else later(png=b"png")))
    assert told.lines[2] == "2 raised MemoryError: too large"
    assert len(told.lines) == 6
    assert sorted(kept.files) == [f"figures/{number}.png" for number in (0, 1, 3, 4, 5)]


@pytest.mark.parametrize("threads", [0, 2])
def test_a_full_disk_ends_it(threads: int) -> None:
    started = []

    def counted() -> dict[str, bytes]:
        started.append(1)
        return {"png": b"png"}

    kept, told = Full(), Told()
    with pytest.raises(OutputError, match="No space left"), saving(saver(kept, told, threads)) as one:
        for number in range(500):
            one.save(figure(str(number), Later(counted, tuple)))
    assert len(started) < 60
    assert all(not thread.name.startswith("reportgen-save") for thread in threading.enumerate())


def test_an_interrupt_leaves_nothing_running() -> None:
    kept, told = Kept(), Told()
    with pytest.raises(KeyboardInterrupt), saving(saver(kept, told, 2)) as one:
        for number in range(6):
            one.save(figure(str(number), later(seconds=0.05, png=b"png")))
        raise KeyboardInterrupt
    assert all(not thread.name.startswith("reportgen-save") for thread in threading.enumerate())
    assert len(kept.files) < 6


@pytest.mark.parametrize(("held", "most"), [(1, 2 * 8 + 1), (40 << 20, 2)])
def test_a_slow_disk_does_not_fill_memory(held: int, most: int) -> None:
    alive, peak, lock = 0, 0, threading.Lock()

    class Slow(Kept):
        def write(self, name: str, content: bytes | str) -> None:
            nonlocal alive
            time.sleep(0.002)
            with lock:
                alive -= 1

    with saving(saver(Slow(), Told(), 2)) as one:
        for number in range(40):
            with lock:
                alive += 1
                peak = max(peak, alive)
            one.save(figure(str(number), later(held, png=b"png")))
    assert 1 < peak <= most


def test_who_waits_makes_what_nobody_has_begun() -> None:
    makers: list[str] = []

    def make() -> dict[str, bytes]:
        makers.append(threading.current_thread().name)
        time.sleep(0.01)
        return {"png": b"png"}

    kept, told = Kept(), Told()
    with saving(saver(kept, told, 1)) as one:
        for number in range(40):
            one.save(figure(str(number), Later(make, tuple)))
    assert set(makers) == {"MainThread", "reportgen-save_0"}
    assert len(makers) == 40, "a product was made twice, or not at all"
    assert told.lines == [f"{number}: figures/{number}.png" for number in range(40)]


def test_what_is_written_waits_for_an_earlier_one_to_be_told_of_and_holds_nothing() -> None:
    released = threading.Event()

    def wait() -> dict[str, bytes]:
        assert released.wait(20)
        return {"png": b"late"}

    class Array:
        pass

    arrays = [Array() for _ in range(5)]
    alive = [weakref.ref(array) for array in arrays]
    kept, told = Kept(), Told()
    with saving(saver(kept, told, 2)) as one:
        one.save(figure("first", Later(wait, tuple)))
        while arrays:
            one.save(figure(str(len(arrays)), Later(lambda _: {"png": b"png"}, partial(tuple, [arrays.pop()]))))
        limit = time.monotonic() + 20
        while (len(kept.files) < 5 or any(one() for one in alive)) and time.monotonic() < limit:
            time.sleep(0.01)
        assert not told.lines
        assert [ref() for ref in alive] == [None] * 5
        released.set()
    assert [line.partition(":")[0] for line in told.lines] == ["first", "5", "4", "3", "2", "1"]


def test_what_waits_counts_what_it_holds() -> None:
    assert held_by({"png": b"123", "svg": b"4"}) == 4
    assert held_by(later(77, png=b"1")) == 77


@pytest.mark.parametrize("threads", [0, 1, 2])
def test_charts_are_drawn_elsewhere_with_the_same_bytes(threads: int) -> None:
    charts = [
        curve_plot([Curve("a", np.arange(3), np.array([0.0, 1.0, number]))], span=3, x_label="x", y_label="y")
        for number in range(3)
    ]
    kept, told, timings = Kept(), Told(), Timings()
    one = Saver(kept, lambda figure: figure.alt, told.written, told.broken, threads=threads, timings=timings)
    with saving(one):
        for number, chart in enumerate(charts):
            one.save(figure(str(number), chart.files))
    for number, chart in enumerate(charts):
        for suffix, content in chart.files.items():
            assert kept.files[f"figures/{number}.{suffix}"] == content
    assert told.lines == [
        f"{number}: figures/{number}.png figures/{number}.svg figures/{number}.pdf" for number in range(3)
    ]
    assert ("draw charts" in timings.beside) == (threads > 0)
