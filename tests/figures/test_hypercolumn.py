"""Average hypercolumns against upsampling every channel of cloned activations, and the rules for sets."""

import io
import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import replace

import numpy as np
import pytest
import torch
import torchvision
from numpy.typing import NDArray
from PIL import Image
from torch import nn
from torch.nn import functional

from figures.figure_cases import activation, batch, image, layer, vector
from reportgen.entities import Activation, Batch, Layer
from reportgen.errors import UsageError
from reportgen.figures.base import DataFile, Figure, FigureOptions, Product, Subject
from reportgen.figures.hypercolumn import Hypercolumn, default_sets, display_factor, find_stages, resolve_sets
from reportgen.network.capture import walk
from reportgen.network.graph import Network, trace
from reportgen.network.isolation import evaluating
from reportgen.numerics.scaling import parse_scale

NAMES = ["x", "conv1", "relu", "layer1.0.conv1", "layer1.0.add", "layer1.1.conv1", "layer2.0.conv1", "fc"]


class Branches(nn.Module):
    """Convolutions of three resolutions, one changed in place, and a vector."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 5, 3, padding=1)
        self.relu = nn.ReLU(inplace=True)
        self.stage1 = nn.Sequential(nn.Conv2d(5, 7, 3, stride=2), nn.ReLU(inplace=True))
        self.stage2 = nn.Sequential(nn.Conv2d(7, 130, 3, stride=2), nn.ReLU(inplace=True))
        self.fc = nn.Linear(130, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        maps = self.stage2(self.stage1(self.relu(self.conv1(x))))
        scores: torch.Tensor = self.fc(maps.mean((2, 3)))
        return scores


def make(
    sets: Mapping[str, tuple[str, ...]] | None = None, layers: Iterable[Layer] = (), **options: object
) -> Hypercolumn:
    known = tuple(layers) or tuple(layer(name) for name in NAMES)
    return Hypercolumn(FigureOptions(hypercolumns=sets or {}, **options), Subject(known))  # type: ignore[arg-type]


def run(kind: Hypercolumn, on: Batch, events: Iterable[Activation]) -> list[Product]:
    products = list(kind.begin_batch(on))
    for event in events:
        if kind.wants(event.layer):
            kind.observe(event)
            products += kind.update(event)
    return products + list(kind.end_batch())


def figures(products: Iterable[Product]) -> dict[str, Figure]:
    """The first image's figures by view."""
    found = [product for product in products if isinstance(product, Figure)]
    return {figure.data["view"]: figure for figure in found if figure.image == found[0].image}


def arrays(products: Iterable[Product]) -> dict[str, NDArray[np.float32]]:
    files = [product for product in products if isinstance(product, DataFile)]
    return {file.name: np.load(io.BytesIO(file.content), allow_pickle=False)["average"] for file in files}


def walked(network: Network, on: Batch) -> Iterable[Activation]:
    for event in walk(network, on):
        assert isinstance(event, Activation)
        yield event


def upsampled(network: Network, on: Batch, names: Iterable[str]) -> dict[str, torch.Tensor]:
    """Every channel of the named layers, upsampled to the input's size, from clones: (N, C, H, W) a layer."""
    wanted, size = set(names), on.tensor.shape[2:]
    return {
        event.layer.name: functional.interpolate(
            event.value.clone().double(), size=size, mode="bilinear", align_corners=False
        )
        for event in walk(network, on)
        if isinstance(event, Activation) and event.layer.name in wanted and isinstance(event.value, torch.Tensor)
    }


@pytest.fixture(scope="module")
def branches() -> Network:
    torch.manual_seed(0)
    return trace(Branches().eval())


def photographs(count: int, side: int = 33) -> Batch:
    values = torch.randn(count, 3, side, side + 4, generator=torch.Generator().manual_seed(1))
    return Batch(tuple(image(f"image{number}") for number in range(count)), values)


def test_it_is_the_mean_over_all_upsampled_channels(branches: Network) -> None:
    sets = {"mine": ("conv1", "stage1", "stage2.*"), "one": ("relu",)}
    on = photographs(2)
    products = run(make(sets, branches.layers, arrays=True), on, walked(branches, on))
    found = arrays(products)
    members = {"mine": ["conv1", "stage1.1", "stage2.0", "stage2.1"], "one": ["relu"]}
    for name, layers in members.items():
        each = upsampled(branches, on, layers)
        exact = torch.cat([each[one] for one in layers], dim=1).mean(dim=1).numpy()
        for number in range(2):
            read = found[f"hypercolumns/image{number}/{name}.npz"]
            assert read.dtype == np.float32
            np.testing.assert_allclose(read, exact[number], atol=1e-5)
    mine = figures(products)["mine"]
    assert mine.data["layers"] == members["mine"]
    assert mine.data["channels"] == 5 + 7 + 130 + 130
    assert mine.downloads == ("hypercolumns/image0/mine.npz",)


def test_it_holds_for_a_network_that_works_in_place() -> None:
    torch.manual_seed(0)
    network = trace(torchvision.models.resnet18().eval())
    on = photographs(1, 64)
    products = run(make({}, network.layers, arrays=True), on, walked(network, on))
    shown = figures(products)
    assert set(shown) == {f"{name}{over}" for name in ("early", "middle", "stages") for over in ("", "-over")}
    for name in ("early", "middle", "stages"):
        layers = shown[name].data["layers"]
        each = upsampled(network, on, layers)
        exact = torch.cat([each[one] for one in layers], dim=1).mean(dim=1)[0].numpy()
        np.testing.assert_allclose(arrays(products)[f"hypercolumns/image0/{name}.npz"], exact, rtol=1e-5, atol=1e-5)


def test_balanced_it_is_the_mean_of_the_standardised_means(branches: Network) -> None:
    on = photographs(1)
    layers = ["conv1", "stage1.1", "stage2.0"]
    products = run(
        make({"s": tuple(layers)}, branches.layers, arrays=True, balance="layers"), on, walked(branches, on)
    )
    parts = []
    for event in walk(branches, on):
        if isinstance(event, Activation) and event.layer.name in layers:
            assert isinstance(event.value, torch.Tensor)
            mean = event.value[0].double().numpy().mean(axis=0)
            standard = torch.from_numpy((mean - mean.mean()) / mean.std())
            size = (on.tensor.shape[2], on.tensor.shape[3])
            parts.append(functional.interpolate(standard[None, None], size=size, mode="bilinear")[0, 0].numpy())
    np.testing.assert_allclose(arrays(products)["hypercolumns/image0/s.npz"], np.mean(parts, axis=0), atol=1e-5)
    assert "each standardised over its positions" in figures(products)["s"].caption


def test_a_loud_layer_does_not_drown_the_others_when_balanced() -> None:
    maps = torch.randn(1, 3, 8, 8, generator=torch.Generator().manual_seed(2))
    quiet, loud = activation(maps, layer("conv1")), activation(maps.flip(3) * 1e6, layer("relu"))
    softer = activation(maps.flip(3), layer("relu"))
    kind = make({"s": ("conv1", "relu")}, balance="layers", arrays=True)
    found = [arrays(run(kind, batch(1), [quiet, other]))["hypercolumns/image0/s.npz"] for other in (loud, softer)]
    np.testing.assert_allclose(found[0], found[1], atol=1e-5)


def test_the_pictures_show_the_average_alone_and_over_the_input(branches: Network) -> None:
    on = photographs(1)
    products = run(make({"s": ("relu",)}, branches.layers, arrays=True, cmap="gray"), on, walked(branches, on))
    exact = arrays(products)["hypercolumns/image0/s.npz"].astype(np.float64)
    alone, over = figures(products)["s"], figures(products)["s-over"]
    low, high = exact.min(), exact.max()
    assert (alone.data["low"], alone.data["high"]) == (pytest.approx(low), pytest.approx(high))
    indices = np.asarray(Image.open(io.BytesIO(alone.files["png"])))
    assert np.all(np.abs(indices - 251 * (exact - low) / (high - low)) <= 0.51)
    assert (alone.width, alone.height) == (over.width, over.height) == (37, 33)
    gray = 0.299 * 10 + 0.587 * 200 + 0.114 * 30  # what figure_cases.image is filled with
    blended = np.asarray(Image.open(io.BytesIO(over.files["png"])).convert("RGB"), np.float64)
    assert np.all(np.abs(blended[:, :, 0] - (indices / 251 * 255 + gray) / 2) <= 1.5)
    assert alone.data["pixels"] == over.data["pixels"] == 320 // 37


@pytest.mark.parametrize(("side", "factor"), [(1, 320), (32, 10), (64, 5), (224, 1), (320, 1), (640, 0.5)])
def test_small_inputs_are_enlarged_and_large_ones_made_smaller(side: int, factor: float) -> None:
    assert display_factor(side, side // 2) == factor


def test_captions_say_what_is_averaged() -> None:
    on, maps = batch(1), torch.randn(1, 3, 4, 4)
    kind = make({"my set": ("conv1", "relu")})
    shown = figures(run(kind, on, [activation(maps, layer("conv1")), activation(maps, layer("relu"))]))
    assert shown["my set"].caption.startswith(
        "Average hypercolumn of the set my set for image0.png: the mean over all 6 channels of 2 layers "
        "(conv1, relu), each upsampled bilinearly to 8 × 6 pixels. Values "
    )
    assert "half transparent over image0.png in gray" in shown["my set-over"].caption
    assert shown["my set"].alt != shown["my set-over"].alt


def test_scale_and_colour_map_are_kept() -> None:
    event = activation(torch.tensor([[[[1.0, -4.0]]]]), layer("conv1"))
    kind = make({"s": ("conv1",)}, scale=parse_scale("symmetric"))
    shown = figures(run(kind, batch(1), [event]))["s"]
    assert (shown.data["low"], shown.data["high"], shown.data["cmap"]) == (-4.0, 4.0, "RdBu_r")


def test_the_same_run_gives_the_same_bytes(branches: Network) -> None:
    on = photographs(3)
    first, second = (run(make({}, branches.layers, arrays=True), on, walked(branches, on)) for _ in range(2))
    assert len(first) == 3 * 3 * 3, "for each image and set, two figures and a data file"
    assert first == second


def test_the_bytes_do_not_depend_on_how_many_images_share_a_batch() -> None:
    maps = torch.randn(3, 70, 5, 6, generator=torch.Generator().manual_seed(3))
    images = tuple(image(f"image{number}") for number in range(3))

    def products(kind: Hypercolumn, first: int, last: int) -> list[Product]:
        event = activation(maps[first:last], layer("conv1"))
        return run(kind, Batch(images[first:last], torch.zeros(last - first, 3, 6, 8)), [event])

    together = products(make({"s": ("conv1",)}, arrays=True), 0, 3)
    kind = make({"s": ("conv1",)}, arrays=True)
    assert [product for number in range(3) for product in products(kind, number, number + 1)] == together


def test_images_that_are_not_drawn_make_no_figure(branches: Network) -> None:
    kind = make({}, branches.layers)
    assert list(kind.begin_batch(Batch(photographs(1).images, torch.zeros(1, 3, 8, 8), drawn=False))) == []
    assert list(kind.end_batch()) == []


def test_nothing_is_kept_but_channel_means_and_nothing_after_the_batch() -> None:
    kind = make({"s": ("conv1",)})
    list(kind.begin_batch(batch(2)))
    maps = torch.randn(2, 64, 4, 4)
    list(kind.update(activation(maps, layer("conv1"))))
    held = [value for values in kind._means.values() for value in values]
    assert [tuple(value.shape) for value in held] == [(4, 4), (4, 4)]
    assert not {value.untyped_storage().data_ptr() for value in held} & {maps.untyped_storage().data_ptr()}
    list(kind.end_batch())
    assert not kind._means
    assert not kind.wants(layer("relu")), "only the layers of a set are called for"


# Bad input.


@pytest.mark.parametrize("balance", ["channels", "layers"])
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64, torch.uint8, torch.bool])
@pytest.mark.parametrize("shape", [(1, 1, 1, 1), (2, 3, 1, 5), (2, 4, 9, 9)])
def test_any_type_and_shape(balance: str, dtype: torch.dtype, shape: tuple[int, ...]) -> None:
    maps = (torch.rand(shape, generator=torch.Generator().manual_seed(0)) * 3).to(dtype)
    kind = make({"s": ("conv1",)}, balance=balance, arrays=True)
    products = run(kind, batch(shape[0]), [activation(maps, layer("conv1"))])
    assert len(products) == 3 * shape[0]
    for figure in figures(products).values():
        json.dumps(dict(figure.data), allow_nan=False)
        assert Image.open(io.BytesIO(figure.files["png"])).size == (8, 6) == (figure.width, figure.height)


def test_values_that_are_not_finite_stay_visible() -> None:
    maps = torch.zeros(1, 2, 6, 8)
    maps[0, 0, 0, 0], maps[0, 0, 5, 7], maps[0, 1, 2, 2] = math.nan, math.inf, 3
    for balance in ("channels", "layers"):
        shown = figures(run(make({"s": ("conv1",)}, balance=balance), batch(1), [activation(maps, layer("conv1"))]))
        indices = np.asarray(Image.open(io.BytesIO(shown["s"].files["png"])))
        assert (indices[0, 0], indices[5, 7], indices[2, 2]) == (253, 254, 251)
        assert "NaN is magenta" in shown["s"].caption
        assert shown["s"].data["finite"] is False
        over = Image.open(io.BytesIO(shown["s-over"].files["png"])).convert("RGB")
        assert over.getpixel((0, 0)) == (255, 0, 255)


def test_nothing_finite_is_said() -> None:
    event = activation(torch.full((1, 2, 3, 3), math.nan), layer("conv1"))
    shown = figures(run(make({"s": ("conv1",)}), batch(1), [event]))
    assert "No value is finite." in shown["s"].caption
    assert shown["s"].data["low"] is None


def test_a_constant_layer_is_named() -> None:
    flat, live = torch.ones(1, 2, 3, 3), torch.randn(1, 2, 3, 3)
    events = [activation(flat, layer("conv1")), activation(live, layer("relu"))]
    shown = figures(run(make({"s": ("conv1", "relu")}, balance="layers"), batch(1), events))["s"]
    assert "Constant, so counted as zero: conv1." in shown.caption
    assert shown.data["constant_layers"] == ["conv1"]
    alone = figures(run(make({"s": ("conv1",)}), batch(1), events[:1]))["s"]
    assert "It is 1 everywhere." in alone.caption


def test_a_layer_that_failed_is_left_out_and_named() -> None:
    event = activation(torch.randn(1, 2, 3, 3), layer("conv1"))
    shown = figures(run(make({"s": ("conv1", "relu")}), batch(1), [event]))["s"]
    assert "Left out, since not computed: relu." in shown.caption
    assert shown.data["layers"] == ["conv1"]
    assert run(make({"s": ("relu",)}), batch(1), [event]) == []


def test_vectors_in_a_set_are_named_with_the_reason() -> None:
    with pytest.raises(UsageError, match=r"set 'mine'.*without positions.*fc \(a vector\)"):
        run(make({"mine": ("conv1", "fc")}), batch(2), [
            activation(torch.randn(2, 3, 4, 4), layer("conv1")), vector(torch.randn(2, 9))
        ])  # fmt: skip


def test_default_sets_skip_what_has_no_map() -> None:
    assert run(make(), batch(2), [vector(torch.randn(2, 9))]) == []


def test_identical_images_give_identical_pictures() -> None:
    maps = torch.randn(1, 5, 4, 4).expand(2, -1, -1, -1)
    products = run(make({"s": ("conv1",)}), batch(2), [activation(maps, layer("conv1"))])
    views = [product for product in products if isinstance(product, Figure) and product.data["view"] == "s"]
    assert [figure.image for figure in views] == ["image0", "image1"]
    assert views[0].files == views[1].files


# Sets.


def test_patterns_are_names_modules_and_globs_in_execution_order() -> None:
    (found,) = resolve_sets({"s": ("layer1.*.conv1", "layer1.0", "layer1", "conv1", "conv1")}, NAMES)
    assert found.layers == ("conv1", "layer1.0.conv1", "layer1.0.add", "layer1.1.conv1")
    assert resolve_sets({"s": ("layer1",)}, NAMES)[0].layers == ("layer1.1.conv1",)


@pytest.mark.parametrize(
    ("sets", "message"),
    [
        ({"early": ("conv2",)}, r"hypercolumn set 'early': no drawn node matches 'conv2'; did you mean conv1"),
        ({"early": ("layer9.*",)}, r"no drawn node matches 'layer9.\*'; did you mean"),
        ({"early": ()}, r"set 'early': it names no layer"),
        ({" ": ("conv1",)}, "empty name"),
        ({"a": ("conv1",), "a-over": ("conv1",)}, "share a picture"),
    ],
)
def test_sets_that_can_not_be_made_are_refused_at_once(sets: dict[str, tuple[str, ...]], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        make(sets)


def map_sizes(module: nn.Module, side: int = 64) -> dict[str, tuple[int, int]]:
    with evaluating(module):
        network = trace(module)
        on = Batch((image(),), torch.zeros(1, 3, side, side))
        return {
            event.layer.name: (event.reading.maps.shape[2], event.reading.maps.shape[3])
            for event in walked(network, on)
            if event.reading.maps is not None and event.layer.op != "placeholder"
        }


def test_stages_of_a_network_of_modules() -> None:
    sets = {one.name: one.layers for one in default_sets(map_sizes(torchvision.models.resnet18()))}
    assert sets["stages"] == ("layer1.1.relu_1", "layer2.1.relu_1", "layer3.1.relu_1", "layer4.1.relu_1")
    assert sets["early"][:5] == ("conv1", "bn1", "relu", "maxpool", "layer1.0.conv1")
    assert sets["early"][-1] == "layer1.1.relu_1"
    assert sets["middle"][-1] == "layer3.1.relu_1"
    assert all(name.startswith("layer3.") for name in sets["middle"])


def test_stages_of_a_flat_network_are_its_resolutions() -> None:
    sets = {one.name: one.layers for one in default_sets(map_sizes(torchvision.models.vgg11()))}
    assert sets["stages"] == ("features.1", "features.4", "features.9", "features.14", "features.19")
    assert sets["early"] == ("features.0", "features.1")
    assert sets["middle"] == ("features.5", "features.6", "features.7", "features.8", "features.9")


def test_stages_below_a_module_that_holds_nearly_everything() -> None:
    sizes = {
        f"backbone.stage{stage}.{place}": (32 >> stage, 32 >> stage) for stage in range(3) for place in range(4)
    }
    stages = find_stages({"backbone.conv": (32, 32), **sizes, "head.0": (4, 4), "head.1": (4, 4)})
    assert [stage[-1] for stage in stages] == [*(f"backbone.stage{stage}.3" for stage in range(3)), "head.1"]
    assert stages[0][0] == "backbone.conv"


def test_stages_of_a_plain_sequence() -> None:
    pooled = nn.Sequential(
        nn.Conv2d(3, 4, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(4, 4, 3, padding=1), nn.ReLU()
    )
    assert find_stages(map_sizes(pooled)) == (("0", "1"), ("2", "3", "4"))
    level = nn.Sequential(*(nn.Conv2d(3, 3, 3, padding=1) for _ in range(5)))
    assert find_stages(map_sizes(level)) == (("0", "1"), ("2", "3"), ("4",))


@pytest.mark.parametrize(
    ("sizes", "names"),
    [
        ({}, []),
        ({"pool": (1, 1)}, []),
        ({"conv": (8, 8)}, ["stages"]),
        ({"conv": (8, 8), "relu": (8, 8)}, ["early", "middle", "stages"]),
        ({"a.0": (8, 8), "a.1": (8, 8)}, ["early", "middle", "stages"]),
        ({"conv": (8, 8), "a.0": (4, 4), "a.1": (4, 4), "out": (4, 4)}, ["early", "middle", "stages"]),
    ],
)
def test_small_networks_have_the_sets_that_they_can(sizes: dict[str, tuple[int, int]], names: list[str]) -> None:
    found = default_sets(sizes)
    assert [one.name for one in found] == names
    assert all(one.layers and set(one.layers) <= set(sizes) and one.rule for one in found)


def test_the_rule_of_a_default_set_is_in_its_caption(branches: Network) -> None:
    on = photographs(1)
    shown = figures(run(make({}, branches.layers), on, walked(branches, on)))
    assert "The set holds every layer up to the end of the first stage, stage1.1." in shown["early"].caption
    assert "The set holds the last layer of each stage." in shown["stages"].caption


def test_of_a_clip_the_mean_over_the_frames_is_laid_over_the_input() -> None:
    frames = torch.rand(3, 4, 8, 8, generator=torch.Generator().manual_seed(0))  # D, C, H, W
    kind = Hypercolumn(
        FigureOptions(hypercolumns={"all": ("conv",)}, arrays=True), Subject(layers=(layer("conv"),))
    )
    given = replace(batch(1), tensor=torch.zeros(1, 3, 3, 8, 8))
    list(kind.begin_batch(given))
    seen = activation(torch.cat(list(frames), dim=2)[None], layer("conv"))
    list(kind.update(replace(seen, reading=replace(seen.reading, frames=3))))
    products = list(kind.end_batch())
    (data,) = (product for product in products if isinstance(product, DataFile))
    expected = frames.double().mean(dim=(0, 1)).float().numpy()
    np.testing.assert_allclose(np.load(io.BytesIO(data.content))["average"], expected, rtol=1e-6)
    assert "the mean over the frames" in next(one.caption for one in products if isinstance(one, Figure))
