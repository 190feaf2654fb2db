"""A PostgreSQL that all tests of a session share, and a database of its own for each of them."""

import asyncio
import os

import pytest
from postgres import INSTALL, Postgres, binaries


@pytest.fixture(scope="session")
def postgres():
    """Yield a running server, or skip; a test may stop it if it starts it again."""
    pytest.importorskip("psycopg", reason="psycopg is not installed: python -m pip install 'ucontact-async[fleet]'")
    if os.name != "posix":
        pytest.skip("only on POSIX: a server on a Unix socket")
    if binaries() is None:
        pytest.skip(INSTALL)
    with Postgres() as server:
        yield server


@pytest.fixture
def empty_database(postgres):
    """Yield the address of a database with nothing in it."""
    name = postgres.fresh()
    yield postgres.url(name)
    postgres.drop(name)


@pytest.fixture(scope="session")
def template(postgres):
    """Return the name of a database that has the fleet's schema and nothing else."""
    from ucontact_async.fleet.database import Database

    name = postgres.fresh()

    async def migrate():
        async with Database(postgres.url(name)) as database:
            await database.migrate()

    asyncio.run(migrate())
    return name


@pytest.fixture
def fleet_url(postgres, template):
    """Yield the address of a database with the fleet's schema."""
    name = postgres.fresh(template)
    yield postgres.url(name)
    postgres.drop(name)


@pytest.fixture
async def database(fleet_url):
    """Yield that database, open."""
    from ucontact_async.fleet.database import Database

    async with Database(fleet_url) as running:
        yield running
