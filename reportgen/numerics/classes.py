"""From scores of classes over positions to the class of each position."""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

UNDEFINED = 65535
"""Stands in a class map where no class is the highest."""


@dataclass(frozen=True)
class ClassMap:
    """The class with the highest score at each position: `classes` (H, W), uint16, UNDEFINED where there is none.

    There is none at the `nan` positions where a score is not a number, and at the `lowest` where every score is
    -Inf. At the `tied` positions several classes share the highest score, and the lowest of their numbers stands.
    `total` is the number of classes that there are scores of.
    """

    classes: NDArray[np.uint16]
    total: int
    nan: int
    lowest: int
    tied: int

    @property
    def undefined(self) -> int:
        """At how many positions there is no class."""
        return self.nan + self.lowest

    def counts(self) -> NDArray[np.intp]:
        """Return at how many positions each class stands, (total,)."""
        return np.bincount(self.classes[self.classes != UNDEFINED], minlength=self.total)

    def ranking(self) -> list[int]:
        """Return the classes that occur, the most frequent first; of equal ones the lower number first."""
        counts = self.counts()
        order = np.argsort(-counts, kind="stable")
        return [int(number) for number in order[: np.count_nonzero(counts)]]


def class_map(scores: torch.Tensor) -> ClassMap:
    """Return the class map of scores (K, H, W), floating, K at most 65,535."""
    best, classes = scores.max(dim=0)  # NaN where any score is; of equal scores the first
    nan, lowest = best.isnan(), best.isneginf()
    tied = ((scores == best).sum(dim=0) > 1) & ~lowest
    marked = classes.masked_fill(nan | lowest, UNDEFINED).cpu().numpy().astype(np.uint16)
    return ClassMap(marked, scores.shape[0], *(int(where.sum()) for where in (nan, lowest, tied)))
