"""The scripts with the numbers of channels, read back as JSON."""

import json
from pathlib import Path
from typing import Any

import pytest

from canned import KINDS, chain, make_figure, make_image, make_record
from checker import check_site
from reportgen.site.record import FigureEntry, KindEntry, Record, read_record
from reportgen.site.render import render

IMAGE = make_image("disc.png")


def grid(layer: str, image: str, channels: int = 4, **data: Any) -> FigureEntry:
    geometry = {"columns": 2, "rows": 2, "tile_width": 3, "tile_height": 3, "gap": 1}
    counts = {"channels_shown": channels, "channels_total": channels}
    values = {"scale": "channel", "low": [-1.23456789] * channels, "high": [12345.678] * channels, "constant": []}
    return make_figure("channel_grid", layer, image, data={**geometry, **counts, **values, **data})


def health(layer: str, **per_channel: Any) -> FigureEntry:
    numbers: dict[str, Any] = {
        name: [0.1234567, None, 3.0, 4.0, 5.0]
        for name in ("min", "max", "mean", "std", "input_correlation", "share_of_zeros")
    }
    lists: dict[str, Any] = {
        name: [] for name in ("dead", "constant", "saturated", "copy", "duplicate_of", "nan_count", "inf_count")
    }
    data = {"pixels": 1, "bins": {"low": 0, "high": 1, "counts": [1]}, "images": 3, "undefined": {"dead": "<one>"}}
    return make_figure("health", layer, None, data={**data, "per_channel": {**numbers, **lists, **per_channel}})


def record_of(*figures: FigureEntry, layers: tuple[str, ...] = ("conv",)) -> Record:
    kinds = [*KINDS, KindEntry("health", "What stands out", 55)]
    return make_record(chain(layers), [IMAGE], figures=figures, kinds=kinds)


def scripts_of(record: Record) -> dict[str, str]:
    files = render(record).files
    return {name: text for name, text in files.items() if name.startswith("static/channels/")}


def numbers_of(record: Record) -> tuple[str, dict[str, Any]]:
    """The page that the one script of a record is for, and the numbers it holds: one call with JSON."""
    (text,) = scripts_of(record).values()
    start, end = "reportgen.channels.set(", ");\n"
    assert text.startswith(start)
    assert text.endswith(end)
    page, numbers = json.loads(f"[{text.removeprefix(start).removesuffix(end)}]")
    return page, numbers


def test_ranges_have_the_digits_that_pages_print() -> None:
    page, numbers = numbers_of(record_of(grid("conv", "disc", low=[-1.23456789, -0.0, 1e-12, None])))
    assert page == "layers/conv.html"
    assert numbers["statistics"] is None
    assert numbers["images"] == {
        "disc": {"low": [-1.235, 0, 1e-12, None], "high": [12350] * 4, "span": None, "constant": []}
    }


def test_a_shared_scale_stands_beside_the_channels_own_ranges() -> None:
    values: dict[str, Any] = {
        "low": [-2.0] * 4,
        "high": [3.0] * 4,
        "value_low": [1.0, 2.0, 3.0, 4.0],
        "value_high": [5.0] * 4,
    }
    _, numbers = numbers_of(record_of(grid("conv", "disc", scale="symmetric", **values)))
    assert numbers["images"]["disc"]["span"] == [-2, 3]
    assert numbers["images"]["disc"]["low"] == [1, 2, 3, 4]


def test_a_record_without_the_channels_own_ranges_has_none() -> None:
    _, numbers = numbers_of(record_of(grid("conv", "disc", scale="layer")))
    assert numbers["images"]["disc"] == {"low": [], "high": [], "span": [-1.235, 12350], "constant": []}


def test_statistics_are_those_of_the_channels_shown() -> None:
    _, numbers = numbers_of(record_of(grid("conv", "disc"), health("conv", saturated=None, dead=[1], max=None)))
    statistics = numbers["statistics"]
    assert statistics["mean"] == [0.1235, None, 3, 4]
    assert statistics["dead"] == [1]
    assert statistics["images"] == 3
    assert statistics["undefined"] == {"dead": "<one>"}
    assert {"saturated", "max"}.isdisjoint(statistics)


def test_no_text_ends_a_script_early() -> None:
    (text,) = scripts_of(record_of(grid("conv", "disc"), health("conv"))).values()
    assert "<" not in text


@pytest.mark.parametrize("per_channel", [None, "missing"])
def test_records_without_statistics_of_channels_have_their_ranges(per_channel: str | None) -> None:
    figure = health("conv")
    data = {**figure.data, "per_channel": None}
    if per_channel == "missing":
        del data["per_channel"]
    _, numbers = numbers_of(record_of(grid("conv", "disc"), make_figure("health", "conv", None, data=data)))
    assert numbers["statistics"] is None
    assert numbers["images"]


def test_layers_without_channel_grids_have_no_script_and_no_dialog() -> None:
    bare = make_figure("channel_grid", "bare", "disc")
    record = record_of(grid("conv", "disc"), bare, layers=("conv", "bare", "fc"))
    files = render(record).files
    assert len(scripts_of(record)) == 1
    assert '<dialog class="channel"' in files["layers/conv.html"]
    assert '<dialog class="channel"' not in files["layers/bare.html"] + files["layers/fc.html"]


def test_files_one_after_the_other_are_those_that_are_asked_for_by_path() -> None:
    record = record_of(grid("conv", "disc"), grid("fc", "disc"), layers=("conv", "bare", "fc"))
    streamed = list(render(record).files.items())
    files = render(record).files
    assert [name for name, _ in streamed] == list(files)
    assert dict(streamed) == {name: files[name] for name in files}
    assert len({name for name, _ in streamed if name.startswith("static/channels") or "channels/" in name}) >= 2


def test_scripts_of_arbitrary_names_do_not_collide() -> None:
    layers = ("a", "a.js", "A", "layers", "channels.js", "con", "../x", "é", "x.0123456789.js", "a b")
    grids = [grid(layer, "disc", low=[float(index)] * 4) for index, layer in enumerate(layers)]
    record = record_of(*grids, layers=layers)
    assert len(scripts_of(record)) == len(layers)
    pages = dict(map(_read, scripts_of(record).values()))
    for index, layer in enumerate(record.layers):
        assert pages[f"layers/{layer.slug}.html"]["images"]["disc"]["low"] == [index] * 4


def _read(text: str) -> tuple[str, dict[str, Any]]:
    page, numbers = json.loads(f"[{text.removeprefix('reportgen.channels.set(').removesuffix(');' + chr(10))}]")
    return page, numbers


def test_a_built_site_names_the_file_of_each_layers_numbers(tiny_site: Path) -> None:
    assert check_site(tiny_site) == []
    record = read_record(tiny_site)
    for layer in record.layers:
        grids = [each for each in record.figures if (each.kind, each.layer) == ("channel_grid", layer.name)]
        if not grids:
            continue
        page = (tiny_site / "layers" / f"{layer.slug}.html").read_text(encoding="utf-8")
        address = page.partition('data-numbers="')[2].partition('"')[0]
        _, numbers = _read((tiny_site / address).read_text(encoding="utf-8"))
        for figure in grids:
            low = [float(f"{value:.4g}") for value in figure.data["low"]]
            assert figure.image is not None
            assert numbers["images"][figure.image]["low"] == low
        assert numbers["statistics"]["images"] == len(record.images)


def test_pages_of_wide_layers_and_many_images_stay_small() -> None:
    images = [make_image(f"image {number}.png") for number in range(200)]
    channels = 2048
    figures = [grid("conv", image.id, channels) for image in images]
    record = make_record(chain(["conv"]), images, figures=figures)
    files = render(record).files
    pages = [name for name in files if name.startswith(("layers/", "more/"))]
    scripts = [name for name in files if name.startswith("static/channels/")]
    assert len(scripts) == len(pages)
    assert max(len(files[name].encode()) for name in pages) < 1_500_000
    assert sum(len(files[name]) for name in scripts) < 8_000_000
