"""A worker inside a program of your own: what `ucontact-async fleet worker` does, in one function."""

import asyncio
import os
import signal

from ucontact_async import UContact
from ucontact_async.fleet import Database, PostgresTokenStore, SharedLimiter, Worker, enter_tenant


async def main() -> None:
    """Work until SIGTERM: finish what is in flight, give back the rest, leave."""
    url, user = os.environ["UCONTACT_URL"], os.environ["UCONTACT_USER"]
    async with Database(os.environ["UCONTACT_DATABASE"]) as database:
        # One login for all workers: a second one may end the first. One share of the limits for each.
        store = PostgresTokenStore(database, await enter_tenant(database, url, user))
        async with UContact(
            url,
            user=user,
            password=os.environ["UCONTACT_PASSWORD"],
            timezone=os.environ["UCONTACT_TIMEZONE"],
            token_store=store,
            limiter=SharedLimiter(),
        ) as uc:
            # A lease longer than any pause of a healthy process (garbage, swap, a container moved): 30 s.
            worker = Worker(uc, database, lease=30.0)
            asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, worker.stop, "SIGTERM")
            print((await worker.run(once=True)).summary())


asyncio.run(main())
