"""Live calls and their records: agents' calls, hanging up, workflows (``protocol.md`` section 9, 13 and 14).

It knows neither dialers nor what a disposition does.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from random import Random
from typing import Any
from uuid import UUID

import msgspec

from ..api.calls import AgentCall, AgentCallWithData, HangUp
from ..errors import Rejected
from ..serving import Call, Handler
from .ledger import Ledger
from .switches import Switches

__all__ = ["CallRecord", "Switchboard"]


class CallRecord(msgspec.Struct, kw_only=True):
    """One call and, if a dialer made it, the contact that it was made to. Without ``ended`` it is still live."""

    guid: str = ""
    campaign: str
    destination: str
    agent: str = ""
    phone: str = ""
    callerid: str = ""
    direction: str = "out"
    started: str = ""
    ended: str | None = None
    data: str = ""
    alternatives: str = ""
    dialerbase: str = ""
    contact: int = 0
    retries: int = 0
    priority: int = 9999


class Switchboard:
    """The calls of one server: ``cdr`` has all of them, oldest first; ``workflows`` what was started."""

    def __init__(
        self,
        ledger: Ledger,
        randomness: Random,
        switches: Switches,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        """``randomness`` makes the identifiers of calls; ``clock`` tells the server's local time."""
        self.cdr: list[CallRecord] = []
        self.workflows: list[dict[str, Any]] = []
        self._ledger = ledger
        self._randomness = randomness
        self._switches = switches
        self._clock = clock
        self._by_guid: dict[str, CallRecord] = {}
        self._live: dict[str, list[CallRecord]] = {}
        self.handlers: dict[str, Handler] = {
            "Agents/AgentCall": self._agent_call,
            "Agents/AgentCallwithData": self._agent_call,
            "Agents/HungupPhone": self._hang_up,
            "admin/CallWorkflow": self._workflow,
        }

    @property
    def live(self) -> list[CallRecord]:
        """The calls that nobody has hung up, oldest first."""
        return [record for record in self.cdr if record.ended is None]

    def begin(self, call: CallRecord) -> CallRecord:
        """Make ``call`` a live one with an identifier of its own, and return its record."""
        guid = str(UUID(int=self._randomness.getrandbits(128), version=4))
        record = msgspec.structs.replace(call, guid=guid, started=self._now())
        self.cdr.append(record)
        self._by_guid[guid] = record
        self._live.setdefault(record.phone, []).append(record)
        return record

    def end(self, phone: str) -> bool:
        """Hang up every live call of ``phone``; return whether there was one."""
        ended = self._live.pop(phone, [])
        for record in ended:
            record.ended = self._now()
        return bool(ended)

    def find(self, guid: str) -> CallRecord | None:
        """Return the record of the call ``guid``, live or not."""
        return self._by_guid.get(guid)

    def clear(self) -> None:
        """Forget every call and workflow."""
        self.cdr.clear()
        self.workflows.clear()
        self._by_guid.clear()
        self._live.clear()

    def _agent_call(self, call: Call) -> str:
        asked: AgentCall | AgentCallWithData = call.request
        agents, campaigns = self._switches.agents, self._switches.campaigns
        if agents is not None and agents.get(asked.agent) != asked.phone:
            raise Rejected("no such agent at this phone", status=200)
        if campaigns is not None and asked.outqueue not in campaigns:
            raise Rejected("no such campaign", status=200)
        record = self.begin(
            CallRecord(
                campaign=asked.outqueue,
                destination=asked.destination,
                agent=asked.agent,
                phone=asked.phone,
                callerid=asked.callerid,
                data=asked.data if isinstance(asked, AgentCallWithData) else "",
            )
        )
        self._ledger.record(call.path, call.fields)
        return record.guid

    def _hang_up(self, call: Call) -> None:
        asked: HangUp = call.request
        if not self.end(asked.phone):
            raise Rejected("the phone has no live call", status=200)
        self._ledger.record(call.path, call.fields)

    def _workflow(self, call: Call) -> None:
        self.workflows.append(dict(call.fields))
        self._ledger.record(call.path, call.fields)

    def _now(self) -> str:
        return self._clock().replace(tzinfo=None, microsecond=0).isoformat(" ")
