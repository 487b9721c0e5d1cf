"""What is handed over is compared with what the model computes, and a wrong value is found."""

import dataclasses
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

import reportgen
from canned import make_layer, make_record
from models_for_tests import Counting, Hidden, InPlaceFirst, Noisy, Residual
from reportgen.network.capture import GraphNetwork
from reportgen.network.eager import EagerNetwork
from reportgen.numerics.finite import is_finite
from reportgen.site.record import ProofEntry, from_json, to_json
from reportgen.site.render import render

PICTURES = list((torch.arange(2 * 3 * 9 * 7) * 29 % 61 - 20).reshape(2, 3, 9, 7) / 16)


class InPlace(nn.Module):
    """Each value is overwritten by the next operation."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return (x * 2).add_(1).clamp_(min=0.5)


class Holes(nn.Module):
    """One node is NaN in places, and the one after it is not."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.log(x).nan_to_num(0, 0, 0)


def build(model: nn.Module, out: Path, **options: Any) -> reportgen.Report:
    return reportgen.build(model.eval(), PICTURES, out / "site", figures=["channel_sum"], quiet=True, **options)


@pytest.mark.parametrize("tracer", ["fx", "eager"])
@pytest.mark.parametrize("model", [Residual, Noisy, Counting, InPlaceFirst, InPlace])
def test_all_nodes_of_a_sound_capture_are_equal(tmp_path: Path, model: type[nn.Module], tracer: str) -> None:
    record = build(model(), tmp_path, tracer=tracer, prove=True).record
    assert record.model.tracer == tracer
    assert record.proof == ProofEntry("equal")
    assert {layer.proved for layer in record.layers} == {"equal"}
    assert record.problems == []
    count = len(record.layers)
    assert f"captured = computed: {count} of {count}" in (tmp_path / "site" / "about.html").read_text("utf-8")


@pytest.mark.parametrize("tracer", ["fx", "eager"])
@pytest.mark.parametrize("model", [Residual, Noisy, Counting, InPlaceFirst])
def test_without_proof_of_nodes_the_output_is_compared(tmp_path: Path, model: type[nn.Module], tracer: str) -> None:
    record = build(model(), tmp_path, tracer=tracer).record
    assert record.proof == ProofEntry("equal")
    assert {layer.proved for layer in record.layers} == {None}
    about = (tmp_path / "site" / "about.html").read_text("utf-8")
    assert "to the bit" in about
    assert "captured = computed" not in about


def test_what_could_not_be_compared_is_counted_and_named(tmp_path: Path) -> None:
    report = build(Hidden(), tmp_path, prove=True)
    assert report.record.proof == ProofEntry(
        "equal", "", ["output: no operation on the input was seen that computes it"]
    )
    assert [layer.proved for layer in report.record.layers] == [*["equal"] * 4, "unknown"]
    assert report.complete
    about = (tmp_path / "site" / "about.html").read_text("utf-8")
    assert "captured = computed: 4 of 5" in about
    assert "Not compared: output: no operation on the input was seen that computes it" in about


def late(events: Iterator[Any]) -> Generator[Any, None, Any]:
    """Hands each value over when the next one is computed."""
    before = None
    while True:
        try:
            event = next(events)
        except StopIteration as ended:
            if before is not None:
                yield before
            return ended.value
        if before is not None:
            yield before
        before = event


@pytest.mark.parametrize(("tracer", "network"), [("fx", GraphNetwork), ("eager", EagerNetwork)])
def test_a_value_that_was_overwritten_is_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tracer: str, network: Any
) -> None:
    right = network.walk
    monkeypatch.setattr(network, "walk", lambda *given: late(right(*given)))
    report = build(InPlace(), tmp_path, tracer=tracer, prove=True)
    proved = {layer.name: layer.proved for layer in report.record.layers}
    assert proved == {"x": "equal", "mul": "different", "add_": "different", "clamp_": "equal"}
    assert not report.complete
    # mul is handed over after 1 was added
    assert "mul: what was handed over" in report.record.problems[0]
    assert report.record.problems[0].endswith("largest difference 1")
    assert "captured = computed: 2 of 4" in (tmp_path / "site" / "about.html").read_text("utf-8")


def test_another_output_is_a_problem(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    right = GraphNetwork.walk

    def wrong(*given: Any) -> Generator[Any, None, Any]:
        output = yield from right(*given)
        return output + 0.25

    monkeypatch.setattr(GraphNetwork, "walk", wrong)
    report = build(InPlace(), tmp_path, tracer="fx")
    assert report.record.proof == ProofEntry("different", "largest difference 0.25")
    assert len(report.record.problems) == 1
    assert report.record.problems[0].endswith("returns: largest difference 0.25")
    assert not report.complete


@pytest.mark.parametrize("tracer", ["fx", "eager"])
def test_nodes_that_are_not_finite_are_recorded(tmp_path: Path, tracer: str) -> None:
    record = build(Holes(), tmp_path, tracer=tracer).record
    assert {layer.name: layer.finite for layer in record.layers} == {"x": True, "log": False, "nan_to_num": True}
    about = (tmp_path / "site" / "about.html").read_text("utf-8")
    assert "NaN or infinite values in 1 node: <code>log</code>" in about


@pytest.mark.parametrize(
    ("values", "finite"),
    [
        (torch.tensor([3e38, 3e38]), True),  # the sum is not
        (torch.tensor([60000.0, 60000.0]).half(), True),
        (torch.tensor([torch.inf, -torch.inf]), False),
        (torch.tensor([1, torch.nan]), False),
        (torch.tensor([1 + 1j, complex(0, torch.inf)]), False),
        (torch.tensor([1, 2]), True),
        (torch.zeros(0), True),
    ],
)
def test_finite_is_what_every_value_is(values: torch.Tensor, finite: bool) -> None:
    assert is_finite(values) is finite


def test_the_proof_comes_back_as_it_was_written() -> None:
    layers = [make_layer("a", finite=False, proved="close"), make_layer("b", finite=True, proved="unknown")]
    record = make_record(layers, proof=ProofEntry("close", "largest difference 1e-07", ["b: why"]))
    assert from_json(to_json(record)) == record
    about = render(record).files["about.html"]
    for text in ("within the tolerance", "largest difference 1e-07", "computed: 1 of 2", "Not compared: b: why"):
        assert text in about
    assert "Proof of capture" not in render(dataclasses.replace(record, proof=None)).files["about.html"]
