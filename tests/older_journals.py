"""Journals as earlier versions wrote them: their own statements, which the library's later ones do not change."""

import sqlite3
from contextlib import closing

FORMAT_1 = """
CREATE TABLE meta (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE rows (
    id INTEGER PRIMARY KEY, content BLOB NOT NULL, occurrence INTEGER NOT NULL, identity INTEGER NOT NULL,
    run INTEGER NOT NULL, position INTEGER NOT NULL, status TEXT NOT NULL, reason TEXT NOT NULL DEFAULT '',
    attempts INTEGER NOT NULL DEFAULT 0
);
CREATE INDEX rows_identity ON rows (identity);
INSERT INTO meta VALUES ('format', '1');
"""
FORMAT_2 = (
    FORMAT_1
    + """
ALTER TABLE rows ADD COLUMN at INTEGER;
ALTER TABLE rows ADD COLUMN undoing INTEGER NOT NULL DEFAULT 0;
CREATE TABLE requests (id INTEGER PRIMARY KEY, endpoint TEXT NOT NULL, request TEXT NOT NULL);
CREATE VIEW calls AS SELECT
    position AS row, status, reason, attempts, undoing, datetime(at, 'unixepoch') AS utc, endpoint,
    json_extract(request, '$.campaign') AS campaign,
    coalesce(json_extract(request, '$.destination'), json_extract(request, '$.number'),
        json_extract(request, '$.phone')) AS destination,
    json_extract(request, '$.calldate') AS calldate,
    request, lower(hex(content)) || CASE occurrence WHEN 1 THEN '' ELSE '-' || occurrence END AS key
FROM rows LEFT JOIN requests USING (id);
UPDATE meta SET value = '2' WHERE name = 'format';
"""
)
_ROWS_1 = "id, content, occurrence, identity, run, position, status, reason, attempts"
_COPY_1 = f"""
INSERT INTO meta SELECT name, value FROM present.meta WHERE name NOT IN ('format', 'sorted');
INSERT INTO rows ({_ROWS_1}) SELECT {_ROWS_1} FROM present.rows;
"""
_COPY_2 = f"{_COPY_1}UPDATE rows SET (at, undoing) = (SELECT at, undoing FROM present.rows p WHERE p.id = rows.id);"
_WRITE = {1: FORMAT_1 + _COPY_1, 2: f"{FORMAT_2}{_COPY_2}INSERT INTO requests SELECT * FROM present.requests;"}


def make_older(path, version):
    """Have the closed journal at ``path`` be what the version that wrote format ``version`` would have left."""
    present = path.with_name("present.db")
    path.rename(present)
    with closing(sqlite3.connect(path)) as db:
        db.execute("PRAGMA journal_mode = WAL")
        db.execute("ATTACH ? AS present", (str(present),))
        db.executescript(_WRITE[version])
    present.unlink()
