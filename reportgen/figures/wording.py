"""The words that captions and alt texts share."""

import math
from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray

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


def json_numbers(values: NDArray[np.float64]) -> list[float | None]:
    """`json_number` of each of `values` (C,), in numpy.

    Nine digits are a whole number of at most 1e9, and a power of ten up to 1e22 is a float64: their quotient or
    product is the float64 nearest to that decimal. What this can't settle, next to a tie too, is left to Python.
    """
    with np.errstate(all="ignore"):
        power = _DIGITS - 1 - np.floor(np.log10(np.abs(values)))
        power[~np.isfinite(power)] = 99
        scale = _POWERS[np.minimum(np.abs(power), len(_POWERS) - 1).astype(int)]
        exact = np.where(power < 0, values / scale, values * scale)
        whole = np.rint(exact)
        found = np.where(power < 0, whole * scale, whole / scale)
        clear = np.abs(np.abs(exact - whole) - 0.5) > _NEAR_TIE
    size = np.abs(whole)
    settled = clear & (np.abs(power) < len(_POWERS)) & (size >= 10 ** (_DIGITS - 1)) & (size <= 10**_DIGITS)
    settled |= values == 0
    numbers: list[float | None] = np.where(values == 0, values, found).tolist()
    for place in np.flatnonzero(~settled).tolist():
        numbers[place] = json_number(float(values[place]))
    return numbers


def json_values(values: torch.Tensor) -> list[float | None]:
    """JSON numbers of a tensor (C,), with the digits that bring a float32 back exactly; None for NaN."""
    return json_numbers(values.cpu().numpy())


def json_ends(low: torch.Tensor, high: torch.Tensor) -> tuple[list[float | None], list[float | None]]:
    """`json_values` of two tensors (C,) at once."""
    numbers = json_numbers(np.concatenate([low.cpu().numpy(), high.cpu().numpy()]))
    return numbers[: len(low)], numbers[len(low) :]


_DIGITS, _NEAR_TIE = 9, 1e-5
_POWERS = np.array([float(10**power) for power in range(23)])


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
