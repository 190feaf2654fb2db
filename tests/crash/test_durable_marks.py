"""Under strace: each row's mark is synced to the disk before its request leaves."""

import pytest
from durable_marks import prove
from kill_at_syscalls import works


@pytest.fixture(autouse=True)
def _strace():
    if missing := works():
        pytest.skip(missing)


@pytest.mark.long
@pytest.mark.timeout(120)
def test_three_hundred_rows(tmp_path):
    """The short form of ``python -m tests.crash.durable_marks``."""
    assert prove(tmp_path, rows=300) == []


@pytest.mark.long
@pytest.mark.timeout(120)
def test_a_disk_that_syncs_nothing_is_found_out(tmp_path):
    """Where syncs of the log do nothing, no mark is durable when its call leaves, and the proof sees it."""
    problems = prove(tmp_path, rows=100, deaf=True)
    assert sum("before its mark" in problem for problem in problems) >= 90
