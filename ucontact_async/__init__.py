"""An asyncio client for the uContact Telephony API: bulk scheduling that never rings twice and loses no row.

::

    async with UContact("https://acme.example", user="api", password=..., timezone="America/Montevideo") as uc:
        await uc.dialers.schedule(campaign="Ventas->", destination="090000001", calldate=datetime(2099, 5, 5, 10))
        report = await uc.bulk(calls, journal="calls.journal")  # the same journal again resumes

**Single calls.** A client has four groups, after the sections of the vendor's page: ``uc.calls`` (dial, dial_with_data,
hangup, disposition, workflow, block), ``uc.recordings`` (search, find, locate, convert, download, download_all, tag),
``uc.dialers`` (respool, schedule, task, remove_contact, remove_schedule, upload, upload_with_timezone) and
``uc.campaigns`` (summary, status, watch, watch_status). Their parameters are the fields of a request, which is a value
as well: ``uc.send(ScheduledCall(...))``. ``help(uc.dialers.schedule)`` shows them. Numbers to dial are text of 2 to 24
of ``0-9 * # + -``, campaigns end in their arrow (``Ventas->``), a ``calldate`` without a zone is the server's local
time, pairs of ``data`` are text. ``uc.request(path, form, reply=Reply.JSON, safety=Safety.READ)`` reaches any endpoint
that the page does not list.

**Many.** ``uc.bulk(requests, journal=...)`` returns a :class:`Report`, ``uc.stream(...)`` yields each :class:`Outcome`;
:class:`Table` makes requests of rows that a program has, ``ListWriter`` files for a dialer. :class:`DialRules` say
when, whom and how often may be called. :func:`open_journal` looks into a journal that no run holds.

**What a client needs to know**, and its variable for :meth:`UContact.from_env`: the address (``UCONTACT_URL``); user
and password (``UCONTACT_USER``, ``UCONTACT_PASSWORD`` or ``UCONTACT_PASSWORD_FILE``), or a token (``UCONTACT_TOKEN``,
``UCONTACT_TOKEN_SCHEME``: ``Basic`` or ``Bearer``); the server's time zone (``UCONTACT_TIMEZONE``), without which no
date can be sent; other hosts of recordings (``UCONTACT_RECORDS_URL``, ``UCONTACT_BACKUP_RECORDS_URL``); what
``ucontact-async probe`` found out (``UCONTACT_PROFILE``). An attempt may take 30 s (``uc.with_options(timeout=...)``),
and so may each wait for a login, a slot or a server that asks to slow down.

**Errors** have one root, :class:`UContactError`, and answer one question: did it happen? :class:`SettingsError`,
:class:`InvalidRequest`, :class:`Blocked`, :class:`NotSent` and :class:`JournalError`: no, nothing was done.
:class:`Refused` and its kinds: no, the server said so. :class:`OutcomeUnknown` and its kinds: perhaps; a call is then
never sent again by itself. ``error.may_have_happened`` says it as a bool.

**Without an event loop**: :func:`run` and :class:`Blocking`. **In a web service**: :class:`Service`. **In tests**:
``pytest_plugins = ["ucontact_async.testing"]``. **From a shell**: ``ucontact-async --help``.

What the names below say of the wire is from the vendor's page and from public clients of it; ``protocol.md`` numbers
its facts. Importing this package loads nothing else; each name loads what it needs when it is first used.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .aftermath import Abandoned, Doubted
    from .api.calls import AgentCall, AgentCallWithData, BlockNumber, CallWorkflow, Disposition, HangUp
    from .api.campaigns import (
        AverageTime,
        CampaignStatus,
        GetCampaignStatus,
        GetQueueSummary,
        OtherStatus,
        QueueSummary,
    )
    from .api.dialers import DialerTask, RemoveContact, RemoveSchedule, Respool, ScheduledCall
    from .api.lists import ListFile, ListWriter, UploadedFile, UploadReport, ZonedListFile
    from .api.recordings import ConvertRecording, FindRecordings, Recording, TagRecording
    from .api.watch import Snapshot, Watch
    from .batch.audit import DialAudit, Dialled, audit_double_dials
    from .batch.journal_rows import JournalRow, JournalRows, open_journal
    from .batch.outcome import Outcome, Status
    from .batch.report import Report
    from .batch.rules.caps import Cap
    from .batch.rules.do_not_call import DoNotCall
    from .batch.rules.file import read_rules
    from .batch.rules.rules import DialRules
    from .batch.rules.windows import Window
    from .batch.settle import ReplaceSchedule
    from .batch.table import Table
    from .blocking import Blocking, run
    from .client import UContact
    from .contract import openapi_document, postman_collection
    from .endpoint import Request, Safety
    from .errors import (
        Blocked,
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
    from .events import (
        Event,
        FuseBlown,
        GateClosed,
        GateOpened,
        LimitChanged,
        LoggedIn,
        LoginFailed,
        Progress,
        Stopped,
    )
    from .fleet.database import Database as Database
    from .fleet.engine import ShardRunner as ShardRunner
    from .fleet.load import Loaded as Loaded
    from .fleet.procrastinate import ShardJobs as ShardJobs
    from .fleet.shared_limiter import SharedLimiter as SharedLimiter
    from .fleet.token import PostgresTokenStore as PostgresTokenStore
    from .fleet.worker import Worker as Worker
    from .limiter import Limiter, LimiterStats
    from .list_file import ListRow, TypedNumber
    from .recordings.report import Downloaded, DownloadReport
    from .services import BackgroundRun, Service
    from .settings import Secret, ServerProfile, Settings, Tls
    from .token_store import FileTokenStore
    from .wire import Reply

__version__ = "0.1.0"

_HOMES = {
    "Abandoned": "aftermath",
    "AgentCall": "api.calls",
    "AgentCallWithData": "api.calls",
    "AverageTime": "api.campaigns",
    "BackgroundRun": "services",
    "BlockNumber": "api.calls",
    "Blocked": "errors",
    "Blocking": "blocking",
    "BulkError": "errors",
    "CallWorkflow": "api.calls",
    "CampaignStatus": "api.campaigns",
    "Cap": "batch.rules.caps",
    "ConvertRecording": "api.recordings",
    "DialAudit": "batch.audit",
    "DialRules": "batch.rules.rules",
    "DialerTask": "api.dialers",
    "Dialled": "batch.audit",
    "Disposition": "api.calls",
    "DoNotCall": "batch.rules.do_not_call",
    "Doubted": "aftermath",
    "DownloadReport": "recordings.report",
    "Downloaded": "recordings.report",
    "Event": "events",
    "FileTokenStore": "token_store",
    "FindRecordings": "api.recordings",
    "Forbidden": "errors",
    "FuseBlown": "events",
    "GateClosed": "events",
    "GateOpened": "events",
    "GetCampaignStatus": "api.campaigns",
    "GetQueueSummary": "api.campaigns",
    "HangUp": "api.calls",
    "InvalidRequest": "errors",
    "JournalBusy": "errors",
    "JournalError": "errors",
    "JournalMismatch": "errors",
    "JournalRow": "batch.journal_rows",
    "JournalRows": "batch.journal_rows",
    "LimitChanged": "events",
    "Limiter": "limiter",
    "LimiterStats": "limiter",
    "ListFile": "api.lists",
    "ListRow": "list_file",
    "ListWriter": "api.lists",
    "LoggedIn": "events",
    "LoginFailed": "events",
    "NotFound": "errors",
    "NotSent": "errors",
    "OtherStatus": "api.campaigns",
    "Outcome": "batch.outcome",
    "OutcomeUnknown": "errors",
    "Progress": "events",
    "QueueSummary": "api.campaigns",
    "Recording": "api.recordings",
    "Refused": "errors",
    "Rejected": "errors",
    "RemoveContact": "api.dialers",
    "RemoveSchedule": "api.dialers",
    "ReplaceSchedule": "batch.settle",
    "Reply": "wire",
    "ReplyLost": "errors",
    "Report": "batch.report",
    "Request": "endpoint",
    "Respool": "api.dialers",
    "Safety": "endpoint",
    "ScheduledCall": "api.dialers",
    "ServerFault": "errors",
    "Secret": "settings",
    "ServerProfile": "settings",
    "Service": "services",
    "SessionStolen": "errors",
    "Settings": "settings",
    "SettingsError": "errors",
    "Snapshot": "api.watch",
    "Status": "batch.outcome",
    "Stopped": "events",
    "Table": "batch.table",
    "TagRecording": "api.recordings",
    "Throttled": "errors",
    "Tls": "settings",
    "TypedNumber": "list_file",
    "UContact": "client",
    "UContactError": "errors",
    "Unauthorized": "errors",
    "UnreadableReply": "errors",
    "UploadReport": "api.lists",
    "UploadedFile": "api.lists",
    "Watch": "api.watch",
    "Window": "batch.rules.windows",
    "ZonedListFile": "api.lists",
    "audit_double_dials": "batch.audit",
    "open_journal": "batch.journal_rows",
    "openapi_document": "contract",
    "postman_collection": "contract",
    "read_rules": "batch.rules.file",
    "run": "blocking",
}

# Not in __all__: `from ucontact_async import *` must not need what only an extra installs.
_EXTRAS = {
    "Database": "fleet",
    "Loaded": "fleet",
    "PostgresTokenStore": "fleet",
    "ShardJobs": "fleet.procrastinate",
    "ShardRunner": "fleet",
    "SharedLimiter": "fleet",
    "Worker": "fleet",
}

__all__ = [
    "Abandoned",
    "AgentCall",
    "AgentCallWithData",
    "AverageTime",
    "BackgroundRun",
    "BlockNumber",
    "Blocked",
    "Blocking",
    "BulkError",
    "CallWorkflow",
    "CampaignStatus",
    "Cap",
    "ConvertRecording",
    "DialAudit",
    "DialRules",
    "DialerTask",
    "Dialled",
    "Disposition",
    "DoNotCall",
    "Doubted",
    "DownloadReport",
    "Downloaded",
    "Event",
    "FileTokenStore",
    "FindRecordings",
    "Forbidden",
    "FuseBlown",
    "GateClosed",
    "GateOpened",
    "GetCampaignStatus",
    "GetQueueSummary",
    "HangUp",
    "InvalidRequest",
    "JournalBusy",
    "JournalError",
    "JournalMismatch",
    "JournalRow",
    "JournalRows",
    "LimitChanged",
    "Limiter",
    "LimiterStats",
    "ListFile",
    "ListRow",
    "ListWriter",
    "LoggedIn",
    "LoginFailed",
    "NotFound",
    "NotSent",
    "OtherStatus",
    "Outcome",
    "OutcomeUnknown",
    "Progress",
    "QueueSummary",
    "Recording",
    "Refused",
    "Rejected",
    "RemoveContact",
    "RemoveSchedule",
    "ReplaceSchedule",
    "Reply",
    "ReplyLost",
    "Report",
    "Request",
    "Respool",
    "Safety",
    "ScheduledCall",
    "Secret",
    "ServerFault",
    "ServerProfile",
    "Service",
    "SessionStolen",
    "Settings",
    "SettingsError",
    "Snapshot",
    "Status",
    "Stopped",
    "Table",
    "TagRecording",
    "Throttled",
    "Tls",
    "TypedNumber",
    "UContact",
    "UContactError",
    "Unauthorized",
    "UnreadableReply",
    "UploadReport",
    "UploadedFile",
    "Watch",
    "Window",
    "ZonedListFile",
    "__version__",
    "audit_double_dials",
    "open_journal",
    "openapi_document",
    "postman_collection",
    "read_rules",
    "run",
]


def __getattr__(name: str) -> Any:
    home = _HOMES.get(name) or _EXTRAS.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module("." + home, __name__), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted([*__all__, *_EXTRAS])
