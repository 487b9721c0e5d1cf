"""What a detector finds: boxes on the image as the network saw it, with classes and scores."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from reportgen.drawing.boxes import Box, Rectangle, draw_boxes
from reportgen.drawing.classes import class_colour
from reportgen.drawing.png import encode_picture
from reportgen.entities import Batch, InputImage
from reportgen.figures.base import BaseKind, DataFile, Figure, FigureOptions, Product, Subject
from reportgen.figures.tables import csv_bytes
from reportgen.figures.wording import count, describe_class_names, json_number
from reportgen.names import listed
from reportgen.parts import flatten

MOST_DRAWN = 20
LEAST_SCORE = 0.05
DRAWN_ANYWAY = 5
"""How many are drawn where none reaches LEAST_SCORE."""

CSV_NAME = "detections.csv"
_HEADER = ("image", "rank", "class", "name", "score", "left", "top", "right", "bottom")


@dataclass(frozen=True)
class Detections:
    """The detections in one image, best first, those whose score is not a number last.

    `labels` (M,) are class numbers, `scores` (M,) and `corners` (M, 4) float64; corners are left, top, right and
    bottom in pixels of the network's input. `masks` (M, H, W) are probabilities, `points` (M, P, 2 or more) x, y
    and what else the model says of a point; both borrowed, and in the order in which the model gave them: detection
    k is number `order[k]` there.
    """

    labels: NDArray[np.int64]
    scores: NDArray[np.float64]
    corners: NDArray[np.float64]
    order: NDArray[np.intp]
    masks: torch.Tensor | None = None
    points: torch.Tensor | None = None

    def drawable(self) -> NDArray[np.intp]:
        """The ranks (from 0) of those whose score and box are finite."""
        finite = np.isfinite(self.scores) & np.isfinite(self.corners).all(axis=1)
        return np.flatnonzero(finite)


@dataclass(frozen=True)
class Reading:
    """An output read as detections, an entry an image; `names` of classes by number; `description` says how."""

    images: tuple[Detections, ...]
    names: Sequence[str]
    description: str
    noun: str = "class"

    def name(self, label: int) -> str:
        """Return the name of a class, `class 7` where it has none."""
        return self.names[label] if 0 <= label < len(self.names) else f"{self.noun} {label}"


@dataclass(frozen=True)
class _Choice:
    """The ranks that are drawn, and how many detections reach LEAST_SCORE or have nothing finite to draw."""

    drawn: tuple[int, ...]
    total: int
    above: int
    broken: int


class DetectionBoxes(BaseKind):
    """A figure an image, and all detections of all images as one table.

    Two forms of output are read as detections. As torchvision's models give them: a dict an image, with `boxes`
    (M, 4; corners in pixels of the input), `labels` (M,) and `scores` (M,), maybe `masks` (M, 1, H, W) and
    `keypoints` (M, P, 3). As DETR, YOLOS and their kin give them: `pred_boxes` (N, Q, 4; centre, width and height
    in shares of the input) and `logits` (N, Q, D) of Q queries. With D class names, each class has its own sigmoid;
    otherwise the scores are a softmax whose last class is "no object". Where the output also holds what was
    made of a text, as those of OWL-ViT and Grounding DINO do, the D are texts or tokens of one, each with its own
    sigmoid. The caption says which.
    """

    name = "detections"
    title = "Detections"
    order = 4

    def __init__(self, options: FigureOptions, subject: Subject) -> None:
        super().__init__(options, subject)
        self._rows: list[list[object]] = []
        self._found = False

    def returned(self, batch: Batch, output: Any) -> Iterable[Product]:
        size = (batch.tensor.shape[-2], batch.tensor.shape[-1])
        reading = read_detections(output, len(batch.images), size, self.subject.categories) if batch.drawn else None
        if reading is None:
            return
        self._found = True
        for image, found in zip(batch.images, reading.images, strict=True):
            self._rows += _rows(image, found, reading)
            yield self._figure(image, found, reading, size)

    def compute(self) -> Iterable[Product]:
        if self._found:
            yield DataFile(CSV_NAME, csv_bytes(_HEADER, self._rows))

    def _figure(self, image: InputImage, found: Detections, reading: Reading, size: tuple[int, int]) -> Figure:
        choice = choose(found)
        scale = (image.seen.width / size[1], image.seen.height / size[0])
        boxes = [_box(found, rank, reading, scale) for rank in choice.drawn]
        picture = draw_boxes(image.seen, boxes)
        return self.of_image(
            image,
            encode_picture(picture),
            picture.size,
            alt=_alt(image, choice, boxes),
            caption=_caption(image, found, choice, reading),
            data={
                "pixels": 1 / 2,
                "found": choice.total,
                "above": choice.above,
                "threshold": LEAST_SCORE,
                "not_finite": choice.broken,
                "input": list(size),
                "detections": [_entry(found, rank, reading) for rank in choice.drawn],
            },
            downloads=(CSV_NAME,),
        )


def read_detections(
    output: object, images: int, size: tuple[int, int], categories: Sequence[str]
) -> Reading | None:
    """Return what a model returned for so many images as detections, or None when it is none; see DetectionBoxes.

    `size` is the input's (height, width), `categories` are the names of classes, () where they are not known.
    """
    parts = dict(flatten(output))
    if all(_is_listed(parts, f"{number}.") for number in range(images)):
        return _read_lists(parts, images, categories)
    logits, boxes = parts.get("logits", parts.get("pred_logits")), parts.get("pred_boxes")
    if logits is None or boxes is None or boxes.dim() != 3 or logits.dim() != 3:
        return None
    if logits.shape[:2] != boxes.shape[:2] or boxes.shape[2] != 4 or len(boxes) != images:
        return None
    text = next((noun for noun, names in _TEXTS.items() if names & parts.keys()), "")
    if logits.shape[2] < (1 if text else 2):
        return None
    return _read_queries(logits, boxes, size, categories, text)


def _is_listed(parts: Mapping[str, torch.Tensor], prefix: str) -> bool:
    boxes, *others = (parts.get(f"{prefix}{name}") for name in ("boxes", "labels", "scores"))
    if boxes is None or boxes.dim() != 2 or boxes.shape[1] != 4:
        return False
    return all(other is not None and other.shape == boxes.shape[:1] for other in others)


def _read_lists(parts: Mapping[str, torch.Tensor], images: int, categories: Sequence[str]) -> Reading:
    found = [
        _sorted(*(parts[f"{number}.{name}"] for name in ("labels", "scores", "boxes")), **_extras(parts, number))
        for number in range(images)
    ]
    described = "" if categories else "The names of the classes are not known; they bear the model's numbers."
    return Reading(tuple(found), categories, described)


def _extras(parts: Mapping[str, torch.Tensor], number: int) -> dict[str, torch.Tensor]:
    """The masks and keypoints of an image, where there is one for each of its boxes."""
    boxes = len(parts[f"{number}.boxes"])
    extras: dict[str, torch.Tensor] = {}
    masks, points = parts.get(f"{number}.masks"), parts.get(f"{number}.keypoints")
    if masks is not None and masks.dim() == 4 and masks.shape[:2] == (boxes, 1):
        extras["masks"] = masks[:, 0]
    if points is not None and points.dim() == 3 and len(points) == boxes and points.shape[2] >= 2:
        extras["points"] = points
    return extras


def _read_queries(
    logits: torch.Tensor, boxes: torch.Tensor, size: tuple[int, int], categories: Sequence[str], text: str
) -> Reading:
    """`text` says what the logits are for in models that read a text, and is else empty."""
    scores = logits.detach().to("cpu", torch.float64)
    own = bool(text) or len(categories) == scores.shape[2]
    shares = scores.sigmoid() if own else scores.softmax(dim=2)[:, :, :-1]
    best, labels = shares.max(dim=2)
    places = boxes.detach().to("cpu", torch.float64)
    centre, half = places[:, :, :2], places[:, :, 2:] / 2
    corners = torch.cat([centre - half, centre + half], dim=2) * torch.tensor(
        [size[1], size[0]] * 2, dtype=torch.float64
    )
    found = tuple(_sorted(*one) for one in zip(labels, best, corners, strict=True))
    classes = shares.shape[2]
    names = categories if len(categories) == classes else ()
    if text and not names:
        return Reading(found, (), _BY_TEXT.format(text, count(classes, text)), text)
    how = "A score is the sigmoid of its class alone." if own else _SOFTMAX.format(scores.shape[2])
    return Reading(found, names, f"{how} {describe_class_names(categories, classes)}".strip())


_TEXTS = {
    "token": frozenset({"input_ids", "encoder_last_hidden_state_text"}),
    "text": frozenset({"text_embeds", "text_model_output.last_hidden_state"}),
}
"""What there are logits for in models that read a text, by the parts of the output that tell."""
_BY_TEXT = "A score is the sigmoid of the box with one {0}, the highest of {1}, numbered from 0."
_SOFTMAX = "Scores are a softmax over {:,} classes, the last of which is read as “no object”."


def _sorted(
    labels: torch.Tensor,
    scores: torch.Tensor,
    corners: torch.Tensor,
    masks: torch.Tensor | None = None,
    points: torch.Tensor | None = None,
) -> Detections:
    numbers = _numpy(scores)
    order = np.argsort(np.where(np.isnan(numbers), np.inf, -numbers), kind="stable")
    return Detections(
        labels.detach().cpu().numpy().astype(np.int64)[order],
        numbers[order],
        _numpy(corners)[order],
        order,
        masks,
        points,
    )


def _numpy(values: torch.Tensor) -> NDArray[np.float64]:
    numbers: NDArray[np.float64] = values.detach().to("cpu", torch.float64).numpy()
    return numbers


def choose(found: Detections) -> _Choice:
    """Choose what is drawn: the MOST_DRAWN best from LEAST_SCORE on, the DRAWN_ANYWAY best if none reaches it."""
    drawable = found.drawable()
    above = drawable[found.scores[drawable] >= LEAST_SCORE]
    drawn = above[:MOST_DRAWN] if above.size else drawable[:DRAWN_ANYWAY]
    total = found.scores.size
    return _Choice(tuple(drawn.tolist()), total, above.size, total - drawable.size)


def _box(found: Detections, rank: int, reading: Reading, scale: tuple[float, float]) -> Box:
    label, place = int(found.labels[rank]), int(found.order[rank])
    left, top, right, bottom = (found.corners[rank] * (*scale, *scale)).tolist()
    return Box(
        (left, top, right, bottom),
        f"{reading.name(label)} {_short(float(found.scores[rank]))}",
        class_colour(label),
        None if found.masks is None else (found.masks[place] > 0.5).cpu().numpy(),
        () if found.points is None else tuple(_points(found.points[place], scale)),
    )


def _points(points: torch.Tensor, scale: tuple[float, float]) -> Iterator[tuple[float, float]]:
    """The points of a detection that are finite and, where the model says so, to be seen."""
    for x, y, *more in _numpy(points).tolist():
        if np.isfinite((x, y)).all() and not (more and more[0] <= 0):
            yield x * scale[0], y * scale[1]


def _short(score: float) -> str:
    return "< 0.01" if 0 < score < 0.005 else f"{score:.2f}".replace("-", "\N{MINUS SIGN}")


def _entry(found: Detections, rank: int, reading: Reading) -> dict[str, object]:
    label = int(found.labels[rank])
    corners: Rectangle = tuple(found.corners[rank].tolist())
    return {
        "rank": rank + 1,
        "class": label,
        "name": reading.name(label),
        "colour": class_colour(label),
        "score": json_number(float(found.scores[rank])),
        "box": [json_number(edge) for edge in corners],
    }


def _rows(image: InputImage, found: Detections, reading: Reading) -> Iterator[list[object]]:
    """A row a detection of the table for other programs; what is not finite is an empty cell."""
    for rank, label in enumerate(found.labels.tolist()):
        numbers = (found.scores[rank], *found.corners[rank])
        cells = [f"{number:.9g}" if np.isfinite(number) else "" for number in numbers]
        yield [image.id, rank + 1, label, reading.name(label), *cells]


def _alt(image: InputImage, choice: _Choice, boxes: Sequence[Box]) -> str:
    if not boxes:
        return f"{image.name} without a box: " + ("nothing to draw" if choice.total else "nothing was detected")
    return f"{image.name} with {count(len(boxes), 'box')}: {listed([box.label for box in boxes])}"


def _caption(image: InputImage, found: Detections, choice: _Choice, reading: Reading) -> str:
    sentences = [f"Detections in {image.name} as the network saw it.", _say_drawn(choice)]
    if choice.drawn and found.masks is not None:
        sentences.append("Masks are filled where their value is above 0.5.")
    if choice.drawn and found.points is not None:
        sentences.append("Dots are keypoints.")
    if choice.broken:
        sentences.append(f"{count(choice.broken, 'detection')} without a finite score and box can't be drawn.")
    sentences.append(reading.description if choice.total else "")
    return " ".join(sentence for sentence in sentences if sentence)


def _say_drawn(choice: _Choice) -> str:
    total, drawn = count(choice.total, "detection"), len(choice.drawn)
    if not choice.total:
        return "The model detects nothing in it."
    if not choice.above:
        best = f"; the best {drawn} are drawn all the same" if drawn > 1 else "; the best is drawn all the same"
        return f"None of {total} has a score of {LEAST_SCORE} or more{best if drawn else ''}."
    verb = "has" if choice.above == 1 else "have"
    rest = (
        f"; the best {drawn} are drawn" if drawn < choice.above else f" and {'is' if drawn == 1 else 'are'} drawn"
    )
    return f"{choice.above:,} of {total} {verb} a score of {LEAST_SCORE} or more{rest}."
