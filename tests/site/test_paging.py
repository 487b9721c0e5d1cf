"""Long layer pages in parts: where each image stands, whatever the slugs, and that estimates are never too low."""

import re
from pathlib import Path

import pytest
from playwright.sync_api import Browser

from browsing import opened
from canned import chain, make_figure, make_image, make_layer, make_record, write_site
from checker import check_site
from reportgen.site import paging
from reportgen.site.pages import Pages
from reportgen.site.paging import Weight, split, weigh
from reportgen.site.record import FigureEntry, read_record

ROOM = Weight(200, 10**9)


def panels(count: int) -> list[tuple[str, list[FigureEntry]]]:
    return [(f"image{number}", [make_figure("channel_sum", "a", f"image{number}")]) for number in range(count)]


def test_every_image_stands_on_one_page_in_order() -> None:
    given = panels(23)
    parts = split(make_layer("a"), given, Weight(0, 0), ROOM)
    assert [image for part in parts for image in part.images] == [image for image, _ in given]
    assert [part.number for part in parts] == list(range(1, len(parts) + 1))
    assert [(part.first, part.last) for part in parts][:2] == [(1, 4), (5, 8)]
    assert len({part.address for part in parts}) == len(parts) == 6


def test_what_else_is_on_the_first_page_leaves_less_room_there() -> None:
    sizes = [len(part.images) for part in split(make_layer("a"), panels(9), Weight(100, 0), ROOM)]
    assert sizes == [2, 4, 3]


def test_a_panel_that_is_too_much_for_any_page_has_its_own() -> None:
    parts = split(make_layer("a"), panels(3), Weight(500, 0), Weight(1, 1))
    assert [len(part.images) for part in parts] == [1, 1, 1]


def test_a_layer_without_pictures_has_a_page() -> None:
    (part,) = split(make_layer("a"), [], Weight(0, 0))
    assert (part.address, part.images) == ("layers/a.html", ())


def test_bytes_count_as_elements_do() -> None:
    assert len(split(make_layer("a"), panels(9), Weight(0, 0), Weight(10**9, 20_000))) > 1


@pytest.fixture
def divided(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A site whose layers' pages are divided, with slugs that look like further pages'."""
    monkeypatch.setattr(split, "__defaults__", (ROOM,))
    names = ["a", "2", "a.2", "a.html", "more", "more.a.2"]
    record = make_record(chain(names), [make_image(f"{name}.png") for name in "abcdefghi"])
    return write_site(record, tmp_path / "site")


def test_a_divided_site_is_sound_whatever_the_slugs(divided: Path) -> None:
    assert check_site(divided) == []
    pages = list(Pages(read_record(divided)))
    assert len({page.path.casefold() for page in pages}) == len(pages)
    more = sorted(path.parent.name for path in divided.glob("more/*/2.html"))
    assert more == sorted(path.stem for path in divided.glob("layers/*.html"))


def test_the_links_of_an_image_lead_to_the_page_that_has_it(divided: Path) -> None:
    for image in "abcdefghi":
        text = (divided / "images" / f"{image}.html").read_text(encoding="utf-8")
        address = re.search(r'href="\.\./((?:layers/a|more/a/\d)\.html)#(\w)"', text)
        assert address is not None
        assert address[2] == image
        target = (divided / address[1]).read_text(encoding="utf-8")
        assert f'data-image="{image}"' in target


@pytest.mark.parametrize("javascript", [True, False], ids=["script", "noscript"])
def test_an_address_of_the_first_page_leads_to_every_image(
    browser: Browser, divided: Path, javascript: bool
) -> None:
    with opened(browser, javascript=javascript) as page:
        page.goto((divided / "layers" / "a.html").as_uri() + "#i")
        if javascript:
            page.wait_for_url("**/more/a/*.html#i")
        else:
            page.locator(":target").click()
        assert page.url.endswith("/more/a/3.html#i")
        assert page.locator(":target").inner_text() == "i.png"
        page.locator("main p a", has_text="first page").click()
        assert page.url.endswith("/layers/a.html")


def test_a_channel_and_a_filter_in_an_address_go_along(browser: Browser, divided: Path) -> None:
    with opened(browser) as page:
        page.goto((divided / "layers" / "a.html").as_uri() + "#i/c2&q=conv")
        page.wait_for_url("**/more/a/3.html#i/c2&q=conv")


def test_the_parts_lead_to_each_other(browser: Browser, divided: Path) -> None:
    with opened(browser) as page:
        page.goto((divided / "layers" / "a.html").as_uri())
        page.locator(".turn a", has_text="4–6").first.click()
        assert page.url.endswith("/more/a/2.html")
        assert page.title().startswith("a, page 2 of 3")
        assert page.locator(".turn [aria-current=page]").first.inner_text() == "4–6"
        page.keyboard.press("j")  # the next layer, from any of its pages
        page.wait_for_url("**/layers/2.html")


def test_no_figure_takes_more_than_its_estimate(versatile_site: Path) -> None:
    record = read_record(versatile_site)
    for layer in record.layers:
        text = (versatile_site / "layers" / f"{layer.slug}.html").read_text(encoding="utf-8")
        for section in re.findall(r'<section class="panel".*?</section>', text, re.DOTALL):
            image = re.search(r'data-image="([^"]+)"', section)
            figures = [
                figure
                for figure in record.figures
                if (figure.layer, figure.image) == (layer.name, image[1] if image else None)
            ]
            estimate = sum(map(weigh, figures), start=paging._PANEL)
            taken = Weight(len(re.findall(r"<[a-z]", section)), len(section.encode()))
            assert not taken.exceeds(estimate), (layer.name, image, taken, estimate)
