"""Faults at the k-th call of the file system, in processes of their own: a kill, a full disk, a disk that fails.

Every call of `os`, `io` and the C library that the writer makes is counted. A child is forked for every k, until
one comes to its end without having met the fault; the parent looks at what it left behind. Run as a program, since
forking is for a process without torch and its threads: `site_faults.py SCENARIO FAULT DIRECTORY STEP [thorough]`,
which prints how many cases there were. With a STEP of 7 it is every seventh k.
"""

import errno
import functools
import io
import json
import os
import shutil
import signal
import sys
from collections.abc import Callable, Mapping
from contextlib import suppress
from itertools import count
from pathlib import Path
from typing import Any

from canned import make_record, read_tree
from reportgen.errors import OutputError
from reportgen.site import writer
from reportgen.site.manifest import format_manifest
from reportgen.site.record import to_json
from reportgen.site.render import render
from reportgen.site.writer import SiteWriter, revise

CALLS = (
    "open", "write", "close", "fsync", "ftruncate", "mkdir", "rename", "unlink", "rmdir", "link", "symlink",
    "scandir", "listdir", "stat", "lstat", "fstat", "chmod",
)  # fmt: skip
GROWING = {"open", "write", "mkdir", "rename", "link", "symlink", "fsync", "ftruncate", "syncfs", "renameat2"}
"""The calls that may need room on the disk."""
FAULTS = ("kill", "ENOSPC", "full", "EIO")
"""Killed; one call that finds no room; none from then on; one call that meets a bad disk."""
SCENARIOS = ("new", "replace", "swap", "revise", "resume")
_SIGNALS = {"kill": signal.SIGKILL, "SIGINT": signal.SIGINT, "SIGTERM": signal.SIGTERM}

Tree = Mapping[str, bytes]
Outcomes = tuple[int, list[str]]
"""How many cases were tried, and what was wrong in each that failed."""


class Injector:
    """Counts calls of the file system and lets the one numbered `at` fail as `fault` says."""

    def __init__(self, fault: str, at: int) -> None:
        self.fault, self.at, self.count = fault, at, 0

    @property
    def met(self) -> bool:
        return self.count >= self.at

    def install(self) -> None:
        for name in CALLS:
            setattr(os, name, self.wrap(name, getattr(os, name)))
        io.open = self.wrap("read", io.open)
        system = writer._system
        writer._system = lambda name: self.wrap_foreign(name, system(name))

    def due(self, name: str) -> bool:
        """Whether this call fails; a killed process doesn't come back from here."""
        self.count += 1
        if self.fault == "full":
            return self.count >= self.at and name in GROWING
        if self.count != self.at:
            return False
        if self.fault in _SIGNALS:
            os.kill(os.getpid(), _SIGNALS[self.fault])
            return False
        return self.fault == "EIO" or name in GROWING

    @property
    def code(self) -> int:
        return errno.EIO if self.fault == "EIO" else errno.ENOSPC

    def wrap(self, name: str, call: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(call)
        def counted(*arguments: Any, **options: Any) -> Any:
            if name == "write" and self.count + 1 == self.at:
                call(arguments[0], bytes(arguments[1])[: len(arguments[1]) // 2])  # half of it comes through
            if self.due(name):
                if name == "close":
                    call(*arguments)  # the descriptor is gone, whatever close says
                raise OSError(self.code, os.strerror(self.code))
            return call(*arguments, **options)

        return counted

    def wrap_foreign(self, name: str, call: Callable[..., int] | None) -> Callable[..., int] | None:
        if call is None:
            return None

        def counted(*arguments: Any) -> int:
            if self.due(name):
                import ctypes

                ctypes.set_errno(self.code)
                return -1
            return call(*arguments)

        return counted


THOROUGH = False
"""Whether whole sites are written and the disk is really flushed."""


def files_of(title: str) -> Tree:
    """The files of a site, without its manifest: a few, or when thorough all that a record has."""
    record = make_record(title=title)
    rendered = {name: text.encode() for name, text in render(record).files.items()}
    pages = {**rendered, "report.json": to_json(record).encode()}
    if THOROUGH:
        return pages
    return {name: pages[name] for name in ("index.html", "report.json")} | {f"figures/{title}/a.png": b"picture"}


def with_manifest(files: Tree) -> Tree:
    import hashlib

    sums = {name: hashlib.sha256(content).hexdigest() for name, content in files.items()}
    return {**files, "SHA256SUMS": format_manifest(sums).encode()}


def write(target: Path, files: Tree) -> None:
    with SiteWriter(target, force=True) as site:
        for name, content in files.items():
            site.write(name, content)
        site.publish()


def write_on(target: Path, files: Tree) -> None:
    """Write a site with a checkpoint after each file, and go on with what an interrupted call has left."""
    with SiteWriter(target, force=True, resume=True) as site:
        done: list[str] = json.loads(site.resumed) if site.resumed else []
        for name, content in files.items():
            if name not in done:
                site.write(name, content)
                done.append(name)
                site.checkpoint(json.dumps(done).encode())
        site.publish()


class Scenario:
    """One thing that is done to a target, with what was there before and what is there afterwards."""

    def __init__(self, name: str, directory: Path) -> None:
        self.name, self.directory = name, directory
        self.parent = directory / "made" if name == "new" else directory
        self.target = self.parent / "site"
        self.old = files_of("old")
        self.new = files_of("new")
        if name == "revise":
            self.new = {**self.old, "index.html": b"revised", "added/page.html": b"added"}
            self.new = {name: content for name, content in self.new.items() if name != "figures/old/a.png"}
        self.before = {} if name == "new" else with_manifest(self.old)
        self.after = with_manifest(self.new)

    def prepare(self) -> None:
        shutil.rmtree(self.directory, ignore_errors=True)
        for neighbour in (".site", "site.old", ".site.reportgen-old"):
            (self.directory / neighbour).mkdir(parents=True)
            (self.directory / neighbour / "precious.txt").write_text("mine")
        for name, content in self.before.items():
            (self.target / name).parent.mkdir(parents=True, exist_ok=True)
            (self.target / name).write_bytes(content)

    def act(self) -> None:
        if self.name == "revise":
            changed = {name: content for name, content in self.new.items() if self.old.get(name) != content}
            revise(self.target, changed, frozenset(set(self.old) - set(self.new)))
        elif self.name == "resume":
            write_on(self.target, self.new)
        else:
            write(self.target, self.new)

    def without_exchange(self) -> None:
        if self.name == "swap":
            system = writer._system
            writer._system = lambda name: None if name == "renameat2" else system(name)

    def check(self, outcome: int, fault: str) -> None:
        """Raise AssertionError unless the target is whole and nothing else was touched."""
        found = read_tree(self.target) if self.target.exists() else {}
        # Without an exchange there is a moment between two renames, and a disk may refuse even to undo the first.
        if self.name == "swap" and fault in ("kill", "full") and not found:
            found = read_tree(self.parent / ".site.reportgen" / "old")
        if outcome == DONE:
            assert found == self.after, "done, but the new site isn't there"
        elif outcome == REFUSED:
            assert found == self.before, "refused, but the old site isn't there"
        else:
            assert found in (self.before, self.after), "neither the old site nor the new"
        self.check_neighbours()

    def check_neighbours(self) -> None:
        names = {path.name for path in self.directory.iterdir()}
        ours = {"made"} if self.name == "new" else {"site", ".site.reportgen"}
        assert names - ours == {".site", "site.old", ".site.reportgen-old"}, names
        if (self.directory / "made").exists():
            assert {path.name for path in (self.directory / "made").iterdir()} <= {"site", ".site.reportgen"}
        for neighbour in names - ours:
            assert read_tree(self.directory / neighbour) == {"precious.txt": b"mine"}

    def check_clean(self) -> None:
        """What a next run finds and makes is whole, and then nothing lies beside it."""
        if self.before and not self.target.exists():
            with suppress(OutputError):
                SiteWriter(self.target)
            assert read_tree(self.target) == self.before, "the old site was not put back"
        if self.name == "resume":
            self.act()
        else:
            write(self.target, self.new)
        assert read_tree(self.target) == self.after
        assert not (self.parent / ".site.reportgen").exists()
        self.check_neighbours()


DONE, REFUSED, WRONG, KILLED = 0, 4, 99, -signal.SIGKILL


def child(scenario: Scenario, injector: Injector, met: int) -> int:
    """Do it with the fault; tell through the pipe `met` whether it came to that."""
    tell, finish = os.write, os._exit
    code = WRONG
    injector.install()
    try:
        scenario.act()
        code = DONE
    except OutputError as error:
        code = REFUSED if "\n" not in str(error) else WRONG
    finally:
        tell(met, b"1" if injector.met else b"0")
        finish(code)


def run(scenario: Scenario, fault: str, at: int) -> tuple[int, bool]:
    """Return the exit code of a child that meets the fault at call `at`, and whether it met it."""
    reading, writing = os.pipe()
    pid = os.fork()
    if pid == 0:
        child(scenario, Injector(fault, at), writing)
    os.close(writing)
    with open(reading, "rb") as pipe:  # noqa: PTH123 - a descriptor
        told = pipe.read()
    code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    return code, code == KILLED or told == b"1"


def sweep(scenario: Scenario, fault: str, step: int = 1) -> Outcomes:
    """Inject at every `step`-th call in turn; return how many cases there were, and what was wrong in which."""
    scenario.without_exchange()
    wrong: list[str] = []
    for cases in count():
        at = 1 + cases * step
        scenario.prepare()
        outcome, met = run(scenario, fault, at)
        try:
            assert outcome in (DONE, REFUSED, KILLED), outcome
            scenario.check(outcome, fault)
            scenario.check_clean()
        except (AssertionError, OSError, OutputError) as error:
            wrong.append(f"{scenario.name}, {fault} at call {at}, ended {outcome}: {error}")
        if not met:
            assert outcome == DONE
            return cases, wrong
    raise AssertionError("never comes to its end")


def say(cases: int, wrong: list[str]) -> None:
    """Print both, as the one who started this program reads them."""
    print(json.dumps([cases, wrong]))


def flush_nothing() -> None:
    """Let flushing count as a call and cost no time."""
    os.fsync = lambda fd: None
    system = writer._system
    writer._system = lambda name: (lambda descriptor: 0) if name == "syncfs" else system(name)


if __name__ == "__main__":
    THOROUGH = "thorough" in sys.argv[5:]
    if not THOROUGH:
        flush_nothing()
    say(*sweep(Scenario(sys.argv[1], Path(sys.argv[3]) / "place"), sys.argv[2], int(sys.argv[4])))
