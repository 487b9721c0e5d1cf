"""The output directory, or the one file. The only module that writes files.

A site is built in a directory beside the target, `.NAME.reportgen`, flushed, and put in the target's place in one
step, so that the target is always a whole site or what it was before. That directory holds

    lock   who builds: the file is locked as long as its holder lives, and names it
    site   the new site; after the exchange what the target was
    old    what the target was, where the system can't exchange two directories
    state  with `resume`: what the build has learned so far, and the hashes of the files that belong to it

and is gone when the build is over (with `resume`, when it is done). What a killed build left there is put right by
the next one. SHA256SUMS lists every file of a site, and so tells reportgen's files from the user's.
"""

import ctypes
import errno
import io
import json
import os
import secrets
import shutil
import socket
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, BinaryIO

from reportgen.errors import OutputError
from reportgen.names import listed
from reportgen.site.creating import create, fill, put, write_all
from reportgen.site.manifest import MANIFEST as MANIFEST
from reportgen.site.manifest import Sums, check_inside, encode, files_of, hash_of
from reportgen.site.manifest import format_manifest as format_manifest
from reportgen.site.manifest import read_manifest as read_manifest
from reportgen.site.record import FILE_NAME

try:
    import fcntl
except ImportError:  # Windows: then a build holds its target by having made the directory beside it
    fcntl = None  # type: ignore[assignment]

_GLANCE = 400
"""Characters of a record within which it names its generator."""
_LOCK, _NEW, _OLD, _STATE = "lock", "site", "old", "state"
_NEW_STATE = f"{_STATE}.new"
_SIGNATURE = b"reportgen\n"
_NO_LOCKS = (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP)
_NO_NAMELESS = (errno.EINVAL, errno.EISDIR, errno.ENOSYS, errno.EOPNOTSUPP)
_NO_EXCHANGE = (errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP, errno.EPERM)
_AT_FDCWD, _RENAME_EXCHANGE = -100, 2


class SiteWriter(Sums):
    """Writes a new site beside `target`; `publish` puts it there, `discard` leaves no trace.

    Use as a context manager: leaving it without `publish` discards. Raises OutputError at once when the target
    must not be replaced (see `check_target`), is locked by another build, or its parent can't be written to.

    With `resume` a draft that was left with a checkpoint is gone on with: `resumed` is then what `checkpoint` was
    last given. This writer, too, then leaves a draft that has a checkpoint, unless it is published.
    """

    def __init__(self, target: Path, *, force: bool = False, resume: bool = False) -> None:
        super().__init__()
        self.target = Path(os.path.abspath(target))  # noqa: PTH100 - not resolve(): a link must stay a link
        self._force, self._resume = force, resume
        self.resumed: bytes | None = None
        self._made: list[Path] = []
        self._place: _Place | None = None
        try:
            with _naming(self.target):
                check_target(self.target, force=force)
                self._made = [parent for parent in self.target.parents if not parent.exists()]
                self.target.parent.mkdir(parents=True, exist_ok=True)
                self._place = _Place(self.target, keep=resume)
                check_target(self.target, force=force)  # again: what stood there may have been half a swap
                if not self._take_up():
                    self.start_anew()
        except BaseException:
            self.discard()
            raise

    def start_anew(self) -> None:
        """Forget all that was written, and what was resumed."""
        super().start_anew()
        self.resumed = None
        self._opened.begin()

    def _take_up(self) -> bool:
        """Whether there was an interrupted build's draft, with all files that its checkpoint knows."""
        state = self._opened.state() if self._resume else None
        if state is None:
            return False
        head, _, self.resumed = state.partition(b"\n")
        try:
            self.sums, self.bytes_written = json.loads(head)
        except ValueError:
            return False
        return self._opened.reduce_to(self.sums)

    def checkpoint(self, state: bytes) -> None:
        """Keep `state` with what was written so far, for a build that resumes this one."""
        self._opened.keep_state(json.dumps([self.sums, self.bytes_written]).encode() + b"\n" + state)

    def __enter__(self) -> "SiteWriter":
        return self

    def __exit__(self, *_: object) -> None:
        self.discard()

    def scratch(self) -> IO[bytes]:
        """Return a file that has no name, beside the new site."""
        return self._opened.scratch()

    def path_of(self, name: str) -> str | None:
        return self._opened.path_of(name)

    def _keep(self, name: str, parts: Iterator[bytes]) -> None:
        self._opened.write(name, parts)

    def publish(self) -> None:
        """Put the site in the target's place; what reportgen made there before is removed afterwards.

        Raises OutputError when meanwhile something came into being there that must not be replaced.
        """
        self._opened.write(MANIFEST, [format_manifest(self.sums).encode()])
        self._opened.publish(lambda: check_target(self.target, force=self._force))

    @property
    def _opened(self) -> "_Place":
        if self._place is None:
            raise OutputError(f"{self.target}: this writer is closed; make a new one")
        return self._place

    def discard(self) -> None:
        """Remove what was written, unless it was published, with the directories above that were made for it."""
        if self._place:
            self._place.close(keep=self._resume)
            self._place = None
        with suppress(OSError):
            for parent in self._made:
                parent.rmdir()


@contextmanager
def new_file(target: Path, check: Callable[[], None]) -> Iterator[BinaryIO]:
    """Yield a file that takes the place of `target` in one rename when the block ends well; else nothing is left.

    `check` raises when the target must not be replaced; it is asked again right before the rename. Raises
    OutputError when the file can't be written.
    """
    target = Path(os.path.abspath(target))  # noqa: PTH100 - not resolve(): a link must stay a link
    draft = target.with_name(f".{target.name[:100]}.reportgen-{secrets.token_hex(4)}")
    made = [parent for parent in target.parents if not parent.exists()]
    with _naming(target):
        try:
            draft.parent.mkdir(parents=True, exist_ok=True)
            with draft.open("xb") as file:
                yield file
            check()
            draft.replace(target)
        except BaseException:
            _remove(draft, made)
            raise


def _remove(draft: Path, made: list[Path]) -> None:
    with suppress(OSError):
        draft.unlink(missing_ok=True)
        for parent in made:
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
    names: set[str] = set()
    try:
        names = {path.name for path in target.iterdir()}
    except OSError as error:
        raise OutputError(f"{target}: can't be read: {error.strerror}") from None
    if names:
        _check_site(target, names, force=force)
    if os.path.ismount(target):
        raise OutputError(f"{target}: a mount can't be replaced in one step; choose a directory inside it as --out")


def _check_site(target: Path, names: set[str], *, force: bool) -> None:
    """Raise OutputError unless the directory with these `names` in it is a site that may be replaced."""
    if not {FILE_NAME, MANIFEST} <= names or not _is_report(target / FILE_NAME):
        raise OutputError(f"{target}: exists and was not made by reportgen; choose another --out")
    if not force:
        raise OutputError(f"{target}: a report is there already; add --force to replace it")
    foreign = sorted(files_of(target) - set(read_manifest(target)) - {MANIFEST})
    if foreign:
        raise OutputError(
            f"{target}: holds files that reportgen did not write ({listed(foreign)}); move them away first"
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

    The revised site is made beside the old one, of links to all files that stay, and takes its place in one step.
    Raises OutputError; the site is then as it was.
    """
    sums = read_manifest(site)
    for name in (*pages, *obsolete):
        check_inside(name, site)
    new = Sums()
    with _naming(site):
        target = site.resolve(strict=True)
    place = _Place(target)
    try:
        place.begin()
        place.link(target, without={*pages, *obsolete, MANIFEST})
        for name in sorted(pages):  # a page is made when it is asked for
            content = encode(pages[name])
            new.write(name, content)
            place.write(name, [content])
        kept = {name: digest for name, digest in sums.items() if name not in obsolete}
        place.write(MANIFEST, [format_manifest({**kept, **new.sums}).encode()])
        place.publish(lambda: None)
    finally:
        place.close()


class _Place:
    """The directory beside a target, locked while this object is open; the module's text says what lies in it.

    Raises OutputError when another build holds it, or when it holds what reportgen did not put there.
    """

    def __init__(self, target: Path, *, keep: bool = False) -> None:
        self._target = target
        self._path = target.with_name(f".{target.name}.reportgen")
        with _naming(target):
            self._lock = _lock(self._path, target)
        try:
            with _naming(target):
                _sign(self._lock)
                self._recover(keep=keep)
        except BaseException:
            self.close()
            raise

    def _recover(self, *, keep: bool = False) -> None:
        """Put right what a killed build left: a swap that was cut short is undone, drafts are removed.

        With `keep` a draft that has a state stays.
        """
        old = self._path / _OLD
        if old.exists() and not self._target.exists():
            old.rename(self._target)
        (self._path / _NEW_STATE).unlink(missing_ok=True)
        keeps = keep and self._keeps_state
        if not keeps:
            (self._path / _STATE).unlink(missing_ok=True)
        for name in (_OLD,) if keeps else (_NEW, _OLD):
            if (self._path / name).exists():
                shutil.rmtree(self._path / name)

    @property
    def _keeps_state(self) -> bool:
        return (self._path / _STATE).exists() and (self._path / _NEW).exists()

    def begin(self) -> None:
        """Start with an empty draft."""
        with _naming(self._target):
            self._recover()
            (self._path / _NEW).mkdir()

    def state(self) -> bytes | None:
        """What `keep_state` was last given, with a draft beside it; None when nothing was kept."""
        with _naming(self._target):
            return (self._path / _STATE).read_bytes() if self._keeps_state else None

    def keep_state(self, data: bytes) -> None:
        """Keep `data` beside the draft, all or nothing."""
        new = self._path / _NEW_STATE
        with _naming(self._target):
            new.unlink(missing_ok=True)
            _write(new, data)
            new.replace(self._path / _STATE)

    def reduce_to(self, sums: Mapping[str, str]) -> bool:
        """Remove all files of the draft but those of `sums`; whether these are all there and unchanged."""
        draft = self._path / _NEW
        with _naming(self._target):
            for name in files_of(draft) - sums.keys():
                (draft / name).unlink()
            return all(hash_of(draft / name) == digest for name, digest in sums.items())

    def write(self, name: str, parts: Iterable[bytes]) -> None:
        """Write a file of the draft; one of the same name is replaced."""
        with _naming(self._target):
            put(self.path_of(name), parts)

    def path_of(self, name: str) -> str:
        """Where a file of the draft is."""
        return f"{self._path}/{_NEW}/{name}"

    def scratch(self) -> IO[bytes]:
        """A file that has no name from the beginning; in memory where the system has no such files.

        One that is opened and then removed would not do: NFS and Windows keep it, and so this directory.
        """
        with _naming(self._target):
            try:
                descriptor = os.open(self._path, os.O_TMPFILE | os.O_RDWR | os.O_EXCL, 0o600)
            except AttributeError:
                return io.BytesIO()
            except OSError as error:
                if error.errno not in _NO_NAMELESS:
                    raise
                return io.BytesIO()
            return os.fdopen(descriptor, "w+b", buffering=0)  # nothing is left to be written when it is closed

    def link(self, source: Path, without: set[str]) -> None:
        """Let the draft have the directories of `source`, and its files but those named in `without`."""
        draft = self._path / _NEW
        with _naming(self._target):
            shutil.copymode(source, draft)
            for entry in sorted(source.rglob("*")):
                name = entry.relative_to(source).as_posix()
                if entry.is_dir() and not entry.is_symlink():
                    (draft / name).mkdir()
                    shutil.copymode(entry, draft / name)
                elif name not in without:
                    _link(entry, draft / name)

    def publish(self, check: Callable[[], None]) -> None:
        """Flush the draft and exchange it for the target, in one step where the system can.

        `check` is called right before that, and raises when the target must not be replaced.
        """
        draft = self._path / _NEW
        with _naming(self._target):
            _flush(draft)
            check()
            if not self._target.exists() or not any(self._target.iterdir()):
                draft.rename(self._target)
            elif not _exchange(draft, self._target):
                self._swap(draft)
        # From here on the new site is there and whole, whatever happens.
        with suppress(OSError):
            (self._path / _STATE).unlink(missing_ok=True)
            _flush_file(self._target.parent)

    def _swap(self, draft: Path) -> None:
        """Without an exchange: a build that is killed between the two steps is recovered from by the next."""
        old = self._path / _OLD
        self._target.rename(old)
        try:
            draft.rename(self._target)
        except BaseException:
            old.rename(self._target)
            raise

    def close(self, *, keep: bool = False) -> None:
        """Remove what is left and give the lock back. What can't be removed is removed by the next build.

        With `keep` a draft that has a state stays.
        """
        with suppress(OSError):
            self._recover(keep=keep)
            if not (keep and self._keeps_state):
                (self._path / _LOCK).unlink()
                self._path.rmdir()
        with suppress(OSError):
            os.close(self._lock)


def _lock(place: Path, target: Path) -> int:
    """Make `place` and return the descriptor of the locked file in it; OutputError when another build has it."""
    while True:
        made = _make(place, target)
        try:
            lock = os.open(place / _LOCK, os.O_RDWR | os.O_CREAT, 0o666)
        except FileNotFoundError:
            continue  # its holder has just removed the directory
        try:
            _take(lock, place, target, made=made)
            if _is_at(lock, place / _LOCK):
                return lock
        except BaseException:
            os.close(lock)
            raise
        os.close(lock)  # its holder removed the file after we opened it


def _make(place: Path, target: Path) -> bool:
    """Make the directory `place`; whether it was not there before. OutputError when it is not reportgen's."""
    try:
        place.mkdir()
    except FileExistsError:
        # Looked at again, since another build may be making or removing it right now.
        if not any(_is_ours(place) for _ in range(3)):
            raise OutputError(
                f"{target}: {place.name} beside it was not made by reportgen; move it away first"
            ) from None
        return False
    return True


def _is_ours(place: Path) -> bool:
    """Whether a build made this directory: it has a signed lock, or has not come to that yet."""
    if place.is_symlink():
        return False
    names: set[str] = set()
    try:
        names = {path.name for path in place.iterdir()}
        start = (place / _LOCK).read_bytes()[: len(_SIGNATURE)]
    except FileNotFoundError:
        return not names
    except OSError:
        return False
    return (
        names <= {_LOCK, _NEW, _OLD, _STATE, _NEW_STATE} if start == _SIGNATURE else not start and names <= {_LOCK}
    )


def _take(lock: int, place: Path, target: Path, *, made: bool) -> None:
    """Lock the file; OutputError when another build has. Where files can't be locked, who made `place` holds it."""
    taken = _try_lock(lock)
    if taken or (taken is None and made):
        return
    way = "wait for it or choose another --out"
    if taken is None:
        way += f"; if it runs no longer, remove {place}"
    raise OutputError(f"{target}: locked by another build{_holder(lock)}; {way}")


def _try_lock(lock: int) -> bool | None:
    """Whether the file could be locked; None where the system can't lock files."""
    if fcntl is None:
        return None
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError as error:
        if error.errno in _NO_LOCKS:
            return None
        raise
    return True


def _is_at(descriptor: int, path: Path) -> bool:
    """Whether the open file is the one at `path`."""
    try:
        return os.path.samestat(os.fstat(descriptor), path.stat())
    except FileNotFoundError:
        return False


def _sign(lock: int) -> None:
    """Write who holds the lock. Over what an earlier holder wrote, so that the file is signed all the time."""
    start = time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime())
    text = _SIGNATURE + f"process {os.getpid()} on {socket.gethostname()}, since {start}\n".encode()
    os.lseek(lock, 0, os.SEEK_SET)
    write_all(lock, text)
    os.ftruncate(lock, len(text))
    os.fsync(lock)  # a full disk is noticed here, before any work


def _holder(lock: int) -> str:
    """` (process 12 on host, since ...)`, or nothing while the holder has not signed yet."""
    os.lseek(lock, 0, os.SEEK_SET)
    lines = os.read(lock, _GLANCE).decode("utf-8", "replace").split("\n")
    return f" ({lines[1]})" if len(lines) > 2 else ""


def _write(path: Path, data: bytes) -> None:
    """Write a file that must not be there yet."""
    fill(create(path), [data])


def _link(source: Path, copy: Path) -> None:
    """Make `copy` another name of the file `source`, or a copy where the file system has no such links."""
    try:
        os.link(source, copy, follow_symlinks=False)
    except OSError:
        shutil.copy2(source, copy, follow_symlinks=False)


def _flush(directory: Path) -> None:
    """Return when everything below `directory` is on the disk."""
    syncfs = _system("syncfs")
    if syncfs is None:
        for path in (directory, *directory.rglob("*")):
            if not path.is_symlink():
                _flush_file(path)
        return
    # One call for the whole file system: file by file, a report of 500 files takes seconds.
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        _check(syncfs(descriptor))
    finally:
        os.close(descriptor)


def _flush_file(path: Path) -> None:
    if os.name == "nt":
        return  # directories can't be opened there, nor files be flushed that are open for reading
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _exchange(one: Path, other: Path) -> bool:
    """Exchange two directories in one step; False where the system or the file system can't."""
    renameat2 = _system("renameat2")
    if renameat2 is None:
        return False
    try:
        _check(renameat2(_AT_FDCWD, os.fsencode(one), _AT_FDCWD, os.fsencode(other), _RENAME_EXCHANGE))
    except OSError as error:
        if error.errno in _NO_EXCHANGE:
            return False
        raise
    return True


def _system(name: str) -> Callable[..., int] | None:
    """Return the function of Linux's C library, or None where there is none."""
    return getattr(ctypes.CDLL(None, use_errno=True), name, None) if sys.platform == "linux" else None


def _check(result: int) -> None:
    if result != 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))


class _naming:  # noqa: N801 - used as a function
    """Turn an OSError into an OutputError that names the target."""

    def __init__(self, target: Path) -> None:
        self._target = target

    def __enter__(self) -> None: ...

    def __exit__(self, _: object, error: BaseException | None, __: object) -> None:
        if isinstance(error, OSError):
            raise OutputError(f"{self._target}: can't be written: {error.strerror or error}") from error
