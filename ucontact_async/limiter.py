"""How many at once, how fast, who first, and when to stop everything.

One limiter may serve many clients and be changed while they run. It knows no requests and no answers: it is told
of overload and how long answers took, and counts what is on the wire.
"""

from __future__ import annotations

import asyncio
import math
import random
import time
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Literal

import msgspec

from .adaptive import CAP, AdaptiveLimit, LimitPhase
from .errors import NotSent, SettingsError
from .events import EventBus, GateClosed, GateOpened, GateState
from .pace import Pace

__all__ = ["Limiter", "LimiterStats", "Priority"]

Priority = Literal["interactive", "bulk"]

# Of so many slots in a row that both kinds wait for, the last goes to a bulk run: no flood of calls starves it.
SHARE = 5
# A gate that closes by itself: at most so many seconds, doubled with every sign in a row (reliability.md 1.3).
SHORTEST, LONGEST = 0.1, 10.0
# After so many seconds without a request a limit that was found is forgotten: it is found again in less than one.
IDLE = 60.0
# Moments closer than this are the same: a timer may wake whoever waits that much too early.
SAME = 1e-9


class LimiterStats(msgspec.Struct, frozen=True):
    """A look at a limiter.

    ``in_flight`` requests are on the wire and ``waiting`` wait for a slot; at most ``max_concurrency`` may be on the
    wire. ``gate_seconds`` are left until the gate may open, and ``gate`` is ``probing`` while one read finds out
    whether it does. ``phase`` is ``fixed`` where the limit was chosen by somebody; of a limit that was not, ``start``
    until it has found the server's knee, then ``steady``, and ``probe`` while it measures the latency without a queue
    anew. ``base_latency``, in seconds, is that latency and ``rate`` the answers a second of the last window, ``None``
    before the first one was over.
    """

    in_flight: int
    waiting: int
    max_concurrency: int
    gate_seconds: float
    gate: GateState
    phase: LimitPhase
    base_latency: float | None
    rate: float | None


class _Waiter(msgspec.Struct, frozen=True, eq=False):
    """Somebody who wants a slot: told ``True`` when it has one, ``False`` when the gate has closed."""

    told: asyncio.Future[bool]
    pace: Pace | None
    counted: tuple[Pace, ...]


class Limiter:
    """Bounds concurrency and pace, interactive calls first; a closed gate stops first attempts too."""

    limit: int  # what max_concurrency reads, for whoever asks for each row; not to be set

    def __init__(
        self,
        max_concurrency: int | Literal["auto"] = "auto",
        *,
        max_per_second: float | None = None,
        cap: int = CAP,
        clock: Callable[[], float] = time.monotonic,
        chance: random.Random | None = None,
    ) -> None:
        """With ``"auto"`` the limiter finds out how many requests the server does best with, ``cap`` at most.

        ``max_per_second`` paces strictly: starts are at least ``1 / max_per_second`` seconds apart. ``clock`` runs as
        the event loop's does; ``chance`` spreads the times for which the gate closes.
        """
        self._adaptive = AdaptiveLimit(_checked(cap, "cap"), clock())
        self._chosen = _checked_limit(max_concurrency)
        self._wanted: list[int] = []
        self._pace = Pace(max_per_second, clock=clock)
        self._clock = clock
        self._chance = chance or random.Random()  # noqa: S311  spreads waits, guards nothing
        self._in_flight = 0
        self.ready = 0  # how many are made durable, to start then: kept by whoever starts them
        self._idle_since = clock()
        self._interactive: deque[_Waiter] = deque()
        self._bulk: deque[_Waiter] = deque()
        self._passed = 0
        self.events = EventBus()
        self._alarm: asyncio.TimerHandle | None = None
        self._closed = False
        self._opens_at = clock()
        self._probing: asyncio.Future[None] | None = None
        self._overloads = 0
        self._unreached_since: float | None = None
        self._unanswered_since: float | None = None
        self._fit()

    @property
    def max_concurrency(self) -> int:
        """How many requests may be on the wire now; may be set while running, ``"auto"`` included."""
        return self.limit

    @max_concurrency.setter
    def max_concurrency(self, value: int | Literal["auto"]) -> None:
        self._chosen = _checked_limit(value)
        self._fit()

    def widen(self, wanted: int | Literal["auto"]) -> int:
        """Return how many workers a run may have: ``wanted``, within the limit unless that was left to us."""
        if wanted == "auto":
            return self.limit if self._chosen is not None else max(self._adaptive.cap, *self._wanted, 0)
        self._wanted.append(_checked(wanted, "max_concurrency"))
        self._fit()
        return min(wanted, self.limit)

    def narrow(self, wanted: int | Literal["auto"]) -> None:
        """Take back one :meth:`widen`; what other runs asked for stays."""
        if wanted != "auto":
            self._wanted.remove(wanted)
            self._fit()

    def _fit(self) -> None:
        """Put in force what was chosen, or what a run asked for, or else what the server does best with."""
        self._learning = self._chosen is None and not self._wanted
        if self._learning:
            self.limit = self._adaptive.limit
        else:
            self.limit = self._chosen or max(self._adaptive.limit, *self._wanted)
            self._adaptive.pause(self._clock())
        self._wake()

    @property
    def max_per_second(self) -> float | None:
        """How many requests may start in a second; ``None`` for no limit; may be set while running."""
        return self._pace.per_second

    @max_per_second.setter
    def max_per_second(self, value: float | None) -> None:
        self._pace.per_second = value
        self._wake()

    @property
    def stats(self) -> LimiterStats:
        """Return what is going on now."""
        learnt = self._adaptive
        return LimiterStats(
            in_flight=self._in_flight,
            waiting=len(self._interactive) + len(self._bulk),
            max_concurrency=self.limit,
            gate_seconds=max(0.0, self._opens_at - self._clock()),
            gate="open" if not self.closed else "probing" if self._probing is not None else "closed",
            phase=learnt.phase if self._learning else "fixed",
            base_latency=learnt.base_latency,
            rate=learnt.rate,
        )

    @property
    def closed(self) -> bool:
        """Whether nobody may start: the server was overloaded, and nobody has found yet that this is over."""
        return self._closed

    def overloaded(self, retry_after: float | None = None, *, reached: bool = True, refused: bool = True) -> None:
        """Close the gate for ``retry_after`` seconds, or for a random time that grows with every sign in a row.

        That is at most 0.1 s, then 0.2 s and so on up to 10 s. ``reached`` says whether the server was reached at all,
        ``refused`` whether it said so itself, which an answer that is overdue does not. A limit that was not chosen by
        anybody is lowered too.
        """
        now = self._clock()
        if reached:
            self._unreached_since = None
        elif self._unreached_since is None:
            self._unreached_since = now
        if self._learning:
            self._adaptive.cut(now, refused=reached and refused)
            self.limit = self._adaptive.limit
        if retry_after is None:
            if self._opens_at > now:
                return
            retry_after = self._chance.uniform(0.0, min(SHORTEST * 2**self._overloads, LONGEST))
            self._overloads = min(self._overloads + 1, 7)  # 0.1 * 2**7 is above 10; unbounded it overflows in hours
        if not self._closed:
            self.events.publish(GateClosed(seconds=retry_after, reached=reached))
        self._closed = True
        self._opens_at = max(self._opens_at, now + retry_after)
        self._turn_away()

    def _turn_away(self) -> None:
        """Tell all who wait for a slot that there is none now."""
        for queue in (self._interactive, self._bulk):
            while queue:
                self._tell(queue.popleft(), slot=False)

    def recovered(self) -> None:
        """Note that the server does what it is asked."""
        self._overloads, self._unreached_since = 0, None

    @property
    def unreached(self) -> bool:
        """Whether the last attempt did not reach the server at all."""
        return self._unreached_since is not None

    @property
    def unreached_seconds(self) -> float:
        """For how long every attempt has failed to reach the server, or every probe; 0 while one does not."""
        since = [moment for moment in (self._unreached_since, self._unanswered_since) if moment is not None]
        return self._clock() - min(since) if since else 0.0

    async def turn(
        self,
        wait: float | None = None,
        *,
        priority: Priority = "interactive",
        harmless: bool = False,
        probe: Callable[[], Awaitable[bool]] | None = None,
    ) -> None:
        """Wait until the gate is open, a bulk run also until a start is near.

        Once the gate's time is over, what is ``harmless`` may pass, a read above all; for all others one of them opens
        it by ``probe``, which asks the server for something harmless and says whether it answered. Without one it opens
        by itself. ``NotSent`` if the gate takes more than ``wait`` seconds.
        """
        patience = None if wait is None else self._clock() + wait
        while True:
            while self._closed and not (harmless and self._opens_at <= self._clock() + SAME):
                await self._pass(patience, probe)
            if priority == "interactive" or self._pace.per_second is None:
                return
            await self._pace.turn()
            if not self._closed or harmless:
                return

    async def _pass(self, patience: float | None, probe: Callable[[], Awaitable[bool]] | None) -> None:
        """Wait for the next thing that happens to the gate, or make it happen."""
        now = self._clock()
        if self._opens_at > now + SAME:
            if patience is not None and self._opens_at > patience + SAME:
                raise _too_long("the server asked to slow down")
            await asyncio.sleep(self._opens_at - now)
        elif self._probing is not None:
            left = None if patience is None else max(0.0, patience - now)
            if not (await asyncio.wait([self._probing], timeout=left))[0]:
                raise _too_long("the server did not recover")
        elif probe is None:
            self._open()
        else:
            await self._find_out(probe)

    async def _find_out(self, probe: Callable[[], Awaitable[bool]]) -> None:
        probing = self._probing = asyncio.get_running_loop().create_future()
        try:
            answered = await probe()
        finally:
            self._probing = None
            probing.set_result(None)
        if answered:
            self._open()
            self._unreached_since = self._unanswered_since = None
            return
        if self._unanswered_since is None:
            self._unanswered_since = self._clock()
        if self._opens_at <= self._clock():
            self.overloaded(refused=False)

    def _open(self) -> None:
        self._closed = False
        self.events.publish(GateOpened())

    def unhindered(self) -> bool:
        """Whether who starts now takes the place of nobody, and has only to find a slot free."""
        return not (self._closed or self._interactive or self._bulk or self._pace.interval)

    def start(self) -> bool:
        """Take a slot at once if nothing stands in the way; ``False`` says to wait by :meth:`turn` and acquire."""
        # As in unhindered(); its call would be a third of this.
        if self._closed or self._interactive or self._bulk or self._pace.interval:
            return False
        if not self._in_flight and self._learning and self._clock() - self._idle_since > IDLE:
            self._adaptive.restart(self._clock())
            self.limit = self._adaptive.limit
        if self._in_flight >= self.limit:
            return False
        self._in_flight += 1
        return True

    async def acquire(
        self,
        priority: Priority = "interactive",
        wait: float | None = None,
        pace: Pace | None = None,
        *,
        harmless: bool = False,
    ) -> bool:
        """Take a slot at the moment of the start, which keeps to ``pace`` too if one is given.

        ``False`` says that the gate has closed, which what is ``harmless`` is spared: there is no slot then. Whoever
        has one gives it back with :meth:`release`. ``NotSent`` if it takes more than ``wait`` seconds to get one.
        """
        if self._closed and not harmless:
            return False
        if pace is None and self.start():
            return True
        return await self._queue_up(priority, wait, pace)

    async def _queue_up(self, priority: Priority, wait: float | None, pace: Pace | None) -> bool:
        told: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        if priority == "interactive":
            self._check_pace(wait)
            queue, waiter = self._interactive, _Waiter(told, pace, ())
        else:
            queue, waiter = self._bulk, _Waiter(told, pace, (self._pace,) if pace is None else (self._pace, pace))
        for counting in waiter.counted:
            counting.waiting += 1
        queue.append(waiter)
        self._wake()
        try:
            if wait is None:
                return await told
            async with asyncio.timeout(wait):
                return await told
        except BaseException as error:
            if waiter in queue:
                queue.remove(waiter)
                self._tell(waiter, slot=False)
            elif not told.cancelled() and told.result():
                self.release()  # the slot was handed over in the very turn that gave up waiting for it
            if isinstance(error, TimeoutError):
                raise _too_long("no slot became free") from None
            raise

    def _check_pace(self, wait: float | None) -> None:
        """Refuse at once whom the pace leaves no room for."""
        if wait is not None and self._pace.per_second is not None:
            start = max(self._pace.due, self._clock()) + len(self._interactive) / self._pace.per_second
            if start > self._clock() + wait + SAME:
                raise _too_long("the rate limit leaves no room")

    def release(self, seconds: float | None = None) -> None:
        """Give a slot back; the next in line takes it at once.

        ``seconds`` says how long the answer took, from the first byte to the last. Without it nothing is learnt: the
        answer never came, or it was none that says how long work takes.
        """
        if seconds is not None and self._learning and self._adaptive.sample(seconds, self._in_flight, self.ready):
            self._adaptive.decide(self._clock())
            self.limit = self._adaptive.limit
        self._in_flight -= 1
        if not self._in_flight:
            self._idle_since = self._clock()
        if self._interactive or self._bulk:
            self._wake()

    def _wake(self) -> None:
        """Hand out all slots that may be taken now; if the pace forbids it, come again when it does not."""
        while (self._interactive or self._bulk) and self._in_flight < self.limit:
            now = self._clock()
            due = self._pace.due
            if due <= now + SAME:
                due = self._start_one(now)
            if due > now + SAME:
                self._wake_at(due, now)
                return

    def _start_one(self, now: float) -> float:
        """Start whoever is next; return 0, or the moment from which one may start."""
        turn_of_bulk = self._passed >= SHARE - 1 and self._bulk
        first, second = self._interactive, self._bulk
        if turn_of_bulk:
            first, second = second, first
        earliest = math.inf
        for queue in (first, second):
            for waiter in queue:
                if waiter.pace is None or waiter.pace.due <= now + SAME:
                    queue.remove(waiter)
                    self._passed = self._passed + 1 if queue is self._interactive and self._bulk else 0
                    self._tell(waiter, slot=True)
                    return 0.0
                earliest = min(earliest, waiter.pace.due)
        return earliest

    def _tell(self, waiter: _Waiter, *, slot: bool) -> None:
        for pace in waiter.counted:
            pace.waiting -= 1
        if waiter.told.done():
            return
        waiter.told.set_result(slot)
        if slot:
            self._in_flight += 1
            now = self._clock()
            self._pace.start(now)
            if waiter.pace is not None:
                waiter.pace.start(now)

    def _wake_at(self, moment: float, now: float) -> None:
        loop = asyncio.get_running_loop()
        if self._alarm is not None:
            if self._alarm.when() <= loop.time() + moment - now:
                return
            self._alarm.cancel()
        self._alarm = loop.call_later(moment - now, self._ring)

    def _ring(self) -> None:
        self._alarm = None
        self._wake()


def _too_long(why: str) -> NotSent:
    return NotSent(f"{why} within the time to wait", transient=False)


def _checked(value: int, name: str) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise SettingsError(f"{name} is a whole number from 1, not {value!r}")
    return value


def _checked_limit(value: int | Literal["auto"]) -> int | None:
    if value == "auto":
        return None
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise SettingsError(f"max_concurrency is 'auto' or a whole number from 1, not {value!r}")
    return value
