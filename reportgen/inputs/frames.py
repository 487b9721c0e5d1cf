"""The frames of an animated picture that a model of clips, or of pairs, is given."""

from collections.abc import Callable
from typing import Any

from PIL import Image

_ANIMATED = frozenset({"GIF", "WEBP", "PNG"})

Convert = Callable[[Image.Image], tuple[Image.Image, str]]
"""Makes an image upright 8-bit RGB, and says how."""
Frames = tuple[Image.Image, ...]


def is_animation(image: Image.Image) -> bool:
    """Tell an animation from pictures whose frames are pages or layers."""
    return image.format in _ANIMATED and int(getattr(image, "n_frames", 1)) > 1


def take_spaced(image: Any, wanted: int, convert: Convert) -> tuple[Frames, str]:
    """Return `wanted` frames of an animation, evenly spaced from the first to the last, and a note that says so.

    Where it has fewer, some are given more than once.
    """
    total = int(image.n_frames)
    numbers = [round(place * (total - 1) / max(1, wanted - 1)) for place in range(wanted)]
    frames = {number: _frame(image, number, convert) for number in sorted(set(numbers))}
    spacing = "evenly spaced" if wanted <= total else f"evenly repeated as {wanted}"
    note = _joined(frames[0][1], f"{len(frames)} of {total} frames, {spacing}")
    return tuple(frames[number][0] for number in numbers), note


def take_first_different(image: Any, convert: Convert) -> tuple[Frames, str]:
    """Return the first frame of an animation and the first that differs from it, and a note that says so.

    Where all are the same, that is the first one alone.
    """
    total = int(image.n_frames)
    first, how = _frame(image, 0, convert)
    for number in range(1, total):
        frame, _ = _frame(image, number, convert)
        if frame.tobytes() != first.tobytes():
            told = f"frames 1 and {number + 1} of {total}, the first two that differ"
            return (first, frame), _joined(how, told)
    return (first,), _joined(how, f"first of {total} frames, which are all the same")


def _frame(image: Any, number: int, convert: Convert) -> tuple[Image.Image, str]:
    image.seek(number)
    return convert(image)


def _joined(how: str, note: str) -> str:
    return f"{how}; {note}" if how else note
