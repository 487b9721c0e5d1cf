"""A finished site as one file: an HTML document, or a ZIP archive."""

import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from reportgen.errors import OutputError, UsageError
from reportgen.site.archive import COMMENT, FIXED, archive_sizes, write_archive
from reportgen.site.one_file import Document, is_document
from reportgen.site.source import Source
from reportgen.site.writer import new_file

HTML, ZIP = ".html", ".zip"


@dataclass(frozen=True)
class Packing:
    """A file about to be written: how many bytes it will have, by parts, and what writes it."""

    parts: dict[str, int]
    write: Callable[[BinaryIO], None]

    @property
    def size(self) -> int:
        return sum(self.parts.values())


def plan(source: Source, out: Path) -> Packing:
    """Measure what `source` will be as the file `out`, whose suffix says in which form."""
    return _plan_archive(source, out.stem) if form_of(out) == ZIP else _plan_document(source)


def _plan_document(source: Source) -> Packing:
    document = Document(source)
    parts = document.parts
    sizes = {"pages": parts.pages, "pictures": parts.pictures, "downloads": parts.downloads}
    return Packing(sizes, document.write)


def _plan_archive(source: Source, folder: str) -> Packing:
    sizes = archive_sizes(source, folder)
    shown = {figure.files[0] for figure in source.record.figures} | source.record.illustrated
    parts = {"pages": FIXED, "pictures": 0, "downloads": 0}
    for name, size in sizes.items():
        part = "pictures" if name in shown else "downloads" if name.startswith(("figures/", "data/")) else "pages"
        parts[part] += size
    return Packing(parts, lambda file: write_archive(source, folder, file))


def form_of(out: Path) -> str:
    """Return HTML or ZIP, as the name says. Raises UsageError for any other."""
    suffix = out.suffix.lower()
    if suffix not in (HTML, ZIP):
        raise UsageError(f"{out}: the name says what it becomes; end it in {HTML} or {ZIP}")
    return suffix


def check_out(out: Path, site: Path, *, force: bool) -> None:
    """Raise OutputError unless `out` is free, or was packed by reportgen, or may be replaced because of `force`.

    It must not lie inside the site, which would then hold a file that is not its own.
    """
    if out.resolve().is_relative_to(site.resolve()):
        raise OutputError(f"{out}: lies inside the site {site}; choose another --out")
    if not out.exists() and not out.is_symlink():
        return
    if out.is_symlink() or not out.is_file():
        raise OutputError(f"{out}: exists and is no ordinary file; choose another --out")
    if not force and not _is_packed(out):
        raise OutputError(f"{out}: exists and was not made by reportgen pack; choose another --out, or add --force")


def _is_packed(path: Path) -> bool:
    try:
        with path.open("rb") as file:
            if is_document(file.read(200)):
                return True
        with zipfile.ZipFile(path) as archive:
            return archive.comment == COMMENT
    except (OSError, zipfile.BadZipFile):
        return False


def write(packing: Packing, out: Path, site: Path, *, force: bool) -> int:
    """Write the file, put it in its place in one step, and return its size in bytes. Raises OutputError."""
    with new_file(out, lambda: check_out(out, site, force=force)) as file:
        packing.write(file)
        return file.tell()
