"""What servers do differently or nobody knows, as one frozen value.

It refuses to know how any of it is done.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from typing import Literal

import msgspec

__all__ = ["DispositionAction", "Switches", "TokenShape"]

TokenShape = Literal["raw", "quoted", "list", "object", "objects"]
"""How a login carries the token: bare, a JSON string, a list's last, ``md5secret`` of an object or of the last."""


class DispositionAction(enum.Enum):
    """What a server does when a call is disposed of; ``SCHEDULE`` is another word for ``RESCHEDULE``."""

    NOACTION = "NOACTION"
    RESPOOL = "RESPOOL"
    RESPOOLALTERNATIVE = "RESPOOLALTERNATIVE"
    BLACKLIST = "BLACKLIST"
    RESCHEDULE = "RESCHEDULE"
    SCHEDULE = RESCHEDULE

    @classmethod
    def _missing_(cls, value: object) -> DispositionAction | None:
        return cls.RESCHEDULE if value == "SCHEDULE" else None


class Switches(msgspec.Struct, frozen=True, kw_only=True):
    """How this server behaves where the vendor's page is silent.

    ``get_user_token``: ``absent`` answers 404, as old servers do. ``one_session``: a login ends the user's earlier
    token. ``duplicate``: what a respool of a spooled destination does: a second row, a refusal (0), or nothing (1).
    ``strict_priority``: a respool with priority 1 is refused. ``campaigns``: the only ones that exist; by default all.
    ``strict_header``: the Authorization header must be exactly ``Basic`` and the token; otherwise characters outside
    base64 are skipped and any scheme will do. ``require_token``: 401 without a live one. ``trailing_newline``: every
    answer of the API that has a body ends in a line break. ``agents``: the only ones that there are, each with the
    phone it sits at; by default any. ``dncr``: the campaigns whose dialers look into the do-not-call list.
    ``dispositions``: the action (or its name) by campaign and the three levels; all others have none. ``java``: the
    version whose dates the server writes. ``ignores_lastrow``: getrecords answers its first page always;
    ``java_dates``: with dates as Java writes them. ``records_need_token``: recordings are not for everybody.
    ``list_seconds``: how long an uploaded list is loading.
    ``removal``: whether both ends of a removal from the schedule are removed; ``removal_of_nothing``: what one answers
    that finds nothing; ``removes_tasks``: it covers dialer tasks too. ``dead_token``: 401, or 302 or a page to log in.
    ``keep_alive``: seconds after which an idle connection is closed. ``continues``: ``Expect: 100-continue`` is
    answered. ``cookies``: every answer sets one. ``data_in_records``: getrecords tells a call's form data.
    ``known_number``: what addblack answers for a number that is on the list.
    """

    get_user_token: TokenShape | Literal["absent"] = "quoted"
    user_login: TokenShape = "list"
    one_session: bool = True
    duplicate: Literal["duplicate", "refuse", "ignore"] = "duplicate"
    strict_priority: bool = False
    campaigns: frozenset[str] | None = None
    strict_header: bool = False
    require_token: bool = True
    trailing_newline: bool = False
    agents: Mapping[str, str] | None = None
    dncr: frozenset[str] = frozenset()
    dispositions: Mapping[tuple[str, str, str, str], DispositionAction | str] = {}
    java: Literal[8, 9, 20] = 8
    ignores_lastrow: bool = False
    java_dates: bool = False
    records_need_token: bool = False
    list_seconds: float = 0.05
    removal: Literal["inclusive", "exclusive"] = "inclusive"
    removal_of_nothing: Literal["1", "0"] = "1"
    removes_tasks: bool = True
    dead_token: Literal["401", "redirect", "page"] = "401"
    keep_alive: float = 3600.0
    continues: bool = True
    cookies: bool = False
    data_in_records: bool = False
    known_number: Literal["1", "0"] = "1"
