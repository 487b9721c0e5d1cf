"""The driver: model and images in, site out. The only wiring."""

import dataclasses
import platform
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

from torch import nn

import reportgen
from reportgen.entities import Activation, Batch, Failure
from reportgen.errors import IncompleteError
from reportgen.figures.base import FigureKind, FigureOptions
from reportgen.figures.registry import figure_kinds
from reportgen.inputs.batches import batches
from reportgen.inputs.images import ImageSource, Item, find_images
from reportgen.inputs.models import Model, load_model
from reportgen.ledger import Ledger, kind_entries
from reportgen.measuring import measure
from reportgen.network.capture import stream
from reportgen.network.graph import (
    buffers_kept,
    count_parameters,
    device_and_dtype,
    evaluating,
    select,
    trace,
    untouched,
)
from reportgen.numerics.scaling import parse_scale
from reportgen.options import Options
from reportgen.progress import Progress
from reportgen.site.captions import read_captions
from reportgen.site.record import FILE_NAME, ModelEntry, Record, to_json
from reportgen.site.render import render
from reportgen.site.writer import SiteWriter, figure_stem

Spec = str | nn.Module


@dataclass(frozen=True)
class Report:
    """A finished site: where it is, what it records, and what the user should hear about it."""

    site: Path
    record: Record
    warnings: tuple[str, ...]
    files: int
    bytes: int
    seconds: float

    @property
    def address(self) -> str:
        """The `file://` address of the site's index."""
        return (self.site / "index.html").as_uri()

    @property
    def complete(self) -> bool:
        """Whether every node and figure succeeded."""
        return not self.record.problems


def build_report(
    spec: Spec, items: Iterable[Item], out: Path, options: Options, directory: Path | None = None
) -> Report:
    """Build the site `out` that shows what every selected node of a model did with `items`.

    `directory` is where relative paths in `spec` start. Raises ReportError; whatever is raised, the target is
    then as it was, and so is a module that was passed in.
    """
    started = time.perf_counter()
    kinds = figure_kinds(_figure_options(options), options.figures)
    captions = read_captions(options.captions).texts if options.captions else {}
    sources = find_images(items)
    with SiteWriter(out, force=options.force) as writer:
        model = _load(spec, options, directory)
        with untouched(model.module):
            network = trace(model.module, deep=options.deep)
            selection = select(network.layers, options.nodes, options.exclude)
            ledger = Ledger(network, selection)
            slugs = {layer.name: layer.slug for layer in network.layers}
            with Progress(len(sources), len(selection.names), quiet=options.quiet) as progress:
                waiting = _batches(model, sources, options)
                for figure in measure(network, selection, waiting, kinds, ledger, progress):
                    stem = figure_stem(
                        figure.kind, figure.image, slugs.get(figure.layer or ""), figure.data.get("view", "")
                    )
                    files = writer.write_figure(stem, figure.files)
                    ledger.add_figure(figure, files)
        record = _record(model, ledger, kinds, captions, options)
        _check_complete(record, options)
        rendered = render(record)
        for name, text in {**rendered.files, FILE_NAME: to_json(record)}.items():
            writer.write(name, text)
        writer.publish()
    seconds = time.perf_counter() - started
    return Report(writer.target, record, tuple(rendered.warnings), writer.files, writer.bytes_written, seconds)


def stream_activations(spec: Spec, items: Iterable[Item], options: Options) -> Iterator[Activation]:
    """Yield what each selected node computes for `items`; see `reportgen.stream`."""
    sources = find_images(items)
    model = _load(spec, options, None)
    # Not `untouched`: between two activations, the random state is the consumer's.
    with buffers_kept(model.module), evaluating(model.module):
        network = trace(model.module, deep=options.deep)
        selection = select(network.layers, options.nodes, options.exclude)
        for event in stream(network, _batches(model, sources, options), selection.names):
            if isinstance(event, Failure):
                raise IncompleteError(f"{event.layer.name}: {event.reason}")
            yield event


def _load(spec: Spec, options: Options, directory: Path | None) -> Model:
    return load_model(
        spec,
        weights=options.weights,
        size=options.size,
        mean=options.mean,
        std=options.std,
        directory=directory,
    )


def _batches(model: Model, sources: Sequence[ImageSource], options: Options) -> Iterator[Batch]:
    device, dtype = device_and_dtype(model.module)
    normalised = options.mean is not None
    return batches(sources, model.preprocess, options.batch_size, device, dtype, tensors_normalised=normalised)


def _figure_options(options: Options) -> FigureOptions:
    return FigureOptions(parse_scale(options.scale), options.cmap, options.max_channels)


def _record(
    model: Model,
    ledger: Ledger,
    kinds: Sequence[FigureKind],
    captions: Mapping[str, str],
    options: Options,
) -> Record:
    entry = ModelEntry(
        spec=model.spec,
        class_name=type(model.module).__name__,
        parameters=count_parameters(model.module),
        weights=model.weights,
        weights_sha256=model.weights_sha256,
        random_weights=model.random_weights,
        preprocess=model.preprocess.description,
        tracer="fx",
        tracer_reason="torch.fx traced the whole forward pass",
    )
    return Record(
        title=options.title or f"{model.spec.removeprefix('torchvision:')}, layer by layer",
        model=entry,
        images=ledger.images,
        layers=ledger.layers(),
        figures=ledger.figures,
        kinds=kind_entries(kinds),
        problems=ledger.problems,
        captions=captions,
        environment=_environment(),
        options=_recorded(options),
        generator=f"reportgen {reportgen.__version__}",
    )


def _check_complete(record: Record, options: Options) -> None:
    if options.strict and record.problems:
        more = f" (and {len(record.problems) - 1} more)" if len(record.problems) > 1 else ""
        raise IncompleteError(
            f"{record.problems[0]}{more}; no site was written, since --strict asks for all or nothing"
        )


def _environment() -> dict[str, str]:
    """The versions that the numbers may depend on; nothing that names a person or a machine."""
    packages = ("torch", "torchvision", "numpy", "pillow", "matplotlib")
    versions = {package: version(package) for package in packages}
    return {"reportgen": reportgen.__version__, "python": platform.python_version(), **versions}


def _recorded(options: Options) -> dict[str, Any]:
    """The options as the record holds them: JSON values, of paths only the last part."""
    values = dataclasses.asdict(options)
    for path in ("captions", "weights"):
        values[path] = Path(values[path]).name if values[path] else None
    return {name: value for name, value in values.items() if name not in ("force", "quiet")}
