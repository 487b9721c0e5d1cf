"""The writer: a whole site or what was there before, and nothing that is not reportgen's is ever lost."""

import hashlib
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from canned import make_record, read_tree, write_site
from checker import check_site
from reportgen.errors import OutputError
from reportgen.site.manifest import format_manifest, read_manifest
from reportgen.site.record import to_json
from reportgen.site.writer import SiteWriter, _exchange, check_target, figure_stem, revise


def refusal(target: Path, *, force: bool = False) -> str:
    """The message with which a target is refused; nothing may have changed around it."""
    parent = next(each for each in target.parents if each.is_dir())
    before = listing(parent)
    with pytest.raises(OutputError) as caught:
        SiteWriter(target, force=force)
    assert listing(parent) == before
    message = str(caught.value)
    assert message.startswith(f"{target}: ")
    assert "\n" not in message
    return message


def listing(directory: Path) -> dict[str, bytes | None]:
    """Everything below `directory`: files with their content, directories and links with None."""
    return {
        str(path.relative_to(directory)): path.read_bytes() if path.is_file() else None
        for path in sorted(directory.rglob("*"))
    }


def write_old(target: Path) -> Path:
    return write_site(make_record(title="The old report"), target)


# A new site


def test_a_site_is_published_whole(tmp_path: Path) -> None:
    with SiteWriter(tmp_path / "site") as writer:
        writer.write("index.html", "<p>é")
        writer.write("a/b/c.bin", b"\x00\xff")
        assert not (tmp_path / "site").exists()
        writer.publish()
    assert listing(tmp_path / "site") == {
        "SHA256SUMS": (tmp_path / "site" / "SHA256SUMS").read_bytes(),
        "index.html": "<p>é".encode(),
        "a": None,
        "a/b": None,
        "a/b/c.bin": b"\x00\xff",
    }
    assert [path.name for path in tmp_path.iterdir()] == ["site"]


def test_what_is_written_last_counts(tmp_path: Path) -> None:
    with SiteWriter(tmp_path / "site") as writer:
        writer.write("a", "longer at first")
        writer.write("a", "short")
        writer.publish()
    assert (tmp_path / "site" / "a").read_text() == "short"
    assert read_manifest(tmp_path / "site") == {"a": hashlib.sha256(b"short").hexdigest()}


def test_the_writer_counts_what_it_wrote(tmp_path: Path) -> None:
    with SiteWriter(tmp_path / "site") as writer:
        writer.write("a", "é")
        writer.write("b", b"123")
        assert (writer.files, writer.bytes_written) == (2, 5)


def test_the_directories_above_a_site_are_made(tmp_path: Path) -> None:
    write_site(make_record(), tmp_path / "some" / "where" / "site")
    assert check_site(tmp_path / "some" / "where" / "site") == []


def test_a_relative_target_stays_where_it_was_when_the_program_moves(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with SiteWriter(Path("site")) as writer:
        monkeypatch.chdir("/")
        writer.write("index.html", "x")
        writer.publish()
    assert (tmp_path / "site" / "index.html").read_text() == "x"


def test_an_empty_directory_is_accepted(tmp_path: Path) -> None:
    (tmp_path / "site").mkdir()
    assert check_site(write_site(make_record(), tmp_path / "site")) == []
    assert [path.name for path in tmp_path.iterdir()] == ["site"]


@pytest.mark.parametrize("name", ["a site", "my.site", "-site", "sîte", ".site", "site.old", "x" * 200])
def test_a_target_may_have_any_name(tmp_path: Path, name: str) -> None:
    for force in (False, True):
        assert check_site(write_site(make_record(), tmp_path / name, force=force)) == []
        assert [path.name for path in tmp_path.iterdir()] == [name]


def test_text_that_utf8_cannot_hold_is_replaced(tmp_path: Path) -> None:
    # Such text comes from the command line or from names of files in another encoding.
    with SiteWriter(tmp_path / "site") as writer:
        writer.write("index.html", "a\udcffb")
        writer.publish()
    text = (tmp_path / "site" / "index.html").read_text(encoding="utf-8")
    assert (text[0], text[-1]) == ("a", "b")


@pytest.mark.parametrize(
    ("image", "layer", "view", "stem"),
    [
        ("disc", "conv", "", "kind/disc/conv"),
        ("disc", None, "seen", "kind/disc/seen"),
        (None, "conv", "", "kind/conv"),
        (None, None, "", "kind"),
    ],
)
def test_a_stem_is_made_of_what_a_figure_has(image: str | None, layer: str | None, view: str, stem: str) -> None:
    assert figure_stem("kind", image, layer, view) == stem


# The manifest


def test_the_manifest_is_that_of_sha256sum(tmp_path: Path) -> None:
    site = write_site(make_record(), tmp_path / "site")
    expected = {
        name: hashlib.sha256(content).hexdigest()
        for name, content in read_tree(site).items()
        if name != "SHA256SUMS"
    }
    text = (site / "SHA256SUMS").read_text(encoding="utf-8")
    assert text == "".join(f"{digest}  {name}\n" for name, digest in sorted(expected.items()))
    assert read_manifest(site) == expected
    assert format_manifest(read_manifest(site)) == text


def test_sha256sum_accepts_the_manifest(tiny_site: Path) -> None:
    program = shutil.which("sha256sum")
    if program is None:
        pytest.skip("there is no sha256sum here")
    checked = subprocess.run(
        [program, "--check", "--strict", "SHA256SUMS"], cwd=tiny_site, capture_output=True, text=True, check=False
    )
    assert checked.returncode == 0, checked.stderr
    assert len(checked.stdout.splitlines()) == len(read_tree(tiny_site)) - 1


@pytest.mark.parametrize("content", [None, b"nonsense\n", b"\xff\n"])
def test_a_manifest_that_cannot_be_read_is_named(tmp_path: Path, content: bytes | None) -> None:
    if content is not None:
        (tmp_path / "SHA256SUMS").write_bytes(content)
    with pytest.raises(OutputError) as caught:
        read_manifest(tmp_path)
    assert str(caught.value).startswith(f"{tmp_path / 'SHA256SUMS'}: ")


# What is there stays


def test_what_was_written_is_gone_unless_published(tmp_path: Path) -> None:
    with SiteWriter(tmp_path / "site") as writer:
        writer.write("index.html", "x")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt, OutputError])
def test_an_error_leaves_no_trace(tmp_path: Path, error: type[BaseException]) -> None:
    with pytest.raises(error), SiteWriter(tmp_path / "new" / "site") as writer:
        writer.write("a/index.html", "x")
        raise error("half way")
    assert list(tmp_path.iterdir()) == []


def test_an_error_leaves_directories_that_were_there(tmp_path: Path) -> None:
    (tmp_path / "there").mkdir()
    with pytest.raises(RuntimeError), SiteWriter(tmp_path / "there" / "site"):
        raise RuntimeError
    assert (tmp_path / "there").is_dir()


def test_an_error_leaves_the_old_site(tmp_path: Path) -> None:
    site = write_old(tmp_path / "site")
    before = listing(tmp_path)
    with pytest.raises(RuntimeError), SiteWriter(site, force=True) as writer:
        writer.write("index.html", "new")
        raise RuntimeError
    assert listing(tmp_path) == before


def test_a_file_that_cannot_be_written_leaves_the_old_site(tmp_path: Path) -> None:
    site = write_old(tmp_path / "site")
    before = listing(tmp_path)
    with pytest.raises(OutputError, match="can't be written"), SiteWriter(site, force=True) as writer:
        writer.write("a", "x")
        writer.write("a/b", "a file is in the way")
    assert listing(tmp_path) == before


@pytest.mark.parametrize("exchanges", [True, False])
@pytest.mark.parametrize("error", [OSError(28, "No space left"), KeyboardInterrupt()])
def test_a_failing_exchange_leaves_the_old_site(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: BaseException, exchanges: bool
) -> None:
    site = write_old(tmp_path / "site")
    before = listing(tmp_path)
    rename, moved = Path.rename, []

    def fail_once(path: Path, target: Path) -> Path:
        moved.append(path)
        if len(moved) == 2:
            raise error
        return rename(path, target)

    def exchange(*_: Path) -> bool:
        if exchanges:
            raise error
        return False

    with pytest.raises((OutputError, KeyboardInterrupt)), SiteWriter(site, force=True) as writer:
        writer.write("index.html", "new")
        monkeypatch.setattr(Path, "rename", fail_once)
        monkeypatch.setattr("reportgen.site.writer._exchange", exchange)
        writer.publish()
    monkeypatch.undo()
    assert listing(tmp_path) == before


def test_directories_are_exchanged_in_one_step_where_linux_can(tmp_path: Path) -> None:
    for name in ("one", "other"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "file").write_text(name)
    exchanged = _exchange(tmp_path / "one", tmp_path / "other")
    assert exchanged == (sys.platform == "linux")
    assert (tmp_path / "one" / "file").read_text() == ("other" if exchanged else "one")
    assert (tmp_path / "other" / "file").read_text() == ("one" if exchanged else "other")


@pytest.mark.parametrize("sibling", [".site.old", "site.old", "site~", ".site", ".site.reportgen-old"])
@pytest.mark.parametrize("replace", [False, True])
def test_the_neighbours_of_a_site_are_left_alone(tmp_path: Path, sibling: str, replace: bool) -> None:
    if replace:
        write_old(tmp_path / "site")
    (tmp_path / sibling).mkdir()
    (tmp_path / sibling / "precious.txt").write_text("mine")
    assert check_site(write_site(make_record(), tmp_path / "site", force=replace)) == []
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted([sibling, "site"])
    assert (tmp_path / sibling / "precious.txt").read_text() == "mine"


def test_what_comes_into_being_during_a_build_is_left_alone(tmp_path: Path) -> None:
    site = tmp_path / "site"
    with pytest.raises(OutputError), SiteWriter(site, force=True) as writer:
        writer.write("index.html", "new")
        site.mkdir()
        (site / "precious.txt").write_text("mine")
        writer.publish()
    assert listing(tmp_path) == {"site": None, "site/precious.txt": b"mine"}


# Targets that are refused


@pytest.mark.parametrize("force", [False, True])
def test_a_directory_of_the_users_is_refused(tmp_path: Path, force: bool) -> None:
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / "precious.txt").write_text("mine")
    assert "was not made by reportgen" in refusal(tmp_path / "site", force=force)


def sign(directory: Path) -> None:
    names = [name for name in read_tree(directory) if name != "SHA256SUMS"]
    sums = {name: hashlib.sha256((directory / name).read_bytes()).hexdigest() for name in names}
    (directory / "SHA256SUMS").write_text(format_manifest(sums))


@pytest.mark.parametrize("report", ["{}", '{"schema": 1, "passed": 12}', "nonsense", "[]"])
def test_files_that_only_bear_the_same_names_are_refused(tmp_path: Path, report: str) -> None:
    # Other programs write a report.json too, and releases of data come with SHA256SUMS.
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / "report.json").write_text(report)
    (tmp_path / "site" / "precious.csv").write_text("1,2,3\n")
    sign(tmp_path / "site")
    for force in (False, True):
        assert "was not made by reportgen" in refusal(tmp_path / "site", force=force)


@pytest.mark.parametrize("missing", ["report.json", "SHA256SUMS"])
def test_half_a_site_is_refused(tmp_path: Path, missing: str) -> None:
    site = write_old(tmp_path / "site")
    (site / missing).unlink()
    assert "was not made by reportgen" in refusal(site, force=True)


@pytest.mark.parametrize("force", [False, True])
def test_a_file_is_refused(tmp_path: Path, force: bool) -> None:
    (tmp_path / "site").write_text("mine")
    assert "not a directory" in refusal(tmp_path / "site", force=force)


@pytest.mark.parametrize("force", [False, True])
@pytest.mark.parametrize("to", ["empty", "site", "file", "nowhere"])
def test_a_link_is_refused(tmp_path: Path, to: str, force: bool) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "file").write_text("mine")
    write_old(tmp_path / "site")
    (tmp_path / "link").symlink_to(tmp_path / to)
    refusal(tmp_path / "link", force=force)
    assert (tmp_path / "link").readlink() == tmp_path / to


def test_a_site_is_replaced_only_when_forced(tmp_path: Path) -> None:
    assert "--force" in refusal(write_old(tmp_path / "site"))


def test_a_site_of_another_schema_is_still_a_report(tmp_path: Path) -> None:
    site = write_old(tmp_path / "site")
    record = json.loads((site / "report.json").read_text(encoding="utf-8"))
    (site / "report.json").write_text(json.dumps({**record, "schema": 2, "layers": "elsewhere"}))
    sign(site)
    check_target(site, force=True)


def test_a_forced_site_holds_nothing_of_the_old_one(tmp_path: Path) -> None:
    site = write_old(tmp_path / "site")
    with SiteWriter(site, force=True) as writer:
        writer.write("index.html", "new")
        writer.publish()
    assert set(read_tree(site)) == {"index.html", "SHA256SUMS"}
    assert [path.name for path in tmp_path.iterdir()] == ["site"]


def test_an_edited_site_may_be_replaced(tmp_path: Path) -> None:
    site = write_old(tmp_path / "site")
    (site / "index.html").write_text("edited")
    check_target(site, force=True)


def add_file(site: Path) -> str:
    (site / "figures" / "notes.txt").write_text("mine")
    return "figures/notes.txt"


def add_link(site: Path) -> str:
    (site / "data").symlink_to(site.parent)
    return "data"


def add_hidden_file(site: Path) -> str:
    (site / ".git").mkdir()
    (site / ".git" / "config").write_text("mine")
    return ".git/config"


@pytest.mark.parametrize("add", [add_file, add_link, add_hidden_file])
def test_a_site_with_files_of_the_users_is_refused(tmp_path: Path, add: Callable[[Path], str]) -> None:
    site = write_old(tmp_path / "site")
    name = add(site)
    assert name in refusal(site, force=True)


def test_of_many_files_the_first_are_named(tmp_path: Path) -> None:
    site = write_old(tmp_path / "site")
    for index in range(5):
        (site / f"note{index}.txt").write_text("mine")
    message = refusal(site, force=True)
    assert "note0.txt, note1.txt, note2.txt and 2 more" in message
    assert "note3.txt" not in message


@pytest.mark.parametrize("below", ["site", "deep/site"])
def test_a_parent_that_is_a_file_is_refused(tmp_path: Path, below: str) -> None:
    (tmp_path / "file").write_text("mine")
    target = tmp_path / "file" / below
    before = listing(tmp_path)
    with pytest.raises(OutputError) as caught:
        SiteWriter(target)
    assert str(caught.value).startswith(f"{target}: can't be written: ")
    assert listing(tmp_path) == before


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may write everywhere")
def test_a_parent_without_permission_is_refused(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    assert "can't be written" in refusal(tmp_path / "site")


@pytest.mark.parametrize("target", ["/", "."])
def test_a_directory_in_use_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, target: str) -> None:
    (tmp_path / "precious.txt").write_text("mine")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(OutputError, match="was not made by reportgen"):
        SiteWriter(Path(target), force=True)


# Revisions


def test_a_revision_changes_adds_and_removes(tmp_path: Path) -> None:
    site = write_old(tmp_path / "site")
    before = read_tree(site)
    revise(site, {"index.html": before["index.html"] + b" ", "new/page.html": "<p>"}, frozenset({"about.html"}))
    after = read_tree(site)
    assert set(before) - set(after) == {"about.html"}
    assert set(after) - set(before) == {"new/page.html"}
    changed = {name for name in set(before) & set(after) if before[name] != after[name]}
    assert changed == {"index.html", "SHA256SUMS"}
    assert read_manifest(site) == {
        name: hashlib.sha256(content).hexdigest() for name, content in after.items() if name != "SHA256SUMS"
    }


@pytest.mark.parametrize("name", ["../evil.html", "a/../../evil.html"])
def test_a_revision_stays_inside_its_site(tmp_path: Path, name: str) -> None:
    site = write_old(tmp_path / "site")
    (tmp_path / "evil.html").write_text("mine")
    with pytest.raises(OutputError):
        revise(site, {name: "x"})
    with pytest.raises(OutputError):
        revise(site, {}, frozenset({name}))
    assert (tmp_path / "evil.html").read_text() == "mine"


def test_a_revision_keeps_the_users_files_links_and_permissions(tmp_path: Path) -> None:
    site = write_old(tmp_path / "site")
    add_file(site), add_link(site), add_hidden_file(site)
    (site / "figures").chmod(0o750)
    (site / "empty").mkdir()
    before = listing(site)
    numbers = {name: (site / name).stat().st_ino for name in before}
    revise(site, {"index.html": "new"})
    after = listing(site)
    assert {name for name in after if after[name] != before.get(name)} == {"index.html", "SHA256SUMS"}
    assert before.keys() == after.keys()
    assert (site / "data").readlink() == tmp_path
    assert (site / "figures").stat().st_mode & 0o777 == 0o750
    same = {name for name in after if after[name] is not None and (site / name).stat().st_ino == numbers[name]}
    assert same == {name for name in after if after[name] is not None} - {"index.html", "SHA256SUMS"}


def test_a_revision_goes_where_a_link_leads(tmp_path: Path) -> None:
    site = write_old(tmp_path / "site")
    (tmp_path / "link").symlink_to("site")
    revise(tmp_path / "link", {"index.html": "new"})
    assert (tmp_path / "link").readlink() == Path("site")
    assert (site / "index.html").read_text() == "new"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["link", "site"]


def test_a_revision_that_cannot_be_written_changes_nothing(tmp_path: Path) -> None:
    site = write_old(tmp_path / "site")
    before = listing(site)
    with pytest.raises(OutputError, match="can't be written"):
        revise(site, {"about.html": "new", "report.json/index.html": "a file is in the way"})
    assert listing(site) == before


def test_a_disk_that_fills_up_leaves_no_half_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    site = write_old(tmp_path / "site")
    before = listing(site)
    write, room = os.write, [1200]

    def fill(descriptor: int, data: bytes) -> int:
        written = write(descriptor, data[: room[0]])
        room[0] -= written
        if not written:
            raise OSError(28, "No space left on device")
        return written

    monkeypatch.setattr(os, "write", fill)
    with pytest.raises(OutputError, match="No space left"):
        revise(site, {"about.html": "new" * 300, "index.html": "new" * 300})
    assert listing(site) == before
    assert [path.name for path in tmp_path.iterdir()] == ["site"]


def test_a_record_and_its_manifest_make_a_site(tmp_path: Path) -> None:
    site = write_site(make_record(), tmp_path / "site")
    assert (site / "report.json").read_text(encoding="utf-8") == to_json(make_record())
