"""Hashes of a network: of everything in its state dict, and of the file that it comes from."""

import errno
import hashlib
import struct
import sys
from pathlib import Path

import pytest
import torch
from torch import nn

from models_for_tests import Residual
from reportgen.errors import InputError
from reportgen.inputs.identity import file_of_factory, source_sha256, state_sha256


class Holder(nn.Module):
    """A module whose state dict is one tensor, `value`."""

    def __init__(self, value: torch.Tensor) -> None:
        super().__init__()
        self.register_buffer("value", value)


def test_the_hash_is_that_of_names_types_shapes_and_bytes() -> None:
    linear = nn.Linear(2, 1)
    with torch.no_grad():
        linear.weight.copy_(torch.tensor([[1.5, -2.0]]))
        linear.bias.fill_(0.25)
    module = nn.Sequential(linear, nn.BatchNorm1d(1))
    floats = {
        "0.bias": ("1", [0.25]),
        "0.weight": ("1,2", [1.5, -2.0]),
        "1.bias": ("1", [0.0]),
        "1.running_mean": ("1", [0.0]),
        "1.running_var": ("1", [1.0]),
        "1.weight": ("1", [1.0]),
    }
    text = {
        name: f"{name}\0float32\0{shape}\0".encode()
        + struct.pack("<Q", 4 * len(v))
        + struct.pack(f"<{len(v)}f", *v)
        for name, (shape, v) in floats.items()
    }
    text["1.num_batches_tracked"] = b"1.num_batches_tracked\0int64\0\0" + struct.pack("<Qq", 8, 0)
    assert state_sha256(module) == hashlib.sha256(b"".join(text[name] for name in sorted(text))).hexdigest()


VALUES = [
    torch.zeros(2, 3),
    torch.zeros(3, 2),
    torch.zeros(6),
    torch.zeros(2, 3, dtype=torch.int32),
    torch.zeros(2, 3, dtype=torch.bfloat16),
    torch.zeros(2, 3, dtype=torch.float16),
    torch.zeros(2, 3, dtype=torch.bool),
    torch.zeros(2, 3, dtype=torch.complex64),
    torch.tensor([[0.0, 0, 0], [0, 0, 1e-45]]),
    torch.tensor([[0.0, 0, 0], [0, 0, -0.0]]),
    torch.tensor(float("nan")),
    torch.zeros(0),
    torch.zeros(0, 3),
    torch.quantize_per_tensor(torch.ones(2, 3), 0.5, 1, torch.qint8),
    torch.quantize_per_tensor(torch.ones(2, 3), 0.25, 1, torch.qint8),
    torch.quantize_per_tensor(torch.ones(2, 3), 0.5, 0, torch.qint8),
    torch.quantize_per_channel(torch.ones(2, 3), torch.tensor([0.5, 0.25]), torch.tensor([0, 0]), 0, torch.qint8),
]


def test_everything_in_a_tensor_counts() -> None:
    assert len({state_sha256(Holder(value)) for value in VALUES}) == len(VALUES)


@pytest.mark.parametrize("value", VALUES, ids=str)
def test_how_a_tensor_lies_in_memory_does_not_count(value: torch.Tensor) -> None:
    if not value.is_quantized and value.dim() == 2:
        assert state_sha256(Holder(value.T.contiguous().T)) == state_sha256(Holder(value))
    assert state_sha256(Holder(value.clone())) == state_sha256(Holder(value))


def test_lazy_sparse_and_other_states_have_hashes() -> None:
    sparse = Holder(torch.tensor([[0.0, 2.0]]).to_sparse())
    assert state_sha256(sparse) == state_sha256(Holder(torch.tensor([[0.0, 2.0]])))
    assert len({state_sha256(nn.LazyLinear(4)), state_sha256(nn.Linear(2, 4)), state_sha256(nn.ReLU())}) == 3


def test_the_hash_changes_nothing() -> None:
    module = Residual().train()
    before = {name: value.clone() for name, value in module.state_dict().items()}
    assert state_sha256(module) == state_sha256(module)
    assert all(torch.equal(value, before[name]) for name, value in module.state_dict().items())
    assert module.training


def test_the_source_is_that_of_the_factory_else_of_the_class(tmp_path: Path) -> None:
    (tmp_path / "net.py").write_text("made = 1\n")
    factory = file_of_factory("net.py:made", tmp_path)
    assert source_sha256(Residual(), factory) == hashlib.sha256(b"made = 1\n").hexdigest()
    own = Path(sys.modules[Residual.__module__].__file__ or "").read_bytes()
    assert source_sha256(Residual()) == hashlib.sha256(own).hexdigest()
    installed = file_of_factory("torchvision.models.resnet:resnet18", tmp_path)
    assert installed is None or installed.name == "resnet.py"
    assert source_sha256(type("Typed", (nn.Module,), {"__module__": "__nowhere__"})()) is None


def test_a_disk_that_fails_is_not_taken_for_no_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(_: Path) -> bytes:
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(Path, "read_bytes", fail)
    with pytest.raises(
        InputError, match=r"^net\.py: the model's file can't be read any more \(Input/output error\)$"
    ):
        source_sha256(Residual(), tmp_path / "net.py")
