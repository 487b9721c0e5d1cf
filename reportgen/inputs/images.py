"""Images: found and checked before any work begins, then decoded one at a time to upright 8-bit RGB.

What is done to an image so that it can be shown and fed to a network is told in `reportgen.inputs.pixels`. Of
several frames or pages, the first is taken; where a model takes clips or pairs, as many frames of an animation
(GIF, WebP, APNG) as it needs. `Picture.note` says what an image needed.
"""

import glob
import hashlib
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from reportgen.errors import InputError
from reportgen.inputs.forms import PICTURE, Form, middle
from reportgen.inputs.frames import Frames, count_frames, is_animation, take_first_different, take_spaced
from reportgen.inputs.pixels import MAX_PIXELS as MAX_PIXELS
from reportgen.inputs.pixels import (
    check_image,
    check_size,
    cut_note,
    joined,
    levels_of_floats,
    orientation,
    reason_of,
    refusals,
    to_rgb,
    upright_rgb,
)
from reportgen.names import as_written, did_you_mean, make_unique, slugify

SUFFIXES: frozenset[str] = frozenset({".png", ".jpg", ".jpeg", ".webp", ".bmp", ".gif", ".tif", ".tiff"})

Item = str | os.PathLike[str] | Image.Image | torch.Tensor


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
    with refusals(text):
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
        raise InputError(f"{error.filename or directory} {reason_of(error)}") from error
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
            check_size(content, name, max_pixels)
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
    with refusals(str(path), max_pixels):
        if not path.is_file():
            kind = "a link that leads nowhere" if path.is_symlink() else "not a regular file"
            raise InputError(f"{path} is {kind}; give an image file")
        if path.stat().st_size == 0:
            raise InputError(f"{path} is empty (0 bytes); copy it again or leave it out")
        with path.open("rb") as file, Image.open(file) as image:
            check_image(image, str(path), max_pixels)


# Decoding


def _decode_file(source: ImageSource, path: Path, form: Form) -> Picture:
    with refusals(str(path), source.max_pixels), path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
        file.seek(0)
        with Image.open(file) as image:
            check_image(image, str(path), source.max_pixels or MAX_PIXELS)
            frames, note = _frames(image, form)
    still = _picture(source, digest, frames[middle(len(frames))], note)
    return replace(still, frames=frames) if len(frames) > 1 else still


def _frames(image: Image.Image, form: Form) -> tuple[Frames, str]:
    """Return the frames of a file that the form needs, the first for a picture, and how they were made."""
    cut, told = cut_note(image), _frames_note(image)
    if form.frames == 1 or not is_animation(image):
        pixels, note = upright_rgb(image)
        return (pixels,), joined(note, cut, told)
    if form.first_different:
        frames, note = take_first_different(image, upright_rgb)
    else:
        frames, note = take_spaced(image, form.frames, upright_rgb)
    return frames, joined(note, cut)


def _decode_pil(source: ImageSource, image: Image.Image) -> Picture:
    with refusals(source.name):
        cut = cut_note(image)
        pixels, note = upright_rgb(image)
        digest = _hash_pil(image)
    return _picture(source, digest, pixels, joined(note, cut))


def _decode_uint8(source: ImageSource, tensor: torch.Tensor) -> Picture:
    channels = tensor.shape[0]
    values = tensor.cpu().numpy()
    image = Image.fromarray(values[0] if channels == 1 else np.ascontiguousarray(np.moveaxis(values, 0, -1)))
    pixels, note = to_rgb(image)
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
    levels, note = levels_of_floats(values, unit=True)
    image = Image.fromarray(levels[0] if len(levels) == 1 else np.moveaxis(levels, 0, -1).copy())
    return _picture(source, _hash_tensor(owned), image.convert("RGB"), joined(kind, note), owned)


def _picture(
    source: ImageSource,
    sha256: str,
    pixels: Image.Image,
    note: str,
    network_input: torch.Tensor | None = None,
) -> Picture:
    pixels.info = {}  # EXIF, ICC and GPS data must not travel on into what is published
    return Picture(source.id, source.name, *pixels.size, sha256, pixels, network_input, note)


def _frames_note(image: Image.Image) -> str:
    # The frames of a Photoshop file are its layers; what is decoded is the whole picture.
    frames, more = (1, False) if image.format == "PSD" else count_frames(image)
    return f"first of {frames} frames{' or more' if more else ''}" if frames > 1 else ""


def _hash_pil(image: Image.Image) -> str:
    palette = image.getpalette(None) if image.mode in ("P", "PA") else None
    header = (image.mode, image.size, palette, image.info.get("transparency"), orientation(image))
    return hashlib.sha256(repr(header).encode() + image.tobytes()).hexdigest()


def _hash_tensor(tensor: torch.Tensor) -> str:
    header = repr((str(tensor.dtype), tuple(tensor.shape)))
    raw = tensor.detach().cpu().contiguous().view(torch.uint8).numpy()
    return hashlib.sha256(header.encode() + raw.tobytes()).hexdigest()
