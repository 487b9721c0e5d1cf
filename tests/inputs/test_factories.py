"""Factories by module and by file: what they may do, and one line for all that can go wrong."""

import errno
import pickle
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from reportgen.errors import InputError, UsageError
from reportgen.inputs.factories import call_factory, recorded_spec

NETWORK = """
import torch
from torch import nn

class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 2, 3)

    @classmethod
    def small(cls):
        return cls()

def make():
    return Net()

def make_wide():
    return Net()

number = 3
instance = Net()
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "network.py").write_text(NETWORK)
    return tmp_path


def refusal(spec: str, base: Path) -> str:
    path, modules = list(sys.path), set(sys.modules)
    with pytest.raises(InputError) as caught:
        call_factory(spec, base)
    assert "\n" not in str(caught.value)
    assert str(caught.value).startswith(f"model {spec}: ")
    assert sys.path == path
    assert not {name for name in set(sys.modules) - modules if "reportgen_broken" in name}
    return str(caught.value).removeprefix(f"model {spec}: ")


@pytest.mark.parametrize("name", ["make", "Net", "Net.small"])
def test_a_function_a_class_and_a_method_are_factories(name: str, folder: Path) -> None:
    path = list(sys.path)
    assert type(call_factory(f"network.py:{name}", folder)).__name__ == "Net"
    assert type(call_factory(f"{folder}/network.py:{name}", Path("/"))).__name__ == "Net"
    assert sys.path == path


def test_a_model_pickles(folder: Path) -> None:
    module = call_factory("network.py:make", folder)
    again = pickle.loads(pickle.dumps(module))  # noqa: S301 (made here)
    assert type(again) is type(module)


def test_dataclasses_in_the_file_work(folder: Path) -> None:
    (folder / "config.py").write_text(
        "from __future__ import annotations\n"
        "from dataclasses import dataclass\nfrom typing import ClassVar\nfrom torch import nn\n"
        "@dataclass\nclass Config:\n    width: int = 4\n    kind: ClassVar[str] = 'x'\n"
        "def make():\n    return nn.Linear(Config().width, 1)\n"
    )
    assert isinstance(call_factory("config.py:make", folder), nn.Linear)


def test_siblings_are_those_beside_the_file_and_fresh(tmp_path: Path) -> None:
    for name, width in (("a", 11), ("b", 22)):
        (tmp_path / name).mkdir()
        (tmp_path / name / "rg_blocks.py").write_text(f"WIDTH = {width}\n")
        (tmp_path / name / "net.py").write_text(
            "from torch import nn\nimport rg_blocks\n"
            "def make():\n    return nn.Linear(rg_blocks.WIDTH, 1)\n"
            "def late():\n    from rg_blocks import WIDTH\n    return nn.Linear(WIDTH, 1)\n"
        )

    def width_of(spec: str) -> int:
        module = call_factory(spec, tmp_path)
        assert isinstance(module, nn.Linear)
        return module.in_features

    assert [width_of(f"{name}/net.py:{factory}") for name in "ab" for factory in ("make", "late")] == [
        11,
        11,
        22,
        22,
    ]
    (tmp_path / "b" / "rg_blocks.py").write_text("WIDTH = 333\n")
    assert width_of("b/net.py:make") == 333


def test_modules_of_the_user_stay_loaded_as_they_are(
    folder: Path, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    mine = tmp_path_factory.mktemp("mine")
    (mine / "rg_shared.py").write_text("VALUE = 'mine'\n")
    (folder / "rg_shared.py").write_text("VALUE = 5\n")
    (folder / "net.py").write_text(
        "from torch import nn\nfrom rg_shared import VALUE\ndef make():\n    return nn.Linear(VALUE, 1)\n"
    )
    monkeypatch.syspath_prepend(str(mine))
    import rg_shared  # type: ignore[import-not-found]

    call_factory("net.py:make", folder)
    assert sys.modules["rg_shared"] is rg_shared


def test_a_module_is_found_from_the_base(folder: Path) -> None:
    (folder / "rg_package").mkdir()
    (folder / "rg_package" / "__init__.py").touch()
    (folder / "rg_package" / "nets.py").write_text("from torch import nn\ndef make():\n    return nn.ReLU()\n")
    path = list(sys.path)
    assert isinstance(call_factory("rg_package.nets:make", folder), nn.ReLU)
    assert sys.path == path
    assert isinstance(call_factory("torch.nn:ReLU", folder), nn.ReLU)


def test_values_repeat_and_the_random_state_stays(folder: Path) -> None:
    state = torch.random.get_rng_state()
    first, second = (call_factory("network.py:make", folder).state_dict() for _ in range(2))
    assert torch.equal(first["conv.weight"], second["conv.weight"])
    assert torch.equal(torch.random.get_rng_state(), state)


def test_what_is_missing_is_named_with_what_is_near(folder: Path) -> None:
    assert refusal("netwrk.py:make", folder) == "no file netwrk.py; did you mean network.py?"
    assert "nor is there a directory none" in refusal("none/network.py:make", folder)
    assert refusal("network.py:make_wid", folder).startswith("there is no make_wid; did you mean make_wide")
    assert refusal("network.py:Net.smal", folder).startswith("there is no smal; did you mean small")
    assert "no module named rg_absent" in refusal("rg_absent:make", folder)
    assert "no module named torch.rg_absent" in refusal("torch.rg_absent:make", folder)
    assert "name the function" in refusal("network.py:", folder)


def test_what_is_no_factory(folder: Path) -> None:
    assert refusal("network.py:number", folder).startswith("number is of type int and can't be called")
    assert "is a model already" in refusal("network.py:instance", folder)


def test_a_missing_dependency_is_named(folder: Path) -> None:
    (folder / "needy.py").write_text("\n\nimport rg_not_installed.deep\n")
    told = "needs the package rg_not_installed, which can't be found at needy.py:3; install it"
    assert refusal("needy.py:make", folder) == told
    assert refusal("needy:make", folder) == told


@pytest.mark.parametrize(
    ("code", "told"),
    [
        ("x = 1\ny = 1 / 0\n", "could not be imported: ZeroDivisionError: division by zero at broken.py:2"),
        ("x = 1\n\nx = = 2\n", "SyntaxError"),
        ("from . import blocks\n", "is named as package.module:factory"),
        ("import sys\nsys.exit(4)\n", "SystemExit: 4 at broken.py:2"),
    ],
)
def test_a_file_that_can_not_be_imported(code: str, told: str, folder: Path) -> None:
    (folder / "broken.py").write_text(code)
    message = refusal("broken.py:make", folder)
    assert told in message
    assert "broken.py:" in message


def test_a_factory_that_raises_is_located_in_the_users_code(folder: Path) -> None:
    (folder / "helper.py").write_text("import torch\n\ndef build():\n    return torch.zeros(2).view(3)\n")
    (folder / "raising.py").write_text(
        "from helper import build\nimport sys\nimport torch.nn as nn\n\n"
        "def make():\n    return build()\n\n"
        "def deep():\n    return nn.Linear(2, 'x')\n\n"
        "def several():\n    raise ValueError('one\\ntwo')\n\n"
        "def leave():\n    sys.exit('bye')\n\n"
        "def needs(width):\n    return None\n"
    )
    told = refusal("raising.py:make", folder)
    assert told.startswith("the factory raised RuntimeError: shape '[3]' is invalid")
    assert told.endswith(" at helper.py:4")
    assert refusal("raising.py:deep", folder).endswith(" at raising.py:9")
    assert refusal("raising.py:several", folder) == "the factory raised ValueError: one two at raising.py:12"
    assert "SystemExit: bye at raising.py:15" in refusal("raising.py:leave", folder)
    assert "(it is called without arguments)" in refusal("raising.py:needs", folder)


@pytest.mark.parametrize(
    ("body", "told"),
    [
        ("{'net': 1}", "returned dict; it must return a torch.nn.Module"),
        ("None", "returned NoneType;"),
        ("nn.ReLU", "returned the class ReLU; return an instance"),
    ],
)
def test_a_factory_that_returns_no_module(body: str, told: str, folder: Path) -> None:
    (folder / "wrong.py").write_text(f"from torch import nn\ndef make():\n    return {body}\n")
    assert told in refusal("wrong.py:make", folder)


def test_the_recorded_spec_names_no_directory() -> None:
    assert recorded_spec("/home/me/secret/network.py:Net.small") == "network.py:Net.small"
    assert recorded_spec(r"C:\work\network.py:make") == "network.py:make"
    assert recorded_spec("package.module:make") == "package.module:make"


ARGUMENTS = """
from torch import nn
def net(width, *, depth=1):
    return nn.Sequential(*(nn.Conv2d(3, width, 1) for _ in range(depth)))
def plain():
    return nn.ReLU()
class Positional(nn.Module):
    def __init__(self, width, /):
        super().__init__()
"""


def test_arguments_are_passed_by_name(folder: Path) -> None:
    (folder / "arguments.py").write_text(ARGUMENTS)
    made = call_factory("arguments.py:net", folder, {"width": 4, "depth": 3})
    assert [tuple(parameter.shape) for parameter in made.parameters()] == [(4, 3, 1, 1), (4,)] * 3


@pytest.mark.parametrize(
    ("name", "arguments", "told"),
    [
        (
            "net",
            {"width": 4, "dept": 3},
            "model-arg dept: arguments.py:net takes no such argument; did you mean depth",
        ),
        ("plain", {"width": 4}, "model-arg width: arguments.py:plain takes no such argument; it takes none"),
        ("Positional", {"width": 4}, "model-arg width: "),
    ],
)
def test_an_argument_that_the_factory_does_not_take(
    name: str, arguments: dict[str, Any], told: str, folder: Path
) -> None:
    (folder / "arguments.py").write_text(ARGUMENTS)
    with pytest.raises(UsageError) as caught:
        call_factory(f"arguments.py:{name}", folder, arguments)
    assert told in str(caught.value)


def test_a_factory_that_raises_over_an_argument_names_the_place(folder: Path) -> None:
    (folder / "arguments.py").write_text(ARGUMENTS)
    assert "the factory raised TypeError: " in refusal_with({"width": "wide"}, folder)


def refusal_with(arguments: dict[str, Any], folder: Path) -> str:
    with pytest.raises(InputError) as caught:
        call_factory("arguments.py:net", folder, arguments)
    return str(caught.value)


def test_a_file_on_a_failing_disk_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "net.py").write_text("import torch\ndef net():\n    return torch.nn.Identity()\n")

    def fail(_: Path) -> bytes:
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(Path, "read_bytes", fail)
    with pytest.raises(InputError, match=r"^model net\.py:net: its file, .* can't be read \(Input/output error\)"):
        call_factory("net.py:net", tmp_path)
