"""Dates as the server's Java writes them into JSON: three forms, one for each age of Java (``protocol.md`` 0.12)."""

from __future__ import annotations

import re
from datetime import datetime

__all__ = ["format_java_date", "parse_java_date"]

_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
_JAVA_DATE = re.compile(
    rf"({'|'.join(_MONTHS)}) ([0-9]{{1,2}}), ([0-9]{{4}}),? "
    "([0-9]{1,2}):([0-9]{2}):([0-9]{2})[ \u00a0\u202f]([AP])M"
)


def format_java_date(moment: datetime, java: int = 8) -> str:
    """Write ``moment`` as Gson does on that version of Java: ``Nov 2, 2018 11:31:42 AM`` (``protocol.md`` 0.12)."""
    # By hand: strftime's names of months and of the two halves of the day follow the locale.
    comma, blank = "," if java >= 9 else "", "\u202f" if java >= 20 else " "
    half = "AM" if moment.hour < 12 else "PM"
    day = f"{_MONTHS[moment.month - 1]} {moment.day}, {moment.year:04d}"
    return f"{day}{comma} {moment.hour % 12 or 12}:{moment.minute:02d}:{moment.second:02d}{blank}{half}"


def parse_java_date(text: str) -> datetime | None:
    """Read what any version of Java writes there, without a zone; ``None`` for anything else."""
    match = _JAVA_DATE.fullmatch(text.strip())
    if match is None:
        return None
    month, half = _MONTHS.index(match[1]) + 1, 12 if match[7] == "P" else 0
    day, year, hour, minute, second = map(int, match.group(2, 3, 4, 5, 6))
    if not 1 <= hour <= 12:
        return None
    try:
        return datetime(year, month, day, hour % 12 + half, minute, second)  # noqa: DTZ001  the server names no zone
    except ValueError:
        return None
