"""Axes are read from operations; what nothing speaks for is not drawn."""

import warnings
from collections.abc import Callable

import pytest
import torch
import torchvision
from torch import nn
from torch.nn import functional

from reportgen.entities import Activation, Batch, Reading
from reportgen.network.capture import walk
from reportgen.network.graph import trace
from reportgen.network.tracing import trace_model

Forward = Callable[[torch.Tensor], object]


def readings(model: nn.Module, image: torch.Tensor) -> dict[str, Reading]:
    return {
        event.layer.name: event.reading
        for event in walk(trace(model.eval()), Batch((), image))
        if isinstance(event, Activation)
    }


def of(forward: Forward, image: torch.Tensor | None = None) -> Reading:
    """The reading of the last node of a model whose forward is `forward`."""

    class Model(nn.Module):
        def forward(self, x: torch.Tensor) -> object:
            return forward(x)

    return list(readings(Model(), torch.randn(2, 6, 4, 5) if image is None else image).values())[-1]


@pytest.mark.parametrize(
    ("forward", "layout"),
    [
        (torch.relu, "NCHW"),
        (lambda x: x + 1, "NCHW"),
        (lambda x: x.permute(0, 2, 3, 1), "NHWC"),
        (lambda x: torch.permute(x, [0, 2, 3, 1]) * 2, "NHWC"),
        (lambda x: x.permute(0, 2, 3, 1).transpose(1, -1).relu(), "NCWH"),
        (lambda x: functional.layer_norm(x.permute(0, 2, 3, 1), (6,)), "NHWC"),
        (lambda x: x.permute(0, 2, 3, 1).permute(0, 3, 1, 2), "NCHW"),
        (lambda x: x[:, :3], "NCHW"),
        (lambda x: x[:, :, ::2, ::2], "NCHW"),
        (lambda x: torch.chunk(x, 2, 1)[1], "NCHW"),
        (lambda x: torch.cat([x, x], 1), "NCHW"),
        (lambda x: functional.interpolate(x, scale_factor=2), "NCHW"),
        (lambda x: functional.pad(x, (1, 1, 1, 1)), "NCHW"),
        (lambda x: x.mean((2, 3), keepdim=True), "NCHW"),
        (lambda x: x[:, 0], "NHW"),
        (lambda x: x[:, None, 0], "N1HW"),
        (lambda x: torch.complex(x, x), "NCHW"),
        (lambda x: x > 0, "NCHW"),
        (lambda x: x.flatten(2), "NCL"),
        (lambda x: x.flatten(2).transpose(1, 2), "NLC"),
        (lambda x: x.reshape(2, 2, 3, 20).permute(0, 1, 3, 2), "NCLC"),
    ],
)
def test_maps(forward: Forward, layout: str) -> None:
    reading = of(forward)
    assert reading.layout == layout
    assert reading.maps is not None
    assert reading.reason == ""


@pytest.mark.parametrize(
    ("forward", "layout", "why"),
    [
        (lambda x: torch.flatten(x, 1), "NC", "a vector of 120 values"),
        (lambda x: x.mean((2, 3)), "NC", "a vector of 6 values"),
        (lambda x: x.mean([-2, -1]), "NC", "a vector of 6 values"),
        (lambda x: x.reshape(2, 5, 4, 6), "", "no operation says which of its axes"),
        (lambda x: x @ x.transpose(2, 3), "NCHK", "drawn as attention"),
        (lambda x: x[0], "CHW", "3 axes"),
        (lambda x: x.sum(), "", "a single number"),
        (lambda x: x.shape, "", "a size of 4 numbers"),
        (lambda x: x.shape[1], "", "a value of type int, not a tensor"),
        (lambda x: torch.chunk(x, 2, 1), "NCHW", "a tuple of 2 values"),
        (lambda x: x[:, :, :0], "NCHW", "an empty value"),
        (lambda x: x[:1], "NCHW", "whose first axis is not the 2 images"),
        (lambda x: nn.functional.linear(x, torch.ones(3, 5)), "", "no operation says"),
    ],
)
def test_what_is_not_drawn(forward: Forward, layout: str, why: str) -> None:
    reading = of(forward)
    assert reading.maps is None
    assert why in reading.reason
    if not isinstance(reading.maps, torch.Tensor) and "tuple" not in why:
        assert reading.layout == layout


def test_a_reshape_is_read_as_the_convolution_after_it_demands() -> None:
    class Model(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = nn.Conv2d(12, 2, 1)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            found: torch.Tensor = self.conv(torch.relu(x.reshape(2, 12, 2, 5)))
            return found

    found = readings(Model(), torch.randn(2, 6, 4, 5))
    assert [found[name].layout for name in ("reshape", "relu", "conv")] == ["NCHW"] * 3


def test_maps_are_views_in_channel_order() -> None:
    image = torch.randn(2, 6, 4, 5)
    reading = of(lambda x: x.permute(0, 2, 3, 1) * 2, image)
    assert reading.maps is not None
    assert torch.equal(reading.maps, image * 2)


def test_a_parameter_is_not_an_activation() -> None:
    class Model(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.scale = nn.Parameter(torch.ones(1, 6, 4, 5))

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x * self.scale

    found = readings(Model(), torch.randn(1, 6, 4, 5))
    assert "a parameter" in found["scale"].reason
    assert found["mul"].maps is not None


def test_swin_is_nhwc_inside() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = torchvision.models.swin_t(weights=None)
    found = readings(model, torch.randn(1, 3, 64, 64))
    assert found["features.0.0"].layout == "NCHW"
    assert found["features.1.0.attn.shifted_window_attention"].layout == "NHWC"
    merged = found["features.2.reduction"].maps
    assert merged is not None
    assert merged.shape == (1, 192, 8, 8)
    assert found["features.1.0.attn._get_relative_position_bias"].maps is None


def test_windows_are_put_together_again() -> None:
    """Windows as Swin makes them, folded back by hand."""
    image = torch.randn(2, 3, 8, 12)

    def windows(x: torch.Tensor) -> torch.Tensor:
        split = x.permute(0, 2, 3, 1).reshape(2, 2, 4, 3, 4, 3).permute(0, 1, 3, 2, 4, 5)
        return torch.relu(split.reshape(12, 16, 3))

    reading = of(windows, image)
    assert reading.layout == "(NHW)LC"
    assert reading.description.startswith("16 tokens = 4 × 4")
    assert "put together to 8 × 12" in reading.description
    assert reading.maps is not None
    assert torch.equal(reading.maps, image.relu())


class Tokens(nn.Module):
    """A vision transformer's beginning: class, register and distillation tokens around a grid."""

    def __init__(self) -> None:
        super().__init__()
        self.cls_token = nn.Parameter(torch.randn(1, 1, 6))
        self.reg_token = nn.Parameter(torch.randn(1, 4, 6))
        self.dist_token = nn.Parameter(torch.randn(1, 1, 6))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        grid = x.flatten(2).transpose(1, 2)
        extra = [token.expand(x.shape[0], -1, -1) for token in (self.cls_token, self.reg_token)]
        tokens = torch.cat([*extra, grid, self.dist_token.expand(x.shape[0], -1, -1)], 1)
        return tokens * 2


@pytest.mark.parametrize("images", [1, 2])
def test_tokens_are_told_apart(images: int) -> None:
    model, image = Tokens(), torch.randn(images, 6, 4, 5)
    found = list(readings(model, image).values())[-1]
    assert found.layout == "NLC"
    assert found.description == "26 tokens = 1 class token + 4 register tokens + 4 × 5 + 1 distillation token"
    assert found.maps is not None
    assert torch.equal(found.maps, image * 2)
    assert list(found.vectors) == [
        "class token",
        *(f"register token {number}" for number in range(1, 5)),
        "distillation token",
    ]
    assert torch.equal(found.vectors["class token"], (model.cls_token * 2).detach().expand(images, 1, 6)[:, 0])
    assert torch.equal(found.vectors["register token 3"][0], (model.reg_token * 2).detach()[0, 2])


def test_frames_stand_side_by_side() -> None:
    clip = torch.randn(1, 3, 2, 4, 5)
    reading = of(torch.relu, clip)
    assert reading.layout == "NCDHW"
    assert reading.maps is not None
    assert torch.equal(reading.maps, torch.cat([clip[:, :, 0], clip[:, :, 1]], -1).relu())
    assert reading.description == "2 frames, side by side"
    assert reading.frames == 2


def test_a_line_is_a_map_of_one_row() -> None:
    line = torch.randn(2, 3, 9)
    reading = of(lambda x: nn.functional.conv1d(x, torch.ones(4, 3, 3)), line)
    assert reading.layout == "NCL"
    assert reading.maps is not None
    assert torch.equal(reading.maps[:, :, 0], nn.functional.conv1d(line, torch.ones(4, 3, 3)))


def test_positions_that_were_gathered_have_no_place() -> None:
    def shuffled(x: torch.Tensor) -> torch.Tensor:
        tokens = x.flatten(2).transpose(1, 2)
        return torch.gather(tokens, 1, torch.zeros(2, 20, 6, dtype=torch.int64))

    reading = of(shuffled)
    assert reading.maps is None
    assert reading.reason == "20 tokens of 6 channels: no grid of positions to draw as a map"


def test_the_best_of_each_row_are_read_along_the_axis_they_were_taken_from() -> None:
    """`topk` has the count before the axis: a count is no axis."""
    reading = of(lambda x: x.topk(2, 1)[0])
    assert reading.layout == "NCHW"
    assert of(lambda x: x.flatten(2).transpose(1, 2).topk(9, 1)[0]).reason.startswith("9 tokens of 6 channels")


def test_an_empty_value_can_be_reshaped() -> None:
    assert of(lambda x: x[:, :0].reshape(2, 0, 20)).maps is None
    assert of(lambda x: x[:, :0].reshape(-1, 4)).maps is None


class Correlation(nn.Module):
    """Every position of one picture against every position of another, as optical flow has it."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        other = torch.flip(x, (1,)) * 2
        volume = x.flatten(2).transpose(1, 2) @ other.flatten(2)
        images, _, height, width = x.shape
        volume = volume.view(images, height, width, 1, height, width)
        each = volume.reshape(images * height * width, 1, height, width)
        pooled = functional.avg_pool2d(each, 2)
        features = pooled.view(images, height, width, -1)
        return functional.relu(features.permute(0, 3, 1, 2))


@pytest.mark.parametrize("tracer", ["fx", "eager"])
def test_a_correlation_volume_is_a_map_for_each_position(tracer: str) -> None:
    image = torch.randn(2, 3, 4, 6)
    batch = Batch((), image)
    found = {
        event.layer.name: event.reading
        for event in trace_model(Correlation(), batch, tracer=tracer).walk(batch)
        if isinstance(event, Activation)
    }
    expected = torch.einsum("nchw,ncyx->nhwyx", image, torch.flip(image, (1,)) * 2).reshape(2, 24, 4, 6)
    for name, maps in (("reshape", expected), ("avg_pool2d", functional.avg_pool2d(expected, 2))):
        assert found[name].layout == "(NC)CHW"
        assert found[name].description == "a map for each of 24 positions = 4 × 6"
        read = found[name].maps
        assert read is not None
        torch.testing.assert_close(read, maps)
    pooled = functional.avg_pool2d(expected, 2).reshape(2, 4, 6, 6).permute(0, 3, 1, 2)
    for name, layout in (("view_1", "NHWC"), ("permute", "NCHW")):
        assert found[name].layout == layout
        assert found[name].description == "a map for each of 6 positions = 2 × 3"
        read = found[name].maps
        assert read is not None
        torch.testing.assert_close(read, pooled)
    assert found["view"].maps is None  # two grids, of which neither is the map


def test_masks_are_a_map_for_each_query() -> None:
    class Masks(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.queries = nn.Parameter(torch.randn(1, 7, 6))

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return torch.einsum("bqc,bchw->bqhw", self.queries.expand(x.shape[0], -1, -1), x)

    model, image = Masks(), torch.randn(2, 6, 4, 5)
    reading = list(readings(model, image).values())[-1]
    assert reading.layout == "NCHW"
    assert reading.description == "a map for each of 7 tokens = 7 object queries"
    assert reading.maps is not None
    torch.testing.assert_close(reading.maps, torch.einsum("qc,bchw->bqhw", model.queries.detach()[0], image))


def test_attention_and_parts_of_windows_are_no_maps_of_each() -> None:
    def cut_windows(x: torch.Tensor) -> torch.Tensor:
        split = x.reshape(2, 6, 2, 3, 2, 2).permute(0, 2, 4, 3, 5, 1)
        return torch.relu(split.reshape(8, 3, 2, 6)[:, :2])

    reading = of(cut_windows, torch.randn(2, 6, 6, 4))
    assert "don't fit together" in reading.reason
    assert reading.maps is None
    grid = torch.randn(2, 6, 4, 4)
    assert of(lambda x: torch.einsum("nchw,ncyx->nhwyx", x, x), grid).maps is None
    assert "drawn as attention" in of(lambda x: x.flatten(2).transpose(1, 2) @ x.flatten(2), grid).reason
