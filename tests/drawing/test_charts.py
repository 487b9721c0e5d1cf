"""Charts: whole names, the values drawn, the same bytes each time, and fonts that publishers take."""

import io
import re
from itertools import pairwise
from typing import Any

import matplotlib as mpl
import numpy as np
import pytest
from matplotlib.figure import Figure
from numpy.typing import NDArray
from PIL import Image

from reportgen.drawing import charts
from reportgen.drawing.charts import Chart, chart, labelled_matrix, shorten


def matrix(count: int, name: str = "layer{}.{}.conv2") -> Chart:
    values = np.eye(count)
    values[0, count - 1] = np.nan
    names = [name.format(number // 8, number % 8) for number in range(count)]
    return labelled_matrix(
        values,
        names,
        low=0,
        high=1,
        cmap="viridis",
        bar_label="CKA",
        blocks=dict(zip(range(0, count, 8), names[::8], strict=True)),
    )


def plot(figure: Figure, *points: float) -> None:
    figure.add_subplot().plot(points or [1, 2])


def pixels(chart: Chart) -> NDArray[np.uint8]:
    with Image.open(io.BytesIO(chart.files["png"])) as picture:
        return np.asarray(picture.convert("RGB"))


@pytest.mark.parametrize("count", [2, 20, 70, 200])
@pytest.mark.parametrize(
    "name", ["layer{}.{}.conv2", "encoder.blocks.{}.a_rather_long_name.{}.projection", "x{}{}"]
)
def test_no_name_is_cut_off(count: int, name: str) -> None:
    picture = pixels(matrix(count, name))
    edges = (picture[:3], picture[-3:], picture[:, :3], picture[:, -3:])
    assert all((edge == 255).all() for edge in edges)


def labels_of(count: int, blocks: dict[int, str], monkeypatch: pytest.MonkeyPatch) -> list[tuple[float, str]]:
    """Where which label stands along the columns; none touches the next."""
    found: list[tuple[float, str]] = []

    def look(figure: Any, *, vector: bool) -> dict[str, bytes]:
        axes, renderer = figure.axes[0], figure.canvas.get_renderer()
        boxes = [label.get_window_extent(renderer) for label in axes.get_yticklabels()]
        boxes.sort(key=lambda box: -box.y0)
        assert all(upper.y0 >= lower.y1 - 0.5 for upper, lower in pairwise(boxes))
        texts = [label.get_text() for label in axes.get_xticklabels()]
        found.extend(sorted(zip(map(float, axes.get_xticks()), texts, strict=True)))
        return {"png": b""}

    monkeypatch.setattr(charts, "_save", look)
    names = [f"layer{number}" for number in range(count)]
    drawn = labelled_matrix(np.eye(count), names, low=0, high=1, cmap="viridis", bar_label="CKA", blocks=blocks)
    assert drawn.files["png"] == b""
    return found


def test_many_layers_are_labelled_by_block_as_far_as_there_is_room(monkeypatch: pytest.MonkeyPatch) -> None:
    blocks = {0: "x", 1: "stem", 4: "first", 700: "second", 1798: "head", 1799: "output"}
    found = labels_of(1800, blocks, monkeypatch)
    assert found == [(2, "stem"), (351.5, "first"), (1248.5, "second"), (1798, "head")]


@pytest.mark.parametrize("count", [1, 2, 80, 81, 500])
def test_names_do_not_collide_where_there_are_no_blocks(count: int, monkeypatch: pytest.MonkeyPatch) -> None:
    found = labels_of(count, {}, monkeypatch)
    assert all(name == f"layer{int(place)}" for place, name in found)
    assert len(found) == count if count <= 80 else 40 <= len(found) <= 80


def test_a_very_long_name_loses_its_middle() -> None:
    assert shorten("layer1.0.conv1") == "layer1.0.conv1"
    assert shorten("abcdefghij", 5) == "ab…ij"
    assert len(shorten("x" * 300)) == 60
    picture = pixels(matrix(20, "block" * 60 + "{}{}"))
    assert (picture[-3:] == 255).all()
    assert max(picture.shape) < 2500


def test_cells_have_the_colours_of_their_values() -> None:
    picture = pixels(matrix(2))
    found = {tuple(colour) for colour in picture.reshape(-1, 3)}
    for value in (0.0, 1.0):
        assert mpl.colormaps["viridis"](value, bytes=True)[:3] in found
    assert (201, 204, 203) in found  # undefined


def test_the_size_is_the_pictures() -> None:
    chart = matrix(5)
    assert pixels(chart).shape[:2] == (chart.height, chart.width)


def test_the_same_chart_has_the_same_bytes() -> None:
    assert matrix(6).files == matrix(6).files


def test_vector_formats_bear_no_date_and_no_type_3_fonts() -> None:
    files = matrix(6).files
    assert set(files) == {"png", "svg", "pdf"}
    assert b"/Type3" not in files["pdf"]
    assert b"/CIDFontType2" in files["pdf"] or b"/TrueType" in files["pdf"]
    assert b"CreationDate" not in files["pdf"]
    assert not re.search(rb"<dc:date>|20\d\d-\d\d-\d\d", files["svg"])
    assert b"Software" not in files["png"]


def test_a_chart_is_drawn_later_from_what_it_was_given() -> None:
    drawn = chart(2.5, 1, plot, 3.0, 1.0, vector=False)
    assert (drawn.width, drawn.height) == Image.open(io.BytesIO(drawn.files["png"])).size == (360, 144)
    points = np.array([3.0, 1.0])
    later = chart(2.5, 1, scatter, points, vector=False)
    points[:] = 7.0
    assert later.files["png"] == chart(2.5, 1, scatter, np.array([3.0, 1.0]), vector=False).files["png"]


def scatter(figure: Figure, points: NDArray[np.float64]) -> None:
    plot(figure, *points.tolist())


def test_vector_formats_can_be_left_out() -> None:
    assert set(chart(2, 1, plot, vector=False).files) == {"png"}


@pytest.mark.parametrize(("placed", "draws"), [(True, 3), (False, 4)])
def test_each_format_is_drawn_once_and_laid_out_at_most_once(
    placed: bool, draws: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    counted: list[int] = []
    plain = Figure.draw

    def draw(figure: Figure, renderer: Any) -> None:
        counted.append(1)
        plain(figure, renderer)

    monkeypatch.setattr(Figure, "draw", draw)
    assert set(chart(2, 1, plot, placed=placed).files.values()) != {b""}
    assert len(counted) == draws
