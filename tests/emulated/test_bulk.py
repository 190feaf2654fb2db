import asyncio
import gc
import re
import sqlite3
import time
import weakref
from collections import Counter
from contextlib import closing
from datetime import UTC, datetime, timedelta

import anyio
import pytest
from older_journals import make_older

from ucontact_async import (
    BulkError,
    JournalBusy,
    JournalMismatch,
    RemoveContact,
    ReplyLost,
    ScheduledCall,
    SettingsError,
    Status,
    UContact,
    open_journal,
)
from ucontact_async.api.session import GetUserToken
from ucontact_async.batch.options import BulkOptions
from ucontact_async.limiter import Limiter

each_lane = pytest.mark.parametrize("lane", ["command", "session"])

SCHEDULE = "Dialers/ScheduleDialerCall"
WHEN = datetime(2099, 5, 5, 10)


def client_of(emulator, **options):
    return UContact(emulator.url, **{"user": "api", "password": "secret", "timezone": "America/Montevideo", **options})


def call(number, **fields):
    return ScheduledCall(**{"campaign": "Ventas->", "destination": f"09{number:07d}", "calldate": WHEN, **fields})


def calls(count, start=0):
    return (call(number) for number in range(start, start + count))


def rule(fault, **extra):
    return {"rules": [{"endpoint": SCHEDULE, "fault": fault, **extra}]}


def applied(emulator):
    return Counter(entry.fields["destination"] for entry in emulator.ledger.of(SCHEDULE))


def states(journal):
    with closing(sqlite3.connect(f"file:{journal}?mode=ro", uri=True)) as db:
        return Counter(status for (status,) in db.execute("SELECT status FROM rows"))


@pytest.fixture
def journal(tmp_path):
    return tmp_path / "run.db"


@each_lane
async def test_every_row_is_applied_once_and_counted_once(emulator, journal, lane):
    """A bulk run of distinct calls succeeds for each, and the server has each once."""
    async with client_of(emulator, lane=lane) as uc:
        report = await uc.bulk(calls(1000), journal=journal, max_concurrency=32)
    assert (report.rows, report.succeeded) == (1000, 1000)
    assert report.raise_for_status() is report
    assert applied(emulator) == Counter({f"09{n:07d}": 1 for n in range(1000)})
    assert emulator.ledger.max_in_flight <= 32
    assert states(journal) == {"succeeded": 1000}


async def test_the_same_journal_again_resumes(emulator, journal):
    """A second run with the same journal sends nothing that the first one did."""
    async with client_of(emulator) as uc:
        await uc.bulk(calls(300), journal=journal)
        report = await uc.bulk(calls(500), journal=journal)
    assert (report.succeeded, report.skipped, report.reasons) == (200, 300, {("skipped", "done before"): 300})
    assert report.complete
    assert max(applied(emulator).values()) == 1


async def test_outcomes_come_as_rows_complete(emulator, journal):
    """A stream yields each row once, with its request, index, key and attempts."""
    seen = {}
    async with client_of(emulator) as uc, uc.stream(calls(100), journal=journal) as outcomes:
        async for outcome in outcomes:
            assert outcome.status is Status.SUCCEEDED
            assert outcome.request == call(outcome.index)
            assert outcome.attempts == 1
            seen[outcome.key] = outcome.index
    assert sorted(seen.values()) == list(range(100))


async def test_outcomes_in_the_order_of_the_input(emulator):
    """ordered=True yields outcomes by index, however long each row takes and whatever is skipped between."""
    emulator.set_faults(rule("latency", seconds=0.02, probability=0.2))
    mixed = [call(n) if n % 7 else call(n, campaign="no arrow") for n in range(700)]
    async with client_of(emulator) as uc, uc.stream(mixed, ordered=True, max_concurrency=32) as outcomes:
        indexes = [outcome.index async for outcome in outcomes]
    assert indexes == list(range(700))


@pytest.mark.parametrize(
    ("on_duplicate", "sent", "complete"), [("refuse", 3, False), ("skip", 3, True), ("allow", 5, True)]
)
@pytest.mark.parametrize("journaled", [True, False], ids=["journal", "no journal"])
async def test_two_rows_that_are_the_same_call(emulator, journal, on_duplicate, sent, complete, journaled):
    """The second of two equal calls is left out unless it is allowed, also when its form data differs."""
    rows = [call(1), call(2), call(1), call(3), call(2, data={"id": "7"})]
    async with client_of(emulator) as uc:
        report = await uc.bulk(rows, journal=journal if journaled else None, on_duplicate=on_duplicate)
    assert (report.succeeded, report.skipped, report.complete) == (sent, 5 - sent, complete)
    assert len(emulator.ledger.of(SCHEDULE)) == sent
    if on_duplicate != "allow":
        assert sorted(problem.detail for problem in report.problems) == (
            [] if complete else ["duplicate of request 0: the same call", "duplicate of request 1: the same call"]
        )


async def test_duplicates_stay_left_out_on_resume(emulator, journal):
    """A run repeated on its journal sends neither the first nor the second of two equal rows again."""
    rows = [call(1), call(1), call(2)]
    async with client_of(emulator) as uc:
        await uc.bulk(rows, journal=journal)
        report = await uc.bulk(rows, journal=journal)
        assert report.reasons == {("skipped", "done before"): 2, ("skipped", "duplicate"): 1}
        report = await uc.bulk(rows, journal=journal, on_duplicate="allow")
        assert report.succeeded == 1
    assert applied(emulator) == {"090000001": 2, "090000002": 1}


@pytest.mark.parametrize("version", [1, 2])
async def test_a_journal_of_an_earlier_version_resumes(emulator, journal, version):
    """With a journal of an older format nothing is sent twice, what is unknown is held, doubles are found."""
    emulator.set_faults(rule("close_after_apply", count=3))
    async with client_of(emulator) as uc:
        assert (await uc.bulk(calls(50), journal=journal)).unknown == 3
        make_older(journal, version)
        rows = [*calls(70), *(call(number, data={"id": "7"}) for number in (60, 10))]
        report = await uc.bulk(rows, journal=journal)
        assert (report.succeeded, report.unknown) == (20, 3)
        assert report.reasons[("skipped", "done before")] == 47
        assert report.reasons[("skipped", "duplicate")] == 2
        report = await uc.bulk(rows, journal=journal)
    assert (report.succeeded, report.unknown) == (0, 3)
    assert applied(emulator) == Counter({f"09{n:07d}": 1 for n in range(70)})


@each_lane
async def test_unknown_rows_are_held_for_ever(emulator, journal, lane):
    """What was lost after it was sent is unknown in its run and in every later one, and never sent again."""
    emulator.set_faults(rule("close_after_apply", count=3))
    async with client_of(emulator, lane=lane) as uc:
        report = await uc.bulk(calls(50), journal=journal)
        assert (report.succeeded, report.unknown) == (47, 3)
        with pytest.raises(BulkError) as raised:
            report.raise_for_status()
        assert raised.value.report is report
        report = await uc.bulk(calls(50), journal=journal)
        assert (report.skipped, report.unknown) == (47, 3)
        assert all(problem.earlier for problem in report.problems)
    assert emulator.ledger.requests[SCHEDULE] == 50


async def test_what_was_refused_is_sent_again_only_when_asked(emulator, journal):
    """A row that the server refused stays failed on resume, unless retry_refused is said."""
    emulator.set_faults(rule("body", body="0", count=5))
    async with client_of(emulator) as uc:
        report = await uc.bulk(calls(20), journal=journal)
        assert report.reasons == {("failed", "Rejected"): 5}
        report = await uc.bulk(calls(20), journal=journal)
        assert report.reasons == {("failed", "Rejected"): 5, ("skipped", "done before"): 15}
        report = await uc.bulk(calls(20), journal=journal, retry_refused=True)
        assert report.succeeded == 5
    assert set(applied(emulator).values()) == {1}


async def test_a_bad_row_stops_nothing(emulator):
    """Rows that break a rule are skipped with the field named, all others are sent."""
    rows = [call(1), call(2, campaign="Ventas"), call(3), call(4, data={"a": "x:y"}), call(5)]
    async with client_of(emulator) as uc:
        report = await uc.bulk(rows)
    assert (report.succeeded, report.skipped) == (3, 2)
    assert {problem.error.field for problem in report.problems} == {"campaign", "data.a"}


async def test_too_many_unknown_outcomes_stop_the_run(emulator, journal):
    """The fuse: more unknown outcomes than allowed stop the run, and at most those on the wire follow."""
    emulator.set_faults(rule("close_after_apply"))
    async with client_of(emulator) as uc:
        report = await uc.bulk(calls(1000), journal=journal, max_unknown=5, max_concurrency=8)
    assert 6 <= report.unknown <= 5 + 8
    assert "unknown" in report.stopped
    assert report.rows == report.unknown + report.skipped + report.succeeded + report.failed
    assert len(emulator.ledger.of(SCHEDULE)) == report.unknown


async def test_a_jump_of_unknown_outcomes_stops_the_run(emulator):
    """Where calls that succeeded came before, ten unknown ones in a hundred are enough: what went well counts too."""
    emulator.set_faults(rule("close_after_apply", after=300))
    async with client_of(emulator) as uc:
        report = await uc.bulk(calls(1000), max_unknown=500, max_concurrency=4)
    assert 10 <= report.unknown <= 10 + 4
    assert report.stopped == "unknown outcomes jumped to 10 of the last 100 rows, from 0.0% before (max_unknown_jump)"


@pytest.mark.parametrize(("limit", "at_least", "at_most"), [(10, 11, 18), ("5%", 6, 60)])
async def test_too_many_failures_stop_the_run(emulator, limit, at_least, at_most):
    """max_failures stops a run by number or by share; a share is taken of a hundred rows at least."""
    emulator.set_faults(rule("body", body="0", probability=0.5))
    async with client_of(emulator) as uc:
        report = await uc.bulk(calls(1000), max_failures=limit, max_concurrency=8)
    assert at_least <= report.failed <= at_most
    assert "max_failures" in report.stopped


async def test_earlier_unknowns_do_not_trip_the_fuse(emulator, journal):
    """Unknown rows of an earlier run are reported again but are not held against this one."""
    emulator.set_faults(rule("close_after_apply", count=10))
    async with client_of(emulator) as uc:
        await uc.bulk(calls(40), journal=journal, max_unknown=None)
        report = await uc.bulk(calls(100), journal=journal, max_unknown=0)
    assert (report.unknown, report.stopped) == (10, None)


async def test_a_consumer_that_stops_reading_stops_the_input(emulator):
    """The input is pulled no further than a bounded distance ahead of the consumer."""
    pulled = 0

    def source():
        nonlocal pulled
        for request in calls(100_000):
            pulled += 1
            yield request

    async with client_of(emulator) as uc, uc.stream(source(), max_concurrency=8) as outcomes:
        async for _ in outcomes:
            break
        for _ in range(100):
            await asyncio.sleep(0.01)
            before = pulled
        assert pulled == before < 1500


async def test_a_slow_live_source_is_sent_at_once(emulator):
    """An async source that waits for its next item does not hold back the ones it has given."""
    more = asyncio.Event()

    async def source():
        yield call(1)
        yield call(2)
        await more.wait()
        yield call(3)

    seen = []
    async with client_of(emulator) as uc, uc.stream(source()) as outcomes:
        async for outcome in outcomes:
            seen.append(outcome.index)
            if len(seen) == 2:
                more.set()
    assert seen == [0, 1, 2]


async def test_a_source_that_fails_does_not_lose_what_is_on_the_wire(emulator, journal):
    """When the input raises, the calls on the wire end, are settled, and the error reaches the consumer."""
    emulator.set_faults(rule("latency", seconds=0.05))

    def source():
        yield from calls(300)
        raise LookupError("the file is gone")

    async with client_of(emulator) as uc:
        with pytest.raises(LookupError, match="the file is gone"):
            await uc.bulk(source(), journal=journal, max_concurrency=16)
    assert states(journal)["sent"] == states(journal)["unknown"] == 0
    assert states(journal)["succeeded"] == len(emulator.ledger.of(SCHEDULE)) > 0


async def test_something_that_is_no_request_is_named(emulator):
    """An item that is no request raises a TypeError that says which one."""
    async with client_of(emulator) as uc:
        with pytest.raises(TypeError, match="item 1 .* str"):
            await uc.bulk([call(1), "099"])


@pytest.mark.parametrize("native", [True, False], ids=["task.cancel", "anyio scope"])
@each_lane
async def test_a_cancelled_run_lets_calls_on_the_wire_end(emulator, journal, native, lane):
    """Cancelling a run sends nothing more, settles what is on the wire, and a second run completes the rest."""
    emulator.set_faults(rule("latency", seconds=0.1))

    async def when_some_are_done(cancel):
        while not (emulator.ledger.of(SCHEDULE) and emulator.ledger.in_flight):
            await asyncio.sleep(0.005)
        cancel()

    async with client_of(emulator, lane=lane) as uc:
        if native:
            task = asyncio.ensure_future(uc.bulk(calls(500), journal=journal, max_concurrency=20))
            await when_some_are_done(task.cancel)
            with pytest.raises(asyncio.CancelledError):
                await task
        else:
            with anyio.CancelScope() as scope:
                watcher = asyncio.ensure_future(when_some_are_done(scope.cancel))
                await uc.bulk(calls(500), journal=journal, max_concurrency=20)
            await watcher
            assert scope.cancelled_caught
        assert states(journal)["sent"] == states(journal)["unknown"] == 0
        assert 0 < states(journal)["succeeded"] == len(emulator.ledger.of(SCHEDULE)) < 500
        emulator.set_faults(None)
        report = await uc.bulk(calls(500), journal=journal, max_concurrency=20)
    assert (report.unknown, report.failed, report.rows) == (0, 0, 500)
    assert applied(emulator) == Counter({f"09{n:07d}": 1 for n in range(500)})


@each_lane
async def test_a_call_that_outlasts_the_grace_is_unknown(emulator, journal, lane):
    """A stopped run gives up on calls that do not end within the grace, and says unknown of them."""
    emulator.set_faults(rule("hang_after_apply"))
    async with (
        client_of(emulator, lane=lane) as uc,
        uc.stream(calls(100), journal=journal, max_concurrency=4) as outcomes,
    ):
        while len(emulator.ledger) < 4:
            await asyncio.sleep(0.005)
        outcomes.stop("enough")
        outcomes.abort()
        counts = Counter([outcome.status async for outcome in outcomes])
        assert outcomes.report.stopped == "enough"
    assert counts["unknown"] == 4
    assert states(journal)["unknown"] == 4
    assert counts["skipped"] + counts["unknown"] == 100


async def test_leaving_the_block_stops_the_run(emulator, journal):
    """A consumer that leaves early leaves no call unsettled."""
    emulator.set_faults(rule("latency", seconds=0.02))
    async with client_of(emulator) as uc:
        async with uc.stream(calls(1000), journal=journal) as outcomes:
            async for _ in outcomes:
                break
        assert states(journal)["sent"] == 0
        assert states(journal)["succeeded"] == len(emulator.ledger.of(SCHEDULE)) < 1000


@each_lane
async def test_a_row_is_marked_before_its_first_byte(emulator, journal, lane):
    """Whatever the server holds unanswered is marked sent in the journal already."""
    emulator.set_faults(rule("latency", seconds=0.2))
    async with client_of(emulator, lane=lane) as uc:
        task = asyncio.ensure_future(uc.bulk(calls(10), journal=journal, max_concurrency=10))
        while emulator.ledger.in_flight < 10:
            await asyncio.sleep(0.005)
        assert states(journal)["sent"] == 10
        await task


async def test_rows_that_wait_at_the_gate_are_not_marked(emulator, journal):
    """While the server asks to wait, no row counts as sent: a crash then makes nothing unknown."""
    emulator.set_faults(rule("status", status=429, headers={"Retry-After": "1"}, count=1))
    async with client_of(emulator) as uc:
        task = asyncio.ensure_future(uc.bulk(calls(50), journal=journal, max_concurrency=10))
        while not uc.limiter.closed:
            await asyncio.sleep(0.005)
        await asyncio.sleep(0.3)
        assert uc.limiter.closed
        assert states(journal)["sent"] == 0
        report = await task
    assert report.succeeded == 50
    assert set(applied(emulator).values()) == {1}


async def test_a_repeatable_operation_needs_no_mark(emulator, journal):
    """Removals are repeated after a lost answer and resumed as if they had not been sent."""
    emulator.set_faults({"rules": [{"endpoint": "Dialers/*", "fault": "close_after_apply", "count": 3}]})
    rows = [RemoveContact(campaign="Ventas->", destination=f"09{n:07d}") for n in range(20)]
    async with client_of(emulator) as uc:
        report = await uc.bulk(rows, journal=journal)
    assert (report.succeeded, report.unknown) == (20, 0)
    assert emulator.ledger.requests["Dialers/RemoveContact"] == 23


@pytest.mark.parametrize("last", [{"fault": "body", "body": "0"}, {"fault": "status", "status": 403}])
async def test_a_lost_removal_stays_unknown_whatever_its_repetition_is_told(emulator, last):
    """The first try may have been done: a refusal of the second one does not make the row one that surely was not."""
    lost = {"endpoint": "Dialers/*", "fault": "close_after_read", "count": 1}
    emulator.set_faults({"rules": [lost, {"endpoint": "Dialers/*", **last}]})
    removal = RemoveContact(campaign="Ventas->", destination="090000001")
    async with client_of(emulator) as uc:
        with pytest.raises(ReplyLost):
            await uc.send(removal)
        emulator.set_faults({"rules": [lost, {"endpoint": "Dialers/*", **last}]})
        report = await uc.bulk([removal])
    assert (report.unknown, report.failed) == (1, 0)
    assert report.problems[0].attempts == 2


async def test_a_refused_login_stops_the_run(emulator, journal):
    """With a wrong password no row is sent, one login is tried, and the same call resumes later."""
    async with client_of(emulator, password="wrong") as uc:
        report = await uc.bulk(calls(1000), journal=journal)
    assert "login" in report.stopped
    assert report.failed == 1
    assert emulator.ledger.requests["auth/getUserToken"] == 1
    assert not emulator.ledger.requests[SCHEDULE]
    async with client_of(emulator) as uc:
        assert (await uc.bulk(calls(1000), journal=journal)).succeeded == 1000


async def test_a_server_out_of_reach_stops_the_run(emulator, journal):
    """When nothing gets through any more the run stops, nothing is unknown, and the same call resumes."""
    async with UContact("http://127.0.0.1:1", token="x", timezone="UTC") as uc:
        run = uc.run(calls(1000), BulkOptions(journal=journal, max_concurrency=4, patience=1.0))
        async with run:
            async for _ in run:
                pass
        report = run.report
    assert "cannot be reached" in report.stopped
    assert report.unknown == report.succeeded == 0
    assert report.failed + report.skipped == report.rows
    assert states(journal)["sent"] == 0


async def test_a_run_tries_for_itself_a_server_that_was_out_of_reach(tmp_path):
    """What an earlier run of the same client waited for in vain does not count against the next one."""
    ahead = 0.0
    limiter = Limiter(clock=lambda: time.monotonic() + ahead)
    async with UContact("http://127.0.0.1:1", token="x", timezone="UTC", limiter=limiter) as uc:
        for number in range(2):
            options = BulkOptions(journal=tmp_path / f"{number}.journal", max_concurrency=4, patience=1.0)
            run = uc.run(calls(1000), options)
            async with run:
                async for _ in run:
                    pass
            ahead += 1000.0
    waited = re.fullmatch(r"the server cannot be reached since (\d+) s", run.report.stopped)
    assert waited is not None
    assert int(waited[1]) < 1000


async def test_calls_of_the_past_are_late(emulator):
    """A calldate that has passed is skipped as late unless allow_past is said."""
    past = datetime.now(UTC) - timedelta(hours=1)
    rows = [call(1, calldate=past), call(2)]
    async with client_of(emulator) as uc:
        report = await uc.bulk(rows)
        assert report.reasons == {("skipped", "late"): 1}
        report = await uc.bulk(rows, allow_past=True)
        assert report.succeeded == 2


async def test_rows_expire(emulator):
    """not_after keeps a row from being sent after its moment, given once or for each request."""
    now = datetime.now(UTC)
    async with client_of(emulator) as uc:
        report = await uc.bulk(calls(3), not_after=now - timedelta(seconds=1))
        assert report.reasons == {("skipped", "expired"): 3}
        report = await uc.bulk(
            calls(3), not_after=lambda request: None if request.destination.endswith("1") else now - timedelta(1)
        )
        assert (report.succeeded, report.skipped) == (1, 2)


async def test_a_dry_run_sends_nothing_and_writes_nothing(emulator, journal):
    """dry_run checks and compares every row, opens no connection and leaves no journal."""
    async with client_of(emulator) as uc:
        report = await uc.bulk([call(1), call(2), call(1), call(3, campaign="x")], journal=journal, dry_run=True)
    assert report.reasons == {("skipped", "dry run"): 2, ("skipped", "duplicate"): 1, ("skipped", "invalid"): 1}
    assert not emulator.ledger.requests
    assert not journal.exists()


async def test_progress_is_told(emulator):
    """The progress callback gets the growing report once an outcome, and the last look adds up."""
    seen = []
    async with client_of(emulator) as uc:
        report = await uc.bulk(calls(20), progress=lambda report: seen.append(report.rows))
    assert seen == list(range(1, 21))
    assert report.rows == 20


async def test_one_journal_one_run(emulator, journal):
    """A second run on a journal in use is refused before anything is sent."""
    async with client_of(emulator) as uc, uc.stream(calls(10), journal=journal) as outcomes:
        with pytest.raises(JournalBusy):
            await uc.bulk(calls(10), journal=journal)
        assert len([outcome async for outcome in outcomes]) == 10


async def test_a_journal_of_another_server_is_refused(emulator, journal):
    """A journal begun against one server is not taken for another."""
    async with client_of(emulator) as uc:
        await uc.bulk(calls(3), journal=journal)
    async with UContact("http://127.0.0.1:1", token="x", timezone="UTC") as uc:
        with pytest.raises(JournalMismatch, match="server"):
            await uc.bulk(calls(3), journal=journal)


async def test_bad_options_are_refused_at_once(emulator):
    """Options that make no sense raise before anything happens."""
    async with client_of(emulator) as uc:
        for options in (
            {"max_concurrency": 0},
            {"max_failures": "many"},
            {"max_unknown": -1},
            {"on_duplicate": "perhaps"},
            {"max_per_second": 0},
            {"on_unknown": "resend"},
        ):
            with pytest.raises(SettingsError):
                await uc.bulk(calls(1), **options)
    assert not emulator.ledger.requests


async def test_starts_are_paced(emulator):
    """max_per_second keeps starts that far apart from the first row on."""
    began = asyncio.get_running_loop().time()
    async with client_of(emulator) as uc:
        await uc.bulk(calls(21), max_per_second=100)
    assert asyncio.get_running_loop().time() - began >= 0.19


async def test_two_runs_share_one_limiter(emulator):
    """Clients that share a limiter share its bound."""
    limiter = Limiter(5)
    emulator.set_faults(rule("latency", seconds=0.01))
    async with client_of(emulator, limiter=limiter) as one, client_of(emulator, limiter=limiter, user="api") as two:
        one_token = await one.login()
        assert one_token is None
        await asyncio.gather(one.bulk(calls(50), max_concurrency=50), two.bulk(calls(50, 50), max_concurrency=50))
    assert emulator.ledger.max_in_flight <= 5 + 1  # and a login


async def test_a_token_that_dies_in_the_middle(emulator, journal):
    """A session that ends during a run costs one login and no row."""
    async with client_of(emulator) as uc, uc.stream(calls(500), journal=journal, max_concurrency=32) as outcomes:
        count = 0
        async for outcome in outcomes:
            assert outcome.status is Status.SUCCEEDED, outcome
            count += 1
            if count == 200:
                emulator.state.sessions.live.clear()
    assert count == 500
    assert emulator.ledger.logins == 2
    assert set(applied(emulator).values()) == {1}


async def test_stopping_makes_nothing_unknown(emulator, tmp_path):
    """Stopped at any moment, with a server that answers, a run leaves no row sent or unknown, and none sent twice."""
    emulator.set_faults(rule("latency", seconds=0.004))
    for moment in range(40):
        emulator.ledger.clear()
        journal = tmp_path / f"{moment}.db"
        async with client_of(emulator, connection="fresh" if moment % 2 else "keep") as uc:
            await uc.login()
            run = uc.run(calls(300), BulkOptions(journal=journal, max_concurrency=16))
            async with run:
                asyncio.get_running_loop().call_later(0.003 + moment * 0.0007, run.stop, "enough")
                counts = Counter([outcome.status async for outcome in run])
        assert counts["unknown"] == counts["failed"] == 0
        assert states(journal)["sent"] == 0
        assert states(journal)["succeeded"] == counts["succeeded"] == len(emulator.ledger.of(SCHEDULE))
        assert set(applied(emulator).values()) <= {1}


async def test_what_was_taken_back_is_sent_again_only_when_asked(emulator, journal):
    """A row that an undo took back is skipped as undone, unless retry_undone is said; one half undone is unknown."""

    def undo():
        with open_journal(journal) as rows:
            first, second, _ = (row.id for row in rows.made())
            rows.begin_undo([first, second])
            rows.end_undo([first], [])

    async with client_of(emulator) as uc:
        await uc.bulk(calls(3), journal=journal)
        await asyncio.to_thread(undo)
        expected = {("skipped", "undone"): 1, ("unknown", "undoing"): 1, ("skipped", "done before"): 1}
        report = await uc.bulk(calls(3), journal=journal)
        assert (report.reasons, report.complete) == (expected, False)
        report = await uc.bulk(calls(3), journal=journal, retry_undone=True)
        assert (report.succeeded, report.unknown) == (1, 1)
    assert applied(emulator) == {"090000000": 2, "090000001": 1, "090000002": 1}


async def test_a_login_leaves_no_password_in_the_journal(emulator, journal):
    """What a journal keeps of its rows holds no secret: of a request that needs no token nothing is kept."""
    async with client_of(emulator) as uc:
        await uc.bulk([GetUserToken(user="api", password="secret"), call(1)], journal=journal)
    kept = b"".join(found.read_bytes() for found in journal.parent.iterdir())
    assert (b"secret" in kept, b"090000001" in kept) == (False, True)


async def test_what_did_not_succeed_keeps_nothing_of_its_run_alive(emulator, journal):
    """Who holds a report, or lets go of it, leaves no run behind: no error leads back to the frames it came through."""
    rules = [
        {"endpoint": SCHEDULE, "fault": "body", "body": "0", "count": 1},
        *rule("close_after_apply", count=1)["rules"],
    ]
    emulator.set_faults({"rules": rules})
    async with client_of(emulator) as uc:
        run = uc.run([call(1), call(2), call(3, destination="no number")], BulkOptions(journal=journal))
        async with run:
            outcomes = [outcome async for outcome in run]
        gone = weakref.ref(run)
        del run
        gc.collect()
        assert gone() is None
    assert {outcome.status for outcome in outcomes} == {"failed", "unknown", "skipped"}
