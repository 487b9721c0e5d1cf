"""Nothing is written but the target and what lies beside it meanwhile, each command in a home that is watched."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

ROOT = Path(__file__).resolve().parents[1]
WATCH = """
import json, os, sys
written = []
def watch(event, arguments):
    # Python tells of every file that it opens, and of whatever else changes a directory.
    if event == "open":
        path, _, flags = arguments
        made = flags is not None and flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT)
        found = [(path, -1)] if made and isinstance(path, (str, bytes)) else []
    elif event in ("os.rename", "os.link"):
        found = [(arguments[0], arguments[2]), (arguments[1], arguments[3])]
    elif event in ("os.mkdir", "os.chmod"):
        found = [(arguments[0], arguments[2])]
    elif event in ("os.remove", "os.rmdir", "os.symlink"):
        found = [(arguments[-2], arguments[-1])]
    elif event in ("os.truncate", "os.utime", "os.chown", "os.setxattr", "os.mkfifo", "os.mknod"):
        found = [(arguments[0], -1)]
    else:
        return
    for path, directory in found:
        if isinstance(path, int):
            directory, path = path, ""
        start = os.readlink(f"/proc/self/fd/{directory}") if directory >= 0 else os.getcwd()
        written.append(os.path.join(start, os.fsdecode(path)).rstrip("/"))
sys.addaudithook(watch)
from reportgen.cli import main
codes = [main(command) for command in json.loads(sys.argv[1])]
print(json.dumps([codes, written]))
"""
NETWORK = "from torch import nn\n\ndef net():\n    return nn.Sequential(nn.Conv2d(3, 2, 3), nn.ReLU())\n"
LIBRARIES = r"home/\.(cache|config)(/matplotlib.*)?|tmp/torchinductor_[^/]*|tmp/[a-z0-9_]{8}"
"""What matplotlib (its list of fonts, once) and torch (an empty directory, tried with a file) write when loaded."""


@pytest.mark.skipif(sys.platform != "linux", reason="descriptors are looked up in /proc")
def test_nothing_is_written_but_the_target_and_what_lies_beside_it(tmp_path: Path) -> None:
    for name in ("home", "tmp", "work/images"):
        (tmp_path / name).mkdir(parents=True)
    Image.radial_gradient("L").resize((12, 10)).save(tmp_path / "work" / "images" / "a.png")
    (tmp_path / "work" / "net.py").write_text(NETWORK)
    commands = [
        ["build", "net.py:net", "images", "--size", "12", "--out", "out/site", "--resume", "--quiet"],
        ["build", "net.py:net", "images", "--size", "12", "--out", "out/site", "--force", "--quiet"],
        ["render", "out/site", "--title", "New", "--quiet"],
        ["pack", "out/site", "--out", "out/site.html", "--quiet"],
        ["pack", "out/site", "--out", "out/site.zip", "--quiet"],
        ["verify", "out/site", "--quiet"],
        ["nodes", "net.py:net", "--size", "12"],
    ]
    own = ("HOME", "TMPDIR", "PYTHONDONTWRITEBYTECODE", "MPLCONFIGDIR")
    kept = {
        name: value
        for name, value in os.environ.items()
        if name not in own and not name.startswith(("XDG_", "TORCH"))
    }
    homes = {"HOME": str(tmp_path / "home"), "TMPDIR": str(tmp_path / "tmp"), "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-c", WATCH, json.dumps(commands)],
        capture_output=True, text=True, check=False, cwd=tmp_path / "work", env={**kept, **homes},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    codes, written = json.loads(done.stdout.splitlines()[-1])
    assert codes == [0] * len(commands), done.stderr
    targets = [f"{tmp_path}/work/out/{name}" for name in ("site", ".site.")]
    assert any(path.startswith(targets[1]) for path in written), "the watch is blind"
    assert [path for path in written if not _may_be(path, tmp_path, targets)] == []
    # What C++ writes, Python doesn't tell of.
    assert {path.name for path in (tmp_path / "work").iterdir()} == {"images", "net.py", "out"}
    assert {path.name for path in (tmp_path / "work" / "out").iterdir()} == {"site", "site.html", "site.zip"}
    left = [
        path.relative_to(tmp_path).as_posix() for name in ("home", "tmp") for path in (tmp_path / name).rglob("*")
    ]
    assert [name for name in left if not re.fullmatch(LIBRARIES, name)] == []
    assert not any((tmp_path / "tmp").glob("*/*")), "torch's directory is empty"
    shutil.rmtree(tmp_path / "work")


def _may_be(path: str, place: Path, targets: list[str]) -> bool:
    if path.startswith(tuple(targets)) or path in (os.devnull, f"{place}/work/out"):
        return True
    if path.startswith("/memfd:"):
        return True  # memory that is shared with another process, no file
    if "__pycache__" in path and not path.startswith(str(place)):
        return True  # Python's own, beside installed packages
    return bool(re.fullmatch(LIBRARIES, path.removeprefix(f"{place}/")))
