"""Kernels as pictures: where the pixels lie, and whether the values can be read."""

import io

import numpy as np
import pytest
from PIL import Image

from reportgen.drawing.kernels import (
    annotated,
    cell_colours,
    describe_unit,
    encode_colours,
    ink,
    plan_planes,
    unit,
    write,
)
from reportgen.drawing.mosaic import plan


def test_colours_lie_where_the_mosaic_says_and_gaps_are_transparent() -> None:
    tiles = np.random.default_rng(0).integers(0, 256, (7, 3, 4, 5), dtype=np.uint8)
    mosaic = plan(7, 4, 5)
    pixels = np.asarray(Image.open(io.BytesIO(encode_colours(tiles, mosaic))))
    assert pixels.shape == (mosaic.height, mosaic.width, 4)
    covered = np.zeros(pixels.shape[:2], bool)
    for number, tile in enumerate(tiles):
        row, column = divmod(number, mosaic.columns)
        place = np.s_[row * 5 : row * 5 + 4, column * 6 : column * 6 + 5]
        assert np.array_equal(pixels[place][..., :3], tile.transpose(1, 2, 0))
        covered[place] = True
    assert np.array_equal(pixels[..., 3] == 255, covered)
    assert (pixels[..., 3][~covered] == 0).all()


@pytest.mark.parametrize(("count", "depth"), [(1, 3), (10, 2), (64, 7)])
def test_the_planes_of_a_kernel_lie_in_one_row(count: int, depth: int) -> None:
    mosaic = plan_planes(count, depth, 5, 5)
    assert mosaic.columns % depth == 0
    assert mosaic.columns * mosaic.rows >= count * depth


def relative_luminance(colour: tuple[float, ...]) -> float:
    """As WCAG 2.2 defines it."""
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in colour]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


@pytest.mark.parametrize("cmap", ["RdBu_r", "viridis", "gray"])
def test_a_value_reads_on_its_cell(cmap: str) -> None:
    values = np.append(np.linspace(-2, 2, 101), np.nan)
    colours = cell_colours(values, 2.0, cmap)
    assert colours.shape == (102, 3)
    for colour, name in zip(colours, ink(colours), strict=True):
        lighter, darker = relative_luminance(tuple(colour)), 0.0
        if name == "white":
            lighter, darker = 1.0, lighter
        assert (lighter + 0.05) / (darker + 0.05) >= 4.5


def test_dark_cells_bear_white_and_light_ones_black() -> None:
    assert ink(cell_colours(np.array([-1.0, 0.0, 1.0]), 1.0, "RdBu_r")).tolist() == ["white", "black", "white"]


@pytest.mark.parametrize(
    ("value", "limit", "text"),
    [
        (0.25, 1.0, ".25"),
        (-0.0312, 0.5, "−.03"),
        (-1.5, 2.0, "−1.50"),
        (-0.001, 0.5, ".00"),
        (0.0, 0.5, ".00"),
        (34.56, 50.0, "34.6"),
        (0.00123, 0.004, "1.23"),
        (-123456.0, 200000.0, "−1.23"),
        (5e-324, 5e-324, ".00"),
        (float("nan"), 1.0, "NaN"),
        (float("-inf"), 1.0, "−Inf"),
    ],
)
def test_a_value_is_written_with_two_digits(value: float, limit: float, text: str) -> None:
    assert write(value, limit) == text


def test_the_unit_is_said() -> None:
    assert [unit(limit) for limit in (0.004, 0.05, 0.1, 1.0, 99.0, 100.0, 2e5)] == [-3, -2, 0, 0, 0, 2, 5]
    assert describe_unit(0.004) == " (× 10⁻³)"
    assert describe_unit(1.0) == ""


def test_a_chart_has_every_format_the_size_it_says_and_the_same_bytes_twice() -> None:
    slices = np.random.default_rng(0).standard_normal((5, 3, 2))
    slices[0, 0, 0] = np.nan
    first, second = (
        annotated(slices, [f"out {number}, in 0" for number in range(5)], columns=3, limit=3.0, cmap="RdBu_r")
        for _ in range(2)
    )
    assert list(first.files) == ["png", "svg", "pdf"]
    assert first.files == second.files
    assert Image.open(io.BytesIO(first.files["png"])).size == (first.width, first.height)
