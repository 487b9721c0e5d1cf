import io
import re

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from reportgen.drawing.charts import DPI, Chart
from reportgen.drawing.palette import palette
from reportgen.drawing.sheet import _plan, contact_sheet

Pictures = list[NDArray[np.uint8]]


def png(chart: Chart) -> NDArray[np.uint8]:
    return np.asarray(Image.open(io.BytesIO(chart.files["png"])).convert("RGB"))


def cell_pixels(names: list[str], rows: list[str], column: int, row: int, aspect: float = 1.0) -> tuple[int, ...]:
    """Left, top, right and bottom pixel of a cell, a little inside its edges."""
    frame = _plan(names, rows, aspect)
    left = frame.left + column * (frame.cell_width + 0.06)
    top = frame.top + row * (frame.cell_height + 0.06)
    edges = (left + 0.02, top + 0.02, left + frame.cell_width - 0.02, top + frame.cell_height - 0.02)
    return tuple(round(edge * DPI) for edge in edges)


def test_each_cell_shows_its_own_picture_in_its_own_colours() -> None:
    names, rows = ["conv1", "layer1.0.conv1", "relu"], ["0", "1"]
    columns: list[tuple[str, Pictures]] = [
        (name, [np.full((3, 3), 40 * place + 100 * row, np.uint8) for row in range(2)])
        for place, name in enumerate(names)
    ]
    chart = contact_sheet(columns, rows, palette("viridis"))
    pixels = png(chart)
    assert pixels.shape[:2] == (chart.height, chart.width)
    colours = np.frombuffer(palette("viridis").colours, np.uint8).reshape(256, 3)
    for column in range(3):
        for row in range(2):
            left, top, right, bottom = cell_pixels(names, rows, column, row)
            expected = colours[40 * column + 100 * row]
            assert np.all(pixels[top:bottom, left:right] == expected), (column, row)


def test_pictures_are_enlarged_without_smoothing() -> None:
    chart = contact_sheet([("a", [np.array([[0, 251], [251, 0]], np.uint8)])], ["0"], palette("gray"))
    left, top, right, bottom = cell_pixels(["a"], ["0"], 0, 0)
    inside = png(chart)[top:bottom, left:right]
    assert {tuple(colour) for colour in inside.reshape(-1, 3).tolist()} == {(0, 0, 0), (255, 255, 255)}
    assert inside[2, 2].tolist() == [0, 0, 0]
    assert inside[2, -3].tolist() == [255, 255, 255]


def test_a_picture_keeps_its_aspect_within_the_cell() -> None:
    chart = contact_sheet([("a", [np.zeros((2, 8), np.uint8)])], ["0"], palette("gray"))
    left, top, right, bottom = cell_pixels(["a"], ["0"], 0, 0)
    dark = png(chart)[top:bottom, left:right].max(axis=2) < 20
    assert dark.all(axis=1).sum() == pytest.approx((right - left) / 4, rel=0.1)
    assert dark[dark.shape[0] // 2].all()
    assert not dark[0].any()


def test_a_channel_that_a_layer_does_not_have_is_a_dash() -> None:
    one = np.zeros((2, 2), np.uint8)
    chart = contact_sheet([("a", [one, one]), ("b", [one])], ["0", "1"], palette("gray"))
    left, top, right, bottom = cell_pixels(["a", "b"], ["0", "1"], 1, 1)
    empty = png(chart)[top:bottom, left:right]
    assert 0 < (empty < 250).any(axis=2).mean() < 0.05


@pytest.mark.parametrize("count", [1, 15, 70, 500, 4000])
def test_names_fit_and_do_not_touch(count: int) -> None:
    names = [f"layer{place}.downsample.convolution" for place in range(count)]
    frame = _plan(names, ["0", "1", "2"], 1.0)
    # Lines of text at 45 degrees lie cos 45 of a column apart; a line is about its font size high.
    assert (frame.cell_width + 0.06) * 0.7071 * 72 >= frame.font
    last = frame.left + (count - 1 + 0.5) * (frame.cell_width + 0.06)
    assert frame.width >= last + 0.7071 * frame.font / 72 * 0.6 * len(names[-1])
    assert frame.top >= 0.7071 * frame.font / 72 * 0.6 * len(names[-1])
    assert frame.width * DPI < 2**16
    assert frame.cell_width > 0


def test_nothing_is_cut_off_at_the_edges() -> None:
    names = ["a_module_with_a_very_long_name." * 3 + "conv", "x", "a_module_with_a_very_long_name." * 2]
    one = np.full((3, 3), 100, np.uint8)
    pixels = png(contact_sheet([(name, [one]) for name in names], ["1023"], palette("gray")))
    border = np.concatenate([pixels[0], pixels[-1], pixels[:, 0], pixels[:, -1]])
    assert np.all(border == 255)


def test_vector_files_keep_the_pixels_and_embed_truetype_fonts() -> None:
    columns = [("conv1", [np.arange(6, dtype=np.uint8).reshape(2, 3)])]
    chart = contact_sheet(columns, ["0"], palette("gray"))
    assert b"/FontFile2" in chart.files["pdf"]
    assert b"/Type3" not in chart.files["pdf"]
    assert re.search(rb"/Width 3\b", chart.files["pdf"])
    assert chart.files["svg"].lstrip().startswith(b"<?xml")
    assert contact_sheet(columns, ["0"], palette("gray")).files == chart.files


def test_a_name_is_never_read_as_mathematics() -> None:
    one = [np.zeros((2, 2), np.uint8)]
    for name in ("$x$", r"$\frac{$", "_^{"):
        assert contact_sheet([(name, one)], ["0"], palette("gray")).files["png"]
