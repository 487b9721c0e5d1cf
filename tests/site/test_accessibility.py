"""Every kind of page and figure judged by axe-core; and what it can't judge: the keyboard, focus, motion."""

from importlib.resources import files
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page

from browsing import SCHEMES, WIDTHS, half_of, opened, telling_pages

AXE = files("axe_playwright_python").joinpath("axe.min.js").read_text(encoding="utf-8")
JUDGE = """
async () => {
  for (const details of document.querySelectorAll("details")) details.open = true;
  const found = await axe.run({ preload: false, resultTypes: ["violations"] });
  return found.violations.map(({ id, impact, nodes }) =>
    `${impact}: ${id}: ${nodes.length} x ${nodes[0].html.slice(0, 160)}: ${nodes[0].failureSummary}`);
}
"""


def judge(page: Page) -> list[str]:
    page.evaluate(AXE)
    found: list[str] = page.evaluate(JUDGE)
    return found


# All that the keyboard should reach: what is folded away, or hidden until it has the focus, is not there yet.
REACHABLE = """
() => {
  const all = document.querySelectorAll("a[href], button, input, select, textarea, summary, [tabindex='0']");
  const reached = [...all].filter(each => each.tabIndex >= 0 && !each.disabled && each.checkVisibility());
  reached.forEach((each, index) => { each.dataset.reached = index; });
  return reached.length;
}
"""
FOCUS = """
() => {
  const focused = document.activeElement;
  if (focused === document.body) return null;
  const { outlineStyle, outlineWidth, outlineColor } = getComputedStyle(focused);
  const { top, bottom, left, right } = focused.getBoundingClientRect();
  const seen = bottom > 0 && top < innerHeight && right > 0 && left < innerWidth;
  const outlined = outlineStyle !== "none" && parseFloat(outlineWidth) >= 1 && !outlineColor.endsWith(", 0)");
  return [focused.dataset.reached ?? focused.outerHTML, seen && outlined ? "" : focused.outerHTML.slice(0, 200)];
}
"""
# What has the focus is looked at when the next key goes down, as a reader would: after all scrolling.
WATCH = f"""
() => {{
  window.focused = [];
  addEventListener("keydown", () => window.focused.push(({FOCUS})()), true);
}}
"""
WATCHED = f"() => [...window.focused.slice(1), ({FOCUS})()]"
MOVING = """
() => [...document.querySelectorAll("*")].flatMap(each => [each, "::before", "::after"].map(part => {
  const style = getComputedStyle(each, typeof part === "string" ? part : null);
  const lasting = [style.transitionDuration, style.animationDuration].join().split(",").map(parseFloat);
  const moves = lasting.some(seconds => seconds > 0.01) || style.scrollBehavior === "smooth";
  return moves ? each.outerHTML.slice(0, 200) : "";
})).filter(Boolean)
"""


@pytest.mark.parametrize(("width", "scheme"), half_of(WIDTHS, SCHEMES))
def test_axe_finds_nothing_on_any_kind_of_page(
    browser: Browser, versatile_site: Path, width: int, scheme: str
) -> None:
    with opened(browser, width, scheme) as page:
        for address in telling_pages(versatile_site):
            page.goto(address)
            assert judge(page) == [], address


@pytest.mark.parametrize("width", WIDTHS)
def test_the_keyboard_reaches_everything_and_shows_where_it_is(
    browser: Browser, versatile_site: Path, width: int
) -> None:
    with opened(browser, width) as page:
        for address in telling_pages(versatile_site):
            page.goto(address)
            count = page.evaluate(REACHABLE)
            page.evaluate(WATCH)
            for _ in range(count):
                page.keyboard.press("Tab")
            found = list(filter(None, page.evaluate(WATCHED)))
            assert [hidden for _, hidden in found if hidden] == [], address
            assert sorted((place for place, _ in found), key=int) == [str(index) for index in range(count)], address


def test_nothing_moves_where_motion_is_unwanted(browser: Browser, versatile_site: Path) -> None:
    with opened(browser) as page:
        page.emulate_media(reduced_motion="reduce")
        for address in telling_pages(versatile_site):
            page.goto(address)
            assert page.evaluate(MOVING) == [], address
