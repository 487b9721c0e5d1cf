"""Average hypercolumns against upsampling every channel, with bilinear interpolation in plain loops."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from reportgen.numerics.hypercolumn import average, frame_mean, standardise
from reportgen.numerics.sums import channel_mean, channel_sum

Array = NDArray[np.float64]


def mean_of(maps: torch.Tensor) -> torch.Tensor:
    return channel_mean(channel_sum(maps), len(maps))


def bilinear(values: Array, height: int, width: int) -> Array:
    """Pixel centres lie at (i + 0.5) / n; beyond the outermost centres the edge is repeated."""
    result = np.empty((height, width))
    for row in range(height):
        for column in range(width):
            y = min(max((row + 0.5) * values.shape[0] / height - 0.5, 0.0), values.shape[0] - 1.0)
            x = min(max((column + 0.5) * values.shape[1] / width - 0.5, 0.0), values.shape[1] - 1.0)
            top, left = math.floor(y), math.floor(x)
            bottom, right = min(top + 1, values.shape[0] - 1), min(left + 1, values.shape[1] - 1)
            upper = values[top, left] * (1 - (x - left)) + values[top, right] * (x - left)
            lower = values[bottom, left] * (1 - (x - left)) + values[bottom, right] * (x - left)
            result[row, column] = upper * (1 - (y - top)) + lower * (y - top)
    return result


def mean_of_upsampled(layers: list[torch.Tensor], height: int, width: int) -> Array:
    channels = [bilinear(channel, height, width) for layer in layers for channel in layer.double().numpy()]
    return np.array(sum(channels) / len(channels))


@settings(max_examples=40, deadline=None)
@given(
    st.lists(st.tuples(st.integers(1, 6), st.integers(1, 7), st.integers(1, 7)), min_size=1, max_size=4),
    st.tuples(st.integers(1, 12), st.integers(1, 12)),
    st.integers(0, 1000),
)
def test_the_average_is_the_mean_over_all_upsampled_channels(
    shapes: list[tuple[int, int, int]], size: tuple[int, int], seed: int
) -> None:
    generator = torch.Generator().manual_seed(seed)
    layers = [torch.randn(shape, generator=generator) * 10**place for place, shape in enumerate(shapes)]
    found = average([(mean_of(layer), layer.shape[0]) for layer in layers], size)
    assert found.dtype == torch.float64
    np.testing.assert_allclose(found.numpy(), mean_of_upsampled(layers, *size), rtol=1e-5, atol=1e-4)


def test_layers_of_one_size_are_added_with_their_own_weights() -> None:
    maps = [torch.full((2, 2), value, dtype=torch.float64) for value in (1.0, 4.0)]
    found = average([(maps[0], 3), (maps[1], 1)], (4, 4))
    np.testing.assert_allclose(found.numpy(), np.full((4, 4), (3 * 1 + 4) / 4))
    assert torch.equal(maps[0], torch.ones(2, 2, dtype=torch.float64)), "the maps that were given stay as they were"


def test_no_map_has_no_average() -> None:
    with pytest.raises(ValueError, match="undefined"):
        average([], (4, 4))


@pytest.mark.parametrize(
    "dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64, torch.uint8, torch.int64, torch.bool]
)
def test_the_channel_mean_is_that_of_the_values_as_they_are(dtype: torch.dtype) -> None:
    maps = (torch.randn(130, 5, 3, generator=torch.Generator().manual_seed(0)) * 40).abs().to(dtype)
    found = mean_of(maps)
    assert found.dtype == torch.float64
    for row in range(5):
        for column in range(3):
            exact = math.fsum(float(value) for value in maps[:, row, column]) / 130
            assert found[row, column].item() == pytest.approx(exact, rel=1e-6)


def test_a_sum_beyond_float16_is_still_a_mean() -> None:
    found = mean_of(torch.full((130, 1, 1), 65504.0).half())
    assert found.item() == 65504


def test_complex_values_are_averaged_by_magnitude() -> None:
    assert mean_of(torch.tensor([3 + 4j, -1j]).reshape(2, 1, 1)).item() == 3


def test_a_sum_beyond_float32_is_still_a_mean() -> None:
    found = mean_of(torch.full((4, 1, 1), 3e38))
    assert found.item() == pytest.approx(float(np.float32(3e38)))


def test_what_is_not_finite_shows_where_it_is() -> None:
    maps = torch.zeros(3, 2, 2)
    maps[1, 0, 0], maps[2, 1, 1] = math.nan, math.inf
    found = mean_of(maps)
    assert torch.isnan(found).tolist() == [[True, False], [False, False]]
    assert torch.isposinf(found).tolist() == [[False, False], [False, True]]


@pytest.mark.parametrize("factor", [1e-160, 1e-3, 1.0, 1e6, 1e300])
def test_a_standardised_map_has_mean_zero_and_deviation_one(factor: float) -> None:
    values = np.random.default_rng(0).normal(3, 2, (6, 5))
    found, constant = standardise(torch.from_numpy(values * factor))
    assert not constant
    np.testing.assert_allclose(found.numpy(), (values - values.mean()) / values.std(), atol=1e-9)


@pytest.mark.parametrize("level", [0.0, -7.0, 1e-30, 1e30])
def test_a_constant_map_becomes_zero(level: float) -> None:
    rounding = torch.linspace(-1e-9, 1e-9, 12, dtype=torch.float64).reshape(3, 4)
    for values in (torch.full((3, 4), level, dtype=torch.float64), level * (1 + rounding)):
        found, constant = standardise(values)
        assert constant
        assert torch.equal(found, torch.zeros(3, 4, dtype=torch.float64))


def test_standardising_leaves_what_is_not_finite_and_measures_the_rest() -> None:
    values = torch.tensor([[1.0, 3.0, math.nan], [math.inf, -math.inf, 5.0]], dtype=torch.float64)
    found, constant = standardise(values)
    expected = (np.array([1.0, 3.0, 5.0]) - 3) / np.std([1.0, 3.0, 5.0])
    assert not constant
    np.testing.assert_allclose(found[torch.isfinite(values)].numpy(), expected)
    assert math.isnan(found[0, 2])
    assert found[1, :2].tolist() == [math.inf, -math.inf]
    empty, constant = standardise(torch.full((2, 2), math.nan, dtype=torch.float64))
    assert constant
    assert bool(torch.isnan(empty).all())


def test_frames_of_a_clip_are_averaged_first() -> None:
    frames = torch.arange(2 * 3 * 4 * 5, dtype=torch.float32).reshape(2, 3, 4, 5)  # D, C, H, W
    beside = torch.cat(list(frames), dim=2)  # C, H, D x W
    assert torch.equal(frame_mean(mean_of(beside), 2), frames.double().mean(dim=(0, 1)))
    assert torch.equal(frame_mean(mean_of(frames[0]), 1), frames[0].double().mean(dim=0))
