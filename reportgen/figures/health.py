"""What stands out: dead, constant, saturated and duplicate channels, copies of the input, values not finite.

Statistics run over all images, those that are drawn and those that are not.
"""

import hashlib
import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from reportgen.drawing.histogram import HEIGHT, WIDTH, draw, lay_out
from reportgen.drawing.shares import share_rows
from reportgen.entities import Activation, Batch, Layer
from reportgen.figures.base import BaseKind, DataFile, Figure, FigureOptions, Product, Subject
from reportgen.figures.findings import WEIGHTS, Finding, Measured, operation_of, rank_findings, sentences_of
from reportgen.figures.statistics_files import channels_csv, channels_data, layers_csv
from reportgen.figures.wording import (
    conversion_sentence,
    count,
    describe_layer,
    describe_number,
    describe_range,
    json_number,
)
from reportgen.numerics.real import as_real
from reportgen.numerics.statistics import DUPLICATE, Bounds, ChannelStatistics, Reference, references, summarise

LISTED = 100
"""The list of what stands out has at most so many entries; it says how many more there are."""

_BOUNDED = {
    "sigmoid": Bounds(0.0, 1.0),
    "hardsigmoid": Bounds(0.0, 1.0),
    "tanh": Bounds(-1.0, 1.0),
    "hardtanh": Bounds(-1.0, 1.0),
    "relu6": Bounds(0.0, 6.0, rests_low=True),
}

_COLUMNS = {
    "dead": "dead",
    "constant": "constant",
    "duplicate_of": "duplicate",
    "input_correlation": "correlation with the input",
    "effective_rank": "effective rank",
}


class Health(BaseKind):
    """One histogram a layer, and for the whole report a ranked list of findings with a chart of their shares."""

    name = "health"
    title = "What stands out"
    order = 55
    beside = True

    def __init__(self, options: FigureOptions, subject: Subject) -> None:
        super().__init__(options, subject)
        self._layers = {layer.name: layer for layer in subject.layers}
        self._statistics: dict[str, ChannelStatistics] = {}
        self._nouns: dict[str, str] = {}
        self._shapes: dict[str, str] = {}
        self._causes: dict[str, str] = {}
        self._conversions: dict[str, str] = {}
        self._images: Counter[bool] = Counter()
        self._digests: set[bytes] = set()
        self._gray: torch.Tensor | None = None
        self._device = torch.device("cpu")
        self._references: dict[tuple[int, int], list[Reference]] = {}

    def wants(self, layer: Layer) -> bool:
        return layer.op != "get_attr"

    def begin_batch(self, batch: Batch) -> Iterable[Product]:
        self._images[batch.drawn] += len(batch.tensor)
        self._digests.update(_digest(image) for image in batch.tensor)
        tensor = batch.tensor.detach()
        self._device = tensor.device
        usable = tensor.dim() == 4 and tensor.is_floating_point() and bool(tensor.numel())
        self._gray = tensor.double().mean(1, keepdim=True) if usable else None
        self._references = {}
        return ()

    def end_batch(self) -> Iterable[Product]:
        self._gray, self._references = None, {}
        return ()

    def observe(self, activation: Activation) -> None:
        layer = self._layers.setdefault(activation.layer.name, activation.layer)
        maps, cause = _maps_of(activation)
        if maps is None:
            self._causes[layer.name] = cause
            return
        statistics = self._statistics.get(layer.name) or self._start(layer, activation, maps.shape[1])
        if statistics.channels != maps.shape[1]:
            self._causes[layer.name] = "its number of channels changes from image to image"
            return
        on_grid = activation.reading.maps is not None and maps.shape[2] * maps.shape[3] > 1
        statistics.update(maps, self._gray_on(maps) if on_grid else ())

    def _start(self, layer: Layer, activation: Activation, channels: int) -> ChannelStatistics:
        self._nouns[layer.name] = "unit" if activation.reading.layout == "NC" else "channel"
        self._shapes[layer.name] = _shape(activation.value)
        self._conversions[layer.name] = conversion_sentence(activation.value)
        self._statistics[layer.name] = ChannelStatistics(channels, bounds_of(layer, self.subject.module_of(layer)))
        return self._statistics[layer.name]

    def _gray_on(self, maps: torch.Tensor) -> Sequence[Reference]:
        """The gray input of each image on the grid of `maps`; () where there is none."""
        if self._gray is None or len(self._gray) != len(maps):
            return ()
        grid = (maps.shape[2], maps.shape[3])
        if grid not in self._references:
            self._references[grid] = references(self._gray, *grid)
        return self._references[grid]

    def compute(self) -> Iterable[Product]:
        names = [name for name in self._layers if name in self._statistics and name not in self._causes]
        measured = dict(zip(names, self._measure_all(names), strict=True))
        yield DataFile("layers.csv", self._layers_csv(measured))
        for one in measured.values():
            yield DataFile(f"channels/{one.layer.slug}.csv", channels_csv(one.summary))
            yield self._histogram(one)
        # The input has its numbers, but what stands out in it is no property of the network.
        computed = {name: one for name, one in measured.items() if one.layer.op != "placeholder"}
        if computed:
            findings = rank_findings(computed, self._layers, self.subject.module_of)
            yield self._overview(list(computed.values()), findings)

    def _measure_all(self, names: Sequence[str]) -> list[Measured]:
        """Layers side by side on the CPU, where the eigenvalues of one, spread over threads, mostly wait."""
        if self._device.type != "cpu":
            return [self._measured(name) for name in names]
        with ThreadPoolExecutor(torch.get_num_threads()) as pool:
            return list(pool.map(self._measured, names))

    def _measured(self, name: str) -> Measured:
        statistics = self._statistics[name]
        summary = summarise(statistics, len(self._digests))
        return Measured(self._layers[name], self._nouns[name], statistics.bounds, statistics.histogram, summary)

    def _histogram(self, one: Measured) -> Figure:
        total, bins = one.summary.total, one.histogram
        bars = lay_out(bins.counts.tolist() or [0], total.zeros, bins.zero_bin)
        ends = (describe_number(_known(bins.low)), describe_number(_known(bins.high)))
        span = "none of them finite" if math.isnan(total.low) else describe_range(total.low, total.high)
        alt = f"Histogram of the values of {one.layer.name}, {span}"
        files = draw(bars, *ends, title=alt)
        return Figure(
            kind=self.name,
            layer=one.layer.name,
            image=None,
            files=files,
            width=WIDTH,
            height=HEIGHT,
            alt=alt,
            caption=f"{_histogram_caption(one, bars.cut)} {self._conversions[one.layer.name]}".rstrip(),
            data=_histogram_data(one),
            downloads=(f"channels/{one.layer.slug}.csv",),
        )

    def _overview(self, measured: Sequence[Measured], findings: Sequence[Finding]) -> Figure:
        rows = {
            title: np.array([_share(one, finding) for one in measured])
            for title, finding in (("Dead", "dead"), ("Constant", "constant"), ("Duplicate", "duplicate"))
        }
        chart = share_rows([one.layer.name for one in measured], rows)
        images, further = self._images[True], self._images[False]
        listed = [
            {"layer": one.layer, "text": one.text, "severity": json_number(one.severity)}
            for one in findings[:LISTED]
        ]
        return Figure(
            kind=self.name,
            layer=None,
            image=None,
            files=chart.files,
            width=chart.width,
            height=chart.height,
            alt=f"Shares of dead, constant and duplicate channels, by layer, of {count(len(measured), 'layer')}",
            caption=_overview_caption(len(measured), len(findings), images, further, rows),
            data={
                "pixels": 2 / 3,
                "findings": listed,
                "more": max(0, len(findings) - LISTED),
                "images": images,
                "of_statistics": further,
                "layers": len(measured),
            },
            downloads=("layers.csv",),
        )

    def _layers_csv(self, measured: Mapping[str, Measured]) -> bytes:
        return layers_csv(
            (name, self._shapes.get(name, ""), measured.get(name), self._cause(layer))
            for name, layer in self._layers.items()
        )

    def _cause(self, layer: Layer) -> str:
        """Why a layer has no statistics, as far as it has none."""
        if not self.wants(layer):
            return "a parameter of the model"
        missing = "" if layer.name in self._statistics else "it was not computed"
        return self._causes.get(layer.name, missing)


def bounds_of(layer: Layer, module: nn.Module | None) -> Bounds | None:
    """Return the bounds of a bounded activation, None for every other layer.

    Of an activation called as a function, its default bounds.
    """
    if isinstance(module, nn.Hardtanh):
        low, high = float(module.min_val), float(module.max_val)
        return Bounds(low, high, rests_low=low == 0)
    if module is not None and not isinstance(module, nn.Sigmoid | nn.Hardsigmoid | nn.Tanh):
        return None
    return _BOUNDED.get(operation_of(layer))


def _maps_of(activation: Activation) -> tuple[torch.Tensor | None, str]:
    """The activation's value as (N, C, H, W), H and W 1 for vectors and W 1 for tokens; or None and the cause."""
    value, reading = activation.value, activation.reading
    if reading.maps is not None:
        return reading.maps.detach(), ""
    if not isinstance(value, torch.Tensor):
        return None, reading.reason or "its value is not a tensor"
    if not value.numel() or value.shape[:1] != (len(activation.images),):
        return None, reading.reason or "it is not one set of values an image"
    if reading.layout == "NC":
        return as_real(value.detach())[:, :, None, None], ""
    if sorted(reading.layout) == sorted("NCL"):
        return as_real(value.detach()).permute([reading.layout.index(letter) for letter in "NCL"])[..., None], ""
    return None, reading.reason or "no operation says which of its axes are channels"


def _shape(value: object) -> str:
    """The shape for one image: `64x56x56`."""
    return "x".join(map(str, value.shape[1:])) if isinstance(value, torch.Tensor) else ""


def _digest(image: torch.Tensor) -> bytes:
    """What tells images apart: two that are the same to the bit give the network nothing new."""
    values = image.detach().cpu().flatten().contiguous()
    return hashlib.blake2b(values.view(torch.uint8).numpy().tobytes(), digest_size=16).digest()


def _histogram_caption(one: Measured, cut: bool) -> str:
    return " ".join([*_value_sentences(one, cut), *sentences_of(one).values(), *_rank_sentences(one)])


def _value_sentences(one: Measured, cut: bool) -> list[str]:
    total, bins = one.summary.total, one.histogram
    what = f"Values of {describe_layer(one.layer)} over {count(one.summary.images, 'image')}"
    if math.isnan(total.low):
        return [f"{what}: none is finite."]
    sentences = [
        f"{what}: {describe_range(total.low, total.high)}, mean {describe_number(_known(total.mean))}, standard "
        f"deviation {describe_number(_known(total.std))}, {_percent(total.share_of_zeros)} exactly zero.",
        f"{count(len(bins.counts), 'bin')}, each {describe_number(bins.width)} wide, from "
        f"{describe_number(_known(bins.low))} to {describe_number(_known(bins.high))}.",
    ]
    if total.share_of_zeros:
        sentences.append(f"The exact zeros are the light bar{', cut off at the top' if cut else ''}.")
    return sentences


def _rank_sentences(one: Measured) -> list[str]:
    summary = one.summary
    sentences = []
    if not math.isnan(summary.effective_rank):
        most = min(summary.channels, summary.values - 1)
        limit = (
            f", which {summary.values:,} values a {one.noun} limit to {most:,}" if most < summary.channels else ""
        )
        rank = describe_number(summary.effective_rank)
        sentences.append(
            f"Effective rank {rank} of {count(summary.channels, one.noun)}{limit} (Roy and Vetterli, 2007)."
        )
    columns: dict[str, list[str]] = defaultdict(list)
    for column, label in _COLUMNS.items():
        if column in summary.causes:
            columns[summary.causes[column]].append(label)
    if columns:
        parts = [f"{', '.join(labels)} ({cause})" for cause, labels in columns.items()]
        sentences.append(f"Undefined: {'; '.join(parts)}.")
    return sentences


def _histogram_data(one: Measured) -> dict[str, Any]:
    summary, bins, total = one.summary, one.histogram, one.summary.total
    return {
        "pixels": 0.5,
        "images": summary.images,
        "values": summary.values,
        "channels": summary.channels,
        "low": json_number(total.low),
        "high": json_number(total.high),
        "mean": json_number(total.mean),
        "std": json_number(total.std),
        "share_of_zeros": json_number(total.share_of_zeros),
        "effective_rank": json_number(summary.effective_rank),
        "counts": {finding: int(one.flags(finding).sum()) for finding in ("non_finite", *WEIGHTS)},
        "undefined": dict(summary.causes),
        "findings": list(sentences_of(one).values()),
        "bins": {"low": json_number(bins.low), "high": json_number(bins.high), "counts": bins.counts.tolist()},
        # Only channels, which have maps to look at, are looked at one by one.
        "per_channel": channels_data(summary) if one.noun == "channel" else None,
    }


def _overview_caption(
    layers: int, findings: int, images: int, further: int, rows: Mapping[str, NDArray[np.float64]]
) -> str:
    of_statistics = f" ({further:,} of them only feed the statistics)" if further else ""
    rests = f"{count(layers, 'layer')} over {count(images + further, 'image')}{of_statistics}"
    sentences = [f"{count(findings, 'finding') if findings else 'Nothing stands out'} in {rests}."]
    if images + further == 1:
        sentences.append("With one image, a channel that rests may well wake on another.")
    sentences.append(
        "Bars: the share of each layer's channels that are zero everywhere (dead), one other value everywhere "
        f"(constant), or that correlate with an earlier one by more than {DUPLICATE} (duplicate); layers stand in "
        "execution order."
    )
    if any(np.isnan(shares).any() for shares in rows.values()):
        sentences.append("Gray fields are undefined; the layers' own pages say why.")
    return " ".join(sentences)


def _known(value: float) -> float:
    """The value, or NaN (which is described as undefined) where it left float64's range."""
    return value if math.isfinite(value) else math.nan


def _percent(share: float) -> str:
    """`48.2 %`; only a share of 0 or 1 reads as 0 % or 100 %."""
    text = f"{100 * share:.3g}"
    return "over 99.9 %" if text == "100" and share < 1 else f"{text} %"


def _share(one: Measured, finding: str) -> float:
    column = "duplicate_of" if finding == "duplicate" else finding
    return math.nan if column in one.summary.causes else float(one.flags(finding).mean())
