"""Arrays as an .npz file whose bytes depend on the arrays alone."""

import io
import zipfile

import numpy as np
import numpy.typing as npt
from numpy.typing import NDArray

_DATE = (1980, 1, 1, 0, 0, 0)


def npz_bytes(**arrays: npt.ArrayLike) -> bytes:
    """Return a compressed .npz of the arrays, members in the order given, which `numpy.load` reads without pickle.

    Every member carries the same fixed date, so equal arrays give equal bytes. Raises ValueError for an array of
    Python objects.
    """
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        for name, array in arrays.items():
            archive.writestr(_member(name), _npy(array), compresslevel=6)
    return packed.getvalue()


def as_float32(values: NDArray[np.float64]) -> NDArray[np.float32] | NDArray[np.float64]:
    """Return `values` as float32, or as they are where a finite one is too large for that."""
    finite = np.abs(values[np.isfinite(values)])
    return values.astype(np.float32) if finite.max(initial=0) <= np.finfo(np.float32).max else values


def _member(name: str) -> zipfile.ZipInfo:
    member = zipfile.ZipInfo(f"{name}.npy", _DATE)
    member.compress_type = zipfile.ZIP_DEFLATED
    member.create_system = 3  # else the file would tell the operating system it was written on
    member.external_attr = 0o644 << 16
    return member


def _npy(array: npt.ArrayLike) -> bytes:
    content = io.BytesIO()
    np.lib.format.write_array(content, np.asarray(array), allow_pickle=False)
    return content.getvalue()
