"""Curves over the units of a layer, and stems over classes, in the style of `charts`.

Names come from files and from lists of classes: they are written as they are (a `$` starts no formula), shortened,
and with a box for every character that the charts' font lacks.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import matplotlib as mpl
import numpy as np
from matplotlib import font_manager
from matplotlib.axes import Axes
from matplotlib.figure import Figure as MplFigure
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from reportgen.drawing.charts import COLOURS, Chart, chart

_FONT = Path(mpl.get_data_path(), "fonts", "ttf", "DejaVuSans.ttf")
_BOX = "\N{WHITE SQUARE}"
_LONGEST_NAME = 40
_DOTTED, _DENSE = 40, 300
_HUGE = 1e300
"""Axes that reach further overflow in matplotlib's own arithmetic."""


@dataclass(frozen=True)
class Curve:
    """A named curve through the points (x, y), both (P,), x ascending. NaN and infinities in y leave holes."""

    name: str
    x: NDArray[np.intp]
    y: NDArray[np.float64]


def curve_plot(curves: Sequence[Curve], *, span: int, x_label: str, y_label: str, vector: bool = True) -> Chart:
    """Plot `curves` over 0 to `span` - 1, with a legend for two to eight of them. `vector`: as SVG and PDF too.

    Points are dotted where there are few, and where a point between two holes would draw no line.
    """
    return chart(7.0, 2.6, _draw_curves, list(curves), span, x_label, y_label, vector=vector)


def _draw_curves(figure: MplFigure, curves: Sequence[Curve], span: int, x_label: str, y_label: str) -> None:
    axes = figure.add_subplot()
    many = len(curves) > len(COLOURS)
    for number, curve in enumerate(curves):
        _add(axes, curve, COLOURS[0] if many else COLOURS[number], 0.35 if many else 0.8)
    axes.set(xlabel=x_label, ylabel=y_label)
    _set_span(axes, span)
    axes.xaxis.set_major_locator(_whole_numbers())
    if len(curves) > 1 and not many:
        _add_legend(axes, [curve.name for curve in curves])


def _add(axes: Axes, curve: Curve, colour: str, alpha: float) -> None:
    y = np.where(np.isfinite(curve.y), curve.y, np.nan).clip(-_HUGE, _HUGE)
    dotted = np.ones(y.size, bool) if y.size <= _DOTTED else _alone(y)
    (line,) = axes.plot(curve.x, y, color=colour, alpha=alpha, linewidth=0.9 if y.size <= _DENSE else 0.5)
    if dotted.any():
        line.set(marker=".", markersize=4, markevery=np.flatnonzero(dotted).tolist())


def _alone(y: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Which points have a hole, or the end of the curve, on both sides."""
    hole = np.isnan(np.concatenate([[np.nan], y, [np.nan]]))
    alone: NDArray[np.bool_] = ~hole[1:-1] & hole[:-2] & hole[2:]
    return alone


def _add_legend(axes: Axes, names: Sequence[str]) -> None:
    """Write a legend beside the axes. Names are set last: matplotlib leaves out those that start with `_`."""
    placeholders = ["name"] * len(names)
    corner = (1.0, 1.0)
    legend = axes.legend(
        axes.get_lines(), placeholders, frameon=False, fontsize=8, loc="upper left", bbox_to_anchor=corner
    )
    for text, name in zip(legend.get_texts(), names, strict=True):
        text.set_parse_math(False)
        text.set_text(writable(name, 24))


def stem_plot(
    values: NDArray[np.float64],
    places: NDArray[np.intp],
    *,
    marked: int,
    label: str,
    x_label: str,
    y_label: str,
) -> Chart:
    """Plot a stem from 0 to `values` (D,), all finite, at each of `places`; `label` stands on `marked`."""
    # Its labels need no more room than there is, and finding out costs as much as drawing.
    return chart(7.0, 2.4, _draw_stems, values, places, marked, label, x_label, y_label, placed=True)


def _draw_stems(
    figure: MplFigure,
    values: NDArray[np.float64],
    places: NDArray[np.intp],
    marked: int,
    label: str,
    x_label: str,
    y_label: str,
) -> None:
    count = values.size
    axes = figure.add_axes((0.085, 0.19, 0.89, 0.78))
    width = float(np.clip(280 / count, 0.7, 10))
    _add_stems(axes, places, values[places], COLOURS[0], width)
    _add_stems(axes, np.array([marked]), values[[marked]], COLOURS[1], max(width, 1.2))
    if width < 4:  # colour alone would not tell a thin stem from its neighbours
        axes.plot([marked], values[[marked]], "o", color=COLOURS[1], markersize=4)
    side = ("left", "center", "right")[min(2, 3 * marked // count)]
    axes.annotate(
        writable(label, 60),
        (marked, float(values[marked])),
        xytext=(0, 6),
        textcoords="offset points",
        horizontalalignment=side,
        fontsize=9,
        color="#1d2021",
        parse_math=False,
    )
    axes.set(xlabel=x_label, ylabel=y_label, ylim=(0, 1.2 * (float(values[marked]) or 1.0)))
    _set_span(axes, count)
    axes.xaxis.set_major_locator(_whole_numbers())


def _add_stems(axes: Axes, x: NDArray[np.intp], y: NDArray[np.float64], colour: str, width: float) -> None:
    """Draw all stems as one path with holes: a path each makes an SVG four times as large."""
    hole = np.full(x.size, np.nan)
    path_x, path_y = np.stack([x, x, hole], axis=1).ravel(), np.stack([np.zeros(x.size), y, hole], axis=1).ravel()
    axes.plot(path_x, path_y, color=colour, linewidth=width, solid_capstyle="butt")


def _set_span(axes: Axes, count: int) -> None:
    """Let the x axis hold the places 0 to `count` - 1, also those where there is nothing to draw."""
    axes.set_xlim(-0.5 - 0.01 * count, count - 0.5 + 0.01 * count)


def _whole_numbers() -> MaxNLocator:
    return MaxNLocator(integer=True, min_n_ticks=1, steps=[1, 2, 5, 10])


def notice(text: str) -> Chart:
    """A chart's place with nothing but a sentence in it: why there is no chart."""
    return chart(7.0, 1.0, _draw_notice, text)


def _draw_notice(figure: MplFigure, text: str) -> None:
    axes = figure.add_subplot()
    axes.set_axis_off()
    axes.text(0.5, 0.5, writable(text, 110), ha="center", va="center", color="#5c6264", wrap=True, parse_math=False)


def writable(text: str, longest: int = _LONGEST_NAME) -> str:
    """Return `text` with a box for each character the font lacks, cut in the middle to `longest` characters."""
    known = "".join(sign if _has_glyph(sign) else _BOX for sign in text)
    if len(known) <= longest:
        return known
    tail = longest // 3
    return f"{known[: longest - tail - 1]}…{known[-tail:]}"


@cache
def _has_glyph(sign: str) -> bool:
    font = font_manager.get_font(_FONT)
    return bool(font.get_char_index(ord(sign)))
