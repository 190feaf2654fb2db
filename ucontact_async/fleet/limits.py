"""How many requests and starts each worker may have, so that all workers together keep to the limits of their tenant.

It deals shares and tells the limiter of this process; it sends nothing and knows no rows. A share is good until a
moment on its worker's own monotonic clock that comes before anybody may declare the worker dead, so no clock that jumps
and no process that is stopped can make the sum of all shares larger than the limit.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import math
import re
import time
from collections.abc import Callable
from typing import Any, Self

import psycopg

from ..errors import JournalError, SettingsError
from .database import Database
from .shared_limiter import SharedLimiter

__all__ = ["FleetLimits", "set_limits"]

EVERY = 2.0
"""Seconds between two dealings, less where a lease is short."""

# From this part of its lease on a worker starts nothing more: what is on the wire then has the rest of it to end.
_USABLE = 0.8
# A share that has to be given back is given back so many seconds after the last request that it is too small for.
_SOON = 0.1
_CHANNEL = "ucontact_gate"
_SECONDS = re.compile(r"\d{1,6}(\.\d+)?", re.ASCII)

_log = logging.getLogger(__name__)


async def set_limits(
    database: Database, tenant: int, *, max_concurrency: int | None = None, max_per_second: float | None = None
) -> None:
    """Set what all workers of ``tenant`` may do together, ``None`` for no limit; it may be changed while they work.

    Raises :class:`SettingsError` for what is not above 0.
    """
    if max_concurrency is not None and max_concurrency < 1:
        raise SettingsError(f"max_concurrency is a whole number from 1, not {max_concurrency!r}")
    if max_per_second is not None and not 0 < max_per_second < math.inf:
        raise SettingsError(f"max_per_second is greater than 0, not {max_per_second!r}")
    async with database.connection() as connection:
        await connection.execute(
            "INSERT INTO ucontact.limits (tenant_id, max_concurrency, max_per_second) VALUES (%s, %s, %s) "
            "ON CONFLICT (tenant_id) DO UPDATE SET "
            "max_concurrency = excluded.max_concurrency, max_per_second = excluded.max_per_second",
            (tenant, max_concurrency, max_per_second),
        )


class FleetLimits:
    """Keeps the limiter of one worker within its share for as long as the block lasts.

    ``worker`` is its row in ``ucontact.workers`` and ``lease`` what that row says, in seconds. Every two seconds, or
    every quarter of a short lease, the share is dealt anew; that counts as a beat of the worker too. While the database
    is away the last share runs out and the limiter stands still.
    """

    def __init__(
        self,
        database: Database,
        limiter: SharedLimiter,
        *,
        tenant: int,
        worker: int,
        lease: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """``clock`` is the limiter's."""
        self._database = database
        self._limiter = limiter
        self._tenant = tenant
        self._worker = worker
        self._lease = lease
        self._every = min(EVERY, lease / 4)
        self._clock = clock
        self._hurry = asyncio.Event()
        self._rate = 0.0
        self._tasks: set[asyncio.Task[Any]] = set()

    async def __aenter__(self) -> Self:
        self._limiter.listener = self._close_all
        self._spawn(self._deal_again_and_again())
        self._spawn(self._listen())
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        self._limiter.listener = None
        self._limiter.grant(0, self._clock())
        for task in self._tasks:
            task.cancel()
        await asyncio.wait(self._tasks)

    async def beat(self) -> bool:
        """Deal this worker its share now; ``False`` if it was declared dead, and has none.

        Raises :class:`JournalError` where the database cannot be asked; the share it has goes on until its end.
        """
        began = self._clock()
        busy = self._limiter.in_use
        async with self._database.connection(patience=self._lease) as connection:
            dealt = await connection.execute(
                "SELECT * FROM ucontact.deal(%s, %s, %s)", (self._worker, busy, self._rate)
            )
            row = await dealt.fetchone()
        assert row is not None
        alive, concurrency, per_second, closed = row
        if not alive:
            self._limiter.grant(0, began)
            return False
        if closed:
            self._limiter.overloaded_elsewhere(closed)
        share = self._limiter.most if concurrency is None else concurrency
        self._limiter.grant(share, began + _USABLE * self._lease, per_second)
        self._rate = per_second or 0.0
        if self._limiter.in_use < busy:
            self._hurry.set()
        return True

    async def _deal_again_and_again(self) -> None:
        told = ""
        while True:
            try:
                await self.beat()
                told = ""
            except JournalError as error:
                if str(error) != told:
                    told = str(error)
                    extra = {"ucontact_event": "NoShare", "ucontact_error": type(error).__name__}
                    _log.warning("no share of the limits: %s", told, extra=extra)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._every):
                    await self._hurry.wait()
            if self._hurry.is_set():
                self._hurry.clear()
                await asyncio.sleep(min(_SOON, self._every))

    def _close_all(self, seconds: float) -> None:
        self._spawn(self._publish(seconds))

    async def _publish(self, seconds: float) -> None:
        """Tell all workers of the tenant that the server is overloaded."""
        with contextlib.suppress(JournalError):
            async with self._database.connection(patience=seconds) as connection:
                await connection.execute(
                    "WITH closed AS (INSERT INTO ucontact.limits (tenant_id, closed_at, closed_for) "
                    "VALUES (%s, clock_timestamp(), %s) ON CONFLICT (tenant_id) DO UPDATE SET "
                    "closed_at = excluded.closed_at, closed_for = excluded.closed_for) SELECT pg_notify(%s, %s)",
                    (self._tenant, seconds, _CHANNEL, f"{self._tenant} {seconds}"),
                )

    async def _listen(self) -> None:
        """Hear of gates that others close, on a connection of its own; after a break the next beat tells."""
        while True:
            with contextlib.suppress(psycopg.Error):
                async with await psycopg.AsyncConnection.connect(
                    self._database.conninfo.reveal(), autocommit=True, connect_timeout=5
                ) as connection:
                    await connection.execute(f"LISTEN {_CHANNEL}")
                    async for notice in connection.notifies():
                        tenant, _, seconds = notice.payload.partition(" ")
                        # Whoever may connect may notify: what is no number is none of ours.
                        if tenant == str(self._tenant) and _SECONDS.fullmatch(seconds):
                            self._limiter.overloaded_elsewhere(float(seconds))
            await asyncio.sleep(self._every)

    def _spawn(self, work: Any) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
