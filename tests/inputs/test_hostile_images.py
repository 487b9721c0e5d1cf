"""Images made to do harm: damaged in thousands of ways, lying about their size, huge once they are unpacked."""

import struct
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from confined import GIGABYTE, Confined
from hostile_images import FORMATS, LIARS, SPECIAL, faults_of, liar_fault, mutations, png_bomb, special_fault, valid
from reportgen.errors import InputError
from reportgen.inputs.images import MAX_PIXELS, BadImage, decode, find_images

USUAL = ("PNG", "JPEG", "GIF", "WEBP", "TIFF", "BMP", "APNG")


def _check_mutations(process: Confined, directory: Path, kind: str, count: int) -> None:
    """Each mutated file is a picture or refused in a line that names it, soon and in bounded memory."""
    results = [faults_of(process, directory / name, content) for name, content in mutations(kind, count)]
    assert [fault for fault, _ in results if fault] == []
    if kind in USUAL:
        # The damage is neither always harmless nor always deadly.
        refused = sum(refused for _, refused in results)
        assert refused > 0
        assert refused < count or count < 100


@pytest.mark.parametrize("kind", FORMATS)
def test_mutated_files_are_pictures_or_refused(process: Confined, tmp_path: Path, kind: str) -> None:
    _check_mutations(process, tmp_path, kind, 25 if kind in USUAL else 6)


@pytest.mark.sweep
@pytest.mark.parametrize("kind", FORMATS)
def test_thousands_of_mutated_files_are_pictures_or_refused(process: Confined, tmp_path: Path, kind: str) -> None:
    _check_mutations(process, tmp_path, kind, 600)


@pytest.mark.parametrize("kind", USUAL)
def test_there_is_a_valid_file_of_each_usual_kind(tmp_path: Path, kind: str) -> None:
    (tmp_path / "a").write_bytes(valid(kind))
    assert sorted((decode(find_images([tmp_path / "a"])[0]).width, 24, 31))[1:] in ([24, 31], [31, 31])


@pytest.mark.parametrize("name", LIARS)
def test_files_that_lie_are_pictures_or_refused(process: Confined, tmp_path: Path, name: str) -> None:
    assert liar_fault(process, name, tmp_path) == ""


@pytest.mark.parametrize("name", SPECIAL)
def test_what_is_no_file_is_refused_at_once(process: Confined, tmp_path: Path, name: str) -> None:
    assert special_fault(process, name, tmp_path) == ""


def test_the_limit_can_be_lowered_and_raised(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    Image.new("RGB", (5, 7)).save(path)
    with pytest.raises(InputError, match=r"a\.png has 35 pixels, more than the 34 allowed; .* --max-pixels"):
        find_images([path], max_pixels=34)
    (source,) = find_images([path], max_pixels=35)
    Image.new("RGB", (5, 8)).save(path)  # another file since
    with pytest.raises(InputError, match=r"a\.png has 40 pixels, more than the 35 allowed"):
        decode(source)
    with pytest.raises(InputError, match="image 1 has 35 pixels"):
        find_images([Image.new("RGB", (5, 7))], max_pixels=34)


def test_a_raised_limit_wins_over_pillows_own(tmp_path: Path) -> None:
    limit = Image.MAX_IMAGE_PIXELS
    path = tmp_path / "large.bmp"
    size = 20_000  # 400 million pixels, more than twice what Pillow takes; only the header is read
    path.write_bytes(b"BM" + struct.pack("<IHHIIiiHHIIiiII", 0, 0, 0, 54, 40, size, size, 1, 24, 0, 0, 0, 0, 0, 0))
    bad: list[BadImage] = []
    assert len(find_images([path], bad.append, max_pixels=size * size)) == 1
    with pytest.raises(InputError, match="none of the 1 images"):
        find_images([path], bad.append, max_pixels=size * size - 1)
    assert limit == Image.MAX_IMAGE_PIXELS


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="only Linux tells a process's peak there")
def test_a_bomb_below_the_limit_takes_less_than_a_gigabyte(process: Confined, tmp_path: Path) -> None:
    """A third of the pixels that are allowed may take a third of that."""
    path, side = tmp_path / "bomb.png", 4500
    path.write_bytes(png_bomb(side))
    assert path.stat().st_size < 1 << 18
    outcome = process.decode(path)
    assert (outcome.code, outcome.said) == (0, f"{side}x{side}")
    assert 3 * side * side < outcome.grown < GIGABYTE * side * side / MAX_PIXELS


@pytest.mark.parametrize("kind", [np.uint16, np.int32, np.float32])
def test_gray_of_many_bits_takes_less_than_a_gigabyte(process: Confined, tmp_path: Path, kind: type) -> None:
    path, side = tmp_path / "gray.tif", 4000
    Image.fromarray(np.zeros((side, side), kind)).save(path)
    assert process.decode(path).grown < GIGABYTE * side * side / MAX_PIXELS


@pytest.mark.sweep
@pytest.mark.parametrize(
    ("name", "mode"),
    [("a.png", "RGBA"), ("a.jpg", "RGB"), ("a.webp", "RGBA"), ("a.tif", "I;16"), ("b.tif", "I"), ("c.tif", "F")],
)
def test_the_largest_image_allowed_takes_less_than_a_gigabyte(
    process: Confined, tmp_path: Path, name: str, mode: str
) -> None:
    side = int(MAX_PIXELS**0.5)
    Image.new(mode, (side, side)).save(tmp_path / name)
    outcome = process.decode(tmp_path / name)
    assert outcome.code == 0
    assert outcome.grown < GIGABYTE
