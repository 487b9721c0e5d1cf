"""Colours of classes: one for each class number, the same in every picture, for any kind of colour vision.

The first are a gray and Okabe and Ito's colours (jfly.uni-koeln.de/color, 2008). Each further one is the colour of
a grid that lies farthest from all before it (Glasbey et al., "Colour displays for categorical images", 2007), for
the normal, the protanopic and the deuteranopic eye (Machado et al. 2009), in OKLab (Ottosson 2020). About twenty
are told apart at sight; of more than a hundred, some are alike, so that pictures come with a legend.
"""

from functools import cache

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from reportgen.drawing.charts import COLOURS
from reportgen.drawing.overlay import overlay
from reportgen.drawing.palette import palette
from reportgen.drawing.png import MAP_COLOURS, Palette

_FIRST = ("#4f575a", *(colour for colour in COLOURS if colour != "#000000"))
"""Class 0 is the background more often than not, and gray."""
_STEPS = 16
_DARKEST, _BRIGHTEST = 0.42, 0.93
_KEPT_FREE = 0.12
"""How far around the colours of values that are not finite there is no colour of a class, in OKLab."""

_VISIONS = np.array(
    [
        [[1, 0, 0], [0, 1, 0], [0, 0, 1]],
        [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]],
        [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]],
    ]
)
"""What linear RGB becomes for the normal, the protanopic and the deuteranopic eye."""
_TO_CONES = np.array(
    [
        [0.4122214708, 0.5363325363, 0.0514459929],
        [0.2119034982, 0.6806995451, 0.1073969566],
        [0.0883024619, 0.2817188376, 0.6299787005],
    ]
)
_TO_LAB = np.array(
    [
        [0.2104542553, 0.7936177850, -0.0040720468],
        [1.9779984951, -2.4285922050, 0.4505937099],
        [0.0259040371, 0.7827717662, -0.8086757660],
    ]
)


@cache
def class_palette() -> Palette:
    """Return the palette of class maps: index k is the colour of class k, from 252 on as in other maps."""
    maps = palette("viridis")
    colours = _class_colours().tobytes()
    return Palette("classes", colours + maps.colours[len(colours) :], maps.opacities)


def class_colour(number: int) -> str:
    """Return the colour of a class as `#rrggbb`. From class 252 on, colours repeat."""
    red, green, blue = _class_colours()[number % MAP_COLOURS].tolist()
    return f"#{red:02x}{green:02x}{blue:02x}"


def lay_over(indices: NDArray[np.uint8], picture: Image.Image, opacity: float = 0.55) -> Image.Image:
    """Blend a class map of palette indices (H, W) over `picture` in gray; return RGB of the picture's size.

    The map is enlarged without smoothing, since there is no class between two classes.
    """
    enlarged = Image.fromarray(indices).resize(picture.size, Image.Resampling.NEAREST)
    return overlay(np.asarray(enlarged), class_palette(), picture, opacity)


@cache
def _class_colours() -> NDArray[np.uint8]:
    """The colours (252, 3)."""
    steps = np.linspace(0, 255, _STEPS).round()
    grid = np.stack(np.meshgrid(steps, steps, steps, indexing="ij"), axis=-1).reshape(-1, 3)
    # Away from what pictures bear besides: the three colours of values that are not finite.
    reserved = np.frombuffer(palette("viridis").colours, np.uint8)[-9:].reshape(3, 3).astype(float)
    normal = _seen(grid)[0]
    reach = np.sqrt(((normal[:, None] - _seen(reserved)[0]) ** 2).sum(-1)).min(axis=1)
    grid = grid[(normal[:, 0] >= _DARKEST) & (normal[:, 0] <= _BRIGHTEST) & (reach >= _KEPT_FREE)]
    chosen = np.array([[int(colour[start : start + 2], 16) for start in (1, 3, 5)] for colour in _FIRST], float)
    seen = _seen(grid)
    nearest = _distance(seen, np.concatenate([reserved, chosen])).min(axis=0)
    while len(chosen) < MAP_COLOURS:
        best = int(nearest.argmax())
        chosen = np.concatenate([chosen, grid[best : best + 1]])
        nearest = np.minimum(nearest, _distance(seen, grid[best : best + 1])[0])
    return chosen.astype(np.uint8)


def _seen(colours: NDArray[np.float64]) -> NDArray[np.float64]:
    """The OKLab coordinates (3, count, 3) of 8-bit colours (count, 3) for each of the three eyes."""
    values = colours / 255
    linear = np.where(values <= 0.04045, values / 12.92, ((values + 0.055) / 1.055) ** 2.4)
    # As sums of products, not a matrix product: its last bits would depend on the machine, and so would ties.
    for_eyes = np.clip((linear[None, :, None] * _VISIONS[:, None]).sum(-1), 0, 1)
    cones = np.cbrt((for_eyes[:, :, None] * _TO_CONES).sum(-1))
    coordinates: NDArray[np.float64] = (cones[:, :, None] * _TO_LAB).sum(-1)
    return coordinates


def _distance(seen: NDArray[np.float64], colours: NDArray[np.float64]) -> NDArray[np.float64]:
    """How far each of `colours` is from those `seen` (3, count, 3), for the eye that sees them nearest."""
    apart = np.stack(
        [np.sqrt(((seen - one[:, None]) ** 2).sum(-1)).min(0) for one in _seen(colours).swapaxes(0, 1)]
    )
    # Rounded, so that equally far ones are taken in the grid's order on every machine.
    return apart.round(9)
