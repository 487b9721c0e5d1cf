"""Sums and means over the channels of maps."""

import torch

from reportgen.numerics.real import as_real
from reportgen.numerics.threads import one_thread


@one_thread()
def channel_sum(maps: torch.Tensor) -> torch.Tensor:
    """Return the sum over the channels of (C, H, W), any dtype, accumulated in float64, as (1, H, W)."""
    return as_real(maps).sum(dim=0, keepdim=True, dtype=torch.float64)


def channel_mean(total: torch.Tensor, channels: int) -> torch.Tensor:
    """Return the mean over so many channels whose `channel_sum` is `total`: float64 (H, W), on the CPU."""
    return total[0].cpu() / channels
