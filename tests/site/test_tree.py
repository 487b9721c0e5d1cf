"""The tree of modules in the sidebar, and the list of layers that the scripts read."""

import dataclasses
import json
from collections.abc import Iterator, Sequence

import pytest

from canned import LAYERS, chain, make_figure, make_layer, make_record
from reportgen.site.pages import Pages, Sidebar
from reportgen.site.record import FAILED, SKIPPED, Record
from reportgen.site.tree import Branch, Gap, Leaf, flags_of


def sidebar_of(record: Record, name: str = "") -> Sidebar:
    """The sidebar of a layer's page, or of the index."""
    pages = Pages(record)
    wanted = f"layers/{name}.html" if name else "index.html"
    page = next(page for page in pages if page.path == wanted)
    return pages.sidebar(page)


def outline(parts: Sequence[Leaf | Branch | Gap]) -> list[object]:
    """The sidebar as nested lists: `+label` an open module, `label` a closed one, `*label` the current layer."""
    return [*map(_outline, parts)]


def _outline(part: Leaf | Branch | Gap) -> object:
    if isinstance(part, Gap):
        return part.count
    if isinstance(part, Leaf):
        return f"{'*' if part.current else ''}{part.row.label}"
    return [f"{'+' if part.open else ''}{part.group.label}", outline(part.parts)]


def leaves(parts: Sequence[Leaf | Branch | Gap]) -> Iterator[Leaf]:
    for part in parts:
        if isinstance(part, Branch):
            yield from leaves(part.parts)
        elif isinstance(part, Leaf):
            yield part


NAMES = ("x", "stem.conv", "stem.relu", "body.0.conv", "body.0.relu", "body.1.conv", "body.1.relu", "fc")


def test_the_index_shows_each_module_closed_with_its_first_layer() -> None:
    assert outline(sidebar_of(make_record(chain(NAMES), images=[]))) == [
        "x", ["stem", ["conv"]], ["body", ["conv"]], "fc",
    ]  # fmt: skip


def test_a_layers_page_opens_the_modules_that_it_lies_in() -> None:
    assert outline(sidebar_of(make_record(chain(NAMES), images=[]), "body.1.conv")) == [
        "x", ["stem", ["conv"]], ["+body", [["0", ["conv"]], ["+1", ["*conv", "relu"]]]], "fc",
    ]  # fmt: skip


@pytest.mark.parametrize("name", NAMES)
def test_each_layer_is_current_on_its_own_page_alone(name: str) -> None:
    found = [
        leaf.row.layer.name
        for leaf in leaves(sidebar_of(make_record(chain(NAMES), images=[]), name))
        if leaf.current
    ]
    assert found == [name]


def test_a_module_that_ran_twice_is_opened_where_the_layer_is() -> None:
    record = make_record(chain(["a.conv", "b.conv", "b.relu", "a.conv_1", "a.relu"]), images=[])
    assert outline(sidebar_of(record, "a.conv_1")) == [
        ["a", ["conv"]],
        ["b", ["conv"]],
        ["+a", ["*conv_1", "relu"]],
    ]


def test_a_long_level_is_cut_around_the_layer_and_says_how_much() -> None:
    names = [f"layer{index}" for index in range(100)]
    record = make_record(chain(names), images=[])
    seen = outline(sidebar_of(record, "layer50"))
    assert (seen[0], seen[-1]) == (30, 29)
    assert seen[1:-1] == [*names[30:50], "*layer50", *names[51:71]]
    assert outline(sidebar_of(record, "layer0"))[-1] == 79
    assert outline(sidebar_of(record, "layer99"))[0] == 79


def test_a_gap_counts_the_layers_inside_its_modules() -> None:
    names = [f"block{index}.{part}" for index in range(60) for part in ("conv", "relu")]
    assert outline(sidebar_of(make_record(chain(names), images=[]), "block0.conv"))[-1] == 2 * (60 - 21)


def test_a_branch_knows_its_first_layer_and_how_many_it_has() -> None:
    branches = [part for part in sidebar_of(make_record(chain(NAMES), images=[])) if isinstance(part, Branch)]
    ranges = [
        (branch.group.first.position, branch.group.first.position + branch.group.count) for branch in branches
    ]
    names = [branch.group.name for branch in branches]
    assert [(name, *found) for name, found in zip(names, ranges, strict=True)] == [("stem", 1, 3), ("body", 3, 7)]


# Flags


@pytest.mark.parametrize("status", [FAILED, SKIPPED])
def test_a_layer_that_was_not_drawn_bears_its_status(status: str) -> None:
    assert flags_of(make_layer("conv", status=status), None) == (status,)


def test_a_layer_bears_what_its_channels_have() -> None:
    counts = {"dead": 2, "constant": 0, "non_finite": 1}
    health = make_figure("health", "conv", None, data={"counts": counts})
    assert flags_of(make_layer("conv"), health) == ("dead", "non-finite")
    assert flags_of(make_layer("conv"), None) == ()


# The script


def entries_of(record: Record) -> list[list[str]]:
    script = Pages(record).layers_script
    assert "<" not in script
    return json.loads(script.removeprefix("reportgen.layers = ").removesuffix(";\n"))  # type: ignore[no-any-return]


def test_the_script_lists_every_layer_that_has_a_page() -> None:
    entries = entries_of(make_record())
    assert [entry[0] for entry in entries] == [layer.name for layer in LAYERS if layer.selected]
    assert entries[1] == ["stem.conv", "stem.conv", "Conv2d", "first filters", "", "8 × 4 × 6"]
    assert entries[-1][4] == SKIPPED


def test_names_can_not_end_the_script() -> None:
    hostile = '</script><script>alert(1)</script>"\\\u2028\udcff'
    layers = [dataclasses.replace(layer, title=hostile) for layer in LAYERS]
    assert entries_of(make_record(layers))[0][3] == hostile.replace("\udcff", "\N{REPLACEMENT CHARACTER}")
