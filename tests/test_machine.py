"""How many CPUs a build keeps busy."""

from pathlib import Path

import pytest

from reportgen.machine import cpus


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
