"""Shards as jobs of procrastinate: rows and jobs in one transaction, and a worker that does them."""

import asyncio
import os
from datetime import UTC, datetime

import procrastinate

from ucontact_async import ScheduledCall, UContact
from ucontact_async.fleet import Database, PostgresTokenStore, ShardRunner, SharedLimiter, Worker, enter_tenant, load
from ucontact_async.fleet.procrastinate import ShardJobs

ADDRESS, URL = os.environ["UCONTACT_DATABASE"], os.environ["UCONTACT_URL"]
app = procrastinate.App(connector=procrastinate.PsycopgConnector(conninfo=ADDRESS))
jobs = ShardJobs(app)


async def main() -> None:
    """Enter a call with its job, and work until the queue is empty; a real worker has ``wait=True``."""
    async with app.open_async(), Database(ADDRESS) as database:
        store = PostgresTokenStore(database, await enter_tenant(database, URL, "api"))
        async with UContact(
            URL, user="api", password="secret", timezone="UTC", token_store=store, limiter=SharedLimiter()
        ) as uc:
            when = datetime(2099, 5, 5, 10, tzinfo=UTC)
            call = ScheduledCall(campaign="Ventas->", destination="099123456", calldate=when)
            async with database.transaction() as connection:  # rows without a job, or jobs without rows: never
                loaded = await load(connection, uc, [call], batch="may")
                await jobs.enqueue(connection, loaded.shards)
            async with ShardRunner(Worker(uc, database), database) as runner:
                jobs.serve(runner, database)
                # Redelivery does no harm, so a job may be taken for stalled as early as a lease is over.
                await app.run_worker_async(queues=[jobs.queue], wait=False, stalled_worker_timeout=30)
            print(runner.worker.report.summary())


asyncio.run(main())
