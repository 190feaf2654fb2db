"""The limiter behind the real client: what it learns, what closes its gate and what opens it."""

import asyncio
import contextlib
import sqlite3
from datetime import datetime

import msgspec
import pytest

from ucontact_async import Limiter, NotSent, ReplyLost, ScheduledCall, ServerFault, UContact
from ucontact_async.adaptive import CAP, START

SCHEDULE, SUMMARY = "Dialers/ScheduleDialerCall", "Supervisor/queuesummary"


def client_of(emulator, **options):
    return UContact(emulator.url, **{"user": "api", "password": "secret", "timezone": "UTC", **options})


def calls(count):
    return (
        ScheduledCall(campaign="Ventas->", destination=f"09{number:07d}", calldate=datetime(2099, 5, 5))
        for number in range(count)
    )


def rule(fault, endpoint=SCHEDULE, **extra):
    return {"endpoint": endpoint, "fault": fault, **extra}


async def test_a_run_finds_its_limit(emulator, tmp_path):
    """Nobody chose one: it grows with a server that keeps up, and never beyond the cap."""
    emulator.set_faults({"rules": [rule("latency", seconds=0.02)]})
    async with client_of(emulator) as uc:
        assert uc.limiter.stats.phase == "start"
        report = await uc.bulk(calls(600), journal=tmp_path / "run.db")
        stats = uc.limiter.stats
    assert report.succeeded == 600
    assert START < stats.max_concurrency <= CAP
    assert START < emulator.ledger.max_in_flight <= CAP
    assert stats.base_latency >= 0.02
    assert (stats.in_flight, stats.waiting, stats.gate) == (0, 0, "open")


async def test_no_more_rows_are_marked_than_may_be_on_the_wire(emulator, tmp_path):
    """A crash makes no more rows unknown than the limit says, also while that is lower than it will be."""
    emulator.set_faults({"rules": [rule("hang_before_apply")]})
    path = tmp_path / "run.db"
    async with client_of(emulator) as uc, uc.stream(calls(100), journal=path) as run:
        while emulator.ledger.requests[SCHEDULE] < START:
            await asyncio.sleep(0.01)
        await asyncio.sleep(0.1)
        with contextlib.closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as db:
            assert db.execute("SELECT count(*) FROM rows WHERE status = 'sent'").fetchone() == (START,)
        assert uc.limiter.stats.max_concurrency == START
        run.abort()


@pytest.mark.parametrize(
    ("fault", "error"),
    [(rule("status", status=503, count=1), ServerFault), (rule("hang_before_apply", count=1), ReplyLost)],
    ids=["503", "time-out"],
)
async def test_a_read_opens_the_gate(emulator, fault, error):
    """After a sign of overload nothing is sent but reads, until one is answered."""
    limiter = Limiter()
    async with client_of(emulator, limiter=limiter) as uc:
        await uc.login()
        emulator.set_faults({"rules": [fault, rule("status", SUMMARY, status=503, count=2)]})
        first, second = calls(2)
        with pytest.raises(error):
            await uc.with_options(timeout=0.2).send(first)
        assert limiter.closed
        await uc.send(second)
    assert not limiter.closed
    assert emulator.ledger.requests[SUMMARY] == 3
    assert [entry.fields["destination"] for entry in emulator.ledger.of(SCHEDULE)] == [second.destination]


async def test_a_gate_that_no_read_opens(emulator):
    """A call waits for it as long as it may and is not sent."""
    async with client_of(emulator) as uc:
        await uc.login()
        emulator.set_faults({"rules": [rule("status", "*", status=503)]})
        first, second = calls(2)
        with pytest.raises(ServerFault):
            await uc.send(first)
        uc._caller.settings = msgspec.structs.replace(uc.settings, wait=0.3)
        with pytest.raises(NotSent):
            await uc.send(second)
    assert emulator.ledger.requests[SCHEDULE] == 1


async def test_a_call_passes_a_run(emulator):
    """While a run has the server to itself, a call waits for a slot and not for the run."""
    emulator.set_faults({"rules": [rule("latency", seconds=0.05)]})
    async with client_of(emulator, limiter=Limiter(2)) as uc:
        await uc.login()
        run = asyncio.ensure_future(uc.bulk(calls(40), max_concurrency=2))
        while not emulator.ledger.of(SCHEDULE):
            await asyncio.sleep(0.005)
        await uc.dialers.schedule(campaign="Ventas->", destination="099123456", calldate=datetime(2099, 5, 5))
        before = [entry.fields["destination"] for entry in emulator.ledger.of(SCHEDULE)].index("099123456")
        report = await run
    assert report.succeeded == 40
    assert before < 10


async def test_the_pace_of_a_run_holds_behind_a_stall(emulator):
    """Rows that a full server held up leave one by one, not together when it has room again."""
    limiter = Limiter(4)
    async with client_of(emulator, limiter=limiter) as uc:
        await uc.login()
        for _ in range(4):
            await limiter.acquire()
        run = asyncio.ensure_future(uc.bulk(calls(8), max_concurrency=4, max_per_second=20))
        await asyncio.sleep(0.5)
        for _ in range(4):
            limiter.release()
        began = asyncio.get_running_loop().time()
        report = await run
    assert report.succeeded == 8
    assert asyncio.get_running_loop().time() - began >= 7 / 20 - 0.01
