"""Sums and means over the channels of maps."""

import numpy as np
import torch

from reportgen.numerics.real import as_real, quick_array
from reportgen.numerics.threads import one_thread


@one_thread()
def channel_sum(maps: torch.Tensor) -> torch.Tensor:
    """Return the sum over the channels of (C, H, W), any dtype, accumulated in float64, as (1, H, W)."""
    real = as_real(maps)
    values = quick_array(real)
    if values is None:
        return real.sum(dim=0, keepdim=True, dtype=torch.float64)
    return torch.from_numpy(np.add.reduce(values, axis=0, keepdims=True, dtype=np.float64))


def channel_mean(total: torch.Tensor, channels: int) -> torch.Tensor:
    """Return the mean over so many channels whose `channel_sum` is `total`: float64 (H, W), on the CPU."""
    return total[0].cpu() / channels
