"""Streaming histograms against a plain loop over all values, and against numpy's."""

import math

import numpy as np
import pytest
import torch

from reportgen.numerics.binning import BINS, Histogram, count_into, empty_histogram


def random_values(count: int) -> torch.Tensor:
    return torch.randn(count, generator=torch.Generator().manual_seed(0))


def histogram(values: torch.Tensor) -> Histogram:
    """The histogram of values that come in one part."""
    bins = empty_histogram(float(values.min()), float(values.max()))
    count_into(bins, values.double())
    return bins


VALUES = {
    "normal": random_values(1000),
    "rectified": random_values(1000).relu() * 30,
    "far": random_values(1000) * 1e-3 + 1e4,
    "negative": -random_values(999).abs() - 5,
    "tiny": random_values(1000) * 1e-42,
    "huge": random_values(1000).double() * 1e300,
    "one value": torch.full((7,), 0.3),
    "zeros": torch.zeros(8),
    "edges": torch.arange(-32.0, 32.0),
    "powers": 2.0 ** torch.arange(-100.0, 100.0, dtype=torch.float64),
}


def exact_counts(values: torch.Tensor, bins: Histogram) -> list[int]:
    """How many values lie in each bin, its lower edge in and its upper edge out, by a plain loop."""
    counts = [0] * len(bins.counts)
    for value in values.double().tolist():
        counts[math.floor(math.ldexp(value, -bins.exponent)) - bins.first] += 1
    return counts


@pytest.mark.parametrize("name", VALUES)
def test_histograms_count_every_value_in_at_most_64_bins(name: str) -> None:
    values = VALUES[name]
    bins = histogram(values)
    assert 1 <= len(bins.counts) <= BINS
    assert bins.counts.tolist() == exact_counts(values, bins)
    assert bins.low <= float(values.min())
    assert bins.counts[0] > 0
    assert bins.counts[-1] > 0
    if name in ("normal", "rectified", "far", "edges"):
        assert len(bins.counts) > BINS // 2
        np.testing.assert_array_equal(
            bins.counts, np.histogram(values.double(), np.linspace(bins.low, bins.high, len(bins.counts) + 1))[0]
        )


def test_histograms_do_not_depend_on_the_order() -> None:
    parts = [VALUES[name].double().float() for name in ("zeros", "normal", "tiny", "far", "rectified", "one value")]
    whole = histogram(torch.cat(parts))
    for order in ([0, 1, 2, 3, 4, 5], [3, 0, 5, 2, 1, 4], [2, 0, 1, 5, 4, 3]):
        found = Histogram()
        for place in order:
            found = found.merged(histogram(parts[place]))
        assert (found.exponent, found.first) == (whole.exponent, whole.first)
        np.testing.assert_array_equal(found.counts, whole.counts)


def test_the_bin_of_zero() -> None:
    assert empty_histogram(-1.0, 1.0).zero_bin == 16
    assert empty_histogram(0.0, 3.0).zero_bin == 0
    assert empty_histogram(1.0, 3.0).zero_bin is None
    assert empty_histogram(-3.0, -1.0).zero_bin is None
    bins = empty_histogram(0.0, 3.0)
    count_into(bins, torch.tensor([0.0, 0.0, 3.0], dtype=torch.float64))
    assert (bins.counts[0], bins.counts[-1], bins.counts.sum()) == (2, 1, 3)
    assert Histogram().zero_bin is None
    assert Histogram().merged(bins) is bins
