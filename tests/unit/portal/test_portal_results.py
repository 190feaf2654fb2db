"""What a page posts back: read, checked, and refused if it comes from elsewhere."""

import json

import pytest

from ucontact_async import InvalidRequest
from ucontact_async.portal import CallAction, CtiAction, GuidReply, HangUpAction, Result, read_result

GUID = "0d9bb1de-0000-4000-8000-000000000001"
ORIGIN = "https://forms.acme.example"
HEADERS = {"Origin": ORIGIN, "Sec-Fetch-Site": "same-origin", "Content-Type": "application/json"}


def read(posted, headers=HEADERS, origin=ORIGIN):
    body = posted if isinstance(posted, bytes) else json.dumps(posted).encode()
    return read_result(body, headers, origin=origin)


def test_each_outcome_is_read():
    """An answer, an action without one and one that was not answered are told apart."""
    answered = read({"action": "call", "outcome": "answered", "data": {"guid": GUID}})
    assert answered == Result(action=CallAction, outcome="answered", reply=GuidReply(guid=GUID))
    assert read({"action": "hangup", "outcome": "posted", "data": None}) == Result(
        action=HangUpAction, outcome="posted"
    )
    assert read({"action": "call", "outcome": "unanswered"}) == Result(action=CallAction, outcome="unanswered")
    call = {"Guid": GUID, "Campaign": "Ventas<-"}
    known = read({"action": "CTI", "outcome": "answered", "data": {"CTI": json.dumps(call)}})
    assert known.action is CtiAction
    assert known.reply.cti.guid == GUID


@pytest.mark.parametrize(
    "posted",
    [
        b"",
        b"{",
        b"\xff",
        b"[" * 60_000,
        b" " * 70_000,
        [],
        {},
        {"action": "call"},
        {"action": "dial", "outcome": "posted"},
        {"action": "call", "outcome": "done"},
        {"action": "call", "outcome": "posted"},
        {"action": "call", "outcome": "answered"},
        {"action": "call", "outcome": "answered", "data": {"guid": "' or 1=1"}},
        {"action": "call", "outcome": "answered", "data": {"guid": GUID, "x": 1}},
        {"action": "call", "outcome": "unanswered", "data": {"guid": GUID}},
        {"action": "hangup", "outcome": "answered", "data": {"guid": GUID}},
        {"action": "hangup", "outcome": "unanswered"},
        {"action": "hangup", "outcome": "posted", "more": 1},
    ],
    ids=lambda posted: repr(posted)[:40],
)
def test_anything_else_is_refused(posted):
    """What the script never posts is refused, not guessed at."""
    with pytest.raises(InvalidRequest) as refused:
        read(posted)
    assert refused.value.field != "origin"


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Origin": ORIGIN},
        HEADERS | {"Origin": "https://evil.example"},
        HEADERS | {"Origin": "null"},
        HEADERS | {"Origin": f"{ORIGIN}.evil.example"},
        HEADERS | {"Sec-Fetch-Site": "cross-site"},
        HEADERS | {"Sec-Fetch-Site": "same-site"},
        HEADERS | {"Content-Type": "text/plain"},
        HEADERS | {"Content-Type": "application/x-www-form-urlencoded"},
    ],
    ids=repr,
)
def test_only_a_page_of_the_service_may_post(headers):
    """Another site, a form of another site, and whoever does not say where it comes from are refused."""
    with pytest.raises(InvalidRequest) as refused:
        read({"action": "hangup", "outcome": "posted"}, headers)
    assert refused.value.field == "origin"


@pytest.mark.parametrize(
    "headers",
    [
        {name.lower(): value for name, value in HEADERS.items()},
        {"Origin": ORIGIN, "Content-Type": "Application/JSON; charset=utf-8"},
    ],
)
def test_the_services_own_pages_may(headers):
    """Names of headers in any case, and a browser that does not yet say Sec-Fetch-Site, are as good."""
    assert (
        read({"action": "hangup", "outcome": "posted"}, headers, "https://FORMS.acme.example:443/").outcome == "posted"
    )
