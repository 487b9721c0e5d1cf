"""Kernels against the weights themselves, and activations against a second, plain run of the network."""

import copy
import io
import json
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import fx, nn
from torch.nn import functional
from torchvision.ops import Conv2dNormActivation

from figures.figure_cases import image
from models_for_tests import fill
from reportgen.drawing.charts import Chart
from reportgen.entities import Activation, Batch, Layer
from reportgen.figures.base import Figure, FigureOptions, Product, Subject
from reportgen.figures.filters import ANNOTATED, MOST_IN_MATRIX, Filters
from reportgen.network.capture import walk
from reportgen.network.graph import trace
from reportgen.network.isolation import evaluating


@pytest.fixture(autouse=True)
def _quick_charts(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave the charts of values, a second each, to the tests that ask for `real_charts`."""
    if "real_charts" not in request.fixturenames:
        empty = Chart({"png": b"", "svg": b"", "pdf": b""}, 1, 1)
        monkeypatch.setattr("reportgen.figures.filters.annotated", lambda *_, **__: empty)


@pytest.fixture(autouse=True)
def _same_weights() -> None:
    torch.manual_seed(0)


@pytest.fixture
def real_charts() -> None:
    """Ask for charts as they are drawn in a report."""


def report(
    module: nn.Module, *batches: torch.Tensor, leave_out: tuple[str, ...] = (), drawn: bool = True, **options: Any
) -> list[Figure]:
    """Everything the kind makes of a network and batches of images."""
    with evaluating(module):
        network = trace(module)
        layers = tuple(layer for layer in network.layers if layer.name not in leave_out)

        def module_of(layer: Layer) -> nn.Module | None:
            return network.root.get_submodule(layer.target) if layer.op == "call_module" else None

        kind = Filters(FigureOptions(**options), Subject(layers, network.outputs, module_of))
        made: list[Product] = []
        for tensor in batches:
            batch = Batch(tuple(image(f"image{number}") for number in range(len(tensor))), tensor, drawn)
            made += kind.begin_batch(batch)
            for event in walk(network, batch, {layer.name for layer in layers}):
                if isinstance(event, Activation) and kind.wants(event.layer):
                    kind.observe(event)
                    made += kind.update(event) if drawn else ()
            made += kind.end_batch()
            assert not kind._pairs._kept
        made += kind.compute()
    return [product for product in made if isinstance(product, Figure)]


def of_view(figures: list[Figure], view: str) -> list[Figure]:
    return [figure for figure in figures if figure.data["view"] == view]


def kernels(module: nn.Module, size: tuple[int, ...] = (1, 3, 9, 9), **options: Any) -> Figure:
    """The kernels of a network's one convolution."""
    (figure,) = of_view(report(module, torch.zeros(size), **options), "kernels")
    assert (figure.kind, figure.image) == ("filters", None)
    json.dumps(dict(figure.data), allow_nan=False)
    return figure


def pixels(figure: Figure) -> NDArray[np.uint8]:
    found = np.asarray(Image.open(io.BytesIO(figure.files["png"])))
    assert found.shape[:2] == (figure.height, figure.width)
    return found


def tiles(figure: Figure) -> Iterator[NDArray[np.uint8]]:
    """The tiles of a mosaic, row by row, empty places too."""
    data, found = figure.data, pixels(figure)
    height, width = data["tile_height"], data["tile_width"]
    for top in range(0, figure.height, height + data["gap"]):
        for left in range(0, figure.width, width + data["gap"]):
            yield found[top : top + height, left : left + width]


def weight_of(module: nn.Sequential, place: int) -> torch.Tensor:
    weight = module[place].weight
    assert isinstance(weight, torch.Tensor)
    return weight.detach()


def about_zero(values: torch.Tensor, limit: float) -> NDArray[np.float64]:
    exact: NDArray[np.float64] = 251 * (values.detach().double().numpy() + limit) / (2 * limit)
    return exact


def deep(module: nn.Module, channels: int) -> nn.Sequential:
    """`module` behind a convolution, so that it does not read the image."""
    return nn.Sequential(nn.Conv2d(3, channels, 1), nn.Identity(), module)


def kernels_of(figures: list[Figure], layer: str) -> Figure:
    (figure,) = [one for one in of_view(figures, "kernels") if one.layer == layer]
    return figure


def test_kernels_over_colours_are_drawn_in_colours() -> None:
    module = nn.Sequential(nn.Conv2d(3, 10, (4, 5)))
    figure = kernels(module)
    for tile, values in zip(tiles(figure), weight_of(module, 0).double().numpy(), strict=False):
        exact = 255 * (values - values.min()) / (values.max() - values.min())
        assert np.all(np.abs(tile[..., :3].transpose(2, 0, 1) - exact) <= 0.501)
        assert (tile[..., 3] == 255).all()
    assert "all 10 kernels" in figure.caption
    assert "pixels" not in figure.data
    weights = weight_of(module, 0)
    assert (figure.data["low"], figure.data["high"]) == pytest.approx((float(weights.min()), float(weights.max())))
    assert figure.data["std"] == pytest.approx(float(weights.double().std(correction=0)))


def test_kernels_over_a_gray_image_are_gray() -> None:
    module = nn.Sequential(nn.Conv2d(1, 6, 3))
    figure = kernels(module, (1, 1, 9, 9))
    for tile, kernel in zip(tiles(figure), weight_of(module, 0).double().numpy(), strict=False):
        values = kernel[0]
        assert np.all(np.abs(tile - 251 * (values - values.min()) / (values.max() - values.min())) <= 0.501)
    assert (figure.data["reading"], figure.data["cmap"]) == ("gray", "gray")


def test_first_kernels_are_all_drawn_and_later_ones_as_many_as_asked_for() -> None:
    module = nn.Sequential(nn.Conv2d(3, 70, 3), nn.Conv2d(70, 8, 3))
    first, second = of_view(report(module, torch.zeros(1, 3, 9, 9), max_filters=5), "kernels")
    assert "all 70 kernels" in first.caption
    assert "5 of 560 slices" in second.caption
    assert (second.data["shown"], second.data["total"]) == (5, 560)


def test_slices_stand_by_output_then_by_input_on_one_scale_about_zero() -> None:
    module = deep(nn.Conv2d(5, 4, 3), 5)
    figure = kernels_of(report(module, torch.zeros(1, 3, 9, 9), max_filters=0), "2")
    weight = weight_of(module, 2)
    limit = float(weight.abs().max())
    assert figure.data["limit"] == pytest.approx(limit)
    for tile, values in zip(tiles(figure), weight.flatten(0, 1), strict=False):
        assert np.all(np.abs(tile - about_zero(values, limit)) <= 0.501)
    assert "all 20 slices" in figure.caption


def test_the_count_of_many_slices_is_written_for_people() -> None:
    figure = kernels_of(report(deep(nn.Conv2d(192, 192, 3), 192), torch.zeros(1, 3, 9, 9)), "2")
    assert "64 of 36,864 slices" in figure.caption
    assert "8 a row" in figure.caption


def test_the_scale_is_that_of_the_slices_shown() -> None:
    module = deep(nn.Conv2d(4, 40, 3), 4)
    with torch.no_grad():
        weight_of(module, 2)[30] = 50
    figure = kernels_of(report(module, torch.zeros(1, 3, 9, 9)), "2")
    assert figure.data["limit"] < 1
    assert figure.data["high"] == 50
    assert "−" in figure.caption
    assert " to 50, mean" in figure.caption


def test_three_channels_behind_a_convolution_are_no_colours() -> None:
    figures = report(deep(nn.Conv2d(3, 4, 3), 3), torch.zeros(1, 3, 9, 9))
    assert kernels_of(figures, "2").data["reading"] == "slices"
    assert kernels_of(report(deep(nn.Conv2d(1, 4, 3), 1), torch.zeros(1, 3, 9, 9)), "2").data["reading"] == "slices"


def test_one_by_one_kernels_are_a_matrix() -> None:
    module = deep(nn.Conv2d(20, 30, 1), 20)
    figure = kernels_of(report(module, torch.zeros(1, 3, 4, 4)), "2")
    weight = weight_of(module, 2)[:, :, 0, 0]
    assert np.all(np.abs(pixels(figure) - about_zero(weight, float(weight.abs().max()))) <= 0.501)
    assert "a matrix of 30 × 20 weights" in figure.caption
    assert figure.alt == "All 600 weights of the kernels of 2"


def test_a_large_matrix_is_cut_and_says_so() -> None:
    module = nn.Sequential(nn.Conv2d(3, 600, 1), nn.Conv2d(600, 7, 1))
    figure = kernels_of(report(module, torch.zeros(1, 3, 2, 2)), "1")
    assert (figure.width, figure.height) == (MOST_IN_MATRIX, 7)
    assert "a matrix of 7 × 512 (of 7 × 600) weights" in figure.caption
    assert figure.alt.startswith("3,584 of 4,200 weights")
    assert kernels_of(report(module, torch.zeros(1, 3, 2, 2), max_filters=0), "1").width == 600


@pytest.mark.parametrize(
    ("module", "said"),
    [
        (nn.Conv2d(6, 6, 3, groups=6, padding=1), "6 groups: an output reads the inputs of its own group only"),
        (nn.Conv2d(6, 9, 3, groups=3, padding=1), "3 groups"),
        (nn.Conv2d(6, 4, 3, dilation=2, padding=2), "positions that lie 2 apart (dilation)"),
        (nn.Conv2d(6, 4, 3, dilation=(1, 3), padding=3), "lie 1 × 3 apart"),
        (nn.ConvTranspose2d(6, 4, 3), "a kernel is the pattern that one input value adds"),
        (nn.Conv2d(6, 8, 1, groups=2), "a column an input channel of its group"),
    ],
)
def test_what_a_picture_does_not_show_is_said(module: nn.Module, said: str) -> None:
    figure = kernels_of(report(deep(module, 6), torch.zeros(1, 3, 9, 9)), "2")
    assert said in figure.caption


def test_transposed_kernels_stand_by_output_channel() -> None:
    module = deep(nn.ConvTranspose2d(6, 4, 3), 6)
    figure = kernels_of(report(module, torch.zeros(1, 3, 9, 9)), "2")
    weight = weight_of(module, 2)
    second = list(tiles(figure))[1]  # output 0, input 1
    assert np.all(np.abs(second - about_zero(weight[1, 0], float(weight.abs().max()))) <= 0.501)


def test_kernels_of_one_and_three_axes() -> None:
    lines = kernels(nn.Sequential(nn.Conv1d(3, 5, 7)), (1, 3, 20))
    assert (lines.data["tile_height"], lines.data["tile_width"], lines.data["reading"]) == (1, 7, "slices")
    module = nn.Sequential(nn.Conv3d(2, 5, (3, 4, 4)))
    volumes = kernels(module, (1, 2, 5, 8, 8))
    weight = weight_of(module, 0)
    limit = float(weight.abs().max())
    for tile, values in zip(tiles(volumes), weight.flatten(0, 2), strict=False):
        assert np.all(np.abs(tile - about_zero(values, limit)) <= 0.501)
    assert volumes.data["columns"] % 3 == 0
    assert "its 3 planes side by side" in volumes.caption
    video = kernels(nn.Sequential(nn.Conv3d(3, 4, (3, 7, 7))), (1, 3, 5, 9, 9))
    assert video.data["reading"] == "colour"


def test_a_block_that_runs_as_one_node_shows_its_convolution() -> None:
    figures = report(nn.Sequential(Conv2dNormActivation(3, 8, 3)), torch.zeros(1, 3, 9, 9))
    assert [figure.layer for figure in of_view(figures, "kernels")] == ["0"]


class Twice(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 3, 3, padding=1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y: torch.Tensor = self.conv(self.conv(x))
        return y


def test_a_module_used_twice_is_drawn_at_both_nodes_once() -> None:
    figures = report(Twice(), *torch.zeros(3, 2, 3, 9, 9))
    assert [figure.layer for figure in of_view(figures, "kernels")] == ["conv", "conv_1"]


@pytest.mark.usefixtures("real_charts")
def test_small_layers_are_annotated_with_their_values() -> None:
    (figure,) = of_view(report(nn.Sequential(nn.Conv2d(3, 16, 7)), torch.zeros(1, 3, 9, 9)), "annotated")
    assert list(figure.files) == ["png", "svg", "pdf"]
    assert pixels(figure).shape[:2] == (figure.height, figure.width)
    assert figure.data["pixels"] == 2 / 3
    assert "9 of 48 slices" in figure.caption
    (matrix,) = of_view(report(nn.Sequential(nn.Conv2d(3, 16, 1)), torch.zeros(1, 3, 9, 9)), "annotated")
    assert "all 48 weights" in matrix.caption


@pytest.mark.parametrize(
    "module", [nn.Conv2d(3, 22, 3), nn.Conv2d(3, 4, 8), nn.Conv2d(3, 17, 1), nn.Conv3d(3, 4, 3)], ids=str
)
def test_larger_layers_are_not(module: nn.Module) -> None:
    size = (1, 3, 9, 9, 9) if isinstance(module, nn.Conv3d) else (1, 3, 9, 9)
    assert of_view(report(nn.Sequential(module), torch.zeros(size)), "annotated") == []


@pytest.mark.parametrize(("inputs", "shown"), [(1, ANNOTATED), (2, 8), (4, 8), (16, 9)])
def test_whole_outputs_are_annotated_where_they_fit(inputs: int, shown: int) -> None:
    figures = report(deep(nn.Conv2d(inputs, 64 // inputs, 2), inputs), torch.zeros(1, 3, 9, 9))
    (figure,) = [one for one in of_view(figures, "annotated") if one.layer == "2"]
    assert figure.data["shown"] == shown * 4


@pytest.mark.parametrize("value", [0.0, float("nan"), float("inf"), -1e38, 1e-45])
@pytest.mark.parametrize("shape", [(3, 6, 3), (3, 6, 1), (1, 6, 3), (5, 6, 3)])
def test_no_weight_breaks_a_picture(shape: tuple[int, int, int], value: float) -> None:
    module = nn.Conv2d(*shape)
    with torch.no_grad():
        module.weight[0] = value
        module.weight[1, 0, 0, 0] = value
    for weights in (module.weight.detach().clone(), torch.full_like(module.weight, value).detach()):
        module.weight.data = weights
        for figure in of_view(report(nn.Sequential(module), torch.zeros(1, shape[0], 9, 9)), "kernels"):
            json.dumps(dict(figure.data), allow_nan=False)
            assert "nan" not in figure.caption.lower().replace("nan is", "")
            assert figure.caption.endswith(".")
            pixels(figure)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_other_types_of_weights(dtype: torch.dtype) -> None:
    module = nn.Sequential(nn.Conv2d(3, 6, 3), nn.ReLU()).to(dtype)
    figures = report(module, torch.randn(1, 3, 9, 9).to(dtype))
    assert {figure.data["view"] for figure in figures} == {"kernels", "annotated", "before-after"}


class Called(nn.Module):
    """A convolution, then whatever is done with its maps."""

    def __init__(self, then: Callable[[torch.Tensor], torch.Tensor]) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 5, 3)
        self.then = then

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y: torch.Tensor = self.then(self.conv(x))
        return y


ACTIVATIONS: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {
    "in place": nn.ReLU(inplace=True),
    "relu6": nn.ReLU6(inplace=True),
    "leaky": nn.LeakyReLU(0.2, inplace=True),
    "gelu": nn.GELU(),
    "silu": nn.SiLU(inplace=True),
    "hardswish": nn.Hardswish(),
    "elu": nn.ELU(),
    "sigmoid": nn.Sigmoid(),
    "tanh": nn.Tanh(),
    "functional": lambda x: functional.relu(x, inplace=True),
    "functional silu": functional.silu,
    "functional gelu": functional.gelu,
    "functional leaky": functional.leaky_relu,
    "torch": torch.relu,
    "method": lambda x: x.relu_(),
    "method sigmoid": lambda x: x.sigmoid(),
}


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_before_and_after_are_what_the_network_computes(name: str) -> None:
    module = Called(ACTIVATIONS[name]).eval()
    x = torch.randn(2, 3, 8, 8, generator=torch.Generator().manual_seed(0)) * 3
    figures = of_view(report(module, x), "before-after")
    assert [(figure.layer, figure.image) for figure in figures] == [("conv", "image0"), ("conv", "image1")]
    with torch.no_grad():
        before = module.conv(x)
        after = module.then(before.clone())
    for number, figure in enumerate(figures):
        limit = float(before[number].abs().max())
        if "sigmoid" in name or name == "tanh":
            limit = max(1.0, limit)
        assert figure.data["limits"] == pytest.approx([limit, limit], rel=1e-5)
        exact = about_zero(torch.cat([before[number], after[number]]), limit)
        for tile, values in zip(tiles(figure), exact, strict=True):
            assert np.all(np.abs(tile - values) <= 0.51)
        assert "clipped" not in figure.caption
        assert "share one scale" in figure.caption


@pytest.mark.parametrize("norm", [nn.BatchNorm2d(20), nn.GroupNorm(4, 20), nn.InstanceNorm2d(20)], ids=str)
def test_a_norm_between_them_is_shown_too(norm: nn.Module) -> None:
    module = nn.Sequential(nn.Conv2d(3, 20, 3), norm, nn.ReLU(inplace=True)).eval()
    if isinstance(norm, nn.BatchNorm2d):
        norm.running_mean, norm.running_var = torch.linspace(-1, 1, 20), torch.linspace(0.5, 9, 20)
    plain = copy.deepcopy(module)
    x = torch.randn(1, 3, 7, 7, generator=torch.Generator().manual_seed(0))
    (figure,) = of_view(report(module, x), "before-after")
    with torch.no_grad():
        first = plain[0](x)[0]
        second = plain[1](first[None])[0]
    stages = [first[:16], second[:16], second[:16].relu()]
    limits = [float(stages[0].abs().max()), *[float(stages[1].abs().max())] * 2]
    assert figure.data["limits"] == pytest.approx(limits, rel=1e-5)
    assert figure.data["stages"] == ["0", "1", "2"]
    assert (figure.data["channels_shown"], figure.data["channels_total"]) == (16, 20)
    assert "the first 16 of 20 channels" in figure.caption
    found = pixels(figure)
    for channel in range(16):
        band, column = divmod(channel, 8)
        for stage, (maps, limit) in enumerate(zip(stages, limits, strict=True)):
            top = band * (3 * 6 - 1 + 4) + stage * 6
            tile = found[top : top + 5, column * 6 : column * 6 + 5]
            assert np.all(np.abs(tile - about_zero(maps[channel], limit)) <= 0.51)


def test_zero_is_white() -> None:
    (figure,) = of_view(report(Called(nn.ReLU()), torch.randn(1, 3, 8, 8)), "before-after")
    assert all((tile >= 126).all() for tile in list(tiles(figure))[5:])
    colours = np.asarray(Image.open(io.BytesIO(figure.files["png"])).convert("RGB"))
    assert colours[pixels(figure) == 126].min() > 240


def test_what_no_activation_reads_has_no_pair() -> None:
    def residual(x: torch.Tensor) -> torch.Tensor:
        return functional.relu(x + 1)

    assert of_view(report(Called(residual), torch.randn(1, 3, 8, 8)), "before-after") == []
    assert of_view(report(nn.Sequential(nn.Conv2d(3, 4, 3)), torch.randn(1, 3, 8, 8)), "before-after") == []
    assert of_view(report(nn.Sequential(nn.ReLU()), torch.randn(1, 3, 8, 8)), "before-after") == []


def test_of_two_activations_the_first_is_shown() -> None:
    (figure,) = of_view(report(Called(lambda x: x.sigmoid() * x.tanh()), torch.randn(1, 3, 8, 8)), "before-after")
    assert figure.data["stages"] == ["conv", "sigmoid"]


def test_a_norm_or_activation_that_is_not_selected_makes_no_pair() -> None:
    module = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU())
    for left_out in ("0", "1", "2"):
        figures = report(module, torch.randn(1, 3, 8, 8), leave_out=(left_out,))
        assert of_view(figures, "before-after") == []


@fx.wrap
def break_down(x: torch.Tensor) -> torch.Tensor:
    raise ValueError("broken")


class BrokenNorm(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3)
        self.norm = nn.BatchNorm2d(5)  # of another number of channels: it raises

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return functional.relu(self.norm(self.conv(x)))


def test_a_norm_that_fails_leaves_nothing_behind() -> None:
    figures = report(BrokenNorm(), *torch.randn(2, 1, 3, 8, 8))
    assert [figure.data["view"] for figure in figures] == ["kernels", "annotated"]


def test_values_outside_the_scale_are_said_to_be_clipped() -> None:
    figures = report(nn.Sequential(nn.Conv2d(3, 4, 3), nn.SELU()), torch.randn(1, 3, 8, 8))
    (figure,) = of_view(figures, "before-after")
    assert "Values of 1 outside it are clipped." in figure.caption


def test_non_finite_and_constant_maps() -> None:
    x = torch.randn(2, 3, 8, 8)
    x[0, 0, 0, 0] = torch.nan
    x[1] = 0
    module = nn.Sequential(nn.Conv2d(3, 4, 3, bias=False), nn.ReLU())
    broken, flat = of_view(report(module, x), "before-after")
    assert "NaN is magenta" in broken.caption
    assert 253 in pixels(broken)
    assert flat.data["limits"] == [1.0, 1.0]
    assert set(np.unique(pixels(flat))) == {126, 252}


def test_figures_do_not_depend_on_the_batch_size() -> None:
    module = nn.Sequential(nn.Conv2d(3, 6, 3), nn.ReLU(inplace=True))
    fill(module)  # the network's own values must not depend on it either
    x = torch.randint(-3, 4, (3, 3, 8, 8)).float()
    together = of_view(report(module, x), "before-after")
    one_by_one = of_view(report(module, *torch.split(x, 1)), "before-after")
    assert [(figure.files, figure.data) for figure in one_by_one] == [
        (figure.files, figure.data) for figure in together
    ]


def test_images_that_are_not_drawn_have_kernels_only() -> None:
    module = nn.Sequential(nn.Conv2d(3, 6, 3), nn.ReLU())
    assert {figure.image for figure in report(module, torch.zeros(2, 3, 8, 8), drawn=False)} == {None}


def test_weights_are_left_as_they_were() -> None:
    module = nn.Sequential(nn.Conv2d(3, 6, 3), nn.ReLU())
    before = weight_of(module, 0).clone()
    report(module, torch.zeros(1, 3, 8, 8))
    assert torch.equal(weight_of(module, 0), before)
    assert all(parameter.requires_grad and parameter.grad is None for parameter in module.parameters())
