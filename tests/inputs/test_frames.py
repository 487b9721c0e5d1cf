"""Frames of animations: which ones a model of clips, or of pairs, is given."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from reportgen.inputs.forms import PAIR, PICTURE, Form, clip
from reportgen.inputs.frames import take_first_different
from reportgen.inputs.images import Picture, decode, find_images

SAVING: dict[str, dict[str, Any]] = {"gif": {"disposal": 1}, "webp": {"lossless": True}, "png": {}}


def level(picture: Image.Image) -> int:
    """The red of the first pixel, from which a frame is told."""
    return int(np.asarray(picture)[0, 0, 0])


def animation(path: Path, levels: list[int]) -> Path:
    frames = [Image.new("RGB", (6, 4), (value, 10, 20)) for value in levels]
    # Pillow leaves out frames that equal the one before, unless their durations differ.
    frames[0].save(
        path, save_all=True, append_images=frames[1:], duration=[100 + 10 * n for n in range(len(levels))],
        **SAVING[path.suffix[1:]],
    )  # fmt: skip
    return path


def decoded(path: Path, form: Form) -> Picture:
    return decode(find_images([path])[0], form)


@pytest.mark.parametrize("suffix", SAVING)
def test_a_clip_is_spread_over_the_whole_animation(tmp_path: Path, suffix: str) -> None:
    levels = [0, 25, 50, 75, 100, 125, 150, 175, 200]
    picture = decoded(animation(tmp_path / f"a.{suffix}", levels), clip(5))
    found = [level(frame) for frame in picture.frames]
    assert np.abs(np.subtract(found, [0, 50, 100, 150, 200])).max() <= 4  # a palette is not exact
    assert "5 of 9 frames, evenly spaced" in picture.note
    assert abs(level(picture.pixels) - 100) <= 4  # the middle one


def test_a_short_animation_is_repeated_in_order(tmp_path: Path) -> None:
    picture = decoded(animation(tmp_path / "a.png", [0, 100, 200]), clip(6))
    assert [level(frame) for frame in picture.frames] == [0, 0, 100, 100, 200, 200]
    assert picture.note == "3 of 3 frames, evenly repeated as 6"


def test_a_pair_is_the_first_two_frames_that_differ(tmp_path: Path) -> None:
    picture = decoded(animation(tmp_path / "a.png", [7, 90, 120]), PAIR)
    assert [level(frame) for frame in picture.frames] == [7, 90]
    assert picture.note == "frames 1 and 2 of 3, the first two that differ"
    assert level(picture.pixels) == 7


@pytest.mark.parametrize(
    ("levels", "taken", "note"),
    [
        ([7, 7, 7, 90, 120], [7, 90], "gray; frames 1 and 4 of 5, the first two that differ"),
        ([7, 7, 7], [7], "gray; first of 3 frames, which are all the same"),
    ],
)
def test_equal_frames_are_passed_over(tmp_path: Path, levels: list[int], taken: list[int], note: str) -> None:
    """With pages of a TIFF for frames, since Pillow writes no animation that repeats a frame."""
    pages = [Image.new("RGB", (6, 4), (value, 0, 0)) for value in levels]
    pages[0].save(tmp_path / "a.tif", save_all=True, append_images=pages[1:])
    with Image.open(tmp_path / "a.tif") as image:
        frames, told = take_first_different(image, lambda page: (page.convert("RGB"), "gray"))
    assert [level(frame) for frame in frames] == taken
    assert told == note


def test_a_picture_is_the_first_frame(tmp_path: Path) -> None:
    picture = decoded(animation(tmp_path / "a.png", [7, 90]), PICTURE)
    assert picture.frames == ()
    assert level(picture.pixels) == 7
    assert picture.note == "first of 2 frames"


def test_pages_are_no_frames(tmp_path: Path) -> None:
    pages = [Image.new("RGB", (6, 4), (value, 0, 0)) for value in (7, 90)]
    pages[0].save(tmp_path / "a.tif", save_all=True, append_images=pages[1:])
    picture = decoded(tmp_path / "a.tif", clip(2))
    assert picture.frames == ()
    assert level(picture.pixels) == 7
