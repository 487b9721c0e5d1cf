"""The words that captions and alt texts share."""

import math

import torch

from reportgen.entities import Layer
from reportgen.numerics.real import is_quantised


def describe_layer(layer: Layer) -> str:
    """`layer1.0.conv1 (Conv2d, 64 to 64 channels, 3 × 3 kernel, stride 1)`."""
    what = "the network's input" if layer.op == "placeholder" else layer.module_type
    what = what or layer.target.rsplit(".", 1)[-1]
    facts = ", ".join(fact for fact in (what, layer.detail) if fact)
    return f"{layer.name} ({facts})"


def conversion_sentence(value: object) -> str:
    """What drawing made of values that are no plain numbers: complex or quantised ones; else an empty string."""
    if not isinstance(value, torch.Tensor):
        return ""
    dtype = str(value.dtype).removeprefix("torch.")
    if value.is_complex():
        return f"The values are complex ({dtype}): their magnitudes are drawn."
    return f"The values are quantised ({dtype}): they are drawn dequantised." if is_quantised(value) else ""


def describe_number(value: float) -> str:
    """Four significant digits, with a true minus sign; `undefined` for NaN."""
    if math.isnan(value):
        return "undefined"
    return f"{value:.4g}".replace("-", "\N{MINUS SIGN}")


def describe_range(low: float, high: float) -> str:
    """`−1.25 to 3.5`."""
    return f"{describe_number(low)} to {describe_number(high)}"


def json_number(value: float) -> float | None:
    """A number for JSON, with the nine digits that bring a float32 back exactly; None where it is not finite."""
    return float(f"{value:.9g}") if math.isfinite(value) else None


def count(number: int, noun: str) -> str:
    """`1 channel`, `64 channels`, `4 batches`."""
    ending = "" if number == 1 else "es" if noun.endswith("ch") else "s"
    return f"{number:,} {noun}{ending}"


def count_shown(shown: int, total: int, noun: str) -> str:
    """`64 of 512 channels`, or `all 64 channels`."""
    if shown < total:
        return f"{shown:,} of {count(total, noun)}"
    return f"all {count(total, noun)}" if total > 1 else f"the one {noun}"
