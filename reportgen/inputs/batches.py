"""Image sources become batches: decoded, preprocessed, and stacked, a few at a time."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch

from reportgen.entities import Batch, InputImage
from reportgen.errors import InputError
from reportgen.inputs.images import ImageSource, Picture, decode
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
    tensors_normalised: bool = False,
    drawn: bool = True,
) -> Iterator[Batch]:
    """Yield batches of up to `size` images of one shape, in order, as `dtype` on `device`.

    The batches are as even as can be, so that the last one is no remnant too small to compare images in. One ends
    early where the next image's tensor has another shape (tensors passed in as they are).
    `tensors_normalised` says that such tensors bear the normalisation of `preprocess`, which is then undone for
    display. Raises InputError for an image that can't be decoded or preprocessed.
    """
    waiting: list[_Prepared] = []
    most = _even(len(sources), size)
    for number, source in enumerate(sources):
        prepared = _prepare(decode(source), preprocess, tensors_normalised)
        if waiting and (len(waiting) == most or waiting[0].tensor.shape != prepared.tensor.shape):
            yield _stack(waiting, device, dtype, drawn)
            waiting, most = [], _even(len(sources) - number, size)
        waiting.append(prepared)
    if waiting:
        yield _stack(waiting, device, dtype, drawn)


def _even(count: int, size: int) -> int:
    """How many of `count` images the next batch takes, when none is to take more than `size`."""
    return math.ceil(count / math.ceil(count / size)) if count else size


def _prepare(picture: Picture, preprocess: Preprocess, tensors_normalised: bool) -> _Prepared:
    given = picture.network_input is not None
    tensor = preprocess.prepare(picture.pixels) if picture.network_input is None else picture.network_input
    if tensor.dim() != 3:
        raise InputError(
            f"{picture.name}: preprocessing gives a tensor of {tensor.dim()} axes where 3 (C, H, W) are needed"
        )
    seen = picture.pixels if given and not tensors_normalised else preprocess.restore(tensor)
    image = InputImage(
        picture.id,
        picture.name,
        picture.width,
        picture.height,
        picture.sha256,
        picture.note,
        picture.pixels,
        seen,
    )
    return _Prepared(image, tensor)


def _stack(prepared: Sequence[_Prepared], device: torch.device, dtype: torch.dtype, drawn: bool) -> Batch:
    tensor = torch.stack([one.tensor for one in prepared]).to(device=device, dtype=dtype)
    return Batch(tuple(one.image for one in prepared), tensor, drawn)
