"""Calls of which some are removed again, and what rang: the only way to see whether a removal removes.

The removed ones come first: a dialer that is late is late for all, so that a later call that rang says that an
earlier one should have.
"""

from __future__ import annotations

import base64
import os
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any, Literal

import msgspec

from ..api.dialers import Dialers, DialerTask, RemoveSchedule, ScheduledCall
from ..api.recordings import FindRecordings, Recording, RecordingCalls
from ..errors import UContactError
from ..text import dialled
from .server import CloseServer

__all__ = ["Ring", "Rings", "Verdict"]

EARLY = timedelta(seconds=5)


class Ring(msgspec.Struct):
    """One call: a scheduled one or a dialer task, removed again or not; how many records there are of its time."""

    kind: Literal["call", "task"]
    removed: bool
    at: datetime
    planted: bool = False
    taken_off: bool = False
    records: int = 0


class Verdict(msgspec.Struct, frozen=True):
    """What the rings say: whether removals cover each kind, and whether records tell form data; ``None``: nothing."""

    calls: bool | None
    tasks: bool | None
    data: bool | None
    why: str


class Rings:
    """Four calls to one number, ``spacing`` seconds apart, the first at ``first`` by the server's clock."""

    def __init__(self, server: CloseServer, *, campaign: str, number: str, first: datetime, spacing: float) -> None:
        """Nothing is planted before :meth:`plant`."""
        self._server = server
        self._campaign = campaign
        self._number = number
        self._mark = base64.b32encode(os.urandom(10)).decode().lower()
        steps = (("call", True), ("task", True), ("call", False), ("task", False))
        self.rings = [
            Ring(kind, removed, first.replace(microsecond=0) + timedelta(seconds=spacing * step))  # type: ignore[arg-type]
            for step, (kind, removed) in enumerate(steps)
        ]
        self.end = self.rings[-1].at + timedelta(seconds=spacing)

    async def plant(self) -> None:
        """Insert all four and remove two of them, each by its very second."""
        for ring in self.rings:
            ring.planted = await self._done(self._insert(ring))
        for ring in self.rings:
            if ring.removed and ring.planted:
                ring.taken_off = await self._done((Dialers.remove_schedule, self._removal(ring.at, ring.at)))

    @property
    def removal(self) -> RemoveSchedule:
        """What takes off whatever may still be there."""
        return self._removal(self.rings[0].at - timedelta(seconds=1), self.end)

    async def look(self) -> Verdict:
        """Return what the records of calls say; to be asked after :attr:`end`."""
        found = await self._records()
        known = [record for record in found if record.calldate is not None]
        ends = [ring.at - EARLY for ring in self.rings[1:]] + [self.end + timedelta(hours=1)]
        for ring, end in zip(self.rings, ends, strict=True):
            times = [record.calldate for record in known if record.calldate is not None]
            ring.records = sum(ring.at - EARLY <= time < end for time in times)
        return self.judge(data=any(self._mark in str(record.extra) for record in found) if found else None)

    def judge(self, *, data: bool | None = None) -> Verdict:
        """Return what the counted records say."""
        twice = any(ring.records > 1 for ring in self.rings)
        why = "; ".join(f"{_words(ring)}: {_rang(ring)}" for ring in self.rings)
        return Verdict(self._covers("call", twice=twice), self._covers("task", twice=twice), data, why)

    def _covers(self, kind: str, *, twice: bool) -> bool | None:
        removed, control = (ring for ring in self.rings if ring.kind == kind)
        if not (removed.taken_off and control.planted and control.records):
            return None
        if removed.records:
            return False
        # Two calls at one time: which of them was the removed one, nobody can tell.
        return None if twice else True

    async def _records(self) -> Sequence[Recording]:
        since = self.rings[0].at - timedelta(minutes=1)
        request = FindRecordings(
            since=since,
            until=self.end + timedelta(hours=1),
            destination=self._number,
            campaign=self._campaign,
            page=200,
        )
        found: Sequence[Recording] = await self._server.ask(RecordingCalls.find, request)
        number = dialled(self._number)
        return [record for record in found if dialled(record.destination) == number]

    def _insert(self, ring: Ring) -> tuple[Any, Any]:
        fields: dict[str, Any] = {
            "campaign": self._campaign,
            "destination": self._number,
            "calldate": ring.at,
            "data": {"probe": self._mark},
        }
        if ring.kind == "call":
            return Dialers.schedule, ScheduledCall(**fields)
        return Dialers.task, DialerTask.scheduled(**fields)

    def _removal(self, since: datetime, until: datetime) -> RemoveSchedule:
        return RemoveSchedule(campaign=self._campaign, destination=self._number, since=since, until=until)

    async def _done(self, call: tuple[Any, Any]) -> bool:
        try:
            await self._server.ask(*call)
        except UContactError:
            return False
        return True


def _words(ring: Ring) -> str:
    return f"{'removed ' if ring.removed else ''}{'call' if ring.kind == 'call' else 'task'}"


def _rang(ring: Ring) -> str:
    if not ring.planted:
        return "could not be inserted"
    if ring.removed and not ring.taken_off:
        return "could not be removed"
    return "rang" if ring.records else "did not ring"
