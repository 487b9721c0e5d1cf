"""Sizes of files, as people write and read them."""

import re

from reportgen.errors import UsageError

_UNITS = {"": 1, "B": 1, "KB": 10**3, "MB": 10**6, "GB": 10**9, "KIB": 2**10, "MIB": 2**20, "GIB": 2**30}
_SIZE = re.compile(r"([0-9]+(?:\.[0-9]+)?|\.[0-9]+)\s*([A-Za-z]*)")


def read_size(text: str | int) -> int:
    """Return the bytes of `25MB`, `25 MiB`, `500kB` or `25000000`. Raises UsageError for all else and for 0."""
    match = _SIZE.fullmatch(str(text).strip())
    unit = _UNITS.get(match[2].upper()) if match else None
    size = int(float(match[1]) * unit) if match and unit else 0
    if size < 1:
        raise UsageError(f"--max-size {text}: must be a size above 0, such as 25MB, 25MiB, 500kB or 25000000")
    return size


def megabytes(size: int) -> str:
    """Return a size in MB with one digit after the point, `23.1`; with more below 0.1 MB."""
    return f"{size / 1e6:.1f}" if size >= 100_000 else f"{size / 1e6:.2g}"
