"""The connection pool over aiohttp's connector, and the session lane: bytes out, :class:`Answer` in.

This file knows how far a failed attempt got, by phase and never by the type of an exception (``reliability.md``
F2). It does not know what an answer means, who is asking, or whether anyone will try again.
"""

from __future__ import annotations

import asyncio
import functools
import os
import ssl
from collections.abc import Callable
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any

import aiohttp

from .attempt import Attempt, Outgoing, Phase
from .desync import Handler, LastLooks, readable
from .errors import NotSent, ReplyLost, UContactError, UnreadableReply, bare
from .trust import trust_of
from .uploads import PIECE
from .wire import CONTENT_TYPE, Answer, address

if TYPE_CHECKING:
    from aiohttp.client import ClientTimeout
    from aiohttp.connector import Connection
    from aiohttp.tracing import Trace

    from .settings import Settings

__all__ = [
    "CONNECT_TIMEOUT",
    "KEEPALIVE",
    "SessionLane",
    "cause_of",
    "expired",
    "failure_of",
    "not_sent",
    "readable",
]

CONNECT_TIMEOUT = 5.0
# Below the idle limits of the servers seen in front of such APIs: Apache 5 s, Tomcat 20 s, nginx 75 s.
KEEPALIVE = 4.0


_ATTEMPT: ContextVar[Attempt] = ContextVar("ucontact_async_attempt")


def _usable(connection: Connection, probe: Callable[[asyncio.Transport], bool]) -> bool:
    protocol, transport = connection.protocol, connection.transport
    if protocol is None or transport is None or transport.is_closing() or protocol.should_close:
        return False
    return not probe(transport)


class _GuardedConnector(aiohttp.TCPConnector):
    """Never hands out a poisoned connection, and tells the attempt when it has one (``reliability.md`` F5)."""

    def __init__(
        self, probe: Callable[[asyncio.Transport], bool], context: ssl.SSLContext | bool, *, fresh: bool
    ) -> None:
        # The limiter alone decides how many are in flight; a limit here would be a second queue.
        if fresh:
            super().__init__(limit=0, ssl=context, force_close=True)
        else:
            super().__init__(limit=0, ssl=context, keepalive_timeout=KEEPALIVE)
        self.probe = probe
        self.last_looks = LastLooks()
        self._factory: functools.partial[Any] = functools.partial(Handler, loop=asyncio.get_running_loop())

    async def connect(
        self,
        req: aiohttp.ClientRequest,
        traces: list[Trace],
        timeout: ClientTimeout,  # noqa: ASYNC109  aiohttp's own signature
    ) -> Connection:
        attempt = _ATTEMPT.get()
        while True:
            connection = await super().connect(req, traces, timeout)
            protocol = connection.protocol
            assert isinstance(protocol, Handler)
            reused, protocol.used = protocol.used, True
            # Asked again before the first byte; but what the loop reads until then, half an answer, nobody can see.
            if not reused or _usable(connection, self.probe):
                break
            if protocol.should_close:
                connection.close()
            else:
                self.last_looks.begin(connection.close)
        if attempt.expired():
            connection.release()
            raise expired()
        attempt.connected(connection.transport, reused=reused)
        attempt.handler = protocol
        protocol.asked += attempt.guarded
        return connection


class _GuardedRequest(aiohttp.ClientRequest):
    """Asks the guard in the very step that writes; below Python 3.12 that is a loop turn after the connection."""

    async def write_bytes(self, writer: Any, conn: Connection, content_length: int | None = None) -> None:
        attempt = _ATTEMPT.get()
        connector = conn._connector  # noqa: SLF001  the only way from a connection to its guard
        # A fresh TLS connection may hold a session ticket that nobody has read yet: only reused ones are asked.
        poisoned = attempt.reused and isinstance(connector, _GuardedConnector) and not _usable(conn, connector.probe)
        if poisoned or conn.transport is None or conn.transport.is_closing() or attempt.expired():
            attempt.held_back()
            # Not conn.close(): from Python 3.12 on this runs inside send(), which needs the connection to fail by.
            if conn.transport is not None:
                conn.transport.abort()
            return
        if attempt.handler is not None:
            attempt.handler.asked += not attempt.guarded
        attempt.guarded = True
        await super().write_bytes(writer, conn, content_length)


class SessionLane:
    """The lane that takes everything: one aiohttp session, opened in the running loop at the first request."""

    def __init__(self, settings: Settings, *, probe: Callable[[asyncio.Transport], bool] = readable) -> None:
        """``probe`` says whether something waits on an idle connection."""
        self._settings = settings
        self._probe = probe
        self._session: aiohttp.ClientSession | None = None
        self._loop: asyncio.AbstractEventLoop | None = None

    name = "session"

    def begin(self, outgoing: Outgoing, body: bytes, attempt: Attempt, tell: Callable[[Answer | None], None]) -> bool:
        """Say that there is always something to wait for."""
        return False

    async def exchange(self, outgoing: Outgoing, attempt: Attempt) -> Answer:
        """Send and return the answer; a connection found dead before the first byte is replaced, not reported."""
        session = self._open()
        token = _ATTEMPT.set(attempt)
        try:
            async with asyncio.timeout(outgoing.timeout):
                while True:
                    attempt.stale = False
                    attempt.guarded = not outgoing.body  # then aiohttp asks nobody
                    try:
                        return await self._post(session, outgoing, attempt)
                    except (aiohttp.ClientError, OSError):
                        if not attempt.stale or attempt.expired():
                            raise
        except BaseException as error:
            attempt.abort()
            failure = failure_of(error, attempt, outgoing)
            if failure is None:
                raise
        finally:
            _ATTEMPT.reset(token)
        # Out of the except block: the reprs of aiohttp's errors show the Authorization header.
        raise bare(failure)

    async def aclose(self) -> None:
        """Close all connections."""
        session, self._session = self._session, None
        if session is not None:
            if isinstance(session.connector, _GuardedConnector):
                session.connector.last_looks.end()
            await session.close()

    async def lease(self, attempt: Attempt) -> Connection:
        """Return a connection on which nothing waits, for another lane to use; ``attempt`` learns whether it is new.

        Whoever leases it closes or releases it.
        """
        connector = self._open().connector
        assert connector is not None
        token = _ATTEMPT.set(attempt)
        try:
            connection = await connector.connect(self.blank("/", None), [], _timeouts())
            assert attempt.handler is not None
            attempt.handler.asked = -1  # from now on that is another lane's to know
            return connection
        finally:
            _ATTEMPT.reset(token)

    def blank(self, path: str, authorization: str | None) -> aiohttp.ClientRequest:
        """Return what :meth:`exchange` sends for ``path``, but for the body."""
        session = self._open()
        headers = session.headers.copy()
        if authorization is not None:
            headers["Authorization"] = authorization
        loop = asyncio.get_running_loop()
        return aiohttp.ClientRequest("POST", address(self._settings.url, path), headers=headers, loop=loop)

    def _open(self) -> aiohttp.ClientSession:
        loop = asyncio.get_running_loop()
        if self._session is None:
            self._session = self._new_session()
            self._loop = loop
        elif self._loop is not loop:
            raise RuntimeError("a client belongs to the event loop it was first used in; make one client per loop")
        return self._session

    def _new_session(self) -> aiohttp.ClientSession:
        settings = self._settings
        connector = _GuardedConnector(self._probe, trust_of(settings), fresh=settings.connection == "fresh")
        return aiohttp.ClientSession(
            base_url=settings.url,
            connector=connector,
            request_class=_GuardedRequest,
            cookie_jar=aiohttp.DummyCookieJar(),
            timeout=_timeouts(),
            headers={"Content-Type": CONTENT_TYPE, "Accept-Encoding": "identity", "Accept": "*/*"},
            auto_decompress=False,
            raise_for_status=False,
            trust_env=False,
        )

    @staticmethod
    async def _post(session: aiohttp.ClientSession, outgoing: Outgoing, attempt: Attempt) -> Answer:
        response = await session.post(
            outgoing.path,
            data=outgoing.body if len(outgoing.body) <= PIECE else attempt.divide(outgoing.body),
            # No local name: a traceback with locals would show it.
            headers=None if outgoing.authorization is None else {"Authorization": outgoing.authorization},
            allow_redirects=False,
        )
        try:
            if not attempt.left:
                # What was read in the turn between connection and guard was there before our request.
                raise aiohttp.ClientConnectionError
            if not attempt.guarded:
                raise RuntimeError("this version of aiohttp writes past our guard; use one that ucontact-async allows")
            attempt.phase = Phase.ANSWERED
            body = bytearray()
            while chunk := await response.content.readany():
                body += chunk
                if len(body) > outgoing.limit:
                    raise UnreadableReply(f"the answer is longer than {outgoing.limit} bytes", status=response.status)
            if attempt.large is not None and not attempt.large.gone:
                attempt.abort()  # or the rest would go on leaving behind our back
                if response.status < 300:
                    raise UnreadableReply("an answer came before the whole request had left", status=response.status)
        except BaseException:
            response.close()
            raise
        framed = "Content-Length" in response.headers or "Transfer-Encoding" in response.headers
        answer = Answer(response.status, response.headers, bytes(body), weak=not framed)
        if attempt.handler is not None:
            attempt.handler.answered(attempt.take_flight(), answer)
        return answer


def _timeouts() -> aiohttp.ClientTimeout:
    return aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_TIMEOUT)


def expired() -> NotSent:
    """Return what becomes of a request whose time has passed."""
    return NotSent("it was too late for the first byte to leave", transient=False)


def failure_of(error: BaseException, attempt: Attempt, outgoing: Outgoing) -> UContactError | None:
    """Return our error for what aiohttp raised, by how far the attempt got; ``None`` to let ``error`` pass."""
    if not isinstance(error, aiohttp.ClientError | OSError | TimeoutError | ValueError | UContactError):
        return None
    if not attempt.left:
        if isinstance(error, UContactError):
            return error
        return expired() if attempt.expired() else not_sent(error, outgoing.timeout)
    # What a server that has answered already makes of a part of a request is not known.
    if attempt.incomplete and attempt.phase is not Phase.ANSWERED:
        return NotSent("the connection broke before the whole request had left")
    if isinstance(error, UContactError):
        return error
    if isinstance(error, TimeoutError):
        return ReplyLost(f"no whole answer within {outgoing.timeout:g} s", phase=attempt.phase.value)
    if isinstance(error, aiohttp.ClientResponseError):
        # aiohttp makes up a status of 400 for bytes it cannot read (reliability.md F6): not told to anyone.
        return UnreadableReply("the bytes that came back are not an HTTP answer")
    return ReplyLost(f"the connection broke before a whole answer came ({cause_of(error)})", phase=attempt.phase.value)


def not_sent(error: BaseException, timeout: float) -> NotSent:
    """Return what became of an attempt that never got a connection within ``timeout`` seconds."""
    if isinstance(error, aiohttp.ClientConnectorCertificateError):
        return NotSent(f"the server's certificate is not trusted ({cause_of(error)})", transient=False)
    if isinstance(error, aiohttp.ClientConnectorSSLError):
        return NotSent(f"TLS failed ({cause_of(error)})", transient=False)
    if isinstance(error, aiohttp.ClientConnectorDNSError):
        return NotSent("the server's name is not known")
    if isinstance(error, TimeoutError):
        return NotSent(f"no connection within {min(CONNECT_TIMEOUT, timeout):g} s")
    if isinstance(error, ValueError):
        return NotSent("the request cannot be written as HTTP", transient=False)
    return NotSent(f"no connection ({cause_of(error)})")


def cause_of(error: BaseException) -> str:
    """Name the cause without aiohttp's own text, which may hold the URL or headers."""
    tls = getattr(error, "certificate_error", None) or getattr(error, "os_error", error)
    if isinstance(tls, ssl.SSLError):  # whose number is none of the system's; a wrong pin has a text only
        why = getattr(tls, "verify_message", None) or getattr(tls, "reason", None) or tls.args[-1]
        return str(why).lower().replace("_", " ")
    if isinstance(error, OSError) and error.errno is not None and error.errno > 0:
        return os.strerror(error.errno).lower()
    if isinstance(error, aiohttp.ServerDisconnectedError):
        return "the server closed it"
    if isinstance(error, aiohttp.ClientPayloadError):
        return "the answer was cut"
    return type(error).__name__
