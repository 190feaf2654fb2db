"""Recorded calls and their files in memory (``protocol.md`` section 3): found by filter, converted, tagged.

It knows what lies where and nothing of connections. The files are sound and tiny: a second or so of silence.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from datetime import datetime
from typing import Any, Literal

import msgspec

from ..api.recordings import ConvertRecording, FindRecordings, TagRecording
from ..errors import Rejected
from ..java_dates import format_java_date
from ..serving import Call, Handler, gson
from .ledger import Ledger
from .switches import Switches

__all__ = ["Host", "RecordedCall", "RecordedCalls", "gsm_of", "mp3_of"]

Host = Literal["main", "backup"]

# MPEG-2 layer III, 8 kbit/s, 16 kHz, mono: 36 bytes and 36 ms a frame; nothing but zeros is silence.
_MP3_FRAME = bytes.fromhex("fff318c4") + bytes(32)
# GSM 06.10 full rate: 33 bytes and 20 ms a frame; this one is silence.
_GSM_FRAME = bytes.fromhex("d820a2e15a50004924924924500049249249245000492492492450004924924924")


class RecordedCall(msgspec.Struct, frozen=True, kw_only=True):
    """One recorded call."""

    guid: str
    calldate: datetime
    source: str = ""
    destination: str = ""
    campaign: str = ""
    agent: str = ""
    duration: int = 30
    rating: int | None = None
    data: str = ""

    @property
    def day(self) -> str:
        """The folder of its day."""
        return f"{self.calldate:%Y%m%d}"


class RecordedCalls:
    """The recorded calls of one contact centre, and the files on its two hosts by their paths."""

    def __init__(self, ledger: Ledger, switches: Switches) -> None:
        """Begin with none; :meth:`add` puts them in."""
        self.rows: list[RecordedCall] = []
        self.files: dict[tuple[Host, str], bytes] = {}
        self.tags: dict[str, list[str]] = {}
        self._converted: list[tuple[Host, str]] = []
        self._ledger = ledger
        self._switches = switches
        self.handlers: dict[str, Handler] = {
            "Cdr/getrecords": self._find,
            "Supervisor/convert": self._convert,
            "Agents/TagRecord": self._tag,
        }

    def add(
        self, record: RecordedCall, *, formats: Iterable[str] = ("mp3",), host: Host = "main", folder: str | None = None
    ) -> None:
        """Put in a call with its files: in the ``folder`` of its day by default, in none if that is empty."""
        self.rows.append(record)
        for format_ in formats:
            content = mp3_of(record.guid) if format_ == "mp3" else gsm_of(record.guid)
            self.files[host, _path(record.day if folder is None else folder, record.guid, format_)] = content

    def clear(self) -> None:
        """Forget what was converted and tagged; the calls stay."""
        for key in self._converted:
            self.files.pop(key, None)
        self._converted.clear()
        self.tags.clear()

    def _find(self, call: Call) -> bytes:
        request: FindRecordings = call.request
        if request.since.tzinfo is not None or request.until.tzinfo is not None:
            raise Rejected("the dates of this API have no zone", status=200)
        found = [(number, record) for number, record in enumerate(self.rows, 1) if self._matches(record, request)]
        if request.at_least:
            calls = Counter(record.destination for _, record in found)
            found = [row for row in found if calls[row[1].destination] >= _number(request.at_least)]
        start = 0 if self._switches.ignores_lastrow else request.after
        return gson([self._row(number, record) for number, record in found[start : start + request.page]])

    def _matches(self, record: RecordedCall, request: FindRecordings) -> bool:
        # The syntax of the hour range is not published, so nothing is made of it.
        equal = ("agent", "campaign", "source", "destination")
        return (
            request.since <= record.calldate <= request.until
            and all(getattr(request, name) in ("", getattr(record, name)) for name in equal)
            and request.rating in ("", str(record.rating))
            and record.duration >= _number(request.min_duration)
            and (not request.exclude or request.exclude not in (record.source, record.destination))
            and (not request.tag or any(request.tag in tag for tag in self.tags.get(record.guid, ())))
        )

    def _row(self, number: int, record: RecordedCall) -> dict[str, Any]:
        moment = record.calldate
        row = {
            "id": number,
            "calldate": format_java_date(moment) if self._switches.java_dates else f"{moment}.0",
            "src": record.source,
            "dst": record.destination,
            "duration": record.duration,
            "billsec": max(record.duration - 5, 0),
            "disposition": "ANSWERED",
            "accountcode": record.agent,
            "guid": record.guid,
            "campaign": record.campaign,
            "rating": record.rating,
            "parandvalues": record.data if self._switches.data_in_records else None,
        }
        return {name: value for name, value in row.items() if value is not None}  # Gson leaves nulls out (0.11)

    def _convert(self, call: Call) -> None:
        request: ConvertRecording = call.request
        for host, path in list(self.files):
            if path in {_path(folder, request.guid, "gsm") for folder in ("", request.folder)}:
                key = host, path.removesuffix("gsm") + "mp3"
                if key not in self.files:
                    self.files[key] = mp3_of(request.guid)
                    self._converted.append(key)
        self._ledger.record(call.path, call.fields)

    def _tag(self, call: Call) -> None:
        request: TagRecording = call.request
        self.tags.setdefault(request.guid, []).append(request.data)
        self._ledger.record(call.path, call.fields)


def _number(text: str) -> int:
    if not text.isascii() or not (text or "0").isdecimal() or len(text) > 9:
        raise Rejected("not a number", status=200)
    return int(text or "0")


def _path(folder: str, guid: str, format_: str) -> str:
    return f"/records/{folder}/{guid}.{format_}" if folder else f"/records/{guid}.{format_}"


def mp3_of(guid: str) -> bytes:
    """Return an mp3 of about a second of silence with ``guid`` for its title, so that no two are the same."""
    title = b"\x00" + guid.encode("latin-1")
    frame = b"TIT2" + len(title).to_bytes(4, "big") + b"\x00\x00" + title
    size = bytes((len(frame) >> shift) & 0x7F for shift in (21, 14, 7, 0))
    return b"ID3\x03\x00\x00" + size + frame + _MP3_FRAME * 28


def gsm_of(guid: str) -> bytes:
    """Return a gsm of silence, as long as the letters of ``guid`` are."""
    return _GSM_FRAME * (50 + sum(guid.encode()) % 50)
