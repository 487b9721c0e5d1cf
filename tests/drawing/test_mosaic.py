"""Tiles are found where the plan says, for any count and size."""

import numpy as np
import pytest

from reportgen.drawing.mosaic import assemble, plan


@pytest.mark.parametrize("count", [1, 2, 3, 7, 16, 64, 97, 512, 513])
@pytest.mark.parametrize(("height", "width"), [(1, 1), (7, 7), (3, 11), (40, 2), (64, 64)])
def test_every_tile_is_at_its_place_and_the_rest_is_gap(count: int, height: int, width: int) -> None:
    tiles = np.random.default_rng(count).integers(0, 252, (count, height, width), dtype=np.uint8)
    mosaic = plan(count, height, width)
    lines = assemble(tiles, mosaic, 252)
    assert lines.shape == (mosaic.height, 1 + mosaic.width)
    assert not lines[:, 0].any()
    picture, covered = lines[:, 1:], np.zeros((mosaic.height, mosaic.width), bool)
    for number, tile in enumerate(tiles):
        top = number // mosaic.columns * (height + mosaic.gap)
        left = number % mosaic.columns * (width + mosaic.gap)
        place = (slice(top, top + height), slice(left, left + width))
        assert np.array_equal(picture[place], tile)
        covered[place] = True
    assert (picture[~covered] == 252).all()


@pytest.mark.parametrize(
    ("count", "columns", "rows"),
    [(1, 1, 1), (2, 2, 1), (3, 2, 2), (64, 8, 8), (97, 10, 10), (512, 23, 23), (2048, 46, 45)],
)
def test_square_tiles_make_a_near_square(count: int, columns: int, rows: int) -> None:
    mosaic = plan(count, 14, 14)
    assert (mosaic.columns, mosaic.rows) == (columns, rows)


@pytest.mark.parametrize(("height", "width"), [(1, 30), (30, 1), (7, 14), (14, 14), (112, 112)])
def test_the_picture_is_near_square_whatever_the_tile(height: int, width: int) -> None:
    for count in range(64, 600, 13):
        mosaic = plan(count, height, width)
        assert mosaic.columns * (mosaic.rows - 1) < count <= mosaic.columns * mosaic.rows
        assert 2 / 3 < mosaic.width / mosaic.height < 3 / 2


@pytest.mark.parametrize("count", [1, 4, 7])
def test_coloured_tiles_lie_where_indices_would(count: int) -> None:
    tiles = np.random.default_rng(count).integers(0, 256, (count, 5, 9, 3), dtype=np.uint8)
    mosaic = plan(count, 5, 9)
    lines = assemble(tiles, mosaic, (1, 2, 3))
    assert not lines[:, 0].any()
    picture = lines[:, 1:].reshape(mosaic.height, mosaic.width, 3)
    for channel in range(3):
        alone = assemble(np.ascontiguousarray(tiles[..., channel]), mosaic, channel + 1)
        assert np.array_equal(picture[..., channel], alone[:, 1:])
