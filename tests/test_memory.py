"""A build that memory is too short for: refused with the numbers, or done with smaller batches, never a crash."""

import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, ClassVar

import pytest
import torch
from PIL import Image
from torch import fx, nn

import reportgen
from canned import read_tree
from reportgen.cli import main
from reportgen.entities import Reading
from reportgen.errors import InputError, MemoryShortageError, lacks_memory
from reportgen.machine import Room
from reportgen.memory import BatchSize, Job, Need, estimate
from reportgen.network.footprint import Footprint, Value
from reportgen.site.record import read_record

ROOT = Path(__file__).resolve().parents[1]
PHOTOGRAPHS = ROOT / "samples" / "photographs"
FIGURES = ["channel_grid", "layer_cka", "health"]


class Greedy(nn.Module):
    """Has memory for `most` images at once, and from the pass `late` on for `later` only."""

    most: ClassVar[int] = 99
    late: ClassVar[int] = 0
    later: ClassVar[int] = 99
    passes: ClassVar[list[int]] = []

    def __init__(self) -> None:
        super().__init__()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(1)
            self.stem = nn.Conv2d(3, 4, 3, padding=1)
            self.last = nn.Conv2d(4, 2, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        result: torch.Tensor = self.last(take(self.stem(x)).relu_())
        return result


@fx.wrap
def take(x: torch.Tensor) -> torch.Tensor:
    Greedy.passes.append(len(x))
    late = Greedy.late and len(Greedy.passes) >= Greedy.late
    if len(x) > (Greedy.later if late else Greedy.most):
        raise Failing.error
    return x


class Failing:
    error: ClassVar[Exception] = MemoryError()


@pytest.fixture(autouse=True)
def enough() -> Iterator[None]:
    Greedy.most, Greedy.late, Greedy.later, Greedy.passes = 99, 0, 99, []
    Failing.error = MemoryError()
    yield
    Greedy.most, Greedy.late, Greedy.later, Greedy.passes = 99, 0, 99, []


@pytest.fixture
def limited(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    """Let a build see one limit, of which nothing is used yet."""

    def limit(allowed: int) -> None:
        monkeypatch.setattr("reportgen.driver.memory_rooms", lambda: [Room("a limit", allowed, 0)])

    return limit


def images(count: int) -> torch.Tensor:
    return torch.rand(count, 3, 12, 10, generator=torch.Generator().manual_seed(3))


def build(out: Path, count: int = 6, **options: Any) -> "reportgen.Report":
    return reportgen.build(Greedy().eval(), images(count), out, **{"figures": FIGURES, **options})


def same_but_for_notes(site: Path, other: Path) -> bool:
    """Whether two sites hold the same files, but that the one has a note on its about page and in its record."""
    ours, theirs = read_tree(site), read_tree(other)
    differing = {name for name in ours.keys() | theirs.keys() if ours.get(name) != theirs.get(name)}
    return differing <= {"about.html", "report.json", "SHA256SUMS"}


# The numbers


def test_a_limit_that_suffices_changes_nothing() -> None:
    size = BatchSize(16, 16, 100)
    assert size.within(Need(100, 10), [Room("x", 1000, 0), Room("y", 2000, 1740)]) == size
    assert size.notes == []


def test_the_size_is_halved_until_it_fits_every_limit() -> None:
    need = Need(100, 10)
    size = BatchSize(16, 16, 100).within(need, [Room("x", 1000, 0), Room("y", 2000, 1855)])
    assert size.used == 4
    assert size.notes == [
        "The batch size is 4 instead of 16: more images at once would need more memory than y allows."
    ]


def test_a_batch_is_never_larger_than_there_are_images() -> None:
    assert BatchSize(16, 16, 3).within(Need(100, 10), [Room("x", 130, 0)]).used == 16
    assert BatchSize(16, 16, 3).within(Need(100, 10), [Room("x", 129, 0)]).used == 1
    assert BatchSize(16, 16, 3).halved(MemoryShortageError("x")).used == 1


def test_address_space_counts_where_it_is_what_is_limited() -> None:
    need = Need(100, 10, reserved=50)
    assert BatchSize(1, 1, 1).within(need, [Room("x", 110, 0)]).used == 1
    with pytest.raises(MemoryShortageError):
        BatchSize(1, 1, 1).within(need, [Room("x", 159, 0, reserved=True)])


def test_other_processes_count_where_a_container_is_limited() -> None:
    need = Need(100, 10, reserved=50, beside=70)
    assert BatchSize(1, 1, 1).within(need, [Room("x", 180, 0), Room("y", 160, 0, reserved=True)]).used == 1
    with pytest.raises(MemoryShortageError):
        BatchSize(1, 1, 1).within(need, [Room("x", 179, 0)])
    footprint = Footprint()
    for threads, processes in ((1, 0), (2, 1), (3, 2), (99, 4)):
        drawing = estimate(footprint, set(), job("channel_sum", "overview", threads=threads))
        encoding = 50 * 10**6 if threads > 1 else 0
        assert drawing.beside == processes * 110 * 10**6 + encoding
        assert estimate(footprint, set(), job("channel_sum", threads=threads)).beside == encoding


def test_what_does_not_fit_at_all_is_refused_with_the_numbers() -> None:
    with pytest.raises(InputError, match=r"needs about 2\.3 GB, .* may use 1\.0 GB \(RLIMIT_AS\): use a smaller"):
        BatchSize(16, 16, 16).within(Need(10**9, 10**8), [Room("RLIMIT_AS", 10**9, 12 * 10**8)])


def test_a_size_that_was_given_is_refused_with_one_that_fits() -> None:
    size = BatchSize(16, 16, 16, given=True)
    with pytest.raises(InputError, match=r"about 2\.6 GB, .* 1\.5 GB \(x\): use --batch-size 4, a smaller --size"):
        size.within(Need(10**9, 10**8), [Room("x", 15 * 10**8, 0)])


def test_batches_keep_the_images_that_a_figure_needs() -> None:
    size = BatchSize(16, 16, 99, least=4)
    assert size.within(Need(100, 10), [Room("x", 140, 0)]).used == 4
    with pytest.raises(MemoryShortageError):
        size.within(Need(100, 10), [Room("x", 139, 0)])


def job(*kinds: str, **facts: Any) -> Job:
    return Job(**{"kinds": kinds, "images": 1, "picture": 1000, "threads": 1, **facts})


def test_the_need_grows_with_what_is_alive_and_with_what_figures_keep() -> None:
    footprint = Footprint()
    footprint.values = {"a": Value(4000, 10, 100)}
    narrow = estimate(footprint, {"a"}, job("channel_sum"))
    footprint.values = {"a": Value(4000, 10, 100), "b": Value(8 * 10**6, 2000, 1000)}
    wide = estimate(footprint, {"a", "b"}, job("channel_sum"))
    assert wide.image - narrow.image >= 8 * 10**6 - 4000
    assert estimate(footprint, {"a", "b"}, job("health")).kept >= wide.kept + 4 * 2000**2
    assert estimate(footprint, {"a"}, job("health")).kept < wide.kept + 4 * 2000**2
    thousand = estimate(footprint, {"a", "b"}, job("channel_grid", images=1000))
    assert 10**6 < thousand.kept - estimate(footprint, {"a", "b"}, job("channel_grid")).kept < 4 * 10**6
    assert estimate(footprint, {"a", "b"}, job("channel_cka", images=9, arrays=True)).kept >= 9 * 4 * 2000**2
    assert estimate(footprint, {"a", "b"}, job("channel_sum", threads=2)).kept >= wide.kept + 64 * 2**20


def test_values_on_another_device_are_not_counted() -> None:
    footprint = Footprint()
    kept = torch.zeros(1, 10**6)
    footprint.add("a", kept, Reading("", None))
    on_cpu, elsewhere = (estimate(footprint, {"a"}, job("channel_sum", on_cpu=where)) for where in (True, False))
    assert on_cpu.image - elsewhere.image == kept.nbytes


# What runs out of memory


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB"),
        torch.OutOfMemoryError("whatever a device says"),
        RuntimeError("[enforce fail at alloc_cpu.cpp:127] err == 0. DefaultCPUAllocator: can't allocate memory"),
        OSError(12, "Cannot allocate memory"),
        ImportError("libx.so: failed to map segment from shared object: Cannot allocate memory"),
        RuntimeError("can't start new thread"),
    ],
)
def test_what_says_that_memory_ran_out_is_known(error: Exception) -> None:
    assert lacks_memory(error)


@pytest.mark.parametrize("error", [RuntimeError("shapes differ"), ValueError("out of memory"), KeyError("memory")])
def test_what_says_something_else_is_not(error: Exception) -> None:
    assert not lacks_memory(error)


def test_torchs_own_error_is_known() -> None:
    with pytest.raises(RuntimeError) as raised:
        torch.empty(10**15)
    assert lacks_memory(raised.value)


# Batches that are halved


@pytest.mark.parametrize("tracer", ["fx", "eager"])
@pytest.mark.parametrize(
    "error", [MemoryError(), torch.OutOfMemoryError("CUDA out of memory")], ids=["MemoryError", "torch"]
)
def test_a_batch_that_memory_is_too_short_for_is_halved(tmp_path: Path, tracer: str, error: Exception) -> None:
    Failing.error, Greedy.most = error, 5
    halved = build(tmp_path / "halved", 8, batch_size=8, tracer=tracer, cka_examples="images")
    Greedy.most = 99
    build(tmp_path / "four", 8, batch_size=4, tracer=tracer, cka_examples="images")
    assert halved.record.notes == [
        "The batch size is 4 instead of 8: memory ran out in a forward pass of 8 images."
    ]
    assert halved.complete
    assert halved.record.options["batch_size"] == 4
    assert "4 instead of 8" in (tmp_path / "halved" / "about.html").read_text(encoding="utf-8")
    assert same_but_for_notes(tmp_path / "halved", tmp_path / "four")


@pytest.mark.parametrize("tracer", ["fx", "eager"])
@pytest.mark.parametrize("resume", [False, True])
def test_what_was_counted_before_memory_ran_out_is_not_counted_twice(
    tmp_path: Path, tracer: str, resume: bool
) -> None:
    options = {"tracer": tracer, "cka_examples": "images", "resume": resume}
    build(tmp_path / "whole", 12, batch_size=4, **options)
    passes = len(Greedy.passes)
    Greedy.passes = []
    build(tmp_path / "eight", 12, batch_size=8, **options)
    # In the last batch of more than four, after figures of the one before were made.
    Greedy.late = max(number for number, size in enumerate(Greedy.passes, 1) if size > 4)
    Greedy.later, Greedy.passes = 4, []
    report = build(tmp_path / "late", 12, batch_size=8, **options)
    assert len(Greedy.passes) > passes
    assert report.record.options["batch_size"] < 8
    written = read_tree(report.site)
    assert report.bytes == sum(len(data) for name, data in written.items() if name != "SHA256SUMS")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["eight", "late", "whole"]
    build(
        tmp_path / "again", 12, batch_size=report.record.options["batch_size"], tracer=tracer, cka_examples="images"
    )
    assert same_but_for_notes(tmp_path / "late", tmp_path / "again")


def test_a_batch_that_images_are_compared_in_is_not_made_too_small_for_that(tmp_path: Path) -> None:
    Greedy.most = 3
    with pytest.raises(MemoryShortageError):
        build(tmp_path / "site", 8, cka_examples="images")
    assert list(tmp_path.iterdir()) == []


def test_where_too_few_images_fit_positions_are_compared(tmp_path: Path) -> None:
    Greedy.most = 2
    report = build(tmp_path / "site", 33)
    assert report.record.options["batch_size"] == 2
    assert report.record.options["cka_examples"] == "positions"
    Greedy.most = 99
    rebuilt = reportgen.rebuild(tmp_path / "site", Greedy().eval(), images(33))
    assert not list(rebuilt.difference.lines)
    build(tmp_path / "other", 33)
    assert read_record(tmp_path / "other").options["cka_examples"] == "auto"


def test_a_halved_build_can_be_built_again(tmp_path: Path) -> None:
    Greedy.most = 5
    build(tmp_path / "site", 8, batch_size=8)
    Greedy.most = 99
    rebuilt = reportgen.rebuild(tmp_path / "site", Greedy().eval(), images(8))
    assert not list(rebuilt.difference.lines)


def test_one_image_that_memory_is_too_short_for_ends_the_build(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    old = read_tree(build(tmp_path / "sites" / "site").site)
    command = [*lone(tmp_path), "--model-arg", "most=0", "--out", str(tmp_path / "sites" / "site")]
    assert main([*command, "--force", "--batch-size", "8"]) == 3
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1
    assert "memory ran out" in lines[0]
    assert read_tree(tmp_path / "sites" / "site") == old
    assert [path.name for path in (tmp_path / "sites").iterdir()] == ["site"]


def test_the_command_tells_of_a_halved_batch(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for number in range(8):
        Image.linear_gradient("L").rotate(20 * number).save(tmp_path / f"{number}.png")
    command = ["build", f"{lone(tmp_path)[1]}", str(tmp_path), "--size", "16", "--figures", "layer_cka"]
    more = ["--cka-examples", "images", "--model-arg", "most=4", "--batch-size", "8"]
    assert main([*command, *more, "--out", str(tmp_path / "site")]) == 0
    notes = [line for line in capsys.readouterr().err.splitlines() if line.startswith("reportgen: note: ")]
    assert len(notes) == 1
    assert "The batch size is 4 instead of 8" in notes[0]


# Limits


def test_the_default_is_lowered_to_what_fits_and_gives_the_same_bytes(
    tmp_path: Path, limited: Callable[[int], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("reportgen.driver.estimate", lambda *_: Need(1000, 100))
    limited(1000 + 8 * 100)
    report = build(tmp_path / "lowered", 33)
    assert report.record.options["batch_size"] == 8
    assert [note for note in report.record.notes if "8 instead of 16" in note]
    limited(10**15)
    build(tmp_path / "eight", 33, batch_size=8)
    assert same_but_for_notes(tmp_path / "lowered", tmp_path / "eight")
    assert build(tmp_path / "default", 33).record.options["batch_size"] == 16


def test_a_limit_far_off_changes_no_byte(tmp_path: Path, limited: Callable[[int], None]) -> None:
    build(tmp_path / "free")
    limited(10**15)
    build(tmp_path / "limited")
    assert read_tree(tmp_path / "free") == read_tree(tmp_path / "limited")


@pytest.mark.parametrize("given", [{}, {"batch_size": 1}, {"batch_size": 6}])
def test_what_does_not_fit_is_refused_before_the_target_is_touched(
    tmp_path: Path, limited: Callable[[int], None], given: dict[str, int]
) -> None:
    old = read_tree(build(tmp_path / "site").site)
    limited(10**6)
    with pytest.raises(MemoryShortageError, match=r"this build needs about \d+ MB, .* may use 1 MB \(a limit\)"):
        build(tmp_path / "site", force=True, **given)
    assert read_tree(tmp_path / "site") == old
    assert [path.name for path in tmp_path.iterdir()] == ["site"]


LIMITED = """
import resource, sys
from pathlib import Path
import torch, reportgen, reportgen.driver, matplotlib.pyplot
from reportgen.cli import main
from reportgen.entities import Reading
used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (used + {more}, resource.RLIM_INFINITY))
sys.exit(main(["build", *sys.argv[1:]]))
"""
FACTORIES = """
import torch
from torch import nn
def too_large():
    return nn.Linear(2**16, 2**16)
def hungry():
    return nn.Sequential(nn.Conv2d(3, 3, 1), nn.Upsample(scale_factor=64))
def small():
    return nn.Sequential(nn.Conv2d(3, 4, 1), nn.ReLU())
class Lone(nn.Conv2d):
    def forward(self, x):
        if len(x) > self.most:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return super().forward(x)
def lone(most=1):
    model = Lone(3, 2, 1)
    model.most = most
    return model
"""


@pytest.mark.skipif(sys.platform != "linux", reason="RLIMIT_AS is enforced there")
@pytest.mark.parametrize(
    ("factory", "more", "told"),
    [
        ("too_large", 2 << 30, "can't allocate memory"),
        ("hungry", 600 << 20, "memory ran out"),
        ("small", 100 << 20, "(RLIMIT_AS)"),
    ],
)
def test_a_real_limit_is_one_line_and_code_3(tmp_path: Path, factory: str, more: int, told: str) -> None:
    (tmp_path / "models.py").write_text(FACTORIES)
    (tmp_path / "sites").mkdir()
    outcome = limited_build(tmp_path, factory, more)
    assert outcome.returncode == 3, outcome.stderr
    assert told in outcome.stderr
    assert len(outcome.stderr.splitlines()) == 1
    assert list((tmp_path / "sites").iterdir()) == []


@pytest.mark.skipif(sys.platform != "linux", reason="RLIMIT_AS is enforced there")
def test_what_fits_a_real_limit_is_built(tmp_path: Path) -> None:
    (tmp_path / "models.py").write_text(FACTORIES)
    outcome = limited_build(tmp_path, "small", 2 << 30)
    assert outcome.returncode == 0, outcome.stderr
    assert (tmp_path / "sites" / "site" / "index.html").is_file()


def lone(place: Path) -> list[str]:
    """The beginning of a command that builds a report of four photographs, of a model that takes one at a time."""
    (place / "models.py").write_text(FACTORIES)
    return ["build", f"{place / 'models.py'}:lone", str(PHOTOGRAPHS), "--size", "16", "--figures", "channel_sum"]


def limited_build(place: Path, factory: str, more: int) -> "subprocess.CompletedProcess[str]":
    """Build a report of a model in `place` in a process that may take `more` bytes than it has when it begins."""
    photo = PHOTOGRAPHS / "chelsea.jpg"
    command = [sys.executable, "-c", LIMITED.format(more=more), f"{place / 'models.py'}:{factory}", str(photo)]
    options = ["--out", str(place / "sites" / "site"), "--figures", "channel_sum"]
    return subprocess.run([*command, *options], check=False, capture_output=True, text=True, cwd=ROOT)
