"""What `targets` measures, a function a row. Prints JSON: `ours`, `other` (seconds or megabytes) and a `note`.

Rounds of ours and the other alternate, so that a busy machine slows both down, and medians are taken. Where a peer
does the same work, what it found is compared with ours first.
"""

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parents[1]), str(HERE.parent)]

from bench.memory import PEAK, RESIDENT, count_peak_anew, status  # noqa: E402 - the path comes first

Task = Callable[[], dict[str, Any]]
ROUNDS, FEW = 5, 3


def seconds(work: Callable[[], object]) -> float:
    """How long `work` takes."""
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def compare(ours: Callable[[], object], other: Callable[[], object], rounds: int = ROUNDS) -> dict[str, Any]:
    """The medians of alternating rounds, after a warm-up of each."""
    seconds(ours)
    seconds(other)
    pairs = [(seconds(ours), seconds(other)) for _ in range(rounds)]
    mine, theirs = (statistics.median(times) for times in zip(*pairs, strict=True))
    return {"ours": mine, "other": theirs, "rounds": rounds}


def network(name: str) -> Any:
    import torch
    import torchvision

    torch.manual_seed(0)
    return getattr(torchvision.models, name)(weights=None).eval()


def photographs(count: int, folder: Path) -> list[Path]:
    """So many JPEG files of 320 x 260 pixels."""
    import numpy as np
    from PIL import Image

    random = np.random.default_rng(0)
    paths = [folder / f"photo{number:04}.jpg" for number in range(count)]
    for path in paths:
        blocks = Image.fromarray(random.integers(0, 255, (12, 16, 3), dtype=np.uint8))
        blocks.resize((320, 260), Image.Resampling.BICUBIC).save(path, quality=90)
    return paths


def folder() -> Path:
    """A new directory. It stays until all is measured: where files were removed, ext4 passes over their inodes one
    by one for minutes, so that creating a file takes 0.8 ms of CPU instead of 0.03.
    """
    return Path(tempfile.mkdtemp())


class Walk:
    """A traced network whose figures are made and written as in a build: no tracing, no pages."""

    def __init__(self, module: Any, inputs: Any, figures: Sequence[str] = (), size: int = 1, statistics: int = 0):
        from PIL import Image

        from reportgen.encoder import Encoder
        from reportgen.entities import Batch, InputImage
        from reportgen.network.selection import select
        from reportgen.network.tracing import trace_model

        picture = Image.new("RGB", (224, 224))
        named = [f"image{number}" for number in range(len(inputs))]
        images = [InputImage(name, name, 224, 224, "0" * 64, "", picture, picture) for name in named]
        self.batches = [
            Batch(
                tuple(images[start : start + size]),
                inputs[start : start + size],
                args=(inputs[start : start + size],),
            )
            for start in range(0, len(inputs), size)
        ]
        self.network = trace_model(module, self.batches[0])
        self.selection = select(self.network.layers)
        self.figures = figures
        self.encoder = Encoder()  # in a build it starts while the model is loaded
        self.encoder.start()
        for _ in range(500):
            if self.encoder.ready:
                break
            time.sleep(0.01)

    def __call__(self) -> None:
        from reportgen.driver import _saver
        from reportgen.figures.base import FigureOptions, Subject
        from reportgen.figures.registry import figure_kinds
        from reportgen.ledger import Ledger
        from reportgen.machine import cpus
        from reportgen.measuring import measure
        from reportgen.progress import Progress
        from reportgen.saving import saving
        from reportgen.site.writer import SiteWriter
        from reportgen.timings import Timings

        count = sum(len(batch.images) for batch in self.batches)
        layers = self.network.layers
        subject = Subject(tuple(layers), self.network.outputs, self.network.module_of, (), count)
        kinds = figure_kinds(FigureOptions(), subject, self.figures)
        ledger, timings = Ledger(self.network, self.selection), Timings()
        writer = SiteWriter(folder() / "site")
        with (
            Progress(0, 0, quiet=True) as progress,
            saving(_saver(writer, ledger, cpus() - 1, timings, self.encoder)) as saver,
        ):
            for product in measure(
                self.network, self.selection, iter(self.batches), kinds, ledger, progress, timings
            ):
                saver.save(product)
        self.drawn = {(figure.kind, figure.layer) for figure in ledger.figures}
        if ledger.problems:
            raise RuntimeError(ledger.problems[0])


def bare(module: Any, inputs: Any, size: int = 1) -> Callable[[], None]:
    import torch

    def run() -> None:
        with torch.inference_mode():
            for start in range(0, len(inputs), size):
                module(inputs[start : start + size])

    return run


GRIDS = ("channel_grid", "channel_sum")


def _walk(name: str) -> dict[str, Any]:
    import torch

    module, image = network(name), torch.randn(1, 3, 224, 224)
    return compare(Walk(module, image, GRIDS), bare(module, image), rounds=2 * ROUNDS)


def walk_resnet50() -> dict[str, Any]:
    return _walk("resnet50")


def walk_vgg16() -> dict[str, Any]:
    return _walk("vgg16")


def walk_peer() -> dict[str, Any]:
    import torch
    from torchvision.models.feature_extraction import create_feature_extractor, get_graph_node_names
    from torchvision.utils import make_grid, save_image

    module, image = network("resnet50"), torch.randn(1, 3, 224, 224)
    walk = Walk(module, image, GRIDS)
    names = get_graph_node_names(module)[1]
    drawn: set[str] = set()

    def peer() -> None:
        place = folder()
        with torch.no_grad():
            values = create_feature_extractor(module, names)(image)
            for name, value in values.items():
                if value.dim() == 4:
                    maps = value[0][:, None]
                    save_image(make_grid(maps, normalize=True, scale_each=True), place / f"{name}.png")
                    save_image(make_grid(value.sum(1, keepdim=True), normalize=True), place / f"{name}-sum.png")
                    drawn.add(name)

    found = compare(walk, peer, rounds=1)
    ours = {layer for kind, layer in walk.drawn if kind == "channel_grid"}
    if len(ours) != len(drawn):
        raise RuntimeError(f"{len(ours)} grids of ours, {len(drawn)} of theirs: not the same work")
    return {**found, "note": f"{len(drawn)} grids and sums each; in-place nodes come out wrong there"}


def one_grid() -> dict[str, Any]:
    import io

    import torch
    from matplotlib.figure import Figure as Plot

    from reportgen.entities import Activation, InputImage, Layer, Reading
    from reportgen.figures.base import FigureOptions, Subject
    from reportgen.figures.channel_grid import ChannelGrid

    maps = torch.randn(1, 1024, 14, 14)
    image = InputImage("a", "a", 1, 1, "", "", None, None)  # type: ignore[arg-type]
    layer = Layer(0, "conv", "conv", "call_module", "conv", "Conv2d", ())
    kind = ChannelGrid(FigureOptions(), Subject())

    def ours() -> int:
        (figure,) = kind.update(Activation(layer, (image,), maps, Reading("NCHW", maps)))
        return len(figure.files["png"])

    def subplots() -> None:
        plot = Plot(figsize=(16, 16))
        for axes, channel in zip(plot.subplots(32, 32).flat, maps[0].numpy(), strict=True):
            axes.imshow(channel)
            axes.set_axis_off()
        plot.savefig(io.BytesIO(), format="png")

    ours()
    return {"ours": statistics.median(seconds(ours) for _ in range(20)), "other": seconds(subplots), "rounds": 1}


def everything() -> dict[str, Any]:
    import reportgen

    module = network("resnet50")
    photos = photographs(8, folder())

    def build(figures: Sequence[str]) -> Callable[[], object]:
        return lambda: reportgen.build(module, photos, folder() / "site", figures=figures, quiet=True)

    return compare(build([]), build(GRIDS), rounds=FEW)


def layer_cka() -> dict[str, Any]:
    import torch

    module, images = network("resnet50"), torch.randn(64, 3, 224, 224)
    walk = Walk(module, images, ["layer_cka"], size=16)
    return compare(walk, bare(module, images, 16), rounds=FEW)


def layer_cka_peer() -> dict[str, Any]:
    import contextlib
    import io
    import warnings

    import torch
    from torch.utils.data import DataLoader, TensorDataset

    try:
        from torch_cka import CKA
    except ImportError:
        raise SystemExit("torch_cka is not installed (pip install 'reportgen[bench]')") from None
    import numpy as np

    module, images = network("resnet18"), torch.randn(32, 3, 224, 224)
    names = [name for name, part in module.named_modules() if name and not list(part.children())]
    walk, values = Walk(module, images, ["layer_cka"], size=16), {}

    def peer() -> None:
        with warnings.catch_warnings(), contextlib.redirect_stderr(io.StringIO()), torch.no_grad():
            warnings.simplefilter("ignore")
            peers = CKA(module, module, "a", "b", names, names)
            with contextlib.suppress(AssertionError):  # after all its work it refuses cells that are not a number
                peers.compare(DataLoader(TensorDataset(images), 16))
            values.update(zip(names, peers.export()["CKA"].double().numpy(), strict=True))
            for part in module.modules():
                part._forward_hooks.clear()

    # The matrix alone: the other draws nothing either.
    found = compare(lambda: _matrix_of(walk), peer, rounds=1)
    nodes = [layer.name for layer in walk.network.layers]
    mine, wanted = _matrix_of(walk), _oracle(module, images)
    error = max(float(np.nanmax(np.abs(mine[nodes.index(a), nodes.index(b)] - wanted[a, b]))) for a, b in wanted)
    theirs = float(np.nanmax([abs(values[a][names.index(b)] - wanted[a, b]) for a, b in wanted]))
    if not error < 1e-9:
        raise RuntimeError(f"ours is off by {error}: not right")
    return {
        **found,
        "note": f"off by {error:.0e} here, by {theirs:.0e} there; {len(nodes)} nodes, {len(names)} modules",
    }


def _matrix_of(walk: Walk) -> Any:
    """The CKA of all pairs of nodes, from a walk of its own."""
    from reportgen.figures.base import FigureOptions, Subject
    from reportgen.figures.layer_cka import LayerCKA
    from reportgen.numerics.similarity import alignment

    count = sum(len(batch.images) for batch in walk.batches)
    kind = LayerCKA(FigureOptions(), Subject(tuple(walk.network.layers), images=count))
    for batch in walk.batches:
        list(kind.begin_batch(batch))
        for event in walk.network.walk(batch):
            kind.observe(event)
        list(kind.end_batch())
    import torch

    return alignment(torch.from_numpy(kind._sums.cross)).numpy()


def _oracle(module: Any, images: Any) -> dict[tuple[str, str], float]:
    """Debiased CKA of a few pairs of modules, from clones that hooks take, as Song et al. write HSIC."""
    chosen = ["conv1", "bn1", "layer1.0.bn1", "layer2.0.conv1", "layer3.1.conv2", "layer4.1.bn2", "fc"]
    sums: dict[tuple[str, str], float] = {}
    for start in range(0, len(images), 16):
        kept = _hooked(module, images[start : start + 16], chosen)
        for first in chosen:
            for second in chosen:
                pair = (first, second)
                sums[pair] = sums.get(pair, 0.0) + _song(kept[first], kept[second])
    return {(a, b): sums[a, b] / (sums[a, a] * sums[b, b]) ** 0.5 for a, b in sums}


def _hooked(module: Any, images: Any, names: Sequence[str]) -> dict[str, Any]:
    """Float64 clones of what modules return."""
    import torch

    kept: dict[str, Any] = {}

    def keep(name: str, value: Any) -> None:
        kept[name] = value.double().flatten(1).clone()

    hooks = [
        module.get_submodule(name).register_forward_hook(lambda _, __, out, name=name: keep(name, out))
        for name in names
    ]
    with torch.no_grad():
        module(images)
    for hook in hooks:
        hook.remove()
    return kept


def _song(x: Any, y: Any) -> float:
    x, y = x - x.mean(0), y - y.mean(0)
    n = len(x)
    k, l = x @ x.T, y @ y.T  # noqa: E741 - the paper's letters
    k.fill_diagonal_(0)
    l.fill_diagonal_(0)
    rest = k.sum() * l.sum() / ((n - 1) * (n - 2)) - 2 / (n - 2) * (k.sum(0) @ l.sum(1))
    return float(((k * l.T).sum() + rest) / (n * (n - 3)))


def channel_cka() -> dict[str, Any]:
    import torch

    from reportgen.numerics.channels import channel_cka as all_pairs
    from reportgen.numerics.similarity import cka

    maps = torch.randn(2048, 7, 7)
    few = maps[:64].double()
    looped = torch.zeros(64, 64)

    def loop() -> None:
        for first in range(64):
            for second in range(64):
                looped[first, second] = cka(few[first], few[second])

    found = compare(lambda: all_pairs(maps, debiased=True), loop, rounds=FEW)
    difference = float((all_pairs(maps, debiased=True).values[:64, :64] - looped).abs().max())
    if not difference < 1e-5:
        raise RuntimeError(f"the results differ by {difference}")
    return {**found, "other": found["other"] * (2048 / 64) ** 2, "note": f"they differ by {difference:.0e}"}


def _layers_of_resnet50() -> list[Any]:
    import torch

    module, kept = network("resnet50"), []
    blocks = [block for stage in ("layer1", "layer2", "layer3", "layer4") for block in module.get_submodule(stage)]
    for block in blocks:
        block.register_forward_hook(lambda _, __, out: kept.append(out[0].clone()))
    with torch.no_grad():
        module(torch.randn(1, 3, 224, 224))
    return kept


def _hypercolumns() -> tuple[Callable[[], Any], Callable[[], Any]]:
    import torch
    from torch.nn.functional import interpolate

    from reportgen.numerics.hypercolumn import average
    from reportgen.numerics.sums import channel_mean, channel_sum

    layers = _layers_of_resnet50()

    def ours() -> Any:
        return average([(channel_mean(channel_sum(maps), len(maps)), len(maps)) for maps in layers], (224, 224))

    def other() -> Any:
        sizes = {"size": (224, 224), "mode": "bilinear", "align_corners": False}
        return torch.cat([interpolate(maps[None], **sizes) for maps in layers], dim=1).mean(1)[0]

    return ours, other


def hypercolumn() -> dict[str, Any]:
    ours, other = _hypercolumns()
    difference = float((ours() - other()).abs().max())
    if not difference < 1e-4:
        raise RuntimeError(f"the results differ by {difference}")
    return {**compare(ours, other, rounds=FEW), "note": f"16 layers; they differ by {difference:.0e}"}


def hypercolumn_memory() -> dict[str, Any]:
    return {"ours": _in_process("_memory_of_our_hypercolumn"), "other": _in_process("_memory_of_other_hypercolumn")}


def _memory_of_our_hypercolumn() -> float:
    return _peak_of(_hypercolumns()[0])


def _memory_of_other_hypercolumn() -> float:
    return _peak_of(_hypercolumns()[1])


def _peak_of(work: Callable[[], object]) -> float:
    """Megabytes that the process's peak rises by while `work` runs, at least one page's worth."""
    before = status(RESIDENT)
    count_peak_anew()
    work()
    return max(0.1, (status(PEAK) - before) / 1e6 * 1024)


def _in_process(name: str, *arguments: object) -> Any:
    """What the function of this file returns in a process of its own."""
    code = (
        f"import json, sys; sys.path.insert(0, {str(HERE)!r})\n"
        f"import tasks; print(json.dumps(tasks.{name}(*{arguments!r})))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit((done.stderr.strip().splitlines() or ["it failed"])[-1])
    return json.loads(done.stdout.splitlines()[-1])


def _cost_of_build(images: int) -> tuple[float, float]:
    """Megabytes above the bare pass's own peak, and seconds an image, of the walk with grids and sums.

    Batches have one image, as the bare pass.
    """
    import reportgen

    module = network("resnet50")
    place = folder()
    photos = photographs(images, place)
    reportgen.build(module, photos[:1], place / "warm", quiet=True)
    import torch

    bare(module, torch.randn(1, 3, 224, 224))()
    count_peak_anew()
    bare(module, torch.randn(1, 3, 224, 224))()
    before = status(PEAK)
    report = reportgen.build(module, photos, place / "site", figures=GRIDS, batch_size=1, quiet=True)
    above = (status(PEAK) - before) / 1e6 * 1024
    walked = sum(value for what, value in report.timings.seconds.items() if what in ("forward", *GRIDS))
    return above, walked / images


def memory() -> dict[str, Any]:
    return {"ours": _in_process("_cost_of_build", 8)[0], "other": 150.0}


def memory_growth() -> dict[str, Any]:
    return {"ours": _in_process("_cost_of_build", 64)[0], "other": _in_process("_cost_of_build", 8)[0]}


def time_growth() -> dict[str, Any]:
    return {"ours": _in_process("_cost_of_build", 64)[1], "other": _in_process("_cost_of_build", 8)[1]}


def _cost_of_pages() -> tuple[float, float]:
    try:
        from bench.publishing import cost_of
    except ImportError:
        raise SystemExit("the part `publishing` is not there") from None
    cost = cost_of(1800, 4, False)
    return cost.seconds, cost.peak


def rendering() -> dict[str, Any]:
    return {"ours": _in_process("_cost_of_pages")[0], "other": 10.0}


def rendering_memory() -> dict[str, Any]:
    return {"ours": _in_process("_cost_of_pages")[1], "other": 300.0}


def help() -> dict[str, Any]:
    def run(*arguments: str) -> Callable[[], object]:
        return lambda: subprocess.run(
            [sys.executable, *arguments], capture_output=True, check=True, cwd=HERE.parents[1]
        )

    found = compare(run("-m", "reportgen", "--help"), run("-c", "pass"))
    return {"ours": max(found["ours"] - found["other"], 1e-3), "other": 0.3}


def light_commands() -> dict[str, Any]:
    """How many commands load torch, of those that need no model; each is run to its end."""
    code = (
        "import sys, contextlib, io; from reportgen.cli import main\n"
        "with contextlib.suppress(SystemExit), contextlib.redirect_stdout(io.StringIO()):\n"
        "    main(sys.argv[1:])\n"
        "sys.exit(7 if 'torch' in sys.modules else 0)"
    )
    missing = str(HERE / "no-site")
    commands = (["--help"], ["render", missing], ["verify", missing], ["pack", missing, "--out", "x.zip"])
    loading = [
        command[0]
        for command in commands
        if subprocess.run(
            [sys.executable, "-c", code, *command], capture_output=True, check=False, cwd=HERE.parents[1]
        ).returncode
        == 7
    ]
    return {"ours": len(loading), "other": 1, "note": ", ".join(loading)}


def statistics_() -> dict[str, Any]:
    import torch

    import reportgen
    from reportgen.inputs.images import find_images

    module = network("resnet50")
    count = 100  # a tenth: both sides take their time an image
    place = folder()
    photos = photographs(count + 1, place)
    (place / "more").mkdir()
    for photo in photos[1:]:
        photo.rename(place / "more" / photo.name)

    def ours() -> None:
        reportgen.build(module, photos[:1], place / "site", statistics=place / "more", force=True, quiet=True)

    def other() -> None:
        from reportgen.inputs.batches import batches
        from reportgen.inputs.models import load_model

        model = load_model(module)
        sources = find_images([place / "more"])
        with torch.inference_mode():
            for batch in batches(sources, model.preprocess, 16, torch.device("cpu"), torch.float32):
                module(batch.tensor)

    bare(module, torch.randn(16, 3, 224, 224), 16)()
    return {"other": seconds(other), "ours": seconds(ours), "rounds": 1}


def main() -> None:
    """Run the task that is named; its files go to the directory named after it, or are removed in the end."""
    name, *place = sys.argv[1:]
    task: Task = globals()["statistics_" if name == "statistics" else name]
    with nullcontext(place[0]) if place else tempfile.TemporaryDirectory() as directory:
        os.environ["TMPDIR"] = tempfile.tempdir = directory  # also for the processes that a task starts
        print(json.dumps(task()))


if __name__ == "__main__":
    main()
