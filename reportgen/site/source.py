"""The files of a finished site as something to read from, whole and unchanged since reportgen wrote them."""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from reportgen.errors import InputError
from reportgen.names import listed
from reportgen.site.manifest import MANIFEST
from reportgen.site.record import Record, read_record
from reportgen.site.verify import compare, expected_sums


@dataclass(frozen=True)
class Source:
    """A site to be packed: its record, and its files by path, SHA256SUMS left out.

    `sizes` are in bytes, `sums` are hexadecimal SHA-256, and `read` returns a file's content or raises InputError.
    """

    record: Record
    sizes: Mapping[str, int]
    sums: Mapping[str, str]
    read: Callable[[str], bytes]

    def text(self, name: str) -> str:
        return self.read(name).decode("utf-8")

    def pages(self) -> list[str]:
        """The paths of all pages in the order in which one reads them: the index, layers, images, the others."""
        named = [
            "index.html",
            *(f"layers/{layer.slug}.html" for layer in self.record.layers),
            *(f"images/{image.id}.html" for image in self.record.images),
        ]
        others = sorted(name for name in self.sizes if name.endswith(".html"))
        return [name for name in dict.fromkeys([*named, *others]) if name in self.sizes]


def open_site(site: Path) -> Source:
    """Return the site at `site` to read from.

    Raises InputError when it is no report, or when files are missing or differ from what SHA256SUMS says.
    """
    record = read_record(site)
    sums = expected_sums(site)
    difference = compare(sums, {name: _digest(site / name) for name in sums if (site / name).is_file()})
    faults = [_fault(difference.missing, "missing"), _fault(difference.changed, "changed since they were written")]
    if any(faults):
        raise InputError(f"{site}: not whole: {'; '.join(filter(None, faults))}; put them back, or build it again")
    if "index.html" not in sums:
        raise InputError(f"{site}: not whole: {MANIFEST} lists no index.html; build it again")
    sizes = {name: (site / name).stat().st_size for name in sums}
    return Source(record, sizes, sums, lambda name: _read(site / name))


def _fault(names: Sequence[str], what: str) -> str:
    return f"{len(names):,} file{'s' if len(names) > 1 else ''} {what} ({listed(names)})" if names else ""


def _digest(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise _unreadable(path, error) from None


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise _unreadable(path, error) from None


def _unreadable(path: Path, error: OSError) -> InputError:
    return InputError(f"{path}: can't be read: {error.strerror or error}")
