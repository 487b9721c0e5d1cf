"""Tables as other programs read them."""

import csv
import io

from reportgen.figures.tables import csv_bytes


def test_a_table_reads_back_as_it_was_given() -> None:
    rows = [["conv, 1", 'a "quoted" name'], ["", "two\nlines"]]
    data = csv_bytes(["é", "b"], rows)
    assert b"\r" not in data
    assert list(csv.reader(io.StringIO(data.decode("utf-8"), newline=""))) == [["é", "b"], *rows]
