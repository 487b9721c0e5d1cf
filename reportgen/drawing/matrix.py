"""A matrix of palette indices as a picture: one pixel a cell, cells without a value gray."""

import dataclasses
from functools import cache

import numpy as np
from numpy.typing import NDArray

from reportgen.drawing.palette import palette
from reportgen.drawing.png import Palette, encode_indexed

UNDEFINED = 253
"""The index of a cell without a value, in any colour map."""
_GRAY = bytes((160, 163, 162))


def encode_matrix(indices: NDArray[np.uint8], cmap: str) -> bytes:
    """Encode palette indices (rows, columns), uint8, of the colour map `cmap` as a PNG."""
    lines = np.pad(indices, ((0, 0), (1, 0)))
    return encode_indexed(lines, _with_gray(cmap))


@cache
def _with_gray(cmap: str) -> Palette:
    """The palette of `cmap`, but that no value is nothing alarming here: gray instead of magenta."""
    plain = palette(cmap)
    start = 3 * UNDEFINED
    return dataclasses.replace(plain, colours=plain.colours[:start] + _GRAY + plain.colours[start + 3 :])
