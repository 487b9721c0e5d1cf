"""A layer's place in the graph: the layers up to two steps away, laid out for a small drawing.

Layers stand in columns from left to right so that every edge leads rightwards: the column is the longest way within
the drawing (Sugiyama, Tagawa and Toda, 1981, first step). Lengths are in pixels of the drawing.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from reportgen.site.record import LayerEntry

_STEPS = 2
_MOST = 5
"""So many neighbours of one layer are drawn in each direction; the lists beside the drawing name them all."""
WIDTH, HEIGHT = 136, 38
_ACROSS, _DOWN = 176, 50
_MARGIN = 3


@dataclass(frozen=True)
class Spot:
    """A layer in the drawing; `x` and `y` are its upper left corner. `module` is the path before its last name."""

    layer: LayerEntry
    x: int
    y: int
    current: bool

    @property
    def label(self) -> str:
        return _end(self.layer.name.rsplit(".", 1)[-1], 16)

    @property
    def module(self) -> str:
        return _end(self.layer.name.rpartition(".")[0], 19)


@dataclass(frozen=True)
class Edge:
    """One layer's output read by another: from (`x1`, `y1`) rightwards to (`x2`, `y2`)."""

    x1: int
    y1: int
    x2: int
    y2: int

    @property
    def path(self) -> str:
        """The curve as SVG's path data: level at both ends."""
        bend = min(_ACROSS - WIDTH, (self.x2 - self.x1) // 2)
        return f"M{self.x1} {self.y1}C{self.x1 + bend} {self.y1} {self.x2 - bend} {self.y2} {self.x2} {self.y2}"


@dataclass(frozen=True)
class Neighbourhood:
    """The drawing; `hidden` counts the neighbours that it has no room for."""

    spots: tuple[Spot, ...]
    edges: tuple[Edge, ...]
    width: int
    height: int
    hidden: int


class Graph:
    """The graph of all layers of a report, to be drawn around one of them."""

    def __init__(self, layers: Sequence[LayerEntry], feeds: Mapping[str, Sequence[str]]) -> None:
        self._layers = {layer.name: layer for layer in layers}
        self._parents = {layer.name: [name for name in layer.parents if name in self._layers] for layer in layers}
        self._feeds = feeds

    def around(self, name: str) -> Neighbourhood:
        """Lay out the layers up to two steps before and after the layer `name`."""
        before, hidden_before = _within(name, self._parents)
        after, hidden_after = _within(name, self._feeds)
        names = sorted({name, *before, *after}, key=lambda each: self._layers[each].index)
        edges = [
            (parent, each) for each in names for parent in dict.fromkeys(self._parents[each]) if parent in names
        ]
        spots = _place([self._layers[each] for each in names], _columns(names, edges), name)
        return Neighbourhood(
            tuple(spots.values()),
            tuple(_edge(spots[start], spots[end]) for start, end in edges),
            max(spot.x for spot in spots.values()) + WIDTH + _MARGIN,
            max(spot.y for spot in spots.values()) + HEIGHT + _MARGIN,
            hidden_before + hidden_after,
        )


def _within(name: str, neighbours: Mapping[str, Sequence[str]]) -> tuple[set[str], int]:
    """The layers up to _STEPS from `name`, and how many of its own neighbours are left out for want of room."""
    found: set[str] = set()
    ring = [name]
    for _ in range(_STEPS):
        ring = [near for each in ring for near in list(dict.fromkeys(neighbours.get(each, ())))[:_MOST]]
        found.update(ring)
    return found - {name}, max(0, len(set(neighbours.get(name, ()))) - _MOST)


def _columns(names: Sequence[str], edges: Sequence[tuple[str, str]]) -> dict[str, int]:
    """The column of each layer: close to its readers where nothing is before it, else right after all it reads.

    `names` are in execution order, so that what a layer reads comes before it.
    """
    columns = dict.fromkeys(names, 0)
    for start, end in sorted(edges, key=lambda edge: names.index(edge[1])):
        columns[end] = max(columns[end], columns[start] + 1)
    for name in reversed(names):
        readers = [columns[end] for start, end in edges if start == name]
        if readers:
            columns[name] = min(readers) - 1
    low = min(columns.values())
    return {name: column - low for name, column in columns.items()}


def _place(layers: Sequence[LayerEntry], columns: Mapping[str, int], current: str) -> dict[str, Spot]:
    """Spots by name, each column centred on the drawing's middle line."""
    stacks = [
        [layer for layer in layers if columns[layer.name] == column] for column in range(max(columns.values()) + 1)
    ]
    tallest = max(map(len, stacks))
    return {
        layer.name: Spot(layer, _MARGIN + column * _ACROSS, y, layer.name == current)
        for column, stack in enumerate(stacks)
        for layer, y in zip(stack, _heights(len(stack), tallest), strict=True)
    }


def _heights(count: int, tallest: int) -> Iterator[int]:
    start = _MARGIN + (tallest - count) * _DOWN // 2
    return (start + place * _DOWN for place in range(count))


def _edge(start: Spot, end: Spot) -> Edge:
    return Edge(start.x + WIDTH, start.y + HEIGHT // 2, end.x, end.y + HEIGHT // 2)


def _end(text: str, most: int) -> str:
    """The end of a text that is too long: in a name the last part tells the most."""
    return text if len(text) <= most else "…" + text[1 - most :]
