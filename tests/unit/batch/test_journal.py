"""The journal: what it remembers, what it never hands out twice, and that a mark is on the disk before it counts."""

import asyncio
import os
import signal
import sqlite3
import stat
import subprocess
import sys
import tempfile
import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from datetime import UTC, datetime, timedelta
from hashlib import blake2b
from pathlib import Path

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from older_journals import FORMAT_1

from ucontact_async.batch.journal import DOUBTED, Commits, Entry, FileJournal, Header
from ucontact_async.batch.journal_file import Change, JournalFile, _mounts, _refuse_remote
from ucontact_async.batch.journal_removals import doubted, overtaken
from ucontact_async.errors import JournalBusy, JournalError, JournalMismatch, NotSent
from ucontact_async.events import JournalLag

HEADER = Header("https://acme.example", "schedule", "first version")

posix = pytest.mark.skipif(os.name != "posix", reason="only on POSIX: file modes, links, signals and limits")


def entry(text, position=0):
    """Return a row: before the dot is the call that it makes, the whole text is what it would send."""
    call = int.from_bytes(blake2b(text.partition(".")[0].encode(), digest_size=8).digest(), "big", signed=True)
    return Entry(blake2b(text.encode(), digest_size=16).digest(), call, position)


def entries(texts):
    return [entry(text, position) for position, text in enumerate(texts, 1)]


def change(row, status, reason=""):
    return Change(row, status, reason, 1, None, None)


def on_disk(path):
    """Return the statuses that another process sees, in the order in which the rows were entered."""
    db = sqlite3.connect(f"file:{path}?mode=ro", uri=True)
    try:
        return [status for (status,) in db.execute("SELECT status FROM rows ORDER BY id")]
    finally:
        db.close()


@pytest.fixture
def path(tmp_path):
    return tmp_path / "contacts.csv.journal"


@pytest.fixture
def run(path):
    """Do one run: recall ``texts`` and leave the rows in ``statuses`` (``None`` leaves one alone)."""

    def one_run(texts, statuses=(), *, header=HEADER, amended=False):
        file = JournalFile(path, header, amended=amended)
        try:
            recalled = file.recall(entries(texts))
            file.apply([change(row.id, status) for row, status in zip(recalled, statuses, strict=False) if status])
        finally:
            file.close()
        return recalled

    return one_run


def known(recalled):
    return [(row.status, row.duplicate_of) for row in recalled]


class CountingExecutor(ThreadPoolExecutor):
    """One thread that counts what it is given to do."""

    def __init__(self):
        super().__init__(max_workers=1)
        self.calls = Counter()

    def submit(self, call, *args):
        """Count and do it."""
        self.calls[getattr(call, "__name__", "")] += 1
        return super().submit(call, *args)


# What is remembered of a row.


def test_a_row_is_new_once(run):
    """A row that no run has seen is new; afterwards it is in the state it was left in, under the same key."""
    first = run(["a", "b", "c"], ["succeeded", "unknown"])
    assert known(first) == [("new", None)] * 3
    assert {(row.reason, row.at) for row in first} == {("", None)}
    for _ in range(2):
        again = run(["a", "b", "c"])
        assert known(again) == [("succeeded", None), ("unknown", None), ("planned", None)]
        assert [row.key for row in again] == [row.key for row in first]


@pytest.mark.parametrize("status", ["planned", "succeeded", "failed", "unknown", "skipped"])
def test_a_settled_state_is_kept(run, status):
    """Every state but ``sent`` is found again as it was left, with its reason."""
    run(["a"], [status])
    assert known(run(["a"])) == [(status, None)]
    assert known(run(["a"], [status])) == [(status if status != "skipped" else "planned", None)]


def test_a_row_that_is_known_goes_on(run):
    """What a later run finds out about a row is written to that row."""
    for status in ("failed", "sent", "succeeded"):
        run(["a", "b"], [status])
    assert known(run(["a", "b"])) == [("succeeded", None), ("planned", None)]


def test_sent_and_never_settled_is_unknown(run):
    """What an earlier run had sent, and did not live to settle, is unknown for ever after."""
    run(["a", "b"], ["sent", "succeeded"])
    for _ in range(2):
        again = run(["a", "b"])
        assert known(again) == [("unknown", None), ("succeeded", None)]
        assert again[0].reason == "ReplyLost"


def test_the_reason_and_the_attempts_are_kept(path):
    """Why a row failed decides whether a later run sends it again, so it is remembered."""
    file = JournalFile(path, HEADER, amended=False)
    (row,) = file.recall([entry("a")])
    file.apply([Change(row.id, "failed", "Rejected", 3, None, None)])
    file.close()
    file = JournalFile(path, HEADER, amended=False)
    assert file.recall([entry("a")])[0].reason == "Rejected"
    file.close()


def test_the_moment_of_a_row_is_kept(path):
    """How long ago a row became unknown decides when it may be settled: not when it was read, nor the present."""
    for moment, statuses in ((NOON, ["unknown", "sent"]), (NOON + timedelta(hours=1), []), (datetime.now(UTC), [])):
        file = JournalFile(path, HEADER, amended=False, now=lambda moment=moment: moment)
        recalled = file.recall(entries("abc"))
        file.apply([change(row.id, status) for row, status in zip(recalled, statuses, strict=False)])
        file.close()
    noon = int(NOON.timestamp())
    # A mark may have waited long for its slot: the bytes may have left until the next run began.
    assert [row.at for row in recalled] == [noon, noon + 3600, None]


# Duplicates and occurrences.


def test_the_second_of_two_equal_rows_is_a_duplicate_of_the_first(run):
    """Within a run the second row is told the position of the first, and its key has a number of its own."""
    recalled = run(["x", "a", "a", "a"])
    assert known(recalled) == [("new", None), ("new", None), ("new", 2), ("new", 2)]
    assert [row.key.partition("-")[2] for row in recalled] == ["", "", "2", "3"]


def test_the_same_call_with_other_data_is_a_duplicate(run):
    """What counts is the call, not every byte of the request."""
    recalled = run(["a.1", "a.2"])
    assert known(recalled) == [("new", None), ("new", 1)]
    assert [row.key for row in recalled] == [entry(text).content.hex() for text in ("a.1", "a.2")]


def test_occurrences_are_counted_over_runs(run):
    """Each of two equal rows finds its own state again; a third is new and gets the next number."""
    run(["a", "a"], ["succeeded", "unknown"])
    again = run(["a", "a", "a"])
    assert [row.status for row in again] == ["succeeded", "unknown", "new"]
    assert again[2].key.endswith("-3")
    assert again[2].duplicate_of is not None


@pytest.mark.parametrize(("status", "duplicate"), [("succeeded", True), ("unknown", True), ("sent", True)])
def test_a_call_that_an_earlier_run_may_have_made_is_a_duplicate(run, status, duplicate):
    """A mended row is not sent if its twin of an earlier run was, or may have been."""
    run(["a.1"], [status])
    assert (run(["a.2"])[0].duplicate_of is not None) is duplicate


@pytest.mark.parametrize("status", ["failed", "planned", "skipped"])
def test_a_call_that_was_surely_not_made_may_be_mended(run, status):
    """A twin that failed, or was never sent, in an earlier run is no reason to leave out the mended row."""
    run(["a.1"], [status])
    assert known(run(["a.2"])) == [("new", None)]


def test_a_skipped_twin_of_this_run_is_no_reason_to_skip(path):
    """What this run leaves out makes no duplicate of what comes later."""
    file = JournalFile(path, HEADER, amended=False)
    (first,) = file.recall([entry("a.1", 1)])
    file.apply([change(first.id, "skipped", "late")])
    assert known(file.recall([entry("a.2", 2)])) == [("new", None)]
    file.close()


def test_twins_that_come_back_in_another_order_are_not_both_sent(run):
    """A row skipped as a duplicate may be sent by a later run; then its twin, which failed, may not."""
    run(["a.1", "a.2"], ["failed", "skipped"])
    skipped_before, failed_before = run(["a.2", "a.1"])
    assert (skipped_before.status, skipped_before.duplicate_of) == ("skipped", None)
    assert (failed_before.status, failed_before.duplicate_of) == ("failed", 1)


def test_the_order_of_the_input_does_not_matter(run):
    """A file that was sorted anew, or has rows added in front, finds every row again."""
    run(["a", "b", "c"], ["succeeded", "failed", "unknown"])
    again = run(["new", "c", "b", "a"], header=Header(HEADER.server, HEADER.operation, "second"), amended=True)
    assert [row.status for row in again] == ["new", "unknown", "failed", "succeeded"]


def test_what_is_done_counts_first_when_rows_were_taken_out(run):
    """Of two equal rows one failed and one was sent; with one of them taken out nothing is left to send."""
    run(["a", "a"], ["failed", "succeeded"])
    assert [row.status for row in run(["a"])] == ["succeeded"]


def test_without_a_path_only_duplicates_are_found(path):
    """The private file of a run without a journal leaves nothing behind and remembers nothing."""
    file = JournalFile(None, HEADER, amended=False)
    folder = file.path.parent
    assert known(file.recall(entries(["a", "a"]))) == [("new", None), ("new", 1)]
    assert not file.durable
    file.close()
    assert not folder.exists()
    assert not path.exists()


# Marks: durable before they are believed.


async def test_sent_is_on_the_disk_before_it_returns(path):
    """When ``sent`` returns, another process reads the mark, and the disk was told to keep it."""
    journal = await FileJournal.open(path, HEADER, deliver=list)
    rows = await journal.recall(entries(["a", "b"]))
    await journal.sent(rows[0].id)
    assert on_disk(path) == ["sent", "planned"]
    full = 2
    assert journal._file.db.execute("PRAGMA synchronous").fetchone() == (full,)
    await journal.aclose()


async def test_sent_waits_for_its_commit(path):
    """As long as the disk is busy, nobody is told that a row is marked."""
    executor = ThreadPoolExecutor(max_workers=1)
    journal = await FileJournal.open(path, HEADER, deliver=list, executor=executor)
    (row,) = await journal.recall([entry("a")])
    busy = threading.Event()
    executor.submit(busy.wait)
    waiting = asyncio.create_task(journal.sent(row.id))
    done, _ = await asyncio.wait([waiting], timeout=0.05)
    busy.set()
    assert not done
    await waiting
    await journal.aclose()


async def test_settled_is_delivered_after_its_commit(path):
    """Whoever hears that a row is settled finds it settled on the disk."""
    delivered = []
    journal = await FileJournal.open(path, HEADER, deliver=lambda outcomes: delivered.append((outcomes, on_disk(path))))
    (row,) = await journal.recall([entry("a")])
    await journal.sent(row.id)
    journal.settled(row.id, "succeeded", "", 1, "outcome")
    assert delivered == []
    await journal.flush()
    assert delivered == [(["outcome"], ["succeeded"])]
    await journal.aclose()


async def test_settled_rides_along_with_the_next_sent(path):
    """A settled mark waits for a commit of sent marks, and goes with it in the order in which both were made."""
    executor = CountingExecutor()
    delivered = []
    journal = await FileJournal.open(path, HEADER, deliver=delivered.extend, executor=executor, linger=3600)
    rows = await journal.recall(entries(["a", "b"]))
    await journal.sent(rows[0].id)
    journal.settled(rows[0].id, "succeeded", "", 1, "outcome")
    await journal.sent(rows[1].id)
    assert on_disk(path) == ["succeeded", "sent"]
    assert delivered == ["outcome"]
    assert executor.calls["apply"] == 2
    await journal.aclose()


async def test_settled_does_not_wait_for_ever(path):
    """Without another row to send, a settled mark is written by itself after a moment."""
    arrived = asyncio.Event()
    journal = await FileJournal.open(path, HEADER, deliver=lambda _: arrived.set(), linger=0.001)
    (row,) = await journal.recall([entry("a")])
    journal.settled(row.id, "skipped", "late", 0, "outcome")
    await asyncio.wait_for(arrived.wait(), 10)
    assert on_disk(path) == ["skipped"]
    await journal.aclose()


async def test_many_marks_are_few_commits(path):
    """Rows that are marked while a commit runs share the next one, which waits for nothing more."""
    executor = CountingExecutor()
    journal = await FileJournal.open(path, HEADER, deliver=list, executor=executor, linger=3600)
    rows = await journal.recall(entries(str(number) for number in range(500)))
    await asyncio.gather(*(journal.sent(row.id) for row in rows))
    assert on_disk(path) == ["sent"] * 500
    assert executor.calls["apply"] <= 3
    await journal.aclose()


async def test_a_mark_can_be_taken_back(path):
    """A call that surely did not happen is planned again, also if its mark was still on its way to the disk."""
    journal = await FileJournal.open(path, HEADER, deliver=list)
    rows = await journal.recall(entries(["a", "b"]))
    await journal.sent(rows[0].id)
    journal.planned(rows[0].id)
    waiting = asyncio.create_task(journal.sent(rows[1].id))
    await asyncio.sleep(0)
    waiting.cancel()
    await asyncio.wait([waiting])
    journal.planned(rows[1].id)
    await journal.aclose()
    assert on_disk(path) == ["planned", "planned"]


async def test_only_what_ended_is_taken_back(path):
    """Rows that ended known become unknown, durably and after their first outcome; others stay what they are."""
    delivered = []
    journal = await FileJournal.open(path, HEADER, deliver=delivered.extend, linger=60.0)
    rows = [known.id for known in await journal.recall(entries("abcde"))]
    for row in rows[:4]:
        await journal.sent(row)
    for row, status in zip(rows, ("succeeded", "failed", "unknown"), strict=False):
        journal.settled(row, status, "", 1, status)
    assert sorted(await journal.amend(rows)) == rows[:2]
    assert delivered == ["succeeded", "failed", "unknown"]
    assert on_disk(path) == ["unknown", "unknown", "unknown", "sent", "planned"]
    assert await journal.amend(rows) == []
    await journal.aclose()
    with closing(sqlite3.connect(path)) as db:
        assert [reason for (reason,) in db.execute("SELECT reason FROM rows ORDER BY id")][:3] == ["desync"] * 2 + [""]


async def test_closing_writes_and_delivers_what_is_left(path):
    """Nothing that was settled is lost by closing at once."""
    delivered = []
    journal = await FileJournal.open(path, HEADER, deliver=delivered.extend, linger=3600)
    rows = await journal.recall(entries(["a", "b", "c"]))
    for row in rows:
        journal.settled(row.id, "failed", "Rejected", 1, row.id)
    await journal.aclose()
    assert delivered == [row.id for row in rows]
    assert on_disk(path) == ["failed"] * 3


async def test_each_mark_says_what_it_is_to_say(path):
    """The step of a settling, the reason and the number of tries are on the disk beside the state, or nothing is."""
    journal = await FileJournal.open(path, HEADER, deliver=list, linger=0)
    rows = await journal.recall(entries("abcde"))
    await journal.sent(rows[0].id)
    await journal.sent(rows[1].id, "removing")
    journal.settled(rows[2].id, "failed", "Rejected", 3, None)
    journal.planned(rows[3].id, "inserting")
    journal.settled(rows[4].id, "failed", "Throttled", 2, None)
    journal.planned(rows[4].id)
    await journal.aclose()
    assert query(path, "SELECT status, reason, attempts FROM rows ORDER BY id") == [
        ("sent", "", 0),
        ("sent", "removing", 0),
        ("failed", "Rejected", 3),
        ("planned", "inserting", 0),
        ("planned", "", 0),
    ]


async def test_all_that_touches_the_file_is_done_by_the_executor(path):
    """The loop never waits for a disk, and what was given to wait there is let go of in the end."""
    executor = CountingExecutor()
    journal = await FileJournal.open(path, HEADER, deliver=list, executor=executor)
    (row,) = await journal.recall([entry("a")])
    await journal.doubted([SCHEDULE], 0)
    await journal.overtaken([SCHEDULE])
    await journal.sent(row.id)
    await journal.aclose()
    assert executor.calls == {"<lambda>": 1, "recall": 1, "doubted": 1, "overtaken": 1, "apply": 1, "close": 1}
    with pytest.raises(RuntimeError):
        executor.submit(list)


async def test_one_thread_does_it(path):
    """However many ask at once, one thread has the database: it has a name, and ends with the journal."""

    def threads():
        return [thread for thread in threading.enumerate() if thread.name.startswith("ucontact-journal")]

    journal = await FileJournal.open(path, HEADER, deliver=list)
    await asyncio.gather(*(journal.recall([entry(text)]) for text in "abcdefgh"))
    (thread,) = threads()
    await journal.aclose()
    thread.join(10)
    assert threads() == []


async def test_a_journal_that_is_refused_leaves_no_thread(path, run):
    """The digest is compared unless ``amended`` is said, and nothing is left of a journal that was not opened."""
    await asyncio.to_thread(run, ["a"])
    executor = ThreadPoolExecutor(max_workers=1)
    other = Header(HEADER.server, HEADER.operation, "second version")
    with pytest.raises(JournalMismatch):
        await FileJournal.open(path, other, deliver=list, executor=executor)
    with pytest.raises(RuntimeError):
        executor.submit(list)
    journal = await FileJournal.open(path, other, deliver=list, amended=True)
    await journal.aclose()


async def test_what_may_still_arrive(path):
    """Asked for some endpoints since a moment: rows without an outcome, and those that ended after a doubtful try."""
    journal = await FileJournal.open(path, HEADER, deliver=list, now=lambda: NOON)
    texts = {"a": SCHEDULE, "b": "Dialers/RemoveContact", "c": SCHEDULE, "d": SCHEDULE, "e": SCHEDULE}
    rows = await journal.recall([msgspec.structs.replace(saying(text), endpoint=texts[text]) for text in texts])
    ends = [("unknown", ""), ("unknown", ""), ("succeeded", DOUBTED), ("succeeded", ""), ("failed", "Rejected")]
    for row, (status, reason) in zip(rows, ends, strict=True):
        journal.settled(row.id, status, reason, 1, None)
    await journal.flush()
    noon = int(NOON.timestamp())
    assert await journal.doubted([SCHEDULE], noon) == [(SCHEDULE, SAYS, noon)] * 2
    assert len(await journal.doubted(list(texts.values()), noon)) == 3
    assert await journal.doubted([SCHEDULE], noon + 1) == []
    await journal.aclose()


# A disk that fails.

FULL_DISK = """
import asyncio, os, resource, sqlite3, sys
from pathlib import Path
from ucontact_async.batch.journal import Entry, FileJournal, Header
from ucontact_async.errors import JournalError

path = Path(sys.argv[1])

def limit(size):
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))

async def refused(work):
    try:
        await work
    except JournalError as error:
        assert str(path) in str(error), error
        return True
    return False

async def main():
    delivered = []
    journal = await FileJournal.open(path, Header("https://acme.example"), deliver=delivered.extend)
    a, b, c = await journal.recall([Entry(bytes([n]) * 16, n, n) for n in (1, 2, 3)])
    await journal.sent(a.id)
    limit(os.path.getsize(f"{path}-wal"))
    # In one commit, that fails: rows entered, two waiting marks and one settled before.
    (d,) = await journal.recall([Entry(bytes([4]) * 16, 4, 4)])
    journal.settled(c.id, "skipped", "late", 0, "c")
    assert all(await asyncio.gather(refused(journal.sent(b.id)), refused(journal.sent(d.id))))
    assert delivered == ["c"], delivered
    limit(resource.RLIM_INFINITY)
    # There is room again, but the row d is no longer in the file: nothing may be marked on it, nothing entered.
    assert await refused(journal.sent(d.id))
    assert await refused(journal.recall([Entry(bytes([5]) * 16, 5, 5)]))
    # What was on the wire ends all the same, and that is worth writing.
    journal.settled(a.id, "succeeded", "", 1, "a")
    await journal.flush()
    assert delivered == ["c", "a"], delivered
    assert await refused(journal.aclose())

asyncio.run(main())
print("as expected")
"""


@posix
def test_a_commit_that_fails_is_told_to_all_who_wait(path):
    """Nobody sends on a mark that is not on the disk; the journal stays broken, and its file stays sound."""
    done = subprocess.run(
        [sys.executable, "-c", FULL_DISK, str(path)], capture_output=True, text=True, timeout=30, check=False
    )
    assert (done.stdout, done.returncode) == ("as expected\n", 0), done.stderr
    assert on_disk(path) == ["succeeded", "planned", "planned"]


async def test_a_disk_that_turns_read_only(path):
    """Who waits is told, and nothing is sent any more; what was on the wire is delivered, and written if it can be."""
    delivered = []
    journal = await FileJournal.open(path, HEADER, deliver=delivered.extend)
    db = journal._file.db
    a, b, c = await journal.recall(entries("abc"))
    await journal.sent(a.id)
    (d,) = await journal.recall([entry("d", 4)])
    db.execute("PRAGMA query_only = ON")
    journal.settled(c.id, "skipped", "late", 0, "c")
    told = await asyncio.gather(journal.sent(b.id), journal.sent(d.id), return_exceptions=True)
    assert [type(error) for error in told] == [JournalError] * 2
    assert str(path) in str(told[0])
    assert "readonly" in str(told[0])
    assert delivered == ["c"]
    db.execute("PRAGMA query_only = OFF")
    # The row d went with the commit that failed: a mark on it would be none.
    with pytest.raises(JournalError, match="readonly"):
        await journal.sent(d.id)
    with pytest.raises(JournalError, match="readonly"):
        await journal.recall([entry("e", 5)])
    journal.settled(a.id, "succeeded", "", 1, "a")
    await journal.flush()
    assert delivered == ["c", "a"]
    with pytest.raises(JournalError, match="readonly"):
        await journal.aclose()
    assert on_disk(path) == ["succeeded", "planned", "planned"]


def test_a_file_that_breaks_stays_broken(path):
    """The first thing that went wrong is what is said from then on; nothing is marked as sent, ends are written."""
    file = JournalFile(path, HEADER, amended=False)
    a, b = file.recall(entries("ab"))
    file.apply([])
    file.db.execute("PRAGMA query_only = ON")
    for work in (lambda: file.recall([entry("c")]), lambda: file.apply([change(a.id, "sent")])):
        with pytest.raises(JournalError, match=f"{path} cannot be written: .*readonly"):
            work()
    file.db.execute("PRAGMA query_only = OFF")
    with pytest.raises(JournalError, match="readonly"):
        file.apply([change(a.id, "sent"), change(b.id, "failed")])
    file.close()
    assert on_disk(path) == ["planned", "failed"]


def test_what_cannot_be_asked_is_our_error(path):
    """A file that loses a table while it is in use breaks the journal with its own words."""
    file = JournalFile(path, HEADER, amended=False)
    file.db.execute("DROP TABLE requests")
    with pytest.raises(JournalError, match="no such table"):
        doubted(file, [SCHEDULE], 0)
    file.close()


async def test_an_executor_that_is_taken_away(path):
    """Marks that nobody will ever write are told as such, and not waited for without end."""
    executor = ThreadPoolExecutor(max_workers=1)
    journal = await FileJournal.open(path, HEADER, deliver=list, executor=executor)
    (row,) = await journal.recall([entry("a")])
    busy = threading.Event()
    executor.submit(busy.wait)
    waiting = asyncio.create_task(journal.sent(row.id))
    await asyncio.sleep(0)
    executor.shutdown(wait=False, cancel_futures=True)
    busy.set()
    for mark in (waiting, journal.sent(row.id)):
        with pytest.raises(JournalError, match=f"{path} cannot be written: CancelledError"):
            await mark
    await asyncio.to_thread(journal._file.close)


class Shared(Commits):
    """A journal of another kind, that refuses the row 2 and then ends in an error."""

    def __init__(self, end):
        super().__init__("the shared journal", list)
        self.ends = iter([{2}, {2}, end])

    def _apply(self, changes):
        future = asyncio.get_running_loop().create_future()
        end = next(self.ends)
        future.set_exception(end) if isinstance(end, Exception) else future.set_result(end)
        return future


@pytest.mark.parametrize(
    ("end", "told"),
    [
        (JournalMismatch("another coordinator took over"), "^another coordinator took over$"),
        (OSError("gone"), r"^the shared journal cannot be written: OSError\('gone'\)$"),
    ],
)
async def test_a_row_in_other_hands(end, told):
    """A mark that is refused sends nothing, and no second try does; an error of the journal's own is told unchanged."""
    journal = Shared(end)
    await journal.sent(1)
    with pytest.raises(NotSent, match="not sent: its row is in other hands") as caught:
        await journal.sent(2)
    assert not caught.value.transient
    for _ in range(2):
        with pytest.raises(JournalError, match=told):
            await journal.sent(3)


# Whose journal it is.


@pytest.mark.parametrize(
    "other",
    [Header("https://other.example", "schedule", HEADER.digest), Header(HEADER.server, "respool", HEADER.digest)],
    ids=["server", "operation"],
)
@pytest.mark.parametrize("amended", [False, True])
def test_a_journal_of_another_server_or_operation_is_refused(run, path, other, amended):
    """Keys of one server or operation mean nothing to another, whatever the user says; the journal stays as it is."""
    run(["a"], ["sent"])
    before = path.read_bytes()
    differ = r"(server https://acme.example, this run to https://other|operation schedule, this run to respool)"
    with pytest.raises(JournalMismatch, match=f"belongs to the {differ}"):
        run(["a"], header=other, amended=amended)
    assert path.read_bytes() == before
    assert known(run(["a"])) == [("unknown", None)]


def test_a_changed_input_has_to_be_announced(run):
    """Another digest is refused until ``amended`` is said; then it is the journal of the new version."""
    run(["a"], ["succeeded"])
    second = Header(HEADER.server, HEADER.operation, "second version")
    with pytest.raises(JournalMismatch, match="--amended"):
        run(["a", "b"], header=second)
    assert [row.status for row in run(["a", "b"], header=second, amended=True)] == ["succeeded", "new"]
    assert [row.status for row in run(["a", "b"], header=second)] == ["succeeded", "planned"]
    with pytest.raises(JournalMismatch):
        run(["a"])


@pytest.mark.parametrize("content", [b"destination;calldate\n", b"x" * 5000], ids=["short", "long"])
def test_a_file_of_another_kind_is_refused_and_left_alone(run, path, content):
    """``--journal contacts.csv`` by mistake costs nothing."""
    path.write_bytes(content)
    with pytest.raises(JournalMismatch, match="not a database"):
        run(["a"])
    assert path.read_bytes() == content


def test_a_database_of_another_kind_is_refused_and_left_alone(run, path):
    """Somebody else's SQLite file gets no tables of ours."""
    db = sqlite3.connect(path)
    db.execute("CREATE TABLE history (url TEXT)")
    db.close()
    before = path.read_bytes()
    with pytest.raises(JournalError, match="something else"):
        run(["a"])
    assert path.read_bytes() == before


def test_another_format_is_refused(run, path):
    """A journal of a later version is not guessed at."""
    run(["a"])
    db = sqlite3.connect(path)
    db.execute("UPDATE meta SET value = '99' WHERE name = 'format'")
    db.commit()
    db.close()
    with pytest.raises(JournalError, match=f"{path} has format '99'.*newer"):
        run(["a"])


def test_an_empty_file_becomes_a_journal(run, path):
    """A run that was killed right after it created the file is resumed by the same command."""
    path.touch()
    assert known(run(["a"])) == [("new", None)]


def test_a_place_that_cannot_be_used_is_told_in_a_sentence(tmp_path):
    """A file where the folder should be is our error with the path in it, not the operating system's."""
    (tmp_path / "file").touch()
    path = tmp_path / "file" / "run.journal"
    with pytest.raises(JournalError, match=f"{path} cannot be used as a journal: .*[Nn]ot a directory") as caught:
        JournalFile(path, HEADER, amended=False)
    assert caught.type is JournalError


@pytest.mark.parametrize("kind", ["nfs4", "cifs", "fuse.sshfs"])
def test_a_network_share_is_refused(kind):
    """Neither locks nor write-ahead logs can be trusted there; the longest mount point decides."""
    mounts = (
        f"/dev/sda1 / ext4 rw 0 0\nserver:/home /mnt/our\\040share {kind} rw 0 0\n/dev/sdb1 /mnt/our\\040share/x xfs\n"
    )
    with pytest.raises(JournalError, match="network share"):
        _refuse_remote(Path("/mnt/our share/run.journal"), mounts)
    for local in ("/mnt/our share/x/run.journal", "/mnt/our shared/run.journal", "/run.journal"):
        _refuse_remote(Path(local), mounts)
    _refuse_remote(Path("/run.journal"), "")
    with pytest.raises(JournalError, match="network share"):
        _refuse_remote(Path("/run.journal"), f"server:/ / {kind} rw 0 0\n")


def test_what_was_mounted_last_is_what_is_there():
    """Of two mounts at one place the later one hides the other."""
    local, share = "/dev/sda1 /mnt/BOX ext4 rw 0 0\n", "server:/home /mnt/BOX nfs4 rw 0 0\n"
    _refuse_remote(Path("/mnt/BOX/run.journal"), share + local)
    with pytest.raises(JournalError, match="/mnt/BOX/run.journal is on a network share .nfs4."):
        _refuse_remote(Path("/mnt/BOX/run.journal"), local + share)


@pytest.mark.skipif(sys.platform != "linux", reason="only on Linux: a list of what is mounted where")
def test_what_is_mounted_is_known():
    """The list that decides about network shares is the system's, with the root in it."""
    assert "/" in {line.split(" ")[1] for line in _mounts().splitlines()}


def test_how_the_database_is_kept(path):
    """Durable at every commit where marks count, as quick as can be where they do not; 2 MB of memory for either."""
    for where, kept in ((path, ("wal", 2, -2000)), (None, ("off", 0, -2000))):
        file = JournalFile(where, HEADER, amended=False)
        pragmas = ("journal_mode", "synchronous", "cache_size")
        assert tuple(file.db.execute(f"PRAGMA {pragma}").fetchone()[0] for pragma in pragmas) == kept
        file.close()


# One run at a time.


def test_a_second_run_is_refused(run, path):
    """While a run holds the journal no other gets in, and it does not touch what is there."""
    holder = JournalFile(path, HEADER, amended=False)
    (row,) = holder.recall([entry("a")])
    holder.apply([change(row.id, "sent")])
    with pytest.raises(JournalBusy, match=f"{path} is in use by another run"):
        run(["a"])
    assert on_disk(path) == ["sent"]
    holder.close()
    assert known(run(["a"])) == [("unknown", None)]


@posix
def test_a_second_name_is_the_same_journal(run, path, tmp_path):
    """A link to the journal is no way around the lock."""
    holder = JournalFile(path, HEADER, amended=False)
    link = tmp_path / "link.journal"
    link.symlink_to(path)
    with pytest.raises(JournalBusy):
        JournalFile(link, HEADER, amended=False)
    holder.close()
    assert known(run(["a"])) == [("new", None)]


def test_two_journals_do_not_disturb_each_other(path, tmp_path):
    """The lock is the journal's, not the folder's."""
    one = JournalFile(path, HEADER, amended=False)
    two = JournalFile(tmp_path / "other.journal", HEADER, amended=False)
    two.close()
    one.close()


HOLDER = """
import asyncio, sys
from pathlib import Path
from ucontact_async.batch.journal import Entry, FileJournal, Header

async def main():
    journal = await FileJournal.open(Path(sys.argv[1]), Header("https://acme.example"), deliver=list)
    a, b, c = await journal.recall([Entry(bytes([n]) * 16, n, n) for n in (1, 2, 3)])
    await journal.sent(a.id)
    journal.settled(a.id, "succeeded", "", 1, None)
    await journal.sent(b.id)
    print("holds it", flush=True)
    await asyncio.sleep(60)

asyncio.run(main())
"""


@posix
def test_lock_and_marks_of_a_process_that_is_killed(path):
    """Another process is kept out while the first lives, and no longer; what that had sent is then unknown."""
    header = Header("https://acme.example")
    with subprocess.Popen([sys.executable, "-c", HOLDER, str(path)], stdout=subprocess.PIPE, text=True) as holder:
        try:
            assert holder.stdout.readline() == "holds it\n"
            with pytest.raises(JournalBusy):
                JournalFile(path, header, amended=False)
            assert on_disk(path) == ["succeeded", "sent", "planned"]
        finally:
            os.kill(holder.pid, signal.SIGKILL)
    file = JournalFile(path, header, amended=False)
    recalled = file.recall([Entry(bytes([n]) * 16, n, n) for n in (1, 2, 3)])
    file.close()
    assert [row.status for row in recalled] == ["succeeded", "unknown", "planned"]


@posix
def test_files_are_for_their_owner_only(tmp_path):
    """Whatever the umask: 0600 for the journal and all beside it, 0700 for every folder that was made."""
    path = tmp_path / "new" / "folder" / "run.journal"
    before = os.umask(0)
    try:
        file = JournalFile(path, HEADER, amended=False)
        file.recall([entry("a")])
        file.apply([])
        modes = {found.name: stat.S_IMODE(found.stat().st_mode) for found in path.parent.iterdir()}
        file.close()
    finally:
        os.umask(before)
    assert modes == dict.fromkeys([path.name, *(path.name + end for end in ("-wal", "-shm", "-lock"))], 0o600)
    assert [stat.S_IMODE(folder.stat().st_mode) for folder in (path.parent, path.parent.parent)] == [0o700] * 2


# What a row says, for people and for an undo.

SAYS = '{"campaign":"Ventas->","destination":"099123456","calldate":"2099-05-05 10:00:00","data":"n=Ñandú"}'
SCHEDULE = "Dialers/ScheduleDialerCall"
NOON = datetime(2027, 3, 1, 12, tzinfo=UTC)


def saying(text, document=SAYS):
    return Entry(*msgspec.structs.astuple(entry(text))[:3], SCHEDULE, document)


def query(path, statement):
    with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as db:
        return db.execute(statement).fetchall()


def test_plain_sql_tells_what_was_sent(path):
    """The view has campaign, number and date as they went out, and when the row became what it is."""
    file = JournalFile(path, HEADER, amended=False, now=lambda: NOON)
    one, two, _ = file.recall([saying("a"), saying("a"), saying("b", '{"campaign":"*","phone":"099000001"}')])
    file.apply([change(one.id, "succeeded"), change(two.id, "skipped", "duplicate")])
    file.close()
    shown = "row, status, reason, utc, endpoint, campaign, destination, calldate"
    noon = "2027-03-01 12:00:00"
    assert query(path, f"SELECT {shown} FROM calls") == [
        (0, "succeeded", "", noon, SCHEDULE, "Ventas->", "099123456", "2099-05-05 10:00:00"),
        (0, "skipped", "duplicate", noon, SCHEDULE, "Ventas->", "099123456", "2099-05-05 10:00:00"),
        (0, "planned", "", None, SCHEDULE, "*", "099000001", None),
    ]
    assert query(path, "SELECT key FROM calls") == [(one.key,), (two.key,), (entry("b").content.hex(),)]
    assert query(path, "SELECT request FROM calls WHERE status = 'succeeded'") == [(SAYS,)]


REMOVE = "Dialers/RemoveContact"


@pytest.mark.parametrize(
    ("rows", "taken_over"),
    [
        ([(REMOVE, "1", "failed"), (SCHEDULE, "1", "succeeded")], {1}),
        ([(REMOVE, "1", "unknown"), (SCHEDULE, "1", "unknown")], {1}),
        ([(SCHEDULE, "1", "unknown"), (REMOVE, "1", "succeeded")], {1}),
        ([(SCHEDULE, "1", "failed"), (REMOVE, "1", "unknown")], {1}),
        ([(REMOVE, "09-9", "failed"), (SCHEDULE, "099", "succeeded")], {1}),
        ([(REMOVE, "1", "failed"), (SCHEDULE, "1", "failed")], set()),
        ([(REMOVE, "1", "failed"), (SCHEDULE, "2", "succeeded")], set()),
        ([(REMOVE, "1", "failed"), (REMOVE, "1", "succeeded")], set()),
        ([(SCHEDULE, "1", "failed"), (SCHEDULE, "1", "succeeded")], set()),
        ([(SCHEDULE, "1", "succeeded"), (REMOVE, "1", "failed")], set()),
        ([(REMOVE, "1", "succeeded"), (SCHEDULE, "1", "failed")], set()),
        ([(REMOVE, "1", "planned"), (SCHEDULE, "1", "succeeded")], set()),
        (
            [
                *[(REMOVE, "1", "failed"), (SCHEDULE, "1", "succeeded"), (REMOVE, "1", "failed")],
                *[(REMOVE, "2", "unknown"), (SCHEDULE, "1", "succeeded"), (SCHEDULE, "2", "failed")],
            ],
            {1, 3},
        ),
    ],
)
async def test_what_a_later_row_took_over(path, rows, taken_over):
    """A removal that is not done is overtaken by a later call of its number, a call by a later removal."""
    journal = await FileJournal.open(path, HEADER, deliver=list)
    recalled = []
    for place, (endpoint, number, _) in enumerate(rows):
        name = "destination" if place % 2 else "number"
        document = f'{{"campaign":"Ventas->","{name}":"{number}"}}'
        recalled += await journal.recall([msgspec.structs.replace(saying(str(place), document), endpoint=endpoint)])
    for row, (*_, status) in zip(recalled, rows, strict=True):
        journal.settled(row.id, status, "", 1, None)
    await journal.flush()
    assert await journal.overtaken([REMOVE, "Dialers/RemoveScheduleDialerCall"]) == taken_over
    assert await journal.overtaken(["Dialers/RemoveScheduleDialerCall"]) == set()
    await journal.aclose()


def test_another_campaign_is_another_place(path):
    """A call in one campaign takes over no removal from another."""
    file = JournalFile(path, HEADER, amended=False)
    documents = [(REMOVE, '{"campaign":"a->","destination":"1"}'), (SCHEDULE, '{"campaign":"b->","destination":"1"}')]
    asked = [msgspec.structs.replace(saying(text, text), endpoint=endpoint) for endpoint, text in documents]
    one, two = file.recall(asked)
    file.apply([change(one.id, "failed"), change(two.id, "succeeded")])
    assert overtaken(file, [REMOVE]) == set()
    file.close()


def test_without_a_path_nothing_is_kept_of_what_rows_say():
    """The private file that finds duplicates holds digests only."""
    file = JournalFile(None, HEADER, amended=False)
    file.recall([saying("a")])
    file.apply([])
    assert b"099123456" not in b"".join(found.read_bytes() for found in file.path.parent.iterdir())
    file.close()


@pytest.fixture
def old(path):
    """A journal as the first version wrote it: a row done, one refused, one on the wire when the power failed."""
    with closing(sqlite3.connect(path)) as db:
        db.executescript("PRAGMA journal_mode = WAL;" + FORMAT_1)
        meta = {"run": "1", "server": HEADER.server, "operation": HEADER.operation, "digest": HEADER.digest}
        db.executemany("INSERT INTO meta VALUES (?, ?)", meta.items())
        rows = [
            (entry(text).content, entry(text).identity, status, reason)
            for text, status, reason in (("a", "succeeded", ""), ("b", "failed", "Rejected"), ("c", "sent", ""))
        ]
        db.executemany("INSERT INTO rows VALUES (NULL, ?, 1, ?, 1, 2, ?, ?, 1)", rows)
        db.commit()
    return path


def test_a_journal_of_format_1_resumes(old):
    """It is brought to the present format when it is opened; what it knew it knows, and it learns what rows say."""
    file = JournalFile(old, HEADER, amended=False, now=lambda: NOON)
    recalled = file.recall([saying(text) for text in "abcd"])
    file.close()
    assert [(row.status, row.reason) for row in recalled] == [
        ("succeeded", ""),
        ("failed", "Rejected"),
        ("unknown", "ReplyLost"),
        ("new", ""),
    ]
    assert query(old, "SELECT status, destination FROM calls") == [
        (status, "099123456") for status in ("succeeded", "failed", "unknown", "planned")
    ]
    # When it was sent nobody knows: no earlier than now.
    assert query(old, "SELECT utc FROM calls WHERE status = 'unknown'") == [("2027-03-01 12:00:00",)]
    assert query(old, "SELECT value FROM meta WHERE name = 'format'") == [("3",)]


def test_when_a_row_of_format_1_became_unknown_nobody_knows(old):
    """It counts as new, so that nothing about it is settled too early; what is certain has no moment."""
    with closing(sqlite3.connect(old)) as db, db:
        db.execute("UPDATE rows SET status = 'unknown' WHERE status = 'sent'")
    JournalFile(old, HEADER, amended=False, now=lambda: NOON).close()
    assert query(old, "SELECT status, utc FROM calls") == [
        ("succeeded", None),
        ("failed", None),
        ("unknown", "2027-03-01 12:00:00"),
    ]


def test_a_journal_of_format_1_that_is_refused_stays_as_it_is(old):
    """Nothing is changed in a journal that belongs to something else."""
    before = old.read_bytes()
    with pytest.raises(JournalMismatch):
        JournalFile(old, Header(HEADER.server, "respool", HEADER.digest), amended=False)
    assert old.read_bytes() == before
    assert {name for (name,) in query(old, "SELECT name FROM sqlite_master")} >= {"rows"}
    assert query(old, "SELECT value FROM meta WHERE name = 'format'") == [("1",)]


def test_a_new_journal_and_an_old_one_are_the_same(run, old, path, tmp_path):
    """There is one shape of a journal, wherever it began."""
    new = tmp_path / "new.journal"
    JournalFile(new, HEADER, amended=False).close()
    run(["a"])
    what = "SELECT type, name, sql FROM sqlite_master WHERE name <> 'sqlite_autoindex_meta_1' ORDER BY name"
    squeezed = [[(*row[:2], "".join((row[2] or "").split())) for row in query(where, what)] for where in (path, new)]
    assert squeezed[0] == squeezed[1]


# Many marks in one commit.

marks = st.lists(
    st.tuples(
        st.integers(0, 599),
        st.sampled_from(["sent", "planned", "succeeded", "failed"]),
        st.sampled_from(["", "late"]),
        st.integers(0, 2),
    ),
    max_size=40,
)


@settings(max_examples=20)
@given(marks=marks, number=st.sampled_from([1, 7, 8, 9, 64, 65, 256, 257, 600]))
def test_the_last_mark_of_each_row_stands(marks, number):
    """However many rows one commit marks, and how often, each is what its last mark says, and no other is touched."""
    with tempfile.TemporaryDirectory() as folder:
        file = JournalFile(Path(folder, "run.journal"), HEADER, amended=False)
        ids = [row.id for row in file.recall([entry(f"{n}", n) for n in range(600)])]
        expected = dict.fromkeys(ids, ("planned", "", 0, None))
        at = file.seconds()
        given_ = [(ids[n], "sent", "", 0) for n in range(number)] + [(ids[n], *mark) for n, *mark in marks]
        file.apply([Change(*mark, None, None) for mark in given_])
        expected |= {id_: (status, reason, attempts, True) for id_, status, reason, attempts in given_}
        found = file.db.execute("SELECT id, status, reason, attempts, at >= ? FROM rows", (at,)).fetchall()
        file.close()
    assert {id_: (*state, None if noted is None else bool(noted)) for id_, *state, noted in found} == expected


# Whatever happens, in whatever order.

FATES = ["failed", "succeeded", "sent", "succeeded, not noted", "unknown", "taken back", "left"]

rows = st.lists(st.tuples(st.sampled_from(["a.1", "a.2", "b.1"]), st.sampled_from(FATES)), min_size=1, max_size=5)
runs = st.lists(st.tuples(rows, st.sampled_from([1, 2, 5]), st.sampled_from(["closed", "killed"])), max_size=4)


@settings(max_examples=settings.default.max_examples // 2)
@given(runs=runs, allow=st.booleans())
def test_no_call_is_handed_out_more_often_than_it_was_asked_for(runs, allow):
    """Over any runs, orders, crashes and fates: what may have been made is never handed out to be sent again."""
    _live_through(runs, allow)


@pytest.mark.long
@pytest.mark.timeout(300)
@settings(max_examples=20 * settings.default.max_examples)
@given(runs=runs, allow=st.booleans())
def test_no_call_is_handed_out_more_often_over_many_runs(runs, allow):
    """The same over forty times as many of them."""
    _live_through(runs, allow)


def _live_through(runs, allow):
    made = Counter()  # how often each request may have been made: the truth, kept apart from the journal
    with tempfile.TemporaryDirectory() as folder:
        for input_, block, end in runs:
            file = JournalFile(Path(folder, "run.journal"), HEADER, amended=True)
            asked, sendable, before = Counter(), Counter(), made.copy()
            for start in range(0, len(input_), block):
                taken = input_[start : start + block]
                recalled = file.recall([entry(text) for text, _ in taken])
                for (text, fate), row in zip(taken, recalled, strict=True):
                    asked[text] += 1
                    if row.status in ("succeeded", "unknown"):
                        continue
                    if row.duplicate_of is not None and not allow:
                        file.apply([change(row.id, "skipped")])
                        continue
                    sendable[text] += 1
                    made[text] += _meet(file, row.id, fate)
            if end == "closed":
                file.close()
            else:  # as the kernel does it: what was not committed is gone, the lock is free
                file.db.close()
                file._lock.close()
            for text, count in sendable.items():
                assert count <= max(0, asked[text] - before[text])
            if not allow:
                assert made["a.1"] + made["a.2"] <= 1
                assert made["b.1"] <= 1


def _meet(file, row, fate):
    """Let a row meet its fate, and return whether its call may have been made."""
    if fate == "left":
        return False
    file.apply([change(row, "sent")])
    if fate == "taken back":
        file.apply([change(row, "planned")])
    elif fate in ("succeeded", "failed", "unknown"):
        file.apply([change(row, fate)])
    return fate not in ("taken back", "failed")


async def test_a_journal_says_how_far_it_is_behind():
    """What waits for a commit and what is in one is pending, for no longer than it can be; written, it is nothing."""
    loop, commits = asyncio.get_running_loop(), []

    class Held(Commits):
        def _apply(self, changes):
            commits.append(loop.create_future())
            return commits[-1]

    journal = Held("held", lambda outcomes: None, linger=60.0)
    assert journal.lag() == JournalLag()
    began = loop.time()
    journal.planned(1)
    journal.planned(2)
    lag = journal.lag()
    assert lag.pending == 2
    assert 0 <= lag.seconds <= loop.time() - began
    marked = asyncio.ensure_future(journal.sent(3))
    await asyncio.sleep(0)
    journal.planned(4)
    lag = journal.lag()
    assert lag.pending == 4
    assert 0 < lag.seconds <= loop.time() - began
    commits[0].set_result(())
    await marked
    assert journal.lag().pending == 1
    ending = asyncio.ensure_future(journal.flush())
    await asyncio.sleep(0)
    commits[1].set_result(())
    await ending
    assert journal.lag() == JournalLag()
