"""Rows of shares: what the picture shows, and names that do not collide."""

import io
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from reportgen.drawing import charts
from reportgen.drawing.shares import share_rows


def pixels(rows: dict[str, NDArray[np.float64]], names: list[str]) -> NDArray[np.uint8]:
    chart = share_rows(names, rows)
    with Image.open(io.BytesIO(chart.files["png"])) as picture:
        assert picture.size == (chart.width, chart.height)
        return np.asarray(picture.convert("RGB"))


def columns_of(found: NDArray[np.uint8], colour: tuple[int, int, int]) -> NDArray[np.int64]:
    return np.flatnonzero((found == colour).all(axis=2).any(axis=0))


BLUE, GRAY = (0x00, 0x72, 0xB2), (0xE4, 0xE6, 0xE5)


def test_a_share_is_a_bar_and_an_undefined_one_a_gray_field() -> None:
    names = [f"layer{number}" for number in range(10)]
    row = np.zeros(10)
    row[2] = 0.5
    row[7] = np.nan
    found = pixels({"Dead": row}, names)
    # Axes reach from 0.5 inches on for 5 inches, over 0.7 before the first to 0.7 after the last place.
    centre = {place: 144 * (0.5 + 5 * (place + 0.7) / 10.4) for place in range(10)}
    blue, gray = columns_of(found, BLUE), columns_of(found, GRAY)
    assert blue.mean() == pytest.approx(centre[2], abs=2)
    assert gray.mean() == pytest.approx(centre[7], abs=2)
    assert not columns_of(pixels({"Dead": np.zeros(10)}, names), BLUE).size


def test_heights_are_in_proportion() -> None:
    row = np.array([0.2, 0.4, 0.1])
    found = pixels({"Dead": row}, ["a", "b", "c"])
    blue = (found == BLUE).all(axis=2).sum(axis=0)
    tall = [int(third[len(third) // 2]) for third in np.array_split(blue[np.flatnonzero(blue)], 3)]
    assert [height / tall[1] for height in tall] == pytest.approx([0.5, 1, 0.25], abs=0.03)


@pytest.mark.parametrize("count", [1, 20, 70, 500])
def test_names_do_not_collide(count: int, monkeypatch: pytest.MonkeyPatch) -> None:
    boxes: list[Any] = []

    def look(figure: Any, *, vector: bool) -> dict[str, bytes]:
        renderer = figure.canvas.get_renderer()
        labels = figure.axes[-1].get_xticklabels()
        boxes.extend(label.get_window_extent(renderer) for label in labels)
        assert all(figure.bbox.y0 <= box.y0 for box in boxes)
        assert [label.get_text() for label in labels] == names[:: -(-count // len(labels))]
        return {"png": b""}

    names = [f"features.denseblock{number}.conv_{number}" for number in range(count)]
    monkeypatch.setattr(charts, "_save", look)
    assert share_rows(names, {"Dead": np.full(count, 0.1), "Constant": np.zeros(count)}).files["png"] == b""
    assert len(boxes) >= min(count, 20)
    assert all(left.x1 <= right.x0 + 0.5 for left, right in pairwise(boxes))


def test_the_same_shares_give_the_same_bytes() -> None:
    rows = {"Dead": np.array([0.1, np.nan]), "Duplicate": np.array([np.nan, np.nan])}
    assert share_rows(["a", "b"], rows).files == share_rows(["a", "b"], rows).files
    assert set(share_rows(["a", "b"], rows).files) == {"png", "svg", "pdf"}
