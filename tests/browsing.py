"""What tests in a browser share: pages that take note of whatever goes wrong, and scripts to measure them."""

import itertools
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from weakref import WeakKeyDictionary

import pytest
from _pytest.mark import ParameterSet
from playwright.sync_api import Browser, Page, Request

WIDTHS = (360, 1600)
SCHEMES = ("light", "dark")
EMPTY = Path(__file__).parent / "empty.html"
PROGRAMS = ("chromium", "chromium-browser", "google-chrome")

REPORT_VIOLATIONS = """
addEventListener("securitypolicyviolation", event =>
  console.error(`policy: ${event.violatedDirective}: ${event.blockedURI} ${event.sample}`));
"""
OVERFLOW = "document.documentElement.scrollWidth - document.documentElement.clientWidth"
LOAD_PICTURES = """
async () => {
  const pictures = [...document.images];
  for (const picture of pictures) picture.loading = "eager";
  await Promise.allSettled(pictures.map(picture => picture.decode()));
  return pictures.filter(picture => picture.naturalWidth === 0).map(picture => picture.src);
}
"""


def half_of(*choices: Sequence[object]) -> list[ParameterSet]:
    """Every combination of two or three choices between two values, as parameters: half of them for each run.

    Among these each value occurs, and of three choices each pair of values; the other half is for the sweep.
    """
    combinations = itertools.product(*(enumerate(choice) for choice in choices))
    return [
        pytest.param(
            *(value for _, value in chosen), marks=[pytest.mark.sweep] * (sum(place for place, _ in chosen) % 2)
        )
        for chosen in combinations
    ]


@dataclass(eq=False)
class _Tab:
    """A page that outlives a test, since making one takes ten times as long as most tests need it."""

    page: Page
    home: str = "file:"
    problems: list[str] = field(default_factory=list)

    def listen(self) -> None:
        page = self.page
        page.on("console", lambda message: self.note(message.text) if message.type == "error" else None)
        page.add_init_script(REPORT_VIOLATIONS)
        page.on("pageerror", lambda error: self.note(str(error)))
        page.on("requestfailed", lambda request: self.note(request.url) if is_lost(request) else None)
        page.on("request", lambda request: self.note(request.url) if is_remote(request.url, self.home) else None)

    def note(self, problem: str) -> None:
        self.problems.append(problem)

    def reset(self, width: int, scheme: str, home: str) -> None:
        """Make it like new: nothing remembered, nothing under the mouse, nothing emulated but what is asked for."""
        page = self.page
        page.goto(EMPTY.as_uri())
        page.evaluate("() => { localStorage.clear(); sessionStorage.clear(); }")
        page.mouse.move(-1, -1)
        page.set_viewport_size({"width": width, "height": 800})
        page.emulate_media(
            media="null", color_scheme="dark" if scheme == "dark" else "light", reduced_motion="null"
        )
        self.problems.clear()
        self.home = home


_idle: "WeakKeyDictionary[Browser, list[tuple[bool, _Tab]]]" = WeakKeyDictionary()
"""For each browser the tabs that no test uses, and whether they run scripts."""


def _take(browser: Browser, javascript: bool) -> _Tab:
    waiting = _idle.setdefault(browser, [])
    found = next((entry for entry in reversed(waiting) if entry[0] == javascript), None)
    if found:
        waiting.remove(found)
        return found[1]
    tab = _Tab(browser.new_context(java_script_enabled=javascript).new_page())
    tab.listen()
    return tab


def _give_back(browser: Browser, javascript: bool, tab: _Tab) -> None:
    tab.page.context.set_offline(False)
    for other in tab.page.context.pages:
        if other is not tab.page:
            other.close()
    _idle[browser].append((javascript, tab))


@contextmanager
def opened(
    browser: Browser,
    width: int = 1280,
    scheme: str = "light",
    javascript: bool = True,
    home: str = "file:",
    expected: Sequence[str] = (),
) -> Iterator[Page]:
    """A page that takes note of whatever goes wrong, and finds at the end that nothing did.

    Requests to addresses that don't start with `home` go wrong; messages that hold one of `expected` don't.
    It may have served another test, but has forgotten it: listeners and routes need a context of their own.
    """
    tab = _take(browser, javascript)
    try:
        tab.reset(width, scheme, home)
        yield tab.page
        found = [problem for problem in tab.problems if not any(text in problem for text in expected)]
        assert found == [], found
    except BaseException:
        tab.page.context.close()
        raise
    _give_back(browser, javascript, tab)


def is_lost(request: Request) -> bool:
    """Whether a file is missing, rather than no longer wanted since the reader went on."""
    return request.failure != "net::ERR_ABORTED"


def is_remote(url: str, home: str = "file:") -> bool:
    return not url.startswith((home, "data:"))


@contextmanager
def served(directory: Path, prefix: str = "/", headers: Mapping[str, str] | None = None) -> Iterator[str]:
    """Serve a directory over HTTP under the path `prefix`, with further headers; the address of it all."""

    class Handler(SimpleHTTPRequestHandler):
        def translate_path(self, path: str) -> str:
            inside = path.startswith(prefix)
            return super().translate_path("/" + path.removeprefix(prefix)) if inside else "/nowhere"

        def end_headers(self) -> None:
            for name, value in (headers or {}).items():
                self.send_header(name, value)
            super().end_headers()

        def log_message(self, format: str, *args: object) -> None:
            """Keep the tests' output clean."""

    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Handler, directory=str(directory))) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}{prefix}"
        server.shutdown()


def pages_of(site: Path) -> list[str]:
    return [path.as_uri() for path in sorted(site.rglob("*.html"))]


def telling_pages(site: Path) -> list[str]:
    """Return the addresses of a few pages that among them are of every kind and show every kind of figure."""
    chosen: dict[str, set[str]] = {}
    for path in sorted(site.rglob("*.html")):
        page = path.relative_to(site).as_posix()
        shown = set(re.findall(r'src="[./]*figures/(\w+)/', path.read_text(encoding="utf-8"))) | {
            page.split("/")[0]
        }
        if shown - set().union(*chosen.values()):
            chosen[path.as_uri()] = shown
    return list(chosen)
