"""The JSON objects of the vendor's page, written by hand from ``protocol.md``: read, written again, the same."""

import json
from datetime import UTC, datetime
from urllib.parse import parse_qsl, quote

import pytest

from ucontact_async.api import ENDPOINTS, endpoint_of
from ucontact_async.api.calls import BlockNumber
from ucontact_async.api.dialers import DialerTask, Respool, ScheduledCall
from ucontact_async.serving import read_form
from ucontact_async.text import Rules

RULES = Rules(UTC)
WHEN = datetime(2027, 5, 5, 10, tzinfo=UTC)
PAIRS = {"nombre": "Ana Pérez", "consulta": "¿cuándo llega?", "mail": "ana@example.com"}
PHONES = ("099123456", "24001234")
CALLED = {"destination": "098344484", "alternatives": PHONES, "data": PAIRS}
_CALLED = (
    '"destination":"098344484","alternatives":"099123456:24001234",'
    '"data":"nombre=Ana Pérez:consulta=¿cuándo llega?:mail=ana@example.com"'
)

EXAMPLES = {
    "DialerTask A, priority 1": (
        "call",
        (
            '{"calldate":null,"campaign":"Ventas<-","destination":"098344484","alternatives":"","agent":"","data":"",'
            '"source":"source","bulk":false,"automatic":true}'
        ),
        DialerTask.urgent(campaign="Ventas<-", destination="098344484"),
    ),
    "DialerTask B, call now": (
        "call",
        '{"calldate":null,"campaign":"Ventas<-",' + _CALLED + ',"agent":"","source":"source","bulk":false,'
        '"automatic":false}',
        DialerTask.now(campaign="Ventas<-", **CALLED),
    ),
    "DialerTask C, scheduled": (
        "call",
        '{"calldate":"2027-05-05 10:00:00","campaign":"Ventas<-",' + _CALLED + ',"agent":"","source":"source",'
        '"bulk":true,"automatic":false}',
        DialerTask.scheduled(campaign="Ventas<-", calldate=WHEN, **CALLED),
    ),
    "DialerTask D, the agent's user name": (
        "call",
        '{"calldate":null,"campaign":"Ventas->",' + _CALLED + ',"agent":"Ana","source":"source","bulk":true,'
        '"automatic":true}',
        DialerTask.for_agent(campaign="Ventas->", agent="Ana", **CALLED),
    ),
    "DialerTask D, the agent's phone": (
        "call",
        '{"calldate":null,"campaign":"Ventas->",' + _CALLED + ',"agent":"1001","source":"source","bulk":true,'
        '"automatic":true}',
        DialerTask.for_phone(campaign="Ventas->", phone="1001", **CALLED),
    ),
    "Respool": (
        "callspool",
        '{"campaign":"Ventas->","dialerbase":"Base mayo","status":1,"contact":1234,"retries":0,"priority":9999,'
        '"agentphone":"",' + _CALLED + "}",
        Respool(campaign="Ventas->", dialerbase="Base mayo", contact=1234, **CALLED),
    ),
    "Respool for an agent of a progressive dialer": (
        "callspool",
        (
            '{"campaign":"Ventas->","dialerbase":"Base mayo","status":1,"contact":7,"retries":3,"priority":2,'
            '"agentphone":"1001","destination":"098344484","alternatives":"","data":""}'
        ),
        Respool(
            campaign="Ventas->",
            destination="098344484",
            dialerbase="Base mayo",
            contact=7,
            retries=3,
            priority=2,
            agentphone="1001",
        ),
    ),
    "ScheduleDialerCall": (
        "callschedule",
        '{"calldate":"2027-05-05 10:00:00","campaign":"Ventas->","agentphone":"1001",' + _CALLED + "}",
        ScheduledCall(campaign="Ventas->", calldate=WHEN, agentphone="1001", **CALLED),
    ),
    "addblack": (
        "black",
        (
            '{"phone":"098344484","campaign":"Ventas->","username":"Ana","company":"ACME S.A.","job_title":"compras",'
            '"name":"José"}'
        ),
        BlockNumber(
            phone="098344484",
            campaign="Ventas->",
            username="Ana",
            company="ACME S.A.",
            job_title="compras",
            name="José",
        ),
    ),
    "addblack, all campaigns": (
        "black",
        '{"phone":"098344484","campaign":"*","username":"","company":"","job_title":"","name":""}',
        BlockNumber(phone="098344484"),
    ),
}
# The keys as the catalogue lists them (2.4 to 2.7).
KEYS = {
    "call": "calldate campaign destination alternatives agent data source bulk automatic",
    "callspool": ("campaign destination dialerbase status data alternatives contact retries priority agentphone"),
    "callschedule": "calldate campaign destination alternatives agentphone data",
    "black": "phone campaign username company job_title name",
}


def same_json(one, other):
    """Compare values and their JSON types: 1 is not true, null is not an empty text."""
    return json.dumps(one, sort_keys=True) == json.dumps(other, sort_keys=True)


@pytest.mark.parametrize(("argument", "text", "request_"), EXAMPLES.values(), ids=EXAMPLES)
def test_an_example_of_the_page_comes_back(argument, text, request_):
    """Its bytes are read as our request, and what that writes decodes to the same JSON, key by key."""
    page = json.loads(text)
    assert page.keys() == set(KEYS[argument].split())
    endpoint = endpoint_of(request_)
    read = endpoint.codec.decode(read_form("", f"{argument}={quote(text)}".encode()), RULES)
    assert read == request_
    for said in (read, request_):
        ((name, written),) = parse_qsl(endpoint.encode(said, RULES).decode(), strict_parsing=True)
        assert name == argument
        assert same_json(json.loads(written), page)


def test_every_object_has_an_example():
    """No endpoint with a JSON argument but the filter of getrecords is left out, nor one of the task's five uses."""
    arguments = {endpoint.codec.argument for endpoint in ENDPOINTS.values()} - {None, "filter"}
    assert {argument for argument, _, _ in EXAMPLES.values()} == arguments
    tasks = [request for _, _, request in EXAMPLES.values() if isinstance(request, DialerTask)]
    assert len({(task.calldate, task.agent, task.bulk, task.automatic) for task in tasks}) == 5
