"""The command lane: small requests over connections leased from aiohttp's connector, one at a time on each.

DNS, TLS and connecting stay aiohttp's, and so does every answer that is not exactly the expected one. In between stands
one buffer and one write a request (``link.py``). What may go this way is decided here; what an answer means is not.
"""

from __future__ import annotations

import asyncio
import logging
import math
from collections.abc import Callable
from threading import get_ident
from typing import Any

import aiohttp

from .answers import Heads
from .attempt import Attempt, Outgoing
from .desync import LOOK, readable
from .errors import bare
from .link import Link, Unfit
from .pool import KEEPALIVE, SessionLane, expired, failure_of
from .wire import COMMAND_LIMIT, Answer

__all__ = ["CommandLane"]

_log = logging.LoggerAdapter(logging.getLogger(__name__), {"ucontact_event": "Lane"})

# A body of which a part may have to wait for the server; the session lane knows how far it got.
LARGEST = 16_384
# A connection that was answered so lately is not asked whether something waits on it: a system call a request. Until
# one of them has ended without a "Connection: close".
LATELY = 0.001


class CommandLane:
    """The lane for small commands; everything else goes through its session lane."""

    def __init__(
        self,
        session: SessionLane,
        *,
        fresh: bool = False,
        reads: bool = False,
        keepalive: float = KEEPALIVE,
        probe: Callable[[asyncio.Transport], bool] = readable,
    ) -> None:
        """Lease from ``session``; ``fresh``: one request a connection; ``reads``: take long answers too.

        ``keepalive`` is for how many seconds an idle connection is used again; ``probe`` says whether something waits
        on one.
        """
        self._session = session
        self._fresh = fresh
        self._limit = math.inf if reads else COMMAND_LIMIT
        self._keepalive = keepalive
        self._probe = probe
        self._heads = Heads()
        self._written: dict[tuple[str, str | None], bytes] = {}
        self._latest: tuple[Outgoing | None, bytes | None] = None, None
        self._links: set[Link] = set()
        self._idle: list[Link] = []
        self._fit = True
        self._lately = LATELY
        self._timer: asyncio.TimerHandle | None = None
        self._wakes = math.inf
        self._thread = 0
        self.loop: Any = None

    @property
    def name(self) -> str:
        """Which lane commands take: ``command``, or ``session`` where this one cannot be used."""
        return "command" if self._fit else self._session.name

    def begin(self, outgoing: Outgoing, body: bytes, attempt: Attempt, tell: Callable[[Answer | None], None]) -> bool:
        """Send ``body`` as ``outgoing`` if a connection is at hand; ``False`` says that nothing was done.

        ``tell`` gets the answer in the step that reads it, or ``None``: :meth:`exchange` has what became of it then.
        """
        latest, head = self._latest
        if outgoing is not latest or head is None:
            head = self._written.get((outgoing.path, outgoing.authorization)) if self._takes(outgoing, b"") else None
            self._latest = outgoing, head
        loop = self.loop
        # Spelled out: _at_home() would be a tenth of this.
        if head is None or len(body) > LARGEST or self._thread != get_ident() or not loop.is_running():
            return False
        now: float = loop.time()
        if (link := self._ready(now)) is None:
            return False
        deadline = now + outgoing.timeout
        if deadline < self._wakes:
            self._wake(deadline)
        link.send(head, body, attempt, deadline, tell)
        return True

    async def exchange(self, outgoing: Outgoing, attempt: Attempt) -> Answer:
        """Send, unless that was begun, and return the answer.

        A connection found dead before the first byte is replaced, not reported.
        """
        if attempt.link is None and not self._takes(outgoing, outgoing.body):
            return await self._session.exchange(outgoing, attempt)
        try:
            if attempt.link is None and not await self._send(outgoing, attempt):
                return await self._session.exchange(outgoing, attempt)
            assert attempt.link is not None
            link: Link = attempt.link
            deadline = link.deadline
            answer = await link.ended()
            if answer is None:
                answer = await link.read_on(outgoing, attempt, deadline)
        except BaseException as error:
            if (broken := attempt.link) is not None:
                attempt.abort()
                self.drop(broken)
            failure = failure_of(error, attempt, outgoing)
            if failure is None:
                raise
        else:
            return answer
        # Out of the except block: the reprs of aiohttp's errors show the Authorization header.
        raise bare(failure)

    def _takes(self, outgoing: Outgoing, body: bytes) -> bool:
        return self._fit and len(body) <= LARGEST and outgoing.limit <= self._limit

    async def _send(self, outgoing: Outgoing, attempt: Attempt) -> bool:
        """Send over an idle connection or a new one; ``False`` if none can be driven by us."""
        seconds = outgoing.timeout
        if not self._at_home() or (link := self._ready(self.loop.time())) is None:
            link, seconds = await self._lease(seconds)
            if link is None:
                return False
        try:
            if attempt.expired():
                raise expired()
            # The head shows the token: no local of this frame, which an error's traceback may show.
            deadline = self.loop.time() + seconds
            if deadline < self._wakes:
                self._wake(deadline)
            link.send(self._head(outgoing), outgoing.body, attempt, deadline)
        except BaseException:
            if attempt.link is None:
                self.drop(link)
            raise
        return True

    async def aclose(self) -> None:
        """Close all connections, those of the session lane too."""
        if self._timer is not None:
            self._timer.cancel()
        self._timer, self._wakes = None, math.inf
        self._idle.clear()
        for link in tuple(self._links):
            if link.attempt is None and not link.transport.is_closing():
                self._links.discard(link)
                # To aiohttp: its connector waits for the end of each.
                link.give_back()
        await self._session.aclose()

    def _at_home(self) -> bool:
        """Return whether the running loop is that of our connections."""
        # To ask for the running loop is a system call up to Python 3.11; no thread runs two.
        return self._thread == get_ident() and self.loop.is_running()

    def _ready(self, now: float) -> Link | None:
        """Return an idle connection on which nothing waits ``now``."""
        while self._idle:
            link = self._idle.pop()
            quiet = now - link.quiet_since
            if link.transport.is_closing() or quiet > self._keepalive:
                self.drop(link)
            elif quiet > self._lately and self._probe(link.transport):
                self._retire(link)
            else:
                return link
        return None

    async def _lease(self, seconds: float) -> tuple[Link | None, float]:
        """Return a new connection, ``None`` if it turns out that none can be driven by us, and the seconds left."""
        leasing = Attempt()
        loop = asyncio.get_running_loop()
        end = loop.time() + seconds
        async with asyncio.timeout_at(end):
            connection = await self._session.lease(leasing)
        self.loop, self._thread = loop, get_ident()
        left = end - loop.time()
        if (transport := connection.transport) is None or transport.is_closing():
            connection.close()
            raise aiohttp.ServerDisconnectedError  # in the turn that made it: nothing has left
        try:
            link = Link(connection, self, self._heads, answers=int(leasing.reused))
        except Unfit:
            connection.close()
            if self._fit:
                _log.warning("the command lane does not work with this event loop: all calls take the session lane")
            self._fit = False
            return None, left
        self._links.add(link)
        return link, left

    def _head(self, outgoing: Outgoing) -> bytes:
        """Return all that is written before the length of the body."""
        key = (outgoing.path, outgoing.authorization)
        if (written := self._written.get(key)) is not None:
            return written
        request = self._session.blank(*key)
        lines = [f"POST {request.url.raw_path_qs} HTTP/1.1"]
        lines += [f"{name}: {value}" for name, value in request.headers.items() if name != "Content-Length"]
        if self._fresh:
            lines.append("Connection: close")
        if any(not line.isprintable() for line in lines):
            raise ValueError
        if len(self._written) > 100:  # a token lives for hours, and there are few paths
            self._written.clear()
        return self._written.setdefault(key, "\r\n".join([*lines, "Content-Length: "]).encode())

    def freed(self, link: Link, *, keep: bool) -> None:
        """Keep a connection whose request was answered, or close it."""
        if keep and not self._fresh:
            link.quiet_since = self.loop.time()
            if link.log.full:
                self._retire(link)
            else:
                self._idle.append(link)
        else:
            self.drop(link)

    def drop(self, link: Link) -> None:
        """Close a connection and forget it."""
        self._links.discard(link)
        link.close()

    def lost(self, link: Link) -> None:
        """Look twice from now on: this server closes connections without a word."""
        if link in self._links:
            self._lately = -1.0

    def _retire(self, link: Link) -> None:
        """Use a connection no more, and close it when what waits on it, or is about to come, was read."""
        self.loop.call_later(LOOK, self.drop, link)

    def _wake(self, moment: float) -> None:
        """See to it that :meth:`_sweep` runs at ``moment``."""
        if self._timer is not None:
            self._timer.cancel()
        self._wakes = moment
        self._timer = self.loop.call_at(moment, self._sweep)

    def _sweep(self) -> None:
        """End what takes too long and close what was idle too long: one timer for all."""
        self._timer, self._wakes = None, math.inf
        now = self.loop.time()
        for link in tuple(self._links):
            if link.deadline <= now:
                link.fail(TimeoutError())
            elif link.attempt is None and now - link.quiet_since > self._keepalive:
                self.drop(link)
        self._idle = [link for link in self._idle if link in self._links]
        if self._links:
            waiting = [link.deadline for link in self._links if link.deadline > now]
            self._wake(min(now + self._keepalive, *waiting, math.inf))
