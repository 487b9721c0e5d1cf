"""What Pillow reads back, and what the PNG specification asks of the bytes."""

import io
import struct
import threading
import zlib
from concurrent.futures import ThreadPoolExecutor

import matplotlib as mpl
import numpy as np
import pytest
from PIL import Image

from reportgen.drawing.palette import palette
from reportgen.drawing.png import encode_colours, encode_indexed, encode_picture, encode_quickly
from reportgen.errors import UsageError


def test_pillow_reads_the_indices_back() -> None:
    lines = np.random.default_rng(0).integers(0, 256, (37, 54), dtype=np.uint8)
    lines[:, 0] = 0
    picture = Image.open(io.BytesIO(encode_indexed(lines, palette("viridis"))))
    assert picture.mode == "P"
    assert np.array_equal(np.asarray(picture), lines[:, 1:])


def test_the_palette_is_the_colour_map_then_gap_nan_and_infinities() -> None:
    lines = np.concatenate([[0], np.arange(256)]).astype(np.uint8)[None, :]
    colours = np.asarray(Image.open(io.BytesIO(encode_indexed(lines, palette("magma")))).convert("RGBA"))[0]
    expected = np.round(np.array([mpl.colormaps["magma"](i / 251) for i in range(252)]) * 255)
    assert np.array_equal(colours[:252], expected)
    assert colours[252, 3] == 0
    assert (colours[253:, 3] == 255).all()
    assert len({tuple(colour) for colour in colours[252:]}) == 4


def test_chunks_follow_the_specification() -> None:
    data = encode_indexed(np.zeros((3, 5), np.uint8), palette("viridis"))
    assert data[:8] == b"\x89PNG\r\n\x1a\n"
    kinds, place = [], 8
    while place < len(data):
        (length,) = struct.unpack(">I", data[place : place + 4])
        chunk, checksum = data[place + 4 : place + 8 + length], data[place + 8 + length : place + 12 + length]
        assert struct.unpack(">I", checksum)[0] == zlib.crc32(chunk)
        kinds.append(chunk[:4])
        place += 12 + length
    assert kinds == [b"IHDR", b"PLTE", b"tRNS", b"IDAT", b"IEND"]


def test_the_bytes_do_not_depend_on_where_the_encoder_lies_in_memory() -> None:
    random = np.random.default_rng(5)
    pictures = [
        np.pad(random.integers(0, levels, (height, width), dtype=np.uint8), ((0, 0), (1, 0)))
        for levels, height, width in zip(
            random.choice([2, 5, 30], 300), random.integers(2, 40, 300), random.integers(3, 60, 300), strict=True
        )
    ]
    colours = palette("viridis")
    together = threading.Barrier(48)  # all of them live at once, each with a stack of its own

    def encoded(_: int) -> list[bytes]:
        together.wait()
        return [encode_indexed(lines, colours) for lines in pictures]

    with ThreadPoolExecutor(together.parties) as threads:
        found = list(threads.map(encoded, range(together.parties)))
    assert all(one == found[0] for one in found)


@pytest.mark.parametrize("width", range(1, 20))
def test_a_stream_in_two_parts_holds_every_byte(width: int) -> None:
    for height in (1, 2, 3):
        lines = np.pad(np.arange(width * height, dtype=np.uint8).reshape(height, width), ((0, 0), (1, 0)))
        found = np.asarray(Image.open(io.BytesIO(encode_indexed(lines, palette("viridis")))))
        assert np.array_equal(found, lines[:, 1:])


def test_a_picture_is_lossless_and_bears_no_metadata() -> None:
    pixels = np.random.default_rng(1).integers(0, 256, (9, 7, 3), dtype=np.uint8)
    picture = Image.fromarray(pixels)
    picture.info["comment"] = "taken at home"
    data = encode_picture(picture)
    assert np.array_equal(np.asarray(Image.open(io.BytesIO(data))), pixels)
    assert b"home" not in data


def test_a_picture_that_is_encoded_quickly_is_lossless_too() -> None:
    pixels = np.random.default_rng(1).integers(0, 256, (9, 7, 3), dtype=np.uint8)
    with Image.open(io.BytesIO(encode_quickly(pixels))) as picture:
        assert picture.mode == "RGB"
        assert np.array_equal(np.asarray(picture), pixels)


def test_an_unknown_colour_map_names_the_nearest() -> None:
    with pytest.raises(UsageError, match=r"there is no colour map 'viridus'; did you mean .*viridis"):
        palette("viridus")


def test_pillow_reads_the_colours_back_and_where_they_are_transparent() -> None:
    pixels = np.random.default_rng(2).integers(0, 256, (23, 17, 3), dtype=np.uint8)
    pixels[4:9, 3] = (0, 255, 0)
    lines = np.concatenate([np.zeros((23, 1), np.uint8), pixels.reshape(23, -1)], axis=1)
    before = lines.copy()
    picture = Image.open(io.BytesIO(encode_colours(lines, (0, 255, 0))))
    assert picture.mode == "RGB"
    assert np.array_equal(np.asarray(picture), pixels)
    opacity = np.asarray(picture.convert("RGBA"))[..., 3]
    assert np.array_equal(opacity == 0, (pixels == (0, 255, 0)).all(axis=2))
    assert np.array_equal(lines, before)
