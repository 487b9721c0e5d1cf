"""The same inputs give the same bytes, whatever else is different; `determinism.py` says how that is tried."""

from collections.abc import Iterator

import matplotlib as mpl
import numpy as np
import pytest
import torch
from matplotlib.figure import Figure

from determinism import TOGETHER, VARIATIONS, Bench, Variation, is_possible
from reportgen.drawing.charts import chart as make_chart
from reportgen.drawing.palette import palette
from reportgen.network.isolation import fresh_defaults

ONE_BY_ONE = [
    pytest.param(variation, id=f"{group}-{variation.name}")
    for group, variations in VARIATIONS.items()
    for variation in variations
]


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Bench:
    return Bench(tmp_path_factory.mktemp("bench") / "place")


def test_whatever_is_different_at_once_the_bytes_are_the_same(bench: Bench) -> None:
    assert bench.differing(TOGETHER) == []


@pytest.mark.sweep
@pytest.mark.parametrize("variation", ONE_BY_ONE)
def test_whatever_is_different_the_bytes_are_the_same(bench: Bench, variation: Variation) -> None:
    if not is_possible(variation, bench.place):
        pytest.skip("this machine lacks the locale")
    assert bench.differing(variation) == []


def plot(figure: Figure) -> None:
    figure.add_subplot().plot([0, 1, 4])


def chart() -> dict[str, bytes]:
    return dict(make_chart(2, 1, plot).files)


@pytest.fixture
def settings() -> Iterator[None]:
    """Settings of a user's own, that matplotlib and NumPy have while the test runs."""
    with (
        mpl.rc_context({"axes.grid": True, "lines.marker": "x", "savefig.bbox": "tight", "savefig.dpi": 30}),
        np.printoptions(precision=1, legacy="1.13"),
    ):
        yield


def test_a_users_settings_do_not_show(request: pytest.FixtureRequest) -> None:
    plain = chart()
    request.getfixturevalue("settings")
    assert chart() == plain


def test_a_users_settings_stay(settings: None) -> None:
    chart()
    assert mpl.rcParams["axes.grid"] is True
    assert mpl.rcParams["savefig.dpi"] == 30
    assert np.get_printoptions()["precision"] == 1


def test_colours_do_not_depend_on_how_many_matplotlib_keeps(monkeypatch: pytest.MonkeyPatch) -> None:
    fewer = mpl.colormaps["coolwarm"].resampled(7)
    expected = palette("coolwarm").colours
    monkeypatch.setattr(mpl, "colormaps", {"coolwarm": fewer})
    palette.cache_clear()
    assert palette("coolwarm").colours == expected
    palette.cache_clear()


@pytest.mark.parametrize("device", ["cpu", "meta"])
def test_torchs_defaults_are_put_back(device: str) -> None:
    torch.set_default_dtype(torch.float64)
    if device != "cpu":
        torch.set_default_device(device)
    try:
        with fresh_defaults():
            assert (torch.zeros(1).dtype, torch.zeros(1).device.type) == (torch.float32, "cpu")
        assert (torch.zeros(1).dtype, torch.zeros(1).device.type) == (torch.float64, device)
    finally:
        torch.set_default_dtype(torch.float32)
        torch.set_default_device(None)
