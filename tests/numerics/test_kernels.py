"""Kernels in one form against what the convolutions themselves compute."""

import math

import numpy as np
import pytest
import torch
from torch import nn

from reportgen.numerics.kernels import coloured, planes, summarise


@pytest.mark.parametrize("groups", [1, 2, 4])
def test_a_slice_of_a_transposed_convolution_is_what_one_value_adds(groups: int) -> None:
    module = nn.ConvTranspose2d(4, 8, (2, 3), groups=groups, bias=False)
    kernels = planes(module.weight.detach(), transposed=True, groups=groups)
    assert kernels.shape == (8, 4 // groups, 1, 2, 3)
    for channel in range(4):
        value = torch.zeros(1, 4, 1, 1)
        value[0, channel] = 1
        added = module(value)[0].detach()
        group, place = divmod(channel, 4 // groups)
        members = range(group * 8 // groups, (group + 1) * 8 // groups)
        for output in range(8):
            expected = kernels[output, place, 0] if output in members else torch.zeros(2, 3)
            assert torch.allclose(added[output], expected)


@pytest.mark.parametrize("groups", [1, 2])
def test_a_slice_of_a_convolution_is_its_flipped_response_to_one_value(groups: int) -> None:
    module = nn.Conv2d(4, 6, (2, 3), padding=(1, 2), groups=groups, bias=False)
    kernels = planes(module.weight.detach(), transposed=False, groups=groups)
    value = torch.zeros(1, 4, 1, 1)
    value[0, 3] = 1
    response = module(value)[0].detach().flip((1, 2))
    outputs = range(6) if groups == 1 else range(3, 6)
    for output in outputs:
        assert torch.allclose(response[output], kernels[output, 3 if groups == 1 else 1, 0])


@pytest.mark.parametrize(
    ("module", "shape"),
    [
        (nn.Conv1d(2, 3, 5), (3, 2, 1, 1, 5)),
        (nn.Conv1d(2, 3, 1), (3, 2, 1, 1, 1)),
        (nn.Conv3d(2, 3, (2, 4, 5)), (3, 2, 2, 4, 5)),
        (nn.Conv3d(2, 3, (7, 1, 1)), (3, 2, 1, 1, 7)),
        (nn.Conv3d(2, 3, 1), (3, 2, 1, 1, 1)),
        (nn.Conv2d(2, 3, (7, 1)), (3, 2, 1, 7, 1)),
    ],
)
def test_one_and_three_axes_of_positions(module: nn.Conv1d | nn.Conv2d | nn.Conv3d, shape: tuple[int, ...]) -> None:
    weight = module.weight.detach()
    kernels = planes(weight, transposed=False, groups=1)
    assert kernels.shape == shape
    assert torch.equal(kernels.flatten(), weight.flatten())


def test_the_summary_is_over_finite_weights() -> None:
    values = [0.5, -2.0, 3.25, 0.0, 1.0]
    found = summarise(torch.tensor([*values, math.nan, math.inf]))
    mean = math.fsum(values) / 5
    assert (found.low, found.high, found.not_finite, found.magnitude) == (-2.0, 3.25, 2, 3.25)
    assert found.mean == pytest.approx(mean)
    assert found.std == pytest.approx(math.sqrt(math.fsum((value - mean) ** 2 for value in values) / 5))


@pytest.mark.parametrize(
    "values", [torch.zeros(4), torch.full((3,), torch.nan), torch.zeros(4, dtype=torch.float16)]
)
def test_a_scale_is_never_empty(values: torch.Tensor) -> None:
    assert summarise(values).magnitude == 1.0


def test_colours_span_each_kernels_own_range() -> None:
    kernels = torch.randn(5, 3, 2, 4, 3, generator=torch.Generator().manual_seed(0))
    kernels[2] = 0.7
    found = coloured(kernels)
    assert found.tiles.shape == (5, 2, 3, 4, 3)
    assert found.constant.tolist() == [False, False, True, False, False]
    for number in (0, 1, 3, 4):
        values = kernels[number].double().numpy()
        exact = 255 * (values - values.min()) / (values.max() - values.min())
        assert np.all(np.abs(found.tiles[number].numpy() - exact.transpose(1, 0, 2, 3)) <= 0.501)
        assert (int(found.tiles[number].min()), int(found.tiles[number].max())) == (0, 255)
    assert (found.tiles[2] == 128).all()


def test_a_position_with_a_weight_that_is_not_finite_is_magenta() -> None:
    kernels = torch.randn(2, 3, 1, 3, 3).half()
    kernels[0, 1, 0, 2, 1] = torch.nan
    kernels[1, 0, 0, 0, 0] = -torch.inf
    tiles = coloured(kernels).tiles
    assert tiles[0, 0, :, 2, 1].tolist() == tiles[1, 0, :, 0, 0].tolist() == [255, 0, 255]
    assert coloured(torch.full((1, 3, 1, 2, 2), torch.nan)).tiles[0, 0, :, 0, 0].tolist() == [255, 0, 255]
