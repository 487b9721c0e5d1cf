"""The nouns that inputs, network and figures share. Plain values, no behaviour."""

from dataclasses import dataclass

import torch
from PIL import Image


@dataclass(frozen=True)
class Layer:
    """One node of the graph. Its identity is `name`; `parents` are the names of the nodes it reads."""

    index: int
    name: str
    slug: str
    op: str
    target: str
    module_type: str
    parents: tuple[str, ...]
    detail: str = ""
    """What the operation is set to, for people: `64 to 128 channels, 3 × 3 kernel, stride 2`."""


@dataclass(frozen=True)
class InputImage:
    """One decoded image: `original` is upright 8-bit RGB, `seen` what the network was given, denormalised."""

    id: str
    name: str
    width: int
    height: int
    sha256: str
    note: str
    original: Image.Image
    seen: Image.Image


@dataclass(frozen=True)
class Batch:
    """Images and the tensor (N, C, H, W) that the network is run on; row i belongs to image i.

    The images of a batch that is not `drawn` feed statistics only.
    """

    images: tuple[InputImage, ...]
    tensor: torch.Tensor
    drawn: bool = True


@dataclass(frozen=True)
class Reading:
    """How a value's axes are read.

    `layout` has a letter an axis (`NCHW`, `NHWC`, `NC`, `NLC`), or is empty when nothing says which axis is
    which. `maps` is a view of the value as (N, C, H, W), or None; then `reason` says why.
    """

    layout: str
    maps: torch.Tensor | None
    reason: str = ""


@dataclass(frozen=True)
class Activation:
    """What one node computed for one batch.

    BORROWED: `value` and `reading.maps` are valid only until the stream's next step, since the next operation
    may work in place and the memory is then given back. Whoever keeps anything keeps a reduction or a copy.
    """

    layer: Layer
    images: tuple[InputImage, ...]
    value: object
    reading: Reading


@dataclass(frozen=True)
class Failure:
    """A node that raised, or that reads a node that failed, for one batch."""

    layer: Layer
    images: tuple[InputImage, ...]
    reason: str
