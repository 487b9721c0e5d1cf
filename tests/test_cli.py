"""The command line: what goes in, what comes out on which stream, and with which exit code."""

import errno
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote, urlparse

import pytest
import torch
from PIL import Image

import reportgen
from models_for_tests import MARKER, Residual
from reportgen.cli import main
from reportgen.site.record import read_record
from reportgen.site.writer import SiteWriter

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent
MODELS = HERE / "models_for_tests.py"
RESIDUAL = f"{MODELS}:residual"


@dataclass(frozen=True)
class Outcome:
    """How a command ended: its exit code, and what it wrote where."""

    code: object
    out: str
    err: str

    @property
    def lines(self) -> list[str]:
        return self.err.splitlines()


Run = Callable[..., Outcome]


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Iterator[Run]:
    """Call the command line in this process, with the exit code that a process would have."""

    def call(*arguments: object) -> Outcome:
        capsys.readouterr()
        code: object
        try:
            code = main([str(argument) for argument in arguments])
        except SystemExit as stop:
            code = stop.code
        except Exception:  # noqa: BLE001 - what Python itself does at the end of a process
            traceback.print_exc()
            code = 1
        told = capsys.readouterr()
        return Outcome(code, told.out, told.err)

    before = signal.getsignal(signal.SIGTERM)
    yield call
    signal.signal(signal.SIGTERM, before)


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished site, to be copied."""
    site = tmp_path_factory.mktemp("finished") / "site"
    reportgen.build(Residual(), torch.zeros(3, 4, 4), site, figures="channel_sum")
    return site


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current directory of a test: images good and bad, and things that stand in the way."""
    picture = Image.linear_gradient("L").resize((24, 20)).convert("RGB")
    picture.save(tmp_path / "photo.png")
    picture.transpose(Image.Transpose.ROTATE_90).save(tmp_path / "other.jpg")
    whole = (tmp_path / "photo.png").read_bytes()
    (tmp_path / "cut.png").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "garbage.png").write_bytes(b"not a picture at all")
    (tmp_path / "pictureless").mkdir()
    (tmp_path / "pictureless" / "notes.txt").write_text("no pictures here")
    (tmp_path / "foreign").mkdir()
    (tmp_path / "foreign" / "thesis.tex").write_text("years of work")
    (tmp_path / "a-file").write_text("in the way")
    (tmp_path / "dangling").symlink_to(tmp_path / "nowhere")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def contents(directory: Path) -> dict[str, bytes | str]:
    """Return every file with its bytes, every link with its target, every directory."""
    return {path.relative_to(directory).as_posix(): _content(path) for path in directory.rglob("*")}


def _content(path: Path) -> bytes | str:
    if path.is_symlink():
        return f"link to {path.readlink()}"
    return "directory" if path.is_dir() else path.read_bytes()


def build(
    *more: object, model: object = RESIDUAL, image: object = "photo.png", out: object = "site"
) -> list[object]:
    """Return the arguments of a small build."""
    return ["build", model, image, "--figures", "channel_sum", *more, "--out", out, "--size", 16]


# What is refused


def refused(outcome: Outcome, code: int, *words: str) -> None:
    """Check that there is one line, that it says `words`, and nothing on stdout."""
    assert outcome.code == code, outcome.err
    assert outcome.out == ""
    assert len(outcome.lines) == 1, outcome.err
    assert outcome.err.startswith("reportgen: ")
    for word in words:
        assert word in outcome.err


USAGE: dict[str, tuple[list[object], tuple[str, ...]]] = {
    "unknown option": (build("--colour", "red"), ("--colour",)),
    "mistyped option": (build("--batchsize", "2"), ("--batchsize", "--batch-size")),
    "unknown command": (["bild", RESIDUAL], ("bild", "build")),
    "no command": ([], ()),
    "no model": (["build", "--out", "site"], ("MODEL",)),
    "no output": (["build", RESIDUAL, "photo.png"], ("--out",)),
    "figure kind": (build("--figures", "channel_grd"), ("'channel_grd'", "did you mean channel_grid")),
    "one of two figure kinds": (build("--figures", "channel_sum,sums"), ("'sums'", "channel_sum")),
    "scale": (build("--scale", "log"), ("'log'", "channel, layer, symmetric", "LO:HI")),
    "scale upside down": (build("--scale", "2:1"), ("'2:1'",)),
    "scale not a number": (build("--scale", "nan:1"), ("'nan:1'",)),
    "cmap": (build("--cmap", "virids"), ("'virids'", "viridis")),
    "size": (["build", RESIDUAL, "photo.png", "--out", "site", "--size", "big"], ("size", "big", "pixels")),
    "batch size below nought": (build("--batch-size=-1"), ("batch", "or more")),
    "batch size in words": (build("--batch-size", "two"), ("batch-size", "two")),
    "max channels": (build("--max-channels=-1"), ("max", "0 or more")),
    "mean of two": (build("--mean", "0.5,0.5"), ("mean", "3 numbers")),
    "mean in words": (build("--mean", "half"), ("mean", "half")),
    "std nought": (build("--std", "0"), ("std", "above 0")),
    "absent config": (build("--config", "absent.toml"), ("absent.toml",)),
    "absent captions": (build("--captions", "absent"), ("captions", "absent")),
    "all excluded": (build("--nodes", "conv1", "--exclude", "conv*"), ("--exclude",)),
    "nodes of no model": (["nodes"], ("MODEL",)),
}


@pytest.mark.parametrize("case", USAGE)
def test_a_mistake_in_the_command_line_is_one_line_and_code_2(run: Run, place: Path, case: str) -> None:
    arguments, words = USAGE[case]
    before = contents(place)
    refused(run(*arguments), 2, *words)
    assert contents(place) == before


@pytest.mark.parametrize("option", ["--nodes", "--exclude"])
def test_a_pattern_that_matches_nothing_names_the_three_nearest(run: Run, place: Path, option: str) -> None:
    before = contents(place)
    outcome = run(*build(option, "conv11"))
    refused(outcome, 2, "'conv11'")
    told = re.search(r"did you mean (.+?)\?", outcome.err)
    assert told
    names = re.split(r", | or ", told[1])
    assert len(names) == 3
    assert names[0] == "conv1"
    assert set(names) <= {"x", "conv1", "bn1", "relu", "conv2", "add_", "relu_1", "pool", "flatten", "fc"}
    assert contents(place) == before


def test_an_unknown_key_in_the_configuration_names_file_and_nearest(run: Run, place: Path) -> None:
    (place / "mine.toml").write_text("max-chanels = 3")
    refused(run(*build("--config", "mine.toml")), 2, "mine.toml", "'max-chanels'", "max_channels")


INPUT: dict[str, tuple[list[object], tuple[str, ...]]] = {
    "no images": (["build", RESIDUAL, "--out", "site"], ("no images",)),
    "missing image": (build(image="phota.png"), ("phota.png", "photo.png")),
    "undecodable image": (build(image="garbage.png"), ("garbage.png",)),
    "image cut short": (build(image="cut.png"), ("cut.png",)),
    "directory without images": (build(image="pictureless"), ("pictureless", "no images")),
    "glob of nothing": (build(image="*.webp"), ("*.webp",)),
    "unknown model": (build(model="resnet81"), ("resnet81", "did you mean", "resnet18")),
    "unknown torchvision weights": (build(model="resnet18@BEST"), ("BEST", "IMAGENET1K_V1")),
    "model file": (build(model="absent.py:make"), ("absent.py",)),
    "factory name": (build(model=f"{MODELS}:residul"), ("residul", "residual")),
    "factory raises": (build(model=f"{MODELS}:raising"), ("RuntimeError", "no blueprint in the drawer")),
    "factory returns nothing": (build(model=f"{MODELS}:nothing"), ("NoneType", "nn.Module")),
    "untraceable": (build("--tracer", "fx", model=f"{MODELS}:control_flow"), ("ControlFlow", "torch.fx")),
    "absent weights": (build("--weights", "absent.safetensors"), ("absent.safetensors",)),
    "nodes of unknown model": (["nodes", "resnet81"], ("resnet18",)),
    "nodes of raising factory": (["nodes", f"{MODELS}:raising"], ("RuntimeError",)),
    "nodes of untraceable": (["nodes", f"{MODELS}:control_flow", "--tracer", "fx"], ("torch.fx",)),
    "render of no report": (["render", "foreign"], ("foreign", "report.json")),
}


@pytest.mark.parametrize("case", INPUT)
def test_a_refused_input_is_one_line_and_code_3(run: Run, place: Path, case: str) -> None:
    arguments, words = INPUT[case]
    before = contents(place)
    refused(run(*arguments), 3, *words)
    assert contents(place) == before


def test_weights_that_do_not_fit_are_refused_with_every_key(run: Run, place: Path) -> None:
    state = Residual().state_dict()
    state["stem.weight"] = state.pop("conv1.weight")
    del state["bn1.bias"]
    state["fc.weight"] = torch.zeros(7, 5)
    torch.save(state, place / "wrong.pt")
    before = contents(place)
    outcome = run(*build("--weights", "wrong.pt"))
    refused(outcome, 3, "wrong.pt", "conv1.weight", "bn1.bias", "stem.weight", "fc.weight", "[7, 5]", "[4, 5]")
    assert contents(place) == before


@pytest.mark.parametrize(
    ("out", "force", "words"),
    [
        ("foreign", False, ("not made by reportgen",)),
        ("foreign", True, ("not made by reportgen",)),
        ("old", False, ("--force",)),
        ("grown", True, ("mine.txt",)),
        ("a-file", False, ("not a directory",)),
        ("a-file", True, ("not a directory",)),
        ("dangling", True, ("not a directory",)),
        ("a-file/site", False, ("can't be written",)),
        ("a-file/deep/site", False, ("can't be written",)),
    ],
)
def test_an_output_that_cannot_be_written_is_one_line_and_code_4(
    run: Run, place: Path, finished: Path, out: str, force: bool, words: tuple[str, ...]
) -> None:
    shutil.copytree(finished, place / "old")
    shutil.copytree(finished, place / "grown")
    (place / "grown" / "mine.txt").write_text("kept here by hand")
    before = contents(place)
    outcome = run(*build(*(["--force"] if force else []), out=out))
    refused(outcome, 4, out, *words)
    assert contents(place) == before


@pytest.mark.parametrize("problem", ["full", "read-only", "locked", "foreign"])
def test_an_output_is_refused_before_anything_is_computed(
    run: Run, place: Path, finished: Path, monkeypatch: pytest.MonkeyPatch, problem: str
) -> None:
    if problem == "foreign":
        (place / "site").mkdir()
        (place / "site" / "mine.txt").write_text("mine")
    before = contents(place)
    error = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def fail(*_: object, **__: object) -> int:
        raise error

    monkeypatch.setattr("reportgen.driver.load_model", fail)
    with SiteWriter(place / "site") if problem == "locked" else nullcontext():
        if problem == "full":
            monkeypatch.setattr(os, "write", fail)
        if problem == "read-only":
            error = OSError(errno.EROFS, os.strerror(errno.EROFS))
            monkeypatch.setattr(os, "mkdir", fail)
        outcome = run(*build())
    words = {"full": "No space left", "read-only": "Read-only", "locked": "locked by", "foreign": "was not made"}
    refused(outcome, 4, words[problem])
    monkeypatch.undo()
    assert contents(place) == before


def test_directories_made_for_a_site_that_fails_are_taken_away(run: Run, place: Path) -> None:
    before = contents(place)
    refused(run(*build(model=f"{MODELS}:raising", out="new/deep/site")), 3)
    assert contents(place) == before


def test_a_failure_leaves_the_report_that_was_there(run: Run, place: Path, finished: Path) -> None:
    shutil.copytree(finished, place / "site")
    before = contents(place)
    refused(run(*build("--force", image="cut.png")), 3, "cut.png")
    assert contents(place) == before


def test_a_failed_node_is_code_5_and_the_rest_is_there(run: Run, place: Path) -> None:
    outcome = run(*build(model=f"{MODELS}:half_broken"))
    assert outcome.code == 5
    assert sum(line.startswith("reportgen: failed: ") for line in outcome.lines) == 3
    assert "the valve is stuck" in outcome.err
    assert outcome.lines[-1] == outcome.out.strip() == (place / "site" / "index.html").as_uri()
    assert "Traceback" not in outcome.err


def test_strict_is_code_5_and_no_site(run: Run, place: Path) -> None:
    before = contents(place)
    refused(run(*build("--strict", model=f"{MODELS}:half_broken")), 5, "the valve is stuck", "--strict")
    assert contents(place) == before


def test_strict_leaves_the_report_that_was_there(run: Run, place: Path, finished: Path) -> None:
    shutil.copytree(finished, place / "site")
    before = contents(place)
    refused(run(*build("--strict", "--force", model=f"{MODELS}:half_broken")), 5)
    assert contents(place) == before


def test_strict_is_content_where_nothing_fails(run: Run, place: Path) -> None:
    assert run(*build("--strict")).code == 0


# Bugs


def _broken(*_: object, **__: object) -> None:
    raise RuntimeError("an index\nof ours")


def test_a_bug_is_one_line_and_code_1(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reportgen, "render", _broken)
    refused(run("render", "site"), 1, "RuntimeError", "an index of ours", "--debug")


@pytest.mark.parametrize(("number", "code"), [(errno.EIO, 3), (errno.EMFILE, 3), (errno.ENOTDIR, 1)])
def test_a_failing_disk_is_no_bug(run: Run, monkeypatch: pytest.MonkeyPatch, number: int, code: int) -> None:
    def fail(*_: object, **__: object) -> None:
        raise OSError(number, "it failed", "/usr/lib/torch.dist-info/METADATA")

    monkeypatch.setattr(reportgen, "render", fail)
    refused(run("render", "site"), code, "it failed", "METADATA", "--debug")


def test_debug_shows_the_traceback_of_a_bug(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reportgen, "render", _broken)
    outcome = run("render", "site", "--debug")
    assert outcome.code == 1
    assert "Traceback" in outcome.err
    assert "_broken" in outcome.err


def test_debug_shows_the_traceback_of_an_error_and_keeps_its_code(run: Run, place: Path) -> None:
    outcome = run(*build("--debug", model=f"{MODELS}:raising"))
    assert outcome.code == 3
    assert "Traceback" in outcome.err
    assert "models_for_tests.py" in outcome.err


# What succeeds


def test_a_build_says_what_it_made_and_where(run: Run, place: Path) -> None:
    outcome = run(*build(image="photo.png"))
    assert outcome.code == 0
    address = (place / "site" / "index.html").as_uri()
    assert outcome.out == f"{address}\n"
    assert outcome.lines[-1] == address
    assert len(outcome.lines) == 2
    assert re.search(r"\b8 of 10 nodes drawn for 1 image\b", outcome.lines[0])
    assert re.search(r"[\d.]+ MB in [\d.]+ s$", outcome.lines[0])


def test_the_address_leads_to_the_site_whatever_its_name(run: Run, place: Path) -> None:
    outcome = run(*build(out="mein Bericht #1 %"))
    path = Path(unquote(urlparse(outcome.out.strip()).path))
    assert path == place / "mein Bericht #1 %" / "index.html"
    assert path.is_file()


def test_quiet_is_silent_on_stderr(run: Run, place: Path) -> None:
    outcome = run(*build("--quiet"))
    assert (outcome.code, outcome.err) == (0, "")


def test_quiet_still_says_what_was_refused(run: Run, place: Path) -> None:
    refused(run(*build("--quiet", image="absent.png")), 3, "absent.png")


def test_quiet_still_says_what_failed(run: Run, place: Path) -> None:
    outcome = run(*build("--quiet", model=f"{MODELS}:half_broken"))
    assert outcome.code == 5
    assert "the valve is stuck" in outcome.err


def test_on_a_terminal_the_address_is_not_said_twice(
    run: Run, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    outcome = run(*build())
    assert outcome.out == ""
    assert outcome.lines[-1] == (place / "site" / "index.html").as_uri()


def test_what_a_model_prints_is_no_data(run: Run, place: Path) -> None:
    outcome = run(*build(model=f"{MODELS}:chatty"))
    assert (outcome.code, outcome.out) == (0, f"{(place / 'site' / 'index.html').as_uri()}\n")
    listed = json.loads(run("nodes", f"{MODELS}:chatty", "--json").out)
    assert [row["name"] for row in listed] == ["x", "announce", "add"]


def test_images_may_follow_options(run: Run, place: Path) -> None:
    outcome = run(
        "build", RESIDUAL, "--size", "16", "photo.png", "--out", "site", "--figures", "channel_sum", "other.jpg"
    )
    assert outcome.code == 0, outcome.err
    assert sorted(path.stem for path in (place / "site" / "images").iterdir()) == ["other", "photo"]


def test_an_unknown_option_among_images_is_still_refused(run: Run, place: Path) -> None:
    refused(
        run("build", RESIDUAL, "--size", "16", "photo.png", "--fource", "other.jpg", "--out", "site"), 2, "--fource"
    )


def test_force_replaces_a_report(run: Run, place: Path, finished: Path) -> None:
    shutil.copytree(finished, place / "site")
    assert run(*build("--force", "--title", "Second")).code == 0
    assert "Second" in (place / "site" / "index.html").read_text()
    assert {path.name for path in place.iterdir()} - {"site"} == {
        name for name in contents(place) if "/" not in name
    } - {"site"}
    assert not [path for path in place.iterdir() if path.name.startswith(".")]


def test_an_empty_directory_may_be_filled(run: Run, place: Path) -> None:
    (place / "site").mkdir()
    assert run(*build()).code == 0
    assert (place / "site" / "index.html").is_file()


def test_hidden_neighbours_of_the_site_survive(run: Run, place: Path) -> None:
    for name in (".site", ".site.old", ".site.tmp"):
        (place / name).mkdir()
        (place / name / "precious").write_text("not reportgen's")
    before = contents(place)
    assert run(*build()).code == 0
    assert run(*build("--force")).code == 0
    assert {name: value for name, value in contents(place).items() if name.partition("/")[0] != "site"} == before


def test_a_configuration_builds_from_another_directory(run: Run, place: Path) -> None:
    project = place / "project [1]"
    (project / "pictures").mkdir(parents=True)
    shutil.copy(place / "photo.png", project / "pictures" / "photo.png")
    shutil.copy(MODELS, project / "network.py")
    torch.save(Residual().state_dict(), project / "weights.pt")
    (project / "texts").mkdir()
    (project / "texts" / "index.md").write_text("A remark of mine.")
    (project / "report.toml").write_text(
        'model = "network.py:residual"\nimages = ["pictures/*.png"]\nout = "site"\nweights = "weights.pt"\n'
        'captions = "texts"\nsize = 16\nfigures = ["channel_sum"]\n'
    )
    outcome = run("build", "--config", "project [1]/report.toml")
    assert outcome.code == 0, outcome.err
    assert "A remark of mine." in (project / "site" / "index.html").read_text()


def test_paths_on_the_command_line_start_where_the_user_is(run: Run, place: Path) -> None:
    (place / "project").mkdir()
    shutil.copy(MODELS, place / "project" / "network.py")
    torch.save(Residual().state_dict(), place / "weights.pt")
    (place / "project" / "report.toml").write_text(
        'model = "network.py:residual"\nsize = 16\nimages = ["../photo.png"]'
    )
    outcome = run("build", "--config", "project/report.toml", "--weights", "weights.pt", "--out", "site")
    assert outcome.code == 0, outcome.err
    assert (place / "site" / "report.json").is_file()


def test_one_channel_models_take_photographs(run: Run, place: Path) -> None:
    assert run(*build(model=f"{MODELS}:one_channel")).code == 0


def test_render_rewrites_the_pages(run: Run, place: Path, finished: Path) -> None:
    shutil.copytree(finished, place / "site")
    (place / "texts").mkdir()
    (place / "texts" / "index.md").write_text("Seen afterwards.")
    outcome = run("render", "site", "--captions", "texts", "--title", "Renamed")
    assert outcome.code == 0
    assert outcome.lines[-1] == (place / "site" / "index.html").as_uri()
    page = (place / "site" / "index.html").read_text()
    assert "Seen afterwards." in page
    assert "Renamed" in page


@pytest.fixture
def house(place: Path) -> Path:
    """A directory of templates, in which a page about the report is replaced."""
    (place / "house").mkdir()
    (place / "house" / "about.html.jinja").write_text("<!doctype html><p>about {{ record.title }}</p>")
    return place / "house"


def test_templates_and_address_of_a_build(run: Run, place: Path, house: Path) -> None:
    (house / "abuot.html.jinja").write_text("")
    outcome = run(*build("--templates", "house", "--base-url", "https://example.org/r", "--title", "Mine"))
    assert outcome.code == 0
    assert "warning: " in outcome.lines[0]
    assert "abuot.html.jinja replaces nothing" in outcome.lines[0]
    assert "did you mean about.html.jinja" in outcome.lines[0]
    assert (place / "site" / "about.html").read_text() == "<!doctype html><p>about Mine</p>\n"
    assert '<link rel="canonical" href="https://example.org/r/">' in (place / "site" / "index.html").read_text()
    recorded = read_record(place / "site").options
    assert (recorded["templates"], recorded["base_url"]) == ("house", "https://example.org/r/")
    refused(run("render", "site", "--title", "New"), 2, "'house'", "--templates")
    again = run("render", "site", "--templates", "house", "--base-url", "none", "--title", "New")
    assert again.code == 0
    assert "abuot.html.jinja" in again.err
    assert (place / "site" / "about.html").read_text() == "<!doctype html><p>about New</p>\n"
    assert "canonical" not in (place / "site" / "index.html").read_text()


@pytest.mark.parametrize("command", ["build", "render"])
@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--templates", "gone"], ["gone", "does not exist"]),
        (["--templates", "a-file"], ["a-file", "not a directory"]),
        (["--templates", "house"], ["house/about.html.jinja: line 3: ", "endif"]),
        (["--base-url", "example.org"], ["base_url", "https://"]),
    ],
)
def test_wrong_templates_and_addresses_are_refused(
    run: Run, place: Path, house: Path, finished: Path, command: str, options: list[str], words: list[str]
) -> None:
    (house / "about.html.jinja").write_text("\n\n{% if 1 %}{% endfor %}")
    shutil.copytree(finished, place / "site")
    before = contents(place)
    arguments = ["render", "site"] if command == "render" else build("--force")
    refused(run(*arguments, *options), 2, *words)
    assert contents(place) == before


def test_a_template_that_fails_at_the_end_costs_no_measurement(run: Run, place: Path, house: Path) -> None:
    (house / "about.html.jinja").write_text("\n{{ nothing }}")
    outcome = run(*build("--templates", "house"))
    assert outcome.code == 5
    (failed,) = (line for line in outcome.lines if line.startswith("reportgen: failed: "))
    assert "about.html.jinja: line 2: 'nothing' is undefined" in failed
    assert "reportgen render" in failed
    about = (place / "site" / "about.html").read_text()
    assert "What failed" in about
    assert str(place) not in about
    (house / "about.html.jinja").write_text("mended")
    assert run("render", "site", "--templates", "house").code == 0
    assert (place / "site" / "about.html").read_text() == "mended\n"
    assert read_record(place / "site").problems == []


def test_a_template_that_fails_is_no_site_when_strict(run: Run, place: Path, house: Path) -> None:
    (house / "about.html.jinja").write_text("{{ nothing }}")
    before = contents(place)
    refused(run(*build("--templates", "house", "--strict")), 5, "'nothing' is undefined", "--strict")
    assert contents(place) == before


def test_help_and_version(run: Run) -> None:
    told = run("--help")
    assert (told.code, told.err) == (0, "")
    assert "exit codes" in told.out
    assert run("--version").out == f"reportgen {reportgen.__version__}\n"


# As a process of its own

ENVIRONMENT = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONHASHSEED": "7", "PYTHONUNBUFFERED": ""}


def start(
    *arguments: object, cwd: Path, stdout: int = subprocess.PIPE, marker: Path | None = None
) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "reportgen", *map(str, arguments)]
    # The last digits of a convolution depend on how many threads share its sums.
    environment = {**ENVIRONMENT, "OMP_NUM_THREADS": str(torch.get_num_threads()), MARKER: str(marker)}
    return subprocess.Popen(command, cwd=cwd, env=environment, text=True, stdout=stdout, stderr=subprocess.PIPE)


def test_a_process_separates_its_streams_and_makes_the_same_bytes(run: Run, place: Path) -> None:
    process = start(*build(out="there"), cwd=place)
    out, err = process.communicate(timeout=120)
    address = (place / "there" / "index.html").as_uri()
    assert process.returncode == 0
    assert out == f"{address}\n"
    assert err.splitlines()[-1] == address
    assert len(err.splitlines()) == 2
    run(*build(out="here"))
    assert contents(place / "here") == contents(place / "there")


def test_a_reader_that_goes_away_is_no_error(place: Path) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    process = start("nodes", RESIDUAL, "--json", cwd=place, stdout=writing)
    os.close(writing)
    _, err = process.communicate(timeout=120)
    assert (process.returncode, err) == (0, "")


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_an_interrupted_build_leaves_everything_as_it_was(
    place: Path, finished: Path, number: signal.Signals, code: int
) -> None:
    shutil.copytree(finished, place / "site")
    marker = place / "pictureless" / "reached"
    before = contents(place)
    process = start(*build("--force", model=f"{MODELS}:sleeping"), cwd=place, marker=marker)
    deadline = time.monotonic() + 100
    while not marker.exists():
        assert process.poll() is None, process.communicate()[1]
        assert time.monotonic() < deadline
        time.sleep(0.02)
    assert len(list(place.glob(".site*"))) == 1, "the draft should lie beside the target"
    process.send_signal(number)
    out, err = process.communicate(timeout=5)
    assert process.returncode == code
    assert out == ""
    assert re.fullmatch(r"reportgen: [^\n]+\n", err)
    marker.unlink()
    assert contents(place) == before


# Images that are left out


def test_bad_images_are_left_out_and_told(run: Run, place: Path) -> None:
    (place / "more").mkdir()
    (place / "more" / "void.png").write_bytes(b"")
    outcome = run(*build("cut.png", "garbage.png", "other.jpg", "--statistics", "more", "--skip-bad"))
    refused(outcome, 3, "void.png")  # there is nothing else in that directory
    (place / "photo.png").rename(place / "more" / "photo.png")
    outcome = run(*build("cut.png", "garbage.png", "--statistics", "more", "--skip-bad", image="other.jpg"))
    assert outcome.code == 5
    left_out = [line for line in outcome.lines if line.startswith("reportgen: left out: ")]
    assert [line.split(": ")[2] for line in left_out] == ["garbage.png", "void.png", "cut.png"]
    record = read_record(place / "site")
    assert [image.name for image in record.images] == ["other.jpg"]
    assert [image.name for image in record.skipped_images] == ["garbage.png", "void.png", "cut.png"]
    assert all(str(place) not in image.reason for image in record.skipped_images)
    assert record.problems == []
    about = (place / "site" / "about.html").read_text()
    assert "3 images could not be used" in about
    assert "<li>void.png: is empty (0 bytes)" in about


def test_a_limit_of_pixels_refuses_larger_images(run: Run, place: Path) -> None:
    Image.new("RGB", (50, 40)).save(place / "large.png")
    refused(run(*build("large.png", "--max-pixels", "1999")), 3, "large.png has 2000 pixels, more than the 1999")
    outcome = run(*build("large.png", "--max-pixels", "1999", "--skip-bad"))
    assert outcome.code == 5
    assert [image.name for image in read_record(place / "site").skipped_images] == ["large.png"]
    assert run(*build("large.png", "--max-pixels", "2000", "--force")).code == 0


@pytest.mark.parametrize("image", ["cut.png", "garbage.png"])
def test_only_bad_images_are_refused_all_the_same(run: Run, place: Path, image: str) -> None:
    refused(run(*build("--skip-bad", image=image)), 3, "none of the 1 images can be used", image)
    assert not (place / "site").exists()


def test_without_being_asked_no_image_is_left_out(run: Run, place: Path) -> None:
    refused(run(*build("cut.png")), 3, "cut.png")
    assert run(*build("--skip-bad", image="other.jpg")).code == 0


# The model's options


FACTORY = """
from torch import nn

def net(width=2):
    return nn.Sequential(nn.Conv2d(3, width, 1), nn.ReLU())
"""


def test_arguments_of_the_model_come_from_the_command_line_or_a_table(run: Run, place: Path) -> None:
    (place / "net.py").write_text(FACTORY)
    assert run(*build("--model-arg", "width=7", model="net.py:net")).code == 0
    record = read_record(place / "site")
    assert record.layers[1].shape == [1, 7, 16, 16]
    assert record.options["model_arg"] == {"width": 7}
    (place / "r.toml").write_text('model = "net.py:net"\nimages = ["photo.png"]\n[model_arg]\nwidth = 5\n')
    assert run("build", "--config", "r.toml", "--out", "two", "--figures", "channel_sum").code == 0
    assert (read_record(place / "two").layers[1].shape or [])[1] == 5
    outcome = run(*build("--model-arg", "widht=7", "--force", model="net.py:net"))
    refused(outcome, 2, "model-arg widht", "did you mean width")
    refused(run(*build("--model-arg", "width", "--force")), 2, "KEY=VALUE")


def test_nodes_take_the_options_of_the_model(run: Run, place: Path) -> None:
    (place / "net.py").write_text(FACTORY)
    given = ["nodes", "net.py:net", "--json", "--size", 8, "--model-arg", "width=7", "--dtype", "float64"]
    rows = json.loads(run(*given).out)
    assert [(row["shape"], row["dtype"]) for row in rows][1] == ([1, 7, 8, 8], "float64")


def test_the_type_and_the_device_are_recorded(run: Run, place: Path) -> None:
    assert run(*build("--dtype", "bfloat16", "--device", "cpu")).code == 0
    record = read_record(place / "site")
    assert record.environment["device"] == "cpu"
    assert record.options["dtype"] == "bfloat16"
    assert {layer.dtype for layer in record.layers if layer.status == "drawn"} == {"bfloat16"}
    refused(run(*build("--device", "cuda:99", "--force")), 3, "device cuda:99")
    refused(run(*build("--device", "gpu")), 2, "device", "cuda:0")
    refused(run(*build("--dtype", "int8")), 2, "dtype", "autocast:float16")


def test_a_timm_model_is_built_by_name(run: Run, place: Path) -> None:
    more = ["--weights", "none", "--size", 32, "--figures", "channel_sum", "--nodes", "stem"]
    assert run("build", "timm:test_convnext", "photo.png", *more, "--out", "site").code == 0
    record = read_record(place / "site")
    assert record.model.spec == "timm:test_convnext"
    assert "timm" in record.environment


def test_what_is_refused_of_a_hub_is_one_line(run: Run, place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    refused(run("build", "hf:nobody/has-this", "photo.png", "--out", "site"), 3, "hf:nobody/has-this")
    monkeypatch.setitem(sys.modules, "timm", None)
    refused(run("nodes", "timm:resnet18"), 3, "pip install 'reportgen[timm]'")


# One file


def test_pack_says_how_large_it_will_be_and_where_it_is(run: Run, finished: Path, tmp_path: Path) -> None:
    outcome = run("pack", finished, "--out", tmp_path / "r.html")
    assert outcome.code == 0
    size, address = outcome.lines
    assert re.fullmatch(r"reportgen: about [\d.]+ MB \(pages [\d.]+, pictures [\d.]+(, downloads [\d.]+)?\)", size)
    assert address == (tmp_path / "r.html").as_uri()
    assert run("pack", finished, "--out", tmp_path / "r.zip", "--quiet").lines == []


def test_pack_says_what_was_reduced_even_when_quiet(run: Run, tiny_site: Path, tmp_path: Path) -> None:
    run("pack", tiny_site, "--out", tmp_path / "r.zip", "--quiet")
    size = (tmp_path / "r.zip").stat().st_size
    loud = run("pack", tiny_site, "--out", tmp_path / "r.zip", "--max-size", size - 1)
    assert "as it is: about" in loud.lines[0]
    quiet = run("pack", tiny_site, "--out", tmp_path / "r.zip", "--max-size", size - 1, "--quiet")
    assert quiet.lines == [line for line in loud.lines if line.startswith("reportgen: reduced: ")]
    assert quiet.lines


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["--out", "r.pdf"], 2, ".html or .zip"),
        (["--out", "r.html", "--max-size", "huge"], 2, "such as 25MB"),
        (["--out", "mine.html"], 4, "--force"),
        ([], 2, "--out"),
    ],
)
def test_pack_refuses_in_one_line(
    run: Run, place: Path, finished: Path, arguments: list[str], code: int, words: str
) -> None:
    (place / "mine.html").write_text("mine", encoding="utf-8")
    before = contents(place)
    refused(run("pack", finished, *arguments), code, words)
    assert contents(place) == before


def test_pack_that_cannot_fit_says_the_numbers(run: Run, place: Path, finished: Path) -> None:
    before = contents(place)
    outcome = run("pack", finished, "--out", "r.html", "--max-size", "1kB")
    assert outcome.code == 2
    assert "as it is: about" in outcome.lines[0]
    assert re.search(r"needs at least [\d.]+ MB .* and --max-size is 0\.001 MB", outcome.lines[1])
    assert contents(place) == before


def test_pack_of_what_is_no_report_is_code_3(run: Run, place: Path) -> None:
    refused(run("pack", place / "none", "--out", "r.html"), 3, "not a report")
    (place / "empty").mkdir()
    refused(run("pack", place / "empty", "--out", "r.html"), 3, "not a report")
