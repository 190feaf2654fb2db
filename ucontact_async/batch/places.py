"""How many rows of a run may be under way: marked as sent, or about to be, and not answered yet.

What a crash can make unknown is what has a place here. It knows no rows.
"""

from __future__ import annotations

import asyncio
from collections import deque

__all__ = ["Places"]


class Places:
    """Places for rows under way, first come, first served; ``number`` of them, which may change."""

    def __init__(self, number: int) -> None:
        """Have so many places, one at least."""
        self.number = number
        self._taken = 0
        self._waiting: deque[asyncio.Future[None]] = deque()

    def take(self) -> bool:
        """Take a place, to be given back by :meth:`leave`, if one is free: else :meth:`wait`."""
        if self._waiting or self._taken >= self.number:
            return False
        self._taken += 1
        return True

    async def wait(self) -> None:
        """Return with a place."""
        if self.take():
            return
        told: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append(told)
        try:
            await told
        except asyncio.CancelledError:
            if not told.cancelled():
                self.leave()  # it was handed over in the very turn that gave up waiting for it
            raise

    def keep(self) -> bool:
        """Keep a place for another row, or give it back to whoever waits, or if it is one too many; say which."""
        if not self._waiting and self._taken <= self.number:
            return True
        self.leave()
        return False

    def leave(self) -> None:
        """Give a place back: to whoever has waited longest."""
        self._taken -= 1
        while self._waiting and self._taken < self.number:
            told = self._waiting.popleft()
            if not told.done():
                self._taken += 1
                told.set_result(None)
