"""Activations for the tests of figures, made without a network."""

import torch
from PIL import Image

from reportgen.entities import Activation, Batch, InputImage, Layer, Reading


def image(id: str = "cat") -> InputImage:
    picture = Image.new("RGB", (8, 6), (10, 200, 30))
    return InputImage(id, f"{id}.png", 8, 6, "0" * 64, "", picture, picture)


def layer(name: str = "stem.conv", **changes: object) -> Layer:
    facts: dict[str, object] = {
        "index": 1,
        "name": name,
        "slug": name,
        "op": "call_module",
        "target": name,
        "module_type": "Conv2d",
        "parents": ("x",),
        "detail": "3 to 8 channels, 3 × 3 kernel, stride 1",
    }
    return Layer(**{**facts, **changes})  # type: ignore[arg-type]


def activation(maps: torch.Tensor, of: Layer | None = None) -> Activation:
    images = tuple(image(f"image{number}") for number in range(maps.shape[0]))
    return Activation(of or layer(), images, maps, Reading("NCHW", maps))


def vector(values: torch.Tensor) -> Activation:
    images = tuple(image(f"image{number}") for number in range(values.shape[0]))
    return Activation(layer("fc", module_type="Linear"), images, values, Reading("NC", None, "a vector"))


def batch(count: int = 2) -> Batch:
    return Batch(tuple(image(f"image{number}") for number in range(count)), torch.zeros(count, 3, 6, 8))
