"""A build that was interrupted and goes on gives the same bytes as one that was not."""

import io
import os
import pickle
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, ClassVar

import pytest
import torch
from PIL import Image
from torch import nn

import reportgen
from canned import read_tree
from reportgen.checkpoint import _Pickler, _Unpickler
from reportgen.cli import main
from reportgen.errors import OutputError
from reportgen.site.writer import SiteWriter

IMAGES = 3


class Fragile(nn.Module):
    """A small network that counts its passes over images, draws random numbers, and breaks off when told."""

    passes: ClassVar[int] = 0
    end: ClassVar[int] = 0
    """The pass in which it is interrupted; 0: none."""

    def __init__(self) -> None:
        super().__init__()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(1)
            self.stem = nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU(inplace=True))
            self.fc = nn.Linear(4, 3)
        self.stem[0].register_forward_pre_hook(count)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.stem(x)
        result: torch.Tensor = self.fc((x + torch.rand_like(x)).mean((2, 3)))
        return result


def count(*_: object) -> None:
    Fragile.passes += 1
    if Fragile.passes == Fragile.end:
        raise KeyboardInterrupt


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("pictures")
    for number in range(IMAGES):
        picture = Image.radial_gradient("L").resize((20, 16)).rotate(25 * number).convert("RGB")
        picture.putpixel((number, 3), (255, 0, 0))
        picture.save(directory / f"{number}.png")
    (directory / "more").mkdir()
    Image.linear_gradient("L").resize((20, 16)).convert("RGB").save(directory / "more" / "x.png")
    return directory


@pytest.fixture(autouse=True)
def unbroken() -> Iterator[None]:
    Fragile.passes = Fragile.end = 0
    yield
    Fragile.passes = Fragile.end = 0


def build(out: Path, pictures: Path, *, end: int = 0, **options: Any) -> int:
    """Build, interrupted in the pass `end`; return how many passes there were."""
    Fragile.passes, Fragile.end = 0, end
    given = {"statistics": pictures / "more", **options}
    try:
        reportgen.build(Fragile().eval(), sorted(pictures.glob("*.png")), out, **given)
    except KeyboardInterrupt:
        assert end
    return Fragile.passes


@pytest.mark.parametrize("tracer", ["fx", "eager"])
def test_an_interrupted_build_goes_on_and_gives_the_same_bytes(tmp_path: Path, pictures: Path, tracer: str) -> None:
    # With every kind of figure, and what they keep between batches in its most demanding form.
    every: dict[str, Any] = {"tracer": tracer, "channel_similarity": "correlation", "arrays": True}
    whole = build(tmp_path / "whole", pictures, **every)
    expected = read_tree(tmp_path / "whole")
    spent = []
    for end in range(whole, whole - IMAGES, -1):
        out = tmp_path / f"{end}" / "site"
        build(out, pictures, end=end, resume=True, **every)
        assert not out.exists()
        spent.append(build(out, pictures, resume=True, **every))
        assert read_tree(out) == expected
        assert [path.name for path in out.parent.iterdir()] == ["site"]
    # The later the interruption, the less is left to do; the network is learned again each time.
    assert spent == list(range(spent[0], spent[0] + IMAGES))
    assert spent[0] < whole


def test_a_build_may_be_interrupted_again_and_again(tmp_path: Path, pictures: Path) -> None:
    few: dict[str, Any] = {"figures": ["predictions", "health"]}
    whole = build(tmp_path / "whole", pictures, **few)
    learning = whole - IMAGES - 1
    for number in range(IMAGES):
        # The first time there is a plain call of the model, too, with which the output is compared.
        build(tmp_path / "site", pictures, end=learning + 2 - (number > 0), resume=True, **few)
        assert not (tmp_path / "site").exists()
    build(tmp_path / "site", pictures, resume=True, **few)
    assert read_tree(tmp_path / "site") == read_tree(tmp_path / "whole")


def other_options(out: Path, pictures: Path) -> None:
    build(out, pictures, scale="layer", figures=["channel_sum", "health"], resume=True)


def without_resume(out: Path, pictures: Path) -> None:
    build(out, pictures, scale="layer", figures=["channel_sum", "health"])


def tampered_file(out: Path, pictures: Path) -> None:
    place = out.with_name(f".{out.name}.reportgen")
    next((place / "site").rglob("*.png")).write_bytes(b"something else")
    build(out, pictures, scale="layer", figures=["channel_sum", "health"], resume=True)


def half_a_state(out: Path, pictures: Path) -> None:
    state = out.with_name(f".{out.name}.reportgen") / "state"
    state.write_bytes(state.read_bytes()[:-100])
    build(out, pictures, scale="layer", figures=["channel_sum", "health"], resume=True)


@pytest.mark.parametrize("act", [other_options, without_resume, tampered_file, half_a_state])
def test_what_does_not_belong_to_a_build_is_not_used(
    tmp_path: Path, pictures: Path, act: Callable[[Path, Path], None]
) -> None:
    whole = build(tmp_path / "whole", pictures, scale="layer", figures=["channel_sum", "health"])
    scale = "channel" if act is other_options else "layer"
    build(tmp_path / "site", pictures, end=whole, scale=scale, figures=["channel_sum", "health"], resume=True)
    assert (tmp_path / ".site.reportgen" / "state").exists()
    act(tmp_path / "site", pictures)
    assert Fragile.passes == whole
    assert read_tree(tmp_path / "site") == read_tree(tmp_path / "whole")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["site", "whole"]


def test_without_being_asked_nothing_is_kept(tmp_path: Path, pictures: Path) -> None:
    whole = build(tmp_path / "whole", pictures, figures="health")
    build(tmp_path / "site", pictures, end=whole, figures="health")
    assert [path.name for path in tmp_path.iterdir()] == ["whole"]


def test_what_is_kept_is_not_locked(tmp_path: Path, pictures: Path) -> None:
    build(tmp_path / "whole", pictures, figures="health")
    build(tmp_path / "site", pictures, end=Fragile.passes, figures="health", resume=True)
    with SiteWriter(tmp_path / "site", resume=True) as writer:
        assert writer.resumed
        with pytest.raises(OutputError, match="locked"):
            SiteWriter(tmp_path / "site")


KILLED = """
import os, signal, sys
sys.path[:0] = [{tests!r}]
import test_checkpoint as tests
from pathlib import Path
def count(*_):
    tests.Fragile.passes += 1
    if tests.Fragile.passes == {end}:
        os.kill(os.getpid(), signal.SIGKILL)
tests.count = count
tests.build(Path({out!r}), Path({pictures!r}), end=0, resume=True)
"""


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="nothing kills like that here")
def test_a_killed_build_goes_on(tmp_path: Path, pictures: Path) -> None:
    whole = build(tmp_path / "whole", pictures)
    values = {"tests": str(Path(__file__).parent), "out": str(tmp_path / "site"), "pictures": str(pictures)}
    environment = {**os.environ, "OMP_NUM_THREADS": str(torch.get_num_threads())}
    code = KILLED.format(end=whole, **values)
    killed = subprocess.run(
        [sys.executable, "-c", code], env=environment, check=False, capture_output=True, text=True
    )
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    assert (tmp_path / ".site.reportgen" / "state").exists()
    assert build(tmp_path / "site", pictures, resume=True) < whole
    assert read_tree(tmp_path / "site") == read_tree(tmp_path / "whole")


class Evil:
    def __reduce__(self) -> Any:
        return os.mkdir, ("evil",)


@pytest.mark.parametrize(
    "data",
    [
        pickle.dumps(Evil()),
        b"cos\nsystem\n(S'mkdir evil'\ntR.",
        b"creportgen.site.writer\nSiteWriter\n(S'evil'\ntR.",
        b"cbuiltins\neval\n(S'1'\ntR.",
        b"ctorch\nload\n(S'x'\ntR.",
        b"creportgen.figures.registry\nentry_points\n(tR.",
    ],
)
def test_a_checkpoint_runs_no_code(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, data: bytes) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(pickle.UnpicklingError):
        _Unpickler(io.BytesIO(data), {}).load()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.bool, torch.int64, torch.complex64])
def test_tensors_come_back_bit_by_bit(dtype: torch.dtype) -> None:
    value = torch.tensor([[0.0, -0.0, float("nan")], [1.5, 2, 3]]).to(dtype)
    values = [value, value.T, value[0, 0], value[:0], value[:1, :1].expand(2, 2), torch.zeros(0, 3, dtype=dtype)]
    buffer = io.BytesIO()
    _Pickler(buffer, {}).dump(values)
    again = _Unpickler(io.BytesIO(buffer.getvalue()), {}).load()
    for one, other in zip(again, values, strict=True):
        assert (one.dtype, one.shape) == (other.dtype, other.shape)
        assert bits(one) == bits(other)


def bits(value: torch.Tensor) -> list[int]:
    """The bytes of a tensor, in row-major order."""
    numbers: list[int] = value.contiguous().reshape(-1, 1).view(torch.uint8).flatten().tolist()
    return numbers


def test_the_command_keeps_and_goes_on(
    tmp_path: Path, pictures: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    model = [f"{Path(__file__)}:Fragile", str(pictures / "*.png")]
    given = [*model, "--figures", "channel_sum", "--size", "16", "--out"]
    assert main(["build", *given, str(tmp_path / "whole")]) == 0
    ends: list[str] = []

    def step(_: object, layer: str, __: int) -> None:
        ends.extend([layer] if layer == "fc" else [])
        if len(ends) == IMAGES:
            raise KeyboardInterrupt

    monkeypatch.setattr("reportgen.progress.Progress.step", step)
    assert main(["build", *given, str(tmp_path / "site"), "--resume"]) == 130
    assert (tmp_path / ".site.reportgen" / "state").exists()
    assert not (tmp_path / "site").exists()
    ends.clear()
    assert main(["build", *given, str(tmp_path / "site"), "--resume"]) == 0
    assert ends == ["fc"], "only the last image was left to do"
    assert read_tree(tmp_path / "site") == read_tree(tmp_path / "whole")
