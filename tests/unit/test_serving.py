"""The contract read from the server's side: forms of any kind, calls, refusals, Gson's JSON."""

import json

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ucontact_async.api import ENDPOINTS
from ucontact_async.errors import Forbidden, NotFound, Rejected, Unauthorized
from ucontact_async.serving import Call, Service, answer_bytes, answer_of, gson, read_form
from ucontact_async.wire import Answer, encode_form

SCHEDULE = ENDPOINTS["Dialers/ScheduleDialerCall"]
REMOVE = ENDPOINTS["Dialers/RemoveContact"]
ROW = {"campaign": "V->", "destination": "098344484", "calldate": "2027-05-05 10:00:00"}


def argument(**changes):
    return {"callschedule": json.dumps(ROW | changes)}


def let_in(authorization):
    """Let everybody in."""


@pytest.fixture
def service():
    """The schedule endpoint alone, whose handler gives back nothing."""
    return Service(ENDPOINTS, {SCHEDULE.path: lambda _: None}, let_in)


@pytest.mark.parametrize(
    ("query", "body", "form"),
    [
        ("", b"", {}),
        ("a=1", b"b=2", {"a": "1", "b": "2"}),
        ("a=1", b"a=2", {"a": "1"}),
        ("", b"a=1&a=2", {"a": "1"}),
        ("", b"a=x+y%20z", {"a": "x y z"}),
        ("", b"a=%2B%26%3D", {"a": "+&="}),
        ("", b"a=b=c==", {"a": "b=c=="}),
        ("", b"a=%17%&b=%zz", {"a": "\x17%", "b": "%zz"}),
        ("", "a=José".encode(), {"a": "José"}),
        ("", "a=José".encode("latin-1"), {"a": "José"}),
        ("", b"a=Jos%E9", {"a": "José"}),
        ("", b"a=Jos%C3%A9", {"a": "José"}),
        ("", b"a=1\r\n2", {"a": "1\r\n2"}),
        ("", b'{"a":1}', {'{"a":1}': ""}),
        ("", b"&&=x&a", {"a": ""}),
        ("a=Jos\udce9", b"", {"a": "José"}),
    ],
)
def test_a_form_is_read_however_it_is_written(query, body, form):
    """Query string and body are merged; broken, raw, Latin-1 and empty forms are read; the first name counts."""
    assert read_form(query, body) == form


def test_a_form_is_bounded():
    """A body of separators costs no memory to speak of."""
    assert len(read_form("", b"&".join(b"a%d=1" % number for number in range(5000)))) == 1000


@given(st.text(alphabet=st.characters(exclude_categories=["Cs"])), st.binary())
def test_any_bytes_are_a_form(query, body):
    """No query and no body makes the reader fail."""
    assert isinstance(read_form(query, body), dict)


@given(st.dictionaries(st.text(st.characters(exclude_categories=["Cs"]), min_size=1), st.text("aé=&+% \n"), max_size=5))
def test_what_the_client_writes_is_read_back(form):
    """The reader undoes the client's encoder."""
    assert read_form("", encode_form(form)) == form


@given(st.recursive(st.text(st.characters(exclude_categories=["Cs"])), st.lists, max_leaves=5))
def test_gson_is_json(value):
    """What is escaped reads back as it was."""
    assert msgspec.json.decode(gson(value)) == value


def test_gson_escapes_what_html_gives_a_meaning():
    """The five characters, and the two line separators."""
    assert gson({"Ventas<-": "a=b&c>'"}) == rb'{"Ventas\u003c-":"a\u003db\u0026c\u003e\u0027"}'
    assert gson("\u2028") == rb'"\u2028"'


def test_an_endpoint_is_found_by_its_whole_path(service):
    """Only what has a handler is there, case and all."""
    assert service.endpoint_at("/Integra/resources/Dialers/ScheduleDialerCall") is SCHEDULE
    assert service.endpoint_at("/Integra/resources/dialers/scheduledialercall") is None
    assert service.endpoint_at("/Integra/resources/Dialers/Respool") is None
    assert service.endpoint_at("Dialers/ScheduleDialerCall") is None


def test_an_endpoint_is_served_under_every_spelling():
    """Each published spelling is a resource of its own, with the same handler and the path that was called."""
    endpoint = ENDPOINTS["Agents/HungupPhone"]
    calls = []
    service = Service(ENDPOINTS, {endpoint.path: calls.append}, let_in)
    for path in ("Agents/HungupPhone", "Agents/HangupPhone"):
        found = service.endpoint_at(f"/Integra/resources/{path}")
        assert (found.path, found.request_type, found.codec) == (path, endpoint.request_type, endpoint.codec)
        assert service.perform(service.open(found, {"phone": "1001"})).body == b"1"
        assert calls[-1].path == path
    assert service.endpoint_at("/Integra/resources/Agents/HangUpPhone") is None


def test_a_call_carries_wire_fields_and_request(service):
    """The fields are as written, the request is typed."""
    call = service.open(SCHEDULE, argument(alternatives="1:2"))
    assert isinstance(call, Call)
    assert call.fields == ROW | {"alternatives": "1:2"}
    assert call.request.alternatives == ("1", "2")
    assert service.perform(call).body == b"1"


@pytest.mark.parametrize(
    "form",
    [
        {},
        {"callschedule": ""},
        {"callschedule": "[]"},
        {"callschedule": "{"},
        {"callschedule": "[" * 100_000},
        {"callschedule": r'{"a":"\ud800"}'},
        {"callschedule": "\ud800"},
        {"callschedule": "1e999"},
        argument(calldate="tomorrow"),
        argument(calldate=5),
        argument(campaign=None, destination=[]),
        {"callschedule": '{"campaign":"V->"}'},
    ],
)
def test_what_cannot_be_read_is_answered_0(service, form):
    """A form that is no such call is refused as the server refuses: 200 with 0."""
    answer = service.open(SCHEDULE, form)
    assert isinstance(answer, Answer)
    assert (answer.status, answer.body) == (200, b"0")
    assert isinstance(service.fields(SCHEDULE, form), dict)


def test_who_is_not_let_in_is_refused_before_the_form_is_read():
    """401 comes before 0."""

    def keep_out(authorization):
        assert authorization == "Basic x"
        raise Unauthorized("no", status=401)

    service = Service(ENDPOINTS, {SCHEDULE.path: lambda _: None}, keep_out)
    answer = service.open(SCHEDULE, {}, "Basic x")
    assert isinstance(answer, Answer)
    assert (answer.status, answer.body) == (401, b"")


@pytest.mark.parametrize(
    ("error", "status", "body"),
    [
        (Rejected("", status=200), 200, b"0"),
        (Unauthorized("", status=200), 200, b"0"),
        (Unauthorized("", status=401), 401, b""),
        (Forbidden("", status=403), 403, b""),
        (NotFound("", status=404), 404, b""),
    ],
)
def test_a_refusal_is_answered_as_the_client_reads_it(error, status, body):
    """The errors of the client are the refusals of the server."""
    assert (answer_of(error).status, answer_of(error).body) == (status, body)

    def refuse(_):
        raise error

    service = Service(ENDPOINTS, {SCHEDULE.path: refuse}, let_in)
    assert service.perform(service.open(SCHEDULE, argument())).status == status


def test_bytes_are_answered_as_they_are():
    """A handler may write the body itself."""
    service = Service(ENDPOINTS, {REMOVE.path: lambda _: b"raw"}, let_in)
    assert service.perform(service.open(REMOVE, {"campaign": "V->", "number": "1"})).body == b"raw"


def test_an_answer_is_http():
    """Status line, headers, length, end of the connection where it ends."""
    assert answer_bytes(Answer(200, {"A": "b"}, b"1")) == b"HTTP/1.1 200 OK\r\nA: b\r\nContent-Length: 1\r\n\r\n1"
    closing = answer_bytes(Answer(599, {"content-length": "9"}, b""), keep=False)
    assert closing == b"HTTP/1.1 599 Unknown\r\ncontent-length: 9\r\nConnection: close\r\n\r\n"
