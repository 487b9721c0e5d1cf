"""A user's templates: single ones replace the built-in ones, and what is wrong is told by file and line."""

import hashlib
import re
from pathlib import Path

import pytest

from canned import KINDS, make_figure, make_record, write_site
from checker import check_site
from reportgen.errors import UsageError
from reportgen.site.record import KindEntry, Record
from reportgen.site.render import Rendered, check_theme, render
from reportgen.site.revision import rewrite
from reportgen.site.theme import Theme, templates_directory


@pytest.fixture
def house(tmp_path: Path) -> Path:
    (tmp_path / "house").mkdir()
    return tmp_path / "house"


def put(house: Path, name: str, text: str | bytes) -> Path:
    path = house / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return path


def dressed(house: Path, record: Record | None = None) -> Rendered:
    return render(record or make_record(), Theme(house))


# Replacing


def test_an_empty_directory_changes_nothing(house: Path) -> None:
    assert dressed(house).contents == render(make_record()).contents
    assert not dressed(house).warnings


def test_one_template_is_replaced_and_the_others_stay(house: Path) -> None:
    put(house, "figures/channel_grid.html.jinja", "<figure>mine: {{ shown.figure.caption }}</figure>\n")
    plain, own = render(make_record()).files, dressed(house).files
    changed = {name for name in plain if plain[name] != own[name]}
    assert changed == {name for name in plain if "The channel_grid of" in plain[name]}
    assert "<figure>mine: The channel_grid of stem.conv for disc.</figure>" in own["layers/stem.conv.html"]
    assert "The channel_sum of stem.conv for disc." in own["layers/stem.conv.html"]


def test_a_template_may_extend_the_one_that_it_replaces(house: Path, tmp_path: Path) -> None:
    put(
        house, "index.html.jinja",
        '{% extends "builtin/index.html.jinja" %}{% block main %}<p>Above.</p>{{ super() }}{% endblock %}',
    )  # fmt: skip
    index = dressed(house).files["index.html"]
    assert "<p>Above.</p>" in index
    assert '<h2 id="layers">Layers</h2>' in index


def test_a_template_may_include_one_of_its_own(house: Path) -> None:
    put(house, "figures/input.html.jinja", '{% include "mine/part.html.jinja" %}')
    put(house, "mine/part.html.jinja", "<p>part of {{ shown.figure.kind }}</p>")
    rendered = dressed(house)
    assert "<p>part of input</p>" in rendered.files["images/disc.html"]
    assert not rendered.warnings


def test_a_kind_of_another_package_may_have_a_template(house: Path) -> None:
    put(house, "figures/novel.html.jinja", "<p>a novel figure</p>")
    record = make_record(figures=[make_figure("novel", None, "disc")], kinds=[*KINDS, KindEntry("novel", "N", 3)])
    rendered = dressed(house, record)
    assert "<p>a novel figure</p>" in rendered.files["images/disc.html"]
    assert not rendered.warnings


def test_texts_are_escaped_in_a_users_templates(house: Path) -> None:
    put(
        house, "about.html.jinja", '{% extends "base.html.jinja" %}{% block main %}{{ record.title }}{% endblock %}'
    )
    about = dressed(house, make_record(title="<b>")).files["about.html"]
    assert "&lt;b&gt;</main>" in about
    assert "<b>" not in about


# Static files


def test_a_style_sheet_is_replaced(house: Path) -> None:
    put(house, "static/site.css", "body { color: red }")
    rendered = dressed(house)
    digest = hashlib.sha256(b"body { color: red }").hexdigest()[:10]
    assert rendered.files[f"static/site.{digest}.css"] == "body { color: red }"
    sheets = re.findall(r'<link rel="stylesheet" href="([^"]+)">', rendered.files["index.html"])
    assert sheets == [f"static/site.{digest}.css"]


def test_a_further_style_sheet_comes_after_the_built_in_one(house: Path) -> None:
    put(house, "static/a.css", "p { margin: 0 }")
    sheets = re.findall(r'<link rel="stylesheet" href="([^"]+)">', dressed(house).files["index.html"])
    assert [re.sub(r"\.[0-9a-f]{10}", "", sheet) for sheet in sheets] == ["static/site.css", "static/a.css"]


def test_files_that_style_sheets_and_templates_name_are_found(house: Path, tmp_path: Path) -> None:
    put(house, "static/house.css", "h1 { background: url('img/dot.png'); } h2 { background: url(data:,) }")
    put(house, "static/deep/more.css", 'h1 { background: url("../img/dot.png?a#b") } p { src: url(gone.png) }')
    put(house, "static/img/dot.png", b"\x89PNG\xff")
    put(house, "static/lone.svg", "<svg></svg>")
    put(
        house, "figures/input.html.jinja",
        '<img src="{{ root }}{{ static("lone.svg") }}" alt="" width="1" height="1">',
    )  # fmt: skip
    site = write_site(make_record(), tmp_path / "site")
    assert rewrite(site, theme=Theme(house)).warnings == ()
    (dot,) = (site / "static/img").iterdir()
    assert dot.read_bytes() == b"\x89PNG\xff"
    (sheet,) = (site / "static").glob("house.*.css")
    assert sheet.read_text() == f"h1 {{ background: url('img/{dot.name}'); }} h2 {{ background: url(data:,) }}"
    (deep,) = (site / "static/deep").iterdir()
    assert deep.read_text() == f'h1 {{ background: url("../img/{dot.name}?a#b") }} p {{ src: url(gone.png) }}'
    assert check_site(site) == [f"static/deep/{deep.name}: 'gone.png' leads to no file of the site"]
    rewrite(site, theme=Theme())
    left = {path.relative_to(site).as_posix() for path in (site / "static").rglob("*") if path.is_file()}
    assert left == {name for name in render(make_record()).files if name.startswith("static/")}


def test_a_static_file_that_is_not_there_is_told(house: Path) -> None:
    put(house, "about.html.jinja", '\n{{ static("site.cs") }}')
    with pytest.raises(UsageError, match=r"about\.html\.jinja: line 2: .*'site\.cs'; did you mean site\.css"):
        dressed(house)


@pytest.mark.parametrize("name", ["_a.css", "a b.png", "dir/-x.css", "ü.css"])
def test_names_that_a_site_cannot_have_are_refused(house: Path, name: str) -> None:
    put(house, f"static/{name}", "")
    with pytest.raises(UsageError, match="rename it"):
        dressed(house)


def test_hidden_files_are_passed_over(house: Path) -> None:
    put(house, "static/.DS_Store", b"\xff")
    put(house, ".git/config", "x")
    assert dressed(house).contents == render(make_record()).contents
    assert not dressed(house).warnings


# What replaces nothing


@pytest.mark.parametrize(
    ("name", "nearest"),
    [
        ("indx.html.jinja", "index.html.jinja"),
        ("figures/channel_gird.html.jinja", "figures/channel_grid.html.jinja"),
        ("channel_grid.html.jinja", "figures/channel_grid.html.jinja"),
        ("site.css", "static/site.css"),
        ("index.html", "index.html.jinja"),
        ("static/logo.png", ""),
    ],
)
def test_a_file_that_replaces_nothing_is_a_warning_with_the_nearest(house: Path, name: str, nearest: str) -> None:
    put(house, name, "")
    (warning,) = dressed(house).warnings
    assert warning.startswith(f"{house}/{name} replaces nothing and is not used")
    assert nearest in warning


# What is wrong


@pytest.mark.parametrize("problem", ["does not exist", "is not a directory"])
def test_a_directory_that_is_none_is_refused(tmp_path: Path, problem: str) -> None:
    if "not a" in problem:
        (tmp_path / "house").write_text("")
    with pytest.raises(UsageError, match=problem):
        Theme(tmp_path / "house")


WRONG: dict[str, tuple[str | bytes, int | None, str]] = {
    "syntax": ("\n\n{% if %}", 3, "Expected an expression"),
    "unclosed": ("\n{% for a in b %}", 2, "Unexpected end of template"),
    "filter": ("{{ 1 | nofilter }}", 1, "No filter named 'nofilter'"),
    "undefined": ("\n\n\n{{ nothing }}", 4, "'nothing' is undefined"),
    "attribute": ("\n{{ record.titel }}", 2, "has no attribute 'titel'"),
    "type": ("\n{{ 1 + 'a' }}", 2, "TypeError"),
    "division": ("{{ 1 // 0 }}", 1, "ZeroDivisionError"),
    "include": ("\n{% include 'gone.html.jinja' %}", 2, "there is no template 'gone.html.jinja'"),
    "itself": ("{% extends 'about.html.jinja' %}", 1, "RecursionError"),
    "secret": ("\n{{ ''.__class__.__mro__ }}", 2, "unsafe"),
    "not UTF-8": (b"\xff", None, "not UTF-8"),
}


@pytest.mark.parametrize("case", WRONG)
def test_a_template_that_fails_is_told_by_file_line_and_cause(house: Path, case: str) -> None:
    text, line, cause = WRONG[case]
    path = put(house, "about.html.jinja", text)
    with pytest.raises(UsageError) as caught:
        dressed(house)
    message = str(caught.value)
    assert cause in message
    assert message.startswith(f"{path}: line {line}: " if line else str(path))


@pytest.mark.parametrize("case", ["syntax", "unclosed", "filter", "not UTF-8"])
def test_what_cannot_be_parsed_is_told_before_any_page_is_made(house: Path, case: str) -> None:
    put(house, "figures/never.html.jinja", WRONG[case][0])
    with pytest.raises(UsageError, match=r"never\.html\.jinja"):
        check_theme(Theme(house))


def test_a_macro_that_a_replaced_file_lacks_is_told(house: Path) -> None:
    put(house, "parts.html.jinja", "{% macro picture(shown, root, alt='', lazy=true) %}x{% endmacro %}")
    with pytest.raises(UsageError, match=r"needs: index\.html\.jinja: line \d+: .*no attribute") as caught:
        dressed(house)
    assert str(caught.value).startswith(f"{house}: ")


def test_an_error_in_a_macro_names_the_template_that_called_it(house: Path) -> None:
    path = put(house, "about.html.jinja", '{% import "parts.html.jinja" as parts %}\n{{ parts.status(none) }}')
    with pytest.raises(UsageError, match="line 2: ") as caught:
        dressed(house)
    assert str(caught.value).startswith(str(path))


def test_without_a_users_templates_an_error_stays_what_it_is() -> None:
    with pytest.raises(AttributeError), Theme().explaining():
        None.gone  # type: ignore[attr-defined]  # noqa: B018


def test_the_built_in_ones_are_where_they_should_be() -> None:
    assert (templates_directory() / "base.html.jinja").is_file()
