"""Rows that must wait for their time, a bounded number of them; whoever is free takes the next one that is due.

It does not know what they wait for.
"""

from __future__ import annotations

import asyncio
import heapq
import itertools
from collections.abc import Callable
from typing import Generic, TypeVar

__all__ = ["ROOM", "Agenda"]

T = TypeVar("T")

# How many rows may wait: about 2 kB each, and far more than a run that goes well leaves behind.
ROOM = 1_000
# A clock may be stopped or jump while we sleep.
_LONGEST = 60.0


class Agenda(Generic[T]):
    """A timetable; ``next`` hands a row out and ``finish`` says that nothing more will come of it."""

    def __init__(self, clock: Callable[[], float]) -> None:
        """``clock`` is in seconds; the moments given to :meth:`put` are on it."""
        self._clock = clock
        self._due: list[tuple[float, int, T]] = []
        self._order = itertools.count()
        self._busy = 0
        self._closed = False
        self._changed = asyncio.Event()
        self._taken = asyncio.Event()

    @property
    def full(self) -> bool:
        """Whether no more rows should be put in."""
        return len(self._due) >= ROOM

    def put(self, due: float, row: T) -> None:
        """Have ``row`` handed out at ``due`` or soon after."""
        heapq.heappush(self._due, (due, next(self._order), row))
        self._changed.set()

    async def room(self) -> None:
        """Return once there is room."""
        while self.full and not self._closed:
            self._taken.clear()
            await self._taken.wait()

    async def next(self) -> T | None:
        """Return a row whose time has come; ``None`` when all is done and nothing more can come."""
        while not (self._closed and not self._due and not self._busy):
            self._changed.clear()
            seconds = self._due[0][0] - self._clock() if self._due else None
            if seconds is not None and seconds <= 0:
                self._busy += 1
                self._taken.set()
                return heapq.heappop(self._due)[2]
            try:
                async with asyncio.timeout(None if seconds is None else min(seconds, _LONGEST)):
                    await self._changed.wait()
            except TimeoutError:
                continue
        return None

    def finish(self) -> None:
        """Note that a row that was handed out is done, or has been put in again."""
        self._busy -= 1
        self._changed.set()

    def close(self) -> None:
        """Nobody but those who work on rows handed out will put more in."""
        self._closed = True
        self._changed.set()
        self._taken.set()

    def clear(self) -> list[T]:
        """Take out what has not been handed out, and return it."""
        rows = [row for _, _, row in sorted(self._due)] if self._due else []
        self._due.clear()
        self._changed.set()
        self._taken.set()
        return rows
