"""What the project costs, measured: `python tests/bench [PART ...] [--json FILE]`. Ratios count: machines differ.

A part is a module in this folder with a function `measure`, which yields lines to print, and may have RESULTS, a
list of dicts that it fills meanwhile.
"""

import argparse
import json
import sys
from importlib import import_module
from pathlib import Path
from types import ModuleType

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parents[1]), str(HERE.parent)]


def parts() -> dict[str, ModuleType]:
    """The modules that measure something, by name."""
    modules = {path.stem: import_module(f"bench.{path.stem}") for path in sorted(HERE.glob("[!_]*.py"))}
    return {name: module for name, module in modules.items() if hasattr(module, "measure")}


def main() -> None:
    known = parts()
    asked = argparse.ArgumentParser(description=__doc__)
    asked.add_argument("parts", nargs="*", choices=[[], *known], help=f"of {', '.join(known)}; default: all")
    asked.add_argument("--json", type=Path, metavar="FILE", help="write the results there, too")
    given = asked.parse_args()
    chosen = {name: known[name] for name in given.parts or known}
    for module in chosen.values():
        for line in module.measure():
            print(line, flush=True)
    if given.json:
        results = {name: getattr(module, "RESULTS", []) for name, module in chosen.items()}
        given.json.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
