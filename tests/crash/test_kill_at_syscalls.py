"""The command is killed at its system calls, one kill a run, and resumed by the same words."""

import pytest
from kill_at_syscalls import prove, works


@pytest.mark.long
@pytest.mark.timeout(300)
def test_sixty_kills(tmp_path):
    """The short form of ``python -m tests.crash.kill_at_syscalls``: every kind of call, from first to last."""
    if missing := works():
        pytest.skip(missing)
    assert prove(tmp_path, kills=60, seed=1) == []
