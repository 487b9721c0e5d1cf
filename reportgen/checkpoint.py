"""What a build has learned so far, as bytes: with it and its draft, an interrupted build goes on where it was.

Between two batches everything that a build will still need is what the kinds of figures have summed up, what the
ledger has entered, and the state of the random generators. All else follows from the inputs: a checkpoint bears a
hash of these, of the options and of the versions, and is not used for others.
"""

import hashlib
import io
import pickle
import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from reportgen.entities import Batch
from reportgen.errors import UsageError
from reportgen.figures.base import FigureKind
from reportgen.ledger import Ledger
from reportgen.network.base import Network
from reportgen.site.writer import SiteWriter

_SHARED = ("options", "subject")
"""What every kind is made with, and so has already."""
_OURS = ("figures", "numerics", "drawing", "entities", "ledger", "network.comparison", "site.record")
_PLAIN: Mapping[str, set[str]] = {
    "builtins": {"set", "frozenset", "bytearray", "complex", "object", "slice", "range"},
    "collections": {"OrderedDict", "defaultdict", "Counter", "deque"},
    "numpy": {"ndarray", "dtype"},
    "numpy.core.multiarray": {"_reconstruct", "scalar"},
    "numpy._core.multiarray": {"_reconstruct", "scalar"},
    "numpy._core.numeric": {"_frombuffer"},
    "torch": {"Size", "device"},
    "copyreg": {"_reconstructor"},
    "PIL.Image": {"Image"},
    __name__: {"_tensor", "_generator"},
}
"""What a checkpoint may name besides classes of reportgen's own: nothing that could do harm when it is called."""


@dataclass(frozen=True)
class Checkpoints:
    """Makes and reads the checkpoints of one build; `identity` says of what: its inputs, options and versions."""

    identity: str
    network: Network
    kinds: Sequence[FigureKind]
    ledger: Ledger

    def save(self, batches: int) -> bytes:
        """Return the state after so many batches. Raises TypeError or PicklingError when a kind can't be kept."""
        buffer = io.BytesIO()
        kinds = [{name: part for name, part in vars(kind).items() if name not in _SHARED} for kind in self.kinds]
        state = (self._digest(), batches, kinds, self.ledger.state, list(self.network.differences), _random_state())
        _Pickler(buffer, self._modules()).dump(state)
        return buffer.getvalue()

    def load(self, data: bytes) -> int:
        """Take over a state that `save` returned; return after how many batches it was. 0: it can't be used."""
        modules = {layer.name: module for layer in self.network.layers if (module := self.network.module_of(layer))}
        try:
            state = _Unpickler(io.BytesIO(data), modules).load()
            digest, batches, kinds, ledger, differences, generators = state
        except Exception:  # noqa: BLE001 - half a file or a foreign one may raise anything
            return 0
        if digest != self._digest() or len(kinds) != len(self.kinds):
            return 0
        for kind, parts in zip(self.kinds, kinds, strict=True):
            vars(kind).update(parts)
        self.ledger.state = ledger
        self.network.differences[:] = differences
        _set_random_state(generators)
        return int(batches)

    def _digest(self) -> str:
        parts = (self.identity, *(kind.name for kind in self.kinds), *(layer.name for layer in self.network.layers))
        return hashlib.sha256("\0".join(parts).encode("utf-8", "replace")).hexdigest()

    def _modules(self) -> dict[int, str]:
        """The name of a layer that calls each module, by the module's id."""
        found = ((self.network.module_of(layer), layer.name) for layer in self.network.layers)
        return {id(module): name for module, name in found if module is not None}


def resumed(batches: Iterator[Batch], checkpoints: Checkpoints, writer: SiteWriter) -> Iterator[Batch]:
    """Yield the batches that an interrupted build has not done, and leave a checkpoint after each that is done.

    The next batch is asked for when all figures of the one before are written.
    """
    done = checkpoints.load(writer.resumed) if writer.resumed else 0
    if writer.resumed and not done:
        writer.start_anew()  # it was left by a build of something else
    for _ in zip(range(done), batches, strict=False):
        pass
    for batch in batches:
        yield batch
        done += 1
        try:
            state = checkpoints.save(done)
        except (AttributeError, TypeError, pickle.PicklingError) as error:
            raise UsageError(
                f"resume: a kind of figure holds what can't be kept ({error}); leave --resume out"
            ) from error
        writer.checkpoint(state)


class _Pickler(pickle.Pickler):
    """Writes tensors as arrays, and of modules the layer that calls them."""

    def __init__(self, file: io.BytesIO, modules: Mapping[int, str]) -> None:
        super().__init__(file, protocol=5)
        self._modules = modules

    def persistent_id(self, obj: Any) -> str | None:
        if not isinstance(obj, nn.Module):
            return None
        if id(obj) not in self._modules:
            raise TypeError(f"a {type(obj).__name__} that no layer calls can't be kept")
        return self._modules[id(obj)]

    def reducer_override(self, obj: Any) -> Any:
        if isinstance(obj, torch.Tensor):
            data = obj.detach().cpu().contiguous()
            content = data.reshape(-1).view(torch.uint8).numpy().tobytes() if data.numel() else b""
            return _tensor, (content, obj.dtype, tuple(obj.shape), obj.device)
        if isinstance(obj, torch.Generator):
            return _generator, (obj.get_state().numpy(), obj.device)
        return NotImplemented


class _Unpickler(pickle.Unpickler):
    """Reads what `_Pickler` wrote, and calls nothing but what plain data are made of."""

    def __init__(self, file: io.BytesIO, modules: Mapping[str, nn.Module]) -> None:
        super().__init__(file)
        self._modules = modules

    def persistent_load(self, pid: Any) -> nn.Module:
        return self._modules[pid]

    def find_class(self, module: str, name: str) -> Any:
        ours = any(f"{module}.".startswith(f"reportgen.{part}.") for part in _OURS)
        if not ours and name not in _PLAIN.get(module, ()) and module != "torch":
            raise pickle.UnpicklingError(f"{module}.{name} has no place in a checkpoint")
        found = super().find_class(module, name)
        if ours and not isinstance(found, type):
            raise pickle.UnpicklingError(f"{module}.{name} is no class")
        if module == "torch" and name not in _PLAIN["torch"] and not isinstance(found, torch.dtype):
            raise pickle.UnpicklingError(f"torch.{name} is no dtype")
        return found


def _tensor(content: bytes, dtype: torch.dtype, shape: tuple[int, ...], device: torch.device) -> torch.Tensor:
    flat = torch.frombuffer(bytearray(content), dtype=dtype) if content else torch.empty(0, dtype=dtype)
    return flat.reshape(shape).to(device)


def _generator(state: NDArray[np.uint8], device: torch.device) -> torch.Generator:
    made = torch.Generator(device)
    made.set_state(torch.from_numpy(state.copy()))
    return made


def _random_state() -> Any:
    return torch.get_rng_state(), np.random.get_state(), random.getstate()


def _set_random_state(state: Any) -> None:
    torch_state, numpy_state, python_state = state
    torch.set_rng_state(torch_state)
    np.random.set_state(numpy_state)
    random.setstate(python_state)
