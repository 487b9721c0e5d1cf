"""The sweep: every model of the zoo walked node by node, each in a process of its own, as a table.

    python tests/sweep.py [torchvision|timm|transformers] [PATTERN] [--out DIRECTORY]

The table says for each model which tracer it got, how many nodes were drawn, skipped and failed, how long a walk
took and how much memory the process had, whether every value equals the oracle's (tests/oracle.py), and, where
torch.fx can trace the model, whether the names are torchvision's and both streams show the same.
"""

import argparse
import dataclasses
import json
import multiprocessing
import os
import re
import resource
import sys
import time
import traceback
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from multiprocessing.context import ForkServerContext
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torchvision.models.feature_extraction import get_graph_node_names

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]  # run as a script, too

from oracle import Comparison, Digest, Recording, digests_of, record  # noqa: E402
from reportgen.entities import Activation, Batch, Failure  # noqa: E402
from reportgen.network.base import Network  # noqa: E402
from reportgen.network.tracing import trace_model  # noqa: E402
from zoo import Exhibit, Specimen, exhibit, exhibits  # noqa: E402

LIMIT = 900
"""Seconds that a model may take."""


@dataclass
class Row:
    """What the sweep found out about one model."""

    source: str
    name: str
    family: str
    tracer: str = ""
    reason: str = ""
    nodes: int = 0
    drawn: int = 0
    skipped: int = 0
    failed: int = 0
    unaccounted: int = 0
    seconds: float = 0.0
    peak_mib: int = 0
    compared: int = 0
    names: str = ""
    """Whether the names are torchvision's: `equal`, or how many differ; empty where it can't trace the model."""
    streams: str = ""
    """Whether the eager stream has the names and values of torch.fx: `equal`, or what differs."""
    problems: list[str] = field(default_factory=list)
    skips: dict[str, int] = field(default_factory=dict)
    """Why nodes that are tensors were skipped, by reason without its numbers."""


@dataclass
class Shown:
    """The digests of every node of one walk, in order, and what became of the nodes."""

    values: dict[str, tuple[Digest, ...]] = field(default_factory=dict)
    tensors: set[str] = field(default_factory=set)
    drawn: int = 0
    skipped: int = 0
    failed: int = 0
    skips: dict[str, int] = field(default_factory=dict)
    comparison: Comparison = field(default_factory=Comparison)

    def add(self, event: Activation | Failure, recording: Recording) -> None:
        """Compare one event with the recording and count it."""
        self.comparison.check(event, recording)
        self.values[event.layer.name] = () if isinstance(event, Failure) else digests_of(event.value)
        if isinstance(event, Failure):
            self.failed += 1
            return
        if isinstance(event.value, torch.Tensor):
            self.tensors.add(event.layer.name)
        if is_drawn(event):
            self.drawn += 1
            return
        self.skipped += 1
        if isinstance(event.value, torch.Tensor):
            reason = re.sub(r"\d+", "#", event.reading.reason)
            self.skips[reason] = self.skips.get(reason, 0) + 1


def is_drawn(activation: Activation) -> bool:
    """Whether a report has a figure of a node: maps, parts without positions, or a vector."""
    reading, value = activation.reading, activation.value
    vector = isinstance(value, torch.Tensor) and reading.layout in ("NC", "C", "N") and value.numel() > 0
    return reading.maps is not None or bool(reading.vectors) or vector


def batch_of(specimen: Specimen) -> Batch:
    return Batch((), specimen.tensor, args=specimen.args, kwargs=specimen.kwargs)


def walk_all(network: Network, specimen: Specimen, recording: Recording) -> Shown:
    """Walk a network once and compare each value before the walk goes on."""
    shown = Shown()
    torch.manual_seed(0)
    walk = network.walk(batch_of(specimen))
    while True:
        try:
            event = next(walk)
        except StopIteration as ended:
            shown.comparison.finish(ended.value, recording)
            return shown
        shown.add(event, recording)


def examine(entry: Exhibit) -> Row:
    """Find out everything about one model."""
    row = Row(entry.source, entry.name, entry.family)
    recording = record_fresh(entry)
    specimen = entry.load()
    began = time.perf_counter()
    network = trace_model(specimen.module, batch_of(specimen))
    row.tracer, row.reason, row.nodes = network.tracer, network.tracer_reason, len(network.layers)
    for _ in network.walk(batch_of(specimen)):
        pass
    row.seconds = round(time.perf_counter() - began, 2)
    row.peak_mib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
    shown = walk_all(network, specimen, recording)
    _enter(row, network, shown)
    row.names = compare_names(network, specimen.module)
    if network.tracer == "fx":
        row.streams = compare_streams(entry.load(), shown, recording, "leaves" in network.tracer_reason)
    return row


def record_fresh(entry: Exhibit) -> Recording:
    """Run the oracle on a model of its own: one that keeps something from a pass must not hand it to the stream."""
    specimen = entry.load()
    return record(specimen.module, specimen.args, specimen.kwargs)


def _enter(row: Row, network: Network, shown: Shown) -> None:
    row.drawn, row.skipped, row.failed, row.skips = shown.drawn, shown.skipped, shown.failed, shown.skips
    row.compared = shown.comparison.compared
    row.unaccounted = len({layer.name for layer in network.layers} ^ set(shown.values))
    row.problems += [*shown.comparison.differences, *shown.comparison.failures, *network.differences]


def compare_names(network: Network, module: nn.Module) -> str:
    """Compare the nodes with torchvision's own; it renumbers modules whose own names end in a number."""
    if network.tracer != "fx" or "leaves" in network.tracer_reason:
        return ""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        theirs = get_graph_node_names(module)[1]
    ours = [layer.name for layer in network.layers]
    numbered = {layer.name for layer in network.layers if re.fullmatch(r".+_[0-9]+", layer.target)}
    if len(theirs) != len(ours):
        return f"{len(ours)} nodes, {len(theirs)} of torchvision's"
    different = [a for a, b in zip(ours, theirs, strict=True) if a != b and a not in numbered]
    return f"{len(different)} differ, first {different[0]}" if different else "equal"


def compare_streams(specimen: Specimen, graph: Shown, recording: Recording, opened: bool) -> str:
    """Compare the nodes that are tensors, by name and value, with those of the eager stream.

    `opened` says that torch.fx needed blocks to be leaves, which the eager stream opens: the oracle counts then.
    """
    network = trace_model(specimen.module, batch_of(specimen), tracer="eager")
    eager = walk_all(network, specimen, recording)
    both = graph.tensors & eager.tensors
    found = {
        "only in fx": [name for name in graph.values if name in graph.tensors - eager.tensors],
        "only in eager": [name for name in eager.values if name in eager.tensors - graph.tensors],
        "of one name, two values": [
            name for name in graph.values if name in both and graph.values[name] != eager.values[name]
        ],
    }
    if opened:
        found = {}
    found["of eager not the oracle's"] = [*eager.comparison.differences, *eager.comparison.failures]
    found["of eager not as learnt"] = network.differences
    told = [f"{len(names)} {what} ({', '.join(names[:3])})" for what, names in found.items() if names]
    return "; ".join(told) or "equal"


# Processes and tables


def run_one(source: str, name: str, limit: int = LIMIT) -> Row:
    """Examine one model in a process of its own, forked from one that has torch loaded and nothing else done."""
    row = Row(source, name, exhibit(source, name).family)
    context = _processes()
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(target=_send, args=(source, name, sender))
    process.start()
    sender.close()
    try:
        if receiver.poll(limit):
            row = Row(**receiver.recv())
        else:
            row.problems.append(f"not done after {limit} seconds")
    except EOFError:
        process.join()
        row.problems.append(f"the process ended with exit code {process.exitcode}")
    finally:
        process.kill()
        process.join()
    return row


def _send(source: str, name: str, sender: Connection) -> None:
    warnings.simplefilter("ignore")
    row = Row(source, name, exhibit(source, name).family)
    try:
        row = examine(exhibit(source, name))
    except Exception as error:  # noqa: BLE001 - whatever a model raises is a line in the table
        where = traceback.extract_tb(error.__traceback__)[-1]
        told = " ".join(str(error).split())
        row.problems.append(f"{type(error).__name__} in {Path(where.filename).name}:{where.lineno}: {told}")
    sender.send(dataclasses.asdict(row))


def _processes() -> ForkServerContext:
    os.environ["PYTHONPATH"] = os.pathsep.join(sys.path[:2])  # the server has no sys.path of ours
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["sweep", "timm", "transformers"])
    return context


HEADER = "| family | model | tracer | nodes | drawn | skipped | failed | s | MiB | values | names | streams |"


def as_markdown(rows: Sequence[Row]) -> str:
    """The table, with a line below it for each problem."""
    lines = [HEADER, "|---|---|---|--:|--:|--:|--:|--:|--:|---|---|---|", *map(_line, rows)]
    problems = [f"- `{row.name}`: {problem}" for row in rows for problem in row.problems[:5]]
    problems += [f"- `{row.name}`: streams {row.streams}" for row in rows if row.streams not in ("", "equal")]
    problems += [f"- `{row.name}`: names {row.names}" for row in rows if row.names not in ("", "equal")]
    return "\n".join([*lines, "", *problems]) + "\n"


def _line(row: Row) -> str:
    values = f"{row.compared} equal" if row.compared and not row.problems else "see below"
    marks = [(mark if mark in ("", "equal") else "see below") or "-" for mark in (row.names, row.streams)]
    cells = [
        row.family, row.name, row.tracer, row.nodes, row.drawn, row.skipped, row.failed + row.unaccounted,
        f"{row.seconds:.2f}", row.peak_mib, values, *marks,
    ]  # fmt: skip
    return f"| {' | '.join(map(str, cells))} |"


def sweep(chosen: Sequence[Exhibit]) -> Iterator[Row]:
    """Examine one model after the other."""
    for entry in chosen:
        yield run_one(entry.source, entry.name)


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("source", nargs="?", default="", help="torchvision, timm or transformers; all by default")
    parser.add_argument("pattern", nargs="?", default="", help="a part of the model's name or of its family")
    parser.add_argument("--out", type=Path, help="also write the tables here, as Markdown and JSON")
    given = parser.parse_args(arguments)
    rows: list[Row] = []
    for row in sweep(exhibits(given.source, given.pattern)):
        rows.append(row)
        print(_line(row), *row.problems[:3], sep="\n    ", flush=True)
        if given.out:
            _write(given.out, given.source or "all", rows)
    return int(any(row.problems for row in rows))


def _write(directory: Path, name: str, rows: Sequence[Row]) -> None:
    directory.mkdir(parents=True, exist_ok=True)
    (directory / f"{name}.md").write_text(as_markdown(rows), encoding="utf-8")
    content: list[dict[str, Any]] = [dataclasses.asdict(row) for row in rows]
    (directory / f"{name}.json").write_text(json.dumps(content, indent=1), encoding="utf-8")


if __name__ == "__main__":
    sys.exit(main())
