"""The picture itself: upright as it was given, and as the network saw it."""

from collections.abc import Iterable

from PIL import Image

from reportgen.drawing.png import encode_picture
from reportgen.entities import Batch, InputImage, Layer
from reportgen.figures.base import BaseKind, Figure

LONGEST_SIDE = 640
SMALLEST_SIDE = 224
"""A smaller network input is enlarged by a whole factor, up to this many pixels."""


class InputPicture(BaseKind):
    """Two figures an image; `data.view` is `original` or `seen`."""

    name = "input"
    title = "Input"
    order = 0

    def wants(self, layer: Layer) -> bool:
        return False

    def begin_batch(self, batch: Batch) -> Iterable[Figure]:
        for image in batch.images if batch.drawn else ():
            yield self._figure(image, "original", _at_most(image.original), _original_caption(image))
            yield self._figure(image, "seen", image.seen, _seen_caption(image))

    def _figure(self, image: InputImage, view: str, picture: Image.Image, caption: str) -> Figure:
        pixels = max(1, SMALLEST_SIDE // max(picture.size)) if view == "seen" else 1
        return self.of_image(
            image,
            encode_picture(picture),
            picture.size,
            alt=f"{image.name}, {'the original' if view == 'original' else 'as the network saw it'}",
            caption=caption,
            data={"view": view, "pixels": pixels},
        )


def _at_most(picture: Image.Image) -> Image.Image:
    """Return the picture with its longest side at most LONGEST_SIDE pixels."""
    smaller = picture.copy()
    smaller.thumbnail((LONGEST_SIDE, LONGEST_SIDE), Image.Resampling.LANCZOS)
    return smaller


def _original_caption(image: InputImage) -> str:
    size = f"{image.width} × {image.height} pixels"
    shrunk = f", shown at most {LONGEST_SIDE} pixels long" if max(image.width, image.height) > LONGEST_SIDE else ""
    note = f" ({image.note})" if image.note else ""
    return f"{image.name}: the original, {size}{shrunk}{note}."


def _seen_caption(image: InputImage) -> str:
    return f"{image.name} as the network saw it, {image.seen.width} × {image.seen.height} pixels, denormalised."
