"""SHA256SUMS: the hash of every file of a site, as `sha256sum --check` reads it. Nothing here writes."""

import hashlib
import io
import threading
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import IO

from reportgen.errors import OutputError

MANIFEST = "SHA256SUMS"


class Sums:
    """The hashes of a site's files, taken as they come. By itself a site that is built and kept nowhere."""

    def __init__(self) -> None:
        self.sums: dict[str, str] = {}
        """The SHA-256 of each file, by its path within the site."""
        self.bytes_written = 0
        self._entering = threading.Lock()

    def start_anew(self) -> None:
        """Forget all that was written."""
        self.sums, self.bytes_written = {}, 0

    @property
    def files(self) -> int:
        """How many files there are."""
        return len(self.sums)

    def scratch(self) -> IO[bytes]:
        """Return a file for what is needed until the site is written; it is no part of it."""
        return io.BytesIO()

    def write(self, name: str, content: bytes | str) -> None:
        """Enter the file `name` (a path within the site, with slashes); text is UTF-8. Several threads may."""
        self.write_parts(name, [content])

    def write_parts(self, name: str, parts: Iterable[bytes | str]) -> None:
        """Enter a file that is made part by part: no more than one of them is held."""
        digest, size = hashlib.sha256(), 0

        def counted() -> Iterator[bytes]:
            nonlocal size
            for part in parts:
                data = encode(part)
                yield data
                digest.update(data)
                size += len(data)

        self._keep(name, counted())
        self.enter(name, digest.hexdigest(), size)

    def enter(self, name: str, digest: str, size: int) -> None:
        """Enter a file that was written elsewhere, where `path_of` says, by its SHA-256 and its bytes."""
        with self._entering:
            self.sums[name] = digest
            self.bytes_written += size

    def path_of(self, name: str) -> str | None:
        """Where another process may write a file that is then entered; None where files are kept nowhere."""
        return None

    def _keep(self, name: str, parts: Iterator[bytes]) -> None:
        """What else is done with a file; nothing."""
        for _ in parts:
            pass


def encode(content: str | bytes) -> bytes:
    """Text as UTF-8; what that can't hold (bytes of file names in another encoding) becomes a question mark."""
    return content.encode("utf-8", "replace") if isinstance(content, str) else content


def format_manifest(sums: Mapping[str, str]) -> str:
    """Return the lines of SHA256SUMS, as `sha256sum --check` reads them, sorted by name."""
    return "".join(f"{digest}  {name}\n" for name, digest in sorted(sums.items()))


def read_manifest(site: Path) -> dict[str, str]:
    """Return the hash of each file in the site's SHA256SUMS.

    Raises OutputError when it can't be read, or names a file outside the site.
    """
    try:
        lines = (site / MANIFEST).read_text(encoding="utf-8").splitlines()
        sums = {name: digest for digest, name in (line.split("  ", 1) for line in lines)}
    except (OSError, ValueError) as error:
        raise OutputError(f"{site / MANIFEST}: can't be read ({error}); is this a report?") from None
    for name in sums:
        check_inside(name, site)
    return sums


def check_inside(name: str, site: Path) -> None:
    """Raise OutputError when the path `name` leads out of the site."""
    if name.startswith("/") or ".." in name.split("/") or "\\" in name:
        raise OutputError(f"{site}: {name!r} lies outside the site; this is no report that reportgen wrote")


def files_of(directory: Path) -> set[str]:
    """Return the path of every file below `directory`, with slashes; a link is a file, wherever it leads."""
    paths = (path for path in directory.rglob("*") if path.is_symlink() or not path.is_dir())
    return {path.relative_to(directory).as_posix() for path in paths}


def hash_of(path: Path) -> str:
    """Return the SHA-256 of a plain file; '' for one that can't be read, and for what only leads to a file."""
    if path.is_symlink() or not path.is_file():
        return ""
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError:
        return ""
