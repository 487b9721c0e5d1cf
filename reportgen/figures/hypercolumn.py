"""Average hypercolumns: for each image and each set of layers, the mean over all their channels at input size."""

import fnmatch
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby, pairwise
from typing import Any

import torch

from reportgen.drawing.mosaic import assemble, plan
from reportgen.drawing.overlay import overlay
from reportgen.drawing.palette import palette
from reportgen.drawing.png import encode_indexed, encode_picture
from reportgen.entities import Activation, Batch, InputImage, Layer
from reportgen.errors import UsageError
from reportgen.figures.base import BaseKind, DataFile, Figure, FigureOptions, Product, Subject
from reportgen.figures.channel_sum import channel_sums
from reportgen.figures.wording import count, describe_number, describe_range, json_number
from reportgen.names import did_you_mean, slugify
from reportgen.numerics.hypercolumn import average, frame_mean, standardise
from reportgen.numerics.npz import as_float32, npz_bytes
from reportgen.numerics.scaling import GAP, Ranges, Scale, apply_scale, finite_ranges, quantise
from reportgen.numerics.sums import channel_mean

SHOWN_SIDE = 320
_NAMED = 4
"""A caption names all layers of a set of at most so many."""


@dataclass(frozen=True)
class LayerSet:
    """A named set of layers, in execution order. `rule` says what a default set holds; the user's have none."""

    name: str
    layers: tuple[str, ...]
    rule: str = ""


@dataclass(frozen=True)
class _Average:
    """One image's average hypercolumn (H, W), float64, of the layers that could be computed."""

    values: torch.Tensor
    layers: tuple[str, ...]
    channels: int
    constant: tuple[str, ...]
    left_out: tuple[str, ...]
    clips: bool
    """Whether some layers' maps were means over frames."""


class Hypercolumn(BaseKind):
    """Two figures an image and set: the average alone, and laid over the input (`data.view` ends in `-over`).

    Without sets of the user's there are three: see `default_sets`. What is kept of a batch is one map a layer, its
    channel mean, until the batch ends; of all layers for the first batch, from which the default sets are chosen,
    then only of those in a set.
    """

    name = "hypercolumn"
    title = "Hypercolumn averages"
    order = 30

    def __init__(self, options: FigureOptions, subject: Subject) -> None:
        """Raises UsageError for a set that names no layer, or something that matches none."""
        super().__init__(options, subject)
        # An average has one map, so its own range serves `channel`, `layer` and a range given for single channels.
        self._scale = options.scale if options.scale.mode == "symmetric" else Scale("channel")
        self._palette = palette(options.colour_map)
        self._sets: tuple[LayerSet, ...] | None = None
        if options.hypercolumns:
            self._sets = resolve_sets(options.hypercolumns, [layer.name for layer in subject.layers])
        self._images: tuple[InputImage, ...] = ()
        self._size = (1, 1)
        self._forget()

    def _forget(self) -> None:
        self._means: dict[str, list[torch.Tensor]] = {}
        self._channels: dict[str, int] = {}
        self._frames: dict[str, int] = {}
        self._unmapped: dict[str, str] = {}

    def wants(self, layer: Layer) -> bool:
        if self._sets is None:
            return layer.op not in ("placeholder", "get_attr")
        return any(layer.name in one.layers for one in self._sets)

    def begin_batch(self, batch: Batch) -> Iterable[Product]:
        self._forget()
        self._images = batch.images if batch.drawn else ()
        self._size = (batch.tensor.shape[-2], batch.tensor.shape[-1])
        return ()

    def update(self, activation: Activation) -> Iterable[Product]:
        name, maps = activation.layer.name, activation.reading.maps
        if maps is None:
            self._unmapped[name] = activation.reading.reason
        else:
            frames, channels = activation.reading.frames, maps.shape[1]
            totals = channel_sums(activation.reading)
            self._means[name] = [frame_mean(channel_mean(total, channels), frames) for total in totals]
            self._frames[name] = frames
            self._channels[name] = channels
        return ()

    def end_batch(self) -> Iterable[Product]:
        """Raises UsageError when a set of the user's holds layers without positions."""
        if self._images and self._sets is None:
            self._sets = default_sets({name: _size(means[0]) for name, means in self._means.items()})
        for place, image in enumerate(self._images):
            for one in self._sets or ():
                self._check(one)
                found = self._average(one, place)
                if found is not None:
                    yield from self._products(one, image, found)
        self._forget()

    def _check(self, one: LayerSet) -> None:
        flat = [f"{name} ({self._unmapped[name]})" for name in one.layers if name in self._unmapped]
        if flat and not one.rule:
            raise UsageError(
                f"hypercolumn set '{one.name}': it holds nodes without positions, take them out of the set: "
                f"{'; '.join(flat)}"
            )

    def _average(self, one: LayerSet, place: int) -> _Average | None:
        present = tuple(name for name in one.layers if name in self._means)
        if not present:
            return None
        means = [self._means[name][place] for name in present]
        channels = [self._channels[name] for name in present]
        constant: tuple[str, ...] = ()
        weights: Sequence[float] = channels
        if self.options.balance == "layers":
            standard = [standardise(mean) for mean in means]
            means, weights = [mean for mean, _ in standard], [1] * len(present)
            constant = tuple(name for name, (_, flat) in zip(present, standard, strict=True) if flat)
        values = average(zip(means, weights, strict=True), self._size)
        left_out = tuple(name for name in one.layers if name not in self._means)
        clips = any(self._frames[name] > 1 for name in present)
        return _Average(values, present, sum(channels), constant, left_out, clips)

    def _products(self, one: LayerSet, image: InputImage, found: _Average) -> Iterator[Product]:
        values = found.values[None]
        ranges = finite_ranges(values)
        low, high = apply_scale(self._scale, ranges)
        indices = quantise(values, ranges, low, high).numpy()
        facts = self._facts(one, found, ranges, (float(low[0]), float(high[0])))
        said = _say_values((float(ranges.low[0]), float(ranges.high[0])), ranges.finite, self._palette.name)
        what = f"verage hypercolumn of {_layers(found)} (set {one.name})"
        downloads: tuple[str, ...] = ()
        if self.options.arrays:
            downloads = (f"hypercolumns/{image.id}/{slugify(one.name)}.npz",)
            yield DataFile(downloads[0], npz_bytes(average=as_float32(found.values.numpy())))
        yield self._figure(
            image,
            encode_indexed(assemble(indices, plan(1, *indices.shape[1:]), GAP), self._palette),
            f"A{what} for {image.name}",
            f"{_opening(one, image, found, self.options.balance)} {said}",
            {"view": one.name, **facts},
            downloads,
        )
        yield self._figure(
            image,
            encode_picture(overlay(indices[0], self._palette, image.seen)),
            f"The a{what} laid over {image.name} in gray",
            f"The same average (set {one.name}), half transparent over {image.name} in gray. {said}",
            {"view": f"{one.name}-over", **facts},
        )

    def _facts(self, one: LayerSet, found: _Average, ranges: Ranges, ends: tuple[float, float]) -> dict[str, Any]:
        height, width = self._size
        return {
            "set": one.name,
            "pixels": display_factor(width, height),
            "layers": list(found.layers),
            "channels": found.channels,
            "balance": self.options.balance,
            "constant_layers": list(found.constant),
            "left_out": list(found.left_out),
            "scale": str(self._scale),
            "cmap": self._palette.name,
            "low": json_number(ends[0]),
            "high": json_number(ends[1]),
            "constant": bool(ranges.constant[0]),
            "finite": ranges.finite,
        }

    def _figure(
        self,
        image: InputImage,
        picture: bytes,
        alt: str,
        caption: str,
        data: Mapping[str, Any],
        downloads: tuple[str, ...] = (),
    ) -> Figure:
        size = self._size[1], self._size[0]
        return self.of_image(image, picture, size, alt=alt, caption=caption, data=data, downloads=downloads)


def resolve_sets(sets: Mapping[str, Sequence[str]], known: Sequence[str]) -> tuple[LayerSet, ...]:
    """Return the user's sets with their patterns resolved against the `known` layer names, in execution order.

    A pattern is a layer's name, a module's path (its last layer) or a glob. Raises UsageError for a pattern that
    matches nothing, a set without patterns, and names that would share a file.
    """
    for name in sets:
        if not name.strip():
            raise UsageError("a hypercolumn set has an empty name; give it one")
        if f"{name}-over" in sets:
            raise UsageError(
                f"hypercolumn sets '{name}' and '{name}-over' would share a picture; rename one of them"
            )
    return tuple(LayerSet(name, _members(name, patterns, known)) for name, patterns in sets.items())


def _members(name: str, patterns: Sequence[str], known: Sequence[str]) -> tuple[str, ...]:
    if not patterns:
        raise UsageError(f"hypercolumn set '{name}': it names no layer; give it at least one")
    members = {match for pattern in patterns for match in _matches(name, pattern, known)}
    return tuple(layer for layer in known if layer in members)


def _matches(name: str, pattern: str, known: Sequence[str]) -> Sequence[str]:
    if pattern in known:
        return [pattern]
    inside = [layer for layer in known if layer.startswith(f"{pattern}.")]
    if inside:
        return inside[-1:]
    found = fnmatch.filter(known, pattern) if any(sign in pattern for sign in "*?[") else []
    if not found:
        modules = {layer.rsplit(".", depth)[0] for layer in known for depth in range(1, layer.count(".") + 1)}
        raise UsageError(
            f"hypercolumn set '{name}': no drawn node matches '{pattern}'; "
            f"{did_you_mean(pattern, sorted({*known, *modules}))} `reportgen nodes MODEL` lists all nodes"
        )
    return found


def default_sets(sizes: Mapping[str, tuple[int, int]]) -> tuple[LayerSet, ...]:
    """Choose sets among the layers that have maps, given in execution order with their sizes.

    `early` holds every layer up to the end of the first stage, `middle` every layer of the middle stage (the later
    of two), `stages` the last layer of each stage; for stages, see `find_stages`. With a single stage there is only
    `stages`, without maps of more than one position there is no set.
    """
    stages = find_stages({name: size for name, size in sizes.items() if size[0] * size[1] > 1})
    if not stages:
        return ()
    ends = LayerSet("stages", tuple(stage[-1] for stage in stages), "the last layer of each stage")
    if len(stages) == 1:
        return (ends,)
    middle = stages[len(stages) // 2]
    return (
        LayerSet("early", stages[0], f"every layer up to the end of the first stage, {stages[0][-1]}"),
        LayerSet("middle", middle, f"every layer of the middle stage, which ends with {middle[-1]}"),
        ends,
    )


def find_stages(sizes: Mapping[str, tuple[int, int]]) -> tuple[tuple[str, ...], ...]:
    """Split layers into stages, each the layers since the one before; layers after the last stage are left out.

    A stage ends with the last layer of each outermost module that holds several of the layers. A module that holds
    more than two thirds of them (`features`, `backbone`) is opened first. Where that gives fewer than two, because
    the modules are not nested, a stage ends with each run of several layers of one size; failing that, the
    layers are cut into three equal parts.
    """
    names = list(sizes)
    ends = _module_ends(names, "", sizes)
    if len(ends) < 2:
        ends = _run_ends(names, sizes)
    cuts = [0, *(names.index(end) + 1 for end in ends)]
    return tuple(tuple(names[start:end]) for start, end in pairwise(cuts))


def _module_ends(names: Sequence[str], path: str, sizes: Mapping[str, tuple[int, int]]) -> list[str]:
    """The last layer of each module right below `path` that holds several of `names`."""
    groups = [(module, list(inside)) for module, inside in groupby(names, lambda name: _module_below(name, path))]
    several = [(module, inside) for module, inside in groups if module and len(inside) > 1]
    if not several and path:
        return _run_ends(names, sizes)
    ends: list[str] = []
    for module, inside in several:
        opened = len(inside) * 3 > len(sizes) * 2
        ends += _module_ends(inside, module, sizes) if opened else inside[-1:]
    return ends


def _module_below(name: str, path: str) -> str:
    """The module right below `path` that a layer lies in, or an empty string for `path` itself."""
    rest = name[len(path) + 1 if path else 0 :]
    return f"{path}.{rest.split('.')[0]}".lstrip(".") if "." in rest else ""


def _run_ends(names: Sequence[str], sizes: Mapping[str, tuple[int, int]]) -> list[str]:
    runs = [list(run) for _, run in groupby(names, lambda name: sizes[name])]
    ends = [run[-1] for run in runs if len(run) > 1]
    if len(ends) > 1:
        return ends
    places = sorted({-(-len(names) * third // 3) for third in (1, 2, 3)})
    return [names[place - 1] for place in places if place]


def display_factor(width: int, height: int) -> float:
    """Return the display pixels in a stored one: small pictures by a whole factor, large ones made smaller."""
    longest = max(width, height)
    return SHOWN_SIDE // longest if longest <= SHOWN_SIDE else SHOWN_SIDE / longest


def _size(values: torch.Tensor) -> tuple[int, int]:
    return values.shape[0], values.shape[1]


def _opening(one: LayerSet, image: InputImage, found: _Average, balance: str) -> str:
    size = f"{found.values.shape[1]} × {found.values.shape[0]} pixels"
    if balance == "layers":
        what = (
            f"the mean of the channel means of {_layers(found)}, each standardised over its positions and "
            f"upsampled bilinearly to {size}"
        )
    else:
        channels = f"all {count(found.channels, 'channel')}" if found.channels > 1 else "the one channel"
        what = f"the mean over {channels} of {_layers(found)}, each upsampled bilinearly to {size}"
    sentences = [f"Average hypercolumn of the set {one.name} for {image.name}: {what}."]
    if one.rule:
        sentences.append(f"The set holds {one.rule}.")
    if found.clips:
        sentences.append("Of clips the mean over the frames is taken first.")
    if found.constant:
        sentences.append(f"Constant, so counted as zero: {', '.join(found.constant)}.")
    if found.left_out:
        sentences.append(f"Left out, since not computed: {', '.join(found.left_out)}.")
    return " ".join(sentences)


def _layers(found: _Average) -> str:
    """`2 layers (conv1, relu)`; only the number when there are many."""
    if len(found.layers) > _NAMED:
        return count(len(found.layers), "layer")
    return f"{count(len(found.layers), 'layer')} ({', '.join(found.layers)})"


def _say_values(ends: tuple[float, float], finite: bool, cmap: str) -> str:
    if ends[0] != ends[0]:
        said = "No value is finite."
    elif ends[0] == ends[1]:
        said = f"It is {describe_number(ends[0])} everywhere."
    else:
        said = f"Values {describe_range(*ends)} ({cmap})."
    return said if finite else f"{said} NaN is magenta, +Inf orange, −Inf cyan."
