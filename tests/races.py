"""Builds that start at the same time and want the same target, in processes of their own."""

import multiprocessing
import os
import socket
from multiprocessing.synchronize import Barrier
from pathlib import Path
from typing import Any

from canned import read_tree
from reportgen.errors import OutputError
from reportgen.site.writer import SiteWriter

BUILDS = 8


def build_again_and_again(number: int, target: Path, rounds: int, barrier: Barrier, results: Any) -> None:
    """In each round: start when all do, hold the target until all have tried, and publish."""
    for turn in range(rounds):
        barrier.wait(60)
        try:
            with SiteWriter(target, force=True) as site:
                barrier.wait(60)
                site.write("report.json", f'{{"generator": "reportgen", "round": {turn}, "by": {number}}}')
                site.publish()
                outcome = f"won {site.files}"
        except OutputError as error:
            outcome = str(error)
            barrier.wait(60)
        barrier.wait(60)
        results.put((turn, number, os.getpid(), outcome))


def race(target: Path, rounds: int) -> bool:
    """Let BUILDS of them race so often; True, or AssertionError when another number than one of them won."""
    context = multiprocessing.get_context("spawn")
    barrier, results = context.Barrier(BUILDS), context.Queue()
    processes = [
        context.Process(target=build_again_and_again, args=(number, target, rounds, barrier, results))
        for number in range(BUILDS)
    ]
    for process in processes:
        process.start()
    told = [results.get(timeout=120) for _ in range(BUILDS * rounds)]
    for process in processes:
        process.join(60)
        assert process.exitcode == 0
    for turn in range(rounds):
        outcomes = {pid: outcome for of, _, pid, outcome in told if of == turn}
        winners = [pid for pid, outcome in outcomes.items() if outcome == "won 1"]
        assert len(winners) == 1, outcomes
        start = f"{target}: locked by another build (process {winners[0]} on {socket.gethostname()}, since "
        losers = [outcome for pid, outcome in outcomes.items() if pid != winners[0]]
        assert len(losers) == BUILDS - 1
        assert all(outcome.startswith((start, f"{target}: locked by another build;")) for outcome in losers), losers
    last = next(number for turn, number, _, outcome in told if turn == rounds - 1 and outcome == "won 1")
    record = f'{{"generator": "reportgen", "round": {rounds - 1}, "by": {last}}}'.encode()
    assert read_tree(target)["report.json"] == record
    assert [path.name for path in target.parent.iterdir()] == [target.name]
    return True
