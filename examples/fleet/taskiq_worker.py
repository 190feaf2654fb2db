"""Shards as tasks of taskiq: the broker only wakes; the journal says what is left to do."""

import asyncio
import os
from datetime import UTC, datetime

from taskiq import InMemoryBroker

from ucontact_async import ScheduledCall, UContact
from ucontact_async.fleet import Database, PostgresTokenStore, ShardRunner, SharedLimiter, Worker, enter_tenant, load

# With Redis: RedisStreamBroker(url, idle_timeout=60_000, xread_count=1), idle_timeout at least twice the lease in ms
# (a shorter one redelivers work that is under way: no harm here, but no use), one message at a time (or one worker
# takes all shards), `taskiq worker --ack-type when_executed --max-prefetch 1`. A task that raises is gone: load again.
broker = InMemoryBroker()
ADDRESS, URL = os.environ["UCONTACT_DATABASE"], os.environ["UCONTACT_URL"]


@broker.task
async def run_shard(shard: int) -> str:
    """Do one shard, in the process-wide runner."""
    return await broker.state.runner.run_shard(shard)


async def main() -> None:
    """Enter a call and have its shard delivered twice at once: it rings once."""
    async with Database(ADDRESS) as database:
        store = PostgresTokenStore(database, await enter_tenant(database, URL, "api"))
        login = {"user": "api", "password": "secret", "timezone": "UTC"}
        async with UContact(URL, **login, token_store=store, limiter=SharedLimiter()) as uc:
            when = datetime(2099, 5, 5, 10, tzinfo=UTC)
            call = ScheduledCall(campaign="Ventas->", destination="099123457", calldate=when)
            async with database.transaction() as connection:
                shards = (await load(connection, uc, [call], batch="taskiq")).shards
            async with ShardRunner(Worker(uc, database), database) as broker.state.runner:
                for task in [await run_shard.kiq(shard) for shard in shards for _ in range(2)]:
                    print((await task.wait_result()).return_value)


asyncio.run(main())
