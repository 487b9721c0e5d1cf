"""Small histograms: the heights of bars read back from the picture."""

import io
import math
import xml.etree.ElementTree as ElementTree
from collections.abc import Sequence

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from reportgen.drawing.histogram import HEIGHT, WIDTH, draw, lay_out

ROOM = HEIGHT - 2
GROUND, BAR, ZEROS, LINE = range(4)


def picture(counts: Sequence[int], zeros: int = 0, zero_bin: int | None = None) -> NDArray[np.uint8]:
    """The palette indices of the histogram's PNG."""
    files = draw(lay_out(counts, zeros, zero_bin), "0", "1", "title")
    with Image.open(io.BytesIO(files["png"])) as found:
        assert found.size == (WIDTH, HEIGHT)
        assert found.convert("RGBA").getpixel((0, HEIGHT - 1)) == (0x5C, 0x62, 0x64, 0xFF)
        return np.asarray(found)


def heights(found: NDArray[np.uint8], bins: int, colour: int) -> list[int]:
    """How many pixels of a colour stand in the middle of each bin."""
    middles = [(2 * place + 1) * WIDTH // (2 * bins) for place in range(bins)]
    return [int((found[:ROOM, middle] == colour).sum()) for middle in middles]


@pytest.mark.parametrize("bins", [1, 2, 33, 41, 64])
def test_bars_are_as_tall_as_their_counts(bins: int) -> None:
    counts = np.random.default_rng(bins).integers(0, 1000, bins)
    counts[0] = 1000
    found = picture(counts.tolist())
    assert heights(found, bins, BAR) == [math.ceil(count / 1000 * ROOM) for count in counts.tolist()]
    assert not (found == ZEROS).any()
    assert (found[ROOM:] == LINE).all()


def test_the_smallest_count_is_seen_and_none_is_not() -> None:
    assert heights(picture([10**9, 1, 0]), 3, BAR) == [ROOM, 1, 0]


def test_bars_span_the_picture_without_touching() -> None:
    found = picture([1] * 10)
    for place in range(10):
        columns = found[0, place * 64 : place * 64 + 64]
        assert (columns == BAR).tolist() == [True] * 63 + [False]


def test_zeros_stand_on_the_bar_of_their_bin() -> None:
    found = picture([50, 60, 100], zeros=20, zero_bin=1)
    assert heights(found, 3, BAR) == [math.ceil(share * ROOM) for share in (0.5, 0.4, 1.0)]
    assert heights(found, 3, ZEROS) == [0, math.ceil(0.6 * ROOM) - math.ceil(0.4 * ROOM), 0]
    assert not lay_out([50, 60, 100], 20, 1).cut


def test_zeros_that_outnumber_the_rest_are_cut_off_above_the_tallest_bar() -> None:
    bars = lay_out([10_100, 50], 10_000, 0)
    assert bars.cut
    found = picture([10_100, 50], 10_000, 0)
    solid, zeros = heights(found, 2, BAR), heights(found, 2, ZEROS)
    assert solid == [math.ceil(0.85 * ROOM), math.ceil(0.425 * ROOM)]
    assert zeros == [ROOM - solid[0], 0]


def test_zeros_alone_and_nothing_at_all() -> None:
    only = picture([12], 12, 0)
    assert heights(only, 1, ZEROS) == [ROOM]
    assert not lay_out([12], 12, 0).cut
    assert heights(picture([0]), 1, BAR) == [0]


def test_the_vector_picture_has_the_same_bars_and_says_what_it_is() -> None:
    bars = lay_out([30, 130, 5], 100, 1)
    svg = draw(bars, "−1", "2 < 3", "Values of a & b")["svg"]
    root = ElementTree.fromstring(svg)  # noqa: S314 - our own
    space = "{http://www.w3.org/2000/svg}"
    assert [text.text for text in root.iter(f"{space}text")] == ["−1", "2 < 3"]
    assert root.findtext(f"{space}title") == "Values of a & b"
    zeros, solid = (path.attrib["d"] for path in root.iter(f"{space}path"))
    tops = [int(box.split("H")[0].split()[1]) for box in solid.split("M")[1:]]
    assert tops == [ROOM - height for height in bars.heights.tolist()]
    assert zeros.count("M") == 1


def test_the_same_counts_give_the_same_bytes() -> None:
    first, second = (draw(lay_out([1, 2, 3]), "0", "1", "title") for _ in range(2))
    assert first == second
