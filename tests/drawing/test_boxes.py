"""Boxes where they belong, pixel by pixel, and labels that do not cover each other."""

from itertools import combinations
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from reportgen.drawing import boxes
from reportgen.drawing.boxes import LONGEST_SIDE, Box, draw_boxes, font

GRAY = (120, 120, 120)
RED = "#ff0000"


def drawn(*given: Box, size: tuple[int, int] = (96, 48)) -> NDArray[np.uint8]:
    return np.asarray(draw_boxes(Image.new("RGB", size, GRAY), given))


def where(picture: NDArray[np.uint8], colour: tuple[int, int, int]) -> list[int]:
    """The left, top, right and bottom of all pixels of a colour."""
    rows, columns = np.nonzero((picture == colour).all(axis=2))
    return [int(edge) for edge in (columns.min(), rows.min(), columns.max(), rows.max())]


@pytest.mark.parametrize(
    ("size", "expected"),
    [((96, 48), (960, 480)), ((30, 40), (720, 960)), ((4000, 2), (960, 1)), ((1, 1), (960, 960))],
)
def test_the_longest_side_is_fixed(size: tuple[int, int], expected: tuple[int, int]) -> None:
    assert draw_boxes(Image.new("RGB", size, GRAY), ()).size == expected


@pytest.mark.parametrize("mode", ["L", "RGB"])
def test_without_boxes_the_picture_stays(mode: str) -> None:
    picture = draw_boxes(Image.new(mode, (960, 500), "white"), ())
    assert (picture.mode, picture.getcolors()) == ("RGB", [(960 * 500, (255, 255, 255))])


def test_a_frame_stands_at_its_corners() -> None:
    picture = drawn(Box((20, 20, 60, 40), "", RED))
    assert (picture[300, 200] == (255, 0, 0)).all()  # left edge, 20 pixels at 10 canvas pixels each
    assert (picture[400, 400] == (255, 0, 0)).all()  # bottom edge
    assert (picture[300, 400] == GRAY).all()  # inside
    left, _, right, bottom = where(picture, (255, 0, 0))
    assert (left, right, bottom) == (200, 600, 400)


def test_corners_in_the_wrong_order_are_the_same_box() -> None:
    assert (drawn(Box((60, 40, 20, 20), "", RED)) == drawn(Box((20, 20, 60, 40), "", RED))).all()


@pytest.mark.parametrize(
    "corners",
    [
        (1e30, -1e30, 3e38, 1e30),
        (-1e300, -1e300, 1e300, 1e300),
        (-50, -50, -10, -10),
        (5, 5, 5, 5),
        (10, 5, 10.1, 5.05),
        (0, 0, 96, 48),
    ],
)
def test_no_box_breaks_the_drawing(corners: tuple[float, float, float, float]) -> None:
    picture = drawn(Box(corners, "label " * 40, RED, points=((1e300, 0.0), (3.0, -1e30))))
    assert picture.shape == (480, 960, 3)


def test_a_box_outside_of_the_picture_leaves_no_line() -> None:
    picture = drawn(Box((-80, 10, -40, 20), "x", "#00ff00"))
    rows = np.nonzero((picture == (0, 255, 0)).all(axis=2))[0]
    assert rows.max() - rows.min() < 40  # its label only


def test_a_mask_of_any_size_is_a_translucent_fill() -> None:
    mask = np.zeros((2, 4), bool)
    mask[1, 2] = True
    picture = drawn(Box((0, 0, 1, 1), "", RED, mask), size=(96, 48))
    inside, outside = picture[300, 600], picture[300, 400]
    assert np.abs(inside - (0.6 * 120 + 0.4 * np.array([255, 0, 0]))).max() <= 1
    assert (outside == GRAY).all()


def test_points_are_dots_in_the_colour_of_the_box() -> None:
    picture = drawn(Box((0, 0, 5, 5), "", RED, points=((50, 30),)))
    assert (picture[300, 500] == (255, 0, 0)).all()
    assert (picture[300, 530] == GRAY).all()


def test_the_first_box_is_on_top() -> None:
    first, second = Box((20, 20, 60, 40), "", RED), Box((20, 20, 60, 40), "", "#0000ff")
    assert (drawn(first, second)[300, 200] == (255, 0, 0)).all()


@pytest.mark.parametrize(("colour", "ink"), [("#f0e442", "black"), ("#330066", "white")])
def test_letters_stand_out_from_their_ground(colour: str, ink: str) -> None:
    picture = drawn(Box((20, 20, 60, 40), "MMMM", colour))
    letters = {"black": (0, 0, 0), "white": (255, 255, 255)}[ink]
    label = picture[200 - boxes._LETTER : 200 - boxes._PADDING, 205:260]
    assert (label == letters).all(axis=2).any()


def test_labels_do_not_cover_each_other(monkeypatch: pytest.MonkeyPatch) -> None:
    grounds: list[tuple[float, float, float, float]] = []
    original = ImageDraw.ImageDraw.rectangle

    def rectangle(self: ImageDraw.ImageDraw, place: Any, **named: Any) -> None:
        if "fill" in named:
            grounds.append(place)
        original(self, place, **named)

    monkeypatch.setattr(ImageDraw.ImageDraw, "rectangle", rectangle)
    drawn(*(Box((20 + number % 3, 20, 50, 40), f"class {number} 0.5", RED) for number in range(8)))
    assert len(grounds) == 8
    for one, other in combinations(grounds, 2):
        across, down = (min(one[side + 2], other[side + 2]) - max(one[side], other[side]) for side in (0, 1))
        assert min(across, down) <= 0
    assert np.min(grounds) >= 0
    assert (np.max(grounds, axis=0)[2:] <= (960, 480)).all()


def test_letters_come_from_a_font_that_is_always_there() -> None:
    assert font().getname() == ("DejaVu Sans", "Book")


def test_equal_input_gives_equal_bytes() -> None:
    box = Box((3, 4, 50, 40), "Äpfel 0.98", RED)
    assert drawn(box).tobytes() == drawn(box).tobytes()
    assert drawn(box).shape[1] == LONGEST_SIDE
