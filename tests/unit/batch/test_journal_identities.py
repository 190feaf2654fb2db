"""The identities of a journal: whatever was entered is found, however much of it has been sorted into the file."""

import sqlite3
from contextlib import closing

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ucontact_async.batch.journal_file import Change, Header, JournalFile
from ucontact_async.batch.journal_identities import Identities
from ucontact_async.batch.journal_rows import open_journal
from ucontact_async.batch.recollection import Entry
from ucontact_async.errors import JournalError

HEADER = Header("https://acme.example", "schedule", "digest")
BLOCK = 600
# Fewer than a run has: it takes a tenth of the time.
RECENT = 2000
SCHEMA = """
CREATE TABLE meta (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE rows (id INTEGER PRIMARY KEY, identity INTEGER NOT NULL);
CREATE TABLE identities (identity INTEGER NOT NULL, id INTEGER NOT NULL, PRIMARY KEY (identity, id)) WITHOUT ROWID;
"""
FEW = st.integers(-3, 3) | st.sampled_from([-(2**63), 2**63 - 1])


def fresh():
    db = sqlite3.connect(":memory:", isolation_level=None)
    db.executescript(SCHEMA)
    return closing(db)


def enter(db, identities, block, last):
    """Enter a block as a journal does and return the last id."""
    rows = [(identity, last + number) for number, identity in enumerate(block, 1)]
    db.executemany("INSERT INTO rows (identity, id) VALUES (?, ?)", rows)
    identities.add(rows)
    return last + len(rows)


@given(
    blocks=st.lists(st.tuples(st.lists(FEW, max_size=6), st.booleans()), max_size=8),
    recent=st.integers(1, 9),
)
def test_what_was_entered_is_found(blocks, recent):
    """Over any blocks, with the file opened anew between some: all rows of an identity, each once."""
    known = {}
    with fresh() as db:
        identities, last = Identities(db, recent), 0
        for block, anew in blocks:
            if anew:
                identities = Identities(db, recent)
            asked = {*block}
            expected = sorted(id_ for identity in asked for id_ in known.get(identity, ()))
            assert sorted(identities.find(asked)) == expected
            before, last = last, enter(db, identities, block, last)
            for number, identity in enumerate(block, before + 1):
                known.setdefault(identity, []).append(number)
        everything = sorted(id_ for rows in known.values() for id_ in rows)
        assert sorted(Identities(db, recent).find(known)) == everything


def test_many_are_asked_for_in_parts():
    """A block may have more identities than one statement takes, some in the table and some not yet."""
    with fresh() as db:
        identities = Identities(db, 1500)
        last = enter(db, identities, range(1600), 0)
        enter(db, identities, range(1600, 2000), last)
        assert db.execute("SELECT count(*) FROM identities").fetchone() == (1600,)
        assert sorted(identities.find(range(2500))) == [*range(1, 2001)]


@pytest.mark.parametrize("recent", [1, 2, 3])
def test_more_rows_than_may_be_known_by_the_dictionary(recent):
    """What another version left for the dictionary is entered into the table when the file is opened."""
    with fresh() as db:
        enter(db, Identities(db, 9), [5, 5, 6], 0)
        assert sorted(Identities(db, recent).find([5, 6])) == [1, 2, 3]
        assert db.execute("SELECT count(*) FROM identities").fetchone() == (3,)
        assert Identities(db, recent).find([6]) == [3]


# The same in a journal.


def entries(calls):
    """Return a row for each of ``calls``: equal ones are the same request."""
    return [Entry(call.to_bytes(16, "big"), call, place) for place, call in enumerate(calls, 1)]


@pytest.fixture
def path(tmp_path):
    return tmp_path / "contacts.csv.journal"


class Journal(JournalFile):
    """One that puts fewer rows into its table."""

    recent = RECENT


def opened(path):
    return closing(Journal(path, HEADER, amended=True))


def entered(path, calls):
    """Have rows succeed in one run, and return what was recalled of them."""
    with opened(path) as file:
        recalled = []
        for begin in range(0, len(calls), BLOCK):
            recalled += file.recall(entries(calls)[begin : begin + BLOCK])
        file.apply([Change(row.id, "succeeded", "", 1, None, None) for row in recalled])
    return recalled


def change(path, *statements):
    with closing(sqlite3.connect(path)) as db, db:
        for statement in statements:
            db.execute(statement)


def query(path, statement):
    with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as db:
        return db.execute(statement).fetchall()


STORED = "SELECT CAST(value AS INTEGER), (SELECT count(*) FROM identities) FROM meta WHERE name = 'sorted'"


def test_twins_on_both_sides(path):
    """Of one call there are rows in the table, in the dictionary and in the block: all count, in their order."""
    with opened(path) as file:
        first = file.recall(entries([0] * 300 + [*range(1, RECENT - 299)]))
        second = file.recall(entries([0] * 300 + [7]))
        (last,) = file.recall(entries([0]))
    assert query(path, STORED) == [(RECENT, RECENT)]
    assert [row.key.partition("-")[2] for row in (first[299], second[0], second[299], last)] == [
        "300",
        "301",
        "600",
        "601",
    ]
    assert {row.duplicate_of for row in (first[299], *second[:300], last)} == {1}
    assert second[300].duplicate_of == 307


def test_a_later_run_finds_every_row(path):
    """Rows of the table and of the dictionary are found again with what became of them, and no call is new."""
    stored = -(-RECENT // BLOCK) * BLOCK
    calls = [*range(stored - 1), 3, *range(stored, stored + 50)]
    first = entered(path, calls)
    assert query(path, STORED) == [(stored, stored)]
    again = entered(path, calls)
    assert {row.status for row in again} == {"succeeded"}
    assert [row.key for row in again] == [row.key for row in first]
    more = entered(path, [*calls, 3, calls[-1], calls[-1] + 1])[-3:]
    assert [(row.status, row.key.partition("-")[2]) for row in more] == [("new", "3"), ("new", "2"), ("new", "")]


def test_what_was_stored_goes_with_its_transaction(path):
    """Rows that were entered, and stored, by a run that died before its commit are new to the next one."""
    entered(path, [1, 2])
    file = Journal(path, HEADER, amended=True)
    file.recall(entries(range(RECENT)))
    assert file.db.execute(STORED).fetchone() == (RECENT, RECENT)
    file.db.close()  # as the kernel does it
    file._lock.close()
    assert query(path, STORED) == [(0, 0)]
    assert [row.status for row in entered(path, range(4))] == ["new", "succeeded", "succeeded", "new"]


def test_a_private_file_stores_them_too():
    """A run without a journal finds its doubles however many rows there are."""
    with opened(None) as file:
        file.recall(entries(range(RECENT)))
        assert file.db.execute(STORED).fetchone() == (RECENT, RECENT)
        file.recall(entries([RECENT]))
        assert [row.duplicate_of for row in file.recall(entries([4, RECENT, RECENT + 1]))] == [5, 1, None]


@pytest.mark.parametrize(
    "damage",
    [
        "DELETE FROM identities",
        "DELETE FROM identities WHERE id = 2",
        "DELETE FROM identities WHERE id = 3",
        "UPDATE identities SET identity = 9 WHERE id = 3",
        "UPDATE meta SET value = '9' WHERE name = 'sorted'",
        "UPDATE meta SET value = '2' WHERE name = 'sorted'",
        "UPDATE meta SET value = 'x' WHERE name = 'sorted'",
        "DELETE FROM meta WHERE name = 'sorted'",
    ],
)
def test_a_table_that_is_not_that_of_the_rows_is_refused(path, damage):
    """A row that it should hold and does not would be taken for new, and its call made twice; people may look."""
    entered(path, [5, 6, 7])
    change(
        path,
        "INSERT INTO identities SELECT identity, id FROM rows",
        "UPDATE meta SET value = '3' WHERE name = 'sorted'",
    )
    assert [row.status for row in entered(path, [5, 6, 7])] == ["succeeded"] * 3
    change(path, damage)
    said = f"^{path} cannot be used as a journal: its table of identities is not that of its rows$"
    for _ in range(2):
        with pytest.raises(JournalError, match=said):
            JournalFile(path, HEADER, amended=True)
    with open_journal(path) as journal:
        assert journal.counts() == {"succeeded": 3}


def test_a_table_that_is_gone_is_refused(path):
    """A journal without its table of identities is an error with the journal's name."""
    entered(path, [5])
    change(path, "DROP TABLE identities")
    with pytest.raises(JournalError, match=f"^{path} cannot be used as a journal: no such table: identities$"):
        JournalFile(path, HEADER, amended=True)


def test_a_table_that_tells_of_other_rows_breaks_the_run(path):
    """Where the table has the identity of another row, the run ends before anything is sent."""
    entered(path, [5, 6, 7])
    change(
        path,
        "INSERT INTO identities SELECT CASE id WHEN 1 THEN 99 ELSE identity END, id FROM rows",
        "UPDATE meta SET value = '3' WHERE name = 'sorted'",
    )
    with opened(path) as file, pytest.raises(JournalError, match=f"^{path} cannot be written: "):
        file.recall(entries([99]))
