"""What `reportgen nodes` prints: every node of a model, with the shape of what it computes."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch

from reportgen.entities import Activation, Failure
from reportgen.inputs.batches import blank
from reportgen.inputs.models import load_model
from reportgen.network.base import Settings
from reportgen.network.isolation import device_and_dtype, untouched
from reportgen.network.tracing import trace_model

Row = Mapping[str, Any]


def list_nodes(
    spec: str,
    *,
    weights: str | None = None,
    size: tuple[int, int] | None = None,
    deep: bool = False,
    tracer: str = "auto",
    arguments: Mapping[str, Any] | None = None,
    device: str = "",
    dtype: str = "",
) -> list[Row]:
    """Return a row a node: name, op, module_type, target, shape, dtype, layout, and why it would not be drawn.

    Shapes are those of one blank image of the model's own input size. Weights are not loaded unless asked for,
    since shapes do not depend on them. Raises InputError and UsageError as `build` does.
    """
    model = load_model(spec, weights=weights or "none", size=size, arguments=arguments, device=device, dtype=dtype)
    batch = blank(model.preprocess, model.form, *device_and_dtype(model.module))
    with untouched(model.module):
        settings = Settings(precision=model.precision)
        network = trace_model(model.module, batch, tracer=tracer, deep=deep, settings=settings)
        return [_row(event) for event in network.walk(batch)]


def _row(event: Activation | Failure) -> Row:
    layer = event.layer
    row = {"name": layer.name, "op": layer.op, "module_type": layer.module_type, "target": layer.target}
    if isinstance(event, Failure):
        return {**row, "shape": None, "dtype": None, "layout": "", "reason": event.reason}
    shape = list(event.value.shape) if isinstance(event.value, torch.Tensor) else None
    dtype = str(event.value.dtype).removeprefix("torch.") if isinstance(event.value, torch.Tensor) else None
    return {
        **row,
        "shape": shape,
        "dtype": dtype,
        "layout": event.reading.layout,
        "reason": event.reading.reason,
    }


def table(rows: Sequence[Row]) -> str:
    """Return `rows` as an aligned table with a heading line."""
    cells = [("NAME", "OP", "MODULE", "SHAPE")]
    cells += [(row["name"], row["op"], row["module_type"] or "-", _shape(row)) for row in rows]
    widths = [max(len(line[column]) for line in cells) for column in range(3)]
    return "\n".join(
        "  ".join(text.ljust(width) for text, width in zip(line[:3], widths, strict=True)) + "  " + line[3]
        for line in cells
    )


def _shape(row: Row) -> str:
    if row["shape"] is None:
        return f"({row['reason']})"
    return " × ".join(map(str, row["shape"])) or "a single number"
