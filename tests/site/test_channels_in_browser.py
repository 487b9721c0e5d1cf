"""Looking closely at channel grids, in a browser: tiles of known flat colours say which channel is shown."""

import io
import re
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from playwright.sync_api import Browser, Locator, Page, expect

from browsing import OVERFLOW, SCHEMES, WIDTHS, opened
from canned import KINDS, chain, figures_of, make_figure, make_image, make_layer, make_record, write_site
from reportgen.site.record import FigureEntry, KindEntry, read_record
from reportgen.site.render import number

TILE = (6, 4)
"""Width and height of a tile."""
COLUMNS, SHOWN, TOTAL, GAP = 3, 8, 12, 1
IMAGES = (make_image("disc.png"), make_image("red square.png"), make_image("star.png"))
DISC, SQUARE, STAR = (image.id for image in IMAGES)
SEEN = (20, 40, 220)

LOW = [-1.25, 0.0, -3e-7, -12345.678, 0.1, -0.00012345, -1.0, None]
HIGH = [3.5, 0.0, 2.5e12, 98765.4, 99999.5, 0.99996, 1.0, None]
EDGES = [10.0**power * factor for power in range(-9, 13) for factor in (1, -9.9995, 1.23449, 2.5)]
"""Numbers about the edges between plain and scientific notation."""

STATISTICS: dict[str, Any] = {
    "min": [-2.5, *[0.0] * (TOTAL - 1)],
    "max": [*[1.0] * (TOTAL - 1), 7.0],
    "mean": [0.123456 * channel for channel in range(TOTAL)],
    "std": [None, *[0.25] * (TOTAL - 1)],
    "share_of_zeros": [0.0, 1.0, 0.999999, *[0.4567] * (TOTAL - 3)],
    "input_correlation": [*[None] * 5, -0.98, *[0.5] * (TOTAL - 6)],
    "dead": [1],
    "constant": [3],
    "saturated": None,
    "copy": [5],
    "duplicate_of": [[6, 2]],
    "nan_count": [[7, 1200]],
    "inf_count": [[7, 1]],
}


def colour(image: int, channel: int) -> tuple[int, int, int]:
    """The flat colour of a tile: different for each image and channel."""
    return 30 + 25 * channel, 240 - 25 * channel, 90 * image + 20


def mosaic(image: int, channels: int, columns: int) -> Image.Image:
    """A channel grid drawn by this test: tiles row by row, a white gap between."""
    rows = -(-channels // columns)
    size = (columns * (TILE[0] + GAP) - GAP, rows * (TILE[1] + GAP) - GAP)
    picture = Image.new("RGB", size, "white")
    for channel in range(channels):
        row, column = divmod(channel, columns)
        tile = Image.new("RGB", TILE, colour(image, channel % SHOWN))
        picture.paste(tile, (column * (TILE[0] + GAP), row * (TILE[1] + GAP)))
    return picture


def grid(layer: str, image: str, **data: Any) -> FigureEntry:
    geometry = {"columns": COLUMNS, "rows": 3, "tile_width": TILE[0], "tile_height": TILE[1], "gap": GAP}
    counts = {"channels_shown": SHOWN, "channels_total": TOTAL}
    values = {"scale": "channel", "low": LOW, "high": HIGH, "constant": [1], "finite": False}
    whole = {**geometry, **counts, **values, **data}
    size = mosaic(0, whole["channels_shown"], whole["columns"]).size
    return make_figure("channel_grid", layer, image, width=size[0], height=size[1], data=whole)


def health(layer: str) -> FigureEntry:
    bins = {"low": 0, "high": 1, "counts": [1]}
    causes = {"constant": "one image", "duplicate_of": "one image", "effective_rank": "one image"}
    data = {"pixels": 1, "bins": bins, "images": 1200, "undefined": causes, "per_channel": STATISTICS}
    return make_figure("health", layer, None, data=data)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Layers `a` (each channel over its own range), `b` (one range for all) and `many`, with flat tiles."""
    layers = chain([make_layer("a"), make_layer("b"), make_layer("many")])
    figures = [figure for figure in figures_of(layers, IMAGES) if figure.kind != "channel_grid"]
    shared = {"scale": "layer", "low": [-9.5] * SHOWN, "high": [8.0] * SHOWN, "value_low": LOW, "value_high": HIGH}
    ends = {"low": [min(0.0, edge) for edge in EDGES], "high": [max(0.0, edge) for edge in EDGES]}
    wide = {"columns": 10, "channels_shown": len(EDGES), "channels_total": len(EDGES), "constant": [], **ends}
    for image in IMAGES:
        figures += [grid("a", image.id), grid("b", image.id, **shared), grid("many", image.id, **wide)]
    kinds = [*KINDS, KindEntry("health", "What stands out", 55)]
    record = make_record(layers, IMAGES, figures=[*figures, health("a")], kinds=kinds)
    out = write_site(record, tmp_path_factory.mktemp("channels") / "site")
    for index, image in enumerate(IMAGES):
        for figure in record.figures:
            if figure.kind == "channel_grid" and figure.image == image.id:
                data = figure.data
                mosaic(index, data["channels_shown"], data["columns"]).save(out / figure.files[0])
        Image.new("RGB", (64, 48), SEEN).save(out / f"figures/input/{image.id}/seen.png")
    return out


@contextmanager
def at(
    browser: Browser, site: Path, place: str = "", layer: str = "a", width: int = 1280, scheme: str = "light"
) -> Iterator[Page]:
    with opened(browser, width, scheme) as page:
        page.goto((site / "layers" / f"{layer}.html").as_uri() + place)
        yield page


def dialog(page: Page) -> Locator:
    return page.locator("dialog.channel")


def part(page: Page, name: str) -> Locator:
    return dialog(page).locator(f"[data-part={name}]")


def panel(page: Page, image: str) -> Locator:
    return page.locator(f"[data-image='{image}']")


def arrives(page: Page, place: str) -> None:
    """Wait until the address ends in the place."""
    expect(page).to_have_url(re.compile(re.escape(f"#{place}") + "$" if place else r"\.html$"))


def pixels(locator: Locator) -> NDArray[np.int64]:
    """What an element looks like, less its outermost pixels, of which a part may lie beside it."""
    whole = np.asarray(Image.open(io.BytesIO(locator.screenshot())).convert("RGB")).astype(np.int64)
    return whole[1:-1, 1:-1]


def wait_for_colour(locator: Locator, expected: tuple[int, int, int], within: int = 2) -> None:
    """Wait until all of an element has one colour: nothing of a tile's neighbours or of the gap may be in it."""
    for _ in range(40):
        worst = np.abs(pixels(locator) - expected).max()
        if worst <= within:
            return
        locator.page.wait_for_timeout(50)
    raise AssertionError(
        f"differs from {expected} by {worst}: {pixels(locator)[0, 0]} to {pixels(locator)[-1, -1]}"
    )


def centre(page: Page, image: str, channel: int, columns: int = COLUMNS) -> tuple[float, float]:
    """The middle of a tile in the mosaic's picture, in the picture's own coordinates on the screen."""
    picture = panel(page, image).locator(".mosaic img")
    picture.scroll_into_view_if_needed()
    box = picture.bounding_box()
    assert box is not None
    scale = box["width"] / (columns * (TILE[0] + GAP) - GAP)
    row, column = divmod(channel, columns)
    x = box["x"] + scale * (column * (TILE[0] + GAP) + TILE[0] / 2)
    return x, box["y"] + scale * (row * (TILE[1] + GAP) + TILE[1] / 2)


def ends_of(low: float | None, high: float | None) -> str:
    if low is None:
        return "no finite value"
    return number(low) if low == high else f"{number(low)} to {number(high)}"


# Pointing


@pytest.mark.parametrize("layer", ["a", "b"])
def test_pointing_tells_the_channel_and_the_range_of_its_values(browser: Browser, site: Path, layer: str) -> None:
    with at(browser, site, layer=layer) as page:
        readout = panel(page, SQUARE).locator(".readout")
        for channel in range(SHOWN):
            page.mouse.move(*centre(page, SQUARE, channel))
            parts = [f"channel {channel}", ends_of(LOW[channel], HIGH[channel])]
            flags = ["constant", "dead"] if channel == 1 and layer == "a" else ["constant"] if channel == 1 else []
            expect(readout).to_have_text(" · ".join([*parts, *flags]))
        page.mouse.move(*centre(page, SQUARE, SHOWN))  # a place without a tile
        expect(readout).to_have_text("")
        arrives(page, "")


def test_the_outline_lies_about_the_tile(browser: Browser, site: Path) -> None:
    with at(browser, site) as page:
        outline = panel(page, DISC).locator(".outline")
        assert not outline.is_visible()
        x, y = centre(page, DISC, 5)
        page.mouse.move(x, y)
        expect(outline).to_be_visible()
        box, picture = outline.bounding_box(), panel(page, DISC).locator(".mosaic img").bounding_box()
        assert box is not None
        assert picture is not None
        scale = picture["width"] / (COLUMNS * (TILE[0] + GAP) - GAP)
        assert (box["width"], box["height"]) == pytest.approx((TILE[0] * scale, TILE[1] * scale))
        assert (box["x"] + box["width"] / 2, box["y"] + box["height"] / 2) == pytest.approx((x, y))


def test_the_readout_is_in_sight_and_never_under_the_pointer(browser: Browser, site: Path) -> None:
    with at(browser, site) as page:
        page.set_viewport_size({"width": 1280, "height": 400})
        picture = panel(page, DISC).locator(".mosaic img")
        picture.evaluate("picture => scrollTo(0, picture.getBoundingClientRect().top + scrollY - 100)")
        readout = panel(page, DISC).locator(".readout")
        box = picture.bounding_box()
        assert box is not None
        for x in range(int(box["x"]) + 5, int(box["x"] + box["width"]), 20):
            for y in (200, 372, 385, 395):
                page.mouse.move(x, y)
                told = readout.bounding_box()
                assert told is not None
                assert 0 <= told["y"] < 400
                inside = (
                    told["x"] <= x <= told["x"] + told["width"] and told["y"] <= y <= told["y"] + told["height"]
                )
                assert not inside, (x, y, told)


def test_numbers_are_those_that_pages_print(browser: Browser, site: Path) -> None:
    with at(browser, site, layer="many") as page:
        link = panel(page, DISC).locator(".mosaic")
        link.focus()
        readout = panel(page, DISC).locator(".readout")
        page.keyboard.press("Home")
        for channel, edge in enumerate(EDGES):
            expected = f"channel {channel} · {ends_of(min(0.0, edge), max(0.0, edge))}"
            expect(readout).to_have_text(expected)
            page.keyboard.press("ArrowRight")


def test_the_keyboard_alone_points_opens_steps_and_closes(browser: Browser, site: Path) -> None:
    with at(browser, site) as page:
        mosaic_link = panel(page, SQUARE).locator(".mosaic")
        readout = panel(page, SQUARE).locator(".readout")
        panel(page, SQUARE).locator("h2 a").focus()
        for _ in range(8):
            if mosaic_link.evaluate("link => link === document.activeElement"):
                break
            page.keyboard.press("Tab")
        expect(readout).to_contain_text("channel 0 · ")
        steps = ["ArrowRight", "ArrowDown", "ArrowLeft", "ArrowUp", "ArrowUp", "ArrowLeft", "End", "ArrowDown"]
        for key, channel in zip(steps, (1, 4, 3, 0, 0, 0, 7, 7), strict=True):
            page.keyboard.press(key)
            expect(readout).to_contain_text(f"channel {channel} · ")
        page.keyboard.press("Enter")
        expect(dialog(page)).to_be_visible()
        arrives(page, f"{SQUARE}/c7")
        page.keyboard.press("ArrowLeft")
        expect(part(page, "number")).to_have_value("6")
        page.keyboard.press("Shift+Tab")  # from the button that steps on to the number
        page.keyboard.press("Control+a")
        page.keyboard.type("2")
        page.keyboard.press("Enter")
        arrives(page, f"{SQUARE}/c2")
        page.keyboard.press("j")  # a key of the page's own, which rests meanwhile
        page.keyboard.press("Escape")
        expect(dialog(page)).to_be_hidden()
        arrives(page, SQUARE)
        assert mosaic_link.evaluate("link => link === document.activeElement")


# Enlarging


@pytest.mark.parametrize("width", WIDTHS)
def test_a_click_on_a_tile_enlarges_that_channel(browser: Browser, site: Path, width: int) -> None:
    with at(browser, site, width=width) as page:
        for channel in range(SHOWN):
            page.mouse.click(*centre(page, SQUARE, channel))
            expect(dialog(page)).to_be_visible()
            arrives(page, f"{SQUARE}/c{channel}")
            wait_for_colour(part(page, "canvas"), colour(1, channel))
            expect(part(page, "range")).to_contain_text(ends_of(LOW[channel], HIGH[channel]))
            part(page, "close").click()
            expect(dialog(page)).to_be_hidden()
        page.mouse.click(*centre(page, SQUARE, SHOWN))
        expect(dialog(page)).to_be_hidden()
        assert str(page.evaluate("location.href")).endswith(f"a.html#{SQUARE}")


def test_a_tile_of_a_real_grid_is_enlarged_by_a_whole_factor(browser: Browser, tiny_site: Path) -> None:
    (figure,) = (
        each
        for each in read_record(tiny_site).figures
        if (each.kind, each.layer, each.image) == ("channel_grid", "stem.conv", "disc")
    )
    data = figure.data
    picture = np.asarray(Image.open(tiny_site / figure.files[0]).convert("RGB"))
    for channel in (0, 3, 4):
        with at(browser, tiny_site, f"#disc/c{channel}", "stem.conv") as page:
            row, column = divmod(channel, data["columns"])
            top, left = row * (data["tile_height"] + data["gap"]), column * (data["tile_width"] + data["gap"])
            tile = picture[top : top + data["tile_height"], left : left + data["tile_width"]]
            expect(part(page, "range")).to_have_text(ends_of(data["low"][channel], data["high"][channel]))
            box = part(page, "canvas").bounding_box()
            assert box is not None
            factor = box["height"] / data["tile_height"]
            assert factor == int(factor) == box["width"] / data["tile_width"] > 4
            middles = ((np.arange(size) + 0.5) * factor for size in tile.shape[:2])
            down, across = (np.round(middle).astype(int) - 1 for middle in middles)
            assert np.abs(pixels(part(page, "canvas"))[down][:, across] - tile).max() <= 2


def test_arrows_and_buttons_step_through_channels_and_stop_at_the_ends(browser: Browser, site: Path) -> None:
    with at(browser, site, f"#{DISC}/c0") as page:
        expect(dialog(page)).to_be_visible()
        acts: list[tuple[Callable[[], object], int]] = [
            (lambda: page.keyboard.press("ArrowLeft"), 0),
            (lambda: page.keyboard.press("ArrowRight"), 1),
            (lambda: part(page, "after").click(), 2),
            (lambda: part(page, "before").click(), 1),
            (lambda: part(page, "number").fill("7"), 1),
            (lambda: page.keyboard.press("Enter"), 7),
            (lambda: part(page, "after").click(force=True), 7),
            (lambda: page.keyboard.press("ArrowRight"), 7),
        ]
        for act, channel in acts:
            act()
            arrives(page, f"{DISC}/c{channel}")
            wait_for_colour(part(page, "canvas"), colour(0, channel))
        for wrong in ("8", "-1", "2.5", ""):
            part(page, "number").fill(wrong)
            page.keyboard.press("Enter")
            part(page, "number").blur()
            expect(part(page, "number")).to_have_value("7")
        expect(part(page, "of")).to_have_text("0 to 7, of 12")
        expect(part(page, "after")).to_have_attribute("aria-disabled", "true")


def test_the_slider_lays_the_channel_over_the_input(browser: Browser, site: Path) -> None:
    with at(browser, site, f"#{STAR}/c3") as page:
        stage = part(page, "stage")
        wait_for_colour(stage, colour(2, 3))
        part(page, "opacity").fill("25")
        mixed = np.round(0.25 * np.array(colour(2, 3)) + 0.75 * np.array(SEEN)).astype(int)
        wait_for_colour(stage, (mixed[0], mixed[1], mixed[2]), within=3)
        part(page, "opacity").fill("0")
        wait_for_colour(stage, SEEN)
        page.keyboard.press("ArrowRight")  # the slider's own key: it steps the slider, not the channel
        arrives(page, f"{STAR}/c3")
        expect(part(page, "percent")).to_have_text("1 %")


def test_the_colour_bar_ends_where_the_colours_do(browser: Browser, site: Path) -> None:
    for layer, low, high in (("a", LOW[0], HIGH[0]), ("b", -9.5, 8.0)):
        with at(browser, site, f"#{DISC}/c0", layer) as page:
            expect(part(page, "range")).to_have_text(ends_of(LOW[0], HIGH[0]))
            expect(part(page, "low")).to_have_text(number(low))
            expect(part(page, "high")).to_have_text(number(high))
            assert part(page, "shared").is_visible() == (layer == "b")
            for channel in (1, 7):  # a constant one, and one without a finite value
                part(page, "number").fill(str(channel))
                page.keyboard.press("Enter")
                expect(part(page, "range")).to_contain_text(ends_of(LOW[channel], HIGH[channel]))
                assert part(page, "ends").is_visible() == (layer == "b")


def test_statistics_are_those_of_the_record(browser: Browser, site: Path) -> None:
    with at(browser, site, f"#{DISC}/c0") as page:
        expect(part(page, "statistics").locator("caption")).to_have_text("Over all 1,200 images")
        for channel in range(SHOWN):
            expect(part(page, "number")).to_have_value(str(channel))
            names = ("mean", "std", "min", "max")
            zeros = {0: "0 %", 1: "100 %", 2: "over 99.9 %"}.get(channel, "45.7 %")
            columns = [number(STATISTICS[name][channel]) for name in names]
            cells = part(page, "statistics").locator("td")
            expect(cells).to_have_text([*columns, zeros, number(STATISTICS["input_correlation"][channel])])
            page.keyboard.press("ArrowRight")


@pytest.mark.parametrize(
    ("channel", "told"),
    [
        (0, ["Nothing stands out."]),
        (1, ["Dead: zero everywhere."]),
        (3, ["Constant: one value everywhere."]),
        (5, ["Nearly a copy of the input."]),
        (6, ["Duplicate of channel 2."]),
        (7, ["1,200 values are NaN.", "1 value is infinite."]),
    ],
)
def test_what_stands_out_is_told(browser: Browser, site: Path, channel: int, told: list[str]) -> None:
    with at(browser, site, f"#{DISC}/c{channel}") as page:
        lines = part(page, "flags").locator("li")
        expect(lines).to_have_text([*told, "Undefined: constant, duplicate (one image)."])
        if channel == 6:
            lines.locator("a").click()
            arrives(page, f"{DISC}/c2")


def test_a_layer_without_statistics_shows_its_ranges(browser: Browser, site: Path) -> None:
    with at(browser, site, f"#{DISC}/c0", "b") as page:
        expect(part(page, "range")).to_have_text(ends_of(LOW[0], HIGH[0]))
        assert not part(page, "statistics").is_visible()
        assert part(page, "flags").inner_text() == ""


# Addresses


@pytest.mark.parametrize("image", [DISC, SQUARE, STAR])
@pytest.mark.parametrize("width", WIDTHS)
def test_an_address_opens_just_there(browser: Browser, site: Path, image: str, width: int) -> None:
    with at(browser, site, f"#{image}/c4", width=width) as page:
        expect(dialog(page)).to_be_visible()
        wait_for_colour(part(page, "canvas"), colour([DISC, SQUARE, STAR].index(image), 4))
        link = part(page, "permanent")
        expect(link).to_have_text(f"layers/a.html#{image}/c4")
        assert link.evaluate("link => link.href") == str(page.evaluate("location.href"))
        name = next(each.name for each in IMAGES if each.id == image)
        expect(part(page, "image")).to_have_text(name)
        part(page, "close").click()
        arrives(page, image)
        top = panel(page, image).locator("h2").evaluate("heading => heading.getBoundingClientRect().top")
        assert 0 <= top < 800


NO_CHANNELS = ("c8", "c-1", "c01", "c1e1", "c", "c99999999999")
NO_PLACES = ("no/c1", "%", "%2Fc1", "__proto__/c0")


@pytest.mark.parametrize("place", [*(f"{DISC}/{channel}" for channel in NO_CHANNELS), *NO_PLACES])
def test_an_address_of_no_channel_opens_nothing(browser: Browser, site: Path, place: str) -> None:
    with at(browser, site, f"#{place}") as page:
        page.wait_for_timeout(100)
        assert not dialog(page).is_visible()
        page.mouse.click(*centre(page, DISC, 2))
        expect(dialog(page)).to_be_visible()
        # From an open channel to no channel, by hand: nothing stays open that the address doesn't name.
        page.evaluate("place => { location.hash = place; }", place)
        expect(dialog(page)).to_be_hidden()
        arrives(page, place)


def test_back_and_forward_close_and_open(browser: Browser, site: Path) -> None:
    with at(browser, site, f"#{SQUARE}") as page:
        page.mouse.click(*centre(page, SQUARE, 1))
        page.keyboard.press("ArrowRight")
        page.keyboard.press("ArrowRight")
        arrives(page, f"{SQUARE}/c3")
        page.go_back()
        expect(dialog(page)).to_be_hidden()
        arrives(page, SQUARE)
        page.go_forward()
        expect(dialog(page)).to_be_visible()
        wait_for_colour(part(page, "canvas"), colour(1, 3))
        page.keyboard.press("Escape")
        expect(dialog(page)).to_be_hidden()
        page.go_back()  # closing left no second entry for the dialog
        page.wait_for_timeout(100)
        assert not dialog(page).is_visible()


def test_a_click_beside_the_dialog_closes_it(browser: Browser, site: Path) -> None:
    with at(browser, site, f"#{DISC}/c1") as page:
        expect(dialog(page)).to_be_visible()
        page.mouse.click(5, 400)
        expect(dialog(page)).to_be_hidden()
        arrives(page, DISC)


# Several images


def test_the_same_channel_stands_in_a_row_for_all_images(browser: Browser, site: Path) -> None:
    with at(browser, site, f"#{DISC}/c6") as page:
        tiles = part(page, "across").locator("li")
        assert tiles.count() == len(IMAGES)
        for index, image in enumerate(IMAGES):
            expect(tiles.nth(index)).to_contain_text(image.name)
            expect(tiles.nth(index)).to_contain_text(ends_of(LOW[6], HIGH[6]))
            wait_for_colour(tiles.nth(index).locator("canvas"), colour(index, 6))
        tiles.nth(2).locator("a").click()
        arrives(page, f"{STAR}/c6")
        wait_for_colour(part(page, "canvas"), colour(2, 6))
        assert [each.get_attribute("aria-current") for each in tiles.locator("a").all()] == [None, None, "true"]
        page.go_back()  # the row steps, as the arrows do
        expect(dialog(page)).to_be_hidden()


def test_a_pinned_channel_stays_through_images_and_visits(browser: Browser, site: Path) -> None:
    with at(browser, site, f"#{SQUARE}/c5") as page:
        part(page, "pin").click()
        expect(part(page, "pin")).to_have_attribute("aria-pressed", "true")
        page.keyboard.press("ArrowLeft")
        expect(part(page, "pin")).to_have_attribute("aria-pressed", "false")
        page.keyboard.press("Escape")
        page.goto((site / "layers" / "b.html").as_uri())
        assert page.locator(".pinned").count() == 0
        page.goto((site / "layers" / "a.html").as_uri())
        for index, image in enumerate((DISC, SQUARE, STAR)):
            tile = panel(page, image).locator(".pinned canvas")
            tile.scroll_into_view_if_needed()
            wait_for_colour(tile, colour(index, 5))
            expect(panel(page, image).locator(".pinned")).to_contain_text(f"channel 5 · {ends_of(LOW[5], HIGH[5])}")
        panel(page, STAR).locator(".pinned a").click()
        arrives(page, f"{STAR}/c5")
        part(page, "pin").click()
        assert page.locator(".pinned").count() == 0
        part(page, "pin").click()
        page.keyboard.press("Escape")
        panel(page, SQUARE).get_by_role("button", name="Unpin channel 5").click()
        page.reload()
        assert page.locator(".pinned").count() == 0


@pytest.mark.parametrize("width", WIDTHS)
def test_images_side_by_side(browser: Browser, site: Path, width: int) -> None:
    with at(browser, site, width=width) as page:
        panels = "[...document.querySelectorAll('.panel[data-image]')]"
        tops = f"{panels}.map(panel => panel.getBoundingClientRect().top)"
        button = page.get_by_role("button", name="Side by side")
        assert len(set(page.evaluate(tops))) == len(IMAGES)
        button.click()
        page.goto((site / "layers" / "b.html").as_uri())  # remembered from layer to layer
        expect(button).to_have_attribute("aria-pressed", "true")
        assert len(set(page.evaluate(tops))) == 1
        assert page.evaluate(OVERFLOW) <= 0
        assert not panel(page, DISC).locator(".seen").is_visible()
        last = panel(page, STAR).locator(".mosaic img")
        last.scroll_into_view_if_needed()
        box = last.bounding_box()
        assert box is not None
        assert 0 <= box["x"] < width
        page.mouse.click(*centre(page, STAR, 7))
        wait_for_colour(part(page, "canvas"), colour(2, 7))
        page.keyboard.press("Escape")
        button.click()
        page.reload()
        assert len(set(page.evaluate(tops))) == len(IMAGES)


# Everywhere


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("width", WIDTHS)
def test_the_dialog_fits_the_window(browser: Browser, site: Path, width: int, scheme: str) -> None:
    with at(browser, site, f"#{SQUARE}/c6", width=width, scheme=scheme) as page:
        expect(part(page, "flags")).to_contain_text("Duplicate")
        assert page.evaluate(OVERFLOW) <= 0
        assert dialog(page).evaluate("dialog => dialog.scrollWidth - dialog.clientWidth") <= 0
        stage, body = part(page, "stage").bounding_box(), dialog(page).bounding_box()
        assert stage is not None
        assert body is not None
        assert 0 <= body["x"] <= stage["x"]
        assert stage["x"] + stage["width"] <= body["x"] + body["width"] <= width
        assert stage["y"] + stage["height"] <= 800


def test_without_scripts_a_mosaic_leads_to_its_picture(browser: Browser, site: Path) -> None:
    with opened(browser, javascript=False) as page:
        page.goto((site / "layers" / "a.html").as_uri() + f"#{DISC}/c3")
        assert not dialog(page).is_visible()
        assert page.get_by_role("button").count() == 0
        page.mouse.click(*centre(page, DISC, 3))
        page.wait_for_url(re.compile(r"channel_grid/disc/a\.png$"))


def test_a_key_held_leads_to_the_picture_too(browser: Browser, site: Path) -> None:
    with at(browser, site) as page:
        x, y = centre(page, DISC, 3)
        page.keyboard.down("Control")
        with page.context.expect_page() as opening:
            page.mouse.click(x, y)
        page.keyboard.up("Control")
        assert opening.value.url.endswith(f"channel_grid/{DISC}/a.png")
        assert not dialog(page).is_visible()


def test_a_mosaic_that_leads_to_no_file_opens_too(browser: Browser, site: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(site, tmp_path / "site"))
    page_file = copy / "layers" / "a.html"
    text = re.sub(r'(<a class="mosaic"[^>]*) href="[^"]*"', r"\1", page_file.read_text(encoding="utf-8"))
    page_file.write_text(text, encoding="utf-8")
    with at(browser, copy) as page:
        page.mouse.click(*centre(page, SQUARE, 4))
        wait_for_colour(part(page, "canvas"), colour(1, 4))
        assert not part(page, "whole").is_visible()
        page.keyboard.press("Escape")
        panel(page, DISC).get_by_role("button", name=re.compile("channel_grid of a")).focus()
        page.keyboard.press("End")
        page.keyboard.press("Enter")
        wait_for_colour(part(page, "canvas"), colour(0, 7))


def test_in_a_sandbox_everything_works_but_memory(browser: Browser, site: Path) -> None:
    # As a host of build artefacts serves it: without an origin of its own, and with none but the site's scripts.
    policy = {"Content-Security-Policy": "sandbox allow-scripts; default-src 'self'; img-src 'self' data:"}
    context = browser.new_context()
    page = context.new_page()
    problems: list[str] = []
    page.on("pageerror", lambda error: problems.append(str(error)))
    page.on("console", lambda message: problems.append(message.text) if message.type == "error" else None)
    host = "http://report.test/"
    page.route(
        f"{host}**",
        lambda route: route.fulfill(
            path=site / route.request.url.removeprefix(host).partition("#")[0], headers=policy
        ),
    )
    page.goto(f"{host}layers/a.html#{STAR}/c2")
    assert page.evaluate("self.origin") == "null"
    wait_for_colour(part(page, "canvas"), colour(2, 2))
    expect(part(page, "range")).to_have_text(ends_of(LOW[2], HIGH[2]))
    part(page, "after").click()
    wait_for_colour(part(page, "canvas"), colour(2, 3))
    arrives(page, f"{STAR}/c3")
    part(page, "pin").click()
    part(page, "close").click()
    expect(dialog(page)).to_be_hidden()
    arrives(page, STAR)
    tile = panel(page, STAR).locator(".pinned canvas")
    tile.scroll_into_view_if_needed()
    wait_for_colour(tile, colour(2, 3))
    page.mouse.click(*centre(page, DISC, 7))
    wait_for_colour(part(page, "canvas"), colour(0, 7))
    page.go_back()
    expect(dialog(page)).to_be_hidden()
    assert problems == []
    context.close()


def test_numbers_that_are_lost_are_said_to_be(browser: Browser, site: Path) -> None:
    page = browser.new_page()
    page.route("**/static/channels/*", lambda route: route.abort())
    page.goto((site / "layers" / "a.html").as_uri() + f"#{DISC}/c2")
    expect(part(page, "range")).to_have_text("The file with its numbers is missing.")
    wait_for_colour(part(page, "canvas"), colour(0, 2))
    page.keyboard.press("Escape")
    page.mouse.move(*centre(page, DISC, 2))
    expect(panel(page, DISC).locator(".readout")).to_have_text("channel 2 · the file with its numbers is missing")
    page.close()
