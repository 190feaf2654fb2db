"""The flight of one row: its mark in the journal before the first byte, and the journal's last word at that moment."""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from ..endpoint import Flight, Safety
from .amendments import Amendments
from .clearance import Clearance
from .journal import DOUBTED, Journal
from .later import Later
from .outcome import DESYNC, Outcome, Status
from .preparing import Job
from .turns import is_removal

__all__ = ["RowFlight", "RunContext"]

# Up to Python 3.11 an attribute of an enum takes 900 instructions, a name of a module 50.
_ONCE = Safety.ONCE


class RunContext(msgspec.Struct, frozen=True, eq=False):
    """What the flights of all rows of a run ask; ``clearance`` is asked before the first byte too."""

    journal: Journal
    later: Later
    amendments: Amendments
    clearance: Clearance | None


class RowFlight(Flight):
    """Marks its row sent before the first byte: what may happen once only, and removals, which may arrive late."""

    blocked: Outcome | None = None
    """What became of the row when its clearance last refused its first byte."""

    outcome: Outcome | None = None
    """What the run said of the row."""

    armed: bool = False
    """Whether its mark is set, or being set."""

    def __init__(self, run: RunContext, job: Job) -> None:
        """Be the flight of ``job``."""
        self._run = run
        self._job = job
        journal = run.journal
        if journal.durable:
            self.arms = job.prepared.safety is _ONCE or is_removal(job.request)
        if journal.may_leave is not None or run.clearance is not None:
            self.may_leave = self._may_leave

    async def arm(self) -> None:
        """Mark the row."""
        if not self.armed:
            self.armed = True
            await self._run.journal.sent(self._job.id)

    def mark(self, tell: Callable[[Exception | None], None]) -> None:
        """Mark the row, and have it told once the mark is durable, or why it is not."""
        self.armed = True
        self._run.journal.mark(self._job.id, tell)

    def withdraw(self) -> None:
        """Take the mark back."""
        if self.armed:
            self.armed = False
            reason = self._run.later.mark(self._job, doubted=self.lost is not None)
            self._run.journal.planned(self._job.id, DOUBTED if self._job.doubted else reason)

    def doubt(self) -> None:
        """Take back what the run said of the row, or note that it cannot say anything."""
        super().doubt()
        if self.outcome is not None and self.outcome.status is not Status.UNKNOWN:
            self._run.amendments.add(self._job, self.outcome)
        elif self.outcome is None and self.arms and not self.armed:
            # It waits for another try, which must not come: not by this run and not by the next.
            self._run.journal.settled(self._job.id, Status.UNKNOWN, DESYNC, self.attempts, None)

    def _may_leave(self) -> bool:
        run = self._run
        if run.journal.may_leave is not None and not run.journal.may_leave():
            self.forbidden = True  # its row is as if it had never been read
            return False
        self.blocked = None if run.clearance is None else run.clearance.blocked(self._job)
        return self.blocked is None
