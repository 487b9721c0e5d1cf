"""A process that draws for this one: charts hold Python's lock all the time, so threads would draw one by one.

It is this Python with this `sys.path`, started by itself: `multiprocessing` would run the user's own script again
in it. What is sent to it is a function of a module and its arguments; it reads no input, writes no file, says
nothing, and ends with the process that started it.
"""

import os
import pickle
import subprocess
import sys
from collections.abc import Callable, Mapping
from concurrent.futures import CancelledError, Future, ThreadPoolExecutor
from contextlib import suppress
from multiprocessing.connection import Connection, Pipe
from queue import SimpleQueue
from typing import Any, TypeVar

from reportgen.later import Later, Maker

MOST_WORKERS = 4
"""So many such processes a build has at most: each takes 100 MB, and more CPUs than these are seldom idle."""
_START = (
    "import sys;from multiprocessing.connection import Connection;"
    "channel=Connection(int(sys.argv[1]));sys.path[:]=channel.recv();"
    "from reportgen.worker import serve;serve(channel)"
)
_PATIENCE = 60.0
"""Seconds within which the process must have started and drawn its first chart: whatever `sys.executable` is."""
_FLAGS = ("-P", "-B") if sys.dont_write_bytecode else ("-P",)
"""Modules come from `sys.path` alone, not from where a script or the caller is."""
_ONE_THREAD = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
_DRAWING = "reportgen.drawing."
_T = TypeVar("_T")


def may_launch() -> bool:
    """Whether `launch` can work here; a frozen program would run itself again instead of Python."""
    return os.name == "posix" and bool(sys.executable) and not getattr(sys, "frozen", False)


def is_drawn(files: Later) -> bool:
    """Whether reportgen's own drawing makes `files`, so that another process may: not what another package does."""
    return files.function.__module__.startswith(_DRAWING)


def launch(code: str, *descriptors: int) -> "subprocess.Popen[bytes]":
    """Start this Python with `code`, whose arguments are open `descriptors`, in a session of its own. OSError."""
    return subprocess.Popen(  # noqa: S603 - Python itself, and nothing of the user's
        [sys.executable, *_FLAGS, "-c", code, *map(str, descriptors)],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        pass_fds=descriptors,
        env={**os.environ, **_ONE_THREAD},
        start_new_session=True,  # Ctrl-C is for the build alone
    )


class Worker:
    """One such process, started when it is first needed. One thread at a time may call it; any may close it."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[bytes] | None = None
        self._channel: Connection | None = None
        self._answers = False
        self._usable = may_launch()
        self._closed = False

    def make(self, files: Later) -> Mapping[str, bytes]:
        """Return what `files` makes; where the process can't do it, whatever the reason, this one does.

        Raises CancelledError when it was closed meanwhile.
        """
        if self._usable and is_drawn(files):
            found = self._ask(files.function, files.arguments())
            if found is not None:
                return found
        if self._closed:
            raise CancelledError
        return files.make()

    def _ask(self, function: Maker, arguments: tuple[Any, ...]) -> Mapping[str, bytes] | None:
        try:
            channel = self._channel or self._start()
            channel.send((function, arguments))
            if not self._answers and not channel.poll(_PATIENCE):
                raise TimeoutError
            found: Mapping[str, bytes] | None = channel.recv()
        except (OSError, EOFError):
            self._end()
            return None
        self._answers = True
        return found

    def _start(self) -> Connection:
        ours, theirs = Pipe()
        with theirs:
            self._process = launch(_START, theirs.fileno())
        self._channel = ours
        ours.send(sys.path)
        return ours

    def close(self) -> None:
        """End the process, whatever it is doing."""
        self._closed = True
        self._end()

    def _end(self) -> None:
        self._usable = False
        if self._process is not None:
            self._process.kill()
            self._process.wait()


class Workers:
    """So many processes, each with a thread that waits for it and uses what it gives."""

    def __init__(self, count: int) -> None:
        self._all = [Worker() for _ in range(count)]
        self._idle: SimpleQueue[Worker] = SimpleQueue()
        for worker in self._all:
            self._idle.put(worker)
        self._threads = ThreadPoolExecutor(count, "reportgen-draw")

    def submit(self, work: Callable[[Worker], _T]) -> Future[_T]:
        """Have `work` called with a worker that is free, as soon as there is one."""
        return self._threads.submit(self._with_one, work)

    def _with_one(self, work: Callable[[Worker], _T]) -> _T:
        worker = self._idle.get()
        try:
            return work(worker)
        finally:
            self._idle.put(worker)

    def close(self) -> None:
        """End the processes, give up what has not begun, and wait for what has."""
        self._threads.shutdown(wait=False, cancel_futures=True)
        for worker in self._all:
            worker.close()
        self._threads.shutdown(wait=True)
        for worker in self._all:
            worker.close()  # it may just have been started


def serve(channel: Connection) -> None:
    """Answer what is asked through `channel`, until it is closed: with the files, or None where that raised."""
    with suppress(EOFError, OSError):
        while True:
            channel.send(_answer(channel))


def _answer(channel: Connection) -> Mapping[str, bytes] | None:
    content = channel.recv_bytes()
    try:
        function, arguments = pickle.loads(content)  # noqa: S301 - from the process that started this one
        return dict(function(*arguments))
    except Exception:  # noqa: BLE001 - it is made again where the error can be told
        return None
