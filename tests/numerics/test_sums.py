"""Sums over channels, against Python's own exact sums."""

import math

import pytest
import torch

from reportgen.numerics.sums import channel_sum


@pytest.mark.parametrize(
    "dtype", [torch.float32, torch.float64, torch.float16, torch.bfloat16, torch.int32, torch.bool]
)
@pytest.mark.parametrize("strided", [False, True])
def test_channels_are_summed_in_float64(dtype: torch.dtype, strided: bool) -> None:
    values = (torch.randn(37, 6, 5, generator=torch.Generator().manual_seed(0), dtype=torch.float64) * 1e4).to(
        dtype
    )
    maps = values.to(memory_format=torch.preserve_format).permute(1, 2, 0).contiguous().permute(2, 0, 1)
    found = channel_sum(maps if strided else values)
    assert found.shape == (1, 6, 5)
    assert found.dtype == torch.float64
    for row in range(6):
        for column in range(5):
            exact = math.fsum(float(value) for value in values[:, row, column])
            assert float(found[0, row, column]) == pytest.approx(exact, rel=1e-14, abs=1e-9)


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_what_is_not_finite_makes_its_sum_so(bad: float) -> None:
    maps = torch.ones(3, 2, 2)
    maps[1, 0, 1] = bad
    found = channel_sum(maps)[0]
    assert math.isnan(bad) == bool(found[0, 1].isnan())
    assert not bool(found[0, 1].isfinite())
    assert found[1].tolist() == [3.0, 3.0]


def test_values_that_ask_for_gradients_are_summed() -> None:
    assert channel_sum(torch.ones(2, 1, 1, requires_grad=True)).tolist() == [[[2.0]]]
