"""The output directory. The only module that writes files.

A site is built in a directory beside the target and put in its place in one rename, so that the target is always
a whole site or what it was before. SHA256SUMS lists every file, and so tells reportgen's files from the user's.
"""

import hashlib
import os
import secrets
import shutil
import threading
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path, PurePosixPath

from reportgen.errors import OutputError
from reportgen.site.record import FILE_NAME

MANIFEST = "SHA256SUMS"
_GLANCE = 400
"""Characters of a record within which it names its generator."""


class SiteWriter:
    """Writes a new site beside `target`; `publish` puts it there, `discard` leaves no trace.

    Use as a context manager: leaving it without `publish` discards. Raises OutputError at once when the target
    must not be replaced (see `check_target`) or its parent can't be written to.
    """

    def __init__(self, target: Path, *, force: bool = False) -> None:
        self.target = Path(os.path.abspath(target))  # noqa: PTH100 - not resolve(): a link must stay a link
        self._force = force
        check_target(self.target, force=force)
        self._draft = self.target.with_name(f".{self.target.name}.reportgen-{secrets.token_hex(4)}")
        self._sums: dict[str, str] = {}
        self.bytes_written = 0
        self._entering = threading.Lock()
        self._made = [parent for parent in self.target.parents if not parent.exists()]
        with _naming(self.target):
            try:
                self._draft.mkdir(parents=True)
            except OSError:
                self.discard()
                raise

    def __enter__(self) -> "SiteWriter":
        return self

    def __exit__(self, *_: object) -> None:
        self.discard()

    @property
    def files(self) -> int:
        """How many files were written."""
        return len(self._sums)

    def write(self, name: str, content: bytes | str) -> None:
        """Write the file `name` (a path within the site, with slashes). Several threads may."""
        data = _encode(content)
        path = self._draft / name
        with _naming(self.target):
            try:
                path.write_bytes(data)
            except FileNotFoundError:
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(data)
        digest = hashlib.sha256(data).hexdigest()
        with self._entering:
            self._sums[name] = digest
            self.bytes_written += len(data)

    def write_figure(self, stem: str, files: Mapping[str, bytes]) -> list[str]:
        """Write a figure's files, by suffix, under figures/; return their paths within the site."""
        paths = {f"figures/{stem}.{suffix}": content for suffix, content in files.items()}
        for path, content in paths.items():
            self.write(path, content)
        return list(paths)

    def publish(self) -> None:
        """Put the site in the target's place; what reportgen made there before is removed afterwards.

        Raises OutputError when meanwhile something came into being there that must not be replaced.
        """
        check_target(self.target, force=self._force)
        old = self._draft.with_name(f"{self._draft.name}.old")
        with _naming(self.target):
            (self._draft / MANIFEST).write_text(format_manifest(self._sums), encoding="utf-8")
            if self.target.exists():
                self.target.rename(old)
            try:
                self._draft.rename(self.target)
            except BaseException:
                if old.exists():
                    old.rename(self.target)
                raise
        shutil.rmtree(old, ignore_errors=True)

    def discard(self) -> None:
        """Remove what was written, unless it was published, with the directories above that were made for it."""
        shutil.rmtree(self._draft, ignore_errors=True)
        with suppress(OSError):
            for parent in self._made:
                parent.rmdir()


def figure_stem(kind: str, image: str | None, layer_slug: str | None, view: str = "") -> str:
    """Return where a figure lies under figures/: `<kind>/<image>/<layer>`, as far as it has these."""
    return "/".join(part for part in (kind, image, layer_slug, view) if part)


def check_target(target: Path, *, force: bool) -> None:
    """Raise OutputError unless `target` is free, an empty directory, or (with `force`) a site of reportgen's."""
    if not target.exists() and not target.is_symlink():
        return
    if not target.is_dir() or target.is_symlink():
        raise OutputError(f"{target}: exists and is not a directory; choose another --out")
    try:
        names = {path.name for path in target.iterdir()}
    except OSError as error:
        raise OutputError(f"{target}: can't be read: {error.strerror}") from None
    if not names:
        return
    if not {FILE_NAME, MANIFEST} <= names or not _is_report(target / FILE_NAME):
        raise OutputError(f"{target}: exists and was not made by reportgen; choose another --out")
    if not force:
        raise OutputError(f"{target}: a report is there already; add --force to replace it")
    foreign = sorted(_files(target) - set(read_manifest(target)) - {MANIFEST})
    if foreign:
        more = f" and {len(foreign) - 3} more" if len(foreign) > 3 else ""
        raise OutputError(
            f"{target}: holds files that reportgen did not write ({', '.join(foreign[:3])}{more}); "
            "move them away first"
        )


def _is_report(path: Path) -> bool:
    """Whether reportgen wrote the record, of whatever schema: other programs write a report.json, too."""
    try:
        with path.open(encoding="utf-8") as file:
            return '"generator": "reportgen' in file.read(_GLANCE)
    except (OSError, ValueError):
        return False


def revise(site: Path, pages: Mapping[str, str | bytes], obsolete: frozenset[str] = frozenset()) -> None:
    """Replace or add `pages` in a finished site and remove the `obsolete` files; everything else stays.

    All new files are written beside the old ones before the first is replaced. Raises OutputError.
    """
    sums = read_manifest(site)
    for name in (*pages, *obsolete):
        _check_inside(name, site)
    staged: list[tuple[Path, Path]] = []
    with _naming(site):
        try:
            for name, content in sorted(pages.items()):
                data = _encode(content)
                sums[name] = hashlib.sha256(data).hexdigest()
                _stage(site / name, data, staged)
            for name in obsolete:
                sums.pop(name, None)
            _stage(site / MANIFEST, format_manifest(sums).encode(), staged)
            for temporary, final in staged:
                temporary.replace(final)
        finally:
            for temporary, _ in staged:
                temporary.unlink(missing_ok=True)
        for name in obsolete:
            (site / name).unlink(missing_ok=True)


def _stage(path: Path, data: bytes, staged: list[tuple[Path, Path]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f"{path.name}.reportgen-new")
    staged.append((temporary, path))  # first, so that half a file is removed too
    temporary.write_bytes(data)


def _encode(content: str | bytes) -> bytes:
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
        _check_inside(name, site)
    return sums


def _check_inside(name: str, site: Path) -> None:
    path = PurePosixPath(name)
    if path.is_absolute() or ".." in path.parts or "\\" in name:
        raise OutputError(f"{site}: {name!r} lies outside the site; this is no report that reportgen wrote")


def _files(directory: Path) -> set[str]:
    paths = (path for path in directory.rglob("*") if path.is_symlink() or not path.is_dir())
    return {path.relative_to(directory).as_posix() for path in paths}


class _naming:  # noqa: N801 - used as a function
    """Turn an OSError into an OutputError that names the target."""

    def __init__(self, target: Path) -> None:
        self._target = target

    def __enter__(self) -> None: ...

    def __exit__(self, _: object, error: BaseException | None, __: object) -> None:
        if isinstance(error, OSError):
            raise OutputError(f"{self._target}: can't be written: {error.strerror or error}") from error
