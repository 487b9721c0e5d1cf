"""`reportgen nodes`: every node of a model, by the names that torchvision gives."""

import json
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
import torchvision
from torchvision.models.feature_extraction import get_graph_node_names

from models_for_tests import Residual
from reportgen.cli import main
from reportgen.listing import list_nodes, table

MODELS = Path(__file__).resolve().parent / "models_for_tests.py"


@pytest.fixture(autouse=True)
def _keep_signals() -> Iterator[None]:
    before = signal.getsignal(signal.SIGTERM)
    yield
    signal.signal(signal.SIGTERM, before)


def printed(capsys: pytest.CaptureFixture[str], *arguments: object) -> list[dict[str, Any]]:
    """Return what `reportgen nodes ... --json` prints, after checking that it prints nothing else."""
    assert main(["nodes", *map(str, arguments), "--json"]) == 0
    told = capsys.readouterr()
    assert told.err == ""
    rows: list[dict[str, Any]] = json.loads(told.out)
    return rows


def test_json_has_every_node_of_resnet18_by_torchvisions_names(capsys: pytest.CaptureFixture[str]) -> None:
    rows = printed(capsys, "resnet18", "--size", 32)
    with torch.random.fork_rng(devices=[]):
        model = torchvision.models.resnet18(weights=None).eval()
    assert [row["name"] for row in rows] == get_graph_node_names(model)[1]
    assert len(rows) == 70
    assert all({"name", "op", "module_type", "shape"} <= row.keys() for row in rows)


def test_shapes_and_types_are_those_that_modules_give(capsys: pytest.CaptureFixture[str]) -> None:
    model = Residual().eval()
    seen: dict[str, list[int]] = {}

    def keep(name: str, value: torch.Tensor) -> None:
        seen[name] = list(value.shape)

    for name, module in model.named_children():
        module.register_forward_hook(lambda _, __, value, name=name: keep(name, value))
    model(torch.zeros(1, 3, 24, 20))
    rows = {row["name"]: row for row in printed(capsys, f"{MODELS}:residual", "--size", "24x20")}
    assert list(rows) == ["x", "conv1", "bn1", "relu", "conv2", "add_", "relu_1", "pool", "flatten", "fc"]
    assert rows["x"]["shape"] == [1, 3, 24, 20]
    for name in ("conv1", "bn1", "relu", "conv2", "pool", "fc"):
        assert rows[name]["shape"] == seen[name]
        assert rows[name]["op"] == "call_module"
        assert rows[name]["module_type"] == type(model.get_submodule(name)).__name__
    assert (rows["add_"]["op"], rows["add_"]["module_type"]) == ("call_method", "")
    assert (rows["x"]["op"], rows["x"]["module_type"]) == ("placeholder", "")
    assert all(row["dtype"] == "float32" for row in rows.values())


def test_a_node_that_raises_has_its_reason_and_no_shape() -> None:
    rows = {row["name"]: row for row in list_nodes(f"{MODELS}:half_broken", size=(8, 8))}
    for name in ("fail", "conv2", "add"):
        assert rows[name]["shape"] is None
        assert "the valve is stuck" in rows[name]["reason"]
    assert rows["conv3"]["shape"] == [1, 4, 8, 8]


def test_deep_opens_composite_blocks() -> None:
    spec = f"{MODELS}:composite"
    assert [row["name"] for row in list_nodes(spec, size=(8, 8))] == ["x", "block"]
    deep = [row["name"] for row in list_nodes(spec, size=(8, 8), deep=True)]
    assert deep == ["x", "block.0", "block.1", "block.2"]


def test_one_channel_models_are_listed_with_one_channel() -> None:
    assert list_nodes(f"{MODELS}:one_channel", size=(8, 8))[0]["shape"] == [1, 1, 8, 8]


def test_the_table_has_a_line_a_node_in_columns(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["nodes", f"{MODELS}:residual", "--size", "16"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split() == ["NAME", "OP", "MODULE", "SHAPE"]
    assert len(lines) == 1 + 10
    start = lines[0].index("MODULE")
    assert [line[start:].split()[0] for line in lines[1:4]] == ["-", "Conv2d", "BatchNorm2d"]
    assert lines[2].endswith("1 × 5 × 16 × 16")


def test_the_table_says_why_a_shape_is_missing() -> None:
    rows = list_nodes(f"{MODELS}:half_broken", size=(8, 8))
    assert "the valve is stuck" in table(rows).splitlines()[3]
