"""A layer in words for people: what it does, its shape, its axes and its values."""

import re
from collections.abc import Sequence

from reportgen.site.record import DRAWN, LayerEntry

_AXIS = re.compile(r"\(([A-Z]*)\)|([A-Z])")
_WORDS = {
    "C": "channels", "D": "frames", "H": "rows", "W": "columns", "L": "tokens", "K": "keys",
}  # fmt: skip


def split_axes(layout: str) -> tuple[str, ...]:
    """Return the letters of each axis: `NCHW` as N, C, H, W; `(NHW)LC` as NHW, L, C; () for what is no layout."""
    found = [merged or single for merged, single in _AXIS.findall(layout)]
    return tuple(found) if _AXIS.sub("", layout) == "" else ()


def shape(layer: LayerEntry) -> str:
    """A layer's shape for people, the axis of the images left out: `64 × 56 × 56`; an en dash where it has none."""
    if layer.shape is None:
        return "–"
    sizes, _ = _of_one_image(layer.shape, layer.layout)
    return " × ".join(map(str, sizes))


def axes(layer: LayerEntry) -> str:
    """What the numbers of `shape` count: `channels × rows × columns`; empty where that is not known."""
    if layer.shape is None:
        return ""
    _, letters = _of_one_image(layer.shape, layer.layout)
    return " × ".join(map(_name, letters))


def _of_one_image(sizes: Sequence[int], layout: str) -> tuple[Sequence[int], Sequence[str]]:
    """Sizes and letters of the axes, as far as letters are known, without the axis that is the images alone."""
    letters = split_axes(layout)
    if len(letters) != len(sizes):
        alone = len(sizes) > 1 and sizes[0] == 1
        return (sizes[1:] if alone else sizes), ()
    if letters == ("N",):
        return sizes, ()
    kept = [place for place, letter in enumerate(letters) if letter != "N" or sizes[place] != 1]
    return [sizes[place] for place in kept], [letters[place] for place in kept]


def _name(letters: str) -> str:
    """`channels`; of a merged axis what it is made of, the images aside: `(rows × columns)`.

    What stands where images would, but is not one an image, are `items`: regions of interest, say.
    """
    if letters == "N":
        return "items"
    names = [_WORDS.get(letter, letter) for letter in letters if letter != "N"]
    return names[0] if len(names) == 1 else f"({' × '.join(names)})"


def values(layer: LayerEntry) -> str:
    """A layer's dtype, and what drawing made of it: `complex64, drawn as magnitudes`; empty where it has none."""
    dtype = layer.dtype or ""
    if layer.status != DRAWN:
        return dtype
    return next((f"{dtype}, {how}" for kind, how in _DRAWN_AS.items() if re.match(kind, dtype)), dtype)


_DRAWN_AS = {
    r"b?complex": "drawn as magnitudes",
    r"qu?int": "drawn dequantised",
    r"bool": "drawn as 0 and 1",
}
"""How values that are no plain numbers are drawn, by the beginning of their dtype's name."""


def operation(layer: LayerEntry) -> str:
    """What a layer does, in a word: its module's class, or the last part of its function's name."""
    if layer.op == "placeholder":
        return "the network's input"
    return layer.module_type or layer.target.rsplit(".", 1)[-1]
