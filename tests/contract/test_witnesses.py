"""The contract against witnesses from outside: bytes written by hand, never by our own encoder."""

import json
from datetime import UTC
from urllib.parse import parse_qsl, quote
from zoneinfo import ZoneInfo

import aiohttp
import msgspec
import pytest
from witnesses import LOGIN_ANSWERS, TOKEN, WITNESSES
from yarl import URL

from ucontact_async.api import ENDPOINTS, endpoint_of
from ucontact_async.emulator import Emulator, Switches
from ucontact_async.endpoint import Safety
from ucontact_async.errors import (
    Forbidden,
    NotFound,
    Refused,
    Rejected,
    ServerFault,
    Throttled,
    Unauthorized,
    UnreadableReply,
)
from ucontact_async.serving import read_form
from ucontact_async.settings import ServerProfile
from ucontact_async.text import Rules
from ucontact_async.wire import DONE, Answer, read_answer

CONTENT_TYPES = (
    "application/x-www-form-urlencoded; charset=UTF-8",
    "application/x-www-form-urlencoded ; charset=UTF-8",
    "x-www-form-urlencoded",
    "application/json",
    "text/plain; charset=utf-17",
)
EVERY = pytest.mark.parametrize("path", WITNESSES)
EVERY_BODY = pytest.mark.parametrize(
    ("path", "number"), [(path, number) for path, witness in WITNESSES.items() for number in range(len(witness.bodies))]
)
EVERY_MEANING = pytest.mark.parametrize(
    ("path", "body", "meaning"),
    [(path, body, meaning) for path, witness in WITNESSES.items() for body, meaning in witness.meanings],
)


@pytest.fixture
async def http():
    """A client that is not ours."""
    async with aiohttp.ClientSession() as session:
        yield session


def url_of(emulator, path):
    return f"{emulator.url}/Integra/resources/{path}"


def test_every_endpoint_has_a_witness():
    """An endpoint without a witness is one that client and emulator may both have wrong."""
    assert set(WITNESSES) == set(ENDPOINTS)


@EVERY
def test_every_witness_is_whole(path):
    """Each has a request body, an answer that is a success and one that is a refusal; two answers have no refusal."""
    witness = WITNESSES[path]
    meanings = [meaning for _, meaning in witness.meanings]
    assert witness.bodies
    assert any(not isinstance(meaning, type) for meaning in meanings)
    refused = {body for body, meaning in witness.meanings if meaning in (Rejected, Unauthorized)}
    assert (b"0" in refused) is (path not in {"auth/EndSession", "Cdr/getrecords"})


def test_every_endpoint_has_a_handler():
    """The emulator serves the whole contract."""
    assert set(Emulator().state.handlers) == set(ENDPOINTS)


@EVERY_BODY
def test_a_witness_is_read_as_its_fields(path, number):
    """The emulator finds in the bytes what was written into them."""
    witness = WITNESSES[path]
    form = read_form("", witness.bodies[number])
    assert ENDPOINTS[path].codec.flatten(form) == witness.fields
    assert ENDPOINTS[path].codec.decode(form, Rules()) == witness.request


@EVERY
def test_our_encoder_says_the_same_as_the_witness(path):
    """What the client sends holds the fields of the witness, by the standard library's reading."""
    witness = WITNESSES[path]
    body = endpoint_of(witness.request).encode(witness.request, Rules(UTC)).decode()
    sent = dict(parse_qsl(body, keep_blank_values=True, strict_parsing=bool(body)))
    if witness.argument is not None:
        assert set(sent) == {witness.argument, *witness.beside}
        inside = json.loads(sent.pop(witness.argument))
        assert not inside.keys() & sent.keys()
        sent |= inside
    assert sent == witness.fields


@EVERY_BODY
async def test_a_witness_over_a_socket_gets_the_documented_answer(emulator, http, path, number):
    """The bytes get the answer of the page, whatever the content type, and leave their fields in the ledger."""
    witness = WITNESSES[path]
    token = emulator.state.sessions.open("api")
    for content_type in CONTENT_TYPES:
        witness.before(emulator.state)
        headers = {"Content-Type": content_type, "Authorization": f"Basic {token}"}
        async with http.post(url_of(emulator, path), data=witness.bodies[number], headers=headers) as response:
            body = await response.read()
            assert response.status == 200
        assert witness.answer is None or body == witness.answer
    entries = list(emulator.ledger)
    if path.startswith("auth/") or ENDPOINTS[path].safety is Safety.READ:
        assert entries == []
    else:
        assert [entry.endpoint for entry in entries] == [path] * len(CONTENT_TYPES)
        assert all(entry.fields == witness.fields | (witness.ledger or {}) and entry.answered for entry in entries)


@EVERY_BODY
async def test_parameters_may_stand_in_the_query_string(emulator, http, path, number):
    """An empty POST with everything after the question mark works as well."""
    witness = WITNESSES[path]
    token = emulator.state.sessions.open("api")
    query = quote(witness.bodies[number], safe="%&=+<>-:")
    target = URL(f"{url_of(emulator, path)}?{query}", encoded=True)
    headers = {"Authorization": f"Basic {token}"}
    witness.before(emulator.state)
    async with http.post(target, headers=headers, skip_auto_headers=["Content-Type"]) as response:
        body = await response.read()
    assert response.status == 200
    assert witness.answer is None or body == witness.answer
    assert all(entry.fields == witness.fields | (witness.ledger or {}) for entry in emulator.ledger)


@EVERY_MEANING
def test_an_answer_written_by_hand_means_what_it_says(path, body, meaning):
    """The documented success is its value, 0 is a refusal, and everything else is unknown."""
    answer = Answer(200, {}, body)
    if isinstance(meaning, type):
        with pytest.raises(meaning) as caught:
            read_answer(answer, ENDPOINTS[path].reply, ServerProfile())
        assert type(caught.value) is meaning
    else:
        assert read_answer(answer, ENDPOINTS[path].reply, ServerProfile()) == meaning


@pytest.mark.parametrize("shape", LOGIN_ANSWERS)
@pytest.mark.parametrize("path", ["auth/getUserToken", "auth/UserLogin"])
def test_every_login_answer_holds_the_token(path, shape):
    """Whatever shape a login answers in, the token comes out."""
    assert read_answer(Answer(200, {}, LOGIN_ANSWERS[shape]), ENDPOINTS[path].reply, ServerProfile()) == TOKEN


@pytest.mark.parametrize("body", [b"0", b"0\n", b'"0"'])
def test_a_login_answered_0_is_refused(body):
    """The documented failure of a login is HTTP 200 with 0."""
    with pytest.raises(Unauthorized):
        read_answer(Answer(200, {}, body), ENDPOINTS["auth/getUserToken"].reply, ServerProfile())


@pytest.mark.parametrize("body", [b"", b"<html><body>Login</body></html>", b"[]", b"{}", b"null", b'[1,{"a":2}]'])
def test_a_login_answer_without_a_token_is_unreadable(body):
    """An answer without a token is not taken for one."""
    with pytest.raises(UnreadableReply):
        read_answer(Answer(200, {}, body), ENDPOINTS["auth/UserLogin"].reply, ServerProfile())


@pytest.mark.parametrize("shape", ["raw", "quoted", "list", "object", "objects"])
@pytest.mark.parametrize("path", ["auth/getUserToken", "auth/UserLogin"])
async def test_the_emulator_logs_in_in_every_shape(http, path, shape):
    """Each shape is what the page or the clients show, and our reply reads the live token from it."""
    async with (
        Emulator(switches=Switches(get_user_token=shape, user_login=shape)) as emulator,
        http.post(url_of(emulator, path), data=b"user=api&password=secret") as response,
    ):
        body = await response.read()
    (token,) = emulator.state.sessions.live
    assert read_answer(Answer(200, {}, body), ENDPOINTS[path].reply, ServerProfile()) == token
    escaped = token.encode().replace(b"=", rb"\u003d")
    match shape:
        case "raw":
            assert body == token.encode()
        case "quoted":
            assert body == b'"' + escaped + b'"'
        case "list":
            assert body.endswith(b',"' + escaped + b'"]')
            assert msgspec.json.decode(body)[2] == token
        case "object":
            assert b'"md5secret":"' + escaped + b'"' in body
        case _:
            assert msgspec.json.decode(body)[-1]["md5secret"] == token


ANSWERS = [
    (200, {}, b"1", None),
    (200, {}, b" 1\r\n", None),
    (200, {}, b"0", Rejected),
    (200, {}, b"0\n", Rejected),
    *[(200, {}, body, UnreadableReply) for body in (b"", b'"1"', b"OK", b"<html></html>", b'{"e":1}', b"\xa01", b"11")],
    (200, {"Content-Encoding": "gzip"}, b"1", UnreadableReply),
    (401, {}, b"", Unauthorized),
    (403, {}, b"", Forbidden),
    (302, {"Location": "/Integra/login.html"}, b"", Unauthorized),
    (303, {"location": "https://acme.example/login"}, b"", Unauthorized),
    (302, {"Location": "/elsewhere"}, b"", UnreadableReply),
    (301, {"Location": "/login"}, b"", UnreadableReply),
    (307, {"Location": "/login"}, b"", UnreadableReply),
    (429, {}, b"", Throttled),
    (503, {"Retry-After": "3"}, b"", Throttled),
    (503, {}, b"1", ServerFault),
    *[(status, {}, b"1", ServerFault) for status in (408, 500, 502, 504)],
    (404, {}, b"", NotFound),
    *[(status, {}, b"1", Refused) for status in (400, 405, 411, 413, 414, 415, 431)],
    *[(status, {}, b"1", UnreadableReply) for status in (201, 202, 204, 304)],
]


@pytest.mark.parametrize(("status", "headers", "body", "meaning"), ANSWERS)
def test_the_answer_table(status, headers, body, meaning):
    """What each answer to a command means (``reliability.md`` 1.4)."""
    answer = Answer(status, headers, body)
    if meaning is None:
        assert read_answer(answer, DONE, ServerProfile()) is None
    else:
        with pytest.raises(meaning) as caught:
            read_answer(answer, DONE, ServerProfile())
        assert type(caught.value) is meaning


def test_an_aware_date_goes_out_in_the_servers_zone():
    """13:00 UTC is written as the 10:00 of Montevideo that the witness holds."""
    witness = WITNESSES["Dialers/ScheduleDialerCall"]
    moment = witness.request.calldate.replace(hour=13, tzinfo=UTC)
    request = msgspec.structs.replace(witness.request, calldate=moment)
    sent = endpoint_of(request).encode(request, Rules(ZoneInfo("America/Montevideo")))
    assert json.loads(dict(parse_qsl(sent.decode()))["callschedule"]) == witness.fields
