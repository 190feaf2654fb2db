"""A client that is stopped past every deadline, and what it must still get right when it goes on."""

import asyncio
import os
from datetime import datetime

import pytest
from stop_continue import prove

from ucontact_async import NotSent, ScheduledCall, UContact
from ucontact_async.api.calls import AgentCall
from ucontact_async.caller import HttpCaller
from ucontact_async.emulator import Emulator


@pytest.mark.long
@pytest.mark.timeout(300)
@pytest.mark.skipif(os.name != "posix", reason="only on POSIX: SIGSTOP")
async def test_fifty_stops(tmp_path):
    """The whole proof, as ``python -m tests.crash.stop_continue`` does it."""
    assert await prove(tmp_path, stops=50, seed=1) == []


@pytest.fixture
async def emulator():
    async with Emulator() as running:
        yield running


@pytest.fixture
async def uc(emulator):
    async with UContact(emulator.url, user="api", password="secret", timezone="America/Montevideo") as client:
        yield client


async def test_the_last_moment_counts_from_the_call(emulator, uc):
    """A process that is stopped between a call and the first turn of its task does not make the call afterwards."""
    now = 0.0

    def spawn(work):
        nonlocal now
        now += 6.0
        return asyncio.ensure_future(work)

    caller = HttpCaller(
        settings=uc.settings,
        lane=uc._caller.lane,
        limiter=uc.limiter,
        retry=uc._caller.retry,
        spawn=spawn,
        tokens=uc._caller.tokens,
        clock=lambda: now,
    )
    with pytest.raises(NotSent, match="too late"):
        await caller.call(
            type(uc.calls).dial, AgentCall(agent="Ana", phone="1001", destination="099123456", outqueue="Sales->")
        )
    assert not emulator.ledger.entries


async def test_what_was_read_in_advance_has_an_outcome_too(uc):
    """A run that is stopped gives back every request that it had taken from an asynchronous input."""
    read = 0

    async def requests():
        nonlocal read
        for number in range(1000):
            read += 1
            yield ScheduledCall(campaign="Ventas->", destination=f"09{number:07d}", calldate=datetime(2099, 5, 5, 10))

    seen = []
    async with uc.stream(requests(), max_concurrency=2) as outcomes:
        async for outcome in outcomes:
            seen.append(outcome)
            if len(seen) == 3:
                outcomes.stop("enough")
    assert 3 < len(seen) == read < 1000
    assert len({outcome.request.destination for outcome in seen}) == read


async def test_an_input_that_cannot_be_closed_costs_no_outcome(emulator, uc, tmp_path):
    """An input that fails when it is closed ends the run with its error, and the journal has all that was done."""
    calls = [
        ScheduledCall(campaign="Ventas->", destination=f"09{number:07d}", calldate=datetime(2099, 5, 5, 10))
        for number in range(300)
    ]

    async def requests():
        try:
            for call in calls:
                yield call
        finally:
            raise OSError("the file is gone")

    seen = []
    with pytest.raises(OSError, match="the file is gone"):  # noqa: PT012  the run raises where its outcomes end
        async with uc.stream(requests(), max_concurrency=2, journal=tmp_path / "run.journal") as outcomes:
            async for outcome in outcomes:
                seen.append(outcome)
                if len(seen) == 3:
                    outcomes.stop("enough")
    done = {outcome.request.destination for outcome in seen if outcome.status == "succeeded"}
    assert done == {entry.fields["destination"] for entry in emulator.ledger} != set()
    report = await uc.bulk(calls, journal=tmp_path / "run.journal")
    assert (report.rows, len(emulator.ledger)) == (300, 300)
