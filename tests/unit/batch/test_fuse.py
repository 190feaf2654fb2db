"""The fuse: too many unknown outcomes, or many more than before."""

from random import Random

import pytest

from ucontact_async.batch.fuse import Fuse
from ucontact_async.batch.options import BulkOptions
from ucontact_async.errors import SettingsError


def rows_until_blown(fuse, rows):
    """Feed rows and return how many it took, and why it blew."""
    for count, unknown in enumerate(rows, 1):
        if unknown and (why := fuse.blown(count)) is not None:
            return count, why
    return None


def test_too_many():
    """One more than allowed stops the run."""
    assert rows_until_blown(Fuse(2, None), [True, False, True, False, True]) == (
        5,
        "more than 2 unknown outcomes (max_unknown)",
    )
    assert rows_until_blown(Fuse(0, None), [True])[0] == 1


def test_a_jump():
    """A server that begins to fail stops the run at ten of the last hundred rows, with both shares in the reason."""
    count, why = rows_until_blown(Fuse(1000, 5.0), [False] * 5000 + [True] * 1000)
    assert count == 5010
    assert why == "unknown outcomes jumped to 10 of the last 100 rows, from 0.0% before (max_unknown_jump)"
    steady = [n % 50 == 0 for n in range(5000)]
    assert rows_until_blown(Fuse(5000, 5.0), [*steady, *[True] * 1000])[0] == 5010


def test_no_jump():
    """A share that is the same from the start, however high, a start that says nothing yet, and chance do not stop."""
    chance = Random(7)
    for share in (0.01, 0.05, 0.3):
        assert rows_until_blown(Fuse(100_000, 5.0), (chance.random() < share for _ in range(50_000))) is None
    assert rows_until_blown(Fuse(1000, 5.0), [True] * 199) is None
    assert rows_until_blown(Fuse(1000, None), [False] * 5000 + [True] * 1000) is None


def test_never():
    """Without a limit nothing stops the run."""
    assert rows_until_blown(Fuse(None, 5.0), [False] * 5000 + [True] * 1000) is None


def test_a_factor_that_makes_no_sense():
    """A jump is a factor above 1."""
    with pytest.raises(SettingsError, match="max_unknown_jump"):
        BulkOptions(max_unknown_jump=1.0)
