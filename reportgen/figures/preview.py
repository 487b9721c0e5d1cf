"""The picture that others show with a link to the report. No page shows it; the pages' heads name it."""

from collections.abc import Iterable

import numpy as np
import torch
from numpy.typing import NDArray

from reportgen.drawing.palette import palette
from reportgen.drawing.preview import HEIGHT, MOST, WIDTH, encode_preview, fitted
from reportgen.entities import Activation, Batch, InputImage, Layer
from reportgen.figures.base import BaseKind, Figure, FigureOptions, Product, Subject
from reportgen.figures.channel_sum import first_sum
from reportgen.later import Later
from reportgen.numerics.scaling import Ranges, apply_scale, finite_ranges, parse_scale, quantise

_LARGEST_SIDE = 192
"""Of larger maps, every k-th row and column is drawn."""
_KEPT = 2 * MOST**2
"""How many maps are kept at most: from more layers, every second one, every fourth one and so on is taken."""


class Preview(BaseKind):
    """The first image beside channel sums of layers all through the network, each over its own range."""

    name = "preview"
    title = "Link preview"
    order = 95

    def __init__(self, options: FigureOptions, subject: Subject) -> None:
        super().__init__(options, subject)
        self._palette = palette(options.colour_map)
        self._scale = options.scale if options.scale.mode == "symmetric" else parse_scale("channel")
        self._image: InputImage | None = None
        self._maps: list[tuple[torch.Tensor, Ranges]] = []
        self._met = 0
        self._every = 1

    def wants(self, layer: Layer) -> bool:
        return layer.op not in ("placeholder", "get_attr")

    def begin_batch(self, batch: Batch) -> Iterable[Product]:
        if self._image is None and batch.drawn and batch.images:
            self._image = batch.images[0]
        return ()

    def update(self, activation: Activation) -> Iterable[Product]:
        maps = activation.reading.maps
        if maps is None or self._image is None or activation.images[0].id != self._image.id:
            return ()
        if self._met % self._every == 0:
            total = first_sum(activation.reading)
            step = -(-max(total.shape[1:]) // _LARGEST_SIDE)
            self._maps.append((total[:, ::step, ::step].clone(), finite_ranges(total)))
            if len(self._maps) == _KEPT:
                self._maps, self._every = self._maps[::2], self._every * 2
        self._met += 1
        return ()

    def compute(self) -> Iterable[Product]:
        if self._image is None:
            return
        photograph = np.asarray(fitted(self._image.original))
        maps = [self._drawn(*one) for one in self._maps]
        beside = ", beside it what layers of the network respond to in it" if self._maps else ""
        yield Figure(
            kind=self.name,
            layer=None,
            image=None,
            files=Later(
                encode_preview,
                lambda: (photograph, maps, self._palette),
                held=photograph.nbytes + sum(one.nbytes for one in maps),
                picture=True,
            ),
            width=WIDTH,
            height=HEIGHT,
            alt=f"{self._image.name}{beside}",
            caption=f"{self._image.name}{beside} ({self._palette.name}).",
            data={"pixels": 1, "cmap": self._palette.name},
        )

    def _drawn(self, total: torch.Tensor, ranges: Ranges) -> NDArray[np.uint8]:
        low, high = apply_scale(self._scale, ranges)
        drawn: NDArray[np.uint8] = quantise(total, ranges, low, high)[0].cpu().numpy()
        return drawn
