"""How much memory the values of one pass take, measured while the network is learned: no pass is run for it."""

import weakref
from collections.abc import Set
from dataclasses import dataclass

import torch
from torch import nn

from reportgen.entities import Reading
from reportgen.parts import flatten


@dataclass(frozen=True)
class Value:
    """What one node computes for one image: `size` in bytes, and `channels` and `positions` (0: not known)."""

    size: int
    channels: int = 0
    positions: int = 0


class Footprint:
    """Told of every node's value as soon as it is computed, it sums up those that are alive at that moment.

    `passing` is how many bytes they take at most, and `node` the most that one node takes in and gives, both for
    one image. Tensors that share memory count once; parameters, which are loaded anyway, do not count.
    """

    def __init__(self) -> None:
        self.begin(1)

    def begin(self, images: int) -> None:
        """Forget all; a pass over `images` images begins."""
        self._images = max(1, images)
        self._alive: list[weakref.ref[torch.Tensor]] = []
        self._passing = 0
        self.values: dict[str, Value] = {}

    @property
    def passing(self) -> int:
        """Bytes of all values that are alive at once, for one image."""
        return -(-self._passing // self._images)

    def add(self, name: str, value: object, reading: Reading) -> None:
        """Take note of what the node `name` has computed."""
        tensors = [tensor for _, tensor in flatten(value) if not isinstance(tensor, nn.Parameter)]
        self._alive += map(weakref.ref, tensors)
        alive = [(one, tensor) for one in self._alive if (tensor := one()) is not None]
        self._alive = [one for one, _ in alive]
        self._passing = max(self._passing, _bytes([tensor for _, tensor in alive]))
        size = sum(tensor.numel() * tensor.element_size() for tensor in tensors)
        self.values[name] = Value(-(-size // self._images), *_extent(value, reading, self._images))

    def largest(self, names: Set[str] | None = None) -> int:
        """Return the bytes of the largest value of one image, of the nodes `names` (None: all)."""
        sizes = (value.size for name, value in self.values.items() if names is None or name in names)
        return max(sizes, default=0)


def _bytes(tensors: list[torch.Tensor]) -> int:
    """The memory behind some tensors, what several share counted once; of one without a storage its values."""
    found: dict[int, int] = {}
    for tensor in tensors:
        try:
            storage = tensor.untyped_storage()
            found[storage.data_ptr() or id(storage)] = storage.nbytes()
        except (NotImplementedError, RuntimeError):  # sparse tensors, and those of other devices
            found[id(tensor)] = tensor.numel() * tensor.element_size()
    return sum(found.values())


def _extent(value: object, reading: Reading, images: int) -> tuple[int, int]:
    """How many channels and positions a value has."""
    if reading.maps is not None:
        return reading.maps.shape[1], reading.maps.shape[2] * reading.maps.shape[3]
    if isinstance(value, torch.Tensor) and value.dim() == 2 and value.shape[0] == images:
        return value.shape[1], 1
    return 0, 0
