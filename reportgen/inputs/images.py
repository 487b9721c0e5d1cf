"""Images: found and checked before any work begins, then decoded one at a time to upright 8-bit RGB.

What is done to an image so that it can be shown and fed to a network:

- EXIF orientation is applied; ICC profiles are ignored.
- 16-bit gray becomes round(value / 257). 32-bit integers do too when all of them lie in 0..65535.
- Other integers, and floating-point gray, are stretched from their finite minimum..maximum to 0..255;
  non-finite values become 0.
- Gray, 1-bit and palette images are expanded; CMYK, YCbCr, LAB and HSV are converted by Pillow, as is
  16-bit colour, of which Pillow keeps the high 8 bits.
- Transparency of every kind is composited over white.
- Of several frames or pages, the first is taken; where a model takes clips or pairs, as many frames of an
  animation (GIF, WebP, APNG) as it needs.

`Picture.note` says which of these an image needed.
"""

import glob
import hashlib
import os
import re
import struct
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from PIL import ExifTags, Image, ImageFile, UnidentifiedImageError

from reportgen.errors import InputError
from reportgen.inputs.forms import PICTURE, Form, middle
from reportgen.inputs.frames import Frames, count_frames, is_animation, take_first_different, take_spaced
from reportgen.names import as_written, did_you_mean, make_unique, slugify

SUFFIXES: frozenset[str] = frozenset({".png", ".jpg", ".jpeg", ".webp", ".bmp", ".gif", ".tif", ".tiff"})
MAX_PIXELS = 62_000_000
"""What the largest cameras of 35 mm take; decoding so many takes less than a gigabyte."""

Item = str | os.PathLike[str] | Image.Image | torch.Tensor
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


@dataclass(frozen=True)
class ImageSource:
    """An image that is known to exist but not yet decoded.

    `id` is a slug, unique among the images found together; `name` is what people call the image: the
    file's name without directories, or `image 3` / `tensor 3` for the third object. A tensor in
    `content` has the shape (C, H, W) and may share the caller's memory. A file that has more than `max_pixels`
    pixels when it is decoded is refused (0: MAX_PIXELS).
    """

    id: str
    name: str
    content: Path | Image.Image | torch.Tensor
    max_pixels: int = 0


@dataclass(frozen=True)
class Picture:
    """A decoded image.

    `pixels` is upright, mode RGB, 8 bits, without metadata; `width` and `height` are its size. `sha256` is
    that of the file's bytes, or for objects of their mode or dtype, size and raw values (with palette,
    transparency and orientation where an object has them). `network_input` is a floating-point tensor
    (C, H, W) or (C, D, H, W) on the CPU that must be fed to the network as it is, else None. `note` says how the
    image was converted for showing, "" when nothing had to be. `frames` are those of an animation that a model
    of clips is given, of which `pixels` is the middle one; () for a still picture.
    """

    id: str
    name: str
    width: int
    height: int
    sha256: str
    pixels: Image.Image
    network_input: torch.Tensor | None = field(compare=False)
    note: str
    frames: Frames = ()


@dataclass(frozen=True)
class BadImage:
    """An image that can't be used. `reason` names no directory."""

    name: str
    reason: str


Skip = Callable[[BadImage], None]
"""Told of a bad image that is left out."""


@contextmanager
def leaving_out(shown: str, name: str, skip: Skip | None) -> Iterator[None]:
    """Tell `skip` of an image that is refused inside the block; without `skip`, the InputError goes on.

    `shown` is how the error calls it, `name` how the report does.
    """
    try:
        yield
    except InputError as error:
        if skip is None:
            raise
        reason = str(error)
        for start in (shown, name):
            reason = reason.removeprefix(" ".join(start.split()))
        skip(BadImage(" ".join(name.split()), reason.lstrip(": ")))


def find_images(items: Iterable[Item], skip: Skip | None = None, max_pixels: int = 0) -> tuple[ImageSource, ...]:
    """Return the images that `items` stand for: files sorted by name, then PIL images and tensors as given.

    A string or path is a file (whatever its suffix), a directory (every image inside it by suffix, at any
    depth, hidden names skipped) or a glob (the files it matches; `**` crosses directories). A file that is
    given twice counts once. A tensor is one image (C, H, W), several (N, C, H, W) or several clips (N, C, D, H, W):
    uint8 with 1, 3 or 4 channels is a picture, floating point is the network's own input. The header of every
    file is read.

    Raises InputError if there is no image, or if one is missing, unreadable, empty, not an image, or has
    more than `max_pixels` pixels (0: MAX_PIXELS). With `skip`, images that are there but can't be used are left
    out.
    """
    files: list[Path] = []
    objects: list[Image.Image | torch.Tensor] = []
    for position, item in enumerate(_listed(items), 1):
        if isinstance(item, torch.Tensor):
            objects += _split(item, position)
        elif isinstance(item, Image.Image):
            objects.append(item)
        else:
            files += _expand(item, position)
    bad: list[BadImage] = []
    found = [
        *_checked_files(files, skip and bad.append, max_pixels or MAX_PIXELS),
        *_named_objects(objects, skip and bad.append, max_pixels or MAX_PIXELS),
    ]
    if bad and not found:
        raise none_usable(bad)
    if skip:
        for image in bad:
            skip(image)
    if not found:
        raise InputError("no images were given; name image files, directories or globs such as 'photos/*.jpg'")
    ids = make_unique(slugify(stem) for stem, _, _ in found)
    return tuple(
        ImageSource(id_, name, content, max_pixels) for id_, (_, name, content) in zip(ids, found, strict=True)
    )


def none_usable(bad: Sequence[BadImage]) -> InputError:
    """Return the error that says of images that they are all bad."""
    return InputError(f"none of the {len(bad)} images can be used; the first, {bad[0].name}, {bad[0].reason}")


def sha256_of_image(source: ImageSource) -> str:
    """Return the SHA-256 that the decoded image will bear: of a file, its bytes. Raises InputError."""
    if isinstance(source.content, Path):
        try:
            return hashlib.sha256(source.content.read_bytes()).hexdigest()
        except OSError as error:
            raise InputError(f"{source.content}: can't be read: {error.strerror}") from error
    return decode(source).sha256


def decode(source: ImageSource, form: Form = PICTURE) -> Picture:
    """Return the decoded image; the caller's PIL image or tensor is never modified nor shared.

    `form` says how many frames of an animated file are taken.
    Of a PIL image with several frames the current one is taken. A uint8 tensor is read as 0..255. A floating
    tensor is shown as value * 255 when all its finite values lie in 0..1, else stretched from their minimum
    ..maximum; with other than 1 or 3 channels, the mean of its channels is shown as gray.

    Raises InputError, naming the image, if its data are truncated or corrupt.
    """
    content = source.content
    if isinstance(content, Path):
        return _decode_file(source, content, form)
    if isinstance(content, Image.Image):
        return _decode_pil(source, content)
    if content.dtype == torch.uint8:
        return _decode_uint8(source, content)
    return _decode_floating(source, content)


# Finding


def _listed(items: Any) -> Iterable[Any]:
    """Take a single item for a list of one: a string would otherwise be read letter by letter."""
    return [items] if isinstance(items, str | os.PathLike | Image.Image | torch.Tensor) else items


def _expand(item: object, position: int) -> list[Path]:
    """Return the files that one string or path stands for."""
    text = os.fspath(item) if isinstance(item, str | os.PathLike) else None
    if not isinstance(text, str):
        raise InputError(
            f"image {position} is of type {type(item).__name__}; give a path, a PIL image or a torch tensor"
        )
    if not text:
        raise InputError(f"image {position} is an empty name; give a file, a directory or a glob")
    path = _expand_home(text)
    with _refusals(text):
        if _exists(path):
            return _inside(path) if path.is_dir() else [path]
        if glob.has_magic(str(path)):
            return _matches(str(path), text)
    raise _missing(path, text)


def _expand_home(text: str) -> Path:
    try:
        return Path(text).expanduser()
    except RuntimeError:  # no such user, so "~" is part of a name
        return Path(text)


def _exists(path: Path) -> bool:
    """True too for a link that leads nowhere: reading its header says so."""
    try:
        path.lstat()
    except (FileNotFoundError, NotADirectoryError, ValueError):
        return False
    return True


def _inside(directory: Path) -> list[Path]:
    try:
        found = list(_walk(directory, set()))
    except OSError as error:
        raise InputError(f"{error.filename or directory} {_reason(error)}") from error
    if not found:
        raise InputError(
            f"directory {directory} has no images; looked at any depth for {', '.join(sorted(SUFFIXES))}"
        )
    return found


def _walk(directory: Path, entered: set[str]) -> Iterator[Path]:
    """Yield the images under `directory` by suffix, links to directories followed, each directory once."""
    real = os.path.realpath(directory)
    if real in entered:
        return
    entered.add(real)
    for path in sorted(directory.iterdir()):
        if path.name.startswith("."):
            continue
        if path.is_dir():
            yield from _walk(path, entered)
        elif path.suffix.lower() in SUFFIXES:
            yield path


def _matches(pattern: str, given: str) -> list[Path]:
    paths = (Path(match) for match in glob.glob(pattern, recursive=True))  # noqa: PTH207 (absolute patterns too)
    found = [path for path in paths if not path.is_dir()]
    if not found:
        raise InputError(f"{given} matches no file; check the pattern and the directory it starts from")
    return found


def _missing(path: Path, given: str) -> InputError:
    try:
        siblings = sorted(sibling.name for sibling in path.parent.iterdir())
    except (OSError, ValueError):
        return InputError(f"{given} does not exist, nor does its directory; check the path")
    return InputError(f"{given} does not exist; {did_you_mean(path.name, siblings) or 'check the path'}")


def _checked_files(files: Iterable[Path], skip: Skip | None, max_pixels: int) -> Iterator[tuple[str, str, Path]]:
    """Yield (stem, name, path) of the distinct files, sorted by what they are and not by how they came."""
    keyed = [(as_written(path.name).casefold(), os.path.realpath(path), str(path)) for path in files]
    distinct: dict[str, Path] = {}
    for _, real, given in sorted(keyed):
        distinct.setdefault(real, Path(given))
    for path in distinct.values():
        with leaving_out(str(path), _printable(path.name), skip):
            _check_header(path, max_pixels)
            yield as_written(path.stem), _printable(path.name), path


def _named_objects(
    objects: Iterable[Image.Image | torch.Tensor], skip: Skip | None, max_pixels: int
) -> Iterator[tuple[str, str, Image.Image | torch.Tensor]]:
    """Yield (stem, name, object); an image that Pillow read from a file is called after it."""
    for number, content in enumerate(objects, 1):
        if isinstance(content, torch.Tensor):
            yield f"image-{number}", f"tensor {number}", content
            continue
        file = Path(as_written(os.fsdecode(getattr(content, "filename", "") or "")))
        name = _printable(file.name) or f"image {number}"
        with leaving_out(name, name, skip):
            _check_size(content, name, max_pixels)
            yield file.stem or f"image-{number}", name, content


def _printable(name: str) -> str:
    """Replace what UTF-8 can't hold: the bytes of a file name in another encoding."""
    return as_written(name).encode("utf-8", "replace").decode("utf-8")


def _split(tensor: torch.Tensor, position: int) -> list[torch.Tensor]:
    """Return the images (C, H, W), or the clips (C, D, H, W), of a tensor, as views of it."""
    what = f"image {position}, a tensor {tuple(tensor.shape)} of {tensor.dtype},"
    clips = tensor.dim() == 5 and tensor.is_floating_point()
    if not (tensor.dim() in (3, 4) or clips) or 0 in tensor.shape:
        raise InputError(
            f"{what} has no images; give the shape (C, H, W) or (N, C, H, W), or floating-point clips "
            "(N, C, frames, H, W), no size being 0"
        )
    if tensor.layout != torch.strided or tensor.is_meta:
        raise InputError(f"{what} holds no dense values; give an ordinary dense tensor")
    if tensor.dtype != torch.uint8 and not tensor.is_floating_point():
        raise InputError(f"{what} is neither a picture nor a network's input; convert it to uint8 or float32")
    if tensor.dtype == torch.uint8 and tensor.shape[-3] not in (1, 3, 4):
        raise InputError(f"{what} has {tensor.shape[-3]} channels; pictures have 1, 3 or 4, channels first")
    plain = tensor.detach().as_subclass(torch.Tensor)
    return [plain] if plain.dim() == 3 else list(plain)


# Checking and refusing


def _check_header(path: Path, max_pixels: int) -> None:
    """Raise InputError unless `path` is a readable file that starts like an image of an allowed size."""
    with _refusals(str(path), max_pixels):
        if not path.is_file():
            kind = "a link that leads nowhere" if path.is_symlink() else "not a regular file"
            raise InputError(f"{path} is {kind}; give an image file")
        if path.stat().st_size == 0:
            raise InputError(f"{path} is empty (0 bytes); copy it again or leave it out")
        with path.open("rb") as file, Image.open(file) as image:
            _check_image(image, str(path), max_pixels)


def _check_image(image: Image.Image, shown: str, max_pixels: int) -> None:
    if image.format in _FOREIGN:
        raise InputError(f"{shown} is {image.format}, which can't be decoded here; convert it to PNG")
    _check_size(
        image, shown, max_pixels // 2 if image.format in _HEAVY and max_pixels == MAX_PIXELS else max_pixels
    )


def _check_size(image: Image.Image, shown: str, max_pixels: int) -> None:
    pixels = image.width * image.height
    if pixels == 0:
        raise InputError(f"{shown} is {image.width} x {image.height} pixels; give an image with pixels")
    if pixels > max_pixels:
        raise InputError(f"{shown} has {_too_many(pixels, max_pixels)}")


def _too_many(pixels: int | str, max_pixels: int) -> str:
    return f"{pixels} pixels, more than the {max_pixels} allowed; scale it down, or allow more with --max-pixels"


@contextmanager
def _refusals(shown: str, max_pixels: int = 0) -> Iterator[None]:
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
            raise InputError(f"{shown} {_reason(error, limit)}") from error
        finally:
            Image.MAX_IMAGE_PIXELS = pillows


def _reason(error: Exception, max_pixels: int = 0) -> str:
    """Say what was wrong with an image, and what to do, as the rest of a sentence about it."""
    if isinstance(error, Image.DecompressionBombError | Image.DecompressionBombWarning):
        count = re.search(r"\d+", str(error))
        return f"has {_too_many(count.group() if count else 'too many', max_pixels)}"
    if isinstance(error, UnidentifiedImageError):
        return "is not an image in a known format; give PNG, JPEG, WebP, BMP, GIF or TIFF"
    if isinstance(error, OSError) and error.strerror:
        return f"can't be read ({error.strerror}); check the path and its permissions"
    return f"can't be decoded ({str(error) or type(error).__name__}); save it again or leave it out"


# Decoding


def _decode_file(source: ImageSource, path: Path, form: Form) -> Picture:
    with _refusals(str(path), source.max_pixels), path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
        file.seek(0)
        with Image.open(file) as image:
            _check_image(image, str(path), source.max_pixels or MAX_PIXELS)
            frames, note = _frames(image, form)
    still = _picture(source, digest, frames[middle(len(frames))], note)
    return replace(still, frames=frames) if len(frames) > 1 else still


def _frames(image: Image.Image, form: Form) -> tuple[Frames, str]:
    """Return the frames of a file that the form needs, the first for a picture, and how they were made."""
    cut, told = _cut_note(image), _frames_note(image)
    if form.frames == 1 or not is_animation(image):
        pixels, note = _upright_rgb(image)
        return (pixels,), _joined(note, cut, told)
    if form.first_different:
        frames, note = take_first_different(image, _upright_rgb)
    else:
        frames, note = take_spaced(image, form.frames, _upright_rgb)
    return frames, _joined(note, cut)


def _decode_pil(source: ImageSource, image: Image.Image) -> Picture:
    with _refusals(source.name):
        cut = _cut_note(image)
        pixels, note = _upright_rgb(image)
        digest = _hash_pil(image)
    return _picture(source, digest, pixels, _joined(note, cut))


def _decode_uint8(source: ImageSource, tensor: torch.Tensor) -> Picture:
    channels = tensor.shape[0]
    values = tensor.cpu().numpy()
    image = Image.fromarray(values[0] if channels == 1 else np.ascontiguousarray(np.moveaxis(values, 0, -1)))
    pixels, note = _to_rgb(image)
    return _picture(source, _hash_tensor(tensor), pixels, note)


def _decode_floating(source: ImageSource, tensor: torch.Tensor) -> Picture:
    owned = tensor.detach().to("cpu", copy=True)
    values = owned.to(torch.float64).numpy()
    kind = f"{str(owned.dtype).removeprefix('torch.')} tensor, fed as it is"
    if values.ndim == 4:
        number = middle(values.shape[1])
        kind += f", shown by frame {number + 1} of {values.shape[1]}"
        values = values[:, number]
    if len(values) not in (1, 3):
        kind += f", shown as the mean of its {len(values)} channels"
        with np.errstate(all="ignore"):
            values = values.mean(axis=0, keepdims=True)
    levels, note = _levels_of_floats(values, unit=True)
    image = Image.fromarray(levels[0] if len(levels) == 1 else np.moveaxis(levels, 0, -1).copy())
    return _picture(source, _hash_tensor(owned), image.convert("RGB"), _joined(kind, note), owned)


def _picture(
    source: ImageSource,
    sha256: str,
    pixels: Image.Image,
    note: str,
    network_input: torch.Tensor | None = None,
) -> Picture:
    pixels.info = {}  # EXIF, ICC and GPS data must not travel on into what is published
    return Picture(source.id, source.name, *pixels.size, sha256, pixels, network_input, note)


def _joined(*notes: str) -> str:
    return "; ".join(note for note in notes if note)


def _cut_note(image: Image.Image) -> str:
    """Tell 16-bit colour by the data layout, which only an image that is not loaded yet knows."""
    layout = str(image.tile) if isinstance(image, ImageFile.ImageFile) else ""
    return "16-bit colour, high 8 bits kept" if ";16" in layout and image.mode[0] != "I" else ""


def _frames_note(image: Image.Image) -> str:
    # The frames of a Photoshop file are its layers; what is decoded is the whole picture.
    frames, more = (1, False) if image.format == "PSD" else count_frames(image)
    return f"first of {frames} frames{' or more' if more else ''}" if frames > 1 else ""


def _upright_rgb(image: Image.Image) -> tuple[Image.Image, str]:
    """Return a new image, and how it was made."""
    # Pillow turns TIFF itself while loading, and then no longer reports an orientation.
    turned = _orientation(image) if image.format == "TIFF" else 1
    image.load()
    pending = _orientation(image)
    pixels, note = _to_rgb(image)
    if pending in _TURNS:
        pixels = pixels.transpose(_TURNS[pending])
    stored = max(turned, pending)
    return pixels, _joined(note, f"turned upright (EXIF orientation {stored})" if stored in _TURNS else "")


def _orientation(image: Image.Image) -> int:
    """Return the EXIF orientation 1..8; 1 where there is none or it can't be read."""
    try:
        value = image.getexif().get(ExifTags.Base.Orientation, 1)
    except _DAMAGED_EXIF:
        return 1
    return value if isinstance(value, int) else 1


def _hash_pil(image: Image.Image) -> str:
    palette = image.getpalette(None) if image.mode in ("P", "PA") else None
    header = (image.mode, image.size, palette, image.info.get("transparency"), _orientation(image))
    return hashlib.sha256(repr(header).encode() + image.tobytes()).hexdigest()


def _hash_tensor(tensor: torch.Tensor) -> str:
    header = repr((str(tensor.dtype), tuple(tensor.shape)))
    raw = tensor.detach().cpu().contiguous().view(torch.uint8).numpy()
    return hashlib.sha256(header.encode() + raw.tobytes()).hexdigest()


# Conversion to 8-bit RGB


def _to_rgb(image: Image.Image) -> tuple[Image.Image, str]:
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
    return over, _joined(_expanded(image.mode), note)


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
        return partial(_levels_of_16_bits, clear=clear), _joined(note, "transparency composited over white")
    return _levels_of_16_bits, note


def _levels_of_16_bits(values: _Numbers, clear: int | None = None) -> _Levels:
    levels: _Levels = ((values.astype(np.int32) + 128) // 257).astype(np.uint8)
    return levels if clear is None else np.where(values == clear, np.uint8(255), levels)


def _levels_of_floats(values: _Numbers, unit: bool = False) -> tuple[_Levels, str]:
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
        return _zeros, _joined(f"constant {low:.6g} as 0", lost)
    told = "0..1 shown as 0..255" if as_is else f"{low:.6g}..{high:.6g} stretched to 0..255"
    ends = (0.0, 1.0) if as_is else (low, high)
    return partial(_levels_of_part, low=ends[0], high=ends[1]), _joined(told, lost)


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
