"""Entries of figures on disk: the same as in memory, and nothing is left behind."""

import errno
import gc
import io
import os
import pickle
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from canned import make_record
from reportgen.errors import OutputError
from reportgen.site.record import FigureEntry, StoredData, from_json, to_json
from reportgen.site.store import FigureStore
from reportgen.site.writer import SiteWriter

FIGURES = make_record().figures


def filled(file: io.BytesIO | None = None) -> FigureStore:
    store = FigureStore(file)
    for figure in FIGURES:
        store.append(replace(figure, data=StoredData({**figure.data, "low": [0.5, None] * 40})))
    return store


def test_entries_come_back_as_they_were() -> None:
    store = filled()
    wanted = [replace(figure, data={**figure.data, "low": [0.5, None] * 40}) for figure in FIGURES]
    assert len(store) == len(wanted) > 5
    assert [replace(figure, data=dict(figure.data)) for figure in store] == wanted
    assert dict(store[-1].data) == wanted[-1].data
    assert [figure.files for figure in store[1:3]] == [figure.files for figure in wanted[1:3]]
    with pytest.raises(IndexError):
        store[len(wanted)]


def test_more_can_be_added_after_reading() -> None:
    store = FigureStore()
    for figure in FIGURES[:3]:
        store.append(figure)
        assert store[0] == FIGURES[0]
    assert store == FIGURES[:3]
    store.clear()
    assert list(store) == []
    store.append(FIGURES[1])
    assert list(store) == [FIGURES[1]]


def test_an_order_is_that_of_a_stable_sort() -> None:
    def backwards(place: tuple[str | None, str | None]) -> str:
        return "".join(reversed(place[0] or ""))

    wanted = sorted(FIGURES, key=lambda figure: backwards((figure.image, figure.layer)))
    store = FigureStore()
    for figure in FIGURES:
        store.append(figure)
    assert wanted != FIGURES
    assert store.ordered(backwards) == wanted
    assert list(store) == FIGURES


def test_a_record_with_a_store_is_written_as_one_with_a_list() -> None:
    store = FigureStore()
    for figure in FIGURES:
        store.append(figure)
    text = to_json(replace(make_record(), figures=store))
    assert text == to_json(make_record())
    assert from_json(text).figures == FIGURES


def test_pickled_it_is_a_list() -> None:
    store = filled()
    assert pickle.loads(pickle.dumps(store)) == list(store)  # noqa: S301 - written one line above


def test_the_file_is_closed_with_the_last_reader() -> None:
    file = io.BytesIO()
    store = filled(file)
    view = store.ordered(lambda place: place[0] or "")
    del store
    gc.collect()
    assert len(view) == len(FIGURES)
    assert view[0].kind
    del view
    gc.collect()
    assert file.closed


def _raise(*_: object) -> int:
    raise OSError(errno.ENOSPC, "No space left on device")


@pytest.mark.parametrize(
    ("operation", "told"), [("write", "can't be kept .* No space"), ("read", "can't be read again")]
)
def test_a_disk_that_fails_is_told_in_one_line(operation: str, told: str, monkeypatch: pytest.MonkeyPatch) -> None:
    class Failing(io.BytesIO):
        pass

    store = filled(Failing())
    monkeypatch.setattr(Failing, operation, _raise)
    work: Callable[[], object] = {"write": lambda: store.append(FIGURES[0]), "read": lambda: store[0]}[operation]
    with pytest.raises(OutputError, match=told) as raised:
        work()
    assert "\n" not in str(raised.value)


def test_a_scratch_file_lies_beside_the_site_without_a_name(tmp_path: Path) -> None:
    with SiteWriter(tmp_path / "site") as writer:
        file = writer.scratch()
        before = _bytes_free_of_names(tmp_path)
        file.write(bytes(9 << 20))
        assert isinstance(file.fileno(), int)  # on disk
        assert _bytes_free_of_names(tmp_path) == before
        file.seek(0)
        assert file.read() == bytes(9 << 20)
        writer.write("index.html", "page")
        writer.publish()
        file.seek(1 << 20)
        assert file.read(4) == bytes(4)  # as long as it is open
        file.close()
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["SHA256SUMS", "index.html", "site"]


@pytest.mark.parametrize("number", [errno.EOPNOTSUPP, errno.EISDIR])
def test_without_nameless_files_it_is_in_memory(
    number: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened = os.open

    def refuse(path: object, flags: int, *rest: int) -> int:
        if flags & os.O_TMPFILE == os.O_TMPFILE:
            raise OSError(number, os.strerror(number))
        return opened(path, flags, *rest)  # type: ignore[arg-type]

    with SiteWriter(tmp_path / "site") as writer:
        monkeypatch.setattr(os, "open", refuse)
        assert isinstance(writer.scratch(), io.BytesIO)
        monkeypatch.delattr(os, "O_TMPFILE")
        monkeypatch.setattr(os, "open", opened)
        assert isinstance(writer.scratch(), io.BytesIO)


def test_a_disk_that_fails_while_a_scratch_file_is_made_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> int:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    with SiteWriter(tmp_path / "site") as writer:
        monkeypatch.setattr(os, "open", fail)
        with pytest.raises(OutputError, match=r"site: .*Input/output error"):
            writer.scratch()
        monkeypatch.undo()


def _bytes_free_of_names(directory: Path) -> int:
    """What all files in a directory have together."""
    return sum(path.stat().st_size for path in directory.rglob("*") if path.is_file())


def test_entries_take_the_same_memory_however_many_there_are(tmp_path: Path) -> None:
    import tracemalloc

    figure = FigureEntry("grid", "conv1", "cat", ["figures/a.png"], 8, 8, "alt", "x" * 20_000, {})
    with SiteWriter(tmp_path / "site") as writer:
        store = FigureStore(writer.scratch())
        for _ in range(500):  # 10 MB: what memory keeps is full
            store.append(figure)
        tracemalloc.start()
        for _ in range(500):
            store.append(figure)
        grown, _ = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert grown < 500 * 200
        assert store[999] == figure
        del store
        gc.collect()
