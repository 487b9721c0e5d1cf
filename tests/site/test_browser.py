"""The site in a browser, opened from disk as a reader opens it."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, Request, sync_playwright

from canned import IMAGES, LAYERS, chain, make_image, make_layer, make_record, with_model, write_site

WIDTHS = (360, 1280)
SCHEMES = ("light", "dark")
PROGRAMS = ("chromium", "chromium-browser", "google-chrome")

PAGES = ("index.html", "about.html", "layers/block.add.html", "layers/fc.html", "images/disc.html")

OVERFLOW = "document.documentElement.scrollWidth - document.documentElement.clientWidth"
LOAD_PICTURES = """
async () => {
  const pictures = [...document.images];
  for (const picture of pictures) picture.loading = "eager";
  await Promise.allSettled(pictures.map(picture => picture.decode()));
  return pictures.filter(picture => picture.naturalWidth === 0).map(picture => picture.src);
}
"""
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


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """The system's Chromium. Where there is none the tests are skipped, but fail where CI runs them."""
    program = next(filter(None, map(shutil.which, PROGRAMS)), None)
    if program is None:
        message = f"no browser: none of {', '.join(PROGRAMS)} is installed"
        pytest.fail(message) if os.environ.get("CI") else pytest.skip(message)
    with sync_playwright() as playwright:
        # Without its sandbox, since tests often run as root, where it can't start.
        launched = playwright.chromium.launch(executable_path=program, args=["--no-sandbox"])
        yield launched
        launched.close()


@pytest.fixture(scope="module")
def long_site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A site in which every name, text and table is longer than a phone is wide."""
    name = "very_long_module_name_without_any_place_to_break_it" * 2
    wide = (
        "| "
        + " | ".join(f"column{index}" for index in range(12))
        + " |\n"
        + "|---" * 12
        + "|\n"
        + "| 12345 " * 12
        + "|"
    )
    text = (
        f"# Head{'line' * 30}\n\n{'word' * 60} `{'code' * 60}`\n\n```\n{'fence' * 60}\n```\n\n{wide}\n\n- [[x]]\n"
    )
    layers = [make_layer(f"{name}.{part}", detail="detail " * 20, title=part * 20) for part in ("conv", "relu")]
    failed = make_layer(f"{name}.add", status="failed", reason="RuntimeError:" + "x" * 300)
    images = [make_image(f"{'photograph' * 10}.png", note="note " * 30), make_image("b.png")]
    record = make_record(
        chain(["x", *layers, failed, *(f"{'deep.' * 12}conv{index}" for index in range(3))]),
        images,
        captions=dict.fromkeys(("index", "about", "layers/*", "images/b", "figures/channel_grid"), text),
        title="A title of the report " + "withoutspaces" * 20,
        options={"nodes": ["pattern" * 40]},
        environment={"reportgen": "1.2.3+" + "local" * 30},
    )
    record = with_model(record, spec="package." * 30 + "py:factory", weights="weights" * 30, random_weights=True)
    return write_site(record, tmp_path_factory.mktemp("long") / "site")


@pytest.fixture(scope="module")
def canned_site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_site(with_model(make_record(), random_weights=True), tmp_path_factory.mktemp("canned") / "site")


@contextmanager
def opened(browser: Browser, width: int = 1280, scheme: str = "light", javascript: bool = True) -> Iterator[Page]:
    """A page that takes note of whatever goes wrong, and finds at the end that nothing did."""
    context = browser.new_context(
        viewport={"width": width, "height": 800},
        color_scheme="dark" if scheme == "dark" else "light",
        java_script_enabled=javascript,
    )
    problems: list[str] = []
    page = context.new_page()
    page.on("console", lambda message: problems.append(message.text) if message.type == "error" else None)
    page.on("pageerror", lambda error: problems.append(str(error)))
    page.on("requestfailed", lambda request: problems.append(request.url) if is_lost(request) else None)
    page.on("request", lambda request: problems.append(request.url) if is_remote(request.url) else None)
    try:
        yield page
        assert problems == []
    finally:
        context.close()


def is_lost(request: Request) -> bool:
    """Whether a file is missing, rather than no longer wanted since the reader went on."""
    return request.failure != "net::ERR_ABORTED"


def is_remote(url: str) -> bool:
    return not url.startswith(("file:", "data:"))


def pages_of(site: Path) -> list[str]:
    return [path.as_uri() for path in sorted(site.rglob("*.html"))]


@pytest.mark.parametrize("javascript", [True, False], ids=["script", "noscript"])
@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("width", WIDTHS)
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
