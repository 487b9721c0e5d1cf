"""The words and numbers that captions and the record share."""

import math
import struct

import numpy as np
import pytest

from reportgen.figures.wording import (
    class_names,
    count,
    count_shown,
    describe_class_names,
    describe_number,
    json_number,
    json_numbers,
    percent,
)


@pytest.mark.parametrize("value", [0.1, -1e-30, 3.4e38, 1 / 3, 16777217.0])
def test_a_json_number_brings_a_float32_back(value: float) -> None:
    single = struct.unpack("f", struct.pack("f", value))[0]
    found = json_number(single)
    assert found is not None
    assert struct.unpack("f", struct.pack("f", found))[0] == single


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_what_is_not_finite_is_no_json_number(value: float) -> None:
    assert json_number(value) is None


def _random_numbers() -> list[float]:
    random = np.random.default_rng(0)
    singles = np.frombuffer(random.bytes(4 * 20000), np.float32)
    doubles = np.frombuffer(random.bytes(8 * 20000), np.float64)
    ties = (random.integers(10**8, 10**9, 20000) + 0.5) / 10.0 ** random.integers(0, 9, 20000)
    with np.errstate(invalid="ignore"):
        return [*singles.astype(np.float64).tolist(), *doubles.tolist(), *ties.tolist()]


@pytest.mark.parametrize(
    "values",
    [
        [0.0, -0.0, math.nan, math.inf, -math.inf, 5e-324, 1.7e308, 1e22, 1e23, -1e-22, 1e-23],
        [9.9999999995, 0.99999999949999, 999999999.5, 123456789.5, 1234567895.0, 2.5e-10, 0.1, 100.0],
        [],
        _random_numbers(),
    ],
    ids=["ends", "near ties", "none", "random"],
)
def test_many_json_numbers_are_those_of_each(values: list[float]) -> None:
    found, expected = json_numbers(np.array(values)), [json_number(value) for value in values]
    assert list(map(str, found)) == list(map(str, expected))  # as texts, so that -0.0 is not 0.0


def test_counts() -> None:
    assert [
        count(1, "channel"),
        count(2048, "channel"),
        count(4, "batch"),
        count(21, "class"),
        count(2, "box"),
    ] == [
        "1 channel",
        "2,048 channels",
        "4 batches",
        "21 classes",
        "2 boxes",
    ]
    assert count_shown(64, 512, "channel") == "64 of 512 channels"
    assert count_shown(1, 1, "channel") == "the one channel"
    assert describe_number(-1.25) == "\N{MINUS SIGN}1.25"


def test_percentages_do_not_round_to_nothing_or_all() -> None:
    assert [percent(p) for p in (0.0, 1e-9, 0.0004, 0.0006, 0.6234, 0.9994, 0.9996, 1.0)] == [
        "0.0 %", "< 0.1 %", "< 0.1 %", "0.1 %", "62.3 %", "99.9 %", "> 99.9 %", "100.0 %",
    ]  # fmt: skip


def test_classes_are_named_where_the_names_fit() -> None:
    assert list(class_names(("disc", "ring"), 2)) == ["disc", "ring"]
    assert list(class_names(("disc", "ring"), 3)) == ["class 0", "class 1", "class 2"]
    assert describe_class_names(("disc", "ring"), 2) == ""
    assert describe_class_names((), 2) == "The names of the classes are not known; they are numbered from 0."
    assert describe_class_names(("disc",), 2).startswith("1 name of classes is known, which does not fit;")


def test_plurals() -> None:
    assert [count(2, noun) for noun in ("channel", "batch", "query", "key")] == [
        "2 channels",
        "2 batches",
        "2 queries",
        "2 keys",
    ]
    assert count(1, "query") == "1 query"


def test_an_undefined_percentage_is_said_to_be() -> None:
    assert percent(float("nan")) == "undefined"
