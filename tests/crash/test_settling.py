"""Settling at every crash and every fault: one schedule each, or it stays unknown; the whole proof is a command."""

from settling import prove


def test_every_crash_and_every_fault():
    """The short form: no violation with a long quarantine, and both kinds of them with one that is too short."""
    sound, unsound = prove(800)
    assert sound["violations"] == {}
    assert set(sound["endings"]) == {"succeeded", "failed", "unknown"}
    assert {"rings twice", "lost"} <= set(unsound["violations"])
