"""From values to palette indices: ranges over finite values, and quantisation.

Values stay on their device. What is copied from it are the ranges of all maps as one small tensor, and later the
palette indices, a byte a value; ranges, and the ends of colours that come from them, are on the CPU.

Palette indices 0 to 251 are the colour map, 252 the gap between tiles, 253 NaN, 254 +Inf and 255 -Inf. A finite
value v of a map with the range (low, high) has the index round(251 * (v - low) / (high - low)), clipped to
0..251; a constant map has the index 0 everywhere.
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from numpy.typing import NDArray

from reportgen.errors import UsageError
from reportgen.numerics.real import as_real, quick_array
from reportgen.numerics.threads import one_thread

LEVELS = 251
GAP, NAN, POSITIVE_INFINITY, NEGATIVE_INFINITY = 252, 253, 254, 255

# Outside these, float32 would lose a level: the quotient 251 / (high - low) is taken in float64 instead.
_SMALLEST_RANGE, _LARGEST_VALUE = 1e-30, 1e37
_LARGER = 2.0**600
"""By so much values are multiplied that lie nearer to each other than float64 can divide by."""
_CHUNK = 1 << 16

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Scale:
    """How ranges are chosen.

    `channel`: each map its own minimum and maximum; `layer`: one minimum and maximum for all maps of the layer
    and image; `symmetric`: -m to m for all of them, m the largest magnitude; `fixed`: `low` to `high` as given,
    values outside are clipped.
    """

    mode: str = "channel"
    low: float = 0.0
    high: float = 0.0

    def __str__(self) -> str:
        return f"{self.low:g}:{self.high:g}" if self.mode == "fixed" else self.mode


def parse_scale(text: str) -> Scale:
    """Read `channel`, `layer`, `symmetric` or `LO:HI`; raises UsageError for anything else."""
    if text in ("channel", "layer", "symmetric"):
        return Scale(text)
    try:
        low, high = (float(part) for part in text.split(":"))
    except ValueError:
        low = high = 0.0
    if not low < high or high - low == float("inf"):
        raise UsageError(f"scale '{text}' is none of channel, layer, symmetric and LO:HI with LO below HI")
    return Scale("fixed", low, high)


@dataclass(frozen=True)
class Ranges:
    """Per map, float64 tensors of shape (C,) on the CPU: the smallest and largest finite value; NaN: there is none.

    `finite` is whether every value of every map is finite.
    """

    low: torch.Tensor
    high: torch.Tensor
    finite: bool

    @cached_property
    def constant(self) -> torch.Tensor:
        """Which maps hold one finite value only: bool, (C,)."""
        return self.low == self.high


@one_thread()
def finite_ranges(maps: torch.Tensor) -> Ranges:
    """Return the range of each map of (C, H, W), any dtype, over its finite values; of complex ones, magnitudes."""
    flat = as_real(maps).reshape(maps.shape[0], -1)
    ends = _ends(flat)
    if np.isfinite(ends.numpy()).all():
        return Ranges(ends[0], ends[1], finite=True)
    finite = torch.isfinite(flat)
    ends = _on_cpu(
        torch.where(finite, flat, torch.inf).amin(dim=1), torch.where(finite, flat, -torch.inf).amax(dim=1)
    )
    ends[:, ends[0] > ends[1]] = torch.nan
    return Ranges(ends[0], ends[1], finite=False)


def _ends(flat: torch.Tensor) -> torch.Tensor:
    """The smallest and the largest value of each row, float64 (2, C) on the CPU; NaN where one is."""
    values = quick_array(flat)
    if values is None:
        return _on_cpu(flat.amin(dim=1), flat.amax(dim=1))  # quicker than torch.aminmax along an axis
    ends = np.empty((2, len(flat)))
    ends[0], ends[1] = np.minimum.reduce(values, axis=1), np.maximum.reduce(values, axis=1)
    return torch.from_numpy(ends)


def _on_cpu(low: torch.Tensor, high: torch.Tensor) -> torch.Tensor:
    """Both ends (C,) as float64 (2, C), in one copy."""
    return torch.stack([low, high]).cpu().double()


def apply_scale(scale: Scale, ranges: Ranges) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the low and high end of each map's colours under `scale`: float64, (C,).

    NaN for a map that has no finite value and no end of its own.
    """
    if scale.mode == "channel":
        return ranges.low, ranges.high
    if scale.mode == "fixed":
        return torch.full_like(ranges.low, scale.low), torch.full_like(ranges.high, scale.high)
    low, high = overall(ranges)
    if scale.mode == "symmetric":
        high = max(abs(low), abs(high))
        low = -high
    return torch.full_like(ranges.low, low), torch.full_like(ranges.high, high)


def overall(ranges: Ranges) -> tuple[float, float]:
    """Return the smallest and the largest finite value of all maps; NaN where there is none."""
    if ranges.finite:
        return float(ranges.low.min()), float(ranges.high.max())
    known = ~torch.isnan(ranges.low)
    if not bool(known.any()):
        return float("nan"), float("nan")
    return float(ranges.low[known].min()), float(ranges.high[known].max())


@one_thread()
def quantise(maps: torch.Tensor, ranges: Ranges, low: torch.Tensor, high: torch.Tensor) -> torch.Tensor:
    """Return the palette indices (uint8) of `maps` (C, H, W), on their device.

    `low` and `high` are the ends of the colours (float64, (C,), on the CPU). `ranges` are those of `maps`: they
    tell whether values must be clipped, and whether some are not finite.
    """
    values = as_real(maps)
    levels = _levels(values.dtype, low.numpy(), high.numpy())
    if not ranges.finite:
        indices = _scaled(values, levels).nan_to_num_(0, LEVELS, 0).clamp_(0, LEVELS + 0.5).to(torch.uint8)
        return _mark_non_finite(indices, values)
    own = low is ranges.low and high is ranges.high
    clipped = not own and bool(((low > ranges.low) | (high < ranges.high)).any())
    if values.device.type == "cpu":
        return _quantised_in_parts(values, levels, clipped=clipped)
    scaled = _scaled(values, levels)
    return (scaled.clamp_(0, LEVELS + 0.5) if clipped else scaled).to(torch.uint8)


@dataclass(frozen=True)
class _Levels:
    """Level = (value * times - low) * factor, in `dtype`. Arrays (C,) of float64; `times` are powers of two, None
    where all are 1.
    """

    low: Floats
    factor: Floats
    dtype: torch.dtype
    times: Floats | None = None


def _levels(dtype: torch.dtype, low: Floats, high: Floats) -> _Levels:
    with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
        span = high - low
        precise = torch.float64 if _needs_float64(dtype, span, low, high) else torch.float32
        # Ends as far apart as float64 reaches, or as near: at another size their distance, and 251 divided by it,
        # are numbers.
        near = (span > 0) & np.isinf(LEVELS / span)
        times = np.where(np.isinf(span), 0.5, np.where(near, _LARGER, 1.0))
        resized = bool((times != 1).any())
        if resized:
            low, high = low * times, high * times
            span = high - low
        factor = np.where(span > 0, LEVELS / span, 0.0)
    return _Levels(
        low if np.isfinite(low).all() else np.nan_to_num(low), factor, precise, times if resized else None
    )


def _needs_float64(dtype: torch.dtype, span: Floats, low: Floats, high: Floats) -> bool:
    """Whether float32 could lose a level: values it can't hold, or a range too narrow or too far out for it."""
    narrow = (span > 0) & (span < _SMALLEST_RANGE)
    far = np.maximum(np.abs(low), np.abs(high)) > _LARGEST_VALUE
    return dtype not in _FLOAT32_EXACT or bool((narrow | far).any())


def _scaled(values: torch.Tensor, levels: _Levels) -> torch.Tensor:
    """A copy of `values` (C, H, W) in levels, plus one half: truncated, it is rounded."""
    times = np.ones_like(levels.low) if levels.times is None else levels.times
    ends = np.stack([levels.low, levels.factor, times])[:, :, None, None]
    low, factor, by = torch.from_numpy(ends).to(values.device, levels.dtype)
    exact = values.to(levels.dtype)
    # Subtracting first keeps every digit of a narrow range far from zero, which v * factor + offset loses.
    return (exact if levels.times is None else exact * by).sub(low).mul_(factor).add_(0.5)


def _quantised_in_parts(values: torch.Tensor, levels: _Levels, *, clipped: bool) -> torch.Tensor:
    """The same for finite values on the CPU: a few maps at a time, so that every pass finds them in the cache.

    In numpy, which takes a third of the time that torch takes for it.
    """
    exact = values.detach().to(levels.dtype).reshape(len(values), -1).numpy()
    low, factor = (ends.astype(exact.dtype)[:, None] for ends in (levels.low, levels.factor))
    indices = np.empty(exact.shape, np.uint8)
    rows = max(1, _CHUNK // max(1, exact.shape[1]))
    scratch = np.empty((min(rows, len(exact)), exact.shape[1]), exact.dtype)
    for start in range(0, len(exact), rows):
        part = exact[start : start + rows]
        if levels.times is not None:
            part = part * levels.times[start : start + rows, None].astype(part.dtype)
        scaled = np.subtract(part, low[start : start + rows], scratch[: len(part)])
        scaled *= factor[start : start + rows]
        scaled += 0.5
        if clipped:
            np.clip(scaled, 0, LEVELS + 0.5, scaled)
        indices[start : start + rows] = scaled
    return torch.from_numpy(indices.reshape(values.shape))


_FLOAT32_EXACT = frozenset({torch.float32, torch.float16, torch.bfloat16, torch.uint8, torch.int8, torch.bool})


def _mark_non_finite(indices: torch.Tensor, maps: torch.Tensor) -> torch.Tensor:
    indices[torch.isnan(maps)] = NAN
    indices[torch.isposinf(maps)] = POSITIVE_INFINITY
    indices[torch.isneginf(maps)] = NEGATIVE_INFINITY
    return indices
