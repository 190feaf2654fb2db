"""The fleet's journal, beside what a run shows of it: rows that are not as they were, or not ours."""

import asyncio

import pytest

from ucontact_async.errors import JournalBusy, JournalMismatch, NotSent

pytest.importorskip("psycopg", reason="psycopg is not installed: python -m pip install 'ucontact-async[fleet]'")

from tenants import Tenant, calls, client_of

from ucontact_async.batch.journal import Entry
from ucontact_async.fleet.journal import FleetJournal
from ucontact_async.fleet.lease import Lease
from ucontact_async.fleet.shards import Shards


@pytest.fixture
async def claimed(database, emulator):
    """Yield a lease, its journal and the rows it has claimed."""
    async with client_of(emulator) as client:
        tenant = Tenant(database, client)
        await tenant.load(calls(3))
        async with Lease.hold(database, server=client.settings.url, user="api", name="one") as lease:
            journal = FleetJournal(database, lease, lambda _: None)
            shards = Shards(database, lease, once=True)
            shards.expect = journal.expect
            await shards.ready()
            yield lease, journal, await shards.block(10), tenant
            await journal.aclose()


async def test_a_row_that_reads_as_another_call_is_not_sent(claimed):
    """Each claimed row is recalled once, as what it was loaded as; anything else stops the run."""
    _, journal, rows, _ = claimed
    entries = [Entry(row.content, 0, row.number) for row in rows]
    assert [known.id for known in await journal.recall(entries)] == [row.id for row in rows]
    with pytest.raises(JournalMismatch, match="another call"):
        await journal.recall(entries[:1])
    with pytest.raises(JournalMismatch, match="another call"):
        await journal.recall([Entry(bytes(16), 0, 0)])


async def test_a_row_that_was_taken_out_is_not_sent(claimed):
    """A row that is no longer planned is refused alone; the others of the same commit are not."""
    _, journal, rows, tenant = claimed
    await tenant.tell(f"UPDATE ucontact.rows SET status = 'skipped' WHERE id = {rows[1].id}")
    marks = await asyncio.gather(*(journal.sent(row.id) for row in rows), return_exceptions=True)
    assert [type(mark) for mark in marks] == [type(None), NotSent, type(None)]
    assert await tenant.statuses() == {"sent": 2, "skipped": 1}


async def test_of_two_that_mark_a_row_one_may_send_it(claimed, database):
    """Two runs of one process that have got hold of the same row do not both send it."""
    lease, journal, rows, _ = claimed
    other = FleetJournal(database, lease, lambda _: None)
    both = await asyncio.gather(journal.sent(rows[0].id), other.sent(rows[0].id), return_exceptions=True)
    assert sorted(map(str, map(type, both))) == sorted(map(str, [type(None), NotSent]))
    await other.aclose()


async def test_who_was_taken_over_marks_nothing_more(claimed):
    """From the first mark that meets the end of the lease on, every other is refused without asking."""
    lease, journal, rows, tenant = claimed
    await tenant.tell(f"SELECT ucontact.retire({lease.id}, 'taken over', NULL)")
    for row in rows[:2]:
        with pytest.raises(JournalBusy, match="taken its rows over"):
            await journal.sent(row.id)
    assert lease.lost
    assert await tenant.statuses() == {"planned": 3}


async def test_how_a_call_ended_is_delivered_after_its_commit(claimed, database):
    """An outcome is handed on once the journal holds it."""
    lease, _, rows, tenant = claimed
    delivered = asyncio.get_running_loop().create_future()
    journal = FleetJournal(database, lease, delivered.set_result)
    await journal.sent(rows[0].id)
    journal.settled(rows[0].id, "succeeded", "", 1, "outcome")
    assert await delivered == ["outcome"]
    assert await tenant.statuses() == {"succeeded": 1, "planned": 2}


async def test_a_mark_that_was_taken_back_is_set_anew(claimed):
    """A row that is turned away at the gate and armed again within one commit is this worker's as before."""
    _, journal, rows, tenant = claimed
    await journal.sent(rows[0].id)
    journal.planned(rows[0].id)
    await journal.sent(rows[0].id)
    assert await tenant.statuses() == {"sent": 1, "planned": 2}


async def test_only_its_own_last_word_is_taken_back(claimed, database):
    """A row that ended known becomes unknown, also after the lease; one on the wire or loaded anew does not."""
    lease, journal, rows, tenant = claimed
    for row, status in zip(rows, ("succeeded", "failed", "sent"), strict=True):
        await journal.sent(row.id)
        if status != "sent":
            journal.settled(row.id, status, "", 1, None)
    await tenant.tell(f"SELECT ucontact.retire({lease.id}, 'taken over', NULL)")
    await tenant.tell(f"UPDATE ucontact.rows SET status = 'sent' WHERE id = {rows[2].id}")
    ids = [row.id for row in rows]
    assert await journal.amend(ids[1:2]) == ids[1:2]
    assert await tenant.statuses() == {"succeeded": 1, "unknown": 1, "sent": 1}
    assert sorted(await journal.amend(ids)) == ids[:2]  # asked again as if the first answer had been lost
    await tenant.tell(f"UPDATE ucontact.rows SET status = 'succeeded', reason = 'resolved' WHERE id = {ids[1]}")
    assert await journal.amend(ids[1:2]) == []  # a person has said so
    await tenant.tell(f"UPDATE ucontact.rows SET status = 'failed', owner = NULL WHERE id = {ids[0]}")
    assert await journal.amend(ids[:1]) == []
    assert await tenant.statuses() == {"failed": 1, "succeeded": 1, "sent": 1}
