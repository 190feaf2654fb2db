"""Shards handed out by a task engine: one life of a worker for the whole process, whatever is delivered how often.

An engine only wakes: what it delivers twice, or while it runs elsewhere, is found to be done or held, and is no work.
"""

from __future__ import annotations

import asyncio
from typing import Literal, Self

from .database import Database
from .lease import Lease
from .worker import Worker

__all__ = ["ShardRunner"]

ShardState = Literal["done", "held", "open"]


class ShardRunner:
    """Runs shards under one lease, as many at once as it is asked to; an asynchronous context manager.

    ``await runner.run_shard(7)`` is the whole body of a task. Leaving the block finishes what is in flight and gives
    back the lease; taken over, it goes on under another epoch.
    """

    def __init__(self, worker: Worker, database: Database) -> None:
        """Have ``worker`` do the work; its :meth:`Worker.run` is not to be used beside."""
        self.worker = worker
        self.lease: Lease | None = None
        self._database = database
        self._changed = asyncio.Condition()
        self._closing = asyncio.Event()
        self._over = False
        self._running = 0
        self._idle = asyncio.Event()
        self._idle.set()

    async def __aenter__(self) -> Self:
        self._living = asyncio.create_task(self._live())
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        self.worker.stop("the engine stopped")
        await self._idle.wait()
        self._closing.set()
        await asyncio.wait([self._living])
        self._living.result()

    async def run_shard(self, shard: int) -> ShardState:
        """Send what is left of ``shard`` unless somebody does that already, and return what it is now.

        ``done``: nothing is left to send. ``held``: by another worker, which may be dead; ask again after a lease.
        ``open``: this run was stopped; ask again.
        """
        self._running += 1
        self._idle.clear()
        try:
            await self.worker.run_shard(await self._alive(), shard)
            async with self._database.connection() as connection:
                found = await connection.execute("SELECT open, owner FROM ucontact.shards WHERE id = %s", (shard,))
                row = await found.fetchone()
        finally:
            self._running -= 1
            if not self._running:
                self._idle.set()
        if row is None or not row[0]:
            return "done"
        return "open" if row[1] is None else "held"

    async def _alive(self) -> Lease:
        async with self._changed:
            await self._changed.wait_for(lambda: self.lease is not None or self._over)
        if self.lease is None:
            await asyncio.wait([self._living])
            self._living.result()
            raise RuntimeError("the runner is closed")
        return self.lease

    async def _live(self) -> None:
        try:
            await self._live_on()
        finally:
            self._over = True  # whoever waits for a lease waits in vain
            await self._note(None)

    async def _live_on(self) -> None:
        while not self._closing.is_set():
            async with self.worker.living() as lease:
                await self._note(lease)
                waiting = [asyncio.create_task(event.wait()) for event in (lease.over, self._closing)]
                try:
                    await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
                finally:
                    for task in waiting:
                        task.cancel()
                await self._note(None)
                if lease.draining:
                    self.worker.stop("drained")

    async def _note(self, lease: Lease | None) -> None:
        async with self._changed:
            self.lease = lease
            self._changed.notify_all()
