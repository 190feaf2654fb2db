"""The emulated agent portal behind its page: what it does, what it answers, who may ask; and the form's service."""

import json
from datetime import datetime

import aiohttp
import pytest

from ucontact_async.emulator import CallRecord, Emulator, PortalForm, Switches
from ucontact_async.emulator.agent_portal import PORTAL
from ucontact_async.portal import CtiCall, Envelope, HangUpAction

OBJECT = {"campaign": "Sale->", "destination": "099123456", "dialerbase": "b", "status": 1, "contact": 7}
CALL = {"action": "call", "campaign": "Sale->", "destination": "099123456"}


@pytest.fixture
async def http():
    """A client that is not ours."""
    async with aiohttp.ClientSession() as session:
        yield session


def envelope(fields):
    return Envelope(data=fields, source_origin="http://form.example", target_origin="*", source_window_name="f").write()


async def act(http, emulator, text, **headers):
    """Post what the portal's page hands on; return status and body."""
    own = {"Origin": emulator.url, "Content-Type": "application/json"}
    async with http.post(f"{emulator.url}{PORTAL}/act", data=text, headers=own | headers) as response:
        return response.status, await response.text()


async def test_an_answer_goes_back_in_an_envelope(emulator, http):
    """A call is answered with its GUID, addressed to the window and the origin that asked."""
    status, text = await act(http, emulator, envelope(CALL))
    answer = Envelope.read(text)
    assert status == 200
    assert answer.data == {"guid": emulator.portal.call.guid}
    assert (answer.source_origin, answer.target_origin) == (emulator.url, "http://form.example")
    assert answer.target_window_name == "f"
    (entry,) = emulator.ledger
    assert entry.answered
    assert entry.fields["agent"] == "Ana"
    assert (await act(http, emulator, envelope({"action": "hangup"}))) == (204, "")
    assert emulator.portal.call.ended


async def test_cti_is_the_agents_last_call(emulator):
    """The call object is that of the call made or put through last, also when it has ended; without one it is empty."""
    portal = emulator.portal
    assert portal.act({"action": "CTI"}) == {"CTI": "{}"}
    assert portal.dial_next() is None
    emulator.state.respool(
        CallRecord(campaign="Sale->", destination="099123456", dialerbase="b", contact=7, data="a=1")
    )
    assert portal.dial_next() is portal.call
    call = CtiCall.read(portal.act({"action": "CTI"})["CTI"])
    assert (call.guid, call.contact, call.data, call.callerid) == (portal.call.guid, 7, {"a": "1"}, "099123456")
    portal.act({"action": "hangup"})
    assert CtiCall.read(portal.act({"action": "CTI"})["CTI"]) == call
    portal.act(CALL)
    assert "Dialerbase" not in json.loads(portal.act({"action": "CTI"})["CTI"])
    assert len(emulator.ledger) == 2  # the hang-up and the call; asking changes nothing


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        (None, "is missing"),
        ({"action": "dial"}, "none of the seven"),
        (CALL | {"campaign": "Sale"}, "arrow"),
        (CALL | {"campaign": "Other->"}, "no such campaign"),
        (CALL | {"destination": "099&x"}, "number to dial"),
        ({"action": "hangup"}, "no live call"),
        ({"action": "tag", "guid": "0d9bb1de-0000", "message": "x"}, "no such call"),
        ({"action": "respool", "objetoRespool": OBJECT | {"priority": 1}}, "from 2 to 9999"),
        ({"action": "schedule", "objectDialer": OBJECT}, "call_date"),
    ],
)
async def test_what_is_refused_is_not_answered(fields, reason):
    """The rules of the endpoints hold here too; a refusal has no answer, applies nothing, and is remembered."""
    async with Emulator(switches=Switches(campaigns=frozenset({"Sale->"}))) as emulator:
        assert emulator.portal.act(fields) is None
        assert reason in emulator.portal.asked[0].refused
        assert len(emulator.ledger) == 0


async def test_spool_and_schedule_are_the_servers(emulator):
    """What a page respools or schedules stands on the same spool and schedule as what a client sends."""
    emulator.portal.act({"action": "respool", "objetoRespool": OBJECT | {"data": "id=1"}})
    emulator.portal.act({"action": "schedule", "callDate": "2099-05-05 10:00:00", "objectDialer": OBJECT})
    assert [(row.destination, row.data, row.contact) for row in emulator.state.spool] == [("099123456", "id=1", 7)]
    assert [(row.destination, row.calldate) for row in emulator.state.schedule] == [
        ("099123456", "2099-05-05 10:00:00")
    ]
    assert emulator.snapshot()["portal"] == emulator.portal.asked
    emulator.reset()
    assert emulator.portal.asked == []


@pytest.mark.parametrize("headers", [{"Origin": "http://evil.example"}, {"Content-Type": "text/plain"}])
async def test_only_its_own_page_may_act(emulator, http, headers):
    """Another site's page that knows the address cannot make the portal call anybody."""
    assert (await act(http, emulator, envelope(CALL), **headers))[0] == 403
    assert len(emulator.ledger) == 0


@pytest.mark.parametrize("text", ["", "{", json.dumps(CALL), "x" * 70_000])
async def test_other_messages_are_refused(emulator, http, text):
    """What is no envelope, or larger than any, is a bad request."""
    assert (await act(http, emulator, text))[0] == 400


async def test_its_page_frames_one_origin(emulator, http):
    """The page embeds the form that is named, lets no other page in, and quotes the address."""
    url = f"{emulator.url}{PORTAL}"
    async with http.get(url, params={"form": 'http://127.0.0.1:8080/a?b="><script>'}) as page:
        policy, html = page.headers["Content-Security-Policy"], await page.text()
    assert "frame-src http://127.0.0.1:8080; " in policy
    assert "frame-ancestors 'none'" in policy
    assert "<script>" not in html
    assert 'data-origin="http://127.0.0.1:8080"' in html
    async with http.get(url) as page:
        assert "frame-src 'none'" in page.headers["Content-Security-Policy"]
    for form in ("javascript:alert(1)", "http://a;script-src *", "http://[", "//a", "x"):
        async with http.get(url, params={"form": form}) as page:
            assert page.status == 400


async def test_its_doors(emulator, http):
    """Each part answers its own method and no other; the desk hides numbers."""
    doors = {".css": "GET", ".js": "GET", "/desk": "GET", "/act": "POST", "/next": "POST", "": "GET"}
    for door, method in doors.items():
        async with http.request("POST" if method == "GET" else "GET", f"{emulator.url}{PORTAL}{door}") as answer:
            assert answer.status == 405
        if method == "GET":
            async with http.get(f"{emulator.url}{PORTAL}{door}") as answer:
                assert answer.status == 200
    async with http.get(f"{emulator.url}{PORTAL}/other") as answer:
        assert answer.status == 404
    emulator.portal.act(CALL)
    emulator.portal.act({"action": "schedule", "callDate": "2099-05-05 10:00:00", "objectDialer": OBJECT})
    emulator.portal.act("x")
    async with http.get(f"{emulator.url}{PORTAL}/desk") as answer:
        desk = await answer.json()
    assert desk["call"]["number"] == "09912****"
    assert datetime.fromisoformat(desk["call"]["started"])
    shown = [tuple(asked.values()) for asked in desk["asked"]]
    assert shown == [
        ("", "", "", "refused"),
        ("schedule", "Sale->", "09912****", "done"),
        ("call", "Sale->", "09912****", "guid"),
    ]


async def test_the_forms_service_takes_its_own_pages_results_only(emulator, http):
    """A result is kept and the page stays; from elsewhere it is forbidden, and what cannot be read a bad request."""
    async with PortalForm(emulator.url) as form:
        async with http.get(form.url) as page:
            assert emulator.url in page.headers["Content-Security-Policy"]
            assert "<button" in await page.text()
        for text, origin, status in (
            ('{"action": "hangup", "outcome": "posted"}', form.url, 204),
            ('{"action": "hangup", "outcome": "posted"}', emulator.url, 403),
            ('{"action": "hangup"}', form.url, 400),
        ):
            headers = {"Origin": origin, "Content-Type": "application/json"}
            async with http.post(f"{form.url}/result", data=text, headers=headers) as answer:
                assert answer.status == status
    assert [result.action for result in form.results] == [HangUpAction]


def test_what_a_page_asks_for_does_not_grow_without_bound():
    """The last thousand actions are kept, refused ones too."""
    portal = Emulator().portal
    for number in range(1_010):
        portal.act({"action": f"none {number}"})
    assert [asked.action for asked in portal.asked] == [f"none {number}" for number in range(10, 1_010)]
