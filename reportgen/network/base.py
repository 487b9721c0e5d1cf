"""What both streams are to the rest: layers, and a walk over what each computes."""

from collections.abc import Callable, Generator, Iterable, Iterator, Set
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any, Protocol

from torch import nn

from reportgen.entities import Activation, Batch, Failure, Layer
from reportgen.network.footprint import Footprint
from reportgen.network.recomputing import Recomputed

Walk = Generator[Activation | Failure, None, Any]
Precision = Callable[[], AbstractContextManager[Any]]


class Network(Protocol):
    """A model whose nodes are known, and which can be run a node at a time."""

    layers: tuple[Layer, ...]
    outputs: tuple[str, ...]
    """The names of the nodes whose values the model returns."""
    tracer: str
    """fx or eager."""
    tracer_reason: str
    differences: list[str]
    """Where a walk computed other nodes than were learned, a line each."""

    def module_of(self, layer: Layer) -> nn.Module | None:
        """The module that a layer calls, None for functions."""
        ...

    def walk(self, batch: Batch, wanted: Set[str] | None = None) -> Walk:
        """Run the model on `batch`; yield each wanted node (default: all) as soon as it is computed.

        The next operation runs only when the next node is asked for. Returns (as the generator's value) what the
        model itself returns, None when that could not be computed. The model must be in eval mode.
        """
        ...


class Provable(Network, Protocol):
    """A network that computes each node a second time, when it is asked to."""

    def walk(self, batch: Batch, wanted: Set[str] | None = None, recomputed: Recomputed | None = None) -> Walk:
        """See `Network.walk`; `recomputed` takes a second result of each wanted node, from copies of its inputs."""
        ...


@dataclass(frozen=True)
class Settings:
    """How a network is walked: the context of each forward pass, whether attention is wanted, and what measures
    the memory of the pass in which it is learned (None: nothing does).
    """

    precision: Precision = nullcontext
    attention: bool = False
    footprint: Footprint | None = None


def stream(
    network: Network, batches: Iterable[Batch], wanted: Set[str] | None = None
) -> Iterator[Activation | Failure]:
    """Walk each batch in turn; see `Network.walk`."""
    for batch in batches:
        yield from network.walk(batch, wanted)
