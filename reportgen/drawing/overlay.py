"""A coloured map laid over a photograph."""

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from reportgen.drawing.palette import MAP_COLOURS, Palette


def overlay(
    indices: NDArray[np.uint8], palette: Palette, picture: Image.Image, opacity: float = 0.5
) -> Image.Image:
    """Blend the map of palette indices (H, W) over `picture` in gray; return RGB of the map's size.

    `opacity` is the map's share. Values that are not finite cover the picture, so that none hides. A picture of
    another size is interpolated bilinearly.
    """
    height, width = indices.shape
    gray = picture.convert("L")
    if gray.size != (width, height):
        gray = gray.resize((width, height), Image.Resampling.BILINEAR)
    colours = np.frombuffer(palette.colours, np.uint8).reshape(256, 3)[indices].astype(np.float64)
    share = np.where(indices >= MAP_COLOURS, 1.0, opacity)[:, :, None]
    blended = share * colours + (1 - share) * np.asarray(gray, np.float64)[:, :, None]
    return Image.fromarray(np.floor(blended + 0.5).astype(np.uint8))
