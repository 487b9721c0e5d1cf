"""A contact sheet: small pictures in rows and columns, with a name above each column and one at each row."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import cos, pi
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure as MplFigure
from numpy.typing import NDArray

from reportgen.drawing.charts import Chart, chart
from reportgen.drawing.png import Palette

_WIDTH = 10.0
_LARGEST, _SMALLEST = 0.9, 0.22
_LONGEST_SIDE = 400.0
"""Matplotlib draws at most 65,536 pixels a side."""
_GAP = 0.06
_FONT = 8.0
_CHARACTER = 0.61
"""The width of a character of DejaVu Sans Mono, in its size."""
_LONGEST_NAME = 40
_MARGIN = 0.08


@dataclass(frozen=True)
class _Frame:
    """Where things lie, in inches from the sheet's top left corner; `font` in points."""

    cell_width: float
    cell_height: float
    left: float
    top: float
    width: float
    height: float
    font: float


def contact_sheet(
    columns: Sequence[tuple[str, Sequence[NDArray[np.uint8]]]],
    row_names: Sequence[str],
    palette: Palette,
    aspect: float = 1.0,
) -> Chart:
    """Draw for each (name, pictures) a column of pictures, palette indices (H, W), enlarged without smoothing.

    `aspect` is the width of a cell over its height; a picture keeps its own and stands in the middle of the cell.
    Where a column has fewer pictures than there are rows, a dash stands. Names rise at 45 degrees, so that none
    touches the next; of names above 40 characters the last 40 are written.
    """
    names = [_shorten(name) for name, _ in columns]
    frame = _plan(names, row_names, min(3.0, max(1 / 3, aspect)))
    pictures = [tuple(of_column) for _, of_column in columns]
    return chart(
        frame.width, frame.height, _draw_sheet, frame, names, list(row_names), pictures, palette, placed=True
    )


def _draw_sheet(
    figure: MplFigure,
    frame: _Frame,
    names: Sequence[str],
    row_names: Sequence[str],
    columns: Sequence[Sequence[NDArray[np.uint8]]],
    palette: Palette,
) -> None:
    colours = np.frombuffer(palette.colours, np.uint8).reshape(256, 3)
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set(xlim=(0, frame.width), ylim=(frame.height, 0))
    axes.set_axis_off()
    for column, pictures in enumerate(columns):
        for row in range(len(row_names)):
            picture = colours[pictures[row]] if row < len(pictures) else None
            _draw_cell(axes, frame, column, row, picture)
    _write_names(axes, frame, names, row_names)


def _shorten(name: str) -> str:
    return name if len(name) <= _LONGEST_NAME else f"…{name[-_LONGEST_NAME:]}"


def _plan(names: Sequence[str], row_names: Sequence[str], aspect: float) -> _Frame:
    width = min(_LARGEST, max(_SMALLEST, _WIDTH / len(names) - _GAP))
    width = min(width, _LONGEST_SIDE / len(names) - _GAP, (_LONGEST_SIDE / len(row_names) - _GAP) * aspect)
    height = width / aspect
    # Lines at 45 degrees stand cos(45°) of a column apart.
    font = min(_FONT, (width + _GAP) * cos(pi / 4) * 72 * 0.9, (height + _GAP) * 72 * 0.9)
    em = font / 72
    slope = cos(pi / 4) * em
    top = _MARGIN + slope * (_CHARACTER * max(map(len, names)) + 1.2)
    left = _MARGIN + em * (_CHARACTER * max(map(len, row_names)) + 0.6)
    # The name of the last column rises beyond it, and so may those before.
    reach = max(
        (place + 0.5) * (width + _GAP) + slope * (_CHARACTER * len(name) + 1) for place, name in enumerate(names)
    )
    right = max(len(names) * (width + _GAP) - _GAP, reach)
    rows = len(row_names) * (height + _GAP) - _GAP
    return _Frame(width, height, left, top, left + right + _MARGIN, top + rows + _MARGIN, font)


def _corner(frame: _Frame, column: float, row: float) -> tuple[float, float]:
    return (
        frame.left + column * (frame.cell_width + _GAP),
        frame.top + row * (frame.cell_height + _GAP),
    )


def _draw_cell(axes: Axes, frame: _Frame, column: int, row: int, picture: NDArray[np.uint8] | None) -> None:
    left, top = _corner(frame, column, row)
    middle = (left + frame.cell_width / 2, top + frame.cell_height / 2)
    if picture is None:
        axes.text(*middle, "–", ha="center", va="center", color="#a0a4a3", fontsize=frame.font)
        return
    height, width = picture.shape[:2]
    scale = min(frame.cell_width / width, frame.cell_height / height)
    half_width, half_height = width * scale / 2, height * scale / 2
    extent = (middle[0] - half_width, middle[0] + half_width, middle[1] + half_height, middle[1] - half_height)
    # "none" keeps the picture's own pixels in SVG and PDF, and is nearest neighbour in PNG.
    axes.imshow(picture, extent=extent, aspect="auto", interpolation="none")


def _write_names(axes: Axes, frame: _Frame, names: Sequence[str], row_names: Sequence[str]) -> None:
    style: Any = {"fontsize": frame.font, "family": "DejaVu Sans Mono", "color": "#1d2021", "parse_math": False}
    for column, name in enumerate(names):
        left, top = _corner(frame, column, 0)
        place = (left + frame.cell_width / 2, top - 0.3 * frame.font / 72)
        axes.text(*place, name, rotation=45, rotation_mode="anchor", ha="left", va="bottom", **style)
    for row, name in enumerate(row_names):
        left, top = _corner(frame, 0, row)
        place = (left - 0.5 * frame.font / 72, top + frame.cell_height / 2)
        axes.text(*place, name, ha="right", va="center", **style)
