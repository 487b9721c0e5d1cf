"""Decoding one batch ahead."""

import threading
from collections.abc import Iterator

import pytest

from reportgen.errors import InputError
from reportgen.inputs.ahead import ahead


def counted(most: int, seen: list[int]) -> Iterator[int]:
    for number in range(most):
        seen.append(number)
        yield number


def test_all_items_come_in_order() -> None:
    assert list(ahead(counted(5, []))) == [0, 1, 2, 3, 4]
    assert list(ahead(iter(()))) == []


def test_one_item_is_made_meanwhile_and_no_more() -> None:
    seen: list[int] = []
    items = ahead(counted(9, seen))
    assert next(items) == 0
    for thread in threading.enumerate():
        if thread.name == "reportgen-decode":
            thread.join()
    assert seen == [0, 1]


def test_another_thread_makes_them() -> None:
    made = (threading.get_ident() for _ in range(2))
    assert threading.get_ident() not in set(ahead(made))


@pytest.mark.parametrize("error", [InputError("cat.jpg: cut off"), ValueError("a bug")])
def test_what_is_raised_is_raised_where_the_item_is_asked_for(error: Exception) -> None:
    def items() -> Iterator[int]:
        yield 1
        raise error

    found = ahead(items())
    assert next(found) == 1
    with pytest.raises(type(error), match=str(error)):
        next(found)
