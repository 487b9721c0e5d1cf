"""The vectors of one layer, or of one of its tokens: a row an image, and what is said and written of them."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from reportgen.entities import InputImage, Layer
from reportgen.figures.tables import csv_bytes
from reportgen.figures.wording import describe_layer, describe_number, describe_range, json_number
from reportgen.names import slugify

TOP_UNITS = 8


@dataclass
class VectorTable:
    """Rows differ in length only where the images' tensors do.

    They are kept as float64 only where the values were, else as float32, which holds all narrower types.
    `conversion` is what is said of values that are no plain numbers.
    """

    layer: Layer
    token: str = ""
    conversion: str = ""
    images: list[InputImage] = field(default_factory=list)
    rows: list[NDArray[np.floating[Any]]] = field(default_factory=list)

    def add(self, images: tuple[InputImage, ...], vectors: torch.Tensor) -> None:
        """Append copies of the `vectors` (N, D), floating, of N images."""
        dtype = torch.float64 if vectors.dtype == torch.float64 else torch.float32
        self.images.extend(images)
        self.rows.extend(vectors.detach().cpu().to(dtype, copy=True).numpy())

    @property
    def name(self) -> str:
        """What the vectors are of: `fc`, or `the class token of blocks.0.norm1`."""
        return f"the {self.token} of {self.layer.name}" if self.token else self.layer.name

    @property
    def described(self) -> str:
        """The same with what the layer is."""
        layer = describe_layer(self.layer)
        return f"the {self.token} of {layer}" if self.token else layer

    @property
    def view(self) -> str:
        """The token's name as files bear it; empty for the vectors of a whole layer."""
        return slugify(self.token.replace(" ", "-")) if self.token else ""

    @property
    def file(self) -> str:
        """The table's path under data/."""
        return f"tokens/{self.layer.slug}/{self.view}.csv" if self.token else f"vectors/{self.layer.slug}.csv"

    @property
    def units(self) -> int:
        return max(row.size for row in self.rows)

    @cached_property
    def values(self) -> NDArray[np.float64]:
        """All values of all images, one after the other."""
        return np.concatenate(self.rows).astype(np.float64)

    def exact_rows(self) -> Iterator[NDArray[np.float64]]:
        """The rows as float64."""
        ends = np.cumsum([row.size for row in self.rows])
        return iter(np.split(self.values, ends[:-1]))

    @cached_property
    def ends(self) -> tuple[float, float]:
        """The smallest and largest finite value, NaN where there is none."""
        known = self.values[np.isfinite(self.values)]
        return (float(known.min()), float(known.max())) if known.size else (float("nan"), float("nan"))

    @cached_property
    def holes(self) -> tuple[int, int]:
        """How many values are NaN, and how many infinite."""
        return int(np.isnan(self.values).sum()), int(np.isinf(self.values).sum())

    @property
    def range(self) -> str:
        """`from −1.25 to 3.5`."""
        low, high = self.ends
        if low == high:
            return f"all {describe_number(low)}" if self.values.size > 1 else describe_number(low)
        return "none of them finite" if low != low else f"from {describe_range(low, high)}"

    @property
    def facts(self) -> dict[str, Any]:
        """What the data of every figure of the table hold."""
        missing, infinite = self.holes
        token = {"token": self.token} if self.token else {}
        return {
            **token,
            "units": self.units,
            "images": [image.id for image in self.images],
            "nan": missing,
            "infinite": infinite,
        }

    def top(self) -> dict[str, list[list[float | int | None]]]:
        """By image, the units with the largest finite values, [unit, value] each; of equal ones the lower first."""
        return {image.id: _top(row) for image, row in zip(self.images, self.exact_rows(), strict=True)}

    def csv(self) -> bytes:
        """A row a unit, a column an image; an empty cell where an image has no such unit."""
        columns = [[format(value, _digits(row)) for value in row.tolist()] for row in self.rows]
        columns = [column + [""] * (self.units - len(column)) for column in columns]
        rows = ([unit, *cells] for unit, cells in enumerate(zip(*columns, strict=True)))
        return csv_bytes(["unit", *(image.id for image in self.images)], rows)


def _digits(row: NDArray[np.floating[Any]]) -> str:
    """As many digits as bring a value back exactly."""
    return ".17g" if row.dtype == np.float64 else ".9g"


def _top(row: NDArray[np.float64]) -> list[list[float | int | None]]:
    places = np.flatnonzero(np.isfinite(row))
    best = places[np.argsort(-row[places], kind="stable")[:TOP_UNITS]]
    return [[int(unit), json_number(float(row[unit]))] for unit in best]
