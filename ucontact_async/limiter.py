"""How many at once, how fast, who first, and when to stop everything.

One limiter may serve many clients and be changed while they run. It knows no requests and no answers: it is told
of overload and counts what is on the wire.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Literal

import msgspec

from .errors import NotSent, SettingsError

__all__ = ["Limiter", "LimiterStats", "Priority"]

Priority = Literal["interactive", "bulk"]

# A modest number until the limiter finds its own: what a queue at the server holds becomes unknown when it slows.
AUTO = 16


class LimiterStats(msgspec.Struct, frozen=True):
    """A look at a limiter: requests on the wire, waiting for a slot, the limit, and seconds until the gate opens."""

    in_flight: int
    waiting: int
    max_concurrency: int
    gate_seconds: float


class Limiter:
    """Bounds concurrency and pace, interactive calls first; a closed gate stops first attempts too."""

    def __init__(
        self,
        max_concurrency: int | Literal["auto"] = "auto",
        *,
        max_per_second: float | None = None,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        """``max_per_second`` paces strictly: starts are at least ``1 / max_per_second`` seconds apart."""
        self._auto = max_concurrency == "auto"
        self._wanted: list[int] = []
        self._limit = _checked_limit(max_concurrency)
        self._rate = _checked_rate(max_per_second)
        self._clock = clock
        self._sleep = sleep
        self._in_flight = 0
        self._waiting: dict[Priority, deque[asyncio.Future[None]]] = {"interactive": deque(), "bulk": deque()}
        self._opens_at = clock()
        self._overloads = 0
        self._unreached_since: float | None = None
        self._last_start = -math.inf

    @property
    def max_concurrency(self) -> int:
        """How many requests may be on the wire; may be set while running."""
        return self._limit

    @max_concurrency.setter
    def max_concurrency(self, value: int | Literal["auto"]) -> None:
        self._limit = _checked_limit(value)
        self._auto = value == "auto"
        self._fit()
        self._wake()

    def widen(self, wanted: int | Literal["auto"]) -> int:
        """Return how many workers a run may have: ``wanted``, within the limit unless that was left to us."""
        if wanted == "auto":
            return self._limit
        wanted = _checked_limit(wanted)
        self._wanted.append(wanted)
        self._fit()
        return min(wanted, self._limit)

    def narrow(self, wanted: int | Literal["auto"]) -> None:
        """Take back one :meth:`widen`; what other runs asked for stays."""
        if wanted != "auto":
            self._wanted.remove(wanted)
            self._fit()

    def _fit(self) -> None:
        if self._auto:
            self._limit = max(AUTO, *self._wanted, 0)
            self._wake()

    @property
    def max_per_second(self) -> float | None:
        """How many requests may start in a second; ``None`` for no limit; may be set while running."""
        return self._rate

    @max_per_second.setter
    def max_per_second(self, value: float | None) -> None:
        self._rate = _checked_rate(value)

    @property
    def stats(self) -> LimiterStats:
        """Return what is going on now."""
        waiting = sum(len(queue) for queue in self._waiting.values())
        return LimiterStats(self._in_flight, waiting, self._limit, max(0.0, self._opens_at - self._clock()))

    @property
    def closed(self) -> bool:
        """Whether the gate is closed."""
        return self._opens_at > self._clock()

    def overloaded(self, retry_after: float | None = None, *, reached: bool = True) -> None:
        """Close the gate for ``retry_after`` seconds, or for 0.1 s doubled with every sign in a row, at most 10 s.

        ``reached`` says whether the sign came from the server itself.
        """
        if reached:
            self._unreached_since = None
        elif self._unreached_since is None:
            self._unreached_since = self._clock()
        if retry_after is None and self.closed:
            return
        seconds = retry_after
        if seconds is None:
            seconds = min(0.1 * 2**self._overloads, 10.0)
            self._overloads = min(self._overloads + 1, 7)  # 0.1 * 2**7 is above 10; unbounded it overflows in hours
        self._opens_at = max(self._opens_at, self._clock() + seconds)

    def recovered(self) -> None:
        """Note that the server does what it is asked."""
        self._overloads = 0
        self._unreached_since = None

    @property
    def unreached_seconds(self) -> float:
        """For how long every attempt has failed to reach the server; 0 while it is reached."""
        return 0.0 if self._unreached_since is None else self._clock() - self._unreached_since

    async def turn(self, wait: float | None = None) -> None:
        """Wait until the gate is open and the pace allows a start; ``NotSent`` if that takes more than ``wait`` s."""
        patience = None if wait is None else self._clock() + wait
        while True:
            while self.closed:
                await self._until(self._opens_at, patience, "the server asked to slow down")
            if self._rate is None:
                return
            start = max(self._clock(), self._last_start + 1 / self._rate)
            # Taken before the wait: whoever comes meanwhile gets the next one.
            if patience is None or start <= patience:
                self._last_start = start
            await self._until(start, patience, "the rate limit leaves no room")
            # Whoever finds the gate closed takes a start of its own again: all would leave at once when it opens.
            if not self.closed:
                return

    async def _until(self, moment: float, patience: float | None, why: str) -> None:
        if patience is not None and moment > patience:
            raise NotSent(f"{why} within the time to wait", transient=False)
        if (seconds := moment - self._clock()) > 0:
            await self._sleep(seconds)

    async def acquire(self, priority: Priority = "interactive", wait: float | None = None) -> None:
        """Take a slot; whoever takes one gives it back with :meth:`release`."""
        if self._in_flight < self._limit:  # then nobody waits: a slot is handed over in the step that frees it
            self._in_flight += 1
            return
        queue = self._waiting[priority]
        waiter = asyncio.get_running_loop().create_future()
        queue.append(waiter)
        try:
            async with asyncio.timeout(wait):
                await waiter
        except BaseException as error:
            if waiter.done() and not waiter.cancelled():
                self.release()  # the slot was handed over in the very turn that gave up waiting for it
            elif waiter in queue:
                queue.remove(waiter)
            if isinstance(error, TimeoutError):
                raise NotSent("no slot became free within the time to wait", transient=False) from None
            raise

    def release(self) -> None:
        """Give a slot back; the next in line takes it at once."""
        self._in_flight -= 1
        self._wake()

    def _wake(self) -> None:
        for queue in (self._waiting["interactive"], self._waiting["bulk"]):
            while queue and self._in_flight < self._limit:
                waiter = queue.popleft()
                if not waiter.done():
                    self._in_flight += 1
                    waiter.set_result(None)


def _checked_limit(value: int | Literal["auto"]) -> int:
    if value == "auto":
        return AUTO
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise SettingsError(f"max_concurrency is 'auto' or a whole number from 1, not {value!r}")
    return value


def _checked_rate(value: float | None) -> float | None:
    if value is not None and not value > 0:
        raise SettingsError(f"max_per_second is greater than 0, not {value!r}")
    return value
