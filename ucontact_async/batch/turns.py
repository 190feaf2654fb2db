"""Who may go when calls of one destination must not overtake each other: removals and what they could remove.

A removal goes alone, in the order of the input. One whose answer was lost may still arrive: what is inserted for the
same destination waits until it cannot any more (``reliability.md`` 2.2, ``design.md`` section 5).
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Any

from ..api.dialers import RemoveContact, RemoveSchedule
from ..endpoint import Request
from ..text import dialled
from .agenda import ROOM, Agenda
from .journal import Journal
from .journal_removals import REMOVALS
from .journal_requests import read_request
from .preparing import Job

__all__ = ["Turns", "is_removal"]

_REMOVING = frozenset({RemoveContact, RemoveSchedule})
Destination = tuple[str, str]


def is_removal(request: Request[Any]) -> bool:
    """Return whether ``request`` takes calls off spool or schedule."""
    return type(request) in _REMOVING  # a request of a subclass is none; isinstance takes five times as long


def _destination(request: Any) -> Destination | None:
    campaign, number = getattr(request, "campaign", None), getattr(request, "destination", None)
    return None if campaign is None or number is None else (campaign, dialled(number))


class _Line:
    """The rows of one destination: how many are under way, whether that is a removal, and who waits."""

    __slots__ = ("alone", "running", "waiting")

    def __init__(self) -> None:
        self.running = 0
        self.alone = False
        self.waiting: deque[Job] = deque()

    def admits(self, job: Job) -> bool:
        return not self.running or not (self.alone or is_removal(job.request))


class Turns:
    """Says of each row whether it may go now; one that may not is put on the agenda when it may."""

    def __init__(self, agenda: Agenda[Job], quarantine: float, clock: Callable[[], float]) -> None:
        """``quarantine`` is how many seconds after its loss a request may still arrive."""
        self._agenda = agenda
        self._quarantine = quarantine
        self._clock = clock
        # Until the first removal nobody waits for anybody: then it is enough to know who is under way, by identity.
        self.orderly = False
        self._under_way: dict[int, Job] = {}
        self._lines: dict[Destination, _Line] = {}
        self._doubted: dict[Destination, float] = {}
        self._parked = 0
        self._left_line = asyncio.Event()

    async def recall(self, journal: Journal, seconds: float) -> None:
        """Learn from ``journal`` which removals of earlier runs may still arrive; ``seconds`` is the present, Unix."""
        for path, document, at in await journal.doubted(REMOVALS, int(seconds - self._quarantine) - 1):
            removal = read_request("the journal", path, document)
            # The journal has whole seconds; a clock that was set back must not make it longer than that.
            self._doubt(removal, min(self._quarantine, at + 1 + self._quarantine - seconds))

    def enter(self, job: Job) -> bool:
        """Return whether ``job`` may go now; whoever may, or will, is to :meth:`leave`."""
        if not self.orderly:
            if type(job.request) not in _REMOVING:
                self._under_way[id(job)] = job
                return True
            self._line_up()
        destination = _destination(job.request)
        if destination is None:
            return True
        line = self._lines.get(destination)
        if line is None:
            line = self._lines[destination] = _Line()
        if line.waiting or not line.admits(job):
            line.waiting.append(job)
            self._parked += 1
            return False
        return self._begin(line, destination, job)

    def hold(self, job: Job) -> None:
        """Have ``job`` count as under way: it was sent before this run."""
        self._line_up()
        self._count(job)

    def _line_up(self) -> None:
        """Keep the order of each destination from now on: whoever is under way without a line gets into it."""
        self.orderly = True
        for job in self._under_way.values():
            self._count(job)
        self._under_way.clear()

    def _count(self, job: Job) -> None:
        destination = _destination(job.request)
        if destination is not None:
            self._lines.setdefault(destination, _Line()).running += 1

    def leave(self, job: Job) -> None:
        """Note that ``job`` is done, and let the next ones go."""
        if not self.orderly:
            del self._under_way[id(job)]
            return
        destination = _destination(job.request)
        if destination is None:
            return
        line = self._lines[destination]
        line.running -= 1
        if is_removal(job.request):
            line.alone = False
        while line.waiting and line.admits(line.waiting[0]):
            following = line.waiting.popleft()
            self._parked -= 1
            self._left_line.set()
            if self._begin(line, destination, following):
                self._agenda.put(self._clock(), following)
        if not line.running:
            del self._lines[destination]

    def lost(self, job: Job) -> None:
        """Note that a try of ``job``, a removal, may still arrive."""
        self._doubt(job.request, self._quarantine)

    def delay(self, job: Job) -> float:
        """Return for how many seconds ``job``, under way, should not go on for a removal's sake."""
        destination = _destination(job.request)
        assert destination is not None
        return max(1.0 if self._lines[destination].alone else 0.0, self._left(destination))

    def in_doubt(self, job: Job) -> bool:
        """Return whether a removal of the destination of ``job`` may still arrive."""
        return bool(self._doubted) and self._left(_destination(job.request)) > 0

    async def room(self) -> None:
        """Return once not too many rows wait for another or for their time."""
        while self._parked >= ROOM:
            self._left_line.clear()
            await self._left_line.wait()
        await self._agenda.room()

    def clear(self) -> list[Job]:
        """Take out whoever waits for another, and return them."""
        waiting = [job for line in self._lines.values() for job in line.waiting]
        for line in self._lines.values():
            line.waiting.clear()
        self._parked = 0
        return waiting

    def _begin(self, line: _Line, destination: Destination, job: Job) -> bool:
        line.running += 1
        if is_removal(job.request):
            line.alone = True
        elif self._doubted and (seconds := self._left(destination)) > 0:
            self._agenda.put(self._clock() + seconds, job)
            return False
        return True

    def _doubt(self, removal: Request[Any], seconds: float) -> None:
        self._line_up()
        destination = _destination(removal)
        assert destination is not None
        self._doubted[destination] = max(self._doubted.get(destination, 0.0), self._clock() + seconds)

    def _left(self, destination: Destination | None) -> float:
        if destination not in self._doubted:
            return 0.0
        seconds = self._doubted[destination] - self._clock()
        if seconds <= 0:
            del self._doubted[destination]
        return seconds
