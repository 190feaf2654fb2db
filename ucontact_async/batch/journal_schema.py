"""The tables of a journal, and how one of an older format gets those of the present one."""

from __future__ import annotations

import sqlite3

__all__ = ["FORMATS", "bring_up"]

FORMATS = ("1", "2", "3")

# A journal begins as one of format 1 and is brought to the present one: so both kinds are the same from then on.
_SCHEMA = (
    "CREATE TABLE meta (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID",
    """CREATE TABLE rows (
        id INTEGER PRIMARY KEY,
        content BLOB NOT NULL,
        occurrence INTEGER NOT NULL,
        identity INTEGER NOT NULL,
        run INTEGER NOT NULL,
        position INTEGER NOT NULL,
        status TEXT NOT NULL,
        reason TEXT NOT NULL DEFAULT '',
        attempts INTEGER NOT NULL DEFAULT 0
    )""",
    "CREATE INDEX rows_identity ON rows (identity)",
    "INSERT INTO meta VALUES ('format', '1'), ('run', '0')",
)
# Format 2: when a row changed last (Unix seconds), whether an undo of it was begun, and what it says: apart, for marks
# rewrite the pages of ``rows``. Rows of format 1 say nothing until their file is read again. The view is for people;
# ``request`` is JSON, by the names on the wire.
_SCHEMA_2 = (
    "ALTER TABLE rows ADD COLUMN at INTEGER",
    "ALTER TABLE rows ADD COLUMN undoing INTEGER NOT NULL DEFAULT 0",
    "CREATE TABLE requests (id INTEGER PRIMARY KEY, endpoint TEXT NOT NULL, request TEXT NOT NULL)",
    """CREATE VIEW calls AS SELECT
        position AS row, status, reason, attempts, undoing, datetime(at, 'unixepoch') AS utc, endpoint,
        json_extract(request, '$.campaign') AS campaign,
        coalesce(json_extract(request, '$.destination'), json_extract(request, '$.number'),
            json_extract(request, '$.phone')) AS destination,
        json_extract(request, '$.calldate') AS calldate,
        request, lower(hex(content)) || CASE occurrence WHEN 1 THEN '' ELSE '-' || occurrence END AS key
    FROM rows LEFT JOIN requests USING (id)""",
    "UPDATE meta SET value = '2' WHERE name = 'format'",
)
# Format 3: what is the same call is found by a table that many rows enter at once (``journal_identities.py``).
_SCHEMA_3 = (
    """CREATE TABLE identities (identity INTEGER NOT NULL, id INTEGER NOT NULL, PRIMARY KEY (identity, id))
    WITHOUT ROWID""",
    "INSERT INTO identities SELECT identity, id FROM rows ORDER BY identity, id",
    "INSERT INTO meta SELECT 'sorted', CAST(coalesce(max(id), 0) AS TEXT) FROM rows",
    "DROP INDEX rows_identity",
    "UPDATE meta SET value = '3' WHERE name = 'format'",
)


def bring_up(db: sqlite3.Connection, known: str | None, seconds: int) -> None:
    """Bring a journal of the format ``known``, or an empty file, to the last of ``FORMATS``, in one transaction.

    ``seconds`` is the present as Unix seconds; the transaction is the caller's.
    """
    if known is None:
        for statement in _SCHEMA:
            db.execute(statement)
    if known in (None, "1"):
        for statement in _SCHEMA_2:
            db.execute(statement)
        # When they were sent nobody knows: careful is now.
        db.execute("UPDATE rows SET at = ? WHERE status IN ('sent', 'unknown')", (seconds,))
    if known != FORMATS[-1]:
        for statement in _SCHEMA_3:
            db.execute(statement)
