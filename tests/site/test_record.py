"""The record: what report.json holds, read back as it was written, and refused when it is something else."""

import dataclasses
import json
import math
import pickle
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from canned import make_figure, make_layer, make_record, with_model
from reportgen.errors import InputError
from reportgen.site.record import (
    IllustrationEntry,
    Record,
    SkippedImageEntry,
    StoredData,
    from_json,
    json_parts,
    read_record,
    to_json,
)

if TYPE_CHECKING:
    from reportgen.driver import Report

PICTURE = IllustrationEntry("index", "a b.png", "static/picture.0123456789.png", 30, 20)
CONTRACT = {
    "": "schema title model images layers figures environment options kinds problems captions generator",
    "model": "spec class parameters weights weights_sha256 random_weights preprocess tracer tracer_reason",
    "images": "id name width height sha256 note",
    "layers": "index name slug op module_type target parents shape dtype layout status reason title selected",
    "figures": "kind layer image files width height alt caption data",
    "illustrations": "caption reference file width height",
}


def values_of(record: Record) -> dict[str, Any]:
    values: dict[str, Any] = json.loads(to_json(record))
    return values


def refusal(text: str) -> str:
    with pytest.raises(InputError) as caught:
        from_json(text, "site/report.json")
    message = str(caught.value)
    assert message.startswith("site/report.json: ")
    assert "\n" not in message
    return message


def test_a_record_comes_back_as_it_was_written() -> None:
    record = make_record(captions={"index": "Zeilen\nüber « [[x]] » \u2028 \"'"})
    assert from_json(to_json(record)) == record


def test_what_is_unknown_comes_back_as_none() -> None:
    bare = make_layer("fc", shape=None, dtype=None)
    record = with_model(make_record([bare], figures=[make_figure("novel", None, None)]), weights_sha256=None)
    again = from_json(to_json(record))
    assert again.layers[0].shape is None
    assert again.figures[0].layer is None
    assert again.model.weights_sha256 is None
    assert again == record


@settings(max_examples=50, deadline=None)
@given(
    title=st.text(),
    captions=st.dictionaries(st.text(), st.text(), max_size=3),
    low=st.floats(allow_nan=False, allow_infinity=False),
)
def test_any_text_and_any_number_comes_back(title: str, captions: dict[str, str], low: float) -> None:
    figure = make_figure("channel_sum", "x", "disc", data={"low": low, "ends": [low, None]})
    record = make_record(figures=[figure], title=title, captions=captions)
    assert from_json(to_json(record)) == record


def test_the_record_of_a_build_is_what_its_site_holds(tiny_report: "Report") -> None:
    # Pages made from the record in memory and from the one on disk are the same only if the two are.
    assert read_record(tiny_report.site) == tiny_report.record


@pytest.mark.parametrize("part", CONTRACT)
def test_no_key_of_the_contract_is_missing(part: str) -> None:
    values = values_of(make_record(illustrations=[PICTURE]))
    chosen = values if not part else values[part]
    entry = chosen[0] if isinstance(chosen, list) else chosen
    assert set(CONTRACT[part].split()) <= set(entry)


def test_the_schema_is_one() -> None:
    assert values_of(make_record())["schema"] == 1


def test_two_records_can_be_compared_by_line() -> None:
    record = make_record()
    layers = [dataclasses.replace(layer, title="new") if layer.name == "aux" else layer for layer in record.layers]
    before, after = (to_json(each).splitlines() for each in (record, dataclasses.replace(record, layers=layers)))
    changed = [pair for pair in zip(before, after, strict=True) if pair[0] != pair[1]]
    assert len(changed) == 1
    assert '"name": "aux"' in changed[0][1]


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_a_number_that_json_does_not_know_is_not_written(value: float) -> None:
    record = make_record(figures=[make_figure("channel_sum", "x", "disc", data={"low": [value]})])
    with pytest.raises(ValueError, match="not JSON compliant"):
        to_json(record)


def test_keys_of_a_later_version_are_passed_over() -> None:
    record = make_record()
    values = values_of(record)
    values["pages"] = 12
    values["model"]["licence"] = "MIT"
    for part in ("images", "layers", "figures", "kinds"):
        for entry in values[part]:
            entry["added_later"] = {"a": [1]}
    assert from_json(json.dumps(values)) == record


def test_a_record_from_before_images_could_be_left_out_is_read() -> None:
    values = values_of(make_record())
    del values["skipped_images"]
    assert from_json(json.dumps(values)).skipped_images == []


def test_pictures_of_captions_come_back() -> None:
    record = make_record(illustrations=[PICTURE])
    assert from_json(to_json(record)) == record
    assert record.illustrated == {"static/picture.0123456789.png"}


def test_a_record_from_before_captions_had_pictures_is_read() -> None:
    values = values_of(make_record())
    del values["illustrations"]
    assert from_json(json.dumps(values)).illustrations == []


@pytest.mark.parametrize(
    "changes",
    [
        {"file": "../secret.png"},
        {"file": "index.html"},
        {"file": "static/picture.0123456789.svg"},
        {"file": "https://example.org/picture.0123456789.png"},
        {"width": 0},
        {"height": "20"},
        {"caption": None, "file": None},
    ],
)
def test_what_is_no_picture_of_a_caption_is_refused(changes: dict[str, Any]) -> None:
    record = make_record(illustrations=[dataclasses.replace(PICTURE, **changes)])
    with pytest.raises(InputError, match="not a record of reportgen"):
        from_json(to_json(record))


def test_images_that_were_left_out_come_back() -> None:
    record = dataclasses.replace(make_record(), skipped_images=[SkippedImageEntry("a <b>.png", "is empty")])
    assert from_json(to_json(record)) == record


def test_entries_of_an_earlier_version_take_defaults() -> None:
    values = values_of(make_record())
    for layer in values["layers"]:
        for key in ("detail", "title", "selected"):
            del layer[key]
    for image in values["images"]:
        del image["note"]
    record = from_json(json.dumps(values))
    assert {(layer.detail, layer.title, layer.selected) for layer in record.layers} == {("", "", True)}
    assert {image.note for image in record.images} == {""}


@pytest.mark.parametrize("schema", [0, 2, "1.1", None])
def test_another_schema_is_refused(schema: object) -> None:
    message = refusal(json.dumps({**values_of(make_record()), "schema": schema}))
    assert f"schema {schema}" in message
    assert "install" in message


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "nonsense",
        "[]",
        "null",
        "3",
        '"text"',
        "{}",
        '{"schema": 1}',
        to_json(make_record())[:-200],
        "[" * 10**5,
    ],
)
def test_what_is_no_record_is_refused(text: str) -> None:
    assert "not a record" in refusal(text)


@pytest.mark.parametrize("key", CONTRACT[""].split())
def test_a_record_without_one_of_its_keys_is_refused(key: str) -> None:
    values = values_of(make_record())
    del values[key]
    assert key in refusal(json.dumps(values))


@pytest.mark.parametrize(
    ("part", "key"), [("images", "id"), ("layers", "slug"), ("figures", "files"), ("kinds", "order")]
)
def test_an_entry_without_one_of_its_keys_is_refused(part: str, key: str) -> None:
    values = values_of(make_record())
    del values[part][-1][key]
    assert key in refusal(json.dumps(values))


@pytest.mark.parametrize(
    "part", ["model", "images", "layers", "figures", "kinds", "captions", "environment", "options"]
)
def test_a_part_of_another_form_is_refused(part: str) -> None:
    forms: list[object] = [None, 3, "text", [3], ["text"], [None], [[]]]
    for damaged in forms:
        assert "not a record" in refusal(json.dumps({**values_of(make_record()), part: damaged}))


OUTSIDE = [
    "../../evil",
    "/etc/evil",
    "..",
    "a/../../../evil",
    "C:\\evil",
    "https://example.org/a",
    "a\\..\\..\\evil",
]


@pytest.mark.parametrize("path", OUTSIDE)
def test_a_record_that_names_a_place_outside_its_site_is_refused(path: str) -> None:
    record = make_record()
    layers = [dataclasses.replace(record.layers[0], slug=path), *record.layers[1:]]
    images = [dataclasses.replace(record.images[0], id=path), *record.images[1:]]
    figures = [dataclasses.replace(record.figures[0], files=[path]), *record.figures[1:]]
    downloads = [dataclasses.replace(record.figures[0], downloads=[path]), *record.figures[1:]]
    for changed in ({"layers": layers}, {"images": images}, {"figures": figures}, {"figures": downloads}):
        refusal(to_json(dataclasses.replace(record, **changed)))


def test_the_record_of_a_site_is_read(tmp_path: Path) -> None:
    record = make_record()
    (tmp_path / "report.json").write_text(to_json(record), encoding="utf-8")
    assert read_record(tmp_path) == record


@pytest.mark.parametrize("site", ["gone", "empty", "file"])
def test_a_directory_that_is_no_report_is_named(tmp_path: Path, site: str) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "file").write_text("x")
    with pytest.raises(InputError) as caught:
        read_record(tmp_path / site)
    assert str(tmp_path / site) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_record_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    for content in (None, b"\xff\xfe\x00"):
        if content is None:
            (tmp_path / "report.json").mkdir()
        else:
            (tmp_path / "report.json").rmdir()
            (tmp_path / "report.json").write_bytes(content)
        with pytest.raises(InputError, match=r"report\.json: can't be read"):
            read_record(tmp_path)


def test_stored_data_is_the_data_and_takes_little() -> None:
    numbers = [None, *(float(f"{value:.9g}") for value in np.random.default_rng(0).normal(size=5000))]
    data = {"low": numbers, "short": [1, 2], "pairs": [[1, 0.5]] * 40, "scale": "layer", "nested": {"a": [1] * 9}}
    stored = StoredData(data)
    assert stored == data
    assert data == stored
    assert dict(stored) == data
    assert (len(stored), list(stored), "low" in stored, stored.get("high")) == (5, list(data), True, None)
    assert stored["low"] is not stored["low"], "it is kept unpacked"
    assert pickle.loads(pickle.dumps(stored)) == data  # noqa: S301 - our own
    assert len(pickle.dumps(stored)) < 9 * len(numbers)
    assert repr(stored) == repr(data)


def test_a_record_is_the_same_with_stored_data_and_in_parts() -> None:
    record = make_record()
    stored = dataclasses.replace(
        record, figures=[dataclasses.replace(one, data=StoredData(one.data)) for one in record.figures]
    )
    assert to_json(stored) == to_json(record) == "".join(json_parts(record))
    assert from_json(to_json(stored)) == record
    assert max(map(len, json_parts(stored))) < len(to_json(stored)) / 3
