"""The targets for speed and memory as a table: ours, the other, their ratio, and whether it is where it should be.

Each row is a task of `tasks`, run in a process of its own: `python tests/bench/tasks.py NAME`.
"""

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

RESULTS: list[dict[str, Any]] = []
TASKS = Path(__file__).with_name("tasks.py")


@dataclass(frozen=True)
class Row:
    """A target. The ratio is ours / other where it must be at `most`, other / ours where it must be at `least`."""

    task: str
    work: str
    against: str
    most: float = 0.0
    least: float = 0.0

    @property
    def target(self) -> str:
        return f"<= {self.most:g} x" if self.most else f">= {self.least:g} x"


ROWS = (
    Row("walk_resnet50", "walk, grids, sums, files; resnet50, 1 image", "bare forward pass", most=6),
    Row("walk_vgg16", "the same; vgg16", "bare forward pass", most=1.5),
    Row("walk_peer", "the same; resnet50", "create_feature_extractor, make_grid, save_image", least=30),
    Row("one_grid", "one grid of 1024 channels of 14 x 14", "matplotlib, a subplot a channel", least=1000),
    Row("everything", "build, every figure; resnet50, 8 images", "build, grids and sums alone", most=2.5),
    Row("layer_cka", "layer CKA; 176 nodes of resnet50, 64 images", "bare forward passes", most=2),
    Row("layer_cka_peer", "layer CKA; modules of resnet18, 32 images", "torch_cka 0.21", least=15),
    Row("channel_cka", "channel CKA, 2048 channels", "a loop over pairs (64 channels, scaled)", least=1000),
    Row("hypercolumn", "hypercolumn average, 16 layers of resnet50", "upsample, concatenate, mean", least=50),
    Row("hypercolumn_memory", "its memory", "upsample, concatenate, mean", least=100),
    Row("memory", "peak memory above the pass, MB; 8 images", "150 MB", most=1),
    Row("memory_growth", "the same; 64 images", "8 images", most=1.05),
    Row("time_growth", "time an image of 64", "time an image of 8", most=1.1),
    Row("rendering", "pages of 1,800 layers x 4 images, s", "10 s", most=1),
    Row("rendering_memory", "its memory, MB", "300 MB", most=1),
    Row("help", "reportgen --help, s above python -c pass", "0.3 s", most=1),
    Row("light_commands", "commands that load torch: help, render, verify, pack", "none", most=0.5),
    Row("statistics", "--statistics, 100 images", "decoding and bare forward passes", most=1.5),
)


def measure() -> Iterator[str]:
    """Measure every row, or those whose tasks BENCH names, separated by commas."""
    RESULTS.clear()
    chosen = os.environ.get("BENCH", "").split(",")
    yield f"{'work':<54}{'ours':>10}{'other':>10}{'ratio':>9}  {'target':<10}{'':<6}against"
    with tempfile.TemporaryDirectory() as place:
        for row in ROWS:
            if chosen == [""] or row.task in chosen:
                result = _result(row, place)
                RESULTS.append(result)
                yield _line(row, result)


def _result(row: Row, place: str) -> dict[str, Any]:
    command = [sys.executable, str(TASKS), row.task, place]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    facts = {"task": row.task, "work": row.work, "against": row.against, "target": row.target}
    if done.returncode:
        return {**facts, "reason": (done.stderr.strip().splitlines() or ["it failed"])[-1]}
    found = json.loads(done.stdout.splitlines()[-1])
    ratio = found["ours"] / found["other"] if row.most else found["other"] / found["ours"]
    met = ratio <= row.most if row.most else ratio >= row.least
    return {**facts, **found, "ratio": ratio, "met": met}


def _line(row: Row, result: dict[str, Any]) -> str:
    if "reason" in result:
        return f"{row.work:<54}not measured: {result['reason']}"
    numbers = f"{result['ours']:>10.4g}{result['other']:>10.4g}{result['ratio']:>9.3g}"
    said = "met" if result["met"] else "MISSED"
    note = f"; {result['note']}" if result.get("note") else ""
    return f"{row.work:<54}{numbers}  {row.target:<10}{said:<8}{row.against}{note}"
