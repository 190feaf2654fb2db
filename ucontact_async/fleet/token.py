"""The token that all workers of a tenant share: one login for the fleet, in a row of its database.

It knows connections, locks and one row; when to log in is the token manager's business.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from typing import Any, LiteralString

import anyio
import psycopg

from ..errors import SettingsError
from ..settings import Secret
from ..token_store import StoredToken
from .database import Connection, Database, DatabaseAway

__all__ = ["PostgresTokenStore"]

# Seconds between two signs of life, and between two tries to reach a database that is away.
_POLL = 1.0


class PostgresTokenStore:
    """Keeps one token for all processes that work for one tenant, on any number of machines.

    ``tenant`` is the ``id`` in ``ucontact.tenants``. A connection of its own holds two advisory locks for as long as it
    lives: who logs in, and, shared, who still needs the token. A process that dies lets go of both at once. One that
    stands still, or whose machine is gone, is let go after ``patience`` seconds; what it writes then is refused.

    The database must be reached directly, or through a pooler that gives each client a session: these locks belong to
    sessions. While it is away, who needs a login waits; other errors are :class:`DatabaseAway`.
    """

    def __init__(
        self,
        database: Database,
        tenant: int,
        *,
        patience: float = 60.0,
        sleep: Callable[[float], Awaitable[None]] = anyio.sleep,
    ) -> None:
        """Connect when it is first needed; ``patience`` is to be longer than a login takes."""
        self._database = database
        self._tenant = tenant
        self._patience = patience
        self._sleep = sleep
        self._login_key, self._holders_key = (_key(f"{what} {tenant}") for what in ("login", "holders"))
        self._connection: Connection | None = None
        self._locked: Connection | None = None
        self._joins = 0
        # PostgreSQL lets a session take a lock twice: clients that share this store exclude each other here.
        self._turn = asyncio.Lock()
        self._reaching = asyncio.Lock()
        self._keeper: asyncio.Task[None] | None = None

    @contextlib.asynccontextmanager
    async def lock(self) -> AsyncIterator[None]:
        """Keep all other processes out, for as long as the connection lives; wait while the database is away."""
        async with self._turn:
            try:
                self._locked = await self._lock_login()
                try:
                    yield
                finally:
                    with contextlib.suppress(DatabaseAway):  # then the lock is gone already
                        await self._ask("SELECT pg_advisory_unlock(%s)", self._login_key)
                    self._locked = None
            finally:
                if not self._joins:
                    await self._disconnect()

    async def join(self, owner: str) -> None:
        """Be counted among the holders; refuse to keep the token of another server or user."""
        row = await self._ask("SELECT server || ' ' || api_user FROM ucontact.tenants WHERE id = %s", self._tenant)
        if row is None or row[0] != owner:
            raise SettingsError(f"tenant {self._tenant} of the fleet is another server or user; give each its own")
        await self._ask("SELECT pg_advisory_lock_shared(%s)", self._holders_key)
        self._joins += 1

    async def leave(self) -> bool:
        """Be counted no more; return whether nobody else is."""
        self._joins -= 1
        if self._locked is None:
            if not self._joins:
                await self._disconnect()
            return False
        await self._ask("SELECT pg_advisory_unlock_shared(%s)", self._holders_key)
        if self._joins:
            return False
        row = await self._ask("SELECT pg_try_advisory_lock(%s)", self._holders_key)
        return row is not None and row[0] is True

    async def read(self) -> StoredToken | None:
        """Return the token in the row; ``None`` where there is none."""
        # The distance and not the difference: a clock set back must not make an old token young.
        row = await self._ask(
            "SELECT token, generation, abs(extract(epoch FROM clock_timestamp() - born_at))::float8, deaths "
            "FROM ucontact.tokens WHERE tenant_id = %s",
            self._tenant,
        )
        if row is None:
            return None
        value, generation, age, deaths = row
        return StoredToken(value=Secret(value), generation=generation, age=age, deaths=deaths)

    async def write(self, *, value: Secret, generation: int, deaths: int) -> None:
        """Put a token that was born just now in the place of what is there."""
        await self._ask(
            "INSERT INTO ucontact.tokens (tenant_id, generation, token, born_at, deaths) "
            "VALUES (%s, %s, %s, clock_timestamp(), %s) ON CONFLICT (tenant_id) DO UPDATE SET "
            "generation = excluded.generation, token = excluded.token, "
            "born_at = excluded.born_at, deaths = excluded.deaths",
            self._tenant,
            generation,
            value.reveal(),
            deaths,
        )

    async def clear(self) -> None:
        """Forget the token."""
        await self._ask("DELETE FROM ucontact.tokens WHERE tenant_id = %s", self._tenant)

    async def _lock_login(self) -> Connection:
        while True:
            with contextlib.suppress(DatabaseAway):
                connection = await self._reach()
                if self._keeper is None:
                    self._keeper = asyncio.create_task(self._keep())
                try:
                    with _told():
                        await connection.execute("SELECT pg_advisory_lock(%s)", (self._login_key,))
                except BaseException:
                    await connection.close()  # cancelled: the lock may have come in the very turn that gave it up
                    raise
                return connection
            await self._sleep(_POLL)

    async def _ask(self, query: LiteralString, *values: Any) -> tuple[Any, ...] | None:
        """Run ``query`` on the connection that holds the lock: where it is lost, so is what was to be done under it."""
        if self._locked is None:
            raise DatabaseAway("the database broke off during a login")
        with _told():
            cursor = await self._locked.execute(query, values)
            return await cursor.fetchone() if cursor.description else None

    async def _reach(self) -> Connection:
        async with self._reaching:
            if self._connection is None or self._connection.closed:
                with _told():
                    fresh = await psycopg.AsyncConnection.connect(
                        self._database.conninfo.reveal(), autocommit=True, connect_timeout=5
                    )
                    await fresh.execute(
                        "SELECT set_config('idle_session_timeout', %s, false)", (f"{self._patience * 1000:.0f}",)
                    )
                    for _ in range(self._joins):
                        await fresh.execute("SELECT pg_advisory_lock_shared(%s)", (self._holders_key,))
                self._connection = fresh
            return self._connection

    async def _keep(self) -> None:
        """Show that this process goes on, and be a holder again after the database was away."""
        while True:
            await self._sleep(_POLL)
            with contextlib.suppress(DatabaseAway), _told():
                await (await self._reach()).execute("SELECT 1")

    async def _disconnect(self) -> None:
        keeper, self._keeper = self._keeper, None
        if keeper is not None:
            keeper.cancel()
            await asyncio.wait([keeper])
        connection, self._connection = self._connection, None
        if connection is not None:
            await connection.close()


def _key(name: str) -> int:
    return int.from_bytes(hashlib.blake2b(f"ucontact {name}".encode(), digest_size=8).digest(), "big", signed=True)


@contextlib.contextmanager
def _told() -> Iterator[None]:
    try:
        yield
    except psycopg.Error as error:
        # Its class only: the server's own words may quote what was written.
        raise DatabaseAway(f"the token in the database cannot be used: {type(error).__name__}") from None
