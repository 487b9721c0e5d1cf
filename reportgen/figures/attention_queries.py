"""Which query of an attention node is shown, what it gives to which keys, and in which words."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field

import torch

from reportgen.entities import Attention, Run
from reportgen.figures.wording import count

AUTO, CLASS, MEAN, ALL = "auto", "class", "mean", "all"
CLASS_TOKEN, OTHER = "class token", "other tokens"


@dataclass(frozen=True)
class Look:
    """Where one query of a node looks.

    `maps` are the weights that it gives to the keys with a position, float32 (N, heads, H, W), `shares` the sums of
    those it gives to each kind of the others, (N, heads), by kind. `query` is "class", "mean", "all" (the mean over
    all queries, where none has a position) or "ROW,COLUMN"; `note` says why it is not the one asked for.
    """

    maps: torch.Tensor
    query: str
    note: str = ""
    shares: Mapping[str, torch.Tensor] = field(default_factory=dict)


def look(attention: Attention, asked: str, images: int) -> Look:
    """Return where the query `asked` for looks; where there is no such query, the class token or the mean.

    "auto" asks for the class token, and without one for the mean. Raises ValueError, with the reason, where no
    query gives a map.
    """
    reasons: list[str] = []
    for query in (CLASS, MEAN) if asked == AUTO else (asked, CLASS, MEAN):
        try:
            maps = attention.look(query)
        except ValueError as error:
            reasons.append(str(error))
            continue
        return _finish(attention, maps, query, "" if asked in (AUTO, query) else reasons[0])
    if attention.windowed or attention.weights.shape[0] != images or any(run.grid for run in attention.queries):
        raise ValueError(reasons[-1])
    # Queries without positions, such as a decoder's object queries, may still look at keys that have them.
    maps = fold(attention.weights.mean(dim=2), attention.keys)
    return _finish(attention, maps, ALL, "" if asked == AUTO else reasons[0])


def _finish(attention: Attention, maps: torch.Tensor, query: str, note: str) -> Look:
    shares: Mapping[str, torch.Tensor] = {}
    if not attention.windowed and attention.weights.shape[0] == maps.shape[0]:
        with suppress(ValueError):  # without a place of its own, what the query gives to the others is not known
            shares = shares_of(row_of(attention.weights, attention.queries, query), attention.keys)
    return Look(maps.to(torch.float32), query, note, shares)


def row_of(weights: torch.Tensor, queries: Sequence[Run], query: str) -> torch.Tensor:
    """Return what `query` gives to each key: (..., keys) of (..., queries, keys).

    Raises ValueError where there is no such query.
    """
    if query == ALL:
        return weights.mean(dim=-2)
    if query == CLASS:
        starts = [start for run, start in _placed(queries) if run.label == CLASS_TOKEN]
        if not starts:
            raise ValueError("there is no class token")
        return weights[..., starts[0], :]
    run, start = positions(queries)
    rows = weights[..., start : start + run.size, :]
    if query == MEAN:
        return rows.mean(dim=-2)
    row, column = (int(part) for part in query.split(","))
    if len(run.grid) != 2 or row >= run.grid[0] or column >= run.grid[1]:
        raise ValueError(f"there is no query {query} in {sized(run.grid)}")
    return rows[..., row * run.grid[1] + column, :]


def fold(row: torch.Tensor, keys: Sequence[Run]) -> torch.Tensor:
    """Return the part of (..., keys) that has positions as maps (..., H, W), of frames side by side.

    Raises ValueError unless one run of keys has positions.
    """
    run, start = positions(keys)
    height, width = (1, *run.grid)[-2:]
    frames = row[..., start : start + run.size].reshape(*row.shape[:-1], -1, height, width)
    return frames.movedim(-3, -2).flatten(-2)


def positions(runs: Sequence[Run]) -> tuple[Run, int]:
    """Return the one run that has positions, and where it starts; ValueError when there is none, or several."""
    found = [(run, start) for run, start in _placed(runs) if run.grid]
    if len(found) != 1:
        raise ValueError("its tokens lie on several grids" if found else "its tokens have no positions")
    return found[0]


def shares_of(row: torch.Tensor, keys: Sequence[Run]) -> dict[str, torch.Tensor]:
    """Return the sums of (..., keys) over each kind of keys without a position, by label: float32 (...)."""
    shares: dict[str, torch.Tensor] = {}
    for run, start in _placed(keys):
        if not run.grid:
            label = run.label or OTHER
            part = row[..., start : start + run.size].to(torch.float32).sum(dim=-1)
            shares[label] = shares[label] + part if label in shares else part
    return shares


def _placed(runs: Sequence[Run]) -> Iterator[tuple[Run, int]]:
    """Each run, and the place of its first token."""
    start = 0
    for run in runs:
        yield run, start
        start += run.size


def describe_query(query: str, queries: Sequence[Run]) -> str:
    """`the class token`, `the query at row 3, column 4 (from 0) of 14 × 14`, or the mean over the queries."""
    if query == CLASS:
        return f"the {CLASS_TOKEN}"
    if query == ALL:
        return f"the mean over all {count(total(queries), 'query')}"
    if query == MEAN:
        placed = sum(run.size for run in queries if run.grid)
        where = " with a position" if placed < total(queries) else ""
        return f"the mean over all {count(placed, 'query')}{where}"
    row, column = query.split(",")
    grids = [sized(run.grid) for run in queries if run.grid]
    return f"the query at row {row}, column {column} (from 0){f' of {grids[0]}' if len(grids) == 1 else ''}"


def describe_kind(label: str, runs: Sequence[Run]) -> str:
    """`the class token`, or `the 4 register tokens`."""
    number = sum(run.size for run in runs if not run.grid and (run.label or OTHER) == label)
    if number == 1:
        return f"the {label}"
    return f"the {number:,} {label}" if label == OTHER else f"the {count(number, label)}"


def total(runs: Sequence[Run]) -> int:
    """The number of tokens."""
    return sum(run.size for run in runs)


def sized(grid: Sequence[int]) -> str:
    """`14 × 14`."""
    return " × ".join(map(str, grid))
