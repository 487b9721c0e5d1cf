"""The values of a matrix as a script: a page opened from disk may run one, but may not fetch a file of numbers."""

import base64
import json
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from reportgen.drawing.palette import palette
from reportgen.drawing.png import MAP_COLOURS

SCALE = 1000
UNDEFINED = -32768
_TIE = 1e-5
"""Thousandths this close to a half are rounded as text is, so that the page shows what the table rounds to."""


def matrix_script(
    names: Sequence[str],
    values: NDArray[np.float64],
    *,
    low: float,
    high: float,
    cmap: str,
    causes: Mapping[str, str],
    pair_cause: str,
) -> bytes:
    """Return the script that hands the symmetric `values` (L, L) of the layers `names` to the page.

    It sets `reportgen.similarity`. `values` there is the upper triangle with the diagonal, row by row, as
    little-endian int16 in base64: thousandths, and -32768 where the value is undefined (NaN). `colours` are 252 RGB
    triples from `low` to `high`. `causes` says why a layer is undefined, `pair_cause` why a pair of others is.
    """
    facts = {
        "names": list(names),
        "scale": SCALE,
        "undefined": UNDEFINED,
        "low": low,
        "high": high,
        "colours": base64.b64encode(palette(cmap).colours[: 3 * MAP_COLOURS]).decode(),
        "causes": dict(causes),
        "pair_cause": pair_cause,
        "values": base64.b64encode(thousandths(values[np.triu_indices(len(names))]).tobytes()).decode(),
    }
    # In a packed report the script stands inside the page, where `</script>` would end it.
    return f"reportgen.similarity = {json.dumps(facts, indent=0)};\n".replace("<", "\\u003c").encode()


def thousandths(values: NDArray[np.float64]) -> NDArray[np.int16]:
    """Return `values` in thousandths, rounded as their nine digits in the table round to three decimals."""
    scaled = np.where(np.isfinite(values), values, 0.0) * SCALE
    found = np.rint(scaled)
    for place in np.flatnonzero(np.abs(np.abs(scaled - np.floor(scaled)) - 0.5) < _TIE):
        found[place] = round(SCALE * float(f"{float(f'{values[place]:.9g}'):.3f}"))
    return np.where(np.isfinite(values), found, UNDEFINED).astype("<i2")
