"""What happens to a client and to its runs, as values; and the bus that tells whoever listens.

An event holds counts, names of error classes and our own words: no phone number, no token, no text of a row.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any, Literal

import msgspec

from .errors import UContactError

__all__ = [
    "Event",
    "EventBus",
    "FuseBlown",
    "GateClosed",
    "GateOpened",
    "GateState",
    "JournalLag",
    "LimitChanged",
    "LoggedIn",
    "LoginFailed",
    "Progress",
    "Stopped",
    "tell",
    "words_of",
]

_log = logging.getLogger(__name__)

GateState = Literal["open", "closed", "probing"]


class _Event(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """An event; ``msgspec.json.encode`` names its class as ``type``, which ``decode(..., type=Event)`` reads."""


class Progress(_Event, frozen=True, kw_only=True):
    """A look at a run.

    ``rows`` are those read so far; ``in_flight``, ``waiting``, ``max_concurrency`` and ``gate`` are the limiter's, so
    of the whole client; ``gate_seconds`` are left until the gate may open. ``seconds`` is how long the run takes or
    took. ``stopped`` says why it ended before its input did, ``error`` what it failed with: of an error that is not
    this library's only its class. ``name`` is that of a run in the background.
    """

    name: str = ""
    state: Literal["running", "ended", "failed"]
    rows: int
    succeeded: int
    failed: int
    unknown: int
    skipped: int
    in_flight: int
    waiting: int
    max_concurrency: int
    gate: GateState
    gate_seconds: float
    seconds: float
    stopped: str | None = None
    error: str | None = None


class GateClosed(_Event, frozen=True, kw_only=True):
    """Nothing is sent for so many ``seconds`` at least: the server is overloaded, or out of reach (not ``reached``)."""

    seconds: float
    reached: bool


class GateOpened(_Event, frozen=True, kw_only=True):
    """The server answers again, and what waited is sent."""


class LimitChanged(_Event, frozen=True, kw_only=True):
    """How many calls may be on the wire at once is another number than at the last look."""

    before: int
    after: int


class LoggedIn(_Event, frozen=True, kw_only=True):
    """A login gave a token; ``generation`` counts the tokens of this client, or of all who share them."""

    generation: int


class LoginFailed(_Event, frozen=True, kw_only=True):
    """A login gave none: ``error`` is the class of what those who waited for it get, ``reason`` its text."""

    error: str
    reason: str


class FuseBlown(_Event, frozen=True, kw_only=True):
    """Too many outcomes are unknown: the run stops."""

    reason: str


class Stopped(_Event, frozen=True, kw_only=True):
    """The run sends nothing more; what is on the wire ends."""

    reason: str


Event = Progress | GateClosed | GateOpened | LimitChanged | LoggedIn | LoginFailed | FuseBlown | Stopped
"""Any of them, for annotations and for ``msgspec.json.decode(text, type=Event)``."""


class JournalLag(msgspec.Struct, frozen=True, kw_only=True):
    """How far a journal is behind what happens.

    ``marked`` rows are marked sent and not settled yet: a crash now would make them unknown. ``pending`` changes are
    not written yet, and the oldest of these has waited for ``seconds``.
    """

    marked: int = 0
    pending: int = 0
    seconds: float = 0.0


class EventBus:
    """Passes events on to whoever listens, and to the log of this module (at INFO)."""

    def __init__(self) -> None:
        self._listeners: list[Callable[[Event], None]] = []

    def subscribe(self, listener: Callable[[Event], None]) -> Callable[[], None]:
        """Have ``listener`` called with every event from now on; return what ends that."""
        self._listeners.append(listener)
        return lambda: self._listeners.remove(listener)

    def publish(self, event: Event) -> None:
        """Tell everybody; a listener that fails is logged, and harms nobody."""
        if _log.isEnabledFor(logging.INFO):
            name, fields = type(event).__name__, msgspec.structs.asdict(event)
            told = {f"ucontact_{field}": value for field, value in fields.items()}
            _log.info("%s", event, extra={"ucontact_event": name, **told})
        for listener in tuple(self._listeners):
            tell(listener, event)


def tell(listener: Callable[[Any], None], event: object) -> None:
    """Call ``listener`` with ``event``; if it fails that is logged, and harms neither a call nor other listeners."""
    try:
        listener(event)
    except Exception as error:  # noqa: BLE001  a foreign listener must not end a call
        told = {"ucontact_event": "ListenerFailed", "ucontact_error": type(error).__name__}
        _log.warning("a listener failed: %s", type(error).__name__, extra=told)


def words_of(error: BaseException) -> str:
    """Return what may be shown of ``error``: the text of one of ours; others may quote a row, so only their class."""
    return str(error) if isinstance(error, UContactError) else type(error).__name__
