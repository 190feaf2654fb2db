"""The contract read from the server's side: a POST into a call, a value or a refusal into an answer.

It refuses to know what a contact centre does: the handlers are given. It reads whatever clients were seen to send
(``users.md``, wire facts 5 to 8) and never fails on bytes it was sent.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from http import HTTPStatus
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote_to_bytes

import msgspec
from aiohttp import web

from .errors import InvalidRequest, Refused
from .settings import ROOT
from .text import Rules
from .wire import Answer, Json

if TYPE_CHECKING:
    import asyncio

    from .endpoint import Endpoint

__all__ = [
    "Authorise",
    "Call",
    "Handler",
    "Service",
    "Written",
    "answer_bytes",
    "answer_of",
    "gson",
    "read_body",
    "read_form",
]

_TEXT = {"Content-Type": "text/plain;charset=UTF-8"}
_FIELDS = 1000
_CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"


class Call(msgspec.Struct, frozen=True):
    """One call as it arrived: the endpoint's path, the wire fields as they were written, what they decode to."""

    path: str
    fields: dict[str, Any]
    request: Any


Handler = Callable[[Call], Any]
"""Do what a call asks and return its reply; bytes are sent as they are. Raise :class:`Refused` if nothing was done."""

Authorise = Callable[[str | None], None]
"""Raise :class:`Refused` unless the Authorization header, if there is one, holds a live token."""


class Service:
    """Every endpoint of the contract with the handler that performs it."""

    def __init__(
        self,
        endpoints: Mapping[str, Endpoint[..., Any]],
        handlers: Mapping[str, Handler],
        authorise: Authorise,
        rules: Rules | None = None,
    ) -> None:
        """Serve those of ``endpoints`` whose path has one of the ``handlers``; the others do not exist here."""
        self._authorise = authorise
        self._rules = rules or Rules()
        self._handlers = handlers
        served = [endpoint for path, endpoint in endpoints.items() if path in handlers]
        self._replies = {endpoint.path: endpoint.reply for endpoint in served}
        spelt = [(path, endpoint) for endpoint in served for path in (endpoint.path, *endpoint.also)]
        self._named = {path: endpoint.path for path, endpoint in spelt}
        self._paths = {_full_path(path): endpoint.at(path) for path, endpoint in spelt}

    def endpoint_at(self, path: str) -> Endpoint[..., Any] | None:
        """Return the endpoint at the whole ``path`` of a request, spelt as it was called; ``None`` if there is none."""
        return self._paths.get(path)

    def fields(self, endpoint: Endpoint[..., Any], form: Mapping[str, str]) -> Mapping[str, Any]:
        """Return the wire fields of ``form``, its JSON argument opened if it can be."""
        try:
            return endpoint.codec.flatten(form)
        except (ValueError, RecursionError):
            return form

    def open(
        self, endpoint: Endpoint[..., Any], form: Mapping[str, str], authorization: str | None = None
    ) -> Call | Answer:
        """Read ``form`` as a call; an answer is the refusal of a call that is not authorised or cannot be read."""
        try:
            if endpoint.authenticated:
                self._authorise(authorization)
            fields = endpoint.codec.flatten(form)
            return Call(endpoint.path, fields, endpoint.codec.decode(form, self._rules))
        except Refused as refused:
            return answer_of(refused)
        except (ValueError, InvalidRequest, RecursionError):
            return Answer(200, _TEXT, b"0")

    def perform(self, call: Call) -> Answer:
        """Let the handler do what ``call`` asks and write its reply."""
        name = self._named[call.path]
        try:
            reply = self._handlers[name](call)
        except Refused as refused:
            return answer_of(refused)
        if not isinstance(reply, bytes):
            contract = self._replies[name]
            reply = contract.encode(reply)
            if isinstance(contract, Json):
                reply = _escape(reply)
        return Answer(200, _TEXT, reply)


def answer_of(refused: Refused) -> Answer:
    """Return the answer that a client reads as ``refused``: a status, or 200 with the body ``0``."""
    return Answer(refused.status, _TEXT, b"0" if refused.status == 200 else b"")


def gson(value: Any) -> bytes:
    r"""Write ``value`` as the server's JSON library does: ``=`` as ``\u003d``, and so ``< > & '`` (0.10)."""
    return _escape(msgspec.json.encode(value))


_ESCAPES = [(character.encode(), f"\\u{ord(character):04x}".encode()) for character in "=<>&'\u2028\u2029"]


def _escape(json: bytes) -> bytes:
    # These characters stand in strings only, so the text can be replaced without parsing it.
    for character, escaped in _ESCAPES:
        json = json.replace(character, escaped)
    return json


def _full_path(path: str) -> str:
    return path if path.startswith("/") else ROOT + path


def read_form(query: str, body: bytes) -> dict[str, str]:
    """Read query string and body as one form, whatever the content type; the first of several equal names counts.

    Never fails: broken escapes stay as they are, bytes that are not UTF-8 are read as Latin-1, names after the
    thousandth are dropped.
    """
    form: dict[str, str] = {}
    for part in (query.encode("utf-8", "surrogateescape"), body):
        if not part:
            continue
        for pair in part.split(b"&", _FIELDS)[:_FIELDS]:
            name, _, value = pair.partition(b"=")
            if name:
                form.setdefault(_unquote(name), _unquote(value))
    return form


def _unquote(text: bytes) -> str:
    plain = unquote_to_bytes(text.replace(b"+", b" "))
    try:
        return plain.decode()
    except UnicodeDecodeError:
        return plain.decode("latin-1")


async def read_body(request: web.BaseRequest, limit: int, *, continues: bool = True) -> bytes | None:
    """Return the body of ``request``, ``None`` if it is larger than ``limit`` bytes.

    ``continues``: a client that waits to be told to go on is told.
    """
    if not request.body_exists:
        return b""
    if (request.content_length or 0) > limit:
        return None
    expects = continues and request.headers.get("Expect", "").lower() == "100-continue"
    if expects and request.transport is not None:
        request.transport.write(_CONTINUE)
    body = await request.content.readany()
    if request.content.at_eof():
        return body
    pieces, size = [body], len(body)
    while piece := await request.content.readany():
        pieces.append(piece)
        size += len(piece)
        if size > limit:
            return None
    return b"".join(pieces)


class Written(web.StreamResponse):
    """An answer that goes to the connection in one write; without bytes, only the end of the connection.

    aiohttp's own answers cost 25 us more and do not tell when they were handed over.
    """

    def __init__(self, written: bytes, *, keep: bool, then: Callable[[asyncio.Transport], None] | None = None) -> None:
        """Keep the connection open afterwards if ``keep``; call ``then`` once ``written`` was handed to it."""
        super().__init__()
        self._written = written
        self._keep = keep
        self._then = then

    @property
    def keep_alive(self) -> bool | None:
        """Whether the connection stays open afterwards."""
        return self._keep

    async def prepare(self, request: web.BaseRequest) -> None:
        """Hand everything to the connection of ``request``, if it is still there."""
        transport = request.transport
        if not self._written or transport is None or transport.is_closing():
            return
        transport.write(self._written)
        if self._then is not None:
            self._then(transport)

    async def write_eof(self, data: bytes = b"") -> None:
        """Do nothing: the answer has left whole."""


def answer_bytes(answer: Answer, *, keep: bool = True) -> bytes:
    """Return ``answer`` as HTTP/1.1; its own Content-Length, if it names one, is believed."""
    return _head(answer.status, tuple(answer.headers.items()), len(answer.body), keep) + answer.body


@functools.lru_cache(maxsize=256)
def _head(status: int, headers: tuple[tuple[str, str], ...], length: int, keep: bool) -> bytes:
    try:
        phrase = HTTPStatus(status).phrase
    except ValueError:
        phrase = "Unknown"
    lines = [f"HTTP/1.1 {status} {phrase}", *(f"{name}: {value}" for name, value in headers)]
    if not any(name.lower() == "content-length" for name, _ in headers):
        lines.append(f"Content-Length: {length}")
    if not keep:
        lines.append("Connection: close")
    return "\r\n".join([*lines, "", ""]).encode("latin-1", "replace")
