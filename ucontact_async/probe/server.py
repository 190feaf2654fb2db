"""One server seen from close by: every answer as it came, bytes, headers and time; nothing is sent again.

It judges nothing.
"""

from __future__ import annotations

import asyncio
import contextlib
import ssl
import time
from collections import Counter
from collections.abc import Awaitable
from typing import Any
from urllib.parse import urlsplit

from ..api.campaigns import Campaigns
from ..api.session import EndSession, GetUserToken, Session, UserLogin
from ..attempt import Attempt, Outgoing
from ..endpoint import Endpoint, Request
from ..errors import NotSent, SettingsError
from ..pool import SessionLane
from ..settings import Settings
from ..text import Rules
from ..trust import trust_of
from ..wire import Answer, read_answer

__all__ = ["CloseServer"]

_HEADERS = 65_536


class CloseServer:
    """Sends by hand what a client would send; ``token`` is the live one.

    ``answers`` counts (endpoint, status, content type, body) of small answers, ``slowest`` is in seconds, ``cookies``
    says that one was set.
    """

    def __init__(self, settings: Settings) -> None:
        """Use the server and the user of ``settings``."""
        self.settings = settings
        self.rules = Rules(settings.timezone, campaign_arrows=settings.profile.campaign_arrows)
        self.token: str | None = None if settings.token is None else settings.token.reveal()
        self.answers: Counter[tuple[str, int, str, bytes]] = Counter()
        self.slowest = 0.0
        self.cookies = False
        self._lane = SessionLane(settings)
        self._tokens: list[str] = []

    async def post(self, endpoint: Endpoint[..., Any], request: Request[Any], *, token: str | None = None) -> Answer:
        """Return what the server answers; raises ``NotSent``, ``ReplyLost`` or ``UnreadableReply``."""
        settings = self.settings
        used = token or self.token
        outgoing = Outgoing(
            path=settings.path(endpoint.path),
            body=endpoint.encode(request, self.rules),
            authorization=f"{settings.token_scheme} {used}" if endpoint.authenticated else None,
            timeout=settings.timeout * endpoint.patience,
            limit=endpoint.reply.limit,
        )
        began = time.monotonic()
        answer = await self._lane.exchange(outgoing, Attempt(clock=time.monotonic))
        self.slowest = max(self.slowest, time.monotonic() - began)
        self.cookies = self.cookies or header(answer, "Set-Cookie") is not None
        if endpoint.authenticated and len(answer.body) < 16:
            kind = header(answer, "Content-Type") or "none"
            self.answers[endpoint.path, answer.status, kind, answer.body] += 1
        return answer

    async def ask(self, endpoint: Endpoint[..., Any], request: Request[Any]) -> Any:
        """Return the reply that the answer is; raises what a client would raise."""
        return read_answer(await self.post(endpoint, request), endpoint.reply, self.settings.profile)

    async def log_in(self) -> str:
        """Log in once more and return the token, which ``token`` is from now on."""
        user, password = self.settings.user, self.settings.password
        if user is None or password is None:
            raise SettingsError("a login needs user and password")
        endpoint: Endpoint[..., str] = Session.get_user_token
        answer = await self.post(endpoint, GetUserToken(user=user, password=password.reveal()))
        if answer.status == 404:  # an old server (protocol.md 1.1)
            endpoint = Session.user_login
            answer = await self.post(endpoint, UserLogin(user=user, password=password.reveal()))
        token: str = read_answer(answer, endpoint.reply, self.settings.profile)
        self._tokens.append(token)
        self.token = token
        return token

    async def end(self, token: str) -> None:
        """End the session of ``token``."""
        assert self.settings.user is not None
        await self.ask(Session.end_session, EndSession(user=self.settings.user, token=token))
        if token in self._tokens:
            self._tokens.remove(token)

    async def idle_seconds(self, patience: float) -> float | None:
        """Return after how long the server closes a connection that asks nothing; ``None`` if not in ``patience``."""
        reader, writer = await self._connect()
        last = time.monotonic()
        try:
            writer.write(self._head("Connection: keep-alive", length=0))
            while await _within(patience, reader.read(_HEADERS)):
                last = time.monotonic()
        except TimeoutError:
            return None
        except OSError:
            pass  # a reset ends it too
        finally:
            await _close(writer)
        return time.monotonic() - last

    async def continues(self, patience: float) -> bool:
        """Return whether the server tells a client to go on that waits to be told."""
        reader, writer = await self._connect()
        try:
            writer.write(self._head("Expect: 100-continue", length=9))
            line = await _within(patience, reader.readline())
        except (TimeoutError, OSError, ValueError):  # the last is what the reader calls a line without an end
            return False
        finally:
            await _close(writer)
        return line.startswith(b"HTTP/1.1 100")

    def _head(self, extra: str, *, length: int) -> bytes:
        path = self.settings.path(Campaigns.summary.path)
        host = urlsplit(self.settings.url).netloc
        lines = [
            f"POST {path} HTTP/1.1",
            f"Host: {host}",
            f"Authorization: {self.settings.token_scheme} {self.token}",
            "Content-Type: application/x-www-form-urlencoded; charset=UTF-8",
            f"Content-Length: {length}",
            extra,
        ]
        return "\r\n".join([*lines, "", ""]).encode("ascii")

    async def _connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        parts = urlsplit(self.settings.url)
        trust: ssl.SSLContext | bool | None = trust_of(self.settings) if parts.scheme == "https" else None
        port = parts.port or (443 if parts.scheme == "https" else 80)
        try:
            async with asyncio.timeout(self.settings.timeout):
                return await asyncio.open_connection(parts.hostname, port, ssl=trust)
        except (OSError, TimeoutError) as error:
            raise NotSent(f"no connection: {type(error).__name__}") from None

    async def aclose(self) -> None:
        """End the sessions that were begun here, and close all connections."""
        for token in tuple(self._tokens):
            with contextlib.suppress(Exception):
                await self.end(token)
        await self._lane.aclose()


def header(answer: Answer, name: str) -> str | None:
    """Return a header of ``answer``, whatever its case."""
    return next((value for key, value in answer.headers.items() if key.lower() == name.lower()), None)


async def _within(seconds: float, reading: Awaitable[bytes]) -> bytes:
    # Not wait_for: in Python 3.11 it loses a cancellation that comes with the last byte.
    async with asyncio.timeout(seconds):
        return await reading


async def _close(writer: asyncio.StreamWriter) -> None:
    writer.transport.abort()
    with contextlib.suppress(OSError, TimeoutError):
        await writer.wait_closed()
