"""The overview's cells against the maps they show, and everything that a layer may be."""

import io
import json
import math
from collections.abc import Iterable, Sequence

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image

import reportgen.figures.overview as overview
from figures.figure_cases import activation, batch, image, layer, vector
from reportgen.drawing.charts import Chart
from reportgen.entities import Activation, Batch
from reportgen.figures.base import Figure, FigureOptions, Product, Subject
from reportgen.figures.overview import Overview, middle_frame
from reportgen.numerics.scaling import parse_scale


def make(size: tuple[int, int] = (15, 3), **options: object) -> Overview:
    return Overview(FigureOptions(overview=size, **options), Subject())  # type: ignore[arg-type]


def run(kind: Overview, on: Batch, events: Iterable[Activation]) -> list[Figure]:
    products: list[Product] = list(kind.begin_batch(on))
    for event in events:
        if kind.wants(event.layer):
            kind.observe(event)
            products += kind.update(event)
    products += kind.end_batch()
    return [product for product in products if isinstance(product, Figure)]


def maps_of(count: int, channels: int = 5, images: int = 1, side: int = 6) -> list[Activation]:
    generator = torch.Generator().manual_seed(count)
    shape = (images, channels, side, side + 2)
    return [activation(torch.randn(shape, generator=generator), layer(f"block.{place}")) for place in range(count)]


class Drawn:
    """Stands in for the drawing: remembers what each sheet was to show."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.sheets: list[tuple[Sequence[tuple[str, Sequence[NDArray[np.uint8]]]], Sequence[str]]] = []
        monkeypatch.setattr(overview, "contact_sheet", self)

    def __call__(self, columns: object, rows: object, *_: object) -> Chart:
        self.sheets.append((columns, rows))  # type: ignore[arg-type]
        return Chart({"png": b""}, 1, 1)


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> Drawn:
    return Drawn(monkeypatch)


def test_it_shows_the_first_channels_of_the_first_layers(drawn: Drawn) -> None:
    events = maps_of(4, images=2)
    figures = run(make((3, 2)), batch(2), events)
    assert [figure.image for figure in figures] == ["image0", "image1"]
    for number, (columns, rows) in enumerate(drawn.sheets):
        assert [name for name, _ in columns] == ["block.0", "block.1", "block.2"]
        assert rows == ["0", "1"]
        for place, (_, pictures) in enumerate(columns):
            assert len(pictures) == 2
            for channel, picture in enumerate(pictures):
                assert isinstance(events[place].value, torch.Tensor)
                values = events[place].reading.maps[number, channel].double().numpy()  # type: ignore[index]
                exact = 251 * (values - values.min()) / (values.max() - values.min())
                assert np.all(np.abs(picture - exact) <= 0.501)
    data = figures[0].data
    assert data["layers_total"] == 4
    assert data["low"][1][0] == pytest.approx(float(events[1].reading.maps[0, 0].min()))  # type: ignore[index]
    assert data["high"][2][1] == pytest.approx(float(events[2].reading.maps[0, 1].max()))  # type: ignore[index]


def test_inputs_parameters_and_vectors_take_no_column(drawn: Drawn) -> None:
    on = torch.randn(2, 3, 4, 4)
    read = [
        activation(on, layer("x", op="placeholder")),
        vector(torch.randn(2, 7)),
        activation(on, layer("weight", op="get_attr")),
        activation(on, layer("conv")),
    ]
    (first, _) = run(make(), batch(2), read)
    assert first.data["layers"] == ["conv"]
    assert "the one layer that has maps" in first.caption
    assert run(make(), batch(2), read[:3]) == []


def test_the_figure_is_a_chart_in_three_formats() -> None:
    (figure,) = run(make((2, 2)), batch(1), maps_of(3))
    assert list(figure.files) == ["png", "svg", "pdf"]
    assert (figure.layer, figure.image) == (None, "image0")
    assert Image.open(io.BytesIO(figure.files["png"])).size == (figure.width, figure.height)
    assert figure.data["pixels"] == pytest.approx(2 / 3)
    assert figure.caption == (
        "Overview for image0.png: the first 2 channels (rows, numbered from 0) of the first 2 of 3 layers that "
        "have maps (columns, in execution order). Each cell is coloured over its own range (viridis)."
    )
    assert (
        figure.alt
        == "The first 2 channels of the first 2 of 3 layers that have maps for image0.png, a column a layer"
    )


def test_fewer_channels_than_rows_is_said(drawn: Drawn) -> None:
    one = activation(torch.randn(1, 1, 4, 4), layer("gray"))
    (figure,) = run(make((5, 4)), batch(1), [one, *maps_of(1, channels=3)])
    assert (figure.data["rows"], figure.data["columns"]) == (3, 2)
    assert figure.data["channels"] == [1, 3]
    assert [len(pictures) for _, pictures in drawn.sheets[0][0]] == [1, 3]
    assert "A dash stands where a layer has no such channel." in figure.caption


def test_a_symmetric_scale_is_about_zero_cell_by_cell(drawn: Drawn) -> None:
    maps = torch.tensor([[[[1.0, -4.0]], [[2.0, 8.0]]]])
    (figure,) = run(make(scale=parse_scale("symmetric")), batch(1), [activation(maps)])
    assert figure.data["low"] == [[-4.0, -8.0]]
    assert figure.data["high"] == [[4.0, 8.0]]
    assert "over its own range about zero (RdBu_r)" in figure.caption


def test_large_maps_are_thinned_and_keep_their_range(drawn: Drawn) -> None:
    maps = torch.zeros(1, 1, 600, 300)
    maps[0, 0, 1, 1] = 5
    (figure,) = run(make(), batch(1), [activation(maps)])
    assert drawn.sheets[0][0][0][1][0].shape == (200, 100)
    assert figure.data["high"] == [[5.0]]
    assert "Of maps larger than 256 pixels" in figure.caption


def test_only_small_copies_are_kept_and_none_after_the_batch() -> None:
    kind = make((2, 3))
    list(kind.begin_batch(batch(2)))
    for event in maps_of(5, channels=64, images=2):
        list(kind.update(event))
    cells = [picture for column in kind._columns for one in column.cells for picture in one.pictures]
    assert len(cells) == 2 * 2 * 3
    assert {picture.dtype for picture in cells} == {np.dtype(np.uint8)}
    list(kind.end_batch())
    assert not kind._columns


def test_batches_start_anew_and_those_not_drawn_make_nothing(drawn: Drawn) -> None:
    kind = make((2, 1))
    together = run(make((2, 1)), batch(2), maps_of(3, images=2))
    events = maps_of(3, images=2)
    apart: list[Figure] = []
    for number in range(2):
        one = Batch((image(f"image{number}"),), torch.zeros(1, 3, 6, 8))
        maps = [event.reading.maps[number : number + 1] for event in events if event.reading.maps is not None]
        apart += run(kind, one, [activation(part, layer(f"block.{place}")) for place, part in enumerate(maps)])
    assert [(figure.data, figure.image) for figure in apart] == [(figure.data, figure.image) for figure in together]
    hidden = Batch((image(),), torch.zeros(1, 3, 6, 8), drawn=False)
    assert list(kind.begin_batch(hidden)) == []
    assert list(kind.end_batch()) == []


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64, torch.int32, torch.bool])
@pytest.mark.parametrize("shape", [(1, 1, 1, 1), (2, 4, 1, 9)])
def test_any_type_and_shape(dtype: torch.dtype, shape: tuple[int, ...]) -> None:
    maps = (torch.rand(shape, generator=torch.Generator().manual_seed(0)) * 3).to(dtype)
    for figure in run(make(), batch(shape[0]), [activation(maps)]):
        json.dumps(dict(figure.data), allow_nan=False)
        assert Image.open(io.BytesIO(figure.files["png"])).size == (figure.width, figure.height)


def test_values_that_are_not_finite_stay_visible(drawn: Drawn) -> None:
    maps = torch.randn(1, 2, 3, 3)
    maps[0, 0, 0, 0], maps[0, 0, 1, 1], maps[0, 1] = math.nan, -math.inf, math.nan
    (figure,) = run(make(), batch(1), [activation(maps)])
    picture = drawn.sheets[0][0][0][1][0]
    assert (picture[0, 0], picture[1, 1]) == (253, 255)
    assert "NaN is magenta" in figure.caption
    assert figure.data["low"][0][1] is None
    json.dumps(dict(figure.data), allow_nan=False)


def test_of_a_clip_the_middle_frame_is_shown() -> None:
    frames = torch.rand(5, 2, 3, 4)  # D, C, H, W
    assert torch.equal(middle_frame(torch.cat(list(frames), dim=2), 5), frames[2])
    assert torch.equal(middle_frame(frames[0], 1), frames[0])
