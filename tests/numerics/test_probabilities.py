"""Softmax against exact fractions and against decimals of fifty digits."""

from decimal import Decimal, localcontext

import numpy as np
import pytest

from reportgen.numerics.probabilities import is_distribution, is_log_distribution, ranking, softmax


@pytest.mark.parametrize("shift", [0.0, 700.0, -700.0, 1e6])
def test_softmax_agrees_with_decimals(shift: float) -> None:
    scores = np.random.default_rng(0).integers(-40, 40, 30) / 4 + shift
    with localcontext() as context:
        context.prec = 50
        powers = [(Decimal(score) - Decimal(shift)).exp() for score in scores.tolist()]
        exact = [float(power / sum(powers)) for power in powers]
    assert softmax(scores) == pytest.approx(exact, rel=1e-13)


def test_softmax_of_infinite_and_far_scores() -> None:
    assert softmax(np.array([0.0, -np.inf, 0.0])).tolist() == [0.5, 0.0, 0.5]
    assert softmax(np.array([1.7e308, -1.7e308])).tolist() == [1.0, 0.0]
    assert softmax(np.full(4000, 3e38)).tolist() == pytest.approx([1 / 4000] * 4000)


def test_distributions_are_recognised() -> None:
    assert is_distribution(np.array([0.25, 0.75, 0.0]))
    assert is_distribution(np.array([0.25, 0.7495]))
    assert not is_distribution(np.array([0.25, 0.7]))
    assert not is_distribution(np.array([1.5, -0.5]))
    assert not is_distribution(np.array([np.nan, 1.0]))
    assert is_log_distribution(np.log([0.25, 0.75]))
    assert is_log_distribution(np.array([0.0, -np.inf]))
    assert not is_log_distribution(np.array([0.25, 0.75]))
    assert not is_log_distribution(np.array([1000.0, 0.0]))


def test_equal_scores_rank_by_place() -> None:
    assert ranking(np.array([1.0, 3.0, -np.inf, 3.0, 1.0])).tolist() == [1, 3, 0, 4, 2]
    scores = np.random.default_rng(1).integers(0, 5, 4000).astype(np.float64)
    assert ranking(scores).tolist() == sorted(range(4000), key=lambda place: (-scores[place], place))
