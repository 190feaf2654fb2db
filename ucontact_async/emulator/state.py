"""A contact centre in memory: sessions, spool and schedule, and who else serves it (``protocol.md`` section 9).

It knows what the endpoints do and nothing of connections or faults.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from random import Random
from typing import Any

import msgspec

from ..api.dialers import DialerTask, RemoveContact, RemoveSchedule, Respool, ScheduledCall
from ..errors import Rejected
from ..serving import Call, Handler
from .blacklist import Blacklist, BlacklistRow
from .calls import CallRecord, Switchboard
from .dispositions import Dispositions
from .ledger import Ledger
from .lists import ContactList, ListRoom, spool_fields
from .recordings import RecordedCalls
from .rows import Rows
from .sessions import Sessions
from .status import Status
from .switches import Switches

__all__ = ["ContactCentre", "ScheduleRow", "SpoolRow"]


class SpoolRow(msgspec.Struct, frozen=True, kw_only=True):
    """A call that a dialer makes as soon as it can. ``duplicate``: its destination was on the spool already."""

    id: int
    campaign: str
    destination: str
    dialerbase: str = ""
    status: int = 1
    data: str = ""
    alternatives: str = ""
    contact: int = 0
    retries: int = 0
    priority: int = 9999
    agentphone: str = ""
    calldate: str | None = None
    duplicate: bool = False


class ScheduleRow(msgspec.Struct, frozen=True, kw_only=True):
    """A call that a dialer makes at a time, or without one when it has nothing else to do."""

    id: int
    calldate: str | None
    campaign: str
    destination: str
    alternatives: str = ""
    agentphone: str = ""
    data: str = ""


class ContactCentre:
    """Everything that lasts from one request to the next; its handlers enter their effects in the ledger.

    ``calls`` are the tasks that were called at once (click-to-call); they are never due again. ``spooled`` and
    ``scheduled`` are the rows of spool and schedule as they are kept.
    """

    def __init__(self, users: Mapping[str, str], ledger: Ledger, randomness: Random, switches: Switches) -> None:
        """``users`` are passwords by name; ``randomness`` makes the tokens."""
        self.sessions = Sessions(users, ledger, randomness, switches)
        self.records = RecordedCalls(ledger, switches)
        self.spooled = Rows[SpoolRow]()
        self.scheduled = Rows[ScheduleRow]()
        self.calls: list[dict[str, Any]] = []
        self.do_not_call = Blacklist(ledger, switches)
        self.switchboard = Switchboard(ledger, randomness, switches)
        self.dispositions = Dispositions(self, self.switchboard, self.do_not_call, ledger, switches)
        self._switches = switches
        self._ledger = ledger
        self._rows = 0
        self.list_room = ListRoom(ledger, switches)
        self._tasks: set[int] = set()
        self.status = Status(switches, self._in_use, lambda: [call["campaign"] for call in self.calls])
        self.handlers: dict[str, Handler] = {
            **self.sessions.handlers,
            **self.switchboard.handlers,
            **self.dispositions.handlers,
            **self.do_not_call.handlers,
            **self.status.handlers,
            **self.records.handlers,
            **self.list_room.handlers,
            "Dialers/Respool": self._respool,
            "Dialers/ScheduleDialerCall": self._schedule_call,
            "Dialers/DialerTask": self._task,
            "Dialers/RemoveContact": self._remove_contact,
            "Dialers/RemoveScheduleDialerCall": self._remove_schedule,
        }

    @property
    def spool(self) -> list[SpoolRow]:
        """The spool, oldest row first."""
        return sorted(self.spooled, key=lambda row: row.id)

    @property
    def schedule(self) -> list[ScheduleRow]:
        """The schedule, oldest row first."""
        return sorted(self.scheduled, key=lambda row: row.id)

    @property
    def blacklist(self) -> list[BlacklistRow]:
        """The do-not-call list."""
        return self.do_not_call.rows

    @property
    def lists(self) -> list[ContactList]:
        """The uploaded lists, oldest first, as they are now."""
        return self.list_room.look()

    def activate(self, name: str, percentage: int = 100) -> None:
        """Activate the list ``name`` and put its rows on the spool, as a person in the portal does."""
        for row in self.list_room.activate(name, percentage):
            self._insert(SpoolRow(id=self._next_id(), dialerbase=name, **spool_fields(row)))

    def dial_order(self, now: datetime) -> list[SpoolRow | ScheduleRow]:
        """Return what is due at ``now``, the server's local time, in the order a dialer takes it.

        Scheduled calls first, they have priority 1; then a date before no date, then by priority, oldest first. Numbers
        on the do-not-call list are left out where the dialer has the DNCR flag.
        """
        moment = now.replace(tzinfo=None, microsecond=0).isoformat(" ")
        rows: list[SpoolRow | ScheduleRow] = [*self.scheduled, *self.spooled]
        due = (row for row in rows if row.calldate is None or row.calldate <= moment)
        return sorted((row for row in due if not self._is_blocked(row)), key=_rank)

    def dial_next(self, now: datetime, *, agent: str = "", phone: str = "") -> CallRecord | None:
        """Let a dialer make the first call that is due at ``now``, put through to ``phone``; ``None`` if none is."""
        row = next(iter(self.dial_order(now)), None)
        if row is None:
            return None
        key = row.campaign, row.destination
        self.spooled.keep(key, lambda other: other is not row)
        self.scheduled.keep(key, lambda other: other is not row)
        shared = set(row.__struct_fields__) & set(CallRecord.__struct_fields__)
        call = CallRecord(**{name: getattr(row, name) for name in shared})
        return self.switchboard.begin(msgspec.structs.replace(call, agent=agent, phone=phone or row.agentphone))

    def respool(self, call: CallRecord) -> None:
        """Put ``call`` on the spool of its campaign; priority 1 is not taken over."""
        row = SpoolRow(
            id=self._next_id(),
            campaign=call.campaign,
            destination=call.destination,
            dialerbase=call.dialerbase,
            data=call.data,
            alternatives=call.alternatives,
            contact=call.contact,
            retries=call.retries,
            priority=call.priority if call.priority > 1 else 9999,
        )
        self._insert(row)

    def reschedule(self, call: CallRecord, calldate: str) -> None:
        """Put ``call`` on the schedule of its campaign."""
        row = ScheduleRow(
            id=self._next_id(),
            calldate=calldate,
            campaign=call.campaign,
            destination=call.destination,
            alternatives=call.alternatives,
            data=call.data,
        )
        self.scheduled.add(row)

    def forget(self, campaign: str, number: str) -> None:
        """Take every row of ``campaign`` with ``number``, also as an alternative, off spool and schedule."""

        def others(row: SpoolRow | ScheduleRow) -> bool:
            return number not in (row.destination, *row.alternatives.split(":"))

        for key in self.spooled.keys_of(campaign):
            self.spooled.keep(key, others)
        for key in self.scheduled.keys_of(campaign):
            self.scheduled.keep(key, others)

    def clear(self) -> None:
        """Forget every effect; users, sessions and recorded calls stay."""
        self.spooled.clear()
        self.scheduled.clear()
        self._tasks.clear()
        self.calls.clear()
        self.do_not_call.clear()
        self.switchboard.clear()
        self.dispositions.clear()
        self.records.clear()
        self.list_room.clear()

    def _respool(self, call: Call) -> None:
        respool: Respool = call.request
        self._check_campaign(respool.campaign)
        if self._switches.strict_priority and respool.priority <= 1:
            raise Rejected("priority 1 is reserved", status=200)
        if self._switches.duplicate != "duplicate" and (respool.campaign, respool.destination) in self.spooled:
            if self._switches.duplicate == "refuse":
                raise Rejected("already on the spool", status=200)
            return
        row = SpoolRow(
            **self._common(call),
            dialerbase=respool.dialerbase,
            contact=respool.contact,
            retries=respool.retries,
            priority=respool.priority,
            agentphone=respool.agentphone,
        )
        self._to_spool(call, row)

    def _schedule_call(self, call: Call) -> None:
        scheduled: ScheduledCall = call.request
        self._check_campaign(scheduled.campaign)
        calldate = _moment(scheduled.calldate)
        self._to_schedule(call, ScheduleRow(**self._common(call), calldate=calldate, agentphone=scheduled.agentphone))

    def _task(self, call: Call) -> None:
        task: DialerTask = call.request
        self._check_campaign(task.campaign)
        calldate = _moment(task.calldate)
        if not task.bulk and not task.automatic:
            self._ledger.record(call.path, call.fields)
            self.calls.append(dict(call.fields))
        elif not task.automatic:
            row = ScheduleRow(**self._common(call), calldate=calldate, agentphone=task.agent)
            self._tasks.add(row.id)
            self._to_schedule(call, row)
        else:
            priority = 9999 if task.bulk else 1
            spooled = SpoolRow(**self._common(call), calldate=calldate, agentphone=task.agent, priority=priority)
            self._to_spool(call, spooled)

    def _remove_contact(self, call: Call) -> None:
        removal: RemoveContact = call.request
        self.spooled.keep((removal.campaign, removal.destination), lambda _: False)
        self._ledger.record(call.path, call.fields)

    def _remove_schedule(self, call: Call) -> None:
        removal: RemoveSchedule = call.request
        key = removal.campaign, removal.destination
        since, until = _moment(removal.since), _moment(removal.until)
        if since is None or until is None:
            raise Rejected("from and to are dates", status=200)
        inclusive = self._switches.removal == "inclusive"

        def stays(row: ScheduleRow) -> bool:
            date = row.calldate
            inside = date is not None and (since <= date <= until if inclusive else since < date < until)
            return not inside or (row.id in self._tasks and not self._switches.removes_tasks)

        before = len(self.scheduled)
        self.scheduled.keep(key, stays)
        if len(self.scheduled) == before and self._switches.removal_of_nothing == "0":
            raise Rejected("nothing there", status=200)
        self._ledger.record(call.path, call.fields)

    def _to_spool(self, call: Call, row: SpoolRow) -> None:
        self._insert(row)
        self._ledger.record(call.path, call.fields)

    def _insert(self, row: SpoolRow) -> None:
        twice = (row.campaign, row.destination) in self.spooled
        self.spooled.add(msgspec.structs.replace(row, duplicate=True) if twice else row)

    def _to_schedule(self, call: Call, row: ScheduleRow) -> None:
        self.scheduled.add(row)
        self._ledger.record(call.path, call.fields)

    def _common(self, call: Call) -> dict[str, Any]:
        return {
            "id": self._next_id(),
            "campaign": call.request.campaign,
            "destination": call.request.destination,
            "alternatives": str(call.fields.get("alternatives") or ""),
            "data": str(call.fields.get("data") or ""),
        }

    def _next_id(self) -> int:
        self._rows += 1
        return self._rows

    def _is_blocked(self, row: SpoolRow | ScheduleRow) -> bool:
        return row.campaign in self._switches.dncr and self.do_not_call.blocks(row.campaign, row.destination)

    def _in_use(self) -> set[str]:
        return {*self.spooled.counts, *self.scheduled.counts}

    def _check_campaign(self, campaign: str) -> None:
        if self._switches.campaigns is not None and campaign not in self._switches.campaigns:
            raise Rejected("no such campaign", status=200)


def _rank(row: SpoolRow | ScheduleRow) -> tuple[bool, bool, int, str, int]:
    priority = row.priority if isinstance(row, SpoolRow) else 1
    return isinstance(row, SpoolRow), row.calldate is None, priority, row.calldate or "", row.id


def _moment(value: datetime | None) -> str | None:
    if value is None:
        return None
    if value.tzinfo is not None:
        raise Rejected("the dates of this API have no zone", status=200)
    return value.isoformat(" ")
