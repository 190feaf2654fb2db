"""From the input to what is left to do: rows checked, encoded and held against the journal, a block at a time.

The only place where input is read and validated. It sends nothing and does not know what becomes of a job.
"""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import AsyncIterable, AsyncIterator, Awaitable, Callable, Iterable, Iterator, Sequence
from datetime import datetime
from itertools import islice, repeat
from operator import attrgetter
from typing import Any

import anyio

from ..endpoint import Request
from ..errors import OutcomeUnknown, ReplyLost, UContactError
from .journal import DOUBTED, Memory, Recalled
from .journal_removals import REMOVALS
from .options import BulkOptions
from .outcome import REFUSED, SUCCEEDED, Outcome, Status, kept, status_of
from .preparing import Encoder, Job, Planner, Preparation

__all__ = ["Intake", "Source", "failed", "outcome_of", "stopped", "succeeded"]

# How many rows one question to the journal covers; also how far the input is read ahead.
BLOCK = 256


_STATUS, _DUPLICATE_OF = attrgetter("status"), attrgetter("duplicate_of")
_REQUEST = attrgetter("request")
_TAKES_OFF = "a later call of its number was made since: sent now, it would take that one off"
_COMES_BACK = "a later removal of its number was made since: sent now, the call would come back"


class Source(ABC):
    """An input that comes in blocks by itself, where one item at a time would cost too much."""

    @abstractmethod
    async def ready(self) -> None:
        """Return once a block can be had without waiting; may be cancelled."""

    @abstractmethod
    async def block(self, size: int) -> Sequence[Any]:
        """Return at most ``size`` items; none at the end."""

    @abstractmethod
    async def aclose(self) -> Sequence[Any]:
        """Let go of the input and return what it gave that is in no block."""


class Intake:
    """Hands out jobs, and settles at once what needs no sending."""

    def __init__(
        self,
        items: Iterable[Any] | AsyncIterable[Any] | Source,
        *,
        caller: Encoder,
        journal: Memory,
        options: BulkOptions,
        now: Callable[[], datetime],
        planner: Planner | None,
        emit: Callable[[list[Outcome]], None],
        room: Callable[[], Awaitable[None]],
        settle: Callable[[Job, Outcome, int | None], Outcome | None],
        blocked: Callable[[Job], Outcome | None] | None = None,
        lasting: bool = True,
    ) -> None:
        """``emit`` gets outcomes that need no journal; ``room`` returns once the consumer has taken enough of them.

        ``settle`` takes a row whose outcome an earlier run lost, and when, or returns what is to be said of it.
        ``blocked`` gives the outcome of a row that may not go: a dry run says so. ``lasting`` says whether another
        process may be asked about the same rows.
        """
        self._source = items if isinstance(items, Source) else _Iterated(items)
        self._zone = caller.rules.zone
        self._preparation = Preparation(caller, planner, lasting=lasting)
        self._journal = journal
        self._options = options
        self._now = now
        self._emit = emit
        self._room = room
        self._settle = settle
        self._blocked = blocked
        self.jobs: deque[Job] = deque()
        """What is at hand."""
        self._reading = asyncio.Lock()
        self._ended = False
        self._stopped = False
        self._overtaken: frozenset[int] | None = None

    def take(self) -> Job | None:
        """Return a job that is at hand, or ``None``: then :meth:`next` may have one."""
        return self.jobs.popleft() if self.jobs else None

    async def next(self) -> Job | None:
        """Return the next job, or ``None`` at the end of the input."""
        while not self.jobs:
            async with self._reading:
                if self.jobs:
                    continue
                if self._ended or self._stopped:
                    return None
                await self._room()
                await self._source.ready()
                # What was read must be accounted for, also when the run is stopped meanwhile.
                with anyio.CancelScope(shield=True):
                    await self._read_block()
        return self.jobs.popleft()

    def turns_away(self, job: Job, now: datetime | None = None) -> bool:
        """Leave ``job`` out if its calldate has passed, and say whether that was so; ``now`` is the present."""
        (late,) = self._late([job.request], now or self._now())
        if late:
            why = "calldate has passed; say --allow-past (allow_past=True) to have it called at once"
            self._skip(job, "late", why)
        return late

    def stop(self) -> None:
        """Read no more; rows that were read and that nobody has taken are settled as stopped."""
        self._stopped = True
        left = [*self.jobs]
        self.jobs.clear()
        self._emit([stopped(job) for job in left])

    async def aclose(self) -> None:
        """Let go of the input; what an asynchronous one had given in advance is settled as stopped."""
        jobs, outcomes = self._preparation.jobs_of(await self._source.aclose())
        self._emit([*outcomes, *map(stopped, jobs)])

    async def _read_block(self) -> None:
        items = await self._source.block(BLOCK)
        if not items:
            self._ended = True
            return
        jobs, outcomes = self._preparation.jobs_of(items)
        if outcomes:
            self._emit(outcomes)
        recalled = await self._journal.recall([job.entry for job in jobs])
        now = self._now()
        for job, known in zip(jobs, recalled, strict=True):
            job.id, job.key = known.id, known.key
        if self._plain(jobs, recalled, now):
            self.jobs.extend(jobs)
        else:
            await self._look_at(jobs, recalled, now)

    def _plain(self, jobs: Sequence[Job], recalled: Sequence[Recalled], now: datetime) -> bool:
        """Return whether nothing is known of any of ``jobs``, and all may go: nearly every block of a first run."""
        if self._options.dry_run or self._stopped:
            return False
        if {*map(_STATUS, recalled)} != {"new"} or {*map(_DUPLICATE_OF, recalled)} != {None}:
            return False
        requests = [*map(_REQUEST, jobs)]
        try:
            # A third of the time where all have a date and all say of which zone.
            return self._options.allow_past or min(_calldates(requests)) >= now
        except TypeError:
            return not any(self._late(requests, now))

    async def _look_at(self, jobs: Sequence[Job], recalled: Sequence[Recalled], now: datetime) -> None:
        """Look at each of ``jobs`` by itself."""
        for job, known in zip(jobs, recalled, strict=True):
            job.doubted = known.status == "unknown" or known.reason == DOUBTED
            if self._overtaken is None and known.status in ("unknown", "failed"):
                self._overtaken = await self._journal.overtaken(REMOVALS)
            removal = job.prepared.path in REMOVALS
            if self._overtaken and known.id in self._overtaken and (removal or known.status == "failed"):
                why = _TAKES_OFF if removal else _COMES_BACK
                self._known(job, Status(known.status), known.reason or ReplyLost.__name__, why)
            else:
                self._decide(job, known, now)

    def _decide(self, job: Job, known: Recalled, now: datetime) -> None:
        """Enqueue ``job``, or settle it for what is known of it."""
        if known.status != "new" and self._settled_before(job, known):
            return
        if known.duplicate_of is not None and self._options.on_duplicate != "allow":
            where = "row" if job.row is not None else "request"
            self._skip(job, "duplicate", f"duplicate of {where} {known.duplicate_of}: the same call")
        elif self.turns_away(job, now):
            pass
        elif self._options.dry_run:
            blocked = None if self._blocked is None else self._blocked(job)
            would = outcome_of(job, Status.SKIPPED, reason="dry run", detail="would be sent")
            self._journal.settled(job.id, "skipped", "dry run", 0, blocked or would)
        elif self._stopped:
            self._emit([stopped(job)])
        else:
            self.jobs.append(job)

    def _settled_before(self, job: Job, known: Recalled) -> bool:
        """Settle ``job`` by what an earlier run left of it, and say whether that is all there is to do."""
        if known.status == "succeeded" and not self._options.repeat:
            self._known(job, Status.SKIPPED, "done before", "an earlier run did it")
        elif known.status == "undoing":
            why = "an undo of it was begun and not ended; end it with `ucontact-async undo`"
            self._known(job, Status.UNKNOWN, "undoing", why)
        elif known.status == "undone" and not self._options.retry_undone:
            self._known(job, Status.SKIPPED, "undone", "it was taken back; say --retry-undone (retry_undone=True)")
        elif known.status == "unknown" and not job.prepared.safety.allows(_LOST):
            self._lost(job, known)
        elif known.status == "failed" and not self._again(known.reason):
            self._known(job, Status.FAILED, known.reason, "the server refused it in an earlier run (--retry-refused)")
        else:
            return False
        return True

    def _lost(self, job: Job, known: Recalled) -> None:
        why = "an earlier run sent it and never learnt the outcome; it is not sent again"
        reason = known.reason or ReplyLost.__name__
        lost = outcome_of(job, Status.UNKNOWN, reason=reason, detail=why, earlier=True)
        # A removal would take its twin off the schedule too.
        alone = known.duplicate_of is None and known.id not in (self._overtaken or ())
        alone = alone and not self._stopped and not self._options.dry_run
        outcome = self._settle(job, lost, known.at) if alone else lost
        if outcome is not None:
            self._emit([outcome])

    def _again(self, reason: str) -> bool:
        return reason not in REFUSED or self._options.retry_refused

    def _late(self, requests: Sequence[Request[Any]], now: datetime) -> list[bool]:
        if self._options.allow_past:
            return [False] * len(requests)
        return [
            moment is not None and (moment if moment.tzinfo is not None else moment.replace(tzinfo=self._zone)) < now
            for moment in _calldates(requests)
        ]

    def _known(self, job: Job, status: Status, reason: str, detail: str) -> None:
        self._emit([outcome_of(job, status, reason=reason, detail=detail, earlier=True)])

    def _skip(self, job: Job, reason: str, detail: str) -> None:
        self._journal.settled(
            job.id, "skipped", reason, 0, outcome_of(job, Status.SKIPPED, reason=reason, detail=detail)
        )


def _calldates(requests: Sequence[Request[Any]]) -> Iterator[Any]:
    return map(getattr, requests, repeat("calldate"), repeat(None))


_LOST = OutcomeUnknown("sent and never settled", phase="sent")


def outcome_of(job: Job, status: Status, *, reason: str, detail: str, earlier: bool = False) -> Outcome:
    """Return the outcome of a job that was not sent in this run."""
    return Outcome(
        index=job.index,
        status=status,
        key=job.key,
        request=job.request,
        row=job.row,
        reason=reason,
        detail=detail,
        earlier=earlier,
    )


def stopped(job: Job) -> Outcome:
    """Return the outcome of a job that a stopped run left unsent."""
    return outcome_of(job, Status.SKIPPED, reason="stopped", detail="the run was stopped before it was sent")


def succeeded(job: Job, reply: Any, attempts: int, seconds: float) -> Outcome:
    """Return the outcome of a job that was done."""
    return Outcome(
        index=job.index,
        status=SUCCEEDED,
        key=job.key,
        request=job.request,
        row=job.row,
        reply=reply,
        attempts=attempts,
        seconds=seconds,
    )


def failed(job: Job, error: UContactError, seconds: float) -> Outcome:
    """Return the outcome of a job whose call ended in ``error``."""
    return Outcome(
        index=job.index,
        # What this run did not do an earlier one may have done.
        status=Status.UNKNOWN if job.doubted else status_of(error),
        key=job.key,
        request=job.request,
        row=job.row,
        error=kept(error),
        reason=type(error).__name__,
        detail=str(error),
        attempts=error.attempts,
        seconds=seconds,
    )


class _Iterated(Source):
    """Any iterable, in blocks; an async one gives what is ready and never waits to fill a block."""

    def __init__(self, items: Iterable[Any] | AsyncIterable[Any]) -> None:
        self._async: AsyncIterator[Any] | None = None
        self._sync: Iterator[Any] | None = None
        self._upcoming: asyncio.Future[Any] | None = None
        if isinstance(items, AsyncIterable):
            self._async = aiter(items)
        elif isinstance(items, Iterable):
            self._sync = iter(items)
        else:
            raise TypeError(f"expected an iterable of requests, got {type(items).__name__}")

    async def ready(self) -> None:
        if self._async is not None:
            if self._upcoming is None:
                self._upcoming = asyncio.ensure_future(anext(self._async))
            await asyncio.wait([self._upcoming])

    async def block(self, size: int) -> list[Any]:
        if self._sync is not None:
            return [*islice(self._sync, size)]
        assert self._async is not None
        items: list[Any] = []
        while len(items) < size and self._upcoming is not None and self._upcoming.done():
            try:
                items.append(self._upcoming.result())
            except StopAsyncIteration:
                self._upcoming = None
                break
            self._upcoming = asyncio.ensure_future(anext(self._async))
            await asyncio.wait([self._upcoming], timeout=0)
        return items

    async def aclose(self) -> list[Any]:
        left = []
        if self._upcoming is not None:
            self._upcoming.cancel()
            await asyncio.wait([self._upcoming])
            if not self._upcoming.cancelled() and self._upcoming.exception() is None:
                left.append(self._upcoming.result())
        closing = getattr(self._async, "aclose", None) or getattr(self._sync, "close", None)
        if closing is not None:
            waiting = closing()
            if waiting is not None:
                await waiting
        return left
