"""The emulator on a socket: start and end, the port, and the doors below ``/_emulator/``.

What the endpoints do is the contact centre's business, what becomes of one request the attendant's, what people see
the wallboard's.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
from collections.abc import Mapping
from random import Random
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

import msgspec
from aiohttp import web

from ..api import ENDPOINTS
from ..errors import SettingsError
from ..serving import Service, Written, answer_bytes, read_body
from ..wire import Answer
from .agent_portal import AgentPortal
from .attendant import BODY_LIMIT, Attendant
from .faults import Faults
from .files import FILES, FileHosts
from .ledger import Ledger
from .state import ContactCentre
from .switches import Switches
from .wallboard import Wallboard

if TYPE_CHECKING:
    import ssl

__all__ = ["Emulator"]

_log = logging.getLogger(__name__)

# What is no HTTP is answered 400; the HTTP library would log it, with the numbers in it.
_quiet = logging.getLogger(f"{__name__}.http")
_quiet.disabled = True

_ADMIN = "/_emulator/"
_LINE_LIMIT = 65_536
_GRACE = 0.1
# How many turns of the loop later, at most, a connection that was accepted is the server's.
_TURNS = 4


class Emulator:
    """A contact centre on loopback that keeps a ledger of what it did; an asynchronous context manager.

    ``ledger`` and ``state`` may be read at any time from the loop it runs in, over HTTP below ``/_emulator/``; at ``/``
    a browser shows both live. ``portal`` is the agent portal, at ``/_emulator/portal?form=`` and the address of a form.
    """

    def __init__(
        self,
        *,
        host: str = "127.0.0.1",
        port: int = 0,
        user: str = "api",
        password: str = "secret",  # noqa: S107  the documented default of a server that holds nothing
        switches: Switches | None = None,
        faults: Faults | Mapping[str, Any] | None = None,
        ssl_context: ssl.SSLContext | None = None,
        seed: int = 0,
        ledger_cap: int | None = None,
        backup: bool = False,
    ) -> None:
        """``port`` 0 takes a free one; ``seed`` makes the tokens; ``ledger_cap`` keeps only the last entries.

        ``backup`` opens a second port, ``backup_url``, for the files of the backup host of recordings.
        """
        self.switches = switches or Switches()
        self.ledger = Ledger(ledger_cap)
        self.state = ContactCentre({user: password}, self.ledger, Random(seed), self.switches)  # noqa: S311
        self._service = Service(ENDPOINTS, self.state.handlers, self.state.sessions.authorise)
        self._host = host
        self._port = port
        self._ssl = ssl_context
        self._attendant = Attendant(self._service, self.ledger, self.switches, self._refuse)
        self._files = FileHosts(
            self.state.records.files,
            self.ledger,
            self.switches,
            authorise=self.state.sessions.authorise,
            refuse=self._refuse,
        )
        self._wallboard = Wallboard(self.state, self.ledger, lambda: self._attendant.faults)
        self.portal = AgentPortal(self.state, self.ledger)
        self._backup = backup
        self._backup_port = 0
        self._refusal: asyncio.Task[None] | None = None
        self._listener: asyncio.Server | None = None
        self._backup_listener: asyncio.Server | None = None
        self._server: web.Server | None = None
        self.set_faults(faults)

    @property
    def url(self) -> str:
        """The address to give to a client."""
        return self._url(self._port)

    @property
    def backup_url(self) -> str:
        """The address of the backup host of recordings."""
        return self._url(self._backup_port)

    def _url(self, port: int) -> str:
        host = f"[{self._host}]" if ":" in self._host else self._host
        return f"{'https' if self._ssl else 'http'}://{host}:{port}"

    def set_faults(self, faults: Faults | Mapping[str, Any] | None) -> None:
        """Replace all faults; a mapping is read as a rule file is."""
        self._attendant.faults = Faults.read(faults) if isinstance(faults, Mapping) else faults
        self._files.faults = self._attendant.faults

    def reset(self) -> None:
        """Forget effects, the counts of requests, and faults; sessions and the count of logins stay."""
        self._attendant.drop_late()
        self.set_faults(None)
        self.state.clear()
        self.ledger.clear()
        self.portal.clear()

    def snapshot(self) -> dict[str, Any]:
        """Return what ``GET /_emulator/state`` shows."""
        return {
            "logins": self.ledger.logins,
            "sessions": len(self.state.sessions.live),
            "in_flight": self.ledger.in_flight,
            "max_in_flight": self.ledger.max_in_flight,
            "requests": dict(self.ledger.requests),
            "applied": self.ledger.total,
            "spool": self.state.spool,
            "schedule": self.state.schedule,
            "blacklist": self.state.blacklist,
            "calls": self.state.calls,
            "cdr": self.state.switchboard.cdr,
            "dispositions": self.state.dispositions.made,
            "workflows": self.state.switchboard.workflows,
            "tags": self.state.records.tags,
            "lists": self.state.lists,
            "portal": self.portal.asked,
        }

    async def __aenter__(self) -> Self:
        """Start to listen; from now on ``url`` names the port."""
        self._server = web.Server(
            self._handle,
            handler_cancellation=True,
            access_log=None,
            logger=_quiet,
            keepalive_timeout=self.switches.keep_alive,
            lingering_time=1.0,
            max_line_size=_LINE_LIMIT,
            max_field_size=_LINE_LIMIT,
            auto_decompress=False,
        )
        await self._listen(self._bind())
        if self._backup:
            self._backup_listener = await asyncio.get_running_loop().create_server(
                self._server, self._host, 0, ssl=self._ssl, backlog=1024
            )
            self._backup_port = self._backup_listener.sockets[0].getsockname()[1]
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """End within a second, whatever hangs."""
        self._attendant.close()
        while self._refusal is not None and not self._refusal.done():
            self._refusal.cancel()
            await asyncio.gather(self._refusal, return_exceptions=True)
        # What is read meanwhile begins no other refusal.
        listeners, self._listener = (self._listener, self._backup_listener), None
        for listener in listeners:
            if listener is not None:
                await _close(listener)
        self._wallboard.close()
        if self._server is not None:
            self._server.pre_shutdown()
            await self._server.shutdown(_GRACE)
        await asyncio.sleep(0)  # the transports tell their protocols

    def _bind(self) -> socket.socket:
        sock = socket.socket(socket.AF_INET6 if ":" in self._host else socket.AF_INET)
        try:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            sock.bind((self._host, self._port))
        except (OSError, OverflowError):  # in use, no such address; no such port
            sock.close()
            raise
        self._port = sock.getsockname()[1]
        return sock

    async def _listen(self, sock: socket.socket) -> None:
        assert self._server is not None
        loop = asyncio.get_running_loop()
        # In two steps: to start takes a turn, and who is cancelled in it must know what there is to close.
        self._listener = await loop.create_server(
            self._server, sock=sock, ssl=self._ssl, backlog=1024, start_serving=False
        )
        await self._listener.start_serving()

    async def _refuse(self, seconds: float) -> None:
        if self._listener is not None and (self._refusal is None or self._refusal.done()):
            refused = asyncio.Event()
            self._refusal = asyncio.create_task(self._reopen(self._listener, refused, seconds))
            await refused.wait()

    async def _reopen(self, listener: asyncio.Server, refused: asyncio.Event, seconds: float) -> None:
        await _close(listener)
        refused.set()
        sock = None
        try:
            while sock is None:  # some loops close the listening socket a moment later
                with contextlib.suppress(OSError):
                    sock = self._bind()
                await asyncio.sleep(0)
            # Bound and not listening: every connection is refused, and nobody else can take the port.
            await asyncio.sleep(seconds)
        except asyncio.CancelledError:
            if sock is not None:
                sock.close()
            raise
        await self._listen(sock)

    async def _handle(self, request: web.BaseRequest) -> web.StreamResponse:
        path = request.rel_url.raw_path
        at_backup = self._backup and _port_of(request) == self._backup_port
        endpoint = None if at_backup else self._service.endpoint_at(path)
        try:
            if path.startswith(FILES):
                return await self._files.serve(request, path, "backup" if at_backup else "main")
            if not at_backup and request.method == "GET" and self._wallboard.shows(path):
                return await self._wallboard.serve(request, path)
            if not at_backup and self.portal.shows(path):
                return await self.portal.serve(request, path)
            if endpoint is not None and request.method == "POST":
                return await self._attendant.attend(request, endpoint)
            answer = (
                Answer(405, {"Allow": "POST"}, b"")
                if endpoint is not None
                else await self._admin(request, "" if at_backup else path)
            )
        except Exception as error:  # noqa: BLE001  whatever was sent, an emulator that breaks tells nobody anything
            extra = {"ucontact_event": "RequestNotUnderstood", "ucontact_error": type(error).__name__}
            _log.warning("%s: a request was not understood: %s", path, type(error).__name__, extra=extra)
            answer = Answer(400, {}, b"")
        return Written(answer_bytes(answer, keep=answer.status != 400), keep=answer.status != 400)

    async def _admin(self, request: web.BaseRequest, path: str) -> Answer:
        door = path.removeprefix(_ADMIN) if path.startswith(_ADMIN) else ""
        match request.method, door:
            case "GET", "ledger":
                return _json(list(self.ledger))
            case "GET", "state":
                return _json(self.snapshot())
            case "POST", "reset":
                self.reset()
                return Answer(204, {}, b"")
            case "PUT", "faults":
                return await self._put_faults(request)
        return Answer(405 if door in ("ledger", "state", "reset", "faults") else 404, {}, b"")

    async def _put_faults(self, request: web.BaseRequest) -> Answer:
        body = await read_body(request, BODY_LIMIT)
        try:
            self.set_faults(Faults.read(body or b""))
        except SettingsError as error:
            return Answer(400, {"Content-Type": "text/plain;charset=UTF-8"}, str(error).encode())
        return Answer(204, {}, b"")


async def _close(listener: asyncio.Server) -> None:
    """Accept nobody from now on, and close once all who were accepted are known: asyncio would forget them unclosed."""
    for sock in listener.sockets:
        asyncio.get_running_loop().remove_reader(sock)
    for _ in range(_TURNS):
        await asyncio.sleep(0)
    listener.close()


def _port_of(request: web.BaseRequest) -> int:
    address = None if request.transport is None else request.transport.get_extra_info("sockname")
    return int(address[1]) if address else 0


def _json(value: Any) -> Answer:
    return Answer(200, {"Content-Type": "application/json"}, msgspec.json.encode(value))
