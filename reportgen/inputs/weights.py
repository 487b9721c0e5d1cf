"""State dicts, read without ever unpickling code and fitted into a module; reproducible random values."""

import hashlib
import os
import pickle
import random
import re
import warnings
from collections import OrderedDict
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.torch
import torch
from torch import nn
from torch.nn.parameter import is_lazy

from reportgen.errors import InputError
from reportgen.inputs.claims import ClaimError, check_claims
from reportgen.names import did_you_mean

StateDict = Mapping[str, Any]

SEED = 0
# Averaged weights come last: a file that has both is drawn with those that were trained.
_WRAPPERS = (
    "state_dict",
    "model_state_dict",
    "model",
    "model_state",
    "net",
    "state_dict_ema",
    "model_ema",
    "ema",
)
_PREFIXES = ("module.", "_orig_mod.")
_LEVELS, _LISTED, _LONGEST = 8, 100, 300
_OLD_DENSENET = re.compile(r"(denselayer\d+\.(?:norm|conv))\.([12])\.")
_NEEDED = re.compile(r"GLOBAL (\S+)")
_FORCE, _FORCE_NOT = "TORCH_FORCE_WEIGHTS_ONLY_LOAD", "TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD"


@contextmanager
def seeded(seed: int = SEED) -> Iterator[None]:
    """Seed torch's, numpy's and Python's generators inside the block; afterwards all are as they were."""
    # Asking for the states of GPUs would start CUDA where nothing else has.
    gpus = list(range(torch.cuda.device_count())) if torch.cuda.is_initialized() else []  # type: ignore[no-untyped-call]
    python_state, numpy_state = random.getstate(), np.random.get_state()
    try:
        with torch.random.fork_rng(gpus):
            torch.default_generator.manual_seed(seed)
            if gpus:
                torch.cuda.manual_seed_all(seed)
            random.seed(seed)
            np.random.seed(seed)
            yield
    finally:
        random.setstate(python_state)
        np.random.set_state(numpy_state)


@contextmanager
def weights_only() -> Iterator[None]:
    """Make every torch.load inside the block refuse files that carry code, whatever its caller asked for."""
    before = {name: os.environ.pop(name, None) for name in (_FORCE, _FORCE_NOT)}
    os.environ[_FORCE] = "1"
    try:
        yield
    finally:
        os.environ.pop(_FORCE, None)
        os.environ.update({name: value for name, value in before.items() if value is not None})


def sha256_of(path: Path) -> str:
    """Return the hexadecimal SHA-256 of a weights file's bytes; InputError when it can't be read."""
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise InputError(f"weights {path.name}: can't be read ({error.strerror})") from error


def find_file(name: str, base: Path) -> Path:
    """Return the path of the weights file `name`, relative to `base`; InputError when it isn't there."""
    path = base / Path(name).expanduser()
    try:
        # Opening anything else than a file might wait for ever, or never end.
        if path.is_file():
            return path
        if path.is_dir():
            raise InputError(f"weights {name}: is a directory; name the .safetensors or .pt file in it")
        if path.exists():
            raise InputError(f"weights {name}: is not a regular file; give a .safetensors or .pt file")
        siblings = [entry.name for entry in path.parent.iterdir()] if path.parent.is_dir() else []
    except OSError as error:
        raise InputError(f"weights {name}: can't be read ({error.strerror}); check the path") from error
    hint = did_you_mean(path.name, siblings) or "give default, none or a file; torchvision's others are MODEL@NAME"
    raise InputError(f"weights {name}: no such file; {hint}")


def read_state_dict(path: Path) -> StateDict:
    """Return the tensors in a `.safetensors` file or a torch checkpoint, by name, on the CPU.

    A checkpoint may hold its state dict under one of the usual keys (`state_dict`, `model`, ...). Raises
    InputError, without running anything the file carries, for every file that holds no plain state dict.
    """
    loaded = _read_safetensors(path) if path.suffix.lower() == ".safetensors" else _read_checkpoint(path)
    return _unwrap(loaded, path.name)


def _read_safetensors(path: Path) -> StateDict:
    try:
        tensors: StateDict = safetensors.torch.load_file(path, device="cpu")
    except Exception as error:
        raise InputError(f"weights {path.name}: is no safetensors file that can be read ({error})") from error
    return tensors


def _read_checkpoint(path: Path) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what matters is whether the file could be read
        try:
            check_claims(path)
        except ClaimError as error:
            raise InputError(f"weights {path.name}: is no sound checkpoint: {error}") from error
        except Exception as error:
            raise InputError(f"weights {path.name}: {_no_checkpoint(error)}") from error
        return _load(path)


def _load(path: Path) -> Any:
    try:
        with weights_only():
            return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        raise InputError(f"weights {path.name}: {_refusal(error)}") from error


def _refusal(error: Exception) -> str:
    """Say why torch.load gave up: the file carries code, or is no checkpoint at all."""
    text = str(error)
    if not isinstance(error, pickle.UnpicklingError) and "TorchScript" not in text:
        return _no_checkpoint(error)
    needed = _NEEDED.search(text)
    what = f" ({needed[1]})" if needed else ""
    return (
        f"holds more than tensors{what}, and unpickling it could run code, which is never done; where you "
        'trust it, convert it: safetensors.torch.save_file(model.state_dict(), "weights.safetensors")'
    )


def _no_checkpoint(error: Exception) -> str:
    return f"is no checkpoint that torch can read ({type(error).__name__}: {str(error).split('.')[0]})"


def _unwrap(loaded: Any, name: str) -> StateDict:
    """Find the state dict in what a file holds."""
    for _ in range(_LEVELS):
        # A file may give an OrderedDict attributes that hide its methods.
        items = dict(dict.items(loaded)) if isinstance(loaded, dict) else {}
        inner = next((items[key] for key in _WRAPPERS if isinstance(items.get(key), dict)), None)
        if inner is None:
            break
        loaded = inner
    if not _is_state_dict(items):
        keys = f" of {listed(list(map(str, items))) or 'nothing'}" if isinstance(loaded, dict) else ""
        held = type(loaded).__name__ + keys
        raise InputError(f"weights {name}: holds no state dict but a {held}; save model.state_dict()")
    state = OrderedDict((key, _bare(value)) for key, value in items.items())
    versions = getattr(loaded, "_metadata", None)
    if isinstance(versions, dict) and all(isinstance(version, dict) for version in versions.values()):
        state._metadata = versions  # type: ignore[attr-defined]
    return state


def _is_state_dict(items: Mapping[Any, Any]) -> bool:
    tensors = any(isinstance(value, torch.Tensor) for value in items.values())
    return tensors and all(isinstance(key, str) for key in items)


def _bare(value: Any) -> Any:
    """The tensor without the attributes that a file may have given it, or the value as it is."""
    return torch.Tensor.detach(value) if isinstance(value, torch.Tensor) else value


def misshapen(module: nn.Module, state: StateDict) -> dict[str, tuple[tuple[int, ...], tuple[int, ...]]]:
    """Return {key: (the file's shape, the model's shape)} for the tensors whose shapes differ."""
    own, given = module.state_dict(), _rename(module, state)
    return {
        key: (tuple(given[key].shape), tuple(value.shape))
        for key, value in own.items()
        if isinstance(value, torch.Tensor)
        and not is_lazy(value)
        and isinstance(given.get(key), torch.Tensor)
        and given[key].shape != value.shape
    }


def class_count(wrong: Mapping[str, tuple[tuple[int, ...], tuple[int, ...]]]) -> int | None:
    """Return a checkpoint's number of classes, where that is all in which it differs from the model.

    `wrong` is what `misshapen` returns.
    """
    counts = {(found[:1], wanted[:1]) for found, wanted in wrong.values()}
    if len(counts) != 1 or any(found[1:] != wanted[1:] for found, wanted in wrong.values()):
        return None
    found, _ = counts.pop()
    return found[0] if found and found[0] > 0 else None


def load_into(module: nn.Module, state: StateDict, name: str) -> None:
    """Load `state` into `module`. `name` is the file's, for the message.

    Raises InputError that names every missing, unexpected and misshapen key; the module is then half loaded.
    """
    given, wrong = _rename(module, state), misshapen(module, state)
    _check_numbers(module, given, name)
    fitting = _with_versions({key: given[key] for key in given if key not in wrong}, module, given)
    try:
        result = module.load_state_dict(fitting, strict=False)
    except Exception as error:
        raise InputError(f"weights {name}: don't fit the model ({error})") from error
    missing = set(result.missing_keys) - wrong.keys() - _tied(module, given)
    check_keys(name, [key for key in result.missing_keys if key in missing], result.unexpected_keys, wrong)


def _check_numbers(module: nn.Module, given: StateDict, name: str) -> None:
    """Raise InputError where a file's complex numbers would lose their imaginary parts."""
    for key, own in module.state_dict().items():
        if _is_complex(given.get(key)) and not _is_complex(own):
            raise InputError(f"weights {name}: don't fit the model: {_short(key)} is complex in the file alone")


def _is_complex(value: Any) -> bool:
    return isinstance(value, torch.Tensor) and value.is_complex()


def listed(names: list[str]) -> str:
    """Names for a message: the first ones where there are many, and of long ones the beginning."""
    more = f" and {len(names) - _LISTED} more" if len(names) > _LISTED else ""
    return ", ".join(map(_short, names[:_LISTED])) + more


def _short(name: str) -> str:
    return name if len(name) <= _LONGEST else f"{name[:_LONGEST]}..."


def check_keys(
    name: str,
    missing: list[str],
    unexpected: list[str],
    wrong: Mapping[str, tuple[tuple[int, ...], tuple[int, ...]]],
) -> None:
    """Raise InputError that names every key of the file `name` that doesn't fit, if any.

    `wrong` holds, by key, the shape in the file and that in the model.
    """
    shapes = [
        f"{_short(key)} ({list(found)} in the file, {list(wanted)} in the model)"
        for key, (found, wanted) in wrong.items()
    ]
    faults = (("missing", missing), ("unexpected", unexpected), ("misshapen", shapes))
    told = [f"{len(keys)} {fault}: {listed(keys)}" for fault, keys in faults if keys]
    if told:
        raise InputError(
            f"weights {name}: don't fit the model: {'; '.join(told)}; give the weights of this model, or the "
            "model they belong to as file.py:factory"
        )


def _rename(module: nn.Module, state: StateDict) -> StateDict:
    """Strip wrappers' prefixes from the keys, and renew those of torchvision's early densenets."""
    own = module.state_dict()
    stripped = _strip(state, own)
    renamed = {key: _OLD_DENSENET.sub(r"\1\2.", key) for key in stripped if key not in own}
    if not any(new in own for new in renamed.values()):
        return stripped
    return {renamed.get(key, key): value for key, value in stripped.items()}


def _strip(state: StateDict, own: StateDict) -> StateDict:
    for prefix in _PREFIXES * _LEVELS:
        # `n_averaged` is what torch's AveragedModel adds beside the wrapped model.
        keys = [key for key in state if key != "n_averaged"]
        if keys and _all_start(keys, prefix) and not _all_start(own, prefix):
            state = {key.removeprefix(prefix): state[key] for key in keys}
    return state


def _all_start(keys: Any, prefix: str) -> bool:
    return all(isinstance(key, str) and key.startswith(prefix) for key in keys)


def _with_versions(values: dict[str, Any], module: nn.Module, given: StateDict) -> StateDict:
    """Return `values` with the format version of each module's tensors, which safetensors doesn't record.

    Where the names are exactly the module's, so are the versions; else torch takes the tensors for old ones.
    """
    own, versioned = module.state_dict(), OrderedDict(values)
    versions = getattr(given, "_metadata", None)
    if versions is None and given.keys() == own.keys():
        versions = getattr(own, "_metadata", None)
    versioned._metadata = versions  # type: ignore[attr-defined]
    return versioned


def _tied(module: nn.Module, given: StateDict) -> set[str]:
    """Return the names of parameters that the file has under another name: safetensors keeps one of them."""
    own = module.state_dict(keep_vars=True)
    present = {id(own[key]) for key in given if isinstance(own.get(key), nn.Parameter)}
    return {key for key, value in own.items() if id(value) in present}
