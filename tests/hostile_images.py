"""Image files made to do harm: mutated copies of valid ones, and files that lie about what they hold."""

import io
import os
import random
import struct
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from confined import Confined

LIMIT = 4_000_000
FORMATS = (
    "PNG", "JPEG", "GIF", "WEBP", "TIFF", "BMP", "APNG", "PPM", "ICO", "TGA", "JPEG2000", "AVIF", "MPO", "PCX",
    "QOI", "SGI", "ICNS", "DDS", "IM", "MSP",
)  # fmt: skip
"""What Pillow writes and reads by itself; those that it was built without are passed over."""
_ENDINGS = {"JPEG": "jpg", "JPEG2000": "jp2", "TIFF": "tif", "APNG": "png"}


def valid(kind: str) -> bytes:
    """A small file of a kind: an animation or several pages where there are such; b"" if Pillow can't write it."""
    noise = np.random.default_rng(0).integers(0, 256, (3, 24, 31, 3), np.uint8)
    first, *others = [Image.fromarray(part) for part in noise]
    exif, buffer = Image.Exif(), io.BytesIO()
    exif[0x0112] = 6
    several: dict[str, Any] = {"save_all": True, "append_images": others}
    extras: dict[str, dict[str, Any]] = {
        "PNG": {"icc_profile": b"x" * 200, "exif": exif},
        "JPEG": {"exif": exif, "progressive": True, "icc_profile": b"y" * 300},
        "TIFF": {**several, "compression": "tiff_lzw"},
        "GIF": several,
        "WEBP": several,
        "APNG": several,
        "MPO": several,
        "AVIF": several,
    }
    picture = first.convert("1") if kind == "MSP" else first
    try:
        picture.save(buffer, kind.removeprefix("A") if kind == "APNG" else kind, **extras.get(kind, {}))
    except (KeyError, OSError, ValueError):
        return b""
    return buffer.getvalue()


def mutated(data: bytes, chance: random.Random) -> bytes:
    """The file with bits flipped, numbers made extreme, parts cut out, doubled or swapped, or its end lost."""
    damaged = bytearray(data)
    for _ in range(chance.choice((1, 1, 2, 8))):
        # Headers are where sizes, counts and offsets stand.
        end = min(len(damaged), chance.choice((64, 256, len(damaged))))
        place = chance.randrange(max(1, end - 4))
        length = chance.randrange(1, 40)
        change = chance.randrange(6)
        if change == 0:
            damaged[place] ^= 1 << chance.randrange(8)
        elif change == 1:
            damaged[place : place + 4] = chance.choice(
                (b"\0\0\0\0", b"\xff\xff\xff\xff", b"\x7f\xff\xff\xff", b"\0\0\xff\xff")
            )
        elif change == 2:
            del damaged[place : place + length]
        elif change == 3:
            damaged[place:place] = damaged[place : place + length]
        elif change == 4:
            damaged[place : place + length] = chance.randbytes(length)
        else:
            del damaged[max(8, chance.randrange(len(damaged) + 1)) :]
        damaged = damaged or bytearray(b"\0")
    return bytes(damaged)


def with_sums(data: bytes) -> bytes:
    """A PNG with the check sum of every whole chunk made right again; other files as they are."""
    place, repaired = 8, bytearray(data)
    while data.startswith(b"\x89PNG") and place + 12 <= len(data):
        end = place + 8 + struct.unpack_from(">I", data, place)[0]
        if end + 4 > len(data):
            break
        struct.pack_into(">I", repaired, end, zlib.crc32(data[place + 4 : end]))
        place = end + 4
    return bytes(repaired)


def mutations(kind: str, count: int) -> Iterator[tuple[str, bytes]]:
    """Yield `count` mutated files of a kind, each with its name; the same ones every time."""
    whole = valid(kind)
    for seed in range(count if whole else 0):
        damaged = mutated(whole, random.Random(f"{kind} {seed}"))
        yield f"{kind}-{seed}.{_ENDINGS.get(kind, kind.lower())}", with_sums(damaged) if seed % 2 else damaged


def faults_of(process: Confined, path: Path, content: bytes) -> tuple[str, bool]:
    """Decode a file in the process; return what is wrong with how that ended, or "", and whether it was refused."""
    path.write_bytes(content)
    outcome = process.decode(path, LIMIT, frames=2 if len(content) % 2 else 1)
    path.unlink()
    fault = outcome.fault(name=path.name, codes=(0, 3))
    if not fault and outcome.code == 0:
        width, height = map(int, outcome.said.split("x"))
        fault = "" if 0 < width * height <= LIMIT else f"{path.name}: {outcome.said} pixels"
    return fault, outcome.code == 3


# Files that lie


def chunk(kind: bytes, data: bytes) -> bytes:
    """A chunk of a PNG."""
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(width: int, height: int, *chunks: bytes, depth: int = 8, colour: int = 2, pixels: bytes = b"") -> bytes:
    """A PNG with a header, further chunks and packed pixels."""
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0))
    return b"".join((b"\x89PNG\r\n\x1a\n", header, *chunks, chunk(b"IDAT", pixels), chunk(b"IEND", b"")))


def png_bomb(side: int, channels: int = 4) -> bytes:
    """A small PNG that unpacks to side x side pixels of transparent black (or of black)."""
    packer, row = zlib.compressobj(9), bytes(1 + side * channels)
    pixels = b"".join(packer.compress(row) for _ in range(side)) + packer.flush()
    return png(side, side, colour=6 if channels == 4 else 2, pixels=pixels)


def _good_png(*chunks: bytes) -> bytes:
    return png(1, 1, *chunks, pixels=zlib.compress(b"\0abc"))


def _packed_zeros(megabytes: int) -> bytes:
    packer = zlib.compressobj(9)
    return b"".join(packer.compress(bytes(1 << 20)) for _ in range(megabytes)) + packer.flush()


def _texts() -> Iterator[bytes]:
    zeros = _packed_zeros(64)
    for number in range(40):  # together they would unpack to more than two gigabytes
        yield chunk(b"zTXt", b"%d\0\0" % number + zeros)


def _tiff(tags: list[tuple[int, int, int, int]], following: int = 0) -> bytes:
    body = b"".join(struct.pack("<HHII", *tag) for tag in tags)
    return b"II*\0" + struct.pack("<IH", 8, len(tags)) + body + struct.pack("<I", following)


def _tiff_of(width: int, height: int, following: int = 0, **changes: int) -> bytes:
    values = {"compression": 1, "offset": 0, "samples": 1, **changes}
    return _tiff(
        [
            (256, 4, 1, width), (257, 4, 1, height), (258, 3, 1, 8), (259, 3, 1, values["compression"]),
            (273, 4, 1, values["offset"]), (277, 3, 1, values["samples"]), (278, 4, 1, height),
            (279, 4, 1, 16),
        ],
        following,
    )  # fmt: skip


def _tiff_pages(count: int) -> bytes:
    page = len(_tiff_of(1, 1)) - 8
    parts = (_tiff_of(1, 1, 8 + page * (number + 1))[8:] for number in range(count))
    return b"II*\0" + struct.pack("<I", 8) + b"".join(parts)


def _gif(width: int, height: int, frames: int, side: int = 1) -> bytes:
    buffer = io.BytesIO()
    Image.new("P", (side, side)).save(buffer, "GIF")
    whole = buffer.getvalue()
    start = whole.index(b"\x2c")
    head = whole[:6] + struct.pack("<HH", width, height) + whole[10:start]
    return head + whole[start:-1] * frames + b";"


def _jpeg(width: int, height: int) -> bytes:
    data = bytearray(valid("JPEG"))
    place = data.index(b"\xff\xc2") + 5
    struct.pack_into(">HH", data, place, height, width)
    return bytes(data)


def _with_exif(orientation: int, count: int = 1) -> bytes:
    block = b"II*\0" + struct.pack("<IH", 8, 1) + struct.pack("<HHII", 0x0112, 3, count, orientation)
    exif = b"Exif\0\0" + block + struct.pack("<I", 8)  # the next directory is this one
    data = valid("JPEG")
    return data[:2] + b"\xff\xe1" + struct.pack(">H", len(exif) + 2) + exif + data[2:]


_HUGE = (65_535, 65_535)
LIARS: dict[str, tuple[str, Callable[[], bytes], tuple[int, ...]]] = {
    "empty": ("a.png", lambda: b"", (3,)),
    "PNG: a huge header": ("a.png", lambda: png(*_HUGE), (3,)),
    "PNG: a header of 2^31": ("a.png", lambda: png(2**31 - 1, 2**31 - 1), (3,)),
    "PNG: no pixels": ("a.png", lambda: png(0, 5), (3,)),
    "PNG: few pixels": ("a.png", lambda: png(5000, 5000, pixels=zlib.compress(b"\0abc")), (3,)),
    "PNG: texts that unpack": ("a.png", lambda: _good_png(*_texts()), (0, 3)),
    "PNG: a profile that unpacks": (
        "a.png", lambda: _good_png(chunk(b"iCCP", b"x\0\0" + _packed_zeros(200))), (0, 3)
    ),
    "PNG: a profile of noise": ("a.png", lambda: _good_png(chunk(b"iCCP", b"x\0\0" + b"noise")), (0, 3)),
    "PNG: a million frames": ("a.png", lambda: _good_png(chunk(b"acTL", struct.pack(">II", 10**6, 0))), (0, 3)),
    "PNG: a chunk of 2 GB": ("a.png", lambda: _good_png()[:33] + struct.pack(">I", 2**31 - 1) + b"tEXt", (3,)),
    "JPEG: a huge frame": ("a.jpg", lambda: _jpeg(*_HUGE), (3,)),
    "JPEG: a larger frame": ("a.jpg", lambda: _jpeg(7000, 7000), (0, 3)),
    "JPEG: no rows": ("a.jpg", lambda: _jpeg(10, 0), (3,)),
    "JPEG: an orientation of 99": ("a.jpg", lambda: _with_exif(99), (0,)),
    "JPEG: a billion orientations": ("a.jpg", lambda: _with_exif(6, 10**9), (0,)),
    "GIF: a huge screen": ("a.gif", lambda: _gif(*_HUGE, 1), (3,)),
    "GIF: 100,000 frames": ("a.gif", lambda: _gif(1, 1, 100_000), (0,)),
    "GIF: 300 large frames": ("a.gif", lambda: _gif(5000, 5000, 300, 5000), (0,)),
    "TIFF: pages in a ring": ("a.tif", lambda: _tiff_of(4, 4, 8), (0, 3)),
    "TIFF: 100,000 pages": ("a.tif", lambda: _tiff_pages(100_000), (0,)),
    "TIFF: huge": ("a.tif", lambda: _tiff_of(2**32 - 1, 2**32 - 1), (3,)),
    "TIFF: data beyond the file": ("a.tif", lambda: _tiff_of(4, 4, offset=2**31), (3,)),
    "TIFF: 10,000 samples": ("a.tif", lambda: _tiff_of(4, 4, samples=10_000), (3,)),
    "TIFF: packed, few pixels": ("a.tif", lambda: _tiff_of(7000, 7000, compression=5), (3,)),
    "BMP: huge": ("a.bmp", lambda: valid("BMP")[:18] + struct.pack("<ii", *_HUGE) + valid("BMP")[26:], (3,)),
    "BMP: few pixels": (
        "a.bmp", lambda: valid("BMP")[:18] + struct.pack("<ii", 5000, 5000) + valid("BMP")[26:], (3,)
    ),
    "PPM: huge": ("a.ppm", lambda: b"P6 65535 65535 255\nabc", (3,)),
    "a picture and a page": ("a.gif", lambda: _gif(1, 1, 1) + b"<script>alert(1)</script>", (0,)),
    "a page called picture": ("a.png", lambda: b"<!doctype html><script>alert(1)</script>", (3,)),
    "an archive called picture": ("a.jpg", lambda: b"PK\x03\x04" + bytes(100), (3,)),
    "PostScript": ("a.png", lambda: b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\n", (3,)),
    "SVG": ("a.png", lambda: b"<svg xmlns='http://www.w3.org/2000/svg' onload='alert(1)'/>", (3,)),
    "another ending": ("a.jpg", lambda: valid("PNG"), (0,)),
}  # fmt: skip


def liar_fault(process: Confined, name: str, directory: Path) -> str:
    """Decode a file that lies, as one picture and as a clip; return what is wrong with how that ended, or ""."""
    file, make, codes = LIARS[name]
    path = directory / file
    path.write_bytes(make())
    for frames in (1, 16):
        if fault := process.decode(path, frames=frames).fault(name=file, codes=codes):
            return fault
    return ""


def _make_directory(path: Path) -> None:
    path.mkdir()


SPECIAL: dict[str, Callable[[Path], None]] = {
    "a directory": _make_directory,
    "a pipe": lambda path: os.mkfifo(path),
    "a device": lambda path: path.symlink_to("/dev/zero"),
    "a ring of links": lambda path: path.symlink_to(path),
    "a link to nothing": lambda path: path.symlink_to(path.parent / "nothing"),
}
"""What is no file at all."""


def special_fault(process: Confined, name: str, directory: Path) -> str:
    """Ask for what is no file; return what is wrong with how that ended, or ""."""
    SPECIAL[name](directory / "a.png")
    return process.decode(directory / "a.png").fault(name="a.png", codes=(3,))
