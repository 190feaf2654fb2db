"""The power goes at every write of the journal: nothing that it called durable is missing afterwards."""

import pytest
from kill_at_syscalls import works
from power_cuts import prove


@pytest.fixture(autouse=True)
def _strace():
    if missing := works():
        pytest.skip(missing)


@pytest.mark.long
@pytest.mark.timeout(300)
def test_five_thousand_cuts():
    """The short form of ``python -m tests.crash.power_cuts``."""
    assert prove(cuts=5000, seed=1) == []


@pytest.mark.long
@pytest.mark.timeout(120)
def test_a_disk_that_syncs_nothing_is_found_out():
    """On a disk whose syncs of the log do nothing, acknowledged rows are lost, and the proof sees it."""
    assert any("was durable" in problem for problem in prove(cuts=100, seed=1, deaf=True))
