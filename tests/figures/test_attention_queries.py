"""Which query is shown, what it gives to which tokens, and in which words."""

import numpy as np
import pytest
import torch

from figures.attention_cases import CLASS, REGISTERS, attending, grid, weights
from reportgen.entities import Attention, Run
from reportgen.figures.attention_queries import (
    describe_kind,
    describe_query,
    fold,
    look,
    row_of,
    shares_of,
)

RUNS = (CLASS, grid(2, 3), REGISTERS)
VALUES = weights(2, 3, 11, 11)


@pytest.mark.parametrize(
    ("query", "queries"), [("class", [0]), ("mean", range(1, 7)), ("1,2", [6]), ("0,1", [2]), ("all", range(11))]
)
def test_the_row_of_a_query_is_the_mean_over_its_queries(query: str, queries: list[int]) -> None:
    expected = sum(VALUES[:, :, one].numpy() for one in queries) / len(queries)
    np.testing.assert_allclose(row_of(VALUES, RUNS, query).numpy(), expected, rtol=1e-6)


@pytest.mark.parametrize(
    ("runs", "query", "reason"),
    [
        ((grid(2, 3),), "class", "no class token"),
        (RUNS, "2,0", "no query 2,0 in 2 × 3"),
        (RUNS, "0,3", "no query 0,3 in 2 × 3"),
        ((Run(11),), "mean", "no positions"),
        ((grid(1, 5), grid(2, 3)), "mean", "several grids"),
        ((Run(8, grid=(2, 2, 2)),), "0,0", "no query 0,0 in 2 × 2 × 2"),
    ],
)
def test_a_query_that_is_not_there_is_refused_with_the_reason(
    runs: tuple[Run, ...], query: str, reason: str
) -> None:
    with pytest.raises(ValueError, match=reason):
        row_of(VALUES, runs, query)


def test_positions_are_folded_row_by_row_and_frames_lie_side_by_side() -> None:
    row = torch.arange(13.0)
    assert fold(row, (CLASS, Run(12, grid=(3, 4)))).tolist() == [[1, 2, 3, 4], [5, 6, 7, 8], [9, 10, 11, 12]]
    assert fold(row, (CLASS, Run(12, grid=(3, 2, 2)))).tolist() == [[1, 2, 5, 6, 9, 10], [3, 4, 7, 8, 11, 12]]
    assert fold(row[None, :4], (Run(1), Run(3, grid=(3,)))).tolist() == [[[1, 2, 3]]]


def test_shares_are_sums_over_each_kind_of_other_token() -> None:
    runs = (CLASS, grid(2, 2), Run(2, "register token"), Run(1), Run(3, "register token"))
    row = weights(1, 2, 1, 11)[0, :, 0]
    found = shares_of(row, runs)
    assert list(found) == ["class token", "register token", "other tokens"]
    np.testing.assert_allclose(found["class token"], row[:, 0])
    np.testing.assert_allclose(found["register token"], row[:, 5] + row[:, 6] + row[:, 8:11].sum(1), rtol=1e-6)
    np.testing.assert_allclose(found["other tokens"], row[:, 7])


def test_auto_is_the_class_token_and_without_one_the_mean() -> None:
    values = weights(1, 2, 7, 7)
    found = look(attending(values, (2, 3)), "auto", 1)
    assert (found.query, found.note) == ("class", "")
    np.testing.assert_allclose(found.maps[0], values[0, :, 0, 1:].reshape(2, 2, 3))
    np.testing.assert_allclose(found.shares["class token"][0], values[0, :, 0, 0])
    without = look(attending(values[:, :, 1:, 1:], (2, 3), ()), "auto", 1)
    assert (without.query, without.note, without.shares) == ("mean", "", {})


def test_what_is_not_there_falls_back_and_says_why() -> None:
    found = look(attending(weights(1, 2, 7, 7), (2, 3)), "3,4", 1)
    assert (found.query, found.note) == ("class", "there is no query 3,4 in 2 × 3")
    without = look(attending(weights(1, 2, 6, 6), (2, 3), ()), "class", 1)
    assert (without.query, without.note) == ("mean", "there is no class token")
    asked = look(attending(weights(1, 2, 7, 7), (2, 3)), "1,1", 1)
    assert (asked.query, asked.note) == ("1,1", "")


def refuse(_: str) -> torch.Tensor:
    raise ValueError("no query has a position")


def test_queries_without_positions_are_averaged_where_the_keys_have_them() -> None:
    values = weights(2, 3, 5, 6)
    found = look(Attention(values, (Run(5, "object query"),), (grid(2, 3),), "", refuse), "auto", 2)
    assert found.query == "all"
    np.testing.assert_allclose(found.maps, values.numpy().mean(axis=2).reshape(2, 3, 2, 3), rtol=1e-6)


@pytest.mark.parametrize("windowed", [True, False])
def test_keys_without_positions_and_windows_give_no_map(windowed: bool) -> None:
    keys = (grid(2, 3),) if windowed else (Run(6),)
    with pytest.raises(ValueError, match="position"):
        look(Attention(weights(4, 3, 5, 6), (Run(5),), keys, "", refuse, windowed), "auto", 1 if windowed else 4)


@pytest.mark.parametrize(
    ("query", "runs", "words"),
    [
        ("class", RUNS, "the class token"),
        ("mean", RUNS, "the mean over all 6 queries with a position"),
        ("mean", (grid(2, 3),), "the mean over all 6 queries"),
        ("all", (Run(100),), "the mean over all 100 queries"),
        ("1,2", RUNS, "the query at row 1, column 2 (from 0) of 2 × 3"),
    ],
)
def test_queries_in_words(query: str, runs: tuple[Run, ...], words: str) -> None:
    assert describe_query(query, runs) == words


def test_kinds_in_words() -> None:
    assert describe_kind("class token", RUNS) == "the class token"
    assert describe_kind("register token", RUNS) == "the 4 register tokens"
    assert describe_kind("other tokens", (Run(3),)) == "the 3 other tokens"
