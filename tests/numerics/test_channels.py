"""Similarity of channels against plain loops over pairs in numpy."""

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from reportgen.numerics.channels import EXACT_CHANNELS, FLOAT64_CHANNELS, Correlation, channel_cka

Matrix = NDArray[np.float64]


def song_hsic(first: Matrix, second: Matrix) -> float:
    """HSIC_1 as Song et al. write it (2012, equation 5): sums over Gram matrices without their diagonals."""
    n = len(first)
    k, l = first @ first.T, second @ second.T  # noqa: E741 - the paper's letters
    np.fill_diagonal(k, 0)
    np.fill_diagonal(l, 0)
    ones = np.ones(n)
    total = np.trace(k @ l) + (ones @ k @ ones) * (ones @ l @ ones) / ((n - 1) * (n - 2))
    return float((total - 2 / (n - 2) * (ones @ k @ l @ ones)) / (n * (n - 3)))


def biased_hsic(first: Matrix, second: Matrix) -> float:
    """tr(KHLH) / (n - 1)^2."""
    n = len(first)
    h = np.eye(n) - 1 / n
    return float(np.trace(first @ first.T @ h @ second @ second.T @ h) / (n - 1) ** 2)


def plain_cka(maps: torch.Tensor, *, debiased: bool) -> Matrix:
    """CKA of all pairs of channels of (C, H, W), pair by pair."""
    hsic = song_hsic if debiased else biased_hsic
    channels = maps.double().numpy()
    return np.array(
        [[hsic(x, y) / (hsic(x, x) * hsic(y, y)) ** 0.5 for y in channels] for x in channels], dtype=np.float64
    )


def draw(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("debiased", [True, False])
@pytest.mark.parametrize("shape", [(5, 7, 6), (3, 4, 1), (2, 9, 2), (8, 4, 30)])
def test_all_pairs_equal_a_loop_over_pairs(shape: tuple[int, int, int], debiased: bool) -> None:
    maps = draw(*shape).exp()
    found = channel_cka(maps, debiased=debiased)
    assert found.values.numpy() == pytest.approx(plain_cka(maps, debiased=debiased), abs=1e-9)
    assert found.values.dtype == torch.float64
    assert bool(found.defined.all())


def fast_cka(maps: torch.Tensor, *, debiased: bool) -> Matrix:
    """The same for many channels, as one product of U-centred or doubly centred kernels, in numpy's float64."""
    grams = np.array([(x - x.mean(0)) @ (x - x.mean(0)).T for x in maps.double().numpy()])
    n = grams.shape[1]
    if debiased:
        grams *= 1 - np.eye(n)
        rows = grams.sum(2) / (n - 2)
        total = grams.sum((1, 2)) / ((n - 1) * (n - 2))
        grams = (grams - rows[:, :, None] - rows[:, None, :] + total[:, None, None]) * (1 - np.eye(n))
    flat = grams.reshape(len(grams), -1)
    flat /= np.linalg.norm(flat, axis=1, keepdims=True)
    found: Matrix = flat @ flat.T
    return found


@pytest.mark.parametrize("debiased", [True, False])
@pytest.mark.parametrize(
    "shape", [(EXACT_CHANNELS, 14, 14), (EXACT_CHANNELS + 1, 14, 14), (600, 7, 7), (300, 56, 56)]
)
def test_many_channels_lose_less_than_a_thousandth_of_a_level(shape: tuple[int, int, int], debiased: bool) -> None:
    maps = draw(*shape).relu() * 100 + draw(shape[0], 1, 1, seed=1)
    found, exact = channel_cka(maps, debiased=debiased), fast_cka(maps, debiased=debiased)
    many = shape[0] > EXACT_CHANNELS
    assert found.values.dtype == (torch.float32 if many else torch.float64)
    assert np.abs(found.values.numpy() - exact).max() < (2e-6 if many else 1e-9)
    for first, second, value in found.most_alike():
        assert value == pytest.approx(exact[first, second], abs=1e-9)
    np.fill_diagonal(exact, -np.inf)
    best = np.sort(exact[np.triu_indices(len(exact), 1)])[::-1][:8]
    assert [value for _, _, value in found.most_alike()] == pytest.approx(best.tolist(), abs=1e-9)


def test_the_other_oracle_agrees_with_the_loop() -> None:
    for debiased in (True, False):
        maps = draw(5, 7, 6)
        assert fast_cka(maps, debiased=debiased) == pytest.approx(plain_cka(maps, debiased=debiased), abs=1e-12)


def test_scaling_and_shifting_a_channel_changes_nothing() -> None:
    maps = draw(3, 8, 5).double()
    maps[1] = maps[0] * -250 + torch.arange(5.0)  # each column shifted by its own amount
    maps[2] = maps[0].flip(1)
    found = channel_cka(maps, debiased=True).values
    assert found.numpy() == pytest.approx(np.ones((3, 3)), abs=1e-12)


def test_rows_are_the_examples() -> None:
    maps = draw(4, 6, 6)
    upright, turned = (channel_cka(one, debiased=True).values for one in (maps, maps.transpose(1, 2)))
    off = ~torch.eye(4, dtype=torch.bool)
    assert float((upright - turned).abs()[off].max()) > 0.05
    shuffled = channel_cka(maps[:, torch.randperm(6)], debiased=True).values
    assert shuffled.numpy() == pytest.approx(upright.numpy(), abs=1e-12)


def test_undefined_channels_are_told_apart_and_leave_the_others_alone() -> None:
    maps = draw(7, 6, 6)
    expected = plain_cka(maps[[0, 6]], debiased=True)
    maps[1] = 4.2
    maps[2] = torch.arange(6.0)  # the same in every row
    maps[3, 2, 2] = torch.nan
    maps[4, 0, 0] = torch.inf
    maps[5] = torch.eye(6)  # all rows equally far apart
    found = channel_cka(maps, debiased=True)
    assert found.constant.tolist() == [False, True, True, False, False, False, False]
    assert found.infinite.tolist() == [False, False, False, True, True, False, False]
    assert found.degenerate.tolist() == [False, False, False, False, False, True, False]
    values = found.with_nan().numpy()
    assert values[np.ix_([0, 6], [0, 6])] == pytest.approx(expected, abs=1e-9)
    assert np.isnan(values[1:6]).all()
    assert np.isnan(values[:, 1:6]).all()


@pytest.mark.parametrize("size", [1e38, 1e-40, 1e300, 1e-300])
def test_no_size_overflows(size: float) -> None:
    maps = draw(3, 5, 5).double()
    large = maps * size
    maps = large.float() if float(large.abs().max()) < 3e38 and size > 1e-100 else large
    found = channel_cka(maps, debiased=True)
    assert bool(found.defined.all())
    assert found.values.diagonal().numpy() == pytest.approx(np.ones(3))


@pytest.mark.parametrize(
    "dtype", [torch.float16, torch.bfloat16, torch.float64, torch.int64, torch.uint8, torch.bool]
)
def test_every_real_type_is_read_exactly(dtype: torch.dtype) -> None:
    maps = ((draw(4, 7, 7) * 3).relu() // 1).to(dtype)
    found = channel_cka(maps, debiased=True).values.numpy()
    assert found == pytest.approx(plain_cka(maps.double(), debiased=True), abs=1e-9)


def test_the_maps_are_left_as_they_were() -> None:
    maps = draw(3, 5, 5).double()
    before = maps.clone()
    channel_cka(maps, debiased=True)
    Correlation().add(maps)
    assert torch.equal(maps, before)


@pytest.mark.parametrize(("channels", "block"), [(10, 2), (11, 3), (7, 7), (5, 1)])
def test_block_means_are_means_of_defined_pairs(channels: int, block: int) -> None:
    maps = draw(channels, 5, 5)
    maps[1] = 0
    maps[-block:] = 1  # a block of its own without a value, where channels divide by it
    found = channel_cka(maps, debiased=True)
    whole, blocks = found.with_nan().numpy(), -(-channels // block)
    means = found.block_means(block).numpy()
    assert means.shape == (blocks, blocks)
    for row in range(blocks):
        for column in range(blocks):
            part = whole[row * block : (row + 1) * block, column * block : (column + 1) * block]
            known = part[np.isfinite(part)]
            expected = known.mean() if known.size else np.nan
            assert means[row, column] == pytest.approx(expected, abs=1e-12, nan_ok=True)


@pytest.mark.parametrize("seed", range(20))
def test_most_alike_are_the_best_of_all_pairs(seed: int) -> None:
    maps = draw(12, 4, 3, seed=seed)
    maps[3] = 0
    found = channel_cka(maps, debiased=True)
    values = found.with_nan().numpy()
    pairs = [(values[i, j], i, j) for i in range(12) for j in range(i + 1, 12) if np.isfinite(values[i, j])]
    best = sorted(pairs, reverse=True)[:8]
    assert [value for _, _, value in found.most_alike()] == pytest.approx([value for value, _, _ in best])
    assert {(i, j) for i, j, _ in found.most_alike()} == {(i, j) for _, i, j in best}


def test_no_pair_is_listed_twice() -> None:
    found = correlated([draw(6, 5, 5)]).similarity()
    found.values[3, 1] += 1e-9
    pairs = [pair[:2] for pair in found.most_alike(15)]
    assert len(pairs) == len(set(pairs)) == 15


def test_there_may_be_fewer_pairs_than_asked_for() -> None:
    maps = draw(3, 5, 5)
    maps[1] = 0
    assert [(i, j) for i, j, _ in channel_cka(maps, debiased=True).most_alike()] == [(0, 2)]
    assert channel_cka(torch.ones(3, 5, 5), debiased=True).most_alike() == []


def test_equal_channels_still_give_eight_pairs() -> None:
    found = channel_cka(draw(1, 6, 6).expand(40, 6, 6), debiased=True).most_alike()
    assert len(found) == 8
    assert len({pair[:2] for pair in found}) == 8
    assert all(i < j and value == pytest.approx(1.0) for i, j, value in found)


def correlated(images: list[torch.Tensor]) -> Correlation:
    correlation = Correlation()
    for image in images:
        correlation.add(image)
    return correlation


def test_correlation_is_numpys_over_all_positions_of_all_images() -> None:
    images = [draw(6, 5, 4, seed=1), draw(6, 3, 3, seed=2) * 5 + 100, draw(6, 7, 2, seed=3) - 30]
    values = np.concatenate([image.flatten(1).double().numpy() for image in images], axis=1)
    correlation = correlated(images)
    assert correlation.similarity().values.numpy() == pytest.approx(np.corrcoef(values) ** 2, abs=1e-12)
    assert (correlation.images, correlation.positions) == (3, 20 + 9 + 14)


def test_correlation_does_not_depend_on_the_orientation() -> None:
    maps = draw(5, 6, 6)
    upright, turned = (correlated([one]).similarity().values for one in (maps, maps.transpose(1, 2)))
    assert turned.numpy() == pytest.approx(upright.numpy(), abs=1e-12)


def test_correlation_keeps_its_digits_far_from_zero() -> None:
    images = [draw(3, 6, 6, seed=seed).double() + 1e4 for seed in range(4)]
    values = np.concatenate([image.flatten(1).numpy() - 1e4 for image in images], axis=1)
    found = correlated(images).similarity().values.numpy()
    assert found == pytest.approx(np.corrcoef(values) ** 2, abs=1e-8)


def test_many_channels_are_summed_in_float32() -> None:
    images = [draw(FLOAT64_CHANNELS + 1, 5, 5, seed=seed) for seed in range(2)]
    values = np.concatenate([image.flatten(1).double().numpy() for image in images], axis=1)
    correlation = correlated(images)
    assert correlation.moments.dtype == torch.float32
    assert correlated([draw(FLOAT64_CHANNELS, 2, 2)]).moments.dtype == torch.float64
    assert correlation.similarity().values.double().numpy() == pytest.approx(np.corrcoef(values) ** 2, abs=1e-5)


def test_correlation_of_constant_and_non_finite_channels_is_undefined() -> None:
    images = [draw(5, 4, 4, seed=seed) for seed in range(2)]
    for image in images:
        image[1] = 7.1
    images[0][2] = 1.0  # constant in the first image only
    images[1][3, 0, 0] = torch.nan
    found = correlated(images).similarity()
    assert found.constant.tolist() == [False, True, False, False, False]
    assert found.infinite.tolist() == [False, False, False, True, False]
    assert np.isfinite(found.values.numpy()).all()
    values = np.concatenate([image[[0, 2, 4]].flatten(1).double().numpy() for image in images], axis=1)
    chosen = found.values[[0, 2, 4]][:, [0, 2, 4]]
    assert chosen.numpy() == pytest.approx(np.corrcoef(values) ** 2, abs=1e-12)
