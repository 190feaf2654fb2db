"""Calling windows: which hours of which days a customer may be rung, by the clock on the customer's wall.

It knows the calendar, and neither numbers nor requests.
"""

from __future__ import annotations

import re
from collections.abc import Container, Sequence
from datetime import date, datetime

import msgspec

from ...errors import SettingsError

__all__ = ["Hours", "Window"]

_DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
_TIME = re.compile(r"([01]\d|2[0-3]):([0-5]\d)|24:00")


class Window(msgspec.Struct, frozen=True):
    """Hours in which calls may ring: from ``begin`` on and before ``end``, on ``days``, all by the customer's clock.

    ``Window("09:00", "20:00", "mon-fri")``; ``end`` may be ``24:00``, ``days`` a list such as ``"mon-thu,sat"``. A
    window ends on the day on which it begins: of one through the night make two. Raises :class:`SettingsError`.
    """

    begin: str
    end: str
    days: str = "mon-sun"

    def __post_init__(self) -> None:
        if not _minute(self.begin) < _minute(self.end):
            raise SettingsError(f"the window {self.begin}-{self.end} ends before it begins; make two of it")
        _weekdays(self.days)


def _minute(text: str) -> int:
    if not _TIME.fullmatch(text):
        raise SettingsError(f"a window begins and ends at HH:MM, such as 09:00 (or 24:00), not at {text!r}")
    return int(text[:2]) * 60 + int(text[3:])


def _weekdays(text: str) -> frozenset[int]:
    found: set[int] = set()
    for part in text.lower().split(","):
        first, dash, last = part.strip().partition("-")
        if first not in _DAYS or (dash and last not in _DAYS):
            raise SettingsError(f"days are {', '.join(_DAYS)}, such as 'mon-fri' or 'mon,wed', not {text!r}")
        begin, end = _DAYS.index(first), _DAYS.index(last or first)
        if end < begin:
            raise SettingsError(f"the days {part.strip()} run backwards; the week begins on mon")
        found.update(range(begin, end + 1))
    return frozenset(found)


class Hours:
    """All windows and holidays together, ready to be asked."""

    def __init__(self, windows: Sequence[Window], holidays: Container[date]) -> None:
        """No ``windows`` are all hours of all days."""
        self._holidays = holidays
        self._open: tuple[list[tuple[int, int]], ...] = tuple([] for _ in _DAYS)
        for window in windows or (Window("00:00", "24:00"),):
            for day in _weekdays(window.days):
                self._open[day].append((_minute(window.begin), _minute(window.end)))

    def closed(self, local: datetime) -> tuple[str, str] | None:
        """Return the name of the rule by which nobody is rung at ``local``, the customer's time, and a sentence."""
        if local.date() in self._holidays:
            return "holiday", f"{local:%Y-%m-%d} is a holiday"
        day, minute = local.weekday(), local.hour * 60 + local.minute
        if any(begin <= minute < end for begin, end in self._open[day]):
            return None
        return "window", f"{_DAYS[day]} {local:%H:%M} is outside the calling windows"
