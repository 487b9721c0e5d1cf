"""The same inputs on the same machine, under other circumstances: which files of a report come out different?

Each build runs in a process of its own. A `Variation` says what is different there from the baseline; `differing`
names the files that are. Run as a program (`determinism.py FILE.json`) this module is such a process.
"""

import hashlib
import json
import os
import shutil
import stat
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
MODELS = ROOT / "tests" / "models_for_tests.py"
NAMES = ("Zebra.png", "apfel.png", "crème brûlée 1.png", "disc.jpg", "日本.png", "e.png", "f.png", "g.png")
"""Names of pictures, as people give them: with capitals, spaces and letters beyond ASCII."""

LOCALES = ("tr_TR.UTF-8", "de_DE.UTF-8", "de_DE.ISO-8859-1")
"""With another dotless i, another decimal point, another encoding; made where the system can make them."""

RCFILE = """
axes.grid: True
axes.facecolor: yellow
axes.prop_cycle: cycler('color', ['r', 'g'])
axes.xmargin: 0.4
figure.dpi: 31
font.family: serif
image.lut: 7
lines.marker: x
lines.linestyle: --
savefig.bbox: tight
savefig.dpi: 33
savefig.transparent: True
svg.fonttype: none
svg.image_inline: False
pdf.compression: 0
xtick.direction: in
backend: pdf
"""
"""Settings of matplotlib's that would show in every chart."""

Hashes = Mapping[str, str]


@dataclass(frozen=True)
class Variation:
    """What is different from the baseline in one build.

    `base` are the variables of the environment that the baseline has, too. `prelude` is code that runs first in the
    process. `reports` are built. `free` are ends of names of files that may differ: those that say what is varied.
    """

    name: str
    environment: Mapping[str, str | None] = field(default_factory=dict)
    base: Mapping[str, str] = field(default_factory=dict)
    prelude: str = ""
    cwd: str = "."
    out: str = "out"
    umask: int = 0o022
    images: str = "given"
    options: tuple[str, ...] = ()
    reports: tuple[str, ...] = ("transformer", "network")
    free: tuple[str, ...] = ()


EVERY = ("transformer", "network", "sample", "exact")
_PACKS = tuple(f"{name}.{suffix}" for name in EVERY for suffix in ("html", "zip"))
_RECORD = ("/report.json", "/about.html", "/SHA256SUMS", *_PACKS)
"""What says the options and the environment, or holds what says them: the record, its page, sums, packs."""

STATES = {
    "matplotlib's settings": "import matplotlib as mpl; mpl.rc_file('matplotlibrc')",
    "a style of matplotlib's": "import matplotlib.style as s; s.use(['dark_background', 'fivethirtyeight'])",
    "matplotlib's pyplot in use": (
        "import matplotlib; matplotlib.use('svg'); import matplotlib.pyplot as p; p.xkcd(); p.plot([1, 2])"
    ),
    "torch's default dtype": "import torch; torch.set_default_dtype(torch.float64)",
    "torch's default device": "import torch; torch.set_default_device('meta')",
    "torch without gradients": "import torch; torch.set_grad_enabled(False)",
    "torch's deterministic algorithms": "import torch; torch.use_deterministic_algorithms(True)",
    "torch's printing": "import torch; torch.set_printoptions(precision=1, sci_mode=True)",
    "random seeds": "import random, numpy, torch; random.seed(5); numpy.random.seed(5); torch.manual_seed(5)",
    "numpy's errors and printing": (
        "import numpy as n; n.seterr(all='raise'); n.set_printoptions(precision=1, legacy='1.13')"
    ),
    "decimal's precision": "import decimal; decimal.getcontext().prec = 2",
    "Pillow's limits": "from PIL import Image, ImageFile; ImageFile.LOAD_TRUNCATED_IMAGES = True",
}
"""What a program may have set before it builds a report."""

VARIATIONS: Mapping[str, tuple[Variation, ...]] = {
    "working directory": (
        Variation("/", cwd="/"),
        Variation("beside the images", cwd="images-8"),
        Variation("relative paths", cwd=".", images="relative"),
        Variation("one with a matplotlibrc in it", cwd="traps"),
    ),
    "HOME and settings": (
        Variation("an empty HOME", {"HOME": "home-empty", "XDG_CACHE_HOME": None, "XDG_CONFIG_HOME": None}),
        Variation("no such HOME", {"HOME": "/nonexistent/home"}),
        Variation("HOME with settings of matplotlib's", {"HOME": "home-set", "XDG_CONFIG_HOME": None}),
        Variation("MPLCONFIGDIR", {"MPLCONFIGDIR": "traps"}),
        Variation("MATPLOTLIBRC", {"MATPLOTLIBRC": "traps"}),
        Variation("MPLBACKEND", {"MPLBACKEND": "svg"}),
        Variation("TMPDIR", {"TMPDIR": "traps"}),
    ),
    "time zone and date": (
        Variation("Asia/Kolkata", {"TZ": "Asia/Kolkata"}),
        Variation("XXX+23:59", {"TZ": "XXX+23:59"}),
        Variation("SOURCE_DATE_EPOCH", base={"SOURCE_DATE_EPOCH": "1700000000"}),
        Variation("SOURCE_DATE_EPOCH elsewhere", {"TZ": "Asia/Kolkata"}, {"SOURCE_DATE_EPOCH": "1700000000"}),
    ),
    "locale": (
        Variation("C", {"LC_ALL": "C"}),
        Variation("C without UTF-8", {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}),
        Variation("POSIX", {"LC_ALL": "POSIX", "LANG": None}),
        Variation("C.UTF-8 with PYTHONUTF8=0", {"LC_ALL": "C.UTF-8", "PYTHONUTF8": "0"}),
        *(
            Variation(
                name,
                {"LC_ALL": name, "LOCPATH": "locales", "PYTHONUTF8": "0"},
                prelude="import locale; locale.setlocale(locale.LC_ALL, '')",
            )
            for name in LOCALES
        ),
    ),
    "PYTHONHASHSEED": tuple(Variation(seed, {"PYTHONHASHSEED": seed}) for seed in ("0", "1", "random")),
    "umask": tuple(Variation(f"{umask:03o}", umask=umask) for umask in (0o000, 0o027, 0o077)),
    "order of images": (
        Variation("reversed", images="reversed"),
        Variation("a directory", images="directory"),
        Variation("a glob, and some twice", images="twice"),
    ),
    "batch size": tuple(Variation(size, options=("--batch-size", size), free=_RECORD) for size in "1238"),
    # Several threads make some convolutions and products add up in another order.
    "threads, where the arithmetic is exact": (
        Variation("OMP_NUM_THREADS=2", {"OMP_NUM_THREADS": "2"}, reports=("exact",), free=_RECORD),
        Variation("OMP_NUM_THREADS=5", {"OMP_NUM_THREADS": "5"}, reports=("exact",), free=_RECORD),
        Variation("torch's", prelude="import torch; torch.set_num_threads(3)", reports=("exact",), free=_RECORD),
        Variation(
            "MKL and OpenBLAS",
            {"MKL_NUM_THREADS": "2", "OPENBLAS_NUM_THREADS": "2"},
            reports=("exact",),
            free=_RECORD,
        ),
    ),
    "name of the folder": (
        Variation("short", out="o"),
        Variation("with spaces and more", out="mein Bericht #1 %20 [x]"),
        Variation("not ASCII", out="отчёт/résumé"),
        Variation("deep", out="a/b/c/d/e"),
    ),
    "interpreter and terminal": (
        Variation("PYTHONOPTIMIZE=1", {"PYTHONOPTIMIZE": "1"}),
        Variation("PYTHONOPTIMIZE=2", {"PYTHONOPTIMIZE": "2"}),
        Variation("PYTHONUTF8=1", {"PYTHONUTF8": "1"}),
        Variation("NO_COLOR, COLUMNS", {"NO_COLOR": "1", "COLUMNS": "20", "LINES": "5", "TERM": "dumb"}),
        Variation("PYTHONDEVMODE", {"PYTHONDEVMODE": "1"}),
        Variation("another user's name", {"USER": "someone", "LOGNAME": "someone", "HOSTNAME": "elsewhere"}),
    ),
    "state of the process": tuple(
        Variation(name, prelude=prelude, cwd="traps") for name, prelude in STATES.items()
    ),
}

TOGETHER = Variation(
    "all at once",
    {
        "HOME": "home-set", "XDG_CACHE_HOME": None, "XDG_CONFIG_HOME": None, "TZ": "Asia/Kolkata", "LC_ALL": "C",
        "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0", "PYTHONHASHSEED": "random", "COLUMNS": "20",
    },
    {"SOURCE_DATE_EPOCH": "1700000000"},
    "\n".join(STATES[name] for name in ("matplotlib's settings", "torch's default dtype", "random seeds")),
    cwd="traps", out="отчёт #1/x", umask=0o077, images="reversed", reports=("transformer",),
)  # fmt: skip
"""Whatever need not come one by one, in a single build: where one of it tells, this does."""


@dataclass(frozen=True)
class Report:
    """A report that is built: a model with options, and of how many images; below 0, of plain ones."""

    model: str
    options: tuple[str, ...]
    images: int


class Bench:
    """Builds in `place`, each in a process of its own, and compares them with the baseline: `reports` at most."""

    def __init__(self, place: Path, reports: tuple[str, ...] = EVERY) -> None:
        self.place = place
        self._baselines: dict[str, Hashes] = {}
        self._count = 0
        self._reports = {name: report for name, report in _reports(place) if name in reports}
        _make_inputs(place)

    def differing(self, variation: Variation) -> list[str]:
        """The names of the files that differ from the baseline's, or that only one of the two has."""
        key = json.dumps([dict(variation.base), variation.reports])
        if key not in self._baselines:
            same = Variation("baseline", base=variation.base, reports=variation.reports)
            self._baselines[key] = self.hashes(same)
        expected, found = self._baselines[key], self.hashes(variation)
        names = [name for name in expected.keys() | found.keys() if expected.get(name) != found.get(name)]
        return sorted(name for name in names if not name.endswith(variation.free))

    def agrees(self, variation: Variation) -> bool:
        """Whether no file differs; stderr says which do."""
        try:
            names = self.differing(variation)
        except AssertionError as error:
            names = [str(error)]
        if names:
            print(f"{variation.name}: {len(names)} differ: {', '.join(names[:8])}", file=sys.stderr)
        return not names

    def hashes(self, variation: Variation) -> Hashes:
        """The SHA-256 of each file that the build makes, by its path below the folder.

        Raises AssertionError when the build fails, or when a file has a mode that is not what the umask says.
        """
        self._count += 1
        folder = self.place / f"made {self._count}"
        out = folder / variation.out
        commands = [
            command
            for name in self._reports
            if name in variation.reports
            for command in self._commands(name, out, variation)
        ]
        spec = {"umask": variation.umask, "prelude": variation.prelude, "commands": commands}
        (self.place / "spec.json").write_text(json.dumps(spec))
        done = subprocess.run(
            [sys.executable, __file__, self.place / "spec.json"],
            capture_output=True, check=False, cwd=self.place / variation.cwd, env=self._environment(variation),
        )  # fmt: skip
        told = done.stderr.decode(errors="replace")
        assert done.returncode == 0, f"{variation.name}: {told[-3000:]}"
        found = {path.relative_to(out).as_posix(): _sha256(path) for path in out.rglob("*") if path.is_file()}
        wrong = [str(path) for path in out.rglob("*") if not _has_sane_mode(path, variation.umask)]
        assert wrong == [], f"{variation.name}: modes that are not what the umask says: {wrong[:3]}"
        shutil.rmtree(folder)
        return found

    def _commands(self, name: str, out: Path, variation: Variation) -> Iterator[list[str]]:
        report, site = self._reports[name], str(out / name)
        images = self._images(variation.images, report.images)
        yield ["build", report.model, *images, *report.options, *variation.options, "--out", site, "--quiet"]
        for suffix in ("html", "zip"):
            yield ["pack", site, "--out", f"{site}.{suffix}", "--quiet"]

    def _images(self, how: str, count: int) -> list[str]:
        directory = self.place / (f"images-{count}" if count > 0 else "images-exact")
        files = sorted(str(path) for path in directory.iterdir())
        return {
            "given": files,
            "relative": [str(Path(path).relative_to(self.place)) for path in files],
            "reversed": files[::-1],
            "directory": [str(directory)],
            "twice": [
                files[1],
                f"{directory}/*",
                files[1],
                f"{directory}/../{directory.name}/{Path(files[0]).name}",
            ],
        }[how]

    def _environment(self, variation: Variation) -> dict[str, str]:
        given = {
            **os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "LC_ALL": "C.UTF-8",
            "PYTHONHASHSEED": "7", "TZ": "UTC", **variation.base, **variation.environment,
        }  # fmt: skip
        here = {name: str(self.place / value) for name, value in given.items() if value in _PLACES}
        return {name: here.get(name, value) for name, value in given.items() if value is not None}


_PLACES = ("home-empty", "home-set", "traps", "locales")
"""Values of variables that are directories of the bench."""


def _transformer(place: Path) -> Report:
    """With attention, a segmentation and detections: figures of every kind, texts and arrays."""
    given = ["--captions", str(place / "captions"), "--statistics", str(place / "more"), "--arrays"]
    nodes = ("stem", "stem.0", "attention", "classify", "scale", "label", "sigmoid")
    chosen = [word for node in nodes for word in ("--nodes", node)]
    return Report(f"{MODELS}:Versatile", ("--size", "24", *given, *chosen), 2)


def _reports(place: Path) -> Iterator[tuple[str, Report]]:
    yield "transformer", _transformer(place)
    few = "channel_grid,channel_sum,predictions,health,layer_cka"
    yield "network", Report(f"{MODELS}:Residual", ("--size", "24", "--tracer", "eager", "--figures", few), 2)
    sample = ROOT / "samples" / "shapenet"
    given = ("--weights", str(sample / "weights.safetensors"), "--size", "64", "--scale", "layer")
    kinds = "channel_grid,channel_sum,hypercolumn,class_map"
    # Pictures in one of the eight purest colours, weights in sixteenths: all sums are exact, whatever their order.
    exact = ("--size", "30x40", "--mean", "0.5,0.5,0.5", "--std", "0.5,0.5,0.5", "--tracer", "eager")
    yield "exact", Report(f"{MODELS}:Exact", (*exact, "--figures", f"{kinds},overview,filters"), -len(NAMES))
    yield "sample", Report(f"{sample / 'network.py'}:shapenet", (*given, "--figures", kinds), len(NAMES))


def _has_sane_mode(path: Path, umask: int) -> bool:
    full = 0o777 if path.is_dir() else 0o666
    return stat.S_IMODE(path.lstat().st_mode) == full & ~umask


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _make_inputs(place: Path) -> None:
    """Pictures, texts, and directories with what must not show in a report."""
    from PIL import Image

    homes = ("home-empty", "home-set/.config/matplotlib")
    for name in ("images-2", "images-8", "images-exact", "more", "captions/images", "traps", "locales", *homes):
        (place / name).mkdir(parents=True)
    for number, name in enumerate(NAMES):
        _draw(place / "images-8" / name, number)
        corner = [255 * (number >> band & 1) for band in range(3)]
        Image.new("RGB", (40, 30), tuple(corner)).save(place / "images-exact" / f"{number}.png")
    for name in NAMES[1:3]:
        shutil.copy(place / "images-8" / name, place / "images-2")
    _draw(place / "more" / "further.png", len(NAMES))
    (place / "captions" / "index.md").write_text(
        "Look at [[stem.0]], in İstanbul: ![x](şekil.png)\n", encoding="utf-8"
    )
    _draw(place / "captions" / "şekil.png", len(NAMES) + 1)
    (place / "captions" / "images" / f"{Path(NAMES[2]).stem}.md").write_text("Süß.\n", encoding="utf-8")
    for directory in ("traps", homes[1]):
        (place / directory / "matplotlibrc").write_text(RCFILE)


def _draw(path: Path, number: int) -> None:
    from PIL import Image

    gray = Image.radial_gradient("L").resize((40, 30)).rotate(25 * number)
    bands = [gray, gray.transpose(Image.Transpose.FLIP_LEFT_RIGHT), gray.rotate(90)]
    Image.merge("RGB", bands).save(path)


def is_possible(variation: Variation, place: Path) -> bool:
    """Whether this machine has what is varied: a locale, which is made below `place`, may lack its sources."""
    name = str(variation.environment.get("LC_ALL"))
    if "LOCPATH" not in variation.environment:
        return True
    language, _, charmap = name.partition(".")
    command = ["localedef", "-i", language, "-f", charmap, str(place / "locales" / name)]
    return (
        bool(shutil.which("localedef"))
        and subprocess.run(command, check=False, capture_output=True).returncode == 0
    )


def cases(full: bool, place: Path) -> Iterator[tuple[str, int, int]]:
    """Yield the name of each class of variations, how many builds were compared, and how many differ."""
    bench = Bench(place)
    groups: Mapping[str, tuple[Variation, ...]] = {"all at once": (TOGETHER,)}
    for told, variations in {**(VARIATIONS if full else {}), **groups}.items():
        possible = [variation for variation in variations if is_possible(variation, place)]
        yield told, len(possible), sum(not bench.agrees(variation) for variation in possible)


def work(spec: Mapping[str, Any]) -> int:
    """Run the commands in this process; return the first exit code that is not 0."""
    os.umask(spec["umask"])
    exec(spec["prelude"], {})  # noqa: S102 - a line of the table above
    from reportgen.cli import main

    # As the system hands them over, whatever the locale takes their bytes for.
    commands = [[os.fsdecode(word.encode()) for word in command] for command in spec["commands"]]
    return next((code for command in commands if (code := main(command))), 0)


if __name__ == "__main__":
    sys.exit(work(json.loads(Path(sys.argv[1]).read_bytes())))
