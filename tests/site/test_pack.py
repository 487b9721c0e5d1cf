"""A site as one file: nothing is missing in it, nothing is loaded, and nothing is lost on the way."""

import hashlib
import io
import json
import os
import re
import shutil
import subprocess
import tracemalloc
import zipfile
from pathlib import Path
from xml.etree.ElementTree import Element

import pytest
from PIL import Image

import reportgen
from canned import (
    chain,
    make_figure,
    make_image,
    make_layer,
    make_record,
    read_tree,
    sign_site,
    with_model,
    write_site,
)
from checker import check_site
from packed import check_packed, content_of, elements, embedded, parse, sections
from reportgen.errors import InputError, OutputError, UsageError
from reportgen.site.inlining import data_block, script_text
from reportgen.site.one_file import _FIT
from reportgen.site.pack import plan
from reportgen.site.render import templates_directory
from reportgen.site.rewriting import Content, Holdings, Picture, Rewriter
from reportgen.site.source import open_site
from reportgen.site.writer import MANIFEST

TABLE = re.compile(r"(\.\./)*data/.*(csv|json)$")
HOSTILE = (
    "\"'><script>alert(1)</script><img src=x onerror=alert(1)>&lt;</title></section></main></style>{{ 7 * 7 }}<!--"
)
CAPTION = (
    f'# A head\n\n{HOSTILE}\n\n[a > b](https://example.org/?a=1&b=2 "it\'s > that") [[stem.conv]] `<main>` &amp;lt;'
    "[^1]\n\n[^1]: A note.\n\n<a href='https://example.org/' title='a > b'>here</a>\n"
)


@pytest.fixture(scope="module")
def hostile_site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    layers = chain([
        make_layer("x"), make_layer("stem.conv"), make_layer(f"blocks.{HOSTILE}", title=HOSTILE, detail=HOSTILE),
        make_layer("a.html", status="failed", reason=HOSTILE),
    ])  # fmt: skip
    images = [make_image("cat.png", note=HOSTILE), make_image(f"{HOSTILE}.png".replace("/", "-"))]
    record = make_record(
        layers,
        images,
        captions=dict.fromkeys(("index", "about", "layers/*", "images/cat", "figures/channel_grid"), CAPTION),
        title=HOSTILE,
        generator=f"reportgen {HOSTILE}",
    )
    return write_site(
        with_model(record, spec=HOSTILE, weights=HOSTILE), tmp_path_factory.mktemp("hostile") / "site"
    )


@pytest.fixture(scope="module", params=["tiny", "hostile", "canned"])
def site(request: pytest.FixtureRequest) -> Path:
    return Path(request.getfixturevalue(f"{request.param}_site"))


@pytest.fixture(scope="module")
def packed(site: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The site in one file. It is shared: read it only."""
    return reportgen.pack(site, tmp_path_factory.mktemp("packed") / "report.html").path


# One document


def test_nothing_is_missing_ambiguous_or_loaded(packed: Path) -> None:
    assert check_packed(packed) == []


def test_every_page_is_in_it_as_it_was(site: Path, packed: Path) -> None:
    found = sections(parse(packed.read_text(encoding="utf-8")))
    pages = {path.relative_to(site).as_posix(): path for path in site.rglob("*.html")}
    assert found.keys() == pages.keys()
    for name, path in pages.items():
        root = parse(path.read_text(encoding="utf-8"))
        (main,) = (element for element in elements(root) if element.tag == "main")
        assert outline(found[name]) == outline(main), name


def test_a_picture_of_several_captions_keeps_its_title(tiny_site: Path, tmp_path: Path) -> None:
    reportgen.pack(tiny_site, tmp_path / "r.html")
    root = parse((tmp_path / "r.html").read_text(encoding="utf-8"))
    drawn = [each for each in elements(root) if "illustration" in each.get("class", "").split()]
    assert len(drawn) > 1
    for each in drawn:
        assert (each.tag, each.get("aria-label")) == ("svg", "a ring")
        assert [child.text for child in each if child.tag == "title"] == ["It goes around"]
        assert not {"title", "loading", "decoding"} & each.attrib.keys()


def outline(root: Element) -> list[tuple[str, ...]]:
    """Each element with what a reader or a screen reader makes of it, in order, and all text between."""
    lines: list[tuple[str, ...]] = []

    def walk(element: Element) -> None:
        offered = element.get("href", "")
        if element.tag == "script":
            pass  # it stands at the end of the document, where it runs once
        elif element.tag == "img" or "picture" in element.get("class", "").split():
            names = set(element.get("class", "").split()) - {"picture"}
            alt = element.get("alt") or element.get("aria-label") or ""
            lines.append(("img", alt, element.attrib["width"], element.attrib["height"], *sorted(names)))
        elif "download" not in element.attrib or offered.startswith("data:") or TABLE.match(offered):
            tag = "section" if element.tag == "main" else element.tag
            lines.append((tag, element.get("class", ""), element.text or ""))
            for child in element:
                walk(child)
        lines.append(("text", element.tail or ""))

    walk(root)
    joined: list[tuple[str, ...]] = []
    for line in lines[:-1]:
        if line[0] == "text" and joined and joined[-1][0] == "text":
            joined[-1] = ("text", joined[-1][1] + line[1])
        else:
            joined.append(line)
    return [line for line in joined if line != ("text", "")]


def test_each_picture_is_held_once_and_is_the_file(site: Path, packed: Path) -> None:
    root = parse(packed.read_text(encoding="utf-8"))
    held = [hashlib.sha256(content_of(address)).hexdigest() for address in embedded(root)]
    shown = set()
    for page in site.rglob("*.html"):
        for address in re.findall(r'<img [^>]*?src="([^"]+)"', page.read_text(encoding="utf-8")):
            shown.add((page.parent / address).resolve())
    assert sorted(held) == sorted(hashlib.sha256(path.read_bytes()).hexdigest() for path in shown)


def test_a_picture_leads_to_the_one_that_its_page_showed(tiny_site: Path, tmp_path: Path) -> None:
    reportgen.pack(tiny_site, tmp_path / "r.html")
    root = parse((tmp_path / "r.html").read_text(encoding="utf-8"))
    store = {element.attrib["id"]: element.attrib["href"] for element in elements(root) if element.tag == "image"}
    assert store
    for name, section in sections(root).items():
        page = tiny_site / name
        files = re.findall(r'<img [^>]*?src="([^"]+)"', page.read_text(encoding="utf-8"))
        drawn = [
            element.get("src") or store[element.attrib["href"][1:]]
            for element in elements(section)
            if element.tag in ("img", "use")
        ]
        assert [content_of(address) for address in drawn] == [(page.parent / file).read_bytes() for file in files]


def test_links_lead_to_the_same_places(tiny_site: Path, tmp_path: Path) -> None:
    reportgen.pack(tiny_site, tmp_path / "r.html")
    root = parse((tmp_path / "r.html").read_text(encoding="utf-8"))
    layer = sections(root)["layers/stem.conv.html"]
    links = [element.get("href") for element in elements(layer) if element.tag == "a" and element.get("href")]
    assert "#layers/stem.relu.html/" in links
    assert "#images/disc.html/" in links
    assert "#layers/stem.conv.html/disc" in links
    image = sections(root)["images/disc.html"]
    assert "#layers/stem.conv.html/disc" in [element.get("href") for element in elements(image)]


def test_small_tables_can_be_saved_from_it_and_the_rest_is_said_to_lack(tiny_site: Path, tmp_path: Path) -> None:
    reportgen.pack(tiny_site, tmp_path / "r.html")
    root = parse((tmp_path / "r.html").read_text(encoding="utf-8"))
    saved = {
        element.attrib["download"]: content_of(element.attrib["href"])
        for element in elements(root)
        if "download" in element.attrib
    }
    assert saved["layers.csv"] == (tiny_site / "data" / "layers.csv").read_bytes()
    assert all(name.endswith((".csv", ".json")) for name in saved)
    (note,) = (element for element in elements(root) if element.get("class") == "packed")
    lacking = [path for path in tiny_site.rglob("*") if path.suffix in (".svg", ".pdf")]
    assert f"{sum(path.suffix == '.svg' for path in lacking)} SVG" in (note.text or "")


def test_the_estimate_is_exact(site: Path, tmp_path: Path) -> None:
    for name in ("r.html", "r.zip"):
        told: list[str] = []
        packed = reportgen.pack(site, tmp_path / name, say=told.append)
        assert packed.estimated == packed.bytes == (tmp_path / name).stat().st_size
        assert told == [told[0]]
        assert told[0].startswith(f"about {packed.bytes / 1e6:.1f}" if packed.bytes > 1e5 else "about 0.0")


def test_two_documents_of_one_site_are_the_same(tiny_site: Path, tmp_path: Path) -> None:
    for name in ("a.html", "b.html"):
        reportgen.pack(tiny_site, tmp_path / name)
    assert (tmp_path / "a.html").read_bytes() == (tmp_path / "b.html").read_bytes()


def test_memory_does_not_grow_with_the_number_of_pictures(tmp_path: Path) -> None:
    def peak(count: int) -> int:
        images = [make_image(f"i{number}.png") for number in range(count)]
        figures = [make_figure("channel_grid", "x", image.id, width=600, height=400) for image in images]
        site = write_site(make_record(chain(["x"]), images, figures=figures), tmp_path / f"site{count}")
        for figure in figures:
            noise = Image.frombytes("L", (600, 400), os.urandom(240_000))
            noise.save(site / figure.files[0], compress_level=0)
        sign_site(site)
        tracemalloc.start()
        reportgen.pack(site, tmp_path / f"{count}.html")
        used = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert (tmp_path / f"{count}.html").stat().st_size > count * 320_000
        return used

    assert peak(40) < peak(10) + 1_500_000  # thirty more pictures are 7.2 MB


# Its parts


def rewritten(html: str, *, downloads: tuple[str, ...] = ()) -> str:
    holdings = Holdings(("layers/a.html", "index.html"), downloads)
    pieces = Rewriter("layers/a.html", holdings).rewrite(html)
    return "".join(
        piece if isinstance(piece, str) else f"[{piece.file}]" if isinstance(piece, Content) else "[picture]"
        for piece in pieces
    )


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ('<p id="x">a &amp; b &lt;c&gt; &#39;</p>', '<p id="layers/a.html/x">a &amp; b &lt;c&gt; &#39;</p>'),
        ('<a href="#x">', '<a href="#layers/a.html/x">'),
        ('<a href="../index.html">', '<a href="#index.html/">'),
        ('<a href="../index.html#a%20%C3%BC&amp;">', '<a href="#index.html/a%20%C3%BC%26">'),
        ('<a href="https://example.org/?a&amp;b#c">', '<a href="https://example.org/?a&amp;b#c">'),
        ('<a href="mailto:a@example.org">', '<a href="mailto:a@example.org">'),
        ('<a class="m" href="../figures/a.png">t</a>', '<a class="m">t</a>'),
        ('<p><a href="../figures/a.svg" download>SVG <b>x</b></a>.</p>', "<p>.</p>"),
        ('<a href="../data/a.csv" download>CSV</a>', '<a href="[data/a.csv]" download="a.csv">CSV</a>'),
        ('<p aria-labelledby="a b">', '<p aria-labelledby="layers/a.html/a layers/a.html/b">'),
        ('<rect fill="url(#a)"/>', '<rect fill="url(#layers/a.html/a)"/>'),
        ('<script>if (a<b) "</p>"</script><style>p{}</style>t', "t"),
        ('<p title="a > b" data-x=\'"\'>', '<p title="a &gt; b" data-x="&quot;">'),
        ("<img src=a.png alt=x>", "[picture]"),
        ('<img src="data:image/png;base64,AA==" alt="">', '<img src="data:image/png;base64,AA==" alt="">'),
        ("<!-- <b> -->t", "t"),
        ("<details open><input disabled></details>", "<details open><input disabled></details>"),
        (
            '<main id="m" data-page="p">t</main>',
            '<section id="layers/a.html/" data-page="p" data-prefix="layers/a.html/" data-title="">t</section>',
        ),
    ],
)  # fmt: skip
def test_an_element_becomes_part_of_the_document(before: str, after: str) -> None:
    assert rewritten(before, downloads=("data/a.csv",)) == after


def test_a_picture_knows_what_it_stands_in() -> None:
    holdings = Holdings((), ())
    image = '<img src="../figures/i%20.png" alt="" id="p" loading="lazy">'
    html = f'<nav class="jump big"><a>{image}</a></nav><img src="b.png">'
    first, second = (
        piece for piece in Rewriter("layers/a.html", holdings).rewrite(html) if isinstance(piece, Picture)
    )
    attributes = (("alt", ""), ("id", "layers/a.html/p"), ("loading", "lazy"))
    assert first == Picture("figures/i .png", attributes, frozenset({"jump", "big"}))
    assert second == Picture("layers/b.png", (), frozenset())


def test_drawn_pictures_fill_their_places_as_the_style_says() -> None:
    sheet = (templates_directory() / "static" / "site.css").read_text(encoding="utf-8").partition("@media print")[0]
    fitted = dict(re.findall(r"\.([\w-]+)(?: img)? \{[^}]*object-fit: (\w+)", sheet))
    assert len(fitted) == len(re.findall("object-fit", sheet))
    del fitted["cka-two"]  # a script makes these pictures, so they are never drawn
    assert {name: {"contain": "xMidYMid meet", "cover": "xMidYMid slice"}[fit] for name, fit in fitted.items()} == {
        **_FIT,
        "clip": "xMidYMid slice",
    }  # of which the style shows the left end


def test_a_data_script_becomes_json_that_nothing_ends() -> None:
    values = [["</script><!--", 1.5, None], {"a\u2028": "ü"}]
    text = f"reportgen.matrix.set({json.dumps(values[0])},\n{json.dumps(values[1])});\n"
    block = data_block("data/a.js", text)
    (script,) = (element for element in elements(parse(block)) if element.tag == "script")
    assert json.loads(script.text or "") == values
    assert script.attrib == {"type": "application/json", "data-file": "data/a.js", "data-call": "matrix.set"}


@pytest.mark.parametrize("text", ["reportgen.layers = [1];", "reportgen.a(b);", "x.a(1);", "reportgen.a(1); b(2);"])
def test_what_is_more_than_data_is_no_data_script(text: str) -> None:
    assert data_block("a.js", text) == ""


def test_a_script_cannot_end_its_element() -> None:
    text = 'const a = "</script><!-- </SCRIPT>"; a < b; a</script/.b'
    assert re.findall("</script|<!--", script_text(text), re.IGNORECASE) == []
    assert "a < b" in script_text(text)


# An archive


def test_the_archive_is_the_site_in_one_folder(site: Path, tmp_path: Path) -> None:
    reportgen.pack(site, tmp_path / "my report.zip")
    with zipfile.ZipFile(tmp_path / "my report.zip") as archive:
        assert archive.testzip() is None
        archive.extractall(tmp_path / "out")
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["my report"]
    assert read_tree(tmp_path / "out" / "my report") == read_tree(site)


def test_the_archive_does_not_tell_when_or_by_whom_it_was_made(site_copy: Path, tmp_path: Path) -> None:
    reportgen.pack(site_copy, tmp_path / "r.zip")
    first = (tmp_path / "r.zip").read_bytes()
    other = Path(shutil.copytree(site_copy, tmp_path / "elsewhere" / "other"))
    for number, path in enumerate(sorted(other.rglob("*"))):
        os.utime(path, (10**9 + number, 10**9))
        path.chmod(0o700 if path.is_dir() else 0o600)
    before = os.umask(0o077)
    try:
        reportgen.pack(other, tmp_path / "elsewhere" / "r.zip")
    finally:
        os.umask(before)
    assert (tmp_path / "elsewhere" / "r.zip").read_bytes() == first


def test_the_archive_holds_no_file_that_is_not_the_sites(site_copy: Path, tmp_path: Path) -> None:
    (site_copy / "notes.txt").write_text("mine")
    reportgen.pack(site_copy, tmp_path / "r.zip")
    with zipfile.ZipFile(tmp_path / "r.zip") as archive:
        assert "r/notes.txt" not in archive.namelist()


def test_other_programs_can_check_it(tiny_site: Path, tmp_path: Path) -> None:
    unzip, sha = shutil.which("unzip"), shutil.which("sha256sum")
    if not unzip or not sha:
        pytest.skip("needs unzip and sha256sum")
    reportgen.pack(tiny_site, tmp_path / "r.zip")
    subprocess.run([unzip, "-q", "r.zip"], cwd=tmp_path, check=True)
    subprocess.run([sha, "--check", "--quiet", "--strict", MANIFEST], cwd=tmp_path / "r", check=True)
    assert check_site(tmp_path / "r") == []


# What can go wrong


def refuse(error: type[Exception], site: Path, out: Path, **options: object) -> str:
    """The message of the error; nothing may have changed at or beside the site and the output."""
    before = read_tree(out.parent)
    with pytest.raises(error) as caught:
        reportgen.pack(site, out, **options)  # type: ignore[arg-type]
    assert read_tree(out.parent) == before
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("name", ["r.html", "r.zip"])
def test_files_that_are_missing_or_changed_are_named(site_copy: Path, tmp_path: Path, name: str) -> None:
    grids = sorted((site_copy / "figures" / "channel_grid").rglob("*.png"))
    for path in grids[:5]:
        path.unlink()
    (site_copy / "about.html").write_text("<main>", encoding="utf-8")
    message = refuse(InputError, site_copy, tmp_path / name)
    assert "5 files missing" in message
    assert grids[0].relative_to(site_copy).as_posix() in message
    assert "and 2 more" in message
    assert "1 file changed since they were written (about.html)" in message


def test_what_is_no_report_is_refused(tmp_path: Path, site_copy: Path) -> None:
    assert "report.json" in refuse(InputError, tmp_path / "nothing", tmp_path / "r.html")
    (site_copy / MANIFEST).unlink()
    assert MANIFEST in refuse(InputError, site_copy, tmp_path / "r.html")


@pytest.mark.parametrize("name", ["r.html", "r.zip"])
def test_a_file_that_goes_away_meanwhile_leaves_nothing(
    site_copy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    picture = next((site_copy / "figures" / "channel_sum").rglob("*.png"))
    source = open_site(site_copy)
    packing = plan(source, tmp_path / name)
    picture.unlink()
    from reportgen.site.pack import write

    with pytest.raises(InputError, match=picture.name):
        write(packing, tmp_path / name, site_copy, force=False)
    assert {path.name for path in tmp_path.iterdir()} == {"site"}


def test_the_name_says_the_form(canned_site: Path, tmp_path: Path) -> None:
    assert ".html or .zip" in refuse(UsageError, canned_site, tmp_path / "r.pdf")


@pytest.mark.parametrize("name", ["r.html", "r.zip"])
def test_only_what_was_packed_before_is_replaced(canned_site: Path, tmp_path: Path, name: str) -> None:
    out = tmp_path / name
    out.write_text("<!doctype html>mine", encoding="utf-8")
    assert "was not made by reportgen pack" in refuse(OutputError, canned_site, out)
    first = reportgen.pack(canned_site, out, force=True)
    assert reportgen.pack(canned_site, out).bytes == first.bytes
    assert list(tmp_path.iterdir()) == [out]


def test_a_directory_or_a_link_is_not_replaced(canned_site: Path, tmp_path: Path) -> None:
    (tmp_path / "a.html").mkdir()
    (tmp_path / "b.html").symlink_to(tmp_path / "a.html")
    for name in ("a.html", "b.html"):
        refuse(OutputError, canned_site, tmp_path / name, force=True)


def test_the_file_may_not_lie_in_the_site(site_copy: Path) -> None:
    assert "inside the site" in refuse(OutputError, site_copy, site_copy / "r.html")


@pytest.mark.parametrize("name", ["r.html", "r.zip"])
def test_a_full_disk_leaves_what_was_there(
    canned_site: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    reportgen.pack(canned_site, tmp_path / name)
    full = Path("/dev/full")
    if not full.exists():
        pytest.skip("needs /dev/full")
    opened = Path.open

    def on_a_full_disk(path: Path, mode: str = "r", **options: object) -> io.IOBase:
        if mode != "xb":
            return opened(path, mode, **options)  # type: ignore[call-overload,no-any-return]
        path.touch()
        return opened(full, "wb", buffering=0)

    monkeypatch.setattr(Path, "open", on_a_full_disk)
    message = refuse(OutputError, canned_site, tmp_path / name)
    assert "No space left" in message


def test_directories_are_made_for_it_and_taken_away_when_it_fails(site_copy: Path, tmp_path: Path) -> None:
    reportgen.pack(site_copy, tmp_path / "a" / "b" / "r.html")
    assert (tmp_path / "a" / "b" / "r.html").is_file()


def test_a_page_without_main_is_named(tmp_path: Path) -> None:
    site = write_site(make_record(), tmp_path / "site")
    (site / "about.html").write_text("<!doctype html><title>x</title><p>no main", encoding="utf-8")
    sign_site(site)
    assert "about.html: has no element main" in refuse(InputError, site, tmp_path / "r.html")


def test_a_picture_that_no_manifest_lists_is_named(tmp_path: Path) -> None:
    site = write_site(make_record(), tmp_path / "site")
    page = (site / "about.html").read_text(encoding="utf-8")
    (site / "about.html").write_text(page.replace("</main>", '<img src="x.png"></main>'), encoding="utf-8")
    sign_site(site)
    assert "x.png" in refuse(InputError, site, tmp_path / "r.html")
