"""Batches: order, size, shape, and what pages show of each image."""

import numpy as np
import pytest
import torch

from reportgen.entities import Batch
from reportgen.errors import InputError
from reportgen.inputs.batches import batches
from reportgen.inputs.images import find_images
from reportgen.inputs.preprocess import standard_preprocess


def made(tensors: list[torch.Tensor], size: int, *, normalised: bool = False) -> list[Batch]:
    preprocess = standard_preprocess(3, (8, 8), (0.5, 0.5, 0.5), (0.25, 0.25, 0.25))
    sources = find_images(tensors)
    cpu = torch.device("cpu")
    return list(batches(sources, preprocess, size, cpu, torch.float32, tensors_normalised=normalised))


@pytest.mark.parametrize(
    ("count", "size", "sizes"),
    [(1, 1, [1]), (3, 1, [1, 1, 1]), (8, 8, [8]), (33, 16, [11, 11, 11]), (47, 16, [16, 16, 15]), (5, 4, [3, 2])],
)
def test_batches_are_even_and_in_order(count: int, size: int, sizes: list[int]) -> None:
    tensors = [torch.full((3, 4, 4), float(number)) for number in range(count)]
    found = made(tensors, size)
    assert [len(batch.images) for batch in found] == sizes
    assert torch.cat([batch.tensor for batch in found])[:, 0, 0, 0].tolist() == list(range(count))


def test_a_batch_ends_where_the_shape_changes() -> None:
    shapes = [(3, 4, 4), (3, 4, 4), (3, 6, 4), (3, 4, 4)]
    found = made([torch.zeros(shape) for shape in shapes], 4)
    assert [tuple(batch.tensor.shape) for batch in found] == [(2, 3, 4, 4), (1, 3, 6, 4), (1, 3, 4, 4)]


def test_pictures_are_preprocessed_and_shown_as_the_network_saw_them() -> None:
    picture = torch.from_numpy(np.random.default_rng(0).integers(0, 256, (3, 9, 9), dtype=np.uint8))
    (batch,) = made([picture], 1)
    assert batch.tensor.shape == (1, 3, 8, 8)
    seen = torch.from_numpy(np.asarray(batch.images[0].seen).copy()).permute(2, 0, 1)
    torch.testing.assert_close(batch.tensor[0] * 0.25 + 0.5, seen / 255, atol=0.51 / 255, rtol=0)
    assert batch.images[0].original.size == (9, 9)


def test_network_input_goes_in_unchanged_and_is_denormalised_only_on_request() -> None:
    tensor = torch.randn(3, 4, 4).clamp(-2, 2)
    (plain,), (normalised,) = made([tensor], 1), made([tensor], 1, normalised=True)
    assert torch.equal(plain.tensor[0], tensor)
    assert torch.equal(normalised.tensor[0], tensor)
    pixel = np.asarray(normalised.images[0].seen)[1, 2, 0]
    assert pixel == round(float((tensor[0, 1, 2] * 0.25 + 0.5).clamp(0, 1)) * 255)


def test_a_preprocessing_of_the_wrong_shape_is_named() -> None:
    from dataclasses import replace

    preprocess = replace(standard_preprocess(3), transform=lambda picture: torch.zeros(1, 3, 8, 8))
    sources = find_images([torch.zeros(3, 4, 4, dtype=torch.uint8)])
    with pytest.raises(InputError, match="4 axes where 3"):
        list(batches(sources, preprocess, 1, torch.device("cpu"), torch.float32))
