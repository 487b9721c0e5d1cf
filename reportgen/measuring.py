"""The measuring half of a build: every batch walked, every figure made, every failure entered."""

from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from reportgen.entities import Activation, Batch, Layer
from reportgen.errors import ReportError
from reportgen.figures.base import FigureKind, Product
from reportgen.ledger import Ledger
from reportgen.network.base import Network, Walk
from reportgen.network.isolation import random_state_kept
from reportgen.network.selection import Selection
from reportgen.numerics.threads import one_thread
from reportgen.progress import Progress
from reportgen.timings import Timings


def measure(
    network: Network,
    selection: Selection,
    batches: Iterable[Batch],
    kinds: Sequence[FigureKind],
    ledger: Ledger,
    progress: Progress,
    timings: Timings,
    threads: int = 1,
    aside: Callable[[], AbstractContextManager[None]] = random_state_kept,
) -> Iterator[Product]:
    """Yield every figure of a report as soon as it is made, and enter in `ledger` what was met on the way.

    The next node is computed only when the next figure is asked for. A node or a figure that raises is entered
    and everything else goes on; only a ReportError (an option that a figure can't follow) ends the walk. With more
    than one of `threads`, kinds that take long (`FigureKind.beside`) make a node's figures beside the others.

    Kinds that compare the images of a batch are given a walk of it, `aside`, so that it leaves no trace; the others
    are given walks of one image each, since for several a network's arithmetic may round otherwise.
    """
    comparing, alone = [kind for kind in kinds if kind.compares], [kind for kind in kinds if not kind.compares]
    slow = sum(kind.beside for kind in kinds)
    with _pool(min(threads - 1, slow)) as pool:
        run = _Run(kinds, ledger, progress, timings, pool)
        for batch in timings.each("decode", batches):
            ledger.add_images(batch.images, drawn=batch.drawn)
            if batch.one is None or len(batch.images) < 2 or not alone:
                yield from run.products_of_batch(network, selection, batch)
                continue
            if comparing:
                with aside():
                    beside = replace(run, kinds=comparing, counted=False)
                    yield from beside.products_of_batch(network, selection, batch)
            for single in batch.singles:
                yield from replace(run, kinds=alone).products_of_batch(network, selection, single)
        for kind in kinds:
            yield from run.guarded(kind, None, kind.compute)


def _pool(threads: int) -> "ThreadPoolExecutor | nullcontext[None]":
    return ThreadPoolExecutor(threads, "reportgen-figures") if threads > 0 else nullcontext()


@dataclass(frozen=True)
class _Run:
    """The kinds of figures of a report, who is told of what is met on the way, and who helps."""

    kinds: Sequence[FigureKind]
    ledger: Ledger
    progress: Progress
    timings: Timings
    pool: ThreadPoolExecutor | None
    counted: bool = True
    """Whether progress is told of its walks."""

    def products_of_batch(self, network: Network, selection: Selection, batch: Batch) -> Iterator[Product]:
        for kind in self.kinds:
            yield from self.guarded(kind, None, partial(kind.begin_batch, batch))
        output = yield from self.products_of_walk(network.walk(batch, selection.names), batch)
        for kind in self.kinds:
            if output is not None:
                yield from self.guarded(kind, None, partial(kind.returned, batch, output))
            yield from self.guarded(kind, None, kind.end_batch)

    def products_of_walk(self, events: Walk, batch: Batch) -> Generator[Product, None, Any]:
        """The figures of each node; returns what the model returned."""
        while True:
            try:
                with self.timings.of("forward"):
                    event = next(events)
            except StopIteration as ended:
                return ended.value
            self.progress.step(event.layer.name, len(batch.images) if self.counted else 0)
            if isinstance(event, Activation):
                yield from self._products_of_node(event, batch)
                self.ledger.add_activation(event)
            else:
                self.ledger.add_failure(event)
            del event  # borrowed: its memory is given back before the next node runs

    def _products_of_node(self, activation: Activation, batch: Batch) -> Iterator[Product]:
        layer = activation.layer
        wanted = [kind for kind in self.kinds if kind.wants(layer)]
        coming = self._started(wanted, activation, batch)
        made: dict[FigureKind, list[Product]] = {}
        if coming:
            # What the others make is kept until it is its turn, so that all of them work at once. Then, rather
            # than wait, this thread makes what none of the others has begun.
            with one_thread():
                for kind in sorted(wanted, key=coming.__contains__):
                    if kind not in coming or coming[kind].cancel():
                        made[kind] = list(self._made(kind, activation, batch))
        for kind in wanted:
            if kind in made:
                yield from made[kind]
            elif kind in coming:
                yield from self.guarded(kind, layer, coming[kind].result, "wait for figures")
            else:
                yield from self._made(kind, activation, batch)

    def _started(
        self, wanted: Sequence[FigureKind], activation: Activation, batch: Batch
    ) -> dict[FigureKind, Future[list[Product]]]:
        """What was handed to other threads. The node waits for it: its value is borrowed."""
        slow = [kind for kind in wanted if kind.beside]
        if self.pool is None or batch.tensor.device.type != "cpu" or len(wanted) < 2:
            return {}
        return {kind: self.pool.submit(self._make_beside, kind, activation, batch.drawn) for kind in slow}

    def _make_beside(self, kind: FigureKind, activation: Activation, drawn: bool) -> list[Product]:
        with one_thread(), self.timings.of(f"{kind.name}, of nodes", beside=True):
            return list(_make(kind, activation, drawn))

    def _made(self, kind: FigureKind, activation: Activation, batch: Batch) -> Iterator[Product]:
        return self.guarded(kind, activation.layer, partial(_make, kind, activation, batch.drawn))

    def guarded(
        self, kind: FigureKind, layer: Layer | None, make: Callable[[], Iterable[Product]], what: str = ""
    ) -> Iterator[Product]:
        """What `make` gives; when it raises, that is entered. The time is counted as spent on `what`."""
        try:
            with self.timings.of(what or kind.name):
                products = make()
            yield from self.timings.each(what or kind.name, products)
        except ReportError:
            raise
        except Exception as error:  # noqa: BLE001 - a kind may come from another package and raise anything
            self.ledger.add_broken_figure(kind.name, layer.name if layer else None, error)


def _make(kind: FigureKind, activation: Activation, drawn: bool) -> Iterable[Product]:
    kind.observe(activation)
    return kind.update(activation) if drawn else ()
