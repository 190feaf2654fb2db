"""One connection of the command lane, leased from aiohttp: one request at a time, written at once and read strictly.

What is not exactly the expected answer is given to aiohttp's own parser. Which connection a request takes is the lane's
business, what an answer means nobody's here.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Protocol, cast

import aiohttp
from aiohttp.http import HttpProcessingError

from .answers import Heads, unchunked
from .attempt import ANSWERED, Attempt, Outgoing
from .desync import AnswerLog, Handler, second
from .errors import UnreadableReply
from .wire import Answer

if TYPE_CHECKING:
    from aiohttp.client_proto import ResponseHandler
    from aiohttp.connector import Connection

__all__ = ["ROOM", "Link", "Owner", "Unfit"]

# An expected answer, head and body; a longer one is read by aiohttp. One for every connection.
ROOM = 8_192


class Unfit(Exception):
    """Connections of this event loop or of this aiohttp cannot be driven by us."""


class Owner(Protocol):
    """Whoever has many connections, and is told what becomes of each."""

    loop: Any

    def freed(self, link: Link, *, keep: bool) -> None:
        """Keep a connection whose request was answered, or close it."""

    def drop(self, link: Link) -> None:
        """Close a connection and forget it."""

    def lost(self, link: Link) -> None:
        """Note that the server closed a connection."""


class Link(asyncio.BufferedProtocol):
    """One leased connection, either idle or with one request on it."""

    __slots__ = (
        "_buffer",
        "_connection",
        "_filled",
        "_handler",
        "_heads",
        "_lane",
        "_tell",
        "_view",
        "_waiter",
        "answers",
        "attempt",
        "deadline",
        "log",
        "quiet_since",
        "transport",
    )

    def __init__(self, connection: Connection, lane: Owner, heads: Heads, *, answers: int) -> None:
        """Take a connection that gave so many ``answers`` over from aiohttp; ``Unfit`` if it does not let go."""
        transport, handler = connection.transport, connection.protocol
        if transport is None or handler is None:
            raise Unfit
        self.transport: asyncio.Transport = transport
        self._waiter: asyncio.Future[Answer | None] | None = None
        self._tell: Callable[[Answer | None], None] | None = None
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
            raise Unfit

    def send(
        self,
        head: bytes,
        body: bytes,
        attempt: Attempt,
        deadline: float,
        tell: Callable[[Answer | None], None] | None = None,
    ) -> None:
        """Write one request.

        ``tell`` gets its answer in the very step that reads it, or ``None`` for anything else: :meth:`ended` tells the
        rest, and all of it where there is no ``tell``.
        """
        self.deadline = deadline
        self.attempt = attempt
        attempt.link = self
        self._tell = tell
        attempt.connected(self.transport, reused=self.answers > 0)
        self.transport.write(b"%b%d\r\n\r\n%b" % (head, len(body), body))

    def ended(self) -> asyncio.Future[Answer | None]:
        """Return what will hold the answer, ``None`` for one that :meth:`read_on` has to read, or the error."""
        self._tell = None
        if (waiter := self._waiter) is None:
            waiter = self._waiter = self._lane.loop.create_future()
        return waiter

    def fail(self, error: Exception) -> None:
        """End the request with ``error``, unless it has ended."""
        if self.attempt is not None and (self._waiter is None or not self._waiter.done()):
            self._hand_over().set_exception(error)

    def _hand_over(self) -> asyncio.Future[Answer | None]:
        """Have whoever is only told of an answer wait for the rest, in what is returned."""
        tell = self._tell
        waiter = self.ended()
        if tell is not None:
            tell(None)
        return waiter

    # A memoryview: what is written to a bytearray gets lost over TLS (python/cpython#156275).
    def get_buffer(self, sizehint: int) -> memoryview:
        """Return the room for what comes next."""
        return self._view[self._filled :] if self._filled else self._view

    def buffer_updated(self, nbytes: int) -> None:
        """Read what came."""
        filled = self._filled = self._filled + nbytes
        waiter, attempt, heads = self._waiter, self.attempt, self._heads
        if attempt is None:
            self.log.surplus(bytes(self._view[: self._filled]))
            self._lane.drop(self)
            return
        if waiter is not None and waiter.done():  # given up this very turn: too late for anyone
            self._filled = 0
            return
        try:
            if filled == heads.size and self._buffer.startswith(heads.raw):
                answer = heads.answer
                assert answer is not None
                attempt.phase = ANSWERED
                self.free(answer, keep=True)
            else:
                answer = self._read()
        except ValueError:
            self._handler.set_response_params(read_until_eof=True, auto_decompress=False)
            self.transport.set_protocol(self._handler)
            self._handler.data_received(bytes(self._view[: self._filled]))
            self._hand_over().set_result(None)
        except UnreadableReply as error:
            self._hand_over().set_exception(error)
        else:
            if answer is None:
                return
            if waiter is not None:
                waiter.set_result(answer)
            elif (tell := self._tell) is not None:
                self._tell = None
                tell(answer)

    def _read(self) -> Answer | None:
        """Return the answer, ``None`` while it is not whole; ``ValueError`` if aiohttp has to read it."""
        filled = self._filled
        assert self.attempt is not None
        head = self._heads.find(self._buffer, filled, self._handler)
        if head is None:
            return None
        self.attempt.phase = ANSWERED
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
            attempt.phase = ANSWERED
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
        attempt = self.attempt
        assert attempt is not None
        if self.answers:  # the first that a connection ever gives is its own
            self.log.enter(attempt.take_flight(), answer)
        # Who wakes cancelled must not abort what is another's by then; and no circle stays, which nobody would collect.
        attempt.flight = attempt.transport = attempt.link = None
        self._waiter = self.attempt = None
        self.deadline = math.inf
        self._filled = 0
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
        if self.attempt is not None and (self._waiter is None or not self._waiter.done()):
            answered = self.attempt.phase is ANSWERED
            self.fail(aiohttp.ClientPayloadError() if answered else exc or aiohttp.ServerDisconnectedError())
        else:
            self._lane.drop(self)
