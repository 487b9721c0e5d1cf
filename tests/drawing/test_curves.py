"""Charts of curves and stems: what can be read back from their pixels and their SVG."""

import io
import re
import warnings

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from reportgen.drawing.charts import Chart
from reportgen.drawing.curves import Curve, curve_plot, notice, stem_plot, writable

BLUE, ORANGE = (0x00, 0x72, 0xB2), (0xD5, 0x5E, 0x00)


def plot(*rows: list[float], names: tuple[str, ...] = (), vector: bool = False) -> Chart:
    names = names or tuple(f"image{number}" for number in range(len(rows)))
    curves = [
        Curve(name, np.arange(len(row)), np.array(row, np.float64)) for name, row in zip(names, rows, strict=True)
    ]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        return curve_plot(curves, span=len(rows[0]), x_label="unit", y_label="value", vector=vector)


def stems(values: NDArray[np.float64], label: str = "best") -> Chart:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        marked = int(values.argmax())
        return stem_plot(
            values, np.arange(values.size), marked=marked, label=label, x_label="class", y_label="probability"
        )


def pixels(chart: Chart) -> NDArray[np.int64]:
    with Image.open(io.BytesIO(chart.files["png"])) as picture:
        assert picture.size == (chart.width, chart.height)
        return np.asarray(picture.convert("RGB")).astype(np.int64)


def columns_of(chart: Chart, colour: tuple[int, int, int]) -> list[int]:
    """The columns with a tint of blue or orange: thin lines are paler than their colour."""
    warmth = pixels(chart)[..., 0] - pixels(chart)[..., 2]
    tinted = warmth > 50 if colour is ORANGE else warmth < -50
    return np.flatnonzero(tinted.any(axis=0)).tolist()


@pytest.mark.parametrize(
    "row",
    [
        [1.7e308, -1.7e308, 0.0],
        [1e-45, 0.0, 0.0],
        [5e-324, 5e-324],
        [float("nan")] * 3,
        [float("inf"), 1.0, -float("inf")],
        [0.0],
        [2.0] * 50,
    ],
)
def test_no_value_breaks_a_plot(row: list[float]) -> None:
    assert set(plot(row, vector=True).files) == {"png", "svg", "pdf"}


def test_a_point_between_two_holes_is_seen() -> None:
    row = [float("nan")] * 101
    empty = columns_of(plot(row), BLUE)
    row[50] = 1.0
    found = columns_of(plot(row), BLUE)
    assert empty == []
    assert found
    assert max(found) - min(found) < 12


def test_holes_are_left_open() -> None:
    row = [1.0] * 30 + [float("nan")] * 40 + [1.0] * 31
    found = columns_of(plot(row), BLUE)
    assert max(np.diff(found)) > 250


def test_only_the_picture_when_that_is_enough() -> None:
    assert set(plot([1.0, 2.0]).files) == {"png"}


def test_equal_input_gives_equal_bytes() -> None:
    assert plot([1.0, 2.0], [0.0, 1.0], vector=True).files == plot([1.0, 2.0], [0.0, 1.0], vector=True).files


def test_names_are_no_formulas_and_none_is_hidden() -> None:
    names = ("_hidden.png", "$x_2$.png", "$\\frac$.png", "猫.jpg", "tab\tname")
    chart = plot(*([1.0, 2.0] for _ in names), names=names, vector=True)
    comments = re.findall(r"<!-- (.*?) -->", chart.files["svg"].decode())
    for name in ("_hidden.png", "$x_2$.png", "$\\frac$.png", "□.jpg", "tab□name"):
        assert name in comments


def test_names_are_shortened_in_the_middle() -> None:
    assert writable("short.jpg", 12) == "short.jpg"
    assert writable("a long name of a photograph.jpg", 12) == "a long ….jpg"


def test_stems_stand_at_their_heights() -> None:
    values = np.array([0.1, 0.0, 0.6, 0.3])
    picture = pixels(stems(values))
    blue = (np.abs(picture - np.array(BLUE)).sum(axis=2) < 30).sum(axis=0)
    orange = (np.abs(picture - np.array(ORANGE)).sum(axis=2) < 30).sum(axis=0)
    assert orange.max() / blue.max() == pytest.approx(2, rel=0.03)
    assert np.flatnonzero(orange).mean() < np.flatnonzero(blue == blue.max()).mean()


@pytest.mark.parametrize("marked", [0, 1999, 3999])
def test_four_thousand_stems_show_the_best_and_the_second(marked: int) -> None:
    values = np.full(4000, 1e-5)
    values[marked], values[1234] = 0.5, 0.4
    chart = stems(values, "a class with a very long name, such as synonyms of one and the same thing make, 50.0 %")
    assert columns_of(chart, ORANGE)
    picture = pixels(chart)
    blue = (np.abs(picture - np.array(BLUE)).sum(axis=2) < 200).sum(axis=0)
    assert blue.max() > 0.5 * chart.height
    assert len(chart.files["svg"]) < 400_000
    margins = np.concatenate([picture[:, 0], picture[:, -1]])
    assert (margins == 255).all(), "a label is cut off"


def test_zero_everywhere_and_a_notice() -> None:
    assert set(stems(np.zeros(3)).files) == {"png", "svg", "pdf"}
    assert set(notice("Undefined: 2 of 3 scores are $not$ a number.").files) == {"png", "svg", "pdf"}
