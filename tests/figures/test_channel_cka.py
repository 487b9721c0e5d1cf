"""The similarity of channels against plain loops, and what is said where it is undefined."""

import io
import json
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image

from figures.figure_cases import activation, layer
from numerics.test_channels import draw, plain_cka
from reportgen.figures.base import DataFile, Figure, FigureOptions, Product, Subject
from reportgen.figures.channel_cka import MOST_PIXELS, ChannelCKA


def products(*batches: torch.Tensor, drawn: bool = True, **options: Any) -> list[Product]:
    """Everything a report of one layer makes of batches of maps (N, C, H, W)."""
    kind = ChannelCKA(FigureOptions(**options), Subject())
    found: list[Product] = []
    for maps in batches:
        kind.observe(activation(maps))
        found += kind.update(activation(maps)) if drawn else ()
        found += kind.end_batch()
    return found + list(kind.compute())


def figures(*batches: torch.Tensor, **options: Any) -> list[Figure]:
    return [product for product in products(*batches, **options) if isinstance(product, Figure)]


def figure(maps: torch.Tensor, **options: Any) -> Figure:
    (found,) = figures(maps[None], **options)
    return found


def files(*batches: torch.Tensor, **options: Any) -> dict[str, bytes]:
    made = products(*batches, **options)
    return {product.name: product.content for product in made if isinstance(product, DataFile)}


def picture(found: Figure) -> Image.Image:
    return Image.open(io.BytesIO(found.files["png"]))


def indices(values: NDArray[np.float64], low: float) -> NDArray[np.float64]:
    return 251 * (values - low) / (1 - low)


@pytest.mark.parametrize("estimator", ["debiased", "biased"])
def test_a_pixel_is_the_cka_of_a_pair(estimator: str) -> None:
    maps = draw(9, 6, 5)
    expected = plain_cka(maps, debiased=estimator == "debiased")
    found = figure(maps, cka=estimator)
    assert (found.width, found.height) == (9, 9)
    assert found.data["low"] == pytest.approx(min(0, expected.min()), rel=1e-5)
    assert np.all(np.abs(np.asarray(picture(found)) - indices(expected, found.data["low"])) <= 0.51)
    assert f"linear CKA ({estimator})" in found.caption
    assert "the 6 rows of a map are the examples, its 5 columns the features" in found.caption
    assert ("also" in found.caption or "too" in found.caption) == (estimator == "biased")
    assert (found.layer, found.image) == ("stem.conv", "image0")


def test_the_most_alike_pairs_are_listed() -> None:
    maps = draw(6, 8, 8)
    maps[5] = maps[2] * -3 + 1 + maps[5] / 8
    found = figure(maps)
    values = plain_cka(maps, debiased=True)
    pairs = sorted(((values[i, j], i, j) for i in range(6) for j in range(i + 1, 6)), reverse=True)
    assert found.data["pairs"][0][:2] == [2, 5]
    assert [pair[:2] for pair in found.data["pairs"]] == [[i, j] for _, i, j in pairs[:8]]
    assert [pair[2] for pair in found.data["pairs"]] == pytest.approx(
        [value for value, _, _ in pairs[:8]], rel=1e-5
    )


def test_undefined_channels_are_gray_and_counted() -> None:
    maps = draw(6, 5, 5)
    maps[1] = 2.0
    maps[2] = torch.arange(5.0)
    maps[4, 0, 0] = torch.nan
    found = figure(maps)
    pixels, colours = np.asarray(picture(found)), np.asarray(picture(found).convert("RGB"))
    assert (pixels[[1, 2, 4]] == 253).all()
    assert (pixels[:, [1, 2, 4]] == 253).all()
    assert not (pixels[np.ix_([0, 3, 5], [0, 3, 5])] == 253).any()
    red, green, blue = colours[1, 1].astype(int)
    assert max(red, green, blue) - min(red, green, blue) < 8
    assert (found.data["constant"], found.data["infinite"]) == ([1, 2], [4])
    assert (
        "Undefined (gray): 2 channels the same for every example, 1 channel with values that are not"
        in found.caption
    )
    assert not {1, 2, 4} & {channel for pair in found.data["pairs"] for channel in pair[:2]}


def test_a_layer_without_a_defined_channel_is_drawn_gray() -> None:
    found = figure(torch.ones(4, 5, 5))
    assert (np.asarray(picture(found)) == 253).all()
    assert found.data["pairs"] == []
    assert found.data["low"] == 0
    json.dumps(dict(found.data), allow_nan=False)


@pytest.mark.parametrize(
    ("shape", "cause"),
    [
        ((1, 8, 3, 9), "the rows of its maps are the examples: 3 rows, where 4 are needed"),
        ((2, 8, 1, 1), "the rows of its maps are the examples: 1 row, where 4 are needed"),
        ((2, 1, 6, 6), "it has one channel, so there is no pair to compare"),
        ((1, 4097, 6, 1), "it has 4,097 channels, where at most 4,096 are compared"),
    ],
)
def test_what_has_no_similarity_is_named_with_its_cause(shape: tuple[int, ...], cause: str) -> None:
    assert figures(draw(*shape)) == []
    assert json.loads(files(draw(*shape))["channel_cka.json"]) == {"undefined": {"stem.conv": cause}}
    assert files(draw(2, 8, 6, 6)) == {}


def test_many_channels_are_drawn_as_means_of_blocks() -> None:
    channels = 2 * MOST_PIXELS + 4
    maps = draw(channels, 4, 3)
    (content,) = files(maps[None], arrays=True).values()
    whole = np.load(io.BytesIO(content))["cka"][0].astype(np.float64)
    found = figure(maps)
    assert found.data["block"] == 3
    assert found.width == found.height == 343 <= MOST_PIXELS
    edges = list(range(0, channels, 3))
    means = np.add.reduceat(np.add.reduceat(whole, edges, 0), edges, 1)
    sizes = np.diff([*edges, channels])
    expected = indices(means / np.outer(sizes, sizes), found.data["low"])
    assert np.all(np.abs(np.asarray(picture(found)) - expected) <= 0.51)
    assert "A pixel is the mean over 3 × 3 channels, the last row and column 2 channels;" in found.caption
    assert "the last row" not in figure(draw(1024, 4, 2)).caption
    assert figure(draw(MOST_PIXELS, 4, 2)).data["block"] == 1


def test_arrays_hold_every_image_in_order() -> None:
    first, second = draw(2, 5, 6, 4, seed=1), draw(1, 5, 6, 4, seed=2)
    first[0, 3] = 0
    written = files(first, second, arrays=True)
    assert list(written) == ["channel_cka/stem.conv.npz"]
    arrays = np.load(io.BytesIO(written["channel_cka/stem.conv.npz"]))
    assert arrays["cka"].shape == (3, 5, 5)
    assert arrays["cka"].dtype == np.float32
    assert arrays["images"].tolist() == ["image0", "image1", "image0"]
    assert arrays["cka"][2] == pytest.approx(plain_cka(second[0], debiased=True), abs=1e-6)
    assert np.isnan(arrays["cka"][0, 3]).all()
    assert [found.downloads for found in figures(first, arrays=True)] == [("channel_cka/stem.conv.npz",)] * 2
    assert figures(first)[0].downloads == ()


def test_without_arrays_no_matrix_is_kept() -> None:
    kind = ChannelCKA(FigureOptions(), Subject())
    kind.observe(activation(draw(2, 5, 6, 4)))
    list(kind.update(activation(draw(2, 5, 6, 4))))
    assert not any(kept.matrices for kept in kind._kept.values())


def test_two_identical_images_have_the_same_figure() -> None:
    maps = draw(1, 5, 6, 4).expand(2, -1, -1, -1)
    first, second = figures(maps)
    assert first.files == second.files
    assert first.data == second.data


def test_correlation_is_one_figure_over_all_images() -> None:
    batches = [draw(2, 6, 5, 4, seed=1), draw(1, 6, 5, 4, seed=2) + 9]
    values = torch.cat(batches).transpose(0, 1).flatten(1).double().numpy()
    expected = np.corrcoef(values) ** 2
    (found,) = figures(*batches, channel_similarity="correlation")
    assert (found.layer, found.image) == ("stem.conv", None)
    assert np.all(np.abs(np.asarray(picture(found)) - indices(expected, 0)) <= 0.51)
    assert "squared correlation over 60 positions of 3 images." in found.caption
    assert found.data["pairs"][0][2] == pytest.approx(expected[~np.eye(6, dtype=bool)].max(), rel=1e-5)


def test_correlation_does_not_depend_on_batches_or_orientation() -> None:
    maps = draw(3, 6, 5, 5)
    (together,) = figures(maps, channel_similarity="correlation")
    (one_by_one,) = figures(*torch.split(maps, 1), channel_similarity="correlation")
    (turned,) = figures(maps.transpose(2, 3), channel_similarity="correlation")
    assert one_by_one.files == together.files
    assert one_by_one.data == together.data
    assert turned.data["pairs"] == together.data["pairs"]
    assert figures(maps.transpose(2, 3))[0].data["pairs"] != figures(maps)[0].data["pairs"]


def test_correlation_also_rests_on_images_that_are_not_drawn() -> None:
    made = products(draw(2, 6, 5, 4), drawn=False, channel_similarity="correlation", arrays=True)
    written, found = made
    assert isinstance(found, Figure)
    assert isinstance(written, DataFile)
    arrays = np.load(io.BytesIO(written.content))
    values = draw(2, 6, 5, 4).transpose(0, 1).flatten(1).double().numpy()
    assert arrays["squared_correlation"] == pytest.approx(np.corrcoef(values) ** 2, abs=1e-6)
    assert (int(arrays["images"]), int(arrays["positions"])) == (2, 40)
    assert products(draw(2, 6, 5, 4), drawn=False) == []


def test_correlation_over_too_few_positions_is_undefined() -> None:
    assert figures(draw(3, 8, 1, 1), channel_similarity="correlation") == []
    causes = json.loads(files(draw(3, 8, 1, 1), channel_similarity="correlation")["channel_cka.json"])
    assert causes["undefined"]["stem.conv"] == "the positions of all images are the examples: 3, where 4 are needed"
    assert len(figures(draw(4, 8, 1, 1), channel_similarity="correlation")) == 1


@pytest.mark.parametrize("similarity", ["cka", "correlation"])
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64, torch.int64, torch.bool])
@pytest.mark.parametrize("value", [0.0, 1.0, float("nan"), float("inf"), 1e38])
def test_no_value_or_type_breaks_it(similarity: str, dtype: torch.dtype, value: float) -> None:
    maps = draw(1, 4, 5, 5).to(dtype)
    maps[0, 1] = torch.tensor(value).to(dtype)
    (found,) = figures(maps, channel_similarity=similarity)
    json.dumps(dict(found.data), allow_nan=False)
    assert "nan" not in found.caption.lower()
    assert picture(found).size == (4, 4)


def test_parameters_are_left_out() -> None:
    kind = ChannelCKA(FigureOptions(), Subject())
    assert kind.wants(layer())
    assert not kind.wants(layer("scale", op="get_attr"))


def test_a_chosen_colour_map_is_used() -> None:
    assert "(viridis)" in figure(draw(4, 5, 5)).caption
    found = figure(draw(4, 5, 5), cmap="magma")
    assert found.data["cmap"] == "magma"
    assert found.files != figure(draw(4, 5, 5)).files
