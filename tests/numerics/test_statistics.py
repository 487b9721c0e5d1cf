"""Running statistics against numpy in float64 over all values at once, and what they call dead, constant, alike."""

import math
from collections.abc import Sequence

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from reportgen.numerics import statistics
from reportgen.numerics.statistics import (
    MATRIX_CHANNELS,
    RANK_CHANNELS,
    Bounds,
    ChannelStatistics,
    Summary,
    effective_rank,
    references,
    summarise,
)

NAN, INF = float("nan"), float("inf")


def random_maps(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def taken(
    maps: torch.Tensor, batches: Sequence[int] = (), gray: torch.Tensor | None = None, bounds: Bounds | None = None
) -> ChannelStatistics:
    """The statistics of `maps` taken in as batches of these sizes; () for one batch."""
    found = ChannelStatistics(maps.shape[1], bounds)
    start = 0
    for size in batches or [len(maps)]:
        part = slice(start, start + size)
        found.update(maps[part], references(gray[part], *maps.shape[2:]) if gray is not None else ())
        start += size
    return found


def summary_of(maps: torch.Tensor, **options: object) -> Summary:
    return summarise(taken(maps, **options), len(maps))  # type: ignore[arg-type]


def per_channel(maps: torch.Tensor) -> NDArray[np.float64]:
    """All values of each channel as (C, values), float64."""
    values: NDArray[np.float64] = maps.double().numpy().swapaxes(0, 1).reshape(maps.shape[1], -1)
    return values


MAPS = {
    "maps": random_maps(3, 7, 5, 6),
    "vectors": random_maps(5, 9, 1, 1),
    "channels last": random_maps(2, 4, 6, 8).permute(0, 3, 1, 2),
    "a step apart": random_maps(2, 6, 9, 9)[:, ::2, ::2, 1:],
    "many positions": random_maps(2, 3, 300, 310),
    "far from zero": random_maps(3, 4, 8, 8) * 1e-3 + 1e3,
    "float16": random_maps(2, 5, 6, 6).half(),
    "bfloat16": random_maps(2, 5, 6, 6).bfloat16(),
    "float64": random_maps(2, 5, 6, 6).double() / 3,
    "int64": (random_maps(2, 5, 6, 6) * 3).long(),
    "uint8": (random_maps(2, 5, 6, 6).abs() * 30).to(torch.uint8),
    "bool": random_maps(2, 5, 6, 6) > 0,
}


@pytest.mark.parametrize("name", MAPS)
def test_every_number_is_that_of_all_values_at_once(name: str) -> None:
    maps = MAPS[name]
    found, exact = summary_of(maps), per_channel(maps)
    assert found.values == exact.shape[1]
    assert found.images == len(maps)
    np.testing.assert_array_equal(found.low, exact.min(1))
    np.testing.assert_array_equal(found.high, exact.max(1))
    np.testing.assert_allclose(found.mean, exact.mean(1), rtol=1e-12, atol=1e-15)
    np.testing.assert_allclose(found.std, exact.std(1), rtol=1e-10)
    np.testing.assert_array_equal(found.share_of_zeros, (exact == 0).mean(1))
    total = found.total
    assert (total.low, total.high, total.zeros) == (exact.min(), exact.max(), (exact == 0).sum())
    assert total.mean == pytest.approx(exact.mean(), rel=1e-12, abs=1e-15)
    assert total.std == pytest.approx(exact.std(), rel=1e-10)
    assert total.share_of_zeros == (exact == 0).mean()


@pytest.mark.parametrize("name", MAPS)
def test_batches_change_nothing_to_the_bit(name: str) -> None:
    maps, gray = MAPS[name], random_maps(len(MAPS[name]), 1, 16, 16, seed=9)
    together, one_by_one = taken(maps, gray=gray), taken(maps, [1] * len(maps), gray=gray)
    first, second = together.sums, one_by_one.sums
    for left, right in zip(vars(first.finite).values(), vars(second.finite).values(), strict=True):
        np.testing.assert_array_equal(left, right)
    np.testing.assert_array_equal(first.cross, second.cross)
    np.testing.assert_array_equal(first.zeros, second.zeros)
    np.testing.assert_array_equal(together.histogram.counts, one_by_one.histogram.counts)
    np.testing.assert_array_equal(together.products(), one_by_one.products())


@pytest.mark.parametrize("name", MAPS)
def test_parts_taken_in_apart_merge(name: str) -> None:
    maps, gray = MAPS[name], random_maps(len(MAPS[name]), 1, 16, 16, seed=9)
    whole, merged = taken(maps, gray=gray), ChannelStatistics(maps.shape[1])
    for place in reversed(range(len(maps))):
        merged.merge(taken(maps[place : place + 1], gray=gray[place : place + 1]))
    assert merged.images == whole.images
    assert merged.sums.values == whole.sums.values
    np.testing.assert_allclose(merged.sums.finite.mean, whole.sums.finite.mean, rtol=1e-12, atol=1e-15)
    np.testing.assert_allclose(merged.sums.finite.scatter, whole.sums.finite.scatter, rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(merged.sums.cross, whole.sums.cross, rtol=1e-10, atol=1e-10)
    np.testing.assert_array_equal(merged.sums.zeros, whole.sums.zeros)
    assert (merged.histogram.exponent, merged.histogram.first) == (whole.histogram.exponent, whole.histogram.first)
    np.testing.assert_array_equal(merged.histogram.counts, whole.histogram.counts)
    products, exact = merged.products(), whole.products()
    assert products is not None
    assert exact is not None
    np.testing.assert_allclose(products, exact, rtol=1e-4, atol=1e-5 * np.abs(exact).max())


def test_values_are_left_as_they_were() -> None:
    for maps in (random_maps(1, 3, 4, 4), random_maps(1, 3, 4, 4).double()):
        before = maps.clone()
        taken(maps)
        assert torch.equal(maps, before)


def test_values_that_are_not_finite_are_counted_and_left_out() -> None:
    maps = random_maps(2, 4, 5, 5)
    maps[0, 1, 2, 2] = NAN
    maps[1, 1, 0, 0] = INF
    maps[1, 1, 0, 1] = -INF
    maps[:, 2] = NAN
    maps[0, 1, 0, 0] = 0
    found = summary_of(maps, gray=random_maps(2, 1, 5, 5, seed=1))
    assert found.nan_count.tolist() == [0, 1, 50, 0]
    assert found.inf_count.tolist() == [0, 2, 0, 0]
    assert found.unfinite.tolist() == [False, True, True, False]
    exact = per_channel(maps)[1]
    exact = exact[np.isfinite(exact)]
    assert found.low[1] == exact.min()
    assert found.mean[1] == pytest.approx(exact.mean(), rel=1e-12)
    assert found.std[1] == pytest.approx(exact.std(), rel=1e-12)
    assert found.share_of_zeros[1] == 1 / 50
    assert all(math.isnan(column[2]) for column in (found.low, found.high, found.mean, found.std))
    assert np.isnan(found.input_correlation).tolist() == [False, True, True, False]
    assert found.duplicate_of is not None
    assert found.duplicate_of[1] == found.duplicate_of[2] == -1
    assert math.isnan(found.effective_rank)
    assert "not finite" in found.causes["effective_rank"]
    assert found.constant is not None
    assert not found.constant[1:3].any()
    assert (found.total.nan_count, found.total.inf_count) == (51, 2)


def test_a_layer_without_a_finite_value_has_no_numbers() -> None:
    found = summary_of(torch.full((2, 3, 4, 4), NAN))
    assert math.isnan(found.total.low)
    assert math.isnan(found.total.mean)
    assert math.isnan(found.total.std)
    assert found.dead is not None
    assert not found.dead.any()


def test_the_gray_input_is_averaged_over_cells_or_interpolated() -> None:
    gray = random_maps(2, 1, 8, 12)
    coarse = references(gray, 4, 3)
    exact = gray.double().numpy().reshape(2, 4, 2, 3, 4).mean(axis=(2, 4)).reshape(2, -1)
    for reference, values in zip(coarse, exact, strict=True):
        np.testing.assert_allclose(reference.deviations.numpy(), values - values.mean(), atol=1e-6)
        assert reference.moments.mean == pytest.approx(values.mean(), abs=1e-6)
        assert reference.moments.scatter == pytest.approx(((values - values.mean()) ** 2).sum(), rel=1e-5)
    row = torch.tensor([[[[0.0, 4.0]]]])
    fine = references(row, 1, 4)[0]
    np.testing.assert_allclose(fine.deviations.numpy() + float(fine.moments.mean), [0, 1, 3, 4], atol=1e-6)


def test_correlation_with_the_input_is_that_over_all_images_and_positions() -> None:
    gray, maps = random_maps(3, 1, 6, 6, seed=3).double(), random_maps(3, 5, 6, 6).double()
    maps[:, 1] = 3 * gray[:, 0] + 0.1 * maps[:, 1] + 100
    maps[:, 2] = -gray[:, 0]
    maps[:, 3] = 2.5
    found = summary_of(maps, gray=gray)
    values, light = per_channel(maps), per_channel(gray)[0]
    for channel in (0, 1, 2, 4):
        exact = np.corrcoef(values[channel], light)[0, 1]
        assert found.input_correlation[channel] == pytest.approx(exact, abs=1e-12)
    assert math.isnan(found.input_correlation[3])
    assert found.copies.tolist() == [False, True, True, False, False]


@pytest.mark.parametrize(
    ("maps", "gray", "cause"),
    [
        (random_maps(2, 3, 4, 4), None, "no grid of positions"),
        (random_maps(2, 3, 2, 2), random_maps(2, 1, 8, 8), "fewer than 16 values"),
        (random_maps(2, 3, 4, 4), torch.full((2, 1, 8, 8), 0.3), "the input is the same everywhere"),
    ],
)
def test_an_undefined_correlation_says_why(maps: torch.Tensor, gray: torch.Tensor | None, cause: str) -> None:
    found = summary_of(maps, gray=gray)
    assert np.isnan(found.input_correlation).all()
    assert cause in found.causes["input_correlation"]
    assert not found.copies.any()


def first_duplicates(maps: torch.Tensor) -> list[int]:
    """For each channel the first earlier one with |correlation| above 0.99, by a plain loop; -1 for none."""
    values = per_channel(maps)
    found = []
    for channel, row in enumerate(values):
        alike = [
            earlier
            for earlier in range(channel)
            if values[earlier].std() > 0
            and row.std() > 0
            and abs(np.corrcoef(values[earlier], row)[0, 1]) > statistics.DUPLICATE
        ]
        found.append(alike[0] if alike else -1)
    return found


def test_duplicates_are_found_whatever_their_scale_and_sign() -> None:
    maps = random_maps(3, 150, 6, 6)
    maps[:, 40] = maps[:, 7] * 50 + 300
    maps[:, 90] = -maps[:, 7]
    maps[:, 149] = maps[:, 60] + 0.05 * maps[:, 149]
    maps[:, 110] = maps[:, 60] + 0.5 * maps[:, 110]
    maps[:, 3] = 1.0
    maps[:, 4] = 1.0
    maps[:, 5] = 0.0
    found = summary_of(maps).duplicate_of
    assert found is not None
    assert found.tolist() == first_duplicates(maps)
    assert (found[40], found[90], found[149], found[110], found[4]) == (7, 7, 60, -1, -1)


def test_duplicates_hold_when_later_images_lie_far_from_the_first() -> None:
    maps = random_maps(4, 6, 8, 8)
    maps[1:] = maps[1:] * 5 + 40 * random_maps(3, 6, 1, 1, seed=4)
    maps[:, 5] = 0.2 * maps[:, 1] - 3
    found = summary_of(maps).duplicate_of
    assert found is not None
    assert found.tolist() == first_duplicates(maps)
    assert found[5] == 1


def entropy_rank(maps: torch.Tensor) -> float:
    shares = np.linalg.eigvalsh(np.cov(per_channel(maps)))
    shares = shares[shares > 0] / shares[shares > 0].sum()
    return float(np.exp(-(shares * np.log(shares)).sum()))


@pytest.mark.parametrize("seed", range(3))
def test_effective_rank_is_exp_of_the_entropy_of_the_eigenvalues(seed: int) -> None:
    maps = random_maps(3, 20, 9, 9, seed=seed) * torch.logspace(0, 2, 20)[:, None, None] + 7
    assert summary_of(maps).effective_rank == pytest.approx(entropy_rank(maps), rel=1e-3)


def test_effective_rank_of_known_spectra() -> None:
    assert effective_rank(torch.diag(torch.tensor([2.0, 2.0, 2.0, 0.0]))) == pytest.approx(3)
    assert effective_rank(torch.ones(5, 5)) == pytest.approx(1, abs=1e-3)
    assert effective_rank(torch.ones(5, 5).triu()) == pytest.approx(1, abs=1e-3)
    one = random_maps(2, 1, 6, 6) * torch.arange(1.0, 6.0)[:, None, None]
    assert summary_of(one).effective_rank == pytest.approx(1, abs=1e-3)
    flat = summary_of(torch.ones(2, 3, 4, 4))
    assert math.isnan(flat.effective_rank)
    assert flat.causes["effective_rank"] == "no channel varies"


def test_pairs_of_wide_or_scarce_channels_are_undefined() -> None:
    wide = summary_of(random_maps(1, MATRIX_CHANNELS + 1, 5, 5))
    scarce = summary_of(random_maps(1, 4, 3, 5))
    for found, cause in (
        (wide, f"more than {MATRIX_CHANNELS:,} channels"),
        (scarce, "fewer than 16 values a channel"),
    ):
        assert found.duplicate_of is None
        assert math.isnan(found.effective_rank)
        assert found.causes["duplicate_of"] == found.causes["effective_rank"] == cause
    widest = summary_of(random_maps(1, MATRIX_CHANNELS, 4, 4))
    assert widest.duplicate_of is not None
    assert widest.causes["effective_rank"] == f"more than {RANK_CHANNELS:,} channels"
    assert not math.isnan(summary_of(random_maps(1, RANK_CHANNELS, 4, 4)).effective_rank)


@pytest.mark.parametrize("scale", [5e37, 3e-23, 1e-30, 1e-45])
def test_values_at_the_ends_of_float32_give_no_silent_number(scale: float) -> None:
    maps = random_maps(2, 4, 5, 5) * scale
    maps[:, 3] = maps[:, 0] * 0.5
    found, exact = summary_of(maps), per_channel(maps)
    np.testing.assert_allclose(found.mean, exact.mean(1), rtol=1e-12, atol=1e-60)
    np.testing.assert_allclose(found.std, exact.std(1), rtol=1e-10)
    assert found.duplicate_of is not None
    assert found.duplicate_of.tolist()[:3] == [-1, -1, -1]
    assert math.isnan(found.effective_rank) or found.effective_rank == pytest.approx(entropy_rank(maps), rel=1e-2)


def test_products_that_lost_their_digits_are_not_trusted() -> None:
    found = taken(random_maps(1, 3, 6, 6))
    assert found._products is not None
    found._products.matrix[:2, :2] = 1e-3
    told = summarise(found, 1)
    assert told.duplicate_of is not None
    assert told.duplicate_of.tolist() == [-1, -1, -1]
    assert told.causes["effective_rank"] == "the values leave the range of float32 products"


def test_float64_values_that_overflow_when_squared_are_undefined() -> None:
    maps = random_maps(1, 3, 5, 5).double() * 1e200
    found = summary_of(maps)
    assert found.high[0] == float(maps[0, 0].max())
    assert not np.isfinite(found.std).any()
    assert math.isnan(found.effective_rank)


def test_dead_is_zero_everywhere_and_constant_is_one_other_value() -> None:
    maps = random_maps(3, 5, 4, 4).relu()
    maps[:, 0] = 0
    maps[:, 1] = -0.1
    maps[:2, 2] = 0
    maps[2, 3] = 0.7
    maps[:, 4] = 0
    maps[2, 4, 3, 3] = 1e-30
    found = summary_of(maps)
    assert found.dead is not None
    assert found.constant is not None
    assert found.dead.tolist() == [True, False, False, False, False]
    assert found.constant.tolist() == [False, True, False, False, False]
    assert found.mean[1] == -torch.tensor(0.1).item()
    assert found.std[1] == 0


def test_saturated_is_95_percent_of_the_values_at_a_bound() -> None:
    maps = torch.full((1, 6, 10, 10), 0.5)
    maps[0, 0] = 0.9995
    maps[0, 1].view(-1)[:95] = 0.0005
    maps[0, 2].view(-1)[:94] = 1.0
    maps[0, 3].view(-1)[:50] = 1.0
    maps[0, 3].view(-1)[50:] = 0.0
    maps[0, 4] = 0.99
    maps[0, 5] = 0.0
    found = summary_of(maps, bounds=Bounds(0.0, 1.0)).saturated
    assert found is not None
    assert found.tolist() == [True, True, False, True, False, False]


def test_a_rectifier_does_not_saturate_at_zero() -> None:
    maps = torch.zeros(1, 3, 10, 10)
    maps[0, 0] = 6.0
    maps[0, 1, 0, 0] = 0.5
    maps[0, 2] = -1.0
    found = summary_of(maps, bounds=Bounds(0.0, 6.0, rests_low=True)).saturated
    assert found is not None
    assert found.tolist() == [True, False, False]
    assert summary_of(maps).saturated is None


def test_one_value_and_copies_of_one_image_make_no_unit_dead() -> None:
    once = summary_of(torch.tensor([[0.0, 1.0]])[..., None, None])
    assert once.dead is None
    assert once.constant is None
    assert np.isnan(once.std).all()
    assert once.causes["dead"] == "each has one value"
    twice = taken(torch.tensor([[0.0, 1.0], [0.0, 1.0]])[..., None, None])
    assert summarise(twice, 1).causes["constant"] == "the images are copies of each other"
    apart = summarise(twice, 2)
    assert apart.dead is not None
    assert apart.dead.tolist() == [True, False]
    positions = summarise(taken(torch.zeros(2, 1, 4, 4)), 1)
    assert positions.dead is not None
    assert positions.dead.all()


def test_memory_is_a_few_numbers_a_channel_and_one_matrix() -> None:
    found = taken(random_maps(2, 64, 30, 30))
    arrays = [value for value in vars(found.sums).values() if isinstance(value, np.ndarray)]
    assert all(array.size <= 64 for array in arrays)
    products = found._products
    assert products is not None
    assert products.matrix.dtype == torch.float32
    assert tuple(products.matrix.shape) == (64, 64)
