"""Channel maps to one picture: tiles in channel order, row by row, with a gap between them."""

import math
from dataclasses import dataclass

import numpy as np
from numpy.lib.stride_tricks import as_strided
from numpy.typing import NDArray

from reportgen.drawing.png import Palette, encode_indexed

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


def assemble(tiles: NDArray[np.uint8], mosaic: Mosaic, gap: int | tuple[int, int, int]) -> NDArray[np.uint8]:
    """Copy `tiles` into scan lines for `png`: indices (C, H, W) into (height, 1 + width), RGB (C, H, W, 3) into
    (height, 1 + 3 x width).

    Byte 0 of each line is PNG's filter type (0: none), so that the encoder takes the buffer as it is. Gaps and
    empty places hold `gap`, an index or a colour.
    """
    pixel = np.atleast_1d(np.array(gap, np.uint8))
    lines = np.zeros((mosaic.height, 1 + mosaic.width * pixel.size), np.uint8)
    lines[:, 1:] = np.tile(pixel, mosaic.width)
    flat = tiles.reshape(*tiles.shape[:2], -1)
    full_rows, rest = divmod(tiles.shape[0], mosaic.columns)
    split = full_rows * mosaic.columns
    if full_rows:
        _fill(lines, 0, flat[:split], full_rows, mosaic.columns, mosaic, pixel.size)
    if rest:
        top = full_rows * (mosaic.tile_height + mosaic.gap)
        _fill(lines, top, flat[split:], 1, rest, mosaic, pixel.size)
    return lines


def encode_mosaic(tiles: NDArray[np.uint8], mosaic: Mosaic, colours: Palette, gap: int) -> dict[str, bytes]:
    """Return the PNG of `tiles`, indices (C, H, W) into `colours`, by its suffix; gaps hold the index `gap`."""
    return {"png": encode_indexed(assemble(tiles, mosaic, gap), colours)}


def _fill(
    lines: NDArray[np.uint8],
    top: int,
    tiles: NDArray[np.uint8],
    rows: int,
    columns: int,
    mosaic: Mosaic,
    depth: int,
) -> None:
    """Copy rows x columns tiles into `lines` from line `top` on, in one pass, through a 4-D view of them.

    `depth` is the number of bytes in a pixel; the tiles are (C, H, W x depth).
    """
    height, width, gap, line = mosaic.tile_height, mosaic.tile_width, mosaic.gap, lines.shape[1]
    places = as_strided(
        lines[top:, 1:],
        shape=(rows, height, columns, width * depth),
        strides=((height + gap) * line, line, (width + gap) * depth, 1),
    )
    places[...] = tiles.reshape(rows, columns, height, width * depth).transpose(0, 2, 1, 3)
