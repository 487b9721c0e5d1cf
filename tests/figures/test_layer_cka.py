"""The layer matrix against double loops over cloned activations of real networks, in-place ones among them."""

import base64
import csv
import dataclasses
import io
import json
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import nn

from figures.figure_cases import DTYPES, image, layer, plain, read, typed
from reportgen.entities import Activation, Batch, Reading
from reportgen.figures.base import DataFile, Figure, FigureOptions, Subject
from reportgen.figures.layer_cka import GRID, LayerCKA, images_are_examples, positions, spread
from reportgen.network.capture import walk
from reportgen.network.graph import Network, trace


class Net(nn.Module):
    """conv, bn, in-place relu, residual add, in-place relu, pool, fc: what usual packages get wrong."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.bn, self.relu = nn.Conv2d(3, 6, 3, padding=1), nn.BatchNorm2d(6), nn.ReLU(inplace=True)
        self.conv2 = nn.Conv2d(6, 6, 3, padding=1, stride=2)
        self.down = nn.Conv2d(6, 6, 1, stride=2)
        self.pool, self.fc = nn.AdaptiveAvgPool2d(1), nn.Linear(6, 5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.relu(self.bn(self.conv(x)))
        x = self.relu(self.conv2(x) + self.down(x))
        found: torch.Tensor = self.fc(torch.flatten(self.pool(x), 1))
        return found


def network() -> Network:
    torch.manual_seed(0)
    model = Net().eval()
    model.bn.running_mean.normal_()  # type: ignore[union-attr]
    model.bn.bias.data.normal_()
    return trace(model)


def products_of(
    net: Network, batches: Sequence[torch.Tensor], options: FigureOptions | None = None, statistics: int = 0
) -> tuple[dict[str, str], list[Figure]]:
    """The texts of the data files by name, and the figures."""
    count = sum(len(batch) for batch in batches) - statistics
    kind = LayerCKA(options or FigureOptions(), Subject(layers=net.layers, images=count, statistics=statistics))
    for tensor in batches:
        batch = Batch(tuple(image(str(number)) for number in range(len(tensor))), tensor)
        list(kind.begin_batch(batch))
        for event in walk(net, batch):
            assert isinstance(event, Activation)
            kind.observe(event)
        list(kind.end_batch())
    products = list(kind.compute())
    files = {product.name: product.content.decode() for product in products if isinstance(product, DataFile)}
    return files, [product for product in products if isinstance(product, Figure)]


def run(
    net: Network, batches: Sequence[torch.Tensor], options: FigureOptions | None = None, statistics: int = 0
) -> tuple[list[str], NDArray[np.float64], dict[str, Any], list[Figure]]:
    files, figures = products_of(net, batches, options, statistics)
    rows = list(csv.reader(io.StringIO(files["layer_cka.csv"])))
    matrix = np.array([[float(cell) if cell else np.nan for cell in row[1:]] for row in rows[1:]])
    assert rows[0][1:] == [row[0] for row in rows[1:]]
    facts = json.loads(files["layer_cka.json"])
    return rows[0][1:], matrix, facts, figures


def clones(net: Network, batch: torch.Tensor) -> dict[str, NDArray[np.float64]]:
    """Every node's value, cloned when it is computed, without the code under test (hooks on a plain run)."""
    model = net.root
    seen: dict[str, NDArray[np.float64]] = {"x": batch.double().numpy().copy()}

    def keep(name: str) -> Any:
        def hook(_: nn.Module, __: Any, value: torch.Tensor) -> None:
            key = f"{name}_1" if name in seen else name
            seen[key] = value.detach().double().numpy().copy()

        return hook

    handles = [module.register_forward_hook(keep(name)) for name, module in model.named_modules() if name]
    with torch.no_grad():
        model(batch)
    for handle in handles:
        handle.remove()
    seen["add"] = seen["conv2"] + seen["down"]
    seen["flatten"] = seen["pool"].reshape(len(batch), -1)
    return seen


def hsic_1(k: NDArray[np.float64], l: NDArray[np.float64]) -> float:  # noqa: E741 - Song et al.'s name
    """HSIC_1 by its definition as a sum over distinct indices, with plain loops (Song et al. 2012, eq. 4)."""
    n = len(k)
    first = second = third = 0.0
    for i in range(n):
        for j in range(n):
            if i == j:
                continue
            first += k[i, j] * l[i, j]
            for q in range(n):
                if q in (i, j):
                    continue
                third += k[i, j] * l[i, q]
                for r in range(n):
                    if r not in (i, j, q):
                        second += k[i, j] * l[q, r]
    pairs, triples, quads = n * (n - 1), n * (n - 1) * (n - 2), n * (n - 1) * (n - 2) * (n - 3)
    return first / pairs + second / quads - 2 * third / triples


def kernel(features: NDArray[np.float64]) -> NDArray[np.float64]:
    centred = features - features.mean(axis=0)
    found: NDArray[np.float64] = centred @ centred.T
    return found


def test_images_as_examples_equal_a_double_loop_over_clones() -> None:
    net = network()
    batches = [torch.randn(5, 3, 8, 8, generator=torch.Generator().manual_seed(seed)) for seed in (1, 2)]
    names, found, facts, _ = run(net, batches, FigureOptions(cka_examples="images"))
    seen = [clones(net, batch) for batch in batches]
    for i, first in enumerate(names):
        for j, second in enumerate(names[: i + 1]):
            sums = np.zeros(3)
            for values in seen:
                k, l = (kernel(values[name].reshape(5, -1)) for name in (first, second))  # noqa: E741
                sums += [hsic_1(k, l), hsic_1(k, k), hsic_1(l, l)]
            assert found[i, j] == pytest.approx(sums[0] / np.sqrt(sums[1] * sums[2]), abs=1e-6)
            assert found[i, j] == found[j, i] or found[i, j] == pytest.approx(found[j, i])
    assert (facts["n"], facts["batches"], facts["undefined"]) == (10, 2, {})


def test_the_relu_that_follows_does_not_change_a_layers_row() -> None:
    """conv and bn differ by a scale and a shift a channel only at one channel; here bn is made the identity."""
    net = network()
    norm = net.root.get_submodule("bn")
    assert isinstance(norm, nn.BatchNorm2d)
    norm.reset_parameters()
    norm.reset_running_stats()
    names, found, _, _ = run(net, [torch.randn(8, 3, 8, 8)], FigureOptions(cka_examples="images"))
    place = {name: number for number, name in enumerate(names)}
    assert found[place["conv"], place["bn"]] == pytest.approx(1, abs=1e-9)
    assert found[place["bn"], place["relu"]] < 0.99


def test_positions_as_examples_equal_a_plain_computation() -> None:
    net = network()
    batch = torch.randn(2, 3, 16, 16, generator=torch.Generator().manual_seed(3))
    names, found, facts, _ = run(net, [batch])
    seen = clones(net, batch)
    assert set(facts["undefined"]) == {"pool", "flatten", "fc"}
    place = {name: number for number, name in enumerate(names)}
    for first, second in (("x", "conv"), ("conv", "relu"), ("conv2", "add"), ("relu", "relu_1")):
        sums = np.zeros(3)
        for one in range(2):
            grams = []
            for name in (first, second):
                maps = seen[name][one]
                side = maps.shape[1] // GRID  # 16 x 16 and 8 x 8 here: cells are whole blocks
                blocks = maps.reshape(maps.shape[0], GRID, side, GRID, side).mean(axis=(2, 4))
                grams.append(torch.from_numpy(kernel(blocks.reshape(maps.shape[0], -1).T)))
            from reportgen.numerics.similarity import hsic

            both = hsic(torch.stack(grams), debiased=True)
            sums += [float(both[0, 1]), float(both[0, 0]), float(both[1, 1])]
        assert found[place[first], place[second]] == pytest.approx(sums[0] / np.sqrt(sums[1] * sums[2]), abs=1e-6)
    assert facts["n"] == 2 * GRID * GRID


def test_a_batch_of_two_is_two_batches_of_one_for_positions() -> None:
    net = network()
    batch = torch.randn(2, 3, 16, 16)
    together = run(net, [batch])[1]
    apart = run(net, [batch[:1], batch[1:]])[1]
    np.testing.assert_allclose(together, apart, atol=1e-6)


def test_examples_are_chosen_by_their_number() -> None:
    assert not images_are_examples("auto", 31)
    assert images_are_examples("auto", 32)
    assert images_are_examples("images", 1)
    assert not images_are_examples("positions", 1000)


def test_few_images_as_examples_are_undefined_with_the_cause() -> None:
    names, found, facts, figures = run(network(), [torch.randn(3, 3, 8, 8)], FigureOptions(cka_examples="images"))
    assert np.isnan(found).all()
    assert set(facts["undefined"]) == set(names)
    assert facts["undefined"]["conv"] == "there are fewer than 4 examples"
    assert facts["images_left_out"] == 3
    assert figures == []


@pytest.mark.parametrize("count", [1, 2])
def test_one_and_two_images_work_by_positions(count: int) -> None:
    names, found, facts, figures = run(network(), [torch.randn(count, 3, 16, 16)])
    defined = [number for number, name in enumerate(names) if name not in facts["undefined"]]
    assert np.isfinite(found[np.ix_(defined, defined)]).all()
    assert np.allclose(np.diag(found)[defined], 1)
    (figure,) = figures
    assert f"n = {64 * count:,}" in figure.caption
    assert "fewer than 32 images" in figure.caption


def test_dead_constant_and_non_finite_layers_are_undefined_with_the_cause() -> None:
    net = network()
    torch.nn.init.constant_(net.root.get_submodule("conv").weight, 0.0)  # type: ignore[arg-type]
    _, found, facts, figures = run(net, [torch.randn(2, 3, 16, 16)])
    assert facts["undefined"]["conv"] == "it is the same for every example"
    assert "undefined (gray)" in figures[0].caption
    net = network()
    convolution = net.root.get_submodule("conv2")
    assert isinstance(convolution, nn.Conv2d)
    assert convolution.bias is not None
    convolution.bias.data[0] = float("nan")
    names, found, facts, _ = run(net, [torch.randn(2, 3, 16, 16)])
    assert facts["undefined"]["conv2"] == "it has values that are not finite"
    assert np.isnan(found[names.index("conv2")]).all()
    assert np.isfinite(found[names.index("conv"), names.index("relu")])


@pytest.mark.parametrize("count", [2, 32])
@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_layer_with_a_value_that_is_not_finite_says_so_whatever_the_examples_are(
    count: int, value: float
) -> None:
    images = torch.randn(count, 3, 16, 16)
    images[-1, 0, 5, 5] = value
    names, found, facts, _ = run(network(), [images])
    first = names[0]
    assert facts["undefined"][first] == "it has values that are not finite"
    assert np.isnan(found[0]).all()


def test_a_batch_of_identical_images_is_undefined_by_images() -> None:
    one = torch.randn(1, 3, 8, 8).expand(6, -1, -1, -1)
    _, found, facts, _ = run(network(), [one], FigureOptions(cka_examples="images"))
    assert np.isnan(found).all()
    assert facts["undefined"]["x"] == "it is the same for every example"


def test_the_null_band_holds_what_chance_gives() -> None:
    """With independent noise instead of images, the values themselves mostly lie inside the band."""
    net = network()
    batches = [torch.randn(8, 3, 8, 8, generator=torch.Generator().manual_seed(seed)) for seed in range(4)]
    _, _, facts, figures = run(net, batches, FigureOptions(cka_examples="images"))
    low, high = facts["null_band"]
    assert -0.6 < low < 0 < high < 0.6
    assert "shuffled" in figures[0].caption
    _, _, again, _ = run(net, batches, FigureOptions(cka_examples="images"))
    assert again["null_band"] == facts["null_band"]


def test_biased_on_request() -> None:
    net = network()
    batch = torch.randn(8, 3, 8, 8)
    names, found, facts, _ = run(net, [batch], FigureOptions(cka_examples="images", cka="biased"))
    seen = clones(net, batch)
    x, y = (seen[name].reshape(8, -1) - seen[name].reshape(8, -1).mean(0) for name in ("conv", "add"))
    expected = np.linalg.norm(y.T @ x) ** 2 / np.linalg.norm(x.T @ x) / np.linalg.norm(y.T @ y)
    assert found[names.index("conv"), names.index("add")] == pytest.approx(expected, abs=1e-6)
    assert facts["estimator"] == "biased"


def test_half_precision_features_are_taken_as_they_are() -> None:
    net = network()
    batch = torch.randn(2, 3, 16, 16)
    kind = LayerCKA(FigureOptions(), Subject(layers=net.layers, images=2))
    list(kind.begin_batch(Batch((image("a"), image("b")), batch)))
    for event in walk(net, Batch((image("a"), image("b")), batch)):
        assert isinstance(event, Activation)
        maps = event.reading.maps
        half = event.value.half() if isinstance(event.value, torch.Tensor) else event.value
        reading = type(event.reading)(event.reading.layout, None if maps is None else maps.half())
        kind.observe(Activation(event.layer, event.images, half, reading))
    list(kind.end_batch())
    assert any(isinstance(product, Figure) for product in kind.compute())


@pytest.mark.parametrize("kind", DTYPES)
@pytest.mark.parametrize("examples", ["positions", "images"])
def test_features_of_any_type_are_their_numbers(kind: str, examples: str) -> None:
    values = [typed(kind, 4, 5, GRID, GRID), torch.randn(4, 3, GRID, GRID)]
    layers = [layer("typed"), layer("other")]
    cka = LayerCKA(FigureOptions(cka="biased", cka_examples=examples), Subject(layers=tuple(layers), images=4))
    images = tuple(image(f"image{number}") for number in range(4))
    list(cka.begin_batch(Batch(images, values[1])))
    for of, value in zip(layers, values, strict=True):
        cka.observe(dataclasses.replace(read(value), layer=of))
    list(cka.end_batch())
    (table, *_) = cka.compute()
    assert isinstance(table, DataFile)
    found = float(list(csv.reader(io.StringIO(table.content.decode())))[1][2])
    assert found == pytest.approx(plain_cka(plain(values[0]), values[1].double().numpy(), examples), rel=1e-5)


def plain_cka(first: NDArray[np.float64], second: NDArray[np.float64], examples: str) -> float:
    """Biased CKA by its formula over features; each image is a batch where positions are the examples."""

    def parts(values: NDArray[np.float64]) -> list[NDArray[np.float64]]:
        scaled = values / np.abs(values).max()
        rows = [scaled.reshape(len(scaled), -1)]
        if examples == "positions":
            rows = [one.reshape(len(one), -1).T for one in scaled]
        return [row - row.mean(0) for row in rows]

    def cross(one: NDArray[np.float64], other: NDArray[np.float64]) -> float:
        return float(sum(np.linalg.norm(y.T @ x) ** 2 for x, y in zip(parts(one), parts(other), strict=True)))

    return cross(first, second) / math.sqrt(cross(first, first) * cross(second, second))


@pytest.mark.parametrize("size", [1e80, 1e200])
def test_values_whose_products_leave_float64_are_said_to_be_too_large(size: float) -> None:
    cka = LayerCKA(FigureOptions(), Subject(layers=(layer("large"),), images=1))
    maps = torch.randn(1, 3, GRID, GRID).double() * size
    list(cka.begin_batch(Batch((image(),), maps)))
    cka.observe(dataclasses.replace(read(maps), layer=layer("large")))
    list(cka.end_batch())
    facts = next(json.loads(made.content) for made in cka.compute() if made.name == "layer_cka.json")  # type: ignore[union-attr]
    assert facts["undefined"] == {"large": "its values are too large to be compared in float64"}


def test_what_is_no_tensor_or_a_parameter_says_why() -> None:
    layers = (layer("pair"), layer("weight", op="get_attr"))
    cka = LayerCKA(FigureOptions(), Subject(layers=layers, images=1))
    list(cka.begin_batch(Batch((image(),), torch.zeros(1))))
    cka.observe(Activation(layers[0], (image(),), (1, 2), Reading("", None)))
    cka.observe(Activation(layers[1], (image(),), torch.ones(2), Reading("", None, "a parameter")))
    list(cka.end_batch())
    facts = next(json.loads(made.content) for made in cka.compute() if made.name == "layer_cka.json")  # type: ignore[union-attr]
    assert facts["undefined"] == {"pair": "its value is not a tensor", "weight": "a parameter"}


def test_a_common_grid_averages_and_interpolates() -> None:
    fine = torch.arange(16 * 16.0).reshape(1, 16, 16)
    blocks = fine.reshape(GRID, 2, GRID, 2).mean(dim=(1, 3))
    torch.testing.assert_close(positions(fine)[:, 0].reshape(GRID, GRID), blocks)
    ramp = torch.arange(4.0).repeat(4, 1)[None]
    row = positions(ramp)[:, 0].reshape(GRID, GRID)[0]
    torch.testing.assert_close(row, torch.tensor([0.0, 0.25, 0.75, 1.25, 1.75, 2.25, 2.75, 3.0]))
    assert positions(torch.randn(5, 3, 20)).shape == (GRID * GRID, 5)


def test_spread() -> None:
    assert spread(3, 64) == [0, 1, 2]
    chosen = spread(1800, 64)
    assert len(chosen) == 64
    assert (chosen[0], chosen[-1]) == (0, 1799)


def test_neighbours_are_ranked() -> None:
    _, _, _, figures = run(network(), [torch.randn(2, 3, 16, 16)])
    neighbours = figures[0].data["neighbours"]
    most = [value for _, _, value in neighbours["most"]]
    least = [value for _, _, value in neighbours["least"]]
    assert most == sorted(most, reverse=True)
    assert least == sorted(least)
    assert most[0] >= least[-1]
    assert set(figures[0].files) == {"png", "svg", "pdf"}


def test_the_page_gets_the_values_of_the_picture_and_a_table_of_means() -> None:
    given_images = torch.randn(1, 3, 16, 16, generator=torch.Generator().manual_seed(7))
    files, (figure,) = products_of(network(), [given_images])
    assert figure.scripts == ("layer_cka.js",)
    given = json.loads(files["layer_cka.js"].removeprefix("reportgen.similarity = ").removesuffix(";\n"))
    rows = list(csv.reader(io.StringIO(files["layer_cka.csv"])))
    table = {row[0]: dict(zip(rows[0][1:], row[1:], strict=True)) for row in rows[1:]}
    names = given["names"]
    assert names == [name for name in table if name not in ("pool", "flatten", "fc")]  # no positions to compare
    cells = iter(np.frombuffer(base64.b64decode(given["values"]), "<i2").tolist())
    for place, first in enumerate(names):
        for second in names[place:]:
            assert f"{next(cells) / 1000:.3f}" == f"{float(table[first][second]):.3f}"
    blocks = figure.data["blocks"]
    assert (blocks["labels"], blocks["layers"]) == ([f"{names[0]} to {names[-1]}"], [len(names)])
    pairs = [float(table[first][second]) for first in names for second in names if first != second]
    assert blocks["means"][0][0] == pytest.approx(np.mean(pairs), rel=1e-5)
