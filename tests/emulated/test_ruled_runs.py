"""Rules of the dial in real runs: what they forbid is not sent, is counted, and is asked again by the next run."""

import sqlite3
import sys
from collections import Counter
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

import pytest

from ucontact_async import (
    Cap,
    DialerTask,
    DialRules,
    DoNotCall,
    JournalError,
    RemoveContact,
    ReplaceSchedule,
    ScheduledCall,
    SettingsError,
    UContact,
    Window,
)

sys.path.insert(0, str(Path(__file__).parent))

import paused_runs

TASK = "Dialers/DialerTask"
SCHEDULE = "Dialers/ScheduleDialerCall"
FREE = {"costly": "allow"}


def client_of(emulator):
    return UContact(emulator.url, user="api", password="secret", timezone="America/Montevideo")


def call(number=1, **fields):
    return DialerTask.urgent(campaign="Ventas->", destination=f"09{number:07d}", **fields)


def scheduled(day, number=1):
    calldate = datetime(2099, 5, day, 10)
    return ScheduledCall(campaign="Ventas->", destination=f"09{number:07d}", calldate=calldate)


def called(emulator):
    return Counter(entry.fields["destination"] for entry in emulator.ledger)


def change(journal, statement):
    with closing(sqlite3.connect(journal)) as db, db:
        db.execute(statement)


@pytest.fixture
def journal(tmp_path):
    return tmp_path / "run.db"


@pytest.mark.parametrize(("limit", "faults", "lane"), [("window", "waits", "command"), ("expired", "waits", "session")])
def test_a_run_that_was_paused_sends_nothing_late(limit, faults, lane):
    """Eight hours pass at each look at the clock in turn, also inside waits: no request leaves after it."""
    looks, late, odd = paused_runs.pauses(limit, faults=faults, lane=lane, rows=3)
    assert (late, odd) == (set(), [])
    assert looks > 8


@pytest.mark.skipif(not hasattr(paused_runs.zone_oracle.time, "tzset"), reason="only on systems with tzset")
@pytest.mark.skipif(not Path("/usr/share/zoneinfo").is_dir(), reason="only on systems with a zone database")
def test_rows_of_many_zones_go_only_inside_their_windows():
    """What is really sent is what the C library's clock allows, around a change of clocks."""
    zones = sorted(paused_runs.zoneinfo.available_timezones() - {"localtime", "posixrules"})[::6]
    sent, problems = paused_runs.sent_at([datetime(2027, 3, 28, 0, 30, tzinfo=UTC), paused_runs.NOON], zones)
    assert problems == []
    assert 0 < sent < 2 * len(zones)


async def test_what_a_rule_forbids_is_an_outcome_and_is_asked_again(emulator, journal):
    """A blocked row is skipped with its rule, in report and journal, and goes once the rule allows it."""
    listed = DialRules(do_not_call=(DoNotCall({"090000002"}, name="own list"),), **FREE)
    async with client_of(emulator) as uc:
        report = await uc.bulk([call(1), call(2)], journal=journal, rules=listed)
        assert report.reasons == {("skipped", "blocked: own list"): 1}
        assert not report.complete
        assert "on the list" in report.problems[0].detail
        with closing(sqlite3.connect(journal)) as db:
            assert db.execute("SELECT status, reason FROM rows").fetchall() == [
                ("succeeded", ""),
                ("skipped", "blocked: own list"),
            ]
        report = await uc.bulk([call(1), call(2)], journal=journal)
    assert (report.succeeded, report.skipped) == (1, 1)
    assert called(emulator) == {"090000001": 1, "090000002": 1}


async def test_nobody_logs_in_for_rows_that_are_all_blocked(emulator):
    """Outside of all windows nothing is asked of the server, not even a login."""
    hour = datetime.now(UTC).hour
    other = Window(f"{(hour + 12) % 24:02d}:00", f"{(hour + 12) % 24:02d}:01")
    async with client_of(emulator) as uc:
        report = await uc.bulk([call(1), call(2)], rules=DialRules(windows=(other,), zone="UTC", **FREE))
    assert report.reasons == {("skipped", "blocked: window"): 2}
    assert not emulator.ledger.requests


async def test_a_cap_counts_the_calls_of_the_journal(emulator, journal, tmp_path):
    """Calls of this run, of earlier ones and of other journals count, unknown ones too, refused ones do not."""
    rules = DialRules(caps=(Cap(2, hours=24),), **FREE)
    texts = [call(1, data={"n": str(n)}) for n in range(9)]
    emulator.set_faults(
        {
            "rules": [
                {"endpoint": TASK, "fault": "body", "body": "0", "count": 1},
                {"endpoint": TASK, "fault": "close_after_apply", "count": 1},
            ]
        }
    )
    async with client_of(emulator) as uc:
        options = {"journal": journal, "rules": rules, "on_duplicate": "allow", "max_unknown_jump": None}
        first = await uc.bulk(texts[:4], max_concurrency=1, **options)
        assert (first.failed, first.unknown, first.succeeded) == (1, 1, 1)
        assert first.reasons["skipped", "blocked: cap"] == 1
        second = await uc.bulk(texts, max_concurrency=4, **options)
        assert (second.failed, second.unknown, second.succeeded) == (1, 1, 0)
        assert second.reasons["skipped", "blocked: cap"] == 6
        change(journal, "UPDATE rows SET status = 'sent' WHERE status = 'succeeded'")  # as in a run that goes on
        other = DialRules(caps=(Cap(2, hours=24),), journals=(journal,), **FREE)
        third = await uc.bulk([call(1), call(2)], journal=tmp_path / "other.db", rules=other)
    assert (third.succeeded, third.reasons) == (1, {("skipped", "blocked: cap"): 1})
    assert called(emulator) == {"090000001": 2, "090000002": 1}


async def test_calls_on_the_schedule_count_on_their_day(emulator, journal):
    """A cap on scheduled calls goes by their calldate, also for those of an earlier run."""
    rules = DialRules(caps=(Cap(1, hours=24),), **FREE)
    async with client_of(emulator) as uc:
        assert (await uc.bulk([scheduled(5), scheduled(7)], journal=journal, rules=rules)).complete
        change(journal, "UPDATE rows SET at = at - 30 * 86400")
        twin = ScheduledCall(campaign="Otra->", destination="090000001", calldate=scheduled(7).calldate)
        more = [scheduled(6), scheduled(9), twin]
        report = await uc.bulk([scheduled(5), scheduled(7), *more], journal=journal, rules=rules)
    assert report.reasons == {("skipped", "done before"): 2, ("skipped", "blocked: cap"): 1}
    assert report.problems[0].request.campaign == "Otra->"


async def test_a_cap_needs_a_memory(emulator, tmp_path):
    """Without any journal, or with one that is not there, a cap is refused before a row is read."""
    rules = DialRules(caps=(Cap(1, hours=24),), **FREE)
    async with client_of(emulator) as uc:
        with pytest.raises(SettingsError, match="a cap is answered from the journal"):
            await uc.bulk([call(1)], rules=rules)
        gone = DialRules(caps=rules.caps, journals=(tmp_path / "gone.db",), **FREE)
        with pytest.raises(JournalError, match="there is no journal"):
            await uc.bulk([call(1)], rules=gone)
        with pytest.raises(SettingsError, match="cannot be read"):
            await uc.bulk([call(1)], rules=DialRules(do_not_call=(DoNotCall(tmp_path / "none.txt"),), **FREE))
    assert not emulator.ledger.requests


async def test_a_list_that_grows_while_a_run_goes_on(emulator, tmp_path):
    """A number that is added in mid-run is not called by it; a list that is taken away stops all calls."""
    path = tmp_path / "dnc.txt"
    path.write_text("1\n", encoding="utf-8")

    def rows():
        yield call(1)
        for number in range(2, 600):
            if number == 300:
                path.write_text("1\n090000400\n", encoding="utf-8")
            if number == 599:
                path.unlink()
            yield call(number)

    async with client_of(emulator) as uc:
        report = await uc.bulk(rows(), rules=DialRules(do_not_call=(DoNotCall(path),), **FREE))
    made = called(emulator)
    assert made["090000001"] == 1
    assert "090000400" not in made
    assert "090000598" not in made
    assert report.rows == 599
    assert report.succeeded == len(made) == sum(made.values())
    assert set(report.reasons) == {("skipped", "blocked: do not call")}


async def test_a_dry_run_says_what_would_be_blocked(emulator, journal):
    """The rules are asked although nothing is sent, caps included."""
    rules = DialRules(do_not_call=(DoNotCall({"090000002"}),), caps=(Cap(1, hours=24),), **FREE)
    rows = [call(1), call(1, data={"n": "2"}), call(2), call(3)]
    async with client_of(emulator) as uc:
        report = await uc.bulk(rows, journal=journal, rules=rules, dry_run=True, on_duplicate="allow")
    assert report.reasons == {
        ("skipped", "dry run"): 2,
        ("skipped", "blocked: cap"): 1,
        ("skipped", "blocked: do not call"): 1,
    }
    assert not emulator.ledger.requests


async def test_an_unknown_call_is_not_settled_against_the_rules(emulator, journal):
    """A lost call whose number came onto a list meanwhile is neither removed nor inserted again."""
    emulator.set_faults({"rules": [{"endpoint": SCHEDULE, "fault": "close_before_read", "count": 2}]})
    policy = ReplaceSchedule(quarantine=0.1, lateness=0.09, margin=1.0, inclusive=True)
    async with client_of(emulator) as uc:
        await uc.bulk([scheduled(5, number=n) for n in (1, 2)], journal=journal)
        rules = DialRules(do_not_call=(DoNotCall({"090000001"}),), caps=(Cap(1, hours=1),), **FREE)
        report = await uc.bulk(
            [scheduled(5, number=n) for n in (1, 2)], journal=journal, on_unknown=policy, rules=rules
        )
    assert (report.settled, report.unknown) == (1, 1)
    assert "a number is on the list" in report.problems[0].detail
    assert called(emulator)["090000001"] == 0


async def test_what_is_forbidden_while_a_call_is_settled_is_not_begun(emulator, journal):
    """Between the decision to settle and the first byte of the removal the last moment passes: nothing is removed."""
    emulator.set_faults({"rules": [{"endpoint": SCHEDULE, "fault": "close_after_apply"}]})
    asked = []

    def limit(_):
        if not emulator.ledger.of(SCHEDULE):
            return None
        asked.append(1)
        return None if len(asked) == 1 else datetime(2020, 1, 1, tzinfo=UTC)

    policy = ReplaceSchedule(quarantine=0.1, lateness=0.09, margin=1.0, inclusive=True)
    async with client_of(emulator) as uc:
        report = await uc.bulk([scheduled(5)], journal=journal, on_unknown=policy, not_after=limit)
    assert (report.unknown, len(asked) > 1) == (1, True)
    assert "its removal could not be sent" in report.problems[0].detail
    assert len(emulator.ledger.of(SCHEDULE)) == len(emulator.ledger) == 1


async def test_a_row_that_may_have_happened_stays_unknown(emulator, journal):
    """A removal that an earlier run lost is not called skipped by a limit that keeps it from being sent again."""
    removal = RemoveContact(campaign="Ventas->", destination="090000001")
    emulator.set_faults({"rules": [{"endpoint": "Dialers/RemoveContact", "fault": "close_after_apply"}]})
    async with client_of(emulator) as uc:
        assert (await uc.bulk([removal], journal=journal)).unknown == 1
        report = await uc.bulk([removal], journal=journal, not_after=datetime(2020, 1, 1, tzinfo=UTC))
    assert report.reasons == {("unknown", "expired"): 1}
    with closing(sqlite3.connect(journal)) as db:
        assert db.execute("SELECT status FROM rows").fetchall() == [("unknown",)]
