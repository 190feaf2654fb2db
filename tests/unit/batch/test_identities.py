"""The identities of a journal: whatever was entered is found, however much of it has been sorted into the file."""

import sqlite3
from contextlib import closing

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ucontact_async.batch.identities import Identities

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


@pytest.mark.parametrize(
    "damage", ["DELETE FROM identities", "UPDATE meta SET value = '9'", "UPDATE meta SET value = 'x'"]
)
def test_a_table_that_is_not_that_of_the_rows_is_refused(damage):
    """A row that it should hold and does not would be taken for new, and its call made twice."""
    with fresh() as db:
        enter(db, Identities(db, 2), [5, 6, 7], 0)
        db.execute(damage)
        with pytest.raises(ValueError, match="identities|invalid literal"):
            Identities(db, 2)
