"""An asyncio client for the uContact Telephony API: bulk scheduling that never rings twice and loses no row.

``async with UContact(url, user=..., password=..., timezone=...) as uc: await uc.dialers.schedule(...)``.
Importing this package loads nothing else; each name below loads what it needs when it is first used.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .api.calls import AgentCall, AgentCallWithData, BlockNumber, CallWorkflow, Disposition, HangUp
    from .api.dialers import DialerTask, RemoveContact, RemoveSchedule, Respool, ScheduledCall
    from .batch.outcome import Outcome, Status
    from .batch.report import Report
    from .caller import Abandoned
    from .client import UContact
    from .endpoint import Request, Safety
    from .errors import (
        BulkError,
        Forbidden,
        InvalidRequest,
        JournalBusy,
        JournalError,
        JournalMismatch,
        NotFound,
        NotSent,
        OutcomeUnknown,
        Refused,
        Rejected,
        ReplyLost,
        ServerFault,
        SessionStolen,
        SettingsError,
        Throttled,
        UContactError,
        Unauthorized,
        UnreadableReply,
    )
    from .limiter import Limiter
    from .settings import ServerProfile, Settings
    from .token_store import FileTokenStore
    from .wire import Reply

__version__ = "0.1.0"

_HOMES = {
    "Abandoned": "caller",
    "AgentCall": "api.calls",
    "AgentCallWithData": "api.calls",
    "BlockNumber": "api.calls",
    "BulkError": "errors",
    "CallWorkflow": "api.calls",
    "DialerTask": "api.dialers",
    "Disposition": "api.calls",
    "FileTokenStore": "token_store",
    "Forbidden": "errors",
    "HangUp": "api.calls",
    "InvalidRequest": "errors",
    "JournalBusy": "errors",
    "JournalError": "errors",
    "JournalMismatch": "errors",
    "Limiter": "limiter",
    "NotFound": "errors",
    "NotSent": "errors",
    "Outcome": "batch.outcome",
    "OutcomeUnknown": "errors",
    "Refused": "errors",
    "Rejected": "errors",
    "RemoveContact": "api.dialers",
    "RemoveSchedule": "api.dialers",
    "Reply": "wire",
    "ReplyLost": "errors",
    "Report": "batch.report",
    "Request": "endpoint",
    "Respool": "api.dialers",
    "Safety": "endpoint",
    "ScheduledCall": "api.dialers",
    "ServerFault": "errors",
    "ServerProfile": "settings",
    "SessionStolen": "errors",
    "Settings": "settings",
    "SettingsError": "errors",
    "Status": "batch.outcome",
    "Throttled": "errors",
    "UContact": "client",
    "UContactError": "errors",
    "Unauthorized": "errors",
    "UnreadableReply": "errors",
}

__all__ = [
    "Abandoned",
    "AgentCall",
    "AgentCallWithData",
    "BlockNumber",
    "BulkError",
    "CallWorkflow",
    "DialerTask",
    "Disposition",
    "FileTokenStore",
    "Forbidden",
    "HangUp",
    "InvalidRequest",
    "JournalBusy",
    "JournalError",
    "JournalMismatch",
    "Limiter",
    "NotFound",
    "NotSent",
    "Outcome",
    "OutcomeUnknown",
    "Refused",
    "Rejected",
    "RemoveContact",
    "RemoveSchedule",
    "Reply",
    "ReplyLost",
    "Report",
    "Request",
    "Respool",
    "Safety",
    "ScheduledCall",
    "ServerFault",
    "ServerProfile",
    "SessionStolen",
    "Settings",
    "SettingsError",
    "Status",
    "Throttled",
    "UContact",
    "UContactError",
    "Unauthorized",
    "UnreadableReply",
    "__version__",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module("." + _HOMES[name], __name__), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
