"""A small report as data: what page tests start from, without a network, torch or a build."""

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from hashlib import sha256
from io import BytesIO
from pathlib import Path
from typing import Any

from PIL import Image

from reportgen.names import slugify
from reportgen.site.record import (
    DRAWN,
    FAILED,
    FILE_NAME,
    SKIPPED,
    FigureEntry,
    ImageEntry,
    KindEntry,
    LayerEntry,
    ModelEntry,
    Record,
    to_json,
)
from reportgen.site.render import render
from reportgen.site.writer import MANIFEST, SiteWriter, figure_stem, format_manifest

KINDS = (
    KindEntry("input", "Input", 0),
    KindEntry("channel_sum", "Channel sum", 10),
    KindEntry("channel_grid", "Channels", 20),
    KindEntry("colour_bar", "Colours", 90),
)

MODEL = ModelEntry(
    spec="shapes.py:network",
    class_name="Shapes",
    parameters=1234,
    weights="epoch 12",
    weights_sha256="ab" * 32,
    random_weights=False,
    preprocess="resized to 32 pixels",
    tracer="fx",
    tracer_reason="torch.fx traced the whole forward pass",
)


def make_layer(name: str, **changes: Any) -> LayerEntry:
    """A drawn layer of 8 channels of 4 x 6 (height x width), except for `changes`."""
    layer = LayerEntry(
        index=0,
        name=name,
        slug=slugify(name),
        op="call_module",
        module_type="Conv2d",
        target=name,
        parents=[],
        shape=[1, 8, 4, 6],
        dtype="float32",
        layout="NCHW",
        status=DRAWN,
        reason="",
    )
    return dataclasses.replace(layer, **changes)


def chain(layers: Iterable[LayerEntry | str]) -> list[LayerEntry]:
    """Number the layers and let each read the one before it, unless it says what it reads."""
    chained: list[LayerEntry] = []
    for index, layer in enumerate(layers):
        entry = make_layer(layer) if isinstance(layer, str) else layer
        parents = entry.parents or [before.name for before in chained[-1:]]
        chained.append(dataclasses.replace(entry, index=index, parents=parents))
    return chained


def make_image(name: str, **changes: Any) -> ImageEntry:
    image = ImageEntry(slugify(Path(name).stem), name, 64, 48, "cd" * 32, "")
    return dataclasses.replace(image, **changes)


def make_figure(kind: str, layer: str | None, image: str | None, **changes: Any) -> FigureEntry:
    """A figure of 6 x 4 pixels (width x height), except for `changes`."""
    view = changes.get("data", {}).get("view", "")
    figure = FigureEntry(
        kind=kind,
        layer=layer,
        image=image,
        files=[f"figures/{figure_stem(kind, image, slugify(layer) if layer else None, view)}.png"],
        width=6,
        height=4,
        alt=f"{kind} of {layer} for {image}",
        caption=f"The {kind} of {layer} for {image}.",
        data={},
    )
    return dataclasses.replace(figure, **changes)


def figures_of(layers: Iterable[LayerEntry], images: Sequence[ImageEntry]) -> list[FigureEntry]:
    """The figures that a build makes: two of each image, two of each drawn layer and image, one colour bar."""
    figures: list[FigureEntry] = []
    for image in images:
        views: list[dict[str, Any]] = [{"view": "original", "pixels": 1}, {"view": "seen", "pixels": 1}]
        figures += [make_figure("input", None, image.id, width=64, height=48, data=view) for view in views]
        for layer in layers:
            if layer.status == DRAWN and layer.selected:
                ends: dict[str, Any] = {"low": -1.5, "high": 2.25}
                figures.append(make_figure("channel_sum", layer.name, image.id, data=ends))
                figures.append(make_figure("channel_grid", layer.name, image.id, width=20, height=9))
    return [*figures, make_figure("colour_bar", None, None, width=252, height=1)]


LAYERS = tuple(
    chain(
        [
            make_layer("x", op="placeholder", module_type="", target="x", shape=[1, 3, 32, 32]),
            make_layer("stem.conv", detail="3 to 8 channels, 3 × 3 kernel, stride 1", title="first filters"),
            make_layer("stem.relu", module_type="ReLU"),
            make_layer("blocks.0.conv"),
            make_layer(
                "blocks.0.add",
                op="call_function",
                module_type="",
                target="_operator.add",
                parents=["stem.relu", "blocks.0.conv"],
            ),
            make_layer("blocks.1.conv", status=FAILED, reason="conv raised RuntimeError: no luck", shape=None),
            make_layer("blocks.1.relu", status=FAILED, reason="it reads a node that failed", shape=None),
            make_layer("aux", status=SKIPPED, reason="not selected", shape=None, dtype=None, selected=False),
            make_layer("head.fc", status=SKIPPED, reason="(N, C): no maps to draw", shape=[1, 10], layout="NC"),
        ]
    )
)
IMAGES = (make_image("red square.png"), make_image("disc.png", note="16-bit gray, scaled to 8 bits"))


def make_record(
    layers: Sequence[LayerEntry] = LAYERS,
    images: Sequence[ImageEntry] = IMAGES,
    *,
    figures: Sequence[FigureEntry] | None = None,
    captions: Mapping[str, str] | None = None,
    **changes: Any,
) -> Record:
    """A record of `layers` on `images` with the figures that a build would make of them."""
    record = Record(
        title="Shapes, layer by layer",
        model=MODEL,
        images=list(images),
        layers=list(layers),
        figures=list(figures_of(layers, images) if figures is None else figures),
        kinds=list(KINDS),
        problems=[f"{layer.name}: {layer.reason}" for layer in layers if layer.status == FAILED],
        captions=dict(captions or {}),
        environment={"reportgen": "0.1.0", "torch": "2.5.0"},
        options={"scale": "channel", "nodes": {}, "exclude": [], "size": [32, 32], "strict": False},
    )
    return dataclasses.replace(record, **changes)


def with_model(record: Record, **changes: Any) -> Record:
    return dataclasses.replace(record, model=dataclasses.replace(record.model, **changes))


def write_site(
    record: Record, target: Path, *, force: bool = False, scripts: Mapping[str, bytes] | None = None
) -> Path:
    """Write the whole site of `record`, with a gray picture for every figure and a table for every download.

    `scripts` are the figures' scripts by path.
    """
    with SiteWriter(target, force=force) as writer:
        for figure in record.figures:
            for file in figure.files:
                writer.write(file, _picture(figure.width, figure.height))
            for file in figure.downloads:
                writer.write(file, "a,b\n1,2\n")
        for name, text in render(record).files.items():
            writer.write(name, text)
        for name, script in (scripts or {}).items():
            writer.write(name, script)
        writer.write(FILE_NAME, to_json(record))
        writer.publish()
    return target


@cache
def _picture(width: int, height: int) -> bytes:
    buffer = BytesIO()
    Image.new("L", (width, height), 128).save(buffer, "PNG")
    return buffer.getvalue()


def sign_site(site: Path) -> None:
    """Write the manifest of a site anew, so that what was changed in it counts as written by reportgen."""
    sums = {name: sha256(content).hexdigest() for name, content in read_tree(site).items() if name != MANIFEST}
    (site / MANIFEST).write_text(format_manifest(sums), encoding="utf-8")


def read_tree(directory: Path) -> dict[str, bytes]:
    """Every file below `directory` by its path, to compare two states of it."""
    files = (path for path in sorted(directory.rglob("*")) if path.is_file())
    return {path.relative_to(directory).as_posix(): path.read_bytes() for path in files}
