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

MIN_EXAMPLES = 4
"""HSIC_1 divides by n (n - 3)."""

RELATIVE_THRESHOLD = 1e-12
"""A set of features whose centred squared norm is below this share of its squared norm is the same throughout."""

_COLUMNS = 1 << 14
"""Features at a time: 16 examples of so many are 2 MB in float64, which stay in the cache."""


@dataclass(frozen=True)
class Gram:
    """A linear kernel between n examples. `constant` is whether the features are the same for every example."""

    matrix: torch.Tensor
    constant: bool


def gram(features: torch.Tensor) -> Gram:
    """Return the Gram matrix (n, n), float64, of `features` (n, p), any dtype, each centred over the examples.

    Features are converted a part at a time, so no float64 copy of a large map is made.
    """
    count = features.shape[0]
    matrix = torch.zeros(count, count, dtype=torch.float64, device=features.device)
    square = torch.zeros((), dtype=torch.float64, device=features.device)
    for part in torch.split(as_real(features), _COLUMNS, dim=1):
        values = part.to(torch.float64)
        square += torch.linalg.vector_norm(values).square()
        values = values - values.mean(dim=0)  # not in place: a part of float64 features is a view of them
        matrix.addmm_(values, values.T)
    return Gram(matrix, bool(matrix.trace() <= RELATIVE_THRESHOLD * square))


def centred(grams: torch.Tensor, *, debiased: bool) -> torch.Tensor:
    """Centre Gram matrices (..., n, n) so that HSIC is an inner product of two of them.

    `debiased`: U-centring (zero diagonal, rows that sum to zero), scaled so that the inner product is HSIC_1; needs
    n of 4 or more. Otherwise double centring, scaled so that it is the biased HSIC.
    """
    count = grams.shape[-1]
    if not debiased:
        rows = grams.mean(dim=-1, keepdim=True)
        total = rows.mean(dim=-2, keepdim=True)
        return (grams - rows - rows.transpose(-1, -2) + total) / (count - 1)
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
