"""Pictures made smaller where a file must not be large: fewer tiles, true samples of maps, JPEG for photographs."""

import io

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from reportgen.drawing.mosaic import Mosaic, assemble, plan
from reportgen.drawing.png import encode_like, encode_picture

GAP = 252
"""The palette index between tiles."""

QUALITY = 85


def plan_cut(mosaic: Mosaic, shown: int, keep: int, step: int) -> Mosaic:
    """Plan the mosaic of the first `keep` of `shown` tiles, of which every `step`-th row and column remain."""
    height, width = -(-mosaic.tile_height // step), -(-mosaic.tile_width // step)
    fresh = plan(keep, height, width)
    if keep < shown:
        return fresh
    return Mosaic(mosaic.columns, mosaic.rows, width, height, min(mosaic.gap, fresh.gap))


def cut_mosaic(source: bytes, mosaic: Mosaic, cut: Mosaic, keep: int, step: int) -> bytes:
    """Lay the tiles of the indexed PNG `source`, now as in `mosaic`, out as in `cut`; no pixel is a new one."""
    indices = _indices(source)
    across, down = mosaic.tile_width + mosaic.gap, mosaic.tile_height + mosaic.gap
    padded = np.full((mosaic.rows * down, mosaic.columns * across), GAP, np.uint8)
    padded[: indices.shape[0], : indices.shape[1]] = indices
    places = padded.reshape(mosaic.rows, down, mosaic.columns, across)
    tiles = places[:, : mosaic.tile_height : step, :, : mosaic.tile_width : step].transpose(0, 2, 1, 3)
    flat = tiles.reshape(-1, cut.tile_height, cut.tile_width)[:keep]
    return encode_like(assemble(flat, cut, GAP), source)


def sample_map(source: bytes, step: int) -> bytes:
    """Return the indexed PNG `source` with every `step`-th of its rows and columns."""
    sampled = _indices(source)[::step, ::step]
    lines = np.zeros((sampled.shape[0], 1 + sampled.shape[1]), np.uint8)
    lines[:, 1:] = sampled
    return encode_like(lines, source)


def shrink(source: bytes, step: int, *, jpeg: bool) -> bytes:
    """Return a photograph or chart with its sides divided by `step`, as JPEG or PNG."""
    with Image.open(io.BytesIO(source)) as opened:
        picture = opened.convert(opened.mode if opened.mode in ("L", "RGB", "RGBA") else "RGB")
    if step > 1:
        picture = picture.resize((-(-picture.width // step), -(-picture.height // step)), Image.Resampling.LANCZOS)
    if not jpeg:
        return encode_picture(picture)
    buffer = io.BytesIO()
    picture.save(buffer, "JPEG", quality=QUALITY, subsampling=0, optimize=True)
    return buffer.getvalue()


def is_opaque_colour(source: bytes) -> bool:
    """Whether a picture has no palette and no transparency, so that it may become a JPEG."""
    with Image.open(io.BytesIO(source)) as picture:
        return picture.mode in ("RGB", "L") and "transparency" not in picture.info


def _indices(source: bytes) -> NDArray[np.uint8]:
    with Image.open(io.BytesIO(source)) as picture:
        return np.asarray(picture, np.uint8)
