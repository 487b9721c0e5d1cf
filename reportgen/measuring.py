"""The measuring half of a build: every batch walked, every figure made, every failure entered."""

from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from reportgen.entities import Activation, Batch, Layer
from reportgen.errors import ReportError
from reportgen.figures.base import FigureKind, Product
from reportgen.ledger import Ledger
from reportgen.network.base import Network, Walk
from reportgen.network.selection import Selection
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
) -> Iterator[Product]:
    """Yield every figure of a report as soon as it is made, and enter in `ledger` what was met on the way.

    The next node is computed only when the next figure is asked for. A node or a figure that raises is entered
    and everything else goes on; only a ReportError (an option that a figure can't follow) ends the walk.
    """
    run = _Run(kinds, ledger, progress, timings)
    for batch in timings.each("decode", batches):
        ledger.add_images(batch.images, drawn=batch.drawn)
        for kind in kinds:
            yield from run.guarded(kind, None, partial(kind.begin_batch, batch))
        output = yield from run.products_of_walk(network.walk(batch, selection.names), batch)
        for kind in kinds:
            if output is not None:
                yield from run.guarded(kind, None, partial(kind.returned, batch, output))
            yield from run.guarded(kind, None, kind.end_batch)
    for kind in kinds:
        yield from run.guarded(kind, None, kind.compute)


@dataclass(frozen=True)
class _Run:
    """The kinds of figures of a report, and who is told of what is met on the way."""

    kinds: Sequence[FigureKind]
    ledger: Ledger
    progress: Progress
    timings: Timings

    def products_of_walk(self, events: Walk, batch: Batch) -> Generator[Product, None, Any]:
        """The figures of each node; returns what the model returned."""
        while True:
            try:
                with self.timings.of("forward"):
                    event = next(events)
            except StopIteration as ended:
                return ended.value
            self.progress.step(event.layer.name, len(batch.images))
            if isinstance(event, Activation):
                self.ledger.add_activation(event)
                yield from self._products_of_node(event, batch)
            else:
                self.ledger.add_failure(event)

    def _products_of_node(self, activation: Activation, batch: Batch) -> Iterator[Product]:
        for kind in self.kinds:
            if kind.wants(activation.layer):
                yield from self.guarded(kind, activation.layer, partial(_make, kind, activation, batch.drawn))

    def guarded(
        self, kind: FigureKind, layer: Layer | None, make: Callable[[], Iterable[Product]]
    ) -> Iterator[Product]:
        """What `make` gives; when it raises, that is entered."""
        try:
            with self.timings.of(kind.name):
                products = make()
            yield from self.timings.each(kind.name, products)
        except ReportError:
            raise
        except Exception as error:  # noqa: BLE001 - a kind may come from another package and raise anything
            self.ledger.add_broken_figure(kind.name, layer.name if layer else None, error)


def _make(kind: FigureKind, activation: Activation, drawn: bool) -> Iterable[Product]:
    kind.observe(activation)
    return kind.update(activation) if drawn else ()
