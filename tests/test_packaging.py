"""The wheel holds the templates, and both ways of installing find them."""

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

import reportgen
from reportgen.site.render import templates_directory

ROOT = Path(__file__).parent.parent


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel of this checkout, unpacked."""
    place = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation"]
    subprocess.run([*command, "--wheel-dir", str(place), str(ROOT)], check=True, capture_output=True)
    (built,) = place.glob("*.whl")
    with zipfile.ZipFile(built) as archive:
        archive.extractall(place / "unpacked")
    return place / "unpacked"


def test_the_wheel_holds_every_template(wheel: Path) -> None:
    here = {path.relative_to(ROOT / "templates") for path in (ROOT / "templates").rglob("*") if path.is_file()}
    there = wheel / "reportgen" / "templates"
    assert {path.relative_to(there) for path in there.rglob("*") if path.is_file()} == here
    assert Path("base.html.jinja") in here


def test_an_installed_wheel_renders_from_its_own_templates(wheel: Path, tmp_path: Path) -> None:
    code = (
        "import reportgen.site.render as r, pathlib; d = r.templates_directory(); "
        f"assert d == pathlib.Path({str(wheel)!r}) / 'reportgen' / 'templates', d; "
        "from reportgen.site.theme import Theme; assert Theme().static"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=tmp_path, env={"PYTHONPATH": str(wheel)})


def test_a_checkout_finds_the_top_level_templates() -> None:
    assert templates_directory() == ROOT / "templates"


def test_the_wheel_names_its_command_and_licence(wheel: Path) -> None:
    (metadata,) = wheel.glob("reportgen-*.dist-info")
    assert "reportgen = reportgen.cli:main" in (metadata / "entry_points.txt").read_text()
    assert "MIT" in (metadata / "METADATA").read_text()
    assert f"Version: {reportgen.__version__}\n" in (metadata / "METADATA").read_text()


def test_the_top_level_is_as_it_was_drawn() -> None:
    tracked = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=False)
    if tracked.returncode:
        pytest.skip("not a git checkout")
    assert {line.split("/")[0] for line in tracked.stdout.splitlines()} == {
        ".ci",
        ".gitignore",
        "CHANGELOG.md",
        "LICENSE",
        "README.md",
        "pyproject.toml",
        "reportgen",
        "samples",
        "templates",
        "tests",
    }
