"""Long layer pages in parts: which images stand on a layer's own page, and which on the pages that continue it.

A browser slows down over pages of many elements, so parts are filled up to a number of elements and of bytes. Both
are estimated from the data, never below what the templates make of it.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from reportgen.site.record import FigureEntry, LayerEntry


@dataclass(frozen=True)
class Weight:
    """HTML elements, and bytes of HTML."""

    elements: int
    bytes: int

    def __add__(self, other: "Weight") -> "Weight":
        return Weight(self.elements + other.elements, self.bytes + other.bytes)

    def exceeds(self, most: "Weight") -> bool:
        """Whether there is more of either."""
        return self.elements > most.elements or self.bytes > most.bytes


ROOM = Weight(10_000, 1_000_000)
"""What the figures of a page may take: two thirds of what a page may have, the rest being for all around them."""

_PANEL = Weight(24, 3_000)
"""A panel without its figures, and its link in the list of images."""
_FIGURE = Weight(20, 1_600)
_CELL = Weight(2, 48)
_VALUE = Weight(0, 16)
"""A number that becomes no cell of a table, but may stand in an attribute."""
_PLAIN = frozenset({"channel_grid", "channel_sum", "colour_bar", "filters", "health", "hypercolumn", "input"})
"""Kinds whose data becomes no table."""
_TWICE = 2
"""A text may stand in an attribute and as text, and characters may be escaped."""


@dataclass(frozen=True)
class Part:
    """A page of a layer: the layer's own (`number` 1) or one that continues it, with the ids of its images.

    `first` counts the layer's images from 1.
    """

    number: int
    address: str
    images: tuple[str, ...]
    first: int = 1

    @property
    def last(self) -> int:
        return self.first + len(self.images) - 1


def weigh(figure: FigureEntry) -> Weight:
    """Estimate what a figure takes on a page; not less than it does."""
    texts = [figure.alt, figure.caption, *figure.files, *figure.downloads]
    written = sum(len(text.encode("utf-8", "replace")) for text in texts) * _TWICE
    values = _leaves(figure.data)
    each = _VALUE if figure.kind in _PLAIN else _CELL
    files = len(figure.files) + len(figure.downloads)
    return _FIGURE + Weight(files + values * each.elements, files * 64 + written + values * each.bytes)


def _leaves(data: Any) -> int:
    """How many numbers and texts there are in data of JSON, at any depth."""
    if isinstance(data, Mapping):
        return sum(map(_leaves, data.values()))
    if not isinstance(data, list):
        return 1
    flat = not data or not isinstance(data[0], list | Mapping)
    return len(data) if flat else sum(map(_leaves, data))


def split(
    layer: LayerEntry, panels: Iterable[tuple[str, Sequence[FigureEntry]]], first: Weight, room: Weight = ROOM
) -> tuple[Part, ...]:
    """Divide the panels of a layer (an image's id with its figures) among its pages, in order.

    `first` is what the layer's own page holds besides. Each page has a panel at least; there is always one page.
    """
    parts: list[Part] = []
    for number, ids in enumerate(_groups(panels, first, room), 1):
        parts.append(Part(number, _address(layer, number), tuple(ids), parts[-1].last + 1 if parts else 1))
    return tuple(parts)


def _groups(
    panels: Iterable[tuple[str, Sequence[FigureEntry]]], taken: Weight, room: Weight
) -> Iterator[list[str]]:
    ids: list[str] = []
    for image, figures in panels:
        panel = sum(map(weigh, figures), start=_PANEL)
        if ids and (taken + panel).exceeds(room):
            yield ids
            ids, taken = [], Weight(0, 0)
        ids.append(image)
        taken += panel
    yield ids


def _address(layer: LayerEntry, number: int) -> str:
    """Slugs may look like anything, `cat.2` and `cat.html` included, so further pages have a folder a layer."""
    return f"layers/{layer.slug}.html" if number == 1 else f"more/{layer.slug}/{number}.html"
