"""What a figure is, and what a kind of figure has to do."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from torch import nn

from reportgen.entities import Activation, Batch, InputImage, Layer
from reportgen.numerics.scaling import Scale


@dataclass(frozen=True)
class Figure:
    """One picture (in one or more formats), what it says, and the numbers behind it.

    `files` maps a suffix (`png`) to the file's content, which may be made when it is looked up (`Later`); where
    files go is not a figure's business. `layer` and `image` are the layer's name and the image's id, None where a
    figure spans them. `alt` and `caption` are plain text from known facts. `data` holds JSON values only.
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
    downloads: tuple[str, ...] = ()
    """Names (under data/) of the files of numbers that a page offers beside the figure."""
    scripts: tuple[str, ...] = ()
    """Names (under data/) of the scripts that hand numbers to the page that shows the figure."""


@dataclass(frozen=True)
class DataFile:
    """A file of numbers for other programs; `name` is its path under data/: `channels/conv1.csv`."""

    name: str
    content: bytes


Product = Figure | DataFile


@dataclass(frozen=True)
class FigureOptions:
    """What a report says about how its figures are drawn. The words are those of `reportgen.Options`."""

    scale: Scale = field(default_factory=Scale)
    cmap: str = ""
    max_channels: int = 0
    hypercolumns: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    balance: str = "channels"
    cka: str = "debiased"
    cka_examples: str = "auto"
    channel_similarity: str = "cka"
    overview: tuple[int, int] = (15, 3)
    max_filters: int = 64
    attention_query: str = "auto"
    arrays: bool = False

    @property
    def colour_map(self) -> str:
        """The colour map's name: as given, else `RdBu_r` about a zero in the middle, else `viridis`."""
        return self.cmap or ("RdBu_r" if self.scale.mode == "symmetric" else "viridis")


def _no_module(_: Layer) -> nn.Module | None:
    return None


@dataclass(frozen=True)
class Subject:
    """What a report is about, as far as figures need to know it.

    `layers` are the selected ones in execution order, `outputs` the names of the nodes that the model returns,
    `module_of` gives the module of a layer calling one, else None, `categories` are the class names (() unknown),
    `images` and `statistics` how many images are drawn and how many more only feed the statistics.
    """

    layers: tuple[Layer, ...] = ()
    outputs: tuple[str, ...] = ()
    module_of: Callable[[Layer], nn.Module | None] = _no_module
    categories: tuple[str, ...] = ()
    images: int = 0
    statistics: int = 0


class FigureKind(Protocol):
    """A kind of figure. A report makes a fresh instance of each and calls it in this order:

    for each batch `begin_batch`, for each node that it wants (in execution order) `observe` and, when the batch is
    drawn, `update`, then `returned` and `end_batch`; after the last batch `compute`. What it keeps between calls
    are reductions that can be summed, never a value or a view of one. A kind is made as `Kind(options, subject)`.
    """

    name: str
    title: str
    order: int
    beside: bool
    """Whether `observe` and `update` take so long that they are called in a thread beside the other kinds'."""
    compares: bool
    """Whether the kind compares the images of a batch. Others are given each image in a batch of its own, so that
    what they show does not depend on the batch size."""

    def wants(self, layer: Layer) -> bool:
        """Whether the kind is to be called with this layer's activations."""
        ...

    def begin_batch(self, batch: Batch) -> Iterable[Product]:
        """Figures of the images themselves. Also called for batches that are not drawn."""
        ...

    def observe(self, activation: Activation) -> None:
        """Take in one node for a batch of images, drawn or not; `activation` is borrowed."""
        ...

    def update(self, activation: Activation) -> Iterable[Product]:
        """Figures of one node for each image of the batch; `activation` is borrowed until the call ends."""
        ...

    def returned(self, batch: Batch, output: Any) -> Iterable[Product]:
        """Figures of what the model returned for a batch: a tensor, or tensors in tuples, dicts, dataclasses.

        Not called when the output could not be computed. `output` is borrowed until the call ends.
        """
        ...

    def end_batch(self) -> Iterable[Product]:
        """Figures that span the layers of an image. Also called for batches that are not drawn."""
        ...

    def compute(self) -> Iterable[Product]:
        """Figures that span the images."""
        ...


class BaseKind:
    """The calls of FigureKind that a kind leaves empty, and how it makes a figure of an image."""

    name = ""
    beside = False
    compares = False

    def __init__(self, options: FigureOptions, subject: Subject) -> None:
        self.options = options
        self.subject = subject

    def of_image(
        self,
        image: InputImage,
        png: bytes | Mapping[str, bytes],
        size: tuple[int, int],
        *,
        alt: str,
        caption: str,
        data: Mapping[str, Any],
        downloads: tuple[str, ...] = (),
    ) -> Figure:
        """Return the figure of this kind that shows one image as a whole; `size` is the picture's width, height."""
        files = {"png": png} if isinstance(png, bytes) else png
        return Figure(self.name, None, image.id, files, *size, alt, caption, data, downloads)

    def wants(self, layer: Layer) -> bool:
        return True

    def begin_batch(self, batch: Batch) -> Iterable[Product]:
        return ()

    def observe(self, activation: Activation) -> None:
        return

    def update(self, activation: Activation) -> Iterable[Product]:
        return ()

    def returned(self, batch: Batch, output: Any) -> Iterable[Product]:
        return ()

    def end_batch(self) -> Iterable[Product]:
        return ()

    def compute(self) -> Iterable[Product]:
        return ()
