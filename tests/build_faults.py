"""Faults and signals at the k-th call of the file system of whole builds, from the command line to the exit code.

Torch is loaded and warmed once, and a child is forked for every k: without other threads (OMP_NUM_THREADS=1) that
is safe, and it makes a build cost a tenth of a second. Calls that only look (stat) are not counted. Run as a
program, `build_faults.py DIRECTORY MODE/FAULT/STEP ...` prints how many cases of each there were. MODE is a
scenario, `targets` or `sizes`. With a STEP of 7 it is every seventh k.
"""

import contextlib
import ctypes
import io
import json
import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterable, Mapping
from itertools import count
from pathlib import Path
from typing import TypeVar

from canned import read_tree
from reportgen.cli import main
from reportgen.site.verify import verify
from reportgen.site.writer import SiteWriter
from site_faults import Injector, Outcomes, Tree, say

T = TypeVar("T")
NETWORK = """
import pathlib
import torch
from torch import nn

def net():
    model = nn.Sequential(nn.Conv2d(3, 2, 3), nn.ReLU(inplace=True), nn.Flatten(), nn.LazyLinear(2))
    model(torch.zeros(1, 3, 8, 8))
    model.register_forward_pre_hook(tell)
    return model

def tell(*_):
    pathlib.Path("passed").touch()
"""
SCENARIOS = ("build", "resume")
FAULTS = ("kill", "ENOSPC", "full", "EIO", "SIGINT", "SIGTERM")
KILLED = -signal.SIGKILL
ENDS = {"SIGINT": 130, "SIGTERM": 143}
LIMIT = 5.0
"""Seconds of computing within which an interrupted build is gone; a clock would say more on a busy machine."""
IMAGES = 3


class Place:
    """A directory with inputs, and an old site where a build will put its new one."""

    def __init__(self, directory: Path) -> None:
        from PIL import Image

        self.directory = directory
        (directory / "images").mkdir(parents=True)
        (directory / "net.py").write_text(NETWORK)
        for number in range(IMAGES):
            picture = Image.radial_gradient("L").rotate(20 * number).resize((8, 8))
            picture.save(directory / "images" / f"{number}.png")
        os.chdir(directory)
        with contextlib.redirect_stdout(io.StringIO()):
            assert main(self.build("old", "old")) == 0
            assert main(self.build("site", "new")) == 0
        self.before, self.after = read_tree(directory / "old"), read_tree(directory / "site")
        subprocess.run(["cp", "-r", "old", "other"], check=True)
        (directory / "passed").unlink()

    def build(self, out: str, title: str, *more: str) -> list[str]:
        kinds = ["--figures", "channel_sum,channel_grid,health", "--size", "8", "--quiet"]
        return ["build", "net.py:net", "images", *kinds, "--title", title, *more, "--out", out]

    def reset(self) -> None:
        """Put the old site back, with nothing beside it."""
        subprocess.run("rm -rf site .site.reportgen passed && cp -r old site", shell=True, check=True)  # noqa: S602

    def check(self, code: int, told: str, fault: str) -> None:
        """The site is the old one or the new one, and what was said is one line, or none."""
        found = read_tree(self.directory / "site")
        if fault == "EIO" and code == 5:
            self.check_incomplete(told)
            return
        assert found in (self.before, self.after), "neither the old site nor the new"
        assert code != 0 or found == self.after, "done, but the new site isn't there"
        # A disk that fails may do so while an input is read.
        allowed = {KILLED} if fault == "kill" else {ENDS[fault]} if fault in ENDS else {2, 3, 4}
        assert code in {0, *allowed}, f"ended {code}: {told}"
        assert code in (0, KILLED) or re.fullmatch(r"reportgen: [^\n]+\n", told), f"said {told!r}"
        self.check_neighbours({"site", ".site.reportgen"})

    def check_incomplete(self, told: str) -> None:
        """Where something that a figure or a page reads failed, a font say, the new site is whole and says so."""
        site = self.directory / "site"
        assert not verify(site).summary
        (problem,) = json.loads((site / "report.json").read_text())["problems"]
        assert re.fullmatch(r"(the figure \w+ raised OSError|templates): .*Input/output error.*", problem), problem
        assert told == f"reportgen: failed: {problem}\n", told

    def check_neighbours(self, allowed: set[str]) -> None:
        """Nothing was written but the site and what lies beside it meanwhile."""
        names = {path.name for path in self.directory.iterdir()} - {"passed"}
        assert names - allowed == {"images", "net.py", "old", "other"} - allowed, names
        assert read_tree(self.directory / "old") == read_tree(self.directory / "other") == self.before

    def check_next(self, command: list[str]) -> None:
        """The next such build goes through, and then nothing lies beside the site."""
        code, told, _ = run(command)
        assert (code, told) == (0, ""), told
        assert read_tree(self.directory / "site") == self.after, "the next build's bytes are others"
        self.check_neighbours({"site"})


def run(command: list[str], injector: Injector | None = None) -> tuple[int, str, bool]:
    """Run a command in a fork; return its exit code, its standard error, and whether it met the fault."""
    code, told = fork(
        command, injector.install if injector else lambda: None, lambda: bool(injector and injector.met)
    )
    text, _, met = told.rpartition("\0")
    return code, text, code == KILLED or met == "True"


def fork(command: list[str], before: Callable[[], None], after: Callable[[], object]) -> tuple[int, str]:
    """Run a command in a fork of this process, `before` ahead of it.

    Return its exit code, and its standard error with what `after` says at the end.
    """
    reading, writing = os.pipe()
    pid = os.fork()
    if pid == 0:
        _child(command, before, after, writing)
    os.close(writing)
    with open(reading, encoding="utf-8") as pipe:  # noqa: PTH123 - a descriptor
        told = pipe.read()
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), told


class _Calls(Injector):
    """All calls but those that only look: these are hundreds, and the writer's own are tried in site_faults."""

    def due(self, name: str) -> bool:
        return name not in ("stat", "lstat", "fstat") and super().due(name)


def _child(command: list[str], before: Callable[[], None], after: Callable[[], object], writing: int) -> None:
    tell, finish, said = os.write, os._exit, io.StringIO()
    code = 99
    try:
        signal.signal(signal.SIGINT, signal.default_int_handler)
        with contextlib.redirect_stderr(said), contextlib.redirect_stdout(io.StringIO()):
            before()
            code = main(command)
    finally:
        tell(writing, f"{said.getvalue()}\0{after()}".encode())
        finish(code)


def sweep(place: Place, mode: str, fault: str, step: int) -> Outcomes:
    """Inject at every `step`-th call of a build in turn; return how many cases there were, and what was wrong."""
    command = place.build("site", "new", "--force", *(["--resume"] if mode == "resume" else []))
    wrong: list[str] = []
    for cases in count():
        at = 1 + cases * step
        place.reset()
        before = os.times()
        code, told, met = run(command, _Calls(fault, at))
        took = sum(os.times()[2:4]) - sum(before[2:4])
        try:
            place.check(code, told, fault)
            assert fault not in ENDS or took < LIMIT, f"took {took:.1f} s"
            place.check_next(command)
        except AssertionError as error:
            wrong.append(f"{mode}, {fault} at call {at}, ended {code}: {error}")
        if not met:
            assert code == 0, told
            return cases, wrong
    raise AssertionError("never comes to its end")


# Targets that can't be written


def _mount(directory: Path, options: str) -> None:
    """Mount a small file system in memory for this process alone; PermissionError where that is not allowed."""
    if ctypes.CDLL(None, use_errno=True).unshare(_NEW_MOUNTS) != 0:
        raise PermissionError("no mounts of its own for this process")
    directory.mkdir()
    for words in (["--make-rprivate", "/"], ["-t", "tmpfs", "-o", options, "tmpfs", str(directory)]):
        if subprocess.run(["mount", *words], capture_output=True, check=False).returncode != 0:
            raise PermissionError("no mounts")


_NEW_MOUNTS = 0x20000
"""CLONE_NEWNS of Linux."""


def _full(place: Path) -> None:
    _mount(place / "disk", "size=8k")
    (place / "disk" / "filling").write_bytes(bytes(8192))


def _read_only(place: Path) -> None:
    _mount(place / "disk", "size=1m")
    subprocess.run(["mount", "-o", "remount,ro", str(place / "disk")], check=True)


def _mounted(place: Path) -> None:
    (place / "disk").mkdir()
    _mount(place / "disk" / "site", "size=1m")


def _foreign(place: Path) -> None:
    (place / "disk" / "site").mkdir(parents=True)
    (place / "disk" / "site" / "mine.txt").write_text("mine")


def _foreign_record(place: Path) -> None:
    _foreign(place)
    (place / "disk" / "site" / "report.json").write_text('{"generator": "another program"}')
    (place / "disk" / "site" / "SHA256SUMS").write_text("")


def _file(place: Path) -> None:
    (place / "disk").mkdir()
    (place / "disk" / "site").write_text("mine")


def _below_a_file(place: Path) -> None:
    (place / "disk").write_text("mine")


def _dangling(place: Path) -> None:
    (place / "disk").mkdir()
    (place / "disk" / "site").symlink_to("nowhere")


def _foreign_sibling(place: Path) -> None:
    (place / "disk" / ".site.reportgen").mkdir(parents=True)
    (place / "disk" / ".site.reportgen" / "mine.txt").write_text("mine")


def _locked(place: Path) -> None:
    (place / "disk").mkdir()
    _KEPT.append(SiteWriter(place / "disk" / "site"))


def _missing(place: Path) -> None:
    (place / "disk").symlink_to("/proc/nowhere")


_KEPT: list[SiteWriter] = []
TARGETS: Mapping[str, Callable[[Path], None]] = {
    "full disk": _full,
    "read-only disk": _read_only,
    "a mount itself": _mounted,
    "no inodes left": lambda place: _mount(place / "disk", "size=1m,nr_inodes=1"),
    "missing parent that can't be made": _missing,
    "foreign directory": _foreign,
    "foreign directory with a record": _foreign_record,
    "foreign directory beside it": _foreign_sibling,
    "a file": _file,
    "below a file": _below_a_file,
    "a link to nowhere": _dangling,
    "locked by another build": _locked,
}
"""What can be wrong with a target, each made by a function in the directory that is given."""


def refuse(place: Place, name: str) -> bool:
    """Check that a build is refused before any forward pass; False where this machine can't make such a target."""
    place.reset()
    subprocess.run(["rm", "-rf", "disk"], check=True)
    before: dict[str, bytes] = {}

    def spoil() -> None:
        TARGETS[name](place.directory)
        before.update(_tree(place.directory))

    target = "disk/site" if name != "locked by another build" else str(place.directory / "disk" / "site")
    command = place.build(target, "new", "--force")
    code, told = fork(command, spoil, lambda: _tree(place.directory) == before)
    if "PermissionError" in told or code == 99:
        return False
    said, _, same = told.rpartition("\0")
    assert code == 4, f"ended {code}: {said}"
    assert re.fullmatch(r"reportgen: [^\n]+\n", said), said
    assert same == "True", "something was written"
    assert not (place.directory / "passed").exists(), "the model had run before the target was refused"
    return True


def _tree(directory: Path) -> dict[str, bytes]:
    """Everything below a directory, as it is without being changed by looking."""
    return {
        path.relative_to(directory).as_posix(): path.read_bytes() if path.is_file() else b"no file"
        for path in directory.rglob("*")
    }


def fill(place: Place, kilobytes: int) -> bool:
    """Build on a disk of so many kilobytes, which may become full on the way; False where there is no such disk."""
    place.reset()
    subprocess.run(["rm", "-rf", "disk"], check=True)
    found: list[Tree] = []

    def small() -> None:
        _mount(place.directory / "disk", f"size={kilobytes}k")

    def look() -> str:
        found.append(read_tree(place.directory / "disk"))
        whole = {f"site/{name}": content for name, content in place.after.items()}
        return "nothing" if not found[0] else "whole" if found[0] == whole else f"{sorted(found[0])[:3]}"

    code, told = fork(place.build("disk/site", "new"), small, look)
    if code == 99:
        return False
    said, _, left = told.rpartition("\0")
    assert (code, left) in ((4, "nothing"), (0, "whole")), f"ended {code} with {left}: {said}"
    assert code == 0 or re.fullmatch(r"reportgen: [^\n]+\n", said), said
    return True


SIZES = (4, 8, 16, 32, 64, 96, 128, 160, 192, 224, 256, 288, 320, 384, 448, 512, 640, 768, 1024, 4096)
"""Kilobytes of disks, of which the first can't take a site and the last can."""


def each(cases: Iterable[T], passes: Callable[[T], bool]) -> Outcomes:
    """Try each case that this machine can make (`passes` returns True); return how many, and what was wrong."""
    tried, wrong = 0, []
    for case in cases:
        try:
            tried += passes(case)
        except AssertionError as error:
            tried += 1
            wrong.append(f"{case}: {error}")
    return tried, wrong


def outcomes(place: Place, mode: str, fault: str, step: int) -> Outcomes:
    """Do one of the things that the command line says."""
    if mode == "targets":
        return each(TARGETS, lambda name: refuse(place, name))
    if mode == "sizes":
        return each(SIZES[::step], lambda size: fill(place, size))
    return sweep(place, mode, fault, step)


if __name__ == "__main__":
    sys.dont_write_bytecode = True
    made = Place(Path(sys.argv[1]) / "place")
    assert threading.active_count() == 1, threading.enumerate()  # forking is for a process without threads
    for job in sys.argv[2:]:
        asked, injected, every = job.split("/")
        say(*outcomes(made, asked, injected, int(every)))
