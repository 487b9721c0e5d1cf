"""The errors a user can cause or meet, each with the exit code it ends a command with.

A message is one line: it names the file, option or node, says what was wrong, and what to do next.
"""

import re

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
