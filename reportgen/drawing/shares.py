"""Shares of channels, layer after layer, as rows of bars over one axis of layers."""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure as MplFigure
from matplotlib.ticker import FuncFormatter
from numpy.typing import NDArray

from reportgen.drawing.charts import COLOURS, MOST_NAMES, Chart, chart

_LEAST_TOP = 0.05
_SMALLEST_LABEL = 5.2
"""Points that a layer's name needs along the axis, so that it does not touch the next."""
_LETTER = 0.602
"""Width of DejaVu Sans Mono's letters, as a share of the font's size."""
_ROW, _TITLE, _LEFT, _RIGHT = 0.62, 0.26, 0.5, 0.12
_UNDEFINED = "#e4e6e5"


def share_rows(names: Sequence[str], rows: Mapping[str, NDArray[np.float64]]) -> Chart:
    """Draw each named row of shares (0 to 1, one a layer; NaN, undefined, is a gray field) above the layers' names.

    All rows (eight at most) have one scale. Names stand as large as their columns allow, and every k-th is written
    where they would collide.
    """
    count = len(names)
    width = float(np.clip(count * 0.17, 5.0, 14.0))
    points = width * 72 / count
    step = max(1, int(np.ceil(max(_SMALLEST_LABEL / points, count / MOST_NAMES))))
    size = float(np.clip(points * step * 0.8, 4.2, 8.5))
    below = _LETTER * size / 72 * max(len(name) for name in names[::step]) + 0.12
    height = len(rows) * (_ROW + _TITLE) + below
    page = (width + _LEFT + _RIGHT, height)
    return chart(*page, _draw_rows, dict(rows), page, names[::step], step, size, placed=True)


def _draw_rows(
    figure: MplFigure,
    rows: Mapping[str, NDArray[np.float64]],
    page: tuple[float, float],
    names: Sequence[str],
    step: int,
    size: float,
) -> None:
    width, height = page
    for number, ((title, shares), colour) in enumerate(zip(rows.items(), COLOURS, strict=False)):
        bottom = height - (number + 1) * (_ROW + _TITLE)
        box = (_LEFT / width, bottom / height, (width - _LEFT - _RIGHT) / width, _ROW / height)
        axes = figure.add_axes(box)
        _draw_row(axes, title, shares, colour, _top(rows))
    places = range(0, step * len(names), step)
    axes.set_xticks(places, names, rotation=90, fontsize=size, family="DejaVu Sans Mono")
    axes.tick_params(axis="x", length=2, pad=1.5)


def _top(rows: Mapping[str, NDArray[np.float64]]) -> float:
    """The upper end of the scale: a little above the largest share."""
    known = [share for shares in rows.values() for share in shares.tolist() if share == share]
    return min(1.0, max(_LEAST_TOP, 1.08 * max(known, default=0.0)))


def _draw_row(axes: Axes, title: str, shares: NDArray[np.float64], colour: str, top: float) -> None:
    # One outline for all bars: hundreds of rectangles take matplotlib seconds.
    places = np.arange(len(shares))
    edges = (places[:, None] + [-0.4, -0.4, 0.4, 0.4]).ravel()
    heights = (np.nan_to_num(shares)[:, None] * [0, 1, 1, 0]).ravel()
    axes.fill_between(edges, heights, color=colour, linewidth=0)
    missing = (np.isnan(shares)[:, None] * [0, top, top, 0]).ravel()
    axes.fill_between((places[:, None] + [-0.5, -0.5, 0.5, 0.5]).ravel(), missing, color=_UNDEFINED, linewidth=0)
    axes.set_title(title, loc="left", fontsize=8.5, pad=3)
    axes.set(xlim=(-0.7, len(shares) - 0.3), ylim=(0, top), xticks=[])
    axes.yaxis.set_major_formatter(FuncFormatter(lambda share, _: f"{100 * share:.3g} %"))
    axes.tick_params(axis="y", labelsize=7.5)
    axes.locator_params(axis="y", nbins=3)
