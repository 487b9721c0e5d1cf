"""The preview's parts lie where they should, whatever is given."""

import io

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from reportgen.drawing.palette import palette
from reportgen.drawing.preview import HEIGHT, WIDTH, compose, encode_preview, fitted, spread

VIRIDIS = palette("viridis")
GROUND = (20, 22, 23)


def colour(index: int) -> tuple[int, ...]:
    return tuple(VIRIDIS.colours[3 * index : 3 * index + 3])


def constant(index: int, height: int = 6, width: int = 9) -> NDArray[np.uint8]:
    return np.full((height, width), index, np.uint8)


@pytest.mark.parametrize("maps", [0, 1, 2, 4, 9, 15, 16, 40])
def test_the_photograph_stands_beside_a_square_of_maps(maps: int) -> None:
    side = min(4, int(maps**0.5))
    picture = compose(
        Image.new("RGB", (300, 200), (200, 10, 10)), [constant(place) for place in range(maps)], VIRIDIS
    )
    assert picture.size == (WIDTH, HEIGHT)
    centre = 310 if side else WIDTH // 2
    assert picture.getpixel((centre, HEIGHT // 2)) == (200, 10, 10)
    assert picture.getpixel((5, 5)) == GROUND
    chosen = spread(maps, side**2) if side else []
    tile = 560 / side if side else 0
    for place, number in enumerate(chosen):
        row, column = divmod(place, side)
        found = picture.getpixel((round(610 + (column + 0.5) * tile), round(35 + (row + 0.5) * tile)))
        assert found == colour(number), (place, number)
    if not side:
        assert picture.getpixel((1100, 100)) == GROUND


def test_of_a_map_its_middle_is_shown() -> None:
    wide = np.zeros((2, 6), np.uint8)
    wide[:, 2:4] = [[10, 20], [30, 40]]
    picture = compose(Image.new("RGB", (9, 9)), [wide], VIRIDIS)
    corners = [(620, 45), (1160, 45), (620, 585), (1160, 585)]
    assert [picture.getpixel(corner) for corner in corners] == [colour(index) for index in (10, 20, 30, 40)]


def test_small_photographs_keep_their_pixels() -> None:
    tiny = Image.new("RGB", (2, 2), "white")
    tiny.putpixel((0, 0), (255, 0, 0))
    picture = compose(tiny, [constant(0)], VIRIDIS)
    colours = {picture.getpixel((x, y)) for x in range(30, 590, 7) for y in range(35, 595, 7)}
    assert colours == {(255, 0, 0), (255, 255, 255)}


@pytest.mark.parametrize("mode", ["L", "RGBA", "P", "1"])
def test_photographs_of_any_mode_will_do(mode: str) -> None:
    assert compose(Image.new(mode, (5, 4)), [], VIRIDIS).mode == "RGB"


@pytest.mark.parametrize(
    ("total", "count", "chosen"),
    [(5, 1, [2]), (4, 4, [0, 1, 2, 3]), (10, 4, [0, 3, 6, 9]), (1, 1, [0]), (7, 4, [0, 2, 4, 6])],
)
def test_maps_are_spread_over_all_layers(total: int, count: int, chosen: list[int]) -> None:
    assert spread(total, count) == chosen


@pytest.mark.parametrize("size", [(4, 7), (139, 60), (300, 200), (560, 560), (2000, 900)])
def test_a_photograph_that_was_fitted_before_is_drawn_the_same(size: tuple[int, int]) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    photograph, maps = Image.fromarray(pixels), [constant(7), constant(90)]
    once = np.asarray(fitted(photograph))
    content = encode_preview(once, maps, VIRIDIS)["png"]
    assert once.nbytes < 10**6
    with Image.open(io.BytesIO(content)) as picture:
        assert np.array_equal(np.asarray(picture), np.asarray(compose(photograph, maps, VIRIDIS)))
