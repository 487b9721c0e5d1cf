"""The sidebar, its filter and the keys, as a reader uses them."""

import dataclasses
import re
from collections.abc import Callable
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect

from browsing import opened
from canned import chain, make_figure, make_image, make_layer, make_record, write_site

NAMES = (
    "x",
    *(f"stage{stage}.{block}.{part}" for stage in (1, 2) for block in (0, 1) for part in ("conv", "bn", "relu")),
    "pool",
    "fc",
)
DEAD = "stage1.1.relu"


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    layers = chain(
        make_layer(
            name,
            module_type={"conv": "Conv2d", "bn": "BatchNorm2d", "relu": "ReLU"}.get(
                name.rsplit(".", 1)[-1], "Linear"
            ),
            status="failed" if name == "fc" else "drawn",
            reason="no luck" if name == "fc" else "",
            title="Pooled" if name == "pool" else "",
        )
        for name in NAMES
    )
    record = make_record(layers, [make_image("cat.png"), make_image("dog.png"), make_image("cow.png")])
    health = make_figure("health", DEAD, None, data={
        "pixels": 1, "counts": {"dead": 3}, "bins": {"low": 0, "high": 1}, "findings": [], "undefined": {},
    })  # fmt: skip
    record = dataclasses.replace(record, figures=[*record.figures, health])
    return write_site(record, tmp_path_factory.mktemp("sidebar") / "site")


def visit(page: Page, site: Path, name: str) -> None:
    page.goto(f"{site.as_uri()}/{name}")


def found(page: Page) -> list[str]:
    return page.locator(".found a").all_inner_texts()


def shown_rows(page: Page) -> int:
    return page.locator("main .row:visible").count()


def press_through(page: Page, *steps: tuple[str, str]) -> None:
    """Press each key and find the heading that it leads to."""
    for key, name in steps:
        page.keyboard.press(key)
        expect(page.locator("h1")).to_have_text(name)
        page.wait_for_load_state()  # keys are listened to when the page's scripts have run


def heading(page: Page) -> str:
    return page.locator("h1").inner_text()


@pytest.mark.parametrize(
    ("query", "is_found"),
    [
        ("conv", lambda name: "conv" in name),
        ("RELU", lambda name: "relu" in name),
        ("stage1 bn", lambda name: "stage1" in name and "bn" in name),
        ("stage?.0.*", lambda name: re.fullmatch(r"stage.\.0\..*", name)),
        ("*.0", lambda name: False),
        ("op:batchnorm", lambda name: name.endswith("bn")),
        ("is:dead", lambda name: name == DEAD),
        ("is:failed", lambda name: name == "fc"),
        ("Pooled", lambda name: name == "pool"),
        ("stage1.0.conv.+", lambda name: False),
        ("nothing like this", lambda name: False),
    ],
)
def test_the_filter_finds(browser: Browser, site: Path, query: str, is_found: Callable[[str], object]) -> None:
    expected = [name for name in NAMES if is_found(name)]
    with opened(browser) as page:
        visit(page, site, "index.html")
        page.get_by_role("searchbox", name="Filter layers").fill(query)
        assert found(page) == expected
        assert shown_rows(page) == len(expected)
        assert page.locator("#_found").inner_text() == f"{len(expected)} of {len(NAMES)} layers"


def test_the_filter_stands_in_the_address_and_can_be_sent(browser: Browser, site: Path) -> None:
    with opened(browser) as page:
        visit(page, site, "index.html")
        page.locator("#_find").fill("stage1 op:conv")
        address = str(page.evaluate("location.href"))
        assert address.endswith("#q=stage1%20op:conv")
    with opened(browser) as page:
        page.goto(address)
        assert page.locator("#_find").input_value() == "stage1 op:conv"
        assert found(page) == ["stage1.0.conv", "stage1.1.conv"]
        page.locator("#_find").fill("")
        assert str(page.evaluate("location.href")) == f"{site.as_uri()}/index.html"
        assert shown_rows(page) == len(NAMES)


def test_the_filter_goes_along_to_a_layer_and_back(browser: Browser, site: Path) -> None:
    with opened(browser) as page:
        visit(page, site, "index.html")
        page.locator("#_find").fill("relu")
        page.locator(".found a").nth(1).click()
        assert heading(page) == DEAD
        assert page.locator("#_find").input_value() == "relu"
        expect(page.locator(".found [aria-current=page]")).to_have_text(DEAD)
        page.go_back()
        assert page.locator("#_find").input_value() == "relu"


def test_buttons_for_flags_count_and_filter(browser: Browser, site: Path) -> None:
    with opened(browser) as page:
        visit(page, site, "index.html")
        button = page.get_by_role("button", name="dead 1")
        button.click()
        assert found(page) == [DEAD]
        expect(button).to_have_attribute("aria-pressed", "true")
        button.click()
        assert page.locator("#_find").input_value() == ""
        assert sorted(page.locator(".flag").all_inner_texts()) == ["dead 1", "failed 1"]


def test_every_module_opens_in_place(browser: Browser, site: Path) -> None:
    with opened(browser) as page:
        visit(page, site, "layers/stage1.0.bn.html")
        expect(page.locator(".modules [aria-current=page]")).to_have_text("bn")
        page.locator(".modules summary", has_text="stage2").click()
        page.locator(".modules details", has_text="stage2").locator("summary", has_text="1").last.click()
        page.locator(".modules details[open]", has_text="stage2").locator("a", has_text="relu").last.click()
        assert heading(page) == "stage2.1.relu"


def test_the_sidebar_follows_the_scroll(browser: Browser, site: Path) -> None:
    with opened(browser) as page:
        visit(page, site, "index.html")
        marked = page.locator(".modules [aria-current=location]")
        for module in ("stage1", "stage2"):
            page.locator("main .tree > details", has_text=module).evaluate("element => element.scrollIntoView()")
            expect(marked).to_contain_text(module)


def test_the_graph_around_a_layer_leads_to_its_neighbours(browser: Browser, site: Path) -> None:
    with opened(browser) as page:
        visit(page, site, "layers/stage1.0.bn.html")
        assert page.locator(".graph title").all_text_contents() == list(NAMES[:5])
        page.locator(".graph a", has_text="relu").click()
        assert heading(page) == "stage1.0.relu"


def test_on_a_phone_the_layer_is_in_the_middle_of_its_graph(browser: Browser, site: Path) -> None:
    with opened(browser, width=360) as page:
        visit(page, site, "layers/stage1.0.relu.html")
        boxes = [page.locator(each).bounding_box() for each in (".spot-current", ".graph .scroll")]
        spot, frame = (box["x"] + box["width"] / 2 for box in boxes if box)
        assert abs(spot - frame) < 5


# Keys


def test_j_and_k_go_through_the_layers(browser: Browser, site: Path) -> None:
    with opened(browser) as page:
        visit(page, site, f"layers/{NAMES[1]}.html")
        press_through(page, ("j", NAMES[2]), ("j", NAMES[3]), ("k", NAMES[2]), ("k", NAMES[1]), ("k", NAMES[0]))
        page.keyboard.press("k")
        assert heading(page) == NAMES[0]


def test_j_goes_to_the_next_layer_that_the_filter_finds(browser: Browser, site: Path) -> None:
    with opened(browser) as page:
        visit(page, site, "layers/stage1.0.bn.html#q=conv")
        press_through(page, ("j", "stage1.1.conv"), ("j", "stage2.0.conv"))


def test_j_and_k_move_through_the_rows_of_the_index(browser: Browser, site: Path) -> None:
    with opened(browser) as page:
        visit(page, site, "index.html#layers")
        page.keyboard.press("j")
        first = page.locator(":focus").inner_text()
        page.keyboard.press("j")
        second = page.locator(":focus").inner_text()
        assert (first, second) == ("x", "conv")
        page.keyboard.press("k")
        assert page.locator(":focus").inner_text() == first
        page.keyboard.press("Enter")
        expect(page.locator("h1")).to_have_text("x")


def test_brackets_go_through_the_images_of_a_layer(browser: Browser, site: Path) -> None:
    with opened(browser) as page:
        visit(page, site, "layers/stage1.0.conv.html")
        seen = []
        for key in ("]", "]", "]", "["):
            page.keyboard.press(key)
            page.wait_for_timeout(100)
            seen.append(str(page.evaluate("location.href")).rsplit("#", 1)[-1])
        assert seen == ["cat", "dog", "cow", "dog"]


def test_brackets_go_through_the_pages_of_images(browser: Browser, site: Path) -> None:
    with opened(browser) as page:
        visit(page, site, "images/cat.html")
        press_through(page, ("]", "dog.png"), ("[", "cat.png"))


def test_slash_filters_and_escape_leaves(browser: Browser, site: Path) -> None:
    with opened(browser) as page:
        visit(page, site, "index.html")
        page.keyboard.press("/")
        page.keyboard.type("fc/j?")
        assert page.locator("#_find").input_value() == "fc/j?"
        page.keyboard.press("Escape")
        assert page.locator("#_find").input_value() == ""
        page.keyboard.type("fc")
        page.keyboard.press("Enter")
        expect(page.locator("h1")).to_have_text("fc")


def test_help_opens_and_keys_can_be_switched_off_for_good(browser: Browser, site: Path) -> None:
    with opened(browser) as page:
        visit(page, site, "layers/stage1.0.bn.html")
        page.keyboard.press("?")
        help_ = page.get_by_role("dialog", name="Keys")
        expect(help_).to_be_visible()
        page.keyboard.press("j")
        help_.get_by_role("checkbox").uncheck()
        page.keyboard.press("Escape")
        expect(help_).to_be_hidden()
        page.keyboard.press("j")
        page.reload()
        page.keyboard.press("j")
        page.keyboard.press("?")
        assert heading(page) == "stage1.0.bn"
        expect(help_).to_be_hidden()
        page.get_by_role("button", name="Keys").click()
        help_.get_by_role("checkbox").check()
        page.keyboard.press("Escape")
        page.keyboard.press("j")
        expect(page.locator("h1")).to_have_text("stage1.0.relu")


def test_keys_with_a_modifier_are_the_browsers(browser: Browser, site: Path) -> None:
    with opened(browser) as page:
        visit(page, site, "layers/stage1.0.bn.html")
        for modifier in ("Control", "Alt", "Meta"):
            page.keyboard.press(f"{modifier}+k")
        assert heading(page) == "stage1.0.bn"


# On a phone


@pytest.mark.parametrize("javascript", [True, False], ids=["script", "noscript"])
def test_on_a_phone_the_sidebar_comes_when_asked_for(browser: Browser, site: Path, javascript: bool) -> None:
    with opened(browser, width=360, javascript=javascript) as page:
        visit(page, site, "layers/stage1.0.bn.html")
        sidebar = page.locator(".sidebar")
        expect(sidebar).to_be_hidden()
        page.get_by_role("link", name="Find").click()
        expect(sidebar).to_be_visible()
        sidebar.get_by_role("link", name="Close").click()
        expect(sidebar).to_be_hidden()
        page.get_by_role("link", name="Find").click()
        sidebar.locator("a", has_text="relu").first.click()
        expect(page.locator("h1")).to_have_text("stage1.0.relu")


def test_without_javascript_the_sidebar_shows_the_modules_around(browser: Browser, site: Path) -> None:
    with opened(browser, javascript=False) as page:
        visit(page, site, "layers/stage1.0.bn.html")
        expect(page.locator(".find")).to_be_hidden()
        expect(page.locator(".modules [aria-current=page]")).to_have_text("bn")
        page.locator(".modules summary", has_text="stage2").click()
        page.locator(".modules details", has_text="stage2").locator("a").click()
        assert heading(page) == "stage2.0.conv"
