"""Finding and decoding images: exact pixels, stable ids, and one-line refusals."""

import gc
import hashlib
import os
import struct
import sys
import warnings
import zlib
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from PIL import ExifTags, Image

from reportgen.errors import InputError
from reportgen.inputs import images, pixels
from reportgen.inputs.images import SUFFIXES, BadImage, ImageSource, Item, Picture, decode, find_images
from reportgen.names import slugify

Array = npt.NDArray[np.uint8]


def rgb_array(height: int = 5, width: int = 7, seed: int = 0) -> Array:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)


def write(path: Path, seed: int = 0) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(rgb_array(seed=seed)).save(path)
    return path


def lossless(suffix: str) -> dict[str, Any]:
    """What Pillow must be told so that it keeps every pixel."""
    return {"lossless": True, "exact": True} if suffix == "webp" else {}


def read(item: Item) -> Picture:
    (source,) = find_images([item])
    return decode(source)


def pixels_of(picture: Picture) -> Array:
    assert picture.pixels.mode == "RGB"
    assert picture.pixels.size == (picture.width, picture.height)
    return np.asarray(picture.pixels)


def names_of(sources: tuple[ImageSource, ...]) -> list[str]:
    return [source.name for source in sources]


def over_white(colour: int, alpha: int) -> int:
    return round(Fraction(colour * alpha + 255 * (255 - alpha), 255))


def refusal(items: list[Item]) -> str:
    """The message of the InputError that finding and decoding `items` ends in."""
    with pytest.raises(InputError) as caught:
        for source in find_images(items):
            decode(source)
    message = str(caught.value)
    assert "\n" not in message
    assert len(message) > 20
    return message


def png_header(width: int, height: int) -> bytes:
    """A PNG that claims a size and holds no pixels."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", b"") + chunk(b"IEND", b"")


# Formats


@pytest.mark.parametrize("suffix", ["png", "bmp", "tif", "tiff", "webp"])
def test_lossless_formats_come_back_exactly(tmp_path: Path, suffix: str) -> None:
    expected = rgb_array()
    path = tmp_path / f"photo.{suffix}"
    Image.fromarray(expected).save(path, **lossless(suffix))
    picture = read(path)
    assert np.array_equal(pixels_of(picture), expected)
    assert (picture.width, picture.height, picture.note) == (7, 5, "")
    assert picture.network_input is None


@pytest.mark.parametrize("suffix", ["jpg", "jpeg", "webp"])
def test_lossy_formats_come_back_closely(tmp_path: Path, suffix: str) -> None:
    expected = np.kron(rgb_array(2, 2), np.ones((32, 32, 1), np.uint8))
    path = tmp_path / f"photo.{suffix}"
    Image.fromarray(expected).save(path, quality=95)
    got = pixels_of(read(path))[16::32, 16::32].astype(int)
    assert np.abs(got - expected[16::32, 16::32]).max() <= 6


def test_gif_comes_back_exactly(tmp_path: Path) -> None:
    indices = np.array([[0, 1, 2], [2, 1, 0]], np.uint8)
    palette = [10, 20, 30, 40, 50, 60, 255, 0, 128]
    image = Image.fromarray(indices)
    image.putpalette(palette)
    image.save(tmp_path / "a.gif")
    assert np.array_equal(pixels_of(read(tmp_path / "a.gif")), np.reshape(palette, (3, 3))[indices])


@pytest.mark.parametrize("suffix", sorted(SUFFIXES))
def test_hash_is_that_of_the_file(tmp_path: Path, suffix: str) -> None:
    path = write(tmp_path / f"photo{suffix}")
    picture = read(path)
    assert picture.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    assert picture.name == f"photo{suffix}"
    assert picture.id == "photo"


def test_a_file_is_recognised_by_its_content_not_its_suffix(tmp_path: Path) -> None:
    path = tmp_path / "download"
    Image.fromarray(rgb_array()).save(path, format="PNG")
    assert np.array_equal(pixels_of(read(path)), rgb_array())


def test_decoding_twice_gives_the_same(tmp_path: Path) -> None:
    (source,) = find_images([write(tmp_path / "a.png")])
    assert decode(source) == decode(source)


def test_metadata_does_not_travel_on(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[ExifTags.Base.Make] = "camera"
    Image.fromarray(rgb_array()).save(tmp_path / "a.png", exif=exif, icc_profile=b"profile", dpi=(72, 72))
    assert read(tmp_path / "a.png").pixels.info == {}
    assert not read(tmp_path / "a.png").pixels.getexif()


# Orientation: what a viewer must show is [[1, 2, 3], [4, 5, 6]]; these are the rows as stored.

STORED = {
    1: [[1, 2, 3], [4, 5, 6]],
    2: [[3, 2, 1], [6, 5, 4]],
    3: [[6, 5, 4], [3, 2, 1]],
    4: [[4, 5, 6], [1, 2, 3]],
    5: [[1, 4], [2, 5], [3, 6]],
    6: [[3, 6], [2, 5], [1, 4]],
    7: [[6, 3], [5, 2], [4, 1]],
    8: [[4, 1], [5, 2], [6, 3]],
}


def stored_image(orientation: int, scale: int = 1) -> tuple[Image.Image, Image.Exif]:
    gray = np.kron(np.array(STORED[orientation], np.uint8) * 40, np.ones((scale, scale), np.uint8))
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = orientation
    return Image.fromarray(np.repeat(gray[..., None], 3, axis=2)), exif


@pytest.mark.parametrize("orientation", sorted(STORED))
@pytest.mark.parametrize("suffix", ["png", "tiff", "webp"])
def test_orientation_is_applied(tmp_path: Path, orientation: int, suffix: str) -> None:
    image, exif = stored_image(orientation)
    path = tmp_path / f"a.{suffix}"
    image.save(path, exif=exif, **lossless(suffix))
    with Image.open(path) as opened:
        for picture in (read(path), read(opened)):
            assert (pixels_of(picture)[..., 0] // 40).tolist() == [[1, 2, 3], [4, 5, 6]]
            expected = "" if orientation == 1 else f"turned upright (EXIF orientation {orientation})"
            assert picture.note == expected


@pytest.mark.parametrize("orientation", sorted(STORED))
def test_orientation_of_jpeg_is_applied(tmp_path: Path, orientation: int) -> None:
    image, exif = stored_image(orientation, scale=16)
    image.save(tmp_path / "a.jpg", exif=exif, quality=95)
    picture = read(tmp_path / "a.jpg")
    assert (picture.width, picture.height) == (48, 32)
    centres = pixels_of(picture)[8::16, 8::16, 0]
    assert np.round(centres / 40).tolist() == [[1, 2, 3], [4, 5, 6]]


def test_orientation_is_applied_to_16_bit_gray(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = 6
    Image.fromarray(np.array(STORED[6], np.uint16) * 257).save(tmp_path / "a.png", exif=exif)
    assert pixels_of(read(tmp_path / "a.png"))[..., 0].tolist() == [[1, 2, 3], [4, 5, 6]]


@pytest.mark.parametrize("orientation", [0, 9])
def test_unknown_orientations_count_as_upright(tmp_path: Path, orientation: int) -> None:
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = orientation
    Image.fromarray(rgb_array()).save(tmp_path / "a.png", exif=exif)
    assert np.array_equal(pixels_of(read(tmp_path / "a.png")), rgb_array())


def test_damaged_exif_counts_as_upright(tmp_path: Path) -> None:
    Image.fromarray(rgb_array()).save(tmp_path / "a.png", exif=b"Exif\x00\x00nonsense that is no TIFF header")
    assert np.array_equal(pixels_of(read(tmp_path / "a.png")), rgb_array())


# Depths and modes


def scaled(values: npt.NDArray[Any]) -> list[int]:
    return [round(Fraction(int(value), 257)) for value in values.ravel()]


@pytest.mark.parametrize("suffix", ["png", "tiff"])
def test_every_16_bit_gray_value_is_scaled(tmp_path: Path, suffix: str) -> None:
    values = np.arange(65536, dtype=np.uint16).reshape(256, 256)
    Image.fromarray(values).save(tmp_path / f"a.{suffix}")
    picture = read(tmp_path / f"a.{suffix}")
    got = pixels_of(picture)
    assert got[..., 0].ravel().tolist() == scaled(values)
    assert np.array_equal(got[..., 0], got[..., 1])
    assert np.array_equal(got[..., 0], got[..., 2])
    assert picture.note == "16-bit gray, scaled to 8 bits"


@pytest.mark.parametrize(("mode", "order"), [("I;16", "<u2"), ("I;16L", "<u2"), ("I;16B", ">u2")])
def test_16_bit_byte_orders(tmp_path: Path, mode: str, order: str) -> None:
    values = np.array([[0, 128, 129, 257], [385, 386, 65406, 65535]])
    image = Image.frombytes(mode, (4, 2), values.astype(order).tobytes())
    expected = [[0, 0, 1, 1], [1, 2, 254, 255]]
    assert pixels_of(read(image))[..., 0].tolist() == expected
    if mode != "I;16L":  # which older versions of Pillow can't write
        image.save(tmp_path / "a.tiff")
        assert pixels_of(read(tmp_path / "a.tiff"))[..., 0].tolist() == expected


def test_32_bit_gray_in_the_16_bit_range_is_scaled_alike(tmp_path: Path) -> None:
    values = np.array([[0, 257, 1000], [32768, 65407, 65535]], np.int32)
    Image.fromarray(values).save(tmp_path / "a.tiff")
    picture = read(tmp_path / "a.tiff")
    assert pixels_of(picture)[..., 0].ravel().tolist() == scaled(values)
    assert picture.note == "32-bit gray, scaled to 8 bits"


def test_32_bit_gray_beyond_it_is_stretched(tmp_path: Path) -> None:
    Image.fromarray(np.array([[-100, 0], [155, 410]], np.int32)).save(tmp_path / "a.tiff")
    picture = read(tmp_path / "a.tiff")
    assert pixels_of(picture)[..., 0].tolist() == [[0, 50], [128, 255]]
    assert picture.note == "32-bit gray, -100..410 stretched to 0..255"
    picture = read(Image.fromarray(np.array([[32768, 65536]], np.int32)))
    assert pixels_of(picture)[0, :, 0].tolist() == [0, 255]


def test_float_gray_is_stretched_over_its_finite_values(tmp_path: Path) -> None:
    values = np.array([[1.0, 2.0, 6.0], [np.nan, np.inf, -np.inf]], np.float32)
    Image.fromarray(values).save(tmp_path / "a.tiff")
    picture = read(tmp_path / "a.tiff")
    assert pixels_of(picture)[..., 0].tolist() == [[0, 51, 255], [0, 0, 0]]
    assert picture.note == "floating-point gray, 1..6 stretched to 0..255; 3 non-finite values as 0"


def test_constant_float_gray_is_black_and_says_so() -> None:
    picture = read(Image.new("F", (3, 2), 7.5))
    assert not pixels_of(picture).any()
    assert picture.note == "floating-point gray, constant 7.5 as 0"


def test_16_bit_colour_keeps_the_high_bits_and_says_so(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    row = b"\x00" + struct.pack(">6H", 0, 256, 511, 65535, 0x8000, 0x12FF)
    body = zlib.compress(row)
    header = png_header(2, 1).replace(
        struct.pack(">IIBBBBB", 2, 1, 8, 2, 0, 0, 0), struct.pack(">IIBBBBB", 2, 1, 16, 2, 0, 0, 0)
    )
    start = header.index(b"IHDR")
    crc = struct.pack(">I", zlib.crc32(header[start : start + 17]))
    data = struct.pack(">I", len(body)) + b"IDAT" + body + struct.pack(">I", zlib.crc32(b"IDAT" + body))
    path.write_bytes(header[: start + 17] + crc + data + header[-12:])
    picture = read(path)
    assert pixels_of(picture)[0].tolist() == [[0, 1, 1], [255, 0x80, 0x12]]
    assert picture.note == "16-bit colour, high 8 bits kept"


def test_gray_and_1_bit_are_expanded(tmp_path: Path) -> None:
    gray = rgb_array()[..., 0]
    Image.fromarray(gray).save(tmp_path / "gray.png")
    picture = read(tmp_path / "gray.png")
    assert np.array_equal(pixels_of(picture), np.repeat(gray[..., None], 3, axis=2))
    assert picture.note == "gray converted to RGB"
    bits = np.array([[True, False, True], [False, False, True]])
    Image.fromarray(bits).save(tmp_path / "bits.png")
    picture = read(tmp_path / "bits.png")
    assert np.array_equal(pixels_of(picture), np.repeat(bits[..., None] * np.uint8(255), 3, axis=2))
    assert picture.note == "1-bit converted to RGB"


def test_cmyk_is_converted(tmp_path: Path) -> None:
    inks = [[0, 0, 0, 0], [0, 0, 0, 255], [255, 0, 0, 0], [0, 255, 0, 0], [0, 0, 255, 0]]
    image = Image.frombytes("CMYK", (5, 1), bytes(np.array(inks, np.uint8)))
    image.save(tmp_path / "a.tiff")
    picture = read(tmp_path / "a.tiff")
    assert pixels_of(picture)[0].tolist() == [
        [255, 255, 255],
        [0, 0, 0],
        [0, 255, 255],
        [255, 0, 255],
        [255, 255, 0],
    ]
    assert picture.note == "CMYK converted to RGB"
    image.resize((80, 16), Image.Resampling.NEAREST).save(tmp_path / "a.jpg", quality=95)
    got = pixels_of(read(tmp_path / "a.jpg"))[8, 8::16].astype(int)
    assert np.abs(got - pixels_of(picture)[0]).max() <= 6


@pytest.mark.parametrize(
    ("mode", "white", "black"),
    [
        ("YCbCr", (255, 128, 128), (0, 128, 128)),
        ("HSV", (0, 0, 255), (9, 99, 0)),
        ("LAB", (255, 128, 128), (0, 128, 128)),
    ],
)
def test_other_colour_spaces_are_converted(
    mode: str, white: tuple[int, int, int], black: tuple[int, int, int]
) -> None:
    image = Image.new(mode, (2, 1), white)
    image.putpixel((1, 0), black)
    picture = read(image)
    assert np.abs(pixels_of(picture)[0].astype(int) - [[255] * 3, [0] * 3]).max() <= 1
    assert picture.note == f"{mode} converted to RGB"


# Transparency

ALPHAS = np.array([0, 1, 64, 127, 128, 200, 254, 255], np.uint8)


@pytest.mark.parametrize("suffix", ["png", "tiff", "webp"])
def test_rgba_is_composited_over_white(tmp_path: Path, suffix: str) -> None:
    colour = rgb_array(256, len(ALPHAS), seed=3)
    alpha = np.broadcast_to(ALPHAS[None, :, None], (256, len(ALPHAS), 1))
    image = Image.fromarray(np.concatenate([colour, alpha], axis=2))
    image.save(tmp_path / f"a.{suffix}", **lossless(suffix))
    picture = read(tmp_path / f"a.{suffix}")
    expected = [
        over_white(int(c), int(a))
        for c, a in zip(colour.ravel(), np.broadcast_to(alpha, colour.shape).ravel(), strict=True)
    ]
    assert pixels_of(picture).ravel().tolist() == expected
    assert picture.note == "transparency composited over white"


def test_gray_with_alpha_is_composited_over_white(tmp_path: Path) -> None:
    gray_alpha = np.array([[[100, 0], [100, 128], [100, 255], [0, 51]]], np.uint8)
    Image.fromarray(gray_alpha).save(tmp_path / "a.png")
    picture = read(tmp_path / "a.png")
    # 100 * 128/255 + 127 = 177.196; 255 * 204/255 = 204
    assert pixels_of(picture)[0].tolist() == [[255] * 3, [177] * 3, [100] * 3, [204] * 3]
    assert picture.note == "gray converted to RGB; transparency composited over white"


@pytest.mark.parametrize(("mode", "pixel"), [("La", (64, 128)), ("RGBa", (64, 64, 64, 128))])
def test_premultiplied_alpha_is_composited_over_white(mode: str, pixel: tuple[int, ...]) -> None:
    image = Image.frombytes(mode, (1, 1), bytes(pixel))
    assert np.abs(pixels_of(read(image)).astype(int) - (64 + 255 - 128)).max() <= 1


def test_opaque_alpha_changes_nothing(tmp_path: Path) -> None:
    Image.fromarray(rgb_array()).convert("RGBA").save(tmp_path / "a.png")
    picture = read(tmp_path / "a.png")
    assert np.array_equal(pixels_of(picture), rgb_array())
    assert picture.note == ""


def palette_image() -> Image.Image:
    image = Image.fromarray(np.array([[0, 1, 2]], np.uint8))
    image.putpalette([200, 0, 0, 0, 200, 0, 0, 0, 200])
    return image


@pytest.mark.parametrize(
    ("transparency", "expected", "note"),
    [
        (None, [[200, 0, 0], [0, 200, 0], [0, 0, 200]], ""),
        (1, [[200, 0, 0], [255, 255, 255], [0, 0, 200]], "; transparency composited over white"),
        (
            bytes([255, 0, 51]),
            [[200, 0, 0], [255, 255, 255], [204, 204, 244]],
            "; transparency composited over white",
        ),
    ],
)
def test_palettes_with_and_without_transparency(
    tmp_path: Path, transparency: int | bytes | None, expected: list[list[int]], note: str
) -> None:
    options: dict[str, Any] = {} if transparency is None else {"transparency": transparency}
    palette_image().save(tmp_path / "a.png", **options)
    picture = read(tmp_path / "a.png")
    assert pixels_of(picture)[0].tolist() == expected
    assert picture.note == "palette converted to RGB" + note


def test_palette_with_alpha_channel() -> None:
    image = Image.frombytes("PA", (2, 1), bytes([0, 255, 1, 0]))
    image.putpalette([200, 0, 0, 0, 200, 0])
    assert pixels_of(read(image))[0].tolist() == [[200, 0, 0], [255, 255, 255]]


@pytest.mark.parametrize(
    ("values", "clear"),
    [(np.array([[5, 9]], np.uint8), 9), (np.array([[[5, 5, 5], [9, 8, 7]]], np.uint8), (9, 8, 7))],
)
def test_a_transparent_colour_becomes_white(
    tmp_path: Path, values: Array, clear: int | tuple[int, int, int]
) -> None:
    Image.fromarray(values).save(tmp_path / "a.png", transparency=clear)
    assert pixels_of(read(tmp_path / "a.png"))[0].tolist() == [[5] * 3, [255] * 3]


def test_a_transparent_16_bit_value_becomes_white(tmp_path: Path) -> None:
    Image.fromarray(np.array([[257, 514]], np.uint16)).save(tmp_path / "a.png", transparency=514)
    picture = read(tmp_path / "a.png")
    assert pixels_of(picture)[0].tolist() == [[1] * 3, [255] * 3]
    assert picture.note == "16-bit gray, scaled to 8 bits; transparency composited over white"


# Frames


@pytest.mark.parametrize("suffix", ["gif", "webp", "tiff", "png"])
def test_the_first_of_several_frames_is_taken(tmp_path: Path, suffix: str) -> None:
    frames = [Image.new("RGB", (4, 3), (60 * step, 255, 0)) for step in range(4)]
    frames[0].save(tmp_path / f"a.{suffix}", save_all=True, append_images=frames[1:], **lossless(suffix))
    picture = read(tmp_path / f"a.{suffix}")
    assert (pixels_of(picture) == [0, 255, 0]).all()
    assert picture.note.endswith("first of 4 frames")


def test_a_single_frame_needs_no_note(tmp_path: Path) -> None:
    Image.new("RGB", (4, 3)).save(tmp_path / "a.webp", save_all=True)
    assert read(tmp_path / "a.webp").note == ""


def test_of_an_open_animation_the_current_frame_is_taken(tmp_path: Path) -> None:
    frames = [Image.new("RGB", (4, 3), (60 * step, 255, 0)) for step in range(3)]
    frames[0].save(tmp_path / "a.gif", save_all=True, append_images=frames[1:])
    with Image.open(tmp_path / "a.gif") as image:
        image.seek(2)
        assert (pixels_of(read(image)) == [120, 255, 0]).all()
        assert image.tell() == 2


# Finding


def test_directories_are_searched_at_any_depth(tmp_path: Path) -> None:
    for name in ("b.png", "deep/er/a.JPG", "deep/c.webp"):
        write(tmp_path / name)
    (tmp_path / "notes.txt").write_text("not an image")
    (tmp_path / "deep" / "data.bin").write_bytes(b"\x00")
    assert names_of(find_images([tmp_path])) == ["a.JPG", "b.png", "c.webp"]
    assert names_of(find_images([str(tmp_path) + os.sep])) == ["a.JPG", "b.png", "c.webp"]


@pytest.mark.parametrize("pattern", ["", "*.png", "**/*.png", "*/*.png"])
def test_hidden_files_and_directories_are_skipped(tmp_path: Path, pattern: str) -> None:
    write(tmp_path / "seen.png")
    write(tmp_path / "open" / "seen2.png")
    for name in (".hidden.png", "._seen.png", ".git/a.png", "open/.thumbs/b.png"):
        write(tmp_path / name)
    found = names_of(find_images([str(tmp_path / pattern)]))
    assert set(found) <= {"seen.png", "seen2.png"}


def test_a_hidden_file_or_directory_that_is_named_is_taken(tmp_path: Path) -> None:
    write(tmp_path / ".photos" / "a.png")
    write(tmp_path / ".b.png")
    assert names_of(find_images([tmp_path / ".photos", tmp_path / ".b.png"])) == [".b.png", "a.png"]


def test_globs_match_files_only(tmp_path: Path) -> None:
    for name in ("cat1.png", "cat2.png", "dog.png", "catalogue/x.png", "more/cat3.png"):
        write(tmp_path / name)
    assert names_of(find_images([f"{tmp_path}/cat*"])) == ["cat1.png", "cat2.png"]
    assert names_of(find_images([f"{tmp_path}/cat?.png"])) == ["cat1.png", "cat2.png"]
    assert names_of(find_images([f"{tmp_path}/[d]*.png"])) == ["dog.png"]
    assert names_of(find_images([f"{tmp_path}/**/cat?.png"])) == ["cat1.png", "cat2.png", "cat3.png"]


def test_a_file_whose_name_looks_like_a_glob_is_that_file(tmp_path: Path) -> None:
    write(tmp_path / "a[1].png")
    write(tmp_path / "a1.png")
    assert names_of(find_images([f"{tmp_path}/a[1].png"])) == ["a[1].png"]


def test_home_is_expanded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    write(tmp_path / "photos" / "a.png")
    for item in ("~/photos/a.png", "~/photos", "~/photos/*.png", Path("~/photos/a.png")):
        assert [source.content for source in find_images([item])] == [tmp_path / "photos" / "a.png"]


def test_relative_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path / "a.png")
    monkeypatch.chdir(tmp_path)
    for item in ("a.png", "./a.png", ".", "*.png"):
        assert names_of(find_images([item])) == ["a.png"]


def test_the_same_file_counts_once(tmp_path: Path) -> None:
    path = write(tmp_path / "a.png")
    (tmp_path / "sub").mkdir()
    (tmp_path / "z.png").symlink_to(path)
    for name in ("loop", "sub/up", "sub/self"):  # without care, a walk through these has no end
        (tmp_path / name).symlink_to((tmp_path / name).parent, target_is_directory=True)
    (tmp_path / "sub" / "top").symlink_to(tmp_path, target_is_directory=True)
    items: list[Item] = [path, str(path), tmp_path / "sub" / ".." / "a.png", tmp_path, f"{tmp_path}/[az].png"]
    assert names_of(find_images(items)) == ["a.png"]
    assert names_of(find_images([tmp_path / "z.png"])) == ["z.png"]


def test_the_order_of_arguments_does_not_matter(tmp_path: Path) -> None:
    names = ("Zebra.png", "apple.png", "b/apple.png", "a/Apple.png", "mango.png")
    paths: list[Item] = [write(tmp_path / name) for name in names]
    (tmp_path / "alias.png").symlink_to(tmp_path / "mango.png")
    paths.append(tmp_path / "alias.png")
    expected = find_images(paths)
    assert names_of(expected) == ["alias.png", "Apple.png", "apple.png", "apple.png", "Zebra.png"]
    for shift in range(1, len(paths)):
        assert find_images(paths[shift:] + paths[:shift]) == expected
    assert find_images(reversed(paths)) == expected


def test_equal_names_are_ordered_by_path(tmp_path: Path) -> None:
    b, a = write(tmp_path / "b" / "cat.png"), write(tmp_path / "a" / "cat.png")
    sources = find_images([b, a])
    assert [source.content for source in sources] == [a, b]
    assert [source.id for source in sources] == ["cat", "cat-2"]


def test_ids_are_unique_under_case_folding(tmp_path: Path) -> None:
    names = ("a/cat.png", "b/cat.png", "b/cat-2.png", "Cat.png", "cat.jpg", "c/CAT.png", "con.png")
    sources = find_images([write(tmp_path / name) for name in names])
    ids = [source.id.casefold() for source in sources]
    assert len(set(ids)) == len(names)
    assert {slugify("Cat"), slugify("CAT"), slugify("con"), "cat"} <= set(ids)


@pytest.mark.parametrize("name", ["Ünïcödé.png", "写真.png", "a b\tc.png", "🐈.png", "line\nbreak.png"])
def test_unusual_names(tmp_path: Path, name: str) -> None:
    picture = read(write(tmp_path / name))
    assert picture.name == name
    assert picture.id == slugify(name.removesuffix(".png"))
    assert picture.id.isascii()


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere file names are Unicode")
def test_names_that_are_not_utf_8(tmp_path: Path) -> None:
    picture = read(write(tmp_path / os.fsdecode(b"caf\xe9.png")))
    assert picture.name == "caf?.png"
    assert picture.id.startswith("caf-")


def test_a_single_item_is_a_list_of_one(tmp_path: Path) -> None:
    path = write(tmp_path / "a.png")
    assert find_images(str(path)) == find_images([path])
    assert len(find_images(torch.zeros(3, 4, 5))) == 1
    assert len(find_images(Image.new("RGB", (2, 2)))) == 1  # type: ignore[arg-type]


def test_objects_follow_files_in_the_order_given(tmp_path: Path) -> None:
    path = write(tmp_path / "z.png")
    first, second = Image.new("RGB", (2, 2)), Image.new("L", (3, 3))
    sources = find_images([second, torch.zeros(2, 3, 4, 4), path, first])
    assert names_of(sources) == ["z.png", "image 1", "tensor 2", "tensor 3", "image 4"]
    assert [source.id for source in sources] == ["z", "image-1", "image-2", "image-3", "image-4"]
    assert sources[1].content is second
    assert sources[4].content is first


def test_a_pil_image_is_called_after_its_file(tmp_path: Path) -> None:
    path = write(tmp_path / "My cat.png")
    with Image.open(path) as image:
        picture = read(image)
    assert (picture.id, picture.name) == (slugify("My cat"), "My cat.png")
    assert np.array_equal(pixels_of(picture), rgb_array())


def test_no_file_is_left_open(tmp_path: Path) -> None:
    frames = [Image.new("RGB", (9, 9), (step, 0, 0)) for step in range(3)]
    for suffix in sorted(SUFFIXES):
        write(tmp_path / "good" / f"a{suffix}")
    frames[0].save(tmp_path / "good" / "b.tiff", save_all=True, append_images=frames, compression="tiff_lzw")
    bad = tmp_path / "bad.png"
    huge = tmp_path / "huge.png"
    bad.write_bytes(b"\x89PNG\r\n\x1a\nnonsense")
    huge.write_bytes(png_header(60000, 60000))
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", ResourceWarning)
        for source in find_images([tmp_path / "good"]):
            decode(source)
        for path in (bad, huge):
            refusal([path])
        gc.collect()
    assert [str(warning.message) for warning in caught] == []


# Refusals


@pytest.mark.parametrize("items", [[], (), iter(())])
def test_no_images_at_all(items: list[Item]) -> None:
    with pytest.raises(InputError, match=r"no images were given; .*glob"):
        find_images(items)


def test_a_missing_file_names_its_neighbours(tmp_path: Path) -> None:
    write(tmp_path / "kitten.png")
    message = refusal([f"{tmp_path}/kiten.png"])
    assert message == f"{tmp_path}/kiten.png does not exist; did you mean kitten.png?"


def test_a_missing_file_without_neighbours(tmp_path: Path) -> None:
    assert refusal([tmp_path / "a.png"]) == f"{tmp_path}/a.png does not exist; check the path"
    message = refusal([tmp_path / "no" / "a.png"])
    assert message == f"{tmp_path}/no/a.png does not exist, nor does its directory; check the path"


def test_an_empty_directory_names_the_suffixes(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("x")
    message = refusal([tmp_path])
    assert str(tmp_path) in message
    assert all(suffix in message for suffix in SUFFIXES)


def test_a_glob_without_matches(tmp_path: Path) -> None:
    (tmp_path / "only.png").mkdir()
    assert refusal([f"{tmp_path}/*.png"]).startswith(f"{tmp_path}/*.png matches no file")


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"", "is empty (0 bytes)"),
        (b"dear diary", "is not an image in a known format"),
        (b"\x89PNG\r\n\x1a\n", "is not an image in a known format"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\n", "is EPS"),
    ],
)
def test_files_that_are_no_images_fail_when_found(tmp_path: Path, content: bytes, expected: str) -> None:
    write(tmp_path / "good.png")
    path = tmp_path / "a.png"
    path.write_bytes(content)
    for item in (path, tmp_path, f"{tmp_path}/*"):
        with pytest.raises(InputError) as caught:
            find_images([item])
        assert str(caught.value).startswith(f"{path} {expected}")
        assert "\n" not in str(caught.value)


def test_permission_errors(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write(tmp_path / "a.png")

    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(Path, "open", refuse)
    assert refusal([path]) == f"{path} can't be read (Permission denied); check the path and its permissions"
    monkeypatch.undo()
    monkeypatch.setattr(Path, "iterdir", refuse)
    assert refusal([tmp_path]).startswith(f"{path} can't be read (Permission denied)")


def test_broken_links_and_devices(tmp_path: Path) -> None:
    link = tmp_path / "a.png"
    link.symlink_to(tmp_path / "nowhere")
    assert "a link that leads nowhere" in refusal([link])
    assert "a link that leads nowhere" in refusal([tmp_path])
    if hasattr(os, "mkfifo"):
        os.mkfifo(tmp_path / "pipe")
        assert "not a regular file" in refusal([tmp_path / "pipe"])


@pytest.mark.parametrize("name", ["", "a\0b.png", "x" * 5000, "~nobody-of-this-name/a.png"])
def test_impossible_names(name: str) -> None:
    refusal([name])


@pytest.mark.parametrize("size", [(10_000, 9_000), (60_000, 60_000)])
def test_too_many_pixels(tmp_path: Path, size: tuple[int, int], recwarn: pytest.WarningsRecorder) -> None:
    path = tmp_path / "huge.png"
    path.write_bytes(png_header(*size))
    with pytest.raises(InputError) as caught:
        find_images([path])
    message = str(caught.value)
    assert message.startswith(f"{path} has {size[0] * size[1]} pixels, more than the 62000000 allowed")
    assert len(recwarn) == 0


def test_the_limit_holds_whatever_pillow_is_set_to(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", None)
    path = tmp_path / "huge.png"
    path.write_bytes(png_header(10_000, 9_000))
    assert "90000000 pixels" in refusal([path])
    monkeypatch.setattr(images, "MAX_PIXELS", 34)
    assert "image 1 has 35 pixels, more than the 34 allowed" in refusal([Image.new("RGB", (5, 7))])
    monkeypatch.setattr(images, "MAX_PIXELS", 35)
    assert read(Image.new("RGB", (5, 7))).width == 5


@pytest.mark.parametrize("suffix", ["png", "jpg", "gif", "webp", "tiff", "bmp"])
@pytest.mark.parametrize("share", [0.5, 0.8, 0.97])
def test_truncated_files(tmp_path: Path, suffix: str, share: float) -> None:
    path = tmp_path / f"cut.{suffix}"
    Image.fromarray(rgb_array(40, 50)).save(path)
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * share)])
    assert refusal([path]).startswith(f"{path} can't be decoded (")


def test_corrupt_data(tmp_path: Path) -> None:
    path = tmp_path / "bad.png"
    Image.fromarray(rgb_array(40, 50)).save(path)
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 0xFF
    path.write_bytes(data)
    assert refusal([path]).startswith(f"{path} can't be decoded (")


def test_a_file_that_vanishes_before_it_is_decoded(tmp_path: Path) -> None:
    path = write(tmp_path / "a.png")
    (source,) = find_images([path])
    path.unlink()
    with pytest.raises(InputError, match=r"a\.png can't be read \(No such file"):
        decode(source)


def test_a_closed_pil_image(tmp_path: Path) -> None:
    with Image.open(write(tmp_path / "a.png")) as image:
        pass
    assert refusal([image]).startswith("a.png can't be decoded (")


def test_a_pil_image_without_pixels() -> None:
    assert "0 x 5 pixels" in refusal([Image.new("RGB", (0, 5))])


@pytest.mark.parametrize("item", [3, None, b"a.png", np.zeros((2, 2, 3), np.uint8)])
def test_other_types(item: Item) -> None:
    message = refusal([torch.zeros(3, 2, 2), item])
    assert message.startswith(f"image 2 is of type {type(item).__name__};")


@pytest.mark.parametrize(
    ("tensor", "expected"),
    [
        (torch.zeros(4, 4), "(4, 4)"),
        (torch.zeros(()), "()"),
        (torch.zeros(1, 1, 1, 3, 4, 4), "(1, 1, 1, 3, 4, 4)"),
        (torch.zeros(1, 1, 3, 4, 4, dtype=torch.uint8), "(1, 1, 3, 4, 4)"),
        (torch.zeros(0, 3, 4, 4), "(0, 3, 4, 4)"),
        (torch.zeros(3, 0, 4), "(3, 0, 4)"),
        (torch.zeros(8, 8, 3, dtype=torch.uint8), "8 channels"),
        (torch.zeros(2, 2, 4, 4, dtype=torch.uint8), "2 channels"),
        (torch.zeros(3, 4, 4, dtype=torch.int64), "torch.int64"),
        (torch.zeros(3, 4, 4, dtype=torch.bool), "torch.bool"),
        (torch.zeros(3, 4, 4, dtype=torch.complex64), "torch.complex64"),
        (torch.zeros(3, 4, 4).to_sparse(), "dense"),
        (torch.zeros(3, 4, 4, device="meta"), "dense"),
    ],
)
def test_tensors_that_are_no_images(tensor: torch.Tensor, expected: str) -> None:
    message = refusal([Image.new("RGB", (1, 1)), tensor])
    assert message.startswith("image 2, a tensor")
    assert expected in message


# PIL images and tensors


def test_pil_images_are_decoded_and_left_alone(tmp_path: Path) -> None:
    image, exif = stored_image(6)
    image.save(tmp_path / "a.png", exif=exif)
    with Image.open(tmp_path / "a.png") as opened:
        opened.load()
        state = (opened.mode, opened.size, dict(opened.info), opened.tobytes(), dict(opened.getexif()))
        picture = read(opened)
        assert (picture.width, picture.height) == (3, 2)
        picture.pixels.paste((9, 9, 9), (0, 0, 3, 2))
        assert (
            opened.mode,
            opened.size,
            dict(opened.info),
            opened.tobytes(),
            dict(opened.getexif()),
        ) == state


@pytest.mark.parametrize("mode", ["1", "L", "P", "RGB", "RGBA", "LA", "CMYK", "I", "I;16", "F"])
def test_no_pil_image_shares_its_memory(mode: str) -> None:
    image = Image.new(mode, (4, 3))
    before, info = image.tobytes(), dict(image.info)
    picture = read(image)
    assert picture.pixels is not image
    picture.pixels.putpixel((0, 0), (1, 2, 3))
    assert (image.mode, image.size, image.tobytes(), image.info) == (mode, (4, 3), before, info)


def test_the_hash_of_a_pil_image_tells_what_is_shown() -> None:
    def variants() -> list[Image.Image]:
        recoloured, clear, turned = palette_image(), palette_image(), palette_image()
        recoloured.putpalette([1, 2, 3, 4, 5, 6, 7, 8, 9])
        clear.info["transparency"] = 1
        turned.getexif()[ExifTags.Base.Orientation] = 3
        other = Image.fromarray(np.array([[0, 1, 3]], np.uint8))
        tall = Image.fromarray(np.array([[0], [1], [2]], np.uint8))
        plain, keyed = Image.new("RGB", (3, 1)), Image.new("RGB", (3, 1))
        keyed.info["transparency"] = (0, 0, 0)
        return [palette_image(), recoloured, clear, turned, other, tall, plain, keyed]

    hashes = [read(image).sha256 for image in variants()]
    assert len(set(hashes)) == len(hashes)
    assert hashes == [read(image).sha256 for image in variants()]


@pytest.mark.parametrize("channels", [1, 3, 4])
def test_uint8_tensors_are_pictures(channels: int) -> None:
    values = np.random.default_rng(1).integers(0, 256, (channels, 5, 7), np.uint8)
    tensor = torch.from_numpy(values.copy())
    picture = read(tensor)
    assert (picture.width, picture.height, picture.network_input) == (7, 5, None)
    got = pixels_of(picture)
    for row in range(5):
        for column in range(7):
            pixel = [int(value) for value in values[:, row, column]]
            colour = pixel * 3 if channels == 1 else pixel[:3]
            alpha = pixel[3] if channels == 4 else 255
            assert got[row, column].tolist() == [over_white(level, alpha) for level in colour]
    picture.pixels.paste((0, 0, 0), (0, 0, 7, 5))
    assert np.array_equal(tensor.numpy(), values)


@pytest.mark.parametrize("divisor", [1, 255.0])
def test_tensors_may_be_strided(divisor: float) -> None:
    channels_last = torch.from_numpy(rgb_array()).permute(2, 0, 1)
    tensor = channels_last if divisor == 1 else channels_last / divisor
    assert not tensor.is_contiguous()
    assert np.array_equal(pixels_of(read(tensor)), rgb_array())
    assert read(tensor).sha256 == read(tensor.contiguous()).sha256


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_floating_tensors_are_fed_as_they_are(dtype: torch.dtype) -> None:
    tensor = torch.randn(2, 3, 5, 7, generator=torch.Generator().manual_seed(0)).to(dtype)
    before = tensor.clone()
    fed = [decode(source).network_input for source in find_images([tensor])]
    for given, got in zip(before, fed, strict=True):
        assert got is not None
        assert (got.dtype, got.device.type, got.shape) == (dtype, "cpu", (3, 5, 7))
        assert torch.equal(got, given)
        got.zero_()
    assert torch.equal(tensor, before)


def test_what_is_fed_is_cut_off_from_the_caller() -> None:
    parameter = torch.nn.Parameter(torch.ones(3, 2, 2))
    picture = read(parameter)
    with torch.no_grad():
        parameter.zero_()
    assert picture.network_input is not None
    assert not picture.network_input.requires_grad
    assert picture.network_input.eq(1).all()


@pytest.mark.parametrize("dtype", [torch.uint8, torch.float32])
def test_tensor_subclasses_become_plain_tensors(dtype: torch.dtype) -> None:
    class Marked(torch.Tensor):
        pass

    (source,) = find_images([torch.ones(3, 2, 2, dtype=dtype).as_subclass(Marked)])
    assert type(source.content) is torch.Tensor
    assert type(decode(source).network_input) in (torch.Tensor, type(None))


def test_floats_in_0_to_1_are_shown_as_they_are() -> None:
    tensor = torch.tensor([0.0, 0.25, 0.5, 1.0]).reshape(1, 2, 2).repeat(3, 1, 1)
    tensor[2] = 0.5
    picture = read(tensor)
    assert pixels_of(picture)[..., 0].tolist() == [[0, 64], [128, 255]]
    assert (pixels_of(picture)[..., 2] == 128).all()
    assert picture.note == "float32 tensor, fed as it is; 0..1 shown as 0..255"


def test_other_floats_are_stretched_jointly() -> None:
    tensor = torch.tensor([-1.0, 0.0, 1.0, 4.0]).reshape(1, 1, 4).repeat(3, 1, 1)
    tensor[1] = 0.0
    picture = read(tensor)
    assert pixels_of(picture)[0].tolist() == [[0, 51, 0], [51, 51, 51], [102, 51, 102], [255, 51, 255]]
    assert picture.note == "float32 tensor, fed as it is; -1..4 stretched to 0..255"


def test_one_channel_is_gray_and_other_counts_are_averaged() -> None:
    one = read(torch.tensor([[[0.0, 1.0]]]))
    assert pixels_of(one)[0].tolist() == [[0] * 3, [255] * 3]
    five = read(torch.arange(10, dtype=torch.float32).reshape(5, 1, 2))
    assert pixels_of(five)[0].tolist() == [[0] * 3, [255] * 3]
    assert "mean of its 5 channels" in five.note
    assert "4..5 stretched" in five.note


def test_non_finite_floats_are_shown_as_0() -> None:
    nan, inf = float("nan"), float("inf")
    picture = read(torch.tensor([[[nan, inf, -inf, -2.0, 3.0]]]))
    assert pixels_of(picture)[0, :, 0].tolist() == [0, 0, 0, 0, 255]
    assert picture.note.endswith("-2..3 stretched to 0..255; 3 non-finite values as 0")
    assert picture.network_input is not None
    assert picture.network_input.isnan().sum() == 1
    nothing = read(torch.full((3, 2, 2), nan))
    assert not pixels_of(nothing).any()
    assert nothing.note == "float32 tensor, fed as it is; 12 non-finite values as 0"
    assert not pixels_of(read(torch.tensor([[[inf]], [[-inf]]]))).any()


@pytest.mark.parametrize(("low", "high"), [(-1.7e308, 1.7e308), (-5e-324, 5e-324), (1e300, 1.1e300)])
def test_extreme_ranges_do_not_overflow(low: float, high: float) -> None:
    picture = read(torch.tensor([[[low, high]]], dtype=torch.float64))
    assert pixels_of(picture)[0, :, 0].tolist() == [0, 255]


def test_a_constant_beyond_0_to_1_is_black_and_says_so() -> None:
    picture = read(torch.full((3, 2, 2), 5.0))
    assert not pixels_of(picture).any()
    assert "constant 5 as 0" in picture.note


def test_the_hash_of_a_tensor_tells_dtype_shape_and_values() -> None:
    zeros = torch.zeros(3, 4, 2)
    variants = [
        zeros,
        zeros.to(torch.float64),
        zeros.reshape(3, 2, 4),
        zeros.to(torch.uint8),
        zeros.index_fill(0, torch.tensor(0), 1.0),
    ]
    hashes = [read(variant).sha256 for variant in variants]
    assert len(set(hashes)) == len(hashes)
    assert hashes == [read(variant.clone()).sha256 for variant in variants]
    assert all(len(digest) == 64 for digest in hashes)


def test_decoding_leaves_the_warning_filters_alone(tmp_path: Path) -> None:
    before = list(warnings.filters)
    read(write(tmp_path / "a.png"))
    refusal([tmp_path / "missing.png"])
    assert list(warnings.filters) == before


@pytest.mark.parametrize("damage", range(0, 120, 3))
def test_damage_anywhere_is_refused_or_harmless(tmp_path: Path, damage: int) -> None:
    """Whatever Pillow raises for corrupt bytes, the only error that leaves is InputError."""
    for suffix in ("png", "jpg", "gif"):
        path = tmp_path / f"a.{suffix}"
        Image.fromarray(rgb_array(12, 12)).save(path)
        data = bytearray(path.read_bytes())
        data[damage] ^= 0x55
        path.write_bytes(data)
        try:
            picture = read(path)
        except InputError as error:
            assert str(path) in str(error)
        else:
            assert picture.pixels.mode == "RGB"


def test_clips_are_shown_by_their_middle_frame() -> None:
    clips = torch.zeros(2, 3, 4, 5, 6)
    clips[1, :, 1] = 0.5
    sources = find_images([clips])
    assert [source.name for source in sources] == ["tensor 1", "tensor 2"]
    picture = decode(sources[1])
    assert picture.network_input is not None
    assert torch.equal(picture.network_input, clips[1])
    assert (picture.width, picture.height) == (6, 5)
    assert np.asarray(picture.pixels).tolist() == np.full((5, 6, 3), 128).tolist()
    assert picture.note == "float32 tensor, fed as it is, shown by frame 2 of 4; 0..1 shown as 0..255"


def test_bad_images_are_left_out_on_request(tmp_path: Path) -> None:
    Image.new("RGB", (4, 4)).save(tmp_path / "good.png")
    (tmp_path / "empty.png").write_bytes(b"")
    (tmp_path / "noise  .png").write_bytes(b"nothing that is a picture")
    bad: list[BadImage] = []
    assert [source.name for source in find_images([tmp_path], bad.append)] == ["good.png"]
    assert [image.name for image in bad] == ["empty.png", "noise .png"]
    assert bad[0].reason == "is empty (0 bytes); copy it again or leave it out"
    assert bad[1].reason.startswith("is not an image in a known format; ")
    with pytest.raises(InputError, match=r"empty\.png is empty"):
        find_images([tmp_path])


def test_only_bad_images_are_refused_all_the_same(tmp_path: Path) -> None:
    for name in ("a.png", "b.png"):
        (tmp_path / name).write_bytes(b"")
    bad: list[BadImage] = []
    with pytest.raises(InputError, match=r"^none of the 2 images can be used; the first, a\.png, is empty"):
        find_images([tmp_path], bad.append)


def test_an_image_that_is_not_there_is_never_left_out(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="does not exist"):
        find_images([tmp_path / "absent.png"], list[BadImage]().append)


def test_what_is_converted_in_parts_is_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    ramp = torch.linspace(-3, 9, 3 * 11 * 13).reshape(3, 11, 13)
    ramp[1, 5, 2:9] = float("nan")
    ramp[2, 0] = float("inf")
    clear = Image.fromarray(np.random.default_rng(0).integers(0, 256, (11, 13, 4), np.uint8))
    whole = [read(ramp), read(ramp.clamp(0, 1)), read(clear)]
    monkeypatch.setattr(pixels, "_AT_ONCE", 26)
    parts = [read(ramp), read(ramp.clamp(0, 1)), read(clear)]
    assert [picture.note for picture in parts] == [picture.note for picture in whole]
    assert [picture.pixels.tobytes() for picture in parts] == [picture.pixels.tobytes() for picture in whole]
