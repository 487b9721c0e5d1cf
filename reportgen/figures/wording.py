"""The words that captions and alt texts share."""

import math
from collections.abc import Sequence

import torch

from reportgen.entities import Layer
from reportgen.names import plural
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
    """`1 channel`, `64 channels`, `4 batches`, `21 classes`, `10 queries`."""
    return f"{number:,} {noun if number == 1 else plural(noun)}"


def count_shown(shown: int, total: int, noun: str) -> str:
    """`64 of 512 channels`, or `all 64 channels`."""
    if shown < total:
        return f"{shown:,} of {count(total, noun)}"
    return f"all {count(total, noun)}" if total > 1 else f"the one {noun}"


def percent(share: float) -> str:
    """`62.3 %`; what would be rounded to nothing or to all is `< 0.1 %` or `> 99.9 %`; `undefined` for NaN."""
    if math.isnan(share):
        return "undefined"
    if 0 < share < 0.0005:
        return "< 0.1 %"
    if 0.9995 <= share < 1:
        return "> 99.9 %"
    return f"{100 * share:.1f} %"


def class_names(categories: Sequence[str], classes: int) -> Sequence[str]:
    """The names of so many classes: the `categories` where they are as many, else `class 0`, `class 1`."""
    return categories if len(categories) == classes else [f"class {number}" for number in range(classes)]


def describe_class_names(categories: Sequence[str], classes: int) -> str:
    """Why classes are numbered, or an empty string where they are named."""
    if len(categories) == classes:
        return ""
    if not categories:
        return "The names of the classes are not known; they are numbered from 0."
    known = f"{count(len(categories), 'name')} of classes {'is' if len(categories) == 1 else 'are'} known"
    return f"{known}, which {'does' if len(categories) == 1 else 'do'} not fit; classes are numbered from 0."
