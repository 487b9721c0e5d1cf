"""A site built once more, to see whether the same inputs give the same bytes. Nothing is written anywhere."""

import dataclasses
import hashlib
import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from reportgen.driver import Plan, Spec, make_plan, measured, publishable
from reportgen.errors import InputError, UsageError
from reportgen.inputs.images import ImageSource, Item, sha256_of_image
from reportgen.inputs.weights import find_file, sha256_of
from reportgen.names import listed
from reportgen.options import Options, make_options
from reportgen.site.illustrations import Illustrated
from reportgen.site.manifest import Sums, read_manifest
from reportgen.site.record import FILE_NAME, Record, json_parts, read_record
from reportgen.site.verify import Difference, compare
from reportgen.timings import Timings

_PATHS = ("captions", "templates", "weights", "statistics")
"""The options of which the record holds the last part only."""


@dataclass(frozen=True)
class Rebuilt:
    """How a site differs from one that is built of the same inputs now, and what else is not as it was then."""

    difference: Difference
    notes: tuple[str, ...]
    """`torch was 2.5.0, is 2.6.0`: a line for each version, device or number of threads that is another."""


def rebuild(
    site: Path,
    spec: Spec | None = None,
    items: Iterable[Item] = (),
    *,
    weights: str | os.PathLike[str] | None = None,
    statistics: Path | None = None,
    templates: Path | None = None,
    directory: Path | None = None,
    quiet: bool = False,
) -> Rebuilt:
    """Build `site` again with the options that it records, and compare every file's hash with its SHA256SUMS.

    `spec`, `items`, `weights` (a file) and `statistics` and `templates` (directories) are what the site was built
    from; the record names them without their directories, and holds hashes of what was measured, which are checked
    before anything is run. Without `spec` the recorded one is taken. Captions and title are those of the record.

    Raises UsageError when an input is needed that is not given, InputError when one is not what it was.
    """
    record, expected = read_record(site), read_manifest(site)
    base = directory or Path.cwd()
    directories = {"statistics": statistics, "templates": templates}
    options = _options(record, weights, directories, base, quiet=quiet)
    wanted = spec if spec is not None else _recorded_spec(record)
    given = list(items)
    if not given:
        raise UsageError(f"{site}: give its images again: {listed([image.name for image in record.images])}")
    plan = make_plan(wanted, given, options, directory, _captions(site, record))
    _check_source(wanted, record, base)
    _check_images(plan, record)
    sums = Sums()
    with _threads(record.environment.get("threads")):
        found, rendered = publishable(_as_recorded(measured(plan, sums, Timings()), record), plan)
    for name, content in rendered.items():
        sums.write(name, content)
    sums.write_parts(FILE_NAME, json_parts(found))
    return Rebuilt(compare(expected, sums.sums), tuple(_notes(record.environment, found.environment)))


def _captions(site: Path, record: Record) -> Illustrated:
    """The captions with the pictures that the site has; one that it lacks stays missing."""
    files = {name: (site / name).read_bytes() for name in record.illustrated if (site / name).is_file()}
    return Illustrated(record.captions, record.illustrations, files)


def _options(
    record: Record,
    weights: str | os.PathLike[str] | None,
    directories: Mapping[str, Path | None],
    base: Path,
    *,
    quiet: bool,
) -> Options:
    """The recorded options, with the paths of which the record holds the last part only."""
    values = {name: value for name, value in record.options.items() if name not in _PATHS}
    chosen = _weights(record, weights, base)
    for option, given in directories.items():
        name = record.options.get(option)
        if name and not given:
            raise UsageError(f"the site was built with --{option} {name}; give the path of that directory")
    return make_options({**values, **directories, "weights": chosen, "quiet": quiet})


def _weights(record: Record, weights: str | os.PathLike[str] | None, base: Path) -> str | None:
    recorded = record.options.get("weights")
    if recorded in (None, "default", "none"):
        if weights not in (None, recorded):
            raise UsageError(f"the site was built with --weights {recorded or 'default'}; leave --weights out")
        return recorded
    if weights is None:
        raise UsageError(f"the site was built with --weights {recorded}; give the path of that file")
    path = find_file(os.fspath(weights), base)
    _check(f"weights {path.name}", sha256_of(path), record.model.weights_sha256)
    return str(path.absolute())


def _recorded_spec(record: Record) -> str:
    if record.model.weights == "as given":
        raise UsageError(
            f"the site was built from a module in Python, a {record.model.class_name}, that no MODEL names; "
            "call reportgen.rebuild with it"
        )
    if record.options.get("anonymous"):
        raise UsageError(
            f"the site is anonymous and names of its model the class only, {record.model.class_name}; give MODEL"
        )
    return record.model.spec


def _check_source(spec: Spec, record: Record, base: Path) -> None:
    """Check the hash of a model's file before it is run; of another class it is compared with the record later."""
    path = base / Path(spec.rpartition(":")[0]).expanduser() if isinstance(spec, str) else None
    if path and path.suffix == ".py" and path.is_file():
        _check(f"model {spec}", hashlib.sha256(path.read_bytes()).hexdigest(), record.model.source_sha256)


def _check_images(plan: Plan, record: Record) -> None:
    """Check that the images given are those of the record, each with its hash."""
    left_out = {image.name for image in record.skipped_images}
    drawn = [source for source in plan.sources if source.name not in left_out]
    further = [source for source in plan.further if source.name not in left_out]
    _check_hashes(drawn, [(image.name, image.sha256) for image in record.images])
    _check_hashes(further, [(image.name, image.sha256) for image in record.statistics_images])


def _check_hashes(sources: Iterable[ImageSource], recorded: list[tuple[str, str]]) -> None:
    found = [(source.name, sha256_of_image(source)) for source in sources]
    hashes = dict(recorded)
    for name, digest in found:
        if name in hashes and (name, digest) not in recorded:
            _check(name, digest, hashes[name])
    missing = [name for name, digest in recorded if (name, digest) not in found]
    if missing:
        raise InputError(f"{listed(missing)}: the site was built from it too; give all its images")
    added = [name for name, digest in found if (name, digest) not in recorded]
    if added:
        raise InputError(f"{listed(added)}: the site was not built from it; give its images only")


def _check(what: str, found: str, recorded: str | None) -> None:
    if recorded and found != recorded:
        raise InputError(
            f"{what}: not what the site was built from: SHA-256 is {found[:12]}…, recorded is {recorded[:12]}…; "
            "give the file of then"
        )


def _as_recorded(found: Record, record: Record) -> Record:
    """What was rebuilt, with what the user may have changed since (`reportgen render`), with short paths, and with
    the notes of then: they tell of memory, which another machine may have more of.
    """
    paths = {name: record.options.get(name) for name in _PATHS}
    return dataclasses.replace(
        found,
        title=record.title,
        captions=record.captions,
        illustrations=record.illustrations,
        options={**found.options, **paths},
        notes=record.notes,
    )


def _notes(then: Mapping[str, Any], now: Mapping[str, Any]) -> Iterator[str]:
    for name in sorted(then.keys() | now.keys()):
        if then.get(name) != now.get(name):
            yield f"{name} was {then.get(name, 'not recorded')}, is {now.get(name, 'not known')}"


@contextmanager
def _threads(recorded: str | None) -> Iterator[None]:
    """Compute with as many threads as then: sums may come out otherwise in another order."""
    before = torch.get_num_threads()
    try:
        if recorded and recorded.isdecimal() and int(recorded) > 0:
            torch.set_num_threads(int(recorded))
        yield
    finally:
        torch.set_num_threads(before)
