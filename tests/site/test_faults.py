"""Whatever happens while a site is written, the target is the old site or the whole new one."""

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from site_faults import FAULTS, SCENARIOS

HERE = Path(__file__).parent
MEMORY = Path("/dev/shm")  # noqa: S108 - a file system without a disk to wait for

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="processes are forked and killed")


@pytest.fixture
def place() -> Iterator[Path]:
    directory = tempfile.mkdtemp(dir=MEMORY if os.access(MEMORY, os.W_OK) else None)
    yield Path(directory)
    shutil.rmtree(directory)


def inject(scenario: str, fault: str, place: Path, *words: str) -> int:
    """Let the program in site_faults.py run; return at how many calls it injected the fault."""
    command = [sys.executable, str(HERE.parent / "site_faults.py"), scenario, fault, str(place), *words]
    paths = os.pathsep.join([str(HERE.parents[1]), str(HERE.parent)])
    done = subprocess.run(
        command, capture_output=True, text=True, check=False, env={**os.environ, "PYTHONPATH": paths}
    )
    assert done.returncode == 0, done.stderr
    return int(done.stdout)


@pytest.mark.parametrize("fault", ["kill", "full", "EIO"])
@pytest.mark.parametrize("scenario", SCENARIOS)
def test_a_fault_at_any_call_leaves_the_old_site_or_the_new(scenario: str, fault: str, place: Path) -> None:
    assert inject(scenario, fault, place) > 50


@pytest.mark.sweep
@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("scenario", SCENARIOS)
def test_a_fault_at_any_call_of_a_whole_site(scenario: str, fault: str, tmp_path: Path) -> None:
    assert inject(scenario, fault, tmp_path, "thorough") > 200
