"""Figure numbers: every figure on a page has one, it stays, and references by kind, layer and image lead to it."""

import dataclasses
import re
from collections.abc import Sequence
from typing import TYPE_CHECKING

import html5lib
import pytest

from canned import IMAGES, KINDS, LAYERS, figures_of, make_figure, make_image, make_record
from reportgen.site.numbering import Numbering, Place
from reportgen.site.record import FigureEntry, KindEntry, Record
from reportgen.site.render import render

if TYPE_CHECKING:
    from reportgen.report import Report

FIGURES: Sequence[FigureEntry] = (
    make_figure("input", None, "cat", data={"view": "original"}),
    make_figure("input", None, "cat", data={"view": "seen"}),
    make_figure("grid", "a.b", "cat"),
    make_figure("grid", "a.b", "dog"),
    make_figure("bar", None, None),
    make_figure("filters", "a.b", None, data={"view": "annotated"}),
    make_figure("cka", None, None),
)


def page_of(figure: FigureEntry) -> str:
    return "" if figure.kind == "bar" else f"{figure.layer or figure.image or 'index'}.html"


@pytest.fixture
def numbering() -> Numbering:
    return Numbering(FIGURES, [make_image("cat.png"), make_image("A dog.png", id="dog")], page_of)


def number_of(numbering: Numbering, reference: str) -> int | None:
    place = numbering.find(reference)
    return place.number if place else None


def test_numbers_follow_the_record_and_leave_out_what_no_page_shows(numbering: Numbering) -> None:
    places = [numbering.place(figure) for figure in FIGURES]
    assert [place.number if place else None for place in places] == [1, 2, 3, 4, None, 5, 6]
    assert places[2] == Place(3, "a.b.html")


def test_a_place_is_an_address() -> None:
    place = Place(12, "layers/a.html")
    assert (place.label, place.anchor, place.address) == ("Figure 12", "_fig-12", "layers/a.html#_fig-12")


@pytest.mark.parametrize(
    ("reference", "number"),
    [
        ("fig:input/cat/original", 1),
        ("fig:input/cat/seen", 2),
        ("fig:grid/a.b/cat", 3),
        ("fig:grid/a.b/dog", 4),
        ("fig:filters/a.b/annotated", 5),
        ("fig:cka", 6),
        ("fig:input/cat", 1),
        ("fig:input/seen", 2),
        ("fig:grid/a.b", 3),
        ("fig:grid/dog", 4),
        ("fig:grid", 3),
        ("fig:grid/a.b/A dog.png", 4),
        ("fig:input/cat.png/seen", 2),
        ("fig: cka ", 6),
    ],
)
def test_parts_that_are_left_out_mean_the_first_figure(numbering: Numbering, reference: str, number: int) -> None:
    assert number_of(numbering, reference) == number


@pytest.mark.parametrize("reference", ["fig:", "fig:bar", "fig:grid/a", "fig:grid/cat/a.b", "fig:a.b", "fig:3"])
def test_a_reference_to_nothing_has_no_place(numbering: Numbering, reference: str) -> None:
    assert numbering.find(reference) is None


def test_a_whole_name_goes_before_a_short_one() -> None:
    figures = [make_figure("grid", "cat", "dog"), make_figure("grid", None, "cat")]
    numbering = Numbering(figures, [make_image("cat.png"), make_image("dog.png")], lambda _: "index.html")
    assert number_of(numbering, "fig:grid/cat") == 2


@pytest.mark.parametrize(
    ("reference", "hint"), [("fig:grdi/a.b", "grid"), ("fig:grid/a.c/dog", "grid/a.b/dog"), ("fig:%%%%", "")]
)
def test_a_reference_to_nothing_has_a_hint(numbering: Numbering, reference: str, hint: str) -> None:
    assert hint in numbering.hint(reference)
    assert bool(numbering.hint(reference)) == bool(hint)


# On pages

ANCHOR = re.compile(r"_fig-([0-9]+)")


def anchors(record: Record) -> dict[str, str]:
    """Each anchor of a figure with the page that it stands on, and what its figure says first."""
    found: dict[str, str] = {}
    for name, text in render(record).files.items():
        if name.endswith(".html"):
            root = html5lib.parse(text, namespaceHTMLElements=False)
            for figure in root.iter("figure"):
                if identifier := figure.get("id"):
                    assert identifier not in found
                    found[identifier] = name
                    (link,) = (each for each in figure.iter("a") if each.get("class") == "figure-number")
                    assert link.text == f"Figure {identifier.removeprefix('_fig-')}"
                    assert link.get("href") == f"#{identifier}"
    return found


def test_every_figure_with_a_caption_stands_once_under_its_number() -> None:
    record = make_record()
    shown = [figure for figure in record.figures if figure.kind != "colour_bar"]
    found = anchors(record)
    assert sorted(int(anchor.removeprefix("_fig-")) for anchor in found) == list(range(1, len(shown) + 1))
    for number, figure in enumerate(shown, start=1):
        page = f"layers/{figure.layer}.html" if figure.layer else f"images/{figure.image}.html"
        assert found[f"_fig-{number}"] == page


def test_every_figure_of_a_build_has_a_number(tiny_report: "Report") -> None:
    shown = [each for each in tiny_report.record.figures if each.kind not in ("colour_bar", "preview")]
    assert len(anchors(tiny_report.record)) == len(shown)


def test_numbers_do_not_depend_on_words() -> None:
    record = make_record()
    other = dataclasses.replace(record, title="Other", captions={"layers/*": "Much. [[fig:input]]", "index": "x"})
    assert anchors(record) == anchors(other)


def test_figures_of_another_package_are_numbered_too() -> None:
    figures = [*figures_of(LAYERS, IMAGES), make_figure("novel", None, None)]
    record = make_record(figures=figures, kinds=[*KINDS, KindEntry("novel", "Novel", 30)])
    assert anchors(record)[f"_fig-{len(figures) - 1}"] == "index.html"


def test_a_figure_of_an_image_or_layer_without_a_page_has_no_number() -> None:
    figures = [
        make_figure("grid", "aux", "disc"),
        make_figure("grid", None, "gone"),
        make_figure("grid", "x", "disc"),
    ]
    assert list(anchors(make_record(figures=figures))) == ["_fig-1"]


# In captions


@pytest.mark.parametrize("place", ["index", "layers/stem.conv", "images/disc"])
def test_a_reference_is_a_link_that_reads_as_the_number(place: str) -> None:
    text = "See [[fig:channel_grid/stem.conv/disc]] and [[fig:input/disc/seen|the *input*]]."
    page = "index.html" if place == "index" else f"{place}.html"
    record = make_record(captions={place: text})
    html = render(record).files[page]
    root = "../" * page.count("/")
    numbers = {figure.files[0]: number for number, figure in enumerate(record.figures, start=1)}
    grid, seen = numbers["figures/channel_grid/disc/stem.conv.png"], numbers["figures/input/disc/seen.png"]
    assert (
        f'<p>See <a href="{root}layers/stem.conv.html#_fig-{grid}" rel="noopener noreferrer">Figure {grid}</a> and '
        f'<a href="{root}images/disc.html#_fig-{seen}" rel="noopener noreferrer">the <em>input</em></a>.</p>'
    ) in html
    assert not render(record).warnings


def test_a_reference_to_no_figure_is_a_warning_and_stays_text() -> None:
    rendered = render(make_record(captions={"index": "[[fig:channel_gird/stem.conv]] [[fig:colour_bar]]"}))
    first, second = rendered.warnings
    assert first.startswith(
        "captions/index.md: [[fig:channel_gird/stem.conv]] is no figure on a page; did you mean"
    )
    assert "channel_grid" in first
    assert "[[fig:colour_bar]]" in second
    assert '<span class="unknown-reference">fig:channel_gird/stem.conv</span>' in rendered.files["index.html"]
