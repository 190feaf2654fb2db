"""The vendor's section "Recordings": find calls that were recorded, have a recording converted, tag a call.

Sources: ``protocol.md`` section 3. Where the files lie and how they are fetched is no part of the contract's endpoints.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import datetime
from typing import Annotated, Any

import msgspec

from ..endpoint import Endpoint, EndpointGroup, Request, Safety
from ..errors import InvalidRequest
from ..java_dates import parse_java_date
from ..text import (
    COUNT,
    DIAL_STRING,
    FREE_TEXT,
    GUID,
    NAME,
    OPTIONAL_DIAL_STRING,
    PRIVATE_TEXT,
    TIMESTAMP,
    FreeText,
    Rules,
    mask_phone,
    parse_timestamp,
)
from ..wire import DONE, JSON_LIMIT, Reply

__all__ = [
    "ConvertRecording",
    "FindRecordings",
    "Recording",
    "RecordingCalls",
    "TagRecording",
    "check_guid",
    "parse_calldate",
]

_DAY = re.compile(r"[0-9]{8}")
_DIGITS = re.compile(r"[0-9]{0,9}")


def check_guid(guid: Any) -> str:
    """Return ``guid`` if it can stand in a path and in a file name; raise :class:`InvalidRequest` otherwise."""
    if not isinstance(guid, str):
        raise InvalidRequest("guid", f"expected {GUID.expects}, got {type(guid).__name__}")
    return GUID.encode(guid, "guid", Rules())


def parse_calldate(text: str) -> datetime | None:
    """Read the date of a call, as the database or as Java writes it, by the server's clock; ``None`` if it is none."""
    moment = parse_timestamp(text)
    if moment is not None:
        return moment.replace(tzinfo=None)
    return parse_java_date(text)


class Day(FreeText):
    """The folder of a day, ``YYYYMMDD``, or empty."""

    def encode(self, value: str, field: str, rules: Rules) -> str:
        if value != "" and not _DAY.fullmatch(value):
            raise InvalidRequest(field, "is not the eight digits of a day, such as 20270505")
        return value


class Digits(FreeText):
    """A whole number as text; empty for none."""

    def encode(self, value: str, field: str, rules: Rules) -> str:
        if not _DIGITS.fullmatch(value):
            raise InvalidRequest(field, "is not a whole number of up to nine digits")
        return value


OPTIONAL_DAY = Day()
DIGITS = Digits()


class Recording(msgspec.Struct, frozen=True, kw_only=True):
    """One recorded call, as getrecords tells of it.

    ``calldate`` is by the server's clock, without a zone; ``duration`` and ``billed`` are seconds, the second counted
    from the answer. What is missing or cannot be read as its type is ``None`` or empty; ``extra`` holds every field of
    the answer that is not one of these, under the server's name. Only ``guid`` and ``calldate`` are documented.
    """

    guid: str
    calldate: datetime | None = None
    source: str = ""
    destination: str = ""
    campaign: str = ""
    agent: str = ""
    duration: int | None = None
    billed: int | None = None
    rating: int | None = None
    disposition: str = ""
    direction: str = ""
    extra: Mapping[str, Any] = {}

    @property
    def day(self) -> str:
        """The folder that the recording should lie in, ``YYYYMMDD``; empty where the date is not known."""
        # strftime does not pad years below 1000 everywhere.
        return "" if self.calldate is None else self.calldate.date().isoformat().replace("-", "")

    def __repr__(self) -> str:
        source, destination = (mask_phone(number) if number else "" for number in (self.source, self.destination))
        return (
            f"Recording(guid={self.guid!r}, calldate={self.calldate}, source={source!r}, "
            f"destination={destination!r}, campaign={self.campaign!r}, agent={self.agent!r})"
        )

    def __rich_repr__(self) -> Any:
        yield repr(self)


def _whole(value: Any) -> int | None:
    if isinstance(value, str) and re.fullmatch(r"-?[0-9]{1,18}", value.strip()):
        return int(value)
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def _line(value: Any) -> str | None:
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    return value if isinstance(value, str) else None


def _calldate(value: Any) -> datetime | None:
    return parse_calldate(value) if isinstance(value, str) else None


# Our name, the names that were seen for it (in any case), how its value is read (protocol.md 3.2).
_COLUMNS: tuple[tuple[str, tuple[str, ...], Any], ...] = (
    ("guid", ("guid",), _line),
    ("calldate", ("calldate",), _calldate),
    ("source", ("source", "src"), _line),
    ("destination", ("destination", "dst"), _line),
    ("campaign", ("campaign",), _line),
    ("agent", ("agent", "accountcode"), _line),
    ("duration", ("duration",), _whole),
    ("billed", ("billsec",), _whole),
    ("rating", ("rating",), _whole),
    ("disposition", ("disposition",), _line),
    ("direction", ("direction",), _line),
)


def _recording_of(row: Any) -> Recording:
    if not isinstance(row, dict):
        raise ValueError("expected a list of objects")
    extra = dict(row)
    by_name = {name.lower(): name for name in row}
    known: dict[str, Any] = {}
    for ours, theirs, read in _COLUMNS:
        for name in theirs:
            value = read(row[by_name[name]]) if name in by_name else None
            if value is not None:
                known[ours] = value
                del extra[by_name[name]]
                break
    # A row without one cannot be fetched, but it was found: it is shown and not left out.
    known.setdefault("guid", "")
    return Recording(**known, extra=extra)


class Found(Reply[tuple[Recording, ...]]):
    """A JSON list of calls; ``[]`` and ``0`` both mean that there are none (``protocol.md`` 3.2)."""

    limit = JSON_LIMIT

    def decode(self, body: bytes) -> tuple[Recording, ...]:
        rows = msgspec.json.decode(body)
        if rows == 0 and not isinstance(rows, bool):
            return ()
        if not isinstance(rows, list):
            raise ValueError("expected a list")
        return tuple(_recording_of(row) for row in rows)

    def encode(self, value: tuple[Recording, ...]) -> bytes:
        return msgspec.json.encode([_row_of(recording) for recording in value])


def _row_of(recording: Recording) -> dict[str, Any]:
    row: dict[str, Any] = dict(recording.extra)
    for ours, theirs, _ in _COLUMNS:
        value = getattr(recording, ours)
        if value is not None and value != "":
            row[theirs[-1]] = value.isoformat(" ") if isinstance(value, datetime) else value
    return row


class Empty(Reply[None]):
    """Nothing at all, the documented answer of a request that is done later (``protocol.md`` 3.4)."""

    statuses = (200, 204)

    def decode(self, body: bytes) -> None:
        text = body.strip(b" \t\r\n")
        if text == b"0":
            raise self.refusal()
        if text:
            raise ValueError("expected nothing")

    def encode(self, value: None) -> bytes:
        return b""


class FindRecordings(Request[tuple[Recording, ...]], frozen=True, kw_only=True):
    """Return one page of the recorded calls from ``since`` to ``until``, both included ("getrecords").

    ``after`` is how many were seen already, ``page`` how many to return at most; an empty field filters nothing.
    ``at_least``: only numbers with so many calls in the range. ``min_duration`` is in seconds. The syntax of
    ``hour_range`` is not published.
    """

    since: Annotated[datetime, TIMESTAMP] = msgspec.field(name="calldatei")
    until: Annotated[datetime, TIMESTAMP] = msgspec.field(name="calldatef")
    agent: Annotated[str, NAME] = ""
    campaign: Annotated[str, NAME] = ""
    source: Annotated[str, OPTIONAL_DIAL_STRING] = ""
    destination: Annotated[str, OPTIONAL_DIAL_STRING] = ""
    tag: Annotated[str, PRIVATE_TEXT] = msgspec.field(default="", name="data")
    hour_range: Annotated[str, FREE_TEXT] = msgspec.field(default="", name="range")
    rating: Annotated[str, FREE_TEXT] = ""
    min_duration: Annotated[str, DIGITS] = msgspec.field(default="", name="mindur")
    exclude: Annotated[str, OPTIONAL_DIAL_STRING] = ""
    at_least: Annotated[str, DIGITS] = msgspec.field(default="", name="cont")
    after: Annotated[int, COUNT] = msgspec.field(default=0, name="lastrow")
    page: Annotated[int, COUNT] = msgspec.field(default=50, name="searchLimit")

    def check(self) -> None:
        """Refuse an empty page, and a range that ends before it begins."""
        if self.page < 1:
            raise InvalidRequest("page", "is 0; ask for one recording a page at least")
        both_aware = (self.since.tzinfo is None) == (self.until.tzinfo is None)
        if both_aware and self.until < self.since:
            raise InvalidRequest("until", "is before since")


class ConvertRecording(Request[None], frozen=True, kw_only=True):
    """Have the server make the mp3 of a recording; it answers when that is done ("convert").

    ``folder`` is the day it was recorded on, ``YYYYMMDD``, in case it lies there. May be repeated. It takes as long as
    the recording is, so an attempt may take 20 times the usual time-out.
    """

    guid: Annotated[str, GUID]
    folder: Annotated[str, OPTIONAL_DAY] = ""


class TagRecording(Request[None], frozen=True, kw_only=True):
    """Put a text on the call ``guid`` with the number ``phone``, to search for ("TagRecord").

    The server answers at once and does it later. May be repeated.
    """

    phone: Annotated[str, DIAL_STRING]
    guid: Annotated[str, GUID]
    data: Annotated[str, PRIVATE_TEXT]


class RecordingCalls(EndpointGroup):
    """The endpoints about recordings; the group that users see adds search and download to them."""

    find = Endpoint(
        "Cdr/getrecords",
        FindRecordings,
        Found(),
        Safety.READ,
        argument="filter",
        constants={"type": "record", "Random": 1},
        beside=("lastrow", "searchLimit", "Random"),
    )
    convert = Endpoint("Supervisor/convert", ConvertRecording, DONE, Safety.REPEATABLE, patience=20.0)
    tag = Endpoint("Agents/TagRecord", TagRecording, Empty(), Safety.REPEATABLE)
