"""The audit of a finished campaign: who was dialled more often than asked for, who never."""

from datetime import UTC, datetime

import pytest

from ucontact_async import (
    AgentCall,
    RemoveContact,
    Respool,
    ScheduledCall,
    SettingsError,
    UContact,
    audit_double_dials,
    open_journal,
)
from ucontact_async.api.recordings import Recording
from ucontact_async.emulator.recordings import RecordedCall

WHEN = datetime(2027, 3, 1, 10)
SINCE, UNTIL = datetime(2027, 3, 1), datetime(2027, 3, 1, 23, 59, 59)


def call(number, **fields):
    return ScheduledCall(**{"campaign": "Ventas->", "destination": number, "calldate": WHEN, **fields})


def record(number, campaign="Ventas->", at=WHEN):
    return Recording(guid="", calldate=at, destination=number, campaign=campaign)


def found(rows):
    return [(row.destination, row.asked, row.dialled) for row in rows]


async def test_twice_and_never():
    """One dialled twice, one never, one as often as asked, one over an alternative; others are left aside."""
    asked = [
        call("099-000001"),
        call("099000002"),
        call("099000003"),
        call("099000003", calldate=datetime(2027, 3, 1, 12)),
        call("099000004", alternatives=("099000005",)),
        Respool(campaign="Ventas->", destination="099000006", dialerbase="b", contact=1),
        RemoveContact(campaign="Ventas->", destination="099000007"),
    ]
    numbers = ("099000001", "099000001", "099000003", "099000003", "099000005", "099000007")
    records = [record(number) for number in numbers]
    records += [record("099000002", campaign="Otra->"), record("099000002", at=datetime(2027, 3, 2))]
    audit = await audit_double_dials(records, asked, since=SINCE, until=UNTIL)
    assert found(audit.twice) == [("099000001", 1, 2)]
    assert found(audit.never) == [("099000002", 1, 0)]
    assert (audit.numbers, audit.records, audit.others, audit.clean) == (6, 5, 3, False)
    assert "099000001" not in f"{audit!r}{audit.twice!r}{audit.summary()}"
    again = await audit_double_dials(records, asked, since=SINCE, until=UNTIL, tries=2)
    assert (again.twice_count, again.never_count) == (0, 1)


async def test_a_scheduled_call_outside_the_time_is_not_missed():
    """Only calls that were due in the time audited can be missing in it; moments with a zone need the server's."""
    late = call("099000001", calldate=datetime(2027, 3, 2, 2, tzinfo=UTC))
    audit = await audit_double_dials([], [late], since=SINCE, until=UNTIL, timezone="America/Montevideo")
    assert audit.never_count == 1
    audit = await audit_double_dials([], [late], since=SINCE, until=UNTIL, timezone="UTC")
    assert audit.clean
    with pytest.raises(SettingsError, match="timezone"):
        await audit_double_dials([], [late], since=SINCE)
    with pytest.raises(SettingsError, match="tries"):
        await audit_double_dials([], [], tries=0)


async def test_agents_calls_count_by_their_campaign():
    """A call that an agent was given belongs to the campaign it is accounted to."""
    fields = {"agent": "Ana", "phone": "1001", "callerid": "1", "context": "agentes"}
    dialled = AgentCall(destination="099000001", outqueue="Sales->", **fields)
    audit = await audit_double_dials([record("099000001", "Sales->")] * 2, [dialled, dialled, dialled])
    assert (audit.records, audit.clean) == (2, True)


async def test_a_journal_against_the_server(emulator, tmp_path):
    """A call whose answer was lost and that was made counts as asked for; one that was refused and rang is found."""
    rules = [
        {"endpoint": "Dialers/*", "match": {"destination": "099000002"}, "fault": "close_after_apply"},
        {"endpoint": "Dialers/*", "match": {"destination": "099000003"}, "fault": "body", "body": "0"},
    ]
    emulator.set_faults({"rules": rules})
    journal = tmp_path / "run.db"
    async with UContact(emulator.url, user="api", password="secret", timezone="America/Montevideo") as uc:
        calls = [call(f"09900000{n}", calldate=datetime(2099, 3, 1, 10)) for n in (1, 2, 3)]
        await uc.bulk(calls, journal=journal)
        for n in (2, 3):
            emulator.state.records.add(
                RecordedCall(
                    guid=f"00000000-0000-4000-8000-00000000000{n}",
                    calldate=datetime(2099, 3, 1, 10),
                    destination=f"09900000{n}",
                    campaign="Ventas->",
                )
            )
        records = uc.recordings.search(since=datetime(2099, 3, 1), until=datetime(2099, 3, 2), campaign="Ventas->")
        audit = await audit_double_dials(records, journal)
    assert found(audit.twice) == [("099000003", 0, 1)]
    assert found(audit.never) == [("099000001", 1, 0)]
    with open_journal(journal) as rows:
        assert (await audit_double_dials([record("099000002")] * 2, rows)).twice[0].unknown == 1
