"""Image sources become batches: decoded, preprocessed, and stacked, a few at a time."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from PIL import Image

from reportgen.entities import Batch, InputImage
from reportgen.errors import InputError
from reportgen.inputs.forms import PICTURE, Form, middle
from reportgen.inputs.images import ImageSource, Picture, Skip, decode, leaving_out
from reportgen.inputs.preprocess import Preprocess


@dataclass(frozen=True)
class _Prepared:
    image: InputImage
    tensor: torch.Tensor


def batches(
    sources: Sequence[ImageSource],
    preprocess: Preprocess,
    size: int,
    device: torch.device,
    dtype: torch.dtype,
    *,
    form: Form = PICTURE,
    tensors_normalised: bool = False,
    drawn: bool = True,
    skip: Skip | None = None,
) -> Iterator[Batch]:
    """Yield batches of up to `size` images of one shape, in order, as `dtype` on `device`, packed as `form` says.

    The batches are as even as can be, so that the last one is no remnant too small to compare images in. One ends
    early where the next image's tensor has another shape (tensors passed in as they are).
    `tensors_normalised` says that such tensors bear the normalisation of `preprocess`, which is then undone for
    display. Raises InputError for an image that can't be decoded or preprocessed; with `skip` it is left out.
    """
    waiting: list[_Prepared] = []
    size = form.batch_size(size)
    most = _even(len(sources), size)
    for number, source in enumerate(sources):
        prepared = _prepared(source, preprocess, form, skip, tensors_normalised=tensors_normalised)
        if prepared is None:
            continue
        if waiting and (len(waiting) == most or waiting[0].tensor.shape != prepared.tensor.shape):
            yield _stack(waiting, form, device, dtype, drawn)
            waiting, most = [], _even(len(sources) - number, size)
        waiting.append(prepared)
    if waiting:
        yield _stack(waiting, form, device, dtype, drawn)


def usable(
    sources: Sequence[ImageSource], preprocess: Preprocess, form: Form, skip: Skip
) -> tuple[ImageSource, ...]:
    """Return the sources that can be decoded and preprocessed, and tell `skip` of the others.

    What depends on how many images there are is right only when these are known beforehand: each is decoded for
    that, and again in its batch, since all together may not fit into memory.
    """
    return tuple(source for source in sources if _prepared(source, preprocess, form, skip) is not None)


def blank(preprocess: Preprocess, form: Form, device: torch.device, dtype: torch.dtype, count: int = 1) -> Batch:
    """Return a batch of `count` inputs that are zero, of the size and form that the model takes, without images."""
    return _pack((), form.blank(preprocess.size, preprocess.channels, count).to(device, dtype), form)


def _even(count: int, size: int) -> int:
    """How many of `count` images the next batch takes, when none is to take more than `size`."""
    return math.ceil(count / math.ceil(count / size)) if count else size


def _shown(source: ImageSource) -> str:
    """How errors call an image."""
    return str(source.content) if isinstance(source.content, Path) else source.name


def _prepared(
    source: ImageSource, preprocess: Preprocess, form: Form, skip: Skip | None, *, tensors_normalised: bool = False
) -> _Prepared | None:
    """The image as it goes into a batch; None where it can't be used, and `skip` was told."""
    with leaving_out(_shown(source), source.name, skip):
        return _prepare(decode(source, form), preprocess, form, tensors_normalised)
    return None


def _prepare(picture: Picture, preprocess: Preprocess, form: Form, tensors_normalised: bool) -> _Prepared:
    given = picture.network_input is not None
    tensor, note = _network_input(picture, preprocess, form)
    shown = tensor[:, middle(tensor.shape[1])] if tensor.dim() == 4 else tensor
    seen = picture.pixels if given and not tensors_normalised else preprocess.restore(shown)
    image = InputImage(
        picture.id,
        picture.name,
        picture.width,
        picture.height,
        picture.sha256,
        "; ".join(part for part in (picture.note, note) if part),
        picture.pixels,
        seen,
    )
    return _Prepared(image, tensor)


def _network_input(picture: Picture, preprocess: Preprocess, form: Form) -> tuple[torch.Tensor, str]:
    """Return what the network is given for a picture, (C, H, W) or (C, D, H, W), and how a still was made that."""
    given = picture.network_input
    if given is not None and given.dim() == 4:
        return given, ""
    pixels = picture.frames or (picture.pixels,)
    frames = [_preprocessed(one, preprocess, picture.name) for one in pixels] if given is None else [given]
    if form.frames == 1:
        return frames[0], ""
    if len(frames) == 1:
        return frames[0].unsqueeze(1).expand(-1, form.frames, -1, -1), form.repeated
    return torch.stack(frames, dim=1), ""


def _preprocessed(pixels: Image.Image, preprocess: Preprocess, name: str) -> torch.Tensor:
    try:
        tensor = preprocess.prepare(pixels)
    except InputError as error:
        raise InputError(f"{name}: {error}") from error
    except Exception as error:
        raise InputError(f"{name}: preprocessing raised {type(error).__name__}: {error}") from error
    if tensor.dim() != 3:
        raise InputError(
            f"{name}: preprocessing gives a tensor of {tensor.dim()} axes where 3 (C, H, W) are needed"
        )
    return tensor


def _stack(
    prepared: Sequence[_Prepared], form: Form, device: torch.device, dtype: torch.dtype, drawn: bool
) -> Batch:
    tensor = torch.stack([one.tensor for one in prepared]).to(device=device, dtype=dtype)
    images = tuple(one.image for one in prepared)

    def alone(place: int) -> Batch:
        # A copy, since bits may depend on where in memory values begin.
        return replace(_pack((images[place],), tensor[place : place + 1].clone(), form), drawn=drawn)

    return replace(_pack(images, tensor, form), drawn=drawn, one=alone)


def _pack(images: tuple[InputImage, ...], tensor: torch.Tensor, form: Form) -> Batch:
    args, kwargs = form.pack(tensor)
    return Batch(images, tensor, args=args, kwargs=kwargs)
