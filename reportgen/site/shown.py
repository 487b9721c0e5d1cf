"""How large a figure stands on a page."""

from dataclasses import dataclass

from reportgen.site.numbering import Place
from reportgen.site.record import FigureEntry

_SHOWN_WIDE = 912
SHOWN_MAP = 224
_CLIP = 2.5
"""A map that many times as wide as high is taken for the frames of a clip."""


@dataclass(frozen=True)
class Shown:
    """A figure as a page shows it: enlarged by a whole factor, `crisp` unless the page will make it smaller.

    `place` is its number and where it stands in full, which may be on another page.
    """

    figure: FigureEntry
    width: int
    height: int
    crisp: bool
    place: Place | None = None

    @property
    def template(self) -> str:
        return f"figures/{self.figure.kind}.html.jinja"

    @property
    def picture(self) -> str:
        return self.figure.files[0]

    @property
    def is_clip(self) -> bool:
        """Whether it is a map of frames side by side, which a small place shows the first of."""
        return self.figure.kind == "channel_sum" and self.figure.width > _CLIP * self.figure.height


def show(figure: FigureEntry, place: Place | None = None) -> Shown:
    """Size a figure for its place on a page: maps by the largest whole factor that fits, charts at half a pixel.

    Charts and photographs bear `data.pixels` (display pixels in a stored one); all else are maps.
    """
    if "pixels" in figure.data:
        factor = figure.data["pixels"]
        return Shown(figure, round(figure.width * factor), round(figure.height * factor), factor > 1, place)
    small = figure.kind == "channel_sum" and figure.width <= _CLIP * figure.height
    side = SHOWN_MAP if small else _SHOWN_WIDE
    factor = max(1, side // max(figure.width, figure.height))
    width, height = figure.width * factor, figure.height * factor
    return Shown(figure, width, height, factor > 1, place)
