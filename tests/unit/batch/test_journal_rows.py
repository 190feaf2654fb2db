"""A journal between its runs: what it tells, how unknown rows are settled, and the marks of an undo."""

import sqlite3
from contextlib import closing
from datetime import UTC, datetime
from hashlib import blake2b

import pytest

from ucontact_async import JournalBusy, JournalError, JournalMismatch, Respool, ScheduledCall, open_journal
from ucontact_async.batch.journal_file import Change, Header, JournalFile
from ucontact_async.batch.recollection import Entry

HEADER = Header("https://acme.example", "schedule", "digest")
NOON = datetime(2027, 3, 1, 12, tzinfo=UTC)
SCHEDULE = "Dialers/ScheduleDialerCall"


def entry(number, endpoint=SCHEDULE, document=None):
    if document is None:
        document = f'{{"campaign":"Ventas->","destination":"0900{number:05d}","calldate":"2099-05-05 10:00:00"}}'
    content = blake2b(f"{endpoint}{document}".encode(), digest_size=16).digest()
    return Entry(content, number, number, endpoint, document)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "run.journal"


@pytest.fixture
def run(path):
    """Do one run: leave rows 1, 2, ... in ``statuses``, and return what was recalled."""

    def one_run(*statuses, entries=None):
        file = JournalFile(path, HEADER, amended=False, now=lambda: NOON)
        recalled = file.recall(entries or [entry(number) for number in range(1, len(statuses) + 1)])
        pairs = zip(recalled, statuses, strict=False)
        file.apply([Change(row.id, status, "", 1, None, None) for row, status in pairs if status])
        file.close()
        return recalled

    return one_run


def statuses(path):
    with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as db:
        return db.execute("SELECT status, undoing FROM rows ORDER BY id").fetchall()


def test_unknown_rows_are_told_whole(run, path):
    """What was unknown, and what was sent by a run that died, is listed with request, place and time."""
    run("succeeded", "unknown", "failed", "sent")
    with open_journal(path, now=lambda: NOON) as journal:
        assert (journal.path, journal.server, journal.operation) == (path, HEADER.server, HEADER.operation)
        assert journal.counts() == {"succeeded": 1, "unknown": 2, "failed": 1}
        rows = list(journal.unknown())
        made = [row.position for row in journal.made()]
    assert [(row.position, row.status, row.reason, row.attempts, row.at) for row in rows] == [
        (2, "unknown", "", 1, NOON),
        (4, "unknown", "ReplyLost", 1, NOON),
    ]
    assert rows[0].key == entry(2).content.hex()
    assert rows[0].request == ScheduledCall(
        campaign="Ventas->", destination="090000002", calldate=datetime(2099, 5, 5, 10)
    )
    assert "090000002" not in repr(rows[0])
    assert made == [1, 2, 4]


def test_every_row_is_told(run, path):
    """Also those that nothing became of yet: they have no moment."""
    run("succeeded", None, "failed")
    with open_journal(path) as journal:
        assert [(row.position, row.status, row.at) for row in journal.all()] == [
            (1, "succeeded", NOON),
            (2, "planned", None),
            (3, "failed", NOON),
        ]


def test_a_journal_that_lost_whose_it_is(run, path):
    """Its rows can be told all the same."""
    run("unknown")
    with closing(sqlite3.connect(path)) as db, db:
        db.execute("DELETE FROM meta WHERE name IN ('server', 'operation')")
    with open_journal(path) as journal:
        assert (journal.server, journal.operation) == ("", "")
        assert len(list(journal.unknown())) == 1


def test_a_journal_that_breaks_while_it_is_looked_at(run, path):
    """What SQLite says becomes our error, with the path in it."""
    run("unknown")
    with open_journal(path) as journal:
        with closing(sqlite3.connect(path)) as db, db:
            db.execute("DROP TABLE rows")
        with pytest.raises(JournalError, match=f"{path} cannot be used as a journal: no such table"):
            journal.counts()


def test_many_rows_are_told_by_the_block(run, path):
    """No row is left out or told twice where they are more than one block."""
    run(*["unknown"] * 600)
    with open_journal(path) as journal:
        assert [row.position for row in journal.unknown()] == list(range(1, 601))


def test_a_settled_row_counts_as_such_on_the_next_run(run, path):
    """A row found to have succeeded is done, one that failed is sent again, the others stay unknown."""
    rows = run("unknown", "unknown", "unknown")
    with open_journal(path, now=lambda: NOON) as journal:
        journal.resolve(rows[0].key, "succeeded")
        journal.resolve(rows[1].key, "failed")
        assert [row.key for row in journal.unknown()] == [rows[2].key]
    recalled = run(entries=[entry(number) for number in (1, 2, 3)])
    assert [(row.status, row.reason) for row in recalled] == [
        ("succeeded", "resolved"),
        ("failed", "resolved"),
        ("unknown", ""),
    ]


def test_the_second_of_two_equal_rows_has_a_key_of_its_own(run, path):
    """Equal rows are settled one by one."""
    rows = run("unknown", "unknown", entries=[entry(1), entry(1)])
    with open_journal(path) as journal:
        journal.resolve(rows[1].key, "failed")
    assert rows[1].key.endswith("-2")
    assert statuses(path) == [("unknown", 0), ("failed", 0)]


@pytest.mark.parametrize(
    ("answers", "said"),
    [
        ({0: "succeeded", "nobody": "failed"}, "'nobody'"),
        ({0: "succeeded", 1: "failed"}, "no unknown row"),
        ({0: "perhaps"}, "'perhaps'"),
    ],
)
def test_answers_that_cannot_be_right_change_nothing(run, path, answers, said):
    """A key that is none, a row that is not unknown, another word: all answers are refused, also the good ones."""
    rows = run("unknown", "succeeded")
    with open_journal(path) as journal, pytest.raises(JournalError, match=said):
        journal.resolve_all({rows[key].key if isinstance(key, int) else key: word for key, word in answers.items()})
    assert statuses(path) == [("unknown", 0), ("succeeded", 0)]


def test_a_run_that_lives_keeps_everybody_out(path, run):
    """Nothing of a journal is looked at or settled while a run holds it, and no run begins meanwhile."""
    run("unknown")
    holder = JournalFile(path, HEADER, amended=False)
    with pytest.raises(JournalBusy):
        open_journal(path)
    holder.close()
    with open_journal(path), pytest.raises(JournalBusy):
        JournalFile(path, HEADER, amended=False)


def test_what_is_no_journal_is_refused_and_left_alone(tmp_path):
    """Nothing is created where nothing is, and no other file is taken for a journal."""
    with pytest.raises(JournalError, match="no journal"):
        open_journal(tmp_path / "none")
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "empty").touch()
    with closing(sqlite3.connect(tmp_path / "bare")) as db:
        db.execute("PRAGMA user_version = 1")
    (tmp_path / "c.csv").write_text("destination;calldate\n", encoding="utf-8")
    for name, said in (("empty", "no journal"), ("bare", "bare is no journal yet"), ("c.csv", "cannot be used")):
        with pytest.raises(JournalError, match=said):
            open_journal(tmp_path / name)
    assert (tmp_path / "empty").stat().st_size == 0


def test_a_look_is_no_run(run, path):
    """Looking changes neither whose journal it is nor which rows a run takes for its own."""
    run("failed")
    open_journal(path).close()
    assert run(entries=[entry(1), entry(1)])[1].duplicate_of == 1


def test_rows_that_say_nothing(run, path):
    """Rows of a login, of an older journal or of an unlisted endpoint are told without a request."""
    run("unknown", "unknown", entries=[entry(1, "auth/getUserToken", ""), entry(2, "Other/Thing", "{}")])
    with open_journal(path) as journal:
        assert [(row.endpoint, row.request) for row in journal.unknown()] == [("", None), ("Other/Thing", None)]


def test_a_request_that_cannot_be_read_is_our_error(run, path):
    """A journal that somebody wrote into is refused with a sentence."""
    run("unknown", entries=[entry(1, SCHEDULE, '{"campaign":1.5}')])
    with (
        open_journal(path) as journal,
        pytest.raises(JournalError, match=rf"{path} holds a request to \S+ that cannot be read"),
    ):
        list(journal.unknown())


def test_requests_of_every_kind_are_read_back(run, path):
    """What an endpoint always adds is no part of the request."""
    document = '{"status":1,"campaign":"a<-","destination":"1001","dialerbase":"b","contact":5,"priority":7}'
    run("succeeded", entries=[entry(1, "Dialers/Respool", document)])
    with open_journal(path) as journal:
        (row,) = journal.made()
    assert row.request == Respool(campaign="a<-", destination="1001", dialerbase="b", contact=5, priority=7)


class TestUndo:
    """The marks of an undo, and what a run makes of them."""

    def test_begun_and_ended(self, run, path):
        """A row that is being undone is held apart from one that is undone, and each survives the journal's closing."""
        run("succeeded", "unknown", "succeeded", "failed")
        with open_journal(path, now=lambda: NOON) as journal:
            ids = [row.id for row in journal.made()]
            journal.begin_undo(ids)
            journal.end_undo(ids[:1], ids[2:])
        assert statuses(path) == [("undone", 0), ("unknown", 1), ("succeeded", 0), ("failed", 0)]
        with open_journal(path) as journal:
            assert [(row.position, row.undoing) for row in journal.made()] == [(2, True), (3, False)]
        recalled = run(entries=[entry(number) for number in range(1, 5)])
        assert [row.status for row in recalled] == ["undone", "undoing", "succeeded", "failed"]

    def test_what_failed_after_all_needs_no_undo(self, run, path):
        """An unknown row that is found not to have happened is sent again, one that did is still being undone."""
        rows = run("unknown", "unknown")
        with open_journal(path) as journal:
            journal.begin_undo([row.id for row in journal.made()])
            journal.resolve_all({rows[0].key: "failed", rows[1].key: "succeeded"})
        assert statuses(path) == [("failed", 0), ("succeeded", 1)]

    def test_an_undone_row_is_found_before_one_that_may_be_sent(self, run, path):
        """Of equal rows of which one was taken back, a shorter input gets that one: it is not sent unasked."""
        rows = run("failed", "succeeded", entries=[entry(1), entry(1)])
        with open_journal(path) as journal:
            journal.end_undo([rows[1].id], [])
        assert [row.status for row in run(entries=[entry(1)])] == ["undone"]

    def test_the_same_call_with_other_data_is_no_duplicate_of_an_undone_one(self, run, path):
        """Who mends a row after the undo gets it sent; a duplicate it is only of what is there."""
        other = Entry(blake2b(b"other", digest_size=16).digest(), 1, 9, SCHEDULE, "{}")
        (row,) = run("succeeded")
        assert run(entries=[other])[0].duplicate_of == 1
        with open_journal(path) as journal:
            journal.end_undo([row.id], [])
        assert run(entries=[other])[0].duplicate_of is None


@pytest.mark.parametrize(
    "change",
    [
        "UPDATE rows SET content = 'text'",
        "UPDATE rows SET status = x'ff', reason = 7",
        "UPDATE rows SET status = CAST(x'ff' AS TEXT)",
        "UPDATE rows SET at = 1e300",
        "UPDATE requests SET request = x'7b'",
        "UPDATE requests SET request = '{\"campaign\":7.5}'",
        "UPDATE meta SET value = 'x' WHERE name = 'run'",
    ],
)
def test_what_no_run_wrote_is_told(run, path, change):
    """Values that a bad disk or another program left behind are an error of ours, and nothing is made of them."""
    run("succeeded", "unknown")
    with closing(sqlite3.connect(path)) as db, db:
        db.execute(change)
    with pytest.raises(JournalError, match=r"run\.journal"), open_journal(path, now=lambda: NOON) as journal:
        list(journal.all())


def test_a_run_does_not_go_on_over_what_no_run_wrote(run, path):
    """Rows that cannot be compared, or a digest that is gone, end a run before anything is sent."""
    run("succeeded", "unknown")
    with closing(sqlite3.connect(path)) as db, db:
        db.execute("UPDATE rows SET run = 'x'")
    with closing(JournalFile(path, HEADER, amended=False)) as file, pytest.raises(JournalError, match=r"run\.journal"):
        file.recall([entry(1)])
    with closing(sqlite3.connect(path)) as db, db:
        db.execute("DELETE FROM meta WHERE name = 'digest'")
    with pytest.raises(JournalMismatch, match="another version of this file"):
        JournalFile(path, HEADER, amended=False)
