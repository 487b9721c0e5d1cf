"""Texts made to do harm, wherever a text can go: pages keep their elements, and nothing runs in a browser."""

import dataclasses
from collections.abc import Iterator
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from playwright.sync_api import Browser

from browsing import opened
from canned import write_site
from hostile_texts import (
    ELSEWHERE,
    PAYLOADS,
    REFUSED,
    address_fault,
    caption_fault,
    caption_file_fault,
    caption_image_fault,
    html_fault,
    page_faults,
    slug_faults,
    texts,
    trapped_captions,
    with_texts,
)
from reportgen.drawing.charts import labelled_matrix
from reportgen.drawing.curves import Curve, curve_plot

settings.register_profile("texts", deadline=None, database=None, derandomize=True, max_examples=60)
by_rule = settings.get_profile("texts")
PLACES = ("index", "about", "layers/*", "images/disc", "figures/channel_grid", "figures/input")
RDF = {"RDF", "Work", "type", "format", "creator", "Agent", "title"}


@pytest.mark.parametrize("text", PAYLOADS[:: len(PAYLOADS) // 12])
def test_no_text_changes_a_page(text: str) -> None:
    assert page_faults(text) == ""


def test_no_text_of_all_joined_changes_a_page() -> None:
    assert page_faults(" ".join(each for each in PAYLOADS if len(each) < 1000)) == ""


@pytest.mark.sweep
@pytest.mark.parametrize("text", PAYLOADS)
def test_not_one_of_all_texts_changes_a_page(text: str) -> None:
    assert page_faults(text) == ""


def test_no_caption_brings_what_is_no_part_of_one() -> None:
    assert [fault for fault in map(caption_fault, texts(250)) if fault] == []


@by_rule
@given(st.text(max_size=300))
def test_no_text_at_all_as_a_caption_brings_it(text: str) -> None:
    assert caption_fault(text) == ""


@pytest.mark.sweep
def test_none_of_thousands_of_captions_brings_it() -> None:
    assert [fault for fault in map(caption_fault, texts(20_000)) if fault] == []


def test_slugs_are_safe_and_distinct() -> None:
    assert [fault for fault in slug_faults(texts(2_000)) if fault] == []


@pytest.mark.sweep
def test_fifty_thousand_slugs_are_safe_and_distinct() -> None:
    assert [fault for fault in slug_faults(texts(50_000)) if fault] == []


def test_the_judges_see_harm() -> None:
    assert html_fault("<p><script>1</script></p>") == "element script"
    assert html_fault("<p onclick=x>y</p>") == "attributes ['onclick']"
    assert address_fault(" java\nscript:x")
    assert address_fault("//host/x")
    assert not address_fault("../layers/x.html#a:b")
    assert next(iter(slug_faults(["a"]))) == ""


# Pictures in captions: those of their directory alone, wherever addresses lead


@pytest.fixture(scope="module")
def captions() -> Iterator[Path]:
    with trapped_captions() as directory:
        yield directory


@pytest.mark.parametrize("address", [*ELSEWHERE, *REFUSED, *PAYLOADS[::9]])
def test_no_picture_from_elsewhere_gets_into_a_report(captions: Path, address: str) -> None:
    assert caption_file_fault(captions, address) == ""


@pytest.mark.parametrize("address", ELSEWHERE)
def test_no_address_makes_a_page_load_something(address: str) -> None:
    assert caption_image_fault(address) == ""


def test_the_judge_of_pictures_sees_another_file(captions: Path) -> None:
    (captions / "other.png").write_bytes((captions.parent / "secret.png").read_bytes())
    assert caption_file_fault(captions, "other.png") == "picture 'other.png': another file was taken"
    assert caption_file_fault(captions, "own.png") == ""
    (captions / "broken.png").write_bytes(b"broken")
    assert caption_file_fault(captions, "broken.png").startswith("picture 'broken.png': caption ")


# Where they are shown


def test_nothing_runs_in_a_browser(browser: Browser, tmp_path: Path) -> None:
    text = " ".join(each for each in PAYLOADS if len(each) < 1000)
    record = dataclasses.replace(with_texts(text), captions=dict.fromkeys(PLACES, "\n\n".join(PAYLOADS)))
    with opened(browser) as page:
        # What the policy had to stop would be an error, which `opened` hears of.
        site = write_site(record, tmp_path / "site")
        for name in ("index.html", "about.html", "layers/stem.conv.html", "images/disc.html"):
            page.goto((site / name).as_uri())
            assert page.evaluate("window.pwned") is None
            assert page.evaluate("document.querySelectorAll('main').length") == 1


def test_the_payloads_are_live(browser: Browser, tmp_path: Path) -> None:
    path = tmp_path / "page.html"
    path.write_text(f"<!doctype html><meta charset=utf-8><p>{PAYLOADS[9]}", encoding="utf-8")
    with opened(browser, expected=["ERR_FILE_NOT_FOUND", "/x"]) as page:
        page.goto(path.as_uri())
        page.wait_for_function("window.pwned === 1")


def test_charts_hold_texts_as_texts() -> None:
    names = [" ".join(PAYLOADS[1:9]).replace("\0", ""), "$\\frac{1}{$", "]]><script>1</script>"]
    matrix = labelled_matrix(np.eye(3), names, low=0.0, high=1.0, cmap="gray", bar_label="CKA")
    curves = curve_plot(
        [Curve(name, np.arange(3), np.arange(3.0)) for name in names], span=3, x_label="x", y_label="y"
    )
    for chart in (matrix, curves):
        root = ElementTree.fromstring(chart.files["svg"])  # noqa: S314 (it is our own)
        tags = {element.tag.rpartition("}")[2] for element in root.iter()}
        assert tags <= {"svg", "g", "defs", "path", "use", "style", "image", "metadata", "clipPath", "rect"} | RDF
        assert not [name for element in root.iter() for name in element.attrib if name.startswith("on")]
