"""Attention maps drawn over the image that the network saw: one mosaic of tiles, or one map."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from reportgen.drawing.mosaic import Mosaic, assemble, plan
from reportgen.drawing.overlay import blend, enlarge, gray_ground
from reportgen.drawing.png import Palette, encode_colours, encode_indexed
from reportgen.entities import InputImage, Run
from reportgen.numerics.scaling import GAP

TILE_SIDE = 224
"""The longest side of a tile over the image, in pixels."""
_ROOM = 912
"""Small tiles are enlarged by a whole factor to at most this many display pixels in all."""
# Pure green is the gap: a half-transparent map over gray can't be so saturated.
_GAP_COLOUR = (0, 255, 0)
_OUTLINE = 255


@dataclass(frozen=True)
class Drawn:
    """A mosaic as PNG; `over`: whether the maps lie over the image, `pixels`: display pixels in a stored one."""

    png: bytes
    mosaic: Mosaic
    over: bool
    pixels: float


class Painter:
    """Draws maps over the images of a batch; keeps each image in gray, in the size of a tile."""

    def __init__(self, palette: Palette) -> None:
        self._palette = palette
        self._grounds: dict[tuple[str, tuple[int, int]], NDArray[np.uint8]] = {}

    def forget(self) -> None:
        """Drop the images of the batch before."""
        self._grounds.clear()

    def paint(
        self,
        indices: NDArray[np.uint8],
        image: InputImage,
        side: int = TILE_SIDE,
        cell: tuple[int, int, tuple[int, int]] | None = None,
    ) -> Drawn:
        """Draw maps of palette indices (C, H, W) in order, each over the image, at most `side` pixels long.

        `cell` is (row, column, grid): this cell of the image is outlined in white.
        """
        size = _tile_size(image.seen.size, side, indices.shape[-1], indices.shape[-2])
        tiles = blend(enlarge(indices, size), self._palette, self._ground(image, size))
        if cell:
            _outline(tiles, *cell)
        mosaic = plan(tiles.shape[0], size[1], size[0])
        longest = max(mosaic.width, mosaic.height)
        pixels = max(1, min(TILE_SIDE // max(size), _ROOM // longest))
        return Drawn(encode_colours(assemble(tiles, mosaic, _GAP_COLOUR), _GAP_COLOUR), mosaic, True, pixels)

    def paint_alone(self, indices: NDArray[np.uint8]) -> Drawn:
        """Draw maps of palette indices (C, H, W) in order, a pixel a value, where no image lies below."""
        mosaic = plan(*indices.shape)
        pixels = max(1, _ROOM // max(mosaic.width, mosaic.height))
        return Drawn(encode_indexed(assemble(indices, mosaic, GAP), self._palette), mosaic, False, pixels)

    def _ground(self, image: InputImage, size: tuple[int, int]) -> NDArray[np.uint8]:
        key = (image.id, size)
        if key not in self._grounds:
            self._grounds[key] = gray_ground(image.seen, size)
        return self._grounds[key]


def lies_over(keys: Sequence[Run], maps: Sequence[int], image: InputImage) -> bool:
    """Whether maps of (H, W) cells of the keys cover the image; of a clip, whether it shows as many frames."""
    if all(len(run.grid) == 2 for run in keys if run.grid):
        return True
    width, height = image.seen.size
    # With too few or too many frames, the cells would be at least twice as wide as high, or half.
    return 2 / 3 < (width / maps[1]) / (height / maps[0]) < 3 / 2


def _tile_size(seen: tuple[int, int], side: int, columns: int, rows: int) -> tuple[int, int]:
    """Width and height: the image's, made smaller, but with a pixel at least for each cell."""
    factor = min(1.0, side / max(seen))
    return max(columns, round(seen[0] * factor)), max(rows, round(seen[1] * factor))


def _outline(tiles: NDArray[np.uint8], row: int, column: int, grid: tuple[int, int]) -> None:
    height, width = tiles.shape[1:3]
    top, bottom = row * height // grid[0], max(row * height // grid[0] + 1, (row + 1) * height // grid[0])
    left, right = column * width // grid[1], max(column * width // grid[1] + 1, (column + 1) * width // grid[1])
    line = 2 if min(bottom - top, right - left) >= 8 else 1
    box = tiles[:, top:bottom, left:right]
    box[:, :line], box[:, -line:] = _OUTLINE, _OUTLINE
    box[:, :, :line], box[:, :, -line:] = _OUTLINE, _OUTLINE
