"""What a build learns about each node and figure while it walks: from this the record is made."""

import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import IO, Any

import torch

from reportgen.entities import Activation, Failure, InputImage, Layer
from reportgen.figures.base import Figure, FigureKind
from reportgen.network.base import Network
from reportgen.network.comparison import DIFFERENT, UNKNOWN, Check, worst
from reportgen.network.selection import Selection
from reportgen.numerics.finite import is_finite
from reportgen.parts import flatten
from reportgen.site.axes import split_axes
from reportgen.site.record import (
    DRAWN,
    FAILED,
    SKIPPED,
    FigureEntry,
    ImageEntry,
    KindEntry,
    LayerEntry,
    ProofEntry,
    StatisticsImageEntry,
)
from reportgen.site.store import FigureStore, Place

NOT_SELECTED = "not selected"
NOT_REACHED = "never computed"


@dataclass
class _Fate:
    """The state of one selected layer so far."""

    shape: list[int] | None = None
    dtype: str | None = None
    layout: str = ""
    reading: str = ""
    skipped: str = NOT_REACHED
    drawn: bool = False
    broken: str = ""
    """Why a figure of the layer could not be made."""
    finite: bool | None = None
    """Whether all values so far are; None where there was none."""
    check: Check | None = None
    """How its value compares with its second result, on the batch where that came out worst."""
    failures: dict[str, list[str]] = field(default_factory=dict)
    """Why the layer could not be computed, and on which images."""

    @property
    def failed(self) -> str:
        """What to say of it when something failed, or an empty string."""
        told = [f"{reason} (on {', '.join(names)})" for reason, names in self.failures.items()]
        return "; ".join(told) or self.broken


class Ledger:
    """Collects fates of layers, figures and images, in the order in which the record lists them.

    Figures' entries go to `scratch`, a file that is closed with the last that reads them; without one they stay in
    memory.
    """

    def __init__(self, network: Network, selection: Selection, scratch: IO[bytes] | None = None) -> None:
        self._network = network
        self._selection = selection
        self._fates = {name: _Fate() for name in selection.names}
        self._slugs = {layer.name: layer.slug for layer in network.layers}
        self._images: list[ImageEntry] = []
        self.statistics_images: list[StatisticsImageEntry] = []
        """The images that only feed statistics, in order."""
        self._figures = FigureStore(scratch)
        self._problems: list[str] = []
        self.output: Check | None = None
        """How the output of the first walk compares with the model's; None until it was compared."""

    def add_images(self, images: Iterable[InputImage], *, drawn: bool = True) -> None:
        """Enter the images of a batch."""
        if not drawn:
            self.statistics_images += [
                StatisticsImageEntry(image.name, image.sha256, _pixels_sha256(image)) for image in images
            ]
            return
        self._images += [
            ImageEntry(
                image.id,
                image.name,
                image.width,
                image.height,
                image.sha256,
                image.note,
                _pixels_sha256(image),
            )
            for image in images
        ]

    def add_activation(self, activation: Activation) -> None:
        """Enter what a node computed, after its figures: shape, dtype, layout, and why it can't be drawn if so."""
        fate = self._fates[activation.layer.name]
        reading = activation.reading
        fate.skipped, fate.layout, fate.reading = reading.reason, reading.layout, reading.description
        if isinstance(activation.value, torch.Tensor):
            fate.shape = _shape_of_one(activation.value, len(activation.images), reading.layout)
            fate.dtype = str(activation.value.dtype).removeprefix("torch.")
        finite = _all_finite(activation)
        if finite is not None:
            fate.finite = fate.finite is not False and finite

    def add_check(self, layer: Layer, check: Check) -> None:
        """Enter how a node's value for a batch compares with its second result."""
        fate = self._fates[layer.name]
        fate.check = worst([fate.check or check, check])

    def add_failure(self, failure: Failure) -> None:
        """Enter a node that could not be computed for a batch."""
        fate = self._fates[failure.layer.name]
        named = fate.failures.setdefault(failure.reason, [])
        named += [image.name for image in failure.images if image.name not in named]  # it may have two walks

    def add_figure(self, figure: Figure, files: list[str]) -> None:
        """Enter a figure whose files were written."""
        if figure.layer in self._fates:
            self._fates[figure.layer].drawn = True
        self._figures.append(
            FigureEntry(
                figure.kind,
                figure.layer,
                figure.image,
                files,
                figure.width,
                figure.height,
                figure.alt,
                figure.caption,
                figure.data,
                [f"data/{name}" for name in figure.downloads],
                [f"data/{name}" for name in figure.scripts],
            )
        )

    @property
    def state(self) -> tuple[Any, ...]:
        """All that was entered so far; it can be set to what another ledger of the same build had."""
        return (
            self._fates,
            self._images,
            self.statistics_images,
            list(self._figures),
            self._problems,
            self.output,
        )

    @state.setter
    def state(self, state: tuple[Any, ...]) -> None:
        self._fates, self._images, self.statistics_images, figures, self._problems, self.output = state
        self._figures.clear()
        for figure in figures:
            self._figures.append(figure)

    def slug(self, layer: str | None) -> str:
        """Return the slug of the layer of that name, or an empty string for None."""
        return self._slugs[layer] if layer else ""

    def add_broken_figure(self, kind: str, layer: str | None, error: Exception) -> None:
        """Enter that making a figure of this kind raised, of the layer of that name or of the whole report."""
        reason = f"the figure {kind} raised {type(error).__name__}: {' '.join(str(error).split())}"
        if layer is not None and not self._fates[layer].broken:
            self._fates[layer].broken = reason
        self._problems.append(f"{layer}: {reason}" if layer else reason)

    @property
    def images(self) -> list[ImageEntry]:
        """The images that are drawn, in order."""
        return self._images

    @property
    def figures(self) -> FigureStore:
        """The figures by image and layer, in an order that does not depend on the batch size."""
        images = {image.id: number for number, image in enumerate(self._images)}
        layers = {layer.name: layer.index for layer in self._network.layers}

        def number(place: Place) -> tuple[int, int]:
            image, layer = place
            return images.get(image or "", len(images)), layers.get(layer or "", -1)

        return self._figures.ordered(number)

    @property
    def problems(self) -> list[str]:
        """A line for each node and each figure that failed."""
        fates = [(layer.name, self._fates.get(layer.name)) for layer in self._network.layers]
        failed = [f"{name}: {fate.failed}" for name, fate in fates if fate and fate.failures]
        return [*failed, *self._differences(), *self._network.differences, *self._problems]

    @property
    def proof(self) -> ProofEntry | None:
        """How the walk's output and, when that was asked for, its nodes compare with what the model computes."""
        if self.output is None:
            return None
        return ProofEntry(
            self.output.outcome, self.output.told, [f"{name}: {told}" for name, told in self._checks(UNKNOWN)]
        )

    def _checks(self, outcome: str) -> Iterator[tuple[str, str]]:
        """The nodes whose comparison came out so, each with what is told of it."""
        for layer in self._network.layers:
            fate = self._fates.get(layer.name)
            if fate and fate.check and fate.check.outcome == outcome:
                yield layer.name, fate.check.told

    def _differences(self) -> Iterator[str]:
        """A line for each value that is not what the model computes."""
        for name, told in self._checks(DIFFERENT):
            yield f"{name}: what was handed over is not what it computes from copies of its inputs: {told}"
        if self.output and self.output.outcome == DIFFERENT:
            yield f"the walk does not return what a plain call of the model returns: {self.output.told}"

    def layers(self) -> list[LayerEntry]:
        """Return an entry for every node of the graph, selected or not."""
        return [self._entry(layer) for layer in self._network.layers]

    def _entry(self, layer: Layer) -> LayerEntry:
        fate = self._fates.get(layer.name)
        status, reason = (SKIPPED, NOT_SELECTED) if fate is None else _status(fate)
        known = fate or _Fate()
        return LayerEntry(
            index=layer.index,
            name=layer.name,
            slug=layer.slug,
            op=layer.op,
            module_type=layer.module_type,
            target=layer.target,
            parents=list(layer.parents),
            shape=known.shape,
            dtype=known.dtype,
            layout=known.layout,
            status=status,
            reason=reason,
            detail=layer.detail,
            title=self._selection.titles.get(layer.name, ""),
            selected=fate is not None,
            reading=known.reading,
            finite=known.finite,
            proved=known.check.outcome if known.check else None,
        )


def _pixels_sha256(image: InputImage) -> str:
    return hashlib.sha256(image.original.tobytes()).hexdigest()


def _status(fate: _Fate) -> tuple[str, str]:
    if fate.failed:
        return FAILED, fate.failed
    if fate.drawn:
        return DRAWN, ""
    return SKIPPED, fate.skipped or "none of the chosen kinds of figures draws it"


def _all_finite(activation: Activation) -> bool | None:
    """Whether every value is finite; None where there is no tensor."""
    value, reading = activation.value, activation.reading
    whole = reading.maps is not None and isinstance(value, torch.Tensor) and reading.maps.numel() == value.numel()
    sums = reading.shared.get("sums", []) if whole else []
    if sums and all(map(is_finite, sums)):
        return True  # figures took these already, and what is not finite would make them so
    finite = [is_finite(tensor) for _, tensor in flatten(value)]
    return all(finite) if finite else None


def _shape_of_one(value: torch.Tensor, images: int, layout: str) -> list[int]:
    """The value's shape for one image, so that the record does not depend on the batch size."""
    shape, axes = list(value.shape), split_axes(layout)
    known = len(axes) == len(shape)
    place = next((place for place, letters in enumerate(axes) if known and "N" in letters), 0)
    if not shape:
        return shape
    merged = known and "N" in axes[place] and axes[place] != "N"
    if shape[place] == images or (merged and shape[place] % images == 0):
        shape[place] //= images
    return shape


def kind_entries(kinds: Iterable[FigureKind]) -> list[KindEntry]:
    """Return the record's entries for `kinds`."""
    return [KindEntry(kind.name, kind.title, kind.order) for kind in kinds]
