"""Rules of the dial that a client has: its single calls and uploads are judged as the rows of a run are."""

import pickle
from collections import Counter
from datetime import datetime

import pytest

from ucontact_async import (
    Blocked,
    Cap,
    DialerTask,
    DialRules,
    DoNotCall,
    InvalidRequest,
    JournalError,
    ListRow,
    ListWriter,
    OutcomeUnknown,
    Rejected,
    ScheduledCall,
    SettingsError,
    TypedNumber,
    UContact,
    Window,
)

SCHEDULE = "Dialers/ScheduleDialerCall"
NEVER = Window("00:00", "00:01", "mon")
FREE = {"costly": "allow"}
LISTED = DialRules(do_not_call=(DoNotCall({"090000002"}),), **FREE)


def client_of(emulator, rules, **options):
    return UContact(emulator.url, user="api", password="secret", timezone="America/Montevideo", rules=rules, **options)


def scheduled(number=1, day=5):
    return {
        "campaign": "Ventas->",
        "destination": f"09000000{number}",
        "calldate": datetime(2099, 5, day, 10),  # a Tuesday
    }


def applied(emulator):
    return Counter(entry.endpoint for entry in emulator.ledger)


async def test_a_single_call_that_a_rule_forbids_is_not_sent(emulator):
    """Each coroutine that rings somebody raises the rule's name and sends nothing; what rings nobody passes."""
    rules = DialRules(zone="America/Montevideo", windows=(NEVER,), **FREE)
    async with client_of(emulator, rules) as uc:
        calls = [
            uc.dialers.schedule(**scheduled()),
            uc.dialers.respool(campaign="Ventas->", destination="090000001", dialerbase="b", contact=1),
            uc.send(DialerTask.urgent(campaign="Ventas->", destination="090000001")),
            uc.calls.dial(agent="Ana", phone="1001", destination="090000001", outqueue="Ventas->"),
        ]
        for call in calls:
            with pytest.raises(Blocked, match=r"^blocked: window: .* is outside the calling windows") as caught:
                await call
            assert caught.value.rule == "window"
            assert isinstance(caught.value, InvalidRequest)
            assert not caught.value.may_have_happened
        await uc.dialers.remove_contact(campaign="Ventas->", destination="090000001")
        await uc.calls.block(phone="090000001")
    assert applied(emulator) == {"Dialers/RemoveContact": 1, "admin/addblack": 1}


async def test_the_error_can_be_pickled_and_names_no_number(emulator):
    """What a worker sends home says which rule it was, and nobody's number."""
    async with client_of(emulator, LISTED) as uc:
        with pytest.raises(Blocked) as caught:
            await uc.dialers.schedule(**scheduled(2))
    error = pickle.loads(pickle.dumps(caught.value))
    assert (error.rule, str(error)) == ("do not call", "blocked: do not call: a number is on the list")
    assert "090000002" not in repr(error)


async def test_without_rules_nothing_is_asked(emulator):
    """A client that has none lets every call pass."""
    async with client_of(emulator, None) as uc:
        await uc.dialers.schedule(**scheduled(2))
    assert applied(emulator) == {SCHEDULE: 1}


async def test_a_copy_of_the_client_has_its_rules_too(emulator):
    """A client made by with_options asks the same rules."""
    async with client_of(emulator, LISTED) as uc:
        with pytest.raises(Blocked):
            await uc.with_options(timeout=5).dialers.schedule(**scheduled(2))


async def test_a_run_without_rules_of_its_own_has_those_of_the_client(emulator):
    """The client's rules hold for its runs; rules that a run was given go in their place."""
    calls = [ScheduledCall(**scheduled(number)) for number in (1, 2)]
    async with client_of(emulator, LISTED) as uc:
        assert (await uc.bulk(calls)).reasons == {("skipped", "blocked: do not call"): 1}
        assert (await uc.bulk(calls, rules=DialRules(**FREE))).succeeded == 2


async def test_a_rule_that_begins_to_forbid_while_a_call_waits_is_kept(emulator):
    """The rules are asked again in the step of each first byte: what is forbidden meanwhile does not leave again."""
    slow = {"endpoint": SCHEDULE, "fault": "status", "status": 429, "headers": {"Retry-After": "0"}, "count": 1}
    emulator.set_faults({"rules": [slow]})
    asked = []

    def listed(number):
        asked.append(number)
        return len(asked) > 2  # before the call, before its first try, before its second

    async with client_of(emulator, DialRules(do_not_call=(DoNotCall(listed),), **FREE)) as uc:
        with pytest.raises(Blocked, match="a number is on the list"):
            await uc.dialers.schedule(**scheduled())
    assert (len(asked), applied(emulator)) == (3, {})


async def test_caps_count_the_calls_of_the_client(emulator, tmp_path):
    """So many calls to a number and no more; one that surely was not made does not count, an unknown one does."""
    async with client_of(emulator, None) as uc:
        await uc.bulk([ScheduledCall(**scheduled(9))], journal=tmp_path / "run.db")
    rules = DialRules(caps=(Cap(2, hours=24),), journals=(tmp_path / "run.db",), **FREE)
    async with client_of(emulator, rules) as uc:
        emulator.set_faults({"rules": [{"endpoint": SCHEDULE, "fault": "body", "body": "0", "count": 1}]})
        with pytest.raises(Rejected):
            await uc.dialers.schedule(**scheduled(1))
        emulator.set_faults({"rules": [{"endpoint": SCHEDULE, "fault": "close_after_apply", "count": 1}]})
        with pytest.raises(OutcomeUnknown):
            await uc.dialers.schedule(**scheduled(1))
        emulator.set_faults({"rules": []})
        await uc.dialers.schedule(**scheduled(1))
        with pytest.raises(Blocked, match="more than 2 times in 24 hours"):
            await uc.dialers.schedule(**scheduled(1))
        await uc.dialers.schedule(**scheduled(1, day=8))
        await uc.dialers.schedule(**scheduled(9))
        with pytest.raises(Blocked):  # the other run's counts
            await uc.dialers.schedule(**scheduled(9))


async def test_a_list_or_a_journal_that_cannot_be_read_stops_the_call(emulator, tmp_path):
    """No list, no call: what cannot be judged is not sent."""
    async with client_of(emulator, DialRules(do_not_call=(DoNotCall(tmp_path / "none.txt"),), **FREE)) as uc:
        with pytest.raises(SettingsError, match="cannot be read"):
            await uc.dialers.schedule(**scheduled())
    async with client_of(emulator, DialRules(caps=(Cap(1, hours=1),), journals=(tmp_path / "none.db",), **FREE)) as uc:
        with pytest.raises(JournalError):
            await uc.dialers.schedule(**scheduled())
    assert applied(emulator) == {}


ROWS = [
    ListRow(destination="090000001"),
    ListRow(destination="090000002"),
    ListRow(destination="090000003", alternatives=["0609123456"]),
    ListRow(destination=TypedNumber(kind="M", number="090000-004"), data={"id": "7"}),
    ListRow(destination="+34600000000"),
]
NUMBERS = DialRules(
    do_not_call=(DoNotCall({"090000002", "090000004"}, name="own list"),),
    premium=("0609",),
    zone="America/Montevideo",
    windows=(NEVER,),  # the dialer chooses the hour of a list
)


@pytest.mark.parametrize("rows_per_file", [1, 2, 5000])
async def test_an_upload_names_every_row_that_a_rule_forbids(emulator, rows_per_file):
    """All rows of all files are judged before the first file is sent, and each blocked one is named by its place."""
    async with client_of(emulator, NUMBERS) as uc:
        with pytest.raises(Blocked) as caught:
            await uc.dialers.upload(ROWS, campaign="Ventas->", rows_per_file=rows_per_file)
        assert caught.value.rows == {1: "own list", 2: "premium", 3: "own list", 4: "international"}
        assert str(caught.value).endswith("row 1: own list; row 2: premium; row 3: own list; row 4: international")
        with pytest.raises(Blocked):
            await uc.dialers.upload_with_timezone(ROWS, campaign="Ventas->", timezone="UTC")
        assert applied(emulator) == {}
        assert (await uc.dialers.upload(ROWS[:1], campaign="Ventas->")).accepted == 1


async def test_files_of_an_upload_are_judged_however_they_are_sent(emulator):
    """A file that holds a forbidden row is refused by its own coroutine too, and skipped in a run."""
    file = next(ListWriter(campaign="Ventas->").files(ROWS))
    async with client_of(emulator, NUMBERS) as uc:
        with pytest.raises(Blocked):
            await uc.send(file)
        report = await uc.bulk([file])
    assert report.reasons == {("skipped", "blocked: own list"): 1}
    assert "row 1 of the list" in report.problems[0].detail
    assert applied(emulator) == {}
