"""What must not get into a site: where files lie, whose they are; of an anonymous one, what they are called."""

import base64
import getpass
import io
import platform
import re
import socket
import sys
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from PIL import ExifTags, Image, PngImagePlugin
from safetensors.torch import save_file

from reportgen.cli import main
from reportgen.options import Options
from reportgen.privacy import anonymous_options, recorded_value, without_paths
from reportgen.site.record import read_record

NET = """
import torch
from torch import nn

class Plain(nn.Module):
    def __init__(self, channels, notes, where):
        super().__init__()
        self.conv, self.fc = nn.Conv2d(3, channels, 3), nn.Linear(channels, 3)

    def forward(self, x):
        maps = torch.relu(self.conv(x))
        return {"scores": self.fc(maps.mean((2, 3))), "looked up": look_up(maps)}

def look_up(maps):
    raise FileNotFoundError(2, "No such file or directory", __file__.replace("netcanary.py", "table of values.csv"))

torch.fx.wrap("look_up")

def make(**arguments):
    torch.manual_seed(0)
    return Plain(**arguments)
"""
FACTS = ("homecanary", "usercanary", "hostcanary", "envcanary", "odd dir", "notescanary", "metacanary", "gpscanary")
"""What no site may hold: parts of paths, of the environment, and of what image files hold besides pixels."""
NAMES = (
    "netcanary",
    "weightscanary",
    "picturecanary",
    "furthercanary",
    "badcanary",
    "textscanary",
    "titlecanary",
    "table of values",
)
"""What an anonymous site may not hold besides: names of files, and the title."""
PICTURES = ("jpg", "png", "gif", "tiff", "webp")


def _exif() -> Image.Exif:
    exif = Image.Exif()
    exif[ExifTags.Base.Artist] = "metacanary artist"
    exif[ExifTags.Base.ImageDescription] = "metacanary description"
    exif.get_ifd(ExifTags.IFD.GPSInfo).update({1: "N", 2: (48.0, 8.0, 0.0), 27: b"ASCII\0\0\0gpscanary"})
    return exif


def _write_picture(path: Path, colour: str) -> None:
    """A picture with a canary wherever its format has room for words."""
    picture = Image.new("RGB", (20, 18), colour)
    picture.paste("white", (3, 4, 9, 9))
    words = PngImagePlugin.PngInfo()
    words.add_text("Comment", "metacanary text")
    words.add_itxt("XML:com.adobe.xmp", "metacanary packet", zip=True)
    room = {
        "jpg": {"exif": _exif(), "comment": b"metacanary comment"},
        "png": {"exif": _exif(), "pnginfo": words},
        "gif": {"comment": b"metacanary comment"},
        "tiff": {"exif": _exif()},
        "webp": {"exif": _exif(), "xmp": b"metacanary packet", "lossless": True},
    }[path.suffix[1:]]
    picture.save(path, icc_profile=b"metacanary profile" * 10, **room)  # type: ignore[arg-type]
    assert b"metacanary" in b"".join(_contents(path))


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home of someone's with a network, weights, pictures and texts in oddly named directories."""
    home = tmp_path / "homecanary"
    place = home / "odd dir, (ünï)" / "work"
    for name in ("pics", "more", "textscanary/images", "textscanary/shown"):
        (place / name).mkdir(parents=True)
    (place / "netcanary.py").write_text(NET)
    torch.manual_seed(1)
    layers = {"conv": torch.nn.Conv2d(3, 4, 3), "fc": torch.nn.Linear(4, 3)}
    save_file(torch.nn.ModuleDict(layers).state_dict(), place / "weightscanary.safetensors")
    for number, suffix in enumerate(PICTURES):
        _write_picture(place / f"pics/picturecanary-{number}.{suffix}", f"hsl({70 * number}, 80%, 40%)")
    _write_picture(place / "more/furthercanary.png", "navy")
    (place / "pics/badcanary.png").write_bytes(b"no picture")
    cut = (place / "pics/picturecanary-1.png").read_bytes()
    (place / "pics/cutbadcanary.png").write_bytes(cut[:-60])
    (place / "textscanary/images/picturecanary-2.md").write_text("A text on the third.")
    for number, suffix in enumerate(PICTURES):
        _write_picture(place / f"textscanary/shown/textscanary-{number}.{suffix}", f"hsl({50 * number}, 90%, 30%)")
    shown = "\n\n".join(
        f"![a picture](shown/textscanary-{number}.{suffix})" for number, suffix in enumerate(PICTURES)
    )
    (place / "textscanary/index.md").write_text(shown)
    for name, value in {
        "HOME": str(home),
        "USER": "usercanary",
        "LOGNAME": "usercanary",
        "TOKEN": "envcanary",
    }.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(getpass, "getuser", lambda: "usercanary")
    monkeypatch.setattr(socket, "gethostname", lambda: "hostcanary")
    monkeypatch.setattr(platform, "node", lambda: "hostcanary")
    monkeypatch.chdir(place)
    return place


def _given(place: Path) -> list[str]:
    return [
        f"{place}/netcanary.py:make", f"{place}/pics", "--statistics", f"{place}/more",
        "--weights", f"{place}/weightscanary.safetensors",
    ]  # fmt: skip


def _build(place: Path, *extra: str) -> Path:
    arguments = ("channels=4", f"where={place}/table.csv", f'notes=["{place}/notescanary/a.txt", 1]')
    settings = [word for argument in arguments for word in ("--model-arg", argument)]
    captions = ["--captions", f"{place}/textscanary"]
    found = main(
        [
            "build",
            *_given(place),
            *settings,
            *captions,
            "--out",
            "site",
            "--arrays",
            "--skip-bad",
            "--quiet",
            *extra,
        ]
    )
    assert found == 5  # look_up failed, and two images
    return place / "site"


def _found(site: Path, canaries: tuple[str, ...]) -> set[tuple[str, str]]:
    """Every file that holds a canary in its address or in any of its bytes, plain or packed."""
    found = set()
    for path in sorted(site.rglob("*")):
        address = path.relative_to(site).as_posix()
        contents = [address.encode(), *(_contents(path) if path.is_file() else ())]
        for canary in canaries:
            forms = (canary.encode(), canary.encode("utf-16-be"), canary.replace(" ", "%20").encode())
            if any(form in content.lower() for content in contents for form in forms):
                found.add((canary, address))
    return found


def _contents(path: Path) -> Iterator[bytes]:
    """The bytes of a file, and all that is packed in them."""
    data = path.read_bytes()
    yield data
    yield from _inflated(data)
    if path.suffix == ".npz":
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            yield from (archive.read(name) for name in archive.namelist())
    for text in re.findall(rb"[A-Za-z0-9+/]{64,}={0,2}", data) if path.suffix in (".html", ".js", ".svg") else ():
        decoded = base64.b64decode(text + b"==")
        yield decoded
        yield from _inflated(decoded)


def _inflated(data: bytes) -> Iterator[bytes]:
    """What follows any zlib header in the bytes: texts and profiles in PNG, streams in PDF."""
    for match in re.finditer(rb"\x78[\x01\x5e\x9c\xda]", data):
        try:
            yield zlib.decompressobj().decompress(data[match.start() :], 1 << 22)
        except zlib.error:
            continue


def test_the_search_looks_into_what_is_packed(tmp_path: Path) -> None:
    words = PngImagePlugin.PngInfo()
    words.add_text("a", "Canary", zip=True)
    Image.new("L", (2, 2)).save(tmp_path / "text.png", pnginfo=words)
    (tmp_path / "page.html").write_bytes(base64.b64encode((tmp_path / "text.png").read_bytes()))
    (tmp_path / "a.pdf").write_bytes(b"stream\n" + zlib.compress("canary".encode("utf-16-be")) + b"endstream")
    with zipfile.ZipFile(tmp_path / "a.npz", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("x", "canary " * 9)
    (tmp_path / "canary").mkdir()
    (tmp_path / "clean.txt").write_text("can ary")
    found = {address for _, address in _found(tmp_path, ("canary",))}
    assert found == {"text.png", "page.html", "a.pdf", "a.npz", "canary"}


def test_a_site_holds_nothing_of_its_makers_machine_or_of_what_images_hold_besides_pixels(place: Path) -> None:
    site = _build(place)
    machine = (str(Path(sys.prefix)).lower(), str(Path(__file__).parent).lower(), str(place.parents[2]).lower())
    assert _found(site, FACTS + machine) == set()
    record = read_record(site)
    assert "table of values.csv" in " ".join(record.problems)
    assert record.options["model_arg"] == {"channels": 4, "where": "table.csv", "notes": ["a.txt", 1]}
    assert _found(site, NAMES[:1]) != set()  # names of files are in it, which --anonymous leaves out


def test_no_picture_of_a_site_has_metadata(place: Path) -> None:
    for path in _build(place).rglob("*.png"):
        with Image.open(path) as picture:
            picture.load()
            assert set(picture.info) <= {"transparency", "gamma", "dpi"}, path
            assert not picture.getexif()


def test_an_anonymous_site_names_no_file(place: Path) -> None:
    site = _build(place, "--anonymous", "--title", "Titlecanary", "--base-url", "https://usercanary.example/")
    assert _found(site, FACTS + NAMES) == set()
    record = read_record(site)
    assert record.title == "Plain, layer by layer"
    assert (record.model.spec, record.model.weights) == ("Plain", "not named")
    assert (record.model.weights_sha256, record.model.source_sha256) == (None, None)
    assert [(image.id, image.name) for image in record.images] == [
        (f"image-{number}", f"image {number}") for number in (2, 3, 4, 5, 6)
    ]  # the first by name is cut off
    assert [image.name for image in record.statistics_images] == ["statistics image 1"]
    assert [image.name for image in record.skipped_images] == ["unreadable image 1", "image 1"]
    assert "No such file or directory: 'FILE'" in " ".join(record.problems)
    assert [layer.target for layer in record.layers if layer.op == "call_function"] == ["torch.relu", "look_up"]
    shown = "\n\n".join(f"![a picture](picture-{number})" for number in (1, 2, 3, 4, 5))
    assert record.captions == {"images/image-4": "A text on the third.", "index": shown}
    assert (site / "index.html").read_text().count('<img class="illustration" src="static/picture.') == 5
    assert "A text on the third." in (site / "images/image-4.html").read_text()


def test_a_caption_of_no_image_is_refused(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (place / "textscanary/images/someone.md").write_text("Nobody.")
    given = [*_given(place), "--captions", f"{place}/textscanary", "--skip-bad", "--out", "site", "--anonymous"]
    assert main(["build", *given]) == 2
    assert "captions/images/someone.md belongs to no image" in capsys.readouterr().err
    assert not (place / "site").exists()


def test_an_anonymous_site_can_be_built_again(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "net.py").write_text(
        "import torch\ntorch.manual_seed(0)\nmake = lambda net=torch.nn.Sequential(torch.nn.Conv2d(3, 2, 3)): net\n"
    )
    _write_picture(tmp_path / "one.png", "teal")
    model, image, site = f"{tmp_path}/net.py:make", f"{tmp_path}/one.png", str(tmp_path / "site")
    assert main(["build", model, image, "--out", site, "--anonymous", "--quiet"]) == 0
    assert main(["verify", site, "--rebuild", model, image, "--quiet"]) == 0
    capsys.readouterr()
    config = tmp_path / "images.toml"
    config.write_text('images = ["one.png"]')
    assert main(["verify", site, "--rebuild", "--config", str(config)]) == 2
    assert "the site is anonymous and names of its model the class only, Sequential; give MODEL" in (
        capsys.readouterr().err
    )


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("raised OSError: No such file: '/home/al ice/some dir/x.csv'", "raised OSError: No such file: 'x.csv'"),
        ("in /home/alice/a.py, line 3", "in a.py, line 3"),
        ("(/home/alice/a.py)", "(a.py)"),
        (r"at C:\Users\alice\a.py:3", "at a.py:3"),
        (r'"\\host\share\a.py"', '"a.py"'),
        ("file:///home/alice/a.py", "a.py"),
        ("see https://example.org/a/b", "see https://example.org/a/b"),
        ("1/2 of 3/4/5, N/A, a // b, x / y", "1/2 of 3/4/5, N/A, a // b, x / y"),
        ("layer1/conv/weight: (1, 3, 4, 4)", "layer1/conv/weight: (1, 3, 4, 4)"),
    ],
)
def test_paths_are_cut_to_their_last_part(text: str, told: str) -> None:
    assert without_paths(text) == told


def test_the_home_is_known_without_quotes(place: Path) -> None:
    assert without_paths(f"no file {place}/a b.csv or ~") == "no file a b.csv or ~"


def test_values_lose_paths_wherever_they_are() -> None:
    given = {"a": ["/x/y", "y/z", 3, None], "b": {"c": r"C:\u\v.yaml"}, "d": True}
    assert recorded_value(given) == {"a": ["y", "y/z", 3, None], "b": {"c": "v.yaml"}, "d": True}


def test_words_for_weights_stay_in_anonymous_options() -> None:
    plain = {"captions": None, "templates": "house", "statistics": None, "weights": "none"}
    given = {**plain, "model_arg": {"depth": 4, "name": "secret", "flat": True}, "size": None}
    assert anonymous_options(given) == {
        **plain, "templates": "DIR", "model_arg": {"depth": 4, "flat": True}, "size": None,
    }  # fmt: skip
    assert not Options().anonymous
