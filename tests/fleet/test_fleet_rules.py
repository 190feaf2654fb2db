"""Rules of the dial in a fleet: asked by who sends a row, with its cells and the calls of all workers."""

import asyncio
from collections import Counter
from datetime import timedelta

import pytest

from ucontact_async import Cap, DialRules, ScheduledCall
from ucontact_async.batch.operations import OPERATIONS, plan
from ucontact_async.batch.options import BulkOptions
from ucontact_async.batch.sources import CsvSource

pytest.importorskip("psycopg", reason="psycopg is not installed: python -m pip install 'ucontact-async[fleet]'")

from tenants import WHEN, Tenant, applied, calls, client_of, slow

from ucontact_async.fleet.calls import CallsElsewhere
from ucontact_async.fleet.database import DatabaseAway
from ucontact_async.fleet.load import load

CAPPED = DialRules(caps=(Cap(1, hours=24),), costly="allow")


@pytest.fixture
async def tenant(database, emulator):
    async with client_of(emulator) as client:
        yield Tenant(database, client)


def worker(tenant, rules=None):
    return tenant.worker(options=BulkOptions(rules=rules))


async def enter(tenant, items, rules, planner=None):
    async with tenant.database.transaction() as connection:
        options = BulkOptions(rules=rules, on_duplicate="allow")
        return await load(connection, tenant.client, items, batch="b", options=options, planner=planner, shard=20)


async def test_rows_with_rules_are_left_to_a_worker_with_rules(tenant, emulator, caplog):
    """Who has no rules claims nothing of them and says so; who has them skips what they forbid."""
    rules = DialRules(dialable=("09000001",), costly="allow")
    await enter(tenant, calls(30), rules)
    await enter(tenant, calls(30), None)  # loaded again without, they stay what they are
    assert (await worker(tenant).run(once=True)).rows == 0
    assert any("--rules" in message for message in caplog.messages)
    report = await worker(tenant, rules).run(once=True)
    assert report.reasons == {("skipped", "blocked: prefix"): 20}
    assert sorted(applied(emulator)) == [f"09{n:07d}" for n in range(10, 20)]
    assert await tenant.statuses() == {"succeeded": 10, "skipped": 20}


async def test_the_limits_of_a_row_come_along(tenant, emulator, tmp_path):
    """What a file says of when its rows may ring is kept with them, by any worker, and changed by another load."""
    file = tmp_path / "calls.csv"
    rules = DialRules(not_after="Until", costly="allow")

    async def enter_file(*limits):
        rows = [f"09000000{n},2099-05-05 10:00,{limit}\n" for n, limit in enumerate(limits)]
        file.write_text("destination,calldate,Until\n" + "".join(rows), encoding="utf-8")
        source = CsvSource(file)
        planner = plan(source.columns, OPERATIONS["schedule"], campaign="Ventas->")
        return await enter(tenant, source, rules, planner)

    await enter_file("2099-05-05 09:00", "2099-05-05 11:00", "")
    report = await worker(tenant).run(once=True)
    assert report.reasons == {("skipped", "blocked: not after"): 1}
    assert sorted(applied(emulator)) == ["090000001", "090000002"]
    await enter_file("", "", "")
    assert (await worker(tenant).run(once=True)).succeeded == 1


@pytest.mark.parametrize("workers", [1, 3])
async def test_a_cap_counts_the_calls_of_all_workers(tenant, emulator, workers):
    """However many workers hold rows of the same numbers, each number is called as often as the cap allows."""
    slow(emulator, 0.01)
    for turn in range(2):
        later = [
            ScheduledCall(
                campaign="Ventas->", destination=f"09{n % 20:07d}", calldate=WHEN + timedelta(seconds=n + 1000 * turn)
            )
            for n in range(120)
        ]
        await enter(tenant, later, CAPPED)
        reports = await asyncio.gather(*(worker(tenant, CAPPED).run(once=True) for _ in range(workers)))
        assert Counter(applied(emulator).values()) == {1: 20}
        blocked = sum(report.reasons.get(("skipped", "blocked: cap"), 0) for report in reports)
        assert blocked == (100, 120)[turn]


class BreakingOff:
    """A connection that breaks off at its second question."""

    def __init__(self, connection):
        self._connection = connection
        self._asked = 0

    async def execute(self, query, values):
        """Ask, or break off."""
        self._asked += 1
        if self._asked == 2:
            raise DatabaseAway("gone")
        return await self._connection.execute(query, values)


async def test_calls_whose_answer_was_lost_are_asked_for_again(tenant, emulator):
    """A database that breaks off while calls are read for a cap makes none of them forgotten."""
    await enter(tenant, calls(3), CAPPED)
    await worker(tenant, CAPPED).run(once=True)
    assert emulator.ledger.total == 3
    async with tenant.database.connection() as connection:
        found = await connection.execute("SELECT id FROM ucontact.tenants")
        ((number,),) = await found.fetchall()
        elsewhere = CallsElsewhere(CAPPED, number)
        with pytest.raises(DatabaseAway):
            await elsewhere.read(BreakingOff(connection), [], [])
        await elsewhere.read(connection, [], [])
    assert sorted(request.destination for request, _ in elsewhere.take()) == sorted(applied(emulator))
