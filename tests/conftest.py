"""A small network, two images and captions, and the site that a real build makes of them, built once."""

import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import jinja2
import pytest
import torch
from PIL import Image, ImageDraw
from torch import nn

import canned
import reportgen
from checker import check_site
from confined import Confined, confined
from reportgen import driver
from reportgen.site.theme import Theme
from reportgen.site.writer import SiteWriter

if TYPE_CHECKING:
    from reportgen.driver import Report

CAPTIONS = {
    "index.md": "# Read me\n\nStart at [[stem.conv]], then [[block.add|the sum]].[^1]\n\n[^1]: A note.\n\n"
    "| layer | job |\n|---|---:|\n| stem | edges |\n\n[elsewhere](https://example.org/?a=1&b=2)\n",
    "about.md": "Built for the tests.",
    "layers/stem.conv.md": "The **first** filters.[^1]\n\n[^1]: Untrained ones.",
    "layers/block.*.md": 'Somewhere in the block: ![a ring](../pictures/ring.png "It goes around")',
    "images/disc.md": "A disc, drawn by the test.",
    "figures/channel_grid.md": "Look for edges.[^1]\n\n[^1]: See [[block.relu]].",
}


class Block(nn.Module):
    """A residual block whose activation overwrites what the addition made."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.inner = nn.Sequential(
            nn.Conv2d(channels, channels, 3, padding=1),
            nn.Sequential(nn.BatchNorm2d(channels), nn.ReLU(inplace=True)),
        )
        self.relu = nn.ReLU(inplace=True)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        result: torch.Tensor = self.relu(self.inner(x) + x)
        return result


class TinyNet(nn.Module):
    """Eleven nodes: a stem, a residual block with a nested Sequential, and a head without maps."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential()
        self.stem.add_module("conv", nn.Conv2d(3, 5, 3, stride=2, padding=1))
        self.stem.add_module("relu", nn.ReLU(inplace=True))
        self.block = Block(5)
        self.pool = nn.AdaptiveAvgPool2d(2)
        self.flatten = nn.Flatten()
        self.fc = nn.Linear(20, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        result: torch.Tensor = self.fc(self.flatten(self.pool(self.block(self.stem(x)))))
        return result


def _make_tiny_model() -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return TinyNet().eval()


class CheckedWriter(SiteWriter):
    """A writer that publishes nothing but sound sites; what templates of a user's own make is the user's."""

    def publish(self) -> None:
        super().publish()
        options = json.loads((self.target / "report.json").read_text(encoding="utf-8"))["options"]
        problems = [] if options.get("templates") else check_site(self.target, options.get("base_url") or "")
        assert problems == [], "\n".join(problems[:20])


@pytest.fixture(scope="session", autouse=True)
def every_site_is_checked() -> Iterator[None]:
    """Whatever a test builds in this process, or makes of a record, goes through the checker."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(driver, "SiteWriter", CheckedWriter)
        patch.setattr(canned, "SiteWriter", CheckedWriter)
        yield


class CompiledTemplates(jinja2.BytecodeCache):
    """Templates that were compiled before, in memory; one whose text has changed is compiled anew."""

    def __init__(self) -> None:
        self._codes: dict[str, bytes] = {}

    def load_bytecode(self, bucket: jinja2.bccache.Bucket) -> None:
        if bucket.key in self._codes:
            bucket.bytecode_from_string(self._codes[bucket.key])

    def dump_bytecode(self, bucket: jinja2.bccache.Bucket) -> None:
        self._codes[bucket.key] = bucket.bytecode_to_string()


@pytest.fixture(scope="session", autouse=True)
def templates_are_compiled_once() -> Iterator[None]:
    """Hundreds of sites are rendered in this process, and compiling takes most of a small one's time."""
    plain, sandboxed = CompiledTemplates(), CompiledTemplates()  # a sandbox's code is another
    make = Theme.environment

    def environment(theme: Theme) -> jinja2.Environment:
        made = make(theme)
        made.bytecode_cache = sandboxed if made.sandboxed else plain
        return made

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Theme, "environment", environment)
        yield


@pytest.fixture
def tiny_model() -> nn.Module:
    """A fresh TinyNet, always with the same weights, in eval mode."""
    return _make_tiny_model()


@pytest.fixture(scope="session")
def tiny_images(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, ...]:
    """Two pictures, 40 x 30 and 32 x 32 pixels; the ids are `disc` and `red-square-…`."""
    directory = tmp_path_factory.mktemp("images")
    for name, size, colour in (("disc.png", (40, 30), "teal"), ("red square.png", (32, 32), "crimson")):
        picture = Image.new("RGB", size, "white")
        draw = ImageDraw.Draw(picture).ellipse if name == "disc.png" else ImageDraw.Draw(picture).rectangle
        draw((8, 5, 27, 24), fill=colour)
        picture.save(directory / name)
    return tuple(sorted(directory.iterdir()))


@pytest.fixture(scope="session")
def tiny_captions(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with a caption for every kind of place, one of them with a picture."""
    directory = tmp_path_factory.mktemp("texts") / "captions"
    for name, text in CAPTIONS.items():
        (directory / name).parent.mkdir(parents=True, exist_ok=True)
        (directory / name).write_text(text, encoding="utf-8")
    ring = Image.new("RGB", (60, 40), "white")
    ImageDraw.Draw(ring).ellipse((12, 4, 44, 36), outline="teal", width=5)
    (directory / "pictures").mkdir()
    ring.save(directory / "pictures" / "ring.png")
    return directory


@pytest.fixture(scope="session")
def build_tiny(tiny_images: tuple[Path, ...], tiny_captions: Path) -> "Callable[..., Report]":
    """Build the small report at a path, with further options of `reportgen.build`."""

    def build(out: Path, **options: object) -> "Report":
        given = {"captions": tiny_captions, "title": "A tiny report", "size": 32, **options}
        return reportgen.build(_make_tiny_model(), tiny_images, out, **given)

    return build


@pytest.fixture(scope="session")
def tiny_report(build_tiny: "Callable[..., Report]", tmp_path_factory: pytest.TempPathFactory) -> "Report":
    """The report of TinyNet on two images, with captions. Its site is shared: read it only."""
    return build_tiny(tmp_path_factory.mktemp("tiny") / "site")


@pytest.fixture(scope="session")
def tiny_site(tiny_report: "Report") -> Path:
    """The directory of `tiny_report`, shared between tests: read it only."""
    return tiny_report.site


@pytest.fixture
def site_copy(tiny_site: Path, tmp_path: Path) -> Path:
    """A copy of `tiny_site` of the test's own, at `tmp_path / "site"`."""
    return Path(shutil.copytree(tiny_site, tmp_path / "site"))


@pytest.fixture(scope="session")
def process() -> Iterator[Confined]:
    """A process of its own for hostile files."""
    with confined() as started:
        yield started
