"""Figures have numbers: the same ones whatever the captions, the title and the templates are."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import compress, product

from reportgen.names import did_you_mean
from reportgen.site.record import FigureEntry, ImageEntry

PREFIX = "fig:"
"""What a reference to a figure starts with, in double square brackets."""


@dataclass(frozen=True)
class Place:
    """A figure's number, counted from 1, and the page that shows it."""

    number: int
    page: str

    @property
    def anchor(self) -> str:
        """The figure's id on its page. No other id of a page looks like it: see layer.html.jinja."""
        return f"_fig-{self.number}"

    @property
    def address(self) -> str:
        """Where the figure is, from the root of the site."""
        return f"{self.page}#{self.anchor}"

    @property
    def label(self) -> str:
        return f"Figure {self.number}"


class Numbering:
    """Numbers the figures that pages show, in the record's order.

    `page_of` gives the page of a figure, or an empty string where none shows it: such a figure has no number.
    """

    def __init__(
        self, figures: Sequence[FigureEntry], images: Sequence[ImageEntry], page_of: Callable[[FigureEntry], str]
    ) -> None:
        self._names = {image.id: image.name for image in images}
        self._all = figures
        self._shown: list[int] = []
        self._places: dict[str, Place] = {}
        for position, figure in enumerate(figures):
            if page := page_of(figure):
                self._shown.append(position)
                self._places[figure.files[0]] = Place(len(self._shown), page)

    def place(self, figure: FigureEntry) -> Place | None:
        """Where `figure` is, or None when no page shows it."""
        return self._places.get(figure.files[0])

    def find(self, reference: str) -> Place | None:
        """The figure that `fig:KIND/LAYER/IMAGE/VIEW` speaks of, or None.

        What a figure doesn't have is left out: `fig:layer_cka`, `fig:input/cat`. All parts but the kind may be left
        out; of several figures that fit, the first is meant. An image goes by its id or its name.
        """
        return self._by_reference.get(reference.removeprefix(PREFIX).strip())

    def hint(self, reference: str) -> str:
        """`did you mean ...?` for a reference to nothing, or an empty string."""
        wanted = reference.removeprefix(PREFIX).strip()
        kinds = dict.fromkeys(figure.kind for figure in self._figures())
        kind = wanted.split("/")[0]
        if kind not in kinds:
            return did_you_mean(kind, kinds)
        known = ["/".join(_parts(figure)) for figure in self._figures() if figure.kind == kind]
        return did_you_mean(wanted, known[:_COMPARED])

    def _figures(self) -> Iterator[FigureEntry]:
        """The figures that pages show, made anew each time: there may be many."""
        return (self._all[position] for position in self._shown)

    @cached_property
    def _by_reference(self) -> Mapping[str, Place]:
        found: dict[str, Place] = {}
        for exact in (True, False):  # a figure's whole name is never taken by another's short one
            for figure in self._figures():
                for reference in self._references(figure, exact):
                    found.setdefault(reference, self._places[figure.files[0]])
        return found

    def _references(self, figure: FigureEntry, exact: bool) -> Iterator[str]:
        kind, *rest = _parts(figure)
        choices = [(True,)] * len(rest) if exact else [(True, False)] * len(rest)
        image = self._names.get(figure.image or "")
        for kept in product(*choices):
            parts = [kind, *compress(rest, kept)]
            yield "/".join(parts)
            if image and figure.image in parts[1:]:
                yield "/".join(image if part == figure.image else part for part in parts)


_COMPARED = 2000
"""With how many names one that leads nowhere is compared."""


def _parts(figure: FigureEntry) -> list[str]:
    parts = (figure.kind, figure.layer, figure.image, figure.data.get("view"))
    return [str(part) for part in parts if part]
