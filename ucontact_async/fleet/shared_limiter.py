"""A limiter that does only what it was granted, and only for as long as the grant lasts.

It knows moments on its own clock, and neither workers nor a database: who grants, and how much, is their business.
"""

from __future__ import annotations

import asyncio
import math
import random
import time
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Any, Literal
from weakref import WeakSet

from ..errors import NotSent
from ..limiter import Limiter, Priority
from ..pace import Pace

__all__ = ["SharedLimiter"]

# A gate that closes this many seconds later than everybody knows is no news.
_NEWS = 0.05


class SharedLimiter(Limiter):
    """At most what was granted, at first nothing; within it the limit that was chosen, or what the server does best.

    Without a grant nothing starts, and who waits for a slot is sent back to wait at the gate, unmarked. Of a bulk run
    no more rows may be marked and on the wire together than were granted, or were chosen: however many workers the
    run has, a crash makes no more rows unknown.
    """

    def __init__(
        self,
        max_concurrency: int | Literal["auto"] = "auto",
        *,
        most: int = 64,
        clock: Callable[[], float] = time.monotonic,
        chance: random.Random | None = None,
    ) -> None:
        """``most`` is how many requests this process has on the wire at most, whatever it is granted."""
        self.most = most
        self.listener: Callable[[float], None] | None = None
        """Told of the seconds for which the gate has closed because the server said that it was overloaded."""
        self.shareless = asyncio.Event()
        """Set while it was dealt nothing although its worker lives."""
        self._share = 0
        self._until = -math.inf
        self._granted: asyncio.Future[None] | None = None
        self._getting_ready: set[asyncio.Task[Any]] = set()
        self._known: WeakSet[asyncio.Task[Any]] = WeakSet()
        self._outside: deque[asyncio.Future[None]] = deque()
        self._lapse: asyncio.TimerHandle | None = None
        super().__init__(max_concurrency, cap=most, clock=clock, chance=chance)

    def grant(self, share: int, until: float, per_second: float | None = None) -> None:
        """Allow ``share`` requests on the wire and ``per_second`` starts, none of them at ``until`` or after.

        ``until`` is a moment on the limiter's clock. What is on the wire stays there: see :attr:`in_use`.
        """
        self._share, self._until = min(share, self.most), until
        if per_second is None or per_second > 0:
            self._pace.per_second = per_second
        else:
            self._share = 0
        if self._share < 1 and self._clock() < until:
            self.shareless.set()
        else:
            self.shareless.clear()
        if self._lapse is not None:
            self._lapse.cancel()
            self._lapse = None
        if self.void:
            self._turn_away()
            return
        # The limiter itself asks the clock; this is for those who wait already.
        self._lapse = asyncio.get_running_loop().call_later(until - self._clock(), self._turn_away)
        self._adaptive.bound(self._share, self._clock())
        self._fit()
        if self._granted is not None:
            self._granted.set_result(None)
            self._granted = None
        self._let_in(len(self._outside))

    @property
    def void(self) -> bool:
        """Whether nothing may start: nothing was granted, or the grant is over."""
        return self._share < 1 or self._clock() >= self._until

    @property
    def until(self) -> float:
        """The moment from which on nothing may start, on the limiter's clock."""
        return self._until if self._share else -math.inf

    @property
    def in_use(self) -> int:
        """How many may be on the wire until another grant: what is there, or what is allowed if that is more."""
        return max(self._in_flight, 0 if self.void else self._share)

    @property
    def in_flight(self) -> int:
        """How many are on the wire."""
        return self._in_flight

    @property
    def closed(self) -> bool:
        """Whether nobody may start: there is no grant, or the gate is closed."""
        return self.void or super().closed

    def widen(self, wanted: int | Literal["auto"]) -> int:
        """Return how many workers a run may have: as many as it could be granted, for a grant changes all the time."""
        super().widen(wanted)
        return min(self.most, self._chosen or self.most if wanted == "auto" else wanted)

    def start(self) -> bool:
        """Take a slot at once if there is a grant and nothing stands in the way."""
        return not self.void and super().start()

    async def turn(
        self,
        wait: float | None = None,
        *,
        priority: Priority = "interactive",
        harmless: bool = False,
        probe: Callable[[], Awaitable[bool]] | None = None,
    ) -> None:
        """Wait for a grant too, whatever it is for; ``NotSent`` if all takes more than ``wait`` seconds."""
        patience = None if wait is None else self._clock() + wait
        while True:
            await self.granted(patience)
            if priority == "bulk":
                await self._room()
            left = None if patience is None else max(0.0, patience - self._clock())
            await super().turn(left, priority=priority, harmless=harmless, probe=probe)
            if not self.void:
                return

    async def _room(self) -> None:
        """Wait until one more row may get ready, unless the grant ends before."""
        task = asyncio.current_task()
        assert task is not None
        self._getting_ready.discard(task)
        while not self.void and self._in_flight + len(self._getting_ready) >= self._most_ready:
            room: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._outside.append(room)
            try:
                await room
            except BaseException:
                self._let_in()
                raise
        if not self.void and task not in self._getting_ready:
            self._getting_ready.add(task)
            if task not in self._known:
                # Whoever fails before it asks for a slot, and is not seen here again, must not count for ever.
                self._known.add(task)
                task.add_done_callback(self._is_ready)

    @property
    def _most_ready(self) -> int:
        # A limit that is being found out is about the wire, and is found out by keeping it in use.
        return self._share if self._learning else min(self._share, self.limit)

    def _is_ready(self, task: asyncio.Task[Any] | None) -> None:
        if task in self._getting_ready:
            self._getting_ready.discard(task)
            self._let_in()

    def _let_in(self, most: int = 1) -> None:
        while most and self._outside:
            room = self._outside.popleft()
            if not room.done():
                room.set_result(None)
                most -= 1

    async def granted(self, until: float | None = None) -> None:
        """Return once something may start; ``NotSent`` if that takes longer than ``until``, on the limiter's clock."""
        while self.void:
            if self._granted is None:
                self._granted = asyncio.get_running_loop().create_future()
            left = None if until is None else max(0.0, until - self._clock())
            if not (await asyncio.wait([self._granted], timeout=left))[0]:
                raise NotSent("the fleet had no share for it within the time to wait", transient=False)

    async def acquire(
        self,
        priority: Priority = "interactive",
        wait: float | None = None,
        pace: Pace | None = None,
        *,
        harmless: bool = False,
    ) -> bool:
        """Take a slot; ``False`` where there is no grant, or none any more, as where the gate has closed."""
        try:
            return not self.void and await super().acquire(priority, wait, pace, harmless=harmless)
        finally:
            self._is_ready(asyncio.current_task())

    def release(self, seconds: float | None = None) -> None:
        """Give a slot back; the next row may get ready."""
        super().release(seconds)
        self._let_in()

    def _turn_away(self) -> None:
        super()._turn_away()
        self._let_in(len(self._outside))

    def _wake(self) -> None:
        if not self.void:
            self.limit = min(self.limit, self._share)
            super()._wake()

    def overloaded(self, retry_after: float | None = None, *, reached: bool = True, refused: bool = True) -> None:
        """Close the gate, and tell the listener if the server itself asked for it."""
        before = max(self._opens_at, self._clock())
        super().overloaded(retry_after, reached=reached, refused=refused)
        if self.listener is not None and reached and refused and self._opens_at > before + _NEWS:
            self.listener(self._opens_at - self._clock())

    def overloaded_elsewhere(self, seconds: float) -> None:
        """Close the gate for ``seconds`` because another worker was told so; nobody is told of it again."""
        if seconds > self._opens_at - self._clock() + _NEWS:
            super().overloaded(seconds)
