"""The weights of convolutions in one form, whatever the kind of convolution, and their colours."""

from dataclasses import dataclass

import torch

from reportgen.numerics.real import as_real
from reportgen.numerics.scaling import finite_ranges

_GRAY, _MAGENTA = 128, (255, 0, 255)


def planes(weight: torch.Tensor, *, transposed: bool, groups: int) -> torch.Tensor:
    """Return a convolution's weight as (out, in per group, planes, height, width), a view where possible.

    `weight` is (out, in / groups, *kernel) or, `transposed`, (in, out / groups, *kernel), with one to three axes of
    positions. One axis lies along the width; a third is the planes, except that a kernel of one position a plane
    lies along the width, too.
    """
    if transposed:
        grouped = weight.reshape(groups, weight.shape[0] // groups, *weight.shape[1:])
        weight = grouped.transpose(1, 2).flatten(0, 1)
    missing = 5 - weight.dim()
    kernels = weight.reshape(*weight.shape[:2], *(1,) * missing, *weight.shape[2:])
    if kernels.shape[3] == kernels.shape[4] == 1:
        return kernels.transpose(2, 4)
    return kernels


@dataclass(frozen=True)
class Summary:
    """Range, mean and standard deviation (of the population) over finite values; NaN where there are none."""

    low: float
    high: float
    mean: float
    std: float
    not_finite: int

    @property
    def magnitude(self) -> float:
        """The largest magnitude, 1 where all values are zero or none is finite: half a scale about zero."""
        return max(abs(self.low), abs(self.high)) or 1.0 if self.low == self.low else 1.0


def summarise(values: torch.Tensor) -> Summary:
    """Return the summary of a tensor of any dtype; its five numbers are all that leaves its device."""
    known = as_real(values.detach()).double().flatten()
    finite = torch.isfinite(known)
    missing = int((~finite).sum())
    if missing:
        known = known[finite]
    if not known.numel():
        return Summary(torch.nan, torch.nan, torch.nan, torch.nan, missing)
    std, mean = torch.std_mean(known, correction=0)
    low, high, mean_, std_ = torch.stack([known.min(), known.max(), mean, std]).tolist()
    return Summary(low, high, mean_, std_, missing)


@dataclass(frozen=True)
class Coloured:
    """Kernels in true colour: uint8 (K, planes, 3, height, width), and which of them are constant: bool (K,)."""

    tiles: torch.Tensor
    constant: torch.Tensor


def coloured(kernels: torch.Tensor) -> Coloured:
    """Return kernels (K, 3, planes, height, width) with red, green and blue for the three inputs.

    Each kernel is scaled over its own range, jointly over inputs and planes: 0 is its smallest weight, 255 its
    largest. A constant kernel is gray; a position with a weight that is not finite is magenta.
    """
    values = as_real(kernels).double()
    ranges = finite_ranges(values)
    facts = torch.stack([ranges.low, 255 / (ranges.high - ranges.low), ranges.constant.double()])
    low, factor, constant = facts.to(values.device)[:, :, None, None, None, None]
    scaled = torch.where(constant > 0, float(_GRAY), (values - low) * factor + 0.5)
    tiles = scaled.nan_to_num(0, 0, 0).clamp(0, 255).to(torch.uint8).transpose(1, 2).contiguous()
    holes = ~torch.isfinite(values).all(dim=1)
    for channel, value in enumerate(_MAGENTA):
        tiles[:, :, channel].masked_fill_(holes, value)
    return Coloured(tiles, ranges.constant)
