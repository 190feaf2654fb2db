"""Every exception of the library, and the one fact each carries: did it happen?

This file knows nothing of HTTP libraries, requests or journals. The split is by consequence, not by cause:
``NotSent`` and ``Refused`` mean that the server surely did not do it, ``OutcomeUnknown`` that it may have.
"""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

__all__ = [
    "Blocked",
    "BulkError",
    "Forbidden",
    "InvalidRequest",
    "JournalBusy",
    "JournalError",
    "JournalMismatch",
    "NotFound",
    "NotSent",
    "OutcomeUnknown",
    "Refused",
    "Rejected",
    "ReplyLost",
    "ServerFault",
    "SessionStolen",
    "SettingsError",
    "Throttled",
    "UContactError",
    "Unauthorized",
    "UnreadableReply",
]

E = TypeVar("E", bound=BaseException)
P = ParamSpec("P")
R = TypeVar("R")


def bare(error: E) -> E:
    """Return ``error`` as if it began where it is raised next, outside of any ``except``.

    The frames that it came through, and the errors that it came from, hold what was to be sent and what came back: who
    reports a traceback with the values of its variables, as error trackers do, would report a number or a token.
    """
    error.__cause__ = error.__context__ = None
    return error.with_traceback(None)


def escaped(text: str) -> str:
    """Return ``text`` with everything escaped that could forge a log line or move a terminal's cursor."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape", "backslashreplace").decode() for c in text)


def _rebuild(cls: type[UContactError], args: tuple[object, ...], facts: dict[str, Any]) -> UContactError:
    error = cls.__new__(cls, *args)
    error.__dict__.update(facts)
    return error


class UContactError(Exception):
    """The root of all errors of this library."""

    may_have_happened: bool = False
    """Whether the server may have done what was asked. ``False`` is a promise, ``True`` is a doubt."""

    endpoint: str = ""
    """The endpoint that was called, such as ``Dialers/Respool``; empty where none was."""

    attempts: int = 0
    """How many times the request was tried before this error was let through."""

    def __str__(self) -> str:
        # It may quote a file's column or a key of its JSON, which nobody has looked at.
        return escaped(super().__str__())

    def __reduce__(self) -> tuple[Callable[..., UContactError], tuple[object, ...]]:
        # BaseException's own way calls cls(*args), which breaks as soon as a constructor takes anything else.
        return _rebuild, (type(self), self.args, dict(self.__dict__))


def unseen(function: Callable[P, R]) -> Callable[P, R]:
    """Have the errors of ours that ``function`` raises begin here, without its arguments: see :func:`bare`."""

    @functools.wraps(function)
    def begun_here(*args: P.args, **kwargs: P.kwargs) -> R:
        try:
            return function(*args, **kwargs)
        except UContactError as error:
            raise bare(error) from None
        finally:
            del args, kwargs

    return begun_here


class SettingsError(UContactError):
    """A setting is missing, contradicts another one or cannot be read. Nothing was sent."""


class InvalidRequest(UContactError):
    """A field holds what the API cannot carry safely. Nothing was sent."""

    def __init__(self, field: str, reason: str) -> None:
        """Say which ``field`` (our name for it) is wrong and what to do about it."""
        super().__init__(f"{field}: {reason}")
        self.field = field
        self.reason = reason


class Blocked(InvalidRequest):
    """A rule of the dial forbids the call, or rows of an upload. Nothing was sent."""

    def __init__(self, rule: str, reason: str, *, rows: Mapping[int, str] | None = None) -> None:
        """``rule`` is the name of the rule, ``rows`` that of each blocked row of an upload by its place, from 0."""
        super().__init__("destination", reason)
        self.args = (f"blocked: {rule}: {reason}",)
        self.rule = rule
        self.rows = dict(rows or {})


class NotSent(UContactError):
    """It did not happen: no byte of the request left, or it is proved that it never left whole."""

    def __init__(self, reason: str, *, transient: bool = True) -> None:
        """Give the ``reason``; ``transient`` says that another try at once may succeed: it is made by itself."""
        super().__init__(f"not sent: {reason}")
        self.reason = reason
        self.transient = transient


class Refused(UContactError):
    """The server said no, for certain."""

    def __init__(self, message: str, *, status: int) -> None:
        """Keep the HTTP ``status`` of the answer that refused."""
        super().__init__(message)
        self.status = status


class Unauthorized(Refused):
    """The login or the token was refused (401, a login answered 0, or a redirect to the login page)."""


class SessionStolen(Unauthorized):
    """New tokens die within a minute of their birth: someone else logs in as the same user."""


class Forbidden(Refused):
    """The user may not do this (403)."""


class NotFound(Refused):
    """This server does not have the endpoint (404)."""


class Throttled(Refused):
    """The server asks to slow down (429, or 503 with Retry-After) and has not done it."""

    def __init__(self, message: str, *, status: int, retry_after: float | None = None) -> None:
        """``retry_after`` is in seconds, ``None`` where the server named no time."""
        super().__init__(message, status=status)
        self.retry_after = retry_after


class Rejected(Refused):
    """HTTP 200 with the body ``0``: the documented refusal, without a reason."""


class OutcomeUnknown(UContactError):
    """It may have happened. Never sent again by the library unless the endpoint may be repeated."""

    may_have_happened = True

    def __init__(self, message: str, *, phase: str) -> None:
        """``phase`` is how far the attempt got: ``sent`` or ``answered``."""
        super().__init__(message)
        self.phase = phase


class ReplyLost(OutcomeUnknown):
    """The request left and no whole answer came back: time-out, reset or end of stream."""


class ServerFault(OutcomeUnknown):
    """The server failed while it held the request (408, 5xx, 503 without Retry-After)."""

    def __init__(self, message: str, *, status: int) -> None:
        """Keep the HTTP ``status`` of the answer."""
        super().__init__(message, phase="answered")
        self.status = status


class UnreadableReply(OutcomeUnknown):
    """An answer came that is not one this endpoint is documented to give."""

    def __init__(self, message: str, *, status: int | None = None) -> None:
        """``status`` is the HTTP status, ``None`` where not even that could be read."""
        super().__init__(message, phase="answered")
        self.status = status


class JournalError(UContactError):
    """The journal cannot be read or written. No row was sent because of it."""


class JournalBusy(JournalError):
    """Another run holds this journal."""


class JournalMismatch(JournalError):
    """The journal belongs to another server, another operation or another input."""


class BulkError(UContactError):
    """A bulk run ended with rows that did not succeed."""

    def __init__(self, message: str, report: Any) -> None:
        """``report`` is the whole :class:`Report` of the run."""
        super().__init__(message)
        self.report = report
        self.may_have_happened = bool(report.unknown)
