"""One worker of the fleet: it lives under a lease, claims shards, and has the batch runner send their rows.

It decides nothing about a row. Told to stop, it finishes what is in flight, gives back what it holds, and leaves; taken
over, it begins again under another epoch.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import socket
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager
from typing import Any

import msgspec

from ..batch.journal import Header, Journal
from ..batch.options import BulkOptions
from ..batch.outcome import Outcome
from ..batch.report import Report
from ..batch.runner import Bulk
from ..batch.sources import Row
from ..client import UContact
from ..endpoint import Request
from ..errors import JournalError
from ..limiter import Limiter
from .calls import CallsElsewhere
from .database import Database, DatabaseAway
from .journal import ClaimedRow, FleetJournal
from .lease import LEASE, Lease
from .limits import FleetLimits
from .rules import for_worker
from .shards import Shards
from .shared_limiter import SharedLimiter

__all__ = ["Worker"]

_log = logging.getLogger(__name__)
_LOST = "the lease ended"
_NO_SHARE = "no share of the limits"
# How often a worker without a share looks whether it holds rows, in seconds.
_POLL = 1.0


class _Claimed:
    """The planner of rows that were loaded as requests."""

    def request(self, row: Row) -> Request[Any]:
        """Return the request as it was loaded."""
        assert isinstance(row, ClaimedRow)
        return row.request

    def column_of(self, field: str) -> str:
        """Return ``field``: there are no columns any more."""
        return field


class Worker:
    """A worker of the fleet in ``database``, for the tenant that ``client`` stands for: its server and its user.

    ``report`` counts what this worker has settled itself, in all its ``epochs``, and ``told`` is whether it was told to
    leave. ``name`` is for people. What a dead worker had not sent goes to others after its ``lease``, in seconds (30).
    Of ``options`` the pace, the limits and the rules count: what was loaded with rules of the dial is left to workers
    that have rules. ``watch`` is called with every outcome. A client with a :class:`SharedLimiter` keeps to its share
    of what all may do together, one with a :class:`PostgresTokenStore` shares their login.
    """

    def __init__(
        self,
        client: UContact,
        database: Database,
        *,
        name: str | None = None,
        lease: float = LEASE,
        options: BulkOptions | None = None,
        watch: Callable[[Outcome], None] | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        given = options or BulkOptions()
        self.options = msgspec.structs.replace(given, rules=for_worker(given.rules))
        self._ruled = given.rules is not None
        self.report = Report(accepted=self.options.accepted)
        self.epochs = 0
        self.told = False
        self._client = client
        self._database = database
        self._name = name or f"{socket.gethostname()}:{os.getpid()}"
        self._seconds = lease
        self._watch = watch
        self._clock = clock
        self._streams: set[Bulk] = set()
        self._stopping = asyncio.Event()

    async def run(self, *, once: bool = False) -> Report:
        """Work until told to stop, to leave by ``fleet drain``, or by what stops a run (``report.stopped`` says so).

        ``once`` leaves when nothing can be claimed. Raises :class:`JournalMismatch` for rows that this version cannot
        send as they were loaded.
        """
        started = self._clock()
        while not self._stopping.is_set():
            async with self.living() as lease:
                if await self._work(lease, once=once):
                    break
        self.report.close(self._clock() - started)
        return self.report

    @contextlib.asynccontextmanager
    async def living(self) -> AsyncIterator[Lease]:
        """Hold a lease inside the block; whatever was claimed under it is given back at the end."""
        settings = self._client.settings
        holding = Lease.hold(
            self._database,
            server=settings.url,
            user=settings.user or "",
            name=self._name,
            seconds=self._seconds,
            clock=self._clock,
        )
        async with holding as lease, self._sharing(lease):
            self.epochs += 1
            yield lease

    def _sharing(self, lease: Lease) -> AbstractAsyncContextManager[object]:
        limiter = self._client.limiter
        if not isinstance(limiter, SharedLimiter):
            return contextlib.nullcontext()
        return FleetLimits(
            self._database, limiter, tenant=lease.tenant, worker=lease.id, lease=lease.seconds, clock=self._clock
        )

    async def run_shard(self, lease: Lease, shard: int) -> int:
        """Send what is left of one shard, if nobody else holds it, and return how many rows were settled."""
        return await self._run(lease, self._shards(lease, once=True, named=shard))

    def stop(self, reason: str) -> bool:
        """Send nothing more and leave; ``False`` says that it was leaving already."""
        if self._stopping.is_set():
            return False
        self.told = True
        self._leave(reason)
        return True

    def abort(self) -> None:
        """Leave at once; what is on the wire becomes unknown."""
        self.stop("aborted")
        for stream in self._streams:
            stream.abort()

    def _leave(self, reason: str) -> None:
        self._stopping.set()
        self.report.stopped = reason
        for stream in self._streams:
            stream.stop(reason)

    async def _work(self, lease: Lease, *, once: bool) -> bool:
        """Work under one lease; return whether this worker is done."""
        while not (self._stopping.is_set() or lease.over.is_set()):
            shards = self._shards(lease, once=once)
            await self._run(lease, shards)
            if shards.empty and not lease.lost:
                return True
        if lease.draining:
            self.stop("drained")
        return not lease.lost

    def _shards(self, lease: Lease, *, once: bool, named: int | None = None) -> Shards:
        limiter = self._client.limiter
        rules = self.options.rules
        return Shards(
            self._database,
            lease,
            once=once,
            named=named,
            share=limiter.granted if isinstance(limiter, SharedLimiter) else None,
            ruled=self._ruled,
            elsewhere=CallsElsewhere(rules, lease.tenant) if rules is not None and rules.caps else None,
        )

    async def _run(self, lease: Lease, shards: Shards) -> int:
        """Run what can be claimed, and return how many rows were settled."""
        journals: list[FleetJournal] = []

        async def open_journal(_header: Header, deliver: Callable[[list[Any]], None]) -> Journal:
            journals.append(FleetJournal(self._database, lease, deliver, elsewhere=shards.elsewhere))
            shards.expect = journals[0].expect
            return journals[0]

        stream = self._client.run(shards, self.options, planner=_Claimed(), open_journal=open_journal)
        leaving: list[asyncio.Task[None]] = []
        settled = 0
        try:
            async with stream:
                # Not before it is open: it cannot be stopped before.
                self._streams.add(stream)
                leaving = [
                    asyncio.create_task(_stop_with(lease, stream)),
                    asyncio.create_task(_stop_without_share(self._client.limiter, shards, stream)),
                ]
                if self._stopping.is_set():
                    stream.stop(self.report.stopped or "")
                async for outcome in stream:
                    settled += await self._note(outcome, shards, journals[0])
        except (DatabaseAway, JournalError) as error:
            if not (lease.lost or isinstance(error, DatabaseAway)):
                raise
            extra = {"ucontact_event": "WorkerRunEnded", "ucontact_error": type(error).__name__}
            _log.warning("a run of the worker ended: %s", error, extra=extra)
        finally:
            self._streams.discard(stream)
            for task in leaving:
                task.cancel()
            if leaving:
                await asyncio.wait(leaving)
            if journals:
                await journals[0].flush()
            await shards.give_back()
        why = stream.report.stopped
        if why is not None and why != _NO_SHARE and not lease.over.is_set():
            self._leave(why)
        return settled

    async def _note(self, outcome: Outcome, shards: Shards, journal: FleetJournal) -> bool:
        """Count ``outcome``, and return whether it settles a row that no other outcome settled."""
        stopped = outcome.reason == "stopped"  # it goes back, and is counted by whoever sends it
        if outcome.reason == "invalid":
            assert isinstance(outcome.row, ClaimedRow)
            journal.settled(outcome.row.id, "skipped", "invalid", 0, None)
        if not stopped:
            self.report.add(outcome)
            if self._watch is not None:
                self._watch(outcome)
        if outcome.amends is not None:
            return False
        await shards.done(outcome)
        return not stopped


async def _stop_without_share(limiter: Limiter, shards: Shards, stream: Bulk) -> None:
    """Have rows given back that nobody could send: the limits were lowered, and others have all of them."""
    if isinstance(limiter, SharedLimiter):
        while not shards.held:
            await asyncio.sleep(_POLL)
            await limiter.shareless.wait()
        stream.stop(_NO_SHARE)


async def _stop_with(lease: Lease, stream: Bulk) -> None:
    await lease.over.wait()
    stream.stop(_LOST if lease.lost else "drained")
