"""The 256 colours of an indexed picture: a colour map, and the colours of the gap and of non-finite values."""

from functools import cache

import matplotlib as mpl
import numpy as np
from matplotlib.colors import Colormap, LinearSegmentedColormap

from reportgen.drawing.png import MAP_COLOURS, Palette
from reportgen.errors import UsageError
from reportgen.names import did_you_mean

# Red, white and blue would hide in most maps; magenta, orange and cyan occur in none of the default ones.
_NAN, _POSITIVE_INFINITY, _NEGATIVE_INFINITY = (255, 0, 255), (255, 120, 0), (0, 220, 255)
_GAP = (0, 0, 0)


@cache
def palette(name: str) -> Palette:
    """Return the palette of the matplotlib colour map `name`, sampled at i / 251 for i = 0..251.

    Raises UsageError for an unknown name.
    """
    if name not in mpl.colormaps:
        raise UsageError(
            f"there is no colour map '{name}'; {did_you_mean(name, mpl.colormaps)} matplotlib's names are accepted"
        )
    samples = colour_map(name)(np.linspace(0, 1, MAP_COLOURS))[:, :3]
    colours = np.round(samples * 255).astype(np.uint8).tobytes()
    special = bytes((*_GAP, *_NAN, *_POSITIVE_INFINITY, *_NEGATIVE_INFINITY))
    return Palette(name, colours + special, b"\xff" * MAP_COLOURS + b"\x00")


def colour_map(name: str) -> Colormap:
    """Return matplotlib's colour map `name`, in 256 colours also where a user's settings give others fewer.

    Raises KeyError for an unknown name.
    """
    found = mpl.colormaps[name]
    return found.resampled(256) if isinstance(found, LinearSegmentedColormap) else found
