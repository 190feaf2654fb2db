"""Journals as a crash, a bad disk, another version or another program may leave them."""

import contextlib
import os
import sqlite3
from datetime import UTC, datetime
from pathlib import Path

from ucontact_async.api import ENDPOINTS
from ucontact_async.batch import journal_schema
from ucontact_async.batch.journal_calls import calls_since
from ucontact_async.batch.journal_file import Change, Header, JournalFile
from ucontact_async.batch.journal_removals import doubted, overtaken
from ucontact_async.batch.journal_requests import read_request
from ucontact_async.batch.journal_rows import open_journal
from ucontact_async.batch.recollection import Entry
from ucontact_async.errors import JournalError

from .files import FOLDER, file_of
from .target import DEEP, Draw, Target, expect, text_of

HEADER = Header("https://acme.example", "schedule", "d1")
MOMENT = datetime(2027, 5, 5, tzinfo=UTC)
REMOVALS = ("Dialers/RemoveContact", "Dialers/RemoveScheduleDialerCall")
SCHEDULE = '{"campaign":"Ventas->","destination":"098344484","calldate":"2027-05-05 10:00:00"}'
REMOVAL = '{"campaign":"Ventas->","number":"098344484"}'
STATUSES = ("sent", "unknown", "succeeded", "failed", "skipped", "undone", "planned")


def _entries() -> list[Entry]:
    found = [Entry(bytes([n]) * 16, n % 3, n, "Dialers/ScheduleDialerCall", SCHEDULE) for n in range(7)]
    return [*found, Entry(b"r" * 16, 50, 7, REMOVALS[0], REMOVAL)]


def _now() -> datetime:
    return MOMENT


def _sound(version: int) -> bytes:
    """Return the bytes of a good journal of this format."""
    path = FOLDER / f"sound-{version}-{os.getpid()}"
    if version < 3:
        with contextlib.closing(sqlite3.connect(path)) as db, db:
            for statement in (*journal_schema._SCHEMA, *(journal_schema._SCHEMA_2 if version == 2 else ())):
                db.execute(statement)
            db.executemany("INSERT INTO meta VALUES (?, ?)", [("server", HEADER.server), ("operation", "schedule")])
            db.execute("INSERT INTO meta VALUES ('digest', 'd1')")
            names = "id, content, occurrence, identity, run, position, status"
            db.execute(f"INSERT INTO rows ({names}) VALUES (1, x'00', 1, 0, 1, 3, 'sent')")
            if version == 2:
                db.execute("INSERT INTO requests VALUES (1, 'Dialers/ScheduleDialerCall', ?)", (SCHEDULE,))
    else:
        path.write_bytes(SOUND[2])  # so that it has rows in its table of identities, and later ones
        file = JournalFile(path, HEADER, amended=False, now=_now)
        for recalled, status in zip(file.recall(_entries()), STATUSES, strict=False):
            file.apply([Change(recalled.id, status, "", 1, None, None)])
        file.close()
    return path.read_bytes()


SOUND: dict[int, bytes] = {}
for _version in (1, 2, 3):
    SOUND[_version] = _sound(_version)


def use(path: Path, how: int) -> None:
    """Do with a journal one of the three things that are ever done with one."""
    (_count, _run, _look)[how % 3](path)


def _count(path: Path) -> None:
    for request, moment in calls_since(path, MOMENT):
        repr((request, moment))


def _look(path: Path) -> None:
    with open_journal(path, now=_now) as journal:
        expect(sum(journal.counts().values()) >= 0, "counts that are none")
        rows = list(journal.all())
        for row in rows:
            repr(row)
        for row in journal.unknown():
            journal.resolve(row.key, "succeeded")
        journal.begin_undo([row.id for row in journal.made()])
        journal.end_undo([row.id for row in rows[:1]], [row.id for row in rows[1:]])


def _run(path: Path) -> None:
    file = JournalFile(path, HEADER, amended=True, now=_now)
    try:
        recalled = file.recall(_entries())
        file.apply([Change(row.id, "sent", "", 1, None, None) for row in recalled[:3]])
        doubted(file, REMOVALS, 0)
        overtaken(file, REMOVALS)
    finally:
        file.close()


def _fresh() -> Path:
    path = file_of(b"", "journal")
    for beside in ("-wal", "-shm", "-journal"):
        Path(f"{path}{beside}").unlink(missing_ok=True)
    return path


def damaged(data: bytes) -> None:
    """Pages with other bytes in them, pages swapped, a file that ends early."""
    draw = Draw(data)
    how = draw.byte()
    image = bytearray(SOUND[1 + draw.byte() % 3])
    for _ in range(draw.byte() % 16):
        at, kind = int.from_bytes(draw.take(2), "big") % len(image), draw.byte()
        if kind < 200:
            piece = draw.take(1 + kind % 8)
            image[at : at + len(piece)] = piece
        elif kind < 240:
            source, target = (draw.byte() % max(1, len(image) // 4096) * 4096 for _ in range(2))
            image[target : target + 4096] = image[source : source + 4096]
        else:
            del image[max(1, at) :]
    path = _fresh()
    path.write_bytes(image)
    use(path, how)


def foreign_values(data: bytes) -> None:
    """Sound pages with values that no run of ours wrote."""
    draw = Draw(data)
    how, path = draw.byte(), _fresh()
    path.write_bytes(SOUND[1 + draw.byte() % 3])
    with contextlib.closing(sqlite3.connect(path)) as db, db:
        db.execute("PRAGMA journal_mode = MEMORY")
        for _ in range(1 + draw.byte() % 6):
            change, value = draw.choice(_CHANGES), _value(draw)
            with contextlib.suppress(sqlite3.Error, OverflowError):
                db.execute(change, (value,) if "?" in change else ())
    use(path, how)


_CHANGES = (
    *(f"UPDATE rows SET {name} = ?" for name in ("content", "occurrence", "identity", "run", "position", "status")),
    *(f"UPDATE rows SET {name} = ? WHERE id < 4" for name in ("reason", "attempts", "at", "undoing", "id", "content")),
    *(f"UPDATE requests SET {name} = ?" for name in ("endpoint", "request")),
    *(f"UPDATE meta SET value = ? WHERE name = '{name}'" for name in ("run", "format", "sorted", "server")),
    "UPDATE meta SET value = ? WHERE name = 'operation'",
    "UPDATE identities SET identity = ?",
    "UPDATE identities SET id = ?",
    "INSERT INTO identities VALUES (?, 3)",
    "DELETE FROM identities",
    "DROP TABLE identities",
    "INSERT INTO meta VALUES ('more', ?)",
    "DELETE FROM meta WHERE name = ?",
    "DROP TABLE requests",
    "DROP VIEW calls",
    "ALTER TABLE rows RENAME COLUMN status TO state",
    "CREATE TABLE other (x)",
    "DROP TABLE meta",
)
_TEXTS = ("", "1", "2", "3", "sent", "unknown", "run", "digest", "server", SCHEDULE, REMOVALS[0], '{"campaign":7}')


def _value(draw: Draw):
    kind = draw.byte() % 6
    if kind == 0:
        return None
    if kind == 1:
        return draw.number()
    if kind == 2:
        return draw.number() / 7
    if kind == 3:
        return draw.take(draw.byte() % 40)
    return draw.text(_TEXTS).encode("utf-8", "replace").decode()


def no_journal(data: bytes) -> None:
    """Any bytes at all in the journal's place."""
    path = _fresh()
    path.write_bytes(data)
    use(path, len(data))


def kept_request(data: bytes) -> None:
    """A request as a journal keeps it."""
    draw = Draw(data)
    repr(read_request("a journal", draw.choice([*ENDPOINTS]), text_of(draw.rest())))


_REFUSED = (JournalError,)
_PLACES = [*ENDPOINTS]

TARGETS = (
    Target(
        "damaged journal",
        damaged,
        tuple(
            bytes([how]) + rest
            for how in range(3)
            for rest in (b"\x02\x00", b"\x01\x00", b"\x00\x00", b"\x02\x01\x10\x10\x00\xff")
        ),
        _REFUSED,
        slow=True,
    ),
    Target(
        "journal of others",
        foreign_values,
        tuple(bytes([n, 2, 0, n, 4, 255 - n]) for n in range(30)),
        _REFUSED,
        slow=True,
    ),
    Target("no journal", no_journal, (SOUND[3], b"", b"SQLite format 3\x00" + bytes(84)), _REFUSED, slow=True),
    Target(
        "kept request",
        kept_request,
        (
            bytes([_PLACES.index("Dialers/ScheduleDialerCall")]) + SCHEDULE.encode(),
            *(bytes([_PLACES.index(REMOVALS[0])]) + body for body in (REMOVAL.encode(), *DEEP)),
        ),
        _REFUSED,
    ),
)
