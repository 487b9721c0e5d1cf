"""How alike the channels of one layer are: CKA between all pairs, and squared correlation over positions."""

import math
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional

from reportgen.numerics.real import as_real
from reportgen.numerics.similarity import RELATIVE_THRESHOLD

# So many values at a time are float64: on the CPU they stay in its cache, on other devices each step costs a call.
_CHUNK, _DEVICE_CHUNK = 1 << 18, 1 << 23
EXACT_CHANNELS = 128
"""Up to so many channels CKA is float64 throughout."""
FLOAT64_CHANNELS = 512
"""Up to so many channels second moments are summed in float64, above in float32: a layer's take C x C values."""


@dataclass(frozen=True)
class ChannelSimilarity:
    """`values` (C, C) with zeros in the rows and columns of undefined channels, and why these are: bool, (C,) each.

    `constant` channels are the same for every example, `infinite` ones hold values that are not finite, and
    `degenerate` ones vary but have a centred kernel of zero. `vectors` (C, d), if any, are float64 and the values
    their inner products, which may be float32.
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
        if self.vectors is None:
            share = functional.avg_pool1d(self.defined.to(self.values)[None], block, ceil_mode=True)[0]
            means = functional.avg_pool2d(self.values[None], block, ceil_mode=True)[0]
        else:
            # The mean of inner products is the inner product of means.
            places = torch.arange(len(self.vectors), device=self.vectors.device) // block
            blocks = int(places[-1]) + 1
            share = self.vectors.new_zeros(blocks).index_add_(0, places, self.defined.to(self.vectors))
            sums = self.vectors.new_zeros(blocks, self.vectors.shape[1]).index_add_(0, places, self.vectors)
            means = sums @ sums.T
        share = torch.where(share > 0, share, torch.nan)
        return means / share[:, None] / share[None, :]

    def most_alike(self, count: int = 8) -> list[tuple[int, int, float]]:
        """Return the `count` pairs of different channels with the largest values, best first; of `vectors`, if any.

        Each lies in a row whose largest value is among the 2 * count largest, so only those rows are looked into.
        """
        values = self.values if bool(self.defined.all()) else self._blanked(-torch.inf)
        diagonal = values.diagonal().clone()
        values.fill_diagonal_(-torch.inf)
        rows = torch.argsort(values.amax(dim=1), descending=True, stable=True)[: 2 * count]
        pairs = _best_pairs(rows.cpu().numpy(), values[rows].cpu().numpy(), 2 * count)
        values.diagonal().copy_(diagonal)
        best_first = sorted(self._exactly(pairs).items(), key=lambda item: (-item[1], item[0]))
        return [(first, second, value) for (first, second), value in best_first[:count]]

    def _exactly(self, pairs: dict[tuple[int, int], float]) -> dict[tuple[int, int], float]:
        if self.vectors is None or not pairs:
            return pairs
        first, second = torch.from_numpy(np.array(list(pairs)).T).to(self.vectors.device)
        products = (self.vectors[first] * self.vectors[second]).sum(1)
        return dict(zip(pairs, products.tolist(), strict=True))


def _best_pairs(rows: NDArray[np.int64], values: NDArray[Any], count: int) -> dict[tuple[int, int], float]:
    """The `count` best pairs in some `rows` of a matrix (R, C); where it isn't symmetric, the better counts."""
    flat = values.ravel()
    # A pair may be there twice. Of equal values all are looked at, so that the first ones are found.
    most = min(2 * count, flat.size)
    places = np.flatnonzero((flat >= np.partition(flat, -most)[-most]) & np.isfinite(flat))
    row, column = rows[places // values.shape[1]], places % values.shape[1]
    first, second = np.minimum(row, column), np.maximum(row, column)
    pairs: dict[tuple[int, int], float] = {}
    for place in np.lexsort((second, first, -flat[places])).tolist():
        if len(pairs) == count:
            break
        pairs.setdefault((int(first[place]), int(second[place])), float(flat[places[place]]))
    return pairs


def channel_cka(maps: torch.Tensor, *, debiased: bool) -> ChannelSimilarity:
    """Return the linear CKA between all channels of one image's `maps` (C, H, W), any dtype.

    The H rows of a map are its examples (4 or more), the W columns its features, each centred over the rows. Up to
    and including the centred kernels all is float64; above EXACT_CHANNELS channels the inner products of these,
    which are of length 1, are float32, so that their rounding errors are about 1e-7.
    """
    chunk = _CHUNK if maps.device.type == "cpu" else _DEVICE_CHUNK
    size = maps.shape[1] * max(maps.shape[1:])
    parts = [_unit_kernels(part, debiased=debiased) for part in torch.split(maps, max(1, chunk // size))]
    kernels, constant, infinite, degenerate = (torch.cat(facts) for facts in zip(*parts, strict=True))
    factors = kernels if len(kernels) <= EXACT_CHANNELS else kernels.float()
    return ChannelSimilarity(factors @ factors.T, constant, infinite, degenerate, kernels)


def _unit_kernels(maps: torch.Tensor, *, debiased: bool) -> tuple[torch.Tensor, ...]:
    """The centred kernels of some channels as vectors (C, d) of length 1, those of undefined ones zero; and which
    channels are constant, infinite and degenerate.
    """
    values, mean, infinite = _centred(maps)
    grams = torch.bmm(values, values.transpose(1, 2))
    trace = grams.diagonal(dim1=1, dim2=2).sum(1)
    constant = ~infinite & (trace <= RELATIVE_THRESHOLD * (trace + maps.shape[1] * mean.square().sum((1, 2))))
    kernels = _centred_triangle(grams, debiased=debiased)
    norms = kernels.norm(dim=1)
    degenerate = ~infinite & ~constant & (norms <= RELATIVE_THRESHOLD * trace)
    # CKA is the cosine between centred kernels; dividing by infinity leaves zeros.
    kernels /= torch.where(infinite | constant | degenerate, torch.inf, norms)[:, None]
    return kernels, constant, infinite, degenerate


def _centred(maps: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Float64 copies of the maps less their mean over the rows, that mean, and which channels are not finite.

    Those are zero. CKA does not depend on a channel's size, but of float64 values the fourth powers on the way to
    it would overflow: their largest magnitude is made 1.
    """
    real = as_real(maps)
    values = real.to(torch.float64, copy=True)
    if real.dtype == torch.float64:
        peak = values.abs().amax(dim=(1, 2))
        values /= torch.where(torch.isfinite(peak) & (peak > 0), peak, 1.0)[:, None, None]
    mean = values.mean(dim=1, keepdim=True)
    infinite = ~torch.isfinite(mean.sum(dim=(1, 2)))
    if bool(infinite.any()):
        values[infinite] = 0
        mean[infinite] = 0
    return values.sub_(mean), mean, infinite


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
