"""A packed report as a reader opens it: from disk, with and without scripts, in a frame without rights."""

import re
from collections.abc import Iterator
from html import escape
from io import BytesIO
from pathlib import Path

import pytest
from PIL import Image
from playwright.sync_api import Browser, Page, expect

import reportgen
from browsing import LOAD_PICTURES, OVERFLOW, WIDTHS, half_of, opened
from canned import make_record, sign_site, write_site

CURRENT = "[data-page]:not([hidden])"
SETTLED = 500
"""Milliseconds until a page lies as it will, on a busy machine too."""
BOXES = """
() => [...document.querySelectorAll("main img, main svg.picture")].filter(each => each.checkVisibility())
  .map(each => {
  const { x, width, height } = each.getBoundingClientRect();
  return [Math.round(x), Math.round(width), Math.round(height), getComputedStyle(each).imageRendering];
})
"""


@pytest.fixture(scope="module")
def packed(tiny_site: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The report of TinyNet in one file."""
    return reportgen.pack(tiny_site, tmp_path_factory.mktemp("packed") / "report.html").path


def pages_of(site: Path) -> Iterator[str]:
    return (path.relative_to(site).as_posix() for path in sorted(site.rglob("*.html")))


def visit(page: Page, packed: Path, fragment: str = "") -> None:
    page.goto("about:blank")
    page.goto(packed.as_uri() + fragment)


def current(page: Page) -> str:
    assert page.locator(CURRENT).count() == 1
    return page.locator(CURRENT).get_attribute("data-page") or ""


@pytest.mark.parametrize("width", WIDTHS)
def test_every_page_opens_whole(browser: Browser, packed: Path, tiny_site: Path, width: int) -> None:
    pictures = LOAD_PICTURES.replace("document.images", f"document.querySelectorAll('{CURRENT} img')")
    with opened(browser, width) as page:
        visit(page, packed)
        for name in pages_of(tiny_site):
            page.evaluate("fragment => { location.hash = fragment }", f"{name}/")
            expect(page.locator(CURRENT)).to_have_attribute("data-page", name)
            assert page.evaluate(pictures) == [], name
            assert page.evaluate(OVERFLOW) <= 0, name
            assert page.locator("h1:visible").count() == 1


@pytest.mark.parametrize(("width", "javascript"), half_of(WIDTHS, (True, False)))
def test_pictures_stand_as_they_do_in_the_site(
    browser: Browser, packed: Path, tiny_site: Path, width: int, javascript: bool
) -> None:
    layer = "layers/stem.conv.html" if (tiny_site / "layers/stem.conv.html").exists() else next(
        name for name in pages_of(tiny_site) if name.startswith("layers/")
    )  # fmt: skip
    for name in ("index.html", layer, "images/disc.html"):
        with opened(browser, width, javascript=javascript) as page:
            page.goto(f"{tiny_site.as_uri()}/{name}")
            page.wait_for_timeout(SETTLED)
            expected = page.evaluate(BOXES)
            visit(page, packed, f"#{name}/")
            page.wait_for_timeout(SETTLED)
            found = page.evaluate(BOXES.replace("main img, main svg.picture", (
                f"[data-page='{name}'] img, [data-page='{name}'] svg.picture"
            )))  # fmt: skip
            assert found == expected
            assert len(found) > 1


def test_without_scripts_all_pages_stand_one_after_the_other(
    browser: Browser, packed: Path, tiny_site: Path
) -> None:
    with opened(browser, javascript=False) as page:
        visit(page, packed)
        names = list(pages_of(tiny_site))
        assert page.locator("h1:visible").count() == len(names)
        page.locator("header a", has_text="About").click()
        top = page.locator("[data-page='about.html']").evaluate("each => each.getBoundingClientRect().top")
        assert -5 <= top < 200
        assert page.evaluate("document.querySelectorAll('svg.picture').length") > 10


def test_pictures_held_once_are_seen_without_scripts(browser: Browser, tmp_path: Path) -> None:
    site = write_site(make_record(), tmp_path / "site")
    reportgen.pack(site, tmp_path / "r.html")
    with opened(browser, javascript=False) as page:
        visit(page, tmp_path / "r.html")
        drawn = page.locator(".card svg.picture").first
        shot = Image.open(BytesIO(drawn.screenshot())).convert("RGB")
        assert shot.getpixel((shot.width // 2, shot.height // 2)) == (128, 128, 128)
        assert drawn.evaluate("each => each.getBoundingClientRect().width") == shot.width


def test_a_picture_of_a_caption_is_one_with_its_title(browser: Browser, tiny_site: Path, tmp_path: Path) -> None:
    reportgen.pack(tiny_site, tmp_path / "r.html")
    with opened(browser, 360) as page:
        visit(page, tmp_path / "r.html", "#layers/block.add.html/")
        picture = page.locator("img.illustration:visible")
        expect(picture).to_have_attribute("title", "It goes around")
        expect(picture).to_have_attribute("alt", "a ring")
        assert picture.evaluate("each => [each.naturalWidth, each.width, getComputedStyle(each).display]") == [
            60,
            60,
            "inline-block",
        ]


def test_a_reader_goes_back_and_forward(browser: Browser, packed: Path) -> None:
    with opened(browser) as page:
        visit(page, packed)
        assert current(page) == "index.html"
        page.locator(".row a").nth(2).click()
        expect(page.locator(CURRENT)).to_have_attribute("data-page", re.compile("^layers/"))
        layer = current(page)
        expect(page).to_have_title(page.locator(CURRENT).get_attribute("data-title") or "")
        expect(page.locator(f"{CURRENT} h1")).to_be_focused()
        assert page.evaluate("scrollY") == 0
        page.mouse.wheel(0, 500)
        page.wait_for_function("scrollY === 500")
        page.locator(f"{CURRENT} a[rel=next]").last.evaluate("link => link.click()")
        expect(page.locator(CURRENT)).not_to_have_attribute("data-page", layer)
        assert page.evaluate("scrollY") == 0
        page.go_back()
        expect(page.locator(CURRENT)).to_have_attribute("data-page", layer)
        page.wait_for_function("scrollY === 500")
        page.go_back()
        expect(page.locator(CURRENT)).to_have_attribute("data-page", "index.html")
        page.go_forward()
        expect(page.locator(CURRENT)).to_have_attribute("data-page", layer)


def test_links_lead_to_places_on_other_pages(browser: Browser, packed: Path) -> None:
    with opened(browser, width=360) as page:
        visit(page, packed, "#images/disc.html/")
        page.locator(f"{CURRENT} .strip li a").last.click()
        expect(page.locator(CURRENT)).to_have_attribute("data-page", re.compile("^layers/"))
        heading = page.locator(f"{CURRENT} h2 a", has_text="disc.png")
        top = heading.evaluate("element => element.getBoundingClientRect().top")
        bar = page.evaluate("document.querySelector('header').getBoundingClientRect().bottom")
        assert bar <= top < 800
        assert page.evaluate("document.activeElement.id").endswith("/disc")


@pytest.mark.parametrize("place", ["disc", "disc/c2", "disc&q=conv", "nowhere"])
def test_an_address_with_a_place_opens_its_page(
    browser: Browser, packed: Path, tiny_site: Path, place: str
) -> None:
    name = next(each for each in pages_of(tiny_site) if each.startswith("layers/"))
    with opened(browser) as page:
        visit(page, packed, f"#{name}/{place}")
        assert current(page) == name
        assert page.evaluate("reportgen.fragment()") == {
            "place": place.partition("&")[0], "query": "conv" if "q=" in place else ""
        }  # fmt: skip
        page.evaluate("reportgen.go({ place: 'x/c3' })")
        assert str(page.evaluate("location.href")).endswith(f"#{name}/x/c3" + ("&q=conv" if "q=" in place else ""))
        page.go_back()
        assert current(page) == name


def test_an_address_that_is_no_page_shows_the_index(browser: Browser, packed: Path) -> None:
    with opened(browser) as page:
        visit(page, packed, "#layers/none.html/%E0%A4%A")
        assert current(page) == "index.html"


def test_the_filter_of_the_sidebar_stands_in_the_address(browser: Browser, packed: Path) -> None:
    with opened(browser) as page:
        visit(page, packed)
        page.locator("#_find").fill("conv")
        expect(page).to_have_url(re.compile(r"#index\.html/q=conv$"))
        page.locator(".found a").first.click()
        expect(page.locator(CURRENT)).to_have_attribute("data-page", re.compile("^layers/"))
        expect(page).to_have_url(re.compile(r"\.html/q=conv$"))
        expect(page.locator(".found [aria-current=page]")).to_have_count(1)


def test_the_skip_link_leads_into_the_page_that_is_shown(browser: Browser, packed: Path) -> None:
    with opened(browser) as page:
        visit(page, packed, "#about.html/")
        page.keyboard.press("Tab")
        page.evaluate("document.querySelector('a.skip').focus()")
        page.keyboard.press("Enter")
        assert current(page) == "about.html"
        page.keyboard.press("Tab")
        assert page.evaluate(f"document.querySelector('{CURRENT}').contains(document.activeElement)")


def test_nothing_runs_or_loads_but_what_the_policy_lists(browser: Browser, packed: Path, tmp_path: Path) -> None:
    text = packed.read_text(encoding="utf-8")
    added = (
        "<script>document.title = 'run'</script><img src=x onerror=\"document.title = 'run'\">"
        '<p style="position: fixed">styled</p><img src="https://example.org/x.png" alt="x">'
        '<link rel="stylesheet" href="https://example.org/x.css"><iframe src="https://example.org/"></iframe>'
    )
    (tmp_path / "changed.html").write_text(text.replace("</main>", f"{added}</main>"), encoding="utf-8")
    context = browser.new_context()
    page = context.new_page()
    refused: list[str] = []
    asked: list[str] = []
    page.on("console", lambda message: refused.append(message.text) if message.type == "error" else None)
    page.on("response", lambda response: asked.append(response.url))
    page.goto((tmp_path / "changed.html").as_uri())
    page.wait_for_function("document.documentElement.classList.contains('scripted')")
    assert page.title() != "run"
    assert page.locator("p", has_text="styled").evaluate("each => getComputedStyle(each).position") == "static"
    kinds = {kind for kind in ("script", "style", "img", "frame") if any(f"{kind}-src" in each for each in refused)}
    assert {"script", "style", "img"} <= kinds, refused
    assert [url for url in asked if url.startswith("http")] == []
    context.close()


@pytest.mark.parametrize("source", ["src", "srcdoc"])
def test_it_works_in_a_frame_without_rights(browser: Browser, packed: Path, tmp_path: Path, source: str) -> None:
    value = packed.as_uri() if source == "src" else escape(packed.read_text(encoding="utf-8"))
    frame = f'<iframe sandbox="allow-scripts" {source}="{value}" width="1200" height="700"></iframe>'
    (tmp_path / "frame.html").write_text(f"<!doctype html><title>f</title>{frame}", encoding="utf-8")
    # Chromium says on its console that such a frame may not go to a file.
    with opened(browser, expected=["Not allowed to load local resource"]) as page:
        page.goto((tmp_path / "frame.html").as_uri())
        inner = page.frame_locator("iframe")
        inner.locator(".row a").nth(2).click()
        expect(inner.locator(CURRENT)).to_have_attribute("data-page", re.compile("^layers/"))
        inner.locator("header a", has_text="About").click()
        expect(inner.locator(CURRENT)).to_have_attribute("data-page", "about.html")
        inner.locator("header a").first.click()
        inner.locator("#_find").fill("conv")
        expect(inner.locator(".found a").first).to_be_visible()
        inner.locator(".found a").first.click()
        expect(inner.locator(CURRENT)).to_have_attribute("data-page", re.compile("^layers/.*conv"))


def test_data_scripts_are_loaded_in_the_site_and_in_the_file(browser: Browser, tmp_path: Path) -> None:
    site = write_site(make_record(), tmp_path / "site")
    (site / "static" / "numbers.js").write_text('reportgen.numbers.set("a", [1, "</script>"]);\n', encoding="utf-8")
    sign_site(site)
    reportgen.pack(site, tmp_path / "r.html")
    ask = """
    async () => {
      const got = [];
      reportgen.numbers = { set: (...values) => got.push(values) };
      await reportgen.load("static/numbers.js");
      await reportgen.load("static/numbers.js");
      const lost = await reportgen.load("static/none.js").then(() => "", error => error.message);
      return [got, lost !== ""];
    }
    """
    context = browser.new_context()
    for address in ((site / "layers" / "stem.conv.html").as_uri(), (tmp_path / "r.html").as_uri()):
        page = context.new_page()
        page.goto(address)
        assert page.evaluate(ask) == [[["a", [1, "</script>"]]], True]
    context.close()


def test_on_paper_only_the_page_shown_is_printed(browser: Browser, packed: Path) -> None:
    with opened(browser) as page:
        visit(page, packed, "#about.html/")
        page.emulate_media(media="print")
        assert page.locator("h1:visible").count() == 1
