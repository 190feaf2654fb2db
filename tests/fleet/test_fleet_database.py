"""The fleet's schema: made once, by whoever comes first, and refused by who does not know it."""

import asyncio

import pytest

from ucontact_async.errors import JournalError, JournalMismatch, SettingsError

pytest.importorskip("psycopg", reason="psycopg is not installed: python -m pip install 'ucontact-async[fleet]'")

from waiting import until

from ucontact_async.fleet.database import Database, DatabaseAway, migrations
from ucontact_async.fleet.undo import BatchRows


async def test_the_schema_is_made_once(empty_database):
    """Of three migrations at once one runs every file in its order, and the others none."""
    async with Database(empty_database) as database:
        with pytest.raises(JournalMismatch, match="fleet init"):
            await database.check()
        done = await asyncio.gather(*(database.migrate() for _ in range(3)))
        await database.check()
    assert sorted(map(len, done)) == [0, 0, len(migrations())]
    assert max(done) == sorted(max(done))


async def test_a_newer_schema_is_left_alone(database):
    """A file that this version does not know stops both a migration and a worker."""
    async with database.connection() as connection:
        await connection.execute("INSERT INTO ucontact.migrations (number, name) VALUES (999, '999_later.sql')")
    for work in (database.migrate, database.check):
        with pytest.raises(JournalMismatch, match="newer version"):
            await work()


async def test_a_file_that_fails_leaves_nothing(empty_database, monkeypatch):
    """A migration is all or nothing."""
    from ucontact_async.fleet import database as module

    broken = [*migrations(), module.Migration(998, "998_broken.sql", "CREATE TABLE ucontact.x (id no_such_type)")]
    async with Database(empty_database) as database:
        with monkeypatch.context() as patch:
            patch.setattr(module, "migrations", lambda: broken)
            with pytest.raises(JournalError, match="no_such_type"):
                await database.migrate()
        assert await database.migrate() == [migration.name for migration in migrations()]


async def test_no_secret_and_no_row_is_told(database):
    """Neither the password in an address nor the values that PostgreSQL quotes get into a repr or an error."""
    assert "canary" not in repr(Database("postgresql://fleet:canary@db.example/calls"))
    assert "db.example" in repr(Database("postgresql://fleet:canary@db.example/calls"))
    with pytest.raises(SettingsError) as refused:
        Database("postgresql://fleet:canary@[db.example/calls")
    assert "canary" not in str(refused.value)

    async def enter(connection):
        await connection.execute("INSERT INTO ucontact.requests VALUES (1, 'x', %s)", ("{099123456",))

    with pytest.raises(JournalError) as failed:
        await database.insist(enter)
    assert "099123456" not in str(failed.value)


@pytest.mark.parametrize(("asked", "kept"), [("off", "on"), ("remote_apply", "remote_apply")])
async def test_what_is_committed_survives_a_power_cut(fleet_url, asked, kept):
    """Marks of workers and of an undo are written durably in a database that by itself does not; more is kept."""
    name = fleet_url.partition("?")[0].rpartition("/")[2]
    async with Database(fleet_url) as database, database.connection() as connection:
        await connection.execute(f"ALTER DATABASE {name} SET synchronous_commit = {asked}")
    async with Database(fleet_url) as database:
        async with database.connection() as connection:
            found = await connection.execute("SHOW synchronous_commit")
            assert await found.fetchall() == [(kept,)]
        with BatchRows(database, 1, "b") as rows:
            assert rows._ask("SHOW synchronous_commit") == [(kept,)]


async def test_a_transaction_that_stands_still_is_ended(fleet_url):
    """Who stops in a transaction loses it and its locks, is told that the database is away, and may try again."""
    tries = 0

    async def work(connection):
        nonlocal tries
        tries += 1
        async with connection.transaction():
            await connection.execute("SELECT pg_advisory_xact_lock(7)")
            if tries == 1:
                await until(lambda: free)
            await connection.execute("INSERT INTO ucontact.tenants (server, api_user) VALUES ('s', 'u')")

    free = False

    async def watch():
        nonlocal free
        async with Database(fleet_url) as other:
            await until(lambda: tries)
            async with other.connection() as connection:
                await connection.execute("SELECT pg_advisory_lock(7)")
                free = True
                await connection.execute("SELECT pg_advisory_unlock(7)")

    async with Database(fleet_url, still=0.2) as database:
        await asyncio.gather(database.insist(work), watch())
    assert tries == 2


async def test_a_database_that_is_away_is_waited_for(postgres, fleet_url, caplog):
    """Who comes before the database says so once and waits, for as long as was said."""
    await asyncio.to_thread(postgres.stop)
    try:
        with pytest.raises(DatabaseAway, match="No such file"):
            async with Database(fleet_url, patience=-1):
                pass
        waiting = asyncio.create_task(Database(fleet_url, patience=60).__aenter__())
        await until(lambda: caplog.messages)
    finally:
        await asyncio.to_thread(postgres.start)
    database = await waiting
    await database.check()
    await database.__aexit__()
    assert [message.endswith("; waiting for it") for message in caplog.messages if "No such file" in message] == [True]


async def test_a_connection_that_breaks_off_is_replaced(database):
    """What insists is asked again on another connection; what does not says that the database is away."""
    asked = 0

    async def ask(connection):
        nonlocal asked
        asked += 1
        if asked == 1:
            await connection.execute("SELECT pg_terminate_backend(pg_backend_pid())")
        return await (await connection.execute("SELECT 42")).fetchone()

    assert await database.insist(ask) == (42,)
    asked = 0
    with pytest.raises(DatabaseAway):
        await database.insist(ask, patience=-1)
