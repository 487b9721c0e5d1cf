"""Finds a record's figures by what they are of, without holding any: there may be more than memory should."""

from collections import defaultdict
from collections.abc import Iterator

from reportgen.site.record import FigureEntry, Record


class Lookup:
    """The figures of `record` by layer and image, where None stands for those of all layers, or of all images."""

    def __init__(self, record: Record) -> None:
        self._figures = record.figures
        self._found: dict[tuple[str | None, str | None], list[tuple[int, str, int]]] = defaultdict(list)
        order = {kind.name: kind.order for kind in record.kinds}
        for number, figure in enumerate(record.figures):
            kind = figure.kind
            self._found[figure.layer, figure.image].append((order.get(kind, 0), kind, number))
        for found in self._found.values():
            found.sort(key=lambda one: one[0])

    def of(self, layer: str | None, image: str | None) -> list[FigureEntry]:
        """Return the figures of a layer and an image, in the order of their kinds."""
        return [self._figures[number] for _, _, number in self._found.get((layer, image), ())]

    def has(self, layer: str | None, image: str | None) -> bool:
        """Whether there is a figure of a layer and an image."""
        return (layer, image) in self._found

    def kinds(self, layer: str | None, image: str | None) -> Iterator[str]:
        """Yield the kind of each figure of a layer and an image."""
        return (kind for _, kind, _ in self._found.get((layer, image), ()))

    def find(self, layer: str | None, image: str | None, kind: str, view: str = "") -> FigureEntry | None:
        """Return the first figure of this kind, and of this view of it, or None."""
        for _, its_kind, number in self._found.get((layer, image), ()):
            if its_kind == kind:
                figure = self._figures[number]
                if figure.data.get("view", "") == view:
                    return figure
        return None
