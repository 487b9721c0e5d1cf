"""Hashes that say which network it was: of its state dict, and of the source file that builds it."""

import errno
import hashlib
import inspect
import struct
import sys
from collections.abc import Iterator, Mapping
from operator import itemgetter
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.nn.parameter import is_lazy

from reportgen.errors import InputError


def state_sha256(module: nn.Module) -> str:
    """Return the SHA-256 of a module's state dict: name, dtype, shape and bytes of each tensor, sorted by name.

    Of each tensor go in: its name, its dtype (`float32`) and its shape (`2,3`), each as UTF-8 with a zero byte
    behind it, the number of its bytes (8, little endian), and these, in row-major order as the machine holds them.
    A quantised tensor is its integers, scales and zero points. A tuple, list or dict is its parts, `name.0` or
    `name.key`. What else a state dict holds goes in by its type, and by its `repr` where that is a plain value.
    """
    digest = hashlib.sha256()
    for name, value in sorted(_parts("", module.state_dict()), key=itemgetter(0)):
        for piece in _pieces(name, value):
            digest.update(piece)
    return digest.hexdigest()


def _parts(name: str, value: Any) -> Iterator[tuple[str, Any]]:
    """Every leaf of a state dict, under the names of what holds it."""
    if isinstance(value, Mapping):
        for key, part in value.items():
            yield from _parts(f"{name}.{key}" if name else str(key), part)
    elif isinstance(value, tuple | list):
        yield from _parts(name, dict(enumerate(value)))
    elif isinstance(value, torch.Tensor) and not is_lazy(value) and value.is_quantized:
        yield from _parts(name, _opened(value))
    else:
        yield name, value


def _opened(value: torch.Tensor) -> dict[str, Any]:
    """A quantised tensor as its parts."""
    per_channel = value.qscheme() in (torch.per_channel_affine, torch.per_channel_affine_float_qparams)
    scales = value.q_per_channel_scales() if per_channel else value.q_scale()
    zeros = value.q_per_channel_zero_points() if per_channel else value.q_zero_point()
    return {"integers": value.int_repr(), "scales": scales, "zero points": zeros}


def _pieces(name: str, value: Any) -> Iterator[Any]:
    if not isinstance(value, torch.Tensor) or is_lazy(value) or value.is_meta:
        plain = isinstance(value, bool | int | float | str | torch.dtype | None)
        yield f"{name}\0{type(value).__name__}\0{repr(value) if plain else ''}\0".encode()
        return
    dense = value.detach().cpu()
    dense = (dense.to_dense() if dense.layout is not torch.strided else dense).resolve_conj().resolve_neg()
    data = dense.contiguous().reshape(-1).view(torch.uint8).numpy()
    dtype = str(value.dtype).removeprefix("torch.")
    yield f"{name}\0{dtype}\0{','.join(map(str, value.shape))}\0".encode() + struct.pack("<Q", data.nbytes)
    yield data


def source_sha256(module: nn.Module, factory: Path | None = None) -> str | None:
    """Return the SHA-256 of the file that `factory` names, else of the one with the module's class.

    None where there is no such file: a class typed at a prompt, or compiled. Raises InputError for a disk that
    fails, since a record without the hash would look as if there were none.
    """
    try:
        path = factory or Path(inspect.getfile(type(module)))
        return hashlib.sha256(path.read_bytes()).hexdigest()
    except (OSError, TypeError) as error:
        if isinstance(error, OSError) and error.errno == errno.EIO:
            raise InputError(f"{path.name}: the model's file can't be read any more ({error.strerror})") from error
        return None


def file_of_factory(spec: str, base: Path) -> Path | None:
    """Return the Python file of a factory that was called: the one that `spec` names, or its module's."""
    source = spec.rpartition(":")[0]
    if source.endswith(".py") or "/" in source or "\\" in source:
        return base / Path(source).expanduser()
    file = getattr(sys.modules.get(source), "__file__", None)
    return Path(file) if file else None
