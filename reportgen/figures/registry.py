"""All kinds of figures: those of this package, and those that installed packages register."""

from collections.abc import Callable, Sequence
from importlib.metadata import entry_points

from reportgen.errors import UsageError
from reportgen.figures.base import FigureKind, FigureOptions
from reportgen.figures.channel_grid import ChannelGrid
from reportgen.figures.channel_sum import ChannelSum
from reportgen.figures.colour_bar import ColourBar
from reportgen.figures.input_picture import InputPicture
from reportgen.names import did_you_mean

GROUP = "reportgen.figures"

_ALWAYS: tuple[Callable[[FigureOptions], FigureKind], ...] = (InputPicture, ColourBar)
_CHOSEN: tuple[Callable[[FigureOptions], FigureKind], ...] = (ChannelSum, ChannelGrid)


def figure_kinds(options: FigureOptions, chosen: Sequence[str] = ()) -> tuple[FigureKind, ...]:
    """Return a fresh instance of each kind that is wanted, in page order; none chosen means all.

    The pictures themselves and the colour bar are part of every report. Raises UsageError for an unknown name.
    """
    plugged = [entry.load() for entry in entry_points(group=GROUP)]
    kinds = {kind.name: kind for kind in (make(options) for make in (*_CHOSEN, *plugged))}
    for name in chosen:
        if name not in kinds:
            known = ", ".join(kinds)
            raise UsageError(f"there is no figure kind '{name}'; {did_you_mean(name, kinds)} known are: {known}")
    wanted = [kind for name, kind in kinds.items() if not chosen or name in chosen]
    always = [make(options) for make in _ALWAYS]
    return tuple(sorted((*always, *wanted), key=lambda kind: kind.order))
