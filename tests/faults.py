"""Every fault that a build is put through, in numbers: what the tests sample and `trust.py` counts in full.

Each program runs in a process of its own: `site_faults.py` without torch, for the writing of sites, and
`build_faults.py` for whole builds.
"""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import build_faults
import site_faults
from races import BUILDS, race

HERE = Path(__file__).resolve().parent
MEMORY = Path("/dev/shm")  # noqa: S108 - a file system without a disk to wait for
CLASSES = {
    "kill": "killed (SIGKILL) at a call of the file system",
    "ENOSPC": "no room on the disk at a call, afterwards again",
    "full": "no room on the disk from a call on",
    "EIO": "the disk fails at a call (EIO)",
    "SIGINT": "Ctrl-C at a call: 130 within 5 s, one line",
    "SIGTERM": "terminated at a call: 143 within 5 s, one line",
}
Outcomes = site_faults.Outcomes
Row = tuple[str, int, int]
"""A class, how many cases of it were tried, and how many failed."""


@contextmanager
def place() -> Iterator[Path]:
    """A directory in memory, where there is such a thing, for as long as the block lasts."""
    directory = tempfile.mkdtemp(dir=MEMORY if os.access(MEMORY, os.W_OK) else None)
    try:
        yield Path(directory)
    finally:
        shutil.rmtree(directory)


def into_sites(scenario: str, fault: str, step: int, *words: str) -> Outcomes:
    """Write sites with a fault at every `step`-th call; return how many cases were tried, and what was wrong."""
    with place() as directory:
        return _run("site_faults.py", scenario, fault, str(directory), str(step), *words)[0]


def into_builds(*jobs: str) -> list[Outcomes]:
    """Build with faults, as each job says (`MODE/FAULT/STEP`); return the same for each."""
    with place() as directory:
        return _run("build_faults.py", str(directory), *jobs)


def _run(program: str, *words: str) -> list[Outcomes]:
    command = [sys.executable, str(HERE / program), *words]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=_environment())
    assert done.returncode == 0, done.stderr[-3000:]
    return [(cases, wrong) for cases, wrong in map(json.loads, done.stdout.splitlines())]


def _environment() -> dict[str, str]:
    paths = os.pathsep.join([str(HERE.parent), str(HERE)])
    return {**os.environ, "PYTHONPATH": paths, "OMP_NUM_THREADS": "1"}


_STARTING = """
import os, sys
from reportgen.cli import main
imports = 0
def count(event, arguments):
    global imports
    imports += event == "import"
    if event == "import" and imports == {at}:
        os.kill(os.getpid(), {number})
sys.addaudithook(count)
code = main({command!r})
print(imports, file=sys.stdout)
sys.exit(code)
"""


def interrupt_start(number: signal.Signals, at: int) -> bool:
    """Interrupt a build when it imports its `at`-th module; return whether it came to that."""
    with place() as directory:
        (directory / "net.py").write_text(build_faults.NETWORK)
        command = ["build", "net.py:net", "absent.png", "--out", "site"]
        code = _STARTING.format(at=at, number=int(number), command=command)
        done = subprocess.run(
            [sys.executable, "-c", code],
            capture_output=True,
            text=True,
            check=False,
            cwd=directory,
            env=_environment(),
        )
        left = sorted(path.name for path in directory.iterdir())
    if done.returncode == 3:
        return False
    assert done.returncode == {signal.SIGINT: 130, signal.SIGTERM: 143}[number], (done.returncode, done.stderr)
    assert re.fullmatch(r"reportgen: [^\n]+\n", done.stderr), done.stderr
    assert left == ["net.py"], left
    return True


def cases(full: bool) -> Iterator[Row]:
    """Yield a row for each class of faults; without `full`, of a sample of all cases."""
    for fault, told in CLASSES.items():
        yield (told, *_numbers(_of_fault(fault, full)))
    starts = [(number, at) for number in (signal.SIGINT, signal.SIGTERM) for at in range(20, 2600, 120)]
    outcomes = build_faults.each(starts if full else starts[:2], lambda case: interrupt_start(*case))
    yield ("interrupted while Python and torch are loaded", *_numbers([outcomes]))
    targets, sizes = into_builds("targets//1", f"sizes//{1 if full else 6}")
    yield ("a target that can't be written: code 4 before any forward pass", *_numbers([targets]))
    yield ("a disk that becomes full", *_numbers([sizes]))
    rounds = 50 if full else 3
    with place() as directory:
        raced = build_faults.each([rounds], lambda number: race(directory / "site", number))
    yield (f"builds that race for one target, {BUILDS} at a time", rounds * BUILDS, len(raced[1]))


def _of_fault(fault: str, full: bool) -> Iterator[Outcomes]:
    """Sites at every call, whole builds at some; a site's writer has no handlers of signals."""
    if fault in site_faults.FAULTS:
        for scenario in site_faults.SCENARIOS:
            yield into_sites(scenario, fault, *((1, "thorough") if full else (15,)))
    step = 150 if not full else 10 if fault == "kill" else 40
    yield from into_builds(*(f"{scenario}/{fault}/{step}" for scenario in build_faults.SCENARIOS))


def _numbers(outcomes: "Iterator[Outcomes] | list[Outcomes]") -> tuple[int, int]:
    """Sum up, and say on stderr what was wrong."""
    tried = failed = 0
    for number, wrong in outcomes:
        tried, failed = tried + number, failed + len(wrong)
        for line in wrong:
            print(line, file=sys.stderr)
    return tried, failed
