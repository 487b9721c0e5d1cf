"""The average hypercolumn of a set of layers: the mean over all their channels, each upsampled to one size.

A hypercolumn is the vector of all values above one position of the input (Hariharan, Arbelaez, Girshick, Malik,
CVPR 2015). Upsampling is linear, so the mean over a layer's upsampled channels is its upsampled channel mean: no
channel is ever upsampled, and layers of one resolution are added up before they are upsampled together.
"""

from collections.abc import Iterable

import torch
from torch.nn import functional

# A map whose standard deviation is below this share of its largest magnitude varies by rounding only.
_CONSTANT = 1e-6


def frame_mean(mean: torch.Tensor, frames: int) -> torch.Tensor:
    """Return the mean over `frames` maps that stand side by side, (H, frames x W): (H, W)."""
    return mean.reshape(len(mean), frames, -1).mean(dim=1) if frames > 1 else mean


def standardise(values: torch.Tensor) -> tuple[torch.Tensor, bool]:
    """Return (values - mean) / std of a float64 map, and whether the map is constant, which then becomes zero.

    Mean and (population) standard deviation are taken over the finite values; the others stay as they are.
    """
    finite = torch.isfinite(values)
    known = values[finite]
    largest = float(known.abs().max()) if known.numel() else 0.0
    # Divided by the largest first: squares of values near the ends of float64 would overflow or vanish.
    scaled = values / largest if largest else values
    known = scaled[finite]
    spread = float(known.std(correction=0)) if known.numel() else 0.0
    if spread <= _CONSTANT:
        return torch.where(finite, 0.0, values), True
    return (scaled - known.mean()) / spread, False


def average(weighted: Iterable[tuple[torch.Tensor, float]], size: tuple[int, int]) -> torch.Tensor:
    """Return the weighted mean of float64 maps, each interpolated bilinearly to `size`, as float64 (H, W).

    `weighted` gives (map, weight); weighted by channel counts, channel means give the mean over all channels.
    Interpolation is torch's with align_corners=False. A value that is not finite spreads to the positions that are
    interpolated from it. Raises ValueError when there is no map.
    """
    sums: dict[tuple[int, ...], torch.Tensor] = {}
    total = 0.0
    for values, weight in weighted:
        key, total = tuple(values.shape), total + weight
        sums[key] = sums[key] + values * weight if key in sums else values * weight
    if not sums:
        raise ValueError("an average of no maps is undefined")
    return torch.stack([_resize(values, size) for values in sums.values()]).sum(dim=0) / total


def _resize(values: torch.Tensor, size: tuple[int, int]) -> torch.Tensor:
    if tuple(values.shape) == size:
        return values
    return functional.interpolate(values[None, None], size=size, mode="bilinear", align_corners=False)[0, 0]
