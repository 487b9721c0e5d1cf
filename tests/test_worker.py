"""A process that draws for this one: the same bytes, whatever becomes of it."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import CancelledError
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest

from reportgen.drawing.curves import Curve, curve_plot, notice
from reportgen.later import Later
from reportgen.worker import Worker, Workers

ROOT = Path(__file__).resolve().parents[1]

pytestmark = pytest.mark.skipif(os.name != "posix", reason="only where descriptors are handed to processes")


@pytest.fixture
def worker() -> Iterator[Worker]:
    one = Worker()
    yield one
    one.close()


def files(text: str = "a notice") -> Later:
    made = notice(text).files
    assert isinstance(made, Later)
    return made


def process_of(worker: Worker) -> "subprocess.Popen[bytes]":
    assert worker._process is not None
    return worker._process


def test_another_process_draws_the_same_bytes(worker: Worker, monkeypatch: pytest.MonkeyPatch) -> None:
    curve = curve_plot(
        [Curve("$x$ é", np.arange(4), np.array([1.0, np.nan, 2, 0]))], span=4, x_label="x", y_label="y"
    )
    assert isinstance(curve.files, Later)
    expected = [curve.files.make(), files().make()]

    def never(_: Later) -> None:
        raise AssertionError("this process draws")

    monkeypatch.setattr(Later, "make", never)
    assert [worker.make(curve.files), worker.make(files())] == expected
    first = process_of(worker).pid
    assert worker.make(files()) == expected[1]
    assert process_of(worker).pid == first != os.getpid()


def test_what_it_cant_do_is_done_here_and_it_goes_on(worker: Worker) -> None:
    expected = files().make()
    assert worker.make(files()) == expected
    here = Later(lambda: {"png": str(os.getpid()).encode()}, tuple, slow=True)
    assert worker.make(here) == {"png": str(os.getpid()).encode()}
    broken = Later(files().function, lambda: (b"not packed",), slow=True)
    with pytest.raises(Exception, match=r"pickle|load key|invalid"):
        worker.make(broken)
    pid = process_of(worker).pid
    assert worker.make(files()) == expected
    assert process_of(worker).pid == pid


@pytest.mark.parametrize("name", [signal.SIGKILL, signal.SIGSTOP])
def test_a_process_that_dies_is_done_without(worker: Worker, name: signal.Signals) -> None:
    expected = files().make()
    assert worker.make(files()) == expected
    os.kill(process_of(worker).pid, name)
    if name == signal.SIGSTOP:  # and is killed while it is waited for
        threading.Timer(0.3, process_of(worker).kill).start()
    assert worker.make(files()) == expected
    assert worker.make(files()) == expected


@pytest.mark.parametrize("program", ["/nonexistent/python", "/bin/false", "/bin/cat", ""])
def test_where_no_process_can_be_started_charts_are_drawn_here(
    program: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "executable", program)
    worker = Worker()
    assert worker.make(files()) == files().make()
    worker.close()


def test_a_program_that_never_answers_is_given_up(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    program = tmp_path / "python"
    program.write_text("#!/bin/sh\nexec sleep 600\n")
    program.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(program))
    monkeypatch.setattr("reportgen.worker._PATIENCE", 0.2)
    worker = Worker()
    assert worker.make(files()) == files().make()
    assert process_of(worker).returncode == -signal.SIGKILL


def test_a_frozen_program_does_not_run_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "frozen", True, raising=False)
    worker = Worker()
    assert worker.make(files()) == files().make()
    assert worker._process is None


def test_a_closed_worker_draws_nothing_more(worker: Worker) -> None:
    worker.make(files())
    process = process_of(worker)
    os.kill(process.pid, signal.SIGSTOP)
    threading.Timer(0.3, worker.close).start()
    with pytest.raises(CancelledError):
        worker.make(files())
    assert process.returncode == -signal.SIGKILL


def test_the_process_ends_with_the_one_that_started_it() -> None:
    code = (
        "import os,sys;from reportgen.drawing.curves import notice;from reportgen.worker import Worker;"
        "w=Worker();w.make(notice('x').files);print(w._process.pid,flush=True);os.kill(os.getpid(),9)"
    )
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    pid = int(told.stdout)
    limit = time.monotonic() + 30
    while _runs(pid) and time.monotonic() < limit:
        time.sleep(0.05)
    assert not _runs(pid)


@pytest.mark.skipif(sys.platform != "linux", reason="processes are looked up in /proc")
@pytest.mark.parametrize(("name", "code"), [("SIGINT", 130), ("SIGTERM", 143), ("SIGKILL", -9)])
def test_a_build_that_is_interrupted_while_charts_are_drawn_leaves_no_process(
    name: str, code: int, tmp_path: Path
) -> None:
    command = ["build", "--config", "samples/report.toml", "--out", str(tmp_path / "site"), "--quiet"]
    build = subprocess.Popen(
        [sys.executable, "-m", "reportgen", *command],
        cwd=ROOT,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "2"},
    )
    drawing = _child_of(build.pid)
    build.send_signal(getattr(signal, name))
    started = time.monotonic()
    _, told = build.communicate(timeout=60)
    assert build.returncode == code, told
    assert time.monotonic() - started < 20  # of a busy machine; `faults` counts seconds of computing
    if name != "SIGKILL":
        assert len(told.splitlines()) == 1
        assert not list(tmp_path.iterdir())
    while _runs(drawing) and time.monotonic() - started < 30:
        time.sleep(0.05)
    assert not _runs(drawing)


def _child_of(pid: int) -> int:
    """The process that draws for the build `pid`, as soon as there is one."""
    limit = time.monotonic() + 100
    while time.monotonic() < limit:
        for state in Path("/proc").glob("[0-9]*/stat"):
            with suppress(OSError):
                number, _, facts = state.read_text().rpartition(")")
                if int(facts.split()[1]) == pid and b"reportgen.worker" in (state.parent / "cmdline").read_bytes():
                    return int(number.split()[0])
        time.sleep(0.02)
    raise AssertionError("no process was started")


def _runs(pid: int) -> bool:
    state = Path(f"/proc/{pid}/stat")
    try:
        return state.read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def test_it_says_nothing_and_needs_no_torch(worker: Worker, capfd: pytest.CaptureFixture[str]) -> None:
    worker.make(files("\N{SNOWMAN} \U0001f600"))  # signs that the font lacks are warned of
    maps = Path(f"/proc/{process_of(worker).pid}/maps").read_text()
    assert "matplotlib" in maps
    assert "libtorch" not in maps
    assert capfd.readouterr() == ("", "")


def test_the_directory_it_is_started_in_is_not_searched_for_modules(tmp_path: Path) -> None:
    (tmp_path / "numpy.py").write_text("import pathlib; pathlib.Path('ran').touch()")
    (tmp_path / "pickle.py").write_text("import pathlib; pathlib.Path('ran').touch()")
    code = (
        "from reportgen.drawing.curves import notice;from reportgen.worker import Worker;"
        "w=Worker();w.make(notice('x').files);print(w._answers);w.close()"
    )
    command = [sys.executable, "-P", "-c", code]
    told = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True)
    assert told.stdout == "True\n"
    assert not (tmp_path / "ran").exists()


def test_a_script_is_not_run_again(tmp_path: Path) -> None:
    script = tmp_path / "draw.py"
    script.write_text(
        "from reportgen.drawing.curves import notice\nfrom reportgen.worker import Worker\nprint('ran')\n"
        "worker = Worker()\nworker.make(notice('x').files)\nprint(worker._answers)\nworker.close()\n"
    )
    told = subprocess.run([sys.executable, str(script)], capture_output=True, text=True, check=True)
    assert told.stdout.split() == ["ran", "True"]


def test_each_of_several_has_work_and_the_rest_is_given_up() -> None:
    workers = Workers(2)
    expected = files().make()
    found = [workers.submit(lambda one: (id(one), one.make(files()))) for _ in range(4)]
    assert {content["png"] for _, content in (each.result() for each in found)} == {expected["png"]}
    assert len({worker for worker, _ in (each.result() for each in found)}) == 2
    late = [workers.submit(lambda one: time.sleep(0.2)) for _ in range(8)]
    workers.close()
    assert sum(each.cancelled() for each in late) >= 5
