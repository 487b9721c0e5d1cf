"""How alike the channels of one layer are: CKA between all pairs, and squared correlation over positions."""

import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional

from reportgen.numerics.real import as_real
from reportgen.numerics.similarity import RELATIVE_THRESHOLD

FLOAT64_CHANNELS = 512
"""Up to so many channels their products are float64, above it float32: of a layer there are C x C of them."""


@dataclass(frozen=True)
class ChannelSimilarity:
    """`values` (C, C) with zeros in the rows and columns of undefined channels, and why these are: bool, (C,) each.

    `constant` channels are the same for every example, `infinite` ones hold values that are not finite, and
    `degenerate` ones vary but have a centred kernel of zero. Where `values` are float32, `vectors` (C, d) may be
    float64 vectors whose inner products they are.
    """

    values: torch.Tensor
    constant: torch.Tensor
    infinite: torch.Tensor
    degenerate: torch.Tensor
    vectors: torch.Tensor | None = None

    @property
    def defined(self) -> torch.Tensor:
        """Which channels can be compared: bool, (C,)."""
        return ~(self.constant | self.infinite | self.degenerate)

    def with_nan(self) -> torch.Tensor:
        """Return a copy of `values`, NaN in the rows and columns of undefined channels."""
        return self._blanked(torch.nan)

    def _blanked(self, value: float) -> torch.Tensor:
        undefined = ~self.defined
        return self.values.masked_fill(undefined[:, None] | undefined[None, :], value)

    def masks(self) -> "dict[str, NDArray[np.bool_]]":
        """Return which channels are `constant`, `infinite` and `degenerate`, copied to the CPU together."""
        rows = torch.stack([self.constant, self.infinite, self.degenerate]).cpu().numpy()
        return dict(zip(("constant", "infinite", "degenerate"), rows, strict=True))

    def block_means(self, block: int) -> torch.Tensor:
        """Return means over blocks of `block` x `block` channels, (ceil(C / block), same), undefined ones left out.

        The last block holds the rest. NaN where a block has no defined channel.
        """
        share = functional.avg_pool1d(self.defined.to(self.values)[None], block, ceil_mode=True)[0]
        share = torch.where(share > 0, share, torch.nan)
        means = functional.avg_pool2d(self.values[None], block, ceil_mode=True)[0]
        return means / share[:, None] / share[None, :]

    def most_alike(self, count: int = 8) -> list[tuple[int, int, float]]:
        """Return the `count` pairs of different channels with the largest values, best first; with `vectors` float64.

        Each lies in a row whose largest value is among the 2 * count largest, so only those rows are sorted.
        """
        values = self.values if bool(self.defined.all()) else self._blanked(-torch.inf)
        diagonal = values.diagonal().clone()
        values.fill_diagonal_(-torch.inf)
        rows = torch.argsort(values.amax(dim=1), descending=True, stable=True)[: 2 * count]
        chosen = values[rows].cpu().numpy()
        values.diagonal().copy_(diagonal)
        # A matrix product need not be symmetric to the last bit: the better of two equal pairs counts.
        pairs: dict[tuple[int, int], float] = {}
        for row, found in zip(rows.tolist(), chosen, strict=True):
            for column, value in _best_of_row(found, count):
                pair = (min(row, column), max(row, column))
                pairs[pair] = max(value, pairs.get(pair, value))
        best_first = sorted(self._exactly(pairs).items(), key=lambda item: (-item[1], item[0]))
        return [(first, second, value) for (first, second), value in best_first[:count]]

    def _exactly(self, pairs: dict[tuple[int, int], float]) -> dict[tuple[int, int], float]:
        if self.vectors is None or not pairs:
            return pairs
        first, second = torch.tensor(list(pairs), device=self.vectors.device).T
        products = (self.vectors[first] * self.vectors[second]).sum(1)
        return dict(zip(pairs, products.tolist(), strict=True))


def _best_of_row(values: NDArray[Any], count: int) -> Iterator[tuple[int, float]]:
    best = np.argpartition(-values, min(count, len(values) - 1))[: count + 1]
    least = np.sort(values[best])[::-1][: count][-1]
    # Of equal values the first ones, as in a stable sort of the whole row.
    places = np.flatnonzero(values >= least)
    for column in places[np.argsort(-values[places], kind="stable")][:count].tolist():
        if np.isfinite(values[column]):
            yield column, float(values[column])


def channel_cka(maps: torch.Tensor, *, debiased: bool) -> ChannelSimilarity:
    """Return the linear CKA between all channels of one image's `maps` (C, H, W), any dtype.

    The H rows of a map are its examples (4 or more), the W columns its features, each centred over the rows. Up to
    and including the centred kernels all is float64; above FLOAT64_CHANNELS channels the inner products of these,
    which are of length 1, are float32, so that their rounding errors are about 1e-7.
    """
    values, infinite = _scaled(maps)
    mean = values.mean(dim=1, keepdim=True)
    values -= mean
    grams = torch.bmm(values, values.transpose(1, 2))
    trace = grams.diagonal(dim1=1, dim2=2).sum(1)
    constant = ~infinite & (trace <= RELATIVE_THRESHOLD * (trace + maps.shape[1] * mean.square().sum((1, 2))))
    kernels = _centred_triangle(grams, debiased=debiased)
    norms = kernels.norm(dim=1)
    degenerate = ~infinite & ~constant & (norms <= RELATIVE_THRESHOLD * trace)
    # CKA is the cosine between centred kernels; dividing by infinity leaves zeros.
    kernels /= torch.where(infinite | constant | degenerate, torch.inf, norms)[:, None]
    if len(kernels) <= FLOAT64_CHANNELS:
        return ChannelSimilarity(kernels @ kernels.T, constant, infinite, degenerate)
    single = kernels.float()
    return ChannelSimilarity(single @ single.T, constant, infinite, degenerate, kernels)


def _scaled(maps: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """A float64 copy with the largest magnitude of each channel 1, and which channels are not finite (zero there).

    CKA does not depend on a channel's size, but the fourth powers on the way to it would overflow.
    """
    real = as_real(maps)
    flat = real.flatten(1)
    peak = torch.maximum(flat.amin(dim=1).double().abs(), flat.amax(dim=1).double().abs())
    infinite = ~torch.isfinite(peak)
    values = real.to(torch.float64, copy=True).masked_fill_(infinite[:, None, None], 0)
    values /= torch.where(infinite | (peak == 0), 1.0, peak)[:, None, None]
    return values, infinite


def _centred_triangle(grams: torch.Tensor, *, debiased: bool) -> torch.Tensor:
    """Centred kernels as vectors (C, d) with the same inner products, from Gram matrices (C, n, n), overwritten.

    A kernel is symmetric, so its upper triangle holds all of it. The features are centred, so the rows of a Gram
    matrix sum to zero: it is doubly centred as it is, and without the diagonal, which U-centring leaves out, its
    rows sum to minus the diagonal.
    """
    count = grams.shape[-1]
    if debiased:
        share = grams.diagonal(dim1=1, dim2=2) / (count - 2)
        share = share - share.sum(1, keepdim=True) / (2 * (count - 1))
        grams += share[:, :, None]
        grams += share[:, None, :]
    rows, columns = torch.triu_indices(count, count, int(debiased), device=grams.device)
    packed = torch.index_select(grams.flatten(1), 1, rows * count + columns)
    # An entry beside the diagonal counts twice. Without the diagonal that is one factor for all.
    return packed.mul_(math.sqrt(2) if debiased else torch.where(rows == columns, 1.0, 2.0).to(packed).sqrt())


@dataclass
class Correlation:
    """Second moments of a layer's channels about their means over all positions of all images, in one pass.

    Images are merged one by one: T. Chan, G. Golub, R. LeVeque: Algorithms for Computing the Sample Variance, The
    American Statistician 37, 1983.
    """

    images: int = 0
    positions: int = 0
    mean: torch.Tensor = field(default_factory=lambda: torch.zeros(0, dtype=torch.float64))
    moments: torch.Tensor = field(default_factory=lambda: torch.zeros(0, 0, dtype=torch.float64))

    def add(self, maps: torch.Tensor) -> None:
        """Take in the maps (C, H, W), any dtype, of one image."""
        values = as_real(maps).flatten(1).to(torch.float64, copy=True)
        mean = values.mean(dim=1)
        values -= mean[:, None]
        moments = values @ values.T
        if not self.images:
            exact = len(mean) <= FLOAT64_CHANNELS
            self.mean = torch.zeros_like(mean)
            self.moments = torch.zeros_like(moments, dtype=torch.float64 if exact else torch.float32)
        count = values.shape[1]
        total = self.positions + count
        change = mean - self.mean
        self.moments += moments.addr_(change, change, alpha=self.positions * count / total)
        self.mean += change * (count / total)
        self.positions, self.images = total, self.images + 1

    def similarity(self) -> ChannelSimilarity:
        """Return the squared Pearson correlation of all pairs, in the dtype of the moments."""
        spread = self.moments.diagonal().double()
        square = spread + self.positions * self.mean.square()
        infinite = ~torch.isfinite(square)
        constant = ~infinite & (spread <= RELATIVE_THRESHOLD * square)
        norms = torch.where(infinite | constant, torch.nan, spread).sqrt().to(self.moments)
        squared = (self.moments / norms[:, None] / norms[None, :]).square_()
        return ChannelSimilarity(squared.nan_to_num_(0), constant, infinite, torch.zeros_like(constant))
