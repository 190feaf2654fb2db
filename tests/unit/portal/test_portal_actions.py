"""The seven actions, their replies and the envelope, against what the vendor's page and Porthole write."""

import json
from datetime import datetime
from zoneinfo import ZoneInfo

import msgspec
import pytest

from ucontact_async import InvalidRequest, Respool
from ucontact_async.portal import (
    CallAction,
    CallWithPhoneAction,
    CtiAction,
    CtiReply,
    Envelope,
    GuidReply,
    HangUpAction,
    RespoolAction,
    ScheduleAction,
    TagAction,
    action_fields,
    read_action,
    read_reply,
)
from ucontact_async.portal.actions import ACTIONS
from ucontact_async.text import Rules

GUID = "0d9bb1de-0000-4000-8000-000000000001"
RULES = Rules(ZoneInfo("America/Montevideo"))
RESPOOL = Respool(campaign="Sale->", destination="099123456", dialerbase="base1", contact=7, data={"id": "1"})
OBJECT = {
    "campaign": "Sale->",
    "destination": "099123456",
    "dialerbase": "base1",
    "status": 1,
    "data": "id=1",
    "alternatives": "",
    "contact": 7,
    "retries": 0,
    "priority": 9999,
    "agentphone": "",
}
# By hand, from protocol.md 6.1.
POSTED = [
    (
        CallAction(campaign="Sale->", callerid="24001234", destination="099123456"),
        {"action": "call", "campaign": "Sale->", "callerid": "24001234", "destination": "099123456"},
    ),
    (
        CallWithPhoneAction(destination="099123456", campaign="Sale->"),
        {"action": "callWithPhone", "destination": "099123456", "campaign": "Sale->"},
    ),
    (HangUpAction(), {"action": "hangup"}),
    (TagAction(guid=GUID, message="angry"), {"action": "tag", "guid": GUID, "message": "angry"}),
    (CtiAction(), {"action": "CTI"}),
    (RespoolAction(respool=RESPOOL), {"action": "respool", "objetoRespool": OBJECT}),
    (
        ScheduleAction(call_date=datetime(2099, 5, 5, 10), respool=RESPOOL),
        {"action": "schedule", "callDate": "2099-05-05 10:00:00", "objectDialer": OBJECT},
    ),
]


@pytest.mark.parametrize(("action", "posted"), POSTED, ids=[posted["action"] for _, posted in POSTED])
def test_each_action_is_the_object_of_the_page(action, posted):
    """An action is written as the page posts it, and read back the same."""
    assert action_fields(action, RULES) == posted
    assert action_fields(read_action(posted, Rules()), RULES) == posted
    assert msgspec.structs.asdict(read_action(json.loads(json.dumps(posted)))) == msgspec.structs.asdict(action)


def test_there_are_seven():
    """The union has the seven actions of the page and no other, each under its own name."""
    assert list(ACTIONS) == ["call", "callWithPhone", "hangup", "tag", "CTI", "respool", "schedule"]
    assert [ACTIONS[posted["action"]] for _, posted in POSTED] == [type(action) for action, _ in POSTED]


@pytest.mark.parametrize(
    ("action", "field"),
    [
        (CallAction(campaign="Sale", destination="099123456"), "campaign"),
        (CallAction(campaign="Sale->", destination=""), "destination"),
        (CallAction(campaign="Sale->", destination="099123456", callerid="x"), "callerid"),
        (CallWithPhoneAction(campaign="Sale->", destination=99123456), "destination"),
        (TagAction(guid="../..", message=""), "guid"),
        (TagAction(guid=GUID, message="a\nb"), "message"),
        (RespoolAction(respool=OBJECT), "respool"),
        (RespoolAction(respool=msgspec.structs.replace(RESPOOL, contact=-1)), "contact"),
        (RespoolAction(respool=msgspec.structs.replace(RESPOOL, alternatives=("099123456",))), "alternatives"),
        (ScheduleAction(respool=RESPOOL), "call_date"),
    ],
)
def test_an_action_keeps_the_rules_of_the_api(action, field):
    """What the API cannot carry is refused before it is in a page, by our name for it."""
    with pytest.raises(InvalidRequest) as refused:
        action_fields(action, RULES)
    assert refused.value.field == field


def test_what_is_typed_in_may_be_empty():
    """A field that the agent types in may be empty, and is checked as any other if it is not."""
    assert action_fields(CallAction(campaign="Sale->", destination=""), typed=["destination"])["destination"] == ""
    assert action_fields(ScheduleAction(respool=RESPOOL), typed=["call_date"])["callDate"] == ""
    with pytest.raises(InvalidRequest, match="destination"):
        action_fields(CallAction(campaign="Sale->", destination="x"), typed=["destination"])


def test_a_date_needs_the_servers_zone():
    """Without the server's time zone no date is written: the portal would take it for its own."""
    with pytest.raises(InvalidRequest, match="time zone"):
        action_fields(ScheduleAction(call_date=datetime(2099, 5, 5), respool=RESPOOL))


@pytest.mark.parametrize(
    "posted",
    [
        None,
        [],
        "call",
        {},
        {"action": None},
        {"action": ["call"]},
        {"action": "Call"},
        {"action": "call"},
        {"action": "call", "campaign": "Sale->", "destination": {}},
        {"action": "respool", "objetoRespool": "x"},
        {"action": "respool", "objetoRespool": {"campaign": "Sale->"}},
        {"action": "schedule", "objectDialer": OBJECT},
        {"action": "schedule", "callDate": "tomorrow", "objectDialer": OBJECT},
    ],
    ids=repr,
)
def test_anything_else_is_no_action(posted):
    """What is not one of the seven objects is refused."""
    with pytest.raises(InvalidRequest):
        read_action(posted)


def test_the_replies_are_read():
    """A GUID comes for both kinds of call, the call object for CTI, as text or as an object."""
    assert read_reply(CallAction, {"guid": GUID}) == read_reply(CallWithPhoneAction, {"guid": GUID})
    assert read_reply(CallAction, {"guid": GUID}) == GuidReply(guid=GUID)
    call = {"Guid": GUID, "Campaign": "Sale<-"}
    reply = read_reply(CtiAction, {"CTI": json.dumps(call)})
    assert isinstance(reply, CtiReply)
    assert reply == read_reply(CtiAction, {"CTI": call})
    assert (reply.cti.guid, reply.cti.campaign) == (GUID, "Sale<-")


@pytest.mark.parametrize(
    ("action", "data"),
    [
        (CallAction, None),
        (CallAction, GUID),
        (CallAction, {}),
        (CallAction, {"guid": GUID, "more": 1}),
        (CallAction, {"guid": 7}),
        (CallAction, {"guid": ""}),
        (CallAction, {"guid": f"{GUID}/../x"}),
        (CallAction, {"guid": "<img src=x>"}),
        (CallAction, {"CTI": "{}"}),
        (CtiAction, {"guid": GUID}),
        (CtiAction, {"CTI": "{"}),
        (CtiAction, {"CTI": "{}"}),
        (CtiAction, {"CTI": 1}),
        (HangUpAction, {"guid": GUID}),
        (TagAction, {}),
    ],
    ids=repr,
)
def test_any_other_reply_is_refused(action, data):
    """A reply is exactly the one key that is documented for its action, with a sound value."""
    with pytest.raises(InvalidRequest):
        read_reply(action, data)


def test_the_envelope_is_portholes():
    """The envelope is JSON text with the five keys that Porthole 1.0.0 writes, and is read from them."""
    envelope = Envelope(
        data={"action": "hangup"}, source_origin="https://a.example", target_origin="*", source_window_name="form"
    )
    assert json.loads(envelope.write()) == {
        "data": {"action": "hangup"},
        "sourceOrigin": "https://a.example",
        "targetOrigin": "*",
        "sourceWindowName": "form",
        "targetWindowName": "",
    }
    assert Envelope.read(envelope.write()) == Envelope.read(envelope.write().encode()) == envelope


@pytest.mark.parametrize(
    "text", ["", "{", "[]", '"x"', '{"data": 1}', b"\xff", "[" * 100_000], ids=lambda t: repr(t)[:9]
)
def test_other_messages_are_no_envelope(text):
    """Messages of other senders, broken or deep ones are refused."""
    with pytest.raises(InvalidRequest):
        Envelope.read(text)


def test_numbers_are_hidden():
    """No repr shows a number, a note or what the form says of a customer."""
    values = [*(action for action, _ in POSTED), Envelope(data=OBJECT, source_origin="a", target_origin="b")]
    values.append(read_reply(CtiAction, {"CTI": {"Guid": GUID, "Campaign": "Sale<-", "Callerid": "099123456"}}))
    for value in values:
        assert "123456" not in repr(value)
        assert "angry" not in repr(value)
