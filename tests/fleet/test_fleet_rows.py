"""The rules of rows, in the database: who may claim, who may send, and what becomes of what a dead worker held."""

import asyncio

import pytest

pytest.importorskip("psycopg", reason="psycopg is not installed: python -m pip install 'ucontact-async[fleet]'")


class Fleet:
    """A tenant with some shards of two rows each, and what its workers do, by plain SQL."""

    def __init__(self, database):
        self.database = database
        self.tenant = self.batch = None

    async def one(self, query, *values):
        """Return one row."""
        async with self.database.connection() as connection:
            return await (await connection.execute(query, values)).fetchone()

    async def all(self, query, *values):
        """Return all rows."""
        async with self.database.connection() as connection:
            return await (await connection.execute(query, values)).fetchall()

    async def enter(self, user="api", *, shards=0, removals=False):
        """Enter the tenant of ``user`` with ``shards``."""
        (self.tenant,) = await self.one(
            "INSERT INTO ucontact.tenants (server, api_user) VALUES ('https://acme.example', %s) RETURNING id", user
        )
        (self.batch,) = await self.one(
            "INSERT INTO ucontact.batches (tenant_id, name, operation, digest) VALUES (%s, 'b', '*', '') RETURNING id",
            self.tenant,
        )
        return [await self.shard(removals=removals) for _ in range(shards)]

    async def shard(self, *, removals=False):
        """Enter a shard of two rows."""
        (shard,) = await self.one(
            "INSERT INTO ucontact.shards (batch_id, tenant_id, removals) VALUES (%s, %s, %s) RETURNING id",
            self.batch,
            self.tenant,
            removals,
        )
        for _ in range(2):
            await self.one(
                "INSERT INTO ucontact.rows (batch_id, shard_id, content, occurrence, identity, load, position) "
                "VALUES (%s, %s, '', 1, 1, 1, 1) RETURNING id",
                self.batch,
                shard,
            )
        return shard

    async def worker(self):
        """Enter a worker."""
        (worker,) = await self.one(
            "INSERT INTO ucontact.workers (tenant_id, name, lease) VALUES (%s, 'w', 30) RETURNING id", self.tenant
        )
        return worker

    async def rows(self, shard):
        """Return the rows of a shard."""
        return [id_ for (id_,) in await self.all("SELECT id FROM ucontact.rows WHERE shard_id = %s ORDER BY id", shard)]

    async def claim(self, worker, held=(), most=1, kind=None, named=None):
        """Return the shards that a worker gets."""
        claimed = await self.all(
            "SELECT shard FROM ucontact.claim(%s, %s::bigint[], %s, %s, %s)", worker, list(held), most, kind, named
        )
        return sorted(shard for (shard,) in claimed)

    async def mark(self, worker, row, status, *, again=False):
        """Return whether the worker is alive, and whether the row was its to change."""
        return await self.one(
            "SELECT alive, marked = ARRAY[%s::bigint] "
            "FROM ucontact.mark(%s, ARRAY[%s::bigint], ARRAY[%s], '{\"\"}', '{1}', %s)",
            row,
            worker,
            row,
            status,
            again,
        )

    async def release(self, worker, shard):
        """Give a shard back."""
        await self.one("SELECT ucontact.release(%s, %s)", worker, shard)

    async def retire(self, worker, seen=None):
        """Declare a worker dead, and return whether that was true."""
        return (await self.one("SELECT ucontact.retire(%s, 'taken over', %s)", worker, seen))[0]

    async def state(self, row):
        """Return the status of a row."""
        return (await self.one("SELECT status FROM ucontact.rows WHERE id = %s", row))[0]


@pytest.fixture
def fleet(database):
    return Fleet(database)


async def test_a_shard_is_claimed_once(fleet):
    """Claims that happen at once never give a shard to two workers, and every shard to one."""
    shards = await fleet.enter(shards=8)
    workers = [await fleet.worker() for _ in range(8)]
    claims = await asyncio.gather(*(fleet.claim(worker) for worker in workers))
    assert sorted(shard for claim in claims for shard in claim) == shards


async def test_a_claim_whose_answer_was_lost_is_given_again(fleet):
    """What a worker owns and does not know of comes before anything new."""
    first, second = await fleet.enter(shards=2)
    worker = await fleet.worker()
    assert await fleet.claim(worker) == [first]
    assert await fleet.claim(worker) == [first]
    assert await fleet.claim(worker, held=[first]) == [second]


async def test_the_dead_and_other_tenants_claim_nothing(fleet, database):
    """A worker that was declared dead gets no shard, and neither does one of another user of the same server."""
    (shard,) = await fleet.enter(shards=1)
    dead = await fleet.worker()
    assert await fleet.retire(dead)
    assert not await fleet.retire(dead)
    assert await fleet.claim(dead) == []
    other = Fleet(database)
    await other.enter(user="other")
    assert await other.claim(await other.worker()) == []
    assert await fleet.claim(await fleet.worker()) == [shard]


async def test_removals_are_never_under_way_with_anything_else(fleet):
    """While a shard of one kind is held, none of the other kind is claimed, by nobody."""
    (insert,) = await fleet.enter(shards=1)
    removal = await fleet.shard(removals=True)
    one, two = await fleet.worker(), await fleet.worker()
    assert await fleet.claim(one) == [insert]
    assert await fleet.claim(two) == []
    assert await fleet.claim(two, kind=True) == []
    for row in await fleet.rows(insert):
        await fleet.mark(one, row, "succeeded")
    await fleet.release(one, insert)
    assert await fleet.claim(two) == [removal]


async def test_a_takeover_gives_back_what_was_not_sent(fleet):
    """Of a dead worker's rows the planned go to others, the sent are unknown, and it marks nothing as sent any more."""
    (shard,) = await fleet.enter(shards=1)
    planned, sent = await fleet.rows(shard)
    dead, heir = await fleet.worker(), await fleet.worker()
    await fleet.claim(dead)
    assert await fleet.mark(dead, sent, "sent") == (True, True)
    assert await fleet.retire(dead)
    assert [await fleet.state(planned), await fleet.state(sent)] == ["planned", "unknown"]
    assert await fleet.mark(dead, planned, "sent") == (False, False)
    assert await fleet.claim(heir) == [shard]
    assert await fleet.mark(heir, sent, "sent") == (True, False)
    assert await fleet.mark(heir, planned, "sent") == (True, True)
    assert await fleet.mark(dead, planned, "sent") == (False, False)


async def test_only_who_sent_a_row_says_how_it_ended(fleet):
    """The worker that sent a row settles it, dead or not; nobody else does, and nobody twice."""
    (shard,) = await fleet.enter(shards=1)
    first, second = await fleet.rows(shard)
    dead, heir = await fleet.worker(), await fleet.worker()
    await fleet.claim(dead)
    for row in (first, second):
        await fleet.mark(dead, row, "sent")
    assert await fleet.mark(heir, first, "failed") == (True, False)
    await fleet.retire(dead)
    assert await fleet.mark(dead, first, "succeeded") == (False, True)
    assert await fleet.mark(dead, first, "failed") == (False, False)
    # To say that it never left would put it into other hands: that is for the living.
    assert await fleet.mark(dead, second, "planned") == (False, False)
    assert [await fleet.state(first), await fleet.state(second)] == ["succeeded", "unknown"]


async def test_a_row_is_marked_as_sent_once(fleet):
    """Even its own worker marks a row as sent only once, but for a mark whose answer was lost."""
    (shard,) = await fleet.enter(shards=1)
    row, _ = await fleet.rows(shard)
    worker = await fleet.worker()
    await fleet.claim(worker)
    assert await fleet.mark(worker, row, "sent") == (True, True)
    assert await fleet.mark(worker, row, "sent") == (True, False)
    assert await fleet.mark(worker, row, "sent", again=True) == (True, True)


async def test_a_takeover_waits_for_a_mark_that_is_being_written(fleet, database):
    """A mark that was begun before the takeover is seen by it: no row stays marked as sent by the dead."""
    (shard,) = await fleet.enter(shards=1)
    row, _ = await fleet.rows(shard)
    worker = await fleet.worker()
    await fleet.claim(worker)
    async with database.transaction() as connection:
        marked = await connection.execute(
            "SELECT alive FROM ucontact.mark(%s, ARRAY[%s::bigint], '{sent}', '{\"\"}', '{0}', false)", (worker, row)
        )
        assert await marked.fetchone() == (True,)
        taking = asyncio.create_task(fleet.retire(worker))
        await asyncio.wait([taking], timeout=0.2)
        assert not taking.done()
    assert await taking
    assert await fleet.state(row) == "unknown"


async def test_a_shard_is_open_while_rows_of_it_are_planned(fleet):
    """A shard that is given back is claimed again until nothing of it is left to send."""
    (shard,) = await fleet.enter(shards=1)
    rows = await fleet.rows(shard)
    worker = await fleet.worker()
    for row in rows:
        assert await fleet.claim(worker, held=[]) == [shard]
        await fleet.mark(worker, row, "succeeded")
        await fleet.release(worker, shard)
    assert await fleet.claim(worker) == []


async def test_a_beat_that_came_in_time_saves_a_worker(fleet):
    """Who saw an older counter cannot end a life."""
    await fleet.enter()
    worker = await fleet.worker()
    await fleet.one("UPDATE ucontact.workers SET beat = 7 WHERE id = %s RETURNING id", worker)
    assert not await fleet.retire(worker, 6)
    assert await fleet.retire(worker, 7)


async def test_while_calls_are_taken_back_none_are_claimed(fleet):
    """An undo begins while nobody holds anything, and no worker claims a call until it has ended."""
    shards = await fleet.enter(shards=2)
    worker, undo = await fleet.worker(), await fleet.worker()
    begin = "SELECT ucontact.undo(%s, %s)"
    await fleet.claim(worker)
    assert await fleet.one(begin, undo, fleet.batch) == (False,)
    await fleet.release(worker, shards[0])
    assert await fleet.one(begin, undo, fleet.batch) == (True,)
    assert await fleet.claim(worker) == []
    await fleet.retire(undo)
    assert await fleet.claim(worker) == shards[:1]
    assert await fleet.one(begin, undo, fleet.batch) == (False,)  # it is dead
