"""How a run is looked at from outside: one stream of events for terminals, web pages and programs.

It holds up nobody: who looks is told what happened since, and never asked.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
from collections import deque
from collections.abc import AsyncGenerator, Callable, Coroutine, Iterable, Sequence
from typing import Any

import anyio
import msgspec

from ..endpoint import Flight
from ..errors import SettingsError
from ..events import Event, EventBus, JournalLag, LimitChanged, Progress, words_of
from ..limiter import Limiter, LimiterStats
from .journal import Journal
from .report import Report

__all__ = ["Watchable", "events_of", "lag_of"]

# Events that wait for a viewer; of more the oldest are forgotten.
KEPT = 1_000


class _Ear:
    """What one viewer has not seen yet."""

    def __init__(self) -> None:
        self.heard: deque[Event] = deque(maxlen=KEPT)
        self.news: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def hear(self, event: Event) -> None:
        self.heard.append(event)
        if not self.news.done():
            self.news.set_result(None)

    async def wait(self, ended: asyncio.Future[Any], seconds: float) -> None:
        await asyncio.wait([ended, self.news], timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
        if self.news.done():
            self.news = asyncio.get_running_loop().create_future()


async def events_of(
    look: Callable[[], Progress], ended: asyncio.Future[Any], buses: Sequence[EventBus], every: float
) -> AsyncGenerator[Event, None]:
    """Yield a look now and every so many seconds, what the ``buses`` carry as it happens, and a last look at the end.

    The limit is looked at as often, so that a change of it costs nothing where it is made.
    """
    if not every > 0:
        raise SettingsError(f"every is a number of seconds above 0, not {every!r}")
    loop, ear = asyncio.get_running_loop(), _Ear()
    leave = [bus.subscribe(ear.hear) for bus in buses]
    try:
        limit = look().max_concurrency
        while True:
            over = ended.done()
            while ear.heard:
                yield ear.heard.popleft()
            seen = look()
            if seen.max_concurrency != limit:
                yield LimitChanged(before=limit, after=seen.max_concurrency)
                limit = seen.max_concurrency
            yield seen
            if over:
                return
            due = loop.time() + every
            while not ended.done() and (left := due - loop.time()) > 0:
                await ear.wait(ended, left)
                while ear.heard:
                    yield ear.heard.popleft()
    finally:
        for unsubscribe in leave:
            unsubscribe()


class Watchable:
    """What a run shows of itself; the run below it says when it starts, is read, stops and ends."""

    report: Report
    _error: BaseException | None
    _journal: Journal
    _flights: dict[anyio.CancelScope, Flight | None]
    _spawn: Callable[[Coroutine[Any, Any, None]], asyncio.Task[None]]

    def __init__(self, limiter: Limiter, clock: Callable[[], float], client: EventBus | None) -> None:
        self._limiter = limiter
        self._clock = clock
        self._started = math.inf
        self._bus = EventBus()
        self.buses = [self._bus, limiter.events] + ([] if client is None else [client])
        self._failure: str | None = None  # not the error: its frames hold the run
        self._ended = asyncio.Event()
        self._read = False
        self._reader: asyncio.Task[None] | None = None

    @property
    def stats(self) -> LimiterStats:
        """A look at the limiter, which is the whole client's."""
        return self._limiter.stats

    def look(self) -> Progress:
        """Return how far the run is."""
        report, stats = self.report, self._limiter.stats
        ended = "ended" if self._failure is None else "failed"
        return Progress(
            state=ended if self._ended.is_set() else "running",  # type: ignore[arg-type]  # one of the two words
            rows=report.rows,
            succeeded=report.succeeded,
            failed=report.failed,
            unknown=report.unknown,
            skipped=report.skipped,
            in_flight=stats.in_flight,
            waiting=stats.waiting,
            max_concurrency=stats.max_concurrency,
            gate=stats.gate,
            gate_seconds=stats.gate_seconds,
            seconds=report.seconds or max(0.0, self._clock() - self._started),
            stopped=report.stopped,
            error=self._failure,
        )

    @property
    def lag(self) -> JournalLag:
        """How far the journal is behind; nothing for a run that is not open."""
        journal: Journal | None = vars(self).get("_journal")
        if journal is None:
            return JournalLag()
        marked = sum(getattr(flight, "armed", False) for flight in tuple(self._flights.values()))
        return msgspec.structs.replace(journal.lag(), marked=marked)

    async def events(self, *, every: float = 0.5) -> AsyncGenerator[Event, None]:
        """Yield what happens to the run until it ends: a :class:`Progress` now, every so many seconds, and at the end.

        In between, as they happen: :class:`GateClosed` and :class:`GateOpened`, :class:`LoggedIn` and
        :class:`LoginFailed` (of the whole client), :class:`FuseBlown` and :class:`Stopped`; :class:`LimitChanged` is
        found at the next look. Any number of viewers may look, and one that is slow holds up nobody.

        Where nobody has begun to read the outcomes, by ``async for`` or :meth:`finish`, the first viewer has them
        counted, as :meth:`finish` does: ``async with uc.stream(...) as run: async for event in run.events()`` is a
        whole program, and raises what the run failed with.
        """
        reader = None
        if not self._read:
            reader = self._reader = self._spawn(self._fold())
            self._read = True
        ended = asyncio.ensure_future(self._ended.wait())
        try:
            async for event in events_of(self.look, ended, self.buses, every):
                yield event
            if reader is not None:
                last, reader = reader, None
                await last
        finally:
            ended.cancel()
            if reader is not None:
                self._leave(reader)

    def _leave(self, reader: asyncio.Task[None]) -> None:
        """Let somebody else read on; what the run failed with meanwhile is raised at the end of its block."""
        if reader.done():
            self._error = None if reader.cancelled() else reader.exception()
        else:
            reader.cancel()
            self._reader, self._read = None, False

    async def _fold(self) -> None:
        await self.finish()

    async def finish(self) -> Report:
        """Read all outcomes that are left and return the report."""
        raise NotImplementedError

    def _reading(self) -> None:
        """Note that the outcomes are read now."""
        if self._reader is not None and asyncio.current_task() is not self._reader:
            raise RuntimeError("events() counts the outcomes of this run; begin to read them before it, to have them")
        self._read = True

    def _over(self, failure: BaseException | None) -> None:
        """Note that nothing more happens."""
        if not self._ended.is_set():
            self._failure = None if failure is None else words_of(failure)
            self._ended.set()


def lag_of(runs: Iterable[Watchable]) -> JournalLag:
    """Return how far the journals of all ``runs`` are behind together, in seconds the one that is most."""
    lags = [run.lag for run in _those_now(runs)]
    return JournalLag(
        marked=sum(lag.marked for lag in lags),
        pending=sum(lag.pending for lag in lags),
        seconds=max((lag.seconds for lag in lags), default=0.0),
    )


def _those_now(runs: Iterable[Watchable]) -> list[Watchable]:
    """Return ``runs`` as they are: instruments ask from threads of their own, while runs begin and are forgotten."""
    while True:
        with contextlib.suppress(RuntimeError):  # the set changed meanwhile
            return list(runs)
