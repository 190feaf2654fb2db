"""Requests in, outcomes out, everything bounded: a fixed set of workers over one lazy input.

It wraps and counts, and never interprets: what an error means is its class's business, whether a row is sent the
intake's, whether it is sent again the caller's.
"""

from __future__ import annotations

import asyncio
import functools
import time
from collections.abc import AsyncIterable, AsyncIterator, Callable, Coroutine, Iterable
from datetime import UTC, datetime
from typing import Any, Self

import anyio

from ..endpoint import Caller, Flight
from ..errors import NotSent, Unauthorized
from ..events import EventBus, FuseBlown, Stopped, words_of
from ..limiter import Limiter
from ..pace import Pace
from ..settings import ServerProfile
from .amendments import Amendments
from .clearance import Clearance
from .crew import Crew
from .fuse import Fuse
from .intake import Intake, Source
from .journal import Header, OpenJournal
from .later import Later
from .options import BulkOptions
from .outbox import Outbox
from .outcome import SUCCEEDED, Outcome, Status
from .preparing import Planner
from .report import Report
from .transient import journal_of
from .watching import Watchable

__all__ = ["Bulk"]


class Bulk(Watchable):
    """A run: ``async with`` opens it, ``async for`` yields its outcomes as rows complete.

    Leaving the block early, or being cancelled in it, stops the run: calls on the wire are given ``grace`` seconds to
    end and are settled in the journal, nothing else is sent.
    """

    def __init__(
        self,
        items: Iterable[Any] | AsyncIterable[Any] | Source,
        *,
        caller: Caller,
        limiter: Limiter,
        server: str,
        options: BulkOptions,
        spawn: Callable[[Coroutine[Any, Any, None]], asyncio.Task[None]],
        planner: Planner | None = None,
        pace: Pace | None = None,
        open_journal: OpenJournal | None = None,
        lane: Callable[[], str] = str,
        profile: ServerProfile | None = None,
        events: EventBus | None = None,
        clock: Callable[[], float] = time.monotonic,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        """Use :meth:`UContact.stream`; ``open_journal`` opens another journal than the file that ``options`` name."""
        super().__init__(limiter, clock, events)
        self.options = options
        self.report = Report(accepted=options.accepted)
        self._items = items
        self._caller = caller
        self._server = server
        self._spawn = spawn
        self._planner = planner
        self._open_journal = open_journal or functools.partial(journal_of, options=options, now=now)
        self._lane = lane
        self._now = now
        self._pace = pace
        self._outbox = Outbox(ordered=options.ordered)
        self._deliver = self._outbox.put
        self._flights: dict[anyio.CancelScope, Flight | None] = {}
        self._fuse = Fuse(options.max_unknown, options.max_unknown_jump)
        self._later = Later(
            options,
            caller=caller,
            profile=profile or ServerProfile(),
            deliver=self._deliver,
            clock=clock,
            now=now,
        )
        self._amendments = Amendments(deliver=self._deliver, judge=self._judge, fail=self._fail, spawn=spawn)
        self._stopping = asyncio.Event()
        self._error: BaseException | None = None
        self._hopeless = 0

    async def __aenter__(self) -> Self:
        self._started = self._clock()
        options = self.options
        header = Header(self._server, options.operation, options.digest, options.keys_only)
        self._workers = self._limiter.widen(options.max_concurrency)
        try:
            self._journal = await self._open_journal(header, self._deliver)
            try:
                self._amendments.open(self._journal)
                await self._later.open(self._journal, self._amendments)
                self._clearance = await Clearance.opened(
                    options, self._journal.calls, zone=self._caller.rules.zone, now=self._now
                )
            except BaseException:
                await self._journal.aclose()
                raise
        except BaseException:
            self._limiter.narrow(options.max_concurrency)
            raise
        self._engage()
        # A task of the client, not of the consumer: who is cancelled in the block must not cancel calls on the wire.
        self._running = self._spawn(self._run())
        return self

    def _engage(self) -> None:
        """Have workers, and rows for them."""
        self._intake = Intake(
            self._items,
            caller=self._caller,
            journal=self._journal,
            options=self.options,
            now=self._now,
            planner=self._planner,
            emit=self._deliver,
            room=self._outbox.room,
            settle=self._later.take,
            blocked=None if self._clearance is None else self._clearance.blocked,
            lasting=self._journal.durable,
        )
        self._crew = Crew(
            number=self._workers,
            caller=self._caller,
            limiter=self._limiter,
            journal=self._journal,
            intake=self._intake,
            later=self._later,
            amendments=self._amendments,
            clearance=self._clearance,
            pace=self._pace,
            options=self.options,
            flights=self._flights,
            clock=self._clock,
            deliver=self._deliver,
            judge=self._judge,
            fail=self._fail,
            stopping=self._stopping,
        )

    async def __aexit__(self, *exc_info: object) -> None:
        if not self._outbox.closed:
            self.stop("the consumer left")
        with anyio.CancelScope(shield=True):
            await asyncio.wait([self._running])
        self._over(self._error)
        self._limiter.narrow(self.options.max_concurrency)
        if self._error is not None and exc_info[1] is None:
            raise self._error

    async def __aiter__(self) -> AsyncIterator[Outcome]:
        self._reading()
        while (outcomes := await self._outbox.take()) is not None:
            for outcome in outcomes:
                self._count(outcome)
                yield outcome
        self._conclude()

    async def finish(self) -> Report:
        """Read all outcomes that are left and return the report: ``async for`` over them, at less cost."""
        self._reading()
        while (outcomes := await self._outbox.take()) is not None:
            if self.options.progress is None:
                self.report.add_all(outcomes)
            else:
                for outcome in outcomes:
                    self._count(outcome)
        self._conclude()
        return self.report

    def _count(self, outcome: Outcome) -> None:
        self.report.add(outcome)
        if self.options.progress is not None:
            self.options.progress(self.report)

    def _conclude(self) -> None:
        self.report.lane = self._lane()
        self.report.close(self._clock() - self._started)
        self._over(self._error)
        if self._error is not None:
            error, self._error = self._error, None
            raise error

    def stop(self, reason: str) -> bool:
        """Send nothing more; what is on the wire has ``grace`` seconds to end.

        The first ``reason`` stays; ``False`` says that the run was stopping already.
        """
        if self._stopping.is_set():
            return False
        self._stopping.set()
        self.report.stopped = reason
        self._intake.stop()
        self._later.stop()
        self._bus.publish(Stopped(reason=reason))
        for scope, flight in self._flights.items():
            if flight is None or not flight.left:
                if flight is not None:
                    flight.forbid()
                scope.cancel()
        return True

    def abort(self) -> None:
        """Stop at once; what is on the wire becomes unknown."""
        self.stop("aborted")
        for scope in self._flights:
            scope.cancel()

    async def _run(self) -> None:
        try:
            async with anyio.create_task_group() as group:
                group.start_soon(self._watch, group.cancel_scope)
                await self._crew.work()
                group.cancel_scope.cancel()
        except Exception as error:  # noqa: BLE001  kept for the consumer
            self._fail(error)
        finally:
            with anyio.CancelScope(shield=True):
                await self._close()

    async def _watch(self, workers: anyio.CancelScope) -> None:
        """Stop once the server stayed away from this run; cancel what is still on the wire after the grace."""
        patience = self.options.patience
        while not self._stopping.is_set():
            with anyio.move_on_after(min(1.0, patience)):
                await self._stopping.wait()
            if (away := min(self._limiter.unreached_seconds, self._clock() - self._started)) > patience:
                self.stop(f"the server cannot be reached since {away:.0f} s")
        await anyio.sleep(self.options.grace)
        workers.cancel()

    async def _close(self) -> None:
        try:
            try:
                await self._intake.aclose()
            finally:  # the input may fail at being closed
                await self._amendments.aclose(self._clock() - self._started)
                await self._journal.aclose()
        except Exception as error:  # noqa: BLE001  kept for the consumer
            self._fail(error)
        finally:
            self._outbox.close()

    def _judge(self, outcome: Outcome) -> None:
        """Stop the run where going on would do harm or no good; counts are of this run."""
        if outcome.status is SUCCEEDED:
            self.report.judged.rows += 1
            self._hopeless = 0
            return
        counts = self.report.judge(outcome)
        if isinstance(outcome.error, Unauthorized) or (outcome.error is not None and not self._crew.logged_in):
            self.stop(f"the login failed: {outcome.detail}")
        elif outcome.status is Status.UNKNOWN and (why := self._fuse.blown(counts.rows)) is not None:
            if not self._stopping.is_set():
                self._bus.publish(FuseBlown(reason=why))
            self.stop(why)
        elif counts.failed > self.options.failures_allowed(counts.rows):
            self.stop(f"more failures than max_failures={self.options.max_failures} allows")
        hopeless = isinstance(outcome.error, NotSent) and not outcome.error.transient
        self._hopeless = self._hopeless + 1 if hopeless else 0
        if self._hopeless > self._workers:
            self.stop(f"nothing can be sent: {outcome.detail}")

    def _fail(self, error: BaseException) -> None:
        if self._error is None:
            self._error = error
        self.stop(words_of(error))
