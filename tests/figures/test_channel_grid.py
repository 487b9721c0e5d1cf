"""The channel grid against pixels found by arithmetic of numpy's own."""

import io

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image

from figures.figure_cases import DTYPES, activation, plain, read, typed
from reportgen.figures.base import Figure, FigureOptions, Subject
from reportgen.figures.channel_grid import ChannelGrid
from reportgen.numerics.scaling import parse_scale


def grid(maps: torch.Tensor, scale: str = "channel", max_channels: int = 0) -> Figure:
    options = FigureOptions(parse_scale(scale), max_channels=max_channels)
    (figure,) = ChannelGrid(options, Subject()).update(activation(maps[None]))
    return figure


@pytest.mark.parametrize("kind", DTYPES)
def test_maps_of_any_type_are_drawn_as_their_numbers(kind: str) -> None:
    values = typed(kind, 1, 5, 6, 7)
    (figure,) = ChannelGrid(FigureOptions(), Subject()).update(read(values))
    for channel, exact in enumerate(plain(values)[0]):
        low, high = exact.min(), exact.max()
        # A magnitude has float32's rounding, and the level next to it may be the nearest.
        assert np.all(np.abs(tile(figure, channel) - 251 * (exact - low) / (high - low)) <= 0.501)
        assert figure.data["low"][channel] == pytest.approx(low, rel=1e-6)
        assert figure.data["high"][channel] == pytest.approx(high, rel=1e-6)


def test_complex_and_quantised_values_say_what_is_drawn() -> None:
    for kind, said in (
        ("complex64", "The values are complex (complex64): their magnitudes are drawn."),
        ("quint8", "The values are quantised (quint8): they are drawn dequantised."),
    ):
        (figure,) = ChannelGrid(FigureOptions(), Subject()).update(read(typed(kind, 1, 2, 3, 3)))
        assert figure.caption.endswith(said)
    assert "drawn" not in grid(torch.randn(2, 3, 3)).caption


def pixels(figure: Figure) -> NDArray[np.uint8]:
    return np.asarray(Image.open(io.BytesIO(figure.files["png"])))


def tile(figure: Figure, channel: int) -> NDArray[np.uint8]:
    data = figure.data
    row, column = divmod(channel, data["columns"])
    top, left = row * (data["tile_height"] + data["gap"]), column * (data["tile_width"] + data["gap"])
    return pixels(figure)[top : top + data["tile_height"], left : left + data["tile_width"]]


@pytest.mark.parametrize("channels", [1, 2, 7, 64, 97])
def test_each_tile_is_its_channel(channels: int) -> None:
    maps = torch.randn(channels, 6, 11, generator=torch.Generator().manual_seed(channels))
    figure = grid(maps)
    for channel, values in enumerate(maps.double().numpy()):
        exact = 251 * (values - values.min()) / (values.max() - values.min())
        assert np.all(np.abs(tile(figure, channel) - exact) <= 0.501)
        assert figure.data["low"][channel] == pytest.approx(values.min(), rel=1e-7)
        assert figure.data["high"][channel] == pytest.approx(values.max(), rel=1e-7)
    assert figure.data["channels_shown"] == figure.data["channels_total"] == channels


def test_recorded_ranges_bring_float32_back_exactly() -> None:
    maps = torch.randn(16, 5, 5) * 1e-3
    low = torch.tensor(grid(maps).data["low"], dtype=torch.float32)
    assert torch.equal(low, maps.amin((1, 2)))


def test_a_layer_scale_spans_all_channels() -> None:
    maps = torch.stack([torch.full((2, 2), 1.0), torch.tensor([[0.0, 2.0], [4.0, 4.0]])])
    figure = grid(maps, "layer")
    assert tile(figure, 0).tolist() == [[63, 63], [63, 63]]
    assert tile(figure, 1).tolist() == [[0, 126], [251, 251]]
    assert "all channels are coloured over the layer's range" in figure.caption


@pytest.mark.parametrize("scale", ["layer", "symmetric", "-1:1"])
def test_a_shared_scale_leaves_the_range_of_each_channel_known(scale: str) -> None:
    maps = torch.randn(3, 4, 4)
    maps[1, 0, 0] = torch.inf
    maps[2] = torch.nan
    data = grid(maps, scale).data
    finite = torch.where(torch.isfinite(maps[:2]), maps[:2], 0.0).numpy()  # zero lies within either range
    assert data["value_low"] == [*map(pytest.approx, finite.min((1, 2))), None]
    assert data["value_high"] == [*map(pytest.approx, finite.max((1, 2))), None]
    assert "value_low" not in grid(maps).data


def test_a_symmetric_scale_has_zero_in_the_middle() -> None:
    maps = torch.tensor([[[0.0, 3.0]], [[-1.0, 1.5]]])
    figure = grid(maps, "symmetric")
    assert figure.data["low"] == [-3.0, -3.0]
    assert figure.data["high"] == [3.0, 3.0]
    assert tile(figure, 0).tolist()[0][1] == 251
    assert tile(figure, 0).tolist()[0][0] in (125, 126)


def test_fewer_channels_are_said_to_be_fewer() -> None:
    figure = grid(torch.randn(512, 3, 3), max_channels=64)
    assert (figure.data["channels_shown"], figure.data["channels_total"]) == (64, 512)
    assert (figure.data["columns"], figure.data["rows"]) == (8, 8)
    assert "64 of 512 channels" in figure.caption
    assert "64 of 512 channels" in figure.alt
    assert len(figure.data["low"]) == 64


def test_a_limit_above_the_count_changes_nothing() -> None:
    maps = torch.randn(8, 3, 3)
    assert grid(maps, max_channels=64).caption == grid(maps).caption
    assert "all 8 channels" in grid(maps).caption


def test_constant_channels_are_flagged_and_counted() -> None:
    maps = torch.stack([torch.zeros(3, 3), torch.randn(3, 3), torch.full((3, 3), 4.0)])
    figure = grid(maps)
    assert figure.data["constant"] == [0, 2]
    assert not tile(figure, 0).any()
    assert "2 channels constant" in figure.caption


def test_non_finite_values_are_named() -> None:
    maps = torch.randn(3, 3, 3)
    maps[1] = float("nan")
    figure = grid(maps)
    assert figure.data["low"][1] is None
    assert figure.data["finite"] is False
    assert (tile(figure, 1) == 253).all()
    assert "NaN is magenta" in figure.caption
    assert "No value is finite." in grid(torch.full((2, 2, 2), float("inf"))).caption
