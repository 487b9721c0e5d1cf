"""What a build may use: how many CPUs it keeps busy, and the limits on its memory."""

import resource
from pathlib import Path

import pytest

from reportgen.machine import Room, cpus, memory_rooms


@pytest.fixture(autouse=True)
def eight(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine of eight CPUs, with nothing said of threads."""
    monkeypatch.setattr("os.sched_getaffinity", lambda _: set(range(8)), raising=False)
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)


def test_all_that_the_process_may_run_on(tmp_path: Path) -> None:
    assert cpus(tmp_path) == 8


@pytest.mark.parametrize(
    ("quota", "expected"), [("max 100000", 8), ("300000 100000", 3), ("250000 100000", 3), ("50000 100000", 1)]
)
def test_a_containers_quota_is_kept(tmp_path: Path, quota: str, expected: int) -> None:
    (tmp_path / "cpu.max").write_text(quota + "\n")
    assert cpus(tmp_path) == expected


@pytest.mark.parametrize(("quota", "expected"), [("-1", 8), ("200000", 2)])
def test_a_quota_of_the_first_version_is_kept(tmp_path: Path, quota: str, expected: int) -> None:
    (tmp_path / "cpu").mkdir()
    (tmp_path / "cpu" / "cpu.cfs_quota_us").write_text(quota + "\n")
    (tmp_path / "cpu" / "cpu.cfs_period_us").write_text("100000\n")
    assert cpus(tmp_path) == expected


@pytest.mark.parametrize(
    ("wanted", "expected"), [("1", 1), ("3", 3), ("3,2", 3), ("64", 8), ("", 8), ("all", 8), ("0", 8)]
)
def test_omp_num_threads_is_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, wanted: str, expected: int
) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", wanted)
    assert cpus(tmp_path) == expected


def test_without_affinity_all_cpus_count(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(_: int) -> set[int]:
        raise AttributeError

    monkeypatch.setattr("os.sched_getaffinity", missing, raising=False)
    monkeypatch.setattr("os.cpu_count", lambda: 5)
    assert cpus(tmp_path) == 5


@pytest.fixture
def unlimited(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("resource.getrlimit", lambda _: (resource.RLIM_INFINITY, resource.RLIM_INFINITY))


def process(folder: Path, groups: str) -> Path:
    """A folder that says of a process what /proc does: its groups, and 300 pages of address space, 100 resident."""
    folder.mkdir()
    (folder / "cgroup").write_text(groups)
    (folder / "statm").write_text("300 100 20 1 0 50 0\n")
    return folder


def group(folder: Path, allowed: str, used: int, droppable: int = 0) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "memory.max").write_text(allowed + "\n")
    (folder / "memory.current").write_text(f"{used}\n")
    (folder / "memory.stat").write_text(f"anon 5\nfile 7\ninactive_file {droppable}\n")


def old_group(folder: Path, allowed: str, used: int, droppable: int = 0) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "memory.limit_in_bytes").write_text(allowed + "\n")
    (folder / "memory.usage_in_bytes").write_text(f"{used}\n")
    (folder / "memory.stat").write_text(f"inactive_file 1\ntotal_inactive_file {droppable}\n")


@pytest.mark.usefixtures("unlimited")
def test_the_limits_of_the_own_group_and_of_those_above_it_count(tmp_path: Path) -> None:
    root = tmp_path / "cgroup"
    group(root / "a" / "b", "max", 30)
    group(root / "a", "5000", 400, droppable=100)
    group(root, "9000", 700)
    rooms = memory_rooms(root, process(tmp_path / "self", "4:memory:/elsewhere\n0::/a/b\n"))
    assert rooms == [Room("the container's memory.max", 5000, 300), Room("the container's memory.max", 9000, 700)]


@pytest.mark.usefixtures("unlimited")
def test_limits_of_the_first_version_count(tmp_path: Path) -> None:
    root = tmp_path / "cgroup"
    old_group(root / "memory" / "docker" / "x", "5000", 400, droppable=150)
    old_group(root / "memory" / "docker", "9223372036854771712", 400)
    rooms = memory_rooms(root, process(tmp_path / "self", "7:cpu,memory:/docker/x\n0::/\n"))
    assert rooms == [Room("the container's memory.limit_in_bytes", 5000, 250)]


@pytest.mark.usefixtures("unlimited")
def test_a_group_that_is_not_seen_from_inside_its_container_is_the_root(tmp_path: Path) -> None:
    root = tmp_path / "cgroup"
    group(root, "5000", 400)
    rooms = memory_rooms(root, process(tmp_path / "self", "0::/docker/x\n"))
    assert rooms == [Room("the container's memory.max", 5000, 400)]


@pytest.mark.usefixtures("unlimited")
def test_without_limits_there_are_none(tmp_path: Path) -> None:
    group(tmp_path / "cgroup", "max", 400)
    assert memory_rooms(tmp_path / "cgroup", process(tmp_path / "self", "0::/\n")) == []
    assert memory_rooms(tmp_path / "nothing", tmp_path / "nowhere") == []


def test_a_limit_on_the_address_space_counts_all_that_is_mapped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[int] = []

    def limit(which: int) -> tuple[int, int]:
        asked.append(which)
        return 10**7, 10**8

    monkeypatch.setattr("resource.getrlimit", limit)
    rooms = memory_rooms(tmp_path / "nothing", process(tmp_path / "self", ""))
    assert rooms == [Room("RLIMIT_AS", 10**7, 300 * resource.getpagesize(), reserved=True)]
    assert asked == [resource.RLIMIT_AS]
