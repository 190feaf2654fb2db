"""One live token: one login however many wait, one replacement however many were refused.

This file knows neither HTTP nor the endpoints: login and logout are coroutines it is given. Where a shared token is
kept is the business of a :class:`TokenStore`.
"""

from __future__ import annotations

import asyncio
import contextlib
import copy
import logging
import time
from collections.abc import Awaitable, Callable, Coroutine
from contextlib import AbstractAsyncContextManager
from typing import Any, Protocol

import anyio
import msgspec

from .errors import (
    InvalidRequest,
    NotSent,
    Refused,
    SessionStolen,
    SettingsError,
    Throttled,
    UContactError,
    Unauthorized,
    UnreadableReply,
)
from .events import EventBus, LoggedIn, LoginFailed
from .settings import Secret
from .token_store import StoredToken

__all__ = ["Token", "TokenManager", "TokenStore"]

GRACE = 5.0
"""Seconds that closing may take, a login in flight and the logout together."""

YOUNG = 60.0
"""A token refused before this age, in seconds, died early; two in a row mean that somebody else logs in."""

_log = logging.getLogger(__name__)


class Token(msgspec.Struct, frozen=True, kw_only=True):
    """A session token; ``generation`` says which one, so that a late refusal of an older one is recognised.

    ``deaths`` is how many tokens in a row died early just before this one: what the ping-pong breaker knows travels
    with the token, so a thousand refusals of one token count once, in one process or in many.
    """

    value: Secret
    generation: int
    born: float
    given: bool = False
    deaths: int = 0


class TokenStore(Protocol):
    """Where several processes keep one token; all but :meth:`lock` is called under the lock."""

    def lock(self) -> AbstractAsyncContextManager[None]:
        """Keep all other processes out, without blocking the loop; a process that dies lets go."""
        raise NotImplementedError

    async def join(self, owner: str) -> None:
        """Be counted among the holders of the token of ``owner``, a server and a user."""

    async def leave(self) -> bool:
        """Be counted no more; return whether nobody is left. Without the lock where it was not to be had in time."""
        raise NotImplementedError

    async def read(self) -> StoredToken | None:
        """Return the token; ``None`` where there is none, or only what cannot be read."""

    async def write(self, *, value: Secret, generation: int, deaths: int) -> None:
        """Keep a token that was born just now."""

    async def clear(self) -> None:
        """Forget the token."""


class TokenManager:
    """Owns the token of one client: obtains it, shares it, replaces it when it is refused, ends it."""

    def __init__(
        self,
        *,
        login: Callable[[], Awaitable[str]],
        logout: Callable[[str], Awaitable[None]],
        spawn: Callable[[Coroutine[Any, Any, Token | UContactError]], asyncio.Task[Token | UContactError]],
        given: Secret | None = None,
        store: TokenStore | None = None,
        owner: str = "",
        events: EventBus | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Take a ``given`` token, or obtain one by ``login`` when it is first needed.

        ``spawn`` starts a task that belongs to the client: a login outlives the call that asked for it first.
        ``owner`` names server and user to a ``store``, which refuses the token of another.
        """
        if given is not None and store is not None:
            raise SettingsError("give a token or a token store, not both: a given token is never replaced or shared")
        if store is not None and not owner:
            raise SettingsError("a token store must know whose token it keeps: give owner, server and user")
        self._login = login
        self._logout = logout
        self._spawn = spawn
        self._store = store
        self._owner = owner
        self._events = events or EventBus()
        self._clock = clock
        self._live = None if given is None else Token(value=given, generation=0, born=clock(), given=True)
        self._dead: Token | None = None
        self._flight: asyncio.Task[Token | UContactError] | None = None
        self._joined = False
        self._closed = False

    def peek(self) -> Token | None:
        """Return the live token, ``None`` where :meth:`current` would have to wait or to raise."""
        return self._live

    async def current(self) -> Token:
        """Return the live token, after a login if there is none; all who wait share its token or its failure."""
        if self._closed:
            raise RuntimeError("the client is closed")
        if self._live is not None:
            return self._live
        flight = self._flight
        if flight is None or flight.done():
            flight = self._flight = self._spawn(self._renew())
        # wait() and not await: a cancelled waiter must not take the login with it.
        await asyncio.wait([flight])
        if flight.cancelled():
            raise NotSent("login failed: the client was closed meanwhile", transient=False)
        outcome = flight.result()
        if isinstance(outcome, Token):
            return outcome
        # One instance raised by two hundred waiters would collect two hundred tracebacks.
        raise copy.copy(outcome)

    async def replace(self, refused: Token) -> Token:
        """Return a token other than ``refused``, after a login only if ``refused`` is still the live one."""
        if refused.given:
            raise Unauthorized("the given token was refused; give a new one, or user and password", status=401)
        if self._live is not None and _same(self._live, refused):
            early = self._clock() - refused.born < YOUNG
            self._dead = msgspec.structs.replace(self._live, deaths=self._live.deaths + 1 if early else 0)
            self._live = None
        return await self.current()

    async def aclose(self) -> None:
        """End the session if it is ours to end; never raise, never take longer than ``GRACE``."""
        if self._closed:
            return
        self._closed = True
        try:
            with anyio.move_on_after(GRACE, shield=True) as scope:
                await self._finish()
            if scope.cancelled_caught:
                _log.warning("the session was not ended: no answer within %g s", GRACE, extra=_left("TimeoutError"))
        finally:
            self._live = None
            if self._flight is not None:
                self._flight.cancel()
            if self._store is not None and self._joined:
                # Time ran out before the lock was free: whoever has it is a holder too, and will end the session.
                self._joined = False
                with contextlib.suppress(UContactError, OSError):
                    await self._store.leave()

    async def _renew(self) -> Token | UContactError:
        # Returned, not raised: the failure belongs to the waiters, not to whoever owns the task.
        try:
            token = await (self._log_in(0) if self._store is None else self._share(self._store))
        except UContactError as error:
            failure = _for_waiters(error)
            self._events.publish(LoginFailed(error=type(failure).__name__, reason=str(failure)))
            return failure
        self._live = token
        return token

    async def _share(self, store: TokenStore) -> Token:
        async with store.lock():
            if not self._joined:
                await store.join(self._owner)
                self._joined = True
            stored = await store.read()
            if stored is not None and not (self._dead is not None and _same(self._dead, stored)):
                born = self._clock() - stored.age
                return Token(value=stored.value, generation=stored.generation, born=born, deaths=stored.deaths)
            token = await self._log_in(0 if stored is None else stored.generation)
            try:
                await store.write(value=token.value, generation=token.generation, deaths=token.deaths)
            except UContactError:
                await self._end(token.value)
                raise
            return token

    async def _log_in(self, newest: int) -> Token:
        if self._closed:
            raise NotSent("the client was closed meanwhile", transient=False)
        deaths = 0
        if self._dead is not None:
            newest = max(newest, self._dead.generation)
            deaths = self._dead.deaths
            if deaths >= 2 and self._clock() - self._dead.born < YOUNG:
                raise SessionStolen(
                    "someone else logs in as this user: two tokens in a row died within a minute; "
                    "give the API a user of its own, or share the login through a FileTokenStore",
                    status=401,
                )
        value = Secret(await self._login())
        self._events.publish(LoggedIn(generation=newest + 1))
        return Token(value=value, generation=newest + 1, born=self._clock(), deaths=deaths)

    async def _finish(self) -> None:
        if self._flight is not None and not self._flight.done():
            await asyncio.wait([self._flight])
        if self._store is not None and self._joined:
            try:
                await self._leave(self._store)
            except (UContactError, OSError) as error:
                _log.warning("the shared session was not ended: %s", error, extra=_left(type(error).__name__))
        elif self._live is not None and not self._live.given:
            await self._end(self._live.value)

    async def _leave(self, store: TokenStore) -> None:
        # The logout too is under the lock: a process that starts meanwhile logs in after it, not before.
        async with store.lock():
            self._joined = False
            if not await store.leave():
                return
            last = await store.read() or self._live
            if last is not None and not (self._dead is not None and _same(self._dead, last)):
                await self._end(last.value)
            await store.clear()

    async def _end(self, value: Secret) -> None:
        try:
            await self._logout(value.reveal())
        except (UContactError, OSError) as error:
            # Its class only: what a server answers to a token may hold that token.
            name = type(error).__name__
            _log.warning("the session was not ended: %s", name, extra=_left(name))


def _left(error: str) -> dict[str, str]:
    """Return the fields of a log record about a session that lives on."""
    return {"ucontact_event": "SessionNotEnded", "ucontact_error": error}


def _same(one: Token, other: Token | StoredToken) -> bool:
    # Both: a removed file starts at generation 1 again, and a server may answer a login with the same token.
    return one.generation == other.generation and one.value == other.value


def _for_waiters(error: UContactError) -> UContactError:
    """Return what a command that waited for this login gets: an error that says that it did not happen."""
    if isinstance(error, Unauthorized | SettingsError | InvalidRequest):
        return error
    if isinstance(error, NotSent):
        return NotSent(f"login failed: {error.reason}", transient=error.transient)
    if isinstance(error, UnreadableReply):
        # Its text quotes the answer, and the answer to a login may hold a token.
        return NotSent("login failed: the server's answer holds no token in any known form")
    transient = isinstance(error, Throttled) or not isinstance(error, Refused)
    return NotSent(f"login failed: {error}", transient=transient)
