"""Weights files made to do harm: code in pickles, archives that lie, claims that nothing in the file covers.

Each maker in MAKERS writes one file into a directory, for a network with the state dict `weight` (4, 3, 3, 3) and
`bias` (4), and returns what `--weights` is then given. `mark` is a directory that code in the file would make.
"""

import io
import json
import os
import pickle
import struct
import tarfile
import zipfile
import zlib
from collections import OrderedDict
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.torch
import torch
from torch import nn

from confined import Confined

Maker = Callable[[Path, Path], str]
MODEL = "from torch import nn\n\n\ndef network():\n    return nn.Conv2d(3, 4, 3)\n"
MAKERS: dict[str, Maker] = {}


def state() -> dict[str, Any]:
    """A state dict that fits the network."""
    return {"weight": torch.ones(4, 3, 3, 3), "bias": torch.zeros(4)}


def write_model(directory: Path) -> str:
    """Write the network's source and return its spec."""
    (directory / "model.py").write_text(MODEL, encoding="utf-8")
    return f"{directory}/model.py:network"


def _maker(name: str) -> Callable[[Maker], Maker]:
    def add(make: Maker) -> Maker:
        assert name not in MAKERS
        MAKERS[name] = make
        return make

    return add


# Code in pickles


class Runs:
    """Unpickling this makes a directory."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.mark),)


def _text(text: object) -> bytes:
    """The operation that puts a text on an unpickler's stack."""
    encoded = str(text).encode()
    return b"X" + struct.pack("<I", len(encoded)) + encoded


def codes(mark: Path) -> dict[str, bytes]:
    """Pickles that make the directory `mark` when Python unpickles them, each by other operations."""
    text, short = _text(mark), b"\x8c" + bytes([len(str(mark))]) + str(mark).encode()
    partial = b"cfunctools\npartial\n(cbuiltins\nlen\ntR(cos\nmkdir\n(" + text + b"t}NtbT"
    return {
        "protocol 0": b"cos\nmkdir\n(V" + str(mark).encode() + b"\ntR.",
        "reduce": b"\x80\x02cos\nmkdir\n" + text + b"\x85R.",
        "posix": b"\x80\x02cposix\nmkdir\n" + text + b"\x85R.",
        "nested": b"\x80\x02}(" + _text("state_dict") + b"}" + _text("w") + b"cos\nmkdir\n" + text + b"\x85Rsu.",
        "stack global": b"\x80\x04\x8c\x02os\x8c\x05mkdir\x93" + short + b"\x85R.",
        "inst": b"(" + text + b"ios\nmkdir\n.",
        "obj": b"(cos\nmkdir\n" + text + b"o.",
        "newobj": b"\x80\x02cpathlib\nPath\n" + text + b"\x85\x81cpathlib\nPath.mkdir\n0.",
        "eval": b"\x80\x02cbuiltins\neval\n" + _text(f"__import__('os').mkdir({str(mark)!r})") + b"\x85R.",
        "python 2": b"\x80\x02c__builtin__\neval\n" + _text(f"__import__('os').mkdir({str(mark)!r})") + b"\x85R.",
        "getattr": b"\x80\x02cbuiltins\ngetattr\ncos\n__dict__\n" + _text("mkdir") + b"\x86R" + text + b"\x85R.",
        "build": b"\x80\x02" + partial.removesuffix(b"T") + b")R.",
        "dotted": b"\x80\x04\x8c\x13torch.serialization\x8c\x08os.mkdir\x93" + short + b"\x85R.",
        "a dict's items": b"\x80\x02}" + _text("weight") + b"cos\nmkdir\n" + text + b"\x85Rs.",
        "an attribute": b"\x80\x02ccollections\nOrderedDict\n)R}" + _text("x")
        + b"cos\nmkdir\n" + text + b"\x85Rsb.",
        "an extension": b"\x80\x02\x82\x01" + text + b"\x85R.",
        "framed": b"\x80\x04\x95" + struct.pack("<Q", 8 + len(short) + 9)
        + b"\x8c\x02os\x8c\x05mkdir\x93" + short + b"\x85R.",
    }  # fmt: skip


def _archive(path: Path, pickled: bytes, storages: Mapping[str, bytes] | None = None, **zip_options: Any) -> None:
    """Write a file as torch.save does, with a pickle and storages of one's own."""
    with zipfile.ZipFile(path, "w", **zip_options) as file:
        file.writestr("archive/data.pkl", pickled)
        file.writestr("archive/byteorder", b"little")
        for name, content in (storages or {}).items():
            file.writestr(f"archive/data/{name}", content)
        file.writestr("archive/version", b"3\n")


def _legacy(pickled: bytes, names: bytes = b"\x80\x02].") -> bytes:
    """A file as torch.save wrote it before it wrote archives."""
    magic, version = pickle.dumps(0x1950A86A20F9469CFC6C, 2), pickle.dumps(1001, 2)
    sizes = {"short": 2, "int": 4, "long": 4}
    system = pickle.dumps({"protocol_version": 1001, "little_endian": True, "type_sizes": sizes}, 2)
    return magic + version + system + pickled + names


def _write_bare(path: Path, pickled: bytes) -> None:
    path.write_bytes(pickled)


def _write_legacy(path: Path, pickled: bytes) -> None:
    path.write_bytes(_legacy(pickled))


_CONTAINERS: dict[str, Callable[[Path, bytes], None]] = {
    "bare": _write_bare, "legacy": _write_legacy, "archive": _archive
}  # fmt: skip


def _code_maker(kind: str, write: Callable[[Path, bytes], None], suffix: str) -> Maker:
    def make(directory: Path, mark: Path) -> str:
        path = directory / f"weights.{suffix}"
        write(path, codes(mark)[kind])
        return str(path)

    return make


for _kind in codes(Path("mark")):
    for _name, _write in _CONTAINERS.items():
        MAKERS[f"code: {_kind}, {_name}"] = _code_maker(_kind, _write, "pt")
for _name, _write in _CONTAINERS.items():
    MAKERS[f"code: reduce, {_name}, called safetensors"] = _code_maker("reduce", _write, "safetensors")


@_maker("code: beside the weights")
def _beside(directory: Path, mark: Path) -> str:
    torch.save({"state_dict": state(), "hook": Runs(mark)}, directory / "weights.pt")
    return str(directory / "weights.pt")


@_maker("code: a whole module")
def _module(directory: Path, mark: Path) -> str:
    module = nn.Conv2d(3, 4, 3)
    module.hook = Runs(mark)  # type: ignore[assignment]
    torch.save(module, directory / "weights.pt")
    return str(directory / "weights.pt")


@_maker("code: in a tar archive")
def _tar(directory: Path, mark: Path) -> str:
    path = directory / "weights.pt"
    with tarfile.open(path, "w") as file:
        for name in ("storages", "tensors", "pickle"):
            member = tarfile.TarInfo(name)
            content = codes(mark)["reduce"]
            member.size = len(content)
            file.addfile(member, io.BytesIO(content))
    return str(path)


@_maker("TorchScript")
def _script(directory: Path, mark: Path) -> str:
    scripted: Any = torch.jit.script(nn.Conv2d(3, 4, 3))
    scripted.save(str(directory / "weights.pt"))
    return str(directory / "weights.pt")


# Pickles of tensors, written by hand


class _Storage:
    def __init__(self, kind: type, key: str, count: int) -> None:
        self.id = ("storage", kind, key, "cpu", count)


class _Call:
    def __init__(self, function: Callable[..., Any], *arguments: Any) -> None:
        self.call = (function, arguments)

    def __reduce__(self) -> tuple[Any, ...]:
        return self.call


class _Pickler(pickle._Pickler):  # the one in Python: torch's classes of storages are pickled by name
    def persistent_id(self, value: object) -> Any:
        return value.id if isinstance(value, _Storage) else None


def pickled(value: object) -> bytes:
    """`value` as torch.save pickles it, with _Storage for what lies outside the pickle."""
    buffer = io.BytesIO()
    _Pickler(buffer, 2).dump(value)
    return buffer.getvalue()


def tensor(
    size: tuple[int, ...],
    stride: tuple[int, ...],
    *,
    key: str = "0",
    count: int = 108,
    offset: int = 0,
    kind: type = torch.FloatStorage,
) -> _Call:
    """What torch.save writes for a tensor; nothing here needs to be true."""
    rebuild = torch._utils._rebuild_tensor_v2
    return _Call(rebuild, _Storage(kind, key, count), offset, size, stride, False, OrderedDict())


SHAPE, STRIDE = (4, 3, 3, 3), (27, 9, 3, 1)


def _claim_maker(weight: Callable[[], object], **storages: bytes) -> Maker:
    def make(directory: Path, mark: Path) -> str:
        value = {"weight": weight(), "bias": tensor((4,), (1,), key="1", count=4)}
        contents = {"0": bytes(432), "1": bytes(16), **{key[1:]: content for key, content in storages.items()}}
        _archive(directory / "weights.pt", pickled(value), contents)
        return str(directory / "weights.pt")

    return make


def _sparse(size: tuple[int, ...], *, coalesced: bool = True) -> _Call:
    indices = tensor((4, 1), (1, 1), key="2", count=4, kind=torch.LongStorage)
    data = (indices, tensor((1,), (1,), count=108), torch.Size(size), coalesced)
    return _Call(torch._utils._rebuild_sparse_tensor, torch.sparse_coo, data)


def _meta() -> _Call:
    return _Call(torch._utils._rebuild_meta_tensor_no_storage, torch.float32, SHAPE, STRIDE, False)


_FAR = np.array([10**12, 2, 2, 2]).tobytes()
_NEAR = np.array([1, 2, 2, 2]).tobytes()
_CLAIMS: dict[str, Maker] = {
    "sparse, indices out of range": _claim_maker(lambda: _sparse(SHAPE), _2=_FAR),
    "sparse, indices below zero": _claim_maker(
        lambda: _sparse(SHAPE, coalesced=False), _2=np.array([-(10**9), 0, 0, 0]).tobytes()
    ),
    "sparse": _claim_maker(lambda: _sparse(SHAPE), _2=_NEAR),
    "sparse and huge": _claim_maker(lambda: _sparse((10**9, 3, 3, 3)), _2=_NEAR),
    "meta": _claim_maker(_meta),
    "a stride of 0": _claim_maker(lambda: tensor((10**12,), (0,))),
    "a stride of 0, as classes": _claim_maker(lambda: tensor((10**7, 3, 3, 3), (0, 9, 3, 1))),
    "a stride below 0": _claim_maker(lambda: tensor(SHAPE, (-27, 9, 3, 1))),
    "an offset out of range": _claim_maker(lambda: tensor(SHAPE, STRIDE, offset=10**9)),
    "an offset below 0": _claim_maker(lambda: tensor(SHAPE, STRIDE, offset=-400)),
    "a size below 0": _claim_maker(lambda: tensor((-4, 3, 3, 3), STRIDE)),
    "a size beyond 64 bits": _claim_maker(lambda: tensor((2**62, 2**62, 3, 3), STRIDE)),
    "a size that overflows": _claim_maker(lambda: tensor((2**32, 2**32, 1, 1), (0, 0, 0, 0))),
    "a view beyond its storage": _claim_maker(lambda: tensor(SHAPE, STRIDE, count=4), _0=bytes(16)),
    "a view far beyond its storage": _claim_maker(lambda: tensor((4, 10**9), (10**9, 1))),
    "a storage shorter than it says": _claim_maker(lambda: tensor(SHAPE, STRIDE), _0=bytes(16)),
    "a storage far shorter than it says": _claim_maker(
        lambda: tensor((10**9,), (1,), count=10**9), _0=bytes(16)
    ),
    "a storage of 10^15 values": _claim_maker(lambda: tensor((10**15,), (1,), count=10**15)),
    "a storage below 0": _claim_maker(lambda: tensor(SHAPE, STRIDE, count=-108)),
    "a storage that is not there": _claim_maker(lambda: tensor(SHAPE, STRIDE, key="9")),
    "a storage outside": _claim_maker(lambda: tensor(SHAPE, STRIDE, key="../../../../etc/passwd")),
    "the pickle as a storage": _claim_maker(lambda: tensor(SHAPE, STRIDE, key="../data.pkl")),
    "a bytearray of 8 GB": _claim_maker(lambda: _Call(bytearray, 8 << 30)),
    "an empty tensor of 8 GB": _claim_maker(lambda: _Call(torch.Tensor, 2 << 30)),
    "a text that grows": _claim_maker(lambda: _grown(28)),
    "a set": _claim_maker(lambda: {1, 2}),
    "a value that is a text": _claim_maker(lambda: "weight"),
    "a value that is a list": _claim_maker(lambda: [tensor(SHAPE, STRIDE)]),
    "complex numbers": _claim_maker(
        lambda: tensor(SHAPE, (9, 3, 1, 1), kind=torch.ComplexFloatStorage, count=54)
    ),
}  # fmt: skip
MAKERS.update({f"claims: {name}": make for name, make in _CLAIMS.items()})


def _grown(times: int) -> object:
    """An encoding that doubles what it encodes, so many times over."""
    from _codecs import encode

    value: object = _Call(encode, "x" * 100, "latin1")
    for _ in range(times):
        value = _Call(encode, value, "hex")
    return value


# What a file may hold in place of a state dict


def _value_maker(value: Callable[[], object]) -> Maker:
    def make(directory: Path, mark: Path) -> str:
        torch.save(value(), directory / "weights.pt")
        return str(directory / "weights.pt")

    return make


def _endless() -> dict[str, Any]:
    value: dict[str, Any] = {}
    value["state_dict"] = value
    return value


def _deep(levels: int, key: bytes = b"X\x05\0\0\0model") -> bytes:
    return b"\x80\x02" + (b"}" + key) * levels + b"}" + b"s" * levels + b"."


_VALUES: dict[str, Callable[[], object]] = {
    "a dict in itself": _endless,
    "numbers for names": lambda: {0: torch.ones(1), 1: torch.ones(1)},
    "a name that is a tuple": lambda: {("weight",): torch.ones(SHAPE)},
    "a name of many lines": lambda: {**state(), "\n\r\x1b[2J\x00reportgen: done\u2028\u202e": torch.ones(1)},
    "a name of a megabyte": lambda: {**state(), "x" * (1 << 20): torch.ones(1)},
    "2,000 names": lambda: {str(number): torch.ones(1) for number in range(2_000)},
    "prefixes without end": lambda: {"module." * 20_000 + name: value for name, value in state().items()},
    "no tensors": lambda: {"weight": 1, "bias": "two"},
    "nothing": lambda: None,
    "quantised": lambda: {**state(), "weight": torch.quantize_per_tensor(torch.ones(SHAPE), 0.1, 0, torch.qint8)},
    "other sizes": lambda: {**state(), "weight": torch.ones(10, 3, 3, 3)},
}
MAKERS.update({f"values: {name}": _value_maker(value) for name, value in _VALUES.items()})


@_maker("values: nested 50,000 deep")
def _nested(directory: Path, mark: Path) -> str:
    _archive(directory / "weights.pt", _deep(50_000))
    return str(directory / "weights.pt")


@_maker("values: nested 50,000 deep, bare")
def _nested_bare(directory: Path, mark: Path) -> str:
    (directory / "weights.pt").write_bytes(_deep(50_000))
    return str(directory / "weights.pt")


@_maker("values: tuples nested 50,000 deep")
def _tuples(directory: Path, mark: Path) -> str:
    _archive(directory / "weights.pt", b"\x80\x02)" + b"\x85" * 50_000 + b".")
    return str(directory / "weights.pt")


# Archives


def _write_bomb(path: Path, name: str, byte: bytes, megabytes: int, others: Mapping[str, bytes]) -> None:
    """An archive whose entry `name` is a byte over and over, packed; only its check sum is wrong."""
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    first = packer.compress(byte * (1 << 20)) + packer.flush(zlib.Z_FULL_FLUSH)
    again = packer.compress(byte * (1 << 20)) + packer.flush(zlib.Z_FULL_FLUSH)
    packed = first + again * (megabytes - 1) + packer.flush()
    with zipfile.ZipFile(path, "w") as file:
        file.writestr(name, packed)
        for other, content in others.items():
            file.writestr(other, content)
    data = bytearray(path.read_bytes())
    for place, method in ((0, 8), (data.index(b"PK\x01\x02"), 10)):
        struct.pack_into("<H", data, place + method, zipfile.ZIP_DEFLATED)
        struct.pack_into("<I", data, place + method + 14, megabytes << 20)
    path.write_bytes(data)


@_maker("archive: data of two gigabytes in two megabytes")
def _bomb(directory: Path, mark: Path) -> str:
    count = 1 << 29
    value = pickled({"weight": tensor((count,), (1,), count=count), "bias": tensor((4,), (1,), count=count)})
    others = {"archive/data.pkl": value, "archive/version": b"3\n"}
    _write_bomb(directory / "weights.pt", "archive/data/0", b"\0", 2048, others)
    return str(directory / "weights.pt")


@_maker("archive: a pickle of two gigabytes in two megabytes")
def _pickle_bomb(directory: Path, mark: Path) -> str:
    _write_bomb(directory / "weights.pt", "archive/data.pkl", b"N", 2047, {"archive/version": b"3\n"})
    return str(directory / "weights.pt")


@_maker("archive: 70,000 entries")
def _entries_bomb(directory: Path, mark: Path) -> str:
    value = pickled({"weight": tensor(SHAPE, STRIDE)})
    _archive(directory / "weights.pt", value, {"0": bytes(432), **{str(key): b"" for key in range(1, 70_000)}})
    return str(directory / "weights.pt")


def _valid_archive() -> bytes:
    buffer = io.BytesIO()
    torch.save(state(), buffer)
    return buffer.getvalue()


def _patched(directory: Path, change: Callable[[bytearray, int], None], which: str = "data/0") -> str:
    """Write a valid archive of which `change` altered the central directory's entry `which` at the place given."""
    data = bytearray(_valid_archive())
    place = data.rindex(b"PK\x01\x02", 0, data.rindex(which.encode()))
    change(data, place)
    (directory / "weights.pt").write_bytes(data)
    return str(directory / "weights.pt")


@_maker("archive: a directory that lies about sizes")
def _sizes(directory: Path, mark: Path) -> str:
    return _patched(directory, lambda data, at: struct.pack_into("<II", data, at + 20, 2**32 - 2, 2**32 - 2))


@_maker("archive: a pickle that is larger than it is")
def _pickle_size(directory: Path, mark: Path) -> str:
    change = lambda data, at: struct.pack_into("<II", data, at + 20, 2**31, 2**31)  # noqa: E731
    return _patched(directory, change, "data.pkl")


@_maker("archive: a place beyond the file")
def _beyond(directory: Path, mark: Path) -> str:
    return _patched(directory, lambda data, at: struct.pack_into("<I", data, at + 42, 2**31))


@_maker("archive: an entry called compressed")
def _compressed(directory: Path, mark: Path) -> str:
    return _patched(directory, lambda data, at: struct.pack_into("<H", data, at + 10, 8))


@_maker("archive: encrypted")
def _encrypted(directory: Path, mark: Path) -> str:
    return _patched(directory, lambda data, at: struct.pack_into("<H", data, at + 8, 1), "data.pkl")


@_maker("archive: names that lead out, and a link")
def _traversal(directory: Path, mark: Path) -> str:
    path = directory / "weights.pt"
    link = zipfile.ZipInfo("archive/data/0")
    link.external_attr = 0o120777 << 16
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("../../../../../../.." + str(mark), b"x")
        file.writestr("archive/../../data.pkl", codes(mark)["reduce"])
        file.writestr(link, "/etc/passwd")
        file.writestr("archive/data.pkl", pickled({"weight": tensor(SHAPE, STRIDE)}))
        file.writestr("archive/version", b"3\n")
    return str(path)


@_maker("archive: two pickles of one name")
def _twice(directory: Path, mark: Path) -> str:
    import warnings

    path = directory / "weights.pt"
    with warnings.catch_warnings(), zipfile.ZipFile(path, "w") as file:
        warnings.simplefilter("ignore")
        for content in (codes(mark)["reduce"], pickled({"weight": 1}), codes(mark)["reduce"]):
            file.writestr("archive/data.pkl", content)
        file.writestr("archive/version", b"3\n")
    return str(path)


@_maker("archive: another archive before it")
def _joined(directory: Path, mark: Path) -> str:
    _archive(directory / "other.pt", codes(mark)["reduce"])
    (directory / "weights.pt").write_bytes(_valid_archive() + (directory / "other.pt").read_bytes())
    return str(directory / "weights.pt")


@_maker("archive: cut")
def _cut(directory: Path, mark: Path) -> str:
    (directory / "weights.pt").write_bytes(_valid_archive()[:-100])
    return str(directory / "weights.pt")


@_maker("archive: without a pickle")
def _no_pickle(directory: Path, mark: Path) -> str:
    with zipfile.ZipFile(directory / "weights.pt", "w") as file:
        file.writestr("archive/version", b"3\n")
    return str(directory / "weights.pt")


# The format of before, with storages at the file's end


@_maker("legacy: a storage of 10^12 values")
def _legacy_claim(directory: Path, mark: Path) -> str:
    value = pickled({"weight": tensor((10**12,), (1,), count=10**12)})
    (directory / "weights.pt").write_bytes(_legacy(value, b"\x80\x02]" + _text("0") + b"a."))
    return str(directory / "weights.pt")


@_maker("legacy: storages that are not there")
def _legacy_short(directory: Path, mark: Path) -> str:
    value = pickled({"weight": tensor(SHAPE, STRIDE), "bias": tensor((4,), (1,))})
    (directory / "weights.pt").write_bytes(_legacy(value))
    return str(directory / "weights.pt")


# safetensors


def _safe(header: bytes, data: bytes = b"", length: int | None = None) -> Maker:
    def make(directory: Path, mark: Path) -> str:
        size = struct.pack("<Q", len(header) if length is None else length)
        (directory / "weights.safetensors").write_bytes(size + header + data)
        return str(directory / "weights.safetensors")

    return make


def _entries(*entries: tuple[str, str, list[int], list[int]]) -> bytes:
    parts = (
        f"{json.dumps(name)}:{json.dumps({'dtype': dtype, 'shape': shape, 'data_offsets': offsets})}"
        for name, dtype, shape, offsets in entries
    )
    return f"{{{','.join(parts)}}}".encode()


_WHOLE, _BIAS = ("weight", "F32", [4, 3, 3, 3], [0, 432]), ("bias", "F32", [4], [432, 448])
_SAFE: dict[str, Maker] = {
    "a header of 2^63 bytes": _safe(b"{}", length=2**63),
    "a header of 2^64 - 1 bytes": _safe(b"{}", length=2**64 - 1),
    "a header of a gigabyte": _safe(b"{}", length=1 << 30),
    "a header beyond the file": _safe(b"{}", length=5000),
    "no header": _safe(b""),
    "a header that is no JSON": _safe(b"\xff\xfe{"),
    "a header nested 100,000 deep": _safe(b'{"a":' * 100_000),
    "a header of brackets": _safe(b"[" * 1_000_000),
    "offsets that overlap": _safe(_entries(_WHOLE, ("bias", "F32", [4], [0, 16])), bytes(448)),
    "offsets beyond the file": _safe(
        _entries(("weight", "F32", [4, 3, 3, 3], [2**40, 2**40 + 432]), _BIAS), bytes(448)
    ),
    "offsets backwards": _safe(_entries(("weight", "F32", [4, 3, 3, 3], [432, 0]), _BIAS), bytes(448)),
    "offsets with a hole": _safe(_entries(_WHOLE, ("bias", "F32", [4], [440, 456])), bytes(456)),
    "data without a name": _safe(_entries(_WHOLE, _BIAS), bytes(4480)),
    "data that is cut": _safe(_entries(_WHOLE, _BIAS), bytes(440)),
    "a type that lies": _safe(_entries(("weight", "F64", [4, 3, 3, 3], [0, 432]), _BIAS), bytes(448)),
    "a type unknown": _safe(_entries(("weight", "X99", [4, 3, 3, 3], [0, 432]), _BIAS), bytes(448)),
    "a shape that overflows": _safe(_entries(("weight", "F32", [2**62, 2**62], [0, 432]), _BIAS), bytes(448)),
    "a shape below zero": _safe(_entries(("weight", "F32", [-4, -27], [0, 432]), _BIAS), bytes(448)),
    "a huge shape of nothing": _safe(
        _entries(("weight", "F32", [2**60, 0], [0, 0]), ("bias", "F32", [4], [0, 16])), bytes(16)
    ),
    "a name of many lines": _safe(_entries(_WHOLE, _BIAS, ("\n\x1b[2J\0", "F32", [0], [448, 448])), bytes(448)),
}  # fmt: skip
MAKERS.update({f"safetensors: {name}": make for name, make in _SAFE.items()})


# What is no file


@_maker("no file: empty")
def _empty(directory: Path, mark: Path) -> str:
    (directory / "weights.pt").touch()
    return str(directory / "weights.pt")


@_maker("no file: a directory")
def _directory(directory: Path, mark: Path) -> str:
    (directory / "weights.pt").mkdir()
    return str(directory / "weights.pt")


@_maker("no file: a pipe that no one writes to")
def _pipe(directory: Path, mark: Path) -> str:
    os.mkfifo(directory / "weights.pt")
    return str(directory / "weights.pt")


@_maker("no file: a link to a device")
def _device(directory: Path, mark: Path) -> str:
    (directory / "weights.pt").symlink_to("/dev/zero")
    return str(directory / "weights.pt")


@_maker("no file: links in a ring")
def _ring(directory: Path, mark: Path) -> str:
    (directory / "weights.pt").symlink_to(directory / "other.pt")
    (directory / "other.pt").symlink_to(directory / "weights.pt")
    return str(directory / "weights.pt")


@_maker("no file: an address")
def _address(directory: Path, mark: Path) -> str:
    torch.save(state(), directory / "weights.pt")
    return f"file://{directory}/weights.pt"


@_maker("no file: an address on the web")
def _web(directory: Path, mark: Path) -> str:
    return "https://127.0.0.1:9/weights.pt"


@_maker("no file: a name with a NUL")
def _nul(directory: Path, mark: Path) -> str:
    return f"{directory}/weights\0.pt"


@_maker("no file: a name that is too long")
def _long(directory: Path, mark: Path) -> str:
    return f"{directory}/{'weights' * 100}.pt"


# What must still be read


def _good(save: Callable[[Path], object], name: str) -> Maker:
    def make(directory: Path, mark: Path) -> str:
        save(directory / name)
        return str(directory / name)

    return make


def _strided(path: Path) -> None:
    weight = torch.ones(4, 3, 3, 3).to(memory_format=torch.channels_last)
    torch.save({"model": {"weight": weight, "bias": torch.zeros(8)[::2]}, "epoch": 3, "seen": {1}}, path)


class _Built:
    """An OrderedDict with attributes."""

    def __init__(self, items: Mapping[str, object], attributes: Mapping[str, object]) -> None:
        self.call = (OrderedDict, ([list(item) for item in items.items()],), dict(attributes))

    def __reduce__(self) -> tuple[Any, ...]:
        return self.call


def _shadowed(path: Path) -> None:
    """Attributes in place of methods, of the state dict and of a tensor in it."""
    hidden = dict.fromkeys(("detach", "dim", "numel", "copy_", "clone", "is_complex"), 3)
    whole = tensor(SHAPE, STRIDE).call
    weight = _Call(torch._tensor._rebuild_from_type_v2, whole[0], torch.Tensor, whole[1], hidden)
    value = {"weight": weight, "bias": tensor((4,), (1,), key="1", count=4)}
    held = dict.fromkeys(("items", "keys", "get", "values", "__iter__", "_metadata"), 5)
    _archive(path, pickled({"state_dict": _Built(value, held)}), {"0": bytes(432), "1": bytes(16)})


GOOD: dict[str, Maker] = {
    "attributes that hide methods": _good(_shadowed, "w.pt"),
    "archive": _good(lambda path: torch.save(state(), path), "w.pt"),
    "legacy": _good(lambda path: torch.save(state(), path, _use_new_zipfile_serialization=False), "w.pth"),
    "strided, wrapped": _good(_strided, "w.pt"),
    "parameters": _good(lambda path: torch.save(nn.Conv2d(3, 4, 3).state_dict(), path), "w.bin"),
    "an expanded bias": _good(lambda path: torch.save({**state(), "bias": torch.zeros(1).expand(4)}, path), "w.pt"),
    "safetensors": _good(lambda path: safetensors.torch.save_file(state(), path), "w.safetensors"),
    "half precision": _good(lambda path: torch.save({k: v.half() for k, v in state().items()}, path), "w.pt"),
}


def faults_of(process: Confined, make: Maker, directory: Path, *, code: int) -> str:
    """Give a file to the command line, which must end with `code`, and return what is wrong with that, or ""."""
    mark = directory / "ran"
    model, weights = write_model(directory), make(directory, mark)
    outcome = process.command("nodes", model, "--weights", weights)
    if mark.exists():
        return "what the file carries ran"
    shown = weights.replace("\0", "\N{REPLACEMENT CHARACTER}").rpartition("/")[2]
    return outcome.fault(name=shown, codes=[code])
