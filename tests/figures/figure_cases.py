"""Activations for the tests of figures, made without a network."""

import dataclasses

import numpy as np
import torch
from numpy.typing import NDArray
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


def typed(kind: str, *shape: int) -> torch.Tensor:
    """Random values of a kind that DTYPES names."""
    values = torch.randn(shape, generator=torch.Generator().manual_seed(len(kind)))
    if kind == "complex64":
        return torch.complex(values, values.roll(1, -1) * 3)
    if kind == "quint8":
        return torch.quantize_per_tensor(values, 0.05, 100, torch.quint8)
    if kind == "float16":
        return (values * 2e4).clamp(-65504, 65504).half()  # sums and squares of these leave float16
    dtype: torch.dtype = getattr(torch, kind)
    return values > 0 if dtype == torch.bool else (values.double().abs() * _LARGEST.get(kind, 1)).to(dtype)


_LARGEST = {"uint8": 60, "uint16": 1e4, "int64": 1e12, "float64": 1e60}
DTYPES = (
    "float16", "bfloat16", "float64", "bool", "uint8", "uint16", "int64", "float8_e4m3fn", "complex64", "quint8"
)  # fmt: skip
"""What a network may compute besides float32."""


def plain(values: torch.Tensor) -> NDArray[np.float64]:
    """The numbers that are drawn of `values`, by numpy's own arithmetic."""
    if values.is_complex():
        found: NDArray[np.float64] = np.abs(values.to(torch.complex128).numpy())
        return found
    if values.dtype == torch.quint8:
        codes = values.int_repr().double().numpy()
        return np.float64(values.q_scale()) * (codes - values.q_zero_point())
    return np.array(values.double().numpy())


def read(values: torch.Tensor) -> Activation:
    """An activation of maps that the network computed as `values`, as the reading hands them over."""
    maps = values.abs() if values.is_complex() else values.dequantize() if values.is_quantized else values
    return dataclasses.replace(activation(maps), value=values)


def vector(values: torch.Tensor) -> Activation:
    images = tuple(image(f"image{number}") for number in range(values.shape[0]))
    return Activation(layer("fc", module_type="Linear"), images, values, Reading("NC", None, "a vector"))


def batch(count: int = 2) -> Batch:
    return Batch(tuple(image(f"image{number}") for number in range(count)), torch.zeros(count, 3, 6, 8))
