"""Pictures in captions: which files they mean, what is never opened, and what a page shows."""

import os
from pathlib import Path

import pytest

from reportgen.errors import UsageError
from reportgen.site.captions import Illustration
from reportgen.site.illustrations import (
    MAX_PICTURES,
    Encoded,
    Gallery,
    Illustrated,
    local_name,
    read_illustrated,
    unnamed,
)
from reportgen.site.record import IllustrationEntry


class Opened:
    """An `encode` that remembers which files it was given, and stores their bytes."""

    def __init__(self) -> None:
        self.paths: list[Path] = []

    def __call__(self, path: Path, shown: str) -> Encoded:
        self.paths.append(path)
        return Encoded(path.read_bytes(), 30, 20)


def write(directory: Path, files: dict[str, str]) -> Path:
    for name, content in files.items():
        (directory / name).parent.mkdir(parents=True, exist_ok=True)
        (directory / name).write_text(content, encoding="utf-8")
    return directory


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """A directory of captions with pictures in it, and pictures beside it."""
    write(tmp_path, {"secret.png": "secret", "captions.png/x.png": "sibling"})
    return write(
        tmp_path / "captions",
        {"a.png": "A", "photos/b c.png": "B", "photos/ünï.png": "U", "100%.png": "P", "layers/x/deep.png": "D"},
    )


def found(place: Path, text: str, caption: str = "index") -> dict[str, bytes]:
    """What the pictures of one caption lead to, by their addresses; no other file may have been opened."""
    write(place, {f"{caption}.md": text})
    opened = Opened()
    illustrated = read_illustrated(place, opened)
    assert {path.read_bytes() for path in opened.paths} == set(illustrated.files.values())
    assert all(entry.caption == caption for entry in illustrated.entries)
    return {entry.reference: illustrated.files[entry.file] for entry in illustrated.entries}


@pytest.mark.parametrize(
    ("markdown", "address", "content"),
    [
        ("![x](a.png)", "a.png", b"A"),
        ("![x](./a.png)", "./a.png", b"A"),
        ("![x](photos/../a.png 'title')", "photos/../a.png", b"A"),
        ("![x](<photos/b c.png>)", "photos/b c.png", b"B"),
        ("![x](photos/b%20c.png)", "photos/b%20c.png", b"B"),
        ("![x](photos/b&#32;c.png)", "photos/b c.png", b"B"),
        (r"![x](photos/b%20c\.png)", "photos/b%20c.png", b"B"),
        ("![x](photos/ünï.png)", "photos/ünï.png", b"U"),
        ("![x](photos/%C3%BCn%c3%af.png)", "photos/%C3%BCn%c3%af.png", b"U"),
        ("![x](100%25.png)", "100%25.png", b"P"),
        ("![x](100%.png)", "100%.png", b"P"),
        ("![x](a.png?raw=true#top)", "a.png?raw=true#top", b"A"),
        ("![x](%61.png)", "%61.png", b"A"),
        ("![x][y]\n\n[y]: a.png", "a.png", b"A"),
        ("![x]\n\n[x]: <a.png> 'title'", "a.png", b"A"),
        ("[![x](a.png)](https://example.org)", "a.png", b"A"),
        ("| t |\n|---|\n| ![x](a.png) |", "a.png", b"A"),
        ("t[^1]\n\n[^1]: ![x](a.png)", "a.png", b"A"),
        ("- one\n    - ![x](a.png)", "a.png", b"A"),
    ],
)
def test_a_picture_of_the_directory_is_found(place: Path, markdown: str, address: str, content: bytes) -> None:
    assert found(place, markdown) == {address: content}


@pytest.mark.parametrize(
    "markdown", ["`![x](a.png)`", "    ![x](a.png)", r"\![x](a.png)", '<img src="a.png">', "a.png"]
)
def test_what_is_no_picture_in_markdown_is_none(place: Path, markdown: str) -> None:
    assert found(place, markdown) == {}


def test_paths_start_where_the_caption_lies(place: Path) -> None:
    text = "![x](deep.png) ![x](../../a.png) ![x](a.png) ![x](../../../secret.png)"
    assert found(place, text, "layers/x/y.*") == {"deep.png": b"D", "../../a.png": b"A"}


OUTSIDE = [
    "../secret.png", "photos/../../secret.png", "%2e%2e/secret.png", "..%2fsecret.png", "%2E%2E%2Fsecret.png",
    "../captions/a.png", "../captions.png/x.png", "..", ".", "", "#a.png", "?a.png", "photos", "photos/",
    "/etc/passwd", "/a.png", "//host/a.png", "///a.png", "%2fetc/passwd", "\\\\host\\a.png", "..\\secret.png",
    "photos\\a.png", "..%5csecret.png", "C:\\a.png", "c:/a.png", "c:a.png", "file:a.png", "file:///etc/passwd",
    "http://host/a.png", "HTTPS://host/a.png", "data:image/png;base64,AAAA", "javascript:a.png", "blob:a.png",
    "a.png%00", "a%00.png", "%00", "%252e%252e/secret.png", "%ff.png", "a.png%0a", "gone.png",
    "x" * 5000, "a/" * 3000 + "a.png", "~/a.png", "$HOME/a.png", "*.png", "a.*", "link.png", ".far/secret.png",
    "ring.png", "pipe.png", "dangling.png", "device.png",
]  # fmt: skip


@pytest.fixture
def trapped(place: Path) -> Path:
    """The captions with links that lead out, and with what is no file."""
    (place / "link.png").symlink_to(place.parent / "secret.png")
    (place / ".far").symlink_to(place.parent)  # captions refuse links to directories that aren't hidden
    (place / "ring.png").symlink_to(place / "ring.png")
    (place / "dangling.png").symlink_to(place / "nothing.png")
    (place / "device.png").symlink_to("/dev/zero")
    os.mkfifo(place / "pipe.png")
    return place


@pytest.mark.parametrize("address", OUTSIDE, ids=range(len(OUTSIDE)))
def test_nothing_else_is_ever_opened(trapped: Path, address: str) -> None:
    opened = Opened()
    write(trapped, {"index.md": f"![x](<{address}>) ![x][r]\n\n[r]: {address}"})
    illustrated = read_illustrated(trapped, opened)
    assert opened.paths == []
    assert (illustrated.entries, illustrated.files) == ([], {})


def test_a_link_within_the_directory_is_followed(place: Path) -> None:
    (place / "same.png").symlink_to("photos/b c.png")
    assert found(place, "![x](same.png)") == {"same.png": b"B"}


def test_a_hidden_directory_that_links_out_is_no_way_out(place: Path) -> None:
    (place / ".far").symlink_to(place.parent)
    assert found(place, "![x](.far/secret.png) ![x](.far/captions/a.png)") == {".far/captions/a.png": b"A"}


def test_a_file_is_read_once_and_stored_under_a_name_of_its_own(place: Path) -> None:
    texts = {"index.md": "![x](a.png) ![y](a.png) ![z](./a.png)", "about.md": "![x](a.png)"}
    write(place, texts)
    opened = Opened()
    illustrated = read_illustrated(place, opened)
    assert [path.name for path in opened.paths] == ["a.png"]
    (name,) = illustrated.files
    # SHA-256 of "A" begins with 559aead082
    assert name == "static/picture.559aead082.png"
    assert illustrated.entries == [
        IllustrationEntry("about", "a.png", name, 30, 20),
        IllustrationEntry("index", "a.png", name, 30, 20),
        IllustrationEntry("index", "./a.png", name, 30, 20),
    ]
    assert illustrated.texts == {name[:-3]: text for name, text in sorted(texts.items())}


def test_a_picture_that_cant_be_read_names_caption_and_picture(place: Path) -> None:
    def refuse(path: Path, shown: str) -> Encoded:
        raise UsageError(f"{shown} can't be decoded")

    write(place, {"layers/conv.md": "![x](../a.png)"})
    with pytest.raises(UsageError) as caught:
        read_illustrated(place, refuse)
    assert str(caught.value) == f"caption '{place}/layers/conv.md': picture '../a.png' can't be decoded"


def test_there_may_not_be_too_many(place: Path) -> None:
    names = [f"p{number}.png" for number in range(MAX_PICTURES + 1)]
    write(place, dict.fromkeys(names, "same") | {"index.md": " ".join(f"![x]({name})" for name in names[1:])})
    assert len(read_illustrated(place, Opened()).entries) == MAX_PICTURES
    write(place, {"about.md": f"![x]({names[0]})"})
    with pytest.raises(UsageError, match=f"one too many; captions may show {MAX_PICTURES} different ones"):
        read_illustrated(place, Opened())


def test_without_an_encoder_there_are_none(place: Path) -> None:
    write(place, {"index.md": "![x](a.png)"})
    assert read_illustrated(place, None) == Illustrated({"index": "![x](a.png)"}, [], {})


@pytest.mark.parametrize(
    ("address", "name"),
    [
        ("a%20b.png", "a b.png"),
        ("é.png#x", "é.png"),
        ("a:b", ""),
        ("./a:b", "./a:b"),
        ("%2fa", ""),
        ("a%5cb", ""),
        ("a%00b", ""),
        ("a%0ab", ""),
    ],
)
def test_the_name_that_an_address_holds(address: str, name: str) -> None:
    assert local_name(address) == name


# In a report


def entry(
    caption: str = "index", reference: str = "a.png", name: str = "static/picture.0123456789.png"
) -> IllustrationEntry:
    return IllustrationEntry(caption, reference, name, 30, 20)


def test_a_picture_belongs_to_its_caption() -> None:
    gallery = Gallery([entry()])
    assert gallery.find("index", "a.png", root="../") == Illustration("../static/picture.0123456789.png", 30, 20)
    assert gallery.find("about", "a.png", root="../") is None
    assert gallery.find("index", "b.png", root="../") is None


def test_what_is_not_shown_is_told() -> None:
    texts = {"index": "![x](a.png) ![x](b.png)", "layers/*": "![x](https://example.org/a.png) ![x](..%2f\x00)"}
    assert list(Gallery([entry()]).missing(texts)) == [
        "captions/index.md: the picture 'b.png' is not shown: there is no such file in the captions' directory; "
        "its path starts where this file lies",
        "captions/layers/*.md: the picture 'https://example.org/a.png' is not shown: pictures come from the "
        "captions' directory only; copy it there, and name it relative to this file",
        "captions/layers/*.md: the picture '..%2f\N{REPLACEMENT CHARACTER}' is not shown: there is no such file in "
        "the captions' directory; its path starts where this file lies",
    ]


# Without names


def given(texts: dict[str, str], *entries: IllustrationEntry) -> Illustrated:
    return Illustrated(texts, list(entries), {each.file: b"" for each in entries})


def test_names_of_files_are_taken_out() -> None:
    one, two = "static/picture.1111111111.png", "static/picture.2222222222.png"
    text = "See cat.png, not data.cat.png: ![x](cat.png 'cat.png') ![y](./cat.png) ![z](<photos/cat.png>) ![r][a]"
    text += "\n\n[a]: cat.png"
    captions = unnamed(
        given(
            {"index": text, "about": "![cat.png](gone.png)"},
            entry("index", "cat.png", one),
            entry("index", "./cat.png", one),
            entry("index", "photos/cat.png", two),
        )
    )
    assert captions.texts == {
        "index": "See picture-1, not data.cat.png: ![x](picture-1 'picture-1') ![y](picture-1) ![z](<picture-2>) "
        "![r][a]\n\n[a]: picture-1",
        "about": "![cat.png](gone.png)",
    }
    assert captions.entries == [entry("index", "picture-1", one), entry("index", "picture-2", two)]
    assert unnamed(captions) == captions


@pytest.mark.parametrize(
    ("text", "reference"), [(r"![x](my\_cat.png)", "my_cat.png"), ("![x](a&#46;png)", "a.png")]
)
def test_a_name_that_cant_be_taken_out_is_refused(text: str, reference: str) -> None:
    with pytest.raises(UsageError, match=r"captions/index\.md: one of its pictures .* can't be taken out"):
        unnamed(given({"index": text}, entry("index", reference)))
