"""Class maps: which outputs are taken as scores of classes, and what the figures and files say of them."""

import csv
import io
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from canned import make_image, make_layer, make_record
from figures.figure_cases import image
from reportgen.drawing.classes import class_colour
from reportgen.entities import Batch
from reportgen.figures.base import DataFile, Figure, FigureOptions, Product, Subject
from reportgen.figures.class_map import ClassMaps, why_scores
from reportgen.site.record import FigureEntry
from reportgen.site.render import render

NAN, INF = float("nan"), float("inf")
SIZE = (6, 8)
NAMES = ("sky", "cat", "dog")


def made(
    output: Any,
    categories: Sequence[str] = (),
    *,
    size: tuple[int, int] = SIZE,
    images: int = 1,
    drawn: bool = True,
    arrays: bool = False,
) -> list[Product]:
    """All that the kind makes of an output for images whose network input has the given size."""
    kind = ClassMaps(FigureOptions(arrays=arrays), Subject(categories=tuple(categories)))
    batch = Batch(tuple(image(f"image{number}") for number in range(images)), torch.zeros(images, 3, *size), drawn)
    return [*kind.returned(batch, output), *kind.compute()]


def figures(products: Sequence[Product]) -> list[Figure]:
    return [product for product in products if isinstance(product, Figure)]


def files(products: Sequence[Product]) -> dict[str, bytes]:
    return {product.name: product.content for product in products if isinstance(product, DataFile)}


def table(products: Sequence[Product], name: str = "class_maps/image0.csv") -> list[list[str]]:
    return list(csv.reader(io.StringIO(files(products)[name].decode())))


def random(*shape: int) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(0))


def scores_of(classes: Sequence[Sequence[int]], total: int) -> torch.Tensor:
    """Scores whose highest are the given classes, for one image."""
    return nn.functional.one_hot(torch.tensor(classes), total).permute(2, 0, 1).float()[None]


@pytest.mark.parametrize(
    ("name", "shape", "size", "categories", "why"),
    [
        ("out", (1, 21, 64, 48), (64, 48), 0, "named out and has the input's size"),
        ("0.aux", (1, 2, 64, 48), (64, 48), 0, "named aux and has the input's size"),
        ("logits", (1, 150, 16, 12), (64, 48), 0, "named logits"),
        ("model.logits", (1, 19, 33, 17), (520, 264), 0, "named logits"),
        ("logits", (1, 21, 2, 2), (64, 64), 0, "named logits"),
        ("", (1, 5, 64, 48), (64, 48), 5, "as many channels as there are class names"),
        ("0", (1, 5, 8, 6), (64, 48), 5, "as many channels as there are class names"),
        ("seg", (1, 5, 9, 7), (65, 49), 5, "as many channels as there are class names"),
    ],
)
def test_scores_of_classes_are_recognised(
    name: str, shape: tuple[int, ...], size: tuple[int, int], categories: int, why: str
) -> None:
    assert why in why_scores(name, torch.zeros(shape), size, categories)


@pytest.mark.parametrize(
    ("name", "shape", "size", "categories"),
    [
        ("", (1, 64, 64, 48), (64, 48), 0),  # a map of features
        ("", (1, 64, 64, 48), (64, 48), 5),
        ("", (1, 3, 64, 48), (64, 48), 0),  # a picture
        ("out", (1, 2048, 8, 6), (64, 48), 0),  # what torchvision's backbones call out
        ("aux", (1, 1024, 8, 6), (64, 48), 0),
        ("out", (1, 1, 64, 48), (64, 48), 0),  # one channel: a mask
        ("logits", (1, 1, 64, 48), (64, 48), 1),
        ("logits", (1, 10, 1, 1), (64, 48), 10),  # a classifier that keeps its axes
        ("logits", (1, 368, 496, 2), (368, 496), 0),  # optical flow, channels last
        ("logits", (1, 5, 30, 12), (64, 48), 5),  # two strides
        ("", (1, 5, 4, 3), (64, 48), 5),  # below an eighth
        ("", (1, 5, 17, 17), (32, 32), 5),  # attention of 5 heads over 16 tokens and a class token
        ("attentions.0", (1, 5, 16, 16), (32, 32), 5),
        ("hidden_states.1", (1, 5, 16, 16), (32, 32), 5),
    ],
)
def test_everything_else_is_left_alone(
    name: str, shape: tuple[int, ...], size: tuple[int, int], categories: int
) -> None:
    assert why_scores(name, torch.zeros(shape), size, categories) == ""


@pytest.mark.parametrize(
    "output",
    [
        torch.zeros(1, 10), torch.zeros(3), torch.tensor(1.0), None, "text", [], {}, 3,
        {"out": torch.zeros(2, 3, *SIZE)}, {"out": torch.zeros(1, 3, *SIZE, dtype=torch.long)},
        {"out": torch.zeros(1, 3, *SIZE, dtype=torch.complex64)}, {"out": torch.zeros(1, 0, *SIZE)},
        {"out": torch.zeros(1, 3, 0, 8)}, {"logits": torch.zeros(1, 0, 0, 0)}, [{"boxes": torch.zeros(0, 4)}],
    ],
)  # fmt: skip
def test_other_values_make_no_figure(output: Any) -> None:
    assert made(output, ("a", "b", "c")) == []


def test_batches_that_are_not_drawn_make_no_figure() -> None:
    assert made({"out": random(1, 3, *SIZE)}, drawn=False) == []


def test_the_map_is_at_the_outputs_own_resolution() -> None:
    products = made({"logits": scores_of([[0, 1, 1, 2], [2, 2, 2, 2], [0, 0, 0, 300]], 301)}, size=(12, 16))
    picture = Image.open(io.BytesIO(figures(products)[0].files["png"])).convert("RGB")
    assert picture.size == (4, 3)
    found = [
        ["#{:02x}{:02x}{:02x}".format(*np.asarray(picture)[row, column]) for column in range(4)] for row in range(3)
    ]
    wanted = [[0, 1, 1, 2], [2, 2, 2, 2], [0, 0, 0, 300 - 252]]
    assert found == [[class_colour(number) for number in row] for row in wanted]
    assert "From class 252 on, colours repeat." in figures(products)[0].caption


def test_map_and_overlay_are_shown_at_one_size() -> None:
    alone, over = figures(made({"logits": random(1, 3, 3, 4)}))
    assert (over.width, over.height) == (8, 6)  # as the image is seen
    assert (alone.data["view"], over.data["view"]) == ("logits", "logits-over")
    assert alone.width * alone.data["pixels"] == over.width * over.data["pixels"] == 320


def test_shares_are_those_of_the_positions() -> None:
    classes = [[2] * 8, [2] * 8, [2] * 8, [0] * 8, [0] * 8, [1, 1, 1, 1, 0, 0, 0, 0]]
    alone, over = figures(made(scores_of(classes, 3), NAMES))
    rows = [
        (row["class"], row["name"], row["positions"], row["share"], row["percent"]) for row in alone.data["classes"]
    ]
    assert rows == [
        (2, "dog", 24, 0.5, "50.0 %"),
        (0, "sky", 20, pytest.approx(20 / 48), "41.7 %"),
        (1, "cat", 4, pytest.approx(4 / 48), "8.3 %"),
    ]
    assert [row["colour"] for row in alone.data["classes"]] == [class_colour(number) for number in (2, 0, 1)]
    assert alone.alt == "Class map of output for image0.png: dog 50.0 %, sky 41.7 %, cat 8.3 %"
    assert over.data["classes"] == alone.data["classes"]


def test_the_caption_says_what_was_read_and_why() -> None:
    caption = figures(made({"out": scores_of([[2] * 8] * 6, 4)}))[0].caption
    assert "out for image0.png: at each of 8 × 6 positions, the class with the highest of 4 scores." in caption
    assert "It is read as scores of classes since it is named out and has the input's size." in caption
    assert "1 of 4 classes occurs." in caption
    assert "names of the classes are not known" in caption
    assert "names" not in figures(made(random(1, 3, *SIZE), NAMES))[0].caption.replace("class names", "")


def test_the_table_lists_every_class_of_every_part() -> None:
    classes = [[1] * 8] * 5 + [[0] * 8]
    header, *rows = table(made({"out": scores_of(classes, 3), "aux": scores_of(classes, 2)}, NAMES))
    assert header == ["part", "class", "name", "positions", "share"]
    assert rows == [
        ["out", "1", "cat", "40", "0.833333333"],
        ["out", "0", "sky", "8", "0.166666667"],
        ["out", "2", "dog", "0", "0"],
        ["out", "", "undefined", "0", "0"],
        ["aux", "1", "class 1", "40", "0.833333333"],
        ["aux", "0", "class 0", "8", "0.166666667"],
        ["aux", "", "undefined", "0", "0"],
    ]


def test_positions_without_a_class_are_told() -> None:
    scores = scores_of([[1] * 8] * 6, 3)
    scores[0, 2, 0, :3] = NAN
    scores[0, :, 1, 0] = -INF
    scores[0, :, 2, :2] = 0
    products = made({"out": scores}, arrays=True)
    figure = figures(products)[0]
    assert "At 3 positions a score is not a number and at 1 position every score is −Inf" in figure.caption
    assert "At 2 positions several classes share the highest score" in figure.caption
    assert (figure.data["undefined"], figure.data["tied"]) == (4, 2)
    assert figure.data["classes"][-1]["name"] == "undefined"
    assert Image.open(io.BytesIO(figure.files["png"])).convert("RGB").getpixel((0, 0)) == (255, 0, 255)
    assert "nan" not in f"{figure.caption} {figure.alt}".lower()
    with np.load(io.BytesIO(files(products)["class_maps/image0/out.npz"])) as arrays:
        assert arrays["classes"].dtype == np.uint16
        assert arrays["classes"][0].tolist() == [65535] * 3 + [1] * 5
    assert table(products)[-1] == ["out", "", "undefined", "4", "0.0833333333"]


def test_nothing_but_nan_is_an_honest_figure() -> None:
    figure = figures(made({"out": torch.full((1, 3, *SIZE), NAN)}))[0]
    assert figure.alt.endswith("no position has a class")
    assert "0 of 3 classes occur." in figure.caption


def test_arrays_only_when_asked_for() -> None:
    assert list(files(made({"out": random(1, 3, *SIZE)}))) == ["class_maps/image0.csv"]
    products = made({"out": random(1, 3, *SIZE)}, arrays=True)
    assert figures(products)[0].downloads == ("class_maps/image0.csv", "class_maps/image0/out.npz")
    with np.load(io.BytesIO(files(products)["class_maps/image0/out.npz"])) as arrays:
        assert np.array_equal(arrays["classes"], random(1, 3, *SIZE)[0].numpy().argmax(0))


def test_parts_of_one_name_are_told_apart() -> None:
    products = made({"a.out": random(1, 3, *SIZE), "a": {"out": random(1, 4, *SIZE)}})
    assert [figure.data["part"] for figure in figures(products)[::2]] == ["a.out", "a.out-2"]


def test_a_batch_makes_the_figures_of_its_images() -> None:
    scores = random(3, 4, *SIZE)
    together = figures(made({"out": scores}, images=3))
    for number in range(3):
        alone = figures(made({"out": scores[number : number + 1]}))
        pair = together[2 * number : 2 * number + 2]
        assert [figure.files for figure in pair] == [figure.files for figure in alone]
        assert [figure.data for figure in pair] == [figure.data for figure in alone]
        assert {figure.image for figure in pair} == {f"image{number}"}


def test_a_model_of_torchvision() -> None:
    from torchvision.models.segmentation import fcn_resnet50

    model = fcn_resnet50(weights=None, weights_backbone=None, aux_loss=True, num_classes=5).eval()
    with torch.no_grad():
        output = model(random(1, 3, 32, 40))
        features = model.backbone(random(1, 3, 32, 40))
    found = figures(made(output, size=(32, 40)))
    assert [figure.data["view"] for figure in found] == ["out", "out-over", "aux", "aux-over"]
    best = output["aux"][0].numpy().argmax(0)
    counts = {row["class"]: row["positions"] for row in found[2].data["classes"]}
    assert counts == {number: int((best == number).sum()) for number in np.unique(best).tolist()}
    assert made(features, size=(32, 40)) == []


def masks_of(queries: int, classes: int, side: int) -> dict[str, torch.Tensor]:
    """What MaskFormer and its kin return for an image: logits of `classes` and of no object, and of masks."""
    return {
        "class_queries_logits": 4 * random(1, queries, classes + 1),
        "masks_queries_logits": 4 * random(1, queries, side, side),
    }


def semantic_map(
    output: Any, categories: Sequence[str] = (), side: int = 64
) -> tuple[Figure, np.ndarray[Any, Any]]:
    products = made(output, categories, size=(side, side), arrays=True)
    with np.load(io.BytesIO(files(products)["class_maps/image0/semantic.npz"])) as arrays:
        classes = arrays["classes"]
    (alone, over) = figures(products)
    assert (alone.data["view"], over.data["view"]) == ("semantic", "semantic-over")
    return alone, classes


def test_queries_and_masks_make_the_map_that_transformers_makes(monkeypatch: pytest.MonkeyPatch) -> None:
    transformers = pytest.importorskip("transformers")
    # Its loss, which is not computed here, needs a package more.
    modeling = "transformers.models.maskformer.modeling_maskformer"
    monkeypatch.setattr(f"{modeling}.requires_backends", lambda *_: None)
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(0)
        config = transformers.MaskFormerConfig(
            backbone_config=transformers.SwinConfig(
                image_size=64, patch_size=4, embed_dim=8, depths=[1] * 4, num_heads=[1, 2, 2, 4], window_size=4,
                out_features=["stage1", "stage2", "stage3", "stage4"],
            ),
            decoder_config=transformers.DetrConfig(
                d_model=32, encoder_layers=1, decoder_layers=2, encoder_attention_heads=2,
                decoder_attention_heads=2, encoder_ffn_dim=64, decoder_ffn_dim=64, num_queries=20,
            ),
            fpn_feature_size=32, mask_feature_size=32, num_labels=6,
        )  # fmt: skip
        model = transformers.MaskFormerForInstanceSegmentation(config).eval()
        output = model(pixel_values=random(1, 3, 64, 64))
        # Random weights make all queries much the same: here they differ, or every position had one class.
        for name, dims in (("class_queries_logits", 1), ("masks_queries_logits", (2, 3))):
            spread = output[name] - output[name].mean(1, keepdim=True)
            spread = spread - spread.mean(dims, keepdim=True)
            setattr(output, name, 4 * spread / spread.std(dims, keepdim=True))
    names = [f"name {number}" for number in range(6)]
    figure, classes = semantic_map(output, names)
    expected = transformers.MaskFormerImageProcessor().post_process_semantic_segmentation(output)[0].numpy()
    assert np.array_equal(classes, expected)
    assert len(np.unique(classes)) > 1
    counts = {row["name"]: row["positions"] for row in figure.data["classes"]}
    assert counts == {f"name {number}": int((expected == number).sum()) for number in np.unique(expected).tolist()}
    assert "the sum over 20 queries of the probability of its class" in figure.caption
    assert "The names of the classes are not known" not in figure.caption


def test_masks_of_the_size_that_mask2former_resizes_to_give_its_map() -> None:
    """Its processor resizes masks to 384 x 384 first, which changes nothing here."""
    transformers = pytest.importorskip("transformers")
    outputs = transformers.models.mask2former.modeling_mask2former.Mask2FormerForUniversalSegmentationOutput
    output = outputs(**masks_of(7, 5, 384), auxiliary_logits=[masks_of(7, 5, 96)])
    expected = transformers.Mask2FormerImageProcessor().post_process_semantic_segmentation(output)[0].numpy()
    assert np.array_equal(semantic_map(output, side=384)[1], expected)


def test_masks_without_fitting_classes_make_no_map() -> None:
    output = masks_of(7, 5, 16)
    assert figures(made({**output, "class_queries_logits": random(1, 6, 6)}, size=(64, 64))) == []
    assert figures(made({**output, "class_queries_logits": random(1, 7, 2)}, size=(64, 64))) == []
    assert figures(made({"masks_queries_logits": random(1, 3, 16, 16)}, NAMES, size=(64, 64))) == []
    assert len(figures(made({**output, "class_queries_logits": random(1, 7, 3)}, size=(64, 64)))) == 2


def page_of(output: Any, categories: Sequence[str]) -> str:
    entries = [
        FigureEntry(
            figure.kind, None, "image0", [f"figures/{figure.data['view']}.png"], figure.width, figure.height,
            figure.alt, figure.caption, figure.data, [f"data/{name}" for name in figure.downloads],
        )
        for figure in figures(made(output, categories))
    ]  # fmt: skip
    return render(make_record([make_layer("fc")], [make_image("image0.png")], figures=entries)).files[
        "images/image0.html"
    ]


def test_the_page_has_a_legend_in_text() -> None:
    page = page_of(scores_of([[2] * 8] * 3 + [[0] * 8] * 3, 3), ("<b>sky</b>", "cat", "dog"))
    assert page.count(f'fill="{class_colour(2)}"') == 1
    assert "&lt;b&gt;sky&lt;/b&gt;" in page
    assert "50.0 %" in page
    assert "style=" not in page
    assert 'href="../data/class_maps/image0.csv" download' in page


def test_a_long_legend_is_folded() -> None:
    page = page_of({"logits": scores_of([[8 * row + column for column in range(8)] for row in range(6)], 150)}, ())
    assert page.count("<rect ") == 48
    assert "36 more rows" in page
