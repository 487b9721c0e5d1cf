"""Shapes, layouts and dtypes in words."""

import dataclasses

import pytest

from canned import make_layer, make_record
from reportgen.site.axes import axes, shape, split_axes, values
from reportgen.site.record import SKIPPED
from reportgen.site.render import render


@pytest.mark.parametrize(
    ("layout", "letters"),
    [
        ("NCHW", ("N", "C", "H", "W")),
        ("(NHW)LC", ("NHW", "L", "C")),
        ("NC(DHW)", ("N", "C", "DHW")),
        ("", ()),
        ("N?C", ()),
        ("(NH", ()),
    ],
)
def test_a_layout_falls_into_axes_but_not_inside_parentheses(layout: str, letters: tuple[str, ...]) -> None:
    assert split_axes(layout) == letters


@pytest.mark.parametrize(
    ("dimensions", "layout", "text", "words"),
    [
        ([1, 64, 7, 5], "NCHW", "64 × 7 × 5", "channels × rows × columns"),
        ([1, 7, 5, 64], "NHWC", "7 × 5 × 64", "rows × columns × channels"),
        ([1, 10], "NC", "10", "channels"),
        ([1], "N", "1", ""),
        ([1, 197, 768], "NLC", "197 × 768", "tokens × channels"),
        ([197, 1, 768], "LNC", "197 × 768", "tokens × channels"),
        ([1, 8, 16, 4, 4], "NCDHW", "8 × 16 × 4 × 4", "channels × frames × rows × columns"),
        ([64, 49, 96], "(NHW)LC", "64 × 49 × 96", "(rows × columns) × tokens × channels"),
        ([8, 49, 32], "(NC)LK", "8 × 49 × 32", "channels × tokens × keys"),
        ([1, 3, 49, 9], "NCLK", "3 × 49 × 9", "channels × tokens × keys"),
        ([1, 490], "N(CHW)", "490", "(channels × rows × columns)"),
        ([300, 256, 7, 7], "NCHW", "300 × 256 × 7 × 7", "items × channels × rows × columns"),
        ([1, 4, 6], "NQC", "4 × 6", "Q × channels"),
        ([1, 64, 7, 5], "", "64 × 7 × 5", ""),
        ([64, 3, 7, 7], "", "64 × 3 × 7 × 7", ""),
        ([1, 3, 4], "NC", "3 × 4", ""),
        ([7], "", "7", ""),
        ([], "", "", ""),
        (None, "NCHW", "–", ""),
    ],
)
def test_shapes_are_those_of_one_image_and_say_what_they_count(
    dimensions: list[int] | None, layout: str, text: str, words: str
) -> None:
    layer = make_layer("x", shape=dimensions, layout=layout)
    assert (shape(layer), axes(layer)) == (text, words)


@pytest.mark.parametrize(
    ("dtype", "text"),
    [
        ("float32", "float32"),
        ("bfloat16", "bfloat16"),
        ("uint8", "uint8"),
        ("int64", "int64"),
        ("complex64", "complex64, drawn as magnitudes"),
        ("quint8", "quint8, drawn dequantised"),
        ("qint32", "qint32, drawn dequantised"),
        ("bool", "bool, drawn as 0 and 1"),
        (None, ""),
    ],
)
def test_a_dtype_says_what_drawing_made_of_it(dtype: str | None, text: str) -> None:
    layer = make_layer("x", dtype=dtype)
    assert values(layer) == text
    assert values(dataclasses.replace(layer, status=SKIPPED, reason="no maps")) == (dtype or "")


def test_the_page_tells_axes_dtype_and_reading() -> None:
    told = "197 tokens = 1 class token + 14 × 14"
    layer = make_layer("tokens", shape=[1, 197, 8], layout="NLC", dtype="complex64", reading=told)
    files = render(make_record([layer, make_layer("plain")])).files
    page = files["layers/tokens.html"]
    assert '197 × 8 <span class="quiet">tokens × channels</span>' in page
    assert "<dt>Values</dt><dd>complex64, drawn as magnitudes</dd>" in page
    assert f"<dt>Read as</dt><dd>{told}</dd>" in page
    assert told in files["about.html"]
    assert "Read as" not in files["layers/plain.html"]
