"""Reports of many layers or images as data, with figures like those of a real build: for budgets and benchmarks."""

from collections.abc import Iterator
from typing import Any

from canned import KINDS, chain, make_figure, make_image, make_layer, make_record
from reportgen.site.record import FigureEntry, ImageEntry, KindEntry, LayerEntry, Record

CHANNELS = 256
_PARTS = ("norm1", "attn.qkv", "attn.scaled_dot_product_attention", "attn.proj", "add", "norm2")
_KINDS = (
    KindEntry("attention", "Attention", 30),
    KindEntry("health", "Health", 50),
    KindEntry("channel_cka", "Similarity of channels", 70),
    KindEntry("vector", "Values", 40),
)


def big_record(layers: int, images: int, *, rich: bool = False) -> Record:
    """A record of so many layers and images; `rich` adds attention, similarity and vectors to each layer."""
    names = [f"encoder.stage{number // 60}.blocks.{number // 6}.{_PARTS[number % 6]}" for number in range(layers)]
    nodes = chain(
        make_layer(
            name,
            shape=[1, CHANNELS, 14, 14],
            detail="256 to 256 channels, 3 × 3 kernel, stride 1, padding 1, groups 4",
            reading="tokens: 1 class token, 14 × 14 positions, 256 channels",
        )
        for name in names
    )
    photographs = [make_image(f"a photograph of the sea {number:03}.jpg") for number in range(images)]
    return make_record(
        nodes, photographs, figures=list(_figures(nodes, photographs, rich)), kinds=[*KINDS, *_KINDS]
    )


def _figures(layers: list[LayerEntry], images: list[ImageEntry], rich: bool) -> Iterator[FigureEntry]:
    for image in images:
        for view in ("original", "seen"):
            yield make_figure("input", None, image.id, width=64, height=48, data={"view": view, "pixels": 1})
    for layer in layers:
        for image in images:
            yield from _of_image(layer, image)
            if rich:
                yield from _more_of_image(layer, image)
        if rich:
            yield _vectors(layer, images)
    yield make_figure("colour_bar", None, None, width=252, height=1, data={"cmap": "viridis"})


def _of_image(layer: LayerEntry, image: ImageEntry) -> Iterator[FigureEntry]:
    where = f"{layer.name} (Conv2d, {layer.detail}) for {image.name}"
    yield make_figure(
        "channel_sum",
        layer.name,
        image.id,
        width=14,
        height=14,
        alt=f"Sum over the {CHANNELS} channels of {layer.name} for {image.name}, from −1.486 to 7.317",
        caption=f"Sum over the {CHANNELS} channels of {where}. Values −1.486 to 7.317 (viridis).",
        data={"low": -1.48622918, "high": 7.31747985, "channels_total": CHANNELS, "cmap": "viridis"},
        downloads=[f"data/maps/{image.id}/{layer.slug}.npz"],
    )
    yield make_figure(
        "channel_grid",
        layer.name,
        image.id,
        width=239,
        height=239,
        alt=f"All {CHANNELS} channels of {layer.name} for {image.name}, 16 a row",
        caption=f"Channel grid of {where}: all {CHANNELS} channels in channel order, row by row, 16 a row, each "
        "14 × 14. Values −2.118 to 2.64; each channel is coloured over its own range (viridis).",
        data=_grid(),
    )


def _grid() -> dict[str, Any]:
    return {
        "columns": 16, "rows": 16, "tile_width": 14, "tile_height": 14, "gap": 1, "channels_shown": CHANNELS,
        "channels_total": CHANNELS, "scale": "channel", "cmap": "viridis", "constant": [], "finite": True,
        "low": _LOW, "high": _HIGH,
    }  # fmt: skip


_LOW = [-1.0 - channel / 64 for channel in range(CHANNELS)]
_HIGH = [1.0 + channel / 64 for channel in range(CHANNELS)]


def _more_of_image(layer: LayerEntry, image: ImageEntry) -> Iterator[FigureEntry]:
    names = [*map(str, range(12)), "mean"]
    yield make_figure(
        "attention",
        layer.name,
        image.id,
        width=449,
        height=449,
        caption=f"Where the class token looks in {layer.name} for {image.name}: 12 heads in order and then their "
        "mean, row by row, 4 a row, over the image in gray. 197 keys = 1 class token, 14 × 14. The colours of each "
        "map span 0 to its own highest weight, between 0.01612 and 0.02263 (viridis).",
        data={
            "view": "heads", "names": names, "low": [0.0123] * 13, "high": [0.0226] * 13, "colours": [0.0, None],
            "shares": {"the class token": [0.1] * 13}, "cmap": "viridis", "pixels": 2, "columns": 4, "rows": 4,
            "tile_width": 112, "tile_height": 112, "gap": 1,
        },
        downloads=[f"data/attention/{image.id}/{layer.slug}.npz"],
    )  # fmt: skip
    yield make_figure(
        "channel_cka",
        layer.name,
        image.id,
        width=CHANNELS,
        height=CHANNELS,
        caption=f"Similarity of the {CHANNELS} channels of {layer.name} for {image.name}: linear CKA (debiased); "
        "the 14 rows of a map are the examples, its 14 columns the features.",
        data={
            "measure": "CKA", "low": 0.0, "high": 1.0, "cmap": "viridis",
            "pairs": [[channel, channel + 1, 0.999] for channel in range(10)],
        },
        downloads=[f"data/channel_cka/{image.id}/{layer.slug}.npz"],
    )  # fmt: skip


def _vectors(layer: LayerEntry, images: list[ImageEntry]) -> FigureEntry:
    units = [[unit, 2.47031403 - unit / 8] for unit in range(8)]
    return make_figure(
        "vector",
        layer.name,
        None,
        width=768,
        height=16 * len(images),
        data={
            "view": "heat", "token": "the class token", "units": 768, "images": [image.id for image in images],
            "low": -1.5, "high": 2.5, "cmap": "viridis", "top": {image.id: units for image in images},
        },
        downloads=[f"data/tokens/{layer.slug}/class.csv"],
    )  # fmt: skip
