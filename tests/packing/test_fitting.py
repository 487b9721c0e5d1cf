"""A report made to fit: it does, it says how, and what it still shows is true."""

import io
import itertools
import re
import subprocess
import sys
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import reportgen
from canned import make_record, read_tree, sign_site, write_site
from checker import check_site
from packed import check_packed, parse, sections
from reportgen.errors import UsageError
from reportgen.packing.fitting import reduced_source
from reportgen.packing.ladder import LADDER, Setting
from reportgen.packing.reduction import Reducer
from reportgen.site.pack import plan
from reportgen.site.record import FILE_NAME, Record, from_json, to_json
from reportgen.site.source import Source, open_site


def reduce(site: Path, **setting: object) -> tuple[Source, Record]:
    source = open_site(site)
    reduced = Reducer(source).reduce(Setting(**setting), tell_vectors=True)  # type: ignore[arg-type]
    return reduced_source(source, reduced), reduced.record


def pixels(content: bytes) -> "np.ndarray[tuple[int, ...], np.dtype[np.uint8]]":
    return np.asarray(Image.open(io.BytesIO(content)))


@pytest.fixture(scope="module")
def sizes(tiny_site: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[int, int]]:
    """For each form the size of the whole report, and the smallest that is offered."""
    source, out = open_site(tiny_site), tmp_path_factory.mktemp("sizes")
    reducer = Reducer(source)
    found = {}
    for name in ("r.html", "r.zip"):
        least = reduced_source(source, reducer.reduce(LADDER[-1], tell_vectors=name == "r.zip"))
        found[name] = (plan(source, out / name).size, plan(least, out / name).size)
    return found


@pytest.fixture(scope="module")
def halved(tiny_site: Path, sizes: dict[str, tuple[int, int]], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The site in one file of half of what can be left out. It is shared: read it only."""
    out = tmp_path_factory.mktemp("halved") / "r.html"
    reportgen.pack(tiny_site, out, max_size=middle(sizes["r.html"]))
    return out


def test_pictures_of_captions_are_reduced_as_photographs_are(tmp_path: Path) -> None:
    captions = tmp_path / "captions"
    captions.mkdir()
    (captions / "index.md").write_text("![a](noise.png) ![b](clear.png)\n\n![again](noise.png)")
    (captions / "about.md").write_text("![a](noise.png)")
    Image.effect_noise((300, 200), 90).convert("RGB").save(captions / "noise.png")
    Image.new("RGB", (300, 200), "teal").save(captions / "clear.png")
    site = write_site(make_record(), tmp_path / "site")
    reportgen.render(site, captions=captions)
    whole, same = reduce(site)
    assert same.illustrations == open_site(site).record.illustrations
    assert set(whole.sizes) == set(open_site(site).sizes)
    source, record = reduce(site, jpeg=True, divisor=2)
    about, noise, clear = (entry.file for entry in record.illustrations)
    assert about == noise
    assert (noise[-4:], clear[-4:]) == (".jpg", ".png")
    assert [(entry.width, entry.height) for entry in record.illustrations] == [(300, 200)] * 3
    assert pixels(source.read(noise)).shape == pixels(source.read(clear)).shape == (100, 150, 3)
    assert noise.replace(".jpg", ".png") not in source.sizes
    assert source.text("index.html").count(f'src="{noise}"') == 2
    assert "1 picture is JPEG" in " ".join(record.reductions)
    assert "2 photographs and charts have 1/2 of the width" in " ".join(record.reductions)
    assert from_json(to_json(record)) == record


SWEPT = [pytest.param(part, marks=pytest.mark.sweep) for part in (0.3, 0.95)]
"""Sizes between those of every run."""


@pytest.mark.parametrize("name", ["r.html", "r.zip"])
@pytest.mark.parametrize("part", [0.05, 0.6, *SWEPT])
def test_it_fits_and_says_how(
    tiny_site: Path, tmp_path: Path, sizes: dict[str, tuple[int, int]], name: str, part: float
) -> None:
    whole, least = sizes[name]
    limit = int(least + (whole - least) * part)
    told: list[str] = []
    packed = reportgen.pack(tiny_site, tmp_path / name, max_size=limit, say=told.append)
    assert packed.bytes == (tmp_path / name).stat().st_size == packed.estimated <= limit
    assert packed.reductions
    assert [line.removeprefix("reduced: ") for line in told[1:-1]] == list(packed.reductions)
    text = index_of(tmp_path / name)
    banner = next(each for each in parse(text).iter("p") if "reduced copy" in "".join(each.itertext()))
    assert all(sentence in "".join(banner.itertext()) for sentence in packed.reductions)


def middle(ends: tuple[int, int]) -> int:
    return sum(ends) // 2


def index_of(packed: Path) -> str:
    if packed.suffix == ".html":
        assert check_packed(packed) == []
        return packed.read_text(encoding="utf-8")
    with zipfile.ZipFile(packed) as archive:
        archive.extractall(packed.parent / "out")
    assert check_site(packed.parent / "out" / packed.stem) == []
    return (packed.parent / "out" / packed.stem / "index.html").read_text(encoding="utf-8")


@pytest.mark.parametrize("name", ["r.html", "r.zip"])
def test_what_fits_as_it_is_is_not_reduced(
    tiny_site: Path, tmp_path: Path, sizes: dict[str, tuple[int, int]], name: str
) -> None:
    packed = reportgen.pack(tiny_site, tmp_path / name, max_size=sizes[name][0])
    assert packed.reductions == ()
    assert packed.bytes == sizes[name][0]


def test_each_setting_of_the_ladder_is_smaller(tiny_site: Path) -> None:
    source = open_site(tiny_site)
    reducer = Reducer(source)
    found = [
        sum(reduced_source(source, reducer.reduce(setting, tell_vectors=True)).sizes.values()) for setting in LADDER
    ]
    # Sentences about what is left out take their place, too: a step that leaves out little may cost a little.
    assert all(after < before * 1.02 for before, after in itertools.pairwise(found)), found
    assert found[-1] < found[0] * 0.8


def test_a_grid_shows_its_first_channels_and_its_data_says_so(tiny_site: Path) -> None:
    source, record = reduce(tiny_site, channels=3, side=6)
    before = {figure.files[0]: figure for figure in open_site(tiny_site).record.figures}
    grids = [figure for figure in record.figures if figure.kind == "channel_grid"]
    assert len(grids) > 4
    for figure in grids:
        data, original = figure.data, before[figure.files[0]]
        picture, whole = pixels(source.read(figure.files[0])), pixels((tiny_site / figure.files[0]).read_bytes())
        assert picture.shape == (figure.height, figure.width)
        assert data["channels_shown"] == len(data["low"]) == len(data["high"]) == 3
        assert data["channels_total"] == original.data["channels_total"]
        assert max(data["tile_width"], data["tile_height"]) <= 6
        step = -(-original.data["tile_height"] // data["tile_height"])
        for channel in range(3):
            assert np.array_equal(tile(picture, data, channel), tile(whole, original.data, channel)[::step, ::step])
        assert figure.caption.startswith(
            f"Reduced in this file: the first 3 of {original.data['channels_shown']} channels"
        ) or original.data["channels_shown"] == 3  # fmt: skip
        assert original.caption in figure.caption


def tile(picture: "np.ndarray[tuple[int, ...], np.dtype[np.uint8]]", data: "Mapping[str, Any]", channel: int):  # type: ignore[no-untyped-def]
    top = channel // data["columns"] * (data["tile_height"] + data["gap"])
    left = channel % data["columns"] * (data["tile_width"] + data["gap"])
    return picture[top : top + data["tile_height"], left : left + data["tile_width"]]


def test_every_picture_has_the_size_that_the_record_says(tiny_site: Path) -> None:
    for setting in (Setting(jpeg=True, channels=2, side=3, divisor=3), LADDER[-1]):
        reduced = Reducer(open_site(tiny_site)).reduce(setting, tell_vectors=False)
        source = reduced_source(open_site(tiny_site), reduced)
        for figure in reduced.record.figures:
            height, width = pixels(source.read(figure.files[0])).shape[:2]
            assert (width, height) == (figure.width, figure.height), figure.files[0]
        assert from_json(source.read(FILE_NAME).decode()) == from_json(to_json(reduced.record))


def test_photographs_keep_their_place_on_the_page(tiny_site: Path) -> None:
    _, record = reduce(tiny_site, jpeg=True, divisor=2)
    before = [figure for figure in open_site(tiny_site).record.figures if "pixels" in figure.data]
    after = [figure for figure in record.figures if "pixels" in figure.data]
    for old, new in zip(before, after, strict=True):
        assert abs(new.width * new.data["pixels"] - old.width * old.data["pixels"]) <= 2 * old.data["pixels"] + 1


def test_what_is_left_out_is_neither_offered_nor_in_the_record(tiny_site: Path) -> None:
    source, record = reduce(tiny_site, tables=False)
    kept = [name for name in source.sizes if not name.startswith("static/")]
    assert not [name for name in kept if name.endswith((".svg", ".pdf", ".npz"))]
    assert not [name for name in source.sizes if name.startswith("data/") and not name.endswith(".js")]
    assert {name for figure in record.figures for name in (*figure.files, *figure.downloads)} <= source.sizes.keys()
    assert "left out" in record.reductions[0]
    assert "left out" in record.reductions[1]


def test_a_file_for_print_is_only_said_to_lack_where_it_would_have_been(
    tiny_site: Path, tmp_path: Path, sizes: dict[str, tuple[int, int]]
) -> None:
    packed = reportgen.pack(tiny_site, tmp_path / "r.html", max_size=sizes["r.html"][0] - 1)
    assert not [sentence for sentence in packed.reductions if "vector" in sentence]


def test_too_small_a_size_is_refused_with_the_numbers(
    tiny_site: Path, tmp_path: Path, sizes: dict[str, tuple[int, int]]
) -> None:
    before = read_tree(tmp_path)
    with pytest.raises(UsageError) as caught:
        reportgen.pack(tiny_site, tmp_path / "r.html", max_size="1kB")
    assert re.fullmatch(
        r"r\.html needs at least [\d.]+ MB at the smallest setting, "
        r"[\d.]+ MB as it is, and --max-size is 0\.001 MB",
        str(caught.value),
    )
    assert read_tree(tmp_path) == before


def test_a_site_with_templates_of_its_own_is_not_given_others(tmp_path: Path) -> None:
    site = write_site(make_record(options={"templates": "house-style"}), tmp_path / "site")
    sign_site(site)
    with pytest.raises(UsageError, match="house-style"):
        reportgen.pack(site, tmp_path / "r.html", max_size="10kB")


def test_the_report_itself_stays_as_it_was(
    site_copy: Path, tmp_path: Path, sizes: dict[str, tuple[int, int]]
) -> None:
    before = read_tree(site_copy)
    reportgen.pack(site_copy, tmp_path / "r.zip", max_size=middle(sizes["r.zip"]))
    assert read_tree(site_copy) == before


def test_the_same_site_and_size_give_the_same_file(
    tiny_site: Path, tmp_path: Path, halved: Path, sizes: dict[str, tuple[int, int]]
) -> None:
    reportgen.pack(tiny_site, tmp_path / "r.html", max_size=middle(sizes["r.html"]))
    assert (tmp_path / "r.html").read_bytes() == halved.read_bytes()


def test_every_page_is_still_there(tiny_site: Path, halved: Path) -> None:
    found = sections(parse(halved.read_text(encoding="utf-8")))
    assert found.keys() == {path.relative_to(tiny_site).as_posix() for path in tiny_site.rglob("*.html")}


@pytest.mark.parametrize("reduced", [False, True])
def test_it_needs_neither_torch_nor_matplotlib(
    tiny_site: Path, tmp_path: Path, sizes: dict[str, tuple[int, int]], reduced: bool
) -> None:
    options = f", max_size={middle(sizes['r.html'])}" if reduced else ""
    code = (
        f"import reportgen, sys; reportgen.pack({str(tiny_site)!r}, {str(tmp_path / 'r.html')!r}{options}); "
        "print(sorted({name.partition('.')[0] for name in sys.modules} & {'torch', 'matplotlib', 'PIL', 'numpy'}))"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == ("['PIL', 'numpy']" if reduced else "[]")
