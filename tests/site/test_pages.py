"""Pages as data: what stands on each page, in which order, and what it leads to."""

import dataclasses
from collections.abc import Iterator, Sequence
from typing import Any, TypeVar

import pytest

from canned import IMAGES, KINDS, LAYERS, chain, figures_of, make_figure, make_image, make_layer, make_record
from reportgen.site.pages import (
    AboutPage,
    ImagePage,
    IndexPage,
    LayerPage,
    Link,
    Page,
    Pages,
)
from reportgen.site.record import KindEntry, Record
from reportgen.site.shown import Shown, show
from reportgen.site.tree import Group, Row

P = TypeVar("P", bound=Page)


def pages_of(record: Record, kind: type[P]) -> list[P]:
    return [page for page in Pages(record) if isinstance(page, kind)]


def index_of(record: Record) -> IndexPage:
    return pages_of(record, IndexPage)[0]


def layer_page(record: Record, name: str) -> LayerPage:
    return next(page for page in pages_of(record, LayerPage) if page.layer.name == name)


def rows_of(parts: Sequence[Group | Row]) -> Iterator[Row]:
    for part in parts:
        yield from rows_of(part.parts) if isinstance(part, Group) else [part]


def outline(parts: Sequence[Group | Row]) -> list[object]:
    """The tree as nested lists: `[label, [...]]` for a module, the label alone for a layer."""
    return [[part.label, outline(part.parts)] if isinstance(part, Group) else part.label for part in parts]


def outline_of(*names: str) -> list[object]:
    return outline(index_of(make_record(chain(names), images=[])).groups)


def test_modules_stand_in_execution_order() -> None:
    assert outline_of("x", "b.conv", "b.relu", "a.conv", "a.relu", "fc") == [
        "x",
        ["b", ["conv", "relu"]],
        ["a", ["conv", "relu"]],
        "fc",
    ]


def test_modules_nest() -> None:
    assert outline_of("a.conv", "a.b.conv", "a.b.c.conv", "a.b.relu", "a.relu") == [
        ["a", ["conv", ["b", ["conv", ["c", ["conv"]], "relu"]], "relu"]]
    ]


def test_a_module_that_holds_only_a_module_is_merged_with_it() -> None:
    assert outline_of("x", "a.b.c.conv", "a.b.c.relu") == ["x", ["a.b.c", ["conv", "relu"]]]


def test_a_module_with_one_layer_keeps_it() -> None:
    assert outline_of("a.conv", "b.c.conv") == [["a", ["conv"]], ["b.c", ["conv"]]]


def test_modules_are_merged_inside_others() -> None:
    assert outline_of("a.conv", "a.b.c.conv", "a.b.c.relu") == [["a", ["conv", ["b.c", ["conv", "relu"]]]]]


def test_a_module_that_runs_twice_is_listed_twice() -> None:
    assert outline_of("a.conv", "b.conv", "a.conv_1") == [["a", ["conv"]], ["b", ["conv"]], ["a", ["conv_1"]]]


def test_a_layer_and_a_module_of_the_same_beginning_are_two_things() -> None:
    assert outline_of("layer1.conv", "layer10.conv", "layer1_1", "layer") == [
        ["layer1", ["conv"]],
        ["layer10", ["conv"]],
        "layer1_1",
        "layer",
    ]


def test_groups_know_their_path_and_how_many_layers_they_hold() -> None:
    (group,) = index_of(make_record(chain(["a.b.conv", "a.b.c.conv", "a.b.c.relu"]), images=[])).groups
    assert isinstance(group, Group)
    assert (group.name, group.label, group.count) == ("a.b", "a.b", 3)
    assert isinstance(group.parts[1], Group)
    assert (group.parts[1].name, group.parts[1].count) == ("a.b.c", 2)


def test_every_selected_layer_is_listed_once_in_order() -> None:
    names = [row.layer.name for row in rows_of(index_of(make_record()).groups)]
    assert names == [layer.name for layer in LAYERS if layer.selected]


def test_many_layers_of_great_depth_are_listed() -> None:
    names = [f"{'deep.' * 60}block{index // 10}.conv{index}" for index in range(3000)]
    rows = list(rows_of(index_of(make_record(chain(names), images=[])).groups))
    assert [row.layer.name for row in rows] == names


def test_the_pages_are_those_of_the_contract() -> None:
    paths = [page.path for page in Pages(make_record())]
    assert paths == [
        "index.html",
        "layers/x.html",
        "layers/stem.conv.html",
        "layers/stem.relu.html",
        "layers/blocks.0.conv.html",
        "layers/blocks.0.add.html",
        "layers/blocks.1.conv.html",
        "layers/blocks.1.relu.html",
        "layers/head.fc.html",
        f"images/{IMAGES[0].id}.html",
        "images/disc.html",
        "about.html",
    ]


def test_a_layer_that_was_not_selected_has_no_page() -> None:
    pages = Pages(make_record())
    assert pages.layer_address("aux") == ""
    assert pages.layer_address("stem.conv") == "layers/stem.conv.html"
    assert pages.layer_address("nothing") == ""


def test_the_address_is_made_of_the_slug() -> None:
    layers = [make_layer("A/B", slug="a-b-0123456789ab")]
    assert layer_page(make_record(layers), "A/B").path == "layers/a-b-0123456789ab.html"


def test_the_same_layer_keeps_its_address_when_others_come() -> None:
    few, many = chain(["conv", "relu"]), chain(["x", "conv", "other.conv", "relu"])
    wanted = {Pages(make_record(layers)).layer_address("relu") for layers in (few, many)}
    assert wanted == {"layers/relu.html"}


def test_the_tally_counts_selected_layers_by_status() -> None:
    page = index_of(make_record())
    assert page.tally == {"drawn": 5, "skipped": 1, "failed": 2}
    assert page.unselected == 1


def test_each_image_is_shown_as_the_network_saw_it() -> None:
    panels = index_of(make_record()).images
    assert [(panel.image.id, panel.address) for panel in panels] == [
        (image.id, f"images/{image.id}.html") for image in IMAGES
    ]
    assert [panel.seen.picture for panel in panels if panel.seen] == [
        f"figures/input/{image.id}/seen.png" for image in IMAGES
    ]


def test_a_row_shows_the_channel_sums_of_the_images() -> None:
    rows = {row.layer.name: row for row in rows_of(index_of(make_record()).groups)}
    assert [shown.figure for shown in rows["stem.conv"].thumbnails] == [
        figure for figure in make_record().figures if (figure.kind, figure.layer) == ("channel_sum", "stem.conv")
    ]
    assert rows["stem.conv"].address == "layers/stem.conv.html"
    assert rows["head.fc"].thumbnails == ()


def test_a_thumbnail_fits_its_square_whatever_the_shape() -> None:
    for width, height in ((1, 1), (7, 3), (56, 56), (640, 480), (3000, 1), (1, 3000)):
        layer = make_layer("conv")
        figure = make_figure("channel_sum", "conv", "disc", width=width, height=height)
        (row,) = rows_of(index_of(make_record([layer], [make_image("disc.png")], figures=[figure])).groups)
        (shown,) = row.thumbnails
        assert max(shown.width, shown.height) == 56
        assert min(shown.width, shown.height) >= 1
        assert shown.crisp == (max(width, height) <= 56)


def test_a_row_shows_at_most_four_images() -> None:
    images = [make_image(f"image {index}.png") for index in range(10)]
    (row,) = rows_of(index_of(make_record([make_layer("conv")], images)).groups)
    assert [shown.figure.image for shown in row.thumbnails] == [image.id for image in images[:4]]


@pytest.mark.parametrize(("layers", "each"), [(100, 4), (1400, 3), (1800, 1), (2400, 0)])
def test_very_many_layers_have_fewer_thumbnails_each(layers: int, each: int) -> None:
    entries = chain(f"conv{index}" for index in range(layers))
    images = [make_image(f"image{index}.png") for index in range(5)]
    figures = [make_figure("channel_sum", layer.name, image.id) for layer in entries for image in images]
    rows = list(rows_of(index_of(make_record(entries, images, figures=figures)).groups))
    assert len(rows) == layers
    assert {len(row.thumbnails) for row in rows} == {each}


def test_neighbours_are_the_layers_before_and_after_that_have_pages() -> None:
    pages = pages_of(make_record(), LayerPage)
    selected = [layer.name for layer in LAYERS if layer.selected]
    assert [page.before.text if page.before else None for page in pages] == [None, *selected[:-1]]
    assert [page.after.text if page.after else None for page in pages] == [*selected[1:], None]
    assert layer_page(make_record(), "head.fc").before == Link("blocks.1.relu", "layers/blocks.1.relu.html")


def test_it_says_what_it_reads_and_feeds() -> None:
    page = layer_page(make_record(), "blocks.0.add")
    assert [link.text for link in page.reads] == ["stem.relu", "blocks.0.conv"]
    assert [link.text for link in page.feeds] == ["blocks.1.conv"]
    assert [link.text for link in layer_page(make_record(), "stem.relu").feeds] == ["blocks.0.conv", "blocks.0.add"]


def test_a_layer_without_a_page_is_named_but_not_linked() -> None:
    assert layer_page(make_record(), "head.fc").reads == (Link("aux", ""),)
    assert layer_page(make_record(), "blocks.1.relu").feeds == (Link("aux", ""),)


def test_it_shows_each_image_with_its_figures_in_the_order_of_kinds() -> None:
    record = make_record()
    shuffled = dataclasses.replace(record, figures=record.figures[::-1])
    for page in (layer_page(record, "stem.conv"), layer_page(shuffled, "stem.conv")):
        assert [panel.image for panel in page.panels] == list(IMAGES)
        for panel in page.panels:
            assert [shown.figure.kind for shown in panel.figures] == ["channel_sum", "channel_grid"]
            assert {shown.figure.image for shown in panel.figures} == {panel.image.id}
            assert panel.seen is not None
            assert panel.seen.figure.data["view"] == "seen"
        assert [kind.name for kind in page.kinds] == ["channel_sum", "channel_grid"]
        assert page.bar is not None


def test_a_report_without_colour_bar_has_pages() -> None:
    figures = [figure for figure in make_record().figures if figure.kind != "colour_bar"]
    assert layer_page(make_record(figures=figures), "stem.conv").bar is None


def test_a_skipped_layer_has_no_panels() -> None:
    page = layer_page(make_record(), "head.fc")
    assert (page.panels, page.kinds) == ((), ())


def test_a_layer_that_failed_for_one_image_shows_the_other() -> None:
    failed = make_layer("conv", status="failed", reason="it raised (on disc.png)")
    figures = figures_of([make_layer("conv")], IMAGES[:1])
    page = layer_page(make_record([failed], figures=figures), "conv")
    assert {panel.image.id: len(panel.figures) for panel in page.panels if panel.figures} == {IMAGES[0].id: 2}


def test_a_kind_of_another_package_is_shown_where_it_says() -> None:
    novel = [make_figure("novel", "stem.conv", image.id) for image in IMAGES]
    record = make_record(
        figures=[*figures_of(LAYERS, IMAGES), *novel], kinds=[KindEntry("novel", "Novel", 5), *KINDS]
    )
    page = layer_page(record, "stem.conv")
    assert [shown.figure.kind for shown in page.panels[0].figures] == ["novel", "channel_sum", "channel_grid"]
    assert page.panels[0].figures[0].template == "figures/novel.html.jinja"


def test_neighbours_are_the_images_before_and_after() -> None:
    first, second = pages_of(make_record(), ImagePage)
    assert (first.before, second.after) == (None, None)
    assert first.after == Link("disc.png", "images/disc.html")
    assert second.before == Link("red square.png", f"images/{IMAGES[0].id}.html")


def test_both_pictures_of_the_image_are_shown() -> None:
    page = pages_of(make_record(), ImagePage)[1]
    assert [shown.figure.data["view"] for shown in page.figures] == ["original", "seen"]
    assert [(shown.width, shown.height, shown.crisp) for shown in page.figures] == [(64, 48, False)] * 2


def test_the_strip_holds_the_sum_of_every_drawn_layer_in_order() -> None:
    page = pages_of(make_record(), ImagePage)[1]
    frames = [frame for strip in page.strips for frame in strip.frames]
    drawn = [layer for layer in LAYERS if layer.status == "drawn"]
    assert [frame.layer for frame in frames] == drawn
    assert {frame.shown.figure.kind for frame in frames} == {"channel_sum"}
    assert {frame.shown.figure.image for frame in frames} == {"disc"}
    addresses = [frame.address.split("#") for frame in frames]
    assert [page for page, _ in addresses] == [f"layers/{layer.slug}.html" for layer in drawn]
    assert all(fragment.endswith("disc") for _, fragment in addresses)


def test_strips_follow_the_top_level_modules() -> None:
    strips = pages_of(make_record(), ImagePage)[0].strips
    assert [(strip.name, len(strip.frames)) for strip in strips] == [("", 1), ("stem", 2), ("blocks", 2)]


def test_a_module_that_runs_twice_has_two_strips() -> None:
    layers = chain(["a.conv", "b.conv", "a.conv_1"])
    strips = pages_of(make_record(layers), ImagePage)[0].strips
    assert [strip.name for strip in strips] == ["a", "b", "a"]


@pytest.mark.parametrize(
    ("kind", "size", "data", "shown"),
    [
        ("channel_sum", (1, 1), {}, (224, 224, True)),
        ("channel_sum", (7, 5), {}, (224, 160, True)),
        ("channel_sum", (150, 10), {}, (900, 60, True)),
        ("channel_sum", (500, 20), {}, (500, 20, False)),
        ("channel_grid", (100, 30), {}, (900, 270, True)),
        ("channel_grid", (2000, 2000), {}, (2000, 2000, False)),
        ("input", (10, 10), {"pixels": 1}, (10, 10, False)),
        ("chart", (1001, 600), {"pixels": 0.5}, (500, 300, False)),
    ],
)
def test_a_map_is_enlarged_by_a_whole_factor_and_a_chart_as_it_says(
    kind: str, size: tuple[int, int], data: dict[str, Any], shown: tuple[int, int, bool]
) -> None:
    figure = make_figure(kind, "conv", "disc", width=size[0], height=size[1], data=data)
    assert show(figure) == Shown(figure, *shown)


def test_the_first_file_is_the_one_shown() -> None:
    figure = make_figure("novel", "conv", "disc", files=["figures/a.png", "figures/a.svg"])
    assert show(figure).picture == "figures/a.png"


def test_about_leads_to_every_layer_with_a_page() -> None:
    (page,) = pages_of(make_record(), AboutPage)
    assert list(page.addresses) == [layer.name for layer in LAYERS]
    assert [name for name, address in page.addresses.items() if not address] == ["aux"]
