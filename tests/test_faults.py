"""Whatever happens during a build, the target is the old site or the new one, and nothing else is touched."""

import os
import signal

import pytest

from build_faults import FAULTS, SCENARIOS, SIZES, TARGETS
from faults import inject, interrupt_start

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="processes are forked and killed")


@pytest.mark.parametrize(("scenario", "fault"), [("build", "SIGINT"), ("build", "SIGTERM"), ("resume", "kill")])
def test_a_fault_at_a_call_of_a_build(scenario: str, fault: str) -> None:
    cases, wrong = inject("build_faults.py", scenario, fault, 120)
    assert wrong == []
    assert cases >= 4


@pytest.mark.sweep
@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("scenario", SCENARIOS)
def test_a_fault_at_many_a_call_of_a_build(scenario: str, fault: str) -> None:
    cases, wrong = inject("build_faults.py", scenario, fault, 5)
    assert wrong == []
    assert cases > 80


def test_targets_that_cannot_be_written_are_refused_before_any_forward_pass() -> None:
    cases, wrong = inject("build_faults.py", "targets", "", 1)
    assert wrong == []
    assert cases >= len(TARGETS) - 4, "all but the four that take a mount"


@pytest.mark.sweep
def test_a_disk_that_becomes_full_keeps_nothing() -> None:
    cases, wrong = inject("build_faults.py", "sizes", "", 1)
    assert wrong == []
    assert cases in (0, len(SIZES))


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_build_that_is_interrupted_while_torch_is_loaded(number: signal.Signals) -> None:
    assert interrupt_start(number, 200)


@pytest.mark.sweep
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("at", range(20, 6000, 150))
def test_a_build_that_is_interrupted_at_an_import(number: signal.Signals, at: int) -> None:
    interrupt_start(number, at)
