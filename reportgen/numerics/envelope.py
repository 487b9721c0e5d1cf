"""Fewer points for a long curve, with every peak and every hole kept."""

import numpy as np
from numpy.typing import NDArray

PARTS = 512
"""Half a part a pixel of a chart: a curve drawn through the extremes of its parts looks like the whole one."""


def thin(values: NDArray[np.float64], parts: int = PARTS) -> NDArray[np.intp]:
    """Return the places, ascending, of the points that stand for the curve `values` (D,) in a plot.

    All of them up to 2 * `parts` values. A longer curve is cut into parts of `part_size` values, and of each the
    first of its smallest finite values, the first of its largest, and its first value that is not finite are kept.
    """
    count = values.shape[0]
    if count <= 2 * parts:
        return np.arange(count)
    size = part_size(count, parts)
    starts = np.arange(0, count, size)
    rows = np.full((starts.size, size), np.nan)
    rows.reshape(-1)[:count] = values
    finite = np.isfinite(rows)
    smallest = np.where(finite, rows, np.inf).argmin(axis=1)
    largest = np.where(finite, rows, -np.inf).argmax(axis=1)
    hole = (~finite).argmax(axis=1)
    holed = ~finite.all(axis=1)
    places = np.concatenate([starts + smallest, starts + largest, (starts + hole)[holed]])
    return np.unique(places[places < count])


def part_size(count: int, parts: int = PARTS) -> int:
    """Return how many of `count` values a part has, the last one perhaps fewer; 1 where all of them are drawn."""
    return 1 if count <= 2 * parts else -(-count // parts)
