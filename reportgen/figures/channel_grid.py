"""Every channel of a layer, in channel order, in one mosaic."""

import math
from collections.abc import Iterable
from dataclasses import replace
from typing import Any

import torch

from reportgen.drawing.mosaic import Mosaic, plan
from reportgen.drawing.palette import palette
from reportgen.entities import Activation, InputImage, Layer
from reportgen.figures.base import BaseKind, Figure, FigureOptions, Subject
from reportgen.figures.pictures import mosaic_files
from reportgen.figures.wording import (
    conversion_sentence,
    count,
    count_shown,
    describe_layer,
    describe_range,
    json_ends,
)
from reportgen.numerics.scaling import Ranges, Scale, apply_scale, finite_ranges, overall, quantise


class ChannelGrid(BaseKind):
    """One mosaic a layer and image. `--scale` says what the colours span, `--max-channels` how many tiles."""

    name = "channel_grid"
    title = "Channels"
    order = 20

    def __init__(self, options: FigureOptions, subject: Subject) -> None:
        super().__init__(options, subject)
        self._palette = palette(options.colour_map)

    def update(self, activation: Activation) -> Iterable[Figure]:
        if activation.reading.maps is None:
            return
        conversion = conversion_sentence(activation.value)
        for image, maps in zip(activation.images, activation.reading.maps, strict=True):
            figure = self._figure(activation.layer, image, maps)
            yield replace(figure, caption=f"{figure.caption} {conversion}") if conversion else figure

    def _figure(self, layer: Layer, image: InputImage, maps: torch.Tensor) -> Figure:
        total = maps.shape[0]
        shown = maps[: self.options.max_channels] if self.options.max_channels else maps
        ranges = finite_ranges(shown)
        low, high = apply_scale(self.options.scale, ranges)
        mosaic = plan(shown.shape[0], shown.shape[1], shown.shape[2])
        tiles = quantise(shown, ranges, low, high)
        counted = count_shown(shown.shape[0], total, "channel")
        return Figure(
            kind=self.name,
            layer=layer.name,
            image=image.id,
            files=mosaic_files(tiles, mosaic, self._palette),
            width=mosaic.width,
            height=mosaic.height,
            alt=f"{counted[0].upper()}{counted[1:]} of {layer.name} for {image.name}, {mosaic.columns} a row",
            caption=_caption(layer, image, counted, mosaic, self.options, ranges),
            data=_data(mosaic, shown.shape[0], total, self.options, low, high, ranges),
        )


def _caption(
    layer: Layer, image: InputImage, counted: str, mosaic: Mosaic, options: FigureOptions, ranges: Ranges
) -> str:
    sentences = [
        f"Channel grid of {describe_layer(layer)} for {image.name}: {counted} in channel order, row by row, "
        f"{mosaic.columns} a row, each {mosaic.tile_width} × {mosaic.tile_height}.",
        _scale_sentence(options.scale, ranges, options.colour_map),
    ]
    constant = int(ranges.constant.sum())
    if constant:
        sentences.append(f"{count(constant, 'channel')} constant: drawn in the lowest colour.")
    if not ranges.finite:
        sentences.append("NaN is magenta, +Inf orange, −Inf cyan; ranges are taken over finite values.")
    return " ".join(sentences)


def _scale_sentence(scale: Scale, ranges: Ranges, cmap: str) -> str:
    low, high = overall(ranges)
    if math.isnan(low):
        return "No value is finite."
    values = describe_range(low, high)
    spans = {
        "channel": "each channel is coloured over its own range",
        "layer": "all channels are coloured over the layer's range",
        "symmetric": "all channels are coloured over the same range about zero",
        "fixed": f"colours span {describe_range(scale.low, scale.high)}, values outside are clipped",
    }[scale.mode]
    return f"Values {values}; {spans} ({cmap})."


def _data(
    mosaic: Mosaic,
    shown: int,
    total: int,
    options: FigureOptions,
    low: torch.Tensor,
    high: torch.Tensor,
    ranges: Ranges,
) -> dict[str, Any]:
    # Coloured over its own range, a channel's colours end where its values do.
    own = options.scale.mode == "channel"
    values = () if own else zip(("value_low", "value_high"), json_ends(ranges.low, ranges.high), strict=True)
    first, last = json_ends(low, high)
    return {
        "columns": mosaic.columns,
        "rows": mosaic.rows,
        "tile_width": mosaic.tile_width,
        "tile_height": mosaic.tile_height,
        "gap": mosaic.gap,
        "channels_shown": shown,
        "channels_total": total,
        "scale": str(options.scale),
        "cmap": options.colour_map,
        "low": first,
        "high": last,
        **dict(values),
        "constant": torch.nonzero(ranges.constant).flatten().tolist(),
        "finite": ranges.finite,
    }
