"""From a network's scores to probabilities, in float64."""

import numpy as np
from numpy.typing import NDArray

SUM_TOLERANCE = 1e-3
"""A softmax in float16 or bfloat16 misses a sum of 1 by up to about this much."""


def softmax(scores: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return exp(scores) / sum(exp(scores)) of (D,); a score of -Inf has the probability 0.

    The largest score must be finite.
    """
    with np.errstate(over="ignore"):  # of scores near both ends of float64 the difference is -Inf: rightly 0
        powers = np.exp(scores - scores.max())
    shares: NDArray[np.float64] = powers / powers.sum()
    return shares


def is_distribution(values: NDArray[np.float64]) -> bool:
    """Whether `values` (D,) are all 0 or more and sum to 1 within SUM_TOLERANCE."""
    return bool((values >= 0).all() and abs(float(values.sum()) - 1) <= SUM_TOLERANCE)


def is_log_distribution(values: NDArray[np.float64]) -> bool:
    """Whether `values` (D,) are logarithms of a distribution. Rounding may put one slightly above 0."""
    return bool((values <= SUM_TOLERANCE).all()) and is_distribution(np.exp(values))


def ranking(scores: NDArray[np.float64]) -> NDArray[np.intp]:
    """Return the places of `scores` (D,), highest score first; of equal ones the lower place first."""
    return np.argsort(-scores, kind="stable")
