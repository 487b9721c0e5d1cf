"""How alike the layers are: CKA between all pairs, in one matrix.

Rows of a layer's features are examples: images, when there are many, else the positions of each image on a common
grid, one image a batch (as SVCCA reads convolutional maps: Raghu, Gilmer, Yosinski, Sohl-Dickstein, NeurIPS 2017).
"""

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional

from reportgen.drawing.charts import labelled_matrix
from reportgen.entities import Activation, Batch
from reportgen.figures.base import BaseKind, DataFile, Figure, FigureOptions, Product, Subject
from reportgen.figures.matrix_script import matrix_script
from reportgen.figures.module_blocks import module_blocks
from reportgen.figures.tables import csv_bytes
from reportgen.figures.wording import count
from reportgen.numerics.finite import is_finite
from reportgen.numerics.real import as_floating, as_real
from reportgen.numerics.similarity import MIN_EXAMPLES, alignment, centred, gram

IMAGES_NEEDED = 32
EXAMPLES_A_BATCH = 16
GRID = 8
PERMUTATIONS = 20
NULL_LAYERS = 64
"""The null band is taken over the pairs of at most so many layers, evenly spread."""
SCRIPT = "layer_cka.js"
NOT_POSITIVE = "a debiased norm is not positive: too few examples"
CHART_BLOCKS, TABLE_BLOCKS = 24, 12
"""The chart marks, and the table of means has, at most so many blocks of the module tree."""
_NEIGHBOURS = 8
_SEED = 0
_NOT_FINITE = "it has values that are not finite"
_LARGEST = 1e150
"""Products of larger entries of Gram matrices, and their sums, would leave float64."""


def images_are_examples(choice: str, images: int) -> bool:
    """Whether the examples are images: as chosen, else when there are at least 32 of them."""
    return choice == "images" or (choice == "auto" and images >= IMAGES_NEEDED)


def batch_size(given: int, choice: str, images: int) -> int:
    """Return how many images a forward pass should take: as given, else 1, or 16 where images are the examples.

    Then at least MIN_EXAMPLES, since a batch of fewer has no debiased HSIC.
    """
    if images_are_examples(choice, images):
        return max(given or EXAMPLES_A_BATCH, MIN_EXAMPLES)
    return given or 1


def least_batch(choice: str) -> int:
    """Return how many images a forward pass must take at least: MIN_EXAMPLES where they are to be the examples."""
    return MIN_EXAMPLES if choice == "images" else 1


def examples_with(choice: str, images: int, size: int) -> str:
    """Return what `choice` comes to in batches of `size`: auto has positions as examples in too small ones."""
    too_small = choice == "auto" and images_are_examples(choice, images) and size < MIN_EXAMPLES
    return "positions" if too_small else choice


@dataclass
class _Row:
    """What the batches so far say of one layer: in how many it had features, and why it had none in others."""

    batches: int = 0
    constant: bool = True
    cause: str = ""


@dataclass
class _Sums:
    """HSIC of all pairs (L, L), summed over batches, and the same with one side's examples shuffled (P, l, l)."""

    cross: NDArray[np.float64]
    shuffled: NDArray[np.float64]
    examples: int = 0
    batches: int = 0
    left_out: int = 0


class LayerCKA(BaseKind):
    """One matrix a report. `--cka biased` and `--cka-examples images|positions` change what it rests on."""

    name = "layer_cka"
    title = "Similarity of layers"
    order = 60

    def __init__(self, options: FigureOptions, subject: Subject) -> None:
        super().__init__(options, subject)
        self._images = images_are_examples(options.cka_examples, subject.images + subject.statistics)
        self.compares = self._images
        self._debiased = options.cka == "debiased"
        self._names = [layer.name for layer in subject.layers]
        self._rows = {name: _Row() for name in self._names}
        self._sample = spread(len(self._names), NULL_LAYERS)
        null = (PERMUTATIONS, len(self._sample), len(self._sample))
        self._sums = _Sums(np.zeros((len(self._names),) * 2), np.zeros(null))
        self._grams: dict[str, torch.Tensor] = {}
        self._generator = torch.Generator("cpu").manual_seed(_SEED)

    def begin_batch(self, batch: Batch) -> Iterable[Product]:
        self._grams = {}
        if self._images and len(batch.images) < MIN_EXAMPLES:
            self._sums.left_out += len(batch.images)
        return ()

    def observe(self, activation: Activation) -> None:
        if self._images and len(activation.images) < MIN_EXAMPLES:
            return
        row = self._rows[activation.layer.name]
        features, cause = self._features(activation)
        if features:
            kernels = [gram(one) for one in features]
            grams = torch.stack([kernel.matrix for kernel in kernels]).cpu()
            if float(grams.abs().max()) < _LARGEST:
                row.constant = row.constant and all(kernel.constant for kernel in kernels)
                self._grams[activation.layer.name] = grams
            else:
                cause = _why_unusable(activation.value)
        row.cause = cause or row.cause

    def _features(self, activation: Activation) -> tuple[list[torch.Tensor], str]:
        """The features (n, p) of each batch of examples in the activation, or none and the cause."""
        value, maps = activation.value, activation.reading.maps
        if not isinstance(value, torch.Tensor) or activation.layer.op == "get_attr":
            return [], activation.reading.reason or "its value is not a tensor"
        real = as_real(value) if maps is None or self._images else as_real(maps)
        if self._images:  # values that are not finite show in their products
            per_image = value.dim() >= 2 and value.shape[0] == len(activation.images)
            return ([real.flatten(1)], "") if per_image else ([], "its first axis is not the images")
        if not is_finite(real):
            return [], _NOT_FINITE
        if maps is None or maps.shape[2] * maps.shape[3] < 2:
            return [], "it has no positions to compare, and the examples are positions"
        return [positions(one) for one in real], ""

    def end_batch(self) -> Iterable[Product]:
        present = [number for number, name in enumerate(self._names) if name in self._grams]
        if not present:
            return ()
        grams = torch.stack([self._grams[self._names[number]] for number in present])
        kernels = centred(grams, debiased=self._debiased)
        for name in self._grams:
            self._rows[name].batches += 1
        for batch in range(kernels.shape[1]):
            self._add(kernels[:, batch], present)
        self._sums.batches += 1
        self._grams = {}
        return ()

    def _add(self, kernels: torch.Tensor, present: Sequence[int]) -> None:
        """Add the HSIC of all pairs of the centred kernels (L, n, n) of the layers `present`."""
        examples = kernels.shape[-1]
        self._sums.examples += examples
        flat = kernels.flatten(1)
        self._sums.cross[np.ix_(present, present)] += (flat @ flat.T).numpy()
        where = {layer: place for place, layer in enumerate(present)}
        rows = [place for place, layer in enumerate(self._sample) if layer in where]
        chosen = kernels[[where[self._sample[row]] for row in rows]]
        for permutation in range(PERMUTATIONS):
            order = torch.randperm(examples, generator=self._generator, device="cpu")
            shuffled = chosen[:, order][:, :, order].flatten(1)
            self._sums.shuffled[permutation][np.ix_(rows, rows)] += (shuffled @ chosen.flatten(1).T).numpy()

    def compute(self) -> Iterable[Product]:
        causes = {name: cause for name in self._names if (cause := self._cause(self._rows[name]))}
        defined = np.array([name not in causes for name in self._names], dtype=bool)
        values = alignment(torch.from_numpy(self._sums.cross)).numpy().copy()
        values[~defined] = values[:, ~defined] = np.nan
        values = np.triu(values) + np.triu(values, 1).T  # symmetric to the last digit
        shown = [number for number, name in enumerate(self._names) if self._rows[name].batches]
        yield DataFile("layer_cka.csv", _csv(self._names, values))
        yield DataFile("layer_cka.json", self._json(causes, values))
        if len(shown) >= 2:
            names, matrix = [self._names[number] for number in shown], values[np.ix_(shown, shown)]
            causes = {name: causes[name] for name in names if name in causes}
            yield DataFile(SCRIPT, self._script(names, matrix, causes))
            yield self._figure(names, matrix, causes)

    def _cause(self, row: _Row) -> str:
        """Why a layer's cells are undefined, or an empty string."""
        if not self._sums.batches:
            return row.cause or f"there are fewer than {MIN_EXAMPLES} examples"
        if row.batches < self._sums.batches:
            return row.cause or "it was not computed for every image"
        return "it is the same for every example" if row.constant else ""

    def _null(self) -> tuple[float, float]:
        """The middle 95 % of the values that shuffled examples give; NaN where none is defined."""
        norms = np.diagonal(self._sums.cross)[self._sample]
        with np.errstate(invalid="ignore", divide="ignore"):
            scale = np.sqrt(np.where(norms > 0, norms, np.nan))
            values = self._sums.shuffled / scale[:, None] / scale[None, :]
        pairs = values[:, ~np.eye(len(norms), dtype=bool)]
        known = pairs[np.isfinite(pairs)]
        if not known.size:
            return float("nan"), float("nan")
        low, high = np.percentile(known, [2.5, 97.5])
        return float(low), float(high)

    def _json(self, causes: dict[str, str], values: NDArray[np.float64]) -> bytes:
        low, high = self._null()
        facts = {
            "estimator": self.options.cka,
            "examples": "images" if self._images else f"positions on a {GRID} x {GRID} grid, one image a batch",
            "n": self._sums.examples,
            "batches": self._sums.batches,
            "images_left_out": self._sums.left_out,
            "null_band": [_number(low), _number(high)],
            "null_permutations": PERMUTATIONS,
            "null_seed": _SEED,
            "undefined": causes,
            "undefined_pairs": _undefined_pairs(self._names, values, causes),
        }
        return (json.dumps(facts, indent=1, ensure_ascii=False) + "\n").encode()

    def _script(self, names: Sequence[str], matrix: NDArray[np.float64], causes: dict[str, str]) -> bytes:
        low, high = _ends(matrix)
        return matrix_script(
            names, matrix, low=low, high=high, cmap=self._cmap, causes=causes, pair_cause=NOT_POSITIVE
        )

    @property
    def _cmap(self) -> str:
        return self.options.cmap or "viridis"

    def _figure(self, names: Sequence[str], matrix: NDArray[np.float64], causes: dict[str, str]) -> Figure:
        low, high = _ends(matrix)
        chart = labelled_matrix(
            matrix,
            names,
            low=low,
            high=high,
            cmap=self._cmap,
            bar_label=f"CKA ({self.options.cka})",
            blocks={block.start: block.label for block in module_blocks(names, CHART_BLOCKS)},
        )
        defined = [name for name in names if name not in causes]
        return Figure(
            kind=self.name,
            layer=None,
            image=None,
            files=chart.files,
            width=chart.width,
            height=chart.height,
            alt=f"Matrix of the similarity (CKA) between {len(names)} layers in execution order",
            caption=self._caption(names, defined),
            data={
                "pixels": 2 / 3,
                "estimator": self.options.cka,
                "examples": "images" if self._images else "positions",
                "n": self._sums.examples,
                "null_band": [_number(end) for end in self._null()],
                "undefined": causes,
                "neighbours": _neighbours(names, matrix),
                "blocks": _block_means(names, matrix),
            },
            downloads=("layer_cka.csv", "layer_cka.json"),
            scripts=(SCRIPT,),
        )

    def _caption(self, names: Sequence[str], defined: Sequence[str]) -> str:
        low, high = self._null()
        sentences = [
            f"Centered kernel alignment (linear, {self.options.cka}) between {count(len(names), 'layer')} in "
            "execution order; 1 means alike up to rotation and scale.",
            self._examples_sentence(),
        ]
        if low == low:
            sentences.append(
                f"When one side's examples are shuffled, 95 % of the values lie between {_signed(low)} and "
                f"{_signed(high)}: nothing inside this band tells layers apart from chance."
            )
        if len(defined) < len(names):
            sentences.append(f"{count(len(names) - len(defined), 'layer')} undefined (gray).")
        sentences.append("White lines mark modules.")
        return " ".join(sentences)

    def _examples_sentence(self) -> str:
        if self._images:
            out = self._sums.left_out
            left = f"; {count(out, 'image')} in a batch of fewer than {MIN_EXAMPLES} left out" if out else ""
            return (
                f"Examples are images: n = {self._sums.examples:,}, in {count(self._sums.batches, 'batch')}{left}."
            )
        images = self.subject.images + self.subject.statistics
        why = f", since there are fewer than {IMAGES_NEEDED} images" if self.options.cka_examples == "auto" else ""
        number = f"n = {self._sums.examples:,}"
        return (
            f"Examples are positions{why}: {number} ({count(images, 'image')}, each a batch, its "
            f"maps on a common grid of {GRID} × {GRID}; finer maps are averaged, coarser ones interpolated)."
        )


def _why_unusable(value: object) -> str:
    """Why a value's Gram matrix can't be used."""
    finite = isinstance(value, torch.Tensor) and is_finite(as_real(value))
    return "its values are too large to be compared in float64" if finite else _NOT_FINITE


def positions(maps: torch.Tensor) -> torch.Tensor:
    """Return the features (GRID * GRID, C) of one image's maps (C, H, W): a row a position of the common grid.

    Finer maps are averaged over the grid's cells, coarser ones interpolated bilinearly between positions' centres.
    """
    values = as_floating(maps)
    values = values if values.dtype == torch.float64 else values.float()
    height, width = (max(GRID, side) for side in values.shape[1:])
    if (height, width) != tuple(values.shape[1:]):
        values = functional.interpolate(values[None], size=(height, width), mode="bilinear", align_corners=False)[0]
    return functional.adaptive_avg_pool2d(values, GRID).flatten(1).T


def spread(count_: int, most: int) -> list[int]:
    """Return at most `most` of the numbers below `count_`, evenly spread."""
    if count_ <= most:
        return list(range(count_))
    return sorted({round(place) for place in np.linspace(0, count_ - 1, most)})


def _ends(matrix: NDArray[np.float64]) -> tuple[float, float]:
    """The ends of the colour map: 0, or the lowest value where that is negative, and 1."""
    known = matrix[np.isfinite(matrix)]
    return (min(0.0, float(known.min())) if known.size else 0.0), 1.0


def _block_means(names: Sequence[str], matrix: NDArray[np.float64]) -> dict[str, list[Any]]:
    """The matrix as a table of a few rows: the mean over the pairs of layers of two blocks of the module tree.

    A layer and itself are no pair; None where no pair has a value.
    """
    blocks = module_blocks(names, TABLE_BLOCKS)
    pairs = np.where(np.eye(len(names), dtype=bool), np.nan, matrix)
    return {
        "labels": [block.label for block in blocks],
        "layers": [block.size for block in blocks],
        "means": [
            [_mean(pairs[row.start : row.end, column.start : column.end]) for column in blocks] for row in blocks
        ],
    }


def _mean(values: NDArray[np.float64]) -> float | None:
    known = values[np.isfinite(values)]
    return _number(float(known.mean())) if known.size else None


def _neighbours(names: Sequence[str], matrix: NDArray[np.float64]) -> dict[str, list[list[object]]]:
    """The layers next to each other that are most, and least, alike."""
    pairs = [
        (float(matrix[place, place + 1]), names[place], names[place + 1])
        for place in range(len(names) - 1)
        if np.isfinite(matrix[place, place + 1])
    ]
    pairs.sort(key=lambda pair: -pair[0])
    least = sorted(pairs[-_NEIGHBOURS:], key=lambda pair: pair[0])
    return {
        "most": [[first, second, _number(value)] for value, first, second in pairs[:_NEIGHBOURS]],
        "least": [[first, second, _number(value)] for value, first, second in least],
    }


def _undefined_pairs(names: Sequence[str], values: NDArray[np.float64], causes: dict[str, str]) -> list[list[str]]:
    """Pairs of defined layers whose cell is undefined all the same: a debiased norm can come out negative."""
    holes = np.argwhere(np.isnan(values))
    return [
        [names[row], names[column], NOT_POSITIVE]
        for row, column in holes
        if row <= column and names[row] not in causes and names[column] not in causes
    ]


def _csv(names: Sequence[str], values: NDArray[np.float64]) -> bytes:
    rows = zip(names, values.tolist(), strict=True)
    cells = ([name, *("" if value != value else f"{value:.9g}" for value in row)] for name, row in rows)
    return csv_bytes(["", *names], cells)


def _number(value: float) -> float | None:
    return float(f"{value:.6g}") if np.isfinite(value) else None


def _signed(value: float) -> str:
    return f"{value:.2f}".replace("-", "\N{MINUS SIGN}")
