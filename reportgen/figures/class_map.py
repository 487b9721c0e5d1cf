"""Segmentations: which class has the highest score at each position, as a map and over the image."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from reportgen.drawing.classes import class_colour, class_palette, lay_over
from reportgen.drawing.mosaic import assemble, plan
from reportgen.drawing.png import MAP_COLOURS, encode_indexed, encode_picture
from reportgen.entities import Batch, InputImage
from reportgen.figures.base import BaseKind, DataFile, Product
from reportgen.figures.hypercolumn import display_factor
from reportgen.figures.tables import csv_bytes
from reportgen.figures.wording import class_names, count, count_shown, describe_class_names, json_number, percent
from reportgen.names import make_unique, slugify
from reportgen.numerics.classes import UNDEFINED, ClassMap, class_map
from reportgen.numerics.npz import npz_bytes
from reportgen.numerics.scaling import GAP, NAN
from reportgen.parts import flatten

LONE = "output"
"""What an output that is a lone tensor is called."""

_QUERY_CLASSES, _QUERY_MASKS, _OTHER_LAYERS = "class_queries_logits", "masks_queries_logits", "auxiliary_logits"
SEMANTIC = "semantic"
"""What the class map that queries make with their masks is called."""

# What models return beside their scores: features, attention maps, which have a channel a head, masks of queries.
_FEATURES = frozenset(
    {
        "hidden_states", "last_hidden_state", "feature_maps", "features", "attentions", "cross_attentions",
        _QUERY_MASKS, "pred_masks",
    }
)  # fmt: skip
_STRIDES_OF_SCORES = (1, 2, 4, 8)
_NAN_COLOUR = "#ff00ff"
_UNDEFINED_NAME = "undefined"


@dataclass(frozen=True)
class _Scores:
    """A part of the output that is scores of classes, (N, K, H, W), and why it is read so."""

    part: str
    values: torch.Tensor
    reason: str
    how: str = ""
    """How reportgen computed the scores, in a sentence; empty where they are the model's own."""


@dataclass(frozen=True)
class _Found:
    """The class map of one image from one part. `data_file` holds the map itself, with `arrays`."""

    image: InputImage
    scores: _Scores
    map: ClassMap
    names: Sequence[str]
    data_file: str

    @property
    def positions(self) -> int:
        return self.map.classes.size


class ClassMaps(BaseKind):
    """Two figures an image and output: the class map at the output's own resolution, and laid over the image.

    `data.view` is the part's name (`output` for a lone tensor), the second's ends in `-over`. Auxiliary outputs are
    drawn as the main one is. An output is taken as scores of classes only if it is floating, (N, K, H, W) with at
    least two classes, one whole stride leads from the input's height and width to its own, and one of these holds:

    - the last part of its name is `logits`, as in Hugging Face's models, and it has more than one position;
    - the last part of its name is `out` or `aux`, as in torchvision's models, and it has the input's size, which
      the features that bear these names inside such models have not;
    - it has as many channels as there are class names, its stride is 1, 2, 4 or 8, and it is not named as features
      or attention are.

    Queries that have a class and a mask each, `class_queries_logits` (N, Q, K + 1) and `masks_queries_logits` (N,
    Q, H, W) of MaskFormer and its kin, make one part named `semantic`: the score of a class is the sum over the
    queries of its probability, by a softmax whose last class, "no object", is left out, times the sigmoid of the
    mask.

    Anything else is left alone: a map of 21 channels may be features, and three channels a picture. The caption
    says which rule held. One channel (a mask, depth) is no class map. Where a score is NaN, or every score is -Inf,
    there is no class, and the position is drawn in magenta; in the array of classes that `arrays` adds it is 65535.
    """

    name = "class_map"
    title = "Class maps"
    order = 6

    def returned(self, batch: Batch, output: Any) -> Iterable[Product]:
        if not batch.drawn:
            return
        found = list(self._scores(batch, output))
        for place, image in enumerate(batch.images if found else ()):
            maps = [self._found(image, scores, place) for scores in found]
            csv_name = f"class_maps/{image.id}.csv"
            yield DataFile(csv_name, _csv(maps))
            for one in maps:
                yield from self._products(one, csv_name)

    def _scores(self, batch: Batch, output: Any) -> Iterator[_Scores]:
        size = (batch.tensor.shape[-2], batch.tensor.shape[-1])
        parts = list(flatten(output))
        # Two ways may read the same ("a.b" as one key and as two), and each figure needs its own name.
        names = make_unique(name or LONE for name, _ in parts)
        for name, (way, values) in zip(names, parts, strict=True):
            if len(values.shape) == 4 and len(values) == len(batch.images):
                reason = why_scores(way, values, size, len(self.subject.categories))
                if reason:
                    yield _Scores(name, values, reason)
        yield from _semantic(dict(parts), len(batch.images))

    def _found(self, image: InputImage, scores: _Scores, place: int) -> _Found:
        found = class_map(scores.values[place])
        names = class_names(self.subject.categories, found.total)
        return _Found(image, scores, found, names, f"class_maps/{image.id}/{slugify(scores.part)}.npz")

    def _products(self, found: _Found, csv_name: str) -> Iterator[Product]:
        part, image = found.scores.part, found.image
        downloads = [csv_name]
        if self.options.arrays:
            downloads.append(found.data_file)
            yield DataFile(found.data_file, npz_bytes(classes=found.map.classes))
        facts, said = _facts(found), _say_shares(found)
        height, width = found.map.classes.shape
        indices = (found.map.classes % MAP_COLOURS).astype("uint8")
        indices[found.map.classes == UNDEFINED] = NAN
        shown = image.seen.width * display_factor(*image.seen.size)
        yield self.of_image(
            image,
            encode_indexed(assemble(indices[None], plan(1, height, width), GAP), class_palette()),
            (width, height),
            alt=f"Class map of {part} for {image.name}: {said}",
            caption=self._caption(found),
            data={"view": part, "pixels": shown / width, **facts},
            downloads=tuple(downloads),
        )
        picture = lay_over(indices, image.seen)
        yield self.of_image(
            image,
            encode_picture(picture),
            picture.size,
            alt=f"The class map of {part} laid over {image.name} in gray: {said}",
            caption=f"The class map of {part}, half transparent over {image.name} in gray.",
            data={"view": f"{part}-over", "pixels": shown / picture.width, **facts},
        )

    def _caption(self, found: _Found) -> str:
        height, width = found.map.classes.shape
        sentences = [
            f"Class map of {found.scores.part} for {found.image.name}: at each of {width:,} × {height:,} "
            f"positions, the class with the highest of {found.map.total:,} scores.",
            f"It is read as scores of classes since {found.scores.reason}.",
            found.scores.how,
            _say_occurring(found.map),
            _say_ties(found.map),
            _say_undefined(found.map),
            describe_class_names(self.subject.categories, found.map.total),
            f"From class {MAP_COLOURS} on, colours repeat." if found.map.total > MAP_COLOURS else "",
        ]
        return " ".join(sentence for sentence in sentences if sentence)


def why_scores(name: str, values: torch.Tensor, size: tuple[int, int], categories: int) -> str:
    """Return why a part of an output, (N, K, H, W), is scores of classes, or an empty string when nothing says so.

    `size` is the input's (height, width), `categories` the number of class names; see ClassMaps.
    """
    last = name.rpartition(".")[2]
    if not values.is_floating_point() or not 2 <= values.shape[1] < UNDEFINED or not values.numel():
        return ""
    if last == "logits" and values[0, 0].numel() > 1 and _fits(values, size, range(1, max(size) + 1)):
        return "it is named logits"
    if last in ("out", "aux") and _fits(values, size, (1,)):
        return f"it is named {last} and has the input's size"
    named_otherwise = _FEATURES & set(name.split("."))
    if values.shape[1] == categories and not named_otherwise and _fits(values, size, _STRIDES_OF_SCORES):
        return "it has as many channels as there are class names"
    return ""


def _semantic(parts: Mapping[str, torch.Tensor], images: int) -> Iterator[_Scores]:
    """The scores (N, K, H, W), float32, that queries with a class and a mask each make together."""
    for name, masks in parts.items():
        way = name.removesuffix(_QUERY_MASKS)
        classes = parts.get(f"{way}{_QUERY_CLASSES}")
        if way == name or classes is None or _OTHER_LAYERS in name.split("."):
            continue
        if _are_queries(classes, masks) and len(masks) == images:
            shares = classes.float().softmax(dim=2)[:, :, :-1]
            values = torch.einsum("nqk,nqhw->nkhw", shares, masks.float().sigmoid())
            reason = f"it is made of {_QUERY_CLASSES} and {_QUERY_MASKS}"
            yield _Scores(f"{way}{SEMANTIC}", values, reason, _SEMANTIC.format(count(masks.shape[1], "query")))


_SEMANTIC = (
    "A score is the sum over {} of the probability of its class (a softmax whose last class, “no object”, is left "
    "out) times the sigmoid of the mask, at the masks' own resolution."
)


def _are_queries(classes: torch.Tensor, masks: torch.Tensor) -> bool:
    """Whether these are logits of at least two classes and "no object", and of masks, for the same queries."""
    if classes.dim() != 3 or masks.dim() != 4 or classes.shape[:2] != masks.shape[:2]:
        return False
    floating = classes.is_floating_point() and masks.is_floating_point()
    return floating and 2 < classes.shape[2] <= UNDEFINED and masks.numel() > 0


def _fits(values: torch.Tensor, size: tuple[int, int], strides: Iterable[int]) -> bool:
    """Whether one of the strides leads from both sides of the input to those of `values`, rounded either way."""
    sides = tuple(zip(values.shape[2:], size, strict=True))
    return any(all(abs(side * stride - full) < stride for side, full in sides) for stride in strides)


def _facts(found: _Found) -> dict[str, Any]:
    return {
        "part": found.scores.part,
        "reason": found.scores.reason,
        "classes_total": found.map.total,
        "positions": found.positions,
        "undefined": found.map.undefined,
        "tied": found.map.tied,
        "classes": [
            {
                "class": number,
                "name": name,
                "positions": positions,
                "share": json_number(positions / found.positions),
                "percent": percent(positions / found.positions),
                "colour": _NAN_COLOUR if number is None else class_colour(number),
            }
            for number, name, positions in _rows(found)
            if positions
        ],
    }


def _rows(found: _Found) -> Iterator[tuple[int | None, str, int]]:
    """Number, name and positions of every class, the most frequent first; then the positions without a class."""
    counts = found.map.counts().tolist()
    for number in sorted(range(found.map.total), key=lambda number: (-counts[number], number)):
        yield number, found.names[number], counts[number]
    yield None, _UNDEFINED_NAME, found.map.undefined


def _csv(maps: Iterable[_Found]) -> bytes:
    """A row a part and class, also of classes that do not occur; the last row of a part bears no class number."""
    rows = (
        [found.scores.part, "" if number is None else number, name, positions, f"{positions / found.positions:.9g}"]
        for found in maps
        for number, name, positions in _rows(found)
    )
    return csv_bytes(["part", "class", "name", "positions", "share"], rows)


def _say_shares(found: _Found) -> str:
    """`background 62.3 %, cat 30.1 %, dog 4.0 % and 2 more classes`."""
    counts, order = found.map.counts(), found.map.ranking()
    said = [f"{found.names[number]} {percent(int(counts[number]) / found.positions)}" for number in order[:3]]
    if not said:
        return "no position has a class"
    more = len(order) - len(said)
    return ", ".join(said) + (f" and {count(more, 'more class')}" if more else "")


def _say_occurring(found: ClassMap) -> str:
    occurring = len(found.ranking())
    shown = count_shown(occurring, found.total, "class")
    return f"{shown.capitalize()} {'occurs' if occurring == 1 else 'occur'}."


def _say_ties(found: ClassMap) -> str:
    if not found.tied:
        return ""
    return (
        f"At {count(found.tied, 'position')} several classes share the highest score: that with the lowest number "
        "is drawn."
    )


def _say_undefined(found: ClassMap) -> str:
    if not found.undefined:
        return ""
    causes: Mapping[str, int] = {"a score is not a number": found.nan, "every score is −Inf": found.lowest}
    told = [f"at {count(number, 'position')} {cause}" for cause, number in causes.items() if number]
    said = " and ".join(told)
    return f"{said[0].upper()}{said[1:]}: no class is the highest there, drawn in magenta."
