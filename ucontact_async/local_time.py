"""Moments as the server's local time: written without a zone, and refused where that would say two things.

It knows the calendar and no endpoint.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, tzinfo
from itertools import repeat
from operator import attrgetter
from typing import Any

from .errors import InvalidRequest

__all__ = ["format_timestamp", "local_text", "local_texts"]


def format_timestamp(value: datetime, field: str, zone: tzinfo | None) -> str:
    """Write ``value`` in the server's ``zone``; refuse a local time that does not exist or happens twice."""
    if zone is None:
        raise InvalidRequest(field, "the server's time zone is not known; set timezone= (or UCONTACT_TIMEZONE)")
    return local_text(value, zone) or _looked_at(value, field, zone)


def local_text(value: datetime, zone: tzinfo) -> str | None:
    """Return ``value`` as :func:`format_timestamp` writes it, or ``None`` where it has to be looked at closely.

    The calls of a campaign fall into few minutes, and a minute is looked at once: a ninth of the work. A row asks twice
    in a row, to be encoded and to be told from others: 8,000 instructions.
    """
    global _latest  # noqa: PLW0603  a memory of one
    if value is _latest[0] and zone is _latest[1]:
        return _latest[2]
    try:
        begin = _begin_of(_MINUTE(value), zone)
    except TypeError:  # some tzinfo have no hash: dateutil's
        return None
    text = None if begin is None else begin + _SECONDS[value.second]
    _latest = value, zone, text
    return text


def local_texts(values: Sequence[datetime], zone: tzinfo) -> list[str]:
    """Return what :func:`local_text` does for each of ``values``, in a third of the time.

    Raises ``TypeError`` where one of them has to be looked at closely.
    """
    begins: Iterable[Any] = map(_begin_of, map(_MINUTE, values), repeat(zone))
    return [*map(str.__add__, begins, map(_SECONDS.__getitem__, map(_SECOND, values)))]


_SECOND = attrgetter("second")
_MINUTE = attrgetter("year", "month", "day", "hour", "minute", "fold", "tzinfo")
_SECONDS = [f"{second:02}" for second in range(60)]
_latest: tuple[datetime | None, tzinfo | None, str | None] = None, None, None


@functools.lru_cache(4096)
def _begin_of(minute: tuple[int, int, int, int, int, int, tzinfo | None], zone: tzinfo) -> str | None:
    """Return the text of a minute but for its seconds; ``None`` if that is not the same all through it."""
    year, month, day, hour, at, fold, source = minute
    try:
        first, last = (
            _looked_at(datetime(year, month, day, hour, at, second, tzinfo=source, fold=fold), "", zone)
            for second in (0, 59)
        )
    except (InvalidRequest, ValueError, OverflowError):
        return None
    # Since 1980 clocks are moved at whole minutes, by whole minutes.
    return first[:-2] if minute[0] >= 1980 and (first[-2:], last) == ("00", f"{first[:-2]}59") else None


def _looked_at(value: datetime, field: str, zone: tzinfo) -> str:
    local = value.replace(tzinfo=zone) if value.tzinfo is None else value.astimezone(zone)
    # Only in a skipped or a repeated hour does the fold change the offset.
    if local.utcoffset() != local.replace(fold=1 - local.fold).utcoffset():
        shown = f"{local:%Y-%m-%d %H:%M:%S}"
        if local.astimezone(UTC).astimezone(zone).replace(tzinfo=None) != local.replace(tzinfo=None):
            raise InvalidRequest(field, f"{shown} does not exist in {zone}: the clock skips it; choose another time")
        raise InvalidRequest(field, f"{shown} happens twice in {zone}: the clock is set back; choose another time")
    # isoformat pads years below 1000, strftime does not everywhere.
    return local.replace(tzinfo=None, microsecond=0).isoformat(" ")
