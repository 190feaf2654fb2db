"""Outcomes on their way to the consumer; a consumer that stops reading stops the input."""

from __future__ import annotations

import asyncio
import heapq
from collections import deque

from .outcome import Outcome

__all__ = ["Outbox"]

# How many outcomes may wait for the consumer before the input is read further.
ROOM = 256


class Outbox:
    """A bounded queue of outcomes, in the order they come or in that of the input."""

    def __init__(self, *, ordered: bool) -> None:
        self._ready: deque[Outcome] = deque()
        self._held: list[tuple[int, bool, Outcome]] | None = [] if ordered else None
        self._due = 0
        self._waiting: asyncio.Future[None] | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._taken = asyncio.Event()
        self.closed = False

    def put(self, outcomes: list[Outcome]) -> None:
        """Take outcomes in; never waits."""
        if self._held is None:
            self._ready.extend(outcomes)
        else:
            for outcome in outcomes:
                heapq.heappush(self._held, (outcome.index, outcome.amends is not None, outcome))
            while self._held and self._held[0][0] <= self._due:
                _, amends, outcome = heapq.heappop(self._held)
                self._ready.append(outcome)
                self._due += not amends
        if self._waiting is not None and self._ready:
            self._wake()

    async def take(self) -> list[Outcome] | None:
        """Return what has arrived, or ``None`` at the end."""
        while not self._ready:
            if self.closed:
                return None
            if self._loop is None:
                self._loop = asyncio.get_running_loop()
            waiting = self._waiting = self._loop.create_future()
            await waiting
        outcomes = list(self._ready)
        self._ready.clear()
        self._taken.set()
        return outcomes

    async def room(self) -> None:
        """Return once the consumer is not too far behind."""
        while len(self._ready) >= ROOM and not self.closed:
            self._taken.clear()
            await self._taken.wait()

    def close(self) -> None:
        """Let the consumer come to the end."""
        if self._held:  # rows that were never read leave gaps in the order
            self._ready.extend(outcome for _, _, outcome in sorted(self._held, key=lambda held: held[:2]))
            self._held = []
        self.closed = True
        self._wake()
        self._taken.set()

    def _wake(self) -> None:
        waiting, self._waiting = self._waiting, None
        if waiting is not None and not waiting.done():
            waiting.set_result(None)
