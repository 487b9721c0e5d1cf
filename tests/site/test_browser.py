"""The site in a browser, opened from disk as a reader opens it."""

from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page

from browsing import LOAD_PICTURES, OVERFLOW, SCHEMES, WIDTHS, half_of, opened, pages_of
from canned import IMAGES, LAYERS

PAGES = ("index.html", "about.html", "layers/block.add.html", "layers/fc.html", "images/disc.html")

CONTRAST = """
() => {
  const channels = text => text.match(/[\\d.]+/g).map(Number);
  const luminance = colour => channels(colour).slice(0, 3)
    .map(value => value / 255)
    .map(value => value <= 0.03928 ? value / 12.92 : ((value + 0.055) / 1.055) ** 2.4)
    .reduce((sum, value, index) => sum + value * [0.2126, 0.7152, 0.0722][index], 0);
  const ground = element => {
    const colour = getComputedStyle(element).backgroundColor;
    return channels(colour)[3] === 0 ? ground(element.parentElement) : colour;
  };
  const ratio = element => {
    const levels = [getComputedStyle(element).color, ground(element)].map(luminance).sort((a, b) => b - a);
    return (levels[0] + 0.05) / (levels[1] + 0.05);
  };
  const written = element => [...element.childNodes].some(node => node.nodeType === 3 && node.data.trim());
  return [...document.body.querySelectorAll("*")].filter(written).filter(element => ratio(element) < 4.5)
    .map(element => `${ratio(element).toFixed(2)} ${element.outerHTML.slice(0, 80)}`);
}
"""


@pytest.mark.parametrize(("width", "scheme", "javascript"), half_of(WIDTHS, SCHEMES, (True, False)))
def test_a_page_opens_whole(browser: Browser, tiny_site: Path, width: int, scheme: str, javascript: bool) -> None:
    with opened(browser, width, scheme, javascript) as page:
        for name in PAGES:
            page.goto((tiny_site / name).as_uri())
            assert page.evaluate(LOAD_PICTURES) == [], name
            assert page.evaluate(OVERFLOW) <= 0, name
            assert page.locator("h1").is_visible()


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("kind", ["index", "about", "layers", "images"])
def test_long_names_and_wide_tables_do_not_widen_a_page(
    browser: Browser, long_site: Path, width: int, kind: str
) -> None:
    with opened(browser, width) as page:
        for address in (
            each for each in pages_of(long_site) if f"/{kind}" in each.removeprefix(long_site.as_uri())
        ):
            page.goto(address)
            assert page.evaluate(LOAD_PICTURES) == [], address
            assert page.evaluate(OVERFLOW) <= 0, address


@pytest.mark.parametrize("scheme", SCHEMES)
def test_text_stands_out_from_its_ground(browser: Browser, canned_site: Path, scheme: str) -> None:
    with opened(browser, scheme=scheme) as page:
        for address in pages_of(canned_site):
            page.goto(address)
            assert page.evaluate(CONTRAST) == [], address


def test_dark_and_light_differ(browser: Browser, tiny_site: Path) -> None:
    grounds = []
    for scheme in SCHEMES:
        with opened(browser, scheme=scheme) as page:
            page.goto((tiny_site / "index.html").as_uri())
            grounds.append(page.evaluate("getComputedStyle(document.body).backgroundColor"))
    assert grounds[0] != grounds[1]


def test_enlarged_maps_are_crisp_and_photographs_smooth(browser: Browser, tiny_site: Path) -> None:
    rendering = "picture => getComputedStyle(picture).imageRendering"
    with opened(browser) as page:
        page.goto((tiny_site / "layers" / "stem.conv.html").as_uri())
        assert page.evaluate(LOAD_PICTURES) == []
        grid = page.locator("main img[src*='/channel_grid/']").first
        assert grid.evaluate(rendering) == "pixelated"
        page.goto((tiny_site / "images" / "disc.html").as_uri())
        assert page.locator("main img[src*='/original.png']").evaluate(rendering) == "auto"


@pytest.mark.parametrize("width", [1280, 1920])
def test_a_screen_has_room_for_the_whole_factor(browser: Browser, tiny_site: Path, width: int) -> None:
    # Squeezed by a little, some pixels of a crisp map would be wider than others.
    with opened(browser, width) as page:
        page.goto((tiny_site / "layers" / "stem.conv.html").as_uri())
        assert page.evaluate(LOAD_PICTURES) == []
        for kind in ("channel_grid", "channel_sum"):
            grid = page.locator(f"main img[src*='/{kind}/']").first
            factors = "picture => [picture.width / picture.naturalWidth, picture.height / picture.naturalHeight]"
            across, down = grid.evaluate(factors)
            assert across == down == int(across) > 1


@pytest.mark.parametrize("name", ["index.html", "about.html", "layers/stem.conv.html", "images/disc.html"])
def test_the_keyboard_finds_the_skip_link_first(browser: Browser, tiny_site: Path, name: str) -> None:
    with opened(browser) as page:
        page.goto((tiny_site / name).as_uri())
        focused = page.locator(":focus")
        page.keyboard.press("Tab")
        assert focused.inner_text() == "Skip to content"
        box = focused.bounding_box()
        assert box is not None
        assert box["x"] >= 0
        page.keyboard.press("Enter")
        page.wait_for_url("**#_main")
        page.keyboard.press("Tab")
        assert focused.evaluate("element => document.querySelector('main').contains(element)")


@pytest.mark.parametrize("javascript", [True, False], ids=["script", "noscript"])
@pytest.mark.parametrize("width", WIDTHS)
def test_a_reader_goes_from_the_index_through_layers_to_an_image(
    browser: Browser, tiny_site: Path, width: int, javascript: bool
) -> None:
    with opened(browser, width, javascript=javascript) as page:
        page.goto((tiny_site / "index.html").as_uri())
        page.locator(".row", has_text="conv").first.click()
        assert heading(page) == "stem.conv"
        page.locator("a[rel=next]").first.click()
        assert heading(page) == "stem.relu"
        page.locator("a[rel=prev]").last.click()
        assert heading(page) == "stem.conv"
        page.locator("main h2 a", has_text="disc.png").click()
        assert heading(page) == "disc.png"
        page.locator("main li a", has_text="block").or_(page.locator("main li a", has_text="relu")).last.click()
        assert heading(page) == "block.relu"
        page.locator("header a", has_text="About").click()
        page.locator("header a").first.click()
        assert heading(page) == "A tiny report"


def heading(page: Page) -> str:
    return page.locator("h1").inner_text()


def test_a_modules_layers_can_be_folded_without_javascript(browser: Browser, tiny_site: Path) -> None:
    with opened(browser, javascript=False) as page:
        page.goto((tiny_site / "index.html").as_uri())
        row = page.locator(".tree details .row").first
        assert row.is_visible()
        page.locator(".tree details summary").first.click()
        assert not row.is_visible()


@pytest.mark.parametrize("image", [image.id for image in IMAGES])
def test_a_link_to_an_image_of_a_layer_lands_there(browser: Browser, canned_site: Path, image: str) -> None:
    with opened(browser, width=360) as page:
        page.goto((canned_site / "images" / f"{image}.html").as_uri())
        frames = page.locator("main li a")
        assert frames.count() == sum(layer.status == "drawn" for layer in LAYERS)
        frames.last.click()
        target = page.locator(":target")
        name = next(each.name for each in IMAGES if each.id == image)
        assert name in target.inner_text()
        top = target.evaluate("element => element.getBoundingClientRect().top")
        bar = page.evaluate("document.querySelector('header').getBoundingClientRect().bottom")
        assert bar <= top < 800
