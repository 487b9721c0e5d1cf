"""Weights files made to do harm: what they carry never runs, and each is refused in one line, soon."""

import pickle
from pathlib import Path

import pytest

from confined import Confined
from hostile_checkpoints import GOOD, MAKERS, Runs, codes, faults_of, state
from reportgen.inputs.claims import ClaimError, check_claims
from reportgen.inputs.weights import read_state_dict

SLOW = {"archive: 70,000 entries"}
NAMES = [pytest.param(name, marks=pytest.mark.sweep) if name in SLOW else name for name in MAKERS]


@pytest.mark.parametrize("name", NAMES)
def test_a_hostile_file_is_refused_and_runs_nothing(process: Confined, tmp_path: Path, name: str) -> None:
    assert faults_of(process, MAKERS[name], tmp_path, code=3) == ""


@pytest.mark.parametrize("name", GOOD)
def test_an_honest_file_is_read(process: Confined, tmp_path: Path, name: str) -> None:
    assert faults_of(process, GOOD[name], tmp_path, code=0) == ""


@pytest.mark.parametrize("kind", ["protocol 0", "reduce", "nested", "stack global", "inst", "obj", "eval", "build"])
def test_the_code_in_the_files_is_live(tmp_path: Path, kind: str) -> None:
    mark = tmp_path / "ran"
    pickle.loads(codes(mark)[kind])  # noqa: S301 (that is what never happens to a file)
    assert mark.is_dir()


def test_what_is_rehearsed_runs_nothing(tmp_path: Path) -> None:
    mark, path = tmp_path / "ran", tmp_path / "w.pt"
    for content in codes(mark).values():
        path.write_bytes(content)
        try:
            check_claims(path)
        except (ClaimError, AttributeError, IndexError, KeyError, TypeError, ValueError, pickle.UnpicklingError):
            continue
        finally:
            assert not mark.exists()
    path.write_bytes(pickle.dumps({"a": Runs(mark)}))
    check_claims(path)  # torch's own judge refuses it, by name
    assert not mark.exists()


def test_attributes_that_a_file_gives_its_tensors_are_dropped(tmp_path: Path) -> None:
    read = read_state_dict(Path(GOOD["attributes that hide methods"](tmp_path, tmp_path / "ran")))
    assert {key: tuple(value.shape) for key, value in read.items()} == {
        key: tuple(value.shape) for key, value in state().items()
    }
    assert not hasattr(read, "_metadata")
