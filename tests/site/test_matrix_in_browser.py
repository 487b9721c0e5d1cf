"""The similarity matrix in a browser: what hovering reads, where clicks and keys lead, orders, filters."""

import csv
import json
import re
from collections.abc import Iterator, Mapping
from io import StringIO
from pathlib import Path
from urllib.parse import quote

import matplotlib as mpl
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from playwright.sync_api import Browser, Locator, Page

from browsing import LOAD_PICTURES, OVERFLOW, SCHEMES, WIDTHS, half_of, opened
from canned import KINDS, chain, figures_of, make_figure, make_image, make_layer, make_record, write_site
from reportgen.figures.matrix_script import matrix_script
from reportgen.site.record import KindEntry, Record
from reportgen.site.render import render

DEAD, CAUSE, PAIR_CAUSE = "stage2.1.relu", "it is the same for every example", "a debiased norm is not positive"
# The second part of `stem` runs at the end, so that the order by module is another.
NAMES = [
    "x", "stem.conv",
    *(f"stage{block}.{part}" for block in ("1.0", "1.1", "2.0", "2.1") for part in ("conv", "bn", "relu", "add")),
    "fc", "stem.relu",
]  # fmt: skip
TYPES = {"conv": "Conv2d", "bn": "BatchNorm2d", "relu": "ReLU", "add": "add", "fc": "Linear", "x": "input"}


def similarities(count: int) -> NDArray[np.float64]:
    """Symmetric values between -0.3 and 1, different in almost every cell."""
    values = np.random.default_rng(count).uniform(-0.3, 0.99, (count, count))
    values = np.triu(values, 1) + np.triu(values, 1).T
    np.fill_diagonal(values, 1.0)
    return values


def matrix_record(
    names: list[str], values: NDArray[np.float64], causes: dict[str, str]
) -> tuple[Record, dict[str, bytes]]:
    """The record of a report with a similarity matrix, and the script with its values by its path."""
    images = [make_image("red square.png")]
    layers = chain([make_layer(name, module_type=TYPES.get(name.split(".")[-1], "Conv2d")) for name in names])
    data = {
        "pixels": 1,
        "null_band": [-0.02, 0.03],
        "undefined": causes,
        "neighbours": {"most": [[names[0], names[1], 0.5]], "least": []},
        "blocks": {"labels": ["stem", "rest"], "layers": [3, 4], "means": [[0.5, -0.25], [-0.25, None]]},
    }
    figure = make_figure("layer_cka", None, None, data=data, scripts=["data/layer_cka.js"])
    kinds = [*KINDS, KindEntry("layer_cka", "Similarity", 60)]
    drawn = figures_of(layers, images) if len(layers) < 100 else []
    record = make_record(layers, images, figures=[*drawn, figure], kinds=kinds)
    script = matrix_script(names, values, low=-0.3, high=1.0, cmap="viridis", causes=causes, pair_cause=PAIR_CAUSE)
    return record, {"data/layer_cka.js": script}


def write_page_alone(record: Record, scripts: Mapping[str, bytes], target: Path) -> Path:
    """Write the page with the matrix and all that it loads, without the hundreds of pages that it links to."""
    files = render(record).files
    needed = {name: files[name].encode() for name in files if re.match(r"similarity\.html$|static/", name)}
    for name, content in {**needed, **scripts}.items():
        (target / name).parent.mkdir(parents=True, exist_ok=True)
        (target / name).write_bytes(content)
    for figure in record.figures:
        for name in figure.files:
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            Image.new("L", (figure.width, figure.height)).save(target / name)
    return target


@pytest.fixture(scope="module")
def values() -> NDArray[np.float64]:
    found = similarities(len(NAMES))
    dead = NAMES.index(DEAD)
    found[dead] = found[:, dead] = np.nan
    found[3, 5] = found[5, 3] = np.nan
    found[0, 1] = found[1, 0] = 0.0123
    return found


@pytest.fixture(scope="module")
def site(values: NDArray[np.float64], tmp_path_factory: pytest.TempPathFactory) -> Path:
    record, scripts = matrix_record(NAMES, values, {DEAD: CAUSE})
    return write_site(record, tmp_path_factory.mktemp("matrix") / "site", scripts=scripts)


@pytest.fixture
def page(browser: Browser, site: Path) -> Iterator[Page]:
    with opened(browser) as found:
        found.goto(address(site))
        yield found


def address(site: Path, fragment: str = "") -> str:
    return (site / "similarity.html").as_uri() + (f"#{fragment}" if fragment else "")


def fragment(page: Page) -> str:
    # Asked of the page itself: what it has told of its address may lag behind.
    return str(page.evaluate("location.hash.slice(1)"))


def plot(page: Page) -> Locator:
    return page.get_by_role("application")


def readout(page: Page) -> tuple[str, str, str]:
    """Row, column and value with its note, as the page tells them."""
    first, second = page.locator(".cka-readout code").all_inner_texts()
    return first, second, page.locator(".cka-readout").inner_text().partition(f"{second}: ")[2]


def place_of(page: Page, row: float, column: float, rows: int, columns: int) -> tuple[float, float]:
    """Where the middle of a cell is on the screen."""
    plot(page).evaluate("element => element.scrollIntoView({block: 'center'})")
    box = page.locator(".cka-plot canvas").bounding_box()
    assert box is not None
    return box["x"] + box["width"] * (column + 0.5) / columns, box["y"] + box["height"] * (row + 0.5) / rows


def hover(page: Page, row: int, column: int, rows: int, columns: int | None = None) -> tuple[str, str, str]:
    page.mouse.move(*place_of(page, row, column, rows, columns or rows))
    return readout(page)


def text_of(value: float) -> str:
    return f"{value:.3f}".replace("-", "\N{MINUS SIGN}")


def shown(page: Page) -> list[str]:
    """The layers of the rows from top to bottom, as the cursor reads them."""
    plot(page).focus()
    names: list[str] = []
    for _ in range(3):
        page.keyboard.press("PageUp")
    while not names or readout(page)[0] != names[-1]:
        names.append(readout(page)[0])
        page.keyboard.press("ArrowDown")
    return names


def test_hovering_reads_both_layers_and_the_value_of_every_cell(page: Page, values: NDArray[np.float64]) -> None:
    count = len(NAMES)
    for row in (0, 3, 7, NAMES.index(DEAD), count - 1):
        for column in range(count):
            first, second, told = hover(page, row, column, count)
            assert (first, second) == (NAMES[row], NAMES[column])
            value = values[row, column]
            assert told.split(" ")[0] == ("undefined" if np.isnan(value) else text_of(value))


def test_an_undefined_value_says_why(page: Page) -> None:
    dead = NAMES.index(DEAD)
    assert hover(page, 2, dead, len(NAMES))[2] == f"undefined – {DEAD}: {CAUSE}"
    assert hover(page, 5, 3, len(NAMES))[2] == f"undefined – {PAIR_CAUSE}"


def test_a_value_that_chance_gives_is_said_to_be_one(page: Page) -> None:
    assert hover(page, 0, 1, len(NAMES))[2] == "0.012 – no more than chance gives (−0.020 to 0.030)"
    assert hover(page, 0, 0, len(NAMES))[2] == "1.000"


def test_cells_have_the_colours_of_their_values(page: Page, values: NDArray[np.float64]) -> None:
    count = len(NAMES)
    read = f"canvas => [...canvas.getContext('2d').getImageData(0, 0, {count}, {count}).data]"
    pixels = np.array(page.locator(".cka-plot canvas").evaluate(read)).reshape(count, count, 4)
    for row, column in ((0, 0), (0, 1), (2, 7), (9, 4)):
        share = (round(float(values[row, column]), 3) + 0.3) / 1.3
        expected = np.round(np.array(mpl.colormaps["viridis"](round(251 * share) / 251)) * 255)
        assert pixels[row, column].tolist() == expected.tolist()
    assert pixels[3, 5].tolist() == [201, 204, 203, 255]


def test_a_click_goes_to_the_pair_and_back_leads_back(page: Page, values: NDArray[np.float64]) -> None:
    pair = page.get_by_role("region", name="Pair of layers")
    assert not pair.is_visible()
    page.mouse.click(*place_of(page, 4, 9, len(NAMES), len(NAMES)))
    assert fragment(page) == f"pair/{NAMES[4]}/{NAMES[9]}"
    assert pair.get_by_role("link").all_inner_texts() == [NAMES[4], NAMES[9]]
    assert pair.get_by_text(f"CKA {text_of(values[4, 9])}").is_visible()
    assert page.evaluate(LOAD_PICTURES) == []
    assert pair.get_by_role("img").count() == 2
    page.go_back()
    assert fragment(page) == ""
    assert not pair.is_visible()
    page.go_forward()
    pair.get_by_role("link", name=NAMES[9]).click()
    assert page.locator("h1").inner_text() == NAMES[9]


def test_a_link_to_a_pair_opens_it(browser: Browser, site: Path) -> None:
    with opened(browser, width=360) as page:
        page.goto(address(site, f"pair/{NAMES[1]}/{DEAD}"))
        pair = page.get_by_role("region", name="Pair of layers")
        assert pair.is_visible()
        assert CAUSE in pair.inner_text()
        assert readout(page)[:2] == (NAMES[1], DEAD)
        pair.get_by_role("button", name="Back to the matrix").click()
        assert not pair.is_visible()
        page.goto(address(site, "pair/no/layers"))
        assert not pair.is_visible()


def test_everything_can_be_done_by_keyboard(page: Page, values: NDArray[np.float64]) -> None:
    for _ in range(20):
        page.keyboard.press("Tab")
        if page.locator(":focus").get_attribute("role") == "application":
            break
    for key in ("ArrowDown", "ArrowDown", "ArrowRight", "ArrowDown", "ArrowUp", "End", "ArrowRight", "ArrowLeft"):
        page.keyboard.press(key)
    last = len(NAMES) - 2
    assert readout(page)[:2] == (NAMES[2], NAMES[last])
    page.keyboard.press("Enter")
    assert fragment(page) == f"pair/{NAMES[2]}/{NAMES[last]}"
    assert page.locator(":focus").inner_text() == "Pair of layers"
    page.go_back()
    assert page.locator(":focus").get_attribute("role") == "application"
    page.keyboard.press("Home")
    page.keyboard.press("PageDown")
    page.keyboard.press("+")
    assert page.get_by_role("button", name="Whole matrix").is_visible()
    assert tally(page) == f"4 by 1 of {len(NAMES)} layers"
    page.keyboard.press("-")
    assert tally(page) == f"{len(NAMES)} of {len(NAMES)} layers"


def test_a_filter_leaves_rows_and_columns_and_stands_in_the_address(
    page: Page, site: Path, values: NDArray[np.float64]
) -> None:
    page.get_by_label("Filter rows and columns").fill("stage1")
    kept = [name for name in NAMES if "stage1" in name]
    assert fragment(page) == "q=stage1"
    assert shown(page) == kept
    row, column = NAMES.index(kept[2]), NAMES.index(kept[5])
    assert hover(page, 2, 5, len(kept)) == (kept[2], kept[5], text_of(values[row, column]))
    page.get_by_label("Filter rows and columns").fill("no such layer")
    assert page.get_by_text("No layer of the matrix matches the filter.").is_visible()
    assert not plot(page).is_visible()
    page.goto("about:blank")
    page.goto(address(site, "modules&q=" + quote("relu")))
    assert sorted(shown(page)) == sorted(name for name in NAMES if "relu" in name)
    assert page.get_by_label("Filter rows and columns").input_value() == "relu"
    assert page.get_by_label("Order").input_value() == "modules"
    page.get_by_label("Filter rows and columns").fill("op:conv2d stage?.0.*")
    assert shown(page) == ["stage1.0.conv", "stage2.0.conv"]


def test_an_order_moves_rows_with_their_values_and_marks_blocks(page: Page, values: NDArray[np.float64]) -> None:
    assert shown(page) == NAMES
    order = page.get_by_label("Order")
    order.select_option("modules")
    assert fragment(page) == "modules"
    by_module = shown(page)
    assert by_module == ["x", "stem.conv", "stem.relu", *NAMES[2:-1]]
    for row, column in ((2, 8), (0, 2), (18, 2)):
        first, second, told = hover(page, row, column, len(NAMES))
        assert (first, second) == (by_module[row], by_module[column])
        assert told.split(" ")[0] == text_of(values[NAMES.index(first), NAMES.index(second)])
    starts = {int(place) for place in re.findall(r"M0 (\d+)", path(page))}
    assert {1, 3, 7, 11, 15, 19} <= starts
    order.select_option("operations")
    by_operation = shown(page)
    types = [TYPES[name.rsplit(".", 1)[-1]] for name in by_operation]
    assert types == sorted(types, key=types.index)
    assert len({int(place) for place in re.findall(r"M0 (\d+)", path(page))}) == len(set(types)) - 1
    page.go_back()
    assert order.input_value() == "modules"
    assert shown(page) == by_module


def tally(page: Page) -> str:
    return page.locator(".cka-controls").get_by_role("status").inner_text()


def path(page: Page) -> str:
    return page.locator(".cka-plot path").get_attribute("d") or ""


def test_alike_layers_stand_together(page: Page, values: NDArray[np.float64]) -> None:
    page.get_by_label("Order").select_option("similarity")
    found = [NAMES.index(name) for name in shown(page)]
    assert sorted(found) == list(range(len(NAMES)))
    rounded = np.nan_to_num(np.round(values, 3), nan=-np.inf)
    for place in range(len(found) - 1):
        rest = found[place + 1 :]
        assert rounded[found[place], rest[0]] == max(rounded[found[place], other] for other in rest)


def test_means_of_blocks_are_means_over_pairs(page: Page, values: NDArray[np.float64]) -> None:
    page.get_by_label("Order").select_option("means")
    order = ["x", "stem.conv", "stem.relu", *NAMES[2:-1]]
    first, second, told = hover(page, 4, 13, len(NAMES))
    rows, columns = (
        [NAMES.index(name) for name in order if name.startswith(f"{block}.")] for block in (first, second)
    )
    assert (first, second) == ("stage1.0", "stage2.0")
    assert told == f"{text_of(values[np.ix_(rows, columns)].mean())} – mean of 16 pairs of layers"
    told = hover(page, 16, 16, len(NAMES))[2]
    inside = [NAMES.index(name) for name in order if name.startswith("stage2.1.") and name != DEAD]
    pairs = values[np.ix_(inside, inside)][~np.eye(3, dtype=bool)]
    assert told == f"{text_of(pairs.mean())} – mean of 6 pairs of layers, 6 more undefined"
    page.mouse.click(*place_of(page, 4, 13, len(NAMES), len(NAMES)))
    assert fragment(page).startswith("modules/stage1.0.conv/stage1.0.add/stage2.0.conv/stage2.0.add")
    assert shown(page) == [name for name in order if name.startswith("stage1.0")]
    page.get_by_role("button", name="Whole matrix").click()
    assert shown(page) == order


def test_a_label_and_a_drawn_rectangle_show_a_part_alone(
    browser: Browser, site: Path, values: NDArray[np.float64]
) -> None:
    with opened(browser, width=320) as page:  # where there is no room for the names of 20 layers
        page.goto(address(site))
        page.locator(".cka-left").get_by_role("button", name="stage2.0").click()
        block = [name for name in NAMES if name.startswith("stage2.0")]
        assert shown(page) == block
        link = page.locator(".cka-left").get_by_role("link", name=block[1])
        assert (link.get_attribute("href") or "").endswith(f"layers/{block[1]}.html")
        page.go_back()
    with opened(browser) as page:
        page.goto(address(site))
        page.mouse.move(*place_of(page, 2, 6, len(NAMES), len(NAMES)))
        page.mouse.down()
        page.mouse.move(*place_of(page, 5, 10, len(NAMES), len(NAMES)), steps=4)
        page.mouse.up()
        assert fragment(page) == f"execution/{NAMES[2]}/{NAMES[5]}/{NAMES[6]}/{NAMES[10]}"
        assert shown(page) == NAMES[2:6]
        assert hover(page, 1, 2, 4, 5)[:2] == (NAMES[3], NAMES[8])
        page.go_back()
        assert shown(page) == NAMES


@pytest.mark.parametrize(("width", "scheme", "javascript"), half_of(WIDTHS, SCHEMES, (True, False)))
def test_the_page_fits_and_says_all_without_javascript(
    browser: Browser, site: Path, width: int, scheme: str, javascript: bool
) -> None:
    with opened(browser, width, scheme, javascript) as page:
        for place in ("", f"pair/{NAMES[4]}/{NAMES[9]}", "means"):
            page.goto("about:blank")
            page.goto(address(site, place))
            assert page.evaluate(OVERFLOW) <= 0
            assert plot(page).count() == javascript
            assert page.locator("main figure > a > img").is_visible() != javascript
            table = page.get_by_role("table").first
            assert table.locator("tbody tr").first.inner_text().split() == ["stem", "3", "0.50", "−0.25"]


def test_a_page_without_its_values_still_shows_the_picture(browser: Browser, site: Path, tmp_path: Path) -> None:
    text = (site / "similarity.html").read_text()
    assert 'src="data/layer_cka.js"' in text
    (site / "without.html").write_text(text.replace('<script defer src="data/layer_cka.js"></script>', ""))
    with opened(browser) as page:
        page.goto((site / "without.html").as_uri())
        assert page.locator("main figure > a > img").is_visible()
        assert plot(page).count() == 0
    (site / "without.html").unlink()


def test_eighteen_hundred_layers(browser: Browser, tmp_path: Path) -> None:
    names = [
        f"encoder.{stage}.block{block}.{part}"
        for stage in range(12)
        for block in range(25)
        for part in ("norm", "qkv", "attend", "project", "mlp", "add")
    ]
    values = similarities(1800)
    site = write_page_alone(*matrix_record(names, values, {}), tmp_path / "site")
    with opened(browser) as page:
        page.goto(address(site))
        for row, column in ((0, 0), (700, 1200), (1796, 3)):
            first, second, told = hover(page, row, column, 1800)
            # A cell is less than a pixel: whichever it is, its value is that of its names.
            assert abs(names.index(first) - row) <= 3
            assert told.split(" ")[0] == text_of(values[names.index(first), names.index(second)])
        labels = page.locator(".cka-left > *")
        assert labels.all_inner_texts() == [f"encoder.{stage}" for stage in range(12)]
        page.mouse.click(*place_of(page, 700, 1200, 1800, 1800))
        page.wait_for_url("**#pair/**")
        first, second = fragment(page).split("/")[1:]
        assert page.get_by_role("region", name="Pair of layers").get_by_role("link").all_inner_texts() == [
            first,
            second,
        ]
        labels.nth(3).click()
        assert labels.count() == 24
        assert labels.first.inner_text() == "encoder.3.block0"
        page.get_by_label("Filter rows and columns").fill("block7.add")
        assert tally(page) == "1 of 1,800 layers"


def test_twenty_layers_bear_their_names(browser: Browser, site: Path) -> None:
    with opened(browser) as page:
        page.goto(address(site))
        for side in ("left", "top"):
            assert page.locator(f".cka-{side} a").all_inner_texts() == NAMES


def test_hovering_a_real_report_reads_its_table(browser: Browser, tiny_site: Path) -> None:
    rows = list(csv.reader(StringIO((tiny_site / "data" / "layer_cka.csv").read_text())))
    table = {row[0]: dict(zip(rows[0][1:], row[1:], strict=True)) for row in rows[1:]}
    undefined = json.loads((tiny_site / "data" / "layer_cka.json").read_text())["undefined"]
    with opened(browser) as page:
        page.goto((tiny_site / "similarity.html").as_uri())
        count = page.locator(".cka-left > *").count()
        assert count >= 6
        for row in range(count):
            for column in range(count):
                first, second, told = hover(page, row, column, count)
                cell = table[first][second]
                assert told.split(" ")[0] == (text_of(float(cell)) if cell else "undefined")
                assert cell or any(undefined.get(name, "few examples") in told for name in (first, second))
        page.mouse.click(*place_of(page, 1, 2, count, count))
        assert page.evaluate(LOAD_PICTURES) == []
