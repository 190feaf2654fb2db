"""What follows when a call is disposed of: the action configured for it (``protocol.md`` 2.2; section 9, 7 and 9).

It decides what is to be done; spool, schedule and do-not-call list are others'.
"""

from __future__ import annotations

from typing import Any, Protocol

import msgspec

from ..api.calls import Disposition
from ..errors import Rejected
from ..serving import Call, Handler
from .blacklist import Blacklist, BlacklistRow
from .calls import CallRecord, Switchboard
from .ledger import Ledger
from .switches import DispositionAction, Switches

__all__ = ["Dialer", "Dispositions"]


class Dialer(Protocol):
    """Whoever makes the calls that a disposition asks for."""

    def respool(self, call: CallRecord) -> None:
        """Put ``call`` on the spool of its campaign."""
        ...

    def reschedule(self, call: CallRecord, calldate: str) -> None:
        """Put ``call`` on the schedule of its campaign."""
        ...

    def forget(self, campaign: str, number: str) -> None:
        """Take every call of ``campaign`` that may reach ``number`` off spool and schedule."""
        ...


class Dispositions:
    """The dispositions of one server; ``made`` holds the wire fields of each, and the ``action`` that followed."""

    def __init__(
        self, dialer: Dialer, switchboard: Switchboard, blacklist: Blacklist, ledger: Ledger, switches: Switches
    ) -> None:
        """Find the calls in ``switchboard`` and let ``dialer`` and ``blacklist`` do what follows."""
        self.made: list[dict[str, Any]] = []
        self._dialer = dialer
        self._switchboard = switchboard
        self._blacklist = blacklist
        self._ledger = ledger
        self._switches = switches
        self._actions = {levels: DispositionAction(action) for levels, action in switches.dispositions.items()}
        self.handlers: dict[str, Handler] = {"api/DispositionCall": self._dispose}

    def clear(self) -> None:
        """Forget every disposition; what was configured stays."""
        self.made.clear()

    def _dispose(self, call: Call) -> None:
        said: Disposition = call.request
        campaigns = self._switches.campaigns
        if campaigns is not None and said.campaign not in campaigns:
            raise Rejected("no such campaign", status=200)
        levels = (said.campaign, said.level1, said.level2, said.level3)
        action = self._actions.get(levels, DispositionAction.NOACTION)
        known = self._switchboard.find(said.guid) or CallRecord(campaign="", destination=said.callerid)
        if action is not DispositionAction.NOACTION:
            if not known.destination:
                raise Rejected("neither the guid nor the callerid is known", status=200)
            self._follow(action, said, msgspec.structs.replace(known, campaign=said.campaign))
        self.made.append({**call.fields, "action": action.value})
        self._ledger.record(call.path, call.fields)

    def _follow(self, action: DispositionAction, said: Disposition, call: CallRecord) -> None:
        match action:
            case DispositionAction.RESPOOL:
                self._dialer.respool(msgspec.structs.replace(call, retries=call.retries + 1))
            case DispositionAction.RESPOOLALTERNATIVE:
                if (following := _with_next_number(call)) is not None:
                    self._dialer.respool(following)
            case DispositionAction.BLACKLIST:
                row = BlacklistRow(phone=call.destination, campaign=said.campaign, username=said.agent)
                self._blacklist.add(row)
            case DispositionAction.RESCHEDULE:
                self._reschedule(said, call)

    def _reschedule(self, said: Disposition, call: CallRecord) -> None:
        moment = said.schedule
        if moment is None or moment.tzinfo is not None:
            raise Rejected("a reschedule needs a local date and time", status=200)
        target = said.reschedule_campaign or said.campaign
        # Otherwise the customer would be rung by the old row as well (section 9, 9).
        for campaign in (said.campaign, target):
            self._dialer.forget(campaign, call.destination)
        self._dialer.reschedule(msgspec.structs.replace(call, campaign=target), moment.isoformat(" "))


def _with_next_number(call: CallRecord) -> CallRecord | None:
    others = [number for number in call.alternatives.split(":") if number and number != call.destination]
    if not others:
        return None
    alternatives = ":".join([*others[1:], call.destination])
    return msgspec.structs.replace(call, destination=others[0], alternatives=alternatives, retries=0)
