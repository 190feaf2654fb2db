"""Calls and requests as an observer sees them: endpoint, outcome and time, and nothing that a row says.

A client without observers has nothing of this in its way: :func:`observe` puts a caller and a lane of another class in
the place of its own.
"""

from __future__ import annotations

import asyncio
import copy
import logging
from collections.abc import Callable
from typing import Any, Literal, Protocol, TypeVar
from urllib.parse import urlsplit

import msgspec

from .api import ENDPOINTS
from .attempt import Attempt, Lane, Outgoing
from .caller import HttpCaller
from .endpoint import Flight, Prepared
from .errors import OutcomeUnknown, Refused, UContactError
from .events import EventBus, JournalLag
from .limiter import LimiterStats, Priority
from .pace import Pace
from .settings import Settings
from .wire import Answer

__all__ = ["OTHER", "Call", "CallEnd", "CallOutcome", "Exchange", "ExchangeEnd", "Observed", "Observer", "observe"]

R = TypeVar("R")

_log = logging.getLogger(__name__)

CallOutcome = Literal["succeeded", "refused", "not_sent", "unknown", "cancelled"]
"""``unknown`` is what may have happened; ``refused``, ``not_sent`` and ``cancelled`` is what surely did not."""

OTHER = "_OTHER"
"""The endpoint of everything that the vendor's page does not list: a path of somebody's own may say anything."""


class Call(msgspec.Struct, frozen=True, kw_only=True):
    """A call: what is asked once, and may take waiting, a login and several requests.

    ``endpoint`` is one of the vendor's page, such as ``Dialers/Respool``, or ``_OTHER``; ``safety`` is ``read``,
    ``repeatable`` or ``once``.
    """

    endpoint: str
    safety: str
    _document: str

    @property
    def campaign(self) -> str:
        """The campaign it is for, empty where it names none: a customer's own word, to be shown only when asked to."""
        if not self._document:
            return ""
        try:
            return msgspec.json.decode(self._document, type=_Named).campaign
        except msgspec.MsgspecError:
            return ""

    def __repr__(self) -> str:
        return f"Call({self.endpoint})"


class _Named(msgspec.Struct):
    campaign: str = ""


class CallEnd(msgspec.Struct, frozen=True, kw_only=True):
    """How a call ended, after ``attempts`` and ``seconds``, waiting included; ``error`` is the class of its error."""

    outcome: CallOutcome
    error: str
    attempts: int
    seconds: float


class Exchange(msgspec.Struct, frozen=True, kw_only=True):
    """One HTTP request: a POST to ``path``, empty where the ``endpoint`` is ``_OTHER``."""

    endpoint: str
    path: str


class ExchangeEnd(msgspec.Struct, frozen=True, kw_only=True):
    """How it ended: with the ``status`` of an answer, or without one and with the class of an ``error``.

    ``seconds`` go from the call for a connection to the end of the answer.
    """

    status: int | None
    error: str
    seconds: float


class Observed(msgspec.Struct, frozen=True, kw_only=True, eq=False):
    """What an observer may look at in a client, whenever it likes."""

    scheme: str
    address: str
    port: int
    server: str
    """Address and port together, as in a URL."""
    limiter: object
    """Which limiter it is: clients may share one."""
    stats: Callable[[], LimiterStats]
    lag: Callable[[], JournalLag]
    buses: tuple[EventBus, ...]


class Observer(Protocol):
    """Told of everything that a client does; what it raises is logged and harms no call.

    What :meth:`call_began` and :meth:`request_began` return is handed to what tells of their end, in the same task.
    """

    def attach(self, client: Observed) -> Callable[[], None]:
        """Begin to look at ``client``; return what ends that."""
        ...

    def call_began(self, client: Observed, call: Call) -> Any:
        """Note that a call begins."""
        ...

    def call_ended(self, client: Observed, call: Call, mark: Any, end: CallEnd) -> None:
        """Note how it ended."""

    def request_began(self, client: Observed, exchange: Exchange) -> Any:
        """Note that an HTTP request begins."""
        ...

    def request_ended(self, client: Observed, exchange: Exchange, mark: Any, end: ExchangeEnd) -> None:
        """Note how it ended."""


class _Observers:
    """All observers of one client as one, which never fails."""

    def __init__(self, observers: tuple[Observer, ...], client: Observed) -> None:
        self.client = client
        self._observers = observers

    def attach(self) -> list[Callable[[], None]]:
        ends = [_told(observer.attach, self.client) for observer in self._observers]
        return [end for end in ends if end is not None]

    def call_began(self, call: Call) -> list[Any]:
        return [_told(observer.call_began, self.client, call) for observer in self._observers]

    def call_ended(self, call: Call, marks: list[Any], end: CallEnd) -> None:
        for observer, mark in zip(reversed(self._observers), reversed(marks), strict=True):
            _told(observer.call_ended, self.client, call, mark, end)

    def request_began(self, exchange: Exchange) -> list[Any]:
        return [_told(observer.request_began, self.client, exchange) for observer in self._observers]

    def request_ended(self, exchange: Exchange, marks: list[Any], end: ExchangeEnd) -> None:
        for observer, mark in zip(reversed(self._observers), reversed(marks), strict=True):
            _told(observer.request_ended, self.client, exchange, mark, end)


def _told(tell: Callable[..., Any], *what: object) -> Any:
    try:
        return tell(*what)
    except Exception as error:  # noqa: BLE001  a foreign observer must not end a call
        name = type(error).__name__
        fields = {"ucontact_event": "ObserverFailed", "ucontact_error": name}
        _log.warning("an observer failed: %s", name, extra=fields)
        return None


class ObservedLane:
    """A lane that tells of every request: those of calls, of logins and of looking whether a gate may open."""

    def __init__(self, lane: Lane, observers: _Observers, settings: Settings) -> None:
        self._lane = lane
        self._observers = observers
        known = {settings.path(path): path for path in ENDPOINTS}
        self._exchanges = {path: Exchange(endpoint=endpoint, path=path) for path, endpoint in known.items()}
        self._other = Exchange(endpoint=OTHER, path="")

    @property
    def name(self) -> str:
        """The way that commands take."""
        return self._lane.name

    def begin(self, outgoing: Outgoing, body: bytes, attempt: Attempt, tell: Callable[[Answer | None], None]) -> bool:
        """Say that there is always something to wait for: nothing goes past :meth:`exchange`."""
        return False

    async def exchange(self, outgoing: Outgoing, attempt: Attempt) -> Answer:
        """Send and return the answer, as the lane below."""
        exchange = self._exchanges.get(outgoing.path, self._other)
        clock = asyncio.get_running_loop().time
        marks, began = self._observers.request_began(exchange), clock()
        try:
            answer = await self._lane.exchange(outgoing, attempt)
        except BaseException as error:
            status = getattr(error, "status", None)
            end = ExchangeEnd(status=status, error=type(error).__name__, seconds=clock() - began)
            self._observers.request_ended(exchange, marks, end)
            raise
        end = ExchangeEnd(status=answer.status, error="", seconds=clock() - began)
        self._observers.request_ended(exchange, marks, end)
        return answer

    async def aclose(self) -> None:
        """Close all connections."""
        await self._lane.aclose()


class ObservedCaller(HttpCaller):
    """A caller that tells of every call."""

    _observers: _Observers

    @classmethod
    def over(cls, caller: HttpCaller, observers: _Observers) -> ObservedCaller:
        """Return ``caller`` with ``observers``."""
        twin = copy.copy(caller)
        twin.__class__ = cls
        assert isinstance(twin, cls)
        twin._observers = observers  # noqa: SLF001  its own class
        return twin

    def with_options(self, settings: Settings, priority: Priority, pace: Pace | None = None) -> HttpCaller:
        """Return a caller that shares everything else, its observers too."""
        return self.over(super().with_options(settings, priority, pace), self._observers)

    def begin(self, prepared: Prepared[Any], flight: Flight, tell: Callable[[Answer | None], None], now: float) -> bool:
        """Say that there is always something to wait for: nothing goes past :meth:`perform`."""
        return False

    async def perform(
        self, prepared: Prepared[R], flight: Flight, *, wait: float | None, asked: float | None = None
    ) -> R:
        """Send what was prepared, as any caller, and tell how it went."""
        endpoint = prepared.path if prepared.path in ENDPOINTS else OTHER
        call = Call(endpoint=endpoint, safety=prepared.safety.value, _document=prepared.document)
        marks, began = self._observers.call_began(call), self._clock()
        outcome: CallOutcome = "succeeded"
        name = ""
        try:
            return await super().perform(prepared, flight, wait=wait, asked=asked)
        except BaseException as error:
            outcome, name = _outcome_of(error, flight), type(error).__name__
            raise
        finally:
            seconds = self._clock() - began
            end = CallEnd(outcome=outcome, error=name, attempts=flight.attempts, seconds=seconds)
            self._observers.call_ended(call, marks, end)


def _outcome_of(error: BaseException, flight: Flight) -> CallOutcome:
    if isinstance(error, Refused):
        return "refused"
    if isinstance(error, OutcomeUnknown):
        return "unknown"
    if isinstance(error, UContactError):
        return "not_sent"
    return "unknown" if flight.left or flight.lost is not None else "cancelled"


def observe(
    caller: HttpCaller, observers: tuple[Observer, ...], *, buses: tuple[EventBus, ...], lag: Callable[[], JournalLag]
) -> tuple[HttpCaller, list[Callable[[], None]]]:
    """Return ``caller`` observed, and what ends that; without observers ``caller`` itself."""
    if not observers:
        return caller, []
    parts = urlsplit(caller.settings.url)
    limiter = caller.limiter
    address, port = parts.hostname or "", parts.port or (443 if parts.scheme == "https" else 80)
    client = Observed(
        scheme=parts.scheme,
        address=address,
        port=port,
        server=f"[{address}]:{port}" if ":" in address else f"{address}:{port}",
        limiter=limiter,
        stats=lambda: limiter.stats,
        lag=lag,
        buses=buses,
    )
    told = _Observers(observers, client)
    twin = ObservedCaller.over(caller, told)
    twin.lane = ObservedLane(caller.lane, told, caller.settings)
    return twin, told.attach()
