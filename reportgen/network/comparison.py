"""Whether two values of a model are the same: to the bit on a CPU, elsewhere as far as sums have an order."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import torch

from reportgen.entities import Batch
from reportgen.numerics.real import as_real, is_quantised
from reportgen.parts import flatten

EQUAL, CLOSE, DIFFERENT, UNKNOWN = "equal", "close", "different", "unknown"


@dataclass(frozen=True)
class Check:
    """How a value compares with what it should be.

    `outcome` is EQUAL (to the bit), CLOSE (see `close`), DIFFERENT, or UNKNOWN where it could not be compared;
    `told` says how far they are apart, or why it could not.
    """

    outcome: str
    told: str = ""


def worst(checks: Iterable[Check]) -> Check:
    """The check with the worst outcome, the first of these; EQUAL where there is none."""
    return max(
        checks, key=lambda check: (EQUAL, CLOSE, UNKNOWN, DIFFERENT).index(check.outcome), default=Check(EQUAL)
    )


def compared(value: torch.Tensor, expected: torch.Tensor, name: str = "") -> Check:
    """Compare a tensor, which is called `name` in what is told, with what it should be."""
    try:
        if same_bits(value, expected):
            return Check(EQUAL)
        outcome = CLOSE if close(value, expected) else DIFFERENT
        told = largest_difference(value, expected)
    except (NotImplementedError, RuntimeError, TypeError) as error:  # sparse tensors, say, and whatever is to come
        return Check(UNKNOWN, f"{type(error).__name__} when it was compared")
    return Check(outcome, f"{name}: {told}" if name else told)


def spare(batch: Batch) -> Batch:
    """A copy of what the model is called with, which it may overwrite."""
    args = None if batch.args is None else _copied(batch.args)
    return Batch(batch.images, batch.tensor.clone(), batch.drawn, args, _copied(dict(batch.kwargs)))


def _copied(value: Any) -> Any:
    if isinstance(value, torch.Tensor):
        return value.clone()
    if isinstance(value, dict):
        return {key: _copied(part) for key, part in value.items()}
    return type(value)(map(_copied, value)) if type(value) in (tuple, list) else value


def agree(output: Any, expected: Any) -> bool:
    """Whether two outputs hold the same tensors."""
    ours, theirs = dict(flatten(output)), dict(flatten(expected))
    return ours.keys() == theirs.keys() and all(same(ours[name], theirs[name]) for name in theirs)


def same(one: torch.Tensor, other: torch.Tensor) -> bool:
    """Whether two tensors have one shape, one dtype and the same values."""
    if one.shape != other.shape or one.dtype != other.dtype:
        return False
    if is_quantised(one):
        return torch.equal(one, other)
    exact = one.device.type == "cpu"
    rtol, atol = (0.0, 0.0) if exact else (1e-3, 1e-5)
    return torch.allclose(one, other, rtol=rtol, atol=atol, equal_nan=one.is_floating_point() or one.is_complex())


def same_bits(one: torch.Tensor, other: torch.Tensor) -> bool:
    """Whether two tensors have one shape, one dtype and the same bits: NaN is NaN, and -0 is not 0."""
    alike = one.shape == other.shape and one.dtype == other.dtype and one.device == other.device
    # The bytes of what is empty can't be looked at, whatever its strides.
    return alike and (not one.numel() or torch.equal(_bits(one), _bits(other)))


def _bits(tensor: torch.Tensor) -> torch.Tensor:
    plain = tensor.detach()
    plain = plain.int_repr() if is_quantised(plain) else plain.resolve_conj().resolve_neg()
    return plain.contiguous().reshape(-1).view(torch.uint8)


def close(one: torch.Tensor, other: torch.Tensor) -> bool:
    """Whether two tensors differ as little as another order of their sums can make them.

    On a CPU they may not differ at all. Elsewhere by a share of the largest finite value: 1 in 1,000, and of
    types of two bytes or fewer 1 in 50.
    """
    if one.shape != other.shape or one.dtype != other.dtype:
        return False
    if one.device.type == "cpu" or not (one.is_floating_point() or one.is_complex()):
        return same(one, other)
    share = 1e-3 if one.element_size() > 2 else 2e-2
    ours, theirs = as_real(one).double(), as_real(other).double()
    largest = float(theirs.nan_to_num(0, 0, 0).abs().max()) if theirs.numel() else 0.0
    return torch.allclose(ours, theirs, rtol=share, atol=share * largest, equal_nan=True)


def largest_difference(one: torch.Tensor, other: torch.Tensor) -> str:
    """How far two tensors are apart, in words: `largest difference 0.25`, `NaN or infinite values elsewhere`."""
    if one.shape != other.shape:
        return f"shape {tuple(one.shape)} instead of {tuple(other.shape)}"
    if one.dtype != other.dtype:
        return f"{one.dtype} instead of {other.dtype}".replace("torch.", "")
    ours, theirs = as_real(one.detach()).double().cpu(), as_real(other.detach()).double().cpu()
    both = ours.isfinite() & theirs.isfinite()
    apart = float((ours - theirs)[both].abs().max()) if bool(both.any()) else 0.0
    odd = not torch.equal(ours[~both].nan_to_num(0.5, 1, -1), theirs[~both].nan_to_num(0.5, 1, -1))
    told = f"largest difference {apart:.6g}"
    return f"{told}, and NaN or infinite values in other places" if odd else told
