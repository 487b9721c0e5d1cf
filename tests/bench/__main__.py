"""What publishing costs, measured: `python tests/bench`. Ratios count, since machines differ."""

import sys
from pathlib import Path

sys.path[:0] = [str(Path(__file__).resolve().parents[2]), str(Path(__file__).resolve().parents[1])]

from bench import browsing_big, publishing  # noqa: E402 - the path comes first


def main() -> None:
    for part in (publishing, browsing_big):
        for line in part.measure():
            print(line, flush=True)


if __name__ == "__main__":
    main()
