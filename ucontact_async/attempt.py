"""One try at one request: what is sent, how far it got, and what every way to the server does with it.

Phases, and never the type of an exception, say how far (``reliability.md`` F2).
"""

from __future__ import annotations

import asyncio
import contextlib
import enum
import socket
import struct
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Protocol

import msgspec

from .uploads import LargeBody
from .wire import Answer

if TYPE_CHECKING:
    from .desync import Handler
    from .endpoint import Flight

__all__ = ["ANSWERED", "Attempt", "Lane", "Outgoing", "Phase"]


class Phase(enum.Enum):
    """How far an attempt got."""

    WAITING = "waiting"
    """No byte has left: waiting for a connection."""
    SENT = "sent"
    """The first byte may have left."""
    ANSWERED = "answered"
    """The head of an answer came back."""


# Up to Python 3.11 an attribute of an enum takes 900 instructions, a name of a module 50.
_SENT = Phase.SENT
ANSWERED = Phase.ANSWERED
"""What each request comes to: :attr:`Phase.ANSWERED`."""


class Outgoing(msgspec.Struct, frozen=True, gc=False):
    """What a lane sends: a POST of ``body`` to ``path``, ``timeout`` seconds and ``limit`` bytes for its answer."""

    path: str
    body: bytes
    authorization: str | None
    timeout: float
    limit: int

    def __repr__(self) -> str:
        return f"Outgoing({self.path}, {len(self.body)} bytes)"


class Attempt(msgspec.Struct, kw_only=True, eq=False):
    """One try at one request; made by the caller, written by the lane.

    ``send_by`` is the moment on ``clock`` after which the first byte must not leave, ``may_leave`` has the last word on
    it. ``reused`` says whether the connection has carried an earlier request.
    """

    send_by: float | None = None
    clock: Callable[[], float] | None = None
    phase: Phase = Phase.WAITING
    incomplete: bool = False
    stale: bool = False
    guarded: bool = False
    reused: bool = False
    may_leave: Callable[[], bool] | None = None
    large: LargeBody | None = None
    transport: asyncio.Transport | None = None
    flight: Flight | None = None
    handler: Handler | None = None
    link: Any = None

    @property
    def left(self) -> bool:
        """Whether the first byte may have left."""
        return self.phase is not Phase.WAITING

    def forbid(self) -> None:
        """See to it that the first byte does not leave any more."""
        self.clock, self.send_by = (lambda: 0.0), -1.0

    def expired(self) -> bool:
        """Whether it is too late for the first byte."""
        late = self.send_by is not None and self.clock is not None and self.clock() > self.send_by
        return late or (self.may_leave is not None and not self.may_leave())

    def connected(self, transport: asyncio.Transport | None, *, reused: bool) -> None:
        """Note the connection; from here on the first byte may leave at any moment."""
        self.transport = transport
        self.reused = reused
        self.stale = False
        self.phase = _SENT

    def take_flight(self) -> Flight | None:
        """Return whose try it is and forget it: each knows the other, and nobody would collect so many circles."""
        flight, self.flight = self.flight, None
        return flight

    def held_back(self) -> None:
        """Note that the connection was given up before a byte was handed to it."""
        # A fresh one is not replaced at once: a server that accepts and resets would be asked without a pause.
        self.stale = self.reused
        self.phase = Phase.WAITING

    def divide(self, body: bytes) -> LargeBody:
        """Return ``body`` to be written in pieces; from here on it is known which of them are left."""
        self.large = LargeBody(body)
        return self.large

    def abort(self) -> None:
        """Drop the connection at once, and note whether a part of the request never left it.

        ``incomplete`` is only claimed for bytes that are still ours and stay so: the last piece of a large body that
        was not handed to the transport, or bytes in the transport's buffer, which it gives to the system in order and,
        aborted, throws away. Nothing is awaited between the look and the abort, a piece counts as handed over before
        it is, and a writer that wakes up later finds the transport closed. A server cannot have read such a request
        whole. The reverse is not claimed: bytes that the system, or under TLS the socket's own transport, has taken may
        never have arrived, and a transport that is told of a reset has emptied its buffer: both are unknown.

        A plain close would go on uploading behind our back (``reliability.md`` F4).
        """
        if self.large is not None and self.large.unwritten:
            self.incomplete = True
        transport, self.transport = self.transport, None
        # Closed twice, or closed when it was lost, asyncio's TLS transport fails at whatever it is asked.
        if transport is None or getattr(transport, "_ssl_protocol", transport) is None:
            return
        # Windows' proactor counts what the system has been given too: that may have left.
        if transport.get_write_buffer_size() > getattr(transport, "_pending_write", 0):
            self.incomplete = True
        sock = transport.get_extra_info("socket")
        if sock is not None:
            # ValueError: uvloop's word for a socket that is closed already
            with contextlib.suppress(OSError, ValueError):
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        transport.abort()


class Lane(Protocol):
    """A way to the server."""

    @property
    def name(self) -> str:
        """The way that commands take."""
        ...

    def begin(self, outgoing: Outgoing, body: bytes, attempt: Attempt, tell: Callable[[Answer | None], None]) -> bool:
        """Send ``body`` as ``outgoing`` if nothing has to be waited for; ``False`` says that nothing was done.

        ``tell`` gets the answer in the step that reads it, or ``None``: :meth:`exchange` has what became of it then.
        """
        ...

    async def exchange(self, outgoing: Outgoing, attempt: Attempt) -> Answer:
        """Send, unless that was begun, and return the answer; raise ``NotSent``, ``ReplyLost``, ``UnreadableReply``."""
        ...

    async def aclose(self) -> None:
        """Close all connections."""
        ...
