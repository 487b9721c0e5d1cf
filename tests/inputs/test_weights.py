"""Reading state dicts, refusing code, and fitting them into modules with every fault named."""

import argparse
import os
import pickle
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.torch
import torch
from torch import nn

from reportgen.errors import InputError
from reportgen.inputs.weights import find_file, load_into, read_state_dict, seeded, sha256_of, weights_only


def network() -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Conv2d(4, 2, 1))


def filled(value: float) -> dict[str, torch.Tensor]:
    """A state dict of `network` with one value everywhere."""
    return {key: torch.full_like(tensor, value) for key, tensor in network().state_dict().items()}


def assert_filled(module: nn.Module, value: float) -> None:
    assert {float(entry) for tensor in module.state_dict().values() for entry in tensor.flatten()} == {value}


def refusal(action: Callable[[], object]) -> str:
    with pytest.raises(InputError) as caught:
        action()
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize(
    "wrap",
    [
        lambda state: state,
        lambda state: {"state_dict": state, "epoch": 3},
        lambda state: {"model": state, "optimizer": {"lr": 0.1}, "model_ema": filled(9)},
        lambda state: {"model_state_dict": state},
        lambda state: {
            "model_ema": {"n_averaged": torch.tensor(4), **{f"module.{k}": v for k, v in state.items()}}
        },
        lambda state: {"state_dict": {"model": state}},
        lambda state: {f"module.{key}": value for key, value in state.items()},
        lambda state: {f"_orig_mod.module.{key}": value for key, value in state.items()},
        lambda state: {"model": {f"module._orig_mod.{key}": value for key, value in state.items()}},
    ],
)
def test_a_state_dict_is_found_under_its_wrappings(wrap: Callable[[Any], Any], tmp_path: Path) -> None:
    torch.save(wrap(filled(5)), tmp_path / "weights.pt")
    module = network()
    load_into(module, read_state_dict(tmp_path / "weights.pt"), "weights.pt")
    assert_filled(module, 5)


def test_safetensors(tmp_path: Path) -> None:
    safetensors.torch.save_file(filled(6), tmp_path / "weights.SafeTensors")
    module = network()
    load_into(module, read_state_dict(tmp_path / "weights.SafeTensors"), "weights.SafeTensors")
    assert_filled(module, 6)


def test_a_prefix_is_kept_where_the_model_has_it() -> None:
    module = nn.Sequential()
    module.add_module("module", network())
    load_into(module, {f"module.{key}": value for key, value in filled(7).items()}, "w")
    assert_filled(module, 7)


def test_a_prefix_that_only_some_keys_carry_is_part_of_the_names() -> None:
    state = {f"module.{key}" if key.startswith("0.") else key: value for key, value in filled(1).items()}
    told = refusal(lambda: load_into(network(), state, "w"))
    assert "2 missing: 0.weight, 0.bias" in told
    assert "2 unexpected: module.0.weight, module.0.bias" in told


def test_every_fault_is_named_with_both_shapes() -> None:
    state = filled(1)
    state["0.weight"] = torch.zeros(4, 1, 3, 3)
    state["2.bias"] = torch.zeros(10)
    state["3.weight"] = state["3.bias"] = torch.zeros(2)
    del state["1.running_mean"], state["0.bias"]
    told = refusal(lambda: load_into(network(), state, "epoch9.pt"))
    assert told.startswith("weights epoch9.pt: don't fit the model: ")
    assert "2 missing: 0.bias, 1.running_mean;" in told
    assert "2 unexpected: 3.weight, 3.bias;" in told
    assert "2 misshapen: 0.weight ([4, 1, 3, 3] in the file, [4, 3, 3, 3] in the model), " in told
    assert "2.bias ([10] in the file, [2] in the model)" in told


def test_tied_parameters_need_one_name_only() -> None:
    module = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2))
    module[1].weight = module[0].weight
    state = {"0.weight": torch.ones(2, 2), "0.bias": torch.ones(2), "1.bias": torch.ones(2)}
    load_into(module, state, "w")
    assert_filled(module, 1)


def test_state_dicts_from_before_batch_counters_load() -> None:
    state = {key: value for key, value in filled(2).items() if "num_batches" not in key}
    module = network()
    load_into(module, state, "w")
    assert torch.equal(module.get_buffer("1.running_var"), torch.full((4,), 2.0))


class Versioned(nn.Linear):
    """A module that refuses tensors of an unknown format version, as torchvision's MNASNet does."""

    _version = 2

    def _load_from_state_dict(
        self, state_dict: Any, prefix: str, local_metadata: dict[str, Any], *rest: Any
    ) -> None:
        if local_metadata.get("version") != 2:
            raise ValueError("version should be 2")
        super()._load_from_state_dict(state_dict, prefix, local_metadata, *rest)


def test_safetensors_keep_the_format_version_that_their_names_imply(tmp_path: Path) -> None:
    original, module = Versioned(2, 3), Versioned(2, 3)
    safetensors.torch.save_file(original.state_dict(), tmp_path / "w.safetensors")
    load_into(module, read_state_dict(tmp_path / "w.safetensors"), "w")
    assert torch.equal(module.weight, original.weight)
    told = refusal(lambda: load_into(module, {"weight": original.weight}, "w"))
    assert told == "weights w: don't fit the model (version should be 2)"


class Bomb:
    """Unpickling this makes a directory: the trace that the code of a file has run."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.mark),)


def save_plain_pickle(value: object, path: Path) -> None:
    path.write_bytes(pickle.dumps(value))


@pytest.mark.parametrize("save", [torch.save, save_plain_pickle])
@pytest.mark.parametrize("name", ["weights.pt", "weights.pth", "weights.bin", "weights"])
def test_code_in_a_file_never_runs(
    save: Callable[[object, Path], None], name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD", "1")
    file, mark = tmp_path / name, tmp_path / "ran"
    save({"state_dict": filled(1), "bomb": Bomb(mark)}, file)
    told = refusal(lambda: read_state_dict(file))
    assert not mark.exists()
    assert told.startswith(f"weights {name}: holds more than tensors")
    assert "never done" in told
    assert "safetensors.torch.save_file" in told
    pickle.loads(pickle.dumps(Bomb(mark)))  # noqa: S301 (the bomb is live)
    assert mark.exists()


def test_a_harmless_object_is_refused_by_name(tmp_path: Path) -> None:
    torch.save({"state_dict": filled(1), "args": argparse.Namespace(lr=1)}, tmp_path / "w.pt")
    assert "(argparse.Namespace)" in refusal(lambda: read_state_dict(tmp_path / "w.pt"))
    torch.save(network(), tmp_path / "w.pt")
    assert "torch.nn" in refusal(lambda: read_state_dict(tmp_path / "w.pt"))


@pytest.mark.parametrize("content", [b"", b"hello world", b"PK\x03\x04 broken", b"\x80\x02garbage"])
@pytest.mark.parametrize("name", ["w.pt", "w.safetensors"])
def test_what_is_no_checkpoint(content: bytes, name: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(content)
    assert refusal(lambda: read_state_dict(tmp_path / name)).startswith(f"weights {name}: ")


@pytest.mark.parametrize(
    ("value", "told"),
    [
        ({"epoch": 3, "lr": 0.1}, "no state dict but a dict of epoch, lr"),
        ({}, "dict of nothing"),
        ({"state_dict": {}}, "dict of nothing"),
        (torch.ones(2), "a Tensor"),
        ([torch.ones(2)], "a list"),
        ({0: torch.ones(2)}, "dict of 0"),
    ],
)
def test_what_holds_no_state_dict(value: object, told: str, tmp_path: Path) -> None:
    torch.save(value, tmp_path / "w.pt")
    assert told in refusal(lambda: read_state_dict(tmp_path / "w.pt"))


def test_find_file(tmp_path: Path) -> None:
    (tmp_path / "shapenet.safetensors").touch()
    (tmp_path / "runs").mkdir()
    assert find_file("shapenet.safetensors", tmp_path) == tmp_path / "shapenet.safetensors"
    assert find_file(str(tmp_path / "shapenet.safetensors"), Path("elsewhere")).is_file()
    told = refusal(lambda: find_file("shapnet.safetensors", tmp_path))
    assert told == "weights shapnet.safetensors: no such file; did you mean shapenet.safetensors?"
    assert "is a directory" in refusal(lambda: find_file("runs", tmp_path))
    assert "no such file" in refusal(lambda: find_file("nowhere/w.pt", tmp_path))


def test_sha256_is_of_the_bytes(tmp_path: Path) -> None:
    (tmp_path / "w").write_bytes(b"abc")
    assert sha256_of(tmp_path / "w") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"


def draw() -> tuple[list[float], int, float]:
    return torch.rand(3).tolist(), random.getrandbits(60), np.random.rand()


def test_seeded_values_repeat_and_leave_no_trace() -> None:
    torch.manual_seed(11)
    random.seed(11)
    np.random.seed(11)
    expected = draw()
    torch.manual_seed(11)
    random.seed(11)
    np.random.seed(11)
    draws = []
    for _ in range(2):
        with seeded():
            draws.append(draw())
    assert draws[0] == draws[1]
    assert draw() == expected


def test_weights_only_holds_for_callers_that_ask_otherwise(tmp_path: Path) -> None:
    before, mark = dict(os.environ), tmp_path / "ran"
    torch.save(Bomb(mark), tmp_path / "w.pt")
    with weights_only(), pytest.raises(pickle.UnpicklingError):
        torch.load(tmp_path / "w.pt", weights_only=False)
    assert not mark.exists()
    assert dict(os.environ) == before
