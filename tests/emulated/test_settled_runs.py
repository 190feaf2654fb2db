"""Unknown outcomes settled over real sockets and a real journal; removals in their turn."""

import asyncio
import sqlite3
from collections import Counter
from contextlib import closing
from datetime import UTC, datetime, timedelta

import pytest

from ucontact_async import (
    JournalError,
    RemoveContact,
    RemoveSchedule,
    ReplaceSchedule,
    Respool,
    ScheduledCall,
    ServerProfile,
    SettingsError,
    Status,
    UContact,
)

SCHEDULE = "Dialers/ScheduleDialerCall"
REMOVE = "Dialers/RemoveScheduleDialerCall"
WHEN = datetime(2099, 5, 5, 10)
QUICK = ReplaceSchedule(quarantine=0.1, lateness=0.09, margin=1.0, inclusive=True)


def client_of(emulator, **options):
    return UContact(emulator.url, **{"user": "api", "password": "secret", "timezone": "America/Montevideo", **options})


def call(number, **fields):
    return ScheduledCall(**{"campaign": "Ventas->", "destination": f"09{number:07d}", "calldate": WHEN, **fields})


def removal(number, at=WHEN):
    return RemoveSchedule(campaign="Ventas->", destination=f"09{number:07d}", since=at, until=at)


def rule(fault, endpoint=SCHEDULE, **extra):
    return {"endpoint": endpoint, "fault": fault, **extra}


def scheduled(emulator):
    return Counter(row.destination for row in emulator.state.schedule)


def rows_of(journal):
    with closing(sqlite3.connect(f"file:{journal}?mode=ro", uri=True)) as db:
        return db.execute("SELECT status, reason FROM rows ORDER BY id").fetchall()


@pytest.fixture
def journal(tmp_path):
    return tmp_path / "run.db"


@pytest.mark.parametrize("fault", ["close_before_read", "reset_after_apply", "late_apply", "body", "status"])
async def test_a_lost_call_is_settled(emulator, journal, fault):
    """Whether the lost call was applied, was not or is applied late: in the end it is on the schedule once."""
    emulator.set_faults({"rules": [rule(fault, count=3, after=2, seconds=0.05 if fault == "late_apply" else 0)]})
    async with client_of(emulator) as uc:
        report = await uc.bulk((call(n) for n in range(10)), journal=journal, on_unknown=QUICK)
    assert (report.succeeded, report.settled, report.unknown, report.rows) == (10, 3, 0, 10)
    assert report.complete
    assert scheduled(emulator) == {f"09{n:07d}": 1 for n in range(10)}
    assert rows_of(journal) == [("succeeded", "")] * 10
    # Exactly that campaign, destination and second was removed, and nothing else.
    removed = [entry.fields for entry in emulator.ledger.of(REMOVE)]
    assert len(removed) == 3
    assert {(fields["from"], fields["to"]) for fields in removed} == {("2099-05-05 10:00:00",) * 2}


async def test_every_answer_of_the_settling_is_lost_once(emulator, journal):
    """A removal or an insert of which nobody knows either is settled again, after another quarantine."""
    faults = [rule("close_after_apply", count=2), rule("late_apply", REMOVE, count=1, seconds=0.05)]
    emulator.set_faults({"rules": faults})
    async with client_of(emulator) as uc:
        report = await uc.bulk([call(1)], journal=journal, on_unknown=QUICK)
        await asyncio.sleep(0.1)
    assert (report.succeeded, report.settled) == (1, 1)
    assert scheduled(emulator) == {"090000001": 1}
    # Insert lost; removal lost; removal, insert lost; removal, insert.
    assert len(emulator.ledger.of(SCHEDULE)) == 3
    assert len(emulator.ledger.of(REMOVE)) == 3


async def test_an_earlier_run_is_settled(emulator, journal):
    """What a run without settling left unknown is settled by the same command with it."""
    emulator.set_faults({"rules": [rule("close_after_apply", count=2)]})
    async with client_of(emulator) as uc:
        report = await uc.bulk([call(1), call(2), call(3)], journal=journal, max_concurrency=1)
        assert report.unknown == 2
        report = await uc.bulk([call(1), call(2), call(3)], journal=journal, on_unknown=QUICK)
    assert (report.succeeded, report.settled, report.skipped) == (2, 2, 1)
    assert scheduled(emulator) == {f"09{n:07d}": 1 for n in (1, 2, 3)}


async def test_what_cannot_be_settled_stays_unknown(emulator, journal):
    """A call that is too near, a respool and a removal that is refused stay unknown, each with its reason."""
    near = datetime.now(UTC) + timedelta(seconds=30)
    respool = Respool(campaign="Ventas->", destination="090000009", dialerbase="base", contact=1)
    faults = [
        rule("close_after_apply", count=2),
        rule("close_after_apply", "Dialers/Respool"),
        rule("body", REMOVE, body="0"),
    ]
    emulator.set_faults({"rules": faults})
    policy = ReplaceSchedule(quarantine=0.2, lateness=0.1, margin=60, inclusive=True)
    async with client_of(emulator) as uc:
        report = await uc.bulk([call(1, calldate=near), call(2), respool], journal=journal, on_unknown=policy)
    why = {outcome.index: outcome.detail for outcome in report.problems}
    assert report.unknown == 3
    assert "too near" in why[0]
    assert "its removal was refused" in why[1]
    assert "only scheduled calls" in why[2]
    assert scheduled(emulator) == {"090000001": 1, "090000002": 1}


async def test_a_server_that_refuses_to_remove_nothing(emulator, journal):
    """Where the profile says that 0 means nothing was there, the insert follows a refused removal."""
    emulator.set_faults({"rules": [rule("close_before_read", count=1), rule("body", REMOVE, body="0")]})
    profile = ServerProfile(removes_one_second=True, refuses_empty_removal=True)
    async with client_of(emulator, profile=profile) as uc:
        policy = ReplaceSchedule(quarantine=0.2, lateness=0.1)
        report = await uc.bulk([call(1)], journal=journal, on_unknown=policy)
    assert (report.settled, scheduled(emulator)) == (1, {"090000001": 1})


async def test_a_run_that_is_stopped_leaves_it_to_the_next(emulator, journal):
    """A stop during the quarantine leaves the row unknown at once, and the same command settles it."""
    emulator.set_faults({"rules": [rule("close_after_apply", count=1)]})
    async with client_of(emulator) as uc:
        slow = ReplaceSchedule(quarantine=60, lateness=0.1, inclusive=True)
        async with uc.stream([call(1), call(2)], journal=journal, on_unknown=slow, max_concurrency=1) as outcomes:
            seen = []
            async for outcome in outcomes:
                seen.append(outcome)
                outcomes.stop("enough")
        assert [(outcome.status, outcome.index) for outcome in seen] == [(Status.SUCCEEDED, 1), (Status.UNKNOWN, 0)]
        assert "the same command again settles it" in seen[1].detail
        assert rows_of(journal)[0] == ("unknown", "ReplyLost")
        report = await uc.bulk([call(1), call(2)], journal=journal, on_unknown=QUICK)
    assert report.settled == 1
    assert scheduled(emulator) == {"090000001": 1, "090000002": 1}


@pytest.mark.parametrize("step", ["removing", "inserting"])
async def test_a_crash_in_a_step_of_the_settling(emulator, journal, step):
    """A row that a dead run left in a step is unknown from the moment that finds it, and settled from the start."""
    emulator.set_faults({"rules": [rule("close_after_apply", count=1)]})
    async with client_of(emulator) as uc:
        await uc.bulk([call(1)], journal=journal)
        with closing(sqlite3.connect(journal)) as db, db:
            db.execute("UPDATE rows SET status = 'sent', reason = ?, at = 0", (step,))
        held = await uc.bulk([call(1)], journal=journal)
        assert (held.unknown, held.problems[0].reason) == (1, step)
        with closing(sqlite3.connect(journal)) as db, db:
            ((at,),) = db.execute("SELECT at FROM rows").fetchall()
        assert at > 0
        emulator.set_faults(None)
        report = await uc.bulk([call(1)], journal=journal, on_unknown=QUICK)
    assert report.settled == 1
    assert scheduled(emulator) == {"090000001": 1}


@pytest.mark.parametrize("endpoint", [REMOVE, SCHEDULE])
@pytest.mark.parametrize("fault", ["close_after_apply", None])
async def test_a_run_that_is_stopped_in_a_step(emulator, journal, endpoint, fault):
    """What is on the wire may end; whatever it is answered, the row is counted, and the next run makes it certain."""
    slow = rule("latency", endpoint, seconds=0.1, after=int(endpoint == SCHEDULE))
    rules = [slow, rule("close_after_apply", count=1)]
    emulator.set_faults({"rules": [*rules, rule(fault, endpoint)] if fault else rules})
    async with client_of(emulator) as uc:
        async with uc.stream([call(1)], journal=journal, on_unknown=QUICK) as outcomes:
            while emulator.ledger.requests[endpoint] <= int(endpoint == SCHEDULE):
                await asyncio.sleep(0.01)
            outcomes.stop("enough")
            [outcome] = [outcome async for outcome in outcomes]
        assert outcomes.report.rows == 1
        if fault:
            assert outcome.status is Status.UNKNOWN
        elif endpoint == REMOVE:
            assert (outcome.reason, rows_of(journal)) == ("stopped", [("planned", "")])
        else:
            assert outcome.status is Status.SUCCEEDED
        emulator.set_faults(None)
        report = await uc.bulk([call(1)], journal=journal, on_unknown=QUICK)
    assert report.complete
    assert scheduled(emulator) == {"090000001": 1}


async def test_settling_keeps_to_the_concurrency(emulator, journal):
    """Rows that waited go beside the others, and all together are no more than were asked for."""
    rules = [rule("close_after_apply", count=6), rule("latency", "Dialers/*", seconds=0.02)]
    emulator.set_faults({"rules": rules})
    async with client_of(emulator) as uc:
        report = await uc.bulk((call(n) for n in range(30)), journal=journal, on_unknown=QUICK, max_concurrency=2)
    assert (report.succeeded, report.settled) == (30, 6)
    assert emulator.ledger.max_in_flight == 2


async def test_twins_are_never_settled(emulator, journal):
    """Where another row is the same call, a removal would take that off too: the row stays unknown."""
    emulator.set_faults({"rules": [rule("close_after_apply", count=1)]})
    async with client_of(emulator) as uc:
        twins = [call(1), call(1)]
        await uc.bulk(twins, journal=journal, on_duplicate="allow", max_concurrency=1)
        report = await uc.bulk(twins, journal=journal, on_unknown=QUICK)
    assert (report.unknown, report.skipped) == (1, 1)
    assert scheduled(emulator) == {"090000001": 2}


@pytest.mark.parametrize(
    ("policy", "options", "word"),
    [
        (ReplaceSchedule(), {}, "probe"),
        (ReplaceSchedule(quarantine=10, inclusive=True), {}, "lateness of 300 s"),
        (QUICK, {"journal": None}, "journal"),
        (QUICK, {"on_duplicate": "allow"}, "on_duplicate"),
        (QUICK, {"ordered": True}, "order"),
        ("retry", {}, "ReplaceSchedule"),
    ],
)
async def test_settling_is_refused_where_it_would_do_harm(emulator, journal, policy, options, word):
    """Conditions that do not hold are told before anything is sent."""
    async with client_of(emulator) as uc:
        with pytest.raises(SettingsError, match=word):
            await uc.bulk([call(1)], **{"journal": journal, "on_unknown": policy, **options})
    assert not emulator.ledger.requests


def test_conditions_that_contradict_each_other():
    """A quarantine that is not longer than the lateness is refused as soon as both are said."""
    with pytest.raises(SettingsError, match="not longer"):
        ReplaceSchedule(quarantine=31, lateness=31)
    with pytest.raises(SettingsError, match="0 or more"):
        ReplaceSchedule(margin=-1)
    assert ReplaceSchedule(lateness=900, inclusive=True).under(ServerProfile()).quarantine == 1800


async def test_removals_keep_their_place(emulator, journal):
    """Calls and removals of one destination happen in the order of the input, however many go at once."""
    emulator.set_faults({"rules": [rule("latency", match={"data": ""}, seconds=0.1)]})
    requests = [request for n in range(8) for request in (call(n), removal(n), call(n, data={"v": "2"}))]
    async with client_of(emulator) as uc:
        report = await uc.bulk(requests, journal=journal, max_concurrency=24, on_duplicate="allow")
    assert report.succeeded == 24
    assert scheduled(emulator) == {f"09{n:07d}": 1 for n in range(8)}
    assert {row.data for row in emulator.state.schedule} == {"v=2"}


async def test_an_insert_waits_for_a_removal_that_may_come_late(emulator, journal):
    """After a removal whose answer was lost nothing is inserted for its destination until it cannot come any more."""
    emulator.set_faults({"rules": [rule("late_apply", REMOVE, count=1, seconds=0.05)]})
    later = [call(1, calldate=WHEN, data={"v": "2"}), call(2)]
    async with client_of(emulator) as uc:
        report = await uc.bulk([removal(1), *later], journal=journal, on_unknown=QUICK)
        await asyncio.sleep(0.1)
    assert report.succeeded == 3
    assert scheduled(emulator) == {"090000001": 1, "090000002": 1}


async def test_what_waited_too_long_is_not_sent(emulator, journal):
    """An insert whose date passes while it waits for a removal is left out; a lost one after not_after stays so."""
    emulator.set_faults({"rules": [rule("late_apply", REMOVE, seconds=0.05, match={"destination": "090000001"})]})
    soon = datetime.now(UTC) + timedelta(seconds=0.4)
    policy = ReplaceSchedule(quarantine=0.6, lateness=0.1, inclusive=True)
    async with client_of(emulator) as uc:
        report = await uc.bulk([removal(1), call(1, calldate=soon)], journal=journal, on_unknown=policy)
        assert report.reasons["skipped", "late"] == 1
        emulator.set_faults({"rules": [rule("close_after_apply")]})
        # Nothing until the call was sent; then a moment that has passed.
        passed = datetime.now(UTC)
        limit = lambda _: passed if scheduled(emulator) else None  # noqa: E731
        report = await uc.bulk([call(2)], journal=journal, on_unknown=QUICK, not_after=limit)
    assert "not to be sent after" in report.problems[0].detail
    assert scheduled(emulator) == {"090000002": 1}


@pytest.mark.parametrize("repeated", [True, False])
async def test_the_next_run_waits_for_it_too(emulator, journal, repeated):
    """A removal that an earlier run lost, also one that it repeated well, holds the inserts of the next run."""
    count = 1 if repeated else 3
    emulator.set_faults({"rules": [rule("late_apply", REMOVE, count=count, seconds=0.05)]})
    async with client_of(emulator) as uc:
        first = await uc.bulk([removal(1)], journal=journal, on_unknown=QUICK)
        assert (first.succeeded, first.unknown) == ((1, 0) if repeated else (0, 1))
        emulator.set_faults(None)
        report = await uc.bulk([removal(1), call(1)], journal=journal, on_unknown=QUICK)
        await asyncio.sleep(0.1)
    assert report.complete
    assert scheduled(emulator) == {"090000001": 1}


@pytest.mark.parametrize(
    ("fault", "status"),
    [(rule("close_after_apply", REMOVE), "unknown"), (rule("body", REMOVE, body="0"), "failed")],
)
async def test_a_removal_that_was_overtaken_is_not_sent_again(emulator, journal, fault, status):
    """A removal that was not done in its turn would take off what was inserted for its number since."""
    emulator.set_faults({"rules": [{**fault, "match": {"destination": "090000001"}}]})
    rows = [removal(1), call(1), removal(2)]
    async with client_of(emulator) as uc:
        first = await uc.bulk(rows, journal=journal, on_unknown=QUICK)
        assert (getattr(first, status), first.succeeded) == (1, 2)
        emulator.set_faults(None)
        removed = len(emulator.ledger.of(REMOVE))
        report = await uc.bulk(rows, journal=journal, on_unknown=QUICK, retry_refused=True)
    assert getattr(report, status) == 1
    assert "a later call of its number" in report.problems[0].detail
    assert len(emulator.ledger.of(REMOVE)) == removed
    assert scheduled(emulator) == {"090000001": 1}


async def test_a_call_that_a_removal_overtook_is_not_settled(emulator, journal):
    """An unknown call whose number was removed since is not put back."""
    emulator.set_faults({"rules": [rule("close_after_apply", count=1)]})
    async with client_of(emulator) as uc:
        await uc.bulk([call(1), removal(1)], journal=journal)
        report = await uc.bulk([call(1), removal(1)], journal=journal, on_unknown=QUICK)
    assert (report.unknown, report.skipped) == (1, 1)
    assert emulator.state.schedule == []


async def test_a_call_that_failed_and_was_overtaken_is_not_sent_again(emulator, journal):
    """A call that was refused before its number was removed would come back if it were sent now."""
    emulator.set_faults({"rules": [rule("body", body="0", count=1)]})
    rows = [call(1), removal(1), call(2)]
    async with client_of(emulator) as uc:
        first = await uc.bulk(rows, journal=journal)
        assert (first.failed, first.succeeded) == (1, 2)
        report = await uc.bulk(rows, journal=journal, retry_refused=True)
    assert (report.failed, report.skipped) == (1, 2)
    assert "the call would come back" in report.problems[0].detail
    assert scheduled(emulator) == {"090000002": 1}


async def test_what_may_have_happened_is_not_called_failed_later(emulator, journal):
    """A removal that an earlier run lost stays unknown when the next one is refused it."""
    emulator.set_faults({"rules": [rule("close_after_apply", REMOVE, count=3)]})
    async with client_of(emulator) as uc:
        await uc.bulk([removal(1)], journal=journal)
        emulator.set_faults({"rules": [rule("status", REMOVE, status=404)]})
        report = await uc.bulk([removal(1)], journal=journal)
    assert (report.unknown, report.failed) == (1, 0)
    assert rows_of(journal) == [("unknown", "NotFound")]


async def test_a_journal_whose_removals_cannot_be_read(emulator, journal):
    """Nothing is sent by it, and it is let go of."""
    emulator.set_faults({"rules": [rule("close_after_apply", REMOVE)]})
    async with client_of(emulator) as uc:
        await uc.bulk([removal(1)], journal=journal)
        for text, error in (("{", "cannot be read"), ('{"campaign":1}', "cannot be read")):
            with closing(sqlite3.connect(journal)) as db, db:
                db.execute("UPDATE requests SET request = ?", (text,))
            with pytest.raises(JournalError, match=error):
                await uc.bulk([call(1)], journal=journal)
    assert emulator.state.schedule == []


async def test_removals_are_marked_before_they_leave(emulator, journal):
    """A removal on its way is in the journal, so that a crash leaves it in doubt and not forgotten."""
    emulator.set_faults({"rules": [rule("hang_before_apply", "Dialers/RemoveContact")]})
    contact = RemoveContact(campaign="Ventas->", destination="090000001")
    async with client_of(emulator) as uc, uc.stream([contact], journal=journal) as outcomes:
        while not emulator.ledger.requests["Dialers/RemoveContact"]:
            await asyncio.sleep(0.01)
        assert rows_of(journal) == [("sent", "")]
        outcomes.abort()
    assert rows_of(journal) == [("unknown", "ReplyLost")]
