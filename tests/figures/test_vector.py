"""Values without positions, against the tensors they come from and against plain Python."""

import csv
import dataclasses
import io
import json
import math
from collections.abc import Iterator, Sequence

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image

from canned import make_image, make_layer, make_record
from figures.figure_cases import activation, image, layer, vector
from reportgen.drawing.charts import Chart
from reportgen.entities import Activation, Layer, Reading
from reportgen.figures.base import DataFile, Figure, FigureOptions, Product, Subject
from reportgen.figures.vector import Vector, vectors_of
from reportgen.numerics.scaling import parse_scale
from reportgen.site.record import FigureEntry
from reportgen.site.render import render

NAN, INF = float("nan"), float("inf")


@pytest.fixture
def drawn() -> None:
    """Asked for by the tests whose charts must really be drawn, which takes half a second each."""


@pytest.fixture(autouse=True)
def _quick(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    if "drawn" not in request.fixturenames:
        stub = Chart({"png": b"png", "svg": b"svg", "pdf": b"pdf"}, 10, 5)
        monkeypatch.setattr("reportgen.figures.vector.curve_plot", lambda *_, **__: stub)


def made(values: torch.Tensor, options: FigureOptions | None = None, batch: int = 0) -> list[Product]:
    """All that the kind makes of the vectors (N, D) of one layer, walked `batch` images at a time."""
    kind = Vector(options or FigureOptions(), Subject())
    whole = vector(values)
    size = batch or len(values)
    for start in range(0, len(values), size):
        stop = start + size
        images = whole.images[start:stop]
        assert list(kind.update(dataclasses.replace(whole, images=images, value=values[start:stop]))) == []
    return list(kind.compute())


def figures(products: Sequence[Product]) -> tuple[Figure, Figure]:
    lines, heat = (product for product in products if isinstance(product, Figure))
    assert (lines.data["view"], heat.data["view"]) == ("lines", "heat")
    return lines, heat


def table(products: Sequence[Product]) -> list[list[str]]:
    (file,) = (product for product in products if isinstance(product, DataFile))
    return list(csv.reader(io.StringIO(file.content.decode())))


def cells(heat: Figure) -> NDArray[np.uint8]:
    """The palette index of every cell, unfolded to (images, units), read from the picture's middle points."""
    with Image.open(io.BytesIO(heat.files["png"])) as picture:
        pixels = np.asarray(picture)
    data = heat.data
    rows, width, height = len(data["images"]), data["cell_width"], data["cell_height"]
    found = np.zeros((rows, data["units"]), np.uint8)
    for row in range(rows):
        for unit in range(data["units"]):
            line, column = divmod(unit, data["columns"])
            top = line * (rows * height + data["gap"]) + row * height
            found[row, unit] = pixels[top + height // 2, column * width + width // 2]
    return found


def reading(value: object, layout: str = "", images: int = 2, of: Layer | None = None) -> Activation:
    return Activation(of or layer(), tuple(image(f"image{k}") for k in range(images)), value, Reading(layout, None))


def test_what_is_a_vector() -> None:
    values = torch.randn(2, 5)
    assert torch.equal(vectors_of(reading(values, "NC")), values)  # type: ignore[arg-type]
    pooled = vectors_of(activation(torch.arange(6.0).view(2, 3, 1, 1)))
    assert pooled is not None
    assert pooled.tolist() == [[0, 1, 2], [3, 4, 5]]
    single = vectors_of(reading(torch.tensor([3.0, 4.0])))
    assert single is not None
    assert single.tolist() == [[3], [4]]


@pytest.mark.parametrize(
    "dtype", [torch.bool, torch.int64, torch.uint8, torch.float16, torch.bfloat16, torch.float64]
)
def test_vectors_are_floating(dtype: torch.dtype) -> None:
    found = vectors_of(reading(torch.tensor([[0, 1], [1, 1]]).to(dtype), "NC"))
    assert found is not None
    assert found.is_floating_point()
    assert found.tolist() == [[0, 1], [1, 1]]


def test_vectors_are_real() -> None:
    found = vectors_of(reading(torch.tensor([[3 + 4j, -1j]]).repeat(2, 1), "NC"))
    assert found is not None
    assert found.tolist() == [[5, 1], [5, 1]]
    quantised = torch.quantize_per_tensor(torch.tensor([[0.5, 1.25], [-0.75, 0.0]]), 0.25, 8, torch.quint8)
    found = vectors_of(reading(quantised, "NC"))
    assert found is not None
    assert found.tolist() == [[0.5, 1.25], [-0.75, 0]]


@pytest.mark.parametrize(
    ("value", "layout"),
    [
        (torch.randn(2, 5), ""),
        (torch.randn(3, 5), "NC"),
        (torch.randn(2, 4, 5), "NLC"),
        (torch.randn(()), ""),
        (torch.randn(3), ""),
        (torch.randn(2, 0), "NC"),
        ((1, 2), ""),
        (None, ""),
    ],
)
def test_what_is_no_vector(value: object, layout: str) -> None:
    assert vectors_of(reading(value, layout)) is None


def test_maps_and_parameters_are_no_vectors() -> None:
    assert vectors_of(activation(torch.randn(2, 3, 1, 2))) is None
    assert vectors_of(reading(torch.randn(2, 5), "NC", of=layer(op="get_attr"))) is None


@pytest.mark.parametrize(("outputs", "layout", "taken"), [(("score",), "", True), ((), "N", True), ((), "", False)])
def test_one_axis_must_be_known_to_be_the_images(outputs: tuple[str, ...], layout: str, taken: bool) -> None:
    kind = Vector(FigureOptions(), Subject(outputs=outputs))
    list(kind.update(reading(torch.tensor([7.0]), layout, images=1, of=layer("score"))))
    assert bool(list(kind.compute())) is taken


def test_the_table_holds_the_very_values() -> None:
    values = torch.randn(3, 7, generator=torch.Generator().manual_seed(0)) * 1e-3
    header, *rows = table(made(values))
    assert header == ["unit", "image0", "image1", "image2"]
    assert [row[0] for row in rows] == [str(unit) for unit in range(7)]
    read = torch.tensor([[float(cell) for cell in row[1:]] for row in rows])
    assert torch.equal(read.T, values)


def test_float64_keeps_all_its_digits_and_non_finite_values_their_names() -> None:
    values = torch.tensor([[1 / 3, NAN, INF, -INF]], dtype=torch.float64)
    cells_ = [row[1] for row in table(made(values))[1:]]
    assert float(cells_[0]) == 1 / 3
    assert cells_[1:] == ["nan", "inf", "-inf"]


@pytest.mark.parametrize("units", [1, 2, 9, 1000, 1500])
def test_the_heat_map_is_the_values_over_one_range(units: int) -> None:
    values = torch.randn(3, units, generator=torch.Generator().manual_seed(units))
    _, heat = figures(made(values))
    exact = values.double().numpy()
    low, high = exact.min(), exact.max()
    assert np.all(np.abs(cells(heat) - 251 * (exact - low) / (high - low)) <= 0.501)
    assert (heat.data["low"], heat.data["high"]) == (pytest.approx(low), pytest.approx(high))
    assert (heat.width, heat.height) == Image.open(io.BytesIO(heat.files["png"])).size


def test_the_scale_is_followed() -> None:
    values = torch.tensor([[-1.0, 0.0, 4.0]])
    _, symmetric = figures(made(values, FigureOptions(parse_scale("symmetric"))))
    assert (symmetric.data["low"], symmetric.data["high"], symmetric.data["cmap"]) == (-4, 4, "RdBu_r")
    assert cells(symmetric)[0, 1] in (125, 126)
    _, fixed = figures(made(values, FigureOptions(parse_scale("0:2"))))
    assert cells(fixed).tolist() == [[0, 0, 251]]
    assert "values outside are clipped" in fixed.caption


def test_top_units_are_those_a_sort_finds() -> None:
    values = torch.randint(-4, 5, (4, 30), generator=torch.Generator().manual_seed(3)).float()
    values[1, 4], values[2] = NAN, INF
    _, heat = figures(made(values))
    for number, row in enumerate(values.tolist()):
        finite = [(unit, value) for unit, value in enumerate(row) if math.isfinite(value)]
        best = sorted(finite, key=lambda pair: (-pair[1], pair[0]))[:8]
        assert [tuple(pair) for pair in heat.data["top"][f"image{number}"]] == best


def test_holes_are_counted_and_coloured() -> None:
    values = torch.tensor([[1.0, NAN, INF, 2.0], [NAN, -INF, 3.0, 0.0]])
    lines, heat = figures(made(values))
    assert (lines.data["nan"], lines.data["infinite"]) == (2, 2)
    assert "4 of 8 values not finite (2 not a number, 2 infinite): the lines have holes there." in lines.caption
    assert cells(heat).tolist() == [[84, 253, 254, 167], [253, 255, 251, 0]]
    assert "NaN is magenta" in heat.caption
    assert (lines.data["low"], lines.data["high"]) == (0, 3)


@pytest.mark.parametrize(
    "values",
    [
        torch.full((2, 3), NAN),
        torch.full((1, 1), -INF),
        torch.zeros(2, 3),
        torch.full((1, 4), 3e38),
        torch.tensor([[3e38, -3e38]]),
        torch.tensor([[1e-45, 0.0]]),
        torch.tensor([[1.7e308, -1.7e308, 0.0]], dtype=torch.float64),
        torch.tensor([[5e-324, 0.0]], dtype=torch.float64),
        torch.randn(2, 3).half(),
        torch.randn(2, 3).bfloat16(),
        torch.tensor([[True, False]]),
        torch.arange(6).view(2, 3),
        torch.randn(1, 5).expand(3, 5),
    ],
)
@pytest.mark.usefixtures("drawn")
def test_no_value_breaks_a_figure(values: torch.Tensor) -> None:
    for figure in figures(made(values)):
        json.dumps(dict(figure.data), allow_nan=False)
        assert figure.caption.endswith(".")
        assert figure.alt
        assert "nan" not in figure.caption.lower().replace("nan is", "")
        assert "inf " not in figure.caption.lower().replace("+inf orange", "").replace("−inf cyan", "")


def test_what_cannot_be_coloured_is_said() -> None:
    lines, heat = figures(made(torch.full((2, 3), NAN)))
    assert "none of them finite" in lines.caption
    assert heat.data["low"] is None
    assert heat.data["top"] == {"image0": [], "image1": []}
    lines, heat = figures(made(torch.full((2, 3), 1.5)))
    assert "all 1.5" in lines.caption
    assert "All of them are equal" in heat.caption


def test_batches_make_no_difference() -> None:
    values = torch.randn(5, 12, generator=torch.Generator().manual_seed(5))
    assert made(values, batch=2) == made(values) == made(values, batch=1)


def test_nothing_is_kept_of_the_activation() -> None:
    values = torch.randn(2, 6, dtype=torch.float64)
    before = values.clone()
    kind = Vector(FigureOptions(), Subject())
    list(kind.update(vector(values)))
    assert torch.equal(values, before)
    values.zero_()
    assert list(kind.compute()) == made(before)


def test_images_of_different_sizes_leave_rows_of_different_lengths() -> None:
    kind = Vector(FigureOptions(), Subject())
    list(kind.update(vector(torch.tensor([[1.0, 2.0, 3.0]]))))
    small = vector(torch.tensor([[0.0]]))
    list(kind.update(dataclasses.replace(small, images=(image("small"),))))
    products = list(kind.compute())
    assert table(products)[1:] == [["0", "1", "0"], ["1", "2", ""], ["2", "3", ""]]
    _, heat = figures(products)
    assert cells(heat).tolist() == [[84, 167, 251], [0, 252, 252]]


@pytest.mark.usefixtures("drawn")
def test_a_long_vector_says_what_is_drawn() -> None:
    lines, _ = figures(made(torch.randn(1, 25088)))
    assert "Of every 49 units, the smallest and the largest value are drawn." in lines.caption
    assert len(lines.files["svg"]) < 200_000
    assert "drawn" not in figures(made(torch.randn(1, 1000)))[0].caption


@pytest.mark.usefixtures("drawn")
@pytest.mark.parametrize(("count", "suffixes"), [(2, 3), (3, 1)])
def test_many_layers_have_pictures_only(count: int, suffixes: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("reportgen.figures.vector.MOST_VECTOR_CHARTS", 2)
    kind = Vector(FigureOptions(), Subject())
    for number in range(count):
        one = layer(f"fc{number}", slug=f"fc{number}")
        list(kind.update(dataclasses.replace(vector(torch.randn(1, 3)), layer=one)))
    products = list(kind.compute())
    drawn = [product for product in products if isinstance(product, Figure) and product.data["view"] == "lines"]
    assert [len(figure.files) for figure in drawn] == [suffixes] * count
    names = [product.name for product in products if isinstance(product, DataFile)]
    assert names == [f"vectors/fc{number}.csv" for number in range(count)]
    assert [figure.downloads for figure in drawn] == [(name,) for name in names]


def test_images_that_are_not_drawn_leave_no_trace() -> None:
    kind = Vector(FigureOptions(), Subject())
    kind.observe(vector(torch.randn(2, 3)))
    assert list(kind.compute()) == []


def entries(products: Sequence[Product]) -> Iterator[FigureEntry]:
    for product in products:
        if isinstance(product, Figure):
            view = product.data["view"]
            files = [f"figures/vector-{view}.{suffix}" for suffix in product.files]
            downloads = [f"data/{name}" for name in product.downloads]
            yield FigureEntry(
                product.kind, product.layer, product.image, files, product.width, product.height, product.alt,
                product.caption, product.data, downloads,
            )  # fmt: skip


def test_the_page_shows_charts_table_and_downloads() -> None:
    values = torch.tensor([[1.0, 5.0, -2.5], [NAN, NAN, NAN]])
    shown = [dataclasses.replace(make_image(f"image{number}.png"), id=f"image{number}") for number in (0, 1)]
    record = make_record([make_layer("fc", layout="NC")], shown, figures=list(entries(made(values))))
    page = render(record).files["layers/fc.html"]
    assert "figures/vector-lines.png" in page
    assert 'href="../data/vectors/fc.csv" download' in page
    assert '<strong>1</strong> <span class="quiet">5</span>' in page
    assert '<strong>2</strong> <span class="quiet">−2.5</span>' in page
    assert "no value is finite" in page
    assert 'class="crisp" src="../figures/vector-heat.png"' in page
    assert "style=" not in page
