"""What there is to say about a layer's channels, in sentences, and at which layer it starts.

A node that only passes a finding on (pooling after a ReLU with dead channels) has it on its own page; the ranked
list names the layer where it starts.
"""

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from torch import nn

from reportgen.entities import Layer
from reportgen.figures.wording import count, count_shown, describe_number
from reportgen.numerics.binning import Histogram
from reportgen.numerics.statistics import COPY, DUPLICATE, Bounds, Flags, Summary

WEIGHTS = {"dead": 1.0, "constant": 0.9, "saturated": 0.8, "duplicate": 0.6, "copy": 0.3}
"""How grave it is if all channels of a layer are so; values that are not finite are graver than any of these."""
_FEW_VALUES = 16

# Operations that change no value: what they show, the node that they read shows.
_REARRANGING = frozenset(
    {
        "chunk", "clone", "contiguous", "detach", "dropout", "dropout1d", "dropout2d", "dropout3d", "flatten",
        "getitem", "identity", "movedim", "permute", "reshape", "split", "squeeze", "stochasticdepth",
        "stochastic_depth", "transpose", "unflatten", "unsqueeze", "view",
    }
)  # fmt: skip
# Operations whose channel c is made of channel c of what they read.
_CHANNELWISE = frozenset(
    {
        "adaptiveavgpool1d", "adaptiveavgpool2d", "adaptivemaxpool2d", "adaptive_avg_pool1d",
        "adaptive_avg_pool2d", "adaptive_max_pool2d", "add", "amax", "avgpool2d", "avg_pool2d", "batchnorm1d",
        "batchnorm2d", "batch_norm", "cat", "celu", "clamp", "concat", "elu", "frozenbatchnorm2d", "gelu",
        "hardsigmoid", "hardswish", "hardtanh", "iadd", "imul", "instancenorm2d", "instance_norm",
        "interpolate", "leakyrelu", "leaky_relu", "logsigmoid", "maxpool2d", "max_pool2d", "mean", "mish",
        "mul", "prelu", "relu", "relu6", "selu", "sigmoid", "silu", "softplus", "sub", "sum", "tanh", "truediv",
        "upsample",
    }
)  # fmt: skip
_JOINING = frozenset({"cat", "concat"})
_STILL = ("dead", "constant")

ModuleOf = Callable[[Layer], nn.Module | None]


@dataclass(frozen=True)
class Measured:
    """A layer and what its statistics say."""

    layer: Layer
    noun: str
    bounds: Bounds | None
    histogram: Histogram
    summary: Summary

    @property
    def over(self) -> str:
        """On how many images everything rests, for the end of a clause."""
        images = self.summary.images
        return "on this one image" if images == 1 else f"on these {images:,} images"

    @property
    def positions(self) -> bool:
        """Whether a channel has more than one value an image."""
        return self.summary.values > self.summary.images

    @property
    def still(self) -> Flags:
        """Channels that never change: dead or constant."""
        return self.flags("dead") | self.flags("constant")

    def flags(self, kind: str) -> Flags:
        """Which channels a finding is true of; none where it is undefined."""
        summary = self.summary
        columns = {
            "non_finite": summary.unfinite,
            "dead": summary.dead,
            "constant": summary.constant,
            "saturated": summary.saturated,
            "duplicate": None if summary.duplicate_of is None else summary.duplicate_of >= 0,
            "copy": summary.copies,
        }
        column = columns[kind]
        return np.zeros(summary.channels, np.bool_) if column is None else column


@dataclass(frozen=True)
class Finding:
    """One sentence about a layer, and how grave it is."""

    layer: str
    text: str
    severity: float


def operation_of(layer: Layer) -> str:
    """What a layer does, in lower case, without the mark of an operation in place: `relu`, `max_pool2d`."""
    return (layer.module_type or layer.target.rsplit(".", 1)[-1]).lower().rstrip("_")


def rank_findings(
    measured: Mapping[str, Measured], layers: Mapping[str, Layer], module_of: ModuleOf
) -> list[Finding]:
    """Return the findings of all layers, the gravest first; what a node only passes on is not one of them.

    `measured` and `layers` are in execution order.
    """
    origins = _Origins(measured, layers, module_of)
    found = [
        (name, kind, text)
        for name, one in measured.items()
        for kind, text in sentences_of(one).items()
        if not origins.enter(one, kind)
    ]
    findings = [
        Finding(name, text + _passing_on(len(origins.followers[name, kind])), _severity(measured[name], kind))
        for name, kind, text in found
    ]
    return sorted(findings, key=lambda finding: -finding.severity)


def _passing_on(followers: int) -> str:
    verb = "passes" if followers == 1 else "pass"
    return f" {count(followers, 'later node')} {verb} this on." if followers else ""


def _severity(one: Measured, kind: str) -> float:
    """Not finite: 2 to 3. Else below 1: the share of channels, weighed, and less with few values a channel."""
    share = float(one.flags(kind).mean())
    if kind == "non_finite":
        return 2 + share
    return WEIGHTS[kind] * share * one.summary.values / (one.summary.values + _FEW_VALUES)


_Root = tuple[str, str]
"""A layer and the kind of finding that starts at it."""


class _Origins:
    """Tells findings that start at a layer from those it passes on; layers are entered in execution order."""

    def __init__(self, measured: Mapping[str, Measured], layers: Mapping[str, Layer], module_of: ModuleOf) -> None:
        self._measured, self._layers, self._module_of = measured, layers, module_of
        self._roots: dict[_Root, set[_Root]] = defaultdict(set)
        self.followers: dict[_Root, set[str]] = defaultdict(set)

    def enter(self, one: Measured, kind: str) -> bool:
        """Return whether the layer passes the finding on, and then add it to the followers of where it starts."""
        sources = self._sources(one.layer)
        found = (one.layer.name, kind)
        if not self._passes_on(one, kind, sources):
            self._roots[found] = {found}
            return False
        for source in sources:
            for alike in _STILL if kind in _STILL else (kind,):
                self._roots[found] |= self._roots[source.layer.name, alike]
        for root in self._roots[found]:
            self.followers[root].add(one.layer.name)
        return True

    def _sources(self, layer: Layer) -> list[Measured]:
        """The nearest layers with statistics on the paths to `layer`, in the order in which it reads them."""
        sources: list[Measured] = []
        seen: set[str] = set()
        waiting = list(reversed(layer.parents))
        while waiting:
            name = waiting.pop()
            if name in seen:
                continue
            seen.add(name)
            if name in self._measured:
                sources.append(self._measured[name])
            elif name in self._layers:
                waiting += reversed(self._layers[name].parents)
        return sources

    def _passes_on(self, one: Measured, kind: str, sources: Sequence[Measured]) -> bool:
        if kind == "non_finite":
            return any(source.summary.unfinite.any() for source in sources)
        operation = operation_of(one.layer)
        if operation in _REARRANGING:
            return bool(sources)
        if operation not in _CHANNELWISE and not self._is_depthwise(one.layer):
            return False
        read = [source.still if kind in _STILL else source.flags(kind) for source in sources]
        if operation in _JOINING:
            read = [np.concatenate(read)] if read else []
        own = one.flags(kind)
        alike = [flags for flags in read if len(flags) == len(own)]
        return bool(alike) and not (own & ~np.logical_or.reduce(alike)).any()

    def _is_depthwise(self, layer: Layer) -> bool:
        module = self._module_of(layer)
        groups = getattr(module, "groups", 1)
        return bool(
            groups > 1 and groups == getattr(module, "in_channels", 0) == getattr(module, "out_channels", 0)
        )


def sentences_of(one: Measured) -> dict[str, str]:
    """What is to be said of a layer, by the kind of finding: `non_finite`, or one of WEIGHTS."""
    everywhere = "everywhere" if one.positions else "for every image"
    claims = {
        "dead": f"{{is}} dead {one.over}: zero {everywhere}.",
        "constant": f"{{is}} constant {one.over}: one value {everywhere}, but not zero.",
        "saturated": f"{{is}} saturated {one.over}: at least 95 % of {{its}} values lie {_at_bounds(one.bounds)}.",
        "duplicate": f"{{repeats}} an earlier one {one.over}: |correlation| above {DUPLICATE}{_example(one)}.",
        "copy": f"nearly {{copies}} the input {one.over}: |correlation| with the gray input above {COPY}.",
    }
    sentences = {"non_finite": _holes_sentence(one)} if one.summary.unfinite.any() else {}
    for kind, claim in claims.items():
        number = int(one.flags(kind).sum())
        if number:
            sentences[kind] = _sentence(number, one.summary.channels, one.noun, claim)
    return sentences


def _sentence(number: int, total: int, noun: str, claim: str) -> str:
    one = {"is": "is", "its": "its", "repeats": "repeats", "copies": "copies"}
    several = {"is": "are", "its": "their", "repeats": "repeat", "copies": "copy"}
    counted = count_shown(number, total, noun)
    return f"{counted[0].upper()}{counted[1:]} {claim.format_map(one if number == 1 else several)}"


def _holes_sentence(one: Measured) -> str:
    total, summary = one.summary.total, one.summary
    holes, values = total.nan_count + total.inf_count, summary.values * summary.channels
    kinds = [
        f"{number:,} {kind}"
        for number, kind in ((total.nan_count, "not a number"), (total.inf_count, "infinite"))
        if number
    ]
    where = count_shown(int(summary.unfinite.sum()), summary.channels, one.noun)
    verb = "is" if holes == 1 else "are"
    return f"{holes:,} of {count(values, 'value')} {one.over} {verb} not finite ({', '.join(kinds)}), in {where}."


def _at_bounds(bounds: Bounds | None) -> str:
    if bounds is None:
        return "at a bound"
    high = describe_number(bounds.high)
    ends = f"the bound {high}" if bounds.rests_low else f"a bound ({describe_number(bounds.low)} or {high})"
    return f"at {ends}, within 0.1 % of the range"


def _example(one: Measured) -> str:
    """` (channel 12 repeats channel 3, for one)`; without the last words where there is no other; or nothing."""
    found = one.summary.duplicate_of
    if found is None or not (found >= 0).any():
        return ""
    first = int((found >= 0).argmax())
    others = ", for one" if (found >= 0).sum() > 1 else ""
    return f" ({one.noun} {first} repeats {one.noun} {int(found[first])}{others})"
