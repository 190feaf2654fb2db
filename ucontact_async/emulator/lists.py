"""Uploaded lists: queued at once, read later, inactive until somebody activates them (``protocol.md`` 5 and 9).

It knows nothing of spool rows or connections: what is activated is handed to whoever keeps the spool.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any, Literal

import msgspec

from ..errors import Rejected
from ..list_file import ListRow, TypedNumber, decode_file, number_text
from ..serving import Call, Handler
from .ledger import Ledger
from .switches import Switches

__all__ = ["ContactList", "ListRoom", "spool_fields"]


class ContactList(msgspec.Struct, kw_only=True):
    """A list as the portal shows it; ``dropped`` counts the lines that were no rows, ``announced`` is what was said."""

    name: str
    campaign: str
    username: str = ""
    timezone: str | None = None
    announced: int = 0
    status: Literal["loading", "inactive", "active"] = "loading"
    percentage: int = 0
    rows: list[ListRow] = []
    dropped: int = 0


class ListRoom:
    """The lists of one server by their names.

    A file is read when its list is looked at, ``list_seconds`` after its upload at the earliest. One of a name that is
    there already adds its rows to that list, which is inactive again until the new ones are activated too.
    """

    def __init__(self, ledger: Ledger, switches: Switches, *, clock: Callable[[], float] = time.monotonic) -> None:
        """``clock`` tells when a file has been read."""
        self._ledger = ledger
        self._switches = switches
        self._clock = clock
        self._lists: dict[str, ContactList] = {}
        self._waiting: dict[str, list[tuple[float, bytes]]] = {}
        self._activated: dict[str, int] = {}
        self.handlers: dict[str, Handler] = {
            "Dialers/uploadbase": self._upload,
            "Dialers/uploadbasewithtimezone": self._upload,
        }

    def look(self) -> list[ContactList]:
        """Return the lists, oldest first, as they are now."""
        for name, waiting in self._waiting.items():
            while waiting and waiting[0][0] <= self._clock():
                self._read(self._lists[name], waiting.pop(0)[1])
                if not waiting:
                    self._lists[name].status = "inactive"
        return list(self._lists.values())

    def activate(self, name: str, percentage: int) -> Sequence[ListRow]:
        """Make a list active and return its rows that were not active yet, in the order of the file.

        Raises ``ValueError`` for a list that is not there or still loading, and where the percentages of a campaign's
        active lists would come to more than 100.
        """
        found = next((known for known in self.look() if known.name == name), None)
        if found is None or found.status == "loading":
            raise ValueError(f"the list {name!r} is " + ("not there" if found is None else "still loading"))
        others = sum(
            known.percentage
            for known in self._lists.values()
            if known.status == "active" and known.campaign == found.campaign and known is not found
        )
        if not 1 <= percentage <= 100 - others:
            raise ValueError(f"active lists of {found.campaign} have {others} of 100 percent; {percentage} is no share")
        found.status, found.percentage = "active", percentage
        begin, self._activated[name] = self._activated.get(name, 0), len(found.rows)
        return found.rows[begin:]

    def clear(self) -> None:
        """Forget all lists."""
        self._lists.clear()
        self._waiting.clear()
        self._activated.clear()

    def _upload(self, call: Call) -> None:
        upload: Any = call.request
        if not self._exists(upload.campaign):
            raise Rejected("no such campaign", status=200)
        # Answered before the file is read: whatever it holds, it is queued.
        name = upload.name.removesuffix(".csv")
        found = self._lists.setdefault(name, ContactList(name=name, campaign=upload.campaign))
        found.username, found.announced = upload.username or "", found.announced + upload.rows
        found.timezone = getattr(upload, "timezone", None)
        found.status = "loading"
        ready = self._clock() + self._switches.list_seconds
        self._waiting.setdefault(name, []).append((ready, upload.content))
        # The decoded text takes less room than its base64, and is what somebody who looks wants to see.
        text = upload.content.decode("utf-8", "backslashreplace")
        self._ledger.record(call.path, {**call.fields, "fileb64": text})

    def _read(self, found: ContactList, content: bytes) -> None:
        rows, dropped = decode_file(content)
        known = [row for row in rows if self._exists(row.campaign)]
        found.rows = [*found.rows, *(_whole(row, found.campaign) for row in known)]
        found.dropped += dropped + len(rows) - len(known)

    def _exists(self, campaign: str) -> bool:
        campaigns = self._switches.campaigns
        return campaigns is None or any(campaign in (name, _bare(name)) for name in campaigns)


def _bare(campaign: str) -> str:
    return campaign.removesuffix("->").removesuffix("<-")


def _whole(row: ListRow, campaign: str) -> ListRow:
    # Files name a campaign with or without its arrow (contradiction C6).
    return msgspec.structs.replace(row, campaign=campaign) if row.campaign == _bare(campaign) else row


def spool_fields(row: ListRow) -> dict[str, Any]:
    """Return what a row of a list says of a call on the spool."""
    main = row.destination
    return {
        "campaign": row.campaign,
        "destination": main.number if isinstance(main, TypedNumber) else main,
        "retries": main.retries if isinstance(main, TypedNumber) else 0,
        "data": ":".join([f"{name}={value}" for name, value in row.data.items()]),
        "alternatives": ":".join([number_text(number) for number in row.alternatives]),
        "priority": row.priority,
        "agentphone": row.agentphone,
    }
