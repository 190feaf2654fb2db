"""Which rows of a journal are the same call: the latest by a dictionary, all others by one sorted table of the file.

A row's identity is as good as random. An index that grew by each row would have a page of the file written for nearly
every row of a large one; so they are entered many at a time, in order. Every method blocks.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Collection, Sequence

__all__ = ["RECENT", "Identities"]

# How many rows are known by the dictionary, in 4 MB, before the table takes them.
RECENT = 32_768
# How far the table goes, and whether it holds the last of those rows and as many as there are: 0.06 s of a million.
_STATE = """SELECT stored,
    (stored = 0 OR EXISTS (SELECT 1 FROM rows JOIN identities USING (identity, id) WHERE id = stored))
    AND (SELECT count(*) FROM identities) = (SELECT count(*) FROM rows WHERE id <= stored)
    FROM (SELECT coalesce(max(CAST(value AS INTEGER)), 0) AS stored FROM meta WHERE name = 'sorted')"""
# How many identities one statement asks for: SQLite before 3.32 takes 999 values.
_ASKED = 500


class Identities:
    """The identities of all rows of one journal.

    What is entered becomes part of the transaction that enters the rows; once that failed, this is no good any more.
    """

    def __init__(self, db: sqlite3.Connection, recent: int) -> None:
        """Read, in a transaction, what the table does not know yet; ``recent`` is for how many rows that may be so.

        Raises :class:`ValueError` for a table that lacks rows: they would be taken for new, and their calls made twice.
        """
        self._db = db
        self._most = recent
        self._stored, sound = db.execute(_STATE).fetchone()
        if not sound:
            raise ValueError("its table of identities is not that of its rows")
        self._recent: dict[int, int] = {}
        self._others: dict[int, list[int]] = {}
        self._last = self._stored
        self.add(db.execute("SELECT identity, id FROM rows WHERE id > ? ORDER BY id", (self._stored,)).fetchall())

    def find(self, identities: Collection[int]) -> list[int]:
        """Return the rows that have one of ``identities``."""
        found: list[int] = []
        if not self._recent.keys().isdisjoint(identities):
            for identity in identities:
                if (first := self._recent.get(identity)) is not None:
                    found += [first, *self._others.get(identity, ())]
        if self._stored:
            wanted = [*identities]
            for begin in range(0, len(wanted), _ASKED):
                part = wanted[begin : begin + _ASKED]
                found += [
                    id_
                    for (id_,) in self._db.execute(
                        f"SELECT id FROM identities WHERE identity IN ({', '.join('?' * len(part))})",  # noqa: S608
                        part,
                    )
                ]
        return found

    def add(self, rows: Sequence[tuple[int, int]]) -> None:
        """Enter rows that have just been entered into the file, each by its identity and its id, the latest last."""
        different = dict(rows)
        if len(different) == len(rows) and self._recent.keys().isdisjoint(different):
            self._recent.update(different)
        else:
            for identity, id_ in rows:
                if self._recent.setdefault(identity, id_) != id_:
                    self._others.setdefault(identity, []).append(id_)
        self._last = rows[-1][1] if rows else self._last
        if self._last - self._stored >= self._most:
            self._store()

    def _store(self) -> None:
        self._db.execute(
            "INSERT INTO identities SELECT identity, id FROM rows WHERE id > ? ORDER BY identity, id", (self._stored,)
        )
        self._db.execute("INSERT OR REPLACE INTO meta VALUES ('sorted', ?)", (str(self._last),))
        self._stored = self._last
        self._recent, self._others = {}, {}
