"""Values of any dtype as real numbers that every operation takes."""

from typing import Any

import torch
from numpy.typing import NDArray

_HARDLY_COMPUTED = (torch.uint16, torch.uint32, torch.uint64)
"""Dtypes that torch stores, but has few operations for; so are floating ones of a byte."""


def is_quantised(values: torch.Tensor) -> bool:
    """Whether values are of a dtype like torch.quint8, which newer versions of torch no longer have."""
    return bool(getattr(values, "is_quantized", False))


def as_real(values: torch.Tensor) -> torch.Tensor:
    """Return complex values as their magnitudes, quantised ones dequantised, all others as they are.

    The result is boolean, integer or floating, on the same device, and the very tensor where nothing had to be
    done. Half-precision complex values are widened first, since their magnitude may leave float16.
    """
    if values.is_complex():
        return (values if values.dtype == torch.complex128 else values.to(torch.complex64)).abs()
    if is_quantised(values):
        return values.dequantize()
    if values.dtype in _HARDLY_COMPUTED:
        return values.to(torch.float64)
    return values.float() if values.is_floating_point() and values.element_size() == 1 else values


def as_floating(values: torch.Tensor) -> torch.Tensor:
    """Return `as_real(values)`, booleans and integers as float64."""
    real = as_real(values)
    return real if real.is_floating_point() else real.to(torch.float64)


def quick_array(values: torch.Tensor) -> NDArray[Any] | None:
    """Return float32 and float64 values on the CPU as the array that they are; None for all others.

    Numpy reduces these along an axis in less time than torch: large ones in a fifth, small ones in a half.
    """
    plain = values.device.type == "cpu" and values.dtype in (torch.float32, torch.float64)
    return values.detach().numpy() if plain else None
