"""The files of statistics, for other programs: one row a layer, and for each layer one row a channel.

An empty cell is undefined, or a flag that does not apply; the last column of the layers' file gives the causes.
Flags are 0 or 1. What pages show of a channel goes into the record, in fewer digits.
"""

from collections.abc import Iterable, Mapping
from typing import Any

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

_SOME = 0.999999
"""A share below 1 is at most this, so that six digits never make it all."""

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
        *_cells(np.array([total.low, total.high, total.mean, total.std, total.share_of_zeros])),
        _count(one, "dead", "dead"),
        _count(one, "constant", "constant"),
        _count(one, "duplicate", "duplicate_of"),
        _count(one, "copy", "input_correlation"),
        total.nan_count + total.inf_count,
        "" if one.summary.saturated is None else int(one.summary.saturated.sum()),
        *_cells(np.array([one.summary.effective_rank])),
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


def channels_data(summary: Summary) -> Mapping[str, Any]:
    """What the record tells of each channel: numbers (C,) of six digits, None where undefined, and lists.

    `dead`, `constant`, `saturated` and `copy` list the channels that are; None where that is undefined or does not
    apply.
    `duplicate_of`, `nan_count` and `inf_count` are pairs of a channel and a number, for the channels that have one.
    """
    return {
        "min": _rounded(summary.low),
        "max": _rounded(summary.high),
        "mean": _rounded(summary.mean),
        "std": _rounded(summary.std),
        "share_of_zeros": _rounded(_shares(summary.share_of_zeros)),
        "input_correlation": _rounded(summary.input_correlation),
        "dead": _listed(summary.dead),
        "constant": _listed(summary.constant),
        "saturated": _listed(summary.saturated),
        "copy": _listed(summary.copies),
        "duplicate_of": None if summary.duplicate_of is None else _pairs(summary.duplicate_of, -1),
        "nan_count": _pairs(summary.nan_count, 0),
        "inf_count": _pairs(summary.inf_count, 0),
    }


def _rounded(values: NDArray[np.float64]) -> list[float | None] | None:
    """Six digits; None for a number that is not finite, and for a column in which none is."""
    if not np.isfinite(values).any():
        return None
    return [float(text) if text else None for text in _written(values, 6)]


def _shares(values: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.where(values < 1, np.minimum(values, _SOME), values)


def _listed(flags: Flags | None) -> list[int] | None:
    return None if flags is None else np.flatnonzero(flags).tolist()


def _pairs(values: NDArray[np.int64], nothing: int) -> list[list[int]]:
    """Channel and value, where the value is another than `nothing`."""
    return [[channel, value] for channel, value in enumerate(values.tolist()) if value != nothing]


def _cells(values: NDArray[np.float64]) -> list[str]:
    """Nine digits, which bring a float32 back exactly; empty where undefined."""
    return _written(values, 9)


def _written(values: NDArray[np.float64], digits: int) -> list[str]:
    """Each value with so many significant digits, empty where it is not finite; all of them in one formatting."""
    texts = (f"%.{digits}g " * len(values) % tuple(values.tolist())).split()
    for place in np.flatnonzero(~np.isfinite(values)).tolist():
        texts[place] = ""
    return texts


def _flags(flags: Flags | None, channels: int) -> list[object]:
    return [""] * channels if flags is None else [int(flag) for flag in flags.tolist()]


def _earlier(found: NDArray[np.int64] | None, channels: int) -> list[object]:
    return [""] * channels if found is None else [channel if channel >= 0 else "" for channel in found.tolist()]
