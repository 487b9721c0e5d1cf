"""The forms in which models take pictures: a tensor, a list, a clip, a pair; by position or by a keyword."""

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from reportgen.errors import InputError

Arguments = tuple[Any, ...]


@dataclass(frozen=True)
class Form:
    """What a model is called with.

    `frames` pictures make one input, `most` inputs one batch (0: any number). `arrange` makes the positional
    arguments of a batch; a form with a `keyword` gives their only one by that name. `first_different` says which
    frames of an animation are taken: the first two that differ, else as many as needed, evenly spaced.
    """

    arrange: Callable[[torch.Tensor], Arguments] = lambda tensor: (tensor,)
    frames: int = 1
    most: int = 0
    keyword: str = ""
    first_different: bool = False
    repeated: str = ""
    """How a still picture is made into one input, for people."""

    def pack(self, tensor: torch.Tensor) -> tuple[Arguments, Mapping[str, Any]]:
        """Return the positional and the keyword arguments for pictures (N, C, H, W), or clips (N, C, D, H, W)."""
        arguments = self.arrange(tensor)
        return ((), {self.keyword: arguments[0]}) if self.keyword else (arguments, {})

    def batch_size(self, asked: int) -> int:
        """Return how many inputs to give at once where `asked` are wanted."""
        return min(asked, self.most) if self.most else asked

    def blank(self, size: tuple[int, int], channels: int, count: int = 1) -> torch.Tensor:
        """Return a batch of zeros, (N, C, H, W) or, of clips, (N, C, D, H, W), float32."""
        depth = (self.frames,) if self.frames > 1 else ()
        return torch.zeros(count, channels, *depth, *size, dtype=torch.float32)


def middle(frames: int) -> int:
    """Return the number of the frame that stands for `frames` of them."""
    return (frames - 1) // 2


def _as_list(tensor: torch.Tensor) -> Arguments:
    return (list(tensor),)


def _as_pair(tensor: torch.Tensor) -> Arguments:
    return tuple(tensor.unbind(2))


def _frames_first(tensor: torch.Tensor) -> Arguments:
    return (tensor.transpose(1, 2),)


PICTURE = Form()
LIST = Form(_as_list, most=1)
"""A list of pictures of any size, as torchvision's detection models take it."""
PAIR = Form(_as_pair, frames=2, first_different=True, repeated="given twice, since the model compares two pictures")
"""Two pictures, as models of optical flow take them."""


def clip(frames: int) -> Form:
    """Return the form of clips of `frames` frames, (N, C, D, H, W)."""
    return Form(frames=frames, repeated=_repeated(frames))


def by_keyword(keyword: str, frames: int = 1) -> Form:
    """Return the form of pictures, or of clips (N, D, C, H, W), that are given as `keyword`."""
    if frames == 1:
        return Form(keyword=keyword)
    return Form(_frames_first, frames=frames, keyword=keyword, repeated=_repeated(frames))


def _repeated(frames: int) -> str:
    return f"repeated as {frames} frames, since the model takes clips"


def check_call(module: nn.Module, args: Sequence[Any], kwargs: Mapping[str, Any]) -> None:
    """Raise InputError, naming the argument, when `module.forward` can't be called with these arguments."""
    try:
        signature = inspect.signature(module.forward)
    except (TypeError, ValueError):  # compiled code tells nothing, and then the call itself has to
        return
    try:
        signature.bind(*args, **kwargs)
    except TypeError as error:
        missing = _missing(signature, len(args), kwargs)
        raise InputError(f"model {type(module).__name__}: {_misfit(missing, error)}") from None


def _missing(signature: inspect.Signature, positional: int, kwargs: Mapping[str, Any]) -> list[str]:
    """Return the names of what has to be given and is not; [] where what is given is not taken either."""
    try:
        bound = signature.bind_partial(*range(positional), **kwargs).arguments
    except TypeError:
        return []
    optional = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    return [
        name
        for name, parameter in signature.parameters.items()
        if parameter.default is parameter.empty and parameter.kind not in optional and name not in bound
    ]


def _misfit(missing: Sequence[str], error: TypeError) -> str:
    if not missing:
        return f"forward can't be called with a picture ({error}); wrap the model in one that can"
    names = f"argument{'s' if len(missing) > 1 else ''} {' and '.join(map(repr, missing))}"
    return f"forward needs the {names}, which a picture can't give; wrap the model in one that fills it in"
