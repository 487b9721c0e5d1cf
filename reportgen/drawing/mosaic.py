"""Channel maps to one picture: tiles in channel order, row by row, with a gap between them."""

import math
from dataclasses import dataclass

import numpy as np
from numpy.lib.stride_tricks import as_strided
from numpy.typing import NDArray

_WIDE_TILE = 64


@dataclass(frozen=True)
class Mosaic:
    """Where the tiles lie. Tile k starts at pixel (k // columns * (tile_height + gap), k % columns * (...))."""

    columns: int
    rows: int
    tile_width: int
    tile_height: int
    gap: int

    @property
    def width(self) -> int:
        return self.columns * (self.tile_width + self.gap) - self.gap

    @property
    def height(self) -> int:
        return self.rows * (self.tile_height + self.gap) - self.gap


def plan(count: int, tile_height: int, tile_width: int) -> Mosaic:
    """Plan a mosaic for `count` tiles that is as near square, in pixels, as a row count allows.

    The column count is the square root of count x height / width, rounded down or up, whichever comes nearer: 64
    square tiles lie 8 x 8, 512 lie 23 x 23, the last places empty. The gap is one pixel, two between tiles of 64
    pixels and more.
    """
    gap = 2 if max(tile_height, tile_width) >= _WIDE_TILE else 1
    ideal = math.sqrt(count * (tile_height + gap) / (tile_width + gap))
    choices = (min(count, math.ceil(ideal)), min(count, max(1, math.floor(ideal))))
    planned = [Mosaic(columns, math.ceil(count / columns), tile_width, tile_height, gap) for columns in choices]
    # Rounded, so that of two equally good plans (45 x 46, 46 x 45) the wider one, listed first, is taken.
    return min(planned, key=lambda mosaic: round(abs(math.log(mosaic.width / mosaic.height)), 9))


def assemble(tiles: NDArray[np.uint8], mosaic: Mosaic, gap_index: int) -> NDArray[np.uint8]:
    """Copy `tiles` (C, H, W) into scan lines (height, 1 + width) for `png.encode`.

    Byte 0 of each line is PNG's filter type (0: none), so that the encoder takes the buffer as it is. Gaps and
    empty places hold `gap_index`.
    """
    lines = np.full((mosaic.height, 1 + mosaic.width), gap_index, np.uint8)
    lines[:, 0] = 0
    full_rows, rest = divmod(tiles.shape[0], mosaic.columns)
    split = full_rows * mosaic.columns
    if full_rows:
        _fill(lines, 0, tiles[:split], full_rows, mosaic.columns, mosaic)
    if rest:
        _fill(lines, full_rows * (mosaic.tile_height + mosaic.gap), tiles[split:], 1, rest, mosaic)
    return lines


def _fill(
    lines: NDArray[np.uint8], top: int, tiles: NDArray[np.uint8], rows: int, columns: int, mosaic: Mosaic
) -> None:
    """Copy rows x columns tiles into `lines` from line `top` on, in one pass, through a 4-D view of them."""
    height, width, gap, line = mosaic.tile_height, mosaic.tile_width, mosaic.gap, lines.shape[1]
    places = as_strided(
        lines[top:, 1:],
        shape=(rows, height, columns, width),
        strides=((height + gap) * line, line, width + gap, 1),
    )
    places[...] = tiles.reshape(rows, columns, height, width).transpose(0, 2, 1, 3)
