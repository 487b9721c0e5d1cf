import math

import numpy as np
import pytest
from PIL import Image

from reportgen.drawing.overlay import blend, enlarge, overlay
from reportgen.drawing.palette import palette
from reportgen.numerics.scaling import NAN, NEGATIVE_INFINITY, POSITIVE_INFINITY


@pytest.mark.parametrize("opacity", [0.0, 0.5, 1.0])
def test_each_pixel_is_the_blend_of_its_colour_and_the_gray_below(opacity: float) -> None:
    rng = np.random.default_rng(0)
    indices = rng.integers(0, 252, (5, 7), dtype=np.uint8)
    photograph = Image.fromarray(rng.integers(0, 256, (5, 7, 3), dtype=np.uint8))
    colours = palette("viridis").colours
    found = np.asarray(overlay(indices, palette("viridis"), photograph, opacity))
    assert found.shape == (5, 7, 3)
    for row in range(5):
        for column in range(7):
            red, green, blue = (int(value) for value in np.asarray(photograph)[row, column])
            gray = 0.299 * red + 0.587 * green + 0.114 * blue  # ITU-R 601-2, as the gray that people see
            start = 3 * int(indices[row, column])
            for channel in range(3):
                exact = opacity * colours[start + channel] + (1 - opacity) * gray
                assert abs(int(found[row, column, channel]) - exact) <= 1.01


def test_values_that_are_not_finite_cover_the_picture() -> None:
    indices = np.array([[NAN, POSITIVE_INFINITY, NEGATIVE_INFINITY]], np.uint8)
    found = overlay(indices, palette("gray"), Image.new("RGB", (3, 1), (255, 255, 255)))
    assert [found.getpixel((place, 0)) for place in range(3)] == [(255, 0, 255), (255, 120, 0), (0, 220, 255)]


@pytest.mark.parametrize("mode", ["RGB", "L"])
def test_a_picture_of_another_size_is_fitted_to_the_map(mode: str) -> None:
    found = overlay(np.zeros((4, 6), np.uint8), palette("gray"), Image.new(mode, (9, 2), "white"))
    assert (found.size, found.mode) == ((6, 4), "RGB")
    assert np.all(np.asarray(found) == 128)


def test_a_stack_of_maps_is_blended_as_each_alone() -> None:
    rng = np.random.default_rng(1)
    maps = rng.integers(0, 256, (3, 4, 6), dtype=np.uint8)
    ground = rng.integers(0, 256, (4, 6), dtype=np.uint8)
    found = blend(maps, palette("magma"), ground, 0.3)
    for one, expected in zip(found, maps, strict=True):
        assert np.array_equal(one, np.asarray(overlay(expected, palette("magma"), Image.fromarray(ground), 0.3)))


@pytest.mark.parametrize("size", [(6, 4), (24, 8), (7, 5), (11, 13), (6, 9)])
def test_each_pixel_of_an_enlarged_map_is_the_cell_it_lies_in(size: tuple[int, int]) -> None:
    maps = np.random.default_rng(2).integers(0, 256, (2, 4, 6), dtype=np.uint8)
    found = enlarge(maps, size)
    assert found.shape == (2, size[1], size[0])
    for y in range(size[1]):
        for x in range(size[0]):
            row, column = math.floor((y + 0.5) / size[1] * 4), math.floor((x + 0.5) / size[0] * 6)
            assert np.array_equal(found[:, y, x], maps[:, row, column])
