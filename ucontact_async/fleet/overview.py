"""How the fleet is doing: batches and workers, counted from the journal; and how to send all workers home.

It only looks and tells; a worker decides itself when it has finished.
"""

from __future__ import annotations

import asyncio

import msgspec

from .database import Database
from .lease import LEASE, Lease

__all__ = ["BatchState", "Overview", "WorkerState", "drain", "overview"]

_POLL = 0.2


class BatchState(msgspec.Struct, frozen=True, kw_only=True):
    """One batch: how many rows it has in which status. ``sent`` are on the wire now."""

    server: str
    user: str
    name: str
    rows: int
    planned: int
    sent: int
    succeeded: int
    failed: int
    unknown: int
    skipped: int


class WorkerState(msgspec.Struct, frozen=True, kw_only=True):
    """One life of a worker: ``shards`` it holds now, ``rows`` it has sent, ``seconds`` since it began."""

    id: int
    server: str
    user: str
    name: str
    state: str
    shards: int
    rows: int
    seconds: float


class Overview(msgspec.Struct, frozen=True):
    """All batches, and the workers that live or have sent something."""

    batches: list[BatchState]
    workers: list[WorkerState]


async def overview(database: Database) -> Overview:
    """Count what is in ``database``, of all tenants."""
    async with database.transaction() as connection:
        batches = await connection.execute(
            "SELECT server, api_user, batch, rows, planned, sent, succeeded, failed, unknown, skipped "
            "FROM ucontact.progress ORDER BY server, api_user, batch"
        )
        found = [
            BatchState(**dict(zip(BatchState.__struct_fields__, row, strict=True))) for row in await batches.fetchall()
        ]
        workers = await connection.execute(
            "SELECT w.id, t.server, t.api_user, w.name, "
            "coalesce(w.ended, CASE WHEN w.draining THEN 'draining' ELSE 'working' END), "
            "(SELECT count(*) FROM ucontact.shards s WHERE s.owner = w.id), coalesce(r.rows, 0), "
            "extract(epoch FROM coalesce(w.ended_at, now()) - w.started_at)::float8 "
            "FROM ucontact.workers w JOIN ucontact.tenants t ON t.id = w.tenant_id "
            "LEFT JOIN (SELECT owner, count(*) AS rows FROM ucontact.rows GROUP BY owner) r ON r.owner = w.id "
            "WHERE w.ended_at IS NULL OR r.rows > 0 ORDER BY w.id"
        )
        living = [
            WorkerState(**dict(zip(WorkerState.__struct_fields__, row, strict=True)))
            for row in await workers.fetchall()
        ]
    return Overview(found, living)


async def drain(database: Database, *, server: str, user: str) -> int:
    """Have all workers of a tenant finish what is in flight and leave, and return how many did once all have.

    One that is dead counts when its lease is over. Workers that begin later are not concerned.
    """
    async with Lease.hold(database, server=server, user=user, name="drain", seconds=LEASE) as lease:
        async with database.connection() as connection:
            told = await connection.execute(
                "UPDATE ucontact.workers SET draining = true "
                "WHERE tenant_id = %s AND ended_at IS NULL AND id < %s AND name <> 'drain' RETURNING id",
                (lease.tenant, lease.id),
            )
            leaving = [id_ for (id_,) in await told.fetchall()]
        while True:
            async with database.connection() as connection:
                found = await connection.execute(
                    "SELECT count(*) FROM ucontact.workers WHERE id = ANY(%s) AND ended_at IS NULL", (leaving,)
                )
                row = await found.fetchone()
            if row is None or not row[0]:
                return len(leaving)
            await asyncio.sleep(_POLL)
