"""A device without hardware: tensors that compute on the CPU, but can't be mixed with its tensors or read there.

What leaves the device is written down, so that a test can say how much crosses the bus. Its tensors claim torch's
`meta` device, which every build of torch knows; so Python lists can't index them, as torch makes no values of them
there.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map, tree_map_only

DEVICE = torch.device("meta")
_READING = (torch.ops.aten._local_scalar_dense.default, torch.ops.aten.equal.default)


@dataclass(frozen=True)
class Copy:
    """Values of one dtype that were copied from the device to the CPU in one go."""

    dtype: torch.dtype
    count: int


class _Held(torch.Tensor):
    """A tensor of the device; `content` is the CPU tensor that holds its values."""

    content: torch.Tensor

    @staticmethod
    def __new__(cls, inner: torch.Tensor) -> "_Held":
        held: _Held = torch.Tensor._make_wrapper_subclass(
            cls,
            inner.size(),
            strides=inner.stride(),
            storage_offset=inner.storage_offset(),
            dtype=inner.dtype,
            device=DEVICE,
        )
        held.content = inner
        return held

    def tolist(self) -> Any:
        """torch's own refuses subclasses; on hardware it copies, as this does."""
        return self.cpu().tolist()

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:  # type: ignore[override]
        raise AssertionError(f"{func}: a tensor of the device outlived it")


class _Device(TorchDispatchMode):  # type: ignore[no-untyped-call]
    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.copies: list[Copy] = []

    def __torch_dispatch__(
        self, func: Callable[..., Any], types: Any, args: Any = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        kwargs = dict(kwargs or {})
        leaves = tree_leaves((args, kwargs))
        held = any(isinstance(leaf, _Held) for leaf in leaves)
        target = kwargs.get("device")
        if not held and (target is None or torch.device(target) != DEVICE):
            return func(*args, **kwargs)
        if held:
            self._check_alike(func, leaves)
        if target is not None:
            kwargs["device"] = torch.device("cpu")
        found = func(*tree_map_only(_Held, _inner, args), **tree_map_only(_Held, _inner, kwargs))
        into_cpu = func is torch.ops.aten.copy_.default and not isinstance(args[0], _Held)
        leaving = func in _READING or into_cpu or (target is not None and torch.device(target) != DEVICE)
        if leaving and held:
            self.copies += [Copy(leaf.dtype, leaf.numel()) for leaf in leaves if isinstance(leaf, _Held)]
            return found
        return self._outer(found, leaves)

    def _check_alike(self, func: Callable[..., Any], leaves: list[Any]) -> None:
        """As on hardware, numbers may come from the CPU, and so may indices; no other tensor."""
        moving = func in (torch.ops.aten.copy_.default, torch.ops.aten.index.Tensor)
        strange = [
            leaf for leaf in leaves if isinstance(leaf, torch.Tensor) and not isinstance(leaf, _Held) and leaf.dim()
        ]
        if strange and not moving:
            raise RuntimeError(f"{func}: expected all tensors to be on one device, but one is on the CPU")

    def _outer(self, found: Any, leaves: list[Any]) -> Any:
        """The results as tensors of the device: those written in place as the very ones that were given."""
        given = {id(leaf.content): leaf for leaf in leaves if isinstance(leaf, _Held)}

        def hold(value: Any) -> Any:
            if not isinstance(value, torch.Tensor):
                return value
            return given[id(value)] if id(value) in given else _Held(value)

        return tree_map(hold, found)


def _inner(held: _Held) -> torch.Tensor:
    return held.content


def held(values: torch.Tensor) -> torch.Tensor:
    """Return `values` as a tensor of the device; call it inside `fake_device`."""
    return _Held(values)


@contextmanager
def fake_device() -> Iterator[list[Copy]]:
    """Give the device while the context lasts, and the list of what was copied from it."""
    device = _Device()
    with torch.no_grad(), device:
        yield device.copies
