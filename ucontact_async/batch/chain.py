"""Rows that one worker sends back to back: each from the step that reads the answer to the one before it.

Only what has nothing to wait for goes this way, which saves 24,000 instructions a row. Whatever else turns up is handed
back to the worker as it is: a row not begun, or begun and not answered as expected.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import msgspec

from ..endpoint import Caller
from ..limiter import Limiter
from ..wire import Answer
from .flight import RowFlight
from .places import Places
from .preparing import Job

__all__ = ["Chain", "Gear"]


class Gear(msgspec.Struct, frozen=True, eq=False):
    """What all chains of a run use.

    ``flight_of`` a row is what marks it. ``succeed`` has it noted and delivered that a row was done, at the first try
    and in so many seconds; ``leave`` notes that it is under way no more.
    """

    caller: Caller
    limiter: Limiter
    places: Places
    clock: Callable[[], float]
    flight_of: Callable[[Job], RowFlight]
    succeed: Callable[[Job, RowFlight, float], None]
    leave: Callable[[Job], None]


class Chain:
    """The rows of one worker; ``job`` is the one that is under way, or was handed back."""

    __slots__ = ("_at_hand", "_boarded", "_gear", "_waiting", "flight", "job", "placed", "started")

    flight: RowFlight
    started: float

    def __init__(self, gear: Gear, boarded: Callable[[RowFlight], None], at_hand: Callable[[], Job | None]) -> None:
        """``boarded`` gets the flight of each row before anything else happens: it may be forbidden from then on.

        ``at_hand`` returns the next row, if there is one that may go now; none, once the run is stopped.
        """
        self._gear = gear
        self._at_hand = at_hand
        self._boarded = boarded
        self.job: Job | None = None
        self.placed = False
        self._waiting: asyncio.Future[None] | None = None

    def take(self, job: Job) -> RowFlight:
        """Have ``job`` be the one under way."""
        self.job, self.placed, self.started = job, False, self._gear.clock()
        flight = self.flight = self._gear.flight_of(job)
        self._boarded(flight)
        return flight

    async def send(self, job: Job) -> None:
        """Send ``job`` and those at hand after it; in the end ``job`` is what the worker has to go on with.

        So it is when this is cancelled: what was begun is to be ended, what was not is to be given up.
        """
        self._waiting = waiting = asyncio.get_running_loop().create_future()
        self.placed = self._gear.places.take()
        self._begin(job, self._gear.clock())
        try:
            await waiting
        finally:
            self._waiting = None

    def give_up(self) -> None:
        """Let go of a row that was not begun."""
        self.flight.withdraw()
        if self.placed:
            self._gear.places.leave()

    def _begin(self, job: Job, now: float) -> None:
        """Set the mark of ``job``, where one has to be durable before it is sent; ``now`` is the present."""
        gear = self._gear
        self.job, self.started = job, now
        flight = self.flight = gear.flight_of(job)
        self._boarded(flight)
        if not self.placed or not flight.arms:
            self._send(now)
        elif gear.caller.unhindered(job.prepared):
            gear.limiter.ready += 1
            flight.mark(self._marked)
        else:
            self._hand_back()

    def _marked(self, error: Exception | None) -> None:
        self._gear.limiter.ready -= 1
        if self._waiting is None:
            return  # given up meanwhile
        if error is None:
            self._send(self._gear.clock())
            return
        # The worker asks for the mark again, and is told the same.
        self.flight.armed = False
        self._hand_back()

    def _send(self, now: float) -> None:
        try:
            assert self.job is not None
            if not self.placed or not self._gear.caller.begin(self.job.prepared, self.flight, self._told, now):
                if self._gear.limiter.closed:
                    self.flight.withdraw()  # nobody knows for how long
                self._hand_back()
        except Exception as error:  # noqa: BLE001  the worker raises it
            self._fail(error)

    def _told(self, answer: Answer | None) -> None:
        """Go on to the next row, if this one has succeeded and there is one."""
        try:
            job, flight, gear, now = self.job, self.flight, self._gear, self._gear.clock()
            assert job is not None
            if answer is None or not gear.caller.answered(job.prepared, flight, answer, now):
                self._hand_back()
                return
            self.job = None
            gear.succeed(job, flight, now - self.started)
            gear.leave(job)
            waiting = self._waiting
            if waiting is not None and not waiting.done() and (job := self._at_hand()) is not None:
                self.placed = gear.places.keep()
                self._begin(job, now)
            else:
                gear.places.leave()
                self._hand_back()
        except Exception as error:  # noqa: BLE001  the worker raises it
            self._fail(error)

    def _hand_back(self) -> None:
        if self._waiting is not None and not self._waiting.done():
            self._waiting.set_result(None)

    def _fail(self, error: Exception) -> None:
        if self._waiting is None or self._waiting.done():
            raise error
        self._waiting.set_exception(error)
