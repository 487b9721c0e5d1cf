"""Images made to do harm: damaged in thousands of ways, lying about their size, huge once they are unpacked."""

import io
import random
import resource
import struct
import subprocess
import sys
import time
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from reportgen.errors import InputError
from reportgen.inputs.images import MAX_PIXELS, BadImage, decode, find_images

SECONDS = 10
GIGABYTE = 1 << 30
FORMATS = ("png", "jpg", "gif", "webp", "tiff", "bmp", "apng")


def _valid(kind: str) -> bytes:
    """A small file of each kind; of GIF, WebP and APNG an animation, of TIFF several compressed pages."""
    noise = np.random.default_rng(0).integers(0, 256, (3, 24, 31, 3), np.uint8)
    first, *others = [Image.fromarray(part) for part in noise]
    buffer = io.BytesIO()
    exif = Image.Exif()
    exif[0x0112] = 6
    extra = {
        "png": {"icc_profile": b"x" * 200, "exif": exif},
        "jpg": {"exif": exif, "progressive": True},
        "tiff": {"save_all": True, "append_images": others, "compression": "tiff_lzw"},
        "bmp": {},
    }.get(kind, {"save_all": True, "append_images": others})
    first.save(buffer, {"jpg": "JPEG", "apng": "PNG"}.get(kind, kind.upper()), **extra)  # type: ignore[arg-type]
    return buffer.getvalue()


def _mutated(data: bytes, chance: random.Random) -> bytes:
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


def _with_sums(data: bytes) -> bytes:
    """A PNG with the check sum of every whole chunk made right again; other files as they are."""
    place, repaired = 8, bytearray(data)
    while data.startswith(b"\x89PNG") and place + 12 <= len(data):
        end = place + 8 + struct.unpack_from(">I", data, place)[0]
        if end + 4 > len(data):
            break
        struct.pack_into(">I", repaired, end, zlib.crc32(data[place + 4 : end]))
        place = end + 4
    return bytes(repaired)


def _check_mutations(directory: Path, kind: str, count: int) -> None:
    """Decode `count` mutated files: each a picture or an InputError that names it, soon and in bounded memory."""
    valid, path, refused = _valid(kind), directory / f"mutated.{kind.replace('apng', 'png')}", 0
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for seed in range(count):
        damaged = _mutated(valid, random.Random(f"{kind} {seed}"))
        path.write_bytes(_with_sums(damaged) if seed % 2 else damaged)
        started = time.perf_counter()
        try:
            (source,) = find_images([path], max_pixels=4_000_000)
            picture = decode(source)
            assert picture.pixels.mode == "RGB"
            assert picture.width * picture.height <= 4_000_000
        except InputError as error:
            assert str(error).startswith(str(path)), f"{kind}, seed {seed}"
            assert "\n" not in str(error), f"{kind}, seed {seed}"
            refused += 1
        assert time.perf_counter() - started < SECONDS, f"{kind}, seed {seed}"
    assert 0 < refused < count  # the damage is neither always harmless nor always deadly
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024
    assert grown < GIGABYTE / 2


@pytest.mark.parametrize("kind", FORMATS)
def test_mutated_files_are_pictures_or_refused(tmp_path: Path, kind: str) -> None:
    _check_mutations(tmp_path, kind, 60)


@pytest.mark.sweep
@pytest.mark.parametrize("kind", FORMATS)
def test_thousands_of_mutated_files_are_pictures_or_refused(tmp_path: Path, kind: str) -> None:
    _check_mutations(tmp_path, kind, 1500)


def _bomb(side: int, channels: int = 4) -> bytes:
    """A small PNG that unpacks to side x side pixels of transparent black (or of black)."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    packer, row = zlib.compressobj(9), bytes(1 + side * channels)
    pixels = b"".join(packer.compress(row) for _ in range(side)) + packer.flush()
    header = struct.pack(">IIBBBBB", side, side, 8, 6 if channels == 4 else 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")


def test_the_limit_can_be_lowered_and_raised(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    Image.new("RGB", (5, 7)).save(path)
    with pytest.raises(InputError, match=r"a\.png has 35 pixels, more than the 34 allowed; .* --max-pixels"):
        find_images([path], max_pixels=34)
    (source,) = find_images([path], max_pixels=35)
    Image.new("RGB", (5, 8)).save(path)  # another file since
    with pytest.raises(InputError, match=r"a\.png has 40 pixels, more than the 35 allowed"):
        decode(source)
    with pytest.raises(InputError, match="image 1 has 35 pixels"):
        find_images([Image.new("RGB", (5, 7))], max_pixels=34)


def test_a_raised_limit_wins_over_pillows_own(tmp_path: Path) -> None:
    limit = Image.MAX_IMAGE_PIXELS
    path = tmp_path / "large.bmp"
    size = 20_000  # 400 million pixels, more than twice what Pillow takes; only the header is read
    path.write_bytes(b"BM" + struct.pack("<IHHIIiiHHIIiiII", 0, 0, 0, 54, 40, size, size, 1, 24, 0, 0, 0, 0, 0, 0))
    bad: list[BadImage] = []
    assert len(find_images([path], bad.append, max_pixels=size * size)) == 1
    with pytest.raises(InputError, match="none of the 1 images"):
        find_images([path], bad.append, max_pixels=size * size - 1)
    assert limit == Image.MAX_IMAGE_PIXELS


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="only Linux tells a process's peak there")
def test_a_bomb_below_the_limit_takes_less_than_a_gigabyte(tmp_path: Path) -> None:
    """A quarter of the pixels that are allowed may take a quarter of that."""
    path, side = tmp_path / "bomb.png", 4700
    path.write_bytes(_bomb(side))
    assert path.stat().st_size < 1 << 18
    # Not getrusage: a process begins with the peak of the one that started it.
    code = (
        "import pathlib, re, sys\n"
        "from reportgen.inputs.images import decode, find_images\n"
        "status = pathlib.Path('/proc/self/status')\n"
        "peak = lambda: 1024 * int(re.search(r'VmHWM:\\s+(\\d+) kB', status.read_text())[1])\n"
        "before = peak()\n"
        "picture = decode(find_images([sys.argv[1]])[0])\n"
        "assert picture.pixels.getpixel((4699, 4699)) == (255, 255, 255)\n"
        "print(peak() - before)\n"
    )
    ran = subprocess.run([sys.executable, "-c", code, str(path)], capture_output=True, text=True, check=True)
    print(ran.stdout)
    assert 3 * side * side < int(ran.stdout) < GIGABYTE * side * side / MAX_PIXELS
