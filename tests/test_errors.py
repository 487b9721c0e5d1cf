"""The errors a user can meet: one line each, each with the exit code of the contract."""

import pytest

import reportgen
from reportgen.errors import IncompleteError, InputError, OutputError, ReportError, UsageError


@pytest.mark.parametrize(
    ("error", "code"), [(UsageError, 2), (InputError, 3), (OutputError, 4), (IncompleteError, 5), (ReportError, 1)]
)
def test_each_kind_has_its_exit_code(error: type[ReportError], code: int) -> None:
    assert error("x").exit_code == code
    assert issubclass(error, ReportError)


def test_a_message_is_folded_to_one_line() -> None:
    assert str(InputError("weights w.pt:\n  bad  \r\n\tkey\n")) == "weights w.pt: bad key"


def test_every_kind_is_part_of_the_public_interface() -> None:
    kinds: list[type[ReportError]] = [ReportError, *ReportError.__subclasses__()]
    for kind in kinds:
        assert kind.__name__ in reportgen.__all__
        assert getattr(reportgen, kind.__name__) is kind
