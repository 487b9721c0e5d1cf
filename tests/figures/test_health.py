"""What stands out: planted faults are found, said in a sentence, and listed once, at the layer where they start."""

import csv
import io
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from functools import cache

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import nn

from figures.figure_cases import DTYPES, activation, image, layer, plain, read, typed
from models_for_tests import HalfBroken, Residual
from reportgen.drawing.charts import Chart
from reportgen.drawing.shares import share_rows
from reportgen.entities import Activation, Batch, Layer, Reading
from reportgen.figures import health
from reportgen.figures.base import DataFile, Figure, FigureOptions, Product, Subject
from reportgen.figures.findings import rank_findings
from reportgen.figures.health import Health, bounds_of
from reportgen.network.capture import walk
from reportgen.network.graph import trace
from reportgen.network.isolation import evaluating
from reportgen.numerics.statistics import MATRIX_CHANNELS, Bounds

Step = tuple[Layer, torch.Tensor]


@cache
def one_chart() -> Chart:
    return share_rows(["a"], {"Dead": np.zeros(1)})


@pytest.fixture(autouse=True)
def shares(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, list[float]]]:
    """What the report-wide chart is asked to draw, which takes long; tests/drawing/test_shares.py looks at it."""
    asked: list[dict[str, list[float]]] = []
    chart = one_chart()

    def ask(names: Sequence[str], rows: Mapping[str, NDArray[np.float64]]) -> Chart:
        assert all(len(row) == len(names) for row in rows.values())
        asked.append({title: row.tolist() for title, row in rows.items()})
        return chart

    monkeypatch.setattr(health, "share_rows", ask)
    return asked


def node(name: str, kind: str, *parents: str, function: bool = False) -> Layer:
    """A layer that calls the module class `kind`, or the function of that name."""
    if function:
        return layer(
            name, op="call_function", module_type="", target=f"torch.{kind}", parents=parents or ("x",), detail=""
        )
    return layer(name, module_type=kind, parents=parents or ("x",), detail="")


def random_maps(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def inputs(count: int, seed: int = 50) -> torch.Tensor:
    return random_maps(count, 3, 8, 8, seed=seed)


def event(of: Layer, value: torch.Tensor) -> Activation:
    images = tuple(image(f"image{number}") for number in range(len(value)))
    if value.dim() == 4:
        return Activation(of, images, value, Reading("NCHW", value))
    return Activation(of, images, value, Reading({2: "NC", 3: "NLC"}.get(value.dim(), ""), None, "no maps"))


def products(
    steps: Sequence[Step], seen: torch.Tensor | None = None, *, further: int = 0, subject: Subject | None = None
) -> list[Product]:
    """What a report with one batch makes; the last `further` images are a batch that only feeds the statistics."""
    count = len(steps[0][1])
    seen = inputs(count) if seen is None else seen
    kind = Health(FigureOptions(), subject or Subject(layers=tuple(of for of, _ in steps)))
    made: list[Product] = []
    for part, drawn in ((slice(0, count - further), True), (slice(count - further, count), False)):
        if not len(seen[part]):
            continue
        images = tuple(image(f"image{number}") for number in range(len(seen[part])))
        made += kind.begin_batch(Batch(images, seen[part], drawn))
        for of, value in steps:
            if kind.wants(of):
                kind.observe(event(of, value[part]))
        made += kind.end_batch()
    return [*made, *kind.compute()]


def figures(made: Iterable[Product]) -> dict[str | None, Figure]:
    return {product.layer: product for product in made if isinstance(product, Figure)}


def tables(made: Iterable[Product]) -> dict[str, list[dict[str, str]]]:
    return {
        product.name: list(csv.DictReader(io.StringIO(product.content.decode())))
        for product in made
        if isinstance(product, DataFile)
    }


def listed(made: Iterable[Product]) -> list[tuple[str, str]]:
    """The ranked list: layer and sentence."""
    return [(row["layer"], row["text"]) for row in figures(made)[None].data["findings"]]


def with_dead(channels: int = 64, dead: int = 12, images: int = 4) -> torch.Tensor:
    maps = random_maps(images, channels, 6, 6).relu() + 0.001 * random_maps(images, channels, 6, 6, seed=1).relu()
    maps[:, :dead] = 0
    return maps


def test_dead_channels_are_said_and_counted() -> None:
    made = products([(node("stem.relu", "ReLU"), with_dead())])
    sentence = "12 of 64 channels are dead on these 4 images: zero everywhere."
    assert listed(made) == [("stem.relu", sentence)]
    figure = figures(made)["stem.relu"]
    assert sentence in figure.caption
    assert figure.data["findings"] == [sentence]
    assert figure.data["counts"]["dead"] == 12
    assert tables(made)["layers.csv"][0]["dead"] == "12"
    assert [row["dead"] for row in tables(made)["channels/stem.relu.csv"]] == ["1"] * 12 + ["0"] * 52


@pytest.mark.parametrize(
    ("dead", "channels", "images", "sentence"),
    [
        (1, 8, 2, "1 of 8 channels is dead on these 2 images: zero everywhere."),
        (8, 8, 2, "All 8 channels are dead on these 2 images: zero everywhere."),
        (1, 1, 3, "The one channel is dead on these 3 images: zero everywhere."),
        (3, 8, 1, "3 of 8 channels are dead on this one image: zero everywhere."),
    ],
)
def test_the_sentence_agrees_in_number(dead: int, channels: int, images: int, sentence: str) -> None:
    made = products([(node("relu", "ReLU"), with_dead(channels, dead, images))])
    assert listed(made)[0] == ("relu", sentence)


def test_one_image_is_said_to_be_one() -> None:
    made = products([(node("relu", "ReLU"), with_dead(images=1))])
    assert "on this one image" in listed(made)[0][1]
    assert "With one image, a channel that rests may well wake on another." in figures(made)[None].caption
    assert "over 1 image." in figures(made)[None].caption
    many = figures(products([(node("relu", "ReLU"), with_dead())]))[None].caption
    assert "one image" not in many


def test_images_of_statistics_count() -> None:
    maps = with_dead(images=5)
    maps[4, 0, 2, 2] = 1.0
    made = products([(node("relu", "ReLU"), maps)], further=3)
    assert listed(made) == [("relu", "11 of 64 channels are dead on these 5 images: zero everywhere.")]
    overview = figures(made)[None]
    assert (overview.data["images"], overview.data["of_statistics"]) == (2, 3)
    assert "5 images (3 of them only feed the statistics)" in overview.caption
    assert tables(made)["layers.csv"][0]["images"] == "5"


def test_a_finding_is_listed_where_it_starts_and_the_nodes_that_pass_it_on_are_counted() -> None:
    maps = with_dead()
    pooled = torch.nn.functional.max_pool2d(maps, 2)
    steps = [
        (node("conv", "Conv2d"), random_maps(4, 64, 6, 6, seed=3)),
        (node("relu", "ReLU", "conv"), maps),
        (node("pool", "MaxPool2d", "relu"), pooled),
        (node("flatten", "flatten", "pool", function=True), pooled.flatten(1)),
        (node("next", "Conv2d", "pool"), random_maps(4, 64, 3, 3, seed=4)),
    ]
    made = products(steps)
    sentence = "12 of 64 channels are dead on these 4 images: zero everywhere."
    assert listed(made) == [("relu", f"{sentence} 2 later nodes pass this on.")]
    assert sentence in figures(made)["pool"].caption
    assert "units are dead on these 4 images: zero for every image." in figures(made)["flatten"].caption


def test_more_dead_channels_than_before_are_a_finding_of_their_own() -> None:
    maps = with_dead()
    more = maps.clone()
    more[:, 40] = 0
    made = products([(node("relu", "ReLU"), maps), (node("relu2", "ReLU", "relu"), more)])
    assert {name for name, _ in listed(made)} == {"relu", "relu2"}


def test_a_convolution_that_mixes_channels_passes_nothing_on() -> None:
    maps = with_dead(8, 2)
    steps = [(node("relu", "ReLU"), maps), (node("conv", "Conv2d", "relu"), maps)]
    mixing, depthwise = nn.Conv2d(8, 8, 1), nn.Conv2d(8, 8, 1, groups=8)
    for module, names in ((mixing, {"relu", "conv"}), (depthwise, {"relu"})):
        modules = {"conv": module}
        subject = Subject(tuple(of for of, _ in steps), module_of=lambda of, known=modules: known.get(of.name))  # type: ignore[misc]
        assert {name for name, _ in listed(products(steps, subject=subject))} == names


def test_sums_and_joins_pass_on_what_their_parts_hold() -> None:
    first, second = with_dead(8, 2), with_dead(8, 3)
    joined = torch.cat([second, first], 1)
    steps = [
        (node("a", "ReLU"), first),
        (node("b", "ReLU"), second),
        (node("sum", "add", "a", "b", function=True), first + second),
        (node("join", "cat", "b", "a", function=True), joined),
        (node("wrong", "cat", "a", "b", function=True), joined),
    ]
    found = [name for name, text in listed(products(steps)) if "dead" in text]
    assert sorted(found) == ["a", "b", "wrong"]


def test_the_channel_after_a_constant_one_is_not_a_new_finding() -> None:
    maps = random_maps(3, 8, 5, 5)
    maps[:, 2] = -1.5
    maps[:, 5] = -2.0
    steps = [(node("bn", "BatchNorm2d"), maps), (node("relu", "ReLU", "bn"), maps.relu())]
    found = listed(products(steps))
    assert found == [
        (
            "bn",
            "2 of 8 channels are constant on these 3 images: one value everywhere, but not zero. "
            "1 later node passes this on.",
        )
    ]


def test_a_path_through_nodes_without_statistics_is_followed() -> None:
    maps = with_dead(8, 2)
    steps = [(node("relu", "ReLU"), maps), (node("piece", "getitem", "parts", function=True), maps)]
    parts = node("parts", "split", "relu", function=True)
    subject = Subject((steps[0][0], parts, steps[1][0]))
    assert [name for name, _ in listed(products(steps, subject=subject))] == ["relu"]


def test_values_that_are_not_finite_come_first_and_once() -> None:
    maps = random_maps(2, 8, 5, 5)
    broken = maps.clone()
    broken[0, 3, 0, 0] = float("nan")
    broken[1, 3, 0, :2] = float("inf")
    after = torch.full((2, 8, 5, 5), float("nan"))
    made = products(
        [
            (node("relu", "ReLU"), with_dead(8, 8, 2)),
            (node("conv1", "Conv2d"), broken),
            (node("conv2", "Conv2d", "conv1"), after),
        ]
    )
    rows = figures(made)[None].data["findings"]
    assert rows[0]["layer"] == "conv1"
    assert rows[0]["text"] == (
        "3 of 400 values on these 2 images are not finite (1 not a number, 2 infinite), in 1 of 8 channels. "
        "1 later node passes this on."
    )
    assert [row["layer"] for row in rows] == ["conv1", "relu"]
    assert rows[0]["severity"] > 2 > rows[1]["severity"]
    table = tables(made)
    assert [row["non_finite"] for row in table["layers.csv"]] == ["0", "3", "400"]
    assert table["channels/conv1.csv"][3]["nan_count"] == "1"
    assert table["channels/conv1.csv"][3]["inf_count"] == "2"
    assert table["channels/conv2.csv"][0]["min"] == ""
    assert "none is finite" in figures(made)["conv2"].caption


def test_findings_are_ranked_by_the_share_of_channels() -> None:
    steps = [(node(f"relu{dead}", "ReLU"), with_dead(32, dead)) for dead in (1, 20, 5)]
    assert [name for name, _ in listed(products(steps))] == ["relu20", "relu5", "relu1"]


def test_few_values_weigh_less() -> None:
    steps = [(node("units", "ReLU"), with_dead()[:, :, 0, 0]), (node("maps", "ReLU"), with_dead())]
    found = figures(products(steps))[None].data["findings"]
    severity = {row["layer"]: row["severity"] for row in found if "dead" in row["text"]}
    assert severity["units"] < severity["maps"]


def test_duplicates_name_a_pair() -> None:
    maps = random_maps(2, 16, 6, 6)
    maps[:, 9] = -2 * maps[:, 4] + 1
    made = products([(node("conv", "Conv2d"), maps)])
    assert listed(made) == [
        (
            "conv",
            "1 of 16 channels repeats an earlier one on these 2 images: |correlation| above 0.99 "
            "(channel 9 repeats channel 4).",
        )
    ]
    column = [row["duplicate_of"] for row in tables(made)["channels/conv.csv"]]
    assert column == [""] * 9 + ["4"] + [""] * 6


def test_copies_of_the_input_are_found_at_another_size() -> None:
    seen = inputs(2)
    maps = random_maps(2, 8, 4, 4)
    gray = torch.nn.functional.avg_pool2d(seen.mean(1, keepdim=True), 2)[:, 0]
    maps[:, 3] = 5 * gray - 2
    maps[:, 6] = gray + 0.5 * gray.std() * maps[:, 6]
    made = products([(node("conv", "Conv2d"), maps)], seen)
    assert listed(made) == [
        (
            "conv",
            "1 of 8 channels nearly copies the input on these 2 images: |correlation| with the gray input "
            "above 0.95.",
        )
    ]
    assert tables(made)["layers.csv"][0]["copy_of_input"] == "1"
    column = [float(row["input_correlation"]) for row in tables(made)["channels/conv.csv"]]
    exact = [np.corrcoef(maps[:, c].flatten(), gray.flatten())[0, 1] for c in range(8)]
    assert column == pytest.approx(exact, abs=1e-5)


def test_the_record_tells_of_each_channel_what_its_table_does() -> None:
    seen = inputs(2)
    maps = random_maps(2, 8, 8, 8).sigmoid()
    maps[:, 1] = 0.0
    maps[:, 2] = 1.0
    maps[:, 3] = seen.mean(1).sigmoid()
    maps[:, 4] = 0.5 + 0.25 * maps[:, 0]
    maps[0, 5, 0, 0] = torch.nan
    maps[1, 5, 0, :2] = torch.inf
    made = products([(node("gate", "Sigmoid"), maps)], seen)
    told, rows = figures(made)["gate"].data["per_channel"], tables(made)["channels/gate.csv"]
    for name in ("min", "max", "mean", "std", "share_of_zeros", "input_correlation"):
        exact = [float(row[name]) if row[name] else None for row in rows]
        assert told[name] == [None if value is None else pytest.approx(value, rel=1e-5) for value in exact]
        assert all(value == float(f"{value:.6g}") for value in told[name] if value is not None)
    for name in ("dead", "constant", "saturated"):
        assert told[name] == [channel for channel, row in enumerate(rows) if row[name] == "1"] != []
    assert told["copy"] == [3]
    assert told["duplicate_of"] == [[4, 0]]
    assert (told["nan_count"], told["inf_count"]) == ([[5, 1]], [[5, 2]])


def test_a_share_below_one_is_never_told_as_one() -> None:
    maps = torch.zeros(1, 1, 2000, 2000)
    maps[0, 0, 0, 0] = 1.0
    assert figures(products([(node("relu", "ReLU"), maps)]))["relu"].data["per_channel"]["share_of_zeros"] == [
        0.999999
    ]


def test_units_which_have_no_maps_are_not_told_one_by_one() -> None:
    made = products([(node("fc", "Linear"), random_maps(2, 6))])
    assert figures(made)["fc"].data["per_channel"] is None


def test_saturated_channels_name_the_bounds() -> None:
    maps = random_maps(2, 4, 5, 5).sigmoid()
    maps[:, 1] = 0.99999
    maps[:, 2, :, :3] = 1.0
    maps[:, 2, :, 3:] = 0.0
    made = products([(node("gate", "Sigmoid"), maps)])
    assert listed(made)[0] == (
        "gate",
        "2 of 4 channels are saturated on these 2 images: at least 95 % of their values lie at a bound (0 or 1), "
        "within 0.1 % of the range.",
    )
    assert [row["saturated"] for row in tables(made)["channels/gate.csv"]] == ["0", "1", "1", "0"]
    assert tables(made)["layers.csv"][0]["saturated"] == "2"
    relu = products([(node("relu6", "relu6", function=True), torch.full((1, 2, 4, 4), 6.0))])
    assert any("lie at the bound 6, within 0.1 % of the range" in text for _, text in listed(relu))


@pytest.mark.parametrize(
    ("of", "module", "bounds"),
    [
        (node("a", "Sigmoid"), nn.Sigmoid(), Bounds(0, 1)),
        (node("a", "Tanh"), nn.Tanh(), Bounds(-1, 1)),
        (node("a", "ReLU6"), nn.ReLU6(), Bounds(0, 6, rests_low=True)),
        (node("a", "Hardtanh"), nn.Hardtanh(-2, 3), Bounds(-2, 3)),
        (node("a", "Hardtanh"), nn.Hardtanh(0, 3), Bounds(0, 3, rests_low=True)),
        (node("a", "Hardsigmoid"), nn.Hardsigmoid(), Bounds(0, 1)),
        (node("a", "ReLU"), nn.ReLU(), None),
        (node("a", "Sigmoid"), nn.Identity(), None),
        (node("a", "sigmoid", function=True), None, Bounds(0, 1)),
        (node("a", "tanh_", function=True), None, Bounds(-1, 1)),
        (node("a", "hardtanh", function=True), None, Bounds(-1, 1)),
        (node("a", "relu6", function=True), None, Bounds(0, 6, rests_low=True)),
        (node("a", "relu", function=True), None, None),
    ],
)
def test_bounds_are_those_of_the_activation(of: Layer, module: nn.Module | None, bounds: Bounds | None) -> None:
    assert bounds_of(of, module) == bounds


def test_units_of_one_image_are_neither_dead_nor_constant() -> None:
    made = products([(node("fc", "Linear"), torch.tensor([[0.0, 1.0, 1.0]]))])
    assert listed(made) == []
    row = tables(made)["layers.csv"][0]
    assert (row["dead"], row["constant"], row["duplicate"], row["effective_rank"]) == ("", "", "", "")
    assert "dead: each has one value" in row["undefined"]
    caption = figures(made)["fc"].caption
    assert "dead, constant (each has one value)" in caption
    assert "Nothing stands out in 1 layer over 1 image." in figures(made)[None].caption
    assert [unit["dead"] for unit in tables(made)["channels/fc.csv"]] == ["", "", ""]
    assert [unit["std"] for unit in tables(made)["channels/fc.csv"]] == ["", "", ""]


def test_units_over_several_images() -> None:
    values = random_maps(3, 6)
    values[:, 2] = 0
    made = products([(node("fc", "Linear"), values)])
    assert listed(made) == [("fc", "1 of 6 units is dead on these 3 images: zero for every image.")]


def test_copies_of_one_image_make_no_unit_constant() -> None:
    values = random_maps(1, 6).expand(3, -1).contiguous()
    made = products([(node("fc", "Linear"), values)], inputs(1).expand(3, -1, -1, -1))
    assert listed(made) == []
    assert "copies of each other" in figures(made)["fc"].caption
    assert listed(products([(node("fc", "Linear"), values)])) != []


@pytest.mark.parametrize(
    "value",
    [
        random_maps(2, 5, 4, 4).half(),
        random_maps(2, 5, 4, 4).bfloat16(),
        random_maps(2, 5, 4, 4).double() * 1e300,
        random_maps(2, 5, 4, 4) > 0,
        (random_maps(2, 5, 4, 4) * 10).long(),
        torch.zeros(2, 5, 4, 4),
        torch.full((2, 5, 4, 4), float("nan")),
        torch.full((2, 5, 4, 4), float("inf")),
        random_maps(2, 5, 1, 1),
        random_maps(1, 5, 1, 1),
        random_maps(2, MATRIX_CHANNELS + 88, 3, 3),
        random_maps(2, 4000),
        random_maps(2, 7, 6),
        random_maps(2, 5, 4, 4) * 1e-45,
    ],
    ids=str,
)
def test_no_value_breaks_it_and_none_is_silent(value: torch.Tensor) -> None:
    made = products([(node("a", "Conv2d"), value)])
    for figure in figures(made).values():
        json.dumps(dict(figure.data), allow_nan=False)
        assert "nan" not in figure.caption.lower()
        assert "inf" not in figure.caption.lower().replace("infinite", "")
        with Image.open(io.BytesIO(figure.files["png"])) as picture:
            assert picture.size == (figure.width, figure.height)
    for rows in tables(made).values():
        assert all(cell not in ("nan", "inf", "-inf") for row in rows for cell in row.values())


@pytest.mark.parametrize("kind", DTYPES)
@pytest.mark.parametrize("shape", [(2, 5, 6, 4), (3, 9), (2, 7, 5)])
def test_values_of_any_type_are_measured_as_their_numbers(kind: str, shape: tuple[int, ...]) -> None:
    values = typed(kind, *shape)
    exact = plain(values)
    measured = read(values) if len(shape) == 4 else event(node("a", "Conv2d"), values)
    one = Health(FigureOptions(), Subject())
    one.observe(replace(measured, layer=node("a", "Conv2d")))
    made = list(one.compute())
    (row,) = tables(made)["layers.csv"]
    for column, number in {
        "min": exact.min(),
        "max": exact.max(),
        "mean": exact.mean(),
        "std": exact.std(),
    }.items():
        assert float(row[column]) == pytest.approx(number, rel=1e-6)
    assert float(row["share_of_zeros"]) == pytest.approx((exact == 0).mean())
    assert ("magnitudes are drawn" in figures(made)["a"].caption) == (kind == "complex64")


def test_a_single_number_is_no_set_of_values_an_image() -> None:
    kind = Health(FigureOptions(), Subject())
    kind.observe(Activation(node("a", "sum"), (image(),), torch.tensor(3.0), Reading("", None)))
    (row,) = tables(list(kind.compute()))["layers.csv"]
    assert row["undefined"] == "it is not one set of values an image"


def test_what_is_not_measured_has_a_row_and_its_cause() -> None:
    steps = [(node("conv", "Conv2d"), random_maps(2, 3, 4, 4))]
    start = layer("x", op="placeholder", module_type="", parents=())
    weight = layer("weight", op="get_attr", module_type="", parents=())
    pair, never = node("pair", "chunk", "conv", function=True), node("never", "Conv2d", "conv")
    kind = Health(FigureOptions(), Subject((start, weight, steps[0][0], pair, never)))
    assert kind.wants(start)
    assert not kind.wants(weight)
    list(kind.begin_batch(Batch((image(), image()), inputs(2))))
    kind.observe(event(*steps[0]))
    kind.observe(Activation(pair, (image(), image()), (1, 2), Reading("", None, "a tuple of 2 values")))
    made = list(kind.compute())
    rows = tables(made)["layers.csv"]
    assert [row["name"] for row in rows] == ["x", "weight", "conv", "pair", "never"]
    causes = ["it was not computed", "a parameter of the model", "", "a tuple of 2 values", "it was not computed"]
    assert [row["undefined"] for row in rows] == causes
    assert rows[2]["shape"] == "3x4x4"
    assert set(figures(made)) == {"conv", None}


def test_the_input_has_its_numbers_and_no_findings() -> None:
    start = layer("x", op="placeholder", module_type="", parents=())
    tensor = inputs(2)
    tensor[:, 0] = 0.0
    kind = Health(FigureOptions(), Subject((start,)))
    list(kind.begin_batch(Batch((image(), image()), tensor)))
    kind.observe(event(start, tensor))
    made = list(kind.compute())
    (row,) = tables(made)["layers.csv"]
    assert float(row["mean"]) == pytest.approx(tensor.double().mean().item())
    assert row["dead"] == "1"
    assert set(figures(made)) == {"x"}


def test_channels_that_change_in_number_are_undefined() -> None:
    kind = Health(FigureOptions(), Subject())
    for channels in (3, 4):
        kind.observe(event(node("a", "Conv2d"), random_maps(1, channels, 4, 4)))
    made = list(kind.compute())
    assert figures(made) == {}
    assert tables(made)["layers.csv"][0]["undefined"] == "its number of channels changes from image to image"


def test_nothing_measured_makes_no_figure() -> None:
    made = list(Health(FigureOptions(), Subject()).compute())
    assert [product.name for product in made if isinstance(product, DataFile)] == ["layers.csv"]
    assert figures(made) == {}


def test_batches_do_not_matter() -> None:
    steps = [
        (node("conv", "Conv2d"), random_maps(3, 8, 6, 6)),
        (node("relu", "ReLU", "conv"), with_dead(8, 2, 3)),
        (node("fc", "Linear", "relu"), random_maps(3, 4)),
    ]
    seen = inputs(3)
    results = []
    for sizes in ((3,), (1, 1, 1), (2, 1)):
        kind, start = Health(FigureOptions(), Subject(tuple(of for of, _ in steps))), 0
        for size in sizes:
            part = slice(start, start + size)
            list(kind.begin_batch(Batch(tuple(image() for _ in range(size)), seen[part])))
            for of, value in steps:
                kind.observe(event(of, value[part]))
            list(kind.end_batch())
            start += size
        results.append(list(kind.compute()))
    assert results[0] == results[1] == results[2]


def test_nothing_of_a_batch_is_kept() -> None:
    kind = Health(FigureOptions(), Subject())
    list(kind.begin_batch(Batch((image(), image()), inputs(2))))
    kind.observe(event(node("conv", "Conv2d"), random_maps(2, 8, 6, 6)))
    assert kind._gray is not None
    list(kind.end_batch())
    assert kind._gray is None
    assert kind._references == {}


@pytest.mark.parametrize("model", [Residual(), HalfBroken()], ids=["in place", "half broken"])
def test_a_walk_agrees_with_clones_of_what_the_network_computed(model: nn.Module) -> None:
    network = trace(model)
    seen = random_maps(3, 3, 8, 8, seed=7)
    clones: dict[str, torch.Tensor] = {}
    kind = Health(FigureOptions(), Subject(network.layers, network.outputs))
    with evaluating(model):
        for drawn, part in ((True, seen[:2]), (False, seen[2:])):
            batch = Batch(tuple(image() for _ in part), part, drawn)
            list(kind.begin_batch(batch))
            for step in walk(network, batch):
                if isinstance(step, Activation) and isinstance(step.value, torch.Tensor):
                    before = clones.get(step.layer.name, step.value[:0])
                    clones[step.layer.name] = torch.cat([before, step.value.clone()])
                    if kind.wants(step.layer):
                        kind.observe(step)
            list(kind.end_batch())
    rows = {row["name"]: row for row in tables(kind.compute())["layers.csv"]}
    for name, values in clones.items():
        if name == "x":
            continue
        exact = values.double().numpy()
        assert float(rows[name]["min"]) == pytest.approx(exact.min(), rel=1e-8)
        assert float(rows[name]["mean"]) == pytest.approx(exact.mean(), rel=1e-8, abs=1e-9)
        assert float(rows[name]["std"]) == pytest.approx(exact.std(), rel=1e-8, abs=1e-12)
        assert float(rows[name]["share_of_zeros"]) == pytest.approx((exact == 0).mean(), rel=1e-8)
        still = exact.swapaxes(0, 1).reshape(exact.shape[1], -1)
        assert int(rows[name]["dead"]) == (still == 0).all(1).sum()


def test_the_list_is_cut_with_a_word() -> None:
    steps = [(node(f"relu{number}", "ReLU"), with_dead(4, 1, 1)) for number in range(103)]
    data = figures(products(steps))[None].data
    assert len(data["findings"]) == 100
    assert data["more"] == 3


def test_the_rank_says_what_few_values_limit_it_to() -> None:
    wide = figures(products([(node("conv", "Conv2d"), random_maps(1, 40, 5, 5))]))["conv"].caption
    assert "of 40 channels, which 25 values a channel limit to 24 (Roy and Vetterli, 2007)." in wide
    narrow = figures(products([(node("conv", "Conv2d"), random_maps(1, 4, 5, 5))]))["conv"].caption
    assert "limit" not in narrow


def test_the_histogram_counts_every_value() -> None:
    maps = with_dead()
    figure = figures(products([(node("relu", "ReLU"), maps)]))["relu"]
    bins: Mapping[str, object] = figure.data["bins"]
    assert sum(bins["counts"]) == maps.numel()  # type: ignore[call-overload]
    assert set(figure.files) == {"png", "svg"}
    assert f"{100 * float((maps == 0).double().mean()):.3g} % exactly zero" in figure.caption
    assert "The exact zeros are the light bar, cut off at the top." in figure.caption
    assert figure.downloads == ("channels/relu.csv",)


def test_the_chart_shows_the_shares_of_channels(shares: list[dict[str, list[float]]]) -> None:
    still = random_maps(4, 8, 6, 6)
    still[:, :2] = 0.5
    still[:, 7] = still[:, 5]
    steps = [
        (node("relu", "ReLU"), with_dead(8, 2)),
        (node("conv", "Conv2d"), still),
        (node("wide", "Conv2d"), random_maps(4, MATRIX_CHANNELS + 8, 2, 2)),
        (node("unit", "Linear"), random_maps(4, 3)),
    ]
    made = products(steps)
    (rows,) = shares
    assert rows["Dead"] == [0.25, 0, 0, 0]
    assert rows["Constant"] == [0, 0.25, 0, 0]
    assert rows["Duplicate"][:2] == [0, 0.125]
    assert np.isnan(rows["Duplicate"][2:]).all()
    assert "Gray fields are undefined" in figures(made)[None].caption


def test_findings_need_no_report() -> None:
    assert rank_findings({}, {}, lambda _: None) == []


def test_the_value_is_left_as_it_was() -> None:
    maps = random_maps(2, 8, 5, 5)
    before = maps.clone()
    products([(node("conv", "Conv2d"), maps)])
    assert torch.equal(maps, before)
    kept = replace(activation(maps), layer=node("conv", "Conv2d"))
    assert kept.value is maps
