"""Where a model runs and in which numbers: moved, converted, or under autocast."""

import copy
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import nn

from reportgen.errors import InputError

AUTOCAST = "autocast:"
# Not `Module.to`, which would take complex parameters for floating ones and drop their imaginary parts.
_CONVERT: Mapping[torch.dtype, Callable[[nn.Module], nn.Module]] = {
    torch.float16: nn.Module.half,
    torch.bfloat16: nn.Module.bfloat16,
    torch.float32: nn.Module.float,
    torch.float64: nn.Module.double,
}


@dataclass(frozen=True)
class Precision:
    """What the user asked for; None leaves the model's own. With `autocast` the model itself stays as it is."""

    device: torch.device | None = None
    dtype: torch.dtype | None = None
    autocast: torch.dtype | None = None

    @classmethod
    def read(cls, device: str = "", dtype: str = "") -> "Precision":
        """Take the words of the options, "" for none. Raises InputError for a device that isn't there."""
        found = _find_device(device) if device else None
        name = dtype.removeprefix(AUTOCAST)
        kind = getattr(torch, name) if dtype else None
        return cls(found, None, kind) if name != dtype else cls(found, kind)

    def place(self, module: nn.Module, *, ours: bool) -> nn.Module:
        """Return `module` on the device and in the dtype asked for.

        One that is not `ours` stays as it is: where it would change, a copy is returned. Raises InputError when
        it can't be copied, moved or converted.
        """
        if all(self._fits(tensor) for tensor in (*module.parameters(), *module.buffers())):
            return module
        name = type(module).__name__
        try:
            placed = module if ours else copy.deepcopy(module)
        except Exception as error:
            raise InputError(
                f"model {name}: can't be copied ({type(error).__name__}: {error}), and a module that is passed in "
                "is never changed itself; move and convert it before passing it in, without device and dtype"
            ) from error
        try:
            placed = placed.to(self.device) if self.device else placed
            return _CONVERT[self.dtype](placed) if self.dtype else placed
        except Exception as error:
            raise InputError(f"model {name}: can't be put on {self} ({type(error).__name__}: {error})") from error

    def _fits(self, tensor: torch.Tensor) -> bool:
        there = self.device is None or tensor.device == self.device
        return there and (self.dtype is None or not tensor.is_floating_point() or tensor.dtype == self.dtype)

    def context(self, device: torch.device) -> Callable[[], AbstractContextManager[Any]]:
        """Return what makes the context manager that a model on `device` must run in, in its own thread."""
        if self.autocast is None:
            return nullcontext
        return partial(torch.autocast, device.type, dtype=self.autocast)

    def __str__(self) -> str:
        dtype = str(self.dtype).removeprefix("torch.") if self.dtype else ""
        return " as ".join(part for part in (str(self.device or ""), dtype) if part)


def _find_device(name: str) -> torch.device:
    """Return a device that is there, with its number."""
    kind, _, number = name.partition(":")
    have = _count(kind)
    if int(number or 0) >= have:
        there = f"there {'is' if have == 1 else 'are'} {have} of its kind" if have else "torch finds none"
        raise InputError(f"device {name}: {there}; give another, or leave --device out")
    if kind == "cpu" or number:
        return torch.device(name)
    return torch.device(kind, torch.cuda.current_device() if kind == "cuda" else 0)


def _count(kind: str) -> int:
    """How many devices of a kind there are."""
    if kind == "cuda":
        return torch.cuda.device_count() if torch.cuda.is_available() else 0
    if kind == "mps":
        return int(torch.backends.mps.is_available())
    return 1


def device_name(device: torch.device) -> str:
    """Return what to call a device in a report: `cpu`, or `cuda:0 (NVIDIA H100)`."""
    return f"{device} ({torch.cuda.get_device_name(device)})" if device.type == "cuda" else str(device)
