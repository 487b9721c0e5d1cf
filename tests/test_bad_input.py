"""Whole reports, with every kind of figure, of networks and images that break such tools."""

import csv
import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

import reportgen
from checker import check_site


class Small(nn.Module):
    """Two convolutions around an in-place ReLU, and class scores."""

    def __init__(self, classes: int = 5) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.conv, self.relu, self.last = nn.Conv2d(3, 6, 3, padding=1), nn.ReLU(inplace=True), nn.Conv2d(6, 4, 3)
        self.pool, self.fc = nn.AdaptiveAvgPool2d(1), nn.Linear(4, classes)

    def features(self, x: torch.Tensor) -> torch.Tensor:
        found: torch.Tensor = self.last(self.relu(self.conv(x)))
        return found

    def forward(self, x: torch.Tensor) -> Any:
        return self.fc(torch.flatten(self.pool(self.features(x)), 1))


class NaNChannel(Small):
    hole: torch.Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("hole", torch.zeros(1, 6, 1, 1))
        self.hole[:, 2] = float("nan")

    def features(self, x: torch.Tensor) -> torch.Tensor:
        found: torch.Tensor = self.last(self.relu(self.conv(x)) + self.hole)
        return found


class Constant(Small):
    def __init__(self) -> None:
        super().__init__()
        nn.init.zeros_(self.conv.weight)
        nn.init.ones_(self.conv.bias)  # type: ignore[arg-type]


class Dead(Small):
    def __init__(self) -> None:
        super().__init__()
        nn.init.constant_(self.conv.bias, -1e3)  # type: ignore[arg-type]


class TupleOutput(Small):
    def forward(self, x: torch.Tensor) -> Any:
        maps = self.features(x)
        return self.fc(torch.flatten(self.pool(maps), 1)), maps


class DictOutput(Small):
    def forward(self, x: torch.Tensor) -> Any:
        maps = self.features(x)
        return {"scores": self.fc(torch.flatten(self.pool(maps), 1)), "maps": maps, "shape": maps.shape}


class Fourier(Small):
    """Filters in the frequency domain: between the transforms, values and weights are complex."""

    def __init__(self) -> None:
        super().__init__()
        self.gain = nn.Parameter(torch.randn(6, 1, 1, dtype=torch.complex64))

    def features(self, x: torch.Tensor) -> torch.Tensor:
        spectrum = torch.fft.rfft2(self.relu(self.conv(x))) * self.gain
        found: torch.Tensor = self.last(torch.fft.irfft2(spectrum))
        return found

    def forward(self, x: torch.Tensor) -> Any:
        return super().forward(x), torch.fft.fft(self.fc(self.pool(self.features(x)).flatten(1)))


class Masked(Small):
    """Boolean maps, a boolean vector, and integers: places of maxima, classes, counts, a lookup by class."""

    def __init__(self) -> None:
        super().__init__()
        self.names = nn.Embedding(5, 3)

    def forward(self, x: torch.Tensor) -> Any:
        maps = self.conv(x)
        bright = maps > 0
        kept = self.last(maps * bright)
        scores = self.fc(torch.flatten(self.pool(kept), 1))
        classes = scores.argmax(1)
        return {
            "classes": classes,
            "class map": kept.argmax(1),
            "counts": bright.sum((2, 3)),
            "any": bright.flatten(2).any(2),
            "levels": (maps * 10).to(torch.uint8),
            "names": self.names(classes),
        }


def images(count: int = 2) -> list[torch.Tensor]:
    return list(torch.randn(count, 3, 16, 16, generator=torch.Generator().manual_seed(1)))


CASES: dict[str, tuple[nn.Module, Sequence[torch.Tensor]]] = {
    "one image": (Small(), images(1)),
    "two images": (Small(), images(2)),
    "identical images": (Small(), images(1) * 3),
    "a constant layer": (Constant(), images()),
    "a dead layer": (Dead(), images()),
    "NaN in one channel": (NaNChannel(), images()),
    "4000 classes": (Small(4000), images()),
    "a tuple": (TupleOutput(), images()),
    "a dict": (DictOutput(), images()),
    "float16": (Small().half(), images()),
    "bfloat16": (Small().bfloat16(), images()),
    "float64": (Small().double(), images()),
    "complex values": (Fourier(), images()),
    "booleans and integers": (Masked(), images()),
    "booleans and integers, one image": (Masked(), images(1)),
    "images of two sizes": (Small(), [torch.randn(3, 16, 16), torch.randn(3, 20, 12)]),
}


@pytest.mark.parametrize("name", CASES)
def test_no_crash_and_no_silent_number(name: str, tmp_path: Path) -> None:
    model, pictures = CASES[name]
    report = reportgen.build(model.eval(), pictures, tmp_path / "site", quiet=True, arrays=True)
    assert report.record.problems == []
    assert check_site(report.site) == []
    text = (report.site / "report.json").read_text()
    json.loads(text, parse_constant=pytest.fail)  # NaN and Infinity are no JSON
    for page in report.site.rglob("*.html"):
        words = page.read_text().replace("NaN is magenta", "")
        assert ">nan<" not in words
        assert " nan " not in words


def test_dead_and_constant_layers_are_told_apart(tmp_path: Path) -> None:
    counted = {}
    for model in (Dead(), Constant()):
        site = reportgen.build(model.eval(), images(), tmp_path / type(model).__name__, quiet=True).site
        rows = {row["name"]: row for row in csv.DictReader((site / "data/layers.csv").read_text().splitlines())}
        counted[type(model).__name__] = (int(rows["relu"]["dead"]), int(rows["relu"]["constant"]))
    assert counted == {"Dead": (6, 0), "Constant": (0, 6)}


def test_undefined_cells_are_empty_and_have_causes(tmp_path: Path) -> None:
    site = reportgen.build(Dead().eval(), images(), tmp_path / "site", quiet=True, figures=["layer_cka"]).site
    rows = list(csv.reader((site / "data/layer_cka.csv").read_text().splitlines()))
    values = {row[0]: row[1:] for row in rows[1:]}
    assert not any(values["relu"])
    facts = json.loads((site / "data/layer_cka.json").read_text())
    assert facts["undefined"]["relu"] == "it is the same for every example"
    assert all(math.isfinite(float(cell)) for cells in values.values() for cell in cells if cell)


def test_a_set_that_names_no_layer_is_refused(tmp_path: Path) -> None:
    with pytest.raises(reportgen.UsageError, match=r"convv.*did you mean conv"):
        reportgen.build(Small(), images(), tmp_path / "site", hypercolumns={"first": ["convv"]}, quiet=True)
    with pytest.raises(reportgen.UsageError, match="fc"):
        reportgen.build(Small(), images(), tmp_path / "site", hypercolumns={"first": ["conv", "fc"]}, quiet=True)
    assert not (tmp_path / "site").exists()
