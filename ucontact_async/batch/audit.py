"""The records of calls held against what was asked for: numbers dialled too often, scheduled calls never made.

It reads both and asks nobody: the records come from :meth:`Recordings.search`, or from anywhere.
"""

from __future__ import annotations

import os
from collections.abc import AsyncIterable, AsyncIterator, Iterable, Iterator
from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo

import anyio.to_thread
import msgspec

from ..api.recordings import Recording
from ..endpoint import Request
from ..errors import SettingsError
from ..settings import zone_of
from ..text import dialled, mask_phone
from .journal_rows import JournalRows, open_journal
from .turns import is_removal

__all__ = ["DialAudit", "Dialled", "audit_double_dials"]

# Findings kept of each kind; all of them are counted.
KEPT = 1_000
_MADE = ("succeeded", "unknown")


class Dialled(msgspec.Struct, frozen=True, kw_only=True):
    """A number of a campaign: how often it was ``asked`` for and ``dialled``; ``unknown`` of the asked may not be."""

    campaign: str
    destination: str
    asked: int
    unknown: int
    dialled: int

    def __repr__(self) -> str:
        return (
            f"Dialled(campaign={self.campaign!r}, destination={mask_phone(self.destination)!r}, asked={self.asked}, "
            f"unknown={self.unknown}, dialled={self.dialled})"
        )

    def __rich_repr__(self) -> Any:
        yield repr(self)


class DialAudit(msgspec.Struct, kw_only=True):
    """What an audit found.

    ``records`` were held against ``numbers``, ``others`` (of other numbers, campaigns or times) left aside. ``twice``
    and ``never`` are the first 1,000 numbers dialled more often than asked for, and of scheduled calls that nobody
    dialled; ``twice_count`` and ``never_count`` how many there are.
    """

    numbers: int = 0
    records: int = 0
    others: int = 0
    twice_count: int = 0
    never_count: int = 0
    twice: list[Dialled] = msgspec.field(default_factory=list)
    never: list[Dialled] = msgspec.field(default_factory=list)

    @property
    def clean(self) -> bool:
        """Whether nothing was found."""
        return not self.twice_count and not self.never_count

    def __repr__(self) -> str:
        return f"DialAudit({self.summary()})"

    def __rich_repr__(self) -> Any:
        yield self.summary()

    def summary(self) -> str:
        """Return the counts in one line."""
        return (
            f"{self.numbers} numbers, {self.records} calls: {self.twice_count} dialled more often than asked for, "
            f"{self.never_count} scheduled and never dialled; {self.others} other calls"
        )


class _Contact(msgspec.Struct):
    """What is known of one number in one campaign."""

    asked: int = 0
    unknown: int = 0
    dialled: int = 0
    due: bool = False
    also: set[str] | None = None


async def audit_double_dials(
    records: Iterable[Recording] | AsyncIterable[Recording],
    asked: str | os.PathLike[str] | JournalRows | Iterable[Request[Any]],
    *,
    since: datetime | None = None,
    until: datetime | None = None,
    timezone: str | ZoneInfo | None = None,
    tries: int = 1,
) -> DialAudit:
    """Return which numbers of a finished campaign were dialled more often than asked for, and which never.

    Args:
        records: its call records, such as ``uc.recordings.search(since=..., until=..., campaign=...)``; with
            ``at_least=2`` the server sends only numbers called twice (``protocol.md``, ``cont``), and nothing can then
            be said of calls never made.
        asked: the journal of the run, its path, or the requests themselves, each of which counts as made.
        since: the first moment of the time audited, by the server's clock if it has no zone. Scheduled calls outside
            of it are not missed.
        until: its last moment.
        timezone: the server's, for moments with a zone.
        tries: how often the dialer itself tries a number it was asked for once.

    A dialer that tries again makes a record of each try, and an agent may call a number by hand: what is found is to
    be looked at, not proved. A number counts where it is the destination or an alternative; one that the records spell
    otherwise (with a prefix) is not found. Rows that failed or were undone count as not asked for. Memory grows with
    the numbers asked for, about 500 bytes each.

    Raises:
        SettingsError: a moment with a zone, and no ``timezone``; ``tries`` below 1.
        JournalError: the journal cannot be read.
    """
    if tries < 1:
        raise SettingsError("tries is 1 or more")
    window = _Window(since, until, zone_of(timezone))
    if isinstance(asked, str | os.PathLike | JournalRows):
        contacts = await anyio.to_thread.run_sync(_read, asked, window)
    else:
        contacts = _contacts(((request, "succeeded") for request in asked), window)
    audit = DialAudit(numbers=len(contacts))
    async for record in _each(records):
        contact = contacts.get((record.campaign, dialled(record.destination).strip()))
        if contact is None or not window.holds(record.calldate):
            audit.others += 1
        else:
            audit.records += 1
            contact.dialled += 1
    _judge(audit, contacts, tries)
    return audit


class _Window:
    """The time audited, by the server's clock."""

    def __init__(self, since: datetime | None, until: datetime | None, zone: ZoneInfo | None) -> None:
        self._zone = zone
        self._since = self._local(since)
        self._until = self._local(until)

    def holds(self, moment: datetime | None) -> bool:
        local = self._local(moment)
        if local is None:
            return True
        return (self._since is None or self._since <= local) and (self._until is None or local <= self._until)

    def _local(self, moment: datetime | None) -> datetime | None:
        if moment is None or moment.tzinfo is None:
            return moment
        if self._zone is None:
            raise SettingsError("a moment has a zone and the server's is not known; give timezone=")
        return moment.astimezone(self._zone).replace(tzinfo=None)


def _rows(journal: JournalRows) -> Iterator[tuple[Request[Any], str]]:
    for row in journal.all():
        if row.request is not None:
            yield row.request, row.status


def _read(asked: str | os.PathLike[str] | JournalRows, window: _Window) -> dict[tuple[str, str], _Contact]:
    """Block for as long as a journal of any length takes to read."""
    if isinstance(asked, JournalRows):
        return _contacts(_rows(asked), window)
    with open_journal(asked) as journal:
        return _contacts(_rows(journal), window)


def _contacts(asked: Iterable[tuple[Request[Any], str]], window: _Window) -> dict[tuple[str, str], _Contact]:
    contacts: dict[tuple[str, str], _Contact] = {}
    for request, status in asked:
        campaign = getattr(request, "campaign", None) or getattr(request, "outqueue", None)
        destination = getattr(request, "destination", None)
        if campaign is None or destination is None or is_removal(request):
            continue
        numbers = [dialled(number) for number in (destination, *getattr(request, "alternatives", ()))]
        for number in numbers:
            contact = contacts.setdefault((campaign, number), _Contact())
            contact.asked += status in _MADE
            contact.unknown += status == "unknown"
        contact = contacts[campaign, numbers[0]]
        calldate = getattr(request, "calldate", None)
        if calldate is not None and status == "succeeded" and window.holds(calldate):
            contact.due = True
            contact.also = (contact.also or set()) | set(numbers[1:])
    return contacts


def _judge(audit: DialAudit, contacts: dict[tuple[str, str], _Contact], tries: int) -> None:
    for (campaign, number), contact in contacts.items():
        found = Dialled(
            campaign=campaign,
            destination=number,
            asked=contact.asked,
            unknown=contact.unknown,
            dialled=contact.dialled,
        )
        if contact.dialled > contact.asked * tries:
            audit.twice_count += 1
            if len(audit.twice) < KEPT:
                audit.twice.append(found)
        reached = (contacts[campaign, other].dialled for other in contact.also or ())
        if contact.due and not contact.dialled and not any(reached):
            audit.never_count += 1
            if len(audit.never) < KEPT:
                audit.never.append(found)


async def _each(records: Iterable[Recording] | AsyncIterable[Recording]) -> AsyncIterator[Recording]:
    if isinstance(records, AsyncIterable):
        async for record in records:
            yield record
    else:
        for record in records:
            yield record
