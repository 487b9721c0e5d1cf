"""How far a report may be reduced: a ladder of settings, each smaller than the one before."""

from dataclasses import dataclass

VECTORS = (".svg", ".pdf", ".npz")
"""Charts for print and arrays: what goes first, since the pages show the same."""


@dataclass(frozen=True)
class Setting:
    """What is left of a report; 0 and 1 leave a thing as it is.

    Without `tables` no file is left that pages offer for download. `jpeg` stores photographs so where that is
    smaller. `channels` is the most that a grid shows, `side` the longest side of a channel in it, in pixels, of
    other maps it is eight times that, and `divisor` divides the sides of photographs and charts.
    """

    tables: bool = True
    jpeg: bool = False
    channels: int = 0
    side: int = 0
    divisor: int = 1


LADDER = (
    Setting(),
    Setting(jpeg=True),
    Setting(jpeg=True, channels=512),
    Setting(jpeg=True, channels=256, side=112),
    Setting(jpeg=True, channels=128, side=56),
    Setting(jpeg=True, channels=64, side=56),
    Setting(jpeg=True, channels=64, side=28, divisor=2),
    Setting(jpeg=True, channels=32, side=28, divisor=2),
    Setting(jpeg=True, channels=16, side=28, divisor=2),
    Setting(jpeg=True, channels=16, side=14, divisor=2, tables=False),
    Setting(jpeg=True, channels=8, side=14, divisor=3, tables=False),
    Setting(jpeg=True, channels=4, side=7, divisor=4, tables=False),
)
"""Each leaves out what the one before does, too; even the first lacks the files of VECTORS."""
