"""Whatever happens while a site is written, the target is the old site or the whole new one."""

import os

import pytest

from faults import into_sites
from site_faults import FAULTS, SCENARIOS

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="processes are forked and killed")


@pytest.mark.parametrize("fault", ["kill", "full", "EIO"])
@pytest.mark.parametrize("scenario", SCENARIOS)
def test_a_fault_at_a_call_leaves_the_old_site_or_the_new(scenario: str, fault: str) -> None:
    cases, wrong = into_sites(scenario, fault, 15)
    assert wrong == []
    assert cases > 3


@pytest.mark.sweep
@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("scenario", SCENARIOS)
def test_a_fault_at_any_call_of_a_whole_site(scenario: str, fault: str) -> None:
    cases, wrong = into_sites(scenario, fault, 1, "thorough")
    assert wrong == []
    assert cases > 200
