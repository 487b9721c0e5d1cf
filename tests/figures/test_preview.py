"""Which maps the preview of links is made of."""

import io

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image

import reportgen.figures.preview as preview
from figures.figure_cases import activation, batch, layer, vector
from reportgen.drawing.palette import Palette
from reportgen.entities import Batch
from reportgen.figures.base import Figure, FigureOptions, Subject
from reportgen.figures.preview import Preview


class Composed:
    """Stands in for the drawing: remembers the maps."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.maps: list[NDArray[np.uint8]] = []
        monkeypatch.setattr(preview, "compose", self)

    def __call__(self, _: Image.Image, maps: list[NDArray[np.uint8]], __: Palette) -> Image.Image:
        self.maps = maps
        return Image.new("RGB", (12, 6))


@pytest.fixture
def composed(monkeypatch: pytest.MonkeyPatch) -> Composed:
    return Composed(monkeypatch)


def kind() -> Preview:
    return Preview(FigureOptions(), Subject())


def marked(number: int, images: int = 1) -> torch.Tensor:
    """Maps whose sum over the channels is highest at the position `number`, lowest elsewhere."""
    maps = torch.zeros(images, 2, 10, 10)
    maps[0].reshape(2, -1)[:, number % 100] = 1
    return maps


def marks(maps: list[NDArray[np.uint8]]) -> list[int]:
    return [int(one.argmax()) for one in maps]


@pytest.mark.parametrize(
    ("count", "kept"), [(1, range(1)), (31, range(31)), (32, range(0, 32, 2)), (99, range(0, 99, 4))]
)
def test_of_many_layers_every_second_or_fourth_is_kept(composed: Composed, count: int, kept: range) -> None:
    made = kind()
    list(made.begin_batch(batch(1)))
    for number in range(count):
        list(made.update(activation(marked(number), layer(f"a.{number}"))))
    (figure,) = made.compute()
    assert isinstance(figure, Figure)
    assert marks(composed.maps) == list(kept)


def test_only_the_first_drawn_image_is_looked_at(composed: Composed) -> None:
    made = kind()
    list(made.begin_batch(Batch(batch(2).images, torch.zeros(2, 3, 6, 8), drawn=False)))
    list(made.update(activation(marked(1))))
    for start in (2, 4):
        images = tuple(batch(start + 2).images[start:])
        list(made.begin_batch(Batch(images, torch.zeros(2, 3, 6, 8))))
        event = activation(marked(start, 2))
        list(made.update(type(event)(event.layer, images, event.value, event.reading)))
    (figure,) = made.compute()
    assert marks(composed.maps) == [2]
    assert isinstance(figure, Figure)
    assert figure.alt.startswith("image2.png, beside it")


def test_large_maps_are_thinned(composed: Composed) -> None:
    made = kind()
    list(made.begin_batch(batch(1)))
    list(made.update(activation(torch.randn(1, 2, 500, 300))))
    list(made.compute())
    assert [one.shape for one in composed.maps] == [(167, 100)]


def test_a_network_without_maps_has_a_preview_of_the_image() -> None:
    made = kind()
    list(made.begin_batch(batch(1)))
    list(made.update(vector(torch.randn(1, 4))))
    (figure,) = made.compute()
    assert isinstance(figure, Figure)
    assert figure.alt == "image0.png"
    with Image.open(io.BytesIO(figure.files["png"])) as picture:
        assert picture.getpixel((600, 315)) == (10, 200, 30)


def test_without_images_there_is_none() -> None:
    assert list(kind().compute()) == []
