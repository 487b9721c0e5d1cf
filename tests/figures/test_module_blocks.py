"""Runs of layers in one module: what they are called, and that they are never too many."""

import pytest

from reportgen.figures.module_blocks import module_blocks

RESNET = [
    "x", "conv1", "bn1", "relu",
    *(f"layer{stage}.{block}.{part}" for stage in (1, 2) for block in (0, 1) for part in ("conv1", "bn1", "add")),
    "avgpool", "flatten", "fc",
]  # fmt: skip


def labels(names: list[str], most: int) -> list[str]:
    return [block.label for block in module_blocks(names, most)]


def test_the_largest_modules_are_divided_first_and_layers_beside_modules_stand_together() -> None:
    assert labels(RESNET, 1) == ["x to fc"]
    assert labels(RESNET, 4) == ["x to relu", "layer1", "layer2", "avgpool to fc"]
    assert labels(RESNET, 5) == ["x to relu", "layer1.0", "layer1.1", "layer2", "avgpool to fc"]
    halves = [f"layer{stage}.{block}" for stage in (1, 2) for block in (0, 1)]
    assert labels(RESNET, 100) == ["x to relu", *halves, "avgpool to fc"]


def test_a_module_around_everything_is_looked_into() -> None:
    assert labels([f"model.{name}" for name in RESNET[4:-3]], 2) == ["model.layer1", "model.layer2"]
    assert labels(["features.0", "features.1", "features.2.conv", "features.2.relu"], 3) == [
        "features.0 to 1",
        "features.2",
    ]


def test_neighbours_are_put_together_where_one_module_has_too_many() -> None:
    names = ["x", *(f"encoder.{layer}.{part}" for layer in range(24) for part in "abc"), "head"]
    found = labels(names, 12)
    assert len(found) == 12
    assert (found[0], found[1], found[-1]) == ("x", "encoder.0 to 1", "head")
    assert len(labels([f"block{place}.conv" for place in range(50)], 12)) == 12


def test_a_module_that_runs_twice_is_two_blocks() -> None:
    assert labels(["a.conv", "b.conv", "a.relu"], 9) == ["a", "b", "a"]


@pytest.mark.parametrize("most", [1, 2, 7, 12, 24])
@pytest.mark.parametrize("count", [0, 1, 30, 1800])
def test_blocks_are_all_layers_in_order_and_no_more_than_asked(count: int, most: int) -> None:
    names = [
        f"stage{place * 7 // max(count, 1)}.block{place // 9}.conv" if place % 50 else "add"
        for place in range(count)
    ]
    blocks = module_blocks(names, most)
    assert [place for block in blocks for place in range(block.start, block.end)] == list(range(count))
    assert len(blocks) <= most
