"""One login for all workers of a fleet, kept in a row."""

import asyncio
import signal
import sys
from datetime import datetime

import pytest

from ucontact_async import ScheduledCall, SettingsError, UContact
from ucontact_async.settings import Secret

pytest.importorskip("psycopg", reason="psycopg is not installed: python -m pip install 'ucontact-async[fleet]'")

from ucontact_async.fleet.database import Database, DatabaseAway
from ucontact_async.fleet.token import PostgresTokenStore

OWNER = "http://127.0.0.1:1 api"
WORKER = """
import asyncio, sys
from datetime import datetime
from ucontact_async import Limiter, ScheduledCall, UContact
from ucontact_async.fleet.database import Database
from ucontact_async.fleet.token import PostgresTokenStore

async def main(url, address, tenant, start):
    async with Database(address) as database, UContact(
        url, user="api", password="secret", timezone="UTC", limiter=Limiter(50),
        token_store=PostgresTokenStore(database, tenant),
    ) as uc:
        await uc.login()
        print("ready", flush=True)
        await asyncio.to_thread(sys.stdin.readline)
        calls = [
            ScheduledCall(campaign="Ventas->", destination=f"09{start + n:07d}", calldate=datetime(2099, 5, 5))
            for n in range(50)
        ]
        await asyncio.gather(*(uc.send(call) for call in calls))
        print("done", flush=True)
        await asyncio.to_thread(sys.stdin.readline)

asyncio.run(main(sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])))
"""


async def tenant_of(database, server="http://127.0.0.1:1", user="api"):
    """Enter a tenant and return its id."""
    async with database.transaction() as connection:
        cursor = await connection.execute(
            "INSERT INTO ucontact.tenants (server, api_user) VALUES (%s, %s) RETURNING id", (server, user)
        )
        return (await cursor.fetchone())[0]


@pytest.fixture
async def tenant(database):
    return await tenant_of(database)


@pytest.mark.long
@pytest.mark.timeout(120)
async def test_eight_processes_meet_a_dead_token_and_log_in_once(emulator, database, fleet_url):
    """Eight processes with 50 requests each that all meet 401 share one login, and the last one ends the session."""
    tenant = await tenant_of(database, emulator.url)
    pipes = {"stdin": asyncio.subprocess.PIPE, "stdout": asyncio.subprocess.PIPE}
    workers = [
        await asyncio.create_subprocess_exec(
            *(sys.executable, "-c", WORKER, emulator.url, fleet_url, str(tenant), str(number * 1000)), **pipes
        )
        for number in range(8)
    ]

    async def everyone(word):
        for worker in workers:
            assert (await worker.stdout.readline()).decode().strip() == word

    def tell():
        for worker in workers:
            worker.stdin.write(b"\n")

    try:
        await everyone("ready")
        assert emulator.ledger.logins == 1
        emulator.state.sessions.end_all()
        tell()
        await everyone("done")
        assert emulator.ledger.logins == 2
        assert len(emulator.ledger) == 400
        assert len(emulator.state.sessions.live) == 1
        tell()
        assert [await worker.wait() for worker in workers] == [0] * 8
        assert len(emulator.state.sessions.live) == 0
    finally:
        for worker in workers:
            if worker.returncode is None:
                worker.kill()
                await worker.wait()


async def test_the_last_of_several_clients_ends_the_session(emulator, database, fleet_url):
    """Clients with a store each log in once together when a token dies; the session ends with the last of them."""
    tenant = await tenant_of(database, emulator.url)

    def client():
        return UContact(
            emulator.url,
            user="api",
            password="secret",
            timezone="UTC",
            token_store=PostgresTokenStore(database, tenant),
        )

    calls = [
        ScheduledCall(campaign="Ventas->", destination=f"09{n:07d}", calldate=datetime(2099, 5, 5)) for n in range(40)
    ]
    async with client() as one, client() as two:
        async with client() as three:
            everyone = (one, two, three)
            await asyncio.gather(*(uc.login() for uc in everyone))
            assert emulator.ledger.logins == 1
            emulator.state.sessions.end_all()
            await asyncio.gather(*(uc.send(call) for call, uc in zip(calls, everyone * 20, strict=False)))
            assert (emulator.ledger.logins, len(emulator.ledger)) == (2, 40)
        assert len(emulator.state.sessions.live) == 1
    assert (emulator.ledger.logins, len(emulator.state.sessions.live)) == (2, 0)


async def test_a_client_that_two_managers_share_is_one_holder_until_both_have_left(emulator, database):
    """Two clients with the very same store exclude each other at the login, and count as two."""
    store = PostgresTokenStore(database, await tenant_of(database, emulator.url))

    def client():
        return UContact(emulator.url, user="api", password="secret", timezone="UTC", token_store=store)

    async with client() as one:
        async with client() as two:
            await asyncio.gather(one.login(), two.login())
        assert (emulator.ledger.logins, len(emulator.state.sessions.live)) == (1, 1)
    assert len(emulator.state.sessions.live) == 0


async def test_a_store_refuses_the_token_of_another_tenant(database, tenant):
    """A store for one server and user does not keep the token of another."""
    store = PostgresTokenStore(database, tenant)
    async with store.lock():
        with pytest.raises(SettingsError, match="another server or user"):
            await store.join("http://127.0.0.1:2 api")


async def test_tenants_do_not_wait_for_each_other(database, tenant):
    """While one tenant logs in another may too, and neither sees the token of the other."""
    one = PostgresTokenStore(database, tenant)
    other = PostgresTokenStore(database, await tenant_of(database, user="second"))
    async with one.lock(), other.lock():
        await one.join(OWNER)
        await one.write(value=Secret("abc"), generation=1, deaths=0)
        assert (await one.read()).value.reveal() == "abc"
        assert await other.read() is None
        assert await one.leave()


async def test_a_lock_that_was_given_up_while_waiting_is_not_kept(database, tenant):
    """Whoever is cancelled while it waits for the login leaves nothing behind that others would wait for."""
    one, two = PostgresTokenStore(database, tenant), PostgresTokenStore(database, tenant)

    async def lock(store):
        async with store.lock():
            pass

    async with two.lock():
        await two.join(OWNER)
    async with one.lock():
        waiting = asyncio.create_task(lock(two))
        await asyncio.sleep(0.1)
        waiting.cancel()
        await asyncio.wait([waiting])
        assert waiting.cancelled()
    await lock(one)
    await lock(two)
    async with two.lock():
        assert await two.leave()


async def test_a_process_that_stands_still_loses_the_login_and_its_write_is_refused(database, fleet_url, tenant):
    """After its time the lock of a stopped process is free, and what that process writes when it goes on is refused."""
    code = f"""
import asyncio, sys
from ucontact_async.fleet.database import Database, DatabaseAway
from ucontact_async.fleet.token import PostgresTokenStore
from ucontact_async.settings import Secret

async def main():
    async with Database({fleet_url!r}) as database:
        store = PostgresTokenStore(database, {tenant}, patience=0.2)
        async with store.lock():
            print("locked", flush=True)
            sys.stdin.readline()  # stands still: not even the loop runs
            try:
                await store.write(value=Secret("late"), generation=9, deaths=0)
            except DatabaseAway:
                print("refused", flush=True)

asyncio.run(main())
"""
    worker = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", code), stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE
    )
    try:
        assert await worker.stdout.readline() == b"locked\n"
        store = PostgresTokenStore(database, tenant)
        async with store.lock():
            await store.join(OWNER)
            await store.write(value=Secret("abc"), generation=1, deaths=0)
        worker.stdin.write(b"\n")
        assert await worker.stdout.readline() == b"refused\n"
        async with store.lock():
            assert (await store.read()).value.reveal() == "abc"
            assert await store.leave()
    finally:
        worker.kill()
        await worker.wait()


async def test_a_holder_is_one_again_after_the_database_was_away(postgres, fleet_url):
    """A database that ends during a login fails that login, and after it has come back holders are still holders."""
    async with Database(fleet_url) as database:
        tenant = await tenant_of(database)
        one, two = (PostgresTokenStore(database, tenant, sleep=lambda _: asyncio.sleep(0.05)) for _ in range(2))
        for store in (one, two):
            async with store.lock():
                await store.join(OWNER)
        before = two._connection
        try:
            async with one.lock():
                postgres.stop(signal.SIGQUIT)
                with pytest.raises(DatabaseAway):
                    await one.write(value=Secret("abc"), generation=1, deaths=0)
        finally:
            postgres.start()
        while two._connection is before:
            await asyncio.sleep(0.02)
        async with one.lock():
            assert not await one.leave()
        async with two.lock():
            assert await two.leave()
