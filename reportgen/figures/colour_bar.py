"""The colour map of a report as a bar, from the low end to the high end."""

from collections.abc import Iterable

import numpy as np

from reportgen.drawing.palette import palette
from reportgen.drawing.png import MAP_COLOURS, encode_indexed
from reportgen.entities import Layer
from reportgen.figures.base import BaseKind, Figure, FigureOptions, Subject


class ColourBar(BaseKind):
    """One bar a report: a pixel for each of the 252 colours."""

    name = "colour_bar"
    title = "Colours"
    order = 90

    def __init__(self, options: FigureOptions, subject: Subject) -> None:
        super().__init__(options, subject)
        self._palette = palette(options.colour_map)

    def wants(self, layer: Layer) -> bool:
        return False

    def compute(self) -> Iterable[Figure]:
        lines = np.concatenate([[0], np.arange(MAP_COLOURS)]).astype(np.uint8)[None, :]
        name = self._palette.name
        yield Figure(
            kind=self.name,
            layer=None,
            image=None,
            files={"png": encode_indexed(lines, self._palette)},
            width=MAP_COLOURS,
            height=1,
            alt=f"The colour map {name}, from the low end on the left to the high end on the right",
            caption=f"The colour map {name}: the low end on the left, the high end on the right.",
            data={"cmap": name},
        )
