"""The picture that stands for a whole report in previews of links: a photograph, and maps that follow from it."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from reportgen.drawing.overlay import enlarge
from reportgen.drawing.png import Palette, encode_quickly

WIDTH, HEIGHT = 1200, 630
"""The size that the Open Graph's readers show uncropped."""
MOST = 4
"""Maps a side."""
_SIDE, _BETWEEN, _GAP = 560, 20, 8
_GROUND = (20, 22, 23)
_SMALL = 140
"""A photograph below this many pixels is enlarged pixel by pixel."""


def encode_preview(
    photograph: NDArray[np.uint8], maps: Sequence[NDArray[np.uint8]], palette: Palette
) -> dict[str, bytes]:
    """Return the PNG that `compose` makes of `maps` and a `photograph` (H, W, 3) that `fitted`, by its suffix."""
    return {"png": encode_quickly(np.asarray(compose(Image.fromarray(photograph), maps, palette)))}


def compose(photograph: Image.Image, maps: Sequence[NDArray[np.uint8]], palette: Palette) -> Image.Image:
    """Return RGB of WIDTH x HEIGHT: the photograph's middle, beside it a square of as many `maps` as fill one.

    `maps` are palette indices (H, W), of any size; those shown are spread evenly over all of them, the first and
    the last among them.
    """
    canvas = Image.new("RGB", (WIDTH, HEIGHT), _GROUND)
    top = (HEIGHT - _SIDE) // 2
    side = min(MOST, int(len(maps) ** 0.5))
    left = (WIDTH - _BETWEEN) // 2 - _SIDE if side else (WIDTH - _SIDE) // 2
    canvas.paste(fitted(photograph), (left, top))
    if not side:
        return canvas
    tile = (_SIDE - _GAP * (side - 1)) // side
    for place, number in enumerate(spread(len(maps), side**2)):
        row, column = divmod(place, side)
        corner = (left + _SIDE + _BETWEEN + column * (tile + _GAP), top + row * (tile + _GAP))
        canvas.paste(_tile(maps[number], tile, palette), corner)
    return canvas


def fitted(photograph: Image.Image) -> Image.Image:
    """Return the middle of `photograph` as it is shown; of one that this made, a copy."""
    small = max(photograph.size) < _SMALL
    method = Image.Resampling.NEAREST if small else Image.Resampling.LANCZOS
    return ImageOps.fit(photograph.convert("RGB"), (_SIDE, _SIDE), method)


def spread(total: int, count: int) -> list[int]:
    """`count` of the numbers 0 to total - 1, evenly spaced, the first and the last among them; one: the middle."""
    if count == 1:
        return [total // 2]
    return [place * (total - 1) // (count - 1) for place in range(count)]


def _tile(indices: NDArray[np.uint8], side: int, palette: Palette) -> Image.Image:
    """The map's middle, each of its cells a block of pixels."""
    height, width = indices.shape
    least = min(height, width)
    top, left = (height - least) // 2, (width - least) // 2
    square = enlarge(indices[top : top + least, left : left + least], (side, side))
    colours = np.frombuffer(palette.colours, np.uint8).reshape(-1, 3)
    return Image.fromarray(colours[square])
