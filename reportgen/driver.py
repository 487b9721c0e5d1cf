"""The driver: model and images in, site out. The only wiring."""

import dataclasses
import gc
import json
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from functools import partial
from itertools import chain
from pathlib import Path

from torch import nn

from reportgen.checkpoint import Checkpoints, resumed
from reportgen.encoder import Encoder
from reportgen.entities import Activation, Batch, Failure
from reportgen.errors import IncompleteError, MemoryShortageError, UsageError, shortage_told
from reportgen.figures.base import Figure, FigureOptions, Subject
from reportgen.figures.layer_cka import batch_size, examples_with, images_are_examples, least_batch
from reportgen.figures.registry import check_kinds, figure_kinds, known_kinds, read_options
from reportgen.illustrating import encode
from reportgen.inputs.ahead import ahead
from reportgen.inputs.batches import batches, usable
from reportgen.inputs.forms import check_call
from reportgen.inputs.identity import state_sha256
from reportgen.inputs.images import (
    BadImage,
    ImageSource,
    Item,
    Skip,
    find_images,
    none_usable,
    sha256_of_image,
)
from reportgen.inputs.models import Model, load_model
from reportgen.ledger import Ledger
from reportgen.machine import cpus, memory_rooms
from reportgen.measuring import measure
from reportgen.memory import BatchSize, Job, estimate
from reportgen.names import slugify
from reportgen.network.base import Network, Provable, Settings, stream
from reportgen.network.footprint import Footprint
from reportgen.network.isolation import (
    RandomState,
    buffers_kept,
    device_and_dtype,
    evaluating,
    fresh_defaults,
    rehearsing,
    untouched,
)
from reportgen.network.proof import ProvedNetwork
from reportgen.network.selection import Selection, select
from reportgen.network.tracing import trace_model
from reportgen.options import Options, source_date
from reportgen.privacy import (
    anonymous_captions,
    anonymous_images,
    anonymous_model,
    anonymous_refusals,
    without_words,
)
from reportgen.progress import Progress
from reportgen.recording import environment, make_record, recorded_options
from reportgen.report import Report as Report
from reportgen.saving import Saver, saving
from reportgen.site.illustrations import Illustrated, read_illustrated
from reportgen.site.manifest import Sums
from reportgen.site.record import FILE_NAME, Record, json_parts
from reportgen.site.render import Rendered, check_theme, render
from reportgen.site.theme import PROBLEM, Theme
from reportgen.site.writer import SiteWriter, figure_stem
from reportgen.timings import Timings

Spec = str | nn.Module


@dataclass(frozen=True)
class Plan:
    """A build that is checked as far as it can be without the model. `further` feed the statistics only.

    `directory` is where relative paths in `spec` start; `bad` collects the images that are left out.
    """

    spec: Spec
    sources: tuple[ImageSource, ...]
    further: tuple[ImageSource, ...]
    options: Options
    figure_options: FigureOptions
    captions: Illustrated
    theme: Theme
    directory: Path | None = None
    bad: list[BadImage] = field(default_factory=list)

    @property
    def skip(self) -> Skip | None:
        """What is told of a bad image; None when one ends the build."""
        return self.bad.append if self.options.skip_bad else None


def build_report(
    spec: Spec, items: Iterable[Item], out: Path, options: Options, directory: Path | None = None
) -> Report:
    """Build the site `out` that shows what every selected node of a model did with `items`.

    `directory` is where relative paths in `spec` start. Raises ReportError; whatever is raised, the target is
    then as it was, and so is a module that was passed in.
    """
    timings = Timings()
    plan = make_plan(spec, items, options, directory)
    with SiteWriter(out, force=options.force, resume=options.resume) as writer:
        record = measured(plan, writer, timings, writer if options.resume else None)
        with timings.of("render"):
            record, rendered = publishable(record, plan)
            for name, content in rendered.items():
                writer.write(name, content)
            writer.write_parts(FILE_NAME, json_parts(record))
        with timings.of("publish"):
            writer.publish()
    if options.timings:
        print(timings.table(), file=sys.stderr)  # noqa: T201 - what was asked for
    warnings = tuple(rendered.warnings)
    return Report(writer.target, record, warnings, writer.files, writer.bytes_written, timings.whole, timings)


def make_plan(
    spec: Spec,
    items: Iterable[Item],
    options: Options,
    directory: Path | None = None,
    captions: Illustrated | None = None,
) -> Plan:
    """Check what can be checked before a model is loaded: options, captions (unless given), images. ReportError."""
    source_date()
    figure_options = _check_early(options)
    theme = Theme(options.templates)
    check_theme(theme)
    if captions is None:
        captions = read_illustrated(options.captions, encode) if options.captions else Illustrated()
    bad: list[BadImage] = []
    skip = bad.append if options.skip_bad else None
    sources = find_images(items, skip, options.max_pixels)
    further = find_images([options.statistics], skip, options.max_pixels) if options.statistics else ()
    plan = Plan(spec, sources, further, options, figure_options, captions, theme, directory, bad)
    return _anonymous(plan) if options.anonymous else plan


def _anonymous(plan: Plan) -> Plan:
    """The plan with images by number, and their captions with them."""
    sources = anonymous_images(plan.sources)
    return dataclasses.replace(
        plan,
        sources=sources,
        further=anonymous_images(plan.further, "statistics image"),
        options=without_words(plan.options),
        captions=anonymous_captions(plan.captions, plan.sources, sources),
        bad=anonymous_refusals(plan.bad),
    )


def measured(plan: Plan, writer: Sums, timings: Timings, resuming: SiteWriter | None = None) -> Record:
    """Walk the network for all images, write the figures and data files, and return the record of it all.

    `resuming` is the writer where the build may go on from a checkpoint, and leaves some. Raises
    MemoryShortageError, before anything is drawn, where limits on memory leave too little room; where memory runs
    out all the same, it is begun anew with batches of half the size, so that nothing is counted twice.
    """
    with Encoder() as encoder:
        if _threads(resuming) > 1:
            encoder.start()
        return _measured(plan, writer, timings, resuming, encoder)


def _threads(resuming: SiteWriter | None) -> int:
    """How many threads make figures; one where checkpoints are left, which know of files that are written alone."""
    return 1 if resuming else cpus()


def _measured(plan: Plan, writer: Sums, timings: Timings, resuming: SiteWriter | None, encoder: Encoder) -> Record:
    with timings.of("load the model"), shortage_told("while the model was loaded"):
        model = _load(plan.spec, plan.options, plan.directory)
        if plan.options.anonymous:
            model = anonymous_model(model)
    with untouched(model.module), _defaults(plan.spec):
        if plan.skip:
            sources, further = (
                usable(part, model.preprocess, model.form, plan.skip) for part in (plan.sources, plan.further)
            )
            plan = dataclasses.replace(plan, sources=sources, further=further)
    bad = list(plan.bad)
    size, network = _batch_size(plan, model, timings)
    while True:
        plan.bad[:] = bad
        try:
            with shortage_told(f"in a batch of {size.largest}"):
                return _walked(plan, model, size, network, writer, timings, resuming, encoder)
        except MemoryShortageError as error:
            size, network = size.halved(error), None
        gc.collect()  # what the walk held goes with its traceback
        writer.start_anew()


def _batch_size(plan: Plan, model: Model, timings: Timings) -> tuple[BatchSize, Provable | None]:
    """How many images a forward pass compares, and the network where it had to be learned to find that out."""
    options, images = plan.options, (len(plan.sources), len(plan.further))
    wanted = _images_a_pass(model, options, sum(images))
    least = min(wanted, least_batch(_examples(options)))
    compared = max(images) if images_are_examples(_examples(options), sum(images)) else 1
    size = BatchSize(wanted, wanted, compared, least, given=bool(options.batch_size))
    rooms = memory_rooms()
    if not rooms or not plan.sources:
        return size, None
    with untouched(model.module), _defaults(plan.spec), shortage_told("in a forward pass of one image"):
        first = next(_batches(model, plan.sources, (), options, plan.skip, 1), None)
        if first is None:
            return size, None
        footprint = Footprint()
        with timings.of("trace"):
            network = _network(model, first, options, footprint)
    names = select(network.layers, options.nodes, options.exclude).names
    job = Job(
        kinds=options.figures or tuple(known_kinds()),
        images=images[0],
        picture=first.tensor.nbytes + sum(3 * one.width * one.height for one in first.images),
        threads=cpus(),
        arrays=options.arrays,
        correlates=options.channel_similarity == "correlation",
        on_cpu=first.tensor.device.type == "cpu",
    )
    size = size.within(estimate(footprint, names, job), rooms)
    return size, network if size.largest == 1 else None


def _images_a_pass(model: Model, options: Options, images: int) -> int:
    """How many images a forward pass should take, of so many."""
    return model.form.batch_size(batch_size(options.batch_size, _examples(options), images))


def _examples(options: Options) -> str:
    """What the examples of layer CKA are; where none is drawn, batches needn't be large enough for it."""
    drawn = not options.figures or "layer_cka" in options.figures
    return options.cka_examples if drawn else "positions"


def _walked(
    plan: Plan,
    model: Model,
    size: BatchSize,
    network: Provable | None,
    writer: Sums,
    timings: Timings,
    resuming: SiteWriter | None,
    encoder: Encoder,
) -> Record:
    """The record of a walk in batches of `size`; `network` where it is known already."""
    sources, further = plan.sources, plan.further
    options = dataclasses.replace(plan.options, batch_size=size.used)
    if size.lowered:
        examples = examples_with(options.cka_examples, len(sources) + len(further), size.used)
        options = dataclasses.replace(options, cka_examples=examples)
    # Batches of one image have no pairs of images to compare.
    alone = model.form.most == 1 and options.cka_examples == "auto"
    figure_options = dataclasses.replace(
        plan.figure_options, cka_examples="positions" if alone else options.cka_examples
    )
    threads = _threads(resuming)
    with untouched(model.module), _defaults(plan.spec):
        with timings.of("decode"):
            coming = _batches(model, sources, further, options, plan.skip, size.largest)
            first, waiting = _peek(coming, threads)
        if first is None or not sources:
            raise none_usable(plan.bad)
        if network is None:
            with timings.of("trace"):
                network = _network(model, next(first.singles), options)
        selection = select(network.layers, options.nodes, options.exclude)
        subject = _subject(network, selection, model, options, len(sources), len(further))
        kinds = figure_kinds(figure_options, subject, options.figures)
        ledger = Ledger(network, selection, writer.scratch())
        if resuming:
            identity = _identity(plan, model, options)
            waiting = resumed(waiting, Checkpoints(identity, network, kinds, ledger), resuming)
        proved = ProvedNetwork(network, model.module, model.precision, ledger, prove=options.prove)
        with (
            Progress(len(sources) + len(further), len(subject.layers), quiet=options.quiet) as progress,
            saving(_saver(writer, ledger, threads - 1, timings, encoder)) as saver,
        ):
            aside = partial(rehearsing, model.module)
            for product in measure(proved, selection, waiting, kinds, ledger, progress, timings, threads, aside):
                saver.save(product)
    if not ledger.images:
        raise none_usable(plan.bad)
    record = make_record(model, network, ledger, kinds, plan.captions, options, plan.bad, size.notes)
    _check_complete(record, options)
    return record


def _saver(writer: Sums, ledger: Ledger, threads: int, timings: Timings, encoder: Encoder) -> Saver:
    def place(figure: Figure) -> str:
        view = slugify(figure.data["view"]) if figure.data.get("view") else ""
        return figure_stem(figure.kind, figure.image, ledger.slug(figure.layer), view)

    def broken(figure: Figure, error: Exception) -> None:
        ledger.add_broken_figure(figure.kind, figure.layer, error)

    return Saver(writer, place, ledger.add_figure, broken, threads=threads, timings=timings, encoder=encoder)


def stream_activations(spec: Spec, items: Iterable[Item], options: Options) -> Iterator[Activation]:
    """Yield what each selected node computes for `items`; see `reportgen.stream`."""
    sources = find_images(items, max_pixels=options.max_pixels)
    model = _load(spec, options, None)
    # Not `untouched`: between two activations, the random state is the consumer's.
    drawn = RandomState()
    with buffers_kept(model.module), evaluating(model.module):
        size = _images_a_pass(model, options, len(sources))
        first, waiting = _peek(_batches(model, sources, (), options, None, size), threads=1)
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


def _network(model: Model, batch: Batch, options: Options, footprint: Footprint | None = None) -> Provable:
    check_call(model.module, batch.arguments, batch.kwargs)
    attention = not options.figures or "attention" in options.figures
    settings = Settings(model.precision, attention=attention, footprint=footprint)
    return trace_model(model.module, batch, tracer=options.tracer, deep=options.deep, settings=settings)


def _load(spec: Spec, options: Options, directory: Path | None) -> Model:
    with _defaults(spec):
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


def _defaults(spec: Spec) -> AbstractContextManager[None]:
    """A model from a spec is built with torch's own defaults; one that is passed in may count on the caller's."""
    return fresh_defaults() if isinstance(spec, str) else nullcontext()


def _batches(
    model: Model,
    sources: Sequence[ImageSource],
    further: Sequence[ImageSource],
    options: Options,
    skip: Skip | None,
    size: int,
) -> Iterator[Batch]:
    """The images that are drawn, then those that only feed the statistics, at most `size` at once."""
    device, dtype = device_and_dtype(model.module)
    for part, drawn in ((sources, True), (further, False)):
        yield from batches(
            part,
            model.preprocess,
            size,
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


def publishable(record: Record, plan: Plan) -> tuple[Record, Rendered]:
    """Return the pages, and the record that they are made of: with the built-in templates where the user's fail.

    The pictures of the captions come with the pages.

    What was measured is not thrown away for a slip in a template: that is told, and `reportgen render` mends it.
    """
    record, rendered = _rendered(record, plan)
    return record, dataclasses.replace(rendered, binaries={**rendered.binaries, **plan.captions.files})


def _rendered(record: Record, plan: Plan) -> tuple[Record, Rendered]:
    options = plan.options
    try:
        return record, render(record, plan.theme)
    except UsageError as error:
        told = str(error).replace(str(options.templates), Path(options.templates or "").name)  # not where it lies
        problem = f"{PROBLEM}{told}; the pages have the built-in ones until `reportgen render --templates` is run"
        plain = dataclasses.replace(
            record, problems=[*record.problems, problem], options={**record.options, "templates": None}
        )
        _check_complete(plain, options)
        return plain, render(plain)


def _identity(plan: Plan, model: Model, options: Options) -> str:
    """What a checkpoint must have been made of: the model, the images, the options and the versions."""
    sources = [[source.id, source.name, sha256_of_image(source)] for source in (*plan.sources, *plan.further)]
    told = (recorded_options(options), environment(model), model.preprocess.description, state_sha256(model.module))
    return json.dumps([sources, *told], default=str)


def _check_complete(record: Record, options: Options) -> None:
    if options.strict and record.problems:
        more = f" (and {len(record.problems) - 1} more)" if len(record.problems) > 1 else ""
        raise IncompleteError(
            f"{record.problems[0]}{more}; no site was written, since --strict asks for all or nothing"
        )
