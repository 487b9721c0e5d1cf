"""The directions of the house, read from the sources: who may import whom, and who may write files."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "reportgen"
FILES = sorted(PACKAGE.rglob("*.py"))

EVERYONE = {"errors", "names", "reportgen"}
"""`reportgen` is the package itself, for its version; it loads nothing when it is imported."""

MAY_IMPORT: dict[str, set[str]] = {
    "reportgen": {
        "driver", "entities", "illustrating", "inputs", "options", "packing", "rebuilding", "report", "site",
    },
    "__main__": {"cli"},
    "cli": {"driver", "listing", "options", "rebuilding", "report", "site"},
    "checkpoint": {"entities", "figures", "ledger", "network", "site"},
    "driver": {
        "checkpoint", "encoder", "entities", "figures", "illustrating", "inputs", "ledger", "machine", "measuring",
        "memory", "network", "options", "privacy", "progress", "recording", "report", "saving", "site", "timings",
    },
    "recording": {"figures", "inputs", "ledger", "network", "options", "privacy", "site"},
    "illustrating": {"drawing", "inputs", "site"},
    "listing": {"entities", "inputs", "network"},
    "rebuilding": {"driver", "inputs", "options", "site", "timings"},
    "measuring": {"entities", "figures", "ledger", "network", "numerics", "progress", "timings"},
    "memory": {"encoder", "machine", "network", "worker"},
    "saving": {"encoder", "figures", "later", "numerics", "timings", "worker"},
    "later": set(),
    "worker": {"later"},
    "encoder": {"drawing", "later", "site", "worker"},
    "timings": set(),
    "machine": set(),
    "ledger": {"entities", "figures", "network", "numerics", "parts", "site"},
    "entities": set(),
    "errors": set(),
    "names": set(),
    "options": set(),
    "parts": set(),
    "privacy": {"inputs", "options", "site"},
    "progress": set(),
    "report": {"site", "timings"},
    "inputs": {"entities"},
    "network": {"entities", "numerics", "parts"},
    "figures": {"drawing", "entities", "later", "numerics", "parts"},
    "numerics": set(),
    "drawing": {"later"},
    "site": set(),
    "packing": {"drawing", "site"},
}  # fmt: skip
"""What each module of the top level, and each package, may import besides its own parts and EVERYONE."""

FOREIGN = {
    "cli": {"torch", "torchvision", "matplotlib", "PIL", "numpy"},
    "options": {"torch", "torchvision", "matplotlib", "PIL", "numpy"},
    "errors": {"torch", "torchvision", "matplotlib", "PIL", "numpy"},
    "names": {"torch", "torchvision", "matplotlib", "PIL", "numpy"},
    "later": {"torch", "torchvision", "matplotlib", "PIL", "numpy"},
    "worker": {"torch", "torchvision", "matplotlib", "PIL", "numpy"},
    "encoder": {"torch", "torchvision", "matplotlib", "PIL", "numpy"},
    "parts": {"torchvision", "matplotlib", "PIL", "numpy", "jinja2"},
    "illustrating": {"torch", "torchvision", "matplotlib", "numpy"},
    "site": {"torch", "torchvision", "matplotlib", "PIL", "numpy"},
    "packing": {"torch", "torchvision", "matplotlib", "PIL", "jinja2"},
    "network": {"matplotlib", "PIL", "jinja2"},
    "inputs": {"matplotlib", "jinja2"},
    "numerics": {"matplotlib", "PIL", "jinja2"},
    "drawing": {"torch", "torchvision", "jinja2"},
    "figures": {"jinja2", "matplotlib", "torchvision"},
}
"""Other people's packages that must not be imported there."""

WRITING_METHODS = {
    "write_text", "write_bytes", "mkdir", "makedirs", "unlink", "rename", "renames", "rmdir", "removedirs",
    "rmtree", "touch", "symlink_to", "hardlink_to", "symlink", "link", "copyfile", "copytree", "mkdtemp", "mkstemp",
    "NamedTemporaryFile", "TemporaryDirectory", "chmod", "truncate",
}  # fmt: skip


def imports_of(source: str, module: str = "reportgen.x") -> Iterator[str]:
    """Yield the full name of every module that a source imports, wherever in the file."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            start = module.rsplit(".", node.level)[0] + "." if node.level else ""
            base = f"{start}{node.module or ''}".rstrip(".")
            # `from reportgen import errors` imports a module, `from reportgen.errors import X` a name.
            yield from (f"{base}.{alias.name}" if base == "reportgen" else base for alias in node.names)


def module_name(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def home_of(module: str) -> str:
    """Return the part of the house that a module of reportgen belongs to."""
    parts = module.split(".")
    return parts[1] if len(parts) > 1 else parts[0]


def is_house(name: str) -> bool:
    return (PACKAGE / name).is_dir() or (PACKAGE / f"{name}.py").is_file()


def houses_of(path: Path) -> set[str]:
    """Return the parts of the house that the module at `path` imports, its own left out."""
    own = home_of(module_name(path))
    found = imports_of(path.read_text(encoding="utf-8"), module_name(path))
    houses = {home_of(name) for name in found if name.partition(".")[0] == "reportgen"}
    # What is no module is a name of the package itself, such as its version.
    return {house if is_house(house) else "reportgen" for house in houses} - {own}


def short(path: Path) -> str:
    return path.relative_to(PACKAGE).as_posix()


def test_the_reader_of_imports_sees_every_form() -> None:
    source = (
        "import a.b, c\nfrom reportgen import errors\nfrom . import d\ndef f():\n from reportgen.site.x import y\n"
    )
    assert set(imports_of(source)) == {"a.b", "c", "reportgen.errors", "reportgen.d", "reportgen.site.x"}


def test_every_part_of_the_house_has_a_rule() -> None:
    assert {home_of(module_name(path)) for path in FILES} <= set(MAY_IMPORT)


@pytest.mark.parametrize("path", FILES, ids=short)
def test_imports_point_one_way(path: Path) -> None:
    allowed = MAY_IMPORT[home_of(module_name(path))] | EVERYONE
    assert houses_of(path) - allowed == set()


@pytest.mark.parametrize("path", FILES, ids=short)
def test_foreign_packages_stay_where_they_belong(path: Path) -> None:
    forbidden = FOREIGN.get(home_of(module_name(path)), set())
    found = {name.partition(".")[0] for name in imports_of(path.read_text(encoding="utf-8"), module_name(path))}
    assert found & forbidden == set()


def writes_of(source: str) -> list[str]:
    """Return the calls in a source that would write, move or remove a file."""
    return [
        ast.unparse(node) for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Call) and _writes(node)
    ]


def _writes(call: ast.Call) -> bool:
    name = call.func.attr if isinstance(call.func, ast.Attribute) else getattr(call.func, "id", "")
    if name in WRITING_METHODS:
        return True
    if (
        isinstance(call.func, ast.Attribute)
        and isinstance(call.func.value, ast.Name)
        and call.func.value.id == "os"
    ):
        return name in {"remove", "replace"}
    return name in {"open", "fdopen"} and any(_is_writing_mode(argument) for argument in _modes(call))


def _modes(call: ast.Call) -> list[ast.expr]:
    """Return the arguments that may be a mode: `open(path, mode)`, `path.open(mode)`, `mode=`."""
    positional = call.args[1:2] if isinstance(call.func, ast.Name) else call.args[:2]
    return [*positional, *(keyword.value for keyword in call.keywords if keyword.arg == "mode")]


def _is_writing_mode(argument: ast.expr) -> bool:
    value = argument.value if isinstance(argument, ast.Constant) else None
    return isinstance(value, str) and len(value) <= 3 and bool(set(value) & set("wax+"))


@pytest.mark.parametrize(
    ("source", "writes"),
    [
        ("open('x', 'w')", True),
        ("path.open(mode='ab')", True),
        ("path.open('r+')", True),
        ("path.write_text('x')", True),
        ("os.replace(a, b)", True),
        ("shutil.rmtree(a)", True),
        ("path.open('rb')", False),
        ("open('x', encoding='utf-8')", False),
        ("text.replace('a', 'b')", False),
        ("dataclasses.replace(a, b=1)", False),
        ("Image.open(buffer)", False),
    ],
)
def test_the_reader_of_writes_tells_writing_from_reading(source: str, writes: bool) -> None:
    assert bool(writes_of(source)) == writes


WRITERS = ("site/creating.py", "site/writer.py")


@pytest.mark.parametrize("path", [path for path in FILES if short(path) not in WRITERS], ids=short)
def test_only_the_writer_writes_files(path: Path) -> None:
    assert writes_of(path.read_text(encoding="utf-8")) == []


def test_the_writers_are_seen_to_write() -> None:
    assert all(writes_of((PACKAGE / name).read_text(encoding="utf-8")) for name in WRITERS)


LOADED = "; import sys; print(sorted({name.partition('.')[0] for name in sys.modules} & {'torch', 'matplotlib'}))"
HELP = """import contextlib, io, reportgen.cli
with contextlib.redirect_stdout(io.StringIO()), contextlib.suppress(SystemExit):
    reportgen.cli.main(%s)
0"""


@pytest.mark.parametrize(
    "code",
    [
        "import reportgen, reportgen.cli, reportgen.options",
        "import reportgen.site, reportgen.site.revision",
        "import reportgen.packing.pack, reportgen.packing.fitting",
        "import reportgen.illustrating, reportgen.inputs.pixels, reportgen.drawing.png",
        HELP % "['--help']",
        HELP % "['build', '--help']",
    ],
    ids=["package", "site", "packing", "illustrating", "help", "build --help"],
)
def test_light_modules_load_neither_torch_nor_matplotlib(code: str) -> None:
    command = [sys.executable, "-c", code + LOADED]
    found = subprocess.run(command, capture_output=True, text=True, check=True, cwd=ROOT)
    assert found.stdout.strip() == "[]"
