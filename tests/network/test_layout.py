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
        (lambda x: x @ x.transpose(2, 3), "", "no operation says"),
        (lambda x: x[:, 0], "", "3 axes"),
        (lambda x: x[0], "", "3 axes"),
        (lambda x: x[:, None, 0], "", "no operation says"),
        (lambda x: x.sum(), "", "a single number"),
        (lambda x: x.shape, "", "a size of 4 numbers"),
        (lambda x: x.shape[1], "", "a value of type int, not a tensor"),
        (lambda x: torch.chunk(x, 2, 1), "NCHW", "a tuple of 2 values"),
        (lambda x: torch.complex(x, x), "NCHW", "complex values"),
        (lambda x: x[:, :, :0], "NCHW", "an empty value"),
        (lambda x: x[:1], "NCHW", "whose first axis is not the 2 images"),
        (lambda x: nn.functional.linear(x, torch.ones(3, 5)), "", "no operation says"),
    ],
)
def test_what_is_not_drawn(forward: Forward, layout: str, why: str) -> None:
    reading = of(forward)
    assert reading.maps is None
    assert why in reading.reason
    if layout != "NCHW":
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


def test_swin_is_nhwc_inside_and_its_windows_are_not_drawn() -> None:
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
