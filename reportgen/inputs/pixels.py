"""Image files as upright 8-bit RGB, whatever they hold. Needs no torch.

- EXIF orientation is applied; ICC profiles are ignored.
- 16-bit gray becomes round(value / 257). 32-bit integers do too when all of them lie in 0..65535.
- Other integers, and floating-point gray, are stretched from their finite minimum..maximum to 0..255;
  non-finite values become 0.
- Gray, 1-bit and palette images are expanded; CMYK, YCbCr, LAB and HSV are converted by Pillow, as is
  16-bit colour, of which Pillow keeps the high 8 bits.
- Transparency of every kind is composited over white.
"""

import re
import struct
import warnings
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import ExifTags, Image, ImageFile, UnidentifiedImageError

from reportgen.errors import InputError

MAX_PIXELS = 62_000_000
"""What the largest cameras of 35 mm take; decoding so many takes less than a gigabyte."""

MORE = ", or allow more with --max-pixels"
"""How the error for too many pixels ends."""

_Levels = npt.NDArray[np.uint8]
_Floats = npt.NDArray[np.float64]
_Numbers = npt.NDArray[Any]
_Convert = Callable[[_Numbers], _Levels]

# Pillow recognises these but leaves their decoding to other programs, of which Ghostscript is one.
_HEAVY = frozenset({"JPEG2000"})  # decoding takes twice the memory of other formats
_FOREIGN = frozenset({"EPS", "WMF", "BUFR", "GRIB", "HDF5"})
_TRANSPARENT = frozenset({"1", "L", "P", "RGB", "LA", "La", "PA", "RGBA", "RGBa"})
_KINDS = {"1": "1-bit", "L": "gray", "LA": "gray", "La": "gray", "P": "palette", "PA": "palette"}
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_AT_ONCE = 1 << 20
"""So many pixels are converted at once where that takes more memory than the picture."""
_DAMAGED_EXIF = (SyntaxError, struct.error, ValueError, LookupError, TypeError, OSError, EOFError)


def read_pixels(path: Path, shown: str) -> Image.Image:
    """Return the image of a file, upright, mode RGB, without metadata; of several frames the first.

    Raises InputError, starting with `shown`, if it is no image, is damaged or has more than MAX_PIXELS pixels.
    """
    with refusals(shown), path.open("rb") as file, Image.open(file) as image:
        check_image(image, shown, MAX_PIXELS)
        pixels, _ = upright_rgb(image)
    pixels.info = {}
    return pixels


def check_image(image: Image.Image, shown: str, max_pixels: int) -> None:
    if image.format in _FOREIGN:
        raise InputError(f"{shown} is {image.format}, which can't be decoded here; convert it to PNG")
    check_size(image, shown, max_pixels // 2 if image.format in _HEAVY and max_pixels == MAX_PIXELS else max_pixels)


def check_size(image: Image.Image, shown: str, max_pixels: int) -> None:
    pixels = image.width * image.height
    if pixels == 0:
        raise InputError(f"{shown} is {image.width} x {image.height} pixels; give an image with pixels")
    if pixels > max_pixels:
        raise InputError(f"{shown} has {_too_many(pixels, max_pixels)}")


def _too_many(pixels: int | str, max_pixels: int) -> str:
    return f"{pixels} pixels, more than the {max_pixels} allowed; scale it down{MORE}"


@contextmanager
def refusals(shown: str, max_pixels: int = 0) -> Iterator[None]:
    """Turn whatever Pillow raises for a bad file into an InputError that starts with `shown`.

    Pillow's own limit is `max_pixels` (0: MAX_PIXELS) inside: it holds for tiles and frames, too.

    Pillow's decoders raise nearly every built-in exception for corrupt data, hence the broad clause.
    """
    limit, pillows = max_pixels or MAX_PIXELS, Image.MAX_IMAGE_PIXELS
    with warnings.catch_warnings():
        Image.MAX_IMAGE_PIXELS = limit
        warnings.simplefilter("ignore", UserWarning)
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        try:
            yield
        except (InputError, MemoryError):
            raise
        except Exception as error:
            raise InputError(f"{shown} {reason_of(error, limit)}") from error
        finally:
            Image.MAX_IMAGE_PIXELS = pillows


def reason_of(error: Exception, max_pixels: int = 0) -> str:
    """Say what was wrong with an image, and what to do, as the rest of a sentence about it."""
    if isinstance(error, Image.DecompressionBombError | Image.DecompressionBombWarning):
        count = re.search(r"\d+", str(error))
        return f"has {_too_many(count.group() if count else 'too many', max_pixels)}"
    if isinstance(error, UnidentifiedImageError):
        return "is not an image in a known format; give PNG, JPEG, WebP, BMP, GIF or TIFF"
    if isinstance(error, OSError) and error.strerror:
        return f"can't be read ({error.strerror}); check the path and its permissions"
    return f"can't be decoded ({str(error) or type(error).__name__}); save it again or leave it out"


def joined(*notes: str) -> str:
    return "; ".join(note for note in notes if note)


def cut_note(image: Image.Image) -> str:
    """Tell 16-bit colour by the data layout, which only an image that is not loaded yet knows."""
    layout = str(image.tile) if isinstance(image, ImageFile.ImageFile) else ""
    return "16-bit colour, high 8 bits kept" if ";16" in layout and image.mode[0] != "I" else ""


def upright_rgb(image: Image.Image) -> tuple[Image.Image, str]:
    """Return a new image, and how it was made."""
    # Pillow turns TIFF itself while loading, and then no longer reports an orientation.
    turned = orientation(image) if image.format == "TIFF" else 1
    image.load()
    pending = orientation(image)
    pixels, note = to_rgb(image)
    if pending in _TURNS:
        pixels = pixels.transpose(_TURNS[pending])
    stored = max(turned, pending)
    return pixels, joined(note, f"turned upright (EXIF orientation {stored})" if stored in _TURNS else "")


def orientation(image: Image.Image) -> int:
    """Return the EXIF orientation 1..8; 1 where there is none or it can't be read."""
    try:
        value = image.getexif().get(ExifTags.Base.Orientation, 1)
    except _DAMAGED_EXIF:
        return 1
    return value if isinstance(value, int) else 1


def to_rgb(image: Image.Image) -> tuple[Image.Image, str]:
    """Return a new RGB image of a loaded image, and what had to be done to it."""
    mode = image.mode
    if mode == "F" or mode[0] == "I":
        return _gray_as_rgb(image)
    if mode in _TRANSPARENT and image.has_transparency_data:
        return _over_white(image)
    if mode == "RGB":
        return image.copy(), ""
    return image.convert("RGB"), _expanded(mode)


def _expanded(mode: str) -> str:
    return "" if mode in ("RGB", "RGBA", "RGBa", "RGBX") else f"{_KINDS.get(mode, mode)} converted to RGB"


def _over_white(image: Image.Image) -> tuple[Image.Image, str]:
    """Composite a transparent image over white, exactly rounded; a few rows at a time, since 16 bits are needed."""
    straight = image.convert("LA") if image.mode == "La" else image
    width, height = image.size
    over, least, step = Image.new("RGB", image.size), 255, max(1, _AT_ONCE // width)
    for row in range(0, height, step):
        part = np.asarray(straight.crop((0, row, width, min(height, row + step))).convert("RGBA")).astype(np.uint16)
        colour, alpha = part[..., :3], part[..., 3:]
        levels = (colour * alpha + 255 * (255 - alpha) + 127) // 255
        over.paste(Image.fromarray(levels.astype(np.uint8)), (0, row))
        least = min(least, int(alpha.min()))
    note = "transparency composited over white" if least < 255 else ""
    return over, joined(_expanded(image.mode), note)


def _gray_as_rgb(image: Image.Image) -> tuple[Image.Image, str]:
    """Reduce 16-bit, 32-bit or floating-point gray to 8 bits; a few rows at a time, to save memory."""
    levels_of, note = _levels_of_gray(image)
    made = Image.new("RGB", image.size)
    for row, part in _in_rows(image):
        made.paste(Image.fromarray(levels_of(part)).convert("RGB"), (0, row))
    return made, note


def _in_rows(image: Image.Image) -> Iterator[tuple[int, _Numbers]]:
    """Yield parts of an image with the number of their first row."""
    width, height = image.size
    step = max(1, _AT_ONCE // width)
    for row in range(0, height, step):
        yield row, np.asarray(image.crop((0, row, width, min(height, row + step))))


def _levels_of_gray(image: Image.Image) -> tuple[_Convert, str]:
    """Return what makes 8-bit levels of parts of an image, and a note."""
    if image.mode == "F":
        levels_of, note = _stretch(part for _, part in _in_rows(image))
        return levels_of, f"floating-point gray, {note}"
    depth = "32-bit" if image.mode == "I" else "16-bit"
    if any(part.min() < 0 or part.max() > 65535 for _, part in _in_rows(image)):
        levels_of, note = _stretch(part for _, part in _in_rows(image))
        return levels_of, f"{depth} gray, {note}"
    note, clear = f"{depth} gray, scaled to 8 bits", image.info.get("transparency")
    if isinstance(clear, int) and any((part == clear).any() for _, part in _in_rows(image)):
        return partial(_levels_of_16_bits, clear=clear), joined(note, "transparency composited over white")
    return _levels_of_16_bits, note


def _levels_of_16_bits(values: _Numbers, clear: int | None = None) -> _Levels:
    levels: _Levels = ((values.astype(np.int32) + 128) // 257).astype(np.uint8)
    return levels if clear is None else np.where(values == clear, np.uint8(255), levels)


def levels_of_floats(values: _Numbers, unit: bool = False) -> tuple[_Levels, str]:
    """Return uint8 levels of an array and a note, as `_stretch` finds them."""
    flat = values.reshape(-1)
    parts = [flat[start : start + _AT_ONCE] for start in range(0, flat.size, _AT_ONCE)]
    levels_of, note = _stretch(parts, unit)
    return np.concatenate([levels_of(part) for part in parts]).reshape(values.shape), note


def _stretch(parts: Iterable[_Numbers], unit: bool = False) -> tuple[_Convert, str]:
    """Return what makes uint8 levels of each part of some values, and a note.

    The finite minimum..maximum of all becomes 0..255; a constant, and what is not finite, 0. With `unit`, values
    that all lie in 0..1 are multiplied by 255 instead.
    """
    count, low, high = 0, np.inf, -np.inf
    for part in parts:
        finite = part[np.isfinite(part)]
        count += part.size - finite.size
        if finite.size:
            low, high = min(low, float(finite.min())), max(high, float(finite.max()))
    lost = f"{count} non-finite values as 0" if count else ""
    if low > high:
        return _zeros, lost
    as_is = unit and low >= 0 and high <= 1
    if low == high and not as_is:
        return _zeros, joined(f"constant {low:.6g} as 0", lost)
    told = "0..1 shown as 0..255" if as_is else f"{low:.6g}..{high:.6g} stretched to 0..255"
    ends = (0.0, 1.0) if as_is else (low, high)
    return partial(_levels_of_part, low=ends[0], high=ends[1]), joined(told, lost)


def _zeros(values: _Numbers) -> _Levels:
    return np.zeros(values.shape, np.uint8)


def _levels_of_part(values: _Numbers, low: float, high: float) -> _Levels:
    """Map low..high to 0..255, and what is not finite to 0."""
    finite = np.isfinite(values)
    kept = np.where(finite, values, 0).astype(np.float64)
    return _rounded(np.where(finite, _share(kept, low, high), 0))


def _share(values: _Floats, low: float, high: float) -> _Floats:
    """Map low..high to 0..1, also where high - low is more than a float can hold."""
    if np.isinf(high - low):
        values, low, high = values / 2, low / 2, high / 2
    return (values - low) / (high - low)


def _rounded(share: _Floats) -> _Levels:
    """Map 0..1 to 0..255, halves upwards."""
    return np.floor(share * 255 + 0.5).astype(np.uint8)
