"""A site's files against its manifest. Writes nothing and needs no torch."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from reportgen.errors import InputError, OutputError
from reportgen.site.manifest import MANIFEST, files_of, hash_of, read_manifest


@dataclass(frozen=True)
class Difference:
    """The files in which a site differs from what it should be, each tuple sorted by name.

    `changed` are there with another content, or are no plain files; `missing` should be there; `added` should not.
    `files` is how many were compared.
    """

    files: int
    changed: tuple[str, ...] = ()
    missing: tuple[str, ...] = ()
    added: tuple[str, ...] = ()

    @property
    def lines(self) -> Iterator[str]:
        """`changed index.html`, a line a file; control characters in a name are written as escapes."""
        for word in ("changed", "missing", "added"):
            yield from (f"{word} {_printable(name)}" for name in getattr(self, word))

    @property
    def summary(self) -> str:
        """`1 changed, 2 missing`; empty when nothing differs."""
        counts = {word: len(getattr(self, word)) for word in ("changed", "missing", "added")}
        return ", ".join(f"{count:,} {word}" for word, count in counts.items() if count)


def compare(expected: Mapping[str, str], found: Mapping[str, str]) -> Difference:
    """Return how the files `found` differ from those `expected`; both give hashes by name."""
    return Difference(
        files=len(expected),
        changed=tuple(sorted(name for name in expected if found.get(name, expected[name]) != expected[name])),
        missing=tuple(sorted(expected.keys() - found.keys())),
        added=tuple(sorted(found.keys() - expected.keys())),
    )


def expected_sums(site: Path) -> dict[str, str]:
    """Return the hash of each file in the site's SHA256SUMS, as what is read. Raises InputError."""
    try:
        return read_manifest(site)
    except OutputError as error:
        raise InputError(str(error)) from None


def verify(site: Path) -> Difference:
    """Return how the files of `site` differ from its SHA256SUMS.

    Raises InputError when there is no such directory, or no manifest that can be read.
    """
    if not site.is_dir():
        raise InputError(f"{site}: is no directory; give the directory of a report")
    expected = expected_sums(site)
    try:
        names = files_of(site) - {MANIFEST}
    except OSError as error:
        raise InputError(f"{site}: can't be read: {error.strerror}") from None
    return compare(expected, {name: hash_of(site / name) if name in expected else "" for name in names})


def _printable(name: str) -> str:
    return "".join(letter if letter.isprintable() else ascii(letter)[1:-1] for letter in name)
