"""The tables of what was tried: what they count, and what a failure looks like."""

import subprocess
import sys
from pathlib import Path

import pytest

import build_faults
from trust import print_table


def test_a_table_sums_up(capsys: pytest.CaptureFixture[str]) -> None:
    assert print_table("faults", [("killed", 1200, 0), ("full", 3, 2)]) == 2
    assert capsys.readouterr().out == (
        "\n| faults | cases tried | failures |\n| --- | ---: | ---: |\n"
        "| killed | 1,200 | 0 |\n| full | 3 | 2 |\n| in all | 1,203 | 2 |\n"
    )


def test_nothing_tried_is_no_table(capsys: pytest.CaptureFixture[str]) -> None:
    assert print_table("hostile", []) == 0
    assert capsys.readouterr().out == ""


def test_what_fails_is_counted_and_the_rest_still_tried() -> None:
    def odd(number: int) -> bool:
        assert number != 3, "three is wrong"
        return number != 5  # can't be tried here

    tried, wrong = build_faults.each(range(1, 8), odd)
    assert tried == 6
    assert [line.partition("\n")[0] for line in wrong] == ["3: three is wrong"]


def test_an_unknown_table_is_refused() -> None:
    command = [sys.executable, str(Path(__file__).with_name("trust.py")), "fautls"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "there is no table fautls; there are faults, hostile, determinism" in done.stderr
