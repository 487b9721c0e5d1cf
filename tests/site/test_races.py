"""Builds that want the same target at the same time: one gets it, the others say who has it."""

import os
import socket
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

import pytest

from canned import read_tree
from races import race
from reportgen.errors import OutputError
from reportgen.site import writer
from reportgen.site.writer import SiteWriter, revise

pytestmark = pytest.mark.skipif(not find_spec("fcntl"), reason="no locks that end with their holder")


def test_of_builds_that_race_for_a_target_one_wins(tmp_path: Path) -> None:
    race(tmp_path / "site", 3)


@pytest.mark.sweep
def test_of_builds_that_race_for_a_target_one_wins_50_times(tmp_path: Path) -> None:
    race(tmp_path / "site", 50)


def publish(target: Path, content: str) -> None:
    with SiteWriter(target, force=True) as site:
        site.write("report.json", '{"generator": "reportgen"}')
        site.write("index.html", content)
        site.publish()


@pytest.mark.parametrize("act", [lambda site: SiteWriter(site, force=True), lambda site: revise(site, {"a": "b"})])
def test_the_holder_of_a_lock_is_named(tmp_path: Path, act: Callable[[Path], object]) -> None:
    publish(tmp_path / "site", "old")
    with SiteWriter(tmp_path / "site", force=True):
        with pytest.raises(OutputError) as caught:
            act(tmp_path / "site")
        assert f"(process {os.getpid()} on {socket.gethostname()}, since 20" in str(caught.value)
    act(tmp_path / "site")


def test_without_locks_who_made_the_directory_holds_the_target(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writer, "fcntl", None)
    with SiteWriter(tmp_path / "site") as site:
        with pytest.raises(OutputError, match=r"locked by another build .*remove"):
            SiteWriter(tmp_path / "site")
        site.write("index.html", "new")
        site.publish()
    assert set(read_tree(tmp_path)) == {"site/index.html", "site/SHA256SUMS"}


# What lies beside the target


def leave_behind(target: Path) -> Path:
    """What a build leaves that was killed while it wrote."""
    place = target.with_name(f".{target.name}.reportgen")
    (place / "site" / "figures").mkdir(parents=True)
    (place / "site" / "figures" / "half.png").write_text("half")
    (place / "lock").write_bytes(b"reportgen\nprocess 1 on elsewhere, since long ago\n")
    return place


def test_what_a_killed_build_left_is_cleaned(tmp_path: Path) -> None:
    leave_behind(tmp_path / "site")
    publish(tmp_path / "site", "new")
    assert set(read_tree(tmp_path)) == {f"site/{name}" for name in ("index.html", "report.json", "SHA256SUMS")}


def test_a_swap_that_was_cut_short_is_undone(tmp_path: Path) -> None:
    place = leave_behind(tmp_path / "site")
    publish(tmp_path / "other", "old")
    (tmp_path / "other").rename(place / "old")
    with pytest.raises(OutputError, match="a report is there already"):
        SiteWriter(tmp_path / "site")
    assert (tmp_path / "site" / "index.html").read_text() == "old"
    assert not place.exists()


@pytest.mark.parametrize("names", [["notes.txt"], ["lock"], ["site/index.html"], ["old/index.html", "lock"]])
def test_a_directory_of_the_users_with_that_name_is_left_alone(tmp_path: Path, names: list[str]) -> None:
    for name in names:
        path = tmp_path / ".site.reportgen" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("mine")
    before = read_tree(tmp_path)
    with pytest.raises(OutputError, match=r"\.site\.reportgen beside it was not made by reportgen"):
        SiteWriter(tmp_path / "site")
    assert read_tree(tmp_path) == before


@pytest.mark.parametrize("kind", ["file", "link"])
def test_a_file_of_the_users_with_that_name_is_left_alone(tmp_path: Path, kind: str) -> None:
    (tmp_path / "elsewhere").mkdir()
    if kind == "file":
        (tmp_path / ".site.reportgen").write_text("mine")
    else:
        (tmp_path / ".site.reportgen").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(OutputError, match="not made by reportgen"):
        SiteWriter(tmp_path / "site")
    assert list((tmp_path / "elsewhere").iterdir()) == []
    assert (tmp_path / ".site.reportgen").is_symlink() == (kind == "link")
