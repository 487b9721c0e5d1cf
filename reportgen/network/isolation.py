"""A model is run and comes back as it was: training flags, buffers, random state."""

import copy
import random
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn.modules.lazy import LazyModuleMixin


@contextmanager
def evaluating(module: nn.Module) -> Iterator[None]:
    """Put `module` in eval mode, and every submodule's training flag back afterwards."""
    flags = [(child, child.training) for child in module.modules()]
    module.eval()
    try:
        yield
    finally:
        for child, training in flags:
            child.training = training


@contextmanager
def fresh_defaults() -> Iterator[None]:
    """Let torch's default dtype and device be those of a new process; afterwards they are as they were set."""
    dtype, device = torch.get_default_dtype(), torch.get_default_device()
    moved = device.type != "cpu"
    torch.set_default_dtype(torch.float32)
    if moved:
        torch.set_default_device(None)
    try:
        yield
    finally:
        torch.set_default_dtype(dtype)
        if moved:
            torch.set_default_device(device)


@contextmanager
def untouched(module: nn.Module) -> Iterator[None]:
    """Put `module` in eval mode; afterwards its training flags, its buffers and the random state are as before."""
    with RandomState().inside(), buffers_kept(module), evaluating(module):
        yield


@contextmanager
def rehearsing(module: nn.Module) -> Iterator[None]:
    """Afterwards buffers, attributes and the random state are as before: the next run is as this one."""
    with random_state_kept(), buffers_kept(module), attributes_kept(module):
        yield


@contextmanager
def random_state_kept() -> Iterator[None]:
    """Put back, afterwards, the state of torch's, NumPy's and Python's own generators."""
    before = RandomState._get()
    try:
        yield
    finally:
        RandomState._set(before)


class RandomState:
    """The random numbers that a model draws: the same in each report, and apart from everybody else's.

    Torch's, NumPy's and Python's own generators, all from one seed. Between two `inside`, everybody else's state
    is as they left it.
    """

    def __init__(self, seed: int = 0) -> None:
        with self._kept():
            torch.manual_seed(seed)
            np.random.seed(seed)
            random.seed(seed)
            self._own = self._get()

    @contextmanager
    def inside(self) -> Iterator[None]:
        """Draw from here, going on where the last `inside` ended."""
        with self._kept():
            self._set(self._own)
            try:
                yield
            finally:
                self._own = self._get()

    @contextmanager
    def _kept(self) -> Iterator[None]:
        before = self._get()
        try:
            yield
        finally:
            self._set(before)

    @staticmethod
    def _get() -> tuple[Any, ...]:
        gpus = torch.cuda.get_rng_state_all() if torch.cuda.is_initialized() else []  # type: ignore[no-untyped-call]
        return torch.get_rng_state(), gpus, np.random.get_state(), random.getstate()

    @staticmethod
    def _set(state: tuple[Any, ...]) -> None:
        torch.set_rng_state(state[0])
        if state[1]:
            torch.cuda.set_rng_state_all(state[1])
        np.random.set_state(state[2])
        random.setstate(state[3])


@contextmanager
def buffers_kept(module: nn.Module) -> Iterator[None]:
    """Put back, afterwards, the values of buffers that a forward pass writes to (counters, running means)."""
    before = [(plain, plain.clone()) for plain in map(_without_repeats, module.buffers())]
    try:
        yield
    finally:
        _copy_back(before)


@contextmanager
def attributes_kept(module: nn.Module) -> Iterator[None]:
    """Put back, afterwards, the attributes that `forward` or torch.fx sets on modules.

    So is what their dicts, lists and sets hold: a cache is as empty as before, and the next pass goes the same way.

    A lazy module that is not initialised yet is left alone, since it becomes another one.
    """
    children = [child for child in module.modules() if not isinstance(child, LazyModuleMixin)]
    before = [(vars(child), dict(vars(child)), _contents(vars(child))) for child in children]
    try:
        yield
    finally:
        for attributes, values, contents in before:
            attributes.clear()
            attributes.update(values)
            for container, held in contents:
                _refill(container, held)


def _contents(attributes: Mapping[str, Any]) -> list[tuple[Any, Any]]:
    return [(value, copy.copy(value)) for value in attributes.values() if isinstance(value, dict | list | set)]


def _refill(container: Any, held: Any) -> None:
    container.clear()
    if isinstance(container, list):
        container.extend(held)
    else:
        container.update(held)


def _without_repeats(buffer: torch.Tensor) -> torch.Tensor:
    """A view of an expanded buffer that has each of its elements once."""
    plain = buffer.detach()
    for axis, stride in enumerate(plain.stride()):
        if stride == 0 and plain.shape[axis] > 1:
            plain = plain.narrow(axis, 0, 1)
    return plain


@torch.no_grad()
def _copy_back(values: Sequence[tuple[torch.Tensor, torch.Tensor]]) -> None:
    for tensor, value in values:
        tensor.copy_(value)


def count_parameters(module: nn.Module) -> int:
    """Return how many parameters `module` has, each shared one counted once."""
    return sum(parameter.numel() for parameter in module.parameters())


def device_and_dtype(module: nn.Module) -> tuple[torch.device, torch.dtype]:
    """Return where the first parameter lives and its floating dtype (CPU, float32 when there is none)."""
    for parameter in module.parameters():
        if parameter.is_floating_point():
            return parameter.device, parameter.dtype
    return torch.device("cpu"), torch.float32
