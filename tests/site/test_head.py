"""What pages say of themselves to those who show a preview of a link: true words, and a real picture."""

from typing import TYPE_CHECKING

import html5lib
import pytest
from PIL import Image

from canned import IMAGES, KINDS, LAYERS, figures_of, make_figure, make_layer, make_record
from reportgen.site.head import base_url, preview
from reportgen.site.record import KindEntry, Record
from reportgen.site.render import render

if TYPE_CHECKING:
    from reportgen.report import Report

HERE = "https://example.org/report/"


def told(record: Record, page: str) -> dict[str, str]:
    """Every name and property that the head of a page gives a content to, its title, and its canonical address."""
    root = html5lib.parse(render(record).files[page], namespaceHTMLElements=False)
    found = {str(meta.get("property") or meta.get("name")): str(meta.get("content")) for meta in root.iter("meta")}
    links = {str(link.get("rel")): str(link.get("href")) for link in root.iter("link")}
    return {**links, **found, "title": str(next(root.iter("title")).text)}


def previewed(**changes: object) -> Record:
    figure = make_figure("preview", None, None, width=1200, height=630, alt='A "cat" & maps')
    kinds = [*KINDS, KindEntry("preview", "Link preview", 95)]
    return make_record(figures=[*figures_of(LAYERS, IMAGES), figure], kinds=kinds, **changes)  # type: ignore[arg-type]


@pytest.mark.parametrize("page", sorted(name for name in render(make_record()).files if name.endswith(".html")))
def test_every_page_gives_its_own_title_and_a_picture(page: str) -> None:
    head = told(previewed(), page)
    assert head["og:title"] == head["title"]
    assert head["og:description"] == head["description"] != ""
    assert head["og:image"] == "../" * page.count("/") + "figures/preview.png"
    assert (head["og:image:width"], head["og:image:height"]) == ("1200", "630")
    assert head["og:image:alt"] == 'A "cat" & maps'
    assert (head["og:type"], head["twitter:card"]) == ("website", "summary_large_image")
    assert head["og:site_name"] == "Shapes, layer by layer"
    assert "og:url" not in head
    assert "canonical" not in head


def test_descriptions_differ_and_count_right() -> None:
    pages = [name for name in render(make_record()).files if name.endswith(".html")]
    assert len({told(make_record(), page)["description"] for page in pages}) == len(pages)
    assert told(make_record(), "index.html")["description"] == (
        f"What every layer of Shapes (epoch 12) did with 2 images: 5 of 9 nodes drawn, "
        f"{len(make_record().figures)} figures."
    )
    assert told(make_record(), "layers/stem.conv.html")["description"] == (
        "What the layer stem.conv (Conv2d, 8 × 4 × 6) of Shapes did with 2 images."
    )


def test_one_image_is_named() -> None:
    record = make_record([make_layer("conv")], IMAGES[:1])
    assert told(record, "layers/conv.html")["description"].endswith("did with red square.png.")


@pytest.mark.parametrize(
    ("page", "own"), [("index.html", ""), ("layers/x.html", "layers/x.html"), ("about.html", "about.html")]
)
def test_with_an_address_on_the_web_all_addresses_are_there(page: str, own: str) -> None:
    head = told(previewed(options={"base_url": HERE}), page)
    assert head["og:url"] == head["canonical"] == HERE + own
    assert head["og:image"] == f"{HERE}figures/preview.png"


@pytest.mark.parametrize("given", ["javascript:alert(1)", "//example.org/", 3, None, ["https://example.org"]])
def test_an_address_that_is_none_is_not_believed(given: object) -> None:
    assert base_url(make_record(options={"base_url": given})) == ""


def test_a_record_without_a_preview_gives_its_first_image() -> None:
    assert told(make_record(), "about.html")["og:image"] == make_record().figures[0].files[0]


def test_a_record_without_any_picture_gives_none() -> None:
    head = told(make_record(figures=[]), "index.html")
    assert "og:image" not in head
    assert head["twitter:card"] == "summary"


def test_a_build_makes_a_picture_of_the_size_that_it_says(tiny_report: "Report") -> None:
    figure = preview(tiny_report.record)
    assert figure is not None
    assert figure.files == ["figures/preview.png"]
    with Image.open(tiny_report.site / figure.files[0]) as picture:
        assert picture.size == (figure.width, figure.height) == (1200, 630)


def test_no_page_shows_the_preview() -> None:
    for name, text in render(previewed()).files.items():
        assert text.count("preview.png") == (1 if name.endswith(".html") else 0)


def test_a_caption_for_the_preview_is_a_warning() -> None:
    (warning,) = render(previewed(captions={"figures/preview": "x"})).warnings
    assert "figures/preview.md is not used" in warning
