"""The site wherever it may be opened: without scripts, in a sandbox, under policies, offline, below a path."""

from pathlib import Path
from urllib.parse import unquote, urldefrag, urlsplit

import pytest
from playwright.sync_api import Browser, Frame, Page

from browsing import LOAD_PICTURES, opened, pages_of, served, telling_pages

# As Jenkins serves the reports that a build keeps: no script runs, nothing inline is styled.
JENKINS = "sandbox; default-src 'none'; img-src 'self'; style-src 'self';"
STRICT = "default-src 'self'"
CONTENT = """
() => [...document.querySelectorAll("main h1, main h2, main img, main figcaption, main td, main a[href]")]
  .map(each => each.tagName + (each.getAttribute("src") ?? each.textContent.trim()))
"""
STYLED = "getComputedStyle(document.querySelector('.bar')).position"
SCRIPTED = "document.documentElement.classList.contains('scripted')"


def names_of(site: Path) -> list[str]:
    return [unquote(address.removeprefix(site.as_uri() + "/")) for address in telling_pages(site)]


def go_round(page: Page | Frame) -> None:
    """From the index to a layer and, by the list of modules, to another."""
    page.locator(".row-name").first.click()
    page.locator("h1", has_text="x").wait_for()
    page.locator(".sidebar summary").first.click()
    page.locator("a[rel=next]").first.click()
    page.locator("h1", has_text="stem.0").wait_for()


def test_nothing_is_missing_without_scripts(browser: Browser, versatile_site: Path) -> None:
    for address in telling_pages(versatile_site):
        contents = []
        for javascript in (True, False):
            with opened(browser, javascript=javascript) as page:
                page.goto(address)
                assert page.evaluate(SCRIPTED) == javascript
                contents.append(page.evaluate(CONTENT))
        assert set(contents[0]) <= set(contents[1]), address
        assert len(contents[1]) > 10


def test_the_site_opens_offline_from_disk(browser: Browser, versatile_site: Path) -> None:
    with opened(browser) as page:
        page.context.set_offline(True)
        for address in telling_pages(versatile_site):
            page.goto(address)
            assert page.evaluate(LOAD_PICTURES) == []
        page.goto((versatile_site / "index.html").as_uri())
        go_round(page)


def test_the_site_works_in_a_sandboxed_frame(browser: Browser, versatile_site: Path, tmp_path: Path) -> None:
    # Over HTTP: from disk, Chromium lets such a frame load no file at all besides the page itself.
    with served(versatile_site) as site, served(tmp_path) as home:
        frame = f'<iframe sandbox="allow-scripts" width="1200" height="700" src="{site}index.html"></iframe>'
        (tmp_path / "wrapper.html").write_text(f"<!doctype html><link rel=icon href='data:,'>{frame}")
        with opened(browser, home=f"http://127.0.0.1:{urlsplit(site).port}/", expected=[home]) as page:
            page.goto(f"{home}wrapper.html")
            use_sandboxed(page.frames[1])


def use_sandboxed(frame: Frame) -> None:
    frame.wait_for_function(SCRIPTED)
    # What a frame without an origin may not do.
    with pytest.raises(Exception, match="sandboxed"):
        frame.evaluate("localStorage.length")
    frame.evaluate("reportgen.remember('key', 'value')")
    assert frame.evaluate("reportgen.recall('key')") == "value"
    for query in ("stem", ""):
        frame.evaluate("query => reportgen.go({ query })", query)
        frame.wait_for_function("query => reportgen.fragment().query === query", arg=query)
    go_round(frame)


def test_the_site_is_whole_where_jenkins_serves_it(browser: Browser, versatile_site: Path) -> None:
    policy = {"Content-Security-Policy": JENKINS}
    # That scripts don't run is all that the policy takes away.
    with served(versatile_site, headers=policy) as home, opened(browser, home=home, expected=["script"]) as page:
        for name in names_of(versatile_site):
            page.goto(home + name)
            assert page.evaluate(LOAD_PICTURES) == [], name
            assert page.evaluate(STYLED) == "sticky"
            assert not page.evaluate(SCRIPTED)
        page.goto(home + "index.html")
        go_round(page)


def test_nothing_offends_a_policy_without_inline_code(browser: Browser, versatile_site: Path) -> None:
    policy = {"Content-Security-Policy": STRICT}
    with served(versatile_site, headers=policy) as home, opened(browser, home=home) as page:
        for name in names_of(versatile_site):
            page.goto(home + name)
            assert page.evaluate(LOAD_PICTURES) == [], name
            assert page.evaluate(SCRIPTED)
        page.goto(home + "index.html")
        page.keyboard.press("?")
        page.keyboard.press("Escape")
        page.keyboard.press("/")
        page.keyboard.type("stem")
        page.locator("#_find").fill("")
        go_round(page)


def test_a_policy_that_is_offended_is_heard_of(browser: Browser, tmp_path: Path) -> None:
    (tmp_path / "index.html").write_text("<!doctype html><p style='color: red'>Red</p>")
    policy = {"Content-Security-Policy": STRICT}
    with (
        served(tmp_path, headers=policy) as home,
        pytest.raises(AssertionError, match="style-src"),
        opened(browser, home=home) as page,
    ):
        page.goto(home + "index.html")


STATE = """
() => [localStorage.kept, sessionStorage.kept, innerWidth, navigator.onLine,
  ...["print", "(prefers-reduced-motion)", "(prefers-color-scheme: dark)"].map(each => matchMedia(each).matches)]
"""


def test_a_page_of_one_test_is_like_new_for_the_next(browser: Browser, tmp_path: Path) -> None:
    (tmp_path / "index.html").write_text("<!doctype html><title>Text</title><p>Text</p>")
    address = (tmp_path / "index.html").as_uri()
    with opened(browser, 360, "dark") as used:
        used.goto(address)
        used.evaluate("() => { localStorage.kept = sessionStorage.kept = 'kept'; }")
        used.emulate_media(media="print", reduced_motion="reduce")
        used.context.set_offline(True)
        assert used.evaluate(STATE) == ["kept", "kept", 360, False, True, True, True]
    with opened(browser) as page:
        assert page is used
        page.goto(address)
        assert page.evaluate(STATE) == [None, None, 1280, True, False, False, False]


def test_a_page_that_is_used_again_still_hears_of_everything(browser: Browser, tmp_path: Path) -> None:
    (tmp_path / "index.html").write_text("<!doctype html><title>Text</title><img src='gone.png' alt=''>")
    with opened(browser):
        pass
    for _ in range(2):
        with pytest.raises(AssertionError, match=r"gone\.png"), opened(browser) as page:
            page.goto((tmp_path / "index.html").as_uri())


def test_every_link_works_below_a_path(browser: Browser, versatile_site: Path) -> None:
    with served(versatile_site, prefix="/jobs/42/report/") as home, opened(browser, home=home) as page:
        waiting, places = [home + "index.html"], {}
        wanted: set[str] = set()
        while waiting:
            address = waiting.pop()
            answer = page.goto(address)
            assert answer is not None
            assert answer.ok, address
            places[address] = set(page.evaluate("[...document.querySelectorAll('[id]')].map(each => each.id)"))
            links = page.evaluate("[...document.links].map(link => link.href)")
            wanted |= {link for link in links if link.startswith(home) and urldefrag(link)[0].endswith(".html")}
            waiting += {urldefrag(link)[0] for link in wanted} - set(places) - set(waiting)
        assert len(places) == len(pages_of(versatile_site))
        pairs = [(link, *urldefrag(link)) for link in wanted]
        assert [link for link, address, place in pairs if place and unquote(place) not in places[address]] == []
