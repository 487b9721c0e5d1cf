"""A coloured map laid over a photograph."""

from functools import cache

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from reportgen.drawing.png import MAP_COLOURS, Palette


def overlay(
    indices: NDArray[np.uint8], palette: Palette, picture: Image.Image, opacity: float = 0.5
) -> Image.Image:
    """Blend the map of palette indices (H, W) over `picture` in gray; return RGB of the map's size.

    `opacity` is the map's share. Values that are not finite cover the picture, so that none hides. A picture of
    another size is interpolated bilinearly.
    """
    height, width = indices.shape
    return Image.fromarray(blend(indices, palette, gray_ground(picture, (width, height)), opacity))


def gray_ground(picture: Image.Image, size: tuple[int, int]) -> NDArray[np.uint8]:
    """Return `picture` in gray, interpolated bilinearly to `size` (width, height), as (height, width)."""
    gray = picture.convert("L")
    return np.asarray(gray if gray.size == size else gray.resize(size, Image.Resampling.BILINEAR))


def enlarge(indices: NDArray[np.uint8], size: tuple[int, int]) -> NDArray[np.uint8]:
    """Return maps (..., H, W) enlarged to `size` (width, height), each pixel that of the cell it lies in."""
    rows, columns = (
        (np.arange(length) * 2 + 1) * cells // (2 * length)
        for length, cells in zip(size[::-1], indices.shape[-2:], strict=True)
    )
    enlarged: NDArray[np.uint8] = indices.take(rows, axis=-2).take(columns, axis=-1)
    return enlarged


def blend(
    indices: NDArray[np.uint8], palette: Palette, ground: NDArray[np.uint8], opacity: float = 0.5
) -> NDArray[np.uint8]:
    """Blend maps of palette indices (..., H, W) over the gray `ground` (H, W): RGB, (..., H, W, 3).

    `opacity` is as in `overlay`.
    """
    places = (indices.astype(np.uint16) << 8) | ground
    return np.take(_blends(palette, opacity), places).view(np.uint8).reshape(*indices.shape, 4)[..., :3]


@cache
def _blends(palette: Palette, opacity: float) -> NDArray[np.uint32]:
    """The blend of every index with every gray, at 256 x index + gray: red, green, blue and a byte unused."""
    colours = np.frombuffer(palette.colours, np.uint8).reshape(256, 1, 3).astype(np.float64)
    share = np.where(np.arange(256) >= MAP_COLOURS, 1.0, opacity)[:, None, None]
    blended = np.zeros((256, 256, 4), np.uint8)
    blended[..., :3] = np.floor(share * colours + (1 - share) * np.arange(256)[None, :, None] + 0.5)
    return blended.view(np.uint32).reshape(-1)
