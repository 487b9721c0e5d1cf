"""All kinds of figures: those of this package, and those that installed packages register."""

from collections.abc import Callable, Mapping, Sequence
from functools import cache
from importlib.metadata import entry_points
from typing import Any

from reportgen.drawing.palette import palette
from reportgen.errors import UsageError
from reportgen.figures.attention import AttentionMaps
from reportgen.figures.base import FigureKind, FigureOptions, Subject
from reportgen.figures.channel_cka import ChannelCKA
from reportgen.figures.channel_grid import ChannelGrid
from reportgen.figures.channel_sum import ChannelSum
from reportgen.figures.class_map import ClassMaps
from reportgen.figures.colour_bar import ColourBar
from reportgen.figures.detections import DetectionBoxes
from reportgen.figures.filters import Filters
from reportgen.figures.health import Health
from reportgen.figures.hypercolumn import Hypercolumn
from reportgen.figures.input_picture import InputPicture
from reportgen.figures.layer_cka import LayerCKA
from reportgen.figures.overview import Overview
from reportgen.figures.predictions import Predictions
from reportgen.figures.preview import Preview
from reportgen.figures.vector import Vector
from reportgen.names import did_you_mean
from reportgen.numerics.scaling import parse_scale

GROUP = "reportgen.figures"

KindMaker = Callable[[FigureOptions, Subject], FigureKind]

# The pictures themselves, the colour bar and the preview of links are part of every report.
_ALWAYS: Sequence[type[FigureKind]] = (InputPicture, ColourBar, Preview)
_CHOSEN: Sequence[type[FigureKind]] = (
    ChannelSum,
    ChannelGrid,
    AttentionMaps,
    Hypercolumn,
    Overview,
    LayerCKA,
    Vector,
    Predictions,
    DetectionBoxes,
    ClassMaps,
    Filters,
    ChannelCKA,
    Health,
)


@cache
def known_kinds() -> Mapping[str, type[FigureKind]]:
    """Return every kind that can be chosen, by name."""
    plugged = [entry.load() for entry in entry_points(group=GROUP)]
    return {kind.name: kind for kind in (*_CHOSEN, *plugged)}


def read_options(*, scale: str, cmap: str, **others: Any) -> FigureOptions:
    """Return the options of figures; `others` are fields of FigureOptions as they are.

    Raises UsageError for a scale or a colour map that does not exist.
    """
    options = FigureOptions(scale=parse_scale(scale), cmap=cmap, **others)
    palette(options.colour_map)
    return options


def check_kinds(chosen: Sequence[str]) -> None:
    """Raise UsageError for a name that no kind of figure has."""
    known = known_kinds()
    for name in chosen:
        if name not in known:
            raise UsageError(
                f"there is no figure kind '{name}'; {did_you_mean(name, known)} known are: {', '.join(known)}"
            )


def figure_kinds(options: FigureOptions, subject: Subject, chosen: Sequence[str] = ()) -> tuple[FigureKind, ...]:
    """Return a fresh instance of each kind that is wanted, in page order; none chosen means all.

    Raises UsageError for an unknown name, and for an option that a kind can't follow for this subject.
    """
    check_kinds(chosen)
    wanted = [kind for name, kind in known_kinds().items() if not chosen or name in chosen]
    # The protocol has no constructor; kinds are made as BaseKind is.
    made = [kind(options, subject) for kind in (*_ALWAYS, *wanted)]  # type: ignore[call-arg]
    return tuple(sorted(made, key=lambda kind: kind.order))
