"""A site as a ZIP archive of which two made from the same site are the same to the byte.

Names are sorted, every file bears the earliest date of the format and the same permissions, and pictures, which
are compressed already, are stored.
"""

import zipfile
import zlib
from collections.abc import Collection, Iterator
from typing import BinaryIO

from reportgen.site.source import Source
from reportgen.site.writer import MANIFEST, format_manifest

COMMENT = b"reportgen pack"
"""Stands at the end of the archive, so that a later one may take its place."""

_DATE = (1980, 1, 1, 0, 0, 0)
_UNIX, _READABLE = 3, 0o100644 << 16
_COMPRESSED = (".png", ".jpg", ".jpeg", ".gif", ".webp", ".npz", ".pdf", ".woff2")
_LEVEL = 6
_LOCAL, _CENTRAL, _END = 30, 46, 22
"""Bytes of the format's records beside names and contents."""


def write_archive(source: Source, folder: str, file: BinaryIO) -> None:
    """Write the site into `file` as one folder, one file in memory at a time."""
    with zipfile.ZipFile(file, "w") as archive:
        archive.comment = COMMENT
        for name, content in _contents(source):
            entry = zipfile.ZipInfo(f"{folder}/{name}", _DATE)
            entry.create_system, entry.external_attr = _UNIX, _READABLE
            entry.compress_type = zipfile.ZIP_STORED if _is_compressed(name) else zipfile.ZIP_DEFLATED
            archive.writestr(entry, content, compresslevel=_LEVEL)


def archive_sizes(source: Source, folder: str) -> dict[str, int]:
    """Return how many bytes each file takes in the archive; what is to be compressed is, to find out."""
    stored = {name: size for name, size in source.sizes.items() if _is_compressed(name)}
    texts = {name: len(_deflate(content)) for name, content in _contents(source, skip=stored)}
    return {name: size + _overhead(f"{folder}/{name}") for name, size in {**stored, **texts}.items()}


FIXED = _END + len(COMMENT)
"""Bytes of the archive that belong to no file."""


def _overhead(name: str) -> int:
    return _LOCAL + _CENTRAL + 2 * len(name.encode())


def _contents(source: Source, skip: Collection[str] = ()) -> Iterator[tuple[str, bytes]]:
    for name in sorted([*source.sizes, MANIFEST]):
        if name == MANIFEST:
            yield name, format_manifest(source.sums).encode()
        elif name not in skip:
            yield name, source.read(name)


def _is_compressed(name: str) -> bool:
    return name.endswith(_COMPRESSED)


def _deflate(content: bytes) -> bytes:
    deflate = zlib.compressobj(_LEVEL, zlib.DEFLATED, -15)
    return deflate.compress(content) + deflate.flush()
