"""The pictures of the images themselves."""

import dataclasses
import io

import numpy as np
import torch
from PIL import Image

from figures.figure_cases import image
from reportgen.entities import Batch
from reportgen.figures.base import FigureOptions, Subject
from reportgen.figures.input_picture import InputPicture


def test_original_and_seen_are_lossless_and_told_apart() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (6, 8, 3), dtype=np.uint8)
    one = dataclasses.replace(image(), original=Image.fromarray(pixels), seen=Image.fromarray(pixels[:4, :4]))
    original, seen = InputPicture(FigureOptions(), Subject()).begin_batch(Batch((one,), torch.zeros(1)))
    assert (original.data["view"], seen.data["view"]) == ("original", "seen")
    assert np.array_equal(np.asarray(Image.open(io.BytesIO(original.files["png"]))), pixels)
    assert np.array_equal(np.asarray(Image.open(io.BytesIO(seen.files["png"]))), pixels[:4, :4])
    assert "8 × 6 pixels" in original.caption
    assert "4 × 4 pixels" in seen.caption


def test_a_large_original_is_shown_smaller_and_says_so() -> None:
    large = dataclasses.replace(image(), width=2000, height=1000, original=Image.new("RGB", (2000, 1000)))
    original, _ = InputPicture(FigureOptions(), Subject()).begin_batch(Batch((large,), torch.zeros(1)))
    assert (original.width, original.height) == (640, 320)
    assert "2000 × 1000 pixels, shown at most 640 pixels long" in original.caption
