"""PNG files: indexed ones with a palette, and small true-colour pictures.

Format: PNG specification, third edition (W3C, 2025). Deflate is isal's level 1, which on maps gives the size of
zlib's level 1 in a tenth of the time.
"""

import io
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache

import numpy as np
from isal import isal_zlib
from numpy.typing import NDArray
from PIL import Image

_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_INDEXED, _TRUE_COLOUR = 3, 2
_LEVEL = 1
_OPENING = 16
"""Bytes that begin a stream apart: from 4 to 16 isal compresses without its fast loop (see `_deflated`)."""
_UP = 2
"""The filter that stores each byte as its difference from the byte above, which suits photographs."""
MAP_COLOURS = 252
"""The colours of a palette that are a colour map's; four others follow."""


@dataclass(frozen=True)
class Palette:
    """`colours`: 256 RGB triples; `opacities`: alpha of indices 0 to 252, the gap (252) transparent."""

    name: str
    colours: bytes
    opacities: bytes


def encode_indexed(lines: NDArray[np.uint8], palette: Palette) -> bytes:
    """Encode scan lines (height, 1 + width) of palette indices, each led by its filter byte 0."""
    return _file(lines.shape[1] - 1, _INDEXED, _palette_chunks(palette), lines)


def encode_like(lines: NDArray[np.uint8], source: bytes) -> bytes:
    """Encode scan lines (height, 1 + width) of palette indices with the palette of `source`, itself such a PNG."""
    return _file(lines.shape[1] - 1, _INDEXED, b"".join(_palette_of(source)), lines)


def is_indexed(source: bytes) -> bool:
    """Whether `source` is a PNG file of eight-bit palette indices."""
    return source.startswith(_SIGNATURE) and source[24:26] == bytes((8, _INDEXED))


def _palette_of(source: bytes) -> Iterator[bytes]:
    """Yield the chunks PLTE and tRNS, which stand before the pixels, as they are."""
    at = len(_SIGNATURE)
    while (kind := source[at + 4 : at + 8]) != b"IDAT":
        end = at + 12 + int.from_bytes(source[at : at + 4])
        if kind in (b"PLTE", b"tRNS"):
            yield source[at:end]
        at = end


def encode_colours(lines: NDArray[np.uint8], transparent: tuple[int, int, int]) -> bytes:
    """Encode scan lines (height, 1 + 3 x width) of RGB, each led by its filter byte 0.

    Pixels of the colour `transparent` are.
    """
    opacity = _chunk(b"tRNS", struct.pack(">HHH", *transparent))
    return _file((lines.shape[1] - 1) // 3, _TRUE_COLOUR, opacity, _filtered(lines))


def encode_quickly(pixels: NDArray[np.uint8]) -> bytes:
    """Encode RGB (H, W, 3) in a tenth of the time of `encode_picture`; the file is a tenth larger."""
    height, width, _ = pixels.shape
    lines = np.pad(pixels.reshape(height, -1), ((0, 0), (1, 0)))
    return _file(width, _TRUE_COLOUR, b"", _filtered(lines))


def _filtered(lines: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Scan lines (height, 1 + bytes) as differences from the lines above."""
    filtered = lines.copy()
    filtered[1:] -= lines[:-1]
    filtered[:, 0] = _UP
    return filtered


def encode_picture(picture: Image.Image) -> bytes:
    """Encode an 8-bit RGB or gray picture, losslessly and without metadata."""
    buffer = io.BytesIO()
    clean = Image.frombytes(picture.mode, picture.size, picture.tobytes())
    clean.save(buffer, "PNG", compress_level=6)
    return buffer.getvalue()


@cache
def _palette_chunks(palette: Palette) -> bytes:
    return _chunk(b"PLTE", palette.colours) + _chunk(b"tRNS", palette.opacities)


def _file(width: int, colours: int, chunks: bytes, lines: NDArray[np.uint8]) -> bytes:
    header = struct.pack(">IIBBBBB", width, lines.shape[0], 8, colours, 0, 0, 0)
    data = _deflated(np.ascontiguousarray(lines).reshape(-1))
    return b"".join((_SIGNATURE, _chunk(b"IHDR", header), chunks, _chunk(b"IDAT", data), _chunk(b"IEND", b"")))


def _deflated(data: NDArray[np.uint8]) -> bytes:
    """Compress `data` (bytes,), always to the same bytes.

    In one piece it would not be: at the first byte of a stream isal's levels 1 and 2 take the hash of a register
    that holds an address (isa-l 2.32, igzip_icf_body_h1_gr_bt.asm: rcx at .write_first_byte), so that one in
    2,000 small pictures found other matches in another process. A stream that has begun is compressed right.
    """
    stream = isal_zlib.compressobj(_LEVEL)
    opening = stream.compress(data[:_OPENING]) + stream.flush(isal_zlib.Z_SYNC_FLUSH)
    return b"".join((opening, stream.compress(data[_OPENING:]), stream.flush()))


def _chunk(kind: bytes, data: bytes) -> bytes:
    checksum = isal_zlib.crc32(data, isal_zlib.crc32(kind))
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", checksum)
