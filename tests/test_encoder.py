"""A process that encodes and writes: the same files, whatever becomes of it."""

import hashlib
import os
import random
import signal
import subprocess
import sys
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import reportgen.encoder as module
from reportgen.drawing.mosaic import plan
from reportgen.drawing.palette import palette
from reportgen.encoder import Encoder, Written
from reportgen.figures.base import Figure
from reportgen.figures.pictures import mosaic_files
from reportgen.later import Later
from reportgen.saving import Saver, _made, saving
from reportgen.site.manifest import Sums
from reportgen.site.writer import SiteWriter
from reportgen.timings import Timings

pytestmark = pytest.mark.skipif(not hasattr(os, "memfd_create"), reason="only where memory can be shared so")


@pytest.fixture
def encoder() -> Iterator[Encoder]:
    with Encoder() as one:
        started(one)
        yield one


def started(one: Encoder) -> None:
    one.start()
    until(lambda: one.ready)


def never(_: Written | None) -> None:
    raise AssertionError("it was told of")


def until(holds: Callable[[], bool]) -> None:
    for _ in range(3000):
        if holds():
            return
        time.sleep(0.01)
    raise AssertionError("it never was")


def process_of(one: Encoder) -> "subprocess.Popen[bytes]":
    assert one._process is not None
    return one._process


def picture(seed: int = 0, channels: int = 3, side: int = 5) -> Later:
    tiles = np.random.default_rng(seed).integers(0, 252, (channels, side, side), dtype=np.uint8)
    return mosaic_files(torch.from_numpy(tiles), plan(channels, side, side), palette("viridis"))


def made(files: Later) -> bytes:
    return files.make()["png"]


def test_another_process_writes_the_same_bytes(encoder: Encoder, tmp_path: Path) -> None:
    told: list[Written | None] = []
    pictures = [picture(seed, seed + 1, 7) for seed in range(20)]
    for number, files in enumerate(pictures):
        assert encoder.submit(files, {"png": str(tmp_path / "a" / f"{number}.png")}, told.append)
    while encoder.busy:
        encoder.collect(wait=True)
    for number, files in enumerate(pictures):
        content, written = made(files), told[number]
        assert (tmp_path / "a" / f"{number}.png").read_bytes() == content
        assert written is not None
        assert written.sums == [(hashlib.sha256(content).hexdigest(), len(content))]
        assert min(written.encoding, written.writing) > 0
    assert process_of(encoder).pid != os.getpid()


def test_a_file_of_that_name_is_replaced_and_what_it_links_to_is_not(encoder: Encoder, tmp_path: Path) -> None:
    (tmp_path / "old").write_bytes(b"old")
    os.link(tmp_path / "old", tmp_path / "new.png")
    told: list[Written | None] = []
    assert encoder.submit(picture(), {"png": str(tmp_path / "new.png")}, told.append)
    encoder.collect(wait=True)
    assert (tmp_path / "new.png").read_bytes() == made(picture())
    assert (tmp_path / "old").read_bytes() == b"old"


def test_without_a_path_a_file_is_hashed_and_kept_nowhere(encoder: Encoder) -> None:
    told: list[Written | None] = []
    assert encoder.submit(picture(), {"png": None}, told.append)
    encoder.collect(wait=True)
    (written,) = told
    assert written is not None
    assert written.sums[0][0] == hashlib.sha256(made(picture())).hexdigest()


def test_what_it_cant_do_is_said_and_it_goes_on(encoder: Encoder, tmp_path: Path) -> None:
    told: list[Written | None] = []
    broken = Later(picture().function, lambda: (np.zeros(3, np.uint8),), picture=True)
    (tmp_path / "file").write_bytes(b"")
    assert encoder.submit(broken, {"png": str(tmp_path / "x.png")}, told.append)
    assert encoder.submit(picture(), {"png": str(tmp_path / "file" / "x.png")}, told.append)
    assert encoder.submit(picture(), {"png": str(tmp_path / "y.png")}, told.append)
    while encoder.busy:
        encoder.collect(wait=True)
    assert told[:2] == [None, None]
    assert told[2] is not None
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "y.png"]


def test_pixels_go_round_in_a_small_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MEMORY", 4096)
    chance, taken = random.Random(0), list[Later]()
    told: list[Written | None] = []
    with Encoder() as one:
        started(one)
        for seed in range(400):
            files = picture(seed, chance.randint(1, 12), chance.randint(1, 14))
            if one.submit(files, {"png": None}, told.append):
                taken.append(files)
            if chance.random() < 0.1:
                one.collect()
        while one.busy:
            one.collect(wait=True)
    assert 40 < len(taken) < 400, "some were refused, for there was no room"
    assert [written and written.sums[0][0] for written in told] == [
        hashlib.sha256(made(files)).hexdigest() for files in taken
    ]


def test_no_two_arrays_share_memory() -> None:
    shared, chance = module._Shared(2048), random.Random(1)
    kept: deque[tuple[list[tuple[int, int]], list[bytes]]] = deque()
    refused = 0
    for _ in range(5000):
        arrays = [chance.randbytes(chance.randint(0, 400)) for _ in range(chance.randint(0, 3))]
        places = shared.put([memoryview(array) for array in arrays])
        if places is None:
            refused += 1
        elif chance.random() < 0.9:
            shared.keep(places)
            kept.append((places, arrays))
        for spans, contents in kept:
            assert [shared._memory[start:end] for start, end in spans] == contents
        while kept and (places is None or chance.random() < 0.4):
            places = []
            shared.free()
            kept.popleft()
    assert 100 < refused < 4000
    shared.close()


def test_what_does_not_fit_is_not_taken_in(encoder: Encoder) -> None:
    too_large = picture(channels=module.MEMORY // 49 + 1, side=7)
    assert not encoder.submit(too_large, {"png": None}, never)
    apart = np.zeros((300, 2, 300), np.uint8)[:, 0]  # with gaps, so that it is part of the message
    assert not encoder.submit(Later(picture().function, lambda: (apart,)), {"png": None}, never)
    assert not encoder.busy
    assert encoder.ready


def test_of_a_process_that_dies_everything_is_told(encoder: Encoder) -> None:
    told: list[Written | None] = []
    os.kill(process_of(encoder).pid, signal.SIGSTOP)
    for seed in range(5):
        assert encoder.submit(picture(seed), {"png": None}, told.append)
    encoder.collect()
    assert told == []
    process_of(encoder).kill()
    encoder.collect(wait=True)
    assert told == [None] * 5
    assert not encoder.submit(picture(), {"png": None}, never)
    assert not encoder.busy


def test_one_that_died_idle_is_noticed(encoder: Encoder) -> None:
    process_of(encoder).kill()
    process_of(encoder).wait()
    told: list[Written | None] = []
    if encoder.submit(picture(), {"png": None}, told.append):
        encoder.collect(wait=True)
        assert told == [None]
    assert not encoder.submit(picture(), {"png": None}, never)


def test_one_that_hangs_is_ended(encoder: Encoder) -> None:
    process = process_of(encoder)
    os.kill(process.pid, signal.SIGSTOP)
    assert encoder.submit(picture(), {"png": None}, never)
    encoder.close()
    assert process.returncode == -signal.SIGKILL
    encoder.collect(wait=True)


@pytest.mark.parametrize("program", ["/nonexistent/python", "/bin/false", "/bin/cat", ""])
def test_where_none_can_be_started_nothing_is_taken_in(program: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", program)
    with Encoder() as one:
        one.start()
        time.sleep(0.3)
        assert not one.submit(picture(), {"png": None}, never)


def test_nothing_is_taken_in_by_one_that_is_not_ready(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    program = tmp_path / "python"
    program.write_text("#!/bin/sh\nexec sleep 600\n")
    program.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(program))
    with Encoder() as one:
        one.start()
        assert not one.submit(picture(), {"png": None}, never)
        process = process_of(one)
    assert process.returncode == -signal.SIGKILL


def test_a_frozen_program_does_not_run_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "frozen", True, raising=False)
    with Encoder() as one:
        one.start()
        assert one._process is None
        assert not one.ready


def test_it_ends_with_the_process_that_started_it_and_writes_nothing_more(tmp_path: Path) -> None:
    script = (
        "import os, signal, sys, time\n"
        "from reportgen.encoder import Encoder\n"
        "from reportgen.later import Later\n"
        "import numpy as np, reportgen.drawing.mosaic as mosaic\n"
        "from reportgen.drawing.palette import palette\n"
        "one = Encoder()\n"
        "one.start()\n"
        "while not one.ready: time.sleep(0.01)\n"
        "os.kill(one._process.pid, signal.SIGSTOP)\n"
        "files = Later(mosaic.encode_mosaic, lambda: (\n"
        "    np.zeros((1, 4, 4), np.uint8), mosaic.plan(1, 4, 4), palette('viridis'), 252))\n"
        "for number in range(9):\n"
        "    assert one.submit(files, {'png': os.path.join(sys.argv[1], f'{number}.png')}, print)\n"
        "print(one._process.pid, flush=True)\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    command = [sys.executable, "-c", script, str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == -signal.SIGKILL, done.stderr
    child = Path(f"/proc/{int(done.stdout)}/stat")
    until(lambda: not child.exists() or child.read_text().rpartition(")")[2].split()[0] in "ZX")
    assert list(tmp_path.iterdir()) == []


def test_what_it_loads_is_little() -> None:
    code = (
        "import sys, reportgen.encoder, reportgen.drawing.mosaic, reportgen.drawing.preview\n"
        "print({name.partition('.')[0] for name in sys.modules} & {'torch', 'matplotlib', 'jinja2'})"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


def test_what_another_package_draws_is_not_taken_in(encoder: Encoder) -> None:
    foreign = Later(lambda: {"png": b"x"}, tuple, picture=True)
    assert not encoder.submit(foreign, {"png": None}, never)
    assert encoder.ready


def figures(count: int) -> list[Figure]:
    return [Figure("kind", None, None, picture(seed), 1, 1, f"{seed}", "A caption.") for seed in range(count)]


@pytest.mark.parametrize("dies", [None, 3])
@pytest.mark.parametrize("kept", [True, False])
def test_a_saver_has_pictures_written_by_it(
    encoder: Encoder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, dies: int | None, kept: bool
) -> None:
    written: list[str] = []
    timings = Timings()
    writer = SiteWriter(tmp_path / "site") if kept else Sums()
    one = Saver(
        writer,
        lambda figure: figure.alt,
        lambda figure, _: written.append(figure.alt),
        lambda figure, error: pytest.fail(f"{figure.alt}: {error}"),
        threads=1,
        timings=timings,
        encoder=encoder,
    )
    here: list[object] = []

    def seen(contents: Mapping[str, bytes], *rest: Any) -> Mapping[str, bytes]:
        here.append(contents)
        return _made(contents, *rest)

    monkeypatch.setattr("reportgen.saving._made", seen)
    with saving(one):
        for number, figure in enumerate(figures(12)):
            if number in (dies, 6):  # what it was asked for meanwhile is lost with it
                os.kill(process_of(encoder).pid, signal.SIGSTOP if number == dies else signal.SIGCONT)
            if number == 6 and dies:
                process_of(encoder).kill()
            one.save(figure)
    assert written == [f"{number}" for number in range(12)]
    expected = {f"figures/{figure.alt}.png": made(figure.files) for figure in figures(12)}  # type: ignore[arg-type]
    assert writer.sums == {name: hashlib.sha256(content).hexdigest() for name, content in expected.items()}
    assert writer.bytes_written == sum(map(len, expected.values()))
    if isinstance(writer, SiteWriter):
        writer.publish()
        assert all((tmp_path / "site" / name).read_bytes() == content for name, content in expected.items())
        writer.discard()
    assert (12 - dies <= len(here) <= 12) if dies else here == []
    assert dies or {"encode", "write"} <= timings.beside


def test_a_saver_that_gives_up_ends_it(encoder: Encoder) -> None:
    process = process_of(encoder)
    one = Saver(
        Sums(),
        lambda figure: figure.alt,
        lambda *_: None,
        lambda *_: None,
        threads=1,
        timings=Timings(),
        encoder=encoder,
    )
    os.kill(process.pid, signal.SIGSTOP)
    with pytest.raises(KeyboardInterrupt), saving(one):
        one.save(figures(1)[0])
        raise KeyboardInterrupt
    assert process.returncode == -signal.SIGKILL
