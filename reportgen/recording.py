"""What a build measured, as the record of it."""

import dataclasses
import json
import platform
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

import reportgen
from reportgen.figures.base import FigureKind
from reportgen.inputs.identity import source_sha256, state_sha256
from reportgen.inputs.images import BadImage
from reportgen.inputs.models import Model
from reportgen.inputs.precision import device_name
from reportgen.inputs.weights import SEED
from reportgen.ledger import Ledger, kind_entries
from reportgen.names import as_written
from reportgen.network.base import Network
from reportgen.network.isolation import count_parameters, device_and_dtype
from reportgen.options import Options, source_date
from reportgen.privacy import anonymous_options, private, recorded_value
from reportgen.site.illustrations import Illustrated
from reportgen.site.record import ModelEntry, Record, SkippedImageEntry

_EXTRAS = {"timm": ("timm",), "hf": ("transformers",)}
"""The packages that models of a source come from."""


def make_record(
    model: Model,
    network: Network,
    ledger: Ledger,
    kinds: Sequence[FigureKind],
    captions: Illustrated,
    options: Options,
    bad: Sequence[BadImage],
    notes: Sequence[str],
) -> Record:
    """Return what report.json will hold: nothing in it names a person or a machine."""
    entry = ModelEntry(
        spec=model.spec,
        class_name=type(model.module).__name__,
        parameters=count_parameters(model.module),
        weights=model.weights,
        weights_sha256=model.weights_sha256,
        random_weights=model.random_weights,
        preprocess=model.preprocess.description,
        tracer=network.tracer,
        tracer_reason=network.tracer_reason,
        state_sha256=state_sha256(model.module),
        source_sha256=None if options.anonymous else source_sha256(model.module, model.factory_file),
    )
    record = Record(
        title=options.title or f"{model.spec.removeprefix('torchvision:')}, layer by layer",
        model=entry,
        images=ledger.images,
        layers=ledger.layers(),
        figures=ledger.figures,
        kinds=kind_entries(kinds),
        problems=ledger.problems,
        captions=captions.texts,
        environment=environment(model),
        options=recorded_options(options),
        generator=f"reportgen {reportgen.__version__}",
        statistics_images=ledger.statistics_images,
        proof=ledger.proof,
        skipped_images=[SkippedImageEntry(image.name, image.reason) for image in bad],
        notes=list(notes),
        illustrations=list(captions.entries),
    )
    return private(record, anonymous=options.anonymous)


def environment(model: Model) -> dict[str, str]:
    """What the numbers may depend on besides the inputs; nothing that names a person or a machine.

    The time of day is not in it, so that the same inputs give the same bytes, unless SOURCE_DATE_EPOCH gives one.
    """
    packages = ["torch", "torchvision", "numpy", "pillow", "matplotlib", *_EXTRAS.get(model.source, ())]
    versions = {package: version(package) for package in packages}
    device = device_name(device_and_dtype(model.module)[0])
    date = source_date()
    return {
        "reportgen": reportgen.__version__,
        "python": platform.python_version(),
        **versions,
        "device": device,
        "threads": str(torch.get_num_threads()),
        "seed": str(SEED),
        **({"date": date} if date else {}),
    }


def recorded_options(options: Options) -> dict[str, Any]:
    """The options as the record holds them: JSON values, of paths only the last part."""
    values = dataclasses.asdict(dataclasses.replace(options, model_arg={}))
    for path in ("captions", "templates", "weights", "statistics"):
        values[path] = as_written(Path(values[path]).absolute().name) if values[path] else None
    values["model_arg"] = {name: _recorded_argument(value) for name, value in options.model_arg.items()}
    kept = {name: value for name, value in values.items() if name not in ("force", "quiet", "resume", "timings")}
    if options.anonymous:
        kept = anonymous_options(kept)
    return dict(json.loads(json.dumps(kept)))  # lists for tuples: the record in memory is the one on disk


def _recorded_argument(value: Any) -> Any:
    """A value as JSON can hold it; of what it can't, such as a class, the name or the type."""
    try:
        return recorded_value(json.loads(json.dumps(value, allow_nan=False)))
    except (TypeError, ValueError):
        return getattr(value, "__qualname__", None) or (
            str(value) if isinstance(value, float) else type(value).__name__
        )
