"""What a figure is, and what a kind of figure has to do."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from reportgen.entities import Activation, Batch, Layer
from reportgen.numerics.scaling import Scale


@dataclass(frozen=True)
class Figure:
    """One picture (in one or more formats), what it says, and the numbers behind it.

    `files` maps a suffix (`png`) to the file's content; where files go is not a figure's business. `layer` and
    `image` are the layer's name and the image's id, None where a figure spans them. `alt` and `caption` are
    plain text from known facts. `data` holds JSON values only.
    """

    kind: str
    layer: str | None
    image: str | None
    files: Mapping[str, bytes]
    width: int
    height: int
    alt: str
    caption: str
    data: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class FigureOptions:
    """What a report says about how its figures are drawn."""

    scale: Scale = field(default_factory=Scale)
    cmap: str = ""
    max_channels: int = 0

    @property
    def colour_map(self) -> str:
        """The colour map's name: as given, else `RdBu_r` about a zero in the middle, else `viridis`."""
        return self.cmap or ("RdBu_r" if self.scale.mode == "symmetric" else "viridis")


class FigureKind(Protocol):
    """A kind of figure. A report makes a fresh instance of each kind and calls it in this order:

    for each batch: `begin_batch`, `update` for each node it wants (in execution order), `end_batch`; at the end
    `compute`. What it keeps between the calls are reductions, never a value or a view of one.
    """

    name: str
    title: str
    order: int

    def wants(self, layer: Layer) -> bool:
        """Whether `update` is to be called with this layer's activations."""
        ...

    def begin_batch(self, batch: Batch) -> Iterable[Figure]:
        """Figures of the images themselves."""
        ...

    def update(self, activation: Activation) -> Iterable[Figure]:
        """Figures of one node for each image of the batch; `activation` is borrowed until the call ends."""
        ...

    def end_batch(self) -> Iterable[Figure]:
        """Figures that span the layers of an image."""
        ...

    def compute(self) -> Iterable[Figure]:
        """Figures that span the images."""
        ...


class PerNodeFigure:
    """The calls of FigureKind that a kind with one figure a node and image leaves empty."""

    def wants(self, layer: Layer) -> bool:
        return True

    def begin_batch(self, batch: Batch) -> Iterable[Figure]:
        return ()

    def update(self, activation: Activation) -> Iterable[Figure]:
        return ()

    def end_batch(self) -> Iterable[Figure]:
        return ()

    def compute(self) -> Iterable[Figure]:
        return ()
