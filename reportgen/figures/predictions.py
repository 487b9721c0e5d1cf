"""What a classifier takes each image for: the most probable classes, and the probability of every class."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray

from reportgen.drawing.charts import Chart
from reportgen.drawing.curves import notice, stem_plot
from reportgen.entities import Activation, InputImage, Layer
from reportgen.figures.base import BaseKind, DataFile, Figure, FigureOptions, Product, Subject
from reportgen.figures.tables import csv_bytes
from reportgen.figures.vector import rows_of, vectors_of
from reportgen.figures.wording import (
    class_names,
    describe_class_names,
    describe_layer,
    describe_number,
    json_number,
    percent,
)
from reportgen.numerics.envelope import part_size, thin
from reportgen.numerics.probabilities import (
    SUM_TOLERANCE,
    is_distribution,
    is_log_distribution,
    ranking,
    softmax,
)
from reportgen.numerics.real import as_floating

TOP = 5

# What an operation makes of scores, by the last part of its name.
_SOFTMAX, _LOG_SOFTMAX, _SIGMOID, _LINEAR = "softmax", "log_softmax", "sigmoid", "linear"
_MEANINGS = {
    "Softmax": _SOFTMAX,
    "softmax": _SOFTMAX,
    "LogSoftmax": _LOG_SOFTMAX,
    "log_softmax": _LOG_SOFTMAX,
    "Sigmoid": _SIGMOID,
    "sigmoid": _SIGMOID,
    "linear": _LINEAR,
}
# Operations that leave every value as it is (dropout: in eval mode).
_PASSING = frozenset(
    {
        "Flatten", "flatten", "squeeze", "view", "reshape", "contiguous", "Identity", "Dropout", "dropout",
        "float", "double", "to",
    }
)  # fmt: skip

APPLIED, OWN, OWN_LOG, OWN_SIGMOID = (
    "applied by reportgen",
    "the model's own",
    "the model's own, as logarithms",
    "none: the model's own sigmoid",
)
_SENTENCES = {
    APPLIED: "The softmax of the model's scores was applied by reportgen.",
    OWN: "The probabilities are the model's own output.",
    OWN_LOG: "The model's own output is the logarithms of the probabilities.",
    OWN_SIGMOID: "The probabilities are the model's own sigmoids, each class by itself: they need not sum to 1.",
}


@dataclass
class _Output:
    """The scores of one output of the model: a row an image."""

    layer: Layer
    meaning: str
    images: list[InputImage] = field(default_factory=list)
    rows: list[NDArray[np.float64]] = field(default_factory=list)


@dataclass(frozen=True)
class _Prediction:
    """One image's probabilities, best first in `order`; or `cause`, why they are undefined."""

    image: InputImage
    values: NDArray[np.float64]
    order: NDArray[np.intp]
    cause: str

    @property
    def classes(self) -> int:
        return self.values.size


class Predictions(BaseKind):
    """A figure an image for each output of the model that is class scores, and all probabilities as one table.

    Figures are made at the end: whether an output is probabilities already is judged from every image's row.
    """

    name = "predictions"
    title = "Predictions"
    order = 5

    def __init__(self, options: FigureOptions, subject: Subject) -> None:
        super().__init__(options, subject)
        self._layers = {layer.name: layer for layer in subject.layers}
        self._found: dict[str, _Output] = {}

    def wants(self, layer: Layer) -> bool:
        return layer.name in self.subject.outputs

    def update(self, activation: Activation) -> Iterable[Product]:
        layer = activation.layer
        scores, meaning = _scores_of(activation), self._meaning(layer)
        if scores is None or scores.shape[1] < 2:
            return ()
        if meaning in (_SOFTMAX, _LOG_SOFTMAX, _LINEAR) or len(self.subject.categories) == scores.shape[1]:
            output = self._found.setdefault(layer.name, _Output(layer, meaning))
            output.images.extend(activation.images)
            output.rows.extend(rows_of(scores))
        return ()

    def _meaning(self, layer: Layer) -> str:
        """What the operation that made the layer's values says of them, looking through those that keep values."""
        seen = {layer.name}
        while _operation(layer) in _PASSING and layer.parents and layer.parents[0] in self._layers:
            layer = self._layers[layer.parents[0]]
            if layer.name in seen:
                break
            seen.add(layer.name)
        operation = _operation(layer)
        return _LINEAR if operation.endswith("Linear") else _MEANINGS.get(operation, "")

    def compute(self) -> Iterable[Product]:
        for output in self._found.values():
            source = _source(output)
            predictions = [
                _predict(image, row, source) for image, row in zip(output.images, output.rows, strict=True)
            ]
            yield DataFile(self._csv_name(output.layer), self._csv(predictions))
            for prediction in predictions:
                yield self._figure(output.layer, prediction, source)

    def _csv_name(self, layer: Layer) -> str:
        """One file, unless the model returns several values."""
        return f"predictions/{layer.slug}.csv" if len(self.subject.outputs) > 1 else "predictions.csv"

    def _names(self, classes: int) -> Sequence[str]:
        return class_names(self.subject.categories, classes)

    def _figure(self, layer: Layer, prediction: _Prediction, source: str) -> Figure:
        names = self._names(prediction.classes)
        top = [] if prediction.cause else [int(place) for place in prediction.order[:TOP]]
        values = prediction.values
        chart = _chart(prediction, names)
        data: dict[str, object] = {
            "pixels": 2 / 3,
            "output": layer.name,
            "classes": prediction.classes,
            "top": [[place, names[place], json_number(float(values[place]))] for place in top],
            "percent": [percent(float(values[place])) for place in top],
            "softmax": source,
            "undefined": prediction.cause,
        }
        if len(self.subject.outputs) > 1:
            data["view"] = layer.name
        return Figure(
            kind=self.name,
            layer=None,
            image=prediction.image.id,
            files=chart.files,
            width=chart.width,
            height=chart.height,
            alt=_alt(prediction, names),
            caption=self._caption(layer, prediction, source),
            data=data,
            downloads=(self._csv_name(layer),),
        )

    def _caption(self, layer: Layer, prediction: _Prediction, source: str) -> str:
        sentences = [
            f"Probabilities of {prediction.classes:,} classes for {prediction.image.name}, read from "
            f"{describe_layer(layer)}."
        ]
        if prediction.cause:
            sentences.append(f"They are undefined: {prediction.cause}.")
        else:
            sentences += [_SENTENCES[source], _sum_sentence(prediction, source)]
            size = part_size(prediction.classes)
            if size > 1:
                sentences.append(f"Of every {size} classes, the highest and the lowest are drawn.")
        sentences.append(describe_class_names(self.subject.categories, prediction.classes))
        return " ".join(sentence for sentence in sentences if sentence)

    def _csv(self, predictions: Sequence[_Prediction]) -> bytes:
        """A row an image and class, most probable first; rank and probability are empty where undefined."""
        rows = (row for prediction in predictions for row in self._rows(prediction))
        return csv_bytes(["image", "rank", "class", "name", "probability"], rows)

    def _rows(self, prediction: _Prediction) -> Iterator[list[object]]:
        names = self._names(prediction.classes)
        for rank, place in enumerate(prediction.order.tolist(), start=1):
            shown = ("", "") if prediction.cause else (rank, f"{prediction.values[place]:.9g}")
            yield [prediction.image.id, shown[0], place, names[place], shown[1]]


def _scores_of(activation: Activation) -> torch.Tensor | None:
    """The output as (N, D). Squeezing leaves no layout, and drops the images' axis too where there is one image."""
    value = activation.value
    if not isinstance(value, torch.Tensor) or value.is_complex():
        return None
    images = len(activation.images)
    if _operation(activation.layer) in _PASSING:
        if value.dim() == 1 and images == 1 and value.numel() > 1:
            value = value[None]
        if value.dim() == 2 and value.shape[0] == images:
            return as_floating(value)
    return vectors_of(activation)


def _operation(layer: Layer) -> str:
    """The class of the layer's module, or the last part of its function's name."""
    return layer.module_type or layer.target.rsplit(".", 1)[-1]


def _source(output: _Output) -> str:
    """Where the probabilities come from: as the operation says, else as every row of finite values shows."""
    named = {_SOFTMAX: OWN, _LOG_SOFTMAX: OWN_LOG, _SIGMOID: OWN_SIGMOID}.get(output.meaning)
    if named:
        return named
    rows = [row for row in output.rows if not _why_undefined(row, APPLIED)]
    if rows and all(map(is_distribution, rows)):
        return OWN
    return OWN_LOG if rows and all(map(is_log_distribution, rows)) else APPLIED


def _predict(image: InputImage, row: NDArray[np.float64], source: str) -> _Prediction:
    cause = _why_undefined(row, source)
    if cause:
        return _Prediction(image, np.full(row.size, np.nan), np.arange(row.size), cause)
    # Ranked by score: far below the highest, different scores share the probability 0.
    return _Prediction(image, _probabilities(row, source), ranking(row), "")


def _probabilities(row: NDArray[np.float64], source: str) -> NDArray[np.float64]:
    if source == APPLIED:
        return softmax(row)
    return np.exp(row) if source == OWN_LOG else row


def _why_undefined(row: NDArray[np.float64], source: str) -> str:
    """Why a row of scores gives no probabilities, or an empty string. A score of -Inf is a probability of 0."""
    lowest = np.isneginf(row)
    if lowest.all():
        return "every score is −Inf"
    bad = {"not a number": np.isnan(row), "+Inf": np.isposinf(row)}
    if source in (OWN, OWN_SIGMOID):
        bad["−Inf"] = lowest
    noun = "scores" if source == APPLIED else "values"
    for what, where in bad.items():
        if where.any():
            number = int(where.sum())
            return f"{number:,} of {row.size:,} {noun} {'is' if number == 1 else 'are'} {what}"
    return ""


def _sum_sentence(prediction: _Prediction, source: str) -> str:
    """What a model's own probabilities sum to, where that is not 1: a softmax over another axis, say."""
    total = float(prediction.values.sum())
    if source == OWN_SIGMOID or abs(total - 1) <= 10 * SUM_TOLERANCE:
        return ""
    return f"They sum to {describe_number(total)}, not to 1."


def _alt(prediction: _Prediction, names: Sequence[str]) -> str:
    if prediction.cause:
        return f"No chart: the probabilities for {prediction.image.name} are undefined"
    best = int(prediction.order[0])
    return (
        f"Chart of the probabilities of {prediction.classes:,} classes for {prediction.image.name}; the highest is "
        f"{names[best]}, {percent(float(prediction.values[best]))}"
    )


def _chart(prediction: _Prediction, names: Sequence[str]) -> Chart:
    if prediction.cause:
        return notice(f"Undefined: {prediction.cause}.")
    best = int(prediction.order[0])
    return stem_plot(
        prediction.values,
        thin(prediction.values),
        marked=best,
        label=f"{names[best]}, {percent(float(prediction.values[best]))}",
        x_label="class",
        y_label="probability",
    )
