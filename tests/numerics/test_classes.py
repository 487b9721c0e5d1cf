"""The class of each position against a loop over positions in plain Python."""

import math

import numpy as np
import pytest
import torch

from reportgen.numerics.classes import UNDEFINED, class_map

NAN, INF = float("nan"), float("inf")


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_each_position_has_the_class_of_its_highest_score(dtype: torch.dtype) -> None:
    scores = torch.randn(21, 5, 7, generator=torch.Generator().manual_seed(0)).to(dtype)
    found = class_map(scores)
    assert found.classes.dtype == np.uint16
    assert (found.classes.shape, found.total) == ((5, 7), 21)
    tied = 0
    for row in range(5):
        for column in range(7):
            column_of_scores = [float(score) for score in scores[:, row, column]]
            assert found.classes[row, column] == column_of_scores.index(max(column_of_scores))
            tied += column_of_scores.count(max(column_of_scores)) > 1
    assert (found.tied, found.undefined) == (tied, 0)


def test_what_has_no_highest_score_is_undefined() -> None:
    scores = torch.tensor([[1.0, NAN, -INF, INF, 0.0], [2.0, 3.0, -INF, 5.0, 0.0]])[:, None]
    found = class_map(scores)
    assert found.classes.tolist() == [[1, UNDEFINED, UNDEFINED, 0, 0]]
    assert (found.nan, found.lowest, found.tied) == (1, 1, 1)


def test_classes_are_counted_and_ranked() -> None:
    wanted = torch.tensor([[3, 3, 0], [3, 0, 1]])
    scores = torch.nn.functional.one_hot(wanted, 5).permute(2, 0, 1).float()
    scores[2, 1, 2] = NAN
    found = class_map(scores)
    assert found.counts().tolist() == [2, 0, 0, 3, 0]
    assert found.ranking() == [3, 0]
    assert math.fsum(found.counts()) + found.undefined == 6


def test_equally_frequent_classes_stand_by_number() -> None:
    scores = torch.eye(4)[:, None]
    assert class_map(scores).ranking() == [0, 1, 2, 3]


def test_many_classes_are_told_apart() -> None:
    scores = torch.zeros(40000, 1, 1)
    scores[39999] = 1
    assert class_map(scores).classes.tolist() == [[39999]]
