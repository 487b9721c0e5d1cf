"""From a picture to what a network takes, and back to what it saw."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
import PIL.Image
import torch
from torchvision.transforms import InterpolationMode
from torchvision.transforms import functional as F  # noqa: N812 (torchvision's own name for it)

from reportgen.errors import InputError, UsageError

_SIZE = (224, 224)
_MARGIN = 256 / 224
_LEAST_FLOW = 128
_PROBE = 256
_MEAN, _STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
_GRAY_MEAN, _GRAY_STD = (0.449,), (0.226,)  # the averages of ImageNet's three


Normalisation = tuple[tuple[float, ...], tuple[float, ...]]
"""Mean and std, a number a channel; () and () where nothing is normalised."""


@dataclass(frozen=True)
class Preprocess:
    """How pictures become network input. `mean` and `std` are () where nothing is normalised."""

    description: str
    channels: int
    mean: tuple[float, ...]
    std: tuple[float, ...]
    transform: Callable[[PIL.Image.Image], torch.Tensor]
    size: tuple[int, int]

    def prepare(self, picture: PIL.Image.Image) -> torch.Tensor:
        """Return the network input for an 8-bit RGB picture: (C, H, W), float32.

        For a one-channel model the picture is made gray (mode L) first. Raises InputError for a model
        that takes neither one channel nor three.
        """
        if self.channels not in (1, 3):
            raise InputError(
                f"the model takes input of {self.channels} channels, which a picture can't give: "
                f"from Python, pass tensors of shape ({self.channels}, height, width) instead"
            )
        mode = "L" if self.channels == 1 else "RGB"
        return self.transform(picture if picture.mode == mode else picture.convert(mode)).to(torch.float32)

    def restore(self, tensor: torch.Tensor) -> PIL.Image.Image:
        """Return what the network saw as an 8-bit picture: the normalisation undone, clamped, rounded.

        `tensor` is network input, (C, H, W). Three channels give RGB, one gives L; any other count gives
        the mean over channels as L. NaN becomes 0, infinities the ends of the range.
        """
        values = tensor.detach().to("cpu", torch.float64)
        if len(self.mean) == len(values):
            values = values * _column(self.std) + _column(self.mean)
        if len(values) not in (1, 3):
            values = values.mean(dim=0, keepdim=True)
        levels = (torch.nan_to_num(values, nan=0.0).clamp(0, 1) * 255).round().to(torch.uint8)
        pixels: np.ndarray[Any, np.dtype[np.uint8]] = levels.permute(1, 2, 0).numpy()
        return PIL.Image.fromarray(pixels[:, :, 0] if len(levels) == 1 else np.ascontiguousarray(pixels))


@dataclass(frozen=True)
class Overrides:
    """The parts of a preprocessing that the user set; None leaves the model's own."""

    size: tuple[int, int] | None = None
    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None

    @classmethod
    def read(
        cls,
        size: int | Sequence[int] | None = None,
        mean: Sequence[float] | None = None,
        std: Sequence[float] | None = None,
    ) -> "Overrides":
        """Check option values. Raises UsageError for a size, mean or std that no picture could have."""
        return cls(_read_size(size), _read_numbers("mean", mean), _read_numbers("std", std))

    def __bool__(self) -> bool:
        return any(value is not None for value in (self.size, self.mean, self.std))


@dataclass(frozen=True)
class _Pipeline:
    """Resize until `resize` (height, width) is covered, crop the centre, scale to [0, 1], normalise.

    With `stretch`, to exactly that size. Without `antialias` it is the tensor that is resized, since Pillow's
    resizing always has it.
    """

    resize: tuple[int, int] | None
    crop: tuple[int, int] | None
    mean: tuple[float, ...]
    std: tuple[float, ...]
    interpolation: InterpolationMode = InterpolationMode.BILINEAR
    stretch: bool = False
    antialias: bool = True

    def __call__(self, picture: PIL.Image.Image) -> torch.Tensor:
        pixels: Any = picture if self.antialias else F.pil_to_tensor(picture)
        if self.resize:
            target = list(self.resize if self.stretch else _cover(self.resize, picture))
            pixels = F.resize(pixels, target, interpolation=self.interpolation, antialias=self.antialias)
        if self.crop:
            pixels = F.center_crop(pixels, list(self.crop))
        levels = F.pil_to_tensor(pixels) if self.antialias else pixels
        values: torch.Tensor = F.convert_image_dtype(levels, torch.float32)
        return F.normalize(values, list(self.mean), list(self.std)) if self.mean else values

    def __str__(self) -> str:
        steps = []
        if self.resize:
            how = "" if self.interpolation is InterpolationMode.BILINEAR else f" ({self.interpolation.value})"
            how = f"{how} without regard to proportions" if self.stretch else how
            steps.append(f"resize {size_text(self.resize)}{how}")
        if self.crop:
            steps.append(f"centre crop {size_text(self.crop)}")
        steps.append(normalisation_text(self.mean, self.std))
        return ", ".join(steps)

    def changed(self, overrides: Overrides, channels: int) -> "_Pipeline":
        """Return this with what the user set in its place; the margin around the crop stays in proportion."""
        mean, std = normalisation(channels, overrides, self.mean, self.std)
        changed = replace(self, mean=mean, std=std)
        if overrides.size is None:
            return changed
        margin = min(self.resize) / min(self.crop) if self.resize and self.crop else 1.0
        return replace(changed, resize=_scaled(overrides.size, margin), crop=overrides.size, stretch=False)

    def preprocess(self, owner: str, channels: int) -> Preprocess:
        """Return this as the preprocessing of a model; `owner` says whose it is."""
        size = self.crop or self.resize or _SIZE
        return Preprocess(f"{owner}: {self}", channels, self.mean, self.std, self, size)


def standard_preprocess(
    channels: int,
    size: int | Sequence[int] | None = None,
    mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None,
) -> Preprocess:
    """Return ImageNet's usual preprocessing for a model that takes `channels` channels.

    The shorter side is resized to 256/224 of `size` (default 224) with antialiased bilinear interpolation,
    the centre is cropped and normalised by ImageNet's mean and std, or, for one channel, by their averages.
    Models of other channel counts get no normalisation. `mean` and `std` hold one number or one for each
    channel. Raises UsageError where they don't fit.
    """
    return standard_with(Overrides.read(size, mean, std), channels)


def standard_with(overrides: Overrides, channels: int, size: tuple[int, int] | None = None) -> Preprocess:
    """Return `standard_preprocess` with the user's changes in it; `size` is the model's own, if it has one."""
    if overrides.size is None and size:
        overrides = replace(overrides, size=size)
    defaults = {3: (_MEAN, _STD), 1: (_GRAY_MEAN, _GRAY_STD)}
    mean, std = defaults.get(channels, ((), ()))
    base = _Pipeline(_scaled(_SIZE, _MARGIN), _SIZE, mean, std)
    return base.changed(overrides, channels).preprocess("standard", channels)


def flow_preprocess(overrides: Overrides) -> Preprocess:
    """Return the preprocessing of models of optical flow: as the standard one, but values from -1 to 1.

    Raises UsageError for a size that such a model can't take.
    """
    if overrides.size and any(side % 8 or side < _LEAST_FLOW for side in overrides.size):
        text = size_text(overrides.size)
        raise UsageError(f"size {text}: the model takes multiples of 8 pixels, at least {_LEAST_FLOW}")
    half = (0.5, 0.5, 0.5)
    base = _Pipeline(_scaled(_SIZE, _MARGIN), _SIZE, half, half)
    return base.changed(overrides, 3).preprocess("standard for optical flow", 3)


def preset_preprocess(preset: Callable[..., Any], weights: str, overrides: Overrides) -> Preprocess:
    """Return the preprocessing that torchvision declares for `weights`, with the user's changes in it.

    `weights` may be "" where there are none: then it is the standard one of such models. Without changes `preset`
    itself does the work; one for clips is given one frame at a time. Raises UsageError where `overrides` don't
    fit.
    """
    own = _read_preset(preset)
    if overrides:
        return own.changed(overrides, 3).preprocess(f"{weights}'s, changed" if weights else "standard", 3)
    transform = partial(_of_frame, preset) if takes_frames(preset) else preset
    return replace(own.preprocess(f"{weights}'s own" if weights else "standard", 3), transform=transform)


def takes_frames(preset: object) -> bool:
    """Tell torchvision's preprocessing of clips, whose class has no public name."""
    return type(preset).__name__ == "VideoClassification"


def _of_frame(preset: Callable[[torch.Tensor], torch.Tensor], picture: PIL.Image.Image) -> torch.Tensor:
    return preset(F.pil_to_tensor(picture).unsqueeze(0)).squeeze(1)


def _read_preset(preset: Callable[..., Any]) -> _Pipeline:
    """Read a torchvision preset's numbers. One without `resize_size`, as for detection, doesn't resize."""
    resize = getattr(preset, "resize_size", None)
    return _Pipeline(
        _square(resize),
        _square(getattr(preset, "crop_size", None)),
        tuple(getattr(preset, "mean", ())),
        tuple(getattr(preset, "std", ())),
        getattr(preset, "interpolation", InterpolationMode.BILINEAR),
        stretch=resize is not None and len(resize) == 2,
        antialias=not takes_frames(preset),
    )


def measured_preprocess(
    transform: Callable[[PIL.Image.Image], torch.Tensor],
    owner: str,
    overrides: Overrides,
    interpolation: InterpolationMode = InterpolationMode.BILINEAR,
) -> Preprocess:
    """Return the preprocessing that `transform` does to RGB pictures, with the user's changes in it.

    `owner` is what it is called. Its size and its normalisation, which must be one factor and one offset a
    channel, are measured on a black and a white square. Where the user sets the size, pictures are resized by
    `interpolation` instead. Raises UsageError where `overrides` don't fit, ValueError where nothing of (3, H, W)
    comes out that tells black from white.
    """
    black, white = (transform(PIL.Image.new("RGB", (_PROBE, _PROBE), colour)) for colour in ("black", "white"))
    if black.dim() != 3 or len(black) != 3:
        raise ValueError(f"it gives a tensor of shape {tuple(black.shape)} for a picture")
    size = (black.shape[1], black.shape[2])
    mean, std = _normalisation_between(_centre(black), _centre(white))
    if overrides.size:
        own = _Pipeline(size, size, mean, std, interpolation)
        return own.changed(overrides, 3).preprocess(f"{owner}'s, changed", 3)
    told = f"{size_text(size)} from a square"
    if not overrides:
        return Preprocess(f"{owner}'s own: {told}, {normalisation_text(mean, std)}", 3, mean, std, transform, size)
    changed = normalisation(3, overrides, mean, std)
    renormalised = partial(_renormalised, transform, (mean, std), changed)
    told = f"{owner}'s, changed: {told}, {normalisation_text(*changed)}"
    return Preprocess(told, 3, *changed, renormalised, size)


def _normalisation_between(black: Sequence[float], white: Sequence[float]) -> Normalisation:
    """Return the mean and std that make 0 and 1 of each channel what they became; () where they stayed."""
    if any(high == low for low, high in zip(black, white, strict=True)):
        raise ValueError("black and white pictures come out the same")
    std = tuple(round(1 / (high - low), 6) for low, high in zip(black, white, strict=True))
    mean = tuple(round(-low / (high - low), 6) + 0.0 for low, high in zip(black, white, strict=True))
    return ((), ()) if set(mean) == {0.0} and set(std) == {1.0} else (mean, std)


def _renormalised(
    transform: Callable[[PIL.Image.Image], torch.Tensor],
    own: Normalisation,
    other: Normalisation,
    picture: PIL.Image.Image,
) -> torch.Tensor:
    values = transform(picture).to(torch.float64)
    if own[0]:
        values = values * _column(own[1]) + _column(own[0])
    return (values - _column(other[0])) / _column(other[1])


def _centre(values: torch.Tensor) -> list[float]:
    """The value of each channel in the middle, where nothing was padded."""
    return [float(value) for value in values[:, values.shape[1] // 2, values.shape[2] // 2]]


def _square(sides: Sequence[int] | None) -> tuple[int, int] | None:
    return (sides[0], sides[-1]) if sides else None


def _scaled(size: tuple[int, int], factor: float) -> tuple[int, int]:
    return round(size[0] * factor), round(size[1] * factor)


def _cover(box: tuple[int, int], picture: PIL.Image.Image) -> tuple[int, int]:
    """Return the least (height, width) of the picture's proportions that covers `box`.

    For a square box this is torchvision's rule: the shorter side becomes the box's, the longer is truncated.
    """
    height, width = box
    if height * picture.width >= width * picture.height:
        return height, height * picture.width // picture.height
    return width * picture.height // picture.width, width


def normalisation(
    channels: int, overrides: Overrides, mean: tuple[float, ...], std: tuple[float, ...]
) -> Normalisation:
    """Return mean and std, one number a channel; a model without its own has 0 and 1 for the one not set."""
    if overrides.mean is None and overrides.std is None:
        return mean, std
    return (
        _per_channel("mean", overrides.mean or mean or (0.0,), channels),
        _per_channel("std", overrides.std or std or (1.0,), channels),
    )


def _per_channel(name: str, values: tuple[float, ...], channels: int) -> tuple[float, ...]:
    if len(values) not in (1, channels):
        allowed = "1 number" if channels == 1 else f"1 or {channels} numbers"
        raise UsageError(f"{name} {numbers_text(values)}: the model takes {channels} channels, so give {allowed}")
    return values * channels if len(values) == 1 else values


def _read_size(size: int | Sequence[int] | None) -> tuple[int, int] | None:
    if size is None:
        return None
    sides = tuple(size) if isinstance(size, Sequence) else (size, size)
    if len(sides) != 2 or not all(isinstance(side, int) and side > 0 for side in sides):
        raise UsageError(f"size {size!r}: give one whole number of pixels above 0, or height and width")
    return sides[0], sides[1]


def _read_numbers(name: str, values: Sequence[float] | None) -> tuple[float, ...] | None:
    if values is None:
        return None
    try:
        numbers = tuple(float(value) for value in values)
    except (TypeError, ValueError):
        numbers = ()
    if not numbers or not all(math.isfinite(number) for number in numbers):
        raise UsageError(f"{name} {values!r}: give a list of one finite number, or of one for each channel")
    if name == "std" and min(numbers) <= 0:
        raise UsageError(f"std {numbers_text(numbers)}: each must be above 0, as values are divided by it")
    return numbers


def _column(values: tuple[float, ...]) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.float64).reshape(-1, 1, 1)


def normalisation_text(mean: Sequence[float], std: Sequence[float]) -> str:
    """Say in words what is done to values from 0 to 1."""
    if not mean:
        return "scale to 0..1"
    return f"normalise by mean {numbers_text(mean)}, std {numbers_text(std)}"


def size_text(size: tuple[int, int]) -> str:
    return str(size[0]) if size[0] == size[1] else f"{size[0]} x {size[1]}"


def numbers_text(values: Sequence[float]) -> str:
    return " ".join(f"{value:g}" for value in values)
