"""The lease of a worker: one life under one epoch, kept up by a counter, watched by the others, taken over at its end.

No clock that anybody can set has a say: a worker may send while its last renewal is younger than the lease on its own
monotonic clock, and is declared dead by who has seen its counter stand still for a whole lease on *theirs*. So the
clocks of the database and of every machine may jump.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import AsyncIterator, Awaitable, Callable

import msgspec

from ..errors import JournalError, SettingsError
from ..settings import origin_of
from .database import Connection, Database, DatabaseAway

__all__ = ["LEASE", "Lease", "enter_tenant", "tenant_of"]

LEASE = 30.0
"""Seconds after which what a dead worker had not sent goes to others: longer than any pause of a healthy process."""

_log = logging.getLogger(__name__)
# Renewed and looked at so many times a lease, and at least so often, in seconds: a death is seen within a second more.
_BEATS, _SLOWEST = 5, 0.5
# How long leaving may take while the database is away, in seconds; the others end the lease then.
_LEAVING = 5.0


class _Seen(msgspec.Struct):
    beat: int
    since: float


async def tenant_of(connection: Connection, server: str, user: str) -> int:
    """Return the number of the tenant, entering it if it is new."""
    await connection.execute(
        "INSERT INTO ucontact.tenants (server, api_user) VALUES (%s, %s) ON CONFLICT DO NOTHING", (server, user)
    )
    found = await connection.execute(
        "SELECT id FROM ucontact.tenants WHERE server = %s AND api_user = %s", (server, user)
    )
    row = await found.fetchone()
    assert row is not None
    return int(row[0])


async def enter_tenant(database: Database, url: str, user: str | None) -> int:
    """Return the number of the tenant that a client of ``url`` and ``user`` stands for, entering it if it is new.

    What :class:`PostgresTokenStore` and :func:`set_limits` want to know.
    """
    server = origin_of(url)
    return await database.insist(
        lambda connection: tenant_of(connection, server, user or ""), patience=database.patience
    )


class Lease:
    """One life of one worker; :meth:`hold` begins and ends it.

    ``id`` is its epoch. ``over`` is set when it must stop: it was taken over (``lost``), or told to leave
    (``draining``).
    """

    def __init__(self, database: Database, id_: int, tenant: int, seconds: float, clock: Callable[[], float]) -> None:
        """Use :meth:`hold`."""
        self.id = id_
        self.tenant = tenant
        self.seconds = seconds
        self.lost = False
        self.draining = False
        self.over = asyncio.Event()
        self.held: set[int] = set()
        """The shards that this life has claimed and knows of."""
        self.claiming = asyncio.Lock()
        """Held by who claims: of two at once the second would take the shard of the first for a forgotten one."""
        self._leaving = asyncio.Event()
        self._database = database
        self._clock = clock
        self._until = 0.0
        self._looked = clock()
        self._seen: dict[int, _Seen] = {}

    @classmethod
    @contextlib.asynccontextmanager
    async def hold(
        cls,
        database: Database,
        *,
        server: str,
        user: str,
        name: str,
        seconds: float = LEASE,
        clock: Callable[[], float] = time.monotonic,
    ) -> AsyncIterator[Lease]:
        """Live as a worker of the tenant (``server``, ``user``) inside the block, and give all back at its end.

        ``name`` is for people. Waits while the database is away.
        """
        if not seconds > 0:
            raise SettingsError(f"the lease is in seconds, greater than 0, not {seconds!r}")

        async def enter(connection: Connection) -> tuple[int, int]:
            tenant = await tenant_of(connection, server, user)
            entered = await connection.execute(
                "INSERT INTO ucontact.workers (tenant_id, name, lease) VALUES (%s, %s, %s) RETURNING id",
                (tenant, name, seconds),
            )
            row = await entered.fetchone()
            assert row is not None
            return int(row[0]), tenant

        began = clock()
        id_, tenant = await database.insist(enter)
        lease = cls(database, id_, tenant, seconds, clock)
        lease._until = began + seconds
        # Apart: who waits for the locks of a dead worker must not be taken for dead itself.
        keeping = [asyncio.create_task(lease._keep(duty)) for duty in (lease.renew, lease.watch)]
        try:
            yield lease
        finally:
            # Told and cancelled: below Python 3.12 a cancellation may get lost in a question (python/cpython#86296).
            lease._leaving.set()
            for task in keeping:
                task.cancel()
            await asyncio.wait(keeping)
            with contextlib.suppress(DatabaseAway):
                await database.insist(lambda connection: _retire(connection, lease.id, "left", None), patience=_LEAVING)

    def valid(self) -> bool:
        """Return whether a first byte may leave now: nobody can have declared this worker dead yet."""
        return not self.lost and self._clock() < self._until

    async def renew(self) -> None:
        """Say that this worker lives, and learn what it has been told meanwhile."""
        began = self._clock()
        async with self._database.connection() as connection:
            beaten = await connection.execute(
                "UPDATE ucontact.workers SET beat = beat + 1 WHERE id = %s AND ended_at IS NULL RETURNING draining",
                (self.id,),
            )
            row = await beaten.fetchone()
        if row is None:
            self.lose()
            return
        # From before the question was asked: whoever watches begins to count after it was answered.
        self._until = began + self.seconds
        self.draining = row[0]
        if self.draining:
            self.over.set()

    def lose(self) -> None:
        """Note that others have declared this worker dead."""
        self.lost = True
        self.over.set()

    async def watch(self) -> list[int]:
        """Look at the other workers of the tenant, end the lives of the dead ones, and return these."""
        async with self._database.connection() as connection:
            found = await connection.execute(
                "SELECT id, beat, lease FROM ucontact.workers WHERE tenant_id = %s AND ended_at IS NULL AND id <> %s",
                (self.tenant, self.id),
            )
            others = await found.fetchall()
            now = self._clock()
            # Where we did not look for a while others may have stood still with us: it counts as a moment. Not as
            # nothing, or a database that is slow would keep the dead alive.
            beyond = now - self._looked - min(_SLOWEST * 4, self.seconds / 2)
            for seen in self._seen.values() if beyond > 0 else ():
                seen.since += beyond
            self._looked = now
            self._seen = {id_: self._note(id_, beat, now) for id_, beat, _ in others}
            still = [(id_, beat) for id_, beat, lease in others if now - self._seen[id_].since >= lease]
            return [id_ for id_, beat in still if await _retire(connection, id_, "taken over", beat)]

    def _note(self, id_: int, beat: int, now: float) -> _Seen:
        known = self._seen.get(id_)
        return known if known is not None and known.beat == beat else _Seen(beat, now)

    async def _keep(self, duty: Callable[[], Awaitable[object]]) -> None:
        pause = min(self.seconds / _BEATS, _SLOWEST)
        while not (self.lost or self._leaving.is_set()):
            try:
                await duty()
            except DatabaseAway:
                pass  # asked again; until then nothing is renewed
            except JournalError as error:
                self.lose()
                extra = {"ucontact_event": "LeaseGivenUp", "ucontact_error": type(error).__name__}
                _log.warning("the lease is given up: %s", error, extra=extra)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(pause):
                    await self._leaving.wait()


async def _retire(connection: Connection, worker: int, how: str, beat: int | None) -> bool:
    found = await connection.execute("SELECT ucontact.retire(%s, %s, %s)", (worker, how, beat))
    row = await found.fetchone()
    return bool(row and row[0])
