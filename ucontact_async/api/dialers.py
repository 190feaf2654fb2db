"""The vendor's section "Dialers": put calls on a dialer's spool or schedule, and take them off.

Sources: ``protocol.md`` 2.5 to 2.8.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Annotated, Any, Literal

import msgspec

from ..endpoint import Endpoint, EndpointGroup, Request, Safety
from ..errors import InvalidRequest
from ..list_file import ListRow
from ..text import (
    CAMPAIGN,
    COUNT,
    DIAL_STRING,
    FLAG,
    FREE_TEXT,
    NAME,
    OPTIONAL_DIAL_STRING,
    OPTIONAL_TIMESTAMP,
    PAIRS,
    PHONE_LIST,
    PRIORITY,
    TIMESTAMP,
    Rules,
)
from ..wire import DONE
from .lists import ROWS_PER_FILE, ListFile, ListWriter, UploadReport, ZonedListFile, send_files

__all__ = ["DialerTask", "Dialers", "RemoveContact", "RemoveSchedule", "Respool", "ScheduledCall"]

_PRESENT = Rules()


class Respool(Request[None], frozen=True, kw_only=True):
    """Put a contact of a dialer's list back on the spool, now ("Respool", ``protocol.md`` 2.5).

    Campaign, dialerbase and contact must be those of the call that is respooled, and the destination one that is not
    on the spool: :meth:`from_cti` sees to both. ``priority`` is 2 (first) to 9999 (last); 1 is reserved for scheduled
    calls. ``agentphone`` is for progressive dialers only. Sent once: an unknown outcome is not repeated.
    """

    campaign: Annotated[str, CAMPAIGN]
    destination: Annotated[str, DIAL_STRING]
    dialerbase: Annotated[str, NAME]
    contact: Annotated[int, COUNT]
    alternatives: Annotated[Sequence[str], PHONE_LIST] = ()
    data: Annotated[Mapping[str, str], PAIRS] = {}
    retries: Annotated[int, COUNT] = 0
    priority: Annotated[int, PRIORITY] = 9999
    agentphone: Annotated[str, OPTIONAL_DIAL_STRING] = ""

    def check(self) -> None:
        """Refuse a destination that is one of its own alternatives: it would be dialled twice."""
        if self.destination in self.alternatives:
            raise InvalidRequest("alternatives", "holds the destination itself; the dialer would call it twice")

    @classmethod
    def from_cti(
        cls,
        cti: str | bytes | Mapping[str, Any],
        *,
        destination: str | None = None,
        alternatives: Sequence[str] | None = None,
        retries: int = 0,
        priority: int | None = None,
        data: Mapping[str, str] | None = None,
        agentphone: str | None = None,
    ) -> Respool:
        """Build the next request from the portal's call object, by the rules of the page.

        ``cti`` is the object as JSON text or a mapping, its keys in any case. Campaign, dialerbase and contact are
        taken over and cannot be changed. The destination is never the number that is on the spool but ``destination``
        or else the next alternative, which puts the number just dialled last; what is not given is taken from the
        call. Raises :class:`InvalidRequest` naming the key that is missing, or ``alternatives`` when no other number
        is left.
        """
        call = _open_cti(cti)
        dialled = _cti_text(call, "destination")
        # The server leaves out what is null (protocol.md 0.11); it is only missed where a number is looked for in it.
        absent = None if destination is None else ""
        known = PHONE_LIST.decode(_cti_text(call, "alternatives", default=absent), _PRESENT)
        if destination == dialled:
            raise InvalidRequest("destination", "is already on the spool; give an alternative number")
        # The number just dialled goes to the end, or of three numbers the third would never get its turn.
        after = known.index(dialled) + 1 if destination is None and dialled in known else 0
        waiting = dict.fromkeys((*known[after:], *known[:after]))
        following = destination or next((number for number in waiting if number != dialled), None)
        if following is None:
            raise InvalidRequest("alternatives", "no number is left but the one already on the spool")
        if alternatives is None:
            alternatives = tuple(number for number in waiting if number != following)
        if priority is None:
            # A call that came from the schedule has priority 1, which a respool must not take.
            priority = _cti_number(call, "priority", default=9999)
            priority = priority if priority > 1 else 9999
        return cls(
            campaign=_cti_text(call, "campaign"),
            destination=following,
            dialerbase=_cti_text(call, "dialerbase"),
            contact=_cti_number(call, "contact"),
            alternatives=alternatives,
            data=PAIRS.decode(_cti_text(call, "data", default=""), _PRESENT) if data is None else data,
            retries=retries,
            priority=priority,
            agentphone=_cti_text(call, "agentphone", default="") if agentphone is None else agentphone,
        )


# What a form sees instead of the documented name (protocol.md 6.2).
_CTI_NAMES = {"data": ("data", "parandvalues"), "destination": ("destination", "callerid")}


def _open_cti(cti: str | bytes | Mapping[str, Any]) -> dict[str, Any]:
    if isinstance(cti, str | bytes):
        try:
            cti = msgspec.json.decode(cti)
        except (msgspec.DecodeError, UnicodeError, RecursionError):
            raise InvalidRequest("cti", "is not the JSON text of a call object") from None
    if not isinstance(cti, Mapping):
        raise InvalidRequest("cti", "is not a call object but " + type(cti).__name__)
    return {str(key).lower(): value for key, value in cti.items()}


def _cti_text(call: dict[str, Any], key: str, default: str | None = None) -> str:
    for name in _CTI_NAMES.get(key, (key,)):
        value = call.get(name)
        if isinstance(value, str) or (isinstance(value, int) and not isinstance(value, bool)):
            return str(value)
        if value is not None:
            raise InvalidRequest(key, f"the call object holds a {type(value).__name__} where text belongs")
    if default is None:
        raise InvalidRequest(key, f"the call object has no key {key!r}; was the call made by a dialer?")
    return default


def _cti_number(call: dict[str, Any], key: str, default: int | None = None) -> int:
    text = _cti_text(call, key, None if default is None else str(default)).strip()
    if not (text.isascii() and text.isdecimal() and len(text) <= 18):
        raise InvalidRequest(key, "the call object holds no whole number there")
    return int(text)


class ScheduledCall(Request[None], frozen=True, kw_only=True):
    """Have a dialer call a number at a date and time ("ScheduleDialerCall", ``protocol.md`` 2.6).

    An aware ``calldate`` goes out in the server's time zone, a naive one is taken as the server's local time; a local
    time that does not exist or happens twice is refused. ``campaign`` is the dialer with its arrow (``Ventas->``),
    ``alternatives`` are further numbers in the order in which they are tried, ``data`` the pairs that the agent's form
    shows (text without ``: = ;``), ``agentphone`` is the extension of an agent, for progressive dialers only. Sent
    once: an unknown outcome is not repeated.

    Raises :class:`InvalidRequest` naming the field (nothing was sent), or how it failed (see ``help(ucontact_async)``).
    """

    campaign: Annotated[str, CAMPAIGN]
    destination: Annotated[str, DIAL_STRING]
    calldate: Annotated[datetime, TIMESTAMP]
    alternatives: Annotated[Sequence[str], PHONE_LIST] = ()
    agentphone: Annotated[str, OPTIONAL_DIAL_STRING] = ""
    data: Annotated[Mapping[str, str], PAIRS] = {}


class DialerTask(Request[None], frozen=True, kw_only=True):
    """Give a dialer a task ("DialerTask", ``protocol.md`` 2.7).

    The page documents five uses; each has a constructor: :meth:`urgent`, :meth:`now`, :meth:`scheduled`,
    :meth:`for_agent` and :meth:`for_phone`. ``source`` is a note on where the task comes from; the other fields are
    those of :class:`ScheduledCall`. Sent once: an unknown outcome is not repeated.
    """

    campaign: Annotated[str, CAMPAIGN]
    destination: Annotated[str, DIAL_STRING]
    calldate: Annotated[datetime | None, OPTIONAL_TIMESTAMP] = None
    alternatives: Annotated[Sequence[str], PHONE_LIST] = ()
    agent: Annotated[str, NAME] = ""
    data: Annotated[Mapping[str, str], PAIRS] = {}
    source: Annotated[str, FREE_TEXT] = "source"
    bulk: Annotated[bool, FLAG] = False
    automatic: Annotated[bool, FLAG] = True

    @classmethod
    def urgent(
        cls,
        *,
        campaign: str,
        destination: str,
        alternatives: Sequence[str] = (),
        data: Mapping[str, str] = {},
        source: str = "source",
    ) -> DialerTask:
        """Insert into the dialer with priority 1 (page: "Insert Dialer with priority 1")."""
        return cls(
            campaign=campaign,
            destination=destination,
            alternatives=alternatives,
            data=data,
            source=source,
            bulk=False,
            automatic=True,
        )

    @classmethod
    def now(
        cls,
        *,
        campaign: str,
        destination: str,
        alternatives: Sequence[str] = (),
        data: Mapping[str, str] = {},
        agent: str = "",
        source: str = "source",
    ) -> DialerTask:
        """Call now, as a click-to-call does; its first byte leaves within 5 s or not at all."""
        return cls(
            campaign=campaign,
            destination=destination,
            alternatives=alternatives,
            data=data,
            agent=agent,
            source=source,
            bulk=False,
            automatic=False,
        )

    @classmethod
    def scheduled(
        cls,
        *,
        campaign: str,
        destination: str,
        calldate: datetime,
        alternatives: Sequence[str] = (),
        data: Mapping[str, str] = {},
        source: str = "source",
    ) -> DialerTask:
        """Call at a date and time, inside or outside the dialer's hours ("Scheduled call for anytime")."""
        return cls(
            campaign=campaign,
            destination=destination,
            calldate=calldate,
            alternatives=alternatives,
            data=data,
            source=source,
            bulk=True,
            automatic=False,
        )

    @classmethod
    def for_agent(
        cls,
        *,
        campaign: str,
        destination: str,
        agent: str,
        alternatives: Sequence[str] = (),
        data: Mapping[str, str] = {},
        source: str = "source",
    ) -> DialerTask:
        """Insert into a dialer for the agent with the user name ``agent``; empty for any agent."""
        return cls(
            campaign=campaign,
            destination=destination,
            agent=agent,
            alternatives=alternatives,
            data=data,
            source=source,
            bulk=True,
            automatic=True,
        )

    @classmethod
    def for_phone(
        cls,
        *,
        campaign: str,
        destination: str,
        phone: str,
        alternatives: Sequence[str] = (),
        data: Mapping[str, str] = {},
        source: str = "source",
    ) -> DialerTask:
        """Insert into a dialer for the agent who sits at the extension ``phone``."""
        DIAL_STRING.encode(phone, "phone", _PRESENT)
        return cls.for_agent(
            campaign=campaign, destination=destination, agent=phone, alternatives=alternatives, data=data, source=source
        )


def _task_send_by(task: DialerTask) -> float | None:
    # A late click-to-call is worse than none (design.md section 4).
    return 5.0 if not task.bulk and not task.automatic else None


class RemoveContact(Request[None], frozen=True, kw_only=True):
    """Take a number off a dialer's spool ("RemoveContact", ``protocol.md`` 2.8). May be repeated."""

    campaign: Annotated[str, CAMPAIGN]
    destination: Annotated[str, DIAL_STRING] = msgspec.field(name="number")


class RemoveSchedule(Request[None], frozen=True, kw_only=True):
    """Take a number's scheduled calls from ``since`` to ``until``, both included, off a dialer's schedule.

    ("RemoveScheduleDialerCall", ``protocol.md`` 2.8.) May be repeated.
    """

    campaign: Annotated[str, CAMPAIGN]
    destination: Annotated[str, DIAL_STRING]
    since: Annotated[datetime, TIMESTAMP] = msgspec.field(name="from")
    until: Annotated[datetime, TIMESTAMP] = msgspec.field(name="to")

    def check(self) -> None:
        """Refuse a range that ends before it begins."""
        both_aware = (self.since.tzinfo is None) == (self.until.tzinfo is None)
        if both_aware and self.until < self.since:
            raise InvalidRequest("until", "is before since")


class Dialers(EndpointGroup):
    """Spool, schedule and lists of the dialers."""

    respool = Endpoint("Dialers/Respool", Respool, DONE, Safety.ONCE, argument="callspool", constants={"status": 1})
    schedule = Endpoint("Dialers/ScheduleDialerCall", ScheduledCall, DONE, Safety.ONCE, argument="callschedule")
    task = Endpoint("Dialers/DialerTask", DialerTask, DONE, Safety.ONCE, argument="call", send_by=_task_send_by)
    remove_contact = Endpoint("Dialers/RemoveContact", RemoveContact, DONE, Safety.REPEATABLE)
    remove_schedule = Endpoint("Dialers/RemoveScheduleDialerCall", RemoveSchedule, DONE, Safety.REPEATABLE)
    upload_file = Endpoint("Dialers/uploadbase", ListFile, DONE, Safety.ONCE)
    upload_file_with_timezone = Endpoint("Dialers/uploadbasewithtimezone", ZonedListFile, DONE, Safety.ONCE)

    async def upload(
        self,
        rows: Iterable[ListRow],
        *,
        campaign: str,
        name: str = "list",
        rows_per_file: int = ROWS_PER_FILE,
        username: str | None = None,
        on_duplicate: Literal["refuse", "allow"] = "refuse",
    ) -> UploadReport:
        """Upload ``rows`` as lists of the dialer ``campaign``: many contacts in a few requests.

        ``accepted`` means QUEUED: the server answers before it reads a file, drops lines it cannot read without a word,
        and the list arrives later and inactive; somebody activates it in the portal, its percentages adding up to 100.

        A list beats n single calls when there are thousands of contacts, when nobody minds that they are dialled only
        once the list was activated, and when the dialer shall order and retry them. Single calls (``uc.bulk``) are
        better when each row has its own time, must be dialled now, or needs an answer of its own: of a file that is
        unknown no row is known.

        Every row is checked before the first file is sent. Files are sent one after another, each once, and the first
        that is not accepted ends it: a file that is unknown is never sent again. To have a journal remember that over
        several runs: ``uc.bulk(ListWriter(campaign=..., rules=uc.rules).files(rows), journal=...)``.

        Args:
            rows: contacts; an empty campaign is this one.
            campaign: the dialer with its arrow.
            name: what the name of each file begins with; a short hash of its rows follows.
            rows_per_file: how many rows a file has at most; smaller files pass proxies that refuse large forms.
            username: the uploading user, by default the client's.
            on_duplicate: ``"refuse"`` or ``"allow"`` two rows with the same campaign and destination.

        Raises:
            InvalidRequest: a row breaks a rule; nothing was sent.
            Blocked: the client's rules of the dial forbid rows; ``error.rows`` has each, and nothing was sent.
        """
        writer = ListWriter(
            campaign=campaign,
            name=name,
            rows_per_file=rows_per_file,
            username=username,
            on_duplicate=on_duplicate,
            rules=self._caller.rules,
        )
        endpoint = Dialers.upload_file
        return await send_files(writer.files(rows), lambda file: self._caller.call(endpoint, file), self._caller.clear)

    async def upload_with_timezone(
        self,
        rows: Iterable[ListRow],
        *,
        timezone: str,
        campaign: str,
        name: str = "list",
        rows_per_file: int = ROWS_PER_FILE,
        username: str | None = None,
        on_duplicate: Literal["refuse", "allow"] = "refuse",
    ) -> UploadReport:
        """Upload ``rows`` whose numbers live in ``timezone``: :meth:`upload` in all else.

        ``accepted`` means QUEUED here too. The dialer's hours count in that zone; it is sent as it is given.
        """
        writer = ListWriter(
            campaign=campaign,
            name=name,
            rows_per_file=rows_per_file,
            username=username,
            timezone=timezone,
            on_duplicate=on_duplicate,
            rules=self._caller.rules,
        )
        endpoint = Dialers.upload_file_with_timezone
        return await send_files(writer.files(rows), lambda file: self._caller.call(endpoint, file), self._caller.clear)
