"""What a journal knows of removals: which may still arrive, and which came too late for their turn.

Every function blocks; the event loop's side is ``journal.py``.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from .journal_file import DOUBTED, JournalFile

__all__ = ["doubted", "overtaken"]

_WHOSE = """SELECT id, json_extract(request, '$.campaign'),
    replace(coalesce(json_extract(request, '$.destination'), json_extract(request, '$.number')), '-', ''), {}
    FROM rows JOIN requests USING (id) WHERE status IN ({}) ORDER BY id"""


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
    return frozenset(id_ for id_, campaign, number, sort in rows if id_ < latest[campaign, number, not sort])
