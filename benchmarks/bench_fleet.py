"""The fleet's database alone: rows claimed, marked as sent and settled in a second, by 1, 2 and 4 worker processes.

``python benchmarks/bench_fleet.py [--rows 40000] [--in-flight 64]``: real worker leases, claims, journal and commits
with ``fsync`` on; no server is called, so that the database is all there is to wait for.
"""

import argparse
import asyncio
import sys
import tempfile
import time
from collections import deque
from collections.abc import Sequence
from datetime import datetime
from multiprocessing import get_context
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent / "tests" / "fleet"))

from postgres import Postgres

from ucontact_async import ScheduledCall, UContact
from ucontact_async.fleet.database import Database
from ucontact_async.fleet.journal import ClaimedRow, FleetJournal
from ucontact_async.fleet.lease import Lease
from ucontact_async.fleet.load import load
from ucontact_async.fleet.shards import Shards

TENANT = {"server": "http://127.0.0.1:1", "user": "api"}


async def fill(address: str, rows: int) -> float:
    """Load ``rows`` and return how many in a second."""
    client = UContact(TENANT["server"], user="api", password="secret", timezone="UTC")
    calls = (
        ScheduledCall(campaign="Ventas->", destination=f"09{row:07d}", calldate=datetime(2099, 5, 5))  # noqa: DTZ001
        for row in range(rows)
    )
    async with Database(address) as database:
        await database.migrate()
        began = time.perf_counter()
        async with database.transaction() as connection:
            await load(connection, client, calls, batch="b")
        return rows / (time.perf_counter() - began)


async def work(address: str, in_flight: int) -> int:
    """Claim, mark and settle until nothing is left; return how many rows."""
    async with Database(address) as database, Lease.hold(database, **TENANT, name="w") as lease:
        journal = FleetJournal(database, lease, lambda _: None)
        shards = Shards(database, lease, once=True)
        waiting: deque[ClaimedRow] = deque()
        done = 0

        async def one() -> None:
            nonlocal done
            while waiting:
                row = waiting.popleft()
                await journal.sent(row.id)
                journal.settled(row.id, "succeeded", "", 1, None)
                done += 1

        while True:
            await shards.ready()
            block: Sequence[ClaimedRow] = await shards.block(256)
            if not block:
                break
            waiting.extend(block)
            await asyncio.gather(*(one() for _ in range(in_flight)))
            await journal.flush()
            await shards.give_back()
        await journal.aclose()
        return done


def process(address: str, in_flight: int, ready: object, start: object, done: object) -> None:
    """One worker process."""
    ready.release()  # type: ignore[attr-defined]
    start.wait()  # type: ignore[attr-defined]
    done.put(asyncio.run(work(address, in_flight)))  # type: ignore[attr-defined]


def measure(address: str, workers: int, in_flight: int) -> tuple[int, float]:
    """Have so many processes work everything off; return rows and seconds."""
    context = get_context("spawn")
    ready, start, done = context.Semaphore(0), context.Event(), context.Queue()
    running = [context.Process(target=process, args=(address, in_flight, ready, start, done)) for _ in range(workers)]
    for worker in running:
        worker.start()
    for _ in running:
        ready.acquire()
    began = time.perf_counter()
    start.set()
    rows = sum(done.get() for _ in running)
    seconds = time.perf_counter() - began
    for worker in running:
        worker.join()
    return rows, seconds


def main() -> None:
    """Run the benchmark as a command."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=40_000)
    parser.add_argument("--in-flight", type=int, default=64)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory(), Postgres(durable=True) as server:
        for workers in (1, 2, 4):
            address = server.url(server.fresh())
            loaded = asyncio.run(fill(address, args.rows))
            rows, seconds = measure(address, workers, args.in_flight)
            print(
                f"{workers} workers: {rows / seconds:,.0f} rows/s claimed, sent and settled "
                f"({rows:,} rows, {args.in_flight} in flight each); loaded at {loaded:,.0f} rows/s"
            )


if __name__ == "__main__":
    main()
