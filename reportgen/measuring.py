"""The measuring half of a build: every batch walked, every figure made, every failure entered."""

from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from functools import partial
from typing import Any

from reportgen.entities import Activation, Batch, Layer
from reportgen.errors import ReportError
from reportgen.figures.base import FigureKind, Product
from reportgen.ledger import Ledger
from reportgen.network.base import Network, Walk
from reportgen.network.selection import Selection
from reportgen.progress import Progress


def measure(
    network: Network,
    selection: Selection,
    batches: Iterable[Batch],
    kinds: Sequence[FigureKind],
    ledger: Ledger,
    progress: Progress,
) -> Iterator[Product]:
    """Yield every figure of a report as soon as it is made, and enter in `ledger` what was met on the way.

    The next node is computed only when the next figure is asked for. A node or a figure that raises is entered
    and everything else goes on; only a ReportError (an option that a figure can't follow) ends the walk.
    """
    for batch in batches:
        ledger.add_images(batch.images, drawn=batch.drawn)
        for kind in kinds:
            yield from _guarded(kind, None, partial(kind.begin_batch, batch), ledger)
        output = yield from _products_of_walk(network.walk(batch, selection.names), batch, kinds, ledger, progress)
        for kind in kinds:
            if output is not None:
                yield from _guarded(kind, None, partial(kind.returned, batch, output), ledger)
            yield from _guarded(kind, None, kind.end_batch, ledger)
    for kind in kinds:
        yield from _guarded(kind, None, kind.compute, ledger)


def _products_of_walk(
    events: Walk, batch: Batch, kinds: Sequence[FigureKind], ledger: Ledger, progress: Progress
) -> Generator[Product, None, Any]:
    """The figures of each node; returns what the model returned."""
    while True:
        try:
            event = next(events)
        except StopIteration as ended:
            return ended.value
        progress.step(event.layer.name, len(batch.images))
        if isinstance(event, Activation):
            ledger.add_activation(event)
            yield from _products_of_node(event, batch, kinds, ledger)
        else:
            ledger.add_failure(event)


def _products_of_node(
    activation: Activation, batch: Batch, kinds: Sequence[FigureKind], ledger: Ledger
) -> Iterator[Product]:
    for kind in kinds:
        if kind.wants(activation.layer):
            make = partial(_products_of_kind, kind, activation, batch.drawn)
            yield from _guarded(kind, activation.layer, make, ledger)


def _products_of_kind(kind: FigureKind, activation: Activation, drawn: bool) -> Iterable[Product]:
    kind.observe(activation)
    return kind.update(activation) if drawn else ()


def _guarded(
    kind: FigureKind, layer: Layer | None, make: Callable[[], Iterable[Product]], ledger: Ledger
) -> Iterator[Product]:
    try:
        yield from make()
    except ReportError:
        raise
    except Exception as error:  # noqa: BLE001 - a kind may come from another package and raise anything
        ledger.add_broken_figure(kind, layer, error)
