"""The errors a user can cause or meet, each with the exit code it ends a command with.

A message is one line: it names the file, option or node, says what was wrong, and what to do next.
"""

import re
from collections.abc import Iterator
from contextlib import contextmanager

_UNSEEN = re.compile("[\x00-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069]")


class ReportError(Exception):
    """The base of all expected errors."""

    exit_code = 1

    def __init__(self, message: str) -> None:
        """`message` is folded to a single line, since other libraries' messages are quoted in it.

        What would steer a terminal, or turn the order of its letters, comes from names in files: it is replaced.
        """
        super().__init__(_UNSEEN.sub("\N{REPLACEMENT CHARACTER}", " ".join(message.split())))


class UsageError(ReportError):
    """The command line, a keyword argument or the TOML file asks for something that does not exist."""

    exit_code = 2


class InputError(ReportError):
    """A model, weights or an image was refused."""

    exit_code = 3


class OutputError(ReportError):
    """The output can't be written, or must not be replaced."""

    exit_code = 4


class IncompleteError(ReportError):
    """Some nodes or figures failed and the caller asked for all or nothing (`strict`)."""

    exit_code = 5


class MemoryShortageError(InputError):
    """What was asked for needs more memory than there is, or than the process may use."""


_NO_MEMORY = ("can't allocate memory", "cannot allocate memory", "out of memory", "std::bad_alloc", "new thread")


def lacks_memory(error: BaseException) -> bool:
    """Return whether `error` says that memory ran out: Python's MemoryError, or what torch and the system raise.

    Torch's CPU allocator raises a plain RuntimeError, devices a subclass of it; a library that can't be mapped is
    an ImportError; a thread without room for its stack is a RuntimeError.
    """
    if isinstance(error, MemoryError | MemoryShortageError) or type(error).__name__ == "OutOfMemoryError":
        return True
    told = str(error).lower() if isinstance(error, RuntimeError | OSError | ImportError) else ""
    return any(words in told for words in _NO_MEMORY)


@contextmanager
def shortage_told(doing: str) -> Iterator[None]:
    """Raise MemoryShortageError, with what was being done, for whatever says that memory ran out."""
    try:
        yield
    except ReportError:
        raise
    except Exception as error:
        if lacks_memory(error):
            raise shortage(doing, error) from error
        raise


def shortage(doing: str, error: BaseException) -> MemoryShortageError:
    """Return what to raise when memory ran out `doing` something."""
    line = str(error).strip().partition("\n")[0]
    told = f" ({line})" if line else ""
    return MemoryShortageError(
        f"memory ran out {doing}: {type(error).__name__}{told}; use a smaller --size or --batch-size, a smaller "
        "model, or let the process use more"
    )
