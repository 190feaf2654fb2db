"""What a journal knows of removals: which may still arrive, and which came too late for their turn.

Every function blocks; the event loop's side is ``journal.py``.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from .journal_file import DOUBTED, JournalFile

__all__ = ["doubted", "overtaken"]

_WHOSE = """SELECT id, json_extract(request, '$.campaign'),
    replace(coalesce(json_extract(request, '$.destination'), json_extract(request, '$.number')), '-', '')
    FROM rows JOIN requests USING (id) """


def doubted(file: JournalFile, endpoints: Sequence[str], since: int) -> list[tuple[str, str, int]]:
    """Return endpoint, request and moment of what was sent since then to ``endpoints`` and may still arrive."""
    found = file.ask(
        "SELECT endpoint, request, at FROM rows JOIN requests USING (id) WHERE at >= ? "
        "AND (status = 'unknown' OR reason = ?)",
        (since, DOUBTED),
    )
    return [row for row in found if row[0] in endpoints]


def overtaken(file: JournalFile, endpoints: Sequence[str]) -> frozenset[int]:
    """Return the rows to ``endpoints`` that are not done, while a later call of their number is or may be.

    Sent now they would take that one off.
    """
    removals = f"({', '.join('?' * len(endpoints))})"
    undone = file.ask(f"{_WHOSE} WHERE status IN ('unknown', 'failed') AND endpoint IN {removals}", endpoints)
    rows = [(id_, (campaign, number)) for id_, campaign, number in undone]
    latest: dict[tuple[Any, ...], int] = {destination: 0 for _, destination in rows}
    if rows:
        calls = f"{_WHOSE} WHERE status IN ('succeeded', 'unknown') AND endpoint NOT IN {removals} ORDER BY id"
        for id_, *destination in file.ask(calls, endpoints):
            if (whose := tuple(destination)) in latest:
                latest[whose] = id_
    return frozenset(id_ for id_, destination in rows if id_ < latest[destination])
