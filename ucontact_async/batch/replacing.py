"""The steps that settle an unknown scheduled call: removed at exactly that second, and inserted again.

The conditions (:class:`Terms`) are checked before each step; where one does not hold the row stays unknown. It never
waits for a time: whoever calls it does.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, tzinfo
from typing import Any

import msgspec

from ..api.dialers import DialerTask, RemoveSchedule, ScheduledCall
from ..endpoint import Caller, Flight, Safety
from ..errors import JournalError, NotSent, OutcomeUnknown, Rejected, UContactError
from .journal import Journal
from .preparing import Job
from .settle import Terms

__all__ = ["Insertion", "Result", "Settler"]

# What the journal calls a row of which one of the two may be on the wire.
REMOVING, INSERTING = "removing", "inserting"


class Step(Flight):
    """One call of a row's settling."""

    on_doubt: Callable[[], None] | None = None
    """Called when it is in doubt, once the row was said to be settled."""

    def doubt(self) -> None:
        """Have taken back what was said of the row."""
        super().doubt()
        if self.on_doubt is not None:
            self.on_doubt()


class Insertion(Step):
    """The way back onto the schedule: unless it left, the call is surely not there."""


class Result(msgspec.Struct, frozen=True, kw_only=True):
    """How a try to settle ended: ``succeeded``, ``failed`` and ``planned`` (not there, to be sent again) are certain.

    ``again``: an answer was lost; another quarantine, then another try. ``unknown``: it stays so, ``why`` says why.
    """

    status: str
    reply: Any = None
    error: UContactError | None = None
    attempts: int = 0
    why: str = ""


class Settler:
    """Settles one row at a time; the journal knows before anything leaves.

    A row that a crash leaves in any step is ``sent`` in the journal and so unknown to the next run, from the moment
    that opens it: after another quarantine it is settled from the start.
    """

    def __init__(
        self,
        terms: Terms,
        *,
        caller: Caller,
        journal: Journal,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        """``caller`` sends what is to be sent, and knows the server's time zone."""
        self.terms = terms
        self._caller = caller
        self._journal = journal
        self._now = now

    def wait(self, job: Job, at: int | None = None) -> float | str:
        """Return for how many seconds ``job`` is to be left alone, or why it cannot be settled.

        ``at`` is when it was lost, in Unix seconds; without it that was now.
        """
        request = job.request
        task = isinstance(request, DialerTask) and request.calldate is not None and not request.automatic
        if not isinstance(request, ScheduledCall) and not (task and self.terms.tasks):
            return "only scheduled calls can be removed and inserted again"
        seconds = self.terms.quarantine
        if at is not None:
            # The journal has whole seconds. A clock that was set back must not make it longer than a whole one.
            seconds = max(0.0, min(seconds, at + 1 + seconds - self._now().timestamp()))
        ahead = self._ahead(job)
        if ahead is None:
            return "the server's time zone is not known"
        if ahead < seconds:
            return (
                f"its calldate is too near: a quarantine of {self.terms.quarantine:g} s and a margin of "
                f"{self.terms.margin:g} s do not fit before it"
            )
        return seconds

    def _ahead(self, job: Job) -> float | None:
        """Return how many seconds are left for what must be done before the margin."""
        moment: datetime = job.request.calldate  # type: ignore[attr-defined]
        zone: tzinfo | None = self._caller.rules.zone
        if moment.tzinfo is None:
            if zone is None:
                return None
            moment = moment.replace(tzinfo=zone)
        return (moment.replace(microsecond=0) - self._now()).total_seconds() - self.terms.margin

    async def settle(self, job: Job, board: Callable[[Step], bool]) -> Result:
        """Remove the call of ``job`` and insert it again.

        ``board`` takes each flight before it begins, and says whether it may. A :class:`JournalError` means that
        nothing more was sent.
        """
        removed = await self._remove(job, board)
        if removed.status != "removed":
            return removed
        # From here on it is surely not there; what is not sent now is as if it had never been.
        flight = Insertion()
        ahead = self._ahead(job)
        if not board(flight) or ahead is None:
            return Result(status="planned")
        try:
            if ahead <= 0:
                raise NotSent("it was too late to insert it again; it is not on the schedule", transient=False)
            await self._journal.sent(job.id, INSERTING)
            # From now on: the journal may have been waited for.
            insert = msgspec.structs.replace(job.prepared, send_by=self._ahead(job))
            reply = await self._caller.perform(insert, flight, wait=None)
        except OutcomeUnknown as error:
            return Result(status="again", error=error, attempts=flight.attempts)
        except JournalError:
            raise
        except UContactError as error:
            return Result(status="failed", error=error, attempts=flight.attempts)
        return Result(status="succeeded", reply=reply, attempts=flight.attempts)

    async def _remove(self, job: Job, board: Callable[[Step], bool]) -> Result:
        if isinstance(wait := self.wait(job, at=0), str):
            return Result(status="unknown", why=wait)
        call: Any = job.request
        removal = self._caller.prepare(
            RemoveSchedule(
                campaign=call.campaign, destination=call.destination, since=call.calldate, until=call.calldate
            )
        )
        flight = Step()
        if not board(flight):
            return Result(status="unknown", why="the run was stopped")
        try:
            await self._journal.sent(job.id, REMOVING)
            # Sent once: of two tries the lost one may arrive when the call is back on the schedule.
            await self._caller.perform(msgspec.structs.replace(removal, safety=Safety.ONCE), flight, wait=None)
        except OutcomeUnknown as error:
            return Result(status="again", error=error, attempts=flight.attempts)
        except Rejected as error:
            if not self.terms.refuses_empty_removal:
                return Result(status="unknown", error=error, why=f"its removal was refused: {error}")
        except JournalError:
            raise
        except UContactError as error:
            return Result(status="unknown", error=error, why=f"its removal could not be sent: {error}")
        return Result(status="removed")
