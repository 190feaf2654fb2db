"""Clearance before the wire: whether a row may go now, by ``not_after`` and the rules of the dial.

It makes outcomes of what the rules say and tells them what became of a row; it knows no rule.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from datetime import datetime, timedelta, tzinfo
from typing import Any

import anyio.to_thread

from ..api.lists import ListFile
from ..endpoint import Request
from ..errors import SettingsError
from .intake import outcome_of
from .journal_calls import calls_since
from .later import Unsettled
from .options import BulkOptions
from .outcome import Outcome, Status
from .preparing import Job
from .rules.rules import CALLS, Check

__all__ = ["Clearance", "permit_of"]


Calls = Callable[[], Iterable[tuple[Request[Any], datetime]] | None]


class Clearance:
    """Asked of every row before anything is sent, after every wait, and in the step that writes its first byte."""

    def __init__(self, options: BulkOptions, calls: Calls, *, zone: tzinfo | None, now: Callable[[], datetime]) -> None:
        """``zone`` is the server's. Use :meth:`opened`."""
        self._options = options
        self._now = now
        self._check = None if options.rules is None else Check(options.rules, zone=zone, now=now)
        self._calls = calls
        self._reading = asyncio.Lock()

    @classmethod
    async def opened(
        cls, options: BulkOptions, calls: Calls, *, zone: tzinfo | None, now: Callable[[], datetime]
    ) -> Clearance | None:
        """Return the clearance of a run with ``options``, once lists and the calls that caps count are read.

        ``calls`` are those that its journal tells (:meth:`Journal.calls`), now and while it runs.
        ``None`` where nothing is to be asked. Raises :class:`SettingsError` or :class:`JournalError`.
        """
        if options.rules is None and options.not_after is None:
            return None
        clearance = cls(options, calls, zone=zone, now=now)
        if clearance._check is not None:
            await clearance._read(clearance._check)
            if clearance._check.rules.caps:
                await anyio.to_thread.run_sync(clearance._count, clearance._check)
        return clearance

    async def blocks(self, job: Job) -> Outcome | None:
        """Return the outcome of ``job`` if it may not go now; what a cap lets pass is booked."""
        try:
            check = await self.refreshed()
        except SettingsError as error:
            return _left_out(job, "blocked: do not call", str(error))
        if check is not None and isinstance(job.request, ListFile):
            await anyio.to_thread.run_sync(check.judged, job.request)
        return self.blocked(job)

    async def refreshed(self) -> Check | None:
        """Return the rules, once lists that changed are read again; raises :class:`SettingsError`."""
        if self._check is not None and self._check.stale:
            await self._read(self._check)
        return self._check

    def blocked(self, job: Job) -> Outcome | None:
        """Return the same without waiting."""
        limit = self._options.not_after
        moment = limit(job.request) if callable(limit) else limit
        if moment is not None and self._now() > moment:
            why = f"it was not to be sent after {moment}"
            return _left_out(job, "expired", why)
        if self._check is None:
            return None
        if self._check.rules.caps:
            self._count_told(self._check)
        cells = {} if job.row is None else job.row.fields
        # An unknown call that is to be settled is one of those that were booked when it was sent.
        counted = isinstance(job, Unsettled)
        block = self._check.blocked(job.index, job.request, cells, counted=counted)
        if block is None:
            return None
        return _left_out(job, f"blocked: {block.rule}", block.detail)

    def ended(self, job: Job, status: Status) -> None:
        """Note how ``job`` ended: what surely did not happen counts for no cap."""
        if self._check is not None:
            if status in (Status.SUCCEEDED, Status.UNKNOWN):
                self._check.keep(job.index)
            else:
                self._check.release(job.index)

    async def _read(self, check: Check) -> None:
        async with self._reading:
            if check.stale:
                await anyio.to_thread.run_sync(check.read)

    def _count_told(self, check: Check) -> bool:
        """Count what the journal tells, and say whether it tells anything."""
        told = self._calls()
        for request, sent in told or ():
            check.count(request, sent)
        return told is not None

    def _count(self, check: Check) -> None:
        journal, others = self._options.journal, check.rules.journals
        if not self._count_told(check) and journal is None and not others:
            raise SettingsError("a cap is answered from the journal: give journal=, or journals= of other runs")
        since = self._now() - timedelta(hours=max(cap.hours for cap in check.rules.caps))
        own = [] if journal is None or not journal.exists() else [journal]
        for path in dict.fromkeys(path.resolve() for path in (*own, *others)):
            for request, sent in calls_since(path, since):
                if isinstance(request, CALLS):
                    check.count(request, sent)


def permit_of(clearance: Clearance, job: Job) -> Callable[[], bool]:
    """Return what the flight of ``job`` is to ask before its first byte leaves."""
    return lambda: clearance.blocked(job) is None


def _left_out(job: Job, reason: str, detail: str) -> Outcome:
    # What this run leaves out an earlier one may have done.
    return outcome_of(job, Status.UNKNOWN if job.doubted else Status.SKIPPED, reason=reason, detail=detail)
