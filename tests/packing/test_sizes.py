"""Sizes as people write them."""

import pytest

from reportgen.errors import UsageError
from reportgen.packing.sizes import megabytes, read_size


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("25MB", 25_000_000), ("25 MB", 25_000_000), ("25mb", 25_000_000), ("25MiB", 26_214_400),
        ("500kB", 500_000), ("1.5GB", 1_500_000_000), (".5MB", 500_000), ("1000", 1000), ("1000B", 1000),
        (1000, 1000), ("2KiB", 2048),
    ],
)  # fmt: skip
def test_a_size_is_read(text: str | int, size: int) -> None:
    assert read_size(text) == size


@pytest.mark.parametrize("text", ["", "MB", "25XB", "-1MB", "0", "0.1B", "25MB!", "1e6", "nan", "٣MB", "1,5MB"])
def test_what_is_no_size_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(UsageError, match="such as 25MB"):
        read_size(text)


@pytest.mark.parametrize(
    ("size", "text"), [(23_140_000, "23.1"), (100_000, "0.1"), (98_000, "0.098"), (512, "0.00051")]
)
def test_a_size_is_told_in_megabytes(size: int, text: str) -> None:
    assert megabytes(size) == text
