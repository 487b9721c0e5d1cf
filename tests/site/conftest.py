"""The browser, and sites for it that are made from records, without a network."""

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, sync_playwright

import reportgen
from browsing import PROGRAMS
from canned import chain, make_image, make_layer, make_record, with_model, write_site
from models_for_tests import Versatile
from reportgen.figures.base import FigureOptions, Subject
from reportgen.figures.registry import figure_kinds


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """The system's Chromium. Where there is none the tests are skipped, but fail where CI runs them."""
    program = next(filter(None, map(shutil.which, PROGRAMS)), None)
    if program is None:
        message = f"no browser: none of {', '.join(PROGRAMS)} is installed"
        pytest.fail(message) if os.environ.get("CI") else pytest.skip(message)
    with sync_playwright() as playwright:
        # Without its sandbox, since tests often run as root, where it can't start.
        launched = playwright.chromium.launch(executable_path=program, args=["--no-sandbox"])
        yield launched
        launched.close()


@pytest.fixture(scope="session")
def long_site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A site in which every name, text and table is longer than a phone is wide."""
    name = "very_long_module_name_without_any_place_to_break_it" * 2
    wide = (
        "| "
        + " | ".join(f"column{index}" for index in range(12))
        + " |\n"
        + "|---" * 12
        + "|\n"
        + "| 12345 " * 12
        + "|"
    )
    text = (
        f"# Head{'line' * 30}\n\n{'word' * 60} `{'code' * 60}`\n\n```\n{'fence' * 60}\n```\n\n{wide}\n\n- [[x]]\n"
    )
    layers = [make_layer(f"{name}.{part}", detail="detail " * 20, title=part * 20) for part in ("conv", "relu")]
    failed = make_layer(f"{name}.add", status="failed", reason="RuntimeError:" + "x" * 300)
    images = [make_image(f"{'photograph' * 10}.png", note="note " * 30), make_image("b.png")]
    record = make_record(
        chain(["x", *layers, failed, *(f"{'deep.' * 12}conv{index}" for index in range(3))]),
        images,
        captions=dict.fromkeys(("index", "about", "layers/*", "images/b", "figures/channel_grid"), text),
        title="A title of the report " + "withoutspaces" * 20,
        options={"nodes": ["pattern" * 40]},
        environment={"reportgen": "1.2.3+" + "local" * 30},
    )
    record = with_model(record, spec="package." * 30 + "py:factory", weights="weights" * 30, random_weights=True)
    return write_site(record, tmp_path_factory.mktemp("long") / "site")


@pytest.fixture(scope="session")
def canned_site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The site of the canned record. It is shared: read it only."""
    return write_site(with_model(make_record(), random_weights=True), tmp_path_factory.mktemp("canned") / "site")


@pytest.fixture(scope="session")
def versatile_site(
    tiny_images: tuple[Path, ...], tiny_captions: Path, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """A site with every kind of page and of figure. It is shared: read it only."""
    out = tmp_path_factory.mktemp("versatile") / "site"
    options = {"captions": tiny_captions, "title": "Everything", "size": 32, "arrays": True, "quiet": True}
    report = reportgen.build(Versatile().eval(), tiny_images, out, **options)
    known = figure_kinds(FigureOptions(), Subject((), ()))
    assert {figure.kind for figure in report.record.figures} == {kind.name for kind in known}
    return report.site
