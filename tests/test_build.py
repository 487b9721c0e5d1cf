"""A whole build: the record, the pixels on disk, what happens when nodes fail, and that bytes repeat."""

import dataclasses
import hashlib
import itertools
import json
import re
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import nn

import reportgen
from models_for_tests import Crowded, Exact, HalfBroken, Noisy, RefusesBright, Residual
from reportgen.drawing.png import encode_indexed
from reportgen.encoder import Encoder, Paths, Tell
from reportgen.later import Later
from reportgen.progress import Progress
from reportgen.site import creating, writer

QUICK = ["channel_grid", "channel_sum"]
"""The kinds of figures that tests draw which are about something else."""

GAP, NAN, POSITIVE, NEGATIVE = 252, 253, 254, 255
MAPS = ["x", "conv1", "bn1", "relu", "conv2", "add_", "relu_1", "pool"]
VECTORS = ["flatten", "fc"]


def image_tensors(count: int, height: int = 9, width: int = 7) -> torch.Tensor:
    """Return `count` different images (N, 3, H, W) of multiples of 1/16."""
    values = torch.arange(count * 3 * height * width) * 29 % 61 - 20
    return (values / 16).reshape(count, 3, height, width)


def record_of(site: Path) -> dict[str, Any]:
    record: dict[str, Any] = json.loads((site / "report.json").read_text(encoding="utf-8"))
    return record


def layers_of(record: Mapping[str, Any]) -> dict[str, Any]:
    return {layer["name"]: layer for layer in record["layers"]}


def figures_of(record: Mapping[str, Any], kind: str) -> dict[tuple[str, str], Any]:
    """Return the figures of one kind by layer and image."""
    return {(each["layer"], each["image"]): each for each in record["figures"] if each["kind"] == kind}


def files_of(directory: Path) -> dict[str, bytes]:
    return {
        path.relative_to(directory).as_posix(): path.read_bytes() for path in directory.rglob("*") if path.is_file()
    }


def hooked(model: nn.Module, image: torch.Tensor) -> dict[str, NDArray[np.float64]]:
    """Return a clone of what each node of Residual computed for one image, by the node's name."""
    seen: dict[str, torch.Tensor] = {"x": image[None].clone()}

    def keep(name: str, value: torch.Tensor) -> None:
        repeats = itertools.chain([name], (f"{name}_{number}" for number in itertools.count(1)))
        seen[next(free for free in repeats if free not in seen)] = value.clone()

    handles = [
        module.register_forward_hook(lambda _, __, value, name=name: keep(name, value))
        for name, module in model.named_children()
    ]
    with torch.no_grad():
        model.eval()(image[None].clone())
    for handle in handles:
        handle.remove()
    seen["add_"] = seen["conv2"] + seen["relu"]
    return {name: value[0].numpy().astype(np.float64) for name, value in seen.items()}


# The record


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A report of Residual on three images, of which one has values that are not finite."""
    return reportgen.build(Residual(), IMAGES, tmp_path_factory.mktemp("residual") / "site", figures=QUICK).site


def _images_with_everything() -> torch.Tensor:
    images = image_tensors(3)
    images[1, 0] = 0.75
    images[2, 0, 0, :3] = torch.tensor([float("nan"), float("inf"), -float("inf")])
    images[2, 1] = float("nan")
    return images


IMAGES = _images_with_everything()


@pytest.fixture(scope="module")
def record(site: Path) -> dict[str, Any]:
    return record_of(site)


def test_the_record_has_the_parts_of_the_contract(record: dict[str, Any]) -> None:
    assert {"schema", "title", "model", "images", "layers", "figures", "environment", "options"} <= record.keys()
    assert record["schema"] == 1
    assert "Residual" in record["title"]
    assert record["problems"] == []


def test_the_model_is_described(record: dict[str, Any]) -> None:
    model = record["model"]
    assert model["spec"] == model["class"] == "Residual"
    assert model["parameters"] == sum(value.numel() for value in Residual().parameters())
    assert (model["tracer"], model["weights_sha256"]) == ("fx", None)
    assert model["weights"]
    assert model["tracer_reason"]


def test_every_image_is_described(record: dict[str, Any]) -> None:
    assert [(image["width"], image["height"]) for image in record["images"]] == [(7, 9)] * 3
    assert len({image["id"] for image in record["images"]}) == 3
    assert len({image["sha256"] for image in record["images"]}) == 3
    assert all(re.fullmatch("[0-9a-f]{64}", image["sha256"]) for image in record["images"])
    assert all(image["name"] for image in record["images"])


def test_every_node_is_accounted_for(record: dict[str, Any], site: Path) -> None:
    layers = layers_of(record)
    assert list(layers) == [*MAPS, *VECTORS]
    assert [layer["index"] for layer in layers.values()] == list(range(10))
    for name, layer in layers.items():
        assert layer["status"] == ("drawn" if name in MAPS else "skipped")
        assert bool(layer["reason"]) == (layer["status"] != "drawn")
        assert (site / "layers" / f"{layer['slug']}.html").is_file()
        assert layer["dtype"] == "float32"
        assert layer["layout"] == ("NCHW" if name in MAPS else "NC")


def test_layers_have_their_operation_parents_and_shapes(record: dict[str, Any]) -> None:
    layers, model = layers_of(record), Residual()
    values = hooked(model, IMAGES[0])
    for name in ("conv1", "bn1", "conv2", "pool", "fc"):
        assert layers[name]["op"] == "call_module"
        assert layers[name]["target"] == name
        assert layers[name]["module_type"] == type(model.get_submodule(name)).__name__
    for name, value in values.items():
        assert layers[name]["shape"] == [1, *value.shape]
    assert (layers["relu_1"]["target"], layers["relu_1"]["module_type"]) == ("relu", "ReLU")
    assert layers["add_"]["parents"] == ["conv2", "relu"]
    assert layers["conv2"]["parents"] == ["relu"]
    assert layers["x"]["parents"] == []


def test_every_figure_is_there_and_as_large_as_it_says(record: dict[str, Any], site: Path) -> None:
    ids = {image["id"] for image in record["images"]}
    for figure in record["figures"]:
        assert {"kind", "layer", "image", "files", "width", "height", "alt", "caption", "data"} <= figure.keys()
        assert figure["alt"]
        assert figure["caption"].endswith(".")
        assert figure["image"] is None or figure["image"] in ids
        for name in figure["files"]:
            assert (site / name).is_file()
        if figure["kind"] in ("channel_grid", "channel_sum"):
            with Image.open(site / figure["files"][0]) as picture:
                assert picture.size == (figure["width"], figure["height"])
    for kind in ("channel_grid", "channel_sum"):
        assert set(figures_of(record, kind)) == set(itertools.product(MAPS, ids))


def test_the_options_and_versions_are_recorded(record: dict[str, Any]) -> None:
    hidden = {"force", "quiet", "resume", "timings"}
    shown = {field.name for field in dataclasses.fields(reportgen.Options)} - hidden
    assert record["options"].keys() == shown
    assert record["options"]["scale"] == "channel"
    assert record["environment"]["torch"] == torch.__version__.partition("+")[0]
    assert record["environment"]["reportgen"] == reportgen.__version__


def test_the_manifest_lists_every_file_with_its_hash(site: Path) -> None:
    files = files_of(site)
    lines = files.pop("SHA256SUMS").decode().splitlines()
    listed = {name: digest for digest, name in (line.split("  ", 1) for line in lines)}
    assert listed == {name: hashlib.sha256(data).hexdigest() for name, data in files.items()}


def test_images_from_files_have_the_hash_of_the_file(tmp_path: Path) -> None:
    Image.linear_gradient("L").resize((30, 20)).save(tmp_path / "ramp.png")
    reportgen.build(Residual(), tmp_path / "ramp.png", tmp_path / "site", size=8, nodes="conv1", figures=QUICK)
    image = record_of(tmp_path / "site")["images"][0]
    assert image["sha256"] == hashlib.sha256((tmp_path / "ramp.png").read_bytes()).hexdigest()
    assert (image["id"], image["name"], image["width"], image["height"]) == ("ramp", "ramp.png", 30, 20)


# The pixels


def indices_and_palette(path: Path) -> tuple[NDArray[np.int64], Image.Image]:
    picture = Image.open(path)
    picture.load()
    assert picture.mode == "P"
    return np.asarray(picture).astype(np.int64), picture


def check_levels(found: NDArray[np.int64], values: NDArray[np.float64], low: float, high: float) -> None:
    """Compare palette indices with the contract's formula; a level may differ only at a rounding boundary."""
    finite = np.isfinite(values)
    assert (found[np.isnan(values)] == NAN).all()
    assert (found[values == np.inf] == POSITIVE).all()
    assert (found[values == -np.inf] == NEGATIVE).all()
    if not finite.any() or low == high:
        assert (found[finite] == 0).all()
        return
    exact = 251 * (np.clip(values[finite], low, high) - low) / (high - low)
    off = np.abs(found[finite] - np.floor(exact + 0.5))
    near_boundary = np.abs(exact % 1 - 0.5) < 1e-3
    assert (off[~near_boundary] == 0).all()
    assert (off <= 1).all()


def finite_range(values: NDArray[np.float64]) -> tuple[float, float] | None:
    finite = values[np.isfinite(values)]
    return (float(finite.min()), float(finite.max())) if finite.size else None


def same_float(written: float | None, value: float) -> bool:
    return written is not None and np.float32(written) == np.float32(value)


def check_grid(figure: Mapping[str, Any], site: Path, maps: NDArray[np.float64]) -> None:
    """Check one channel grid, drawn over each channel's own range, against the values themselves."""
    data, (channels, height, width) = figure["data"], maps.shape
    assert (data["tile_width"], data["tile_height"]) == (width, height)
    assert (data["channels_shown"], data["channels_total"], data["scale"]) == (channels, channels, "channel")
    assert data["columns"] * (data["rows"] - 1) < channels <= data["columns"] * data["rows"]
    assert len(data["low"]) == len(data["high"]) == channels
    found, _ = indices_and_palette(site / figure["files"][0])
    for channel, values in enumerate(maps):
        row, column = divmod(channel, data["columns"])
        top, left = row * (height + data["gap"]), column * (width + data["gap"])
        tile = found[top : top + height, left : left + width]
        low_high = finite_range(values)
        if low_high is None:
            assert data["low"][channel] is None
            assert data["high"][channel] is None
        else:
            assert same_float(data["low"][channel], low_high[0])
            assert same_float(data["high"][channel], low_high[1])
        check_levels(tile, values, *(low_high or (0.0, 0.0)))
        found[top : top + height, left : left + width] = GAP
    assert (found == GAP).all()


@pytest.mark.parametrize("number", [0, 1, 2])
@pytest.mark.parametrize("name", MAPS)
def test_a_channel_grid_shows_what_the_node_computed(
    record: dict[str, Any], site: Path, name: str, number: int
) -> None:
    values = hooked(Residual(), IMAGES[number])[name]
    check_grid(figures_of(record, "channel_grid")[name, record["images"][number]["id"]], site, values)


@pytest.mark.parametrize("number", [0, 1])
@pytest.mark.parametrize("name", MAPS)
def test_a_channel_sum_shows_the_sum_of_the_channels(
    record: dict[str, Any], site: Path, name: str, number: int
) -> None:
    figure = figures_of(record, "channel_sum")[name, record["images"][number]["id"]]
    total = hooked(Residual(), IMAGES[number])[name].sum(axis=0)
    low, high = float(total.min()), float(total.max())
    assert figure["data"]["low"] == pytest.approx(low, rel=1e-6, abs=1e-6)
    assert figure["data"]["high"] == pytest.approx(high, rel=1e-6, abs=1e-6)
    check_levels(indices_and_palette(site / figure["files"][0])[0], total, low, high)


def test_a_constant_channel_has_index_0_and_says_so(record: dict[str, Any], site: Path) -> None:
    figure = figures_of(record, "channel_grid")["x", record["images"][1]["id"]]
    found, _ = indices_and_palette(site / figure["files"][0])
    assert (found[:9, :7] == 0).all()
    assert figure["data"]["constant"] == [0]
    assert figure["data"]["low"][0] == figure["data"]["high"][0] == 0.75


def test_values_that_are_not_finite_have_their_own_indices(record: dict[str, Any], site: Path) -> None:
    figure = figures_of(record, "channel_grid")["x", record["images"][2]["id"]]
    found, _ = indices_and_palette(site / figure["files"][0])
    assert found[0, :3].tolist() == [NAN, POSITIVE, NEGATIVE]
    assert not figure["data"]["finite"]


def test_only_the_gap_is_transparent(record: dict[str, Any], site: Path) -> None:
    figure = figures_of(record, "channel_grid")["conv1", record["images"][0]["id"]]
    _, picture = indices_and_palette(site / figure["files"][0])
    alpha = np.asarray(picture.convert("RGBA"))[:, :, 3]
    assert np.array_equal(alpha == 0, np.asarray(picture) == GAP)
    assert set(np.unique(alpha)) == {0, 255}
    palette = picture.getpalette()
    assert palette
    assert len({tuple(palette[3 * index : 3 * index + 3]) for index in (0, 251, NAN, POSITIVE, NEGATIVE)}) == 5


@pytest.mark.parametrize("scale", ["layer", "symmetric", "-0.5:1.25"])
def test_other_scales_share_their_range(tmp_path: Path, scale: str) -> None:
    site = reportgen.build(
        Residual(), IMAGES[:1], tmp_path / "site", scale=scale, nodes=["bn1"], figures=QUICK
    ).site
    figure = figures_of(record_of(site), "channel_grid")["bn1", "image-1"]
    values = hooked(Residual(), IMAGES[0])["bn1"]
    most = float(np.abs(values).max())
    low, high = {
        "layer": (float(values.min()), float(values.max())),
        "symmetric": (-most, most),
        "-0.5:1.25": (-0.5, 1.25),
    }[scale]
    data = figure["data"]
    assert data["scale"] == scale
    assert all(same_float(end, low) for end in data["low"])
    assert all(same_float(end, high) for end in data["high"])
    found, _ = indices_and_palette(site / figure["files"][0])
    for channel in range(5):
        row, column = divmod(channel, data["columns"])
        tile = found[row * (9 + data["gap"]) :, column * (7 + data["gap"]) :][:9, :7]
        check_levels(tile, values[channel], low, high)


def test_max_channels_shows_the_first_and_says_how_many(tmp_path: Path) -> None:
    site = reportgen.build(
        Residual(), IMAGES[:1], tmp_path / "site", max_channels=2, nodes=["conv1"], figures=QUICK
    ).site
    figure = figures_of(record_of(site), "channel_grid")["conv1", "image-1"]
    assert (figure["data"]["channels_shown"], figure["data"]["channels_total"]) == (2, 5)
    assert len(figure["data"]["low"]) == 2
    assert "2 of 5 channels" in figure["caption"]
    found, _ = indices_and_palette(site / figure["files"][0])
    values = hooked(Residual(), IMAGES[0])["conv1"]
    check_levels(found[:9, :7], values[0], *finite_range(values[0]) or (0, 0))


# What fails


@pytest.fixture(scope="module")
def half_broken(tmp_path_factory: pytest.TempPathFactory) -> Path:
    report = reportgen.build(
        HalfBroken(), image_tensors(2), tmp_path_factory.mktemp("half") / "site", figures=QUICK
    )
    assert not report.complete
    return report.site


def test_a_node_that_raises_fails_with_all_that_read_it(half_broken: Path) -> None:
    layers = layers_of(record_of(half_broken))
    statuses = {name: layer["status"] for name, layer in layers.items()}
    assert statuses == {
        "x": "drawn", "conv1": "drawn", "fail": "failed", "conv2": "failed", "conv3": "drawn", "add": "failed",
    }  # fmt: skip
    for name in ("fail", "conv2", "add"):
        assert "ValueError: the valve is stuck" in layers[name]["reason"]
    assert "reads a node that failed" in layers["conv2"]["reason"]


def test_the_rest_of_a_failing_model_is_drawn(half_broken: Path) -> None:
    record = record_of(half_broken)
    assert len(record["images"]) == 2
    drawn = {layer for layer, _ in figures_of(record, "channel_grid")}
    assert drawn == {"x", "conv1", "conv3"}
    assert len(figures_of(record, "channel_grid")) == 6


@pytest.mark.parametrize("page", ["layers/fail.html", "layers/conv2.html", "layers/add.html", "about.html"])
def test_the_pages_of_failed_nodes_say_why(half_broken: Path, page: str) -> None:
    assert "the valve is stuck" in (half_broken / page).read_text(encoding="utf-8")


def test_each_failed_node_is_one_problem(half_broken: Path) -> None:
    problems = record_of(half_broken)["problems"]
    assert [problem.partition(":")[0] for problem in problems] == ["fail", "conv2", "add"]


def test_one_bad_image_does_not_spoil_the_others(tmp_path: Path) -> None:
    images = image_tensors(3)
    images[1, 0, 0, 0] = 99
    report = reportgen.build(RefusesBright(), images, tmp_path / "site", batch_size=1, figures=QUICK)
    record = record_of(report.site)
    layers, names = layers_of(record), [image["name"] for image in record["images"]]
    assert {name for name, layer in layers.items() if layer["status"] == "failed"} == {"refuse_bright", "conv"}
    reason = layers["refuse_bright"]["reason"]
    assert "too bright" in reason
    assert [name in reason for name in names] == [False, True, False]
    grids = figures_of(record, "channel_grid")
    ids = [image["id"] for image in record["images"]]
    assert {image for layer, image in grids if layer == "conv"} == {ids[0], ids[2]}
    assert {image for layer, image in grids if layer == "other"} == set(ids)


def test_a_bad_image_spoils_only_the_comparison_of_its_batch(tmp_path: Path) -> None:
    images = image_tensors(8)
    images[1, 0, 0, 0] = 99
    options = {"batch_size": 4, "figures": [*QUICK, "layer_cka"], "cka_examples": "images"}
    record = record_of(reportgen.build(RefusesBright(), images, tmp_path / "site", **options).site)
    reason, names = layers_of(record)["refuse_bright"]["reason"], [image["name"] for image in record["images"]]
    assert all(reason.count(name) == 1 for name in names[:4])
    assert not any(name in reason for name in names[4:])
    assert len([layer for layer, _ in figures_of(record, "channel_grid") if layer == "conv"]) == 7
    facts = json.loads((tmp_path / "site" / "data" / "layer_cka.json").read_text())
    assert (facts["batches"], set(facts["undefined"])) == (2, {"refuse_bright", "conv"})


def test_strict_writes_nothing(tmp_path: Path) -> None:
    with pytest.raises(reportgen.IncompleteError, match="valve"):
        reportgen.build(HalfBroken(), image_tensors(1), tmp_path / "site", strict=True, figures=QUICK)
    assert list(tmp_path.iterdir()) == []


# The same again


@pytest.mark.parametrize(
    ("network", "figures"),
    [(Residual, []), (HalfBroken, QUICK), (Noisy, QUICK)],
    ids=["every kind of figure", "a node that raises", "random values"],
)
def test_the_same_inputs_give_the_same_bytes(tmp_path: Path, network: type[nn.Module], figures: list[str]) -> None:
    for name in ("first", "second"):
        reportgen.build(network(), image_tensors(2), tmp_path / name, figures=figures)
        torch.rand(3)
        np.random.rand(3)
    assert files_of(tmp_path / "first") == files_of(tmp_path / "second")


def test_the_order_of_image_files_does_not_matter(tmp_path: Path) -> None:
    for name, angle in (("b.png", 0), ("a.png", 90), ("c.jpg", 30)):
        Image.linear_gradient("L").rotate(angle).resize((20, 16)).save(tmp_path / name)
    orders = (["a.png", "b.png", "c.jpg"], ["c.jpg", "a.png", "b.png"])
    sites = [tmp_path / f"site{number}" for number in range(2)]
    for order, site in zip(orders, sites, strict=True):
        reportgen.build(Residual(), [tmp_path / name for name in order], site, size=8, figures=QUICK)
    assert [image["id"] for image in record_of(sites[0])["images"]] == ["a", "b", "c"]
    assert files_of(sites[0]) == files_of(sites[1])


@pytest.fixture(scope="module", params=[Exact, HalfBroken, Crowded], ids=lambda network: network.__name__)
def by_batch_size(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Reports of the same three images, one image a forward pass and three."""
    place, network = tmp_path_factory.mktemp("batches"), request.param
    sizes = {"one": 1, "three": 3}
    for name, size in sizes.items():
        reportgen.build(network(), image_tensors(3), place / name, batch_size=size, figures=QUICK)
    return [place / name for name in sizes]


@pytest.mark.parametrize("part", ["title", "model", "images", "layers", "figures", "problems", "environment"])
def test_the_batch_size_does_not_change_the_record(by_batch_size: list[Path], part: str) -> None:
    one, three = (record_of(site)[part] for site in by_batch_size)
    assert one == three


def test_the_batch_size_does_not_change_the_figures(by_batch_size: list[Path]) -> None:
    one, three = (files_of(site / "figures") for site in by_batch_size)
    assert one == three


def test_images_that_are_compared_are_not_drawn_from_their_batch(tmp_path: Path) -> None:
    for name, kinds in (("alone", QUICK), ("compared", [*QUICK, "health", "layer_cka"])):
        options = {"batch_size": 4, "figures": kinds, "cka_examples": "images"}
        report = reportgen.build(Crowded(), image_tensors(8), tmp_path / name, **options)
        assert report.complete
    alone, compared = (files_of(tmp_path / name / "figures") for name in ("alone", "compared"))
    assert {name: compared[name] for name in alone} == alone
    facts = json.loads((tmp_path / "compared" / "data" / "layer_cka.json").read_text())
    assert (facts["examples"], facts["n"], facts["batches"]) == ("images", 8, 2)


@pytest.mark.parametrize(
    ("figures", "size", "used"),
    [("channel_sum", 0, 1), ("channel_sum", 3, 3), ("layer_cka", 0, 16), ("layer_cka", 1, 4)],
)
def test_batches_are_as_large_as_what_is_drawn_needs(figures: str, size: int, used: int, tmp_path: Path) -> None:
    report = reportgen.build(Exact(), image_tensors(32), tmp_path / "site", batch_size=size, figures=[figures])
    assert report.record.options["batch_size"] == used


def test_the_batch_size_changes_no_other_option(by_batch_size: list[Path]) -> None:
    one, three = (record_of(site)["options"] for site in by_batch_size)
    assert (one.pop("batch_size"), three.pop("batch_size")) == (1, 3)
    assert one == three


def test_shapes_lead_with_one_whatever_the_batch_size(tmp_path: Path) -> None:
    reportgen.build(Exact(), image_tensors(3), tmp_path / "site", batch_size=3, figures=QUICK)
    shapes = {name: layer["shape"] for name, layer in layers_of(record_of(tmp_path / "site")).items()}
    assert shapes["stage.0"] == [1, 4, 9, 7]
    assert shapes["add_"] == [1, 3, 9, 7]
    assert shapes["view"] == [1, 3 * 9 * 7]


def test_addresses_stay_when_the_report_grows(tmp_path: Path) -> None:
    small = reportgen.build(Residual(), image_tensors(1), tmp_path / "small", nodes="conv1", figures=QUICK).site
    large = reportgen.build(Residual(), image_tensors(3), tmp_path / "large", figures=QUICK).site
    names = {name for name in files_of(small) if not name.startswith("static/")}
    assert names <= files_of(large).keys()


# Selection


@pytest.fixture
def selected(tmp_path: Path) -> Any:
    """Build Exact with some selection; return the record's layers by name."""

    def build(**options: Any) -> dict[str, Any]:
        site = reportgen.build(Exact(), image_tensors(1), tmp_path / "site", figures="channel_sum", **options).site
        return layers_of(record_of(site))

    return build


@pytest.mark.parametrize(
    ("options", "drawn"),
    [
        ({"nodes": "stage.1"}, {"stage.1"}),
        ({"nodes": "stage"}, {"stage.1"}),
        ({"nodes": "stage.*"}, {"stage.0", "stage.1"}),
        ({"nodes": ["stage.?", "last"]}, {"stage.0", "stage.1", "last"}),
        ({"nodes": "stage.*", "exclude": "stage.0"}, {"stage.1"}),
        ({"exclude": ["stage", "x"]}, {"stage.0", "last", "add_"}),
    ],
)
def test_patterns_select_nodes(selected: Any, options: dict[str, Any], drawn: set[str]) -> None:
    layers = selected(**options)
    assert {name for name, layer in layers.items() if layer["status"] == "drawn"} == drawn
    assert list(layers) == ["x", "stage.0", "stage.1", "last", "add_", "size", "view"]
    assert all(layer["reason"] for layer in layers.values() if layer["status"] == "skipped")


def test_aliases_are_titles(selected: Any) -> None:
    layers = selected(nodes={"stage": "first stage", "last": "", "stage.0": "its convolution"})
    titles = {name: layer["title"] for name, layer in layers.items()}
    assert (titles["stage.1"], titles["stage.0"], titles["last"], titles["x"]) == (
        "first stage", "its convolution", "", "",
    )  # fmt: skip


def test_aliases_from_toml_reach_record_and_pages(tmp_path: Path) -> None:
    Image.linear_gradient("L").resize((20, 16)).save(tmp_path / "a.png")
    spec = f"{Path(__file__).resolve().parent / 'models_for_tests.py'}:residual"
    (tmp_path / "mine.toml").write_text(
        f'model = "{spec}"\nimages = ["a.png"]\nout = "site"\nsize = 8\n[nodes]\nrelu = "after the first stage"\n'
    )
    from reportgen.cli import main

    assert main(["build", "--config", str(tmp_path / "mine.toml"), "--quiet"]) == 0
    assert layers_of(record_of(tmp_path / "site"))["relu"]["title"] == "after the first stage"
    assert "after the first stage" in (tmp_path / "site" / "layers" / "relu.html").read_text(encoding="utf-8")


@pytest.mark.parametrize("options", [{"nodes": ["fc", "conv1"], "exclude": ["fc", "conv1"]}, {"exclude": ["*"]}])
def test_a_selection_of_nothing_is_refused(tmp_path: Path, options: dict[str, Any]) -> None:
    with pytest.raises(reportgen.UsageError, match="exclude"):
        reportgen.build(Residual(), image_tensors(1), tmp_path / "site", **options)
    assert list(tmp_path.iterdir()) == []


def test_images_that_are_left_out_are_not_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of 32 images, from which on images are examples, the last turns out to be cut when it is decoded."""
    totals: list[tuple[int, int]] = []

    class Noted(Progress):
        def __init__(self, images: int, layers: int, *, quiet: bool = False) -> None:
            totals.append((images, layers))
            self.steps = 0
            super().__init__(images, layers, quiet=quiet)

        def step(self, layer: str, images: int) -> None:
            self.steps += images

        def __exit__(self, *_: object) -> None:
            totals.append((self.steps, 0))

    monkeypatch.setattr("reportgen.driver.Progress", Noted)
    pixels = np.random.default_rng(0).integers(0, 256, (32, 20, 20, 3), dtype=np.uint8)
    (tmp_path / "more").mkdir()
    for number, one in enumerate(pixels):
        Image.fromarray(one).save(tmp_path / "more" / f"{number:02}.png")
    last = tmp_path / "more" / "30.png"
    last.write_bytes(last.read_bytes()[:600])
    (tmp_path / "more" / "31.png").rename(tmp_path / "drawn.png")
    report = reportgen.build(
        Residual(), [tmp_path / "drawn.png"], tmp_path / "site", statistics=tmp_path / "more", skip_bad=True,
        nodes=["conv1", "conv2"], figures=["layer_cka"], size=16,
    )  # fmt: skip
    assert [image.name for image in report.record.skipped_images] == ["30.png"]
    assert totals == [(31, 2), (62, 0)]
    (caption,) = [figure.caption for figure in report.record.figures if figure.kind == "layer_cka"]
    assert "since there are fewer than 32 images" in caption
    assert "(31 images, each a batch" in caption


# Beside the walk


def test_the_number_of_threads_changes_no_byte(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found, written, start, submit = [], list[str](), Encoder.start, Encoder.submit

    def start_and_wait(self: Encoder) -> None:
        start(self)
        while not self.ready:
            time.sleep(0.01)

    def submit_and_tell(self: Encoder, files: Later, paths: Paths, tell: Tell) -> bool:
        taken = submit(self, files, paths, tell)
        written.extend(path for path in paths.values() if taken and path)
        return taken

    monkeypatch.setattr(Encoder, "start", start_and_wait)
    monkeypatch.setattr(Encoder, "submit", submit_and_tell)
    for threads in (1, 2, 7):
        monkeypatch.setattr("reportgen.driver.cpus", lambda threads=threads: threads)
        options: dict[str, Any] = {"title": "the same", "figures": ["channel_grid", "channel_sum", "channel_cka"]}
        found.append(files_of(reportgen.build(Residual(), IMAGES, tmp_path / str(threads), **options).site))
    assert found[0] == found[1] == found[2]
    pictures = sum(name.startswith(("figures/channel_grid/", "figures/channel_sum/")) for name in found[0])
    assert len(written) > 2 * pictures, "with 2 and with 7 another process wrote them, and the preview"


@pytest.mark.parametrize("threads", [1, 3])
def test_a_disk_that_fills_up_ends_a_build(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, threads: int) -> None:
    created, path_of = creating.create, writer.SiteWriter.path_of

    def full(path: str) -> int:
        if path.endswith("/conv2.png"):
            raise OSError(28, "No space left on device")
        return created(path)

    def nowhere(self: writer.SiteWriter, name: str) -> str | None:
        """Where the other process, which knows nothing of `full`, can't write either."""
        return "/dev/null/full" if name.endswith("conv2.png") else path_of(self, name)

    monkeypatch.setattr("reportgen.driver.cpus", lambda: threads)
    monkeypatch.setattr(creating, "create", full)
    monkeypatch.setattr(writer.SiteWriter, "path_of", nowhere)
    with pytest.raises(reportgen.OutputError, match="No space left on device"):
        reportgen.build(Residual(), IMAGES, tmp_path / "site", figures=QUICK)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("threads", [1, 3])
def test_a_picture_that_cant_be_encoded_fails_its_node_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, threads: int
) -> None:
    def encoded(lines: NDArray[np.uint8], colours: Any) -> bytes:
        if lines.shape[1] == 8:  # the sums, which have one tile
            raise MemoryError("too large")
        return encode_indexed(lines, colours)

    path_of = writer.SiteWriter.path_of

    def nowhere(self: writer.SiteWriter, name: str) -> str | None:
        """Where the other process, which knows nothing of `encoded`, can't write."""
        return "/dev/null/sum" if "channel_sum" in name else path_of(self, name)

    monkeypatch.setattr("reportgen.driver.cpus", lambda: threads)
    monkeypatch.setattr("reportgen.drawing.mosaic.encode_indexed", encoded)
    monkeypatch.setattr(writer.SiteWriter, "path_of", nowhere)
    report = reportgen.build(Residual(), IMAGES[:1], tmp_path / "site", figures=QUICK)
    assert "conv1: the figure channel_sum raised MemoryError: too large" in report.record.problems
    assert {layer.status for layer in report.record.layers if layer.name == "conv1"} == {"failed"}
    assert any(figure.layer == "conv1" and figure.kind == "channel_grid" for figure in report.record.figures)


def test_timings_are_told_on_stderr(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    report = reportgen.build(Residual(), IMAGES, tmp_path / "site", figures=QUICK, timings=True)
    told = capsys.readouterr()
    assert told.out == ""
    rows = {line.rsplit(maxsplit=3)[0].strip() for line in told.err.splitlines()}
    assert {"decode", "forward", "channel_grid", "channel_sum", "encode", "write", "render", "in all"} <= rows
    assert sum(report.timings.seconds[what] for what in ("forward", "render")) < report.seconds
    assert "timings" not in report.record.options
    reportgen.build(Residual(), IMAGES, tmp_path / "other", figures=QUICK)
    assert capsys.readouterr().err == ""
