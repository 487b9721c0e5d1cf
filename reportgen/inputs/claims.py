"""A torch checkpoint rehearsed before torch reads it: nothing in it may claim more than the file holds.

A pickle of a few bytes can ask for gigabytes, for values that lie outside of its storage, or for positions in a
sparse tensor that are outside of the tensor. `check_claims` unpickles a file with inert stand-ins in place of
everything that a pickle can name: no code runs, no tensor is made, and each claim is held against the file's size.
Which names are allowed is for torch to judge, afterwards.
"""

import math
import pickle
import zipfile
from collections.abc import Callable, Mapping
from io import BytesIO
from pathlib import Path
from typing import IO, Any, NoReturn

import torch

_ARCHIVE = b"PK\x03\x04"
_MAGIC = 0x1950A86A20F9469CFC6C
_LEGACY_PICKLES = 4
"""A legacy file has so many after the magic number: a version, the system, the value, the storages' names."""
_ENTRIES = 65_535
_EXPANDED = 1 << 20
"""A tensor may show fewer values than its storage holds more than once, up to so many."""
_TEXT_CODECS = frozenset({"latin1", "latin-1", "ascii", "utf-8", "utf8"})


class ClaimError(Exception):
    """A checkpoint claims what it doesn't hold, or holds what is no plain tensor; the text says so."""


def check_claims(path: Path) -> None:
    """Raise ClaimError for a torch checkpoint that would take what its file doesn't cover.

    Of an archive, every entry must be stored as it is, under a name of its own. What is no pickle raises whatever
    Python's unpickler does.
    """
    size = path.stat().st_size
    with path.open("rb") as file:
        if file.read(len(_ARCHIVE)) == _ARCHIVE:
            _check_archive(file, size)
            return
        file.seek(0)
        for _ in range(_LEGACY_PICKLES if _rehearse(file, size) == _MAGIC else 0):
            _rehearse(file, size)


def _rehearse(file: IO[bytes], size: int) -> Any:
    return _Rehearsal(file, lambda _, count: count <= size).load()


def _check_archive(file: IO[bytes], size: int) -> None:
    with zipfile.ZipFile(file) as archive:
        entries = archive.infolist()
        if len(entries) > _ENTRIES:
            raise ClaimError(f"the archive has {len(entries)} entries, more than {_ENTRIES}")
        names = {entry.filename.casefold() for entry in entries}
        if len(names) < len(entries):
            raise ClaimError("two entries of the archive bear the same name")
        if any(entry.compress_type != zipfile.ZIP_STORED or entry.flag_bits & 1 for entry in entries):
            raise ClaimError("the archive is compressed or encrypted, which torch.save never does")
        # Where other bytes come before or after the archive, readers differ in what they take for it.
        if archive.comment or min((entry.header_offset for entry in entries), default=0):
            raise ClaimError("the archive is not the whole file")
        if sum(entry.file_size for entry in entries) > size:
            raise ClaimError(f"the entries of the archive are larger than the file, which has {size} bytes")
        sizes = {entry.filename.partition("/data/")[2]: entry.file_size for entry in entries}
        for entry in entries:
            if entry.filename.endswith("data.pkl"):
                _Rehearsal(BytesIO(archive.read(entry)), lambda key, count: sizes.get(key) == count).load()


class _Storage:
    """Stands for the storage of `count` values that a pickle speaks of; `count` is in values of its own type."""

    def __init__(self, count: int) -> None:
        self.count = count


class _Kind:
    """Stands for a type of storage, such as torch.FloatStorage."""

    def __init__(self, itemsize: int) -> None:
        self.itemsize = itemsize


class _Inert:
    """Stands for whatever is called or built; it takes everything and does nothing."""

    def __init__(self, *_: object, **__: object) -> None: ...

    def __setstate__(self, _: object) -> None: ...

    def __setitem__(self, _: object, __: object) -> None: ...

    def append(self, _: object) -> None: ...

    def extend(self, _: object) -> None: ...


class _Dict(dict[Any, Any]):
    """Stands for an OrderedDict."""

    def __setstate__(self, _: object) -> None: ...


class _Tensor(_Inert):
    """Stands for torch.Tensor and storages: in files they come without values, which a state tells of."""

    def __init__(self, *values: object) -> None:
        if values:
            raise ClaimError("it makes a tensor out of a size or of numbers, not of what the file holds")

    def __setstate__(self, state: object) -> None:
        if isinstance(state, tuple) and len(state) == 4:
            _rebuilt(*state)


def _rebuilt(storage: object, offset: object = 0, size: object = (), stride: object = (), *_: object) -> _Inert:
    """Stand for the functions that make a tensor of a storage."""
    sizes, steps = _numbers(size), _numbers(stride)
    if not isinstance(storage, _Storage):  # in a bare pickle, which torch refuses
        return _Inert()
    if len(sizes) != len(steps):
        raise ClaimError("a tensor has other axes than strides")
    values = math.prod(sizes)
    last = _numbers((offset,))[0] + sum((length - 1) * step for length, step in zip(sizes, steps, strict=True))
    if values and (last >= storage.count or values > max(storage.count, _EXPANDED)):
        raise ClaimError(f"a tensor of {values} values lies in a storage of {storage.count}")
    return _Inert()


def _numbers(values: object) -> list[int]:
    """The values of a tuple that must all be whole numbers from 0 on."""
    if isinstance(values, list | tuple) and all(type(value) is int and value >= 0 for value in values):
        return list(values)
    raise ClaimError("a size, stride or offset is no whole number from 0 on")


def _bytearray(content: object = b"", *_: object) -> _Inert:
    if isinstance(content, int):
        raise ClaimError(f"it asks for {content} bytes of memory")
    return _Inert()


def _encode(_: object, codec: object = "") -> _Inert:
    # What turns bytes into more bytes, as "hex" does, can be asked for again and again.
    if codec not in _TEXT_CODECS:
        raise ClaimError("it encodes a text otherwise than pickles do")
    return _Inert()


def _not_plain(*_: object) -> NoReturn:
    raise ClaimError("it holds a sparse, nested or meta tensor; save tensor.to_dense() instead")


_STAND_INS: Mapping[str, Any] = {
    "collections.OrderedDict": _Dict,
    "builtins.bytearray": _bytearray,
    "__builtin__.bytearray": _bytearray,
    "_codecs.encode": _encode,
    "torch.Size": tuple,
    "torch._utils._rebuild_tensor": _rebuilt,
    "torch._utils._rebuild_tensor_v2": _rebuilt,
    "torch._utils._rebuild_tensor_v3": _rebuilt,
    "torch._utils._rebuild_qtensor": _rebuilt,
    "torch._utils._rebuild_sparse_tensor": _not_plain,
    "torch._utils._rebuild_nested_tensor": _not_plain,
    "torch._utils._rebuild_meta_tensor_no_storage": _not_plain,
    "torch._utils._rebuild_wrapper_subclass": _not_plain,
}


def _from_type(function: Any, _: object, arguments: Any, __: object) -> Any:
    """Stand for what makes a tensor with attributes by another function."""
    return function(*arguments)


class _Rehearsal(pickle._Unpickler):  # the one in Python: the other's memo can be made to fill the memory
    """Unpickles stand-ins. `covers` tells whether the file has a storage of that key, of so many bytes."""

    def __init__(self, file: IO[bytes], covers: Callable[[str, int], bool]) -> None:
        super().__init__(file)
        self._covers = covers

    def find_class(self, module: str, name: str, /) -> Any:
        whole = f"{module}.{name}"
        if whole == "torch._tensor._rebuild_from_type_v2":
            return _from_type
        if whole.startswith("torch.") and name.endswith(("Tensor", "UntypedStorage", "TypedStorage")):
            return _not_plain if "sparse" in module else _Tensor
        if module == "torch" and name.endswith("Storage"):
            return _Kind(getattr(getattr(getattr(torch, name, None), "dtype", None), "itemsize", 1))
        return _STAND_INS.get(whole, _Inert)

    def persistent_load(self, pid: Any) -> _Storage:
        if not isinstance(pid, tuple) or len(pid) < 5:
            raise ClaimError("it refers to what is no storage")
        kind, key, count = pid[1], pid[2], _numbers((pid[4],))[0]
        itemsize = kind.itemsize if isinstance(kind, _Kind) else 1
        if not isinstance(key, str) or not self._covers(key, count * itemsize):
            raise ClaimError(f"a storage of {count} values is not what the file has")
        return _Storage(count)
