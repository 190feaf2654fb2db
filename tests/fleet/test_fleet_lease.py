"""The lease: renewed by a counter, watched by clocks of the watchers' own, never by the time of day."""

import asyncio

import pytest

from ucontact_async.errors import SettingsError

pytest.importorskip("psycopg", reason="psycopg is not installed: python -m pip install 'ucontact-async[fleet]'")

from ucontact_async.fleet.lease import Lease

TENANT = {"server": "https://acme.example", "user": "api"}


class Clock:
    """A monotonic clock that goes by hand."""

    def __init__(self):
        self.now = 1000.0

    def __call__(self):
        """Return the moment."""
        return self.now


async def ended(database):
    async with database.connection() as connection:
        found = await connection.execute("SELECT name, ended FROM ucontact.workers ORDER BY id")
        return dict(await found.fetchall())


async def enter(database, lease, name="dead"):
    """Enter a worker that does nothing."""
    async with database.connection() as connection:
        await connection.execute(
            "INSERT INTO ucontact.workers (tenant_id, name, lease) VALUES (%s, %s, 30)", (lease.tenant, name)
        )


async def beat(database, name):
    async with database.connection() as connection:
        await connection.execute("UPDATE ucontact.workers SET beat = beat + 1 WHERE name = %s", (name,))


async def test_a_worker_that_stands_still_is_taken_over(database):
    """Who was seen without a beat for a whole lease is dead, one that beats is not, and what left has left."""
    clock = Clock()
    async with Lease.hold(database, **TENANT, name="watcher", seconds=30, clock=clock) as lease:
        await enter(database, lease, "dead")
        await enter(database, lease, "alive")
        for _ in range(29):
            assert await lease.watch() == []
            clock.now += 1
        await beat(database, "alive")
        assert await lease.watch() == []
        clock.now += 1.5
        assert len(await lease.watch()) == 1
        assert await ended(database) == {"watcher": None, "dead": "taken over", "alive": None}
    assert (await ended(database))["watcher"] == "left"


async def test_who_did_not_look_takes_nobody_for_dead(database):
    """The time in which a watcher stood still itself counts as a moment, and what it saw before does as it was."""
    clock = Clock()
    async with Lease.hold(database, **TENANT, name="watcher", seconds=30, clock=clock) as lease:
        await enter(database, lease)
        for pause in (0, *[1] * 26, 3600):
            clock.now += pause
            assert await lease.watch() == []
        assert (await ended(database))["dead"] is None
        clock.now += 1.5
        assert await lease.watch() == []
        clock.now += 1.5
        assert len(await lease.watch()) == 1


async def test_a_slow_look_counts_too(database):
    """Where every look takes long, as on a database that is slow, the dead are found all the same."""
    clock = Clock()
    async with Lease.hold(database, **TENANT, name="watcher", seconds=30, clock=clock) as lease:
        await enter(database, lease)
        looks = 0
        while (await ended(database))["dead"] is None:
            await lease.watch()
            clock.now += 5
            looks += 1
            assert looks < 50
        assert looks > 6  # no look counts for more than a moment


async def test_nothing_may_leave_once_others_may_count_it_dead(database):
    """A first byte may leave while the last renewal is younger than the lease, counted from before it was asked for."""
    clock = Clock()
    async with Lease.hold(database, **TENANT, name="one", seconds=30, clock=clock) as lease:
        clock.now += 29.9
        assert lease.valid()
        clock.now += 0.2
        assert not lease.valid()
        await lease.renew()
        assert lease.valid()
        assert not lease.over.is_set()


async def test_who_was_taken_over_knows_it_at_the_next_beat(database):
    """A worker that was declared dead stops, whatever its own clock says."""
    async with Lease.hold(database, **TENANT, name="one", clock=Clock()) as lease:
        async with database.connection() as connection:
            await connection.execute("SELECT ucontact.retire(%s, 'taken over', NULL)", (lease.id,))
        async with asyncio.timeout(5):
            await lease.over.wait()
        assert lease.lost
        assert not lease.valid()
    assert (await ended(database))["one"] == "taken over"


async def test_a_lease_has_a_length(database):
    """A lease of no time is refused."""
    with pytest.raises(SettingsError, match="greater than 0"):
        async with Lease.hold(database, **TENANT, name="one", seconds=0):
            pass
