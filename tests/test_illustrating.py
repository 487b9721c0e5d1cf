"""What a site stores of a picture in a caption: its pixels, not too many of them, and nothing else."""

import io
import os
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import ExifTags, Image, PngImagePlugin

from hostile_images import png, png_bomb
from reportgen.errors import UsageError
from reportgen.illustrating import SIDE, encode


def stored(path: Path) -> "np.ndarray[tuple[int, ...], np.dtype[np.uint8]]":
    """The pixels that are stored, read by Pillow alone."""
    found = encode(path, "x")
    with Image.open(io.BytesIO(found.content)) as image:
        assert (image.format, image.mode, image.size) == ("PNG", "RGB", (found.width, found.height))
        return np.asarray(image)


def chunks(content: bytes) -> list[bytes]:
    kinds, place = [], 8
    while place < len(content):
        size = struct.unpack_from(">I", content, place)[0]
        kinds.append(content[place + 4 : place + 8])
        place += 12 + size
    return kinds


def test_the_pixels_are_those_of_the_file(tmp_path: Path) -> None:
    levels = np.random.default_rng(0).integers(0, 256, (7, 11, 3), np.uint8)
    Image.fromarray(levels).save(tmp_path / "a.png")
    assert np.array_equal(stored(tmp_path / "a.png"), levels)


def test_nothing_but_pixels_is_stored(tmp_path: Path) -> None:
    exif, words = Image.Exif(), PngImagePlugin.PngInfo()
    exif[ExifTags.Base.Artist] = "canary"
    exif.get_ifd(ExifTags.IFD.GPSInfo).update({1: "N", 2: (48.0, 8.0, 0.0)})
    words.add_text("Comment", "canary", zip=True)
    for name, room in (
        ("a.png", {"pnginfo": words, "exif": exif, "icc_profile": b"canary" * 9, "dpi": (300, 300)}),
        ("a.jpg", {"comment": b"canary", "exif": exif, "icc_profile": b"canary" * 9}),
        ("a.gif", {"comment": b"canary"}),
        ("a.webp", {"xmp": b"canary", "exif": exif}),
        ("a.tiff", {"exif": exif}),
    ):
        Image.new("RGB", (9, 5), "teal").save(tmp_path / name, **room)
        content = encode(tmp_path / name, "x").content
        assert set(chunks(content)) == {b"IHDR", b"IDAT", b"IEND"}, name
        assert b"canary" not in content


def test_it_stands_upright(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = 6
    picture = Image.new("RGB", (40, 20), "white")
    picture.paste("black", (0, 0, 8, 8))  # turned clockwise, top left is at the top right
    picture.save(tmp_path / "a.png", exif=exif)
    pixels = stored(tmp_path / "a.png")
    assert pixels.shape == (40, 20, 3)
    assert pixels[2, 17].tolist() == [0, 0, 0]
    assert pixels[2, 2].tolist() == [255, 255, 255]


def test_transparency_lies_over_white(tmp_path: Path) -> None:
    Image.new("RGBA", (2, 2), (0, 0, 0, 51)).save(tmp_path / "a.png")
    assert stored(tmp_path / "a.png")[0, 0].tolist() == [204, 204, 204]


@pytest.mark.parametrize(
    ("size", "kept"),
    [((SIDE, 4), (SIDE, 4)), ((2 * SIDE, SIDE), (SIDE, SIDE // 2)), ((4, 3 * SIDE), (1, SIDE))],
)
def test_large_ones_are_made_smaller(tmp_path: Path, size: tuple[int, int], kept: tuple[int, int]) -> None:
    Image.new("RGB", size, "teal").save(tmp_path / "a.png")
    found = encode(tmp_path / "a.png", "x")
    assert (found.width, found.height) == kept
    assert stored(tmp_path / "a.png").reshape(-1, 3).std(axis=0).max() == 0


def test_the_same_file_gives_the_same_bytes(tmp_path: Path) -> None:
    Image.effect_noise((1700, 30), 80).save(tmp_path / "a.png")
    assert encode(tmp_path / "a.png", "x") == encode(tmp_path / "a.png", "x")


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"", "is not an image in a known format"),
        (b"<svg xmlns='http://www.w3.org/2000/svg' onload='alert(1)'/>", "is not an image in a known format"),
        (
            b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\n",
            "is EPS, which can't be decoded here",
        ),
        (png(65_535, 65_535), "has 4294836225 pixels, more than the 62000000 allowed; scale it down"),
        (png_bomb(9000)[:4000], "has 81000000 pixels, more than the 62000000 allowed; scale it down"),
        (png(50, 50, pixels=zlib.compress(b"\0abc")), "can't be decoded"),
    ],
    ids=["empty", "svg", "eps", "huge", "bomb", "cut"],
)
def test_what_is_no_picture_is_refused(tmp_path: Path, content: bytes, told: str) -> None:
    (tmp_path / "a.png").write_bytes(content)
    with pytest.raises(UsageError) as caught:
        encode(tmp_path / "a.png", "caption 'index.md': picture 'a.png'")
    assert str(caught.value).startswith(f"caption 'index.md': picture 'a.png' {told}")
    assert "--max-pixels" not in str(caught.value)  # an option that captions have no part in


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_one_that_may_not_be_read_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(b"x")
    (tmp_path / "a.png").chmod(0)
    with pytest.raises(UsageError, match="can't be read"):
        encode(tmp_path / "a.png", "x")
