"""The driver: model and images in, site out. The only wiring."""

import dataclasses
import json
import platform
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from itertools import chain
from pathlib import Path
from typing import Any

from torch import nn

import reportgen
from reportgen.entities import Activation, Batch, Failure
from reportgen.errors import IncompleteError
from reportgen.figures.base import Figure, FigureKind, FigureOptions, Subject
from reportgen.figures.layer_cka import batch_size
from reportgen.figures.registry import check_kinds, figure_kinds, read_options
from reportgen.inputs.ahead import ahead
from reportgen.inputs.batches import batches, usable
from reportgen.inputs.forms import check_call
from reportgen.inputs.images import BadImage, ImageSource, Item, Skip, find_images, none_usable
from reportgen.inputs.models import Model, load_model
from reportgen.inputs.precision import device_name
from reportgen.ledger import Ledger, kind_entries
from reportgen.machine import cpus
from reportgen.measuring import measure
from reportgen.names import slugify
from reportgen.network.base import Network, Settings, stream
from reportgen.network.isolation import (
    RandomState,
    buffers_kept,
    count_parameters,
    device_and_dtype,
    evaluating,
    untouched,
)
from reportgen.network.selection import Selection, select
from reportgen.network.tracing import trace_model
from reportgen.options import Options
from reportgen.progress import Progress
from reportgen.saving import Saver, saving
from reportgen.site.captions import read_captions
from reportgen.site.record import FILE_NAME, ModelEntry, Record, SkippedImageEntry, to_json
from reportgen.site.render import render
from reportgen.site.writer import SiteWriter, figure_stem
from reportgen.timings import Timings

Spec = str | nn.Module

_EXTRAS = {"timm": ("timm",), "hf": ("transformers",)}
"""The packages that models of a source come from."""


@dataclass(frozen=True)
class Report:
    """A finished site: where it is, what it records, and what the user should hear about it."""

    site: Path
    record: Record
    warnings: tuple[str, ...]
    files: int
    bytes: int
    seconds: float
    timings: Timings
    """Where the time went."""

    @property
    def address(self) -> str:
        """The `file://` address of the site's index."""
        return (self.site / "index.html").as_uri()

    @property
    def complete(self) -> bool:
        """Whether every node and figure succeeded, and no image was left out."""
        return not self.record.problems and not self.record.skipped_images


def build_report(
    spec: Spec, items: Iterable[Item], out: Path, options: Options, directory: Path | None = None
) -> Report:
    """Build the site `out` that shows what every selected node of a model did with `items`.

    `directory` is where relative paths in `spec` start. Raises ReportError; whatever is raised, the target is
    then as it was, and so is a module that was passed in.
    """
    timings, threads = Timings(), cpus()
    figure_options = _check_early(options)
    captions = read_captions(options.captions).texts if options.captions else {}
    bad: list[BadImage] = []
    skip = bad.append if options.skip_bad else None
    sources = find_images(items, skip)
    further = find_images([options.statistics], skip) if options.statistics else ()
    with SiteWriter(out, force=options.force) as writer:
        with timings.of("load the model"):
            model = _load(spec, options, directory)
        if model.form.most == 1 and options.cka_examples == "auto":
            # Batches of one image have no pairs of images to compare.
            figure_options = dataclasses.replace(figure_options, cka_examples="positions")
        with untouched(model.module):
            if skip:
                sources, further = (usable(part, model.preprocess, model.form, skip) for part in (sources, further))
            with timings.of("decode"):
                first, waiting = _peek(_batches(model, sources, further, options, skip), threads)
            if first is None or not sources:
                raise none_usable(bad)
            with timings.of("trace"):
                network = _network(model, first, options)
            selection = select(network.layers, options.nodes, options.exclude)
            subject = _subject(network, selection, model, options, len(sources), len(further))
            kinds = figure_kinds(figure_options, subject, options.figures)
            ledger = Ledger(network, selection)
            with (
                Progress(len(sources) + len(further), len(subject.layers), quiet=options.quiet) as progress,
                saving(_saver(writer, ledger, threads, timings)) as saver,
            ):
                for product in measure(network, selection, waiting, kinds, ledger, progress, timings):
                    saver.save(product)
        if not ledger.images:
            raise none_usable(bad)
        record = _record(model, network, ledger, kinds, captions, options, bad)
        _check_complete(record, options)
        with timings.of("render"):
            rendered = render(record)
            for name, text in {**rendered.files, FILE_NAME: to_json(record)}.items():
                writer.write(name, text)
        with timings.of("publish"):
            writer.publish()
    if options.timings:
        print(timings.table(), file=sys.stderr)  # noqa: T201 - what was asked for
    return Report(
        writer.target, record, tuple(rendered.warnings), writer.files, writer.bytes_written, timings.whole, timings
    )


def _saver(writer: SiteWriter, ledger: Ledger, threads: int, timings: Timings) -> Saver:
    def place(figure: Figure) -> str:
        view = slugify(figure.data["view"]) if figure.data.get("view") else ""
        return figure_stem(figure.kind, figure.image, ledger.slug(figure.layer), view)

    def broken(figure: Figure, error: Exception) -> None:
        ledger.add_broken_figure(figure.kind, figure.layer, error)

    return Saver(writer, place, ledger.add_figure, broken, threads=threads, timings=timings)


def stream_activations(spec: Spec, items: Iterable[Item], options: Options) -> Iterator[Activation]:
    """Yield what each selected node computes for `items`; see `reportgen.stream`."""
    sources = find_images(items)
    model = _load(spec, options, None)
    # Not `untouched`: between two activations, the random state is the consumer's.
    drawn = RandomState()
    with buffers_kept(model.module), evaluating(model.module):
        first, waiting = _peek(_batches(model, sources, (), options, None), threads=1)
        if first is None:
            return
        with drawn.inside():
            network = _network(model, first, options)
        selection = select(network.layers, options.nodes, options.exclude)
        events = stream(network, waiting, selection.names)
        while True:
            with drawn.inside():
                event = next(events, None)
            if event is None:
                return
            if isinstance(event, Failure):
                raise IncompleteError(f"{event.layer.name}: {event.reason}")
            yield event


def _peek(batches: Iterator[Batch], threads: int) -> tuple[Batch | None, Iterator[Batch]]:
    """The first batch, from which nodes may have to be learned, and all of them; None where each image is bad.

    With several `threads`, one of them decodes the next batch while the network runs on this one.
    """
    coming = ahead(batches) if threads > 1 else batches
    first = next(coming, None)
    return first, chain([first], coming) if first is not None else coming


def _network(model: Model, batch: Batch, options: Options) -> Network:
    check_call(model.module, batch.arguments, batch.kwargs)
    settings = Settings(model.precision, attention=not options.figures or "attention" in options.figures)
    return trace_model(model.module, batch, tracer=options.tracer, deep=options.deep, settings=settings)


def _load(spec: Spec, options: Options, directory: Path | None) -> Model:
    return load_model(
        spec,
        weights=options.weights,
        size=options.size,
        mean=options.mean,
        std=options.std,
        directory=directory,
        arguments=options.model_arg,
        device=options.device,
        dtype=options.dtype,
    )


def _batches(
    model: Model,
    sources: Sequence[ImageSource],
    further: Sequence[ImageSource],
    options: Options,
    skip: Skip | None,
) -> Iterator[Batch]:
    """The images that are drawn, then those that only feed the statistics."""
    device, dtype = device_and_dtype(model.module)
    for part, drawn in ((sources, True), (further, False)):
        yield from batches(
            part,
            model.preprocess,
            batch_size(options.batch_size, options.cka_examples, len(sources) + len(further)),
            device,
            dtype,
            form=model.form,
            tensors_normalised=options.mean is not None,
            drawn=drawn,
            skip=skip,
        )


def _check_early(options: Options) -> FigureOptions:
    """Refuse what no model could make right, before one is loaded."""
    check_kinds(options.figures)
    asked = {field.name: getattr(options, field.name) for field in dataclasses.fields(FigureOptions)}
    return read_options(**asked)


def _subject(
    network: Network, selection: Selection, model: Model, options: Options, images: int, statistics: int
) -> Subject:
    layers = tuple(layer for layer in network.layers if layer.name in selection.names)
    return Subject(
        layers, network.outputs, network.module_of, options.categories or model.categories, images, statistics
    )


def _record(
    model: Model,
    network: Network,
    ledger: Ledger,
    kinds: Sequence[FigureKind],
    captions: Mapping[str, str],
    options: Options,
    bad: Sequence[BadImage],
) -> Record:
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
        environment=_environment(model),
        options=_recorded(options),
        generator=f"reportgen {reportgen.__version__}",
        skipped_images=[SkippedImageEntry(image.name, image.reason) for image in bad],
    )


def _check_complete(record: Record, options: Options) -> None:
    if options.strict and record.problems:
        more = f" (and {len(record.problems) - 1} more)" if len(record.problems) > 1 else ""
        raise IncompleteError(
            f"{record.problems[0]}{more}; no site was written, since --strict asks for all or nothing"
        )


def _environment(model: Model) -> dict[str, str]:
    """The versions and the device that the numbers may depend on; nothing that names a person or a machine."""
    packages = ["torch", "torchvision", "numpy", "pillow", "matplotlib", *_EXTRAS.get(model.source, ())]
    versions = {package: version(package) for package in packages}
    device = device_name(device_and_dtype(model.module)[0])
    return {"reportgen": reportgen.__version__, "python": platform.python_version(), **versions, "device": device}


def _recorded(options: Options) -> dict[str, Any]:
    """The options as the record holds them: JSON values, of paths only the last part."""
    values = dataclasses.asdict(dataclasses.replace(options, model_arg={}))
    for path in ("captions", "weights", "statistics"):
        values[path] = Path(values[path]).name if values[path] else None
    values["model_arg"] = {name: _recorded_argument(value) for name, value in options.model_arg.items()}
    kept = {name: value for name, value in values.items() if name not in ("force", "quiet", "timings")}
    return dict(json.loads(json.dumps(kept)))  # lists for tuples: the record in memory is the one on disk


def _recorded_argument(value: Any) -> Any:
    """A value as JSON can hold it; of what it can't, such as a class, the name or the type."""
    try:
        return json.loads(json.dumps(value, allow_nan=False))
    except (TypeError, ValueError):
        return getattr(value, "__qualname__", None) or (
            str(value) if isinstance(value, float) else type(value).__name__
        )
