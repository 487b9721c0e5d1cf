"""Where the time went, by a clock of our own."""

import threading
from collections.abc import Iterator

import pytest

from reportgen.timings import Timings


class Clock:
    """A clock that stands still until it is moved."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def test_blocks_and_items_add_up() -> None:
    clock = Clock()
    timings = Timings(clock)

    def slow() -> Iterator[int]:
        for number in range(3):
            clock.now += 2
            yield number
        clock.now += 1

    for _ in range(2):
        with timings.of("write"):
            clock.now += 0.5
    for _ in timings.each("decode", slow()):
        clock.now += 10  # the consumer's time
    assert timings.seconds == {"write": 1.0, "decode": 7.0}
    assert timings.whole == 38.0


def test_what_raises_is_counted_too() -> None:
    clock = Clock()
    timings = Timings(clock)
    with pytest.raises(ValueError, match="broken"), timings.of("forward"):
        clock.now += 3
        raise ValueError("broken")
    assert timings.seconds == {"forward": 3.0}


def test_the_table_lists_the_longest_first_and_all_of_the_time() -> None:
    clock = Clock()
    timings = Timings(clock)
    for what, seconds in (("decode", 1), ("forward", 5)):
        with timings.of(what):
            clock.now += seconds
    with timings.of("encode", beside=True):
        clock.now += 4
    lines = [line.split() for line in timings.table().splitlines()]
    assert lines == [
        ["where", "the", "time", "went", "seconds", "share"],
        ["forward", "5.00", "50.0", "%"],
        ["decode", "1.00", "10.0", "%"],
        ["everything", "else", "4.00", "40.0", "%"],
        ["in", "all", "10.00", "100.0", "%"],
        ["beside", "it,", "in", "other", "threads", "and", "processes"],
        ["encode", "4.00", "40.0", "%"],
    ]


def test_threads_add_to_one_sum() -> None:
    timings = Timings(lambda: float(threading.get_ident()))

    def count() -> None:
        for _ in range(2000):
            timings.add("write", 1.0, beside=True)

    threads = [threading.Thread(target=count) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert timings.seconds == {"write": 8000.0}
    assert timings.beside == {"write"}
