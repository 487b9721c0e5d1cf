"""What tests in a browser share: pages that take note of whatever goes wrong, and scripts to measure them."""

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

from playwright.sync_api import Browser, Page, Request

WIDTHS = (360, 1600)
SCHEMES = ("light", "dark")
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
    """
    context = browser.new_context(
        viewport={"width": width, "height": 800},
        color_scheme="dark" if scheme == "dark" else "light",
        java_script_enabled=javascript,
    )
    problems: list[str] = []
    page = context.new_page()
    page.on("console", lambda message: problems.append(message.text) if message.type == "error" else None)
    page.add_init_script(REPORT_VIOLATIONS)
    page.on("pageerror", lambda error: problems.append(str(error)))
    page.on("requestfailed", lambda request: problems.append(request.url) if is_lost(request) else None)
    page.on("request", lambda request: problems.append(request.url) if is_remote(request.url, home) else None)
    try:
        yield page
        found = [problem for problem in problems if not any(text in problem for text in expected)]
        assert found == [], found
    finally:
        context.close()


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
