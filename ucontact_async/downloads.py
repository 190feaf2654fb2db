"""Files from the hosts of recordings: a GET that is read piece by piece, bounded in time, without a token of its own.

It knows neither which host to ask nor where the bytes go. What it reads changes nothing on the server, so whoever
asks may ask again.
"""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from typing import Literal

import aiohttp

from .errors import NotFound, ReplyLost, UContactError, UnreadableReply, bare
from .pool import CONNECT_TIMEOUT, cause_of, not_sent
from .settings import Secret, Settings
from .trust import trust_of
from .wire import Answer, Reply, read_answer

__all__ = ["Download", "Downloads"]

# How many times the time-out of a call a whole file may take; the call's own bounds the silence within it.
PATIENCE = 20.0
_SHORT = 16_384
_PAGES = ("text/html", "application/xhtml+xml")


class Download:
    """One file whose head has come: ``length`` in bytes, ``None`` where the server did not say; ``size`` was read."""

    def __init__(self, response: aiohttp.ClientResponse) -> None:
        """Read from ``response``, which stays with whoever opened it."""
        self._response = response
        self.length = response.content_length
        self.size = 0

    async def read(self, limit: int) -> bytes:
        """Return the next piece, nothing at the end; :class:`UnreadableReply` beyond ``limit`` bytes in all."""
        try:
            piece = await self._response.content.readany()
        except (aiohttp.ClientError, OSError) as error:  # a time-out is an OSError too
            failure = _lost(error)
        else:
            self.size += len(piece)
            if self.size > limit:
                piece = b""
                raise UnreadableReply(f"the file is longer than {limit} bytes", status=200)
            return piece
        raise bare(failure)


class Downloads:
    """The connections to the hosts of recordings, opened in the running loop at the first request."""

    def __init__(self, settings: Settings) -> None:
        """Trust what ``settings`` trusts; the hosts are named with each request."""
        self._settings = settings
        self._session: aiohttp.ClientSession | None = None

    @contextlib.asynccontextmanager
    async def open(
        self, url: str, *, stall: float, method: Literal["GET", "HEAD"] = "GET", authorization: Secret | None = None
    ) -> AsyncIterator[Download]:
        """Ask for ``url`` and hand out what came; ``stall`` bounds, in seconds, each silence.

        Raises :class:`NotFound` where no file is, or a web page instead of one, and the errors of a call otherwise. A
        redirect is not followed.
        """
        response = await self._ask(method, url, stall, authorization)
        try:
            if response.status != 200 and (response.content_length or _SHORT) < _SHORT:
                with contextlib.suppress(aiohttp.ClientError, OSError):
                    await response.read()  # so that the connection can be used again
            self._check(response, method)
            yield Download(response)
        except UContactError as error:
            raise bare(error) from None  # the headers of the answer are in its frames
        finally:
            response.close()  # before the end of the file this drops the connection, at its end it does nothing
            del response

    async def aclose(self) -> None:
        """Close all connections."""
        session, self._session = self._session, None
        if session is not None:
            await session.close()

    async def _ask(self, method: str, url: str, stall: float, authorization: Secret | None) -> aiohttp.ClientResponse:
        connect = min(CONNECT_TIMEOUT, stall)
        try:
            return await self._session_here().request(
                method,
                url,
                # No local name: a traceback with locals would show it.
                headers=None if authorization is None else {"Authorization": authorization.reveal()},
                allow_redirects=False,
                timeout=aiohttp.ClientTimeout(total=stall * PATIENCE, sock_connect=connect, sock_read=stall),
            )
        except (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError) as error:
            failure: UContactError = not_sent(error, connect)
        except (aiohttp.ClientError, OSError) as error:
            failure = _lost(error)
        # Out of the except block: the reprs of aiohttp's errors show the Authorization header.
        raise bare(failure)

    def _check(self, response: aiohttp.ClientResponse, method: str) -> None:
        if response.status != 200:
            read_answer(Answer(response.status, response.headers, b""), Reply.TEXT, self._settings.profile)
        if response.content_type in _PAGES or response.content_length == 0:
            raise NotFound("no file, but an empty answer or a web page", status=200)
        if response.headers.get("Content-Encoding", "identity") not in ("", "identity"):
            raise UnreadableReply("the file came encoded, which was not asked for", status=200)
        if method == "GET" and response.content_length is None and "Transfer-Encoding" not in response.headers:
            raise UnreadableReply("the server does not say where the file ends, so a cut could not be seen", status=200)

    def _session_here(self) -> aiohttp.ClientSession:
        if self._session is None:
            # Whoever downloads decides how many at once; a limit here would be a second queue.
            connector = aiohttp.TCPConnector(limit=0, ssl=trust_of(self._settings))
            self._session = aiohttp.ClientSession(
                connector=connector,
                cookie_jar=aiohttp.DummyCookieJar(),
                headers={"Accept-Encoding": "identity", "Accept": "*/*"},
                auto_decompress=False,
                raise_for_status=False,
                trust_env=False,
            )
        return self._session


def _lost(error: Exception) -> UContactError:
    if isinstance(error, TimeoutError):
        return ReplyLost("the host of the recording fell silent, or took too long", phase="sent")
    if isinstance(error, aiohttp.ClientResponseError):
        return UnreadableReply("the bytes that came back are not an HTTP answer")
    return ReplyLost(f"the connection broke before the whole file came ({cause_of(error)})", phase="sent")
