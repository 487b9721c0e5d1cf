"""The largest setting of the ladder whose file is small enough."""

import hashlib
from pathlib import Path

from reportgen.errors import UsageError
from reportgen.packing.ladder import LADDER, Setting
from reportgen.packing.reduction import Reduced, Reducer
from reportgen.packing.sizes import megabytes
from reportgen.site.pack import ZIP, Packing, form_of, plan
from reportgen.site.record import FILE_NAME, to_json
from reportgen.site.render import render
from reportgen.site.source import Source


def fit(source: Source, out: Path, limit: int, size: int) -> tuple[Packing, tuple[str, ...]]:
    """Return what of `source` fits into `limit` bytes as the file `out`, and a sentence for all that was reduced.

    Each setting that is tried is measured by making its pictures, one at a time. `size` is that of the file as it
    is. Raises UsageError when the smallest is too large, and for a site with templates of its own, whose pages
    can't be written again.
    """
    own = source.record.options.get("templates")
    if own:
        raise UsageError(
            f"{out.name} has {megabytes(size)} MB as it is, and pages made with the templates {str(own)!r} can't "
            "be written again; allow a larger --max-size, or `reportgen render` a copy with --templates none"
        )
    fitter = _Fitter(source, out)
    packing, reduced = fitter.measure(LADDER[-1])
    if packing.size > limit:
        raise UsageError(
            f"{out.name} needs at least {_exactly(min(packing.size, size), limit)} MB at the smallest setting, "
            f"{megabytes(size)} MB as it is, and --max-size is {_exactly(limit, packing.size)} MB"
        )
    # Each setting is smaller than the one before, so the first that fits is found by halving.
    low, high = 0, len(LADDER) - 1
    while low < high:
        middle = (low + high) // 2
        candidate, record = fitter.measure(LADDER[middle])
        if candidate.size <= limit:
            high, packing, reduced = middle, candidate, record
        else:
            low = middle + 1
    return packing, tuple(reduced.record.reductions)


def _exactly(size: int, other: int) -> str:
    """In MB, with as many digits as tell the two apart."""
    return megabytes(size) if megabytes(size) != megabytes(other) else f"{size / 1e6:.6f}"


class _Fitter:
    def __init__(self, source: Source, out: Path) -> None:
        self._source, self._out = source, out
        self._reducer = Reducer(source)

    def measure(self, setting: Setting) -> tuple[Packing, Reduced]:
        reduced = self._reducer.reduce(setting, tell_vectors=form_of(self._out) == ZIP)
        return plan(reduced_source(self._source, reduced), self._out), reduced


def reduced_source(source: Source, reduced: Reduced) -> Source:
    """Return the site that the reduced report is: kept files, pictures made anew when they are read, new pages."""
    rendered = {**render(reduced.record).contents, FILE_NAME: to_json(reduced.record)}
    pages = {name: text.encode() if isinstance(text, str) else text for name, text in rendered.items()}
    gone = {job.source for job in reduced.jobs.values()} | reduced.dropped
    shown = reduced.record.illustrated
    kept = [name for name in source.sizes if (name in shown or not _is_page(name)) and name not in gone]
    sizes = {name: source.sizes[name] for name in kept}
    sums = {name: source.sums[name] for name in kept}

    def read(name: str) -> bytes:
        if name in reduced.jobs:
            job = reduced.jobs[name]
            return job.make(source.read(job.source))
        return pages[name] if name in pages else source.read(name)

    for name in (*reduced.jobs, *pages):
        content = read(name)
        sizes[name], sums[name] = len(content), hashlib.sha256(content).hexdigest()
    return Source(reduced.record, sizes, sums, read)


def _is_page(name: str) -> bool:
    return name.endswith(".html") or name.startswith("static/") or name == FILE_NAME
