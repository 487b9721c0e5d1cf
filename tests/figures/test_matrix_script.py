"""The script of a matrix's values against a decoder of its own, and against what text rounds to."""

import base64
import json
import struct
from decimal import ROUND_HALF_EVEN, Decimal
from typing import Any

import matplotlib as mpl
import numpy as np
import pytest
from numpy.typing import NDArray

from reportgen.figures.matrix_script import matrix_script, thousandths


def script(values: NDArray[np.float64], names: list[str] | None = None, **changes: Any) -> bytes:
    given = {"low": 0.0, "high": 1.0, "cmap": "viridis", "causes": {}, "pair_cause": "", **changes}
    return matrix_script(names or [f"layer{place}" for place in range(len(values))], values, **given)


def facts_of(source: bytes) -> dict[str, Any]:
    text = source.decode("ascii")
    start, end = "reportgen.similarity = ", ";\n"
    assert text.startswith(start)
    assert text.endswith(end)
    found: dict[str, Any] = json.loads(text[len(start) : -len(end)])
    return found


def decode(facts: dict[str, Any]) -> list[list[Decimal | None]]:
    """The whole matrix again, a cell at a time: None where it is undefined."""
    count, data = len(facts["names"]), base64.b64decode(facts["values"], validate=True)
    matrix: list[list[Decimal | None]] = [[None] * count for _ in range(count)]
    cells = iter(struct.iter_unpack("<h", data))
    for row in range(count):
        for column in range(row, count):
            (number,) = next(cells)
            value = None if number == facts["undefined"] else Decimal(number) / facts["scale"]
            matrix[row][column] = matrix[column][row] = value
    assert next(cells, None) is None
    return matrix


def rounded(value: float) -> Decimal:
    """What nine digits of a value, as the table has them, are to three decimals."""
    return Decimal(float(f"{value:.9g}")).quantize(Decimal("0.001"), ROUND_HALF_EVEN)


@pytest.mark.parametrize("count", [1, 2, 20, 61])
def test_every_cell_is_the_tables_rounded_to_three_decimals(count: int) -> None:
    values = np.random.default_rng(count).uniform(-1, 1, (count, count))
    values = np.triu(values) + np.triu(values, 1).T
    values[0, count - 1] = values[count - 1, 0] = np.nan
    found = decode(facts_of(script(values)))
    for row in range(count):
        for column in range(count):
            expected = None if np.isnan(values[row, column]) else rounded(values[row, column])
            assert found[row][column] == expected


@pytest.mark.parametrize(
    "value", [0.0005, 0.0015, 0.1235, -0.1235, 0.2345, 0.0625, 0.99949999999, 0.9995, -1.0, 1.0, 0.12349999999]
)
def test_halves_are_rounded_as_text_is(value: float) -> None:
    assert Decimal(int(thousandths(np.array([value]))[0])) / 1000 == rounded(value)


def test_colours_are_the_colour_map_and_names_can_not_end_the_script() -> None:
    names = ["</script><script>alert(1)</script>", 'quote"\u2028']
    source = script(np.eye(2), names, low=-0.25, cmap="magma", causes={names[0]: "<!--"}, pair_cause="too few")
    assert b"<" not in source
    facts = facts_of(source)
    assert facts["names"] == names
    assert (facts["low"], facts["high"], facts["pair_cause"]) == (-0.25, 1.0, "too few")
    assert facts["causes"] == {names[0]: "<!--"}
    colours = np.frombuffer(base64.b64decode(facts["colours"]), np.uint8).reshape(-1, 3)
    expected = [np.round(np.array(mpl.colormaps["magma"](place / 251)[:3]) * 255) for place in range(252)]
    assert np.array_equal(colours, expected)
