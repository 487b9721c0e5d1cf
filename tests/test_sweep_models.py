"""The sweep over every model of the zoo, as tests; run by hand with `-m sweep`, or as a script for its table."""

import pytest
import timm
import torchvision

from sweep import run_one
from zoo import SOURCES, exhibits


@pytest.mark.sweep
@pytest.mark.parametrize(
    ("source", "name"), [(found.source, found.name) for source in SOURCES for found in exhibits(source)]
)
def test_every_node_shows_what_the_model_computed(source: str, name: str) -> None:
    row = run_one(source, name)
    assert row.problems == []
    assert row.failed == row.unaccounted == 0
    assert row.compared > 0
    assert row.names in ("", "equal")


def test_the_zoo_is_whole() -> None:
    """All of torchvision, a model of every module of timm, and 25 families of transformers or more."""
    named = {found.name for found in exhibits("torchvision")}
    assert set(torchvision.models.list_models()) <= named
    assert {found.family for found in exhibits("timm")} == set(timm.list_modules())
    assert len({found.family for found in exhibits("transformers")}) >= 25
    for source in SOURCES:
        names = [found.name for found in exhibits(source)]
        assert len(set(names)) == len(names)
