"""Hostile input of every class, counted: `python tests/hostile.py [--full]` prints a table.

The tests check a sample of the same cases, with the same functions.
"""

import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from pathlib import Path

from confined import Confined, confined
from hostile_checkpoints import GOOD, MAKERS
from hostile_checkpoints import faults_of as checkpoint_fault
from hostile_images import FORMATS, LIARS, SPECIAL, faults_of, liar_fault, mutations, special_fault
from hostile_texts import (
    ELSEWHERE,
    PAYLOADS,
    REFUSED,
    caption_fault,
    caption_file_fault,
    caption_image_fault,
    page_faults,
    slug_faults,
    texts,
    trapped_captions,
)

MUTATED = 6_000
STRINGS = 50_000
_SAMPLE = 40
"""A sample is one of so many."""

Case = Callable[[], str]
"""Tries one case, and says what was wrong; "" if nothing."""


def cases(full: bool) -> Iterator[tuple[str, int, int]]:
    """Yield each class of hostile input, how many cases were tried, and how many failed.

    All of 6,000 mutated images and 50,000 strings where `full` says so, else a sample. What failed is printed
    to stderr.
    """
    share = 1 if full else _SAMPLE
    with confined() as process:
        yield "mutated images, of 20 formats", *_tried(_mutated(process, MUTATED // share))
        yield "images that lie", *_tried(_in_directories(process, LIARS, liar_fault))
        yield "what is no image file", *_tried(_in_directories(process, SPECIAL, special_fault))
        yield "checkpoints", *_tried(_checkpoints(process))
    yield "captions", *_tried(caption_fault(text) for text in texts(STRINGS // 2 // share))
    yield "images in captions", *_tried(_pictures())
    yield "names, in every place of every page", *_tried(page_faults(text) for text in PAYLOADS)
    yield "slugs", *_tried(slug_faults(texts(STRINGS // share)))


def _tried(faults: Iterable[str]) -> tuple[int, int]:
    count = failed = 0
    for fault in faults:
        count += 1
        if fault:
            failed += 1
            print(fault, file=sys.stderr)
    return count, failed


def _mutated(process: Confined, count: int) -> Iterator[str]:
    each = -(-count // len(FORMATS))
    with tempfile.TemporaryDirectory() as directory:
        for kind in FORMATS:
            for name, content in mutations(kind, each):
                yield faults_of(process, Path(directory) / name, content)[0]


def _in_directories(
    process: Confined, names: Iterable[str], fault: Callable[[Confined, str, Path], str]
) -> Iterator[str]:
    for name in names:
        with tempfile.TemporaryDirectory() as directory:
            yield fault(process, name, Path(directory))


def _pictures() -> Iterator[str]:
    yield from map(caption_image_fault, PAYLOADS)
    with trapped_captions() as captions:
        for address in (*ELSEWHERE, *REFUSED, *PAYLOADS):
            yield caption_file_fault(captions, address)


def _checkpoints(process: Confined) -> Iterator[str]:
    for makers, code in ((MAKERS, 3), (GOOD, 0)):
        for make in makers.values():
            with tempfile.TemporaryDirectory() as directory:
                yield checkpoint_fault(process, make, Path(directory), code=code)


def main() -> None:
    """Print a table, and end with 1 if anything failed."""
    failures = 0
    print("| hostile input | tried | failed |\n| --- | ---: | ---: |")
    with suppress(BrokenPipeError):
        for name, tried, failed in cases("--full" in sys.argv):
            failures += failed
            print(f"| {name} | {tried:,} | {failed:,} |", flush=True)
    sys.exit(failures > 0)


if __name__ == "__main__":
    main()
