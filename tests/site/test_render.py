"""Pages as HTML: texts stay texts, states are told, files are whole, and the same record gives the same bytes."""

import ast
import dataclasses
import hashlib
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any
from xml.etree.ElementTree import Element

import html5lib
import pytest

from canned import (
    IMAGES,
    KINDS,
    LAYERS,
    chain,
    figures_of,
    make_figure,
    make_image,
    make_layer,
    make_record,
    with_model,
    write_site,
)
from checker import check_site
from hostile_texts import structure, with_texts
from reportgen.names import slugify
from reportgen.site.axes import operation, shape
from reportgen.site.record import KindEntry, Record, SkippedImageEntry, from_json, to_json
from reportgen.site.render import number, plural, render, sized, templates_directory, tracer

if TYPE_CHECKING:
    from reportgen.driver import Report


def tree_of(html: str) -> Element:
    parser = html5lib.HTMLParser(namespaceHTMLElements=False, strict=True)
    root: Element = parser.parse(html)
    return root


def pages_of(record: Record) -> dict[str, Element]:
    files = render(record).files
    return {name: tree_of(text) for name, text in files.items() if name.endswith(".html")}


def text_of(element: Element) -> str:
    return " ".join("".join(element.itertext()).split())


def with_class(root: Element, name: str) -> list[Element]:
    return [element for element in root.iter() if name in str(element.get("class", "")).split()]


def layer_text(record: Record, name: str) -> str:
    return text_of(pages_of(record)[f"layers/{slugify(name)}.html"])


# The site as files


def test_a_site_has_no_problems(tmp_path: Path) -> None:
    assert check_site(write_site(make_record(), tmp_path / "site")) == []


def test_a_built_site_has_no_problems(tiny_report: "Report") -> None:
    assert check_site(tiny_report.site) == []
    assert tiny_report.warnings == ()
    assert tiny_report.complete


def test_a_site_with_one_layer_and_one_image_has_no_problems(tmp_path: Path) -> None:
    record = make_record([make_layer("conv")], [make_image("a.png")])
    assert check_site(write_site(record, tmp_path / "site")) == []


def test_a_site_with_captions_everywhere_has_no_problems(tmp_path: Path) -> None:
    text = "Look at [[stem.conv]].[^1]\n\n[^1]: Once.\n\n|a|b|\n|-|-:|\n|1|2|\n"
    places = ["index", "about", "layers/*", f"images/{IMAGES[0].id}", "images/disc"]
    record = make_record(captions=dict.fromkeys([*places, *(f"figures/{kind.name}" for kind in KINDS)], text))
    assert check_site(write_site(record, tmp_path / "site")) == []


@pytest.mark.parametrize("name", ["main", "images", "layers", "nodes", "strip", "index", "layer-conv-fn-1"])
def test_an_image_may_have_any_id(tmp_path: Path, name: str) -> None:
    captions = {"layers/conv": "A note.[^1]\n\n[^1]: Here."}
    record = make_record([make_layer("conv")], [make_image(f"{name}.png")], captions=captions)
    assert check_site(write_site(record, tmp_path / "site")) == []


def test_static_files_bear_the_hash_of_their_content() -> None:
    files = render(make_record()).files
    static = {name: text for name, text in files.items() if re.fullmatch("static/[^/]*", name)}
    assert len(static) == len(list((templates_directory() / "static").iterdir())) + 1  # the list of layers
    for name, text in static.items():
        digest = name.split(".")[1]
        assert re.fullmatch("[0-9a-f]{8,64}", digest)
        assert hashlib.sha256(text.encode()).hexdigest().startswith(digest)


def test_every_page_has_the_style_sheet() -> None:
    files = render(make_record()).files
    (sheet,) = (name for name in files if name.endswith(".css"))
    for name, root in pages_of(make_record()).items():
        links = [link.get("href") for link in root.iter("link") if link.get("rel") == "stylesheet"]
        assert links == ["../" * name.count("/") + sheet]


def test_every_page_has_a_title_of_its_own() -> None:
    titles = [text_of(next(root.iter("title"))) for root in pages_of(make_record()).values()]
    assert len(set(titles)) == len(titles)
    assert all("Shapes, layer by layer" in title for title in titles)


def test_every_page_says_who_made_it_of_what() -> None:
    for root in pages_of(with_model(make_record(generator="reportgen 9.9"), weights="epoch 12")).values():
        assert "Shapes, epoch 12 · made by reportgen 9.9" in text_of(next(root.iter("footer")))


# Texts stay texts

HOSTILE = "\"'><script>alert(1)</script><img src=x onerror=alert(1)>&lt;b&gt;</title></main>{{ 7 * 7 }}<!--"


def test_hostile_texts_change_no_page() -> None:
    plain, hostile = pages_of(with_texts("plain")), pages_of(with_texts(HOSTILE))
    assert plain.keys() == hostile.keys()
    for name, root in plain.items():
        assert structure(root) == structure(hostile[name]), name


def test_hostile_texts_are_shown_as_they_are() -> None:
    shown = {name: text_of(root) for name, root in pages_of(with_texts(HOSTILE)).items()}
    wanted = {
        "index.html": ["title", "Shapes", "shapes.py:network", "epoch 12", "first filters", "disc.png"],
        "layers/stem.conv.html": ["first filters", "stem.conv", "Conv2d", "float32", "x", "stem.relu"],
        "layers/blocks.1.conv.html": ["conv raised RuntimeError: no luck"],
        "layers/blocks.0.add.html": ["add"],
        "images/disc.html": ["disc.png", "16-bit gray, scaled to 8 bits", "resized to 32 pixels"],
        "about.html": ["problem", "package", "1.0", "option", "value", "one", "two", "fx", "ab"],
    }
    for name, texts in wanted.items():
        for text in texts:
            assert f"{text}{HOSTILE}" in shown[name], (name, text)


def test_hostile_texts_stay_in_their_attributes() -> None:
    roots = pages_of(with_texts(HOSTILE))
    alts = {str(img.get("alt")) for img in roots["layers/stem.conv.html"].iter("img")}
    assert f"channel_grid of stem.conv for disc{HOSTILE}" in alts
    (generator,) = (meta for meta in roots["index.html"].iter("meta") if meta.get("name") == "generator")
    assert generator.get("content") == f"reportgen{HOSTILE}"


@pytest.mark.parametrize("text", ["\x00", "\x01\x0b\x1f", "\x7f\x9f", "\ufdd0\uffff", "\udcff"])
def test_characters_that_html_forbids_do_not_reach_the_pages(text: str) -> None:
    # A file's name may hold them. `tree_of` is strict, and `encode` refuses surrogates.
    for name, page in render(with_texts(text)).files.items():
        if name.endswith(".html"):
            tree_of(page.encode().decode())


def test_hostile_captions_bring_nothing_that_runs_or_loads(tmp_path: Path) -> None:
    text = (
        "<script>alert(1)</script>\n\n<img src=https://example.org/x.png onerror=alert(1)>\n\n"
        "<p onclick='alert(1)' style='color:red' id='main'>hello</p>\n\n[x](javascript:alert(1)) "
        "![y](https://example.org/y.png) </main></body> <h1>big</h1> {{ 7 * 7 }} {% include 'base.html.jinja' %}"
    )
    places = ["index", "about", "layers/*", "images/disc", *(f"figures/{kind.name}" for kind in KINDS)]
    site = write_site(make_record(captions=dict.fromkeys(places, text)), tmp_path / "site")
    assert check_site(site) == []
    for page in site.rglob("*.html"):
        html = page.read_text(encoding="utf-8")
        assert "<script>" not in html
        assert "{{ 7 * 7 }}" in html


# States are told


def test_random_weights_are_announced_on_every_page() -> None:
    for root in pages_of(with_model(make_record(), random_weights=True)).values():
        (banner,) = with_class(root, "banner")
        assert "Random weights" in text_of(banner)


def test_trained_weights_are_not_announced_as_random() -> None:
    for root in pages_of(make_record()).values():
        assert not with_class(root, "banner")
        assert "andom weights" not in text_of(root)


@pytest.mark.parametrize(
    ("name", "status", "reason"),
    [
        ("blocks.1.conv", "Failed.", "conv raised RuntimeError: no luck"),
        ("blocks.1.relu", "Failed.", "it reads a node that failed"),
        ("head.fc", "Skipped.", "(N, C): no maps to draw"),
    ],
)
def test_a_layer_that_was_not_drawn_says_why(name: str, status: str, reason: str) -> None:
    assert f"{status} {reason}" in layer_text(make_record(), name)


def test_a_drawn_layer_has_nothing_to_explain() -> None:
    root = pages_of(make_record())["layers/stem.conv.html"]
    assert not with_class(root, "note")


def test_the_index_tells_what_was_not_drawn() -> None:
    root = pages_of(make_record())["index.html"]
    assert "5 drawn, 1 without maps, 2 failed, 1 not selected" in text_of(root)
    assert [text_of(status) for status in with_class(root, "status")] == ["failed", "failed", "skipped"]


def test_about_tells_the_fate_of_every_node() -> None:
    root = pages_of(make_record())["about.html"]
    text = text_of(root)
    assert "9 nodes in all: 5 drawn, 2 skipped, 2 failed" in text
    assert "blocks.1.conv: conv raised RuntimeError: no luck" in text
    rows = [[text_of(cell) for cell in row] for row in root.iter("tr")]
    for layer in LAYERS:
        status = f"{layer.status}: {layer.reason}" if layer.reason else layer.status
        assert [layer.name, operation(layer), shape(layer), status] in rows


def test_about_tells_which_images_were_left_out() -> None:
    left_out = [SkippedImageEntry("a <b>.png", "is empty (0 bytes)"), SkippedImageEntry("c.png", "is <cut>")]
    about = render(dataclasses.replace(make_record(), skipped_images=left_out)).files["about.html"]
    assert "2 images could not be used" in about
    assert "<li>a &lt;b&gt;.png: is empty (0 bytes)</li>" in about
    assert "<li>c.png: is &lt;cut&gt;</li>" in about
    assert "could not be used" not in render(make_record()).files["about.html"]


def test_an_alias_is_the_title_of_its_page() -> None:
    root = pages_of(make_record())["layers/stem.conv.html"]
    assert text_of(next(root.iter("h1"))) == "first filters"
    assert "stem.conv" in text_of(root)
    assert "first filters" in text_of(pages_of(make_record())["index.html"])


def test_options_that_were_not_given_are_left_out() -> None:
    given: dict[str, Any] = {"scale": "layer", "size": [32, 48]}
    options = {**given, "nodes": {}, "exclude": [], "cmap": "", "strict": False, "mean": None}
    about = pages_of(make_record(options=options))["about.html"]
    section = next(each for each in about.iter("section") if each.get("aria-labelledby") == "options")
    terms, values = ([text_of(each) for each in section.iter(tag)] for tag in ("dt", "dd"))
    assert dict(zip(terms, values, strict=True)) == {"scale": "layer", "size": "32, 48"}


# Figures


def shown_files(record: Record) -> set[str]:
    return {
        str(img.get("src")).removeprefix("../") for root in pages_of(record).values() for img in root.iter("img")
    }


@pytest.mark.parametrize(
    ("layer", "image"), [("stem.conv", "disc"), (None, "disc"), ("stem.conv", None), (None, None)]
)
def test_a_figure_of_another_package_is_shown_with_its_words(layer: str | None, image: str | None) -> None:
    # It has no template, so the default one serves. It may speak of a layer, an image, both, or the whole report.
    novel = make_figure("novel", layer, image, caption="A <novel> figure.", alt='So "new"')
    kinds = [*KINDS, KindEntry("novel", "Novel", 30)]
    record = make_record(figures=[*figures_of(LAYERS, IMAGES), novel], kinds=kinds)
    assert not (templates_directory() / "figures" / "novel.html.jinja").exists()
    assert novel.files[0] in shown_files(record)
    figures = [figure for root in pages_of(record).values() for figure in root.iter("figure")]
    (figure,) = (each for each in figures if "A <novel> figure." in text_of(each))
    assert [img.get("alt") for img in figure.iter("img")] == ['So "new"']


def test_every_figure_of_a_build_is_shown(tiny_report: "Report") -> None:
    record = tiny_report.record
    figures = {figure.files[0] for figure in record.figures if figure.kind != "preview"}
    assert shown_files(record) == figures | record.illustrated


def test_a_layer_page_shows_both_figures_with_captions() -> None:
    root = pages_of(make_record())["layers/stem.conv.html"]
    text = text_of(root)
    for image in IMAGES:
        assert f"The channel_sum of stem.conv for {image.id}." in text
        assert f"The channel_grid of stem.conv for {image.id}." in text
    assert [[text_of(end) for end in ends.iter("span")] for ends in with_class(root, "ends")] == [
        ["−1.5", "2.25"]
    ] * 2


def test_an_undefined_range_says_so() -> None:
    figure = make_figure("channel_sum", "conv", "a", data={"low": None, "high": None})
    bar = make_figure("colour_bar", None, None)
    record = make_record([make_layer("conv")], [make_image("a.png")], figures=[figure, bar])
    (ends,) = with_class(pages_of(record)["layers/conv.html"], "ends")
    assert [text_of(end) for end in ends.iter("span")] == ["undefined", "undefined"]


# Captions


def test_captions_stand_on_their_pages() -> None:
    captions = {
        "index": "Of the index.",
        "about": "Of about.",
        "layers/stem.conv": "Of one layer.",
        "layers/blocks.*": "Of many layers.",
        "images/disc": "Of one image.",
        "figures/channel_grid": "Of grids.",
    }
    record = make_record(captions=captions)
    pages = {name: text_of(root) for name, root in pages_of(record).items()}
    blocks = {name for name in pages if name.startswith("layers/blocks")}
    drawn = {f"layers/{layer.slug}.html" for layer in LAYERS if layer.status == "drawn"}
    for text, places in {
        "Of the index.": {"index.html"},
        "Of about.": {"about.html"},
        "Of one layer.": {"layers/stem.conv.html"},
        "Of many layers.": blocks,
        "Of one image.": {"images/disc.html"},
        "Of grids.": drawn,
    }.items():
        assert {name for name in pages if text in pages[name]} == places
    assert list(render(record).warnings) == []


@pytest.mark.parametrize("kind", [kind.name for kind in KINDS])
def test_a_caption_of_a_kind_is_shown_or_warned_about(kind: str) -> None:
    record = make_record(captions={f"figures/{kind}": "Of a kind."})
    shown = any("Of a kind." in text_of(root) for root in pages_of(record).values())
    assert shown or any(f"figures/{kind}" in warning for warning in render(record).warnings)


@pytest.mark.parametrize("place", ["index", "layers/stem.conv", "about", "images/disc"])
def test_a_reference_leads_to_the_page_of_its_layer(place: str) -> None:
    page = {"index": "index.html", "about": "about.html"}.get(place, f"{place}.html")
    root = pages_of(make_record(captions={place: "See [[blocks.0.add|the sum]]."}))[page]
    (link,) = (each for each in root.iter("a") if text_of(each) == "the sum")
    assert link.get("href") == "../" * page.count("/") + "layers/blocks.0.add.html"


def test_a_caption_or_reference_that_leads_nowhere_is_a_warning() -> None:
    captions = {"layers/stem.con": "x", "images/gone": "x", "index": "[[aux]] [[stem.conw]]", "layers/aux": "x"}
    warnings = list(render(make_record(captions=captions)).warnings)
    for text in ("layers/stem.con.md", "images/gone.md", "layers/aux.md", "[[aux]]", "[[stem.conw]]"):
        assert sum(text in warning for warning in warnings) == 1, text
    assert len(warnings) == 5


# The same record gives the same bytes


def test_rendering_twice_gives_the_same_bytes() -> None:
    record = make_record(captions={"layers/*": "[[x]][^1]\n\n[^1]: y"})
    assert dict(render(record).files) == dict(render(record).files)


def test_the_record_on_disk_gives_the_same_pages_as_the_one_in_memory(tiny_report: "Report") -> None:
    again = from_json(to_json(tiny_report.record))
    assert dict(render(again).files) == dict(render(tiny_report.record).files)


def test_rendering_does_not_depend_on_hash_seeds(tmp_path: Path) -> None:
    (tmp_path / "report.json").write_text(to_json(make_record(captions={"layers/*": "[[x]]"})), encoding="utf-8")
    code = (
        "import hashlib, pathlib, sys\n"
        "from reportgen.site import record, render\n"
        "files = render.render(record.read_record(pathlib.Path(sys.argv[1]))).files\n"
        "print(hashlib.sha256(repr(sorted(files.items())).encode()).hexdigest())\n"
    )
    digests = {run(code, str(tmp_path), seed=seed) for seed in ("0", "1", "2")}
    assert len(digests) == 1


def run(code: str, *arguments: str, seed: str = "0") -> str:
    """Run Python code in an interpreter of its own and return what it prints."""
    root = str(Path(sys.modules["reportgen"].__path__[0]).parent)
    environment = {"PYTHONHASHSEED": seed, "PYTHONPATH": root}
    command = [sys.executable, "-c", code, *arguments]
    return subprocess.run(command, env=environment, check=True, capture_output=True, text=True).stdout.strip()


def test_pages_are_made_without_torch(tmp_path: Path) -> None:
    (tmp_path / "report.json").write_text(to_json(make_record()), encoding="utf-8")
    code = (
        "import pathlib, sys\n"
        "import reportgen.site.revision\n"
        "from reportgen.site import record, render\n"
        "render.render(record.read_record(pathlib.Path(sys.argv[1])))\n"
        "print(sorted({'torch', 'torchvision', 'matplotlib', 'numpy', 'PIL'} & set(sys.modules)))\n"
    )
    assert run(code, str(tmp_path)) == "[]"


def test_the_site_tells_nothing_of_the_machine(tiny_report: "Report", tiny_captions: Path) -> None:
    secrets = {str(tiny_report.site.parent), str(tiny_captions.parent), str(Path.home()), str(Path.cwd())}
    for path in tiny_report.site.rglob("*"):
        if path.is_file():
            content = path.read_bytes()
            assert not [secret for secret in secrets if len(secret) > 5 and secret.encode() in content], path


# Words and numbers


@pytest.mark.parametrize(
    ("value", "text"),
    [(None, "undefined"), (0.0, "0"), (-1.23456, "−1.235"), (1e-9, "1e−09"), (12345.6, "1.235e+04")],
)
def test_numbers_have_four_digits_and_a_true_minus(value: float | None, text: str) -> None:
    assert number(value) == text


@pytest.mark.parametrize(
    ("count", "text"), [(0, "0 layers"), (1, "1 layer"), (2, "2 layers"), (12345, "12,345 layers")]
)
def test_counts_agree_with_their_noun(count: int, text: str) -> None:
    assert plural(count, "layer") == text


def test_sizes_have_thousands_separators() -> None:
    assert sized(1234567) == "1,234,567"


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({}, "Conv2d"),
        ({"op": "placeholder", "module_type": ""}, "the network's input"),
        ({"op": "call_function", "module_type": "", "target": "torch._C._nn.avg_pool2d"}, "avg_pool2d"),
        ({"op": "call_method", "module_type": "", "target": "flatten"}, "flatten"),
    ],
)
def test_an_operation_is_named_in_a_word(changes: dict[str, Any], text: str) -> None:
    assert operation(make_layer("x", **changes)) == text


def template_includes() -> Iterator[str]:
    for path in sorted(templates_directory().rglob("*.jinja")):
        yield from re.findall(r'(?:extends|import|include) "([^"]+)"', path.read_text(encoding="utf-8"))
        for listed in re.findall(r"include (\[[^\]]*\])", path.read_text(encoding="utf-8")):
            yield ast.literal_eval(listed.replace("shown.template", "'figures/default.html.jinja'"))[-1]


def test_every_template_that_another_names_exists() -> None:
    names = set(template_includes())
    assert "figures/default.html.jinja" in names
    assert {name for name in names if not (templates_directory() / name).is_file()} == set()


def test_a_network_of_a_thousand_layers_is_rendered() -> None:
    names = [f"blocks.{index // 10}.conv{index % 10}" for index in range(1000)]
    files = render(make_record(chain(names), [make_image("a.png")])).files
    assert len([name for name in files if name.startswith("layers/")]) == 1000


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("fx", "torch.fx, ahead of the run"),
        ("eager", "running the model and following each operation (eager)"),
        ("other", "other"),
    ],
)
def test_the_page_about_the_report_says_how_nodes_were_found_and_why(name: str, words: str) -> None:
    why = "torch.fx: symbolically traced variables cannot be used as inputs to control flow"
    record = with_model(make_record(), tracer=name, tracer_reason=why)
    assert tracer(record.model) == words
    assert f'<dd>{words}<br><span class="quiet">{why}</span></dd>' in render(record).files["about.html"]


# Attention

SVG = "{http://www.w3.org/2000/svg}"
HEADS: dict[str, Any] = {
    "view": "heads", "names": ["0", "1", "mean"], "low": [0.0, 0.01, 0.02], "high": [0.5, None, 0.25],
    "shares": {"class token": [0.125, 0.25, 0.1875]}, "colours": [0.0, None], "cmap": "viridis", "pixels": 1,
    "columns": 2, "rows": 2, "tile_width": 20, "tile_height": 10, "gap": 2,
}  # fmt: skip
ROLLOUT: dict[str, Any] = {
    "view": "rollout", "layers": ["a0", "a1", "a2", "a3", "a4"], "left_out": {"b": "<why>", "c": "x", "d": "x"},
    "low": 0.001, "high": 0.5, "cmap": "viridis", "pixels": 2,
}  # fmt: skip


def attentive() -> Record:
    """A record with attention of one layer, and a rollout of one image."""
    node = make_figure("attention", "stem.conv", "disc", width=42, height=22, data=HEADS)
    rollout = make_figure("attention", None, "disc", data=ROLLOUT)
    bar = make_figure("colour_bar", None, None, width=252, height=1, data={"cmap": "viridis"})
    inputs = [figure for figure in figures_of(LAYERS, IMAGES) if figure.kind == "input"]
    return make_record(
        figures=[*inputs, node, rollout, bar], kinds=[*KINDS, KindEntry("attention", "Attention", 15)]
    )


def test_every_head_has_its_number_on_the_picture_and_its_numbers_below() -> None:
    (figure,) = with_class(pages_of(attentive())["layers/stem.conv.html"], "attention")
    labels = [(text.text, text.get("x"), text.get("y")) for text in figure.iter(f"{SVG}text")]
    assert labels == [("0", "0.0%", "0.0%"), ("1", "52.381%", "0.0%"), ("mean", "0.0%", "54.545%")]
    rows = [[text_of(cell) for cell in row] for row in figure.iter("tr")]
    assert rows == [
        ["Head", "Lowest", "Highest", "To class token"],
        ["0", "0", "0.5", "0.125"],
        ["1", "0.01", "undefined", "0.25"],
        ["mean", "0.02", "0.25", "0.1875"],
    ]
    (ends,) = with_class(figure, "ends")
    assert text_of(ends) == "0its highest"


def test_a_rollout_lists_its_layers_and_those_left_out() -> None:
    (figure,) = with_class(pages_of(attentive())["images/disc.html"], "rollout")
    layers, left_out = (text_of(details) for details in figure.iter("details"))
    assert layers == "5 layersa0, a1, a2, a3, a4"
    assert left_out == "3 layers left outb: <why>c: xd: x"
    assert text_of(with_class(figure, "ends")[0]) == "0.0010.5"


def test_a_site_with_attention_has_no_problems(tmp_path: Path) -> None:
    assert check_site(write_site(attentive(), tmp_path / "site")) == []
