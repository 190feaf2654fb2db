"""A faithful stand-in for a uContact server, to test against: real sockets, a ledger of effects, faults on demand.

It stands on the same contract as the client and on nothing else of it.
"""

from __future__ import annotations

from .agent_portal import AgentPortal, Asked
from .blacklist import Blacklist, BlacklistRow
from .calls import CallRecord, Switchboard
from .dispositions import Dispositions
from .faults import FaultKind, Faults, Rule
from .ledger import Entry, Ledger
from .lists import ContactList
from .portal_form import PortalForm
from .recordings import RecordedCall
from .server import Emulator
from .sessions import Sessions
from .state import ContactCentre, ScheduleRow, SpoolRow
from .status import Queue, Status
from .switches import DispositionAction, Switches, TokenShape

__all__ = [
    "AgentPortal",
    "Asked",
    "Blacklist",
    "BlacklistRow",
    "CallRecord",
    "ContactCentre",
    "ContactList",
    "DispositionAction",
    "Dispositions",
    "Emulator",
    "Entry",
    "FaultKind",
    "Faults",
    "Ledger",
    "PortalForm",
    "Queue",
    "RecordedCall",
    "Rule",
    "ScheduleRow",
    "Sessions",
    "SpoolRow",
    "Status",
    "Switchboard",
    "Switches",
    "TokenShape",
]
