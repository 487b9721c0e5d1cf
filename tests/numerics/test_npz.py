import io
import zipfile

import numpy as np
import pytest

from reportgen.numerics.npz import npz_bytes


def test_numpy_reads_back_what_was_written_with_names_order_and_types() -> None:
    first = np.arange(12, dtype=np.float32).reshape(3, 4)
    packed = npz_bytes(average=first, names=np.array(["a", "bé"]), zero=np.float64(0))
    with np.load(io.BytesIO(packed), allow_pickle=False) as read:
        assert read.files == ["average", "names", "zero"]
        assert read["average"].dtype == np.float32
        np.testing.assert_array_equal(read["average"], first)
        assert list(read["names"]) == ["a", "bé"]
        assert read["zero"].shape == ()


def test_the_bytes_depend_on_the_arrays_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    array = np.linspace(0, 1, 1000).reshape(10, 100).T  # not contiguous
    before = npz_bytes(average=array)
    monkeypatch.setattr("time.time", lambda: 4e9)
    monkeypatch.setattr("sys.platform", "win32")
    assert npz_bytes(average=array) == before


def test_members_carry_one_fixed_date_and_are_compressed() -> None:
    with zipfile.ZipFile(io.BytesIO(npz_bytes(zeros=np.zeros(10_000)))) as archive:
        (member,) = archive.infolist()
        assert member.date_time == (1980, 1, 1, 0, 0, 0)
        assert member.compress_type == zipfile.ZIP_DEFLATED
        assert member.compress_size < 1000
        assert archive.testzip() is None


def test_nan_and_infinities_survive() -> None:
    array = np.array([np.nan, np.inf, -np.inf, -0.0], dtype=np.float32)
    with np.load(io.BytesIO(npz_bytes(average=array))) as read:
        assert read["average"].tobytes() == array.tobytes()


def test_objects_are_refused() -> None:
    with pytest.raises(ValueError, match="allow_pickle"):
        npz_bytes(things=np.array([object()], dtype=object))
