import asyncio
import logging
import re
from collections import Counter
from datetime import datetime
from typing import get_args

import aiohttp
import anyio
import pytest

from ucontact_async import (
    Abandoned,
    AgentCall,
    BlockNumber,
    HangUp,
    Rejected,
    Reply,
    Safety,
    ServerProfile,
    Status,
    UContact,
    UContactError,
)
from ucontact_async.emulator import DispositionAction, Emulator, FaultKind, Switches

DIAL = "Agents/AgentCall"
BLOCK = "admin/addblack"
CALL = {"agent": "Ana", "phone": "1001", "destination": "090000001", "outqueue": "Ventas->"}
GUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
WHEN = datetime(2099, 5, 5, 10)


def client_of(emulator, **options):
    return UContact(emulator.url, **{"user": "api", "password": "secret", "timezone": "America/Montevideo", **options})


# Fault, its rule; then the error (empty for success), complete requests and effects on the server.
FAULTS = [
    ({"fault": "latency", "seconds": 0.05}, "", 1, 1),
    ({"fault": "refuse", "seconds": 0.1}, "ReplyLost", 0, 0),
    ({"fault": "close_before_read"}, "ReplyLost", 0, 0),
    ({"fault": "reset_before_read"}, "ReplyLost", 0, 0),
    ({"fault": "close_after_read"}, "ReplyLost", 1, 0),
    ({"fault": "reset_after_read"}, "ReplyLost", 1, 0),
    ({"fault": "close_after_apply"}, "ReplyLost", 1, 1),
    ({"fault": "reset_after_apply"}, "ReplyLost", 1, 1),
    ({"fault": "hang_before_apply"}, "ReplyLost", 1, 0),
    ({"fault": "hang_after_apply"}, "ReplyLost", 1, 1),
    ({"fault": "status", "status": 401, "count": 1}, "", 2, 1),
    ({"fault": "status", "status": 429, "count": 1, "headers": {"Retry-After": "0"}}, "", 2, 1),
    ({"fault": "status", "status": 404}, "NotFound", 1, 0),
    ({"fault": "status", "status": 502, "apply": True}, "ServerFault", 1, 1),
    ({"fault": "body", "body": "0"}, "Rejected", 1, 0),
    ({"fault": "body"}, "UnreadableReply", 1, 1),
    ({"fault": "body", "body": ""}, "UnreadableReply", 1, 1),
    ({"fault": "body", "body": "1"}, "UnreadableReply", 1, 1),
    ({"fault": "body", "body": "5f3a1c9e-7b24-4d0f-9a61"}, "UnreadableReply", 1, 1),
    ({"fault": "body", "body": '"5f3a1c9e-7b24-4d0f-9a61-2f8e5d3c7b10"'}, "UnreadableReply", 1, 1),
    ({"fault": "truncated"}, "ReplyLost", 1, 1),
    ({"fault": "unsolicited"}, "", 1, 1),
    ({"fault": "late_apply", "seconds": 0.1}, "ReplyLost", 1, 1),
]


def test_every_fault_is_tried():
    """The table below leaves no kind of fault out."""
    assert {rule["fault"] for rule, *_ in FAULTS} == set(get_args(FaultKind))


@pytest.mark.parametrize(("rule", "error", "requests", "applied"), FAULTS, ids=str)
async def test_a_call_is_made_once_whatever_fails(emulator, rule, error, requests, applied):
    """Each fault ends in its error, and the phone of no agent rings twice."""
    async with client_of(emulator) as uc:
        await uc.login()
        emulator.set_faults({"rules": [{"endpoint": DIAL, **rule}]})
        hurried = uc.with_options(timeout=0.5)
        results = await asyncio.gather(hurried.calls.dial(**CALL), return_exceptions=True)
        await asyncio.sleep(0.15 if rule["fault"] == "late_apply" else 0)
    said = type(results[0]).__name__ if error else ""
    assert results == [emulator.state.switchboard.cdr[0].guid] if not error else results[0].endpoint == DIAL
    assert (said, emulator.ledger.requests[DIAL], len(emulator.ledger.of(DIAL))) == (error, requests, applied)
    assert len(emulator.state.switchboard.cdr) == applied


async def test_from_dialling_to_hanging_up(emulator):
    """A call has the GUID that the server gave it, and is hung up once."""
    async with client_of(emulator) as uc:
        guid = await uc.calls.dial(**CALL, callerid="24001111")
        assert GUID.fullmatch(guid)
        other = await uc.calls.dial_with_data(**CALL | {"phone": "1002"}, data='{"id":"7"}')
        assert other != guid
        assert await uc.calls.hangup(phone="1001") is None
        with pytest.raises(Rejected):
            await uc.calls.hangup(phone="1001")
    assert [(record.guid, record.ended is None) for record in emulator.state.switchboard.cdr] == [
        (guid, False),
        (other, True),
    ]
    assert [entry.endpoint for entry in emulator.ledger] == [DIAL, "Agents/AgentCallwithData", "Agents/HungupPhone"]


async def test_an_agent_that_is_not_there(anyio_backend):
    """The answer 0 is a refusal, and nothing has happened."""
    async with Emulator(switches=Switches(agents={"Eva": "1002"})) as emulator, client_of(emulator) as uc:
        with pytest.raises(Rejected) as raised:
            await uc.calls.dial(**CALL)
        assert not raised.value.may_have_happened
        assert GUID.fullmatch(await uc.calls.dial(**CALL | {"agent": "Eva", "phone": "1002"}))
    assert len(emulator.ledger) == 1


@pytest.mark.parametrize("hangup", ["HungupPhone", "HangupPhone"])
async def test_the_spelling_of_hanging_up_is_a_setting(emulator, hangup):
    """The profile chooses the path on the wire; a fault there is told under the endpoint's own name."""
    async with client_of(emulator, profile=ServerProfile(hangup=hangup)) as uc:
        await uc.calls.dial(**CALL)
        assert uc.preview(HangUp(phone="1001"))[0] == f"/Integra/resources/Agents/{hangup}"
        await uc.calls.hangup(phone="1001")
        emulator.set_faults({"rules": [{"endpoint": f"Agents/{hangup}", "fault": "status", "status": 404}]})
        with pytest.raises(UContactError) as raised:
            await uc.send(HangUp(phone="1001"))
    assert raised.value.endpoint == "Agents/HungupPhone"
    assert [entry.endpoint for entry in emulator.ledger] == [DIAL, f"Agents/{hangup}"]
    assert emulator.ledger.requests[f"Agents/{hangup}"] == 2


async def test_the_guid_of_an_abandoned_call_is_not_lost(emulator):
    """A web request that is cancelled while the phone rings leaves the call's GUID with the listener."""
    events = []
    emulator.set_faults({"rules": [{"endpoint": DIAL, "fault": "latency", "seconds": 0.15}]})
    async with client_of(emulator) as uc:
        uc.listen(events.append)
        await uc.login()
        with anyio.move_on_after(0.05) as scope:
            await uc.calls.dial(**CALL)
        assert scope.cancelled_caught
    assert events == [Abandoned(AgentCall(**CALL), reply=emulator.state.switchboard.cdr[0].guid)]


async def test_a_disposition_and_what_follows(anyio_backend):
    """A call that an agent asks to be made again is on the schedule, at the server's local time."""
    actions = {("Ventas->", "Contacto", "Agenda", ""): DispositionAction.RESCHEDULE}
    async with Emulator(switches=Switches(dispositions=actions)) as emulator, client_of(emulator) as uc:
        guid = await uc.calls.dial(**CALL)
        await uc.calls.hangup(phone="1001")
        answer = await uc.calls.disposition(
            campaign="Ventas->",
            agent="Ana",
            callerid="090000001",
            guid=guid,
            level1="Contacto",
            level2="Agenda",
            comment="llama el lunes",
            schedule=WHEN,
        )
        assert answer is None
    (row,) = emulator.state.schedule
    assert (row.campaign, row.destination, row.calldate) == ("Ventas->", "090000001", "2099-05-05 10:00:00")
    assert len(emulator.ledger.of("api/DispositionCall")[0].fields) == 13


async def test_a_disposition_is_made_once(emulator):
    """Its action would be taken twice, so a lost answer is unknown."""
    emulator.set_faults({"rules": [{"endpoint": "api/*", "fault": "close_after_apply"}]})
    said = {"campaign": "Ventas->", "agent": "Ana", "callerid": "", "guid": "5f3a1c9e-7b24", "level1": "Contacto"}
    async with client_of(emulator) as uc:
        with pytest.raises(UContactError) as raised:
            await uc.calls.disposition(**said)
    assert raised.value.may_have_happened
    assert emulator.ledger.requests["api/DispositionCall"] == 1


async def test_a_workflow_is_started_once(emulator):
    """OK is success; with the answer lost nobody knows."""
    async with client_of(emulator) as uc:
        assert await uc.calls.workflow(context="entrantes", extension="700", params={"id": 7}) is None
        emulator.set_faults({"rules": [{"endpoint": "admin/CallWorkflow", "fault": "reset_after_apply"}]})
        with pytest.raises(UContactError) as raised:
            await uc.calls.workflow(context="entrantes", extension="700")
    assert raised.value.may_have_happened
    assert [workflow["jsonparams"] for workflow in emulator.state.switchboard.workflows] == ['{"id":7}', "{}"]


async def test_a_blocked_number_may_be_blocked_again(emulator):
    """After a lost answer it is sent again, and is on the list once."""
    emulator.set_faults({"rules": [{"endpoint": BLOCK, "fault": "close_after_apply", "count": 1}]})
    async with client_of(emulator) as uc:
        await uc.calls.block(phone="090000001", name="José")
    assert emulator.ledger.requests[BLOCK] == 2
    assert [(row.phone, row.campaign, row.name) for row in emulator.state.blacklist] == [("090000001", "*", "José")]


async def test_numbers_are_blocked_in_bulk(emulator, tmp_path):
    """A list is blocked through lost answers; the same row twice is one, and two names of a number are two rows."""
    numbers = [BlockNumber(phone=f"09{n:07d}") for n in range(200)]
    numbers += [numbers[7], BlockNumber(phone="090000007", name="José"), BlockNumber(phone="09 7")]
    emulator.set_faults({"rules": [{"endpoint": BLOCK, "fault": "close_after_apply", "probability": 0.2}]})
    async with client_of(emulator) as uc:
        report = await uc.bulk(numbers, journal=tmp_path / "run.db", max_unknown=None)
        emulator.set_faults(None)
        again = await uc.bulk(numbers, journal=tmp_path / "run.db")
    assert report.rows == again.rows == 203
    assert report.succeeded + report.unknown == 201
    assert report.reasons[("skipped", "duplicate")] == report.reasons[("skipped", "invalid")] == 1
    assert (again.succeeded, again.failed, again.unknown) == (report.unknown, 0, 0)
    assert {row.phone for row in emulator.state.blacklist} == {f"09{n:07d}" for n in range(200)}


async def test_an_unknown_block_is_sent_again_on_resume(emulator, tmp_path):
    """What may be repeated is not held: the next run settles what the first one could not know."""
    emulator.set_faults({"rules": [{"endpoint": BLOCK, "fault": "close_after_apply"}]})
    async with client_of(emulator) as uc:
        first = await uc.bulk([BlockNumber(phone="090000001")], journal=tmp_path / "run.db")
        emulator.set_faults(None)
        second = await uc.bulk([BlockNumber(phone="090000001")], journal=tmp_path / "run.db")
    assert (first.unknown, second.succeeded) == (1, 1)


async def test_calls_in_bulk_are_held_when_unknown(emulator, tmp_path):
    """Agents' calls go through bulk as any request: once each, their GUIDs in the outcomes, held if unknown."""
    calls = [AgentCall(**CALL | {"destination": f"09{n:07d}"}) for n in range(20)]
    emulator.set_faults({"rules": [{"endpoint": DIAL, "match": {"destination": "09*3"}, "fault": "close_after_apply"}]})
    runs = []
    async with client_of(emulator) as uc:
        for _ in range(2):
            async with uc.stream(calls, journal=tmp_path / "run.db") as outcomes:
                runs.append([outcome async for outcome in outcomes])
    guids = {record.destination: record.guid for record in emulator.state.switchboard.cdr}
    made = [outcome for outcome in runs[0] if outcome.status is Status.SUCCEEDED]
    assert all(outcome.reply == guids[outcome.request.destination] for outcome in made)
    assert [Counter(outcome.status for outcome in run) for run in runs] == [
        {Status.SUCCEEDED: 18, Status.UNKNOWN: 2},
        {Status.SKIPPED: 18, Status.UNKNOWN: 2},
    ]
    assert Counter(entry.fields["destination"] for entry in emulator.ledger).most_common(1)[0][1] == 1
    assert len(emulator.ledger) == 20


async def test_the_new_replies_serve_the_escape_hatch(emulator):
    """An endpoint that is not in the table may answer a GUID or OK as well."""
    async with client_of(emulator) as uc:
        form = {"agent": "Ana", "phone": "1001", "destination": "090000001", "outqueue": "Ventas->"}
        assert GUID.fullmatch(await uc.request(DIAL, form, reply=Reply.GUID, safety=Safety.ONCE))
        form = {"context": "a", "extension": "b"}
        assert await uc.request("admin/CallWorkflow", form, reply=Reply.OK, safety=Safety.ONCE) is None


async def test_the_state_shows_calls_and_what_followed(emulator):
    """Records, dispositions, workflows and blocked numbers are seen over HTTP, and are gone after a reset."""
    async with client_of(emulator) as uc, aiohttp.ClientSession() as http:
        guid = await uc.calls.dial(**CALL)
        await uc.calls.disposition(campaign="Ventas->", agent="Ana", callerid="", guid=guid, level1="Contacto")
        await uc.calls.workflow(context="entrantes", extension="700")
        await uc.calls.block(phone="090000001")
        async with http.get(f"{emulator.url}/_emulator/state") as response:
            state = await response.json()
        async with http.post(f"{emulator.url}/_emulator/reset"):
            pass
        async with http.get(f"{emulator.url}/_emulator/state") as response:
            after = await response.json()
    assert state["cdr"][0].items() >= {"guid": guid, "destination": "090000001", "ended": None}.items()
    assert state["dispositions"][0].items() >= {"guid": guid, "l1": "Contacto", "action": "NOACTION"}.items()
    assert state["workflows"] == [{"context": "entrantes", "extension": "700", "jsonparams": "{}"}]
    assert state["blacklist"][0]["phone"] == "090000001"
    assert state["applied"] == 4
    assert [after[name] for name in ("cdr", "dispositions", "workflows", "blacklist", "calls")] == [[]] * 5


async def test_no_number_and_no_note_in_what_is_shown(emulator, caplog):
    """Errors and logs of calls hold neither numbers nor what was said of a customer."""
    caplog.set_level(logging.DEBUG)
    shown = []
    async with client_of(emulator) as uc:
        await uc.login()
        emulator.set_faults({"rules": [{"fault": "close_after_apply"}]})
        for work in (
            uc.calls.dial(agent="Ana", phone="7771001", destination="098344484", outqueue="Ventas->"),
            uc.calls.block(phone="098344484", name="canary"),
            uc.calls.workflow(context="a", extension="b", params={"name": "canary"}),
        ):
            with pytest.raises(UContactError) as raised:
                await work
            shown += [str(raised.value), repr(raised.value)]
        emulator.set_faults(None)
    for text in [*shown, caplog.text]:
        assert not any(secret in text for secret in ("4484", "1001", "canary"))
