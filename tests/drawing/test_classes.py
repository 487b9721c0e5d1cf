"""Colours of classes: fixed, distinct, and told apart in CIELAB, which they were not chosen in."""

from itertools import combinations

import numpy as np
import pytest
from PIL import Image

from reportgen.drawing.classes import class_colour, class_palette, lay_over
from reportgen.drawing.palette import palette

NAN = 253


def lab(colour: str) -> list[float]:
    """CIELAB of `#rrggbb` under D65 (CIE 15), coordinate by coordinate."""
    red, green, blue = (
        value / 12.92 if value <= 0.04045 else ((value + 0.055) / 1.055) ** 2.4
        for value in (int(colour[start : start + 2], 16) / 255 for start in (1, 3, 5))
    )
    x = (0.4124 * red + 0.3576 * green + 0.1805 * blue) / 0.9505
    y = 0.2126 * red + 0.7152 * green + 0.0722 * blue
    z = (0.0193 * red + 0.1192 * green + 0.9505 * blue) / 1.089
    f = [value ** (1 / 3) if value > 216 / 24389 else (841 / 108) * value + 4 / 29 for value in (x, y, z)]
    return [116 * f[1] - 16, 500 * (f[0] - f[1]), 200 * (f[1] - f[2])]


def distance(one: str, other: str) -> float:
    return float(np.linalg.norm(np.subtract(lab(one), lab(other))))


def test_the_first_colours_are_fixed() -> None:
    assert [class_colour(number) for number in range(8)] == [
        "#4f575a", "#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#f0e442",
    ]  # fmt: skip


def test_the_colours_of_21_classes_are_far_apart() -> None:
    colours = [class_colour(number) for number in range(21)]
    assert min(distance(*pair) for pair in combinations(colours, 2)) > 10


def test_no_two_of_252_colours_are_equal_and_none_is_that_of_nan() -> None:
    colours = {class_colour(number) for number in range(252)}
    assert len(colours) == 252
    assert min(distance(colour, "#ff00ff") for colour in colours) > 20
    assert class_colour(252 + 7) == class_colour(7)


def test_lightness_keeps_from_black_and_white() -> None:
    lightness = [lab(class_colour(number))[0] for number in range(252)]
    assert min(lightness) > 25
    assert max(lightness) < 97


def test_the_palette_bears_the_colours_and_the_marks_of_every_map() -> None:
    found = class_palette()
    assert len(found.colours) == 768
    for number in range(252):
        assert "#" + found.colours[3 * number : 3 * number + 3].hex() == class_colour(number)
    assert found.colours[756:] == palette("viridis").colours[756:]
    assert found.opacities[252] == 0


@pytest.mark.parametrize("size", [(6, 4), (12, 8), (7, 5)])
def test_a_class_map_lies_over_the_picture_without_smoothing(size: tuple[int, int]) -> None:
    indices = np.array([[0, 1, 2], [3, NAN, 4]], np.uint8)
    found = np.asarray(lay_over(indices, Image.new("RGB", size, (0, 0, 0)), 0.5))
    assert found.shape == (size[1], size[0], 3)
    for row in range(size[1]):
        for column in range(size[0]):
            index = indices[int((row + 0.5) * 2 / size[1]), int((column + 0.5) * 3 / size[0])]
            colour = "#ff00ff" if index == NAN else class_colour(index)
            share = 1.0 if index == NAN else 0.5
            exact = [share * int(colour[start : start + 2], 16) for start in (1, 3, 5)]
            assert np.abs(found[row, column] - exact).max() <= 0.51
