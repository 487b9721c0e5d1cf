"""CKA against fixed values, against plain double loops, and its properties."""

import itertools
import math

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from reportgen.numerics.similarity import alignment, centred, cka, gram, hsic


def example() -> tuple[torch.Tensor, torch.Tensor]:
    generator = np.random.default_rng(0)
    first = generator.standard_normal((8, 3))
    second = first @ generator.standard_normal((3, 4)) + generator.standard_normal((8, 4))
    return torch.from_numpy(first), torch.from_numpy(second)


def hsic_1(k: NDArray[np.float64], l: NDArray[np.float64]) -> float:  # noqa: E741 - Song et al.'s name
    """HSIC_1 as Song et al. print it: traces and sums of Gram matrices without their diagonals."""
    n = len(k)
    k, l = k - np.diag(np.diag(k)), l - np.diag(np.diag(l))  # noqa: E741
    ones = np.ones(n)
    value = np.trace(k @ l) + ones @ k @ ones * (ones @ l @ ones) / ((n - 1) * (n - 2))
    return float((value - 2 / (n - 2) * (ones @ k @ l @ ones)) / (n * (n - 3)))


def biased_cka(first: NDArray[np.float64], second: NDArray[np.float64]) -> float:
    """Kornblith et al.'s feature form: |Y'X|_F^2 / (|X'X|_F |Y'Y|_F), columns centred."""
    x, y = first - first.mean(0), second - second.mean(0)
    return float(np.linalg.norm(y.T @ x) ** 2 / np.linalg.norm(x.T @ x) / np.linalg.norm(y.T @ y))


def test_fixed_values() -> None:
    first, second = example()
    assert cka(first, second, debiased=False) == pytest.approx(0.4225025777, abs=1e-9)
    assert cka(first, second) == pytest.approx(0.0214637833, abs=1e-9)


def test_batches_are_summed_before_dividing() -> None:
    first, second = example()
    total = torch.zeros(2, 2, dtype=torch.float64)
    single = []
    for part in (slice(0, 4), slice(4, 8)):
        both = torch.stack([gram(first[part]).matrix, gram(second[part]).matrix])
        total += hsic(both, debiased=True)
        single.append(float(alignment(hsic(both, debiased=True))[0, 1]))
    assert float(alignment(total)[0, 1]) == pytest.approx(0.1742220791, abs=1e-9)
    assert sum(single) / 2 == pytest.approx(0.3090423609, abs=1e-9)  # the wrong way, for comparison


@pytest.mark.parametrize("count", [4, 5, 9, 33])
def test_hsic_is_songs(count: int) -> None:
    generator = np.random.default_rng(count)
    features = [generator.standard_normal((count, width)) for width in (2, 7, 30)]
    grams = torch.stack([gram(torch.from_numpy(x)).matrix for x in features])
    found = hsic(grams, debiased=True)
    for i, j in itertools.product(range(3), repeat=2):
        expected = hsic_1(grams[i].numpy(), grams[j].numpy())
        assert float(found[i, j]) == pytest.approx(expected, rel=1e-9)


def test_biased_is_kornbliths() -> None:
    generator = np.random.default_rng(7)
    x, y = generator.standard_normal((20, 6)) + 40, generator.standard_normal((20, 9))
    found = cka(torch.from_numpy(x), torch.from_numpy(y), debiased=False)
    assert found == pytest.approx(biased_cka(x, y), rel=1e-9)


@pytest.mark.parametrize("debiased", [True, False])
def test_invariances(debiased: bool) -> None:
    first, second = example()
    rotation, _ = torch.linalg.qr(torch.randn(4, 4, dtype=torch.float64))
    value = cka(first, second, debiased=debiased)
    assert cka(second, first, debiased=debiased) == pytest.approx(value, abs=1e-12)
    assert cka(first * 3 + 5, second @ rotation * -0.1, debiased=debiased) == pytest.approx(value, abs=1e-9)
    assert cka(first, first, debiased=debiased) == pytest.approx(1)
    order = torch.randperm(8)
    assert cka(first[order], second[order], debiased=debiased) == pytest.approx(value, abs=1e-12)


def test_independent_features_are_unlike_only_when_debiased() -> None:
    values = {True: [], False: []}  # type: dict[bool, list[float]]
    for seed in range(60):
        generator = torch.Generator().manual_seed(seed)
        x, y = (torch.randn(8, 200, generator=generator) for _ in range(2))
        for debiased, found in values.items():
            found.append(cka(x, y, debiased=debiased))
    assert abs(sum(values[True]) / 60) < 0.05
    assert sum(values[False]) / 60 > 0.9


def test_centred_matrices_sum_to_zero() -> None:
    grams = torch.stack([gram(part).matrix for part in example()])
    for debiased in (True, False):
        assert centred(grams, debiased=debiased).sum(dim=-1).abs().max() < 1e-12
    assert not centred(grams, debiased=True).diagonal(dim1=-2, dim2=-1).any()


def test_features_that_never_change_are_constant_at_any_scale() -> None:
    for value in (0.0, 1e-20, 3.0, 1e20):
        assert gram(torch.full((6, 10), value)).constant
    assert not gram(torch.randn(6, 10) * 1e-20).constant
    assert not gram(1000 + torch.randn(6, 10)).constant
    undefined = alignment(torch.zeros(2, 2, dtype=torch.float64))
    assert torch.isnan(undefined).all()


def test_wide_features_are_taken_in_parts() -> None:
    wide = torch.randn(5, (1 << 16) + 77, dtype=torch.float64)
    centred_ = wide - wide.mean(0)
    torch.testing.assert_close(gram(wide).matrix, centred_ @ centred_.T)
    assert not math.isnan(cka(wide, wide))


@pytest.mark.parametrize("offset", [0.0, 1e3, 1e6])
@pytest.mark.parametrize("outlier", [None, 0, 3])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_gram_matrices_keep_their_digits_far_from_zero(
    offset: float, outlier: int | None, dtype: torch.dtype
) -> None:
    features = (torch.randn(7, 500, dtype=torch.float64) + offset).to(dtype)
    if outlier is not None:
        features[outlier] += 1e4
    before = features.clone()
    exact = features.numpy().astype(np.longdouble)
    exact -= exact.mean(0)
    wanted = exact @ exact.T
    found = gram(features).matrix.numpy()
    assert np.abs(found - wanted).max() <= 1e-12 * np.abs(wanted).max()
    assert torch.equal(features, before)
