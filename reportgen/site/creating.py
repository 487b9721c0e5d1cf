"""Files are created here, by the writer and by the process that encodes for it."""

import os
from collections.abc import Iterable
from pathlib import Path


def put(path: str, parts: Iterable[bytes]) -> None:
    """Write a file, with the directories above it; one of that name is replaced. Raises OSError."""
    try:
        descriptor = create(path)
    except FileNotFoundError:
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        descriptor = create(path)
    except FileExistsError:
        Path(path).unlink()  # not overwritten: it may be a link to the old site's file
        descriptor = create(path)
    fill(descriptor, parts)


def create(path: str | Path) -> int:
    """Open a file that must not be there yet."""
    return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0), 0o666)


def fill(descriptor: int, parts: Iterable[bytes]) -> None:
    """Write the parts of a file, and close it."""
    try:
        for part in parts:
            write_all(descriptor, part)
    finally:
        os.close(descriptor)


def write_all(descriptor: int, data: bytes) -> None:
    """Write all of `data`, however little is taken at once."""
    rest = memoryview(data)
    while rest:
        rest = rest[os.write(descriptor, rest) :]
