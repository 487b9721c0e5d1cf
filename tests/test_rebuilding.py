"""A site that is built again: the same inputs give the same bytes, and whatever is not the same is named."""

import hashlib
import json
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

import pytest
import safetensors.torch
import torch
from PIL import Image
from torch import nn

import reportgen
from canned import read_tree
from reportgen.cli import main
from reportgen.errors import InputError, UsageError
from reportgen.site.manifest import format_manifest
from reportgen.site.record import read_record

if TYPE_CHECKING:
    from reportgen.driver import Report

NET = """
from torch import nn

def net():
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(inplace=True), nn.Conv2d(4, 2, 1))
"""
CONFIG = """
model = "net.py:net"
weights = "weights.safetensors"
images = ["photos"]
statistics = "more"
captions = "captions"
out = "site"
title = "A net"
size = [16, 12]
nodes = {"*" = "", "0" = "first"}
hypercolumns = {all = ["0", "1"]}
overview = "2x2"
scale = "layer"
mean = [0.5, 0.5, 0.5]
batch-size = 2
figures = "channel_grid,overview,hypercolumn,health"
"""


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with a model, weights, images, captions and the site that was built of them by a TOML file."""
    place = tmp_path_factory.mktemp("rebuild")
    (place / "net.py").write_text(NET)
    (place / "report.toml").write_text(CONFIG)
    torch.manual_seed(3)
    weights = {"0.weight": torch.randn(4, 3, 3, 3), "0.bias": torch.randn(4), "2.weight": torch.randn(2, 4, 1, 1)}
    safetensors.torch.save_file({**weights, "2.bias": torch.randn(2)}, place / "weights.safetensors")
    for name, colour in (("photos/a.png", "red"), ("photos/b.png", "teal"), ("more/c.png", "navy")):
        (place / name).parent.mkdir(exist_ok=True)
        picture = Image.new("RGB", (20, 18), colour)
        picture.paste("white", (3, 4, 9, 9))
        picture.save(place / name)
    (place / "captions").mkdir()
    (place / "captions" / "index.md").write_text("Look at [[0]]: ![A square](./square.png) ![](square.png)")
    Image.new("RGB", (9, 9), "olive").save(place / "captions" / "square.png")
    assert main(["build", "--config", str(place / "report.toml"), "--quiet"]) == 0
    return place


@pytest.fixture
def place(made: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(made, tmp_path / "copy"))


def again(place: Path, *extra: str) -> int:
    return main(["verify", str(place / "site"), "--rebuild", "--config", str(place / "report.toml"), *extra])


def test_the_same_inputs_give_the_same_bytes(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = read_tree(place)
    assert again(place) == 0
    out, err = capsys.readouterr()
    assert out == ""
    assert err.splitlines()[-1] == f"{place / 'site'}: built again, each file is the same"
    assert {name for name in read_tree(place) if "__pycache__" not in name} == {
        name for name in before if "__pycache__" not in name
    }


def test_inputs_may_be_given_one_by_one(
    place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(place)
    given = [
        "net.py:net",
        "photos/b.png",
        "photos/a.png",
        "--weights",
        "weights.safetensors",
        "--statistics",
        "more",
    ]
    assert main(["verify", "site", "--rebuild", *given]) == 0
    # The recorded model is taken where none is given, and found where its file lies here.
    (place / "report.toml").write_text(CONFIG.replace('model = "net.py:net"', ""))
    assert main(["verify", "site", "--rebuild", "--config", "report.toml", "--quiet"]) == 0


def test_new_captions_and_titles_are_not_held_against_a_site(place: Path) -> None:
    (place / "captions" / "index.md").write_text("Other words.")
    reportgen.render(place / "site", captions=place / "captions", title="Another title")
    (place / "captions" / "index.md").write_text("Words that are not in the site.")
    assert again(place) == 0


def test_pictures_of_captions_are_those_of_the_site(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (place / "captions" / "square.png").unlink()
    (picture,) = (place / "site" / "static").glob("picture.*.png")
    assert again(place) == 0
    Image.new("RGB", (9, 9), "red").save(picture)
    capsys.readouterr()
    assert again(place) == 3
    assert capsys.readouterr().out.splitlines() == [f"changed static/{picture.name}"]


def change_picture(place: Path) -> None:
    Image.new("RGB", (20, 18), "blue").save(place / "photos" / "b.png")


def change_statistics(place: Path) -> None:
    Image.new("RGB", (20, 18), "blue").save(place / "more" / "c.png")


def lose_picture(place: Path) -> None:
    (place / "photos" / "a.png").unlink()


def add_picture(place: Path) -> None:
    shutil.copy(place / "photos" / "a.png", place / "photos" / "z.png")


def change_weights(place: Path) -> None:
    state = safetensors.torch.load_file(place / "weights.safetensors")
    safetensors.torch.save_file({**state, "2.bias": state["2.bias"] + 1e-6}, place / "weights.safetensors")


def change_model(place: Path) -> None:
    (place / "net.py").write_text(f"{NET}\nraise RuntimeError('this must not run')\n")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (change_picture, "b.png: not what the site was built from"),
        (change_statistics, "c.png: not what the site was built from"),
        (lose_picture, "a.png: the site was built from it too"),
        (add_picture, "z.png: the site was not built from it"),
        (change_weights, "weights weights.safetensors: not what the site was built from"),
        (change_model, "model net.py:net: not what the site was built from"),
    ],
)
def test_inputs_are_checked_before_anything_runs(
    place: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    change: Callable[[Path], None],
    words: str,
) -> None:
    change(place)
    monkeypatch.setattr("reportgen.rebuilding.measured", lambda *_: pytest.fail("it was built"))
    assert again(place) == 3
    out, err = capsys.readouterr()
    assert out == ""
    assert err.splitlines()[-1].startswith(f"reportgen: {words}")


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (["net.py:net", "photos"], "--weights weights.safetensors"),
        (["net.py:net", "photos", "--weights", "weights.safetensors"], "--statistics more"),
        (["net.py:net", "--weights", "weights.safetensors", "--statistics", "more"], "images again: a.png, b.png"),
    ],
)
def test_what_is_needed_is_asked_for(
    place: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    given: Sequence[str],
    words: str,
) -> None:
    monkeypatch.chdir(place)
    assert main(["verify", "site", "--rebuild", *given]) == 2
    assert words in capsys.readouterr().err


def forge(site: Path, name: str, change: Callable[[bytes], bytes]) -> None:
    """Change a file and make the manifest fit, so that only a rebuild can tell."""
    (site / name).write_bytes(change((site / name).read_bytes()))
    sums = {
        name: hashlib.sha256(content).hexdigest()
        for name, content in read_tree(site).items()
        if name != "SHA256SUMS"
    }
    (site / "SHA256SUMS").write_text(format_manifest(sums))


def test_a_forged_file_is_named(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    site = place / "site"
    grids = sorted(name for name in read_tree(site) if name.startswith("figures/channel_grid/"))
    forge(site, grids[0], lambda content: content + b"\0")
    (site / grids[1]).unlink()
    forge(site, "index.html", lambda content: content)
    assert again(place) == 3
    out, err = capsys.readouterr()
    assert out == f"changed {grids[0]}\nadded {grids[1]}\n"
    assert err.splitlines()[-1] == f"reportgen: {site}: built again, it differs: 1 changed, 1 added"


def test_what_else_was_different_is_told(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    forge(place / "site", "report.json", lambda content: content.replace(b'"python": "', b'"python": "2.'))
    assert again(place) == 3
    out, err = capsys.readouterr()
    assert "changed report.json" in out.splitlines()
    assert "reportgen: warning: python was 2." in err


class Counting(nn.Conv2d):
    """A layer that says with how many threads it is run."""

    threads: ClassVar[set[int]] = set()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.threads.add(torch.get_num_threads())
        return super().forward(x)


def test_threads_are_as_many_as_then(tmp_path: Path, tiny_images: tuple[Path, ...]) -> None:
    before, model = torch.get_num_threads(), Counting(3, 1, 1)
    site = reportgen.build(model, tiny_images, tmp_path / "site", figures="channel_sum").site
    assert read_record(site).environment["threads"] == str(before)
    more = str(before + 1).encode()
    forge(site, "report.json", lambda text: text.replace(b'"threads": "%d"' % before, b'"threads": "%b"' % more))
    Counting.threads.clear()
    rebuilt = reportgen.rebuild(site, model, tiny_images)
    assert Counting.threads == {before + 1}
    assert not rebuilt.notes
    assert torch.get_num_threads() == before


def test_a_module_from_python_is_given_again(
    build_tiny: "Callable[..., Report]", tiny_model: nn.Module, tiny_images: tuple[Path, ...], tmp_path: Path
) -> None:
    site = build_tiny(tmp_path / "site", figures=["channel_sum"]).site
    with pytest.raises(UsageError, match=r"reportgen\.rebuild"):
        reportgen.rebuild(site, None, tiny_images)
    assert not reportgen.rebuild(site, tiny_model, tiny_images).difference.summary
    with torch.no_grad():
        tiny_model.get_parameter("fc.bias").add_(1e-6)
    changed = reportgen.rebuild(site, tiny_model, tiny_images).difference.changed
    assert "report.json" in changed, "the hash of the state dict differs"
    assert not any(name.startswith("figures/") for name in changed)
    with pytest.raises(InputError, match="give all its images"):
        reportgen.rebuild(site, tiny_model, tiny_images[0])


def test_the_record_holds_the_hashes_of_everything_that_went_in(place: Path) -> None:
    record = json.loads((place / "site" / "report.json").read_text(encoding="utf-8"))
    files = {name: hashlib.sha256(content).hexdigest() for name, content in read_tree(place).items()}
    assert record["model"]["weights_sha256"] == files["weights.safetensors"]
    assert record["model"]["source_sha256"] == files["net.py"]
    assert len(record["model"]["state_sha256"]) == 64
    for image in (*record["images"], *record["statistics_images"]):
        path = next(place.glob(f"*/{image['name']}"))
        assert image["sha256"] == files[path.relative_to(place).as_posix()]
        with Image.open(path) as picture:
            assert image["pixels_sha256"] == hashlib.sha256(picture.convert("RGB").tobytes()).hexdigest()
    assert [image["name"] for image in record["statistics_images"]] == ["c.png"]
    assert {"torch", "python", "reportgen", "device", "threads", "seed"} <= record["environment"].keys()
    assert "date" not in record["environment"]


@pytest.mark.parametrize(
    ("epoch", "code", "date"),
    [("1000000000", 0, "2001-09-09 01:46:40 UTC"), ("yesterday", 2, None), ("9" * 30, 2, None)],
)
def test_a_date_is_recorded_only_where_one_is_given(
    place: Path, monkeypatch: pytest.MonkeyPatch, epoch: str, code: int, date: str | None
) -> None:
    monkeypatch.setenv("SOURCE_DATE_EPOCH", epoch)
    assert main(["build", "--config", str(place / "report.toml"), "--force", "--quiet"]) == code
    assert read_record(place / "site").environment.get("date") == date
