"""The portal's call object: read from its texts, checked, and fed to a respool."""

import json

import pytest

from ucontact_async import InvalidRequest, Respool
from ucontact_async.portal import CtiCall

GUID = "0d9bb1de-0000-4000-8000-000000000001"
# By hand, from protocol.md 6.2: as forms have seen it, and what is documented for the call of a dialer.
INBOUND = {
    "Guid": GUID,
    "Screen": "FALSE",
    "Form": "form1",
    "Campaign": "Ventas<-",
    "Callerid": "099123456",
    "ParAndValues": "id=7:note=a=b",
    "Beep": "TRUE",
    "Answer": "FALSE",
}
DIALLED = INBOUND | {
    "Campaign": "Ventas->",
    "Destination": "099123456",
    "Status": "1",
    "Alternatives": "099123456:099123457",
    "Retries": "2",
    "Contact": "77",
    "Dialerbase": "base1",
    "Priority": "1",
    "Agentphone": "1001",
}


def test_its_texts_become_our_types():
    """TRUE and FALSE become booleans, digits numbers, pairs a mapping, numbers a tuple."""
    call = CtiCall.read(json.dumps(DIALLED))
    assert call == CtiCall(
        guid=GUID,
        campaign="Ventas->",
        callerid="099123456",
        data={"id": "7", "note": "a=b"},
        form="form1",
        beep=True,
        destination="099123456",
        alternatives=("099123456", "099123457"),
        dialerbase="base1",
        contact=77,
        retries=2,
        priority=1,
        agentphone="1001",
    )


@pytest.mark.parametrize(
    "cti", [INBOUND, DIALLED, DIALLED | {"Channel": "webchat"}], ids=["inbound", "dialled", "chat"]
)
def test_it_is_written_as_the_portal_has_it(cti):
    """What was read is written the same, a dialer's keys for a dialer's call only."""
    assert CtiCall.read(cti).to_cti() == cti
    assert CtiCall.read(json.dumps(cti).encode()) == CtiCall.read({key.lower(): text for key, text in cti.items()})


def test_it_feeds_a_respool():
    """The next request takes contact and list over, the next number, and never priority 1."""
    respool = Respool.from_cti(CtiCall.read(DIALLED | {"ParAndValues": "id=7"}).to_cti())
    assert respool == Respool(
        campaign="Ventas->",
        destination="099123457",
        dialerbase="base1",
        contact=77,
        alternatives=("099123456",),
        data={"id": "7"},
        priority=9999,
        agentphone="1001",
    )
    with pytest.raises(InvalidRequest, match="made by a dialer"):
        Respool.from_cti(CtiCall.read(INBOUND).to_cti())


def test_keys_nobody_documented_are_left_out():
    """A later portal may add keys, and leave optional ones out or empty."""
    assert CtiCall.read({**INBOUND, "New": {"x": 1}, "Screen": "", "Form": None}) == CtiCall.read(
        {key: text for key, text in INBOUND.items() if key not in ("Screen", "Form")}
    )


@pytest.mark.parametrize(
    ("changed", "field"),
    [
        ({"Guid": None}, "guid"),
        ({"Guid": ""}, "guid"),
        ({"Guid": "../../etc"}, "guid"),
        ({"Guid": ["x"]}, "guid"),
        ({"Campaign": None}, "campaign"),
        ({"Campaign": "a\nb"}, "campaign"),
        ({"Beep": "maybe"}, "beep"),
        ({"Contact": "7x"}, "contact"),
        ({"Contact": "-7"}, "contact"),
        ({"Contact": "99999999999"}, "contact"),
        ({"Priority": "1_0"}, "priority"),
        ({"Callerid": {}}, "callerid"),
        ({"Destination": "099&x=1"}, "destination"),
        ({"Alternatives": ["099"]}, "alternatives"),
    ],
)
def test_every_value_is_checked(changed, field):
    """It comes through a browser: a value of the wrong kind is refused by our name for it."""
    with pytest.raises(InvalidRequest) as refused:
        CtiCall.read(DIALLED | changed)
    assert refused.value.field == field


@pytest.mark.parametrize("cti", ["", "{", "[]", "1", b"\xff", "[" * 100_000, 7, None], ids=lambda cti: repr(cti)[:9])
def test_anything_else_is_no_call(cti):
    """What is no object is refused."""
    with pytest.raises(InvalidRequest) as refused:
        CtiCall.read(cti)
    assert refused.value.field == "cti"


def test_the_customer_is_hidden():
    """Its repr shows neither numbers nor what the form says."""
    shown = repr(CtiCall.read(DIALLED | {"ParAndValues": "name=Ana"}))
    assert "23456" not in shown
    assert "23457" not in shown
    assert "Ana" not in shown
    assert "Ventas->" in shown
