"""What the queues and campaigns of the emulated contact centre are doing (``protocol.md`` section 4, 9 item 16).

It reads the state and changes nothing. Both answers are written here as the vendor's server writes them, not by the
contract that the client reads them with.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from typing import Any

import msgspec

from ..api.campaigns import GetCampaignStatus
from ..java_dates import format_java_date
from ..serving import Call, Handler, gson
from .switches import Switches

__all__ = ["Queue", "Status"]

_ALWAYS = ("Soporte<-", "Ventas->")
_DUMP = 1163403671  # the hash code of a connection; the server puts a counter behind it


class Queue(msgspec.Struct, kw_only=True):
    """The figures of one queue; set them as a test needs them.

    ``logged`` agents are logged in, of whom ``busy`` talk, ``paused`` pause and ``wrapping`` wrap up. ``completed``
    and ``abandoned`` are today's calls; click-to-calls of the state are completed ones on top. ``hold``, ``talk``,
    ``longest_hold``, ``threshold`` and ``wrapup`` are seconds; ``level`` is a percentage.
    """

    agents: int = 2
    logged: int = 2
    busy: int = 0
    paused: int = 0
    wrapping: int = 0
    waiting: int = 0
    completed: int = 0
    abandoned: int = 0
    hold: int = 0
    talk: int = 0
    longest_hold: int = 0
    level: float = 0.0
    strategy: str = "leastrecent"
    threshold: int = 3
    wrapup: int = 0

    @property
    def available(self) -> int:
        """The agents who could take a call now."""
        return max(0, self.logged - self.busy - self.paused - self.wrapping)


class Status:
    """The queues of one server: those the switches name, or two of its own, and all that a call was entered for."""

    def __init__(
        self,
        switches: Switches,
        campaigns: Callable[[], Iterable[str]],
        calls: Callable[[], Iterable[str]],
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        """``campaigns`` returns those that have rows, ``calls`` the campaign of each call made at once."""
        self.queues: dict[str, Queue] = {}
        self._switches = switches
        self._campaigns = campaigns
        self._calls = calls
        self._now = now
        self._dumps = 0
        self.handlers: dict[str, Handler] = {
            "Supervisor/queuesummary": self._summary,
            "Supervisor/campaignstatus": self._status,
        }

    def queue(self, name: str) -> Queue:
        """Return the figures of the queue ``name``, to be read or set; it exists from now on."""
        return self.queues.setdefault(name, Queue())

    def _names(self) -> list[str]:
        configured = _ALWAYS if self._switches.campaigns is None else self._switches.campaigns
        return sorted({*configured, *self.queues, *self._campaigns(), *self._calls()})

    def _summary(self, call: Call) -> bytes:
        self._dumps += 1
        received = self._now().astimezone().replace(tzinfo=None)
        end = {
            "internalActionId": f"{_DUMP}_{self._dumps}",
            "dateReceived": format_java_date(received, self._switches.java),
        }
        return gson([*(_summary_of(name, self._figures(name)) | end for name in self._names()), end])

    def _status(self, call: Call) -> bytes:
        asked: GetCampaignStatus = call.request
        calls = list(self._calls())
        names = self._names() if asked.queue == "" else [name for name in self._names() if name == asked.queue]
        return gson({name: _status_of(name, self._figures(name), calls.count(name)) for name in names})

    def _figures(self, name: str) -> Queue:
        return self.queues.get(name) or Queue()


def _summary_of(name: str, queue: Queue) -> dict[str, Any]:
    return {
        "queue": name,
        "loggedIn": queue.logged,
        "available": queue.available,
        "callers": queue.waiting,
        "holdTime": queue.hold,
        "talkTime": queue.talk,
        "longestHoldTime": queue.longest_hold,
    }


def _status_of(name: str, queue: Queue, called: int) -> dict[str, Any]:
    completed = queue.completed + called
    total = completed + queue.abandoned
    return {
        "campaign": name,
        "availables": queue.available,
        "notavailables": queue.agents - queue.available,
        "paused": queue.paused,
        "busy": queue.busy,
        "busypaused": 0,
        "totalagents": queue.agents,
        "logged": queue.logged,
        "onwrapup": queue.wrapping,
        "completed": completed,
        "abandoned": queue.abandoned,
        "totalcalls": total,
        "acd": queue.waiting,
        "talked": _average(queue.talk, completed),
        "hold": _average(queue.hold, total),
        "abandonedlevel": str(100 * queue.abandoned // total if total else 0),
        "servicelevel": str(queue.level),
        "servicelevel2": str(queue.level),
        "strategy": queue.strategy,
        "slevelthreshold": str(queue.threshold),
        "wrapup": queue.wrapup,
    }


def _average(seconds: int, calls: int) -> str:
    return f"{seconds // 3600:02d}:{seconds // 60 % 60:02d}:{seconds % 60:02d}-{calls}"
