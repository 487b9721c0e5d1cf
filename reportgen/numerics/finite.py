"""Whether every value of a tensor is finite."""

import torch

from reportgen.numerics.real import as_real


def is_finite(values: torch.Tensor) -> bool:
    """Whether no value of `values`, of any dtype and shape, is NaN or infinite; True where there is none."""
    real = as_real(values.detach())
    if not real.is_floating_point():
        return True
    # What is not finite makes the sum so, and a sum reads the values once. A sum may also leave the range of its
    # dtype by itself: only then each value is looked at.
    return bool(real.sum().isfinite()) or bool(real.isfinite().all())
