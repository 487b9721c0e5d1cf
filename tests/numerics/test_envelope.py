"""Thinned curves against a plain loop over the parts."""

import math

import numpy as np
import pytest

from reportgen.numerics.envelope import part_size, thin


def kept_by_loop(values: list[float], size: int) -> list[int]:
    """For each part: the first smallest, the first largest, and the first that is not finite."""
    kept: set[int] = set()
    for start in range(0, len(values), size):
        places = range(start, min(start + size, len(values)))
        finite = [place for place in places if math.isfinite(values[place])]
        if finite:
            kept.add(min(finite, key=lambda place: values[place]))
            kept.add(max(finite, key=lambda place: values[place]))
        kept.update([place for place in places if place not in finite][:1])
    return sorted(kept)


@pytest.mark.parametrize("count", [21, 22, 100, 101, 997])
@pytest.mark.parametrize("holes", [0.0, 0.05, 0.9, 1.0])
def test_every_part_keeps_its_extremes_and_its_first_hole(count: int, holes: float) -> None:
    rng = np.random.default_rng(count)
    values = rng.integers(-3, 4, count).astype(np.float64)
    values[rng.random(count) < holes] = rng.choice([np.nan, np.inf, -np.inf])
    assert thin(values, 10).tolist() == kept_by_loop(values.tolist(), math.ceil(count / 10))


def test_a_short_curve_is_kept_whole() -> None:
    assert thin(np.full(20, np.nan), 10).tolist() == list(range(20))
    assert part_size(20, 10) == 1
    assert part_size(21, 10) == 3


def test_no_peak_of_a_long_curve_is_lost() -> None:
    values = np.zeros(25088)
    peaks = {0: 5.0, 1: -4.0, 12345: 9.0, 12346: -9.0, 25087: 2.0}
    for place, value in peaks.items():
        values[place] = value
    places = thin(values)
    assert peaks.keys() <= set(places.tolist())
    assert places.size <= 2 * 512
    assert (np.diff(places) > 0).all()
