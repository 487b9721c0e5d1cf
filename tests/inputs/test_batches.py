"""Batches: order, size, shape, and what pages show of each image."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from reportgen.entities import Batch
from reportgen.errors import InputError
from reportgen.inputs.batches import batches, blank, usable
from reportgen.inputs.forms import LIST, PAIR, PICTURE, Form, by_keyword, clip
from reportgen.inputs.images import BadImage, find_images
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
    preprocess = replace(standard_preprocess(3), transform=lambda picture: torch.zeros(1, 3, 8, 8))
    sources = find_images([torch.zeros(3, 4, 4, dtype=torch.uint8)])
    with pytest.raises(InputError, match="4 axes where 3"):
        list(batches(sources, preprocess, 1, torch.device("cpu"), torch.float32))


RAMP = torch.arange(6 * 8 * 3, dtype=torch.uint8).reshape(3, 6, 8)


def formed(items: list[Any], form: Form, size: int = 1, skip: Any = None) -> list[Batch]:
    preprocess = standard_preprocess(3, (8, 8))
    cpu = torch.device("cpu")
    return list(batches(find_images(items), preprocess, size, cpu, torch.float32, form=form, skip=skip))


def test_a_still_is_repeated_as_a_clip_and_given_twice_as_a_pair() -> None:
    still = formed([RAMP], PICTURE)[0].tensor
    (clips,), (pair,) = formed([RAMP], clip(5)), formed([RAMP], PAIR)
    assert clips.tensor.shape == (1, 3, 5, 8, 8)
    assert all(torch.equal(clips.tensor[:, :, frame], still) for frame in range(5))
    assert clips.arguments[0] is clips.tensor
    assert clips.images[0].note == "repeated as 5 frames, since the model takes clips"
    assert [torch.equal(one, still) for one in pair.arguments] == [True, True]
    assert pair.images[0].note == "given twice, since the model compares two pictures"
    assert np.array_equal(np.asarray(clips.images[0].seen), np.asarray(formed([RAMP], PICTURE)[0].images[0].seen))


def test_frames_of_an_animation_are_prepared_one_by_one(tmp_path: Path) -> None:
    frames = [Image.new("RGB", (10, 10), (level, 0, 0)) for level in (0, 100, 200)]
    frames[0].save(tmp_path / "a.png", save_all=True, append_images=frames[1:], duration=100)
    (batch,) = formed([tmp_path / "a.png"], clip(3))
    prepared = [standard_preprocess(3, (8, 8)).prepare(frame) for frame in frames]
    assert torch.equal(batch.tensor[0], torch.stack(prepared, dim=1))
    assert np.asarray(batch.images[0].seen)[0, 0].tolist() == [100, 0, 0]  # the middle one
    assert np.asarray(batch.images[0].original)[0, 0].tolist() == [100, 0, 0]
    assert batch.images[0].note == "3 of 3 frames, evenly spaced"


def test_lists_come_one_picture_at_a_time() -> None:
    found = formed([RAMP, RAMP], LIST, size=2)
    assert [len(batch.images) for batch in found] == [1, 1]
    assert torch.equal(found[0].arguments[0][0], found[0].tensor[0])


def test_a_keyword_is_the_batchs() -> None:
    (batch,) = formed([RAMP, RAMP], by_keyword("pixel_values"), size=2)
    assert batch.arguments == ()
    assert batch.kwargs["pixel_values"] is batch.tensor


def test_clips_that_are_passed_in_go_in_unchanged() -> None:
    tensor = torch.randn(2, 3, 4, 5, 6)
    (batch,) = formed([tensor], PICTURE, size=2)
    assert torch.equal(batch.tensor, tensor)
    assert batch.arguments[0] is batch.tensor
    assert batch.images[0].seen.size == (6, 5)


def test_bad_images_are_left_out_on_request(tmp_path: Path) -> None:
    Image.effect_noise((30, 30), 50).save(tmp_path / "whole.png")
    content = (tmp_path / "whole.png").read_bytes()
    (tmp_path / "cut.png").write_bytes(content[: len(content) // 2])
    four = torch.full((4, 9, 9), 7, dtype=torch.uint8)
    bad: list[BadImage] = []
    found = formed([tmp_path, four], PICTURE, 2, bad.append)
    assert [image.name for batch in found for image in batch.images] == ["whole.png", "tensor 1"]
    assert [image.name for image in bad] == ["cut.png"]
    assert bad[0].reason.startswith("can't be decoded (")
    assert str(tmp_path) not in bad[0].reason
    with pytest.raises(InputError, match=r"cut\.png can't be decoded"):
        formed([tmp_path], PICTURE)


def test_what_can_be_used_is_known_beforehand(tmp_path: Path) -> None:
    Image.effect_noise((30, 30), 50).save(tmp_path / "whole.png")
    content = (tmp_path / "whole.png").read_bytes()
    (tmp_path / "cut.png").write_bytes(content[: len(content) // 2])
    sources = find_images([tmp_path, RAMP])
    bad: list[BadImage] = []
    found = usable(sources, standard_preprocess(3, (8, 8)), PICTURE, bad.append)
    assert found == (sources[1], sources[2])
    assert [image.name for image in bad] == ["cut.png"]


def test_a_preprocessing_that_raises_names_the_image() -> None:
    def fail(picture: Image.Image) -> torch.Tensor:
        raise ZeroDivisionError("too thin")

    preprocess = replace(standard_preprocess(3), transform=fail)
    sources = find_images([RAMP])
    bad: list[BadImage] = []
    cpu = torch.device("cpu")
    with pytest.raises(InputError, match=r"^tensor 1: preprocessing raised ZeroDivisionError: too thin$"):
        list(batches(sources, preprocess, 1, cpu, torch.float32))
    assert list(batches(sources, preprocess, 1, cpu, torch.float32, skip=bad.append)) == []
    assert bad == [BadImage("tensor 1", "preprocessing raised ZeroDivisionError: too thin")]


def test_blank_input_is_what_the_model_takes() -> None:
    batch = blank(standard_preprocess(1, (6, 7)), by_keyword("x", 3), torch.device("cpu"), torch.float16, 2)
    assert batch.images == ()
    assert batch.tensor.shape == (2, 1, 3, 6, 7)
    assert batch.kwargs["x"].shape == (2, 3, 1, 6, 7)
    assert batch.tensor.dtype == torch.float16
