"""Prints what was tried to break a report, and how often that succeeded: faults, hostile input, determinism.

    python tests/trust.py [--fast] [faults] [hostile] [determinism]

In full it takes about an hour on two cores; `--fast` tries a sample. Ends with exit code 1 when something failed;
stderr says what.
"""

import argparse
import importlib.util
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

sys.path[:0] = [str(Path(__file__).resolve().parent), str(Path(__file__).resolve().parents[1])]

import determinism  # noqa: E402
import faults  # noqa: E402

Row = tuple[str, int, int]


def _hostile(full: bool) -> Iterator[Row]:
    if importlib.util.find_spec("hostile"):
        import hostile  # type: ignore[import-not-found, unused-ignore]

        yield from hostile.cases(full)


def _determinism(full: bool) -> Iterator[Row]:
    with tempfile.TemporaryDirectory() as directory:
        yield from determinism.cases(full, Path(directory))


TABLES: dict[str, Callable[[bool], Iterable[Row]]] = {
    "faults": faults.cases,
    "hostile": _hostile,
    "determinism": _determinism,
}


def print_table(name: str, rows: Iterable[Row]) -> int:
    """Print a Markdown table, each row when it is known; return how many cases failed."""
    tried = failed = 0
    for number, (told, cases, failures) in enumerate(rows):
        if number == 0:
            print(f"\n| {name} | cases tried | failures |\n| --- | ---: | ---: |")
        print(f"| {told} | {cases:,} | {failures:,} |", flush=True)
        tried, failed = tried + cases, failed + failures
    if tried:
        print(f"| in all | {tried:,} | {failed:,} |", flush=True)
    return failed


def main() -> int:
    """Print the tables that are asked for, all by default."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--fast", action="store_true", help="a sample of each")
    parser.add_argument("tables", nargs="*", metavar="TABLE", help=f"{', '.join(TABLES)}; all by default")
    given = parser.parse_args()
    unknown = set(given.tables) - set(TABLES)
    if unknown:
        parser.error(f"there is no table {', '.join(sorted(unknown))}; there are {', '.join(TABLES)}")
    return int(sum(print_table(name, TABLES[name](not given.fast)) for name in given.tables or TABLES) > 0)


if __name__ == "__main__":
    sys.exit(main())
