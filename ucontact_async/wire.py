"""Form fields, and answers to values or errors; no I/O.

The client reads this file downwards (read an answer), the emulator upwards (write one). It does not know who is asking,
and nothing of connections, tokens or retries.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any, ClassVar, Generic, TypeVar, get_type_hints
from urllib.parse import urlsplit

import msgspec
from yarl import URL

from .errors import (
    Forbidden,
    NotFound,
    Refused,
    Rejected,
    ServerFault,
    Throttled,
    UContactError,
    Unauthorized,
    UnreadableReply,
)
from .text import TextFormat, printable

if TYPE_CHECKING:
    from .settings import ServerProfile

try:  # not public: 12,500 instructions for the document of a call, instead of 28,200 with a URL around it
    from yarl._quoters import QUERY_PART_QUOTER

    _QUOTER: Callable[[str], str] | None = QUERY_PART_QUOTER
except ImportError:
    _QUOTER = None

__all__ = [
    "Answer",
    "Field",
    "JsonReply",
    "Reply",
    "address",
    "encode_form",
    "fields_of",
    "masked",
    "page_of",
    "quote",
    "read_answer",
]

R = TypeVar("R")

CONTENT_TYPE = "application/x-www-form-urlencoded; charset=UTF-8"
COMMAND_LIMIT = 65_536
JSON_LIMIT = 16_777_216
_RETRY_AFTER_LIMIT = 300.0
# Four digits and more, a word as long as a token, and whatever is assigned to something.
_QUOTED = re.compile(r"[\d*#+-]*\d{4}[\d*#+-]*|[A-Za-z0-9+/_=-]{16,}|(?<=[=:])\s*\"?[^\s<>&\"]{4,}")
_UUID = re.compile(rb"[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")


class Answer(msgspec.Struct, frozen=True, gc=False):
    """What the server answered: HTTP ``status``, ``headers`` (any case), the whole ``body``.

    ``weak`` says that the end of the body was only the end of the connection, so a cut cannot be seen.
    """

    status: int
    headers: Mapping[str, str]
    body: bytes
    weak: bool = False

    def __repr__(self) -> str:
        # The body may hold a token, or what a customer said.
        return f"Answer({self.status}, {len(self.body)} bytes)"

    def __rich_repr__(self) -> Any:
        yield self.status
        yield f"{len(self.body)} bytes"


class Field(msgspec.Struct, frozen=True):
    """One field of a request: our name, its name on the wire, how its value is written, whether it must be there."""

    name: str
    wire_name: str
    format: TextFormat[Any]
    required: bool


@functools.cache
def fields_of(request_type: type[msgspec.Struct]) -> tuple[Field, ...]:
    """Return the fields of a request type, read from its annotations once."""
    hints = get_type_hints(request_type, include_extras=True)
    fields = []
    for info in msgspec.structs.fields(request_type):
        extras = getattr(hints[info.name], "__metadata__", ())
        format_ = next((extra for extra in extras if isinstance(extra, TextFormat)), None)
        if format_ is None:
            raise TypeError(f"{request_type.__name__}.{info.name}: annotate it with one of the formats of text.py")
        fields.append(Field(info.name, info.encode_name, format_, info.required))
    return tuple(fields)


def masked(request: msgspec.Struct) -> dict[str, Any]:
    """Return the fields of ``request`` by our names, numbers and personal data hidden."""
    return {field.name: _mask(field, getattr(request, field.name)) for field in fields_of(type(request))}


def _mask(field: Field, value: Any) -> Any:
    try:
        return field.format.mask(value)
    except (TypeError, AttributeError):  # a value of the wrong type: not refused before it is encoded, but shown
        return "***"


def quote(text: str) -> str:
    """Percent-encode ``text`` for a form, a blank as ``+``."""
    return URL.build(query={"": text}).raw_query_string[1:] if _QUOTER is None else _QUOTER(text)


def encode_form(form: Mapping[str, str]) -> bytes:
    """Return ``form`` percent-encoded, a blank as ``+``."""
    return URL.build(query=form).raw_query_string.encode("ascii")


def address(origin: str, path: str) -> URL:
    """Return the whole address of ``path`` on the server at ``origin``."""
    return URL(origin).join(URL(path))


class Reply(Generic[R]):
    """What an endpoint is documented to answer. Everything else is not its answer, and so an unknown outcome."""

    limit = COMMAND_LIMIT
    """The largest body that is read, in bytes."""

    statuses: tuple[int, ...] = (200,)
    """The HTTP statuses that such an answer comes with."""

    secret = False
    """Whether a body, understood or not, may hold a secret and must not be quoted in an error."""

    DONE: ClassVar[Reply[None]]
    """``1`` for done, ``0`` for refused."""
    OK: ClassVar[Reply[None]]
    """``OK`` for done; ``0`` is a refusal."""
    GUID: ClassVar[Reply[str]]
    """The identifier of a call, a UUID as text; ``0`` is a refusal."""
    TEXT: ClassVar[Reply[str]]
    """Any text; ``0`` is a refusal."""
    JSON: ClassVar[Reply[Any]]
    """Any JSON value; the number 0 is a refusal."""

    def decode(self, body: bytes) -> R:
        """Return the value; raise :class:`Rejected` for the documented refusal, ``ValueError`` for anything else."""
        raise NotImplementedError

    def encode(self, value: R) -> bytes:
        """Return the body that carries ``value``: the emulator's side."""
        raise NotImplementedError

    def refusal(self) -> UContactError:
        """Return the error that the body ``0`` stands for."""
        return Rejected("the server answered 0: it refused, without giving a reason", status=200)


class Done(Reply[None]):
    """``1`` for done, ``0`` for refused (``protocol.md`` 0.7, 0.8)."""

    def decode(self, body: bytes) -> None:
        text = body.strip(b" \t\r\n")
        if text == b"0":
            raise self.refusal()
        if text != b"1":
            raise ValueError

    def encode(self, value: None) -> bytes:
        return b"1"


class Ok(Reply[None]):
    """``OK`` for done, ``0`` for refused: the workflow's answer (``protocol.md`` 2.3)."""

    def decode(self, body: bytes) -> None:
        text = body.strip(b" \t\r\n")
        if text == b"0":
            raise self.refusal()
        if text != b"OK":
            raise ValueError

    def encode(self, value: None) -> bytes:
        return b"OK"


class Guid(Reply[str]):
    """The identifier of a call: the 36 characters of a UUID, in whatever case; ``0`` is a refusal."""

    def decode(self, body: bytes) -> str:
        text = body.strip(b" \t\r\n")
        if text == b"0":
            raise self.refusal()
        if not _UUID.fullmatch(text):
            raise ValueError
        return text.decode("ascii")

    def encode(self, value: str) -> bytes:
        return value.encode()


class Text(Reply[str]):
    """Any text, white space around it removed; ``0`` is a refusal."""

    def decode(self, body: bytes) -> str:
        text = body.decode("utf-8").strip(" \t\r\n")
        if text == "0":
            raise self.refusal()
        return text

    def encode(self, value: str) -> bytes:
        return value.encode()


class JsonReply(Reply[R]):
    """A JSON value of a known shape; the number 0 is a refusal."""

    limit = JSON_LIMIT

    def decode(self, body: bytes) -> R:
        value = msgspec.json.decode(body)
        if value == 0 and not isinstance(value, bool):
            raise self.refusal()
        return self.read(value)

    def read(self, value: Any) -> R:
        """Return what the JSON ``value`` means; raise ``ValueError`` for a shape that is never given."""
        raise NotImplementedError


class Json(JsonReply[Any]):
    """Any JSON value; the number 0 is a refusal."""

    def read(self, value: Any) -> Any:
        return value

    def encode(self, value: Any) -> bytes:
        return msgspec.json.encode(value)


DONE = Done()
OK = Ok()
GUID = Guid()
TEXT = Text()
JSON = Json()
Reply.DONE = DONE
Reply.OK = OK
Reply.GUID = GUID
Reply.TEXT = TEXT
Reply.JSON = JSON


def read_answer(answer: Answer, reply: Reply[R], profile: ServerProfile) -> R:
    """Return what ``answer`` means for an endpoint that answers with ``reply``, or raise (``reliability.md`` 1.4)."""
    status = answer.status
    if status in reply.statuses:
        return _read_body(answer, reply)
    raise _error_of(answer, profile) or UnreadableReply(
        f"the server answered HTTP {status}, which this endpoint never does", status=status
    )


def _read_body(answer: Answer, reply: Reply[R]) -> R:
    encoding = _header(answer, "Content-Encoding")
    if encoding not in (None, "", "identity"):
        raise UnreadableReply(
            f"the answer is encoded as {printable(encoding)}, which was not asked for", status=answer.status
        )
    try:
        return reply.decode(answer.body)
    except (ValueError, RecursionError):
        # msgspec.DecodeError and UnicodeDecodeError are ValueErrors too.
        shown = "hidden" if reply.secret else repr(printable(_harmless(answer.body[:256].decode("utf-8", "replace"))))
    raise UnreadableReply(f"HTTP {answer.status} with a body this endpoint never gives: {shown}", status=answer.status)


def _harmless(text: str) -> str:
    """Return ``text`` without what may be a number to dial, a token or a password that an error page quotes back."""
    return _QUOTED.sub("***", text)


def _error_of(answer: Answer, profile: ServerProfile) -> UContactError | None:
    status = answer.status
    if status == 401 or (status in (302, 303) and _is_login(_header(answer, "Location"), profile)):
        return Unauthorized(f"the server refused the token (HTTP {status})", status=status)
    if status in (429, 503):
        seconds = retry_after(_header(answer, "Retry-After"))
        trusted = (
            profile.trust_429
            if status == 429
            else profile.trust_503 or (seconds is not None and profile.trust_retry_after_503)
        )
        if trusted:
            return Throttled(f"the server asks to slow down (HTTP {status})", status=status, retry_after=seconds)
        return ServerFault(f"HTTP {status}: it may have been done all the same", status=status)
    if status == 403:
        return Forbidden("the user may not do this (HTTP 403)", status=status)
    if status == 404:
        return NotFound("this server does not have the endpoint (HTTP 404)", status=status)
    if status == 408 or 500 <= status <= 599:
        return ServerFault(f"HTTP {status}: it may have been done all the same", status=status)
    if 400 <= status <= 499:
        return Refused(f"the server refused the request (HTTP {status})", status=status)
    return None


def retry_after(value: str | None) -> float | None:
    """Return the seconds that a Retry-After header asks for (a number or a date), at most 300; else ``None``."""
    if value is None:
        return None
    try:
        seconds = float(value) if value.strip().isdecimal() else _until(value)
    except (ValueError, TypeError, OverflowError):
        return None
    return min(max(seconds, 0.0), _RETRY_AFTER_LIMIT)


def _until(date: str) -> float:
    moment = parsedate_to_datetime(date)
    return (moment - datetime.now(moment.tzinfo or UTC).replace(tzinfo=moment.tzinfo)).total_seconds()


def _header(answer: Answer, name: str) -> str | None:
    # aiohttp's own mapping ignores case already; a plain one, as tests and the emulator use it, does not.
    value = answer.headers.get(name)
    if value is not None or not isinstance(answer.headers, dict):
        return value
    return next((value for other, value in answer.headers.items() if other.lower() == name.lower()), None)


def _is_login(location: str | None, profile: ServerProfile) -> bool:
    page = page_of(location)
    return page != "" and page == profile.login_page.lower()


def page_of(location: str | None) -> str:
    """Return the last part of the path of a ``Location`` header, lower case, without its extension; empty for none."""
    try:
        last = urlsplit(location or "").path.rstrip("/").rpartition("/")[2]
    except ValueError:
        return ""
    # A servlet container puts the session behind a semicolon: /login;jsessionid=...
    return last.partition(";")[0].partition(".")[0].lower()
