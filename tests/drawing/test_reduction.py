"""Smaller pictures hold samples of the larger ones, at the places that their plan says."""

import io

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from reportgen.drawing.mosaic import Mosaic, assemble, plan
from reportgen.drawing.palette import palette
from reportgen.drawing.png import encode_indexed, is_indexed
from reportgen.drawing.reduction import GAP, cut_mosaic, is_opaque_colour, plan_cut, sample_map, shrink
from reportgen.numerics import scaling


def read(content: bytes) -> Image.Image:
    return Image.open(io.BytesIO(content))


def indices(content: bytes) -> NDArray[np.uint8]:
    return np.asarray(read(content))


def test_the_gap_is_the_one_that_is_drawn() -> None:
    assert GAP == scaling.GAP


@pytest.mark.parametrize(("count", "height", "width"), [(7, 5, 4), (12, 9, 9), (64, 3, 8), (5, 70, 65), (1, 6, 6)])
@pytest.mark.parametrize("step", [1, 2, 3])
@pytest.mark.parametrize("keep", [1, 3, 100])
def test_a_cut_mosaic_holds_samples_of_its_first_tiles(
    count: int, height: int, width: int, step: int, keep: int
) -> None:
    tiles = np.random.default_rng(0).integers(0, 251, (count, height, width), np.uint8)
    before = plan(count, height, width)
    source = encode_indexed(assemble(tiles, before, GAP), palette("viridis"))
    keep = min(keep, count)
    after = plan_cut(before, count, keep, step)
    found = indices(cut_mosaic(source, before, after, keep, step))
    assert found.shape == (after.height, after.width)
    covered = np.zeros(found.shape, bool)
    for tile in range(keep):
        top = tile // after.columns * (after.tile_height + after.gap)
        left = tile % after.columns * (after.tile_width + after.gap)
        place = np.s_[top : top + after.tile_height, left : left + after.tile_width]
        assert np.array_equal(found[place], tiles[tile, ::step, ::step])
        covered[place] = True
    assert (found[~covered] == GAP).all()


def test_colours_and_transparency_stay() -> None:
    tiles = np.arange(4 * 36, dtype=np.uint8).reshape(4, 6, 6)
    mosaic = plan(4, 6, 6)
    source = encode_indexed(assemble(tiles, mosaic, GAP), palette("magma"))
    cut = read(cut_mosaic(source, mosaic, plan_cut(mosaic, 4, 4, 2), 4, 2))
    sampled = read(sample_map(source, 2))
    for picture in (cut, sampled):
        assert picture.getpalette() == read(source).getpalette()
        assert picture.info["transparency"] == read(source).info["transparency"]
    assert np.array_equal(np.asarray(sampled), indices(source)[::2, ::2])


def test_a_mosaic_keeps_its_columns_where_it_keeps_its_tiles() -> None:
    before = Mosaic(columns=3, rows=2, tile_width=80, tile_height=70, gap=2)
    assert plan_cut(before, 6, 6, 2) == Mosaic(columns=3, rows=2, tile_width=40, tile_height=35, gap=1)
    assert plan_cut(before, 6, 6, 1) == before


def picture(mode: str, side: int = 50) -> bytes:
    gradient = Image.linear_gradient("L").resize((side, side * 2)).convert(mode)
    buffer = io.BytesIO()
    gradient.save(buffer, "PNG")
    return buffer.getvalue()


@pytest.mark.parametrize("mode", ["RGB", "L", "RGBA", "P"])
@pytest.mark.parametrize("step", [1, 2, 3])
def test_a_photograph_keeps_its_look(mode: str, step: int) -> None:
    found = read(shrink(picture(mode), step, jpeg=False))
    assert found.size == (-(-50 // step), -(-100 // step))
    if step == 1:
        assert np.array_equal(np.asarray(found.convert("RGB")), np.asarray(read(picture(mode)).convert("RGB")))
    assert found.format == "PNG"


def test_a_jpeg_is_near_the_original() -> None:
    found = read(shrink(picture("RGB"), 1, jpeg=True))
    assert found.format == "JPEG"
    difference = np.asarray(found).astype(int) - np.asarray(read(picture("RGB")))
    assert np.abs(difference).max() < 12


def test_what_may_become_a_jpeg() -> None:
    assert [is_opaque_colour(picture(mode)) for mode in ("RGB", "L", "RGBA", "P")] == [True, True, False, False]
    assert [is_indexed(picture(mode)) for mode in ("RGB", "L", "RGBA", "P")] == [False, False, False, True]
    assert not is_indexed(b"GIF89a")
