"""Kernels as pictures: true-colour mosaics, and charts with each weight written on its cell."""

from collections.abc import Sequence

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure as MplFigure
from numpy.typing import NDArray
from PIL import Image

from reportgen.drawing.charts import Chart, chart
from reportgen.drawing.mosaic import Mosaic, assemble, plan
from reportgen.drawing.palette import colour_map
from reportgen.drawing.png import encode_picture

_CELL = 0.36
_GAP_CELLS = 0.9
_BAR_INCHES = 0.95
_LEAST_INCHES = 2.1
_SUPERSCRIPTS = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")
# Of black and white, the one with the larger contrast (WCAG 2.2): they break even at this luminance.
_EVEN_LUMINANCE = 0.179


def plan_planes(count: int, planes: int, height: int, width: int) -> Mosaic:
    """Plan a mosaic for `count` kernels of `planes` tiles each, so that the planes of a kernel lie side by side."""
    whole = plan(count, height, planes * (width + 1) - 1)
    return Mosaic(whole.columns * planes, whole.rows, width, height, gap=1)


def encode_colours(tiles: NDArray[np.uint8], mosaic: Mosaic) -> bytes:
    """Encode tiles (count, 3, height, width) of 8-bit RGB as one PNG; gaps and empty places are transparent."""
    solid = np.full_like(tiles[:, 0], 255)
    bands = [assemble(band, mosaic, 0)[:, 1:] for band in (tiles[:, 0], tiles[:, 1], tiles[:, 2], solid)]
    return encode_picture(Image.fromarray(np.stack(bands, axis=-1)))


def annotated(
    slices: NDArray[np.float64], titles: Sequence[str], *, columns: int, limit: float, cmap: str
) -> Chart:
    """Draw slices (count, height, width) with each weight written on its cell, in black or white as reads better.

    Colours span -limit to limit. Weights are in the `unit` of the limit; one that is not finite stands on gray.
    """
    count, height, width = slices.shape
    across, down = width + _GAP_CELLS / 2, height + _GAP_CELLS
    wide = max(columns * across * _CELL, _LEAST_INCHES)
    page_width, page_height = wide + _BAR_INCHES, max(-(-count // columns) * down * _CELL, _LEAST_INCHES)
    # Places are known here: laying out hundreds of texts would take longer than drawing them.
    page = (page_width, page_height)
    return chart(
        *page, _draw_annotated, page, wide, slices, list(titles), columns, (across, down), limit, cmap, placed=True
    )


def _draw_annotated(
    figure: MplFigure,
    page: tuple[float, float],
    wide: float,
    slices: NDArray[np.float64],
    titles: Sequence[str],
    columns: int,
    step: tuple[float, float],
    limit: float,
    cmap: str,
) -> None:
    (width, height), (across, down) = page, step
    share = wide / width
    axes = figure.add_axes((0, 0, share, 1))
    axes.set(xlim=(-_GAP_CELLS / 2, wide / _CELL - _GAP_CELLS / 2), ylim=(height / _CELL - 0.15, -0.15))
    axes.set_axis_off()
    for number, (values, title) in enumerate(zip(slices, titles, strict=True)):
        left, top = number % columns * across, number // columns * down + _GAP_CELLS - 0.2
        axes.text(left, top - 0.12, title, fontsize=7, color="#1d2021", parse_math=False)
        _draw_slice(axes, values, left, top, limit, cmap)
    bar = figure.add_axes((share + 0.15 / width, 0.12, 0.12 / width, 0.76))
    end = limit / 10.0 ** unit(limit)
    scale = mpl.cm.ScalarMappable(mpl.colors.Normalize(-end, end), colour_map(cmap))
    figure.colorbar(scale, cax=bar, label=f"weight{describe_unit(limit)}")


def _draw_slice(axes: Axes, values: NDArray[np.float64], left: float, top: float, limit: float, cmap: str) -> None:
    height, width = values.shape
    colours = cell_colours(values, limit, cmap)
    axes.imshow(colours, extent=(left, left + width, top + height, top), interpolation="nearest", aspect="auto")
    inks = ink(colours)
    for (row, column), value in np.ndenumerate(values):
        axes.text(
            left + column + 0.5,
            top + row + 0.5,
            write(float(value), limit),
            ha="center",
            va="center_baseline",
            fontsize=6.5,
            color=str(inks[row, column]),
            parse_math=False,
        )


def cell_colours(values: NDArray[np.float64], limit: float, cmap: str) -> NDArray[np.float64]:
    """Return RGB in 0..1, (..., 3), of values on a scale from -limit to limit; gray where one is not finite."""
    place = np.where(np.isfinite(values), (values / limit + 1) / 2, np.nan)
    colours: NDArray[np.float64] = colour_map(cmap).with_extremes(bad="#c9cccb")(np.ma.masked_invalid(place))
    return colours[..., :3]


def ink(colours: NDArray[np.float64]) -> NDArray[np.str_]:
    """Return `black` or `white` for each of the colours (..., 3): the one that reads better on it."""
    linear = np.where(colours <= 0.04045, colours / 12.92, ((colours + 0.055) / 1.055) ** 2.4)
    luminance = linear @ np.array([0.2126, 0.7152, 0.0722])
    return np.where(luminance > _EVEN_LUMINANCE, "black", "white")


def unit(limit: float) -> int:
    """Return the power of ten in which weights up to `limit` are written: 0 for 0.1 to 100, else the leading."""
    exponent = max(-300, int(np.floor(np.log10(limit))))
    return 0 if -1 <= exponent <= 1 else exponent


def write(value: float, limit: float) -> str:
    """Return a weight in the unit of `limit`: two decimals, one from 10 on; `.25` for 0.25, a true minus sign."""
    if not np.isfinite(value):
        return "NaN" if np.isnan(value) else "+Inf" if value > 0 else "\N{MINUS SIGN}Inf"
    decimals = 1 if unit(limit) == 0 and limit >= 10 else 2
    text = f"{value / 10.0 ** unit(limit):.{decimals}f}"
    digits = text.lstrip("-")
    sign = "\N{MINUS SIGN}" if text != digits and float(digits) else ""
    return sign + (digits[1:] if digits.startswith("0.") else digits)


def describe_unit(limit: float) -> str:
    """Return ` (× 10⁻³)`, or an empty string where the unit is 1."""
    power = str(unit(limit))
    return "" if power == "0" else f" (× 10{power.translate(_SUPERSCRIPTS)})"
