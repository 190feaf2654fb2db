"""The fleet's database: connections, transactions, and a schema that is brought up to date by numbered SQL files.

It knows no rows. What PostgreSQL says of an error may quote values; only its own sentence is passed on.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import math
import re
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from importlib import resources
from typing import Any, Final, Self, TypeAlias, TypeVar

import msgspec
import psycopg
from psycopg.conninfo import conninfo_to_dict, make_conninfo
from psycopg_pool import AsyncConnectionPool

from ..errors import JournalError, JournalMismatch, SettingsError
from ..settings import Secret

__all__ = ["DURABLE", "Connection", "Database", "DatabaseAway", "Migration", "migrations", "told"]

T = TypeVar("T")
Connection: TypeAlias = psycopg.AsyncConnection[Any]

DURABLE: Final = (
    "SELECT set_config('synchronous_commit', 'on', false) WHERE current_setting('synchronous_commit') = 'off'"
)
"""Said on each connection that writes marks: one that a power cut can take back is none.

Whoever asked for a standby's word too keeps it.
"""
# Two migrations at once would run the same file twice: the second waits for this lock (any number that is ours).
_MIGRATING = 0x75636F6E74616374
# While the database is away it is asked again after such a pause, in seconds.
_PAUSE = 0.2
# A transaction that stands still for so many seconds is ended: its process may be stopped, and others want its locks.
_STILL = 2.0
# Which errors another try may get over: 08 connection, 40 serialisation and deadlock, 53 resources, 57 shut down or
# starting up; a standby that is not promoted yet, and a transaction that stood still or took too long.
_AWAY = ("08", "40", "53", "57", "25006", "25P03", "25P04")
_log = logging.getLogger(__name__)
_NAME = re.compile(r"(\d{3})_\w+\.sql")


class DatabaseAway(JournalError):
    """The database cannot be reached now, or broke off: whether its last commit happened is not known."""


class Migration(msgspec.Struct, frozen=True):
    """One numbered file of the schema."""

    number: int
    name: str
    sql: str


def migrations() -> list[Migration]:
    """Return the files in ``fleet/schema`` in the order of their numbers."""
    files = resources.files("ucontact_async.fleet").joinpath("schema").iterdir()
    return sorted(
        (
            Migration(int(match[1]), file.name, file.read_text(encoding="utf-8"))
            for file in files
            if (match := _NAME.fullmatch(file.name)) is not None
        ),
        key=lambda migration: migration.number,
    )


class Database:
    """A pool of connections to one database; an asynchronous context manager.

    ``conninfo`` is libpq's, such as ``postgresql://fleet@db.example/calls`` or ``host=/run/postgresql dbname=calls``;
    what is not in it libpq takes from its own variables (``PGPASSWORD``, ``PGPASSFILE``). Everything of the fleet is in
    the schema ``ucontact`` of that database. Raises :class:`SettingsError` for what is no ``conninfo``.
    """

    def __init__(
        self,
        conninfo: str,
        *,
        size: int = 5,
        patience: float = 10.0,
        still: float = _STILL,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Open at most ``size`` connections, none before the block is entered.

        Entering waits up to ``patience`` seconds for a database that is away. PostgreSQL ends a transaction in which
        nothing is asked for ``still`` seconds, and with it the locks of a process that was stopped in it.
        """
        self._target: dict[str, Any] = {}
        failure: SettingsError | None = None
        try:
            target = conninfo_to_dict(conninfo)
            self._conninfo = Secret(make_conninfo("", **{"application_name": "ucontact-async", **target}))
            self._target = {name: target[name] for name in ("host", "port", "dbname") if name in target}
            del target
        except psycopg.Error:  # its own text may quote the password
            failure = SettingsError(
                "the database address cannot be read; write it as postgresql://USER@HOST/NAME (UCONTACT_DATABASE)"
            )
        finally:
            del conninfo  # what a traceback with locals would show
        if failure is not None:
            raise failure
        self.patience = patience
        """For how many seconds a database that is away at the beginning is waited for."""
        self._size = size
        self._still = still
        self._clock = clock

    @property
    def conninfo(self) -> Secret:
        """Where it is, with the password if one was given."""
        return self._conninfo

    async def __aenter__(self) -> Self:
        """Connect; raise :class:`DatabaseAway` if that cannot be done in time."""
        await self._reach()
        self._pool = AsyncConnectionPool(
            self._conninfo.reveal(),
            min_size=1,
            max_size=self._size,
            open=False,
            kwargs={"autocommit": True},
            configure=self._configure,
            reconnect_timeout=5.0,
        )
        try:
            with told():
                await self._pool.open(wait=True, timeout=10.0)
        except BaseException:
            await self._pool.close()
            raise
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        await self._pool.close()

    async def _reach(self) -> None:
        """Return once the database answers: the pool would not say why it does not."""
        until = self._clock() + self.patience
        said = ""
        while True:
            try:
                with told():
                    await (await psycopg.AsyncConnection.connect(self._conninfo.reveal(), connect_timeout=5)).close()
                    return
            except DatabaseAway as error:
                if self._clock() > until:
                    raise
                if str(error) != said:
                    said = str(error)
                    extra = {"ucontact_event": "DatabaseAway", "ucontact_error": type(error).__name__}
                    _log.warning("%s; waiting for it", said, extra=extra)
            await asyncio.sleep(_PAUSE)

    async def _configure(self, connection: Connection) -> None:
        await connection.execute(DURABLE)
        await connection.execute(
            "SELECT set_config('idle_in_transaction_session_timeout', %s, false)", (f"{self._still * 1000:.0f}",)
        )

    def __repr__(self) -> str:
        shown = " ".join(f"{name}={value}" for name, value in self._target.items())
        return f"Database({shown})"

    @contextlib.asynccontextmanager
    async def connection(self, *, patience: float = 5.0) -> AsyncIterator[Connection]:
        """Lend a connection on which each statement commits by itself; it is waited for ``patience`` seconds.

        Raises :class:`DatabaseAway` where another try may succeed, :class:`JournalError` where none will.
        """
        with told():
            async with self._pool.connection(patience) as connection:
                yield connection

    @contextlib.asynccontextmanager
    async def transaction(self, *, patience: float = 30.0) -> AsyncIterator[Connection]:
        """Run the block in one transaction, committed at its end; otherwise as :meth:`connection`."""
        async with self.connection(patience=patience) as connection, connection.transaction():
            yield connection

    async def insist(self, work: Callable[[Connection], Awaitable[T]], *, patience: float = math.inf) -> T:
        """Have ``work`` use a connection, again while the database is away: it must bear being repeated.

        After ``patience`` seconds :class:`DatabaseAway` is let through.
        """
        until = self._clock() + patience
        while True:
            try:
                async with self.connection() as connection:
                    return await work(connection)
            except DatabaseAway:
                if self._clock() > until:
                    raise
                await asyncio.sleep(_PAUSE)

    async def migrate(self) -> list[str]:
        """Bring the schema up to date, all or nothing, and return the names of the files that were run.

        Run it as often as you like, also by several at once. Raises :class:`JournalMismatch` for a schema that a newer
        version has made.
        """
        known = migrations()
        async with self.transaction() as connection:
            await connection.execute("SELECT pg_advisory_xact_lock(%s)", (_MIGRATING,))
            await connection.execute("CREATE SCHEMA IF NOT EXISTS ucontact")
            await connection.execute(
                "CREATE TABLE IF NOT EXISTS ucontact.migrations "
                "(number integer PRIMARY KEY, name text NOT NULL, at timestamptz NOT NULL DEFAULT now())"
            )
            done = await self._migrated(connection)
            fresh = [migration for migration in known if migration.number not in done]
            for migration in fresh:
                await connection.execute(migration.sql.encode())
                await connection.execute(
                    "INSERT INTO ucontact.migrations (number, name) VALUES (%s, %s)", (migration.number, migration.name)
                )
        return [migration.name for migration in fresh]

    async def check(self) -> None:
        """Raise :class:`JournalMismatch` unless the schema is the one that this version knows."""

        async def ask(connection: Connection) -> set[int]:
            found = await (await connection.execute("SELECT to_regclass('ucontact.migrations')")).fetchone()
            return set() if found is None or found[0] is None else await self._migrated(connection)

        done = await self.insist(ask, patience=self.patience)
        if done != {migration.number for migration in migrations()}:
            raise JournalMismatch("the database has no fleet in it, or an older one; run `ucontact-async fleet init`")

    async def _migrated(self, connection: Connection) -> set[int]:
        rows = await (await connection.execute("SELECT number, name FROM ucontact.migrations")).fetchall()
        numbers = {migration.number for migration in migrations()}
        for number, name in rows:
            if number not in numbers:
                raise JournalMismatch(f"a newer version has made this schema ({name}); use that one")
        return {number for number, _ in rows}


@contextlib.contextmanager
def told() -> Iterator[None]:
    """Have what PostgreSQL says of an error told in the words of :meth:`Database.connection`."""
    try:
        yield
    except psycopg.Error as error:
        raise _named(error) from None


def _named(error: psycopg.Error) -> JournalError:
    code = error.sqlstate or ""
    # Only the first line of the server's own words: the rest may quote rows.
    what = error.diag.message_primary or (type(error).__name__ if code else str(error).partition("\n")[0])
    if code.startswith(_AWAY) or (not code and isinstance(error, psycopg.OperationalError | psycopg.InterfaceError)):
        return DatabaseAway(f"the database cannot be reached: {what}")
    return JournalError(f"the database refused: {what}")
