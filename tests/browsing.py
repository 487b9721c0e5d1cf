"""What tests in a browser share: pages that take note of whatever goes wrong, and scripts to measure them."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from playwright.sync_api import Browser, Page, Request

WIDTHS = (360, 1280)
SCHEMES = ("light", "dark")
PROGRAMS = ("chromium", "chromium-browser", "google-chrome")

OVERFLOW = "document.documentElement.scrollWidth - document.documentElement.clientWidth"
LOAD_PICTURES = """
async () => {
  const pictures = [...document.images];
  for (const picture of pictures) picture.loading = "eager";
  await Promise.allSettled(pictures.map(picture => picture.decode()));
  return pictures.filter(picture => picture.naturalWidth === 0).map(picture => picture.src);
}
"""


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
