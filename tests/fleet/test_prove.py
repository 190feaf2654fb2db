"""The proof of the fleet, in its short form."""

import pytest

pytest.importorskip("psycopg", reason="psycopg is not installed: python -m pip install 'ucontact-async[fleet]'")

import prove


@pytest.mark.long
@pytest.mark.timeout(900)
def test_a_fleet_that_is_killed_stopped_and_restarted():
    """The whole proof, as ``python -m tests.fleet.prove --short`` does it."""
    args = prove.options(["--short"])
    if (missing := prove.unfit(args)) is not None:
        pytest.skip(missing)
    assert prove.prove(args) == []
