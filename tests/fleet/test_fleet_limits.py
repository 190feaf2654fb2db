"""Shares of the fleet's limits: the arithmetic of dealing, and real workers on a real database."""

import asyncio
import contextlib
import signal
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from waiting import until

from ucontact_async import SettingsError

pytest.importorskip("psycopg", reason="psycopg is not installed: python -m pip install 'ucontact-async[fleet]'")

from ucontact_async.fleet.database import Database
from ucontact_async.fleet.limits import FleetLimits, set_limits
from ucontact_async.fleet.shared_limiter import SharedLimiter

LEASE = 60.0
USABLE = 0.8 * LEASE


class Fleet:
    """Workers with real limiters, the real table, and a server, under one clock that only the test moves."""

    def __init__(self, connection, limit):
        self.now = 0.0
        self.limiters = {}
        self.on_the_wire = {}
        self.pending = {}  # beats whose answer has not arrived: when begun, what was allowed
        self.stopped = set()
        self.beaten = {}  # when each was heard of last; only who lives
        self._ask = connection.execute
        (self.tenant,) = self._ask(
            "INSERT INTO ucontact.tenants (server, api_user) VALUES (gen_random_uuid(), 'api') RETURNING id"
        ).fetchone()
        self._ask("INSERT INTO ucontact.limits (tenant_id, max_concurrency) VALUES (%s, %s)", (self.tenant, limit))

    def join(self):
        """Let a new worker come."""
        (worker,) = self._ask(
            "INSERT INTO ucontact.workers (tenant_id, name, lease) VALUES (%s, 'w', %s) RETURNING id",
            (self.tenant, LEASE),
        ).fetchone()
        self.limiters[worker] = SharedLimiter(99, clock=lambda: self.now)
        self.on_the_wire[worker] = 0
        self.beaten[worker] = self.now

    def ask(self, worker):
        """Have ``worker`` ask for its share; the answer arrives later, or never."""
        row = self._ask("SELECT * FROM ucontact.deal(%s, %s, 0)", (worker, self.limiters[worker].in_use)).fetchone()
        assert row[0] == (worker in self.beaten)
        if row[0]:
            self.beaten[worker] = self.now
            self.pending[worker] = (self.now, row[1])

    def hear(self, worker):
        """Deliver the answer."""
        if worker in self.pending:
            began, allowed = self.pending.pop(worker)
            self.limiters[worker].grant(allowed, began + USABLE)

    def deal(self, worker):
        """Do both at once, as it usually goes."""
        self.ask(worker)
        self.hear(worker)

    def lose(self, worker):
        """Lose the answer."""
        self.pending.pop(worker, None)

    def send(self, worker):
        """Have ``worker`` send whatever it may."""
        while self.limiters[worker].start():
            self.on_the_wire[worker] += 1

    def answer(self, worker):
        """Have the server answer one request of ``worker``."""
        if self.on_the_wire[worker]:
            self.on_the_wire[worker] -= 1
            self.limiters[worker].release()

    def stop(self, worker):
        """Stop or continue the process."""
        self.stopped ^= {worker}

    def die(self, worker):
        """Declare dead whom nobody has heard of for a lease; what it had sent has ended."""
        if worker in self.beaten and self.now >= self.beaten[worker] + LEASE:
            del self.beaten[worker]
            self._ask("UPDATE ucontact.workers SET ended_at = now() WHERE id = %s", (worker,))
            self.on_the_wire[worker] = 0

    def used(self):
        """Return what all together may have on the wire now."""
        return sum(
            max(self.on_the_wire[worker], 0 if limiter.void else limiter.max_concurrency)
            for worker, limiter in self.limiters.items()
        )

    def held(self):
        """Return what the living hold together."""
        return self._ask(
            "SELECT coalesce(sum(concurrency), 0) FROM ucontact.limits_in_force WHERE tenant_id = %s", (self.tenant,)
        ).fetchone()[0]


@pytest.fixture(scope="module")
def connection(postgres, template):
    """Yield a connection to a database for all examples."""
    import psycopg

    name = postgres.fresh(template)
    with psycopg.connect(postgres.url(name), autocommit=True) as connection:
        yield connection
    postgres.drop(name)


OFTEN = ["deal", "send", "time"]
STEPS = [*OFTEN, *OFTEN, "ask", "hear", "lose", "answer", "stop", "die", "join"]


@settings(max_examples=50)
@given(limit=st.integers(1, 8), steps=st.lists(st.tuples(st.sampled_from(STEPS), st.integers(0, 2)), min_size=40))
def test_all_shares_together_never_exceed_the_limit(connection, limit, steps):
    """Whatever is lost, stopped, late or declared dead, at no moment may all together do more than the limit."""

    async def walk():
        fleet = Fleet(connection, limit)
        fleet.join()
        for step, number in steps:
            worker = sorted(fleet.limiters)[number % len(fleet.limiters)]
            if step == "time":
                fleet.now += (number + 1) * 0.4 * LEASE
            elif step == "join":
                if len(fleet.limiters) < 3:
                    fleet.join()
            elif step in ("stop", "die") or worker not in fleet.stopped:
                getattr(fleet, step)(worker)
            assert fleet.used() <= limit
        assert fleet.held() <= limit

    asyncio.run(walk())


@settings(max_examples=15)
@given(limit=st.integers(1, 200), workers=st.integers(1, 7))
def test_shares_settle_to_equal_parts(connection, limit, workers):
    """After each worker has asked three times everything is dealt, and no two shares differ by more than one."""

    async def settle():
        fleet = Fleet(connection, limit)
        for _ in range(workers):
            fleet.join()
            for _ in range(3):
                for worker in fleet.limiters:
                    fleet.ask(worker)
                    fleet.hear(worker)
        shares = [limiter.in_use for limiter in fleet.limiters.values()]
        assert (sum(shares), fleet.held()) == (min(limit, 64 * workers), limit)
        assert max(shares) - min(shares) <= 1

    asyncio.run(settle())


@pytest.mark.parametrize("wrong", [{"max_concurrency": 0}, {"max_per_second": 0.0}, {"max_per_second": float("nan")}])
async def test_limits_that_make_no_sense_are_refused(wrong):
    """A limit is above 0."""
    with pytest.raises(SettingsError):
        await set_limits(None, 1, **wrong)


async def workers_of(database, tenant, number, lease):
    """Enter workers, and return their ids."""
    async with database.transaction() as connection:
        cursor = await connection.execute(
            "INSERT INTO ucontact.workers (tenant_id, name, lease) SELECT %s, 'w', %s FROM generate_series(1, %s) "
            "RETURNING id",
            (tenant, lease, number),
        )
        return [row[0] for row in await cursor.fetchall()]


async def end(database, worker):
    """Let ``worker`` hold nothing any more."""
    async with database.transaction() as connection:
        await connection.execute("UPDATE ucontact.workers SET ended_at = now() WHERE id = %s", (worker,))


@pytest.fixture
async def tenant(database):
    async with database.transaction() as connection:
        cursor = await connection.execute(
            "INSERT INTO ucontact.tenants (server, api_user) VALUES ('http://127.0.0.1:1', 'api') RETURNING id"
        )
        return (await cursor.fetchone())[0]


def member(database, tenant, worker, lease, **options):
    limiter = SharedLimiter(**options)
    return limiter, FleetLimits(database, limiter, tenant=tenant, worker=worker, lease=lease)


async def test_shares_are_equal_parts_for_whoever_lives(database, tenant):
    """Who comes gets its part from the rest, who ends leaves its own to them, and a limit may change meanwhile."""
    await set_limits(database, tenant, max_concurrency=10, max_per_second=90.0)
    ids, members = [], []

    async def dealt():
        for _ in range(3):
            for _, limits in members:
                await limits.beat()
        return [(limiter.in_use, limiter.max_per_second) for limiter, _ in members if not limiter.void]

    for expected in ([(10, 90.0)], [(5, 45.0)] * 2, [(4, 30.0), (3, 30.0), (3, 30.0)]):
        ids += await workers_of(database, tenant, 1, LEASE)
        members.append(member(database, tenant, ids[-1], LEASE, max_concurrency=9))
        assert await dealt() == expected
        assert [limiter.max_concurrency for limiter, _ in members] == [min(9, share) for share, _ in expected]
    await end(database, ids[0])
    assert await dealt() == [(5, 45.0)] * 2
    assert members[0][0].void
    await set_limits(database, tenant, max_concurrency=1)
    assert await dealt() == [(1, None)]
    await set_limits(database, tenant)
    assert await dealt() == [(64, None)] * 2
    for limiter, _ in members:
        limiter.grant(0, 0.0)


async def test_a_smaller_share_is_not_free_before_it_is_kept_to(database, tenant):
    """What is still on the wire nobody else may have."""
    await set_limits(database, tenant, max_concurrency=4)
    (worker,) = await workers_of(database, tenant, 1, LEASE)
    one, first = member(database, tenant, worker, LEASE, max_concurrency=9)
    assert await first.beat()
    assert [one.start() for _ in range(5)] == [True] * 4 + [False]
    (worker,) = await workers_of(database, tenant, 1, LEASE)
    two, second = member(database, tenant, worker, LEASE, max_concurrency=9)
    await second.beat()
    assert two.void
    await first.beat()
    assert not one.start()
    await second.beat()
    assert two.void
    for _ in range(3):
        one.release()
    await first.beat()
    await second.beat()
    assert [one.start() for _ in range(2)] == [True, False]
    assert [two.start() for _ in range(3)] == [True, True, False]
    for limiter in (one, two):
        limiter.grant(0, 0.0)


async def test_a_share_ends_by_the_workers_own_clock(database, tenant):
    """After a stop longer than the lease nothing starts, before anything else of the process has run."""
    now = 100.0
    limiter = SharedLimiter(clock=lambda: now)
    (worker,) = await workers_of(database, tenant, 1, LEASE)
    limits = FleetLimits(database, limiter, tenant=tenant, worker=worker, lease=LEASE, clock=lambda: now)
    asked = asyncio.create_task(limits.beat())
    await asyncio.sleep(0)
    now += 1.0
    await asked
    assert limiter.until == 100.0 + USABLE
    assert limiter.start()
    now += USABLE
    assert not limiter.start()
    assert not await limiter.acquire("bulk")
    waiting = asyncio.create_task(limiter.turn(priority="bulk"))
    await asyncio.sleep(0.01)
    assert not waiting.done()
    await limits.beat()
    await waiting
    assert limiter.start()
    limiter.grant(0, 0.0)


async def test_no_more_rows_get_ready_than_were_granted():
    """Of a bulk run no more rows are between mark and answer than were granted, and who fails holds nobody up."""
    limiter = SharedLimiter(clock=time.monotonic)
    limiter.grant(3, time.monotonic() + LEASE)
    marked, most, done = 0, 0, 0

    async def row(number):
        nonlocal marked, most, done
        await limiter.turn(priority="bulk")
        marked += 1
        most = max(most, marked)
        await asyncio.sleep(0)  # the mark
        if number > 8:  # the first fail before they ask for a slot
            assert await limiter.acquire("bulk")
            await asyncio.sleep(0)
            limiter.release()
        marked -= 1
        done += 1

    await asyncio.gather(*(asyncio.create_task(row(number)) for number in range(20)))
    assert (most, done) == (3, 20)
    limiter.grant(0, 0.0)


async def test_one_that_is_told_to_slow_down_stops_all(database, tenant):
    """What the server says to one worker closes the gate of all, for as long; what only one cannot reach does not."""
    ids = await workers_of(database, tenant, 3, LEASE)
    members = [member(database, tenant, worker, LEASE) for worker in ids]
    limiters = [limiter for limiter, _ in members]
    async with contextlib.AsyncExitStack() as stack:
        for _, limits in members[:2]:
            await stack.enter_async_context(limits)
        await until(lambda: not limiters[0].void and not limiters[1].void)
        limiters[1].overloaded(90.0, reached=False)
        limiters[0].overloaded(80.0)
        limiters[0].overloaded(80.01)
        await stack.enter_async_context(members[2][1])  # who comes later learns of it too
        await until(lambda: limiters[2].closed and not limiters[2].void)
        assert 50.0 < limiters[2].stats.gate_seconds <= 80.01
        assert limiters[1].stats.gate_seconds > 80.01
        await members[0][1].beat()
        assert limiters[0].stats.gate_seconds <= 80.01


async def listeners(database):
    """Return how many workers listen."""
    async with database.transaction() as connection:  # a new one: within one its answer would stay the same
        cursor = await connection.execute("SELECT count(*) FROM pg_stat_activity WHERE query LIKE 'LISTEN%'")
        (number,) = await cursor.fetchone()
    return number


async def test_others_hear_of_a_closed_gate_at_once(database, tenant):
    """A gate that closes for a moment closes for all, long before the next dealing; what strangers notify for none."""
    ids = await workers_of(database, tenant, 2, LEASE)
    (one, first), (two, second) = (member(database, tenant, worker, LEASE) for worker in ids)
    async with first, second:
        await until(lambda: not one.void and not two.void)
        while await listeners(database) < 2:  # whoever does not listen yet cannot hear
            await asyncio.sleep(0.01)
        async with database.connection() as connection:
            for strange in ("soon", "", "inf", "nan", "1e9", "-1", "٣"):
                await connection.execute("SELECT pg_notify('ucontact_gate', %s)", (f"{tenant} {strange}",))
        began = time.monotonic()
        one.overloaded(60.0)
        await until(lambda: two.closed)
        assert 60.0 >= two.stats.gate_seconds > 60.0 - (time.monotonic() - began) - 1.0
        await second.beat()
        assert await listeners(database) == 2


async def test_without_the_database_a_share_runs_out_and_comes_back(postgres, fleet_url):
    """While the database is away the limiter stops at the end of its share; it goes on when the database is back."""
    async with Database(fleet_url) as database:
        async with database.transaction() as connection:
            cursor = await connection.execute(
                "INSERT INTO ucontact.tenants (server, api_user) VALUES ('http://127.0.0.1:1', 'api') RETURNING id"
            )
            (tenant,) = await cursor.fetchone()
        (worker,) = await workers_of(database, tenant, 1, 0.4)
        limiter, limits = member(database, tenant, worker, 0.4)
        async with limits:
            await until(lambda: not limiter.void)
            postgres.stop(signal.SIGQUIT)
            try:
                await until(lambda: limiter.void)
            finally:
                postgres.start()
            await until(lambda: not limiter.void)
