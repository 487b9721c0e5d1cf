"""Whatever happens during a build, the target is the old site or the new one, and nothing else is touched."""

import os
import signal

import pytest

from build_faults import FAULTS, SCENARIOS, SIZES, TARGETS
from faults import interrupt_start, into_builds

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="processes are forked and killed")


def test_faults_at_calls_of_a_build_and_targets_that_cannot_be_written() -> None:
    # In one process, since to load torch takes longer than all the builds.
    *sampled, (targets, wrong) = into_builds(
        *("build/SIGINT/180", "build/SIGTERM/300", "resume/kill/180"), "targets//1"
    )
    assert wrong == []
    assert targets >= len(TARGETS) - 4, "all but the four that take a mount"
    for cases, wrong in sampled:
        assert wrong == []
        assert cases > 1


@pytest.mark.sweep
@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("scenario", SCENARIOS)
def test_a_fault_at_many_a_call_of_a_build(scenario: str, fault: str) -> None:
    ((cases, wrong),) = into_builds(f"{scenario}/{fault}/5")
    assert wrong == []
    assert cases > 80


@pytest.mark.sweep
def test_a_disk_that_becomes_full_keeps_nothing() -> None:
    ((cases, wrong),) = into_builds("sizes//1")
    assert wrong == []
    assert cases in (0, len(SIZES))


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_build_that_is_interrupted_while_torch_is_loaded(number: signal.Signals) -> None:
    assert interrupt_start(number, 200)


@pytest.mark.sweep
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("at", range(20, 2600, 120))
def test_a_build_that_is_interrupted_at_an_import(number: signal.Signals, at: int) -> None:
    interrupt_start(number, at)
