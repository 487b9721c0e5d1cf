"""Reports of very many layers or images stay within what a browser takes at once."""

from collections.abc import Mapping
from pathlib import Path

import pytest

from big import big_record
from canned import write_site
from checker import BUDGET_BYTES, BUDGET_ELEMENTS, check_site, count_elements
from reportgen.site.render import render


@pytest.fixture(scope="module")
def many_layers() -> Mapping[str, str]:
    return render(big_record(1800, 4)).files


@pytest.fixture(scope="module")
def many_images() -> Mapping[str, str]:
    return render(big_record(60, 200, rich=True)).files


def check(files: Mapping[str, str], name: str) -> None:
    text = files[name]
    assert len(text.encode()) <= BUDGET_BYTES, name
    assert count_elements(text) <= BUDGET_ELEMENTS, name


@pytest.mark.parametrize("kind", ["index.html", "about.html", "images/", "layers/"])
def test_a_report_of_1800_layers_keeps_the_budget(many_layers: Mapping[str, str], kind: str) -> None:
    check(many_layers, next(name for name in many_layers if name.startswith(kind)))


def test_a_report_of_200_images_keeps_the_budget(many_images: Mapping[str, str]) -> None:
    slug = next(name for name in many_images if name.startswith("layers/"))[len("layers/") : -len(".html")]
    parts = [name for name in many_images if name.startswith(f"more/{slug}/")]
    assert len(parts) > 1
    for name in ("index.html", "about.html", f"layers/{slug}.html", *parts):
        check(many_images, name)


def test_pages_of_many_images_are_not_divided_more_than_they_must(many_images: Mapping[str, str]) -> None:
    # Estimates are on the safe side, but a page of a few pictures would only be a nuisance.
    part = next(name for name in many_images if name.startswith("more/"))
    assert count_elements(many_images[part]) > BUDGET_ELEMENTS / 4


@pytest.mark.sweep
def test_a_site_of_1800_layers_is_sound(tmp_path: Path) -> None:
    assert check_site(write_site(big_record(1800, 1), tmp_path / "site")) == []
