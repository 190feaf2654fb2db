"""What was answered over one connection, for the moment it gives an answer too many: whose answers may be others'.

HTTP/1.1 numbers nothing: an answer that nobody asked for and that crosses a request on the wire is taken for its own,
and each answer after it for that of the next request, until one comes while nothing is asked. Nobody can tell then
where that began, but an answer that is like those after it is right wherever it did.
"""

from __future__ import annotations

import asyncio
import logging
import select
from collections.abc import Callable
from typing import TYPE_CHECKING

from aiohttp.client_proto import ResponseHandler

from .errors import UnreadableReply

if TYPE_CHECKING:
    from .endpoint import Flight
    from .wire import Answer

__all__ = ["LOOK", "STRAYS", "AnswerLog", "Handler", "LastLooks", "readable", "second"]

_log = logging.getLogger(__name__)

STRAYS = 8
"""How many answers too many one connection may have given without a call that is in doubt being left out."""

_ROOM = 64
"""Calls in doubt, should one come too many, after which a connection is used no more: each is held in memory."""

LOOK = 1.0
"""For how many seconds what a connection still gives is read that is used no more."""

# What a server says that closes an idle connection: that it has read no request, so this is the answer to none.
_IDLE = (b"HTTP/1.1 408 ", b"HTTP/1.0 408 ")


# What poll is asked for; 0 where there is no poll.
_SIGNS: int = select.POLLIN | getattr(select, "POLLRDHUP", 0) if hasattr(select, "poll") else 0


def readable(transport: asyncio.Transport) -> bool:
    """Return whether bytes or the end of the stream wait on an idle connection: it must not be used again."""
    sock = transport.get_extra_info("socket")
    if sock is None or (number := sock.fileno()) < 0:
        return True
    if not _SIGNS:
        return bool(select.select([number], [], [], 0)[0])
    poller = select.poll()
    poller.register(number, _SIGNS)
    return bool(poller.poll(0))


class AnswerLog:
    """The calls answered over one connection whose answers may be those of their neighbours.

    With n answers too many the answer to a call is the one that it got or one of the n that follow. So it is out of
    doubt once the same answer has come :data:`STRAYS` times more; of a server that answers alike, eight calls are kept.
    """

    __slots__ = ("_calls", "_last", "_same", "full")

    def __init__(self) -> None:
        self.full = False
        """Whether the connection should be used no more, for what is held of it."""
        self._calls: list[Flight | None] = []
        self._last: Answer | None = None
        self._same = 0

    def enter(self, call: Flight | None, answer: Answer) -> None:
        """Note that ``call`` was given ``answer``; not the first one of a connection, which is its own."""
        calls, last = self._calls, self._last
        calls.append(call)
        if answer is not last and (last is None or answer.body != last.body or answer.status != last.status):
            self._last, self._same = answer, 1
        elif self._same == STRAYS:
            del calls[-STRAYS - 1]
            return
        else:
            self._same += 1
        self.full = len(calls) > _ROOM

    def surplus(self, data: bytes) -> None:
        """Note that ``data`` came and nobody had asked: tell each call that its answer may be that of another."""
        if not data.startswith(_IDLE):
            self.doubt()

    def doubt(self) -> None:
        """Tell each call in doubt, and forget it."""
        calls = [call for call in self._calls if call is not None]
        self.clear()
        _log.warning(
            "a connection gave an answer more than it was asked for: %d outcomes that came over it may be those of "
            "their neighbours; connection='fresh' rules that out",
            len(calls),
            extra={"ucontact_event": "Desynchronised", "ucontact_calls": len(calls)},
        )
        for call in calls:
            call.doubt()

    def twice(self, status: int, rest: bytes = b"") -> UnreadableReply:
        """Tell each call in doubt, and return the error of the one that was given two answers at once.

        ``rest`` is the beginning of the second, where it is known.
        """
        self.surplus(rest)
        return UnreadableReply("more than one answer came for one request", status=status)

    def clear(self) -> None:
        """Forget all calls: nothing that comes over the connection will be read."""
        self._calls.clear()
        self._last, self._same, self.full = None, 0, False


class LastLooks:
    """Connections that are used no more: closed when what they still give was read, or at the end."""

    def __init__(self) -> None:
        self._timers: dict[Callable[[], None], asyncio.TimerHandle] = {}

    def begin(self, close: Callable[[], None]) -> None:
        """Have ``close`` called in :data:`LOOK` seconds."""
        self._timers[close] = asyncio.get_running_loop().call_later(LOOK, self._end, close)

    def end(self) -> None:
        """Close them all."""
        for close in [*self._timers]:
            self._end(close)

    def _end(self, close: Callable[[], None]) -> None:
        self._timers.pop(close).cancel()
        close()


def second(handler: ResponseHandler) -> bytes:
    """Return how an answer begins that was read behind another."""
    (message, _), _ = handler._buffer[0]  # noqa: SLF001  the only sign of it
    return b"HTTP/1.1 %d " % message.code


class Handler(ResponseHandler):
    """aiohttp's end of a connection, which knows whether anything was asked when something comes."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__(loop)
        self.used = False
        """Whether it was handed out before."""
        self.asked = 0
        """How many requests were written."""
        self.log = AnswerLog()
        self._answers = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Have asyncio read answers into 16 KiB instead of 256: on glibc a bigger buffer costs three system calls."""
        if isinstance(getattr(transport, "max_size", None), int):
            transport.max_size = 16_384  # type: ignore[attr-defined]  # an attribute of asyncio's own socket transport
        super().connection_made(transport)

    def answered(self, call: Flight | None, answer: Answer) -> None:
        """Note that ``call`` was given ``answer``; :class:`UnreadableReply` if another one came with it."""
        self._answers += 1
        if self._answers == 1:
            return
        if self._buffer:
            raise self.log.twice(answer.status, second(self))
        self.log.enter(call, answer)
        if self.log.full:
            self.force_close()

    def data_received(self, data: bytes) -> None:
        """Read it; what nobody asked for ends the connection."""
        if data and self.used and self.asked == self._answers:
            self.log.surplus(data)
            self.close()
        else:
            super().data_received(data)
