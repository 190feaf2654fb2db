"""The command is killed at moments all over its life and resumed by the same words: nothing twice, nothing lost."""

import os

import pytest
from kill_resume import prove

pytestmark = pytest.mark.skipif(os.name != "posix", reason="only on POSIX: SIGKILL")


def test_four_kills(tmp_path):
    """The short form of the proof: at the start, on the way twice, and at the end."""
    assert prove(tmp_path, rows=500, kills=4, seed=4) == []


@pytest.mark.long
@pytest.mark.timeout(300)
@pytest.mark.parametrize("seed", [1, 2])
def test_twenty_kills(tmp_path, seed):
    """The whole proof, as ``python -m tests.crash.kill_resume`` does it."""
    assert prove(tmp_path, rows=2000, kills=20, seed=seed) == []
