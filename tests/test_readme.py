"""The README's examples, run as they stand, in a directory that has what they speak of."""

import re
import shlex
import shutil
from pathlib import Path

import pytest

import reportgen
from reportgen.cli import main

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```(sh|python|toml)\n(.*?)^```", README, re.MULTILINE | re.DOTALL)
COMMANDS = [
    line for kind, text in BLOCKS if kind == "sh" for line in text.splitlines() if line.startswith("reportgen ")
]
PYTHON = [text for kind, text in BLOCKS if kind == "python"]
TOML = [text for kind, text in BLOCKS if kind == "toml"]

NETWORK = """
from torch import nn

def net():
    return nn.Sequential(nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(inplace=True)), nn.Conv2d(4, 2, 1))
"""


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A report of one layer, for the commands that take a finished one. It is shared: work on a copy."""
    place = tmp_path_factory.mktemp("built")
    shutil.copy(ROOT / "samples/photographs/chelsea.jpg", place / "cat.jpg")
    command = ["build", "resnet18", str(place / "cat.jpg"), "--weights", "none", "--nodes", "conv1", "--quiet"]
    assert main([*command, "--out", str(place / "report")]) == 0
    return place / "report"


@pytest.fixture
def desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A directory with the photographs, network, weights, captions and report.toml of the examples."""
    from safetensors.torch import save_file

    (tmp_path / "photos").mkdir()
    shutil.copy(ROOT / "samples/photographs/chelsea.jpg", tmp_path / "photos/cat.jpg")
    (tmp_path / "network.py").write_text(NETWORK.replace("nn.Sequential(nn.Seq", "Net(nn.Seq") + CLASS)
    namespace: dict[str, object] = {}
    exec((tmp_path / "network.py").read_text(), namespace)  # noqa: S102 - the text above
    save_file(namespace["net"]().state_dict(), tmp_path / "net.safetensors")  # type: ignore[operator]
    (tmp_path / "captions/layers").mkdir(parents=True)
    (tmp_path / "captions/layers/conv1.md").write_text("See [[conv1]].")
    (tmp_path / "report.toml").write_text(TOML[0])
    monkeypatch.chdir(tmp_path)
    return tmp_path


CLASS = """

class Net(nn.Module):
    def __init__(self, first, last):
        super().__init__()
        self.features, self.last = first, last

    def forward(self, x):
        return self.last(self.features(x))
"""


def run(command: str) -> int:
    words = shlex.split(command)[1:]
    return main([*words, "--force"] if words[0] == "build" else words)


@pytest.mark.parametrize("command", COMMANDS)
def test_commands(command: str, desk: Path, built: Path, capsys: pytest.CaptureFixture[str]) -> None:
    if command.startswith(("reportgen render", "reportgen pack", "reportgen verify")):
        shutil.copytree(built, desk / "report")
    code = run(command)
    said = capsys.readouterr()
    if "build resnet18" in command and "--weights" not in command and code == 3:
        # The one example that downloads weights: where the network refuses, it must name both ways out.
        assert "--weights none" in said.err
        assert "--weights FILE" in said.err
        return
    assert code == 0, said.err
    if "--out" in command:
        out = desk / shlex.split(command)[-1]
        assert (out if out.suffix else out / "index.html").is_file()


@pytest.mark.parametrize("code", PYTHON)
def test_python(code: str, desk: Path) -> None:
    exec(compile(code, "README.md", "exec"), {})  # noqa: S102 - our own README


def test_every_command_is_covered() -> None:
    assert len(COMMANDS) >= 8
    assert {shlex.split(command)[1] for command in COMMANDS} == {"build", "nodes", "pack", "render", "verify"}
    assert len(PYTHON) >= 2
    assert len(TOML) == 1


def test_the_two_commands_are_whole() -> None:
    sample, tests = (line for line in README.splitlines() if line.startswith("python3 -m venv"))
    assert sample.endswith("reportgen build --config samples/report.toml --out sample-report --force")
    assert tests.endswith('pip install -e ".[test]" && .venv/bin/python -m pytest')


def test_pictures_and_files_it_names_exist() -> None:
    for target in re.findall(r"\]\((?!https?:)([^)#]+)\)", re.sub(r"`[^`\n]+`", "", README)):
        assert (ROOT / target).is_file(), target


def test_the_options_it_names_exist() -> None:
    from reportgen.cli import parser

    known = {
        option
        for command in parser()._subparsers._group_actions[0].choices.values()  # type: ignore[union-attr]
        for action in command._actions
        for option in action.option_strings
    }
    assert set(re.findall(r"(?<![\w-])--[a-z][a-z-]+", README)) - {"--check"} <= known


def test_the_version_is_the_projects() -> None:
    assert f'version = "{reportgen.__version__}"' in (ROOT / "pyproject.toml").read_text()
