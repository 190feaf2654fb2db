"""What a web service needs around the client: one for its whole life, bulk runs in the background, an orderly end.

It knows no framework: a lifespan of any of them is ``async with Service() as service``.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import signal
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping
from types import FrameType, MappingProxyType
from typing import Any, Self

import msgspec

from .batch.report import Report
from .batch.runner import Bulk
from .batch.watching import events_of
from .client import UContact
from .errors import SettingsError
from .events import Event, Progress, words_of

__all__ = ["BackgroundRun", "Service"]

_log = logging.getLogger("ucontact_async")

# Runs that have ended and can still be asked for.
KEPT = 100
_SIGNALS = (signal.SIGINT, signal.SIGTERM)


class BackgroundRun:
    """A bulk run that nobody waits for; :meth:`Service.start` makes it."""

    def __init__(self, name: str, bulk: Bulk) -> None:
        self.name = name
        self._bulk = bulk
        self._opened = asyncio.Event()
        self._reason = ""
        self._clock = asyncio.get_running_loop().time
        self._began = self._clock()
        self._task = asyncio.create_task(self._run(), name=f"ucontact-async run {name}")
        self._task.add_done_callback(self._tell)

    @property
    def done(self) -> bool:
        """Whether it has ended."""
        return self._task.done()

    @property
    def report(self) -> Report:
        """The counts so far."""
        return self._bulk.report

    def stop(self, reason: str = "stopped") -> None:
        """Send nothing more; what is on the wire ends, and the same journal resumes."""
        self._reason = reason
        if self._opened.is_set() and not self.done:
            self._bulk.stop(reason)

    async def finished(self) -> Report:
        """Return the report once the run has ended; raises what it failed with, such as :class:`JournalError`."""
        return await asyncio.shield(self._task)

    def events(self, *, every: float = 0.5) -> AsyncGenerator[Event, None]:
        """Yield what happens to the run until it ends, as :meth:`Bulk.events` does, to any number of viewers.

        The last one is a :class:`Progress` of the ended run, also where it failed: nothing is raised here.
        """
        return events_of(self.look, self._task, self._bulk.buses, every)

    async def progress(self, *, every: float = 1.0) -> AsyncIterator[Progress]:
        """Yield a look at the run now, every so many seconds, and once more at its end, which ends the iteration."""
        async with contextlib.aclosing(self.events(every=every)) as events:
            async for event in events:
                if isinstance(event, Progress):
                    yield event

    def look(self) -> Progress:
        """Return how far the run is."""
        seen = self._bulk.look()
        error = self._task.exception() if self.done and not self._task.cancelled() else None
        return msgspec.structs.replace(
            seen,
            name=self.name,
            state="failed" if error is not None else "ended" if self.done else "running",
            seconds=seen.seconds or self._clock() - self._began,
            error=None if error is None else words_of(error),
        )

    async def opened(self) -> None:
        """Return once the journal is open; raises what is wrong with it."""
        waiting = asyncio.create_task(self._opened.wait())
        try:
            await asyncio.wait([waiting, self._task], return_when=asyncio.FIRST_COMPLETED)
        finally:
            waiting.cancel()
        if self.done:
            self._task.result()

    async def _run(self) -> Report:
        async with self._bulk as bulk:
            self._opened.set()
            if self._reason:
                bulk.stop(self._reason)
            return await bulk.finish()

    def _tell(self, task: asyncio.Task[Report]) -> None:
        fields = {f"ucontact_{field}": value for field, value in msgspec.structs.asdict(self.look()).items()}
        extra = {"ucontact_event": "RunEnded", **fields}
        if task.cancelled() or (error := task.exception()) is None:
            _log.info("run %s: %s", self.name, self.report.summary(), extra=extra)
        else:
            _log.error("run %s failed: %s", self.name, words_of(error), extra=extra)


class Service:
    """One client for the life of an application, and the bulk runs that it has going in the background.

    ::

        async with Service() as service:  # the framework's lifespan, start-up and shutdown
            await service.client.dialers.schedule(...)
            run = await service.start("march", service.client.stream(rows, journal="march.journal"))
            async for progress in run.progress():
                ...

    Leaving it stops the runs, waits until what is on the wire has ended, ends the session and closes the client. As
    servers wait for their open answers before they end the lifespan, SIGINT and SIGTERM stop the runs (and so end
    every :meth:`BackgroundRun.progress`) at once, and then do what they did before.
    """

    client: UContact
    """The client; there from start-up to shutdown."""

    def __init__(self, client: Callable[[], UContact] = UContact.from_env) -> None:
        """``client`` makes the client, by default of the environment's ``UCONTACT_*`` variables."""
        self._make = client
        self._runs: dict[str, BackgroundRun] = {}
        self._ending = False
        self._handlers: dict[int, tuple[Any, Any]] = {}

    async def __aenter__(self) -> Self:
        self.client = self._make()
        self._chain()
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        self._unchain()
        self.stop()
        try:
            if running := [run.finished() for run in self._runs.values() if not run.done]:
                await asyncio.gather(*running, return_exceptions=True)
        finally:
            await self.client.__aexit__(*exc_info)

    @property
    def runs(self) -> Mapping[str, BackgroundRun]:
        """The runs by name: all that go on, and the last hundred that have ended."""
        return MappingProxyType(self._runs)

    async def start(self, name: str, bulk: Bulk) -> BackgroundRun:
        """Have ``client.stream(...)`` run in the background under ``name``; it is on its way when this returns.

        Raises:
            SettingsError: a run of that name goes on, or the service is ending.
            JournalBusy: another run, or another process, holds the journal.
            JournalError: the journal cannot be used.
        """
        if self._ending:
            raise SettingsError("the service is ending; start the run again when it is back")
        if name in self._runs and not self._runs[name].done:
            raise SettingsError(f"a run {name!r} goes on already")
        self._runs.pop(name, None)
        run = self._runs[name] = BackgroundRun(name, bulk)
        try:
            await run.opened()
        except BaseException:
            if run.done:
                self._runs.pop(name, None)
            raise
        for ended in [run.name for run in self._runs.values() if run.done][:-KEPT]:
            del self._runs[ended]
        return run

    def stop(self) -> None:
        """Stop every run and start no other; what is on the wire ends, and the same journals resume."""
        self._ending = True
        for run in self._runs.values():
            run.stop("the service ends")

    def _chain(self) -> None:
        loop = asyncio.get_running_loop()
        for number in _SIGNALS:
            before = signal.getsignal(number)
            if not callable(before):
                continue

            def handle(number: int, frame: FrameType | None, before: Callable[..., Any] = before) -> None:
                with contextlib.suppress(RuntimeError):  # closed: somebody who chained after us still calls us
                    loop.call_soon_threadsafe(self.stop)
                before(number, frame)

            with contextlib.suppress(ValueError):  # not in the main thread: somebody else is told
                signal.signal(number, handle)
                self._handlers[number] = (handle, before)

    def _unchain(self) -> None:
        for number, (ours, before) in self._handlers.items():
            if signal.getsignal(number) is ours:
                signal.signal(number, before)
        self._handlers.clear()
