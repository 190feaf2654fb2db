"""The live endpoints against answers written by hand, and the emulator's answers by the standard library's reading."""

import json
import re

import aiohttp
import pytest
from status_answers import STATUS, STATUS_SAYS, STATUS_TYPES, SUMMARY, SUMMARY_KEYS, SUMMARY_SAYS

from ucontact_async.api import ENDPOINTS
from ucontact_async.emulator import Emulator, Queue, Switches
from ucontact_async.errors import Rejected, UnreadableReply
from ucontact_async.settings import ServerProfile
from ucontact_async.wire import Answer, read_answer

SUMMARY_PATH, STATUS_PATH = "Supervisor/queuesummary", "Supervisor/campaignstatus"


def read(path, body):
    """Return what the client makes of an answer."""
    return read_answer(Answer(200, {}, body), ENDPOINTS[path].reply, ServerProfile())


async def ask(emulator, path, body):
    """Return the bytes that an emulator answers to a client that is not ours."""
    headers = {
        "Authorization": f"Basic {emulator.state.sessions.open('api')}",
        "Content-Type": "application/x-www-form-urlencoded; charset=UTF-8",
    }
    url = f"{emulator.url}/Integra/resources/{path}"
    async with aiohttp.ClientSession() as http, http.post(url, data=body, headers=headers) as response:
        assert response.status == 200
        return await response.read()


@pytest.mark.parametrize("end", [b"", b"\n", b" \r\n"])
def test_the_answers_of_the_page(end):
    """What the page prints comes out as our values, all of it and nothing more."""
    assert read(SUMMARY_PATH, SUMMARY + end) == SUMMARY_SAYS
    assert read(STATUS_PATH, STATUS + end) == STATUS_SAYS


@pytest.mark.parametrize("path", [SUMMARY_PATH, STATUS_PATH])
def test_0_is_a_refusal(path):
    """HTTP 200 with 0 is the API's way to refuse."""
    with pytest.raises(Rejected):
        read(path, b"0\n")


WRONG = [
    b"",
    b"1",
    b'"0"',
    b"null",
    b"OK",
    b"<html></html>",
    b"[1]",
    b'["Power"]',
    b'{"error":"x"}',
    b"[[]]",
    b"\xff[]",
]


@pytest.mark.parametrize("body", [*WRONG, b"{}", SUMMARY[:-1], STATUS])
def test_what_is_no_summary(body):
    """JSON of another shape, cut JSON and no JSON at all are not taken for queues."""
    with pytest.raises(UnreadableReply):
        read(SUMMARY_PATH, body)


@pytest.mark.parametrize("body", [*WRONG, b"[]", STATUS[:-1], SUMMARY])
def test_what_is_no_status(body):
    """Nor is anything but an object of objects taken for campaigns; no number in it gets into the error."""
    with pytest.raises(UnreadableReply) as raised:
        read(STATUS_PATH, body)
    assert "hidden" in str(raised.value)


@pytest.mark.parametrize(
    ("java", "form"),
    [
        (8, r"[A-Z][a-z]{2} \d{1,2}, \d{4} \d{1,2}:\d\d:\d\d [AP]M"),
        (9, r"[A-Z][a-z]{2} \d{1,2}, \d{4}, \d{1,2}:\d\d:\d\d [AP]M"),
        (20, "[A-Z][a-z]{2} \\d{1,2}, \\d{4}, \\d{1,2}:\\d\\d:\\d\\d\u202f[AP]M"),
    ],
)
async def test_the_emulated_summary_has_the_shape_of_the_page(java, form):
    """Escaped names, one action for all elements and another next time, an end without a queue, dates of each Java."""
    async with Emulator(switches=Switches(java=java)) as emulator:
        body = await ask(emulator, SUMMARY_PATH, b"")
        again = json.loads(await ask(emulator, SUMMARY_PATH, b""))
    assert not set(b"<>=&'") & set(body)
    assert rb'"Soporte\u003c-"' in body
    *queues, end = json.loads(body)
    assert [set(queue) for queue in queues] == [SUMMARY_KEYS] * 2
    assert set(end) == {"internalActionId", "dateReceived"}
    (action,) = {element["internalActionId"] for element in (*queues, end)}
    assert re.fullmatch(r"\d+_\d+", action)
    assert {element["internalActionId"] for element in again} != {action}
    assert all(re.fullmatch(form, element["dateReceived"]) for element in (*queues, end))
    assert all(summary.received for summary in read(SUMMARY_PATH, body))


@pytest.mark.parametrize(("body", "names"), [(b"queue=", {"Soporte<-", "Ventas->"}), (b"", {"Soporte<-", "Ventas->"})])
async def test_the_emulated_status_has_the_shape_of_the_page(emulator, body, names):
    """Without a name it is every campaign by its name, with the JSON types of the page."""
    emulator.state.status.queues["Ventas->"] = Queue(abandoned=1, completed=2, hold=3725)
    answer = await ask(emulator, STATUS_PATH, body)
    assert not set(b"<>=&'") & set(answer)
    found = json.loads(answer)
    assert set(found) == names
    for name, status in found.items():
        assert status["campaign"] == name
        assert {key: type(value) for key, value in status.items()} == STATUS_TYPES
    assert (found["Ventas->"]["hold"], found["Ventas->"]["abandonedlevel"]) == ("01:02:05-3", "33")


async def test_the_emulated_status_of_one(emulator):
    """A name gets that campaign alone, an unknown one an empty object."""
    assert list(json.loads(await ask(emulator, STATUS_PATH, b"queue=Ventas-%3E"))) == ["Ventas->"]
    assert await ask(emulator, STATUS_PATH, b"queue=Otra-%3E") == b"{}"
