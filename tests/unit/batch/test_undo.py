"""Which removal takes which call back, which calls none does, and what an undo marks for which outcome."""

from datetime import UTC, datetime, timedelta
from hashlib import blake2b
from zoneinfo import ZoneInfo

import pytest

from ucontact_async import (
    AgentCall,
    BlockNumber,
    DialerTask,
    HangUp,
    Outcome,
    RemoveContact,
    RemoveSchedule,
    Respool,
    ScheduledCall,
    SettingsError,
    Status,
    open_journal,
)
from ucontact_async.api import ENDPOINTS, endpoint_of
from ucontact_async.batch.journal_file import Change, Header, JournalFile
from ucontact_async.batch.preparing import LeftOut
from ucontact_async.batch.recollection import Entry
from ucontact_async.batch.remedies import _OTHER, remedy_of
from ucontact_async.batch.undo import Undo
from ucontact_async.endpoint import Safety
from ucontact_async.text import Rules

RULES = Rules(ZoneInfo("America/Montevideo"))
NOON = datetime(2027, 3, 1, 12, tzinfo=UTC)  # 09:00 there
WHO = {"campaign": "Ventas->", "destination": "090000001"}
FUTURE = datetime(2027, 3, 1, 9, 0, 1)
OFF_SPOOL = RemoveContact(**WHO)
OFF_SCHEDULE = RemoveSchedule(**WHO, since=FUTURE, until=FUTURE)
AGENT = AgentCall(agent="Ana", phone="1001", destination="090000001", outqueue="Ventas->")


def call(**changes):
    return ScheduledCall(**(WHO | {"calldate": FUTURE} | changes))


@pytest.fixture
def undo_of(tmp_path):
    """Return an undo of a journal in which ``requests`` were made; ``statuses`` are theirs, by default succeeded."""
    opened = []

    def build(*requests, statuses=(), at=NOON, rules=RULES, **options):
        path = tmp_path / f"{len(opened)}.journal"
        file = JournalFile(path, Header("https://acme.example"), amended=False, now=lambda: at)
        entries = []
        for number, request in enumerate(requests):
            prepared = endpoint_of(request).prepare(request, RULES)
            content = blake2b(prepared.body, digest_size=16).digest()
            entries.append(Entry(content, number, number + 2, prepared.path, prepared.document))
        recalled = file.recall(entries)
        states = [*statuses, *["succeeded"] * (len(requests) - len(statuses))]
        file.apply([Change(row.id, state, "", 1, None, None) for row, state in zip(recalled, states, strict=True)])
        file.close()
        opened.append(journal := open_journal(path, now=lambda: NOON))
        return Undo(journal, rules, now=lambda: NOON, **options), journal

    yield build
    for journal in opened:
        journal.close()


def planned(undo):
    """Return what each row becomes: a request, or the reason why it is none."""
    found = []
    for row in undo:
        try:
            found.append(undo.request(row))
        except LeftOut as left:
            found.append(left.reason if left.detail else "no sentence")
    return found


@pytest.mark.parametrize(
    ("request_", "removal"),
    [
        (call(), OFF_SCHEDULE),
        (call(calldate=NOON.replace(second=1, microsecond=999)), OFF_SCHEDULE),
        (call(data={"a": "b"}, alternatives=["1002"], agentphone="1001"), OFF_SCHEDULE),
        (Respool(**WHO, dialerbase="b", contact=5, alternatives=["1002"]), OFF_SPOOL),
        (AGENT, "no removal"),
        (HangUp(phone="1001"), "no removal"),
        (BlockNumber(phone="1001"), "no removal"),
        (OFF_SPOOL, "no removal"),
        (OFF_SCHEDULE, "no removal"),
        (DialerTask.urgent(**WHO), "no removal"),
        (DialerTask.now(**WHO), "no removal"),
        (call(calldate=datetime(2027, 3, 1, 8, 59, 59)), "late"),
    ],
)
def test_what_takes_a_call_back(undo_of, request_, removal):
    """The removal is of the very number, campaign and second; what has none, or a moment that has passed, is left."""
    undo, _ = undo_of(request_)
    assert planned(undo) == [removal]


@pytest.mark.parametrize(
    ("task", "removal"),
    [
        (DialerTask.urgent(**WHO), OFF_SPOOL),
        (DialerTask.for_agent(**WHO, agent="Ana"), OFF_SPOOL),
        (DialerTask.scheduled(**WHO, calldate=FUTURE), OFF_SCHEDULE),
        (DialerTask.now(**WHO), "no removal"),
    ],
)
def test_tasks_only_when_told(undo_of, task, removal):
    """No page says that removals cover tasks, so they are tried only when asked for, and never on a click-to-call."""
    undo, _ = undo_of(task, tasks=True)
    assert planned(undo) == [removal]


def test_a_call_of_the_past_when_told(undo_of):
    """With allow_past the removal of a passed call is made all the same."""
    past = datetime(2027, 3, 1, 8)
    undo, _ = undo_of(call(calldate=past), allow_past=True)
    assert planned(undo) == [RemoveSchedule(**WHO, since=past, until=past)]


def test_dates_need_the_zone(undo_of):
    """Without the server's time zone nobody can say what has passed: a mistake about the whole journal."""
    undo, _ = undo_of(call(), rules=Rules())
    with pytest.raises(SettingsError, match="time zone"):
        list(undo)


def test_every_endpoint_has_a_remedy():
    """Of each call that must not be repeated the table says how it is taken back and where to look."""
    once = [path for path, endpoint in ENDPOINTS.items() if endpoint.safety is Safety.ONCE and endpoint.authenticated]
    assert len(once) > 5
    assert all(remedy_of(path) is not _OTHER for path in once)


def test_only_what_may_be_there_is_looked_at(undo_of):
    """Rows that were never sent, surely failed or were undone before take no part."""
    requests = [call(destination=f"09000000{number}") for number in range(7)]
    states = ["succeeded", "unknown", "sent", "planned", "failed", "skipped", "undone"]
    undo, _ = undo_of(*requests, statuses=states)
    assert [removal.destination for removal in planned(undo)] == ["090000000", "090000001", "090000002"]
    assert undo.counts == {"Dialers/ScheduleDialerCall": 3}


def test_the_mark_comes_first(undo_of):
    """A row is marked as being undone before anything can be sent for it; what is left out is not marked."""
    undo, journal = undo_of(call(), AGENT)
    next(iter(undo))
    assert [row.undoing for row in journal.made()] == [True, False]


def test_a_dry_run_marks_nothing(undo_of):
    """Nothing of the journal is changed by a look at what would be done."""
    undo, journal = undo_of(call(), dry_run=True)
    assert len(planned(undo)) == 1
    undo.note(Outcome(index=0, status=Status.SKIPPED, reason="dry run"))
    undo.flush()
    assert [(row.status, row.undoing) for row in journal.made()] == [("succeeded", False)]


@pytest.mark.parametrize(
    ("outcome", "counts", "undoing"),
    [
        ({"status": Status.SUCCEEDED, "attempts": 1}, {"undone": 1}, []),
        ({"status": Status.SUCCEEDED, "attempts": 3}, {"undone": 1}, []),
        ({"status": Status.FAILED, "attempts": 1}, {"succeeded": 1}, [False]),
        ({"status": Status.FAILED, "attempts": 0}, {"succeeded": 1}, [False]),
        ({"status": Status.FAILED, "attempts": 2}, {"succeeded": 1}, [True]),
        ({"status": Status.UNKNOWN, "attempts": 3}, {"succeeded": 1}, [True]),
        ({"status": Status.SKIPPED, "reason": "stopped"}, {"succeeded": 1}, [True]),
        ({"status": Status.SKIPPED, "reason": "invalid"}, {"succeeded": 1}, [False]),
    ],
)
def test_what_an_outcome_means_for_its_row(undo_of, outcome, counts, undoing):
    """Undone is only what the server said it removed; the mark goes only where the call surely stayed as it was."""
    undo, journal = undo_of(call())
    list(undo)
    undo.note(Outcome(index=0, **outcome))
    undo.flush()
    assert journal.counts() == counts
    assert [row.undoing for row in journal.made()] == undoing


def test_a_failure_now_proves_nothing_of_before(undo_of):
    """A row that an earlier undo began stays marked when its removal fails at once this time."""
    undo, journal = undo_of(call())
    list(undo)
    again = Undo(journal, RULES, now=lambda: NOON)
    list(again)
    again.note(Outcome(index=0, status=Status.FAILED, attempts=1))
    again.flush()
    assert [row.undoing for row in journal.made()] == [True]


@pytest.mark.parametrize(("minutes", "counts", "waiting"), [(9, {"unknown": 1}, 1), (10, {"undone": 1}, 0)])
def test_an_unknown_call_may_still_arrive(undo_of, minutes, counts, waiting):
    """A call whose answer was lost is undone only by a removal after the quarantine; until then it stays unknown."""
    undo, journal = undo_of(call(), statuses=["unknown"], at=NOON - timedelta(minutes=minutes))
    list(undo)
    undo.note(Outcome(index=0, status=Status.SUCCEEDED, attempts=1))
    undo.flush()
    assert (journal.counts(), undo.waiting) == (counts, waiting)
    assert [row.undoing for row in journal.made()] == [True] * waiting


@pytest.mark.parametrize("first", [Status.SUCCEEDED, Status.FAILED])
def test_an_undo_that_is_in_doubt_is_begun_again(undo_of, first):
    """A removal whose answer is taken back leaves its row as one of which an undo was begun and not ended."""
    undo, journal = undo_of(call())
    (row,) = undo
    said = Outcome(index=0, row=row, status=first, attempts=1)
    undo.note(said)
    undo.note(Outcome(index=0, row=row, status=Status.UNKNOWN, attempts=1, amends=said))
    undo.flush()
    assert journal.counts() == {"unknown" if first is Status.SUCCEEDED else "succeeded": 1}
    assert [row.undoing for row in journal.made()] == [True]


def test_marks_are_written_by_the_block(undo_of):
    """What a killed undo forgets is bounded: after 256 outcomes their marks are in the journal."""
    undo, journal = undo_of(*[call(destination=f"0900{number:05d}") for number in range(300)])
    list(undo)
    for index in range(300):
        undo.note(Outcome(index=index, status=Status.SUCCEEDED, attempts=1))
    assert journal.counts() == {"undone": 256, "succeeded": 44}
