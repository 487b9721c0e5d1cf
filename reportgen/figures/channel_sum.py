"""The sum of a layer's channels: one map that shows where the layer responds."""

from collections.abc import Iterable
from dataclasses import replace

import torch

from reportgen.drawing.mosaic import plan
from reportgen.drawing.palette import palette
from reportgen.entities import Activation, InputImage, Layer, Reading
from reportgen.figures.base import BaseKind, DataFile, Figure, FigureOptions, Product, Subject
from reportgen.figures.pictures import mosaic_files
from reportgen.figures.wording import (
    conversion_sentence,
    count,
    describe_layer,
    describe_number,
    describe_range,
    json_number,
)
from reportgen.numerics.npz import as_float32, npz_bytes
from reportgen.numerics.scaling import Scale, apply_scale, finite_ranges, quantise
from reportgen.numerics.sums import channel_sum


class ChannelSum(BaseKind):
    """One map a layer and image, coloured over its own range (`--scale symmetric`: about zero)."""

    name = "channel_sum"
    title = "Channel sum"
    order = 10

    def __init__(self, options: FigureOptions, subject: Subject) -> None:
        super().__init__(options, subject)
        # A sum has one map, so its own range serves `channel`, `layer` and a range given for single channels.
        self._scale = options.scale if options.scale.mode == "symmetric" else Scale("channel")
        self._palette = palette(options.colour_map)

    def update(self, activation: Activation) -> Iterable[Product]:
        if activation.reading.maps is None:
            return
        layer, conversion = activation.layer, conversion_sentence(activation.value)
        channels, totals = activation.reading.maps.shape[1], channel_sums(activation.reading)
        for image, total in zip(activation.images, totals, strict=True):
            array = f"maps/{image.id}/{layer.slug}.npz"
            if self.options.arrays:
                yield DataFile(array, npz_bytes(sum=as_float32(total[0].cpu().numpy())))
            downloads = (array,) if self.options.arrays else ()
            figure = self._figure(layer, image, channels, total, downloads)
            yield replace(figure, caption=f"{figure.caption} {conversion}") if conversion else figure

    def _figure(
        self, layer: Layer, image: InputImage, summed: int, total: torch.Tensor, downloads: tuple[str, ...]
    ) -> Figure:
        ranges = finite_ranges(total)
        low, high = apply_scale(self._scale, ranges)
        tiles = quantise(total, ranges, low, high)
        mosaic = plan(1, total.shape[1], total.shape[2])
        ends = (float(ranges.low[0]), float(ranges.high[0]))
        channels = count(summed, "channel")
        return Figure(
            kind=self.name,
            layer=layer.name,
            image=image.id,
            files=mosaic_files(tiles, mosaic, self._palette),
            width=mosaic.width,
            height=mosaic.height,
            alt=f"Sum over the {channels} of {layer.name} for {image.name}, from {describe_range(*ends)}",
            caption=_caption(layer, image, channels, ends, ranges.finite, self._palette.name),
            data={
                "channels_total": summed,
                "scale": str(self._scale),
                "cmap": self._palette.name,
                "low": json_number(float(low[0])),
                "high": json_number(float(high[0])),
                "constant": bool(ranges.constant[0]),
                "finite": ranges.finite,
            },
            downloads=downloads,
        )


def first_sum(reading: Reading) -> torch.Tensor:
    """Return what `channel_sums` gives for the first image, without taking the others' where nobody did yet."""
    if "sums" not in reading.shared and reading.maps is not None:
        return channel_sum(reading.maps[0])
    return channel_sums(reading)[0]


def channel_sums(reading: Reading) -> list[torch.Tensor]:
    """Return the sum over the channels of each image's maps, float64 (1, H, W), where the maps are.

    It is taken once, whoever asks. Raises ValueError where there are no maps.
    """
    if reading.maps is None:
        raise ValueError(f"there are no maps to sum: {reading.reason}")
    if "sums" not in reading.shared:
        # Image by image, so that not a bit depends on how many images share a batch.
        reading.shared["sums"] = [channel_sum(maps) for maps in reading.maps]
    return reading.shared["sums"]


def _caption(
    layer: Layer, image: InputImage, channels: str, ends: tuple[float, float], finite: bool, cmap: str
) -> str:
    opening = f"Sum over the {channels} of {describe_layer(layer)} for {image.name}."
    if ends[0] == ends[1]:
        opening += f" It is {describe_number(ends[0])} everywhere."
    elif ends[0] != ends[0]:
        opening += " No value is finite."
    else:
        opening += f" Values {describe_range(*ends)} ({cmap})."
    return opening if finite else f"{opening} NaN is magenta, +Inf orange, −Inf cyan."
