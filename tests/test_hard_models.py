"""Whole reports of networks that misbehave: no one of them stops, each says what happened."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

import reportgen
from checker import check_site
from reportgen.driver import Report

FIGURES = ["channel_grid", "channel_sum"]


def images(count: int = 2) -> list[torch.Tensor]:
    return [torch.full((3, 8, 8), 1.0 + 10 * number) for number in range(count)]


def build(model: nn.Module, out: Path, **options: Any) -> Report:
    return reportgen.build(model.eval(), images(), out, quiet=True, batch_size=1, figures=FIGURES, **options)


class RaisesLater(nn.Module):
    """On the second image only, in an operation and in plain Python."""

    def __init__(self, where: str) -> None:
        super().__init__()
        self.conv, self.last = nn.Conv2d(3, 4, 1), nn.Conv2d(4, 2, 1)
        self.where = where

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y: torch.Tensor = self.conv(x)
        if float(x.mean()) > 5:
            if self.where == "python":
                raise ValueError("second thoughts")
            if self.where == "module":
                return self.last(torch.cat([y, y], 1))  # type: ignore[no-any-return]
            y.reshape(7, 7)
        return self.last(y)  # type: ignore[no-any-return]


@pytest.mark.parametrize("where", ["python", "operation", "module"])
def test_a_model_that_raises_on_the_second_image_only(where: str, tmp_path: Path) -> None:
    report = build(RaisesLater(where), tmp_path / "site")
    assert check_site(report.site) == []
    status = {layer.name: layer.status for layer in report.record.layers}
    assert status["conv"] == "drawn"
    assert status["last"] == "failed"
    (last,) = (layer for layer in report.record.layers if layer.name == "last")
    assert "Error" in last.reason
    assert "tensor 2" in last.reason
    assert not report.complete
    drawn = {(figure.layer, figure.image) for figure in report.record.figures}
    assert {("conv", "image-1"), ("conv", "image-2"), ("last", "image-1")} <= drawn


class ChangesItsGraph(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y: torch.Tensor = self.conv(x)
        return torch.tanh(y) if float(x.mean()) > 5 else torch.sigmoid(y)


def test_a_model_that_changes_between_images(tmp_path: Path) -> None:
    report = build(ChangesItsGraph(), tmp_path / "site")
    assert check_site(report.site) == []
    assert report.record.problems == [
        "sigmoid: the model did not compute it: it took another way than with the first image (on tensor 2)",
        "tensor 2: the model computed nodes that it had not with the first image: tanh",
    ]


class ReturnsNothing(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 1)

    def forward(self, x: torch.Tensor) -> None:
        self.conv(x)


@pytest.mark.parametrize("tracer", ["fx", "eager"])
def test_a_model_that_returns_nothing(tracer: str, tmp_path: Path) -> None:
    report = build(ReturnsNothing(), tmp_path / "site", tracer=tracer)
    assert report.complete
    assert check_site(report.site) == []
    assert {layer.name: layer.status for layer in report.record.layers}["conv"] == "drawn"


class NeedsWords(nn.Module):
    def forward(self, x: torch.Tensor, *, words: torch.Tensor) -> torch.Tensor:
        return x + words


def test_a_model_that_needs_a_keyword_is_refused_with_its_name(tmp_path: Path) -> None:
    with pytest.raises(reportgen.InputError, match="words"):
        build(NeedsWords(), tmp_path / "site")
    assert not (tmp_path / "site").exists()


NAMES = ["a/b", "c d", "<b>bold</b>", '"quoted"', "n" * 300, "Ünï", "con"]


class OddNames(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.parts = nn.ModuleDict({name: nn.Conv2d(3, 3, 1) for name in NAMES})

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        for part in self.parts.values():
            x = part(x)
        return x


@pytest.mark.parametrize("tracer", ["auto", "eager"])
def test_odd_names_of_modules(tracer: str, tmp_path: Path) -> None:
    report = build(OddNames(), tmp_path / "site", tracer=tracer)
    assert report.complete
    assert check_site(report.site) == []
    assert [layer.name for layer in report.record.layers] == ["x", *(f"parts.{name}" for name in NAMES)]
    assert len({layer.slug.casefold() for layer in report.record.layers}) == len(NAMES) + 1


def test_half_precision_inside_autocast_leaves_figures_in_full(tmp_path: Path) -> None:
    model = nn.Sequential(nn.Conv2d(3, 4, 1), nn.Conv2d(4, 4, 1))
    report = build(model, tmp_path / "site", dtype="autocast:bfloat16")
    assert report.complete
    kinds = {layer.name: layer.dtype for layer in report.record.layers}
    assert kinds == {"input": "float32", "0": "bfloat16", "1": "bfloat16"}
    eager = build(model, tmp_path / "eager", dtype="autocast:bfloat16", tracer="eager")
    assert {layer.name: layer.dtype for layer in eager.record.layers} == kinds
