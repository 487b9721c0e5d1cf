"""Attention figures: pixels against the weights, numbers against plain sums, rollout against a loop in numpy."""

import dataclasses
import io
import json
import math
from collections.abc import Iterable

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image

from figures.attention_cases import CLASS, REGISTERS, attending, grid, looking, node, picture, weights
from figures.figure_cases import activation
from reportgen.drawing.palette import palette
from reportgen.entities import Activation, Attention, Batch, Run
from reportgen.figures.attention import AttentionMaps
from reportgen.figures.attention_rollout import why_not
from reportgen.figures.base import DataFile, Figure, FigureOptions, Product, Subject
from reportgen.numerics.scaling import parse_scale

VIRIDIS = np.frombuffer(palette("viridis").colours, np.uint8).reshape(256, 3)


def make(**options: object) -> AttentionMaps:
    return AttentionMaps(FigureOptions(**options), Subject())  # type: ignore[arg-type]


def run(kind: AttentionMaps, events: Iterable[Activation], images: int = 1) -> list[Product]:
    """Everything the kind makes of a batch."""
    shown = tuple(picture(f"image{number}") for number in range(images))
    products = list(kind.begin_batch(Batch(shown, torch.zeros(images, 3, 24, 32))))
    for event in events:
        products += kind.update(event)
    return products + list(kind.end_batch())


def figures(products: Iterable[Product], view: str) -> list[Figure]:
    found = [product for product in products if isinstance(product, Figure)]
    return [figure for figure in found if figure.data["view"] == view]


def heads(attention: Attention, **options: object) -> Figure:
    """The figure of the first image of one node."""
    return figures(run(make(**options), [node(attention)], len(attention.weights)), "heads")[0]


def pixels(figure: Figure) -> NDArray[np.uint8]:
    return np.asarray(Image.open(io.BytesIO(figure.files["png"])).convert("RGBA"))


def test_each_pixel_blends_its_weight_with_the_image_below() -> None:
    values = weights(1, 5, 7, 7)
    figure = heads(attending(values, (2, 3)))
    data, shown = figure.data, pixels(figure)
    assert (data["columns"], data["rows"], data["tile_width"], data["tile_height"]) == (2, 3, 32, 24)
    looks = values[0, :, 0, 1:].numpy().reshape(5, 2, 3)
    for tile, look in enumerate([*looks, looks.mean(axis=0)]):
        for y, x in ((0, 0), (23, 31), (11, 10), (12, 11), (5, 22)):
            level = VIRIDIS[round(251 * float(look[y * 2 // 24, x * 3 // 32]) / float(look.max()))].astype(float)
            exact = (level + (40 if x < 16 else 200)) / 2
            place = (tile // 2 * (24 + data["gap"]) + y, tile % 2 * (32 + data["gap"]) + x)
            assert np.all(np.abs(shown[place][:3] - exact) <= 2), (tile, y, x)
            assert shown[place][3] == 255
    assert shown[24, 5, 3] == 0, "the gap is transparent"


def test_numbers_of_each_head_are_those_of_the_weights() -> None:
    values = weights(2, 3, 11, 11)
    figure = heads(attending(values, (2, 3), (CLASS, REGISTERS)))
    row = values[0, :, 0].double().numpy()
    rows = np.concatenate([row, row.mean(axis=0, keepdims=True)])
    assert figure.data["names"] == ["0", "1", "2", "mean"]
    np.testing.assert_allclose(figure.data["low"], rows[:, 5:].min(axis=1), rtol=1e-5)
    np.testing.assert_allclose(figure.data["high"], rows[:, 5:].max(axis=1), rtol=1e-5)
    np.testing.assert_allclose(figure.data["shares"]["class token"], rows[:, 0], rtol=1e-5)
    np.testing.assert_allclose(figure.data["shares"]["register token"], rows[:, 1:5].sum(axis=1), rtol=1e-5)


def test_the_caption_says_query_tokens_source_and_colours() -> None:
    values = torch.full((1, 2, 5, 5), 0.2)
    values[0, 1, 0] = torch.tensor([0.1, 0.0, 0.0, 0.0, 0.9])
    figure = heads(attending(values, (2, 2), source="computed again from q and k"))
    assert figure.caption == (
        "Where the class token looks in block.attn (Softmax) for image0.png: 2 heads in order and then their mean, "
        "row by row, 2 a row, over the image in gray. 5 keys = 1 class token + 2 × 2; each weight lies over its "
        "part of the image. The colours of each map span 0 to its own highest weight, between 0.2 and 0.9 "
        "(viridis); an even look would give every key 0.2. Not on the map: 10.0 % to 20.0 % of a head's weight "
        "goes to the class token. The weights were computed again from q and k."
    )
    assert figure.alt == "Where the class token looks in 2 heads of block.attn for image0.png"
    assert figure.data["colours"] == [0.0, None]


def test_an_even_look_is_bright_everywhere() -> None:
    shown = pixels(heads(attending(torch.full((1, 1, 5, 5), 0.2), (2, 2))))
    assert np.all(np.abs(shown[:, :16, :3] - (VIRIDIS[251].astype(float) + 40) / 2) <= 1)


def test_on_the_layers_scale_all_heads_share_their_range() -> None:
    values = torch.full((1, 2, 5, 5), 0.2)
    values[0, 1, 0] = torch.tensor([0.2, 0.0, 0.0, 0.0, 0.8])
    figure = heads(attending(values, (2, 2)), scale=parse_scale("layer"))
    assert figure.data["colours"] == [0.0, pytest.approx(0.8)]
    assert "Colours span 0 to 0.8, the highest weight (viridis)" in figure.caption
    quarter = VIRIDIS[round(251 * 0.25)].astype(float)
    assert np.all(np.abs(pixels(figure)[3, 3, :3] - (quarter + 40) / 2) <= 1)


def test_a_symmetric_scale_leaves_weights_their_colours() -> None:
    figure = heads(attending(weights(1, 2, 5, 5), (2, 2)), scale=parse_scale("symmetric"))
    assert (figure.data["cmap"], figure.data["colours"]) == ("viridis", [0.0, None])
    assert heads(attending(weights(1, 2, 5, 5), (2, 2)), cmap="magma").data["cmap"] == "magma"


def test_the_chosen_query_is_outlined_where_it_lies() -> None:
    figure = heads(attending(weights(1, 1, 7, 7), (2, 3)), attention_query="1,2")
    shown = pixels(figure)[:, :, :3]
    white = np.argwhere((shown == 255).all(axis=2))
    assert (white.min(axis=0).tolist(), white.max(axis=0).tolist()) == ([12, 21], [23, 31])
    assert not (shown[16:20, 25:28] == 255).all(axis=2).any(), "the weight inside stays to be seen"
    assert figure.data["query"] == "1,2"
    assert "the query at row 1, column 2 (from 0) of 2 × 3" in figure.caption
    assert "outlined in white" in figure.caption


def test_a_query_outside_the_grid_is_answered_with_a_sentence() -> None:
    figure = heads(attending(weights(1, 2, 7, 7), (2, 3)), attention_query="3,4")
    assert figure.data["query"] == "class"
    assert figure.caption.startswith("Where the class token looks")
    assert "For the query 3,4: there is no query 3,4 in 2 × 3." in figure.caption


def test_large_images_are_made_smaller_and_small_ones_enlarged_by_the_page() -> None:
    attention = attending(weights(1, 12, 17, 17), (4, 4))
    event = node(attention)
    large = dataclasses.replace(event, images=(picture("image0", 640, 320),))
    (figure,) = figures(run(make(), [large]), "heads")
    assert (figure.data["tile_width"], figure.data["tile_height"], figure.data["pixels"]) == (224, 112, 1)
    assert heads(attention).data["pixels"] == 7


def test_windows_are_named_and_are_no_part_of_a_rollout() -> None:
    values = weights(8, 2, 4, 4)
    maps = weights(2, 2, 1, 16).reshape(2, 2, 4, 4)
    attention = Attention(values, (grid(2, 2),), (grid(2, 2),), "computed by the model", lambda _: maps, True)
    products = run(make(), [node(attention, images=2)], 2)
    assert figures(products, "rollout") == []
    first, second = figures(products, "heads")
    assert "Attention within 4 windows of 4 keys = 2 × 2; each weight" in first.caption
    assert first.caption.endswith("Not in the rollout: attention within windows.")
    assert first.data["shares"] == {}
    assert second.data["high"][0] == pytest.approx(maps[1, 0].max().item())


def refuse(_: str) -> torch.Tensor:
    raise ValueError("its tokens have no positions")


def test_without_positions_the_weights_themselves_are_drawn() -> None:
    values = weights(2, 3, 5, 6)
    attention = Attention(values, (Run(5, "object query"),), (Run(6, "object query"),), "", refuse)
    first, second = figures(run(make(), [node(attention)], 2), "weights")
    assert "No map: its tokens have no positions." in first.caption
    assert (
        "A row is a query, a column a key: 5 queries = 5 object queries, 6 keys = 6 object queries."
        in first.caption
    )
    data, shown = second.data, np.asarray(Image.open(io.BytesIO(second.files["png"])))
    assert (data["tile_height"], data["tile_width"]) == (5, 6)
    for head in range(3):
        tile = shown[head // data["columns"] * 6 :, head % data["columns"] * 7 :][:5, :6]
        exact = 251 * values[1, head].numpy() / float(values[1, head].max())
        assert np.all(np.abs(tile - exact) <= 0.51)


def test_large_matrices_are_drawn_as_means() -> None:
    values = torch.zeros(1, 1, 1024, 600)
    values[0, 0, :2, 0] = torch.tensor([1.0, 0.5])
    (figure,) = figures(run(make(), [node(Attention(values, (Run(1024),), (Run(600),), "", refuse))]), "weights")
    assert (figure.data["tile_height"], figure.data["tile_width"]) == (512, 512)
    assert "drawn as the means over parts of 512 × 512" in figure.caption


@pytest.mark.parametrize(("width", "over"), [(96, True), (32, False)])
def test_a_clip_lies_over_the_image_only_where_that_shows_its_frames(width: int, over: bool) -> None:
    values = weights(1, 2, 12, 12)
    runs = (Run(12, grid=(3, 2, 2)),)
    attention = Attention(values, runs, runs, "", lambda _: values[:, :, 0].reshape(1, 2, 2, 6))
    event = dataclasses.replace(node(attention), images=(picture("image0", width, 32),))
    first, rollout = (product for product in run(make(), [event]) if isinstance(product, Figure))
    assert first.data["over"] is over
    assert ("over the image in gray" in first.caption) is over
    assert ("over the image in gray" in rollout.caption) is over
    assert (rollout.width, rollout.height) == ((width, 32) if over else (6, 2))


def test_arrays_hold_the_looks_and_the_rollout() -> None:
    values = weights(1, 2, 7, 7)
    products = run(make(arrays=True), [node(attending(values, (2, 3)))])
    files = {product.name: product.content for product in products if isinstance(product, DataFile)}
    assert list(files) == ["attention/image0/block.attn.npz", "rollout/image0.npz"]
    look = np.load(io.BytesIO(files["attention/image0/block.attn.npz"]))["look"]
    assert look.dtype == np.float32
    np.testing.assert_array_equal(look, values[0, :, 0, 1:].reshape(2, 2, 3))
    rolled = np.load(io.BytesIO(files["rollout/image0.npz"]))
    np.testing.assert_allclose(rolled["rollout"], rolled_out(values.numpy()), rtol=1e-6)
    np.testing.assert_allclose(rolled["look"], rolled_out(values.numpy())[0, 1:].reshape(2, 3), rtol=1e-6)
    downloads = [product.downloads for product in products if isinstance(product, Figure)]
    assert downloads == [("attention/image0/block.attn.npz",), ("rollout/image0.npz",)]


def rolled_out(layers: NDArray[np.float32]) -> NDArray[np.float64]:
    """The rollout of (layers, heads, tokens, tokens), in execution order."""
    reached = np.eye(layers.shape[-1])
    for layer in layers.astype(np.float64):
        step = layer.mean(axis=0) / 2 + np.eye(layer.shape[-1]) / 2
        reached = step / step.sum(axis=1, keepdims=True) @ reached
    return reached


@pytest.mark.parametrize(
    ("before", "query", "used", "rows"),
    [
        ((CLASS,), "auto", "class", slice(0, 1)),
        ((CLASS,), "mean", "mean", slice(1, 7)),
        ((CLASS,), "0,2", "0,2", slice(3, 4)),
        ((CLASS,), "5,5", "class", slice(0, 1)),
        ((), "auto", "mean", slice(0, 6)),
        ((), "class", "mean", slice(0, 6)),
    ],
)
def test_the_rollout_is_the_product_over_the_layers_of_each_image(
    before: tuple[Run, ...], query: str, used: str, rows: slice
) -> None:
    extra = len(before)
    layers = [weights(2, 3, 6 + extra, 6 + extra, seed) for seed in range(4)]
    kind = make(attention_query=query, arrays=True)
    events = [node(attending(one, (2, 3), before), f"blocks.{place}") for place, one in enumerate(layers)]
    products = run(kind, events, 2)
    for image, figure in enumerate(figures(products, "rollout")):
        exact = rolled_out(np.stack([one[image].numpy() for one in layers]))[rows].mean(axis=0)
        data = figure.data
        assert (figure.image, figure.layer, data["query"]) == (f"image{image}", None, used)
        assert data["layers"] == [f"blocks.{place}" for place in range(4)]
        assert (data["low"], data["high"]) == (
            pytest.approx(exact[extra:].min()),
            pytest.approx(exact[extra:].max()),
        )
        assert list(data["shares"].values()) == pytest.approx(exact[:extra])
        (file,) = (one for one in products if isinstance(one, DataFile) and one.name == f"rollout/image{image}.npz")
        look = np.load(io.BytesIO(file.content))["look"]
        np.testing.assert_allclose(look, exact[extra:].reshape(2, 3), rtol=1e-6)
        assert ("For the query" in figure.caption) is (query in ("class", "5,5") and used != query)


def test_the_rollouts_pixels_span_its_own_range_over_the_image() -> None:
    values = weights(1, 3, 7, 7)
    (figure,) = figures(run(make(), [node(attending(values, (2, 3)))]), "rollout")
    look = rolled_out(values.numpy())[0, 1:].reshape(2, 3)
    shown = pixels(figure)
    assert shown.shape == (24, 32, 4)
    for y, x in ((2, 2), (20, 30), (13, 14)):
        share = (look[y * 2 // 24, x * 3 // 32] - look.min()) / (look.max() - look.min())
        exact = (VIRIDIS[round(251 * share)].astype(float) + (40 if x < 16 else 200)) / 2
        assert np.all(np.abs(shown[y, x, :3] - exact) <= 2)


def test_the_rollout_names_the_layers_that_it_leaves_out_and_why() -> None:
    square = attending(weights(1, 2, 7, 7), (2, 3))
    smaller = attending(weights(1, 2, 5, 5), (2, 2))
    other = attending(weights(1, 2, 7, 7), (3, 2))
    crossed = Attention(weights(1, 2, 3, 7), (Run(3),), square.keys, "", looking(square.weights, (2, 3), 1, True))
    names = ("a", "b", "smaller", "other", "crossed", "c")
    events = [
        node(one, name) for name, one in zip(names, (square, square, smaller, other, crossed, square), strict=True)
    ]
    (figure,) = figures(run(make(), events), "rollout")
    assert figure.data["layers"] == ["a", "b", "c"]
    assert figure.data["left_out"] == {
        "smaller": "5 tokens, not the 7 of a",
        "other": "other tokens than those of a",
        "crossed": "3 queries look at 7 keys of other tokens",
    }
    assert "over 3 layers (a to c)" in figure.caption
    assert "Left out: 1 layer (smaller), 5 tokens, not the 7 of a." in figure.caption
    exact = rolled_out(np.stack([square.weights[0].numpy()] * 3))[0, 1:]
    assert figure.data["high"] == pytest.approx(exact.max())


@pytest.mark.parametrize(
    ("attention", "reason"),
    [
        (
            Attention(weights(4, 1, 4, 4), (grid(2, 2),), (grid(2, 2),), "", refuse, True),
            "attention within windows",
        ),
        (Attention(weights(2, 1, 4, 4), (grid(2, 2),), (grid(2, 2),), "", refuse), "attention within windows"),
        (Attention(weights(1, 1, 4, 4), (Run(4),), (Run(4),), "", refuse), "its tokens have no positions"),
        (
            Attention(weights(1, 1, 4, 4), (grid(2, 2),), (Run(4),), "", refuse),
            "4 queries look at 4 keys of other tokens",
        ),
        (
            Attention(torch.zeros(1).expand(1, 1, 2049, 2049), (Run(2049),), (Run(2049),), "", refuse),
            "2,049 tokens, more than 2,048",
        ),
    ],
)
def test_why_a_node_is_no_part_of_a_rollout(attention: Attention, reason: str) -> None:
    assert why_not(attention, 1) == reason


def test_a_rollout_starts_anew_with_each_batch() -> None:
    kind, event = make(), node(attending(weights(1, 2, 7, 7), (2, 3)))
    (first,), (second,) = (figures(run(kind, [event]), "rollout") for _ in range(2))
    assert first == second
    assert figures(run(kind, []), "rollout") == []


def test_nodes_without_attention_have_no_figure() -> None:
    assert run(make(), [activation(torch.randn(1, 3, 4, 4))]) == []


def test_figures_do_not_depend_on_the_batch_size_and_leave_the_weights_alone() -> None:
    values = weights(3, 4, 10, 10)
    before = values.clone()
    together = run(make(), [node(attending(values, (3, 3)))], 3)
    assert torch.equal(values, before)
    for place in range(3):
        event = node(attending(values[place : place + 1], (3, 3)))
        alone = run(make(), [dataclasses.replace(event, images=(picture(f"image{place}"),))])
        for view in ("heads", "rollout"):
            (apart,) = figures(alone, view)
            found = figures(together, view)[place]
            assert (apart.files, apart.data, apart.caption) == (found.files, found.data, found.caption)


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, 0.0, 1e38, 1e-45])
@pytest.mark.parametrize("whole", [True, False])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16, torch.float64])
def test_no_value_breaks_a_figure(value: float, whole: bool, dtype: torch.dtype) -> None:
    values = weights(1, 3, 7, 7).to(dtype)
    values[0, slice(None) if whole else 1] = value
    found = [product for product in run(make(), [node(attending(values, (2, 3)))]) if isinstance(product, Figure)]
    assert len(found) == 2
    for figure in found:
        json.dumps(dict(figure.data), allow_nan=False)
        assert "nan" not in figure.caption.lower().replace("nan is", "")
        assert figure.caption.endswith(".")
        assert pixels(figure).shape[:2] == (figure.height, figure.width)


def test_one_head_is_its_own_mean() -> None:
    figure = heads(attending(weights(1, 1, 7, 7), (2, 3)))
    assert figure.data["names"] == ["0"]
    assert "its one head, over the image in gray" in figure.caption
    assert figure.data["colours"][1] == figure.data["high"][0]
