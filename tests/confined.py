"""A process of its own for what may crash, hang or fill the memory; it says what came of each task."""

import contextlib
import io
import json
import os
import re
import resource
import select
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import IO

ROOT = Path(__file__).resolve().parents[1]
SECONDS = 10.0
GIGABYTE = 1 << 30
CRASHED, HUNG = -1, -2
_ALLOWED = 16 * GIGABYTE
"""The process may reserve so much: what wants more fails there and doesn't take the machine with it."""


@dataclass(frozen=True)
class Outcome:
    """What came of one task: a command's exit code or CRASHED or HUNG, and what it said on stderr.

    `seconds` is the time that the processor took, since other work may slow things down; `grown` says by how many
    bytes the memory of the process rose above what it had before.
    """

    code: int
    said: str
    seconds: float = 0.0
    grown: int = 0

    def fault(self, *, name: str, codes: Sequence[int]) -> str:
        """What is wrong with the outcome of a file `name` that must end with one of `codes`; "" if nothing."""
        if self.code not in codes:
            return f"{name}: ended with {self.code}, not {codes}: {self.said}"
        if self.seconds > SECONDS or self.grown > GIGABYTE:
            return f"{name}: took {self.seconds:.1f} s and {self.grown >> 20} MB"
        if self.code and (self.said.count("\n") != 1 or name not in self.said):
            return f"{name}: not one line that names it: {self.said!r}"
        return ""


class Confined:
    """The process; it is started when it is first needed, and again after it crashed or hung."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[str] | None = None

    def command(self, *arguments: str) -> Outcome:
        """Run the command line of reportgen with these arguments."""
        return self._ask("command", arguments)

    def decode(self, path: Path, max_pixels: int = 0, frames: int = 1) -> Outcome:
        """Find and decode one image; code 0, and said is its size `5x7` or what went wrong."""
        return self._ask("decode", (str(path), max_pixels, frames))

    def _ask(self, task: str, arguments: Sequence[object]) -> Outcome:
        process = self._running()
        assert process.stdin
        assert process.stdout
        started = time.perf_counter()
        process.stdin.write(json.dumps([task, *arguments]) + "\n")
        process.stdin.flush()
        ready, _, _ = select.select([process.stdout], [], [], 3 * SECONDS)
        line = process.stdout.readline() if ready else ""
        if line:
            return Outcome(*json.loads(line))
        self.close()
        return Outcome(CRASHED if ready else HUNG, f"returned {process.returncode}", time.perf_counter() - started)

    def _running(self) -> "subprocess.Popen[str]":
        if self._process is None:
            environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
            self._process = subprocess.Popen(
                [sys.executable, __file__],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                text=True,
                env=environment,
                cwd=ROOT,
            )
            assert self._process.stdout
            assert self._process.stdout.readline() == "ready\n"
        return self._process

    def close(self) -> None:
        """End the process, whatever it does."""
        if self._process is None:
            return
        self._process.kill()
        self._process.communicate()
        self._process = None


@contextmanager
def confined() -> Iterator[Confined]:
    """A process that ends with the block."""
    process = Confined()
    try:
        yield process
    finally:
        process.close()


# Inside the process


def _kilobytes(what: str) -> int:
    found = re.search(rf"{what}:\s+(\d+) kB", Path("/proc/self/status").read_text(encoding="ascii"))
    return int(found[1]) if found else 0


def _measured(action: Callable[[], tuple[int, str]]) -> tuple[int, str, float, int]:
    """Return what `action` does, its seconds, and by how many bytes the memory rose; 0 where no one says so."""
    measurable = Path("/proc/self/clear_refs").exists()
    if measurable:
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")  # the peak begins anew
    before, started = _kilobytes("VmRSS") if measurable else 0, time.process_time()
    code, said = action()
    seconds = time.process_time() - started
    return code, said, seconds, 1024 * max(0, _kilobytes("VmHWM") - before) if measurable else 0


def _command(*arguments: str) -> tuple[int, str]:
    from reportgen.cli import main

    said = io.StringIO()
    with contextlib.redirect_stderr(said), contextlib.redirect_stdout(io.StringIO()):
        code = main(arguments)
    return code, said.getvalue()


def _decode(path: str, max_pixels: int, frames: int) -> tuple[int, str]:
    from reportgen.errors import InputError
    from reportgen.inputs.forms import PICTURE, Form
    from reportgen.inputs.images import decode, find_images

    try:
        (source,) = find_images([path], max_pixels=max_pixels)
        picture = decode(source, PICTURE if frames == 1 else Form(frames=frames))
    except InputError as error:
        return error.exit_code, f"{error}\n"
    except Exception as error:  # noqa: BLE001 (it is what the tests look for)
        return 1, f"{type(error).__name__}: {error}"
    assert picture.pixels.mode == "RGB"
    return 0, f"{picture.width}x{picture.height}"


_TASKS: dict[str, Callable[..., tuple[int, str]]] = {"command": _command, "decode": _decode}


def _serve(orders: IO[str], answers: IO[str]) -> None:
    import torch

    import reportgen.driver  # what takes time is loaded before the first task

    assert torch.get_num_threads()
    assert reportgen.driver
    resource.setrlimit(resource.RLIMIT_AS, (_ALLOWED, _ALLOWED))
    print("ready", file=answers, flush=True)
    for line in orders:
        task, *arguments = json.loads(line)
        print(json.dumps(_measured(partial(_TASKS[task], *arguments))), file=answers, flush=True)


if __name__ == "__main__":
    with os.fdopen(os.dup(1), "w") as answers:
        os.dup2(2, 1)  # what models and libraries print is no answer
        _serve(sys.stdin, answers)
