"""A small histogram, drawn by hand: one for each of hundreds of layers costs less than one matplotlib chart.

Bars stand for all values but the exact zeros, which often outnumber the rest: they are stacked in a lighter colour
on the bar of the bin that starts at zero, and cut off at the top of the picture.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape

import numpy as np
from numpy.typing import NDArray

from reportgen.drawing.png import Palette, encode_indexed

WIDTH, HEIGHT = 640, 160
_GROUND, _BAR, _ZEROS, _LINE = range(4)
_COLOURS = ("#ffffff", "#0072b2", "#a9d3ea", "#5c6264")
_PALETTE = Palette("histogram", b"".join(bytes.fromhex(colour[1:]) for colour in _COLOURS), b"\xff" * len(_COLOURS))
_TEXT, _BASELINE, _TALLEST = 22, 2, 0.85


@dataclass(frozen=True)
class Bars:
    """Where a histogram's bars end, in pixels: `edges` (n + 1,) from the left, heights from the bottom (n,).

    The zeros' bar reaches from `heights` to `zeros` in its bin, and `cut` is whether it would be taller.
    """

    edges: NDArray[np.int64]
    heights: NDArray[np.int64]
    zeros: NDArray[np.int64]
    cut: bool


def lay_out(counts: Sequence[int], zeros: int = 0, zero_bin: int | None = None) -> Bars:
    """Lay out the bars of `counts` (one bin or more), `zeros` of which, in the bin `zero_bin`, are exactly zero."""
    total = np.asarray(counts, dtype=np.int64)
    solid = total.copy()
    if zero_bin is not None:
        solid[zero_bin] -= zeros
    tallest = int(solid.max()) or int(total.max()) or 1
    cut = int(total.max()) > tallest
    # Room above the tallest bar, so that the zeros' bar is seen to go on.
    full = tallest / _TALLEST if cut else float(tallest)
    edges = np.arange(len(total) + 1) * WIDTH // len(total)
    return Bars(edges, _heights(solid, full), _heights(total, full), cut)


def _heights(counts: NDArray[np.int64], full: float) -> NDArray[np.int64]:
    """Heights in pixels, `full` reaching the top; whatever is not empty shows at least one."""
    room = HEIGHT - _BASELINE
    exact = np.minimum(np.ceil(counts / full * room), room)
    return exact.astype(np.int64)


def draw(bars: Bars, low: str, high: str, title: str) -> Mapping[str, bytes]:
    """Return the histogram as `png` and `svg`; the SVG also bears its `title` and the texts at its ends."""
    return {"png": _png(bars), "svg": _svg(bars, low, high, title).encode()}


def _png(bars: Bars) -> bytes:
    lines = np.zeros((HEIGHT, 1 + WIDTH), np.uint8)
    picture = lines[:, 1:]
    bottom = HEIGHT - _BASELINE
    picture[bottom:] = _LINE
    for left, right, height, zeros in _boxes(bars):
        picture[bottom - zeros : bottom, left:right] = _ZEROS
        picture[bottom - height : bottom, left:right] = _BAR
    return encode_indexed(lines, _PALETTE)


def _boxes(bars: Bars) -> list[tuple[int, int, int, int]]:
    """Left and right end of each bar, one pixel apart from the next, and the heights of both its parts."""
    lefts, rights = bars.edges[:-1].tolist(), bars.edges[1:].tolist()
    ends = [right - 1 if right - left > 2 else right for left, right in zip(lefts, rights, strict=True)]
    return list(zip(lefts, ends, bars.heights.tolist(), bars.zeros.tolist(), strict=True))


def _svg(bars: Bars, low: str, high: str, title: str) -> str:
    bottom = HEIGHT - _BASELINE
    boxes = _boxes(bars)
    zeros = [_box(left, right, bottom - stacked, bottom - height) for left, right, height, stacked in boxes]
    solid = [_box(left, right, bottom - height, bottom) for left, right, height, _ in boxes]
    text = f'font-family="DejaVu Sans, sans-serif" font-size="15" fill="{_COLOURS[_LINE]}" y="{HEIGHT + _TEXT - 6}"'
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT + _TEXT}" '
        f'width="{WIDTH}" height="{HEIGHT + _TEXT}" role="img">',
        f"<title>{escape(title)}</title>",
        f'<rect width="{WIDTH}" height="{HEIGHT + _TEXT}" fill="{_COLOURS[_GROUND]}"/>',
        f'<path fill="{_COLOURS[_ZEROS]}" d="{"".join(zeros)}"/>',
        f'<path fill="{_COLOURS[_BAR]}" d="{"".join(solid)}"/>',
        f'<rect y="{bottom}" width="{WIDTH}" height="{_BASELINE}" fill="{_COLOURS[_LINE]}"/>',
        f'<text {text} x="0">{escape(low)}</text>',
        f'<text {text} x="{WIDTH}" text-anchor="end">{escape(high)}</text>',
        "</svg>",
    ]
    return "\n".join(parts) + "\n"


def _box(left: int, right: int, top: int, bottom: int) -> str:
    return f"M{left} {top}H{right}V{bottom}H{left}z" if bottom > top else ""
