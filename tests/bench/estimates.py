"""What a build takes of memory, beside what was estimated for it: `python tests/bench/estimates.py`.

Each build runs in a process of its own; what counts is its peak above what it held when the walk began.
"""

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parent), str(HERE.parents[1])]

from bench.memory import PEAK, RESIDENT, count_peak_anew, status  # noqa: E402 - the path comes first

BUILDS: tuple[tuple[str, int, int], ...] = (
    ("resnet50", 1, 2),
    ("resnet50", 8, 8),
    ("vgg16", 1, 2),
    ("vgg16", 8, 8),
    ("vit_b_16", 1, 2),
    ("fasterrcnn_mobilenet_v3_large_320_fpn", 1, 2),
)
"""A model of torchvision with random weights, the batch size, and how many images."""


def measure(model: str, size: int, images: int, figures: list[str]) -> dict[str, Any]:
    """Build a report in this process; return bytes, estimated and taken, of memory and of address space."""
    import reportgen
    from reportgen import driver
    from reportgen.machine import Room

    found: dict[str, Any] = {"model": model, "batch": size, "images": images}
    estimate = driver.estimate

    def noted(*given: Any) -> Any:
        need = estimate(*given)
        space = Room("", 0, 0, reserved=True)
        found.update(estimated=need.of(min(size, images)), space_estimated=need.of(min(size, images), space))
        count_peak_anew()
        found.update(before=status(RESIDENT), space_before=status("VmSize"))
        return need

    driver.estimate = noted
    driver.memory_rooms = lambda: [Room("", 1 << 60, 0)]
    with tempfile.TemporaryDirectory() as place:
        photos = [str(path) for path in pictures(Path(place), images)]
        options: dict[str, Any] = {"figures": figures} if figures else {}
        out = Path(place) / "site"
        reportgen.build(f"torchvision:{model}", photos, out, weights="none", batch_size=size, quiet=True, **options)
    found["taken"] = 1024 * (status(PEAK) - found.pop("before"))
    found["space_taken"] = 1024 * (status("VmPeak") - found.pop("space_before"))
    return found


def pictures(place: Path, count: int) -> Iterator[Path]:
    """Yield pictures of noise, 400 pixels wide."""
    import numpy as np
    from PIL import Image

    for number in range(count):
        noise = np.random.default_rng(number).integers(0, 255, (30, 40, 3), dtype=np.uint8)
        path = place / f"{number}.png"
        Image.fromarray(noise).resize((400, 300), Image.Resampling.BICUBIC).save(path)
        yield path


def main() -> None:
    if len(sys.argv) > 3:
        model, size, images, *figures = sys.argv[1:]
        print(json.dumps(measure(model, int(size), int(images), figures)))
        return
    print(f"{'model':38} {'batch':>5} {'estimated':>9} {'taken':>9} {'ratio':>5}   {'address space':>19}")
    for build in BUILDS:
        command = [sys.executable, str(HERE / "estimates.py"), *map(str, build)]
        done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, env=dict(os.environ))
        print(row(json.loads(done.stdout.splitlines()[-1])), flush=True)


def row(found: dict[str, Any]) -> str:
    """A line of the table, in megabytes."""
    estimated, taken = found["estimated"] / 1e6, found["taken"] / 1e6
    space = f"{found['space_estimated'] / 1e6:.0f} / {found['space_taken'] / 1e6:.0f}"
    numbers = f"{found['batch']:5} {estimated:9.0f} {taken:9.0f} {estimated / taken:5.2f}   {space:>19}"
    return f"{found['model']:38} {numbers}"


if __name__ == "__main__":
    main()
