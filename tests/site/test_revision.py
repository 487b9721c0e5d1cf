"""A finished site written again from its record: new words, the same pictures, and all or nothing."""

import dataclasses
import errno
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import html5lib
import pytest
from PIL import Image

import reportgen
from canned import chain, make_figure, make_image, make_layer, make_record, read_tree, write_site
from checker import check_site
from reportgen.errors import InputError, OutputError, ReportError, UsageError
from reportgen.illustrating import encode
from reportgen.site import revision
from reportgen.site.record import IllustrationEntry, ModelEntry, read_record, to_json
from reportgen.site.render import STATIC
from reportgen.site.revision import rewrite
from reportgen.site.theme import Theme
from reportgen.site.writer import MANIFEST, format_manifest

PACKAGE = Path(reportgen.__file__).parent


@pytest.fixture
def site(tmp_path: Path) -> Path:
    """A small site with a caption, at `tmp_path / "site"`."""
    return write_site(make_record(captions={"index": "The old words."}), tmp_path / "site")


def write_captions(directory: Path, **texts: str) -> Path:
    directory.mkdir(exist_ok=True)
    for name, text in texts.items():
        (directory / f"{name}.md").write_text(text, encoding="utf-8")
    return directory


def index_of(site: Path) -> str:
    return (site / "index.html").read_text(encoding="utf-8")


def sign(site: Path, *absent: str) -> None:
    """Write the manifest of what lies in `site`, and of files that do not."""
    sums = {name: hashlib.sha256(content).hexdigest() for name, content in read_tree(site).items()}
    sums.pop(MANIFEST, None)
    (site / MANIFEST).write_text(format_manifest({**sums, **dict.fromkeys(absent, "0" * 64)}), encoding="utf-8")


def refuse(site: Path, error: type[ReportError], **options: Any) -> str:
    """The message with which `site` is refused; nothing beside it, above it or in it may have changed."""
    around = site.parent
    before = read_tree(around)
    with pytest.raises(error) as caught:
        rewrite(site, **options)
    assert read_tree(around) == before
    assert "\n" not in str(caught.value)
    return str(caught.value)


# New words


def test_without_changes_the_same_bytes_are_written(site_copy: Path, tiny_site: Path) -> None:
    rewrite(site_copy)
    assert read_tree(site_copy) == read_tree(tiny_site)


def test_new_captions_replace_the_old_ones(site: Path, tmp_path: Path) -> None:
    captions = write_captions(tmp_path / "captions", index="The *new* words.", about="And more.")
    revision = rewrite(site, captions=captions)
    assert "<em>new</em> words." in index_of(site)
    assert "The old words." not in index_of(site)
    assert "And more." in (site / "about.html").read_text(encoding="utf-8")
    assert read_record(site) == revision.record
    assert revision.record.captions == {"about": "And more.", "index": "The *new* words."}
    assert check_site(site) == []


def test_without_captions_the_old_ones_stay(site: Path) -> None:
    rewrite(site, title="Another title")
    assert "The old words." in index_of(site)


def test_an_empty_directory_takes_the_captions_away(site: Path, tmp_path: Path) -> None:
    rewrite(site, captions=write_captions(tmp_path / "captions"))
    assert "The old words." not in index_of(site)
    assert read_record(site).captions == {}


def write_picture(path: Path, colour: str = "teal", size: tuple[int, int] = (30, 20)) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, colour).save(path)


def pictures_of(site: Path) -> list[str]:
    """The pictures of captions that lie in a site."""
    return sorted(path.name for path in (site / "static").glob("*picture*"))


def shown_on(site: Path, page: str) -> list[str]:
    root = html5lib.parse((site / page).read_text(encoding="utf-8"), namespaceHTMLElements=False)
    return [each.get("src", "") for each in root.iter("img") if each.get("class") == "illustration"]


@pytest.fixture
def illustrated(site: Path, tmp_path: Path) -> Path:
    """The small site with a picture in its caption, from `tmp_path / "captions"`."""
    captions = write_captions(tmp_path / "captions", index="![A square](photos/cat.png)")
    write_picture(captions / "photos/cat.png")
    rewrite(site, captions=captions, encode=encode)
    return site


def test_pictures_of_new_captions_come_into_the_site(illustrated: Path) -> None:
    (name,) = pictures_of(illustrated)
    assert re.fullmatch(r"picture\.[0-9a-f]{10}\.png", name)
    assert shown_on(illustrated, "index.html") == [f"static/{name}"]
    with Image.open(illustrated / "static" / name) as picture:
        assert picture.getcolors() == [(600, (0, 128, 128))]
    assert read_record(illustrated).illustrations == [
        IllustrationEntry("index", "photos/cat.png", f"static/{name}", 30, 20)
    ]
    assert check_site(illustrated) == []


def test_without_captions_pictures_stay(illustrated: Path) -> None:
    before = read_tree(illustrated)
    rewrite(illustrated)
    assert read_tree(illustrated) == before
    rewrite(illustrated, title="Another title", theme=Theme())
    assert shown_on(illustrated, "index.html") == [f"static/{name}" for name in pictures_of(illustrated)]
    assert check_site(illustrated) == []


def test_replaced_pictures_go_and_new_ones_come(illustrated: Path, tmp_path: Path) -> None:
    old = pictures_of(illustrated)
    write_picture(tmp_path / "captions/photos/cat.png", "crimson")
    rewrite(illustrated, captions=tmp_path / "captions", encode=encode)
    assert len(pictures_of(illustrated)) == 1
    assert pictures_of(illustrated) != old
    assert check_site(illustrated) == []
    rewrite(illustrated, captions=write_captions(tmp_path / "none"), encode=encode)
    assert pictures_of(illustrated) == []
    assert read_record(illustrated).illustrations == []
    assert check_site(illustrated) == []


def test_captions_that_share_a_text_show_their_own_pictures(site: Path, tmp_path: Path) -> None:
    captions = write_captions(tmp_path / "captions")
    for place, colour in (("layers/x.md", "teal"), ("images/disc.md", "crimson")):
        write_picture((captions / place).with_name("same.png"), colour)
        (captions / place).write_text("![x](same.png)")
    rewrite(site, captions=captions, encode=encode)
    (one,), (two,) = shown_on(site, "layers/x.html"), shown_on(site, "images/disc.html")
    assert one != two
    assert one.startswith("../static/picture.")
    assert check_site(site) == []


def test_a_picture_that_is_not_there_is_told_again(site: Path, tmp_path: Path) -> None:
    captions = write_captions(tmp_path / "captions", index="![x](gone.png)")
    (told,) = rewrite(site, captions=captions, encode=encode).warnings
    assert told.startswith("captions/index.md: the picture 'gone.png' is not shown")
    assert rewrite(site).warnings == (told,)


def test_a_picture_that_cant_be_used_changes_nothing(site: Path, tmp_path: Path) -> None:
    captions = write_captions(tmp_path / "captions", index="![x](cat.png)")
    (captions / "cat.png").write_bytes(b"no picture")
    told = refuse(site, UsageError, captions=captions, encode=encode)
    assert told.startswith(f"caption '{captions}/index.md': picture 'cat.png' is not an image")


def test_a_site_that_lacks_a_picture_is_refused_unless_new_captions_come(illustrated: Path, tmp_path: Path) -> None:
    (name,) = pictures_of(illustrated)
    (illustrated / "static" / name).unlink()
    assert f"static/{name} of" in refuse(illustrated, InputError)
    rewrite(illustrated, captions=tmp_path / "captions", encode=encode)
    assert pictures_of(illustrated) == [name]
    assert check_site(illustrated) == []


def test_pictures_of_an_anonymous_site_lose_their_names(tmp_path: Path) -> None:
    site = write_site(make_record(options={"anonymous": True}), tmp_path / "site")
    captions = write_captions(tmp_path / "captions", index="![x](canary.png)")
    write_picture(captions / "canary.png")
    reportgen.render(site, captions=captions)
    assert read_record(site).captions == {"index": "![x](picture-1)"}
    assert len(shown_on(site, "index.html")) == 1
    assert not [name for name, content in read_tree(site).items() if b"canary" in content or "canary" in name]


def test_rendering_with_pictures_loads_no_torch(site: Path, tmp_path: Path) -> None:
    captions = write_captions(tmp_path / "captions", index="![x](cat.png)")
    write_picture(captions / "cat.png")
    code = f"import sys, reportgen; reportgen.render({str(site)!r}, captions={str(captions)!r}); "
    code += "print(sorted({name.partition('.')[0] for name in sys.modules} & {'torch', 'matplotlib'}))"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"
    assert len(shown_on(site, "index.html")) == 1


def test_a_new_title_stands_on_every_page(site: Path) -> None:
    rewrite(site, title="Another title")
    assert read_record(site).title == "Another title"
    for page in site.rglob("*.html"):
        text = page.read_text(encoding="utf-8")
        assert "Another title" in text
        assert "Shapes, layer by layer" not in text


def test_what_is_rewritten_can_be_rewritten_back(site: Path) -> None:
    before = read_tree(site)
    rewrite(site, title="Another title")
    rewrite(site, title="Shapes, layer by layer")
    assert read_tree(site) == before


def test_the_pictures_are_not_touched(site: Path) -> None:
    pictures = {path: (path.stat().st_mtime_ns, path.stat().st_ino) for path in site.rglob("*.png")}
    assert pictures
    rewrite(site, title="Another title")
    assert {path: (path.stat().st_mtime_ns, path.stat().st_ino) for path in site.rglob("*.png")} == pictures


def test_it_says_what_it_did(site: Path, tmp_path: Path) -> None:
    captions = write_captions(tmp_path / "captions", indx="x", about="[[gone]]")
    revision = rewrite(site, captions=captions)
    assert revision.pages == len(list(site.rglob("*.html")))
    assert len(revision.warnings) == 2
    assert "indx.md" in revision.warnings[0]
    assert "[[gone]]" in revision.warnings[1]


def test_the_address_is_that_of_the_index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_site(make_record(), tmp_path / "a site")
    monkeypatch.chdir(tmp_path)
    assert rewrite(Path("a site")).address == (tmp_path / "a site" / "index.html").as_uri()


# Stale files


def test_a_page_that_the_record_no_longer_has_is_removed(site: Path) -> None:
    record = read_record(site)
    layers = [dataclasses.replace(each, selected=each.name != "head.fc") for each in record.layers]
    (site / "report.json").write_text(to_json(dataclasses.replace(record, layers=layers)), encoding="utf-8")
    assert (site / "layers" / "head.fc.html").exists()
    rewrite(site)
    assert not (site / "layers" / "head.fc.html").exists()
    assert (site / "layers" / "stem.conv.html").exists()
    assert check_site(site) == []


def test_the_style_sheet_of_another_version_is_removed(site: Path) -> None:
    (site / "static" / "site.0123456789.css").write_text("p {}")
    (site / "static" / "old.0123456789.js").write_text("f()")
    sign(site)
    rewrite(site)
    assert len(list((site / "static").iterdir())) == len(STATIC)
    assert check_site(site) == []


def test_files_of_the_users_stay(site: Path) -> None:
    (site / "layers" / "notes.html").write_text("mine")
    (site / "notes.txt").write_text("mine")
    rewrite(site, title="Another title")
    assert (site / "layers" / "notes.html").read_text() == "mine"
    assert (site / "notes.txt").read_text() == "mine"
    assert "notes" not in (site / MANIFEST).read_text()


def test_nothing_but_the_site_is_left(site: Path, tmp_path: Path) -> None:
    names = set(read_tree(tmp_path))
    rewrite(site, title="Another title")
    assert set(read_tree(tmp_path)) == names


# Sites that were moved


def test_a_moved_site_is_rewritten(site: Path, tmp_path: Path) -> None:
    (tmp_path / "archive").mkdir()
    moved = Path(shutil.move(site, tmp_path / "archive" / "report of 2025"))
    rewrite(moved, title="Another title")
    assert check_site(moved) == []


def test_a_site_behind_a_link_is_rewritten(site: Path, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(site)
    rewrite(tmp_path / "link", title="Another title")
    assert (tmp_path / "link").is_symlink()
    assert "Another title" in index_of(site)


def test_the_command_rewrites_a_moved_site_without_torch(site_copy: Path, tmp_path: Path) -> None:
    moved = Path(shutil.move(site_copy, tmp_path / "moved"))
    captions = write_captions(tmp_path / "captions", index="Words from the command line.", gone="x")
    code = (
        "import sys\n"
        "from reportgen.cli import main\n"
        "code = main(sys.argv[1:])\n"
        "assert not {'torch', 'torchvision', 'matplotlib'} & set(sys.modules)\n"
        "sys.exit(code)\n"
    )
    arguments = ["render", str(moved), "--captions", str(captions), "--title", "Another title"]
    environment = {**os.environ, "PYTHONPATH": str(PACKAGE.parent)}
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "warning: caption gone.md" in done.stderr
    assert done.stderr.splitlines()[-1] == (moved / "index.html").as_uri()
    assert "Words from the command line." in index_of(moved)
    assert check_site(moved) == []


# Sites that are refused


def remove(site: Path) -> None:
    (site / "report.json").unlink()


def cut(site: Path) -> None:
    (site / "report.json").write_bytes((site / "report.json").read_bytes()[:-500])


def empty(site: Path) -> None:
    (site / "report.json").write_text("")


def change_schema(site: Path) -> None:
    values = json.loads((site / "report.json").read_text(encoding="utf-8"))
    (site / "report.json").write_text(json.dumps({**values, "schema": 2}))


def spoil_layers(site: Path) -> None:
    values = json.loads((site / "report.json").read_text(encoding="utf-8"))
    (site / "report.json").write_text(json.dumps({**values, "layers": ["conv"]}))


def spoil_figures(site: Path) -> None:
    values = json.loads((site / "report.json").read_text(encoding="utf-8"))
    for figure in values["figures"]:
        figure["files"] = []
    (site / "report.json").write_text(json.dumps(values))


def spoil_sizes(site: Path) -> None:
    values = json.loads((site / "report.json").read_text(encoding="utf-8"))
    for figure in values["figures"]:
        figure["width"] = figure["height"] = 0
    (site / "report.json").write_text(json.dumps(values))


DAMAGES = [remove, cut, empty, change_schema, spoil_layers, spoil_figures, spoil_sizes]


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_record_is_refused_and_nothing_changes(site: Path, damage: Callable[[Path], None]) -> None:
    damage(site)
    assert str(site) in refuse(site, InputError, title="Another title")


def test_what_is_no_site_is_refused(tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "cat.jpg").write_text("mine")
    assert "not a report" in refuse(tmp_path / "photos", InputError)
    refuse(tmp_path / "gone", InputError)
    refuse(tmp_path / "photos" / "cat.jpg", InputError)


@pytest.mark.parametrize("captions", ["gone", "site/index.html"])
def test_captions_that_cannot_be_read_are_refused(site: Path, tmp_path: Path, captions: str) -> None:
    refuse(site, UsageError, captions=tmp_path / captions)


def test_a_site_without_a_manifest_is_refused(site: Path) -> None:
    (site / MANIFEST).unlink()
    assert MANIFEST in refuse(site, OutputError, title="Another title")


def test_a_site_that_cannot_be_written_is_left_as_it_was(site: Path) -> None:
    shutil.rmtree(site / "layers")
    (site / "layers").write_text("a file is in the way")
    assert "can't be written" in refuse(site, OutputError, title="Another title")


@pytest.mark.parametrize("kind", ["relative", "absolute"])
def test_a_manifest_that_names_a_place_outside_removes_nothing_there(site: Path, tmp_path: Path, kind: str) -> None:
    victim = tmp_path / "victim.html"
    victim.write_text("mine")
    sign(site, "../victim.html" if kind == "relative" else str(victim))
    refuse(site, OutputError, title="Another title")
    assert victim.read_text() == "mine"


@pytest.mark.parametrize("kind", ["relative", "absolute"])
def test_a_record_that_names_a_place_outside_writes_nothing_there(site: Path, tmp_path: Path, kind: str) -> None:
    victim = tmp_path / "victim"
    record = read_record(site)
    slug = "../../victim" if kind == "relative" else str(victim)
    layers = [dataclasses.replace(record.layers[0], slug=slug), *record.layers[1:]]
    (site / "report.json").write_text(to_json(dataclasses.replace(record, layers=layers)), encoding="utf-8")
    refuse(site, InputError)
    assert not victim.with_suffix(".html").exists()


def test_the_function_of_the_package_does_the_same(site: Path, tmp_path: Path) -> None:
    captions = write_captions(tmp_path / "captions", index="New words.")
    revision = reportgen.render(str(site), captions=str(captions), title="Another title")
    assert revision.record.title == "Another title"
    assert "New words." in index_of(site)


# Sites that are not whole


def picture_of(site: Path) -> Path:
    return site / read_record(site).figures[0].files[0]


def test_a_site_without_a_picture_is_refused(site: Path) -> None:
    picture_of(site).unlink()
    message = refuse(site, InputError, title="Another title")
    assert "figures/input/" in message
    assert "1 more" not in message


def test_a_site_without_its_pictures_and_tables_is_refused(tmp_path: Path) -> None:
    figures = [make_figure("grid", None, "disc", downloads=["data/a.csv"])]
    site = write_site(make_record(figures=figures), tmp_path / "site")
    (site / "data" / "a.csv").unlink()
    assert "data/a.csv" in refuse(site, InputError)
    shutil.rmtree(site / "figures")
    assert "and 1 more of 2 files" in refuse(site, InputError)


def test_pages_that_are_gone_are_written_again(site: Path) -> None:
    before = read_tree(site)
    shutil.rmtree(site / "layers")
    shutil.rmtree(site / "static")
    (site / "index.html").unlink()
    rewrite(site)
    assert read_tree(site) == before


def test_a_manifest_that_was_cut_is_refused(site: Path) -> None:
    (site / MANIFEST).write_bytes((site / MANIFEST).read_bytes()[:30])
    assert MANIFEST in refuse(site, OutputError, title="Another title")


def test_a_directory_where_a_page_should_be_is_refused_before_anything_is_replaced(site: Path) -> None:
    page = site / "layers" / "x.html"
    page.unlink()
    page.mkdir()
    assert "can't be written" in refuse(site, OutputError, title="Another title")


@pytest.mark.parametrize("failing", ["open", "mkdir"])
def test_a_site_that_may_only_be_read_is_refused(site: Path, monkeypatch: pytest.MonkeyPatch, failing: str) -> None:
    def denied(path: Path, *_: object, **__: object) -> None:
        raise PermissionError(errno.EACCES, "Permission denied", str(path))

    monkeypatch.setattr(os, failing, denied)
    message = refuse(site, OutputError, title="Another title")
    assert message == f"{site}: can't be written: Permission denied"


def check_rendered_or_refused(site: Path) -> None:
    """What is refused is named, and as it was."""
    before = read_tree(site)
    try:
        rewrite(site)
    except ReportError as error:
        assert str(site) in str(error)
        assert read_tree(site) == before


@pytest.mark.parametrize("part", ["layers", "images", "figures", "kinds", "captions", "options", "title", "model"])
@pytest.mark.parametrize("value", [None, 3, "text", [], [None], [[]], {}, {"a": None}, {"a": {}}, [{"name": 3}]])
def test_a_record_of_anything_is_rendered_or_refused(site: Path, part: str, value: object) -> None:
    values = json.loads((site / "report.json").read_text(encoding="utf-8"))
    (site / "report.json").write_text(json.dumps({**values, part: value}), encoding="utf-8")
    check_rendered_or_refused(site)


@pytest.mark.parametrize("part", ["layers", "images", "figures", "kinds"])
@pytest.mark.parametrize("value", [None, 3, "text", [None], {"a": 1}])
def test_an_entry_of_anything_is_rendered_or_refused(site: Path, part: str, value: object) -> None:
    text = (site / "report.json").read_text(encoding="utf-8")
    for key in json.loads(text)[part][0]:
        values = json.loads(text)
        values[part][0][key] = value
        (site / "report.json").write_text(json.dumps(values), encoding="utf-8")
        check_rendered_or_refused(site)


def test_an_error_in_pages_of_an_untouched_record_is_a_bug(site: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> None:
        raise KeyError("a slip of ours")

    monkeypatch.setattr(revision, "render", broken)
    with pytest.raises(KeyError):
        rewrite(site)


# Templates


def own_templates(directory: Path, text: str = "<!doctype html><p>{{ record.title }}</p>") -> Theme:
    directory.mkdir(exist_ok=True)
    (directory / "about.html.jinja").write_text(text, encoding="utf-8")
    return Theme(directory)


def test_templates_are_used_and_named_in_the_record(site: Path, tmp_path: Path) -> None:
    revision = rewrite(site, theme=own_templates(tmp_path / "house"), title="Mine")
    assert (site / "about.html").read_text() == "<!doctype html><p>Mine</p>\n"
    assert revision.record.options["templates"] == "house"
    assert str(tmp_path) not in (site / "report.json").read_text()


def test_a_site_with_templates_of_its_own_must_be_told_about_them(site: Path, tmp_path: Path) -> None:
    rewrite(site, theme=own_templates(tmp_path / "house"))
    message = refuse(site, UsageError, title="Another title")
    assert "'house'" in message
    assert "--templates none" in message
    rewrite(site, theme=own_templates(tmp_path / "house"), title="Another title")
    assert "Another title" in (site / "about.html").read_text()


def test_the_built_in_templates_come_back(site: Path, tmp_path: Path) -> None:
    before = read_tree(site)
    rewrite(site, theme=own_templates(tmp_path / "house"))
    reportgen.render(site, templates="none")
    changed = {name for name, content in read_tree(site).items() if content != before[name]}
    assert changed == {"report.json", MANIFEST}
    assert read_record(site).options["templates"] is None
    assert "house" not in (site / "about.html").read_text()


def test_a_template_that_fails_changes_nothing(site: Path, tmp_path: Path) -> None:
    theme = own_templates(tmp_path / "house", "\n{{ nothing }}")
    assert "about.html.jinja: line 2: 'nothing' is undefined" in refuse(site, UsageError, theme=theme)


def test_numbers_stay_whatever_is_rewritten(site: Path, tmp_path: Path) -> None:
    def numbers() -> dict[str, list[str]]:
        pages = {path: path.read_text(encoding="utf-8") for path in (site / "layers").iterdir()}
        return {path.name: re.findall(r'id="_fig-\d+"|Figure \d+', text) for path, text in pages.items()}

    before = numbers()
    assert any(before.values())
    captions = write_captions(tmp_path / "captions", index="New [[fig:channel_grid]].")
    rewrite(site, theme=own_templates(tmp_path / "house"), title="Another title", captions=captions)
    assert numbers() == before


# The address on the web

HERE = "https://example.org/a/report/"


def test_addresses_on_the_web_come_and_go(site: Path) -> None:
    before = read_tree(site)
    reportgen.render(site, base_url=HERE)
    assert check_site(site, HERE) == []
    assert f'<meta property="og:url" content="{HERE}layers/stem.conv.html">' in (
        (site / "layers" / "stem.conv.html").read_text(encoding="utf-8")
    )
    reportgen.render(site, title="Another title")
    assert check_site(site, HERE) == []
    reportgen.render(site, base_url="none", title="Shapes, layer by layer")
    assert check_site(site) == []
    changed = {name for name, content in read_tree(site).items() if content != before[name]}
    assert changed <= {"report.json", MANIFEST}


def test_what_is_no_address_changes_nothing(site: Path) -> None:
    before = read_tree(site)
    with pytest.raises(UsageError, match="base_url"):
        reportgen.render(site, base_url="example.org")
    assert read_tree(site) == before


# Hostile words

WORDS = {
    "HTML": "</title><script>alert(1)</script>\"'><img src=x onerror=alert(1)>&lt;{{ 7 * 7 }}",
    "emoji": "👩🏽‍🔬🏳️‍🌈",
    "right to left": "שלום \u202eعالم",
    "long": "x" * 300,
    "long words": "ein Wort " * 34,
}


@pytest.mark.parametrize("case", WORDS)
def test_any_words_make_a_site_without_problems(tmp_path: Path, case: str) -> None:
    word = WORDS[case]
    layers = chain([make_layer(f"a.{word}", module_type=word, title=word), make_layer(word, target=word)])
    images = [make_image(f"{word}.png")]
    captions = {
        "index": word,
        f"layers/{word}": word,
        f"images/{images[0].id}": f"[[{word}]] [[fig:input/{word}.png]]",
    }
    record = make_record(layers, images, captions=captions, title=word, model=with_model_class(word))
    site = write_site(record, tmp_path / "site")
    rewrite(site, title=f"new {word}")
    assert check_site(site) == []
    for page in site.rglob("*.html"):
        root = html5lib.parse(page.read_text(encoding="utf-8"), namespaceHTMLElements=False)
        (home,) = (each for each in root.iter("a") if each.get("class") == "home")
        assert home.text == f"new {word}"
        assert all(
            (script.get("src") or "").startswith(("static/", "../static/")) for script in root.iter("script")
        )
        told = {meta.get("property"): meta.get("content") for meta in root.iter("meta")}
        assert f"new {word}" in str(told["og:title"])


def with_model_class(word: str) -> ModelEntry:
    return dataclasses.replace(make_record().model, class_name=word, spec=word, weights=word)


# What is loaded

LOADED = """
import sys
from reportgen.cli import main
code = main(sys.argv[1:])
print(sorted({"torch", "torchvision", "matplotlib", "numpy", "PIL"} & set(sys.modules)))
sys.exit(code)
"""


def test_many_pages_are_written_without_torch(tmp_path: Path) -> None:
    # How long hundreds take is measured by tests/bench/publishing.py.
    layers = chain(f"blocks.{number // 10}.conv{number % 10}" for number in range(25))
    text = "About [[blocks.0.conv1]]: **bold**, [[fig:channel_grid]].\n\n| a | b |\n|---|--:|\n| 1 | 2 |\n"
    captions = dict.fromkeys(["index", "about", "layers/*", "figures/channel_grid", "figures/channel_sum"], text)
    images = [make_image(f"{number}.png") for number in range(4)]
    site = write_site(make_record(layers, images, captions=captions), tmp_path / "site")
    assert len(list(site.rglob("*.html"))) > 30
    command = [sys.executable, "-c", LOADED, "render", str(site), "--title", "Another title", "--quiet"]
    environment = {**os.environ, "PYTHONPATH": str(PACKAGE.parent)}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == ["[]"]
    assert "Another title" in index_of(site)
