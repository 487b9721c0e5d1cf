"""Detections against boxes and scores computed by hand."""

import csv
import io
import json
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from canned import make_image, make_layer, make_record
from figures.figure_cases import image
from reportgen.drawing.boxes import Box
from reportgen.entities import Batch
from reportgen.figures import detections
from reportgen.figures.base import DataFile, Figure, FigureOptions, Product, Subject
from reportgen.figures.detections import DetectionBoxes, read_detections
from reportgen.site.record import FigureEntry
from reportgen.site.render import render

NAN, INF = float("nan"), float("inf")
SIZE = (6, 8)
NAMES = ("nothing", "cat", "dog")


def made(
    output: Any,
    categories: Sequence[str] = (),
    *,
    images: int = 1,
    drawn: bool = True,
    size: tuple[int, int] = SIZE,
) -> list[Product]:
    kind = DetectionBoxes(FigureOptions(), Subject(categories=tuple(categories)))
    batch = Batch(tuple(image(f"image{number}") for number in range(images)), torch.zeros(images, 3, *size), drawn)
    return [*kind.returned(batch, output), *kind.compute()]


def figures(products: Sequence[Product]) -> list[Figure]:
    return [product for product in products if isinstance(product, Figure)]


def table(products: Sequence[Product]) -> list[list[str]]:
    (file,) = (product for product in products if isinstance(product, DataFile))
    assert file.name == "detections.csv"
    return list(csv.reader(io.StringIO(file.content.decode())))


def found(scores: Sequence[float], **others: torch.Tensor) -> dict[str, torch.Tensor]:
    """What torchvision's detectors give for an image: box k is k pixels from the left, of class k % 3."""
    count = len(scores)
    boxes = torch.tensor([[place, 1.0, place + 2, 4.5] for place in range(count)]).reshape(count, 4)
    return {"boxes": boxes, "labels": torch.arange(count) % 3, "scores": torch.tensor(scores), **others}


@pytest.fixture
def boxes(monkeypatch: pytest.MonkeyPatch) -> list[Box]:
    """The boxes that are given to be drawn."""
    given: list[Box] = []

    def draw(picture: Image.Image, boxes: Sequence[Box]) -> Image.Image:
        given.extend(boxes)
        return picture

    monkeypatch.setattr(detections, "draw_boxes", draw)
    return given


def test_the_best_are_listed_first() -> None:
    (figure,) = figures(made([found([0.2, 0.9, 0.5])], NAMES))
    assert [
        (row["rank"], row["class"], row["name"], row["score"], row["box"]) for row in figure.data["detections"]
    ] == [
        (1, 1, "cat", pytest.approx(0.9), [1, 1, 3, 4.5]),
        (2, 2, "dog", pytest.approx(0.5), [2, 1, 4, 4.5]),
        (3, 0, "nothing", pytest.approx(0.2), [0, 1, 2, 4.5]),
    ]
    assert figure.alt == "image0.png with 3 boxes: cat 0.90, dog 0.50, nothing 0.20"
    assert "3 of 3 detections have a score of 0.05 or more and are drawn." in figure.caption


@pytest.mark.parametrize(
    ("scores", "drawn", "said"),
    [
        ([0.5, 0.06, 0.04], 2, "2 of 3 detections have a score of 0.05 or more and are drawn."),
        ([0.5, 0.04], 1, "1 of 2 detections has a score of 0.05 or more and is drawn."),
        ([0.9] * 23 + [0.01], 20, "23 of 24 detections have a score of 0.05 or more; the best 20 are drawn."),
        ([0.04, 0.01] * 4, 5, "None of 8 detections has a score of 0.05 or more; the best 5 are drawn all the"),
        ([0.01], 1, "None of 1 detection has a score of 0.05 or more; the best is drawn all the same."),
        ([], 0, "The model detects nothing in it."),
        ([NAN, NAN], 0, "None of 2 detections has a score of 0.05 or more."),
    ],
)  # fmt: skip
def test_the_caption_says_what_is_drawn_and_why(
    scores: list[float], drawn: int, said: str, boxes: list[Box]
) -> None:
    products = made([found(scores)])
    (figure,) = figures(products)
    assert said in figure.caption
    assert len(boxes) == len(figure.data["detections"]) == drawn
    assert figure.data["found"] == len(scores) == len(table(products)) - 1
    assert "nan" not in f"{figure.caption} {figure.alt}".lower()


def test_equal_scores_keep_the_models_order() -> None:
    (figure,) = figures(made([found([0.5, 0.9, 0.5, 0.5])]))
    assert [row["box"][0] for row in figure.data["detections"]] == [1, 0, 2, 3]


def test_what_is_not_finite_is_listed_and_not_drawn() -> None:
    one = found([NAN, 0.9, 0.8, INF])
    one["boxes"][1, 2] = NAN
    products = made([one], NAMES)
    (figure,) = figures(products)
    assert [row["class"] for row in figure.data["detections"]] == [2]
    assert "3 detections without a finite score and box can't be drawn." in figure.caption
    assert [(row[1], row[2], row[4], row[7]) for row in table(products)[1:]] == [
        ("1", "0", "", "5"), ("2", "1", "0.899999976", ""), ("3", "2", "0.800000012", "4"), ("4", "0", "", "2"),
    ]  # fmt: skip
    json.dumps(dict(figure.data), allow_nan=False)


def test_corners_are_scaled_to_the_picture_that_is_seen(boxes: list[Box]) -> None:
    made([found([0.9])], size=(12, 32))  # the picture has 8 x 6 pixels
    assert boxes[0].corners == (0, 0.5, 0.5, 2.25)


def test_masks_and_keypoints_belong_to_their_detections(boxes: list[Box]) -> None:
    masks = torch.zeros(2, 1, *SIZE)
    masks[0, 0, 2, 3], masks[1, 0, 4, 5] = 0.6, 0.5
    points = torch.tensor([[[1.0, 2, 1], [3, 4, 0]], [[5.0, 1, 1], [NAN, 1, 1]]])
    (figure,) = figures(made([found([0.3, 0.7], masks=masks, keypoints=points)]))
    second, first = boxes
    assert first.mask is not None and second.mask is not None
    assert (np.argwhere(first.mask).tolist(), int(second.mask.sum())) == ([[2, 3]], 0)
    assert (first.points, second.points) == (((1, 2),), ((5, 1),))
    assert "Masks are filled where their value is above 0.5. Dots are keypoints." in figure.caption


@pytest.mark.parametrize("name", ["logits", "pred_logits"])
def test_queries_are_a_softmax_whose_last_class_is_no_object(name: str) -> None:
    logits = torch.randn(2, 5, 4, generator=torch.Generator().manual_seed(0))
    shares = torch.rand(2, 5, 4, generator=torch.Generator().manual_seed(1))
    reading = read_detections({name: logits, "pred_boxes": shares}, 2, (60, 80), NAMES)
    assert reading is not None
    for number, one in enumerate(reading.images):
        wanted = []
        for query in range(5):
            powers = [math.exp(float(score)) for score in logits[number, query]]
            score, label = max((power / sum(powers), -place) for place, power in enumerate(powers[:-1]))
            x, y, width, height = (float(share) for share in shares[number, query])
            edges = [80 * (x - width / 2), 60 * (y - height / 2), 80 * (x + width / 2), 60 * (y + height / 2)]
            wanted.append((score, -label, edges))
        wanted.sort(key=lambda entry: -entry[0])
        assert one.scores == pytest.approx([entry[0] for entry in wanted])
        assert one.labels.tolist() == [entry[1] for entry in wanted]
        assert one.corners == pytest.approx(np.array([entry[2] for entry in wanted]), abs=1e-4)
    assert "softmax over 4 classes, the last of which is read as “no object”." in reading.description
    assert [reading.name(label) for label in (0, 2, 7)] == ["nothing", "dog", "class 7"]


def test_with_a_name_for_every_score_there_is_no_class_for_nothing() -> None:
    logits = torch.tensor([[[0.0, 2.0, -1.0]]])
    reading = read_detections({"logits": logits, "pred_boxes": torch.full((1, 1, 4), 0.5)}, 1, SIZE, NAMES)
    assert reading is not None
    assert reading.images[0].scores.tolist() == pytest.approx([1 / (1 + math.exp(-2))])
    assert reading.description == "A score is the sigmoid of its class alone."


def test_queries_of_nan_are_not_drawn() -> None:
    logits = torch.full((1, 3, 4), NAN)
    (figure,) = figures(made({"logits": logits, "pred_boxes": torch.full((1, 3, 4), 0.5)}))
    assert figure.data["detections"] == []
    assert figure.alt == "image0.png without a box: nothing to draw"
    assert "names of the classes are not known" in figure.caption


@pytest.mark.parametrize(
    "output",
    [
        torch.zeros(1, 10), None, [], {}, "text", [{}], [{"boxes": torch.zeros(2, 4)}],
        [found([0.5]), found([0.5])][:0], {"logits": torch.zeros(1, 5)},
        {"logits": torch.zeros(1, 5, 4)}, {"logits": torch.zeros(1, 5, 4), "pred_boxes": torch.zeros(1, 6, 4)},
        {"logits": torch.zeros(2, 5, 4), "pred_boxes": torch.zeros(2, 5, 4)},
        {"logits": torch.zeros(1, 5, 1), "pred_boxes": torch.zeros(1, 5, 4)},
        [{**found([0.5, 0.4]), "labels": torch.zeros(3)}], [{**found([0.5]), "boxes": torch.zeros(1, 5)}],
    ],
)  # fmt: skip
def test_other_values_make_no_figure(output: Any) -> None:
    assert made(output) == []


def test_every_image_needs_its_detections() -> None:
    assert made([found([0.5])], images=2) == []
    assert len(figures(made([found([0.5]), found([])], images=2))) == 2


def test_batches_that_are_not_drawn_make_no_figure() -> None:
    assert made([found([0.5])], drawn=False) == []


def test_the_table_has_all_detections_of_all_images() -> None:
    products = made([found([0.01, 0.9]), found([])], ("a, b", "c"), images=2)
    assert table(products) == [
        ["image", "rank", "class", "name", "score", "left", "top", "right", "bottom"],
        ["image0", "1", "1", "c", "0.899999976", "1", "1", "3", "4.5"],
        ["image0", "2", "0", "a, b", "0.00999999978", "0", "1", "2", "4.5"],
    ]
    assert {figure.downloads for figure in figures(products)} == {("detections.csv",)}


def test_labels_without_a_name_are_numbered() -> None:
    one = found([0.9, 0.8])
    one["labels"] = torch.tensor([90, -1])
    assert [row["name"] for row in figures(made([one], NAMES))[0].data["detections"]] == ["class 90", "class -1"]


def test_tiny_scores_are_not_written_as_nothing() -> None:
    assert "class 0 < 0.01" in figures(made([found([0.001])]))[0].alt


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_any_precision_is_read(dtype: torch.dtype) -> None:
    one = {**found([]), "boxes": torch.ones(1, 4, dtype=dtype), "scores": torch.ones(1, dtype=dtype)}
    (figure,) = figures(made([{**one, "labels": torch.tensor([1], dtype=torch.int32)}]))
    assert figure.data["detections"][0]["score"] == 1


@pytest.mark.parametrize("value", [0.0, -5.0, 1e30, -1e30, 3e38])
def test_no_box_breaks_a_figure(value: float) -> None:
    one = found([0.9])
    one["boxes"][:] = value
    (figure,) = figures(made([one]))
    with Image.open(io.BytesIO(figure.files["png"])) as picture:
        assert picture.size == (figure.width, figure.height)
    json.dumps(dict(figure.data), allow_nan=False)


def test_a_detector_of_torchvision() -> None:
    from torchvision.models.detection import maskrcnn_resnet50_fpn

    model = maskrcnn_resnet50_fpn(
        weights=None, weights_backbone=None, num_classes=3, min_size=64, max_size=64, box_score_thresh=0.0
    ).eval()
    with torch.no_grad():
        output = model([torch.rand(3, *SIZE, generator=torch.Generator().manual_seed(0)).repeat(1, 8, 8)])
    assert len(output[0]["boxes"])
    (figure,) = figures(made(output, NAMES, size=(48, 64)))
    assert figure.data["found"] == len(output[0]["boxes"])
    assert figure.data["detections"][0]["score"] == pytest.approx(float(output[0]["scores"].max()))


def test_a_detector_of_transformers() -> None:
    outputs = pytest.importorskip("transformers.models.yolos.modeling_yolos")
    output = outputs.YolosObjectDetectionOutput(
        logits=torch.tensor([[[9.0, 0, 0, 0], [0, 0, 0, 9]]]), pred_boxes=torch.tensor([[[0.5, 0.5, 1, 1]] * 2])
    )
    (figure,) = figures(made(output, NAMES))
    first, second = figure.data["found"], figure.data["above"]
    assert (first, second) == (2, 1)
    assert figure.data["detections"][0]["box"] == [0, 0, 8, 6]
    assert "softmax over 4 classes" in figure.caption


def test_what_a_text_was_given_to_is_read_as_transformers_reads_it() -> None:
    """OWL-ViT has a sigmoid for each box and text, and no class for nothing."""
    transformers = pytest.importorskip("transformers")
    small = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2}
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(0)
        config = transformers.OwlViTConfig(
            text_config={**small, "vocab_size": 50, "eos_token_id": 2},
            vision_config={**small, "image_size": 32, "patch_size": 8},
            projection_dim=16,
        )
        model = transformers.OwlViTForObjectDetection(config).eval()
        texts = torch.tensor([[5, 9, 2], [7, 3, 2], [4, 8, 2]])
        output = model(
            input_ids=texts, pixel_values=torch.randn(1, 3, 32, 32), attention_mask=torch.ones_like(texts)
        )
    (expected,) = transformers.OwlViTImageProcessor().post_process_object_detection(
        output, threshold=0.0, target_sizes=[(60, 80)]
    )
    reading = read_detections(output, 1, (60, 80), ())
    assert reading is not None
    order = expected["scores"].argsort(descending=True, stable=True)
    assert reading.images[0].scores == pytest.approx(expected["scores"][order].numpy(), abs=1e-6)
    assert reading.images[0].corners == pytest.approx(expected["boxes"][order].numpy(), abs=1e-3)
    assert reading.images[0].labels.tolist() == expected["labels"][order].tolist()
    assert reading.name(2) == "text 2"
    assert reading.description == (
        "A score is the sigmoid of the box with one text, the highest of 3 texts, numbered from 0."
    )
    named = read_detections(output, 1, (60, 80), NAMES)
    assert named is not None
    assert named.name(2) == "dog"


def test_tokens_of_a_text_are_no_classes() -> None:
    """Grounding DINO pads its logits with -Inf to 256 tokens."""
    logits = torch.tensor([[[-1.0, 2.0, -INF], [0.5, 0.0, -INF]]])
    output = {
        "logits": logits, "pred_boxes": torch.full((1, 2, 4), 0.5), "input_ids": torch.tensor([[101, 7]]),
        "encoder_last_hidden_state_text": torch.zeros(1, 2, 4),
    }  # fmt: skip
    reading = read_detections(output, 1, SIZE, ())
    assert reading is not None
    assert reading.images[0].scores.tolist() == pytest.approx([1 / (1 + math.exp(-2)), 1 / (1 + math.exp(-0.5))])
    assert [reading.name(label) for label in reading.images[0].labels.tolist()] == ["token 1", "token 0"]
    assert "one token, the highest of 3 tokens" in reading.description


def test_one_text_is_enough() -> None:
    output = {"logits": torch.zeros(1, 2, 1), "pred_boxes": torch.full((1, 2, 4), 0.5)}
    assert read_detections(output, 1, SIZE, ()) is None
    reading = read_detections({**output, "text_embeds": torch.zeros(1, 1, 4)}, 1, SIZE, ())
    assert reading is not None
    assert reading.images[0].scores.tolist() == [0.5, 0.5]


def page_of(output: Any) -> str:
    (figure,) = figures(made(output, ("<b>nothing</b>", "cat", "dog")))
    entry = FigureEntry(
        figure.kind, None, "image0", ["figures/p.png"], figure.width, figure.height, figure.alt,
        figure.caption, figure.data, ["data/detections.csv"],
    )  # fmt: skip
    record = make_record([make_layer("fc")], [make_image("image0.png")], figures=[entry])
    return render(record).files["images/image0.html"]


def test_the_page_has_a_table_of_what_is_drawn() -> None:
    page = page_of([found([0.25, 0.5])])
    assert "&lt;b&gt;nothing&lt;/b&gt;" in page
    assert "0.500" in page
    assert "1.0, 1.0 – 3.0, 4.5" in page
    assert "All, best first" in page
    assert 'href="../data/detections.csv" download' in page
    assert "style=" not in page


def test_the_page_says_that_nothing_was_detected() -> None:
    page = page_of([found([])])
    assert "The model detects nothing in it." in page
    assert "best first" not in page
