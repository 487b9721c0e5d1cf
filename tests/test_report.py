"""The report as an object: its words, its address, and what a notebook shows of it."""

import base64
import dataclasses
import io
import json
import re
import webbrowser
from pathlib import Path
from typing import Any

import html5lib
import pytest
from PIL import Image

import reportgen
from canned import IMAGES, LAYERS, figures_of, make_figure, make_image, make_record, with_model, write_site
from reportgen.site.record import Record, SkippedImageEntry

HOSTILE = "\"'><script>alert(1)</script><img src=x onerror=alert(1)>&lt;b&gt; \u202e🔬 \udcff"


def make_report(site: Path, record: Record | None = None) -> reportgen.Report:
    record = record or make_record()
    return reportgen.Report(write_site(record, site), record, (), 12, 3_456_789, 4.56)


def shown(report: reportgen.Report) -> Any:
    html = report._repr_html_()
    json.dumps(html).encode()  # as a notebook keeps it
    parser = html5lib.HTMLParser(namespaceHTMLElements=False, strict=True)
    return parser.parseFragment(html)


def text_of(report: reportgen.Report) -> str:
    return " ".join("".join(shown(report).itertext()).split())


@pytest.fixture
def report(tmp_path: Path) -> reportgen.Report:
    return make_report(tmp_path / "a site")


def test_the_summary_counts(report: reportgen.Report) -> None:
    figures = len(report.record.figures)
    assert report.summary == f"5 of 9 nodes drawn for 2 images: {figures} figures, 12 files, 3.5 MB in 4.6 s"
    assert repr(report) == f"<Report 'Shapes, layer by layer' in {str(report.site)!r}: {report.summary}>"


def test_a_notebook_shows_title_model_counts_and_place(report: reportgen.Report) -> None:
    text = text_of(report)
    for part in ("Shapes, layer by layer", "Shapes, 1,234 parameters, epoch 12", report.summary, str(report.site)):
        assert part in text
    (link,) = shown(report).iter("a")
    assert link.get("href") == (report.site / "index.html").as_uri()


def test_a_notebook_shows_pictures_that_it_holds(tiny_report: reportgen.Report) -> None:
    pictures = list(shown(tiny_report).iter("img"))
    assert len(pictures) == len(tiny_report.record.images)
    for picture, image in zip(pictures, tiny_report.record.images, strict=True):
        kind, data = str(picture.get("src")).split(",")
        assert kind == "data:image/jpeg;base64"
        small = Image.open(io.BytesIO(base64.b64decode(data)))
        with Image.open(tiny_report.site / f"figures/input/{image.id}/seen.png") as seen:
            assert small.size == seen.size  # 32 pixels need no shrinking
            corner, expected = small.getpixel((1, 1)), seen.convert("RGB").getpixel((1, 1))
        assert max(abs(a - b) for a, b in zip(corner, expected, strict=True)) < 20  # type: ignore[arg-type]
        assert picture.get("alt") == f"{image.name}, as the network saw it"


def test_a_notebook_loads_nothing(tiny_report: reportgen.Report) -> None:
    html = tiny_report._repr_html_()
    assert all(source.startswith("data:") for source in re.findall(r'src="([^"]*)"', html))
    assert not re.search(r"<(script|link|iframe|object)|url\(|https?:", html)


def test_the_pictures_are_small_and_few(tmp_path: Path) -> None:
    images = [make_image(f"{number}.png") for number in range(50)]
    noise = Image.effect_noise((300, 300), 90).convert("RGB")
    record = make_record(LAYERS, images)
    report = make_report(tmp_path / "site", record)
    for figure in record.figures:
        if figure.kind == "input":
            noise.save(report.site / figure.files[0])
    html = report._repr_html_()
    assert len(html) < 200_000
    assert html.count("<img") == 8
    assert "42 more images in the report" in html
    for data in re.findall(r'base64,([^"]*)"', html):
        assert Image.open(io.BytesIO(base64.b64decode(data))).size == (96, 96)


def test_predictions_stand_below_the_pictures(tmp_path: Path) -> None:
    data = {"top": [[3, "tabby <cat>", 0.62]], "percent": ["62.3 %"], "classes": 10}
    figures = [*figures_of(LAYERS, IMAGES), make_figure("predictions", None, "disc", data=data)]
    assert "disc.pngtabby <cat>, 62.3 %" in text_of(make_report(tmp_path / "site", make_record(figures=figures)))


def test_what_failed_and_random_weights_are_told(tmp_path: Path) -> None:
    record = with_model(make_record(), random_weights=True)
    record = dataclasses.replace(record, skipped_images=[SkippedImageEntry("a.png", "is empty")])
    text = text_of(make_report(tmp_path / "site", record))
    assert "Random weights" in text
    assert "2 failed." in text
    assert "1 left out." in text
    assert "Random weights" not in text_of(make_report(tmp_path / "other"))


def test_hostile_words_stay_words(tmp_path: Path) -> None:
    images = [dataclasses.replace(make_image("disc.png"), name=f"disc{HOSTILE}")]
    figures = [dataclasses.replace(each, alt=HOSTILE) for each in figures_of(LAYERS, images)]
    record = with_model(
        make_record(LAYERS, images, figures=figures, title=HOSTILE), class_name=HOSTILE, weights=HOSTILE
    )
    plain, hostile = make_report(tmp_path / "a"), make_report(tmp_path / "b", record)
    tags = [str(element.tag) for element in shown(hostile).iter()]
    assert sorted(set(tags)) == sorted({str(element.tag) for element in shown(plain).iter()})
    assert tags.count("img") == 1
    assert HOSTILE.replace("\udcff", "?") in text_of(hostile)


def test_a_picture_that_is_gone_is_left_out(report: reportgen.Report) -> None:
    for path in (report.site / "figures" / "input").rglob("*.png"):
        path.unlink()
    assert "<img" not in report._repr_html_()
    assert "disc.png" in text_of(report)


def test_it_opens_in_the_browser(report: reportgen.Report, monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[str] = []

    def open_there(address: str) -> bool:
        opened.append(address)
        return True

    monkeypatch.setattr(webbrowser, "open", open_there)
    assert report.open()
    assert opened == [(report.site / "index.html").as_uri()]


def test_a_report_that_was_moved_does_not_open(report: reportgen.Report, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(webbrowser, "open", lambda _: pytest.fail("opened"))
    report.site.rename(report.site.with_name("moved"))
    with pytest.raises(reportgen.InputError, match="no longer there"):
        report.open()
