"""The frames of an animated picture that a model of clips, or of pairs, is given."""

from collections.abc import Callable
from typing import Any

from PIL import Image

_ANIMATED = frozenset({"GIF", "WEBP", "PNG"})
_PAGES = 1000
_SEARCHED = 1 << 23
"""Pages of a TIFF, and frames of a GIF of more bytes than this, are counted one by one, up to _PAGES."""
_PIXELS, _FRAMES = 1 << 27, 20_000
"""Of an animation so many pixels and frames are decoded: each frame needs all those before it, and stays."""

Convert = Callable[[Image.Image], tuple[Image.Image, str]]
"""Makes an image upright 8-bit RGB, and says how."""
Frames = tuple[Image.Image, ...]


def is_animation(image: Image.Image) -> bool:
    """Tell an animation from pictures whose frames are pages or layers."""
    return image.format in _ANIMATED and bool(getattr(image, "is_animated", False))


def count_frames(image: Any) -> tuple[int, bool]:
    """Return how many frames or pages an opened file has, at most a thousand where only a search can tell.

    True says that the search ended there, before the file did.
    """
    if not getattr(image, "is_animated", False):
        return 1, False
    if image.format not in ("TIFF", "GIF") or (image.format == "GIF" and _size(image) <= _SEARCHED):
        return int(image.n_frames), False
    found = _reach(image, min(_PAGES, _most(image)) if image.format == "GIF" else _PAGES)
    image.seek(0)
    return found, found >= _PAGES


def _size(image: Any) -> int:
    place = image.fp.tell()
    size = int(image.fp.seek(0, 2))
    image.fp.seek(place)
    return size


def _reach(image: Any, most: int) -> int:
    """Go through the frames, and return how many there are, or `most` if there are more."""
    for number in range(1, most):
        try:
            image.seek(number)
        except EOFError:
            return number
    return most


def _most(image: Any) -> int:
    """How many frames of an animation may be decoded."""
    return int(min(_FRAMES, max(2, _PIXELS // max(1, image.width * image.height))))


def _within(image: Any) -> tuple[int, str]:
    """Return from how many frames to choose, and how to call them."""
    count, more = count_frames(image)
    most = _most(image)
    if count <= most and not more:
        return count, f"{count}"
    return min(count, most), f"the first {min(count, most)}{f' of {count}' if not more else ''}"


def take_spaced(image: Any, wanted: int, convert: Convert) -> tuple[Frames, str]:
    """Return `wanted` frames of an animation, evenly spaced from the first to the last, and a note that says so.

    Where it has fewer, some are given more than once.
    """
    total, called = _within(image)
    numbers = [round(place * (total - 1) / max(1, wanted - 1)) for place in range(wanted)]
    frames = {number: _frame(image, number, convert) for number in sorted(set(numbers))}
    spacing = "evenly spaced" if wanted <= total else f"evenly repeated as {wanted}"
    note = _joined(frames[0][1], f"{len(frames)} of {called} frames, {spacing}")
    return tuple(frames[number][0] for number in numbers), note


def take_first_different(image: Any, convert: Convert) -> tuple[Frames, str]:
    """Return the first frame of an animation and the first that differs from it, and a note that says so.

    Where all are the same, that is the first one alone.
    """
    total, called = _within(image)
    first, how = _frame(image, 0, convert)
    for number in range(1, total):
        frame, _ = _frame(image, number, convert)
        if frame.tobytes() != first.tobytes():
            told = f"frames 1 and {number + 1} of {called}, the first two that differ"
            return (first, frame), _joined(how, told)
    return (first,), _joined(how, f"first of {called} frames, which are all the same")


def _frame(image: Any, number: int, convert: Convert) -> tuple[Image.Image, str]:
    image.seek(number)
    return convert(image)


def _joined(how: str, note: str) -> str:
    return f"{how}; {note}" if how else note
