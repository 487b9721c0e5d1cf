"""A table of palette indices as a compact picture: wide tables are folded into lines that a page can show whole."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

WIDEST = 1024
_TALLEST = 1200
_CELL_WIDTHS = (1, 24)
_CELL_HEIGHTS = (3, 16)
_GAP = 6


@dataclass(frozen=True)
class Folding:
    """How a table of `rows` rows lies in the picture, in pixels.

    Its columns are folded into `lines` lines of `columns` each, the last one perhaps with fewer, one below the
    other with `gap` pixels between them. The cell of row r, column c starts at x = c % columns * cell_width,
    y = c // columns * (rows * cell_height + gap) + r * cell_height.
    """

    rows: int
    columns: int
    lines: int
    cell_width: int
    cell_height: int
    gap: int = _GAP

    @property
    def width(self) -> int:
        return self.columns * self.cell_width

    @property
    def height(self) -> int:
        return self.lines * (self.rows * self.cell_height + self.gap) - self.gap


def fold(rows: int, columns: int) -> Folding:
    """Plan a picture, at most 1024 pixels wide, for `rows` x `columns` cells, each at least 1 x 3 pixels."""
    lines = -(-columns // WIDEST)
    across = -(-columns // lines)
    width = _clip(WIDEST // across, _CELL_WIDTHS)
    height = _clip(_TALLEST // (lines * rows), _CELL_HEIGHTS)
    return Folding(rows, across, lines, width, height)


def paint(indices: NDArray[np.uint8], folding: Folding, gap_index: int) -> NDArray[np.uint8]:
    """Return `indices` (rows, columns) as scan lines (height, 1 + width) for `png.encode_indexed`.

    Gaps and the empty places of the last line hold `gap_index`.
    """
    lines = np.full((folding.height, 1 + folding.width), gap_index, np.uint8)
    lines[:, 0] = 0
    for line in range(folding.lines):
        part = indices[:, line * folding.columns : (line + 1) * folding.columns]
        cells = part.repeat(folding.cell_height, axis=0).repeat(folding.cell_width, axis=1)
        top = line * (folding.rows * folding.cell_height + folding.gap)
        lines[top : top + cells.shape[0], 1 : 1 + cells.shape[1]] = cells
    return lines


def _clip(value: int, ends: tuple[int, int]) -> int:
    return max(ends[0], min(ends[1], value))
