"""Journals of earlier formats: brought to the present one when they are opened, all of them or not at all."""

import sqlite3
from contextlib import closing
from datetime import UTC, datetime
from hashlib import blake2b

import pytest
from older_journals import make_older

from ucontact_async.batch.journal_calls import calls_since
from ucontact_async.batch.journal_file import Change, Header, JournalFile
from ucontact_async.batch.journal_rows import open_journal
from ucontact_async.batch.recollection import Entry
from ucontact_async.errors import JournalError, JournalMismatch

HEADER = Header("https://acme.example", "schedule", "first version")
KEYS = Header("https://acme.example", "schedule", "first version", keys_only=True)
NOON = datetime(2027, 3, 1, 12, tzinfo=UTC)
STATES = ["succeeded", "failed", "unknown", "skipped", "sent", "succeeded", "unknown", "planned"]
FOUND = ["undone", "failed", "unknown", "skipped", "unknown", "succeeded", "undoing", "planned"]
SAYS = '{"campaign":"Ventas->","destination":"099123456","calldate":"2099-05-05 10:00:00"}'
each_format = pytest.mark.parametrize("version", [1, 2])


def entry(number, text="", position=None):
    """Return the row of a call: what has the same number is the same call, another text another request for it."""
    content = blake2b(f"{number}{text}".encode(), digest_size=16).digest()
    return Entry(content, number, number if position is None else position, "Dialers/ScheduleDialerCall", SAYS)


def query(path, statement):
    with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as db:
        return db.execute(statement).fetchall()


def resume(path, entries, header=HEADER):
    with closing(JournalFile(path, header, amended=False, now=lambda: NOON)) as file:
        return file.recall(entries)


@pytest.fixture
def older(tmp_path):
    """Write a journal of an earlier format, with a row of each state: call it with the format and the header."""
    path = tmp_path / "contacts.csv.journal"

    def write(version, header=HEADER):
        with closing(JournalFile(path, header, amended=False, now=lambda: NOON)) as file:
            rows = file.recall([entry(number) for number in range(len(STATES))])
            file.apply([Change(row.id, state, "", 1, None, None) for row, state in zip(rows, STATES, strict=True)])
            if version > 1:
                file.db.execute("UPDATE rows SET status = 'undone' WHERE id = ?", (rows[0].id,))
                file.db.execute("UPDATE rows SET undoing = 1 WHERE id = ?", (rows[6].id,))
        make_older(path, version)
        return path

    return write


@each_format
def test_every_row_is_found_as_it_was_left(older, version):
    """Whatever state it is in, each row is found once, and twice when it is opened again; nothing is new."""
    path, expected = older(version), FOUND if version > 1 else ["succeeded", *FOUND[1:6], "unknown", "planned"]
    asked = [entry(number) for number in range(len(STATES))]
    assert query(path, "SELECT value FROM meta WHERE name = 'format'") == [(str(version),)]
    assert [row.status for row in resume(path, asked)] == expected
    expected[3] = "planned"  # whether a row is skipped is decided anew by each run
    assert [row.status for row in resume(path, asked)] == expected
    assert query(path, "SELECT name, value FROM meta WHERE name IN ('format', 'sorted')") == [
        ("format", "3"),
        ("sorted", str(len(STATES))),
    ]
    assert query(path, "SELECT typeof(value), count(*) FROM meta GROUP BY 1") == [("text", 6)]
    assert query(path, "SELECT identity, id FROM identities") == query(path, "SELECT identity, id FROM rows ORDER BY 1")
    assert query(path, "SELECT count(*) FROM sqlite_master WHERE name = 'rows_identity'") == [(0,)]
    assert query(path, "PRAGMA integrity_check") == [("ok",)]


@each_format
def test_a_call_of_an_older_journal_makes_its_twins_duplicates(older, version):
    """Another request for a call that was made, or may have been, is a duplicate; for one that failed it is none."""
    asked = [entry(number, "mended", 100 + number) for number in (1, 2, 4, 5, 99)]
    recalled = resume(older(version), asked)
    assert [(row.status, row.duplicate_of) for row in recalled] == [
        ("new", None),
        ("new", 2),
        ("new", 4),
        ("new", 5),
        ("new", None),
    ]


@each_format
def test_a_journal_of_keys_stays_one(older, version):
    """What was to keep nothing of what rows say does not begin to with the new format."""
    path = older(version, KEYS)
    resume(path, [entry(number) for number in range(9)])
    assert query(path, "SELECT DISTINCT request FROM requests") == [("null",)]


def test_a_refusal_leaves_the_format_as_it_is(older):
    """A journal that is refused once its tables have been changed is not left half changed, nor of another format."""
    path = older(2)
    before = query(path, "SELECT type, name, sql FROM sqlite_master")
    with pytest.raises(JournalMismatch, match="keys only"):
        JournalFile(path, KEYS, amended=False)
    assert query(path, "SELECT type, name, sql FROM sqlite_master") == before
    assert query(path, "SELECT name, value FROM meta WHERE name IN ('format', 'sorted', 'run')") == [
        ("format", "2"),
        ("run", "1"),
    ]
    assert [row.status for row in resume(path, [entry(5)])] == ["succeeded"]


def test_what_goes_wrong_on_the_way_is_taken_back(older):
    """A change of the tables that fails half-way leaves none of it: the next run can begin it anew."""
    path = older(2)
    with closing(sqlite3.connect(path)) as db:
        db.execute("DROP INDEX rows_identity")
    with pytest.raises(JournalError, match=f"{path} cannot be used as a journal: no such index"):
        JournalFile(path, HEADER, amended=False)
    assert query(path, "SELECT count(*) FROM sqlite_master WHERE name = 'identities'") == [(0,)]
    with closing(sqlite3.connect(path)) as db:
        db.execute("CREATE INDEX rows_identity ON rows (identity)")
    assert [row.status for row in resume(path, [entry(5)])] == ["succeeded"]


@each_format
def test_people_may_look_first(older, version):
    """Who looks at an older journal before any run sees its rows, and the run after that finds them."""
    path = older(version)
    with open_journal(path, now=lambda: NOON) as journal:
        assert sum(journal.counts().values()) == len(STATES)
        assert [row.position for row in journal.unknown()] == [2, 4, 6]
    assert [row.status for row in resume(path, [entry(5), entry(9)])] == ["succeeded", "new"]


def test_calls_are_counted_in_either_format(older):
    """Who only counts calls reads a journal of format 2 as it is, and that of a run of the present one beside it."""
    path = older(2)
    before = path.read_bytes()
    assert len(list(calls_since(path, NOON))) == 4
    assert path.read_bytes() == before
    with closing(JournalFile(path, HEADER, amended=False, now=lambda: NOON)):
        assert len(list(calls_since(path, NOON))) == 4
