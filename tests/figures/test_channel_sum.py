"""The channel sum against math.fsum."""

import io
import math

import numpy as np
import pytest
import torch
from PIL import Image

from figures.figure_cases import DTYPES, activation, plain, read, typed
from reportgen.entities import Reading
from reportgen.figures.base import DataFile, Figure, FigureOptions, Subject
from reportgen.figures.channel_sum import ChannelSum, channel_sums
from reportgen.numerics.scaling import parse_scale
from reportgen.numerics.sums import channel_sum


def figures(kind: ChannelSum, maps: torch.Tensor) -> list[Figure]:
    return [product for product in kind.update(activation(maps)) if isinstance(product, Figure)]


def test_the_sum_is_exact_to_float64() -> None:
    maps = torch.randn(300, 4, 5, generator=torch.Generator().manual_seed(0)) * 1e4
    found = channel_sum(maps)
    assert found.shape == (1, 4, 5)
    for row in range(4):
        for column in range(5):
            exact = math.fsum(maps[:, row, column].tolist())
            assert found[0, row, column].item() == pytest.approx(exact, rel=1e-12, abs=1e-8)


@pytest.mark.parametrize("kind", DTYPES)
def test_no_type_overflows(kind: str) -> None:
    values = typed(kind, 1, 300, 2, 3)
    found, exact = channel_sum(read(values).reading.maps[0]), plain(values)[0]  # type: ignore[index]
    for row in range(2):
        for column in range(3):
            total = math.fsum(exact[:, row, column].tolist())
            assert found[0, row, column].item() == pytest.approx(total, rel=1e-6, abs=1e-3)


def test_the_sum_is_taken_once_whoever_asks() -> None:
    reading = read(typed("float32", 2, 3, 4, 4)).reading
    first = channel_sums(reading)
    assert reading.maps is not None
    assert [total.tolist() for total in first] == [[maps.double().sum(0).tolist()] for maps in reading.maps]
    reading.maps.fill_(7)
    assert channel_sums(reading) is first
    with pytest.raises(ValueError, match="no maps to sum: a vector"):
        channel_sums(Reading("NC", None, "a vector"))


def test_complex_values_say_what_is_drawn() -> None:
    (figure,) = ChannelSum(FigureOptions(), Subject()).update(read(typed("complex64", 1, 2, 3, 3)))
    assert isinstance(figure, Figure)
    assert figure.caption.endswith("The values are complex (complex64): their magnitudes are drawn.")


def test_an_array_too_large_for_float32_stays_float64() -> None:
    kind = ChannelSum(FigureOptions(arrays=True), Subject())
    file, _ = kind.update(activation(torch.full((1, 3, 2, 2), 1e300, dtype=torch.float64)))
    assert isinstance(file, DataFile)
    found = np.load(io.BytesIO(file.content))["sum"]
    assert found.tolist() == [[3e300, 3e300], [3e300, 3e300]]


def test_the_picture_is_the_sum_over_its_own_range() -> None:
    maps = torch.randn(20, 7, 6, generator=torch.Generator().manual_seed(1))
    (figure,) = figures(ChannelSum(FigureOptions(parse_scale("0:1")), Subject()), maps[None])
    total = maps.double().numpy().sum(axis=0)
    exact = 251 * (total - total.min()) / (total.max() - total.min())
    assert np.all(np.abs(np.asarray(Image.open(io.BytesIO(figure.files["png"]))) - exact) <= 0.501)
    assert figure.data["low"] == pytest.approx(total.min())
    assert figure.data["high"] == pytest.approx(total.max())
    assert figure.data["channels_total"] == 20


def test_a_symmetric_scale_is_kept() -> None:
    kind = ChannelSum(FigureOptions(parse_scale("symmetric")), Subject())
    (figure,) = figures(kind, torch.tensor([[[[1.0, -4.0]]]]))
    assert (figure.data["low"], figure.data["high"]) == (-4.0, 4.0)


def test_constant_and_non_finite_sums_are_said() -> None:
    kind = ChannelSum(FigureOptions(), Subject())
    (flat,) = figures(kind, torch.ones(1, 3, 2, 2))
    assert "It is 3 everywhere." in flat.caption
    assert flat.data["constant"] is True
    maps = torch.ones(1, 3, 2, 2)
    maps[0, 0, 0, 0] = float("nan")
    (holed,) = figures(kind, maps)
    assert "NaN is magenta" in holed.caption
    (empty,) = figures(kind, torch.full((1, 3, 2, 2), float("inf")))
    assert "No value is finite." in empty.caption
    assert empty.data["low"] is None


def test_arrays_hold_the_sum_itself() -> None:
    maps = torch.randn(1, 5, 4, 3)
    data, figure = ChannelSum(FigureOptions(arrays=True), Subject()).update(activation(maps))
    assert isinstance(data, DataFile)
    assert isinstance(figure, Figure)
    assert data.name == "maps/image0/stem.conv.npz"
    assert figure.downloads == (data.name,)
    found = np.load(io.BytesIO(data.content))["sum"]
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, maps[0].double().numpy().sum(axis=0), rtol=1e-6)
