"""The site on paper: every picture, what was folded away, nothing to click on, and black on white."""

import re
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Page

from browsing import opened, telling_pages

PRINTED = """
() => {
  const seen = [...document.querySelectorAll("main img")].filter(each => each.checkVisibility());
  return [...new Set(seen.map(each => each.src))];
}
"""
SEEN = """
selector => [...document.querySelectorAll(selector)].filter(each => each.checkVisibility())
  .map(each => each.outerHTML.slice(0, 80))
"""


def printed(page: Page) -> bytes:
    """The page as PDF; Chromium writes its dictionaries as plain text."""
    return page.pdf()


def count(pdf: bytes, kind: str) -> int:
    return len(re.findall(kind.encode() + rb"\b", pdf))


@pytest.mark.parametrize("javascript", [True, False], ids=["script", "noscript"])
def test_every_picture_is_on_paper(browser: Browser, versatile_site: Path, javascript: bool) -> None:
    for address in telling_pages(versatile_site):
        with opened(browser, javascript=javascript) as page:
            page.set_viewport_size({"width": 800, "height": 200})  # most pictures are far below
            page.goto(address)
            page.emulate_media(media="print")
            pictures = {Path(source).read_bytes() for source in map(path_of, page.evaluate(PRINTED))}
            pdf = printed(page)
            assert count(pdf, "/Subtype /Image") >= len(pictures), address
            assert count(pdf, "/Type /Page") >= 1


def path_of(source: str) -> str:
    return source.removeprefix("file://")


def test_what_is_folded_away_opens_for_printing_only(browser: Browser, versatile_site: Path) -> None:
    with opened(browser) as page:
        page.goto((versatile_site / "layers" / "attention.html").as_uri())
        folded = page.locator("main details:not([open])")
        count_before = folded.count()
        assert count_before > 0
        page.evaluate("dispatchEvent(new Event('beforeprint'))")
        assert folded.count() == 0
        page.evaluate("dispatchEvent(new Event('afterprint'))")
        assert folded.count() == count_before


def test_what_is_folded_away_is_on_paper_without_scripts(browser: Browser, versatile_site: Path) -> None:
    with opened(browser, javascript=False) as page:
        page.goto((versatile_site / "layers" / "attention.html").as_uri())
        table = page.locator("main details:not([open]) table").first
        assert height_of(table) == 0
        page.emulate_media(media="print")
        assert height_of(table) > 20


def height_of(element: Any) -> float:
    box = element.bounding_box()
    return float(box["height"]) if box else 0.0


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_paper_is_white_and_has_no_navigation(browser: Browser, versatile_site: Path, scheme: str) -> None:
    with opened(browser, scheme=scheme) as page:
        for address in telling_pages(versatile_site):
            page.goto(address)
            page.emulate_media(media="print")
            assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
            assert page.evaluate("getComputedStyle(document.body).color") == "rgb(29, 32, 33)"
            assert page.evaluate(SEEN, "nav, button, input, dialog, .skip") == []


def test_each_further_image_of_a_layer_begins_a_sheet(browser: Browser, versatile_site: Path) -> None:
    with opened(browser) as page:
        page.goto((versatile_site / "layers" / "stem.0.html").as_uri())
        page.emulate_media(media="print")
        breaks = page.eval_on_selector_all(".panel", "all => all.map(each => getComputedStyle(each).breakBefore)")
        assert breaks == ["auto", "auto", "page"]  # what spans the images, the first and the second
        assert count(printed(page), "/Type /Page") >= 2
