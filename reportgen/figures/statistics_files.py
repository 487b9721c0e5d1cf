"""The files of statistics, for other programs: one row a layer, and for each layer one row a channel.

An empty cell is undefined, or a flag that does not apply; the last column of the layers' file gives the causes.
Flags are 0 or 1.
"""

import math
from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from reportgen.figures.findings import Measured
from reportgen.figures.tables import csv_bytes
from reportgen.numerics.statistics import Flags, Summary

LAYER_COLUMNS = (
    *("name", "shape", "min", "max", "mean", "std", "share_of_zeros"),
    *("dead", "constant", "duplicate", "copy_of_input", "non_finite", "saturated"),
    *("effective_rank", "images", "undefined"),
)
CHANNEL_COLUMNS = (
    *("channel", "min", "max", "mean", "std", "share_of_zeros"),
    *("dead", "constant", "saturated", "input_correlation", "duplicate_of", "nan_count", "inf_count"),
)

LayerFacts = tuple[str, str, Measured | None, str]
"""A layer's name, its shape for one image, its statistics, and why it has none."""


def layers_csv(layers: Iterable[LayerFacts]) -> bytes:
    """Return the file with one row a layer, for each in `layers`."""
    return csv_bytes(LAYER_COLUMNS, (_layer_row(*facts) for facts in layers))


def _layer_row(name: str, shape: str, one: Measured | None, cause: str) -> list[object]:
    if one is None:
        return [name, shape, *[""] * (len(LAYER_COLUMNS) - 3), cause]
    total, causes = one.summary.total, one.summary.causes
    return [
        name,
        shape,
        *(_cell(number) for number in (total.low, total.high, total.mean, total.std, total.share_of_zeros)),
        _count(one, "dead", "dead"),
        _count(one, "constant", "constant"),
        _count(one, "duplicate", "duplicate_of"),
        _count(one, "copy", "input_correlation"),
        total.nan_count + total.inf_count,
        "" if one.summary.saturated is None else int(one.summary.saturated.sum()),
        _cell(one.summary.effective_rank),
        one.summary.images,
        "; ".join(f"{column}: {why}" for column, why in causes.items()),
    ]


def _count(one: Measured, kind: str, column: str) -> object:
    return "" if column in one.summary.causes else int(one.flags(kind).sum())


def channels_csv(summary: Summary) -> bytes:
    """Return the file with one row a channel."""
    numbers = (summary.low, summary.high, summary.mean, summary.std, summary.share_of_zeros)
    columns: tuple[Iterable[object], ...] = (
        range(summary.channels),
        *(_cells(column) for column in numbers),
        *(_flags(column, summary.channels) for column in (summary.dead, summary.constant, summary.saturated)),
        _cells(summary.input_correlation),
        _earlier(summary.duplicate_of, summary.channels),
        summary.nan_count.tolist(),
        summary.inf_count.tolist(),
    )
    return csv_bytes(CHANNEL_COLUMNS, zip(*columns, strict=True))


def _cells(values: NDArray[np.float64]) -> list[str]:
    return [_cell(value) for value in values.tolist()]


def _cell(value: float) -> str:
    """Nine digits, which bring a float32 back exactly; empty where undefined."""
    return f"{value:.9g}" if math.isfinite(value) else ""


def _flags(flags: Flags | None, channels: int) -> list[object]:
    return [""] * channels if flags is None else [int(flag) for flag in flags.tolist()]


def _earlier(found: NDArray[np.int64] | None, channels: int) -> list[object]:
    return [""] * channels if found is None else [channel if channel >= 0 else "" for channel in found.tolist()]
