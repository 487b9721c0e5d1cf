"""Histograms of values that stream past: exact counts, whatever range the values turn out to have."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray

BINS = 64
"""A histogram has at most so many bins."""

# Places of bins stay exact in float64, and so does the factor that turns a value into its place.
_INDEX_BITS = 40
_SMALLEST_EXPONENT = -900

Integers = NDArray[np.int64]


@dataclass(frozen=True)
class Histogram:
    """Exact counts in bins that are 2 ** exponent wide and whose edges are multiples of their width.

    The width is the smallest that covers all values with at most BINS bins. A wider one joins pairs of bins, so
    that counts do not depend on the order in which the values came. `first` times the width is the first edge.
    """

    exponent: int = _SMALLEST_EXPONENT
    first: int = 0
    counts: Integers = field(default_factory=lambda: np.zeros(0, np.int64))

    @property
    def width(self) -> float:
        return math.ldexp(1.0, self.exponent)

    @property
    def low(self) -> float:
        """The first bin's lower edge."""
        return self.first * self.width

    @property
    def high(self) -> float:
        """The last bin's upper edge."""
        return self._end * self.width

    @property
    def zero_bin(self) -> int | None:
        """The place of the bin that starts at zero, or None."""
        return -self.first if self.first <= 0 < self._end else None

    @property
    def _end(self) -> int:
        return self.first + len(self.counts)

    def coarsened(self, exponent: int) -> "Histogram":
        """Return the same counts in bins that are 2 ** exponent wide, not narrower than they were."""
        if not len(self.counts):
            return Histogram(exponent)
        shift = min(exponent - self.exponent, 63)
        places = np.arange(self.first, self._end) >> shift
        first = int(places[0])
        return Histogram(exponent, first, np.bincount(places - first, self.counts).astype(np.int64))

    def merged(self, other: "Histogram") -> "Histogram":
        """Return the histogram of both parts."""
        parts = [part for part in (self, other) if len(part.counts)]
        if len(parts) < 2:
            return parts[0] if parts else self
        exponent = max(part.exponent for part in parts)
        while _bins([part.coarsened(exponent) for part in parts]) > BINS:
            exponent += 1
        parts = [part.coarsened(exponent) for part in parts]
        first = min(part.first for part in parts)
        counts: Integers = np.zeros(_bins(parts), np.int64)
        for part in parts:
            counts[part.first - first : part._end - first] += part.counts
        return Histogram(exponent, first, counts)


def _bins(parts: Sequence[Histogram]) -> int:
    return max(part._end for part in parts) - min(part.first for part in parts)


def empty_histogram(low: float, high: float) -> Histogram:
    """Return the bins, all empty, for finite values from `low` to `high`."""
    magnitude = max(abs(low), abs(high))
    exponent = max(_SMALLEST_EXPONENT, math.frexp(magnitude)[1] - _INDEX_BITS)
    first, last = _places(low, high, exponent)
    while last - first >= BINS:
        exponent += 1
        first, last = _places(low, high, exponent)
    return Histogram(exponent, first, np.zeros(last - first + 1, np.int64))


def _places(low: float, high: float, exponent: int) -> tuple[int, int]:
    return math.floor(math.ldexp(low, -exponent)), math.floor(math.ldexp(high, -exponent))


def count_into(bins: Histogram, values: torch.Tensor, scratch: torch.Tensor | None = None) -> None:
    """Add `values` (float64, all inside the bins) to the counts; `scratch`, if given, is overwritten."""
    places = torch.mul(values, math.ldexp(1.0, -bins.exponent), out=scratch).floor_().sub_(bins.first).flatten()
    # Values are counted in pairs, a place in a table of bins by bins, which takes half as many additions.
    half, size = len(places) // 2, len(bins.counts)
    pairs = torch.add(places[half : 2 * half], places[:half], alpha=size)
    # The value that is left over is counted in the row of a bin of its own.
    alone = places[2 * half :] + size * size
    counted = torch.bincount(torch.cat([pairs, alone]).to(torch.int32), minlength=size * (size + 1)).cpu().numpy()
    table = counted[: size * size].reshape(size, size)
    np.add(bins.counts, table.sum(0) + table.sum(1) + counted[size * size :], out=bins.counts)
