"""What the tests of workers share: a tenant with its client and rows, and an emulator that takes its time."""

from collections import Counter
from datetime import datetime

from ucontact_async import Limiter, ScheduledCall, UContact
from ucontact_async.fleet.load import load
from ucontact_async.fleet.worker import Worker

WHEN = datetime(2099, 5, 5, 10)


class Tenant:
    """A server's user, its client, and its rows in the database."""

    def __init__(self, database, client):
        self.database = database
        self.client = client

    async def load(self, rows, batch="b"):
        """Enter rows."""
        async with self.database.transaction() as connection:
            return await self.load_in(connection, rows, batch)

    async def load_in(self, connection, rows, batch="b"):
        """Enter rows in a transaction."""
        return await load(connection, self.client, rows, batch=batch, shard=20)

    async def statuses(self):
        """Return how many rows are in which status."""
        async with self.database.connection() as connection:
            found = await connection.execute(
                "SELECT status, count(*) FROM ucontact.calls WHERE api_user = %s GROUP BY status",
                (self.client.settings.user,),
            )
            return dict(await found.fetchall())

    async def tell(self, statement):
        """Run a statement."""
        async with self.database.connection() as connection:
            await connection.execute(statement)

    def worker(self, database=None, **options):
        """Return a worker."""
        return Worker(self.client, database or self.database, **{"lease": 2.0, **options})


def client_of(emulator, user="api", concurrency=8, limiter=None, token_store=None):
    return UContact(
        emulator.url,
        user=user,
        password="secret",
        timezone="America/Montevideo",
        limiter=limiter or Limiter(concurrency),
        token_store=token_store,
    )


def calls(count):
    return [ScheduledCall(campaign="Ventas->", destination=f"09{n:07d}", calldate=WHEN) for n in range(count)]


def applied(emulator):
    """Return how often each number was put on the schedule."""
    return Counter(entry.fields["destination"] for entry in emulator.ledger)


def slow(emulator, seconds):
    emulator.set_faults({"rules": [{"endpoint": "Dialers/*", "fault": "latency", "seconds": seconds}]})
