"""The measuring half of a build: every batch walked, every figure made, every failure entered."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial

from reportgen.entities import Activation, Batch, Layer
from reportgen.errors import ReportError
from reportgen.figures.base import Figure, FigureKind
from reportgen.ledger import Ledger
from reportgen.network.capture import walk
from reportgen.network.graph import Network, Selection
from reportgen.progress import Progress


def measure(
    network: Network,
    selection: Selection,
    batches: Iterable[Batch],
    kinds: Sequence[FigureKind],
    ledger: Ledger,
    progress: Progress,
) -> Iterator[Figure]:
    """Yield every figure of a report as soon as it is made, and enter in `ledger` what was met on the way.

    The next node is computed only when the next figure is asked for. A node or a figure that raises is entered
    and everything else goes on; only a ReportError (an option that a figure can't follow) ends the walk.
    """
    for batch in batches:
        ledger.add_images(batch.images)
        for kind in kinds:
            yield from _guarded(kind, None, partial(kind.begin_batch, batch), ledger)
        for event in walk(network, batch, selection.names):
            progress.step(event.layer.name, len(batch.images))
            if isinstance(event, Activation):
                yield from _figures_of_node(event, kinds, ledger)
            else:
                ledger.add_failure(event)
        for kind in kinds:
            yield from _guarded(kind, None, kind.end_batch, ledger)
    for kind in kinds:
        yield from _guarded(kind, None, kind.compute, ledger)


def _figures_of_node(activation: Activation, kinds: Sequence[FigureKind], ledger: Ledger) -> Iterator[Figure]:
    ledger.add_activation(activation)
    for kind in kinds:
        if kind.wants(activation.layer):
            yield from _guarded(kind, activation.layer, partial(kind.update, activation), ledger)


def _guarded(
    kind: FigureKind, layer: Layer | None, make: Callable[[], Iterable[Figure]], ledger: Ledger
) -> Iterator[Figure]:
    try:
        yield from make()
    except ReportError:
        raise
    except Exception as error:  # noqa: BLE001 - a kind may come from another package and raise anything
        ledger.add_broken_figure(kind, layer, error)
