"""What a journal knows of removals: which may still arrive, and which came too late for their turn.

Every function blocks; the event loop's side is ``journal.py``.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ..api.dialers import Dialers
from ..errors import SettingsError
from .journal_file import DOUBTED, JournalFile
from .recollection import Entry

__all__ = ["REMOVALS", "doubted", "overtaken", "refuse_removals"]

# What takes calls off spool or schedule.
REMOVALS = (Dialers.remove_contact.path, Dialers.remove_schedule.path)

_WHOSE = """SELECT id, json_extract(request, '$.campaign'),
    replace(coalesce(json_extract(request, '$.destination'), json_extract(request, '$.number')), '-', ''), {}
    FROM rows JOIN requests USING (id) WHERE status IN ({}) ORDER BY id"""


def refuse_removals(entries: Sequence[Entry]) -> None:
    """Refuse removals in a journal of keys: whose number they take off, a later run must know to wait for them."""
    if any(entry.endpoint in REMOVALS for entry in entries):
        raise SettingsError("a journal of keys cannot keep removals and calls of one number in order; keep requests")


def doubted(file: JournalFile, endpoints: Sequence[str], since: int) -> list[tuple[str, str, int]]:
    """Return endpoint, request and moment of what was sent since then to ``endpoints`` and may still arrive."""
    found = file.ask(
        "SELECT endpoint, request, at FROM rows JOIN requests USING (id) WHERE at >= ? "
        "AND (status = 'unknown' OR reason = ?)",
        (since, DOUBTED),
    )
    return [row for row in found if row[0] in endpoints]


def overtaken(file: JournalFile, endpoints: Sequence[str]) -> frozenset[int]:
    """Return the rows that are not done and were overtaken: removals by a later call of their number, and calls by one.

    ``endpoints`` are those of removals. Sent now a removal would take that call off, and a call come back.
    """
    removal = f"endpoint IN ({', '.join('?' * len(endpoints))})"
    if not list(file.ask(f"SELECT 1 FROM requests WHERE {removal} LIMIT 1", endpoints)):  # noqa: S608
        return frozenset()
    rows = list(file.ask(_WHOSE.format(removal, "'unknown', 'failed'"), endpoints))
    latest: dict[tuple[Any, ...], int] = {(campaign, number, not sort): 0 for _, campaign, number, sort in rows}
    if rows:
        for id_, *others in file.ask(_WHOSE.format(removal, "'succeeded', 'unknown'"), endpoints):
            if (key := tuple(others)) in latest:
                latest[key] = id_
    # Of a row that was purged nobody knows whose it was: careful is that it was overtaken.
    return frozenset(
        id_ for id_, campaign, number, sort in rows if number is None or id_ < latest[campaign, number, not sort]
    )
