"""A process that encodes pictures and writes them, while the thread that walks goes on.

That thread hands its work over without waiting, and takes the answers in when it comes by. Another thread in
between would ask for Python's lock a dozen times a picture, and the walk would wait for it: with resnet50 on two
CPUs a quarter of its time. Pixels lie in memory that both processes have; what is sent is a function, where its
arrays lie, and the paths of the files. Where there can be no such process, or it is lost, who asked is told so.
"""

import ctypes
import hashlib
import mmap
import os
import pickle
import signal
import socket
import struct
import subprocess
import sys
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import starmap

from reportgen.later import Later
from reportgen.site.creating import put
from reportgen.worker import is_drawn, launch, may_launch

MEMORY = 16 << 20
"""Bytes of pixels that may wait in the memory that both processes have."""
_LONGEST = 1 << 16
"""Bytes of a message; pixels are not in it."""
_READY = b"ready"
_PR_SET_PDEATHSIG = 1
"""Linux's prctl(2): the signal that a process gets when the one that started it is gone."""
_PLACES, _PLACE = struct.Struct("<I"), struct.Struct("<QQ")
"""What a message begins with: how many arrays there are, and where each begins and ends."""
_NICE = 10
"""The walk's own threads go first: all of them wait for the last one."""
_START = (
    "import pickle,socket,sys;channel=socket.socket(fileno=int(sys.argv[1]));"
    f"sys.path[:]=pickle.loads(channel.recv({_LONGEST}));"
    "from reportgen.encoder import serve;serve(channel,int(sys.argv[2]))"
)


@dataclass(frozen=True)
class Written:
    """What became of the files of a figure, in their order: SHA-256 and size of each; seconds that it took."""

    sums: list[tuple[str, int]]
    encoding: float
    writing: float


Tell = Callable[[Written | None], None]
"""Who is told what was written; None: nothing, and nobody else will make it."""
Paths = Mapping[str, str | None]
"""Where the files go, by suffix; None where one is hashed and kept nowhere."""


class Encoder:
    """One such process. All calls are the same thread's; nothing is handed over before the process is ready.

    Use as a context manager: the process ends with the block.
    """

    def __init__(self) -> None:
        self._process: subprocess.Popen[bytes] | None = None
        self._channel: socket.socket | None = None
        self._shared: _Shared | None = None
        self._asked: deque[Tell] = deque()
        self._ready = False

    def __enter__(self) -> "Encoder":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def start(self) -> None:
        """Start the process, where there can be one. It is ready a moment later."""
        if not may_launch() or not hasattr(os, "memfd_create") or not hasattr(socket, "SOCK_SEQPACKET"):
            return
        with suppress(OSError):
            self._shared = _Shared(MEMORY)
            self._channel, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
            with theirs:
                self._process = launch(_START, theirs.fileno(), self._shared.descriptor)
            self._channel.send(pickle.dumps(sys.path), socket.MSG_NOSIGNAL)

    @property
    def busy(self) -> bool:
        """Whether something was handed over and is not answered yet."""
        return bool(self._asked)

    @property
    def ready(self) -> bool:
        """Whether the process is there and takes work in."""
        if not self._ready and self._channel is not None:
            try:
                self._ready = self._channel.recv(len(_READY), socket.MSG_DONTWAIT) == _READY
            except BlockingIOError:
                return False
            except OSError:
                self._ready = False
            if not self._ready:
                self.close()
        return self._ready

    def submit(self, files: Later, paths: Paths, tell: Tell) -> bool:
        """Have `files` made and written, and `tell` called later, by `collect`; False: it is not taken in."""
        if not is_drawn(files) or not self.ready or self._channel is None or self._shared is None:
            return False
        arrays: list[pickle.PickleBuffer] = []
        work = pickle.dumps((files.function, files.arguments(), paths), 5, buffer_callback=arrays.append)
        places = self._shared.put([array.raw() for array in arrays])
        if places is None:
            return False
        message = _PLACES.pack(len(places)) + b"".join(starmap(_PLACE.pack, places)) + work
        if len(message) > _LONGEST:
            return False
        try:
            self._channel.send(message, socket.MSG_DONTWAIT | socket.MSG_NOSIGNAL)
        except BlockingIOError:
            return False
        except OSError:
            self._lose()
            return False
        self._shared.keep(places)
        self._asked.append(tell)
        return True

    def collect(self, *, wait: bool = False) -> None:
        """Tell of all that was answered; with `wait`, wait for one answer first, where any is to come."""
        while self._asked:
            try:
                answer = self._answer(wait=wait)
            except BlockingIOError:
                return
            except (OSError, EOFError, pickle.UnpicklingError):
                self._lose()
                return
            wait = False
            self._tell_next(answer)

    def _answer(self, *, wait: bool) -> Written | None:
        if self._channel is None:
            raise EOFError
        content = self._channel.recv(_LONGEST, 0 if wait else socket.MSG_DONTWAIT)
        if not content:
            raise EOFError
        answer: Written | None = pickle.loads(content)  # noqa: S301 - from the process that this one started
        return answer

    def _tell_next(self, answer: Written | None) -> None:
        if self._shared is not None:
            self._shared.free()
        self._asked.popleft()(answer)

    def _lose(self) -> None:
        """Do without the process from now on, and say of all that it was asked for that it is not made."""
        asked = list(self._asked)
        self.close()
        for tell in asked:
            tell(None)

    def close(self) -> None:
        """End the process, whatever it is doing; nobody is told of what it was asked for."""
        self._asked.clear()
        self._ready = False
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None
        if self._channel is not None:
            self._channel.close()
            self._channel = None
        if self._shared is not None:
            self._shared.close()
            self._shared = None


_Places = list[tuple[int, int]]
"""Where arrays begin and end."""


class _Shared:
    """Memory of two processes, filled from the front again and again; what was put first is let go first."""

    def __init__(self, size: int) -> None:
        self.descriptor = os.memfd_create("reportgen")
        os.ftruncate(self.descriptor, size)
        self._memory = mmap.mmap(self.descriptor, size)
        self._size = size
        self._taken: deque[tuple[int, int]] = deque()

    def put(self, arrays: Sequence[memoryview]) -> _Places | None:
        """Copy `arrays`, one after another; None where there is no room. What is not then kept is free again."""
        start = self._room(sum(_rounded(array.nbytes) for array in arrays))
        if start is None:
            return None
        places = []
        for array in arrays:
            end = start + array.nbytes
            self._memory[start:end] = array
            places.append((start, end))
            start += _rounded(array.nbytes)
        return places

    def _room(self, needed: int) -> int | None:
        """Where so many bytes are free, behind what was taken last or, when it ends there, at the front."""
        if not self._taken:
            return 0 if needed <= self._size else None
        first, last = self._taken[0][0], self._taken[-1][1]
        if last > first:
            if last + needed <= self._size:
                return last
            last = 0
        return last if last + needed < first else None

    def keep(self, places: _Places) -> None:
        """Take the memory of what was put."""
        start = places[0][0] if places else (self._taken[-1][1] if self._taken else 0)
        end = _rounded(places[-1][1]) if places else start
        self._taken.append((start, end))

    def free(self) -> None:
        """Let go of what was kept first."""
        self._taken.popleft()

    def close(self) -> None:
        self._memory.close()
        os.close(self.descriptor)


def _rounded(size: int) -> int:
    """The next multiple of 64: arrays begin where a line of the cache does."""
    return -(-size // 64) * 64


def serve(channel: socket.socket, descriptor: int) -> None:
    """Answer through `channel`, until it is closed, what is asked: what was written, or None where that raised."""
    with suppress(OSError, AttributeError):
        # Else it would write what it was asked for into a directory that the next build is clearing up.
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    with suppress(OSError):
        os.nice(_NICE)
    from reportgen.drawing import mosaic, preview  # noqa: F401 - what it is asked for takes a while to be loaded

    memory = memoryview(mmap.mmap(descriptor, 0)).toreadonly()
    with suppress(OSError):
        channel.send(_READY)
        while content := channel.recv(_LONGEST):
            channel.send(pickle.dumps(_written(content, memory)))


def _written(content: bytes, memory: memoryview) -> Written | None:
    try:
        (count,) = _PLACES.unpack_from(content)
        begin = _PLACES.size + count * _PLACE.size
        arrays = [memory[start:end] for start, end in _PLACE.iter_unpack(content[_PLACES.size : begin])]
        work = memoryview(content)[begin:]
        function, arguments, paths = pickle.loads(work, buffers=arrays)  # noqa: S301 - from who started this process
        started = time.perf_counter()
        made = function(*arguments)
        encoded = time.perf_counter()
        sums = [_kept(made[suffix], path) for suffix, path in paths.items()]
        return Written(sums, encoded - started, time.perf_counter() - encoded)
    except Exception:  # noqa: BLE001 - it is made again where the error can be told
        return None


def _kept(content: bytes, path: str | None) -> tuple[str, int]:
    if path is not None:
        put(path, [content])
    return hashlib.sha256(content).hexdigest(), len(content)
