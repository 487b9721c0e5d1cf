"""Centered kernel alignment with a linear kernel, summed over batches before it is divided.

- S. Kornblith, M. Norouzi, H. Lee, G. Hinton: Similarity of Neural Network Representations Revisited, ICML 2019
  (CKA; the biased estimator).
- L. Song, A. Smola, A. Gretton, J. Bedo, K. Borgwardt: Feature Selection via Dependence Maximization, JMLR 13, 2012
  (HSIC_1, the unbiased estimator of HSIC).
- T. Nguyen, M. Raghu, S. Kornblith: Do Wide and Deep Networks Learn the Same Things?, ICLR 2021 (minibatch CKA:
  HSIC_1 summed over batches in the numerator and in both norms).

Everything from the Gram matrix on is float64.
"""

import math
from dataclasses import dataclass

import torch

from reportgen.numerics.real import as_real
from reportgen.numerics.threads import one_thread

MIN_EXAMPLES = 4
"""HSIC_1 divides by n (n - 3)."""

RELATIVE_THRESHOLD = 1e-12
"""A set of features whose centred squared norm is below this share of its squared norm is the same throughout."""

_CHUNK = 1 << 17
"""Values at a time: a megabyte in float64, which stays in the cache."""


@dataclass(frozen=True)
class Gram:
    """A linear kernel between n examples. `constant` is whether the features are the same for every example."""

    matrix: torch.Tensor
    constant: bool


@one_thread()
def gram(features: torch.Tensor) -> Gram:
    """Return the Gram matrix (n, n), float64, of `features` (n, p), any dtype, each centred over the examples.

    Features are converted a part at a time, so no float64 copy of a large map is made. The first example is taken
    from all of them, which keeps the digits of features far from zero as their mean would; the mean of what is left
    is taken from the small matrix. A part is (p, n), since of long rows products take four times as long.
    """
    count = features.shape[0]
    matrix = torch.zeros(count, count, dtype=torch.float64, device=features.device)
    square = torch.zeros((), dtype=torch.float64, device=features.device)
    columns = max(1, min(_CHUNK // count, features.shape[1]))
    buffer = matrix.new_empty(columns, count)
    for part in torch.split(as_real(features), columns, dim=1):
        values = buffer[: part.shape[1]].copy_(part.T)
        first = values[:, :1].clone()
        values -= first
        matrix.addmm_(values.T, values)
        square += torch.linalg.vector_norm(first).square()
    matrix = _doubly_centred(matrix)
    trace = matrix.trace()
    # The examples' own squares come to this, if they hardly differ; if they do, it is no matter.
    return Gram(matrix, bool(trace <= RELATIVE_THRESHOLD * (trace + count * square)))


def _doubly_centred(grams: torch.Tensor) -> torch.Tensor:
    rows = grams.mean(dim=-1, keepdim=True)
    return grams - rows - rows.transpose(-1, -2) + rows.mean(dim=-2, keepdim=True)


def centred(grams: torch.Tensor, *, debiased: bool) -> torch.Tensor:
    """Centre Gram matrices (..., n, n) so that HSIC is an inner product of two of them.

    `debiased`: U-centring (zero diagonal, rows that sum to zero), scaled so that the inner product is HSIC_1; needs
    n of 4 or more. Otherwise double centring, scaled so that it is the biased HSIC.
    """
    count = grams.shape[-1]
    if not debiased:
        return _doubly_centred(grams) / (count - 1)
    grams = grams - torch.diag_embed(grams.diagonal(dim1=-2, dim2=-1))
    rows = grams.sum(dim=-1, keepdim=True) / (count - 2)
    total = grams.sum(dim=(-2, -1), keepdim=True) / ((count - 1) * (count - 2))
    grams = grams - rows - rows.transpose(-1, -2) + total
    grams = grams - torch.diag_embed(grams.diagonal(dim1=-2, dim2=-1))
    return grams / math.sqrt(count * (count - 3))


def hsic(grams: torch.Tensor, *, debiased: bool) -> torch.Tensor:
    """Return HSIC of all pairs of the Gram matrices (L, n, n) as (L, L): one matrix product."""
    flat = centred(grams, debiased=debiased).flatten(1)
    return flat @ flat.T


def alignment(cross: torch.Tensor) -> torch.Tensor:
    """Return CKA (L, L) from the HSIC of all pairs, summed over batches; NaN where a norm is not positive.

    Debiased values may be negative or above 1 and are not clamped.
    """
    norms = cross.diagonal()
    scale: torch.Tensor = torch.where(norms > 0, norms, torch.nan).sqrt()
    found: torch.Tensor = cross / scale[:, None] / scale[None, :]
    return found


def cka(first: torch.Tensor, second: torch.Tensor, *, debiased: bool = True) -> float:
    """Return CKA between two sets of features (n, p) and (n, q) of the same n examples."""
    grams = torch.stack([gram(first).matrix, gram(second).matrix])
    return float(alignment(hsic(grams, debiased=debiased))[0, 1])
