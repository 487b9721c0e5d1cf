"""Running statistics of a layer's channels over images and positions.

Images are taken in one at a time, so how they are batched changes nothing; accumulators of different images merge.
What is kept is one number or a few for each channel, and one matrix of channels by channels.

References:
- T. Chan, G. Golub, R. LeVeque: Updating Formulae and a Pairwise Algorithm for Computing Sample Variances, COMPSTAT
  1982 (means and sums of squared deviations of two parts give those of the whole).
- O. Roy, M. Vetterli: The Effective Rank, EUSIPCO 2007 (exp of the entropy of the normalised eigenvalues).

Means, deviations and the correlation with the input are float64. Products between channels are float32, taken of
values less the channel's mean on the first image: their rounding error is about 1e-7 of a correlation.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional

from reportgen.numerics.binning import Histogram, Integers, count_into, empty_histogram
from reportgen.numerics.real import as_floating
from reportgen.numerics.scaling import finite_ranges
from reportgen.numerics.similarity import RELATIVE_THRESHOLD

MATRIX_CHANNELS = 2048
"""Wider layers keep no products between channels, which take 4 bytes a pair: 17 MB at this width."""
RANK_CHANNELS = 1024
"""Wider layers have no effective rank, since eigenvalues take time as C cubed: a second at twice this width."""
MIN_VALUES = 16
"""Correlations of fewer values a channel are undefined: of 4 unrelated values, 1 % correlate by more than 0.99."""
DUPLICATE, COPY, SATURATED, NEAR_BOUND = 0.99, 0.95, 0.95, 1e-3

# So many values at a time are float64: on the CPU, few enough that every pass over them stays in its cache; on
# other devices, where each step costs a call, as many as take 64 MB.
_CHUNK, _DEVICE_CHUNK = 1 << 17, 1 << 23
_ROWS = 128
"""Rows of products that are compared at a time."""

Floats = NDArray[np.float64]
Flags = NDArray[np.bool_]


@dataclass(frozen=True)
class Bounds:
    """The bounds of an activation. `rests_low`: `low` is a rectifier's natural zero, where no channel saturates."""

    low: float
    high: float
    rests_low: bool = False

    def near(self, values: torch.Tensor) -> torch.Tensor:
        """Which values lie within 1e-3 of the bounds' distance from a bound at which a channel saturates."""
        margin = NEAR_BOUND * (self.high - self.low)
        top = values >= self.high - margin
        return top if self.rests_low else top | (values <= self.low + margin)


@dataclass(frozen=True)
class Moments:
    """Counts, means and scatters (sums of squared deviations from the mean), element by element."""

    count: Floats
    mean: Floats
    scatter: Floats

    def merged(self, other: "Moments") -> "Moments":
        """Return the moments of both parts together (Chan et al.)."""
        count = self.count + other.count
        share = np.divide(other.count, count, out=np.zeros_like(count), where=count > 0)
        step = other.mean - self.mean
        mean = self.mean + step * share
        return Moments(count, mean, self.scatter + other.scatter + step * step * self.count * share)


def no_moments(*shape: int) -> Moments:
    """Return the moments of no values."""
    return Moments(np.zeros(shape), np.zeros(shape), np.zeros(shape))


@dataclass(frozen=True)
class Reference:
    """One image's gray input on a map's grid: float64 `deviations` (P,) from its mean, and its moments."""

    deviations: torch.Tensor
    moments: Moments


def references(gray: torch.Tensor, height: int, width: int) -> list[Reference]:
    """Return the gray input (N, 1, H, W) of each image on a grid of `height` x `width` positions.

    Finer input is averaged over the grid's cells, coarser input interpolated bilinearly (align_corners False).
    """
    taller, wider = max(height, gray.shape[2]), max(width, gray.shape[3])
    if (taller, wider) != tuple(gray.shape[2:]):
        gray = functional.interpolate(gray, size=(taller, wider), mode="bilinear", align_corners=False)
    return [_reference(one.flatten()) for one in functional.adaptive_avg_pool2d(gray, (height, width))]


def _reference(values: torch.Tensor) -> Reference:
    values = values.double()
    mean = values.mean()
    deviations = values - mean
    parts = (float(values.numel()), *torch.stack([mean, deviations.square().sum()]).tolist())
    return Reference(deviations, Moments(*(np.array(part) for part in parts)))


@dataclass(frozen=True)
class Sums:
    """What adds up, per channel (C,): of finite values the moments and ends (NaN: none), and counts of the rest.

    `values` is how many values a channel has, finite or not; `near` how many lie near an activation's bounds;
    `cross` the sum of products of deviations with the gray input, whose own moments are `gray`.
    """

    values: int
    finite: Moments
    low: Floats
    high: Floats
    zeros: Integers
    nans: Integers
    infinities: Integers
    near: Integers
    gray: Moments
    cross: Floats

    def merged(self, other: "Sums") -> "Sums":
        """Return the sums of both parts."""
        gray = self.gray.merged(other.gray)
        step = (other.finite.mean - self.finite.mean) * (other.gray.mean - self.gray.mean)
        both = self.gray.count * other.gray.count / max(1.0, float(gray.count))
        return Sums(
            values=self.values + other.values,
            finite=self.finite.merged(other.finite),
            low=np.fmin(self.low, other.low),
            high=np.fmax(self.high, other.high),
            zeros=self.zeros + other.zeros,
            nans=self.nans + other.nans,
            infinities=self.infinities + other.infinities,
            near=self.near + other.near,
            gray=gray,
            cross=self.cross + other.cross + step * both,
        )

    @property
    def unfinite(self) -> Integers:
        """How many values of each channel are NaN or infinite."""
        return self.nans + self.infinities


def no_sums(channels: int) -> Sums:
    """Return the sums of no values."""
    none, nothing = np.full(channels, np.nan), np.zeros(channels, np.int64)
    moments, gray = no_moments(channels), no_moments()
    return Sums(0, moments, none, none, nothing, nothing, nothing, nothing, gray, np.zeros(channels))


class _Products:
    """Products between channels, summed over values: float32, of values less `shift`.

    Only the blocks on and above the diagonal are kept up to date.
    """

    def __init__(self, shift: torch.Tensor) -> None:
        self.shift = shift
        self.matrix = torch.zeros(len(shift), len(shift), dtype=torch.float32, device=shift.device)

    def add(self, values: torch.Tensor) -> None:
        """Add values (C, P). One that is not finite spoils the products of its own channel, and no other."""
        if values.dtype == torch.float64:
            rows = (values - self.shift.double()[:, None]).float()
        else:
            rows = values.float() - self.shift[:, None]
        step = max(64, -(-len(rows) // 4))
        for start in range(0, len(rows), step):
            self.matrix[start : start + step, start:].addmm_(rows[start : start + step], rows[start:].T)

    def merge(self, other: "_Products", mean: Floats, count: int) -> None:
        """Add the products of `other`, taken of `count` values whose mean is `mean`."""
        away = mean - self.shift.cpu().numpy()
        self.matrix += torch.from_numpy(other.about(mean, count) + count * np.outer(away, away)).to(self.matrix)

    def about(self, mean: Floats, count: int) -> Floats:
        """Return the products (C, C), float64, of deviations from `mean`, the mean of the `count` values so far."""
        upper = np.triu(self.matrix.cpu().numpy().astype(np.float64))
        whole = upper + np.triu(upper, 1).T
        away = mean - self.shift.cpu().numpy()
        found: Floats = whole - count * np.outer(away, away)
        return found

    def upper_about(self, mean: Floats, count: int) -> torch.Tensor:
        """Return the same in float32, on its device; only the triangle on and above the diagonal is meant."""
        away = torch.from_numpy(mean).to(self.shift.device) - self.shift
        away = away.float()
        return torch.addr(self.matrix, away, away, alpha=-count)


class ChannelStatistics:
    """Takes in the maps of one layer, image after image, and keeps what `summarise` needs.

    `channels` is C; `bounds` are those of a bounded activation. Values may be of any dtype.
    """

    def __init__(self, channels: int, bounds: Bounds | None = None) -> None:
        self.channels = channels
        self.bounds = bounds
        self.images = 0
        self.sums = no_sums(channels)
        self.histogram = Histogram()
        self._products: _Products | None = None

    def update(self, maps: torch.Tensor, gray: Sequence[Reference] = ()) -> None:
        """Take in maps (N, C, H, W); `gray` is the input of each image on their grid, () where there is none."""
        for number, one in enumerate(maps):
            self._add(as_floating(one.reshape(self.channels, -1)), gray[number] if gray else None)
            self.images += 1

    def _add(self, values: torch.Tensor, gray: Reference | None) -> None:
        sums, histogram = _measure(values, gray, self.bounds)
        self._merge_sums(sums, histogram)
        if self.channels > MATRIX_CHANNELS:
            return
        if self._products is None:
            self._products = _Products(torch.from_numpy(sums.finite.mean).to(values.device).float())
        self._products.add(values)

    def merge(self, other: "ChannelStatistics") -> None:
        """Take in what `other` has taken in: further images of the same layer."""
        if other._products is not None:
            if self._products is None:
                self._products = _Products(other._products.shift)
            self._products.merge(other._products, other.sums.finite.mean, other.sums.values)
        self._merge_sums(other.sums, other.histogram)
        self.images += other.images

    def _merge_sums(self, sums: Sums, histogram: Histogram) -> None:
        # Squares of float64 values can overflow, and a value without gray input is NaN: both end as undefined.
        with np.errstate(over="ignore", invalid="ignore"):
            self.sums = self.sums.merged(sums)
        self.histogram = self.histogram.merged(histogram)

    def products(self) -> Floats | None:
        """Return the products (C, C) of deviations from the means, or None for a layer too wide to keep them.

        They mean nothing for channels with values that are not finite.
        """
        if self._products is None:
            return None
        return self._products.about(self.sums.finite.mean, self.sums.values)

    def upper_products(self) -> torch.Tensor | None:
        """Return `products` in float32, as they are kept: only the triangle on and above the diagonal is meant."""
        if self._products is None:
            return None
        return self._products.upper_about(self.sums.finite.mean, self.sums.values)


def _measure(values: torch.Tensor, gray: Reference | None, bounds: Bounds | None) -> tuple[Sums, Histogram]:
    """Return the sums and the histogram of one image's values (C, P)."""
    low, high, finite = _ends(values)
    known = ~np.isnan(low)
    bins = empty_histogram(float(low[known].min()), float(high[known].max())) if known.any() else Histogram()
    deviations = gray.deviations.to(values.device) if gray else None
    take = _measure_finite if finite else _measure_holed
    chunk = _CHUNK if values.device.type == "cpu" else _DEVICE_CHUNK
    rows = max(1, chunk // values.shape[1])
    parts = [take(part, deviations, bounds, bins) for part in torch.split(values, rows)]
    count, mean, scatter, cross, *counts = torch.cat(parts, dim=1).cpu().numpy()
    zeros, nans, infinities, near = (number.astype(np.int64) for number in counts)
    moments = gray.moments if gray else Moments(*(np.array(fact) for fact in (values.shape[1], math.nan, math.nan)))
    finite_moments = Moments(count, mean, scatter)
    return Sums(values.shape[1], finite_moments, low, high, zeros, nans, infinities, near, moments, cross), bins


def _ends(values: torch.Tensor) -> tuple[Floats, Floats, bool]:
    """The smallest and largest finite value of each row (NaN: none), and whether all values are finite."""
    ranges = finite_ranges(values)
    return ranges.low.numpy(), ranges.high.numpy(), ranges.finite


def _measure_finite(
    part: torch.Tensor, gray: torch.Tensor | None, bounds: Bounds | None, bins: Histogram
) -> torch.Tensor:
    """Count some channels (c, P) into `bins`; return (8, c): count, mean, scatter, products with the gray input,
    zeros, NaN, infinities, values near a bound.
    """
    exact = part.to(torch.float64, copy=True)
    scratch = torch.empty_like(exact)
    zeros = torch.eq(exact, 0, out=scratch).sum(1)
    near = _count_near(exact, bounds)
    count_into(bins, exact, scratch)
    mean = exact.mean(1)
    exact.sub_(mean[:, None])
    none = torch.zeros_like(mean)
    facts = [none + part.shape[1], mean, *_scatters(exact, gray), zeros, none, none, near]
    return torch.stack(facts)


def _measure_holed(
    part: torch.Tensor, gray: torch.Tensor | None, bounds: Bounds | None, bins: Histogram
) -> torch.Tensor:
    """As `_measure_finite`, for values of which some are not finite."""
    exact = part.to(torch.float64, copy=True)
    finite, nans = torch.isfinite(exact), torch.isnan(exact).sum(1).double()
    near = _count_near(exact, bounds)
    zeros = (exact == 0).sum(1).double()
    if bool(finite.any()):
        count_into(bins, exact[finite])
    count = finite.sum(1).double()
    exact.masked_fill_(~finite, 0.0)
    mean = exact.sum(1) / count.clamp(min=1)
    exact.sub_(mean[:, None]).mul_(finite)
    infinities = part.shape[1] - count - nans
    return torch.stack([count, mean, *_scatters(exact, gray), zeros, nans, infinities, near])


def _scatters(deviations: torch.Tensor, gray: torch.Tensor | None) -> tuple[torch.Tensor, torch.Tensor]:
    """The sum of squares of each row, and its product with the gray input's deviations (NaN: there is none)."""
    scatter = torch.linalg.vector_norm(deviations, dim=1).square()
    return scatter, torch.full_like(scatter, math.nan) if gray is None else deviations @ gray


def _count_near(values: torch.Tensor, bounds: Bounds | None) -> torch.Tensor:
    return bounds.near(values).sum(1).double() if bounds else values.new_zeros(len(values))


@dataclass(frozen=True)
class Summary:
    """What the statistics of a layer say, per channel (C,) and in total.

    NaN, or None for a whole column, is undefined; `causes` says why, by the column's name. `values` is how many a
    channel has; `low`, `high`, `mean` and `std` (of the values taken as a population) are over the finite ones.
    `duplicate_of` is the first earlier channel that correlates, -1 for none; `saturated` is None without a cause
    where the layer is no bounded activation.
    """

    images: int
    values: int
    low: Floats
    high: Floats
    mean: Floats
    std: Floats
    share_of_zeros: Floats
    nan_count: Integers
    inf_count: Integers
    input_correlation: Floats
    dead: Flags | None
    constant: Flags | None
    saturated: Flags | None
    duplicate_of: Integers | None
    effective_rank: float
    total: "Total"
    causes: Mapping[str, str]

    @property
    def channels(self) -> int:
        return len(self.low)

    @property
    def copies(self) -> Flags:
        """Which channels are nearly a copy of the input."""
        return np.abs(np.nan_to_num(self.input_correlation)) > COPY

    @property
    def unfinite(self) -> Flags:
        """Which channels hold a value that is not finite."""
        return self.nan_count + self.inf_count > 0


@dataclass(frozen=True)
class Total:
    """The same over all channels of a layer together."""

    low: float
    high: float
    mean: float
    std: float
    zeros: int
    share_of_zeros: float
    nan_count: int
    inf_count: int


def summarise(statistics: ChannelStatistics, different_images: int) -> Summary:
    """Say what `statistics` show. `different_images`: how many of the images are not copies of another one."""
    sums, causes = statistics.sums, dict[str, str]()
    with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
        correlation = _input_correlation(sums, causes)
        dead, constant, saturated = _still(statistics, different_images, causes)
        duplicates, rank = _pairwise(statistics, causes)
        mean, std = _mean_and_std(sums)
        total = _total(sums)
    return Summary(
        images=statistics.images,
        values=sums.values,
        low=sums.low,
        high=sums.high,
        mean=mean,
        std=std,
        share_of_zeros=sums.zeros / max(1, sums.values),
        nan_count=sums.nans,
        inf_count=sums.infinities,
        input_correlation=correlation,
        dead=dead,
        constant=constant,
        saturated=saturated,
        duplicate_of=duplicates,
        effective_rank=rank,
        total=total,
        causes=causes,
    )


def _mean_and_std(sums: Sums) -> tuple[Floats, Floats]:
    """Means and deviations per channel; those of one repeated value are exact. One value has no deviation."""
    same = sums.low == sums.high
    mean = np.where(sums.finite.count > 0, sums.finite.mean, np.nan)
    std = np.sqrt(sums.finite.scatter / sums.finite.count)
    return np.where(same, sums.low, mean), np.where(sums.finite.count < 2, np.nan, np.where(same, 0.0, std))


def _total(sums: Sums) -> Total:
    parts, everything = sums.finite, sums.values * len(sums.low)
    count = float(parts.count.sum())
    low, high = (
        float(end(ends, initial=np.nan)) for end, ends in ((np.fmin.reduce, sums.low), (np.fmax.reduce, sums.high))
    )
    mean = float((parts.mean * parts.count).sum() / count) if count else math.nan
    scatter = float((parts.scatter + parts.count * (parts.mean - mean) ** 2).sum())
    return Total(
        low=low,
        high=high,
        mean=low if low == high else mean,
        std=0.0 if low == high else math.sqrt(scatter / count) if count else math.nan,
        zeros=int(sums.zeros.sum()),
        share_of_zeros=float(sums.zeros.sum()) / max(1, everything),
        nan_count=int(sums.nans.sum()),
        inf_count=int(sums.infinities.sum()),
    )


def _varying(sums: Sums) -> Flags:
    """Channels whose values are all finite and differ by more than rounding does."""
    squares = sums.finite.scatter + sums.finite.count * sums.finite.mean**2
    enough = sums.finite.scatter > RELATIVE_THRESHOLD * squares
    varying: Flags = enough & np.isfinite(squares) & (sums.unfinite == 0) & (sums.low < sums.high)
    return varying


def _input_correlation(sums: Sums, causes: dict[str, str]) -> Floats:
    spread = float(sums.gray.scatter)
    if math.isnan(spread):
        causes["input_correlation"] = "the layer has no grid of positions to compare with the input"
    elif sums.values < MIN_VALUES:
        causes["input_correlation"] = f"fewer than {MIN_VALUES} values a channel"
    elif not spread > RELATIVE_THRESHOLD * (spread + float(sums.gray.count * sums.gray.mean**2)):
        causes["input_correlation"] = "the input is the same everywhere"
    usable = _varying(sums) & ("input_correlation" not in causes)
    return np.where(usable, sums.cross / np.sqrt(sums.finite.scatter * spread), np.nan)


def _still(
    statistics: ChannelStatistics, different_images: int, causes: dict[str, str]
) -> tuple[Flags | None, Flags | None, Flags | None]:
    """Which channels are dead, which constant, and which saturated (None: the layer has no bounds)."""
    sums = statistics.sums
    positions = sums.values > statistics.images
    if not positions and min(different_images, sums.values) < 2:
        cause = "each has one value" if statistics.images < 2 else "the images are copies of each other"
        causes.update(dict.fromkeys(("dead", "constant", "saturated"), cause))
        return None, None, None
    whole = sums.unfinite == 0
    dead = sums.zeros == sums.values
    constant = whole & (sums.low == sums.high) & ~dead
    near = None if statistics.bounds is None else (sums.near >= SATURATED * sums.values) & ~dead
    return dead, constant, near


def _pairwise(statistics: ChannelStatistics, causes: dict[str, str]) -> tuple[Integers | None, float]:
    """For each channel the first earlier one that it duplicates, or -1; and the layer's effective rank."""
    products, sums = statistics.upper_products(), statistics.sums
    if products is None or sums.values < MIN_VALUES:
        too_wide = f"more than {MATRIX_CHANNELS:,} channels"
        cause = too_wide if products is None else f"fewer than {MIN_VALUES} values a channel"
        causes.update(dict.fromkeys(("duplicate_of", "effective_rank"), cause))
        return None, math.nan
    squares: Floats = products.diagonal().double().cpu().numpy()
    # float32 may overflow, underflow or lose all digits: then the products disagree with the float64 scatters.
    sound = np.abs(squares - sums.finite.scatter) <= 1e-3 * sums.finite.scatter
    duplicates = _first_duplicates(products, squares, _varying(sums) & sound)
    if sums.unfinite.any():
        causes["effective_rank"] = "some channels hold values that are not finite"
    elif not np.abs(squares - sums.finite.scatter).sum() <= 1e-3 * sums.finite.scatter.sum():
        causes["effective_rank"] = "the values leave the range of float32 products"
    elif not _varying(sums).any():
        causes["effective_rank"] = "no channel varies"
    elif statistics.channels > RANK_CHANNELS:
        causes["effective_rank"] = f"more than {RANK_CHANNELS:,} channels"
    return duplicates, math.nan if "effective_rank" in causes else effective_rank(products)


def _first_duplicates(products: torch.Tensor, squares: Floats, usable: Flags) -> Integers:
    """For each channel the first earlier one that correlates, or -1; `products` (C, C) above the diagonal."""
    scale = torch.from_numpy(1 / np.sqrt(np.where(usable, squares, np.nan))).to(products)
    found: Integers = np.full(len(squares), -1)
    # From the last rows to the first, so that the first channel is what remains; few rows stay in the cache.
    for start in reversed(range(0, len(scale), _ROWS)):
        part = products[start : start + _ROWS, start:] * scale[start : start + _ROWS, None]
        alike = part.mul_(scale[start:]).abs_().gt(DUPLICATE).triu_(1)
        if bool(alike.any()):
            rows, columns = torch.nonzero(alike).cpu().numpy()[::-1].T + start
            found[columns] = rows
    return found


def effective_rank(products: torch.Tensor) -> float:
    """Return exp of the entropy of the normalised eigenvalues of a matrix that is no covariance of constants.

    Only its triangle on and above the diagonal is read. Six digits: the products are sums of float32.
    """
    scaled = (products / products.diagonal().double().sum()).float()
    values = torch.linalg.eigvalsh(scaled, UPLO="U").double().clamp(min=0)
    shares = values[values > 0] / values.sum()
    return float(f"{float((-(shares * shares.log()).sum()).exp()):.6g}")
