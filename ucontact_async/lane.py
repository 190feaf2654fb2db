"""The command lane: small requests over connections leased from aiohttp's connector, one at a time on each.

DNS, TLS and connecting stay aiohttp's, and so does every answer that is not exactly the expected one. In between stands
one buffer, one write and one future a request. What may go this way is decided here; what an answer means is not.
"""

from __future__ import annotations

import asyncio
import logging
import math
from collections.abc import Callable
from threading import get_ident
from typing import TYPE_CHECKING, Any, cast

import aiohttp
from aiohttp.http import HttpProcessingError

from .answers import Heads, unchunked
from .desync import LOOK, AnswerLog, Handler, readable, second
from .errors import UnreadableReply, bare
from .pool import KEEPALIVE, Attempt, Outgoing, Phase, SessionLane, expired, failure_of
from .wire import COMMAND_LIMIT, Answer

if TYPE_CHECKING:
    from aiohttp.client_proto import ResponseHandler
    from aiohttp.connector import Connection

__all__ = ["CommandLane"]

_log = logging.LoggerAdapter(logging.getLogger(__name__), {"ucontact_event": "Lane"})

# An expected answer, head and body; a longer one is read by aiohttp. One for every connection.
ROOM = 8_192
# A body of which a part may have to wait for the server; the session lane knows how far it got.
LARGEST = 16_384
# A connection that was answered so lately is not asked whether something waits on it: a system call a request. Until
# one of them has ended without a "Connection: close".
LATELY = 0.001


class _Unfit(Exception):
    """Connections of this event loop or of this aiohttp cannot be driven by us."""


class Link(asyncio.BufferedProtocol):
    """One leased connection, either idle or with one request on it."""

    __slots__ = (
        "_buffer",
        "_connection",
        "_filled",
        "_handler",
        "_heads",
        "_lane",
        "_view",
        "answers",
        "attempt",
        "deadline",
        "log",
        "quiet_since",
        "transport",
        "waiter",
    )

    def __init__(self, connection: Connection, lane: CommandLane, heads: Heads, *, answers: int) -> None:
        """Take a connection that gave so many ``answers`` over from aiohttp; ``_Unfit`` if it does not let go."""
        transport, handler = connection.transport, connection.protocol
        if transport is None or handler is None:
            raise _Unfit
        self.transport: asyncio.Transport = transport
        self.waiter: asyncio.Future[Answer | None] | None = None
        self.attempt: Attempt | None = None
        self.deadline = math.inf
        self.quiet_since = 0.0
        self.answers = answers
        self.log = handler.log if isinstance(handler, Handler) else AnswerLog()
        self._handler: ResponseHandler = handler
        self._connection = connection
        self._lane = lane
        self._heads = heads
        self._buffer = bytearray(ROOM)
        self._view = memoryview(self._buffer)
        self._filled = 0
        try:
            transport.set_protocol(self)
            mine = cast("object", transport.get_protocol()) is self
        except (AttributeError, NotImplementedError, TypeError):
            mine = False
        if not mine:
            raise _Unfit

    def send(self, head: bytes, outgoing: Outgoing, attempt: Attempt, deadline: float) -> asyncio.Future[Answer | None]:
        """Write one request; the future holds its answer, or ``None`` for one that :meth:`read_on` has to read."""
        self.deadline = deadline
        self.attempt = attempt
        waiter: asyncio.Future[Answer | None] = self._lane.loop.create_future()
        self.waiter = waiter
        attempt.connected(self.transport, reused=self.answers > 0)
        self.transport.write(b"%b%d\r\n\r\n%b" % (head, len(outgoing.body), outgoing.body))
        return waiter

    # A memoryview: what is written to a bytearray gets lost over TLS (python/cpython#156275).
    def get_buffer(self, sizehint: int) -> memoryview:
        """Return the room for what comes next."""
        return self._view[self._filled :] if self._filled else self._view

    def buffer_updated(self, nbytes: int) -> None:
        """Read what came."""
        self._filled += nbytes
        waiter = self.waiter
        if waiter is None:
            self.log.surplus(bytes(self._view[: self._filled]))
            self._lane.drop(self)
            return
        if waiter.done():  # given up this very turn: too late for anyone
            self._filled = 0
            return
        try:
            answer = self._read()
        except ValueError:
            self.waiter = None
            self._handler.set_response_params(read_until_eof=True, auto_decompress=False)
            self.transport.set_protocol(self._handler)
            self._handler.data_received(bytes(self._view[: self._filled]))
            waiter.set_result(None)
        except UnreadableReply as error:
            waiter.set_exception(error)
        else:
            if answer is not None:
                waiter.set_result(answer)

    def _read(self) -> Answer | None:
        """Return the answer, ``None`` while it is not whole; ``ValueError`` if aiohttp has to read it."""
        filled = self._filled
        assert self.attempt is not None
        if (known := self._heads.repeated(self._buffer, filled)) is not None:
            self.attempt.phase = Phase.ANSWERED
            self.free(known, keep=True)
            return known
        head = self._heads.find(self._buffer, filled, self._handler)
        if head is None:
            return None
        self.attempt.phase = Phase.ANSWERED
        if head.length is not None:
            end = head.size + head.length
            body = bytes(self._view[head.size : end]) if filled >= end else None
        elif (found := unchunked(bytes(self._view[head.size : filled]))) is not None:
            body, end = found[0], head.size + found[1]
        else:
            body, end = None, 0
        if body is None:
            if filled == ROOM:
                raise ValueError
            return None
        # The first answer that a connection ever gives cannot be that of an earlier request.
        if filled > end and self.answers:
            raise self.log.twice(200, bytes(self._view[end:filled]))
        answer = Answer(200, head.headers, body)
        if keep := filled == end and not head.closes:
            self._heads.remember(bytes(self._view[:filled]), answer)
        self.free(answer, keep=keep)
        return answer

    async def read_on(self, outgoing: Outgoing, attempt: Attempt, deadline: float) -> Answer:
        """Return the answer that aiohttp's parser reads."""
        handler = self._handler
        async with asyncio.timeout_at(deadline):
            try:
                while True:
                    message, payload = await handler.read()
                    if not 100 <= message.code <= 199 or message.code == 101:
                        break
            except HttpProcessingError:
                raise UnreadableReply("the bytes that came back are not an HTTP answer") from None
            attempt.phase = Phase.ANSWERED
            body = bytearray()
            while chunk := await payload.readany():
                body += chunk
                if len(body) > outgoing.limit:
                    raise UnreadableReply(f"the answer is longer than {outgoing.limit} bytes", status=message.code)
        if handler._buffer and self.answers:  # noqa: SLF001  the only sign of a second answer behind the first
            raise self.log.twice(message.code, second(handler))
        if keep := not handler.should_close:
            self.transport.set_protocol(self)
        framed = "Content-Length" in message.headers or "Transfer-Encoding" in message.headers
        answer = Answer(message.code, message.headers, bytes(body), weak=not framed)
        self.free(answer, keep=keep)
        return answer

    def free(self, answer: Answer, *, keep: bool) -> None:
        """Be done with the request: be idle, or be closed."""
        assert self.attempt is not None
        self.log.enter(self.attempt.take_flight(), answer, first=not self.answers)
        self.attempt.transport = None  # who wakes cancelled must not abort what is another's by then
        self.waiter = self.attempt = None
        self.deadline, self._filled = math.inf, 0
        self.answers += 1
        self._lane.freed(self, keep=keep)

    def give_back(self) -> None:
        """Return the connection to aiohttp's pool."""
        self.transport.set_protocol(self._handler)
        self._connection.release()

    def close(self) -> None:
        """Close the connection."""
        self.log.clear()
        self._connection.close()

    def pause_writing(self) -> None:
        """Let aiohttp know."""
        self._handler.pause_writing()

    def resume_writing(self) -> None:
        """Let aiohttp know."""
        self._handler.resume_writing()

    def connection_lost(self, exc: Exception | None) -> None:
        """Let everyone know: aiohttp's connector waits for it when it closes."""
        self._handler.connection_lost(exc)
        self._lane.lost(self)
        if self.waiter is not None and not self.waiter.done():
            answered = self.attempt is not None and self.attempt.phase is Phase.ANSWERED
            lost = aiohttp.ClientPayloadError() if answered else exc or aiohttp.ServerDisconnectedError()
            self.waiter.set_exception(lost)
        else:
            self._lane.drop(self)


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

    async def exchange(self, outgoing: Outgoing, attempt: Attempt) -> Answer:
        """Send and return the answer; a connection found dead before the first byte is replaced, not reported."""
        if outgoing.limit > self._limit or len(outgoing.body) > LARGEST or not self._fit:
            return await self._session.exchange(outgoing, attempt)
        link = self._ready()
        seconds = outgoing.timeout
        try:
            if link is None:
                link, seconds = await self._lease(seconds)
                if link is None:
                    return await self._session.exchange(outgoing, attempt)
            if attempt.expired():
                raise expired()
            deadline = self._deadline(seconds)
            # The head shows the token: no local of this frame, which an error's traceback may show.
            answer = await link.send(self._head(outgoing), outgoing, attempt, deadline)
            if answer is None:
                answer = await link.read_on(outgoing, attempt, deadline)
        except BaseException as error:
            attempt.abort()
            if link is not None and link.attempt in (attempt, None):
                self.drop(link)
            failure = failure_of(error, attempt, outgoing)
            if failure is None:
                raise
        else:
            return answer
        # Out of the except block: the reprs of aiohttp's errors show the Authorization header.
        raise bare(failure)

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

    def _ready(self) -> Link | None:
        """Return an idle connection of the running loop on which nothing waits."""
        # To ask for the running loop is a system call up to Python 3.11; no thread runs two.
        if self._thread != get_ident() or not self.loop.is_running():
            return None
        while self._idle:
            link = self._idle.pop()
            quiet = self.loop.time() - link.quiet_since
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
        except _Unfit:
            connection.close()
            if self._fit:
                _log.warning("the command lane does not work with this event loop: all calls take the session lane")
            self._fit = False
            return None, left
        self._links.add(link)
        return link, left

    def _deadline(self, seconds: float) -> float:
        """Return the moment in so many ``seconds``, at which what is not answered is ended."""
        deadline: float = self.loop.time() + seconds
        if deadline < self._wakes:
            self._wake(deadline)
        return deadline

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
            if link.deadline <= now and link.waiter is not None and not link.waiter.done():
                link.waiter.set_exception(TimeoutError())
            elif link.attempt is None and now - link.quiet_since > self._keepalive:
                self.drop(link)
        self._idle = [link for link in self._idle if link in self._links]
        if self._links:
            waiting = [link.deadline for link in self._links if link.deadline > now]
            self._wake(min(now + self._keepalive, *waiting, math.inf))
