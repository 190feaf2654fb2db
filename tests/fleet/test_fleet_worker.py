"""Workers on one database and one server: nothing twice, nothing lost, whoever dies, stops or wakes up late."""

import asyncio
import os
import signal
import subprocess
import sys

import pytest

from ucontact_async import RemoveContact
from ucontact_async.batch.options import BulkOptions
from ucontact_async.errors import JournalError

pytest.importorskip("psycopg", reason="psycopg is not installed: python -m pip install 'ucontact-async[fleet]'")

from tenants import Tenant, applied, calls, client_of, slow
from waiting import until

from ucontact_async.fleet.database import Database
from ucontact_async.fleet.lease import enter_tenant
from ucontact_async.fleet.limits import set_limits
from ucontact_async.fleet.shared_limiter import SharedLimiter
from ucontact_async.fleet.token import PostgresTokenStore

STOPS = """
import asyncio, os, signal, sys
from ucontact_async.fleet.database import Database
from ucontact_async.fleet.lease import Lease


async def main(address, server):
    async with Database(address) as database, Lease.hold(database, server=server, user="api", name="s", seconds=2) as l:
        async with database.transaction() as connection:
            await connection.execute("SELECT ucontact.claim(%s, '{}', 1, NULL, NULL)", (l.id,))
            os.kill(os.getpid(), signal.SIGSTOP)


asyncio.run(main(*sys.argv[1:]))
"""


@pytest.fixture
async def tenant(database, emulator):
    async with client_of(emulator) as client:
        yield Tenant(database, client)


async def test_two_workers_share_the_rows(tenant, emulator):
    """Every row is sent by one of two workers, both have a share, and the books equal the ledger."""
    slow(emulator, 0.01)
    await tenant.load(calls(200))
    reports = await asyncio.gather(*(tenant.worker().run(once=True) for _ in range(2)))
    assert sum(report.succeeded for report in reports) == 200
    assert all(report.succeeded for report in reports)
    assert set(applied(emulator).values()) == {1}
    assert len(applied(emulator)) == 200
    assert await tenant.statuses() == {"succeeded": 200}


async def test_told_to_stop_a_worker_finishes_and_gives_back(tenant, emulator):
    """What is in flight ends, what is not begun stays planned, and the next worker sends exactly that."""
    slow(emulator, 0.02)
    await tenant.load(calls(100))
    worker = tenant.worker()
    running = asyncio.create_task(worker.run())
    await until(lambda: emulator.ledger.total > 10)
    assert worker.stop("interrupted")
    report = await running
    assert (report.stopped, report.unknown) == ("interrupted", 0)
    assert await tenant.statuses() == {"succeeded": report.succeeded, "planned": 100 - report.succeeded}
    assert (await tenant.worker().run(once=True)).succeeded == 100 - report.succeeded
    assert set(applied(emulator).values()) == {1}


async def test_drained_a_worker_leaves(tenant, emulator):
    """A worker that is marked as draining leaves as if it had been told by a signal."""
    slow(emulator, 0.02)
    await tenant.load(calls(100))
    worker = tenant.worker(lease=1.0)
    running = asyncio.create_task(worker.run())
    await until(lambda: emulator.ledger.total > 10)
    await tenant.tell("UPDATE ucontact.workers SET draining = true")
    assert (await running).stopped == "drained"
    assert "sent" not in await tenant.statuses()


async def test_taken_over_a_worker_begins_again(tenant, emulator):
    """What was on the wire of a worker that others declared dead is settled by it alone, and it goes on anew."""
    slow(emulator, 0.05)
    await tenant.load(calls(100))
    worker = tenant.worker()
    running = asyncio.create_task(worker.run(once=True))
    await until(lambda: emulator.ledger.total > 20)
    await tenant.tell("SELECT ucontact.retire(id, 'taken over', NULL) FROM ucontact.workers")
    report = await running
    assert worker.epochs == 2
    assert report.stopped is None
    assert set(applied(emulator).values()) == {1}
    found = await tenant.statuses()
    assert found.get("succeeded", 0) + found.get("unknown", 0) == 100
    assert found.get("unknown", 0) <= 8  # as many as can be in flight


class Asleep:
    """A worker whose eight rows are marked and wait for a slot, until it wakes up an hour later on its own clock."""

    def __init__(self, tenant):
        self._tenant = tenant
        self._slept = 0

    def _clock(self):
        # A process that is stopped has its clock go on without it.
        return asyncio.get_running_loop().time() + self._slept

    async def run(self, meanwhile=""):
        """Return the report of the worker; ``meanwhile`` is said to the database while it sleeps."""
        limiter = self._tenant.client.limiter
        for _ in range(8):
            assert limiter.start()
        await self._tenant.load(calls(8))
        running = asyncio.create_task(self._tenant.worker(lease=30.0, clock=self._clock).run(once=True))
        async with asyncio.timeout(20):
            while await self._tenant.statuses() != {"sent": 8}:
                await asyncio.sleep(0.01)
        if meanwhile:
            await self._tenant.tell(meanwhile)
        self._slept = 3600
        for _ in range(8):
            limiter.release()
        return await running


async def test_a_process_that_slept_sends_nothing_when_it_wakes(tenant, emulator):
    """Rows that were marked before a worker fell asleep do not leave after its lease, unheard though it is."""
    await Asleep(tenant).run("SELECT ucontact.retire(id, 'taken over', NULL) FROM ucontact.workers")
    assert emulator.ledger.total == 0
    assert await tenant.statuses() == {"unknown": 8}


async def test_refused_in_doubt_a_worker_goes_on(tenant, emulator):
    """Where every row of a run was refused because the lease was in doubt, ``once`` does not leave: they are sent."""
    assert (await Asleep(tenant).run()).succeeded == 8
    assert set(applied(emulator).values()) == {1}


async def test_who_has_no_share_claims_nothing(database, emulator):
    """Of two workers that may have one request at once the second leaves all rows to the first."""
    slow(emulator, 0.01)
    async with client_of(emulator, limiter=SharedLimiter()) as one, client_of(emulator, limiter=SharedLimiter()) as two:
        tenants = [Tenant(database, client) for client in (one, two)]
        await set_limits(database, await enter_tenant(database, emulator.url, "api"), max_concurrency=1)
        await tenants[0].load(calls(100))
        first = asyncio.create_task(tenants[0].worker().run(once=True))
        await until(lambda: emulator.ledger.total > 0)
        second = await tenants[1].worker().run(once=True)
        assert ((await first).succeeded, second.rows) == (100, 0)


@pytest.mark.long
async def test_who_loses_its_share_gives_back(database, emulator):
    """Where the limit is lowered below the number of workers, what the last ones hold is sent by the others."""
    slow(emulator, 0.01)
    number = await enter_tenant(database, emulator.url, "api")
    await set_limits(database, number, max_concurrency=2)

    def member():
        return client_of(emulator, limiter=SharedLimiter(), token_store=PostgresTokenStore(database, number))

    async with member() as one, member() as two:
        await Tenant(database, one).load(calls(400))
        workers = [Tenant(database, client).worker() for client in (one, two)]
        running = [asyncio.create_task(worker.run()) for worker in workers]
        await until(lambda: all(worker.report.succeeded for worker in workers))
        await set_limits(database, number, max_concurrency=1)
        await until(lambda: emulator.ledger.total == 400)
        for worker in workers:
            worker.stop("done")
        await asyncio.gather(*running)
    assert set(applied(emulator).values()) == {1}


async def test_a_worker_that_is_stopped_in_a_transaction_is_taken_over(tenant, fleet_url, emulator):
    """A process that stands still in the middle of a claim holds its locks no longer than a moment."""
    await tenant.load(calls(20))
    url = tenant.client.settings.url
    stopped = await asyncio.create_subprocess_exec(
        sys.executable, "-c", STOPS, fleet_url, url, stderr=subprocess.DEVNULL
    )
    try:
        await asyncio.to_thread(os.waitid, os.P_PID, stopped.pid, os.WSTOPPED)
        worker = tenant.worker()
        running = asyncio.create_task(worker.run())
        await until(lambda: emulator.ledger.total == 20)
        worker.stop("done")
        await running
        stopped.send_signal(signal.SIGCONT)
        assert await stopped.wait()  # it was cut off
    finally:
        if stopped.returncode is None:
            stopped.kill()
            await stopped.wait()
    assert set(applied(emulator).values()) == {1}


async def test_a_restart_of_the_database_is_waited_for(postgres, fleet_url, emulator):
    """The database goes and comes back under a running worker: nothing twice, nothing lost, nothing unknown."""
    async with Database(fleet_url) as database, client_of(emulator) as client:
        tenant = Tenant(database, client)
        slow(emulator, 0.02)
        await tenant.load(calls(150))
        running = asyncio.create_task(tenant.worker(lease=30.0).run(once=True))
        for moment in (20, 80):
            await until(lambda moment=moment: emulator.ledger.total > moment)
            await asyncio.to_thread(postgres.stop)
            await asyncio.to_thread(postgres.start)
        await running
        assert set(applied(emulator).values()) == {1}
        assert await tenant.statuses() == {"succeeded": 150}


async def test_a_last_commit_that_fails_is_told(tenant, emulator):
    """Where how the last call ended could not be written, the worker does not leave as if all were well."""
    slow(emulator, 0.2)
    await tenant.load(calls(1))
    running = asyncio.create_task(tenant.worker().run(once=True))
    async with asyncio.timeout(20):
        while await tenant.statuses() != {"sent": 1}:
            await asyncio.sleep(0.01)
    await tenant.tell("DROP FUNCTION ucontact.mark")
    with pytest.raises(JournalError, match="the database refused"):
        await running
    assert emulator.ledger.total == 1
    assert await tenant.statuses() == {"unknown": 1}


async def test_two_tenants_do_not_meet(tenant, emulator, database):
    """Workers of two users of one server, in one database, send their own rows only."""
    emulator.state.sessions.users["other"] = "secret"
    async with client_of(emulator, "other") as client:
        other = Tenant(database, client)
        await tenant.load(calls(20))
        await other.load(calls(30))
        assert (await other.worker().run(once=True)).succeeded == 30
        assert await tenant.statuses() == {"planned": 20}
        assert await other.statuses() == {"succeeded": 30}


async def test_both_kinds_are_worked_off_in_turn(tenant, emulator):
    """One worker sends the inserts of a batch and then the removals of another, in the order they were loaded."""
    await tenant.load(calls(30))
    await tenant.load([RemoveContact(campaign="Ventas->", destination="090000001")], batch="removals")
    report = await tenant.worker().run(once=True)
    assert report.succeeded == 31
    assert await tenant.statuses() == {"succeeded": 31}


CANNOT_GIVE_BACK = """
CREATE SEQUENCE ucontact.tried;
ALTER FUNCTION ucontact.release RENAME TO kept;
CREATE FUNCTION ucontact.release(me bigint, shard bigint) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    PERFORM nextval('ucontact.tried');
    RAISE EXCEPTION 'gone' USING ERRCODE = '57P01';
END
$$
"""
CAN_AGAIN = "DROP FUNCTION ucontact.release; ALTER FUNCTION ucontact.kept RENAME TO release"


async def test_what_could_not_be_given_back_is_later(tenant, emulator):
    """A worker that goes on does not keep a shard because the database was away when it was done with it."""
    await tenant.load(calls(10))
    await tenant.tell(CANNOT_GIVE_BACK)
    worker = tenant.worker(lease=30.0)
    running = asyncio.create_task(worker.run())
    async with asyncio.timeout(20), tenant.database.connection() as connection:
        while not await (await connection.execute("SELECT FROM ucontact.tried WHERE is_called")).fetchall():
            await asyncio.sleep(0.01)
    await tenant.tell(CAN_AGAIN)
    await tenant.load([RemoveContact(campaign="Ventas->", destination="090000001")], batch="removals")
    await until(lambda: emulator.ledger.total == 11)
    worker.stop("done")
    assert (await running).succeeded == 11


async def test_a_fuse_ends_a_worker(tenant, emulator):
    """Too many unknown outcomes stop a worker as they stop a run, and it says so."""
    rules = [{"endpoint": "Dialers/*", "fault": "close_after_apply"}]
    emulator.set_faults({"rules": rules})
    await tenant.load(calls(100))
    report = await tenant.worker(options=BulkOptions(max_unknown=3)).run()
    assert "unknown" in report.stopped
    found = await tenant.statuses()
    assert found["unknown"] == report.unknown < 30
    assert found["planned"] == 100 - report.unknown
