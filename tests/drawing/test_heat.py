"""The folded table, read back cell by cell."""

import numpy as np
import pytest

from reportgen.drawing.heat import WIDEST, fold, paint


@pytest.mark.parametrize(
    ("rows", "columns"), [(1, 1), (4, 10), (3, 1000), (2, 1025), (5, 2048), (1, 25088), (200, 7)]
)
def test_every_cell_lies_where_the_plan_says(rows: int, columns: int) -> None:
    indices = np.random.default_rng(columns).integers(0, 252, (rows, columns), dtype=np.uint8)
    folding = fold(rows, columns)
    lines = paint(indices, folding, 252)
    assert lines.shape == (folding.height, 1 + folding.width)
    assert not lines[:, 0].any()
    covered = np.zeros((folding.height, folding.width), bool)
    for row in range(rows):
        for column in range(columns):
            left = column % folding.columns * folding.cell_width
            top = column // folding.columns * (rows * folding.cell_height + folding.gap) + row * folding.cell_height
            place = (slice(top, top + folding.cell_height), slice(left, left + folding.cell_width))
            assert (lines[:, 1:][place] == indices[row, column]).all()
            covered[place] = True
    assert covered.sum() == rows * columns * folding.cell_width * folding.cell_height
    assert (lines[:, 1:][~covered] == 252).all()


@pytest.mark.parametrize("columns", [1, 8, 512, 1000, 1024, 4096, 25088])
@pytest.mark.parametrize("rows", [1, 4, 64])
def test_a_page_can_show_it_whole(rows: int, columns: int) -> None:
    folding = fold(rows, columns)
    assert 1 <= folding.width <= WIDEST
    assert folding.cell_height >= 3
    assert folding.lines * folding.columns >= columns > (folding.lines - 1) * folding.columns
    assert fold(4, 1000).lines == 1
