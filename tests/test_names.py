"""Slugs, unique ids and suggestions."""

import os
import re
import unicodedata

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reportgen.names import as_written, did_you_mean, make_unique, nearest, slugify

DEVICES = {"con", "prn", "aux", "nul", *(f"{port}{digit}" for port in ("com", "lpt") for digit in range(10))}
AWKWARD = [
    "CON",
    "con.x",
    "lpt1.weight",
    "_private",
    ".hidden",
    "a.",
    "a..b",
    "..",
    "-",
    "x" * 300,
    "naïve",
    "a/b",
    "",
]
# Letters whose upper and lower cases meet in odd ways, and what file systems and addresses treat specially.
LETTERS = st.sampled_from("abAB01._-/\\ äßſKİ%#?:*\x00\n\ud800漢🐈")
NAMES = st.text(LETTERS, max_size=12) | st.text(LETTERS, min_size=70, max_size=120)

settings.register_profile("names", deadline=None, database=None, derandomize=True)
by_rule = settings.get_profile("names")


@pytest.mark.parametrize("name", ["layer1.0.conv1", "x", "features.12", "relu_1", "conv-2"])
def test_slugify_keeps_plain_names(name: str) -> None:
    assert slugify(name) == name


@by_rule
@given(NAMES)
def test_slugify_gives_safe_file_names(name: str) -> None:
    slug = slugify(name)
    assert re.fullmatch(r"[a-z0-9][a-z0-9._-]{0,99}", slug)
    assert slug.split(".")[0] not in DEVICES
    assert not slug.endswith(".")
    assert ".." not in slug


@pytest.mark.parametrize("name", AWKWARD)
def test_slugify_of_awkward_names_is_safe_and_stable(name: str) -> None:
    slug = slugify(name)
    assert re.fullmatch(r"[a-z0-9][a-z0-9._-]{0,99}", slug)
    assert slug.split(".")[0] not in DEVICES
    assert slug != name
    assert slugify(name) == slug


@by_rule
@given(st.lists(NAMES, unique=True, max_size=8))
def test_slugify_is_injective(names: list[str]) -> None:
    assert len({slugify(name).casefold() for name in names}) == len(names)


@by_rule
@given(NAMES)
def test_slugify_never_meets_its_own_slugs(name: str) -> None:
    slug = slugify(name)
    assert slug == name or slugify(slug) != slug


def as_file_systems_compare(name: str) -> str:
    """What names have in common that one file system or another takes for the same."""
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", name).casefold())


ANY_NAME = (
    st.text(max_size=150) | NAMES | st.sampled_from(sorted(DEVICES)) | st.from_regex(r"\A[a-z0-9_.-]{60,110}\Z")
)
VARIANTS = (
    str,
    str.upper,
    str.lower,
    str.casefold,
    str.swapcase,
    lambda name: unicodedata.normalize("NFC", name),
    lambda name: unicodedata.normalize("NFD", name),
    lambda name: unicodedata.normalize("NFKC", name),
    lambda name: f"{name}.png",
    lambda name: f"{name}-2",
    slugify,
)


@by_rule
@given(st.lists(ANY_NAME, min_size=1, max_size=3))
def test_names_that_file_systems_take_for_the_same_have_different_slugs(names: list[str]) -> None:
    different = {variant(name) for name in names for variant in VARIANTS}
    slugs = {as_file_systems_compare(slugify(name)) for name in different}
    assert len(slugs) == len(different)


@by_rule
@given(st.lists(ANY_NAME, max_size=6))
def test_ids_of_any_names_are_distinct_short_and_no_devices(names: list[str]) -> None:
    ids = make_unique(slugify(name) for name in [*names, *names])
    assert len({as_file_systems_compare(id_) for id_ in ids}) == len(ids)
    for id_ in ids:
        assert 1 <= len(id_.encode("ascii")) <= 100
        assert re.split(r"[. ]", id_)[0].upper() not in {device.upper() for device in DEVICES}
        assert id_[0] not in "._"


@pytest.mark.parametrize(
    ("first", "second"), [("Conv", "conv"), ("a b", "a_b"), ("straße", "strasse"), ("a/b", "a.b")]
)
def test_slugify_tells_similar_names_apart(first: str, second: str) -> None:
    assert slugify(first).casefold() != slugify(second).casefold()


def test_make_unique_numbers_repeats() -> None:
    assert make_unique(["a", "b", "A", "a", "a-2"]) == ["a", "b", "A-2", "a-3", "a-2-2"]


@by_rule
@given(st.lists(st.sampled_from(["a", "A", "a-2", "a-3", "b", "ß", "ss"]), max_size=12))
def test_make_unique_gives_distinct_names_under_case_folding(names: list[str]) -> None:
    unique = make_unique(names)
    assert len({name.casefold() for name in unique}) == len(names)
    assert all(made.startswith(name) for made, name in zip(unique, names, strict=True))


def test_nearest_gives_the_best_first() -> None:
    assert nearest("resnet81", ["vgg16", "resnet18", "resnet152", "alexnet"])[0] == "resnet18"


def test_nearest_gives_at_most_three() -> None:
    assert len(nearest("conv", [f"conv{number}" for number in range(9)])) == 3


@pytest.mark.parametrize(
    ("known", "told"),
    [
        (["conv1"], "did you mean conv1?"),
        (["conv1", "conv2x"], "did you mean conv1 or conv2x?"),
        (["conv1", "conv2x", "conv3xx"], "did you mean conv1, conv2x or conv3xx?"),
        (["zzzz"], ""),
        ([], ""),
    ],
)
def test_did_you_mean(known: list[str], told: str) -> None:
    assert did_you_mean("conv1", known) == told


@pytest.mark.parametrize("encoding", ["utf-8", "ascii", "iso-8859-1"])
@pytest.mark.parametrize("name", [b"plain.png", "crème brûlée.png".encode(), "日本.png".encode(), b"\xff.png"])
def test_a_files_name_is_utf8_whatever_the_locale_reads_it_as(
    monkeypatch: pytest.MonkeyPatch, encoding: str, name: bytes
) -> None:
    read = name.decode(encoding, "surrogateescape")
    monkeypatch.setattr(os, "fsencode", lambda text: text.encode(encoding, "surrogateescape"))
    assert as_written(read) == name.decode("utf-8", "surrogateescape")


def test_a_name_that_the_locale_has_no_bytes_for_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "fsencode", lambda text: text.encode("ascii", "surrogateescape"))
    assert as_written("日本") == "日本"
