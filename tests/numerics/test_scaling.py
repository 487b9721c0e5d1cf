"""Palette indices against the formula, evaluated in exact fractions or float64 by numpy."""

from fractions import Fraction

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from reportgen.errors import UsageError
from reportgen.numerics.scaling import GAP, NAN, Scale, apply_scale, finite_ranges, parse_scale, quantise


def indices(maps: torch.Tensor, scale: Scale | None = None) -> NDArray[np.uint8]:
    ranges = finite_ranges(maps)
    low, high = apply_scale(scale or Scale(), ranges)
    found: NDArray[np.uint8] = quantise(maps, ranges, low, high).numpy()
    return found


def expected(values: NDArray[np.float64], low: float, high: float) -> NDArray[np.float64]:
    return np.clip(251 * (values - low) / (high - low), 0, 251)


def assert_rounded(found: NDArray[np.uint8], exact: NDArray[np.float64]) -> None:
    """Each index is the exact level rounded; within a thousandth of a half, either neighbour will do."""
    assert np.all(np.abs(found - exact) <= 0.5 + 1e-3)


@pytest.mark.parametrize("offset", [0.0, 1e3, -1e6, 3e7])
@pytest.mark.parametrize("spread", [1e-3, 1.0, 1e4])
def test_each_channel_over_its_own_range(offset: float, spread: float) -> None:
    generator = torch.Generator().manual_seed(3)
    maps = torch.randn(7, 9, 5, generator=generator) * spread + offset
    found = indices(maps)
    for channel in range(7):
        values = maps[channel].numpy().astype(np.float64)
        if values.min() == values.max():
            assert not found[channel].any()
        else:
            assert_rounded(found[channel], expected(values, values.min(), values.max()))
            assert found[channel].min() == 0
            assert found[channel].max() == 251


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("end", [5e-324, 4e-320, 1e-306, 2e-300])
def test_ends_as_near_as_float64_reaches_keep_their_levels(end: float) -> None:
    maps = torch.tensor([[end, 0.0, end], [1e300, -3e300, 1e300]], dtype=torch.float64)[:, None]
    ranges = finite_ranges(maps)
    expected = [[251, 0, 251], [251, 0, 251]]
    assert quantise(maps, ranges, ranges.low, ranges.high)[:, 0].tolist() == expected
    with_hole = torch.cat([maps, torch.full((2, 1, 1), torch.nan, dtype=torch.float64)], dim=2)
    ranges = finite_ranges(with_hole)
    drawn = quantise(with_hole, ranges, ranges.low, ranges.high)
    assert drawn[:, 0].tolist() == [[*row, NAN] for row in expected]


@pytest.mark.parametrize("end", [1.7e308, 8e307])
def test_ends_as_far_apart_as_float64_reaches(end: float) -> None:
    maps = torch.tensor([[[-end, -end / 2, 0.0, end / 4, end]]], dtype=torch.float64)
    exact = [
        Fraction(251) * (Fraction(value) + Fraction(end)) / (2 * Fraction(end)) for value in maps[0, 0].tolist()
    ]
    for found in (indices(maps), indices(maps, Scale("symmetric"))):
        assert all(
            abs(index - level) <= Fraction(1, 2) for index, level in zip(found[0, 0].tolist(), exact, strict=True)
        )


def test_exact_fractions() -> None:
    """A ramp 0..251 over a range of 251 is its own index; a finer one is rounded as fractions say."""
    ramp = torch.arange(252, dtype=torch.float32).reshape(1, 12, 21)
    assert np.array_equal(indices(ramp), ramp.numpy())
    fine = torch.arange(1005, dtype=torch.float32).reshape(1, 5, 201)
    for value, index in zip(fine.flatten().tolist(), indices(fine).flatten().tolist(), strict=True):
        exact = Fraction(251) * Fraction(value) / 1004
        assert abs(exact - index) <= Fraction(1, 2)


@pytest.mark.parametrize(
    "dtype", [torch.float16, torch.bfloat16, torch.float64, torch.int64, torch.uint8, torch.bool]
)
def test_dtypes(dtype: torch.dtype) -> None:
    random = torch.randn(3, 8, 8, generator=torch.Generator().manual_seed(0))
    maps = (random * 50).clamp(min=0).to(dtype)
    values = maps.to(torch.float64).numpy()
    for channel, found in zip(values, indices(maps), strict=True):
        assert_rounded(found, expected(channel, channel.min(), channel.max()))


def test_values_that_float32_could_not_span() -> None:
    for values in ([-3e38, 0.0, 3e38], [1e-44, 5e-44, 1e-43], [1e300, 2e300, 3e300]):
        dtype = torch.float64 if values[-1] > 4e38 else torch.float32
        maps = torch.tensor(values, dtype=dtype).reshape(1, 1, 3)
        array = maps.numpy().astype(np.float64)
        assert_rounded(indices(maps), expected(array, array.min(), array.max()))


def test_constant_channels_are_index_zero() -> None:
    maps = torch.stack([torch.full((3, 3), 7.5), torch.zeros(3, 3), torch.arange(9.0).reshape(3, 3)])
    ranges = finite_ranges(maps)
    assert ranges.constant.tolist() == [True, True, False]
    assert not indices(maps)[:2].any()


def test_non_finite_values_have_indices_of_their_own() -> None:
    maps = torch.tensor([[[float("nan"), 1.0, float("inf")], [2.0, float("-inf"), 3.0]]])
    assert indices(maps).tolist() == [[[253, 0, 254], [126, 255, 251]]]
    ranges = finite_ranges(maps)
    assert (ranges.low.item(), ranges.high.item(), ranges.finite) == (1.0, 3.0, False)


def test_a_channel_without_finite_values() -> None:
    maps = torch.stack([torch.full((2, 2), float("nan")), torch.arange(4.0).reshape(2, 2)])
    ranges = finite_ranges(maps)
    assert torch.isnan(ranges.low[0])
    assert not ranges.constant[0]
    assert (indices(maps)[0] == 253).all()
    assert (indices(maps, Scale("layer"))[1] == [[0, 84], [167, 251]]).all()


def test_scales() -> None:
    maps = torch.tensor([[[-2.0, 1.0]], [[0.0, 4.0]]])
    ranges = finite_ranges(maps)
    ends = {
        scale: [end.tolist() for end in apply_scale(parse_scale(scale), ranges)]
        for scale in ("channel", "layer", "symmetric", "-1:3")
    }
    assert ends == {
        "channel": [[-2.0, 0.0], [1.0, 4.0]],
        "layer": [[-2.0, -2.0], [4.0, 4.0]],
        "symmetric": [[-4.0, -4.0], [4.0, 4.0]],
        "-1:3": [[-1.0, -1.0], [3.0, 3.0]],
    }
    assert indices(maps, parse_scale("-1:3")).tolist() == [[[0, 126]], [[63, 251]]]  # clipped at both ends


def test_a_fixed_range_clips_infinite_neighbours_too() -> None:
    maps = torch.tensor([[[float("inf"), -5.0, 5.0, 0.5]]])
    assert indices(maps, parse_scale("0:1")).tolist() == [[[254, 0, 251, 126]]]


@pytest.mark.parametrize("text", ["chanel", "1:0", "1:1", "a:b", "1", "", "0:1:2", "nan:1", "-inf:inf"])
def test_a_scale_that_is_none(text: str) -> None:
    with pytest.raises(UsageError, match="is none of channel, layer, symmetric and LO:HI"):
        parse_scale(text)


def test_scale_reads_back_as_it_was_written() -> None:
    for text in ("channel", "layer", "symmetric", "0:1", "-2.5:4"):
        assert str(parse_scale(text)) == text


def test_the_map_is_left_as_it_was() -> None:
    maps = torch.randn(2, 4, 4)
    before = maps.clone()
    indices(maps)
    assert torch.equal(maps, before)


def test_random_channels_never_use_the_gap() -> None:
    maps = torch.randn(16, 8, 8, generator=torch.Generator().manual_seed(9))
    maps[0, 0, 0] = float("inf")
    assert GAP not in indices(maps)
