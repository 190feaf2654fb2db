"""Settling at every crash and every fault: one schedule each, or it stays unknown; the whole proof is a command."""

import pytest
from settling import prove


def test_every_crash_and_every_fault():
    """The short form: no violation with a long quarantine, and both kinds of them with one that is too short."""
    sound, unsound = prove(800)
    assert sound["violations"] == {}
    assert set(sound["endings"]) == {"succeeded", "failed", "unknown"}
    assert {"rings twice", "lost"} <= set(unsound["violations"])


@pytest.mark.long
@pytest.mark.timeout(600)
def test_the_whole_proof():
    """Fifty thousand runs, as ``python -m tests.crash.settling`` does it."""
    sound, unsound = prove(50_000, seed=2)
    assert sound["violations"] == {}
    assert {"rings twice", "lost"} <= set(unsound["violations"])
