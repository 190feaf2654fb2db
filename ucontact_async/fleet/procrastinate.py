"""Shards as jobs of procrastinate, in the same database: enqueued with their rows, swept up when a worker dies.

The journal says what is to be done; a job only wakes a worker. So a job may run twice, late or beside itself.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable

import procrastinate
from procrastinate.exceptions import AlreadyEnqueued, ConnectorException

from .database import Connection, Database
from .engine import ShardRunner
from .lease import LEASE

__all__ = ["ShardJobs"]

# How many shards one sweep enqueues at most; the next one is a minute away.
_MOST = 1_000


class ShardJobs:
    """The tasks ``ucontact.run_shard`` and ``ucontact.sweep`` of a procrastinate app.

    Whoever loads rows enqueues their shards in the same transaction: ``await jobs.enqueue(connection, loaded.shards)``.
    A worker process does them: ``jobs.serve(runner, database)``, then ``await app.run_worker_async(...)``.
    The sweep, once a minute, sets going again what a dead worker left; it has to run somewhere. ``stalled`` is after
    how many seconds without a heartbeat a job counts as left.
    """

    def __init__(self, app: procrastinate.App, *, queue: str = "ucontact", stalled: float = LEASE) -> None:
        self.app = app
        self.queue = queue
        self._stalled = stalled
        self._runner: ShardRunner | None = None
        self._database: Database | None = None
        self.run_shard = app.task(name="ucontact.run_shard", queue=queue)(self._run_shard)
        sweep = app.task(name="ucontact.sweep", queue=queue, queueing_lock="ucontact.sweep")(self.sweep)
        app.periodic(cron="* * * * *")(sweep)

    def serve(self, runner: ShardRunner, database: Database) -> None:
        """Have jobs that run in this process done by ``runner``."""
        self._runner, self._database = runner, database

    async def enqueue(self, connection: Connection, shards: Iterable[int], *, seconds: int = 0) -> int:
        """Enqueue ``shards``, in the transaction of ``connection``; return how many were not waiting already.

        ``seconds`` is how long each is to wait.
        """
        entered = 0
        for shard in shards:
            deferrer = self.run_shard.configure(
                queueing_lock=f"ucontact.shard.{shard}",
                schedule_in={"seconds": seconds} if seconds else None,
                connection=connection,
            )
            try:
                async with connection.transaction():
                    await deferrer.defer_async(shard=shard)
            except AlreadyEnqueued:
                continue
            entered += 1
        return entered

    async def sweep(self, timestamp: int = 0) -> None:
        """Set going again the jobs of dead workers, and enqueue every shard that is open and has no job."""
        assert self._database is not None
        assert self._runner is not None
        for job in await self.app.job_manager.get_stalled_jobs(queue=self.queue, seconds_since_heartbeat=self._stalled):
            with contextlib.suppress(ConnectorException):  # it ended meanwhile
                await self.app.job_manager.retry_job(job)
        lease = self._runner.lease
        if lease is None:
            return
        async with self._database.transaction() as connection:
            found = await connection.execute(
                "SELECT id FROM ucontact.shards WHERE tenant_id = %s AND open AND owner IS NULL ORDER BY id LIMIT %s",
                (lease.tenant, _MOST),
            )
            await self.enqueue(connection, [id_ for (id_,) in await found.fetchall()])

    async def _run_shard(self, shard: int) -> str:
        assert self._runner is not None
        assert self._database is not None
        state = await self._runner.run_shard(shard)
        if state != "done":
            # Its owner may be dead: then the lease is over by that time.
            async with self._database.transaction() as connection:
                await self.enqueue(connection, [shard], seconds=int(LEASE) if state == "held" else 1)
        return state
