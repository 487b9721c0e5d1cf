"""A record becomes pages: time and memory, beside what the record itself takes."""

import multiprocessing
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from bench import memory
from big import big_record
from canned import write_site
from reportgen.site.record import to_json
from reportgen.site.render import render


@dataclass(frozen=True)
class Cost:
    """CPU seconds for the record as JSON and for the pages; mebibytes of the process before and after."""

    json_seconds: float
    seconds: float
    before: float
    peak: float
    pages: int
    megabytes: float
    largest: int


def measure() -> Iterator[str]:
    yield revision()
    for layers, images, rich in ((1800, 4, False), (60, 200, True), (67, 1, False)):
        # A process of its own, so that the peak is that of this record.
        with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
            cost = pool.submit(cost_of, layers, images, rich).result()
        yield (
            f"render {layers} layers x {images} images{' with attention and similarity' if rich else ''}: "
            f"{cost.seconds:.1f} s of CPU = {cost.seconds / cost.json_seconds:.1f} x writing report.json, "
            f"{1000 * cost.seconds / cost.pages:.1f} ms a page ({cost.pages} pages, {cost.megabytes:.0f} MB, "
            f"the largest {cost.largest / 1e6:.2f} MB), peak memory {cost.peak:.0f} MiB, "
            f"{cost.peak - cost.before:.0f} above the record"
        )


def revision() -> str:
    """What `reportgen render` takes for 200 pages, as a whole process, beside a Python that does nothing."""
    with tempfile.TemporaryDirectory() as folder:
        site = write_site(big_record(195, 4), Path(folder) / "site")
        pages = len(list(site.rglob("*.html")))
        ours = _seconds("-m", "reportgen", "render", str(site), "--title", "Another title", "--quiet")
    ratio = ours / _seconds("-c", "pass")
    return f"reportgen render, {pages} pages: {ours:.2f} s (target: 2 s), {ratio:.0f} x an empty Python"


def _seconds(*arguments: str, runs: int = 5) -> float:
    """The median of some runs of Python with these arguments."""
    taken = []
    for _ in range(runs):
        started = time.perf_counter()
        subprocess.run([sys.executable, *arguments], check=True, capture_output=True)
        taken.append(time.perf_counter() - started)
    return statistics.median(taken)


def cost_of(layers: int, images: int, rich: bool) -> Cost:
    record = big_record(layers, images, rich=rich)
    before = _peak()
    started = time.process_time()
    pages = total = largest = 0
    for text in render(record).files.values():
        size = len(text.encode())
        pages, total, largest = pages + 1, total + size, max(largest, size)
    seconds, peak = time.process_time() - started, _peak()
    started = time.process_time()
    to_json(record)
    return Cost(time.process_time() - started, seconds, before, peak, pages, total / 1e6, largest)


def _peak() -> float:
    return memory.status(memory.PEAK) / 1024
