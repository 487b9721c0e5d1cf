"""The sample report that the README's first command builds."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from checker import check_site
from reportgen.cli import main

SAMPLES = Path(__file__).parent.parent.parent / "samples"


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    place = tmp_path_factory.mktemp("sample") / "sample-report"
    assert main(["build", "--config", str(SAMPLES / "report.toml"), "--out", str(place), "--quiet"]) == 0
    yield place


def test_it_is_whole(site: Path) -> None:
    record = json.loads((site / "report.json").read_text())
    assert record["problems"] == []
    assert len(record["images"]) == 8
    assert not any(layer["status"] == "failed" for layer in record["layers"])
    assert record["model"]["random_weights"] is False
    assert check_site(site) == []


def test_its_captions_all_have_a_place(site: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["render", str(site), "--captions", str(SAMPLES / "captions")]) == 0
    assert "warning" not in capsys.readouterr().err


def test_aliases_are_titles(site: Path) -> None:
    assert "<h1>End of stage 1</h1>" in (site / "layers/stage1.1.relu2.html").read_text()


def test_photographs_are_small_and_their_sources_named() -> None:
    from PIL import Image

    sources = (SAMPLES / "photographs/README.md").read_text()
    photographs = sorted((SAMPLES / "photographs").glob("*.jpg"))
    assert len(photographs) >= 3
    for path in photographs:
        assert path.name in sources
        with Image.open(path) as picture:
            assert max(picture.size) <= 640
            assert not picture.getexif()
