"""How many rows of a run may be under way: marked as sent, or about to be, and not answered yet.

What a crash can make unknown is what has a place here. It knows no rows.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable

__all__ = ["Places"]


class Places:
    """Places for rows under way, first come, first served; ``taken`` counts them."""

    def __init__(self, limit: Callable[[], int]) -> None:
        """``limit`` says how many places there are now, one at least."""
        self.taken = 0
        self.limit = limit
        self._waiting: deque[asyncio.Future[None]] = deque()

    def take(self) -> bool:
        """Take a place, to be given back by :meth:`leave`, if one is free: else :meth:`wait`."""
        if self._waiting or self.taken >= self.limit():
            return False
        self.taken += 1
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

    def leave(self) -> None:
        """Give a place back: to whoever has waited longest."""
        self.taken -= 1
        while self._waiting and self.taken < self.limit():
            told = self._waiting.popleft()
            if not told.done():
                self.taken += 1
                told.set_result(None)
