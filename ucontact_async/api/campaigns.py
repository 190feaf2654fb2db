"""The vendor's section "Campaigns": what queues, campaigns and dialers are doing now.

Source: ``protocol.md`` section 4. This file reads answers; when to read again is the business of ``watch.py``.
"""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Awaitable, Callable, Mapping
from datetime import datetime, timedelta
from decimal import Decimal
from random import Random
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import msgspec

from ..endpoint import Caller, Endpoint, EndpointGroup, Request, Safety
from ..java_dates import parse_java_date
from ..text import NAME
from ..wire import JsonReply
from .watch import Watch

__all__ = [
    "AverageTime",
    "CampaignStatus",
    "Campaigns",
    "GetCampaignStatus",
    "GetQueueSummary",
    "OtherStatus",
    "QueueSummary",
]

T = TypeVar("T")

_COUNT = re.compile(r"-?[0-9]{1,15}(?:[.]0+)?")
_AVERAGE = re.compile(r"([0-9]{1,6}):([0-5][0-9]):([0-5][0-9])(?:-([0-9]{1,15}(?:[.][0-9]+)?))?")
_PERCENTAGE = re.compile(r"([0-9]{1,15}(?:[.,][0-9]*)?) ?%?")


class _Held(msgspec.Struct, frozen=True, kw_only=True):
    """What the server said; its ``repr`` hides what stands behind undocumented keys: it may be a caller's number."""

    def __repr__(self) -> str:
        return f"{type(self).__name__}({', '.join(f'{name}={value!r}' for name, value in self.__rich_repr__())})"

    def __rich_repr__(self) -> list[tuple[str, Any]]:
        values = [(name, getattr(self, name)) for name in self.__struct_fields__]
        return [(name, dict.fromkeys(value, "***") if isinstance(value, dict) else value) for name, value in values]


class QueueSummary(_Held, frozen=True, kw_only=True):
    """What one queue is doing now (``protocol.md`` 4.1); ``None`` stands for what the server did not say.

    ``logged_in`` and ``available`` count agents, ``callers`` those who wait now. ``hold_time`` and ``talk_time`` are
    averages, ``longest_hold_time`` is the longest wait of those who wait now. ``received`` is the server's local time,
    without a zone. ``extra`` has every key that the page does not document, as it came.
    """

    queue: str
    logged_in: int | None = None
    available: int | None = None
    callers: int | None = None
    hold_time: timedelta | None = None
    talk_time: timedelta | None = None
    longest_hold_time: timedelta | None = None
    received: datetime | None = None
    extra: dict[str, Any] = {}


class AverageTime(msgspec.Struct, frozen=True):
    """An average time, and the number that the server writes behind it: ``str`` gives its ``HH:MM:SS-N`` back."""

    time: timedelta
    number: float | None = None

    @classmethod
    def parse(cls, text: str) -> AverageTime:
        """Read ``HH:MM:SS-N``, also without the number; ``ValueError`` for anything else."""
        match = _AVERAGE.fullmatch(text.strip())
        if match is None:
            raise ValueError("expected HH:MM:SS-N")
        hours, minutes, seconds = map(int, match.group(1, 2, 3))
        number = None if match[4] is None else float(match[4]) if "." in match[4] else int(match[4])
        return cls(timedelta(hours=hours, minutes=minutes, seconds=seconds), number)

    def __str__(self) -> str:
        seconds = int(self.time.total_seconds())
        clock = f"{seconds // 3600:02d}:{seconds // 60 % 60:02d}:{seconds % 60:02d}"
        # Not as Python writes what is small: 1e-05 is no number to the server.
        return clock if self.number is None else f"{clock}-{Decimal(str(self.number)):f}"


class CampaignStatus(_Held, frozen=True, kw_only=True):
    """What one campaign is doing now and did today (``protocol.md`` 4.2); ``None`` for what the server did not say.

    ``available`` to ``on_wrapup`` count agents; ``completed``, ``abandoned`` and ``total_calls`` today's calls;
    ``waiting`` those who wait now. ``abandoned_level`` and the service levels are percentages. ``threshold`` (of the
    service level) and ``wrapup`` are seconds. ``extra`` has every key that the page does not document, as it came.
    """

    campaign: str
    available: int | None = None
    not_available: int | None = None
    paused: int | None = None
    busy: int | None = None
    busy_paused: int | None = None
    total_agents: int | None = None
    logged: int | None = None
    on_wrapup: int | None = None
    completed: int | None = None
    abandoned: int | None = None
    total_calls: int | None = None
    waiting: int | None = None
    talked: AverageTime | None = None
    hold: AverageTime | None = None
    abandoned_level: float | None = None
    service_level: float | None = None
    service_level2: float | None = None
    strategy: str | None = None
    threshold: int | None = None
    wrapup: int | None = None
    extra: dict[str, Any] = {}


class OtherStatus(_Held, frozen=True, kw_only=True):
    """An object of campaignstatus that is no campaign: an agent, or a call that waits.

    Their keys are unpublished, so ``fields`` is the object as it came. ``problem`` is given for one that is named as a
    campaign is and holds something else in a documented key.
    """

    name: str
    fields: dict[str, Any]
    problem: str = ""

    def __rich_repr__(self) -> list[tuple[str, Any]]:
        # What is no campaign may be named after a caller's number.
        return [("name", self.name if self.problem else "***"), *super().__rich_repr__()[1:]]


def _count(value: Any) -> int | None:
    if isinstance(value, str):
        if (stripped := value.strip()) == "":
            return None
        if not _COUNT.fullmatch(stripped):
            raise ValueError("expected a whole number")
        return int(stripped.partition(".")[0])
    if isinstance(value, bool) or not isinstance(value, int | float) or value != int(value):
        raise ValueError("expected a whole number")
    return int(value)


def _seconds(value: Any) -> timedelta | None:
    count = _count(value)
    return None if count is None else timedelta(seconds=count)


def _average(value: Any) -> AverageTime | None:
    text = _string(value)
    return AverageTime.parse(text) if text else None


def _percentage(value: Any) -> float | None:
    if isinstance(value, int | float) and not isinstance(value, bool):
        return float(value)
    text = _string(value).strip()
    if text in ("", "NaN"):  # Java's share of nothing
        return None
    match = _PERCENTAGE.fullmatch(text)
    if match is None:
        raise ValueError("expected a percentage")
    return float(match[1].replace(",", "."))


def _string(value: Any) -> str:
    if not isinstance(value, str):
        raise ValueError("expected text")
    return value


_Readers = Mapping[str, tuple[str, Callable[[Any], Any]]]

# By the name on the wire: ours, and how the value is read.
_SUMMARY: _Readers = {
    "queue": ("queue", _string),
    "loggedIn": ("logged_in", _count),
    "available": ("available", _count),
    "callers": ("callers", _count),
    "holdTime": ("hold_time", _seconds),
    "talkTime": ("talk_time", _seconds),
    "longestHoldTime": ("longest_hold_time", _seconds),
}
_STATUS: _Readers = {
    "campaign": ("campaign", _string),
    "availables": ("available", _count),
    "notavailables": ("not_available", _count),
    "paused": ("paused", _count),
    "busy": ("busy", _count),
    "busypaused": ("busy_paused", _count),
    "totalagents": ("total_agents", _count),
    "logged": ("logged", _count),
    "onwrapup": ("on_wrapup", _count),
    "completed": ("completed", _count),
    "abandoned": ("abandoned", _count),
    "totalcalls": ("total_calls", _count),
    "acd": ("waiting", _count),
    "talked": ("talked", _average),
    "hold": ("hold", _average),
    "abandonedlevel": ("abandoned_level", _percentage),
    "servicelevel": ("service_level", _percentage),
    "servicelevel2": ("service_level2", _percentage),
    "strategy": ("strategy", _string),
    "slevelthreshold": ("threshold", _count),
    "wrapup": ("wrapup", _count),
}


def _read(held: dict[str, Any], readers: _Readers) -> dict[str, Any]:
    """Return the fields of ``held`` by our names; ``ValueError`` names the key that cannot be read."""
    fields: dict[str, Any] = {}
    extra = {}
    for key, value in held.items():
        if key not in readers:
            extra[key] = value
        elif value is not None:
            name, reader = readers[key]
            try:
                fields[name] = reader(value)
            except (ValueError, OverflowError) as error:  # more seconds than a timedelta holds
                raise ValueError(f"{key}: {error}") from None
    return {**fields, "extra": extra}


class Summaries(JsonReply[list[QueueSummary]]):
    """A list of queues, and an element without a queue that only ends it: the event dump of Asterisk (4.1)."""

    def read(self, value: Any) -> list[QueueSummary]:
        """Return the queues in their order."""
        if not isinstance(value, list) or not all(isinstance(element, dict) for element in value):
            raise ValueError("expected a list of objects")
        return [_summary(element) for element in value if element.get("queue") is not None]


def _summary(element: dict[str, Any]) -> QueueSummary:
    # The number of the dump, the same in all its elements, says nothing of the queue.
    known = {key: value for key, value in element.items() if key != "internalActionId"}
    received = parse_java_date(date) if isinstance(date := known.get("dateReceived"), str) else None
    if received is not None:
        del known["dateReceived"]  # one that cannot be read stays among the extras
    return QueueSummary(**_read(known, _SUMMARY), received=received)


class Statuses(JsonReply[dict[str, CampaignStatus | OtherStatus]]):
    """An object of objects by name; those that name themselves as their campaign are campaigns (4.2)."""

    secret = True  # the calls that wait are somebody's numbers

    def read(self, value: Any) -> dict[str, CampaignStatus | OtherStatus]:
        """Return the objects by name, campaigns typed, others raw."""
        if not isinstance(value, dict) or not all(isinstance(held, dict) for held in value.values()):
            raise ValueError("expected an object of objects")
        return {name: _status(name, held) for name, held in value.items()}


def _status(name: str, held: dict[str, Any]) -> CampaignStatus | OtherStatus:
    # Every campaign that was seen repeats its name; an agent or a call has another one there, if any.
    if held.get("campaign") != name:
        return OtherStatus(name=name, fields=held)
    try:
        return CampaignStatus(**_read(held, _STATUS))
    except ValueError as error:  # one odd value must not hide all other campaigns
        return OtherStatus(name=name, fields=held, problem=str(error))


class GetQueueSummary(Request[list[QueueSummary]], frozen=True, kw_only=True):
    """Return what each queue is doing now ("queuesummary", ``protocol.md`` 4.1). A read: repeated after failures."""

    if TYPE_CHECKING:  # mypy takes the constructor of a Struct without fields for one that takes anything

        def __init__(self) -> None: ...


class GetCampaignStatus(Request[dict[str, CampaignStatus | OtherStatus]], frozen=True, kw_only=True):
    """Return what a campaign is doing, by name; of all where ``queue`` is empty ("campaignstatus", 4.2).

    An unknown name returns nothing. A read: repeated after failures.
    """

    queue: Annotated[str, NAME] = ""


class Campaigns(EndpointGroup):
    """Queues and campaigns, as a supervisor sees them."""

    # Without a field and so without a body, as the page has it; pool.py asks its guard for such requests too.
    summary = Endpoint("Supervisor/queuesummary", GetQueueSummary, Summaries(), Safety.READ)
    status = Endpoint("Supervisor/campaignstatus", GetCampaignStatus, Statuses(), Safety.READ)

    def __init__(
        self,
        caller: Caller,
        *,
        opened: Callable[[Watch[Any]], None] | None = None,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        chance: Random | None = None,
    ) -> None:
        """``opened`` hears of every watch, so that a client can end it when it closes; the rest is for watches."""
        super().__init__(caller)
        self._opened = opened
        self._clock = clock
        self._sleep = sleep
        self._chance = chance

    def watch(self, *, every: float = 5.0) -> Watch[list[QueueSummary]]:
        """Read :attr:`summary` every so many seconds: ``async for snapshot in uc.campaigns.watch(every=5)``.

        Failures do not end the loop: they yield the last data marked stale. See :class:`Watch`.
        """
        return self._watch(self.summary, [], every)

    def watch_status(self, *, queue: str = "", every: float = 5.0) -> Watch[dict[str, CampaignStatus | OtherStatus]]:
        """Read :attr:`status` every so many seconds, otherwise as :meth:`watch`."""
        return self._watch(lambda: self.status(queue=queue), {}, every)

    def _watch(self, read: Callable[[], Awaitable[T]], empty: T, every: float) -> Watch[T]:
        watch = Watch(read, empty=empty, every=every, clock=self._clock, sleep=self._sleep, chance=self._chance)
        if self._opened is not None:
            self._opened(watch)
        return watch
