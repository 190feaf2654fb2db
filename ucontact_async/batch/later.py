"""Rows that cannot go at once, or must be gone back to: turns of a destination, quarantines, unknown calls to settle.

It brings those parts together for a run, and makes the outcomes of what was settled.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import datetime
from functools import partial
from typing import Any

import msgspec

from ..endpoint import Caller, Flight
from ..errors import JournalError, UContactError
from ..settings import ServerProfile
from .agenda import Agenda
from .amendments import Amendments
from .intake import Intake, outcome_of, stopped
from .journal import DOUBTED, Journal
from .options import BulkOptions
from .outcome import Outcome, Status, kept
from .preparing import Job
from .replacing import Insertion, Result, Settler, Step
from .turns import Turns, is_removal

__all__ = ["WAITERS", "Later", "Unsettled"]

_TOO_MANY = "too many rows wait for it; the same command again settles them"
_STOPPED = "the run was stopped; the same command again settles it"
WAITERS = 4
"""How many of the rows that waited may be under way at once."""


class Unsettled(Job, kw_only=True):
    """A row to be settled; ``lost`` is its outcome until then."""

    lost: Outcome


class Later:
    """What a run asks about rows that wait; ``deliver`` gets the outcomes that need no mark in the journal."""

    def __init__(
        self,
        options: BulkOptions,
        *,
        caller: Caller,
        profile: ServerProfile,
        deliver: Callable[[list[Outcome]], None],
        clock: Callable[[], float],
        now: Callable[[], datetime],
    ) -> None:
        """Raises :class:`SettingsError` where ``options`` settle what this server's ``profile`` does not allow."""
        self._terms = None if options.on_unknown == "hold" else options.on_unknown.under(profile)
        quarantine = profile.quarantine if self._terms is None else self._terms.quarantine
        self._caller = caller
        self._deliver = deliver
        self._clock = clock
        self._now = now
        self._stopped = False
        self._agenda = Agenda[Job](clock)
        self._turns = Turns(self._agenda, quarantine, clock)
        self.next = self._agenda.next
        self.finish = self._agenda.finish
        self.close = self._agenda.close
        self.leave = self._turns.leave

    async def open(self, journal: Journal, amendments: Amendments) -> None:
        """Go by what ``journal`` knows; ``amendments`` take back what was settled by calls that are in doubt."""
        self._journal = journal
        self._amendments = amendments
        self._settler = None
        if self._terms is not None and journal.durable:
            self._settler = Settler(self._terms, caller=self._caller, journal=journal, now=self._now)
        if journal.durable:
            await self._turns.recall(journal, self._now().timestamp())

    def at_hand(self, intake: Intake) -> Job | None:
        """Return a row that may go at once, without waiting; ``None`` says to ask :meth:`fresh`."""
        if self._turns.orderly or not intake.jobs:
            return None
        job = intake.jobs.popleft()
        return job if self._turns.enter(job) else None

    async def fresh(self, intake: Intake) -> Job | None:
        """Return the next row of the input that may go now."""
        while (job := intake.take() or await intake.next()) is not None and not self._turns.enter(job):
            await self._turns.room()
        return job

    def reason(self, job: Job, outcome: Outcome, *, doubted: bool) -> str:
        """Return what the journal is to say of the end of ``job``, of which a try may still arrive if ``doubted``."""
        if not is_removal(job.request):  # nearly every row
            return outcome.reason
        mark = self.mark(job, doubted=doubted)
        return outcome.reason if outcome.status is Status.UNKNOWN else mark or outcome.reason

    def mark(self, job: Job, *, doubted: bool) -> str:
        """Return what the journal is to say of a removal whose destination may yet be reached by an earlier try."""
        if not is_removal(job.request):
            return ""
        if doubted:
            self._turns.lost(job)
        return DOUBTED if self._turns.in_doubt(job) else ""

    def take(self, job: Job, lost: Outcome, at: int | None = None) -> Outcome | None:
        """Take ``job``, whose outcome was ``lost``, to settle it when its quarantine is over.

        Otherwise return the outcome, saying why it stays. ``at`` is when an earlier run lost it, in Unix seconds.
        """
        if self._settler is None:
            return lost
        wait = self._settler.wait(job, at)
        if isinstance(wait, str):
            return _unsettled(lost, wait)
        if self._stopped or self._agenda.full:
            return _unsettled(lost, _STOPPED if self._stopped else _TOO_MANY)
        self._turns.hold(job)
        fields = {name: getattr(job, name) for name in Job.__struct_fields__}
        self._agenda.put(self._clock() + wait, Unsettled(**fields, lost=lost))
        return None

    async def settle(
        self, job: Unsettled, board: Callable[[Flight], bool], begin: Callable[[], Awaitable[None]]
    ) -> None:
        """Settle ``job`` or put it off again, and have its outcome delivered; ``board`` as :meth:`Settler.settle`.

        ``begin`` is awaited before anything is sent.
        """
        assert self._settler is not None
        boarded: list[Step] = []

        def boards(step: Step) -> bool:
            boarded.append(step)
            return board(step)

        if (seconds := self._turns.delay(job)) > 0 and not self._stopped:
            self._turns.hold(job)
            self._agenda.put(self._clock() + seconds, job)
            return
        try:
            await begin()
            result = await self._settler.settle(job, boards)
        except UContactError as error:
            if not isinstance(error, JournalError):
                self._deliver([_unsettled(job.lost, str(error))])
                return
            self._deliver([_unsettled(job.lost, "the journal failed")])
            raise
        except BaseException:
            if not boarded:
                self._deliver([_unsettled(job.lost, _STOPPED)])
            else:
                gone = isinstance(boarded[-1], Insertion) and not boarded[-1].left
                self._end(job, Result(status="planned" if gone else "unknown", why=_STOPPED), boarded)
            raise
        self._end(job, result, boarded)

    def keep(self, job: Unsettled, why: str) -> None:
        """Leave ``job`` unknown."""
        self._deliver([_unsettled(job.lost, why)])

    def _end(self, job: Unsettled, result: Result, steps: list[Step]) -> None:
        if any(step.doubted for step in steps):
            result = Result(status="again", attempts=result.attempts)
        lost = job.lost
        attempts = lost.attempts + result.attempts
        if result.status == "planned":
            self._journal.planned(job.id)
            self._deliver([stopped(job)])
            return
        if result.status == "again":
            again = self.take(job, lost)
            self._journal.settled(job.id, Status.UNKNOWN, lost.reason, attempts, again)
            return
        stays = result.status == "unknown"
        outcome = _unsettled(lost, result.why) if stays else _certain(job, result, attempts)
        for step in () if stays else steps:
            step.on_doubt = partial(self._amendments.add, job, outcome)
        self._journal.settled(job.id, outcome.status, outcome.reason, attempts, outcome)

    def stop(self) -> None:
        """Let go of all rows that wait; what waits to be settled stays unknown."""
        self._stopped = True
        left = [*self._agenda.clear(), *self._turns.clear()]
        self._deliver([_unsettled(j.lost, _STOPPED) if isinstance(j, Unsettled) else stopped(j) for j in left])


def _certain(job: Job, result: Result, attempts: int) -> Outcome:
    error = None if result.error is None else kept(result.error)
    succeeded = error is None
    outcome = outcome_of(
        job,
        Status.SUCCEEDED if succeeded else Status.FAILED,
        reason="" if succeeded else type(error).__name__,
        detail="its outcome was unknown: it was removed and inserted again" if succeeded else str(error),
    )
    reply: Any = result.reply
    return msgspec.structs.replace(outcome, reply=reply, error=error, attempts=attempts, settled=succeeded)


def _unsettled(lost: Outcome, why: str) -> Outcome:
    return msgspec.structs.replace(lost, detail=f"{lost.detail}; not settled: {why}" if lost.detail else why)
