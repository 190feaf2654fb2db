"""The workers of a run: each takes a row, sends it, and says what became of it.

A fixed number of them, which follows the limit, over one lazy input; some more beside them take the rows that had to
wait. What an outcome means for the run is the run's business.
"""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Awaitable, Callable

import anyio

from ..endpoint import Caller, Flight
from ..errors import JournalError, NotSent, ReplyLost, UContactError
from ..limiter import Limiter
from ..pace import Pace
from .amendments import Amendments
from .chain import Chain, Gear
from .clearance import Clearance, permit_of
from .flight import RowFlight, RunContext
from .intake import Intake, failed, stopped, succeeded
from .journal import Journal
from .later import WAITERS, Later, Unsettled
from .options import BulkOptions
from .outcome import SUCCEEDED, Outcome, Status, doubtful
from .places import Places
from .preparing import Job
from .turns import is_removal

__all__ = ["Crew"]


class Crew:
    """All workers of one run."""

    def __init__(
        self,
        *,
        number: int,
        caller: Caller,
        limiter: Limiter,
        journal: Journal,
        intake: Intake,
        later: Later,
        amendments: Amendments,
        clearance: Clearance | None,
        pace: Pace | None,
        options: BulkOptions,
        flights: dict[anyio.CancelScope, Flight | None],
        clock: Callable[[], float],
        deliver: Callable[[list[Outcome]], None],
        judge: Callable[[Outcome], None],
        fail: Callable[[BaseException], None],
        stopping: asyncio.Event,
    ) -> None:
        """``number`` workers at most; ``flights`` is to hold what each has under way, by the scope that cancels it.

        ``deliver`` gets the outcomes that need no mark in the journal, ``judge`` all others when they are settled,
        ``fail`` what ended a worker. Nothing is begun once it is ``stopping``.
        """
        self.number = number
        self.logged_in = False
        self._logging_in = asyncio.Lock()
        self._caller = caller
        self._limiter = limiter
        self._journal = journal
        self._intake = intake
        self._later = later
        self._clearance = clearance
        self._pace = pace
        self._hesitates = pace is not None or options.not_after is not None or options.rules is not None
        self._clock = clock
        self._flights = flights
        self._deliver = deliver
        self._judge = judge
        self._fail = fail
        self._stopping = stopping
        # Rows that waited go beside the workers' own, and all together are no more than that.
        self._places = Places(self._width())
        self._working, self._drained = 0, False
        self._gear = Gear(
            caller=caller,
            limiter=limiter,
            places=self._places,
            clock=clock,
            flight_of=functools.partial(RowFlight, RunContext(journal, later, amendments, clearance)),
            succeed=self._succeed,
            leave=later.leave,
        )

    async def work(self) -> None:
        """Take rows until there are no more, or the run is stopped."""
        async with anyio.create_task_group() as waiters:
            for _ in range(WAITERS):
                waiters.start_soon(self._work, lambda: None, self._due, self._later.finish)
            async with anyio.create_task_group() as self._staff:
                self._hire()
            self._later.close()

    def _width(self) -> int:
        """Return how many rows may be under way now: no more than a crash may make unknown."""
        return min(self.number, self._limiter.limit)

    def _hire(self) -> None:
        """Have as many workers as the limit allows: it may grow from a few to many while the run goes on."""
        while self._working < self._places.number and not self._drained:
            self._working += 1
            self._staff.start_soon(self._work, self._at_hand, self._fresh, lambda: None)

    def _at_hand(self) -> Job | None:
        """Return a row that need not be waited for, to a worker that is not one too many or too few."""
        most = self._limiter.limit
        # _width(), and min(), would take three times as long.
        if self._working != (self.number if self.number < most else most):  # noqa: FURB136
            return None
        return self._later.at_hand(self._intake)

    async def _fresh(self) -> Job | None:
        """Return the next row of the input; ``None`` at its end, and to a worker that is one too many."""
        self._places.number = self._width()
        if self._working != self._places.number:
            if self._working > self._places.number:
                self._working -= 1
                return None
            self._hire()
        job = await self._later.fresh(self._intake)
        self._drained = job is None
        return job

    async def _work(
        self, at_hand: Callable[[], Job | None], rows: Callable[[], Awaitable[Job | None]], done: Callable[[], None]
    ) -> None:
        with anyio.CancelScope() as scope:
            self._flights[scope] = None
            try:
                chain = Chain(self._gear, functools.partial(self._flights.__setitem__, scope), at_hand)
                while not self._stopping.is_set() and (job := at_hand() or await rows()) is not None:
                    try:
                        await self._handle(job, scope, chain)
                    finally:
                        self._flights[scope] = None
                        done()
            except Exception as error:  # noqa: BLE001  kept for the consumer; the other workers end their calls
                self._fail(error)
            finally:
                del self._flights[scope]

    async def _handle(self, job: Job, scope: anyio.CancelScope, chain: Chain) -> None:
        """Settle a row that had been lost, or send ``job`` and, where nothing has to be waited for, those after it."""
        if isinstance(job, Unsettled):
            try:
                await self._replace(job, scope)
            finally:
                self._later.leave(job)
            return
        try:
            if self._hesitates or not self.logged_in:
                chain.take(job)
            else:
                await self._send_on(job, chain)
            if chain.job is not None:
                await self._send(chain.job, chain)
        finally:
            if chain.job is not None:
                self._later.leave(chain.job)

    async def _send_on(self, job: Job, chain: Chain) -> None:
        try:
            await chain.send(job)
        except asyncio.CancelledError:
            if chain.job is not None and chain.flight.begun is not None:
                await self._send(chain.job, chain)
            elif chain.job is not None:
                chain.give_up()
                self._deliver([stopped(chain.job)])
            raise

    async def _send(self, job: Job, chain: Chain) -> None:
        flight, started = chain.flight, chain.started
        try:
            if (self._hesitates or not self.logged_in) and (blocked := await self._hesitate(job)) is not None:
                self._settle(job, blocked, flight)
                return
            if not chain.placed and not self._places.take():
                await self._places.wait()
            try:
                reply = await self._caller.perform(job.prepared, flight, wait=None)
            finally:
                self._places.leave()
        except JournalError:
            # Not even its mark could be written: nothing of it left, and nothing else may leave.
            self._deliver([stopped(job)])
            raise
        except UContactError as error:
            if flight.forbidden and flight.lost is None:
                flight.withdraw()
                self._deliver([stopped(job)])
            else:
                blocked = flight.blocked if isinstance(error, NotSent) else None
                self._settle(job, blocked or failed(job, error, self._clock() - started), flight)
        except BaseException:
            # Cancelled: what left is unknown, what did not leave is as if it had never been read.
            if flight.left or flight.lost is not None:
                lost = ReplyLost("the run was stopped before the answer came", phase="sent")
                flight.lost = lost
                self._settle(job, failed(job, lost, self._clock() - started), flight)
            else:
                self._deliver([stopped(job)])
            raise
        else:
            self._settle(job, succeeded(job, reply, flight.attempts, self._clock() - started), flight)

    async def _hesitate(self, job: Job) -> Outcome | None:
        """Wait for the pace and for the first login; return what became of ``job`` if it may not go then."""
        if self._pace is not None:
            await self._pace.turn()
        blocked = None if self._clearance is None else await self._clearance.blocks(job)
        if blocked is None and not self.logged_in:
            await self._log_in()
        return blocked

    async def _due(self) -> Job | None:
        """Return the next row that had to wait and may still go."""
        while (job := await self._later.next()) is not None:
            self._places.number = self._width()
            if isinstance(job, Unsettled):
                if self._clearance is None or (blocked := self._clearance.blocked(job)) is None:
                    return job
                self._later.keep(job, blocked.detail)
            elif not self._intake.turns_away(job):
                return job
            self._later.leave(job)
            self._later.finish()
        return None

    async def _replace(self, job: Job, scope: anyio.CancelScope) -> None:
        """Settle a row that had been lost."""
        assert isinstance(job, Unsettled)

        def board(flight: Flight) -> bool:
            self._flights[scope] = flight
            if self._clearance is not None:
                flight.may_leave = permit_of(self._clearance, job)
            return not self._stopping.is_set()

        held = False

        async def begin() -> None:
            nonlocal held
            await self._log_in()
            await self._places.wait()
            held = True

        try:
            await self._later.settle(job, board, begin)
        finally:
            if held:
                self._places.leave()

    async def _log_in(self) -> None:
        """Have one worker log in while the others wait: a login that fails costs one row and ends the run."""
        async with self._logging_in:
            # Whoever had the lock may have failed and stopped the run: we are cancelled here, then.
            await anyio.lowlevel.checkpoint()
            if not self.logged_in:
                await self._caller.login()
                self.logged_in = True

    def _succeed(self, job: Job, flight: RowFlight, seconds: float) -> None:
        """Settle a row as most end: there is no clearance where rows go one from the answer to the other."""
        outcome = succeeded(job, None, 1, seconds)
        if flight.doubted or is_removal(job.request):
            self._settle(job, outcome, flight)
            return
        flight.outcome = outcome
        self._journal.settled(job.id, SUCCEEDED, "", 1, outcome)
        self._judge(outcome)

    def _settle(self, job: Job, outcome: Outcome, flight: RowFlight) -> None:
        flight.outcome = outcome = doubtful(outcome) if flight.doubted else outcome
        reason = self._later.reason(job, outcome, doubted=flight.lost is not None)
        settled = self._later.take(job, outcome) if outcome.status is Status.UNKNOWN else outcome
        self._journal.settled(job.id, outcome.status, reason, outcome.attempts, settled)
        if self._clearance is not None:
            self._clearance.ended(job, outcome.status)
        self._judge(outcome)
