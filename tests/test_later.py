"""Files made later: all at once, when they are asked for."""

from reportgen.later import Later


def test_files_are_made_when_they_are_looked_up_and_kept_then() -> None:
    calls: list[int] = []

    def make(number: int) -> dict[str, bytes]:
        calls.append(number)
        return {"png": b"png", "svg": b"svg"}

    files = Later(make, lambda: (7,), ("png", "svg"), held=5)
    assert (list(files), len(files), "png" in files, "pdf" in files, calls) == (["png", "svg"], 2, True, False, [])
    assert (files["png"], dict(files), calls) == (b"png", {"png": b"png", "svg": b"svg"}, [7])
    assert (files.make(), files.make(), calls) == (dict(files), dict(files), [7, 7, 7])
