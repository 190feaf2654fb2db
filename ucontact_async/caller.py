"""One call: token, bytes, answer, decision. The only loop in the house that may send a call again.

It knows no file, no journal and no row; what must be durable before the first byte is its starter's
:class:`Flight`.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Coroutine, Sequence
from typing import Any, Protocol, TypeVar

from .aftermath import Abandoned, Doubted, SingleFlight
from .api import endpoint_of
from .api.campaigns import Campaigns, GetQueueSummary
from .attempt import Attempt, Lane, Outgoing
from .endpoint import Endpoint, Flight, Guard, Pass, Prepared, Request, Safety
from .errors import (
    NotSent,
    OutcomeUnknown,
    Refused,
    ReplyLost,
    ServerFault,
    Throttled,
    UContactError,
    Unauthorized,
)
from .limiter import Limiter, Priority
from .pace import Pace
from .retry import RetryRule
from .settings import Settings
from .text import Rules
from .tokens import Token, TokenManager
from .wire import Answer, Reply, masked, read_answer

__all__ = ["HttpCaller", "Spawn"]

R = TypeVar("R")
T = TypeVar("T")

# Bytes of a request that get a second more than the time-out: an upload may take longer than a command.
UPLOAD_PACE = 65_536


class _Try(Attempt, kw_only=True, eq=False):
    """One try of ours: with which token, since when, and what was answered already."""

    token: Token | None = None
    began: float = 0.0
    answer: Answer | None = None


class Spawn(Protocol):
    """Starts a task that its client owns and waits for."""

    def __call__(self, work: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
        """Start ``work``."""
        ...


class HttpCaller:
    """Performs calls over a lane, within a limiter, with a token, by the safety of each endpoint."""

    def __init__(
        self,
        *,
        settings: Settings,
        lane: Lane,
        limiter: Limiter,
        retry: RetryRule,
        spawn: Spawn,
        tokens: TokenManager | None = None,
        notify: Callable[[Abandoned | Doubted], None] | None = None,
        priority: Priority = "interactive",
        pace: Pace | None = None,
        guard: Guard | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Join the parts; without ``tokens`` only what needs none (the login itself) can be called."""
        self.settings = settings
        self._rules = Rules(settings.timezone, campaign_arrows=settings.profile.campaign_arrows, user=settings.user)
        self.lane = lane
        self.limiter = limiter
        self.retry = retry
        self.tokens = tokens
        self.priority: Priority = priority
        self._pace = pace
        self.guard = guard
        self._spawn = spawn
        self._notify = notify
        self._clock = clock
        # What is sent with a body, as it was for the latest: many calls in a row differ in nothing else.
        blank = Outgoing("", b"", None, 0.0, 0)
        self._latest: tuple[Token | None, str, Reply[Any], float, Outgoing] = None, "", Reply.DONE, 0.0, blank
        self._done: Answer | None = None

    def with_options(self, settings: Settings, priority: Priority, pace: Pace | None = None) -> HttpCaller:
        """Return a caller that shares everything else; ``pace`` is kept by its calls beside that of the limiter."""
        return HttpCaller(
            settings=settings,
            lane=self.lane,
            limiter=self.limiter,
            retry=self.retry,
            spawn=self._spawn,
            tokens=self.tokens,
            notify=self._notify,
            priority=priority,
            pace=pace,
            guard=self.guard,
            clock=self._clock,
        )

    @property
    def rules(self) -> Rules:
        """What the text formats need to know of the server."""
        return self._rules

    async def login(self) -> None:
        """Log in now, unless that was done before."""
        assert self.tokens is not None
        await self.tokens.current()

    def prepare(self, request: Request[Any]) -> Prepared[Any]:
        """Apply all rules of the API to ``request``; raise :class:`InvalidRequest` naming the field."""
        return endpoint_of(request).prepare(request, self._rules)

    def preview(self, request: Request[Any]) -> tuple[str, str]:
        """Return path and body that ``request`` would be sent with, numbers and form data hidden."""
        self.prepare(request)
        hidden = self.prepare(type(request)(**masked(request)))
        return self.settings.path(hidden.path), hidden.body.decode("ascii")

    async def call(self, endpoint: Endpoint[..., R], request: Request[R]) -> R:
        """Perform ``request`` and return its reply.

        If this is cancelled after the first byte of something that must not be repeated, the call is finished in a
        task of the client and its end is reported as :class:`Abandoned`. If its answer turns out to be in doubt after
        it was returned, that is reported as :class:`Doubted`.
        """
        prepared = endpoint.prepare(request, self._rules)
        flight = SingleFlight(request, self._notify)
        if prepared.safety is not Safety.ONCE:
            return await self.perform(prepared, flight, wait=self.settings.wait)
        # From now on, not from the task's first turn: a process may be stopped in between.
        asked = self._clock()
        given = None if self.guard is None else await self.guard.admit(request)
        task = self._spawn(self._guarded(prepared, flight, given, asked))
        try:
            return await asyncio.shield(task)
        except asyncio.CancelledError:
            if flight.left or task.done():
                task.add_done_callback(lambda done: self._abandon(request, done))
            else:
                task.cancel()
            raise

    async def _guarded(self, prepared: Prepared[R], flight: Flight, given: Pass | None, asked: float) -> R:
        """Perform a call with the pass that it was ``given``, which hears how it ended, also where nobody else does."""
        flight.may_leave = None if given is None else given.may_leave
        try:
            reply = await self.perform(prepared, flight, wait=self.settings.wait, asked=asked)
        except UContactError as error:
            told = None if given is None else given.ended(error)
            raise told or error from None
        except asyncio.CancelledError:
            if given is not None and not flight.left:
                given.ended(NotSent("its caller left"))
            raise
        if given is not None:
            given.ended(None)
        return reply

    async def clear(self, files: Sequence[Request[Any]]) -> None:
        """Raise :class:`Blocked` if the client's rules of the dial forbid rows in ``files``."""
        if self.guard is not None:
            await self.guard.clear(files)

    def _abandon(self, request: Request[Any], task: asyncio.Task[Any]) -> None:
        if self._notify is None:
            return
        if task.cancelled():
            error: BaseException | None = OutcomeUnknown("the client was closed before the answer came", phase="sent")
        else:
            error = task.exception()
        if error is None:
            self._notify(Abandoned(request, reply=task.result()))
        elif isinstance(error, UContactError):
            self._notify(Abandoned(request, error=error))

    async def perform(
        self, prepared: Prepared[R], flight: Flight, *, wait: float | None, asked: float | None = None
    ) -> R:
        """Send what was prepared, again only where the safety of its endpoint allows it, and return the reply.

        ``wait`` bounds, in seconds, each wait for login, gate and slot; ``None`` waits for ever. ``asked`` is the
        moment from which ``send_by`` counts, by default now.
        """
        send_by = None
        if prepared.send_by is not None:
            send_by = (self._clock() if asked is None else asked) + prepared.send_by
        refused: Token | None = None
        tries = 0
        while True:
            tries += 1
            flight.attempts = tries
            token: Token | None = None
            try:
                token = await self._token_of(prepared, flight, refused, wait)
                reply = await self._try(prepared, flight, token, send_by, wait)
            except UContactError as error:
                error.endpoint = prepared.path
                if error.may_have_happened and prepared.safety is not Safety.READ:
                    flight.lost = error
                if isinstance(error, Unauthorized) and token is not None and refused is None:
                    refused = token
                    tries -= 1
                    pause: float | None = 0.0
                else:
                    pause = self.retry.pause(error, tries, prepared.safety)
                self._note(error, reached=flight.left)
                if pause is None or not self._in_time(pause, wait, send_by):
                    # What the last try says of itself does not undo what an earlier one may have done.
                    verdict = flight.lost or error
                    verdict.attempts = flight.attempts
                    raise verdict from None
            else:
                self.limiter.recovered()
                return reply
            # Surely not applied, or repeatable: between two tries nothing of the call is on the wire.
            flight.progress = None
            if flight.arms:
                flight.withdraw()
            await self._rest(pause, flight, prepared.safety)

    @staticmethod
    async def _rest(seconds: float, flight: Flight, safety: Safety) -> None:
        await asyncio.sleep(seconds)
        if flight.doubted and flight.lost is not None and safety is Safety.ONCE:
            raise flight.lost  # the answer that allowed another try may have been that of another call

    def _in_time(self, pause: float, wait: float | None, send_by: float | None) -> bool:
        return (wait is None or pause <= wait) and (send_by is None or self._clock() + pause <= send_by)

    def unhindered(self, prepared: Prepared[Any]) -> bool:
        """Whether :meth:`begin` can only fail for want of a slot or a connection."""
        plain = prepared.send_by is None and self._pace is None
        return plain and self.limiter.unhindered() and self._live(None) is not None

    def begin(self, prepared: Prepared[Any], flight: Flight, tell: Callable[[Answer | None], None], now: float) -> bool:
        """Send what was prepared at once; ``False`` says that something has to be waited for, and nothing was done.

        ``tell`` gets an answer, for :meth:`answered`, or ``None``; :meth:`perform` goes on with what did not end there.
        What has to be durable before the first byte is durable. ``now`` is the present.
        """
        token = None if self.tokens is None else self.tokens.peek()
        if token is None or prepared.send_by is not None or flight.forbidden or self._pace is not None:
            return False
        if not self.limiter.start():
            return False
        may_leave = flight.may_leave
        attempt = _Try(may_leave=may_leave, flight=flight, token=token, began=now)
        if may_leave is None or may_leave():
            flight.progress = flight.begun = attempt
            flight.attempts = 1
            if self.lane.begin(self._blank(prepared, token), prepared.body, attempt, tell):
                return True
        flight.progress = flight.begun = None
        self.limiter.release()
        return False

    def answered(self, prepared: Prepared[Any], flight: Flight, answer: Answer, now: float) -> bool:
        """Return whether what was begun succeeded, which is all there is to do then; else :meth:`perform` goes on."""
        begun = flight.begun
        if answer is not self._done or prepared.reply is not Reply.DONE:
            begun.answer = answer
            return False
        flight.begun = None
        self.limiter.release(now - begun.began)
        self.limiter.recovered()
        return True

    async def _try(
        self, prepared: Prepared[R], flight: Flight, token: Token | None, send_by: float | None, wait: float | None
    ) -> R:
        if (begun := flight.begun) is not None:
            flight.begun = None
            return self._read(await self._exchange(prepared, begun), prepared)
        attempt = _Try(send_by=send_by, clock=self._clock, may_leave=flight.may_leave, flight=flight, token=token)
        flight.progress = attempt
        if flight.forbidden:
            attempt.forbid()
        try:
            # A login must not wait for the calls that wait for it.
            if prepared.authenticated and (flight.arms or self._pace is not None or not self.limiter.start()):
                await self._take_slot(prepared, flight, attempt, wait)
            attempt.began = self._clock()
            answer = await self._exchange(prepared, attempt)
        except asyncio.CancelledError:
            if flight.arms and not attempt.left:
                flight.withdraw()
            raise
        return self._read(answer, prepared)

    async def _exchange(self, prepared: Prepared[Any], attempt: _Try) -> Answer:
        """Return the answer to ``attempt``, which has a slot, and give that back."""
        outgoing = self._outgoing(prepared, attempt.token)
        seconds: float | None = None
        try:
            answer = attempt.answer or await self.lane.exchange(outgoing, attempt)
        except ReplyLost:
            if self._clock() - attempt.began >= outgoing.timeout:
                self.limiter.overloaded(refused=False)
            raise
        else:
            if answer.status < 400:
                seconds = self._clock() - attempt.began
            return answer
        finally:
            if prepared.authenticated:
                self.limiter.release(seconds)

    def _read(self, answer: Answer, prepared: Prepared[R]) -> R:
        reply: Reply[R] = prepared.reply
        # A lane gives one answer for all that are alike: to read "1" again and again would take 6,000 instructions.
        if answer is self._done and reply is Reply.DONE:
            return None  # type: ignore[return-value]  # R is None
        value = read_answer(answer, reply, self.settings.profile)
        if reply is Reply.DONE:
            self._done = answer
        return value

    async def _take_slot(self, prepared: Prepared[Any], flight: Flight, attempt: Attempt, wait: float | None) -> None:
        """Wait for gate, pace and slot, in this order; armed in between, so that no slot is held for a journal."""
        while True:
            # Who will not wait for ever asks a server out of reach by the call itself: at worst it is not sent.
            harmless = prepared.safety is Safety.READ or (wait is not None and self.limiter.unreached)
            await self.limiter.turn(wait, priority=self.priority, harmless=harmless, probe=self._probe)
            if attempt.expired():
                raise NotSent("it was too late for the first byte to leave", transient=False)
            if flight.arms:
                await self._arm(flight)
            if await self.limiter.acquire(self.priority, wait, self._pace, harmless=harmless):
                return
            if flight.arms:
                flight.withdraw()

    async def _arm(self, flight: Flight) -> None:
        self.limiter.ready += 1
        try:
            await flight.arm()
        finally:
            self.limiter.ready -= 1

    def _live(self, refused: Token | None) -> Token | None:
        token = None if self.tokens is None else self.tokens.peek()
        return token if token is None or refused is None or token.generation > refused.generation else None

    async def _token_of(
        self, prepared: Prepared[Any], flight: Flight, refused: Token | None, wait: float | None
    ) -> Token | None:
        if flight.begun is not None:
            begun: _Try = flight.begun
            return begun.token
        return await self.token(refused, wait) if prepared.authenticated else None

    async def token(self, refused: Token | None, wait: float | None) -> Token:
        """Return the live token, after a login if there is none or it is the one that was ``refused``."""
        assert self.tokens is not None
        if (token := self._live(refused)) is not None:
            return token
        try:
            async with asyncio.timeout(wait):
                return await (self.tokens.current() if refused is None else self.tokens.replace(refused))
        except TimeoutError:
            raise NotSent(f"no login within {wait:g} s", transient=False) from None

    def _outgoing(self, prepared: Prepared[Any], token: Token | None) -> Outgoing:
        blank = self._blank(prepared, token)
        seconds = blank.timeout + len(prepared.body) // UPLOAD_PACE
        return Outgoing(blank.path, prepared.body, blank.authorization, seconds, blank.limit)

    def _blank(self, prepared: Prepared[Any], token: Token | None) -> Outgoing:
        """Return what is sent with each body of the same kind, which many calls in a row are of."""
        known, path, reply, patience, blank = self._latest
        if known is token and path is prepared.path and reply is prepared.reply and patience == prepared.patience:
            return blank
        settings = self.settings
        shown = None if token is None else f"{settings.token_scheme} {token.value.reveal()}"
        timeout = settings.timeout * prepared.patience
        blank = Outgoing(settings.path(prepared.path), b"", shown, timeout, prepared.reply.limit)
        self._latest = token, prepared.path, prepared.reply, prepared.patience, blank
        return blank

    def _note(self, error: UContactError, *, reached: bool) -> None:
        """Tell the limiter what ``error`` says of the server's state; a broken connection says nothing."""
        if not self._overload(error, reached=reached) and isinstance(error, Refused):
            self.limiter.recovered()

    def _overload(self, error: UContactError, *, reached: bool) -> bool:
        """Close the gate if ``error`` is a sign of overload, and say whether it is; time-outs are seen in the try."""
        if isinstance(error, Throttled):
            self.limiter.overloaded(error.retry_after)
        elif isinstance(error, ServerFault) and error.status in (429, 503, 504):
            self.limiter.overloaded()
        elif isinstance(error, NotSent) and error.transient and not reached:
            self.limiter.overloaded(reached=False)
        else:
            return False
        return True

    async def _probe(self) -> bool:
        """Say whether the server answers a read: finding out whether a gate may open must not be able to do harm."""
        prepared = Campaigns.summary.prepare(GetQueueSummary(), self._rules)
        token = None if self.tokens is None else self.tokens.peek()
        attempt = Attempt(clock=self._clock)
        try:
            answer = await self.lane.exchange(self._outgoing(prepared, token), attempt)
            read_answer(answer, Reply.TEXT, self.settings.profile)
        except UContactError as error:
            return not (self._overload(error, reached=attempt.left) or isinstance(error, ReplyLost | NotSent))
        return True
