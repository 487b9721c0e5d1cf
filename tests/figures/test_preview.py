"""Which maps the preview of links is made of."""

import io

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image

from figures.figure_cases import activation, batch, layer, vector
from reportgen.entities import Batch
from reportgen.figures.base import Figure, FigureOptions, Subject
from reportgen.figures.preview import Preview
from reportgen.later import Later


def maps_of(made: Preview) -> tuple[Figure, list[NDArray[np.uint8]]]:
    """The figure, and the maps that it is drawn from."""
    (figure,) = made.compute()
    assert isinstance(figure, Figure)
    assert isinstance(figure.files, Later)
    _, maps, _ = figure.files.arguments()
    return figure, maps


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
def test_of_many_layers_every_second_or_fourth_is_kept(count: int, kept: range) -> None:
    made = kind()
    list(made.begin_batch(batch(1)))
    for number in range(count):
        list(made.update(activation(marked(number), layer(f"a.{number}"))))
    assert marks(maps_of(made)[1]) == list(kept)


def test_only_the_first_drawn_image_is_looked_at() -> None:
    made = kind()
    list(made.begin_batch(Batch(batch(2).images, torch.zeros(2, 3, 6, 8), drawn=False)))
    list(made.update(activation(marked(1))))
    for start in (2, 4):
        images = tuple(batch(start + 2).images[start:])
        list(made.begin_batch(Batch(images, torch.zeros(2, 3, 6, 8))))
        event = activation(marked(start, 2))
        list(made.update(type(event)(event.layer, images, event.value, event.reading)))
    figure, maps = maps_of(made)
    assert marks(maps) == [2]
    assert figure.alt.startswith("image2.png, beside it")


def test_large_maps_are_thinned() -> None:
    made = kind()
    list(made.begin_batch(batch(1)))
    list(made.update(activation(torch.randn(1, 2, 500, 300))))
    assert [one.shape for one in maps_of(made)[1]] == [(167, 100)]


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
