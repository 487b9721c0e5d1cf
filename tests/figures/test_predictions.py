"""Predictions against fractions computed by hand and against plain Python."""

import csv
import dataclasses
import io
import json
import math
from collections.abc import Sequence

import pytest
import torch
from PIL import Image

from canned import make_image, make_layer, make_record
from figures.figure_cases import image, layer
from reportgen.drawing.charts import Chart
from reportgen.entities import Activation, Layer, Reading
from reportgen.figures.base import DataFile, Figure, FigureOptions, Product, Subject
from reportgen.figures.predictions import APPLIED, OWN, OWN_LOG, OWN_SIGMOID, Predictions
from reportgen.site.record import FigureEntry
from reportgen.site.render import render

NAN, INF = float("nan"), float("inf")
FC = layer("fc", module_type="Linear", slug="fc")


@pytest.fixture
def drawn() -> None:
    """Asked for by the tests whose charts must really be drawn, which takes half a second each."""


@pytest.fixture(autouse=True)
def _quick(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    if "drawn" not in request.fixturenames:
        stub = Chart({"png": b"png", "svg": b"svg", "pdf": b"pdf"}, 10, 5)
        for name in ("stem_plot", "notice"):
            monkeypatch.setattr(f"reportgen.figures.predictions.{name}", lambda *_, **__: stub)


def node(name: str, parent: str, module_type: str = "", target: str = "") -> Layer:
    op = "call_module" if module_type else "call_function"
    return layer(name, op=op, module_type=module_type, target=target or name, parents=(parent,), slug=name)


def made(
    values: torch.Tensor,
    layers: Sequence[Layer] = (FC,),
    categories: Sequence[str] = (),
    layout: str = "NC",
    batch: int = 0,
    outputs: tuple[str, ...] = (),
) -> list[Product]:
    """All that the kind makes of the output of the last of `layers`, walked `batch` images at a time."""
    subject = Subject(tuple(layers), outputs or (layers[-1].name,), categories=tuple(categories))
    kind = Predictions(FigureOptions(), subject)
    images = tuple(image(f"image{number}") for number in range(batch or values.shape[0] or 1))
    if layout == "squeezed":
        list(kind.update(Activation(layers[-1], images[:1], values, Reading("", None))))
        return list(kind.compute())
    images = tuple(image(f"image{number}") for number in range(len(values)))
    for start in range(0, len(values), batch or len(values)):
        part = slice(start, start + (batch or len(values)))
        maps = values[part] if layout == "NCHW" else None
        list(kind.update(Activation(layers[-1], images[part], values[part], Reading(layout, maps))))
    return list(kind.compute())


def figures(products: Sequence[Product]) -> list[Figure]:
    return [product for product in products if isinstance(product, Figure)]


def only(products: Sequence[Product]) -> Figure:
    (figure,) = figures(products)
    return figure


def table(products: Sequence[Product]) -> list[list[str]]:
    (file,) = (product for product in products if isinstance(product, DataFile))
    return list(csv.reader(io.StringIO(file.content.decode())))


def test_top_classes_are_those_of_a_softmax_by_hand() -> None:
    scores = torch.randn(3, 40, generator=torch.Generator().manual_seed(0)) * 4
    for figure, row in zip(figures(made(scores)), scores.double().tolist(), strict=True):
        total = math.fsum(math.exp(score) for score in row)
        exact = [math.exp(score) / total for score in row]
        best = sorted(range(40), key=lambda place: (-exact[place], place))[:5]
        assert [entry[0] for entry in figure.data["top"]] == best
        assert [entry[1] for entry in figure.data["top"]] == [f"class {place}" for place in best]
        assert [entry[2] for entry in figure.data["top"]] == pytest.approx([exact[k] for k in best], rel=1e-8)
        assert figure.data["softmax"] == "applied by reportgen"
        assert (figure.layer, figure.data["classes"]) == (None, 40)
        assert "softmax of the model's scores was applied by reportgen" in figure.caption


def test_names_are_those_of_the_categories() -> None:
    figure = only(made(torch.tensor([[0.0, 9.0, 1.0]]), categories=("disc", "ring", "star")))
    assert [entry[1] for entry in figure.data["top"]] == ["ring", "star", "disc"]
    assert "ring, > 99.9 %" in figure.alt
    assert "numbered" not in figure.caption


def test_names_that_do_not_fit_are_not_used() -> None:
    figure = only(made(torch.tensor([[0.0, 9.0, 1.0]]), categories=("disc", "ring")))
    assert figure.data["top"][0][1] == "class 1"
    assert "2 names of classes are known, which do not fit; classes are numbered from 0." in figure.caption


@pytest.mark.parametrize(("classes", "shown"), [(2, 2), (4, 4), (5, 5), (4000, 5)])
def test_as_many_as_there_are(classes: int, shown: int) -> None:
    assert len(only(made(torch.randn(1, classes))).data["top"]) == shown


def test_ties_are_broken_by_the_lower_index() -> None:
    figure = only(made(torch.tensor([[1.0, 2.0, 2.0, 1.0, 2.0, 0.0]])))
    assert [entry[0] for entry in figure.data["top"]] == [1, 2, 4, 0, 3]


def test_different_scores_far_below_are_still_ranked() -> None:
    figure = only(made(torch.tensor([[-9000.0, 0.0, -5000.0]])))
    assert [entry[0] for entry in figure.data["top"]] == [1, 2, 0]
    assert [entry[2] for entry in figure.data["top"]] == [1, 0, 0]


SCORES = torch.tensor([[0.0, math.log(3), 0.0], [math.log(2), 0.0, 0.0]])
SHARES = [[0.2, 0.6, 0.2], [0.5, 0.25, 0.25]]


@pytest.mark.parametrize(
    ("last", "values", "source"),
    [
        ((), SCORES, APPLIED),
        ((node("prob", "fc", "Softmax"),), SCORES.softmax(1), OWN),
        ((node("prob", "fc", target="torch.nn.functional.softmax"),), SCORES.softmax(1), OWN),
        ((node("prob", "fc", "LogSoftmax"),), SCORES.log_softmax(1), OWN_LOG),
        ((node("prob", "fc", target="torch.nn.functional.log_softmax"),), SCORES.log_softmax(1), OWN_LOG),
        ((node("prob", "fc", "Softmax"), node("flatten", "prob", target="torch.flatten")), SCORES.softmax(1), OWN),
        ((node("mystery", "fc"),), SCORES.softmax(1), OWN),
        ((node("mystery", "fc"),), SCORES.log_softmax(1), OWN_LOG),
        ((node("mystery", "fc"),), SCORES, APPLIED),
    ],
)
def test_softmax_is_applied_only_where_the_model_has_not(
    last: tuple[Layer, ...], values: torch.Tensor, source: str
) -> None:
    for figure, shares in zip(figures(made(values, (FC, *last), ("a", "b", "c"))), SHARES, strict=True):
        assert figure.data["softmax"] == source
        found = {entry[0]: entry[2] for entry in figure.data["top"]}
        assert [found[place] for place in range(3)] == pytest.approx(shares, rel=1e-6)


def test_one_row_that_sums_to_1_by_chance_is_no_softmax() -> None:
    values = torch.tensor([[0.25, 0.75], [0.9, 0.9]])
    assert {figure.data["softmax"] for figure in figures(made(values))} == {APPLIED}
    assert {figure.data["softmax"] for figure in figures(made(values, batch=1))} == {APPLIED}


def test_a_sigmoid_is_left_alone() -> None:
    values = torch.tensor([[0.9, 0.8, 0.1]])
    layers = (FC, node("gate", "fc", "Sigmoid"))
    assert made(values, layers) == []
    figure = only(made(values, layers, ("a", "b", "c")))
    assert figure.data["softmax"] == OWN_SIGMOID
    assert [entry[2] for entry in figure.data["top"]] == pytest.approx([0.9, 0.8, 0.1])
    assert "need not sum to 1" in figure.caption


def test_a_softmax_over_another_axis_is_told() -> None:
    figure = figures(made(torch.tensor([[0.5, 0.9], [0.5, 0.1]]), (FC, node("prob", "fc", "Softmax"))))[0]
    assert figure.data["top"][0][2] == pytest.approx(0.9)
    assert "They sum to 1.4, not to 1." in figure.caption


@pytest.mark.parametrize(
    ("layers", "categories", "predicts"),
    [
        ((FC,), (), True),
        ((layer("norm", module_type="LayerNorm"),), (), False),
        ((layer("norm", module_type="LayerNorm"),), ("a", "b", "c"), True),
        ((layer("norm", module_type="LayerNorm"),), ("a", "b"), False),
        ((node("linear", "x", target="torch._C._nn.linear"),), (), True),
        ((FC, node("squeeze", "fc", target="squeeze")), (), True),
        ((FC, node("drop", "fc", "Dropout"), node("flat", "drop", "Flatten")), (), True),
        ((FC, node("add", "fc", target="_operator.add")), (), False),
        ((node("flatten", "elsewhere", target="torch.flatten"),), (), False),
        ((node("flatten", "flatten", target="torch.flatten"),), (), False),
    ],
)
def test_what_is_class_scores(layers: tuple[Layer, ...], categories: tuple[str, ...], predicts: bool) -> None:
    assert bool(made(torch.randn(2, 3), layers, categories)) is predicts


def test_other_outputs_have_no_predictions() -> None:
    assert made(torch.randn(2, 1)) == []
    assert made(torch.randn(2, 3, 4, 4), layout="NCHW") == []
    assert made(torch.randn(2, 7, 3), layout="NLC") == []
    kind = Predictions(FigureOptions(), Subject((FC,), ("fc",)))
    list(kind.update(Activation(FC, (image(),), {"scores": 1}, Reading("", None))))
    assert list(kind.compute()) == []


def test_pooled_and_squeezed_outputs_are_read() -> None:
    squeeze = node("squeeze", "fc", target="squeeze")
    plain = only(made(torch.tensor([[1.0, 3.0, 2.0]]))).data["top"]
    assert only(made(torch.tensor([[[[1.0]], [[3.0]], [[2.0]]]]), layout="NCHW")).data["top"] == plain
    assert only(made(torch.tensor([1.0, 3.0, 2.0]), (FC, squeeze), layout="squeezed")).data["top"] == plain
    assert only(made(torch.tensor([[1.0, 3.0, 2.0]]), (FC, squeeze), layout="")).data["top"] == plain


def test_only_outputs_are_wanted() -> None:
    kind = Predictions(FigureOptions(), Subject((FC, layer("conv")), ("fc",)))
    assert kind.wants(FC)
    assert not kind.wants(layer("conv"))


@pytest.mark.parametrize(
    ("row", "cause"),
    [
        ([1.0, NAN, NAN], "2 of 3 scores are not a number"),
        ([1.0, INF, 0.0], "1 of 3 scores is +Inf"),
        ([-INF] * 3, "every score is −Inf"),
    ],
)
def test_undefined_probabilities_say_why(row: list[float], cause: str) -> None:
    products = made(torch.tensor([row, [0.0, 0.0, 2.0]]))
    undefined, fine = figures(products)
    assert undefined.data["undefined"] == cause
    assert undefined.data["top"] == []
    assert f"They are undefined: {cause}." in undefined.caption
    assert undefined.data["softmax"] == fine.data["softmax"] == APPLIED
    assert fine.data["top"][0][0] == 2
    assert [line[1::3] for line in table(products)[1:4]] == [["", ""]] * 3


def test_a_score_of_minus_infinity_is_a_probability_of_zero() -> None:
    figure = only(made(torch.tensor([[0.0, -INF, 0.0]])))
    assert [entry[2] for entry in figure.data["top"]] == [0.5, 0.5, 0]


def test_nan_from_a_softmax_of_the_model() -> None:
    figure = only(made(torch.tensor([[NAN, NAN]]), (FC, node("prob", "fc", "Softmax"))))
    assert figure.data["undefined"] == "2 of 2 values are not a number"
    assert figure.data["softmax"] == OWN


@pytest.mark.parametrize(
    "values",
    [
        torch.randn(2, 4000).half(),
        torch.randn(2, 6).bfloat16(),
        torch.tensor([[1.7e308, -1.7e308, 0.0]], dtype=torch.float64),
        torch.zeros(1, 4000),
        torch.tensor([[True, False, True]]),
        torch.arange(6).view(2, 3),
        torch.randn(1, 5).expand(3, 5),
        torch.full((1, 2), NAN),
        torch.full((1, 2), 3e38),
    ],
)
@pytest.mark.usefixtures("drawn")
def test_no_value_breaks_a_figure(values: torch.Tensor) -> None:
    found = figures(made(values))
    assert len(found) == len(values)
    for figure in found:
        json.dumps(dict(figure.data), allow_nan=False)
        assert figure.caption.endswith(".")
        assert "nan" not in f"{figure.caption} {figure.alt}".lower()
        assert set(figure.files) == {"png", "svg", "pdf"}
        with Image.open(io.BytesIO(figure.files["png"])) as picture:
            assert picture.size == (figure.width, figure.height)


def test_half_precision_softmax_is_recognised_by_its_numbers() -> None:
    values = torch.randn(4, 1000, generator=torch.Generator().manual_seed(1)).softmax(1).half()
    names = [f"n{number}" for number in range(1000)]
    assert {figure.data["softmax"] for figure in figures(made(values, (node("out", "x"),), names))} == {OWN}


def test_batches_make_no_difference() -> None:
    values = torch.randn(3, 6, generator=torch.Generator().manual_seed(2))
    assert made(values, batch=2) == made(values)


def test_the_table_lists_every_class_of_every_image() -> None:
    products = made(
        torch.tensor([[0.0, math.log(3), 0.0], [0.0, 0.0, 0.0]], dtype=torch.float64),
        categories=("a", 'b "quoted"', "c, d"),
    )
    header, *rows = table(products)
    assert header == ["image", "rank", "class", "name", "probability"]
    assert rows[:3] == [
        ["image0", "1", "1", 'b "quoted"', "0.6"],
        ["image0", "2", "0", "a", "0.2"],
        ["image0", "3", "2", "c, d", "0.2"],
    ]
    assert [row[0] for row in rows[3:]] == ["image1"] * 3
    assert sum(float(row[4]) for row in rows[3:]) == pytest.approx(1)
    assert {figure.downloads for figure in figures(products)} == {("predictions.csv",)}


def test_several_outputs_are_told_apart() -> None:
    products = made(torch.randn(1, 3), outputs=("aux", "fc"))
    assert [product.name for product in products if isinstance(product, DataFile)] == ["predictions/fc.csv"]
    assert only(products).data["view"] == "fc"
    assert "view" not in only(made(torch.randn(1, 3))).data


@pytest.mark.usefixtures("drawn")
@pytest.mark.parametrize("row", [[1.0, 0.0, 2.0], [1.0, NAN, 2.0]])
def test_equal_input_gives_equal_bytes(row: list[float]) -> None:
    values = torch.tensor([row])
    assert made(values) == made(values)


def page_of(values: torch.Tensor) -> str:
    figure = only(made(values, categories=("<b>disc</b>", "ring", "star")))
    shown = dataclasses.replace(make_image("image0.png"), id="image0")
    entry = FigureEntry(
        figure.kind, None, "image0", ["figures/p.png", "figures/p.svg"], figure.width, figure.height, figure.alt,
        figure.caption, figure.data, ["data/predictions.csv"],
    )  # fmt: skip
    return render(make_record([make_layer("fc")], [shown], figures=[entry])).files["images/image0.html"]


def test_the_page_shows_names_bars_and_downloads() -> None:
    page = page_of(torch.tensor([[0.0, math.log(3), 0.0]], dtype=torch.float64))
    assert page.count("<rect ") == 3
    assert '<rect width="0.6" height="1">' in page
    assert "60.0 %" in page
    assert "&lt;b&gt;disc&lt;/b&gt;" in page
    assert 'href="../data/predictions.csv" download' in page
    assert "style=" not in page


def test_the_page_says_that_probabilities_are_undefined() -> None:
    page = page_of(torch.tensor([[0.0, NAN, 0.0]]))
    assert "They are undefined: 1 of 3 scores is not a number." in page
    assert "<rect " not in page
