"""Names people read and names files bear: slugs, unique ids, and "did you mean" suggestions."""

import difflib
import hashlib
import os
import re
import unicodedata
from collections.abc import Iterable, Sequence

_PLAIN = re.compile(r"[a-z0-9][a-z0-9_.-]{0,79}")
_HASHED = re.compile(r".*-[0-9a-f]{12}")
_UNSAFE = re.compile(r"[^a-z0-9_.-]+")
# Windows reserves these whatever follows the first dot.
_DEVICES = frozenset(
    ["con", "prn", "aux", "nul"] + [f"{port}{digit}" for port in ("com", "lpt") for digit in range(10)]
)


def slugify(name: str) -> str:
    """Return a file name stem for `name`: ASCII, lower case, 1 to 100 bytes.

    A plain name (`layer1.0.conv1`) is its own slug. Every other name keeps what it can and ends in 12
    hexadecimal digits of its SHA-256, so that different names have different slugs, also under case
    folding. No slug is a Windows device name, or starts with a dot or an underscore.
    """
    if _PLAIN.fullmatch(name) and not _HASHED.fullmatch(name) and not _is_awkward(name):
        return name
    digest = hashlib.sha256(name.encode("utf-8", "surrogatepass")).hexdigest()[:12]
    folded = unicodedata.normalize("NFKD", name).encode("ascii", "ignore").decode().lower()
    stem = _UNSAFE.sub("-", folded).strip("-._")[:60].rstrip("-._") or "name"
    if _is_awkward(stem):
        stem = stem.replace(".", "-")
    return f"{stem}-{digest}"


def _is_awkward(name: str) -> bool:
    """A device name, or a dot where Windows or a web server would drop or hide it."""
    return name.split(".")[0] in _DEVICES or name.endswith(".") or ".." in name


def as_written(name: str) -> str:
    """Return the name of a file in UTF-8 whatever the locale, which may have read it in another encoding.

    Bytes that are not UTF-8 stay the lone surrogates that Python stands in for them.
    """
    try:
        return os.fsencode(name).decode("utf-8", "surrogateescape")
    except UnicodeEncodeError:  # not from the system: the locale has no bytes for it
        return name


def make_unique(names: Iterable[str]) -> list[str]:
    """Return `names` with `-2`, `-3` ... after the second and later of those equal under case folding."""
    unique: list[str] = []
    taken: set[str] = set()
    for name in names:
        candidate, number = name, 1
        while candidate.casefold() in taken:
            number += 1
            candidate = f"{name}-{number}"
        taken.add(candidate.casefold())
        unique.append(candidate)
    return unique


def plural(noun: str) -> str:
    """Return `channels` for `channel`, `queries` for `query`, `tokens of weight` for `token of weight`."""
    noun, of, rest = noun.partition(" of ")
    return f"{_plural(noun)}{of}{rest}"


def _plural(noun: str) -> str:
    if noun.endswith("y") and noun[-2] not in "aeiou":
        return f"{noun[:-1]}ies"
    return f"{noun}{'es' if noun.endswith(('ch', 'ss', 'x')) else 's'}"


def listed(names: Sequence[str], most: int = 3) -> str:
    """Return the first names for a sentence, and how many there are besides: `a, b, c and 4 more`."""
    more = f" and {len(names) - most:,} more" if len(names) > most else ""
    return f"{', '.join(names[:most])}{more}"


def nearest(name: str, known: Iterable[str], count: int = 3) -> list[str]:
    """Return up to `count` of the `known` names most like `name`, best first."""
    return difflib.get_close_matches(name, list(known), n=count, cutoff=0.3)


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """Return `did you mean a, b or c?`, or an empty string when nothing is similar."""
    found = nearest(name, known)
    if not found:
        return ""
    head, last = found[:-1], found[-1]
    return f"did you mean {', '.join(head)} or {last}?" if head else f"did you mean {last}?"
