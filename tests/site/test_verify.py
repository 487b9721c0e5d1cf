"""Verification finds every file that was changed, is missing or was added, and says which."""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from canned import make_record, read_tree, write_site
from reportgen.cli import main
from reportgen.errors import InputError
from reportgen.site.verify import Difference, compare, verify


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_site(make_record(), tmp_path_factory.mktemp("verify") / "site")


@pytest.fixture
def site(original: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(original, tmp_path / "site"))


def test_an_untouched_site_is_as_it_should_be(site: Path) -> None:
    assert verify(site) == Difference(files=len(read_tree(site)) - 1)


def test_each_changed_file_is_found(site: Path) -> None:
    # One bit of every file in turn; size and time of change stay what they were.
    for name, content in read_tree(site).items():
        if name == "SHA256SUMS":
            continue
        path, times = site / name, (site / name).stat()
        path.write_bytes(bytes([content[0] ^ 1]) + content[1:])
        os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))
        assert verify(site).changed == (name,), name
        path.write_bytes(content)
    assert not verify(site).summary


def test_each_missing_file_is_found(site: Path) -> None:
    for name, content in read_tree(site).items():
        (site / name).unlink()
        if name == "SHA256SUMS":
            with pytest.raises(InputError, match="SHA256SUMS: can't be read"):
                verify(site)
        else:
            assert verify(site).missing == (name,)
        (site / name).write_bytes(content)


@pytest.mark.parametrize("name", ["notes.txt", ".hidden", "figures/deep/er/x.png", "data/SHA256SUMS", "a\nb", "é"])
def test_each_added_file_is_found(site: Path, name: str) -> None:
    (site / name).parent.mkdir(parents=True, exist_ok=True)
    (site / name).write_text("mine")
    assert verify(site).added == (name,)


def as_link(path: Path) -> None:
    copy = path.parents[1] / "copy"
    path.rename(copy)
    path.symlink_to(copy)


def as_directory(path: Path) -> None:
    path.unlink()
    path.mkdir()


def as_pipe(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


@pytest.mark.parametrize(
    ("change", "word"), [(as_link, "changed"), (as_directory, "missing"), (as_pipe, "changed")]
)
def test_what_is_no_plain_file_is_found(site: Path, change: Callable[[Path], None], word: str) -> None:
    # A link would show whatever it leads to, today the same bytes.
    change(site / "about.html")
    assert getattr(verify(site), word) == ("about.html",)


def test_a_directory_that_is_a_link_is_found(site: Path, tmp_path: Path) -> None:
    (site / "layers").rename(tmp_path / "layers")
    (site / "layers").symlink_to(tmp_path / "layers")
    found = verify(site)
    assert found.added == ("layers",)
    assert found.missing == tuple(sorted(f"layers/{path.name}" for path in (tmp_path / "layers").iterdir()))


def test_differences_are_named_and_counted() -> None:
    found = compare({"a": "1", "b": "2", "c": "3", "d": "4"}, {"a": "1", "b": "x", "e": "5", "f\n": "6"})
    assert found == Difference(4, changed=("b",), missing=("c", "d"), added=("e", "f\n"))
    assert list(found.lines) == ["changed b", "missing c", "missing d", "added e", r"added f\n"]
    assert found.summary == "1 changed, 2 missing, 2 added"


def test_sha256sum_agrees(site: Path) -> None:
    program = shutil.which("sha256sum")
    if program is None:
        pytest.skip("there is no sha256sum here")
    (site / "index.html").write_text("edited")
    (site / "about.html").unlink()
    checked = subprocess.run(
        [program, "--check", "--quiet", "SHA256SUMS"],
        cwd=site,
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "LC_ALL": "C"},
    )
    assert set(checked.stdout.splitlines()) == {"index.html: FAILED", "about.html: FAILED open or read"}
    assert list(verify(site).lines) == ["changed index.html", "missing about.html"]


# The command


def test_the_command_is_content_with_an_untouched_site(site: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["verify", str(site)]) == 0
    out, err = capsys.readouterr()
    assert out == ""
    assert err == f"{site}: {len(read_tree(site)) - 1} files, each as SHA256SUMS says\n"


def test_the_command_names_each_difference_and_ends_with_3(site: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (site / "index.html").write_text("edited")
    (site / "about.html").unlink()
    (site / "notes.txt").write_text("mine")
    assert main(["verify", str(site)]) == 3
    out, err = capsys.readouterr()
    assert out == "changed index.html\nmissing about.html\nadded notes.txt\n"
    assert err == f"reportgen: {site}: not as SHA256SUMS says: 1 changed, 1 missing, 1 added\n"


@pytest.mark.parametrize("name", ["nowhere", "site/index.html", "empty"])
def test_what_is_no_site_is_refused(site: Path, capsys: pytest.CaptureFixture[str], name: str) -> None:
    (site.parent / "empty").mkdir()
    assert main(["verify", str(site.parent / name)]) == 3
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith(f"reportgen: {site.parent / name}")
    assert err.count("\n") == 1


@pytest.mark.parametrize("extra", [["resnet18"], ["--weights", "none"], ["--config", "report.toml"]])
def test_what_only_a_rebuild_takes_is_refused_without_one(
    site: Path, capsys: pytest.CaptureFixture[str], extra: list[str]
) -> None:
    assert main(["verify", str(site), *extra]) == 2
    assert "--rebuild" in capsys.readouterr().err


def test_verifying_loads_no_torch(original: Path) -> None:
    code = (
        f"import sys, reportgen.cli; code = reportgen.cli.main(['verify', {str(original)!r}]);"
        "print(code, {'torch', 'numpy', 'PIL', 'matplotlib'} & sys.modules.keys())"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "0 set()\n"
