"""The drawing of the graph around a layer: what is in it, and that every edge leads rightwards."""

import random
from collections import defaultdict
from collections.abc import Sequence

import pytest

from canned import make_layer
from reportgen.site.neighbourhood import WIDTH, Graph, Neighbourhood
from reportgen.site.record import LayerEntry


def layers_of(**parents: str) -> list[LayerEntry]:
    """Layers in execution order with the names of what each reads, in one text."""
    return [
        make_layer(name, index=index, parents=read.split()) for index, (name, read) in enumerate(parents.items())
    ]


def around(name: str, layers: Sequence[LayerEntry]) -> Neighbourhood:
    feeds: dict[str, list[str]] = defaultdict(list)
    for layer in layers:
        for parent in layer.parents:
            feeds[parent].append(layer.name)
    return Graph(layers, feeds).around(name)


def columns(drawing: Neighbourhood) -> list[list[str]]:
    stacks: dict[int, list[str]] = defaultdict(list)
    for spot in drawing.spots:
        stacks[spot.x].append(spot.layer.name)
    return [sorted(stacks[x]) for x in sorted(stacks)]


def edges(drawing: Neighbourhood) -> set[tuple[str, str]]:
    """The edges by name, found from where they start and end."""
    right = {(spot.x + WIDTH, spot.y + 19): spot.layer.name for spot in drawing.spots}
    left = {(spot.x, spot.y + 19): spot.layer.name for spot in drawing.spots}
    return {(right[edge.x1, edge.y1], left[edge.x2, edge.y2]) for edge in drawing.edges}


CHAIN = layers_of(a="", b="a", c="b", d="c", e="d", f="e", g="f")


def test_two_steps_each_way() -> None:
    drawing = around("d", CHAIN)
    assert columns(drawing) == [["b"], ["c"], ["d"], ["e"], ["f"]]
    assert edges(drawing) == {("b", "c"), ("c", "d"), ("d", "e"), ("e", "f")}
    assert [spot.layer.name for spot in drawing.spots if spot.current] == ["d"]


def test_the_ends_of_a_network() -> None:
    assert columns(around("a", CHAIN)) == [["a"], ["b"], ["c"]]
    assert columns(around("g", CHAIN)) == [["e"], ["f"], ["g"]]
    assert columns(around("a", layers_of(a=""))) == [["a"]]


def test_a_residual_block_stands_beside_its_shortcut() -> None:
    block = layers_of(x="", conv1="x", conv2="conv1", add="conv2 x", relu="add")
    drawing = around("add", block)
    assert columns(drawing) == [["x"], ["conv1"], ["conv2"], ["add"], ["relu"]]
    assert edges(drawing) == {("x", "conv1"), ("conv1", "conv2"), ("conv2", "add"), ("x", "add"), ("add", "relu")}


def test_what_is_read_late_stands_close_to_its_reader() -> None:
    drawing = around("add", layers_of(x="", weight="", conv="x", add="conv weight"))
    assert columns(drawing) == [["x"], ["conv", "weight"], ["add"]]


def test_neighbours_that_do_not_fit_are_counted() -> None:
    names = [f"branch{index}" for index in range(9)]
    layers = layers_of(x="", **dict.fromkeys(names, "x"), cat=" ".join(names))
    assert around("cat", layers).hidden == 4
    assert around("x", layers).hidden == 4
    assert around("branch0", layers).hidden == 0


def test_a_layer_read_twice_by_one_is_one_edge() -> None:
    assert edges(around("b", layers_of(a="", b="a a"))) == {("a", "b")}
    assert len(around("b", layers_of(a="", b="a a")).edges) == 1


def test_a_parent_that_the_report_does_not_know_is_left_out() -> None:
    assert columns(around("b", layers_of(b="nowhere"))) == [["b"]]


@pytest.mark.parametrize("seed", range(20))
def test_every_edge_leads_rightwards_and_none_is_invented(seed: int) -> None:
    chance = random.Random(seed)
    names = [f"n{index}" for index in range(40)]
    parents = {
        name: " ".join(chance.sample(names[:index], min(index, chance.randint(0, 4))))
        for index, name in enumerate(names)
    }
    layers = layers_of(**parents)
    for name in names:
        drawing = around(name, layers)
        inside = {spot.layer.name for spot in drawing.spots}
        assert all(edge.x1 < edge.x2 for edge in drawing.edges)
        assert edges(drawing) == {
            (read, each) for each in inside for read in parents[each].split() if read in inside
        }
        places = [(spot.x, spot.y) for spot in drawing.spots]
        assert len(set(places)) == len(places)
        assert all(spot.x + WIDTH <= drawing.width and spot.y + 38 <= drawing.height for spot in drawing.spots)


def test_long_names_keep_their_ends() -> None:
    layers = layers_of(**{"a" * 30 + ".first_module.very_long_convolution_name": ""})
    (spot,) = around(layers[0].name, layers).spots
    assert (spot.label, spot.module) == ("…onvolution_name", "…aaaaa.first_module")
