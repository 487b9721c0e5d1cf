"""The index of a report of very many layers in Chromium: when it is painted, and how fast it answers."""

import shutil
import statistics
import tempfile
from collections.abc import Iterator
from pathlib import Path

from playwright.sync_api import Browser, sync_playwright

from big import big_record
from browsing import PROGRAMS
from canned import write_site

ROUNDS = 5
PAINTED = """
() => new Promise(resolve => requestAnimationFrame(() => setTimeout(() => resolve([
  performance.getEntriesByName("first-contentful-paint")[0]?.startTime ?? NaN, performance.now()]))))
"""
ANSWERED = """
text => new Promise(resolve => {
  const box = document.querySelector("input[type=search]");
  const started = performance.now();
  box.value = text;
  box.dispatchEvent(new Event("input", { bubbles: true }));
  requestAnimationFrame(() => setTimeout(() => resolve(performance.now() - started)));
})
"""


def measure() -> Iterator[str]:
    program = next(filter(None, map(shutil.which, PROGRAMS)), None)
    if program is None:
        yield "no browser: Chromium is not installed"
        return
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=["--no-sandbox"])
        small, large = (
            times_of(browser, write_site(big_record(layers, 4), Path(folder) / str(layers)))
            for layers in (20, 1800)
        )
        browser.close()
    for what, few, many in zip(
        ("first paint", "usable", "CPU of the main thread until then:", "answers the filter"),
        small,
        large,
        strict=True,
    ):
        yield f"index of 1,800 layers: {what} {many:.0f} ms = {many / few:.1f} x that of 20 layers"


def times_of(browser: Browser, site: Path) -> tuple[float, ...]:
    """Milliseconds, medians of some rounds: first paint, scripts run and painted, CPU till then, a filter run."""
    rounds = []
    for _ in range(ROUNDS):
        context = browser.new_context(viewport={"width": 1280, "height": 800})
        page = context.new_page()
        session = context.new_cdp_session(page)
        session.send("Performance.enable", {"timeDomain": "threadTicks"})
        page.goto((site / "index.html").as_uri(), wait_until="domcontentloaded")
        painted, usable = page.evaluate(PAINTED)
        busy = {each["name"]: each["value"] for each in session.send("Performance.getMetrics")["metrics"]}
        rounds.append((painted, usable, 1000 * busy["ThreadTime"], page.evaluate(ANSWERED, "qkv")))
        context.close()
    return tuple(map(statistics.median, zip(*rounds, strict=True)))
