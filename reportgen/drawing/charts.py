"""Charts by matplotlib, as PNG for pages and as SVG and PDF for papers.

Same input, same bytes: fonts are matplotlib's own, SVG ids come from a fixed salt, no file bears a date, and what a
user has set in matplotlib (a matplotlibrc, rcParams, a style) counts for nothing. PDFs embed Type 42 (TrueType)
fonts, since publishers refuse Type 3.
"""

import io
import pickle
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure as MplFigure
from numpy.typing import NDArray

from reportgen.drawing.palette import colour_map
from reportgen.later import Later

DPI = 144
MOST_NAMES = 80
"""Beyond so many rows or columns, not every one bears its name."""
_STYLE: Any = {
    "font.family": "DejaVu Sans",
    "font.size": 9,
    "axes.linewidth": 0.6,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": "#5c6264",
    "axes.labelcolor": "#1d2021",
    "axes.titlesize": 10,
    "xtick.color": "#5c6264",
    "ytick.color": "#5c6264",
    "xtick.major.width": 0.6,
    "ytick.major.width": 0.6,
    "lines.linewidth": 1.0,
    "figure.facecolor": "white",
    "savefig.facecolor": "white",
    # Hinted letters are whole pixels wide, which makes long names longer than the layout has measured them.
    "text.hinting": "none",
    "pdf.fonttype": 42,
    "svg.fonttype": "path",
    "svg.hashsalt": "reportgen",
    "path.simplify": True,
}
_APART = ("backend", "date.epoch", "docstring.hardcopy", "interactive", "timezone", "toolbar")
"""Settings of the session, not of a picture; asking for the backend would choose one."""
_DEFAULTS: Any = {name: value for name, value in mpl.rcParamsDefault.items() if not name.startswith(_APART)}
_PRINTING: Any = {
    "precision": 8, "threshold": 1000, "edgeitems": 3, "linewidth": 75, "suppress": False, "nanstr": "nan",
    "infstr": "inf", "sign": "-", "formatter": None, "floatmode": "maxprec", "legacy": False,
}  # fmt: skip
"""NumPy's own way of writing arrays: matplotlib makes the ids in an SVG of how its transforms are written."""
_UNDEFINED = "#c9cccb"
_MONO = "DejaVu Sans Mono"
_MONO_ADVANCE = 0.602
"""The width of a letter of that font, in ems."""
# Okabe and Ito's colours, which people with any kind of colour vision tell apart (jfly.uni-koeln.de/color, 2008).
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000", "#F0E442")


@dataclass(frozen=True)
class Chart:
    """A chart's files by suffix (`png`, `svg`, `pdf`), not drawn yet; width and height are the PNG's, in pixels."""

    files: Mapping[str, bytes]
    width: int
    height: int


def chart(
    width: float,
    height: float,
    draw: Callable[..., None],
    *arguments: Any,
    placed: bool = False,
    vector: bool = True,
) -> Chart:
    """Return a chart of `width` x `height` inches, as PNG and, when `vector`, as SVG and PDF too.

    `draw`, a function of a module, is called with the figure and a copy of `arguments`, later on and perhaps in
    another process. With `placed`, axes stay where it puts them, and the figure is drawn once less.
    """
    content = pickle.dumps((width, height, placed, vector, draw, arguments), protocol=pickle.HIGHEST_PROTOCOL)
    suffixes = ("png", "svg", "pdf") if vector else ("png",)
    files = Later(_draw, lambda: (content,), suffixes, held=len(content), slow=True)
    return Chart(files, int(width * DPI), int(height * DPI))


def _draw(content: bytes) -> dict[str, bytes]:
    width, height, placed, vector, draw, arguments = pickle.loads(content)  # noqa: S301 - packed by `chart`
    with _drawing(width, height, placed=placed) as figure:
        draw(figure, *arguments)
        return _save(figure, vector=vector)


_one_by_one = threading.RLock()
"""Held while a chart is drawn: matplotlib's settings belong to the process."""


@contextmanager
def _drawing(width: float, height: float, *, placed: bool) -> Iterator[MplFigure]:
    """Give a figure to draw on, in the style of all charts; all that reads the style must happen inside."""
    with _one_by_one, mpl.rc_context(_changes()), np.printoptions(**_PRINTING):
        figure = MplFigure(figsize=(width, height), layout=None if placed else "constrained")
        FigureCanvasAgg(figure)
        yield figure


def _changes() -> dict[Any, Any]:
    """The settings that make matplotlib's state right now its default, with our style on it."""
    # Those that differ only: to set all takes 2 ms, and there are hundreds of charts.
    now: Any = mpl.rcParams
    defaults = {name: value for name, value in _DEFAULTS.items() if now[name] != value}
    return {**defaults, **_STYLE}


def _save(figure: MplFigure, *, vector: bool) -> dict[str, bytes]:
    files = {"png": _render(figure, "png", dpi=DPI, metadata={"Software": None}, pil_kwargs={"compress_level": 1})}
    # Laid out once, so that all formats are the same and the others are quick: "none" would leave an engine there
    # that does nothing, for which each format is drawn twice, and None leaves none.
    figure.set_layout_engine(None)
    if vector:
        files["svg"] = _render(figure, "svg", metadata={"Date": None, "Creator": None})
        files["pdf"] = _render(figure, "pdf", metadata={"CreationDate": None, "Creator": None, "Producer": None})
    return files


def _render(figure: MplFigure, kind: str, **options: Any) -> bytes:
    buffer = io.BytesIO()
    figure.savefig(buffer, format=kind, **options)
    return buffer.getvalue()


def labelled_matrix(
    values: NDArray[np.float64],
    names: Sequence[str],
    *,
    low: float,
    high: float,
    cmap: str,
    bar_label: str,
    blocks: Mapping[int, str] = MappingProxyType({}),
) -> Chart:
    """Draw a square matrix with a name at each row and column; NaN is gray.

    `blocks` maps the row at which a block of the module tree starts to its label; a line marks each. More than
    MOST_NAMES names could not be read: the blocks are labelled instead, as far as they have room, or, when there
    are none, every k-th row. A name of more than 60 letters loses its middle.
    """
    many = len(names) > MOST_NAMES
    side = float(np.clip(len(names) / DPI, 10.0, 16.0) if many else np.clip(len(names) * 0.17, 5.0, 13.6))
    row = side * 72 / len(names)
    size = 7.5 if many else float(np.clip(row * 0.8, 4.2, 8.5))
    labels = _labels(names, blocks, row, 1.3 * size) if many else dict(enumerate(names))
    shown = {place: shorten(label) for place, label in labels.items()}
    # Placed by hand: the layout engine measures upright names too short.
    margin = _MONO_ADVANCE * size / 72 * max(map(len, shown.values())) + 0.3
    width, height = margin + side + 1.1, margin + side + 0.1
    frame = _Frame(width, height, margin, side, size)
    marked = [place for place in blocks if place]
    return chart(
        width, height, _draw_matrix, values, shown, frame, (low, high), cmap, bar_label, marked, placed=True
    )


@dataclass(frozen=True)
class _Frame:
    """Where a matrix lies: its side, and the margins to its left and below, in inches; `font` in points."""

    width: float
    height: float
    margin: float
    side: float
    font: float


def _draw_matrix(
    figure: MplFigure,
    values: NDArray[np.float64],
    names: Mapping[float, str],
    frame: _Frame,
    ends: tuple[float, float],
    cmap: str,
    bar_label: str,
    marked: Sequence[int],
) -> None:
    width, height, margin, side = frame.width, frame.height, frame.margin, frame.side
    axes = figure.add_axes((margin / width, margin / height, side / width, side / height))
    colours = ScalarMappable(Normalize(*ends), colour_map(cmap).with_extremes(bad=_UNDEFINED))
    # Coloured once for all formats. Without interpolation, vector formats hold the matrix, a pixel a cell.
    axes.imshow(colours.to_rgba(values, bytes=True), interpolation="none")
    style: Any = {"fontsize": frame.font, "family": _MONO, "parse_math": False}
    axes.set_xticks(list(names), list(names.values()), rotation=90, **style)
    axes.set_yticks(list(names), list(names.values()), **style)
    axes.tick_params(length=2, pad=1.5)
    _mark(axes, marked, len(values))
    bar = ((margin + side + 0.15) / width, (margin + side / 4) / height, 0.16 / width, side / 2 / height)
    figure.colorbar(colours, cax=figure.add_axes(bar), label=bar_label)


def _labels(names: Sequence[str], blocks: Mapping[int, str], row: float, room: float) -> dict[float, str]:
    """The labels of blocks by their middle, large blocks first, `room` points apart, with `row` points a row."""
    if not blocks:
        step = max(1, int(np.ceil(max(room / row, len(names) / MOST_NAMES))))
        return {place: names[place] for place in range(0, len(names), step)}
    starts = sorted(blocks)
    spans = list(zip(starts, [*starts[1:], len(names)], strict=True))
    labels: dict[float, str] = {}
    for start, end in sorted(spans, key=lambda span: span[0] - span[1]):
        middle = (start + end - 1) / 2
        if all(abs(middle - other) * row >= room for other in labels):
            labels[middle] = blocks[start]
    return labels


def _mark(axes: Axes, places: Sequence[int], count: int) -> None:
    """Lines before the rows and columns `places`, as two artists: one for each takes seconds."""
    edges = np.array(places) - 0.5
    axes.hlines(edges, -0.5, count - 0.5, color="white", linewidth=0.7)
    axes.vlines(edges, -0.5, count - 0.5, color="white", linewidth=0.7)


def shorten(name: str, most: int = 60) -> str:
    """Return `name` with its middle left out where it is longer than `most` letters."""
    if len(name) <= most:
        return name
    head = (most - 1) // 2
    return f"{name[:head]}…{name[head + 1 - most :]}"
