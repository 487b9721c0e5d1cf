"""Shares of channels, layer after layer, as rows of bars over one axis of layers."""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import PercentFormatter
from numpy.typing import NDArray

from reportgen.drawing.charts import COLOURS, Chart, drawing, save

_LEAST_TOP = 0.05
_LABEL_POINTS = 5.2
_UNDEFINED = "#e4e6e5"


def share_rows(names: Sequence[str], rows: Mapping[str, NDArray[np.float64]]) -> Chart:
    """Draw each named row of shares (0 to 1, one a layer; NaN, undefined, is a gray field) above the layers' names.

    All rows have one scale. Names stand as large as their columns allow, and every k-th is written where they
    would collide.
    """
    count = len(names)
    width = float(np.clip(count * 0.17, 5.0, 14.0))
    points = width * 72 / count
    step = max(1, int(np.ceil(_LABEL_POINTS / points)))
    size = float(np.clip(points * step * 0.8, 4.2, 8.5))
    labels = 0.0092 * size * max(len(name) for name in names[::step])
    with drawing(width + 0.9, 0.85 * len(rows) + labels + 0.4) as figure:
        grid = figure.subplots(len(rows), 1, sharex=True, sharey=True, squeeze=False)[:, 0]
        for axes, colour, (title, shares) in zip(grid, COLOURS, rows.items(), strict=False):
            _draw_row(axes, title, shares, colour)
        known = [float(np.nanmax(shares)) for shares in rows.values() if np.isfinite(shares).any()]
        grid[0].set_ylim(0, min(1.0, max(_LEAST_TOP, 1.08 * max(known, default=0.0))))
        grid[-1].set_xlim(-0.7, count - 0.3)
        grid[-1].set_xticks(
            range(0, count, step), names[::step], rotation=90, fontsize=size, family="DejaVu Sans Mono"
        )
        grid[-1].tick_params(axis="x", length=2, pad=1.5)
        return save(figure)


def _draw_row(axes: Axes, title: str, shares: NDArray[np.float64], colour: str) -> None:
    places = np.arange(len(shares))
    axes.bar(places, np.nan_to_num(shares), width=0.8, color=colour, linewidth=0)
    missing = np.isnan(shares)
    axes.bar(places[missing], 1.0, width=1.0, color=_UNDEFINED, linewidth=0)
    axes.set_title(title, loc="left", fontsize=8.5, pad=3)
    axes.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=None))
    axes.tick_params(axis="y", labelsize=7.5)
    axes.tick_params(axis="x", length=0)
    axes.locator_params(axis="y", nbins=3)
