"""A read repeated at intervals, as an asynchronous iterator: :class:`Watch`.

It decides when to read again and what to say while the server cannot be read. It knows no endpoint: what is read is
given, and so are clock, sleep and chance.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from random import Random
from typing import Generic, Self, TypeVar

import msgspec

from ..errors import InvalidRequest, SettingsError, Throttled, UContactError, Unauthorized

__all__ = ["Snapshot", "Watch"]

T = TypeVar("T")

# Many boards that were started at once shall not ask at once for ever.
JITTER = 0.1
# The longest pause after failures, unless the interval itself is longer.
CAP = 60.0


class Snapshot(msgspec.Struct, Generic[T], frozen=True, kw_only=True):
    """What a watch knows at one moment.

    ``data`` is what the server said last, empty while it never answered; ``at`` is when that was (UTC, our clock),
    ``age`` how many seconds ago. ``error`` is why this round could not read anything newer.
    """

    data: T
    at: datetime | None
    age: float
    error: UContactError | None = None

    @property
    def stale(self) -> bool:
        """Whether ``data`` is from an earlier round, because this one failed."""
        return self.error is not None


class Watch(Generic[T]):
    """Reads at intervals for ever: ``async for snapshot in watch``.

    Every round yields one :class:`Snapshot`. The next one begins ``every`` seconds, a tenth more or less, after the
    answer to the last, so reads never overlap and a slow server or consumer is not asked more often. A round that
    fails yields the last data marked stale; the pause then doubles with every failure, up to a minute, and is a minute
    at once where user and password (or the token) are refused. Only what no repetition can mend is raised. Leaving
    the loop leaves nothing behind; :meth:`aclose`, also called when the client closes, ends the loop from outside.
    """

    def __init__(
        self,
        read: Callable[[], Awaitable[T]],
        *,
        empty: T,
        every: float,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        chance: Random | None = None,
    ) -> None:
        """Have ``read`` called; ``empty`` is the data of snapshots before its first success."""
        if not (every > 0 and math.isfinite(every)):
            raise SettingsError(f"every is seconds, greater than 0, not {every!r}")
        self._read = read
        self._every = float(every)
        self._clock = clock
        self._sleep = sleep
        self._chance = chance or Random()  # noqa: S311  spreads reads, guards nothing
        self._data = empty
        self._at: datetime | None = None
        self._read_at = -math.inf
        self._due = -math.inf
        self._failures = 0
        self._closed = False
        self._scope: asyncio.Timeout | None = None
        self._idle = asyncio.Event()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Snapshot[T]:
        """Wait for the next round and return what it found."""
        if self._closed:
            raise StopAsyncIteration
        if self._scope is not None:
            raise RuntimeError("two tasks wait for one watch; give each a watch of its own")
        self._idle.clear()
        try:
            async with asyncio.timeout(None) as self._scope:  # a way for aclose to end what waits here
                return await self._round()
        except TimeoutError:
            if not self._closed:
                raise
            raise StopAsyncIteration from None
        finally:
            self._scope = None
            self._idle.set()

    async def aclose(self) -> None:
        """End the iteration, wherever it is; return when nothing of it is on the wire any more."""
        if not self._closed:
            self._closed = True
            if self._scope is not None:
                self._scope.reschedule(asyncio.get_running_loop().time())
        if self._scope is not None:
            await self._idle.wait()

    async def _round(self) -> Snapshot[T]:
        if (pause := self._due - self._clock()) > 0:
            await self._sleep(pause)
        try:
            data = await self._read()
        except (SettingsError, InvalidRequest):
            self._closed = True
            raise
        except UContactError as error:
            self._failures += 1
            now = self._clock()
            self._due = now + self._pause(error)
            return Snapshot(data=self._data, at=self._at, age=now - self._read_at, error=error)
        self._failures = 0
        self._data, self._at, self._read_at = data, datetime.now(UTC), self._clock()
        self._due = self._read_at + self._jittered(self._every)
        return Snapshot(data=data, at=self._at, age=0.0)

    def _pause(self, error: UContactError) -> float:
        longest = max(self._every, CAP)
        if isinstance(error, Unauthorized):
            return self._jittered(longest)  # an account that is tried every second may be locked
        seconds = self._jittered(min(self._every * 2.0 ** min(self._failures, 32), longest))
        if isinstance(error, Throttled) and error.retry_after is not None:
            return max(seconds, error.retry_after)
        return seconds

    def _jittered(self, seconds: float) -> float:
        return seconds * self._chance.uniform(1 - JITTER, 1 + JITTER)
