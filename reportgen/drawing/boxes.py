"""Boxes with labels on a picture, with the masks and points that belong to them."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import matplotlib as mpl
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageColor, ImageDraw, ImageFont

from reportgen.drawing.charts import shorten
from reportgen.drawing.kernels import ink

LONGEST_SIDE = 960
"""The longest side of a drawing, in pixels; pages show it at half the size, so that lines and letters are sharp."""
_LETTER = 24
_PADDING = 5
_LINE, _CASING = 4, 2
_POINT = 6
_FILL = 0.4
_LONGEST_LABEL = 32
_NEVER_SMOOTHED = 4
"""A picture that is enlarged more than so many times keeps its pixels visible."""

Rectangle = tuple[float, float, float, float]
"""Left, top, right and bottom."""


@dataclass(frozen=True)
class Box:
    """A box in pixels of the picture. `colour` is `#rrggbb`, `mask` (H, W) of any size spans the picture."""

    corners: Rectangle
    label: str
    colour: str
    mask: NDArray[np.bool_] | None = None
    points: tuple[tuple[float, float], ...] = ()


def draw_boxes(picture: Image.Image, boxes: Sequence[Box]) -> Image.Image:
    """Return `picture` with its longest side at LONGEST_SIDE and the boxes on it, the first on top.

    All numbers of a box must be finite; what lies outside of the picture is not drawn.
    """
    scale = LONGEST_SIDE / max(picture.size)
    size = tuple(max(1, round(side * scale)) for side in picture.size)
    smooth = Image.Resampling.NEAREST if scale > _NEVER_SMOOTHED else Image.Resampling.LANCZOS
    canvas = picture.convert("RGB").resize((size[0], size[1]), smooth)
    for box in reversed(boxes):
        if box.mask is not None:
            _fill_mask(canvas, box.mask, box.colour)
    pen = ImageDraw.Draw(canvas)
    for box in reversed(boxes):
        _draw_frame(pen, _place(box.corners, canvas, scale), box.colour)
        _draw_points(pen, box, scale)
    _write_labels(pen, canvas, boxes, scale)
    return canvas


def _place(corners: Rectangle, canvas: Image.Image, scale: float) -> Rectangle:
    """The corners on the canvas, in order, and no farther outside than an invisible line is."""
    far = _LINE + _CASING
    across = [min(max(edge * scale, -far), canvas.width + far) for edge in (corners[0], corners[2])]
    down = [min(max(edge * scale, -far), canvas.height + far) for edge in (corners[1], corners[3])]
    return min(across), min(down), max(across), max(down)


def _fill_mask(canvas: Image.Image, mask: NDArray[np.bool_], colour: str) -> None:
    share = Image.fromarray(np.where(mask, round(255 * _FILL), 0).astype(np.uint8))
    canvas.paste(ImageColor.getrgb(colour), (0, 0), share.resize(canvas.size, Image.Resampling.NEAREST))


def _draw_frame(pen: ImageDraw.ImageDraw, place: Rectangle, colour: str) -> None:
    """A line in the class's colour between two dark ones, to be seen on any ground."""
    left, top, right, bottom = place
    out = (left - _CASING, top - _CASING, right + _CASING, bottom + _CASING)
    pen.rectangle(out, outline="black", width=_LINE + 2 * _CASING)
    pen.rectangle(place, outline=colour, width=_LINE)


def _draw_points(pen: ImageDraw.ImageDraw, box: Box, scale: float) -> None:
    for x, y in box.points:
        # Far outside, a number may be too large for a pixel's.
        if abs(x * scale) <= 2 * LONGEST_SIDE and abs(y * scale) <= 2 * LONGEST_SIDE:
            pen.circle((x * scale, y * scale), _POINT, fill=box.colour, outline="white", width=2)


def _write_labels(pen: ImageDraw.ImageDraw, canvas: Image.Image, boxes: Sequence[Box], scale: float) -> None:
    """Write the labels so that none covers another's, as long as there is room."""
    taken: list[Rectangle] = []
    for box in boxes:
        text = shorten(box.label, _LONGEST_LABEL)
        width, height = pen.textlength(text, font()) + 2 * _PADDING, _LETTER + 2 * _PADDING
        spots = list(_spots(_place(box.corners, canvas, scale), width, height, canvas))
        spot = next((spot for spot in spots if not any(_overlap(spot, other) for other in taken)), spots[0])
        taken.append(spot)
        pen.rectangle(spot, fill=box.colour)
        pen.text((spot[0] + _PADDING, (spot[1] + spot[3]) / 2), text, _ink(box.colour), font(), anchor="lm")


def _spots(place: Rectangle, width: float, height: float, canvas: Image.Image) -> Iterator[Rectangle]:
    """Where a label may stand: above its box, inside at the top, below, then down along the box's left side."""
    left = min(max(place[0], 0), max(0, canvas.width - width))
    lowest = canvas.height - height
    tops = [place[1] - height, place[1], place[3], *np.arange(place[1], place[3], height)]
    tops += [*np.arange(place[1] - 2 * height, 0, -height), *np.arange(place[3], lowest, height)]
    for top in tops:
        if 0 <= top <= lowest:
            yield left, float(top), left + width, float(top) + height
    top = min(max(place[1], 0), max(0, lowest))
    yield left, top, left + width, top + height


def _overlap(one: Rectangle, other: Rectangle) -> bool:
    return one[0] < other[2] and other[0] < one[2] and one[1] < other[3] and other[1] < one[3]


def _ink(colour: str) -> str:
    return str(ink(np.array(ImageColor.getrgb(colour)) / 255))


@cache
def font() -> ImageFont.FreeTypeFont:
    """Return the letters of all charts, laid out the same wherever a report is built."""
    path = Path(mpl.get_data_path(), "fonts", "ttf", "DejaVuSans.ttf")
    return ImageFont.truetype(str(path), _LETTER, layout_engine=ImageFont.Layout.BASIC)
