"""Pictures of figures as files that are encoded when they are asked for, beside the walk."""

import numpy as np
import torch
from numpy.typing import NDArray

from reportgen.drawing.matrix import encode_matrix
from reportgen.drawing.mosaic import Mosaic, encode_mosaic
from reportgen.drawing.png import Palette
from reportgen.later import Later
from reportgen.numerics.scaling import GAP
from reportgen.numerics.transfer import to_host


def mosaic_files(tiles: torch.Tensor, mosaic: Mosaic, colours: Palette) -> Later:
    """Return the PNG of `tiles` (C, H, W) of palette indices on any device, which nobody may change any more."""
    coming = to_host(tiles)
    return Later(
        encode_mosaic,
        lambda: (coming(), mosaic, colours, GAP),
        held=tiles.nbytes,
        picture=tiles.device.type == "cpu",
    )


def matrix_files(indices: NDArray[np.uint8], cmap: str) -> Later:
    """Return the PNG of palette indices (rows, columns), which nobody may change any more."""
    return Later(_matrix, lambda: (indices, cmap), held=indices.nbytes)


def _matrix(indices: NDArray[np.uint8], cmap: str) -> dict[str, bytes]:
    return {"png": encode_matrix(indices, cmap)}
