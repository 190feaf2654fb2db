"""What comes through an agent's browser: envelopes, actions, results and the call object."""

import msgspec

from ucontact_async.api.dialers import Respool
from ucontact_async.errors import InvalidRequest
from ucontact_async.portal.actions import ACTIONS, Envelope, action_fields, read_action
from ucontact_async.portal.cti import CtiCall
from ucontact_async.portal.results import read_result
from ucontact_async.text import Rules

from .forms import SOUND, ZONES
from .target import DEEP, Draw, Target, expect, reread, text_of

RULES = Rules(ZONES[0])
ORIGIN = "https://forms.acme.example"
HEADERS = {"Origin": ORIGIN, "Content-Type": "application/json"}


def envelope(data: bytes) -> None:
    """An envelope of Porthole's, read and written again, and the action in it."""
    found = Envelope.read(data)
    repr(found)
    expect(reread(Envelope.read, found.write()) == found, "an envelope is not what was written")
    _act(found.data)


def _act(fields) -> None:
    action = read_action(fields, RULES)
    repr(action)
    posted = action_fields(action, RULES, typed=("call_date",))
    again = reread(read_action, msgspec.json.decode(msgspec.json.encode(posted)), RULES)
    expect(action_fields(again, RULES, typed=("call_date",)) == posted, "an action is not what was written")


def action(data: bytes) -> None:
    """The object that a page posts for an action."""
    draw = Draw(data)
    kind = draw.choice(list(ACTIONS))
    names = ("campaign", "callerid", "destination", "guid", "message", "callDate", "objetoRespool", "objectDialer")
    fields = {"action": kind} | {name: draw.text((*SOUND, "2027-05-05 10:00:00")) for name in names}
    if draw.byte() % 2:
        try:
            contact = msgspec.json.decode(draw.rest())
        except (msgspec.DecodeError, UnicodeError, RecursionError):
            return
        fields |= {"objetoRespool": contact, "objectDialer": contact}
    _act(fields)


def call_object(data: bytes) -> None:
    """The call object as the portal gives it, read, written and read; and the next request for its contact."""
    call = CtiCall.read(data)
    repr(call)
    again = reread(CtiCall.read, call.to_cti())
    plain = msgspec.structs.replace(call, destination="", alternatives=(), contact=0, retries=0, priority=9999)
    plain = msgspec.structs.replace(plain, agentphone="")
    expect(again == (call if call.dialerbase else plain), "a call is not what was written")
    repr(Respool.from_cti(data))


def respool(data: bytes) -> None:
    """The next request out of any call object, without a look at the rest of it."""
    Respool.from_cti(text_of(data))


def result(data: bytes) -> None:
    """What the page posts back to its service."""
    draw = Draw(data)
    headers = HEADERS | ({draw.text(("origin",)): draw.text()} if draw.byte() % 4 == 3 else {})
    repr(read_result(draw.rest(), headers, origin=ORIGIN))


_CALL = (
    b'{"Guid":"5f3a1c9e-7b24-4d0f","Screen":"FALSE","Form":"","Campaign":"Ventas->","Callerid":"098344484",'
    b'"ParAndValues":"id=7:n=Ana","Beep":"FALSE","Answer":"TRUE","Destination":"098344484",'
    b'"Alternatives":"24001234:24001235","Dialerbase":"lista","Contact":"7","Retries":"0","Priority":"1"}'
)
_RESPOOL = (
    b'{"campaign":"Ventas->","destination":"098344484","dialerbase":"lista","contact":7,"retries":0,"priority":50,'
    b'"alternatives":"24001234","data":"id=7","agentphone":""}'
)
_ACTIONS = (
    b'{"action":"call","campaign":"Ventas->","callerid":"24001111","destination":"098344484"}',
    b'{"action":"tag","guid":"5f3a1c9e-7b24-4d0f","message":"again"}',
    b'{"action":"hangup"}',
    b'{"action":"schedule","callDate":"2027-05-05 10:00:00","objectDialer":%b}' % _RESPOOL,
    b'{"action":"respool","objetoRespool":%b}' % _RESPOOL,
)
_ENVELOPE = (
    b'{"data":%b,"sourceOrigin":"https://a.example","targetOrigin":"*","sourceWindowName":"","targetWindowName":""}'
)
_REFUSED = (InvalidRequest,)

TARGETS = (
    Target("envelope", envelope, tuple(_ENVELOPE % fields for fields in (*_ACTIONS, *DEEP)), _REFUSED),
    Target("action", action, tuple(bytes([kind]) + b"\xc0" * 8 + b"\x01" + _RESPOOL for kind in range(7)), _REFUSED),
    Target("call object", call_object, (_CALL, _CALL.lower(), b"{}", *DEEP), _REFUSED),
    Target(
        "next respool",
        respool,
        (_CALL, _RESPOOL, _CALL.replace(b'"Contact":"7"', b'"Contact":"%b"' % (b"7" * 5000)), *DEEP),
        _REFUSED,
    ),
    Target(
        "result",
        result,
        (
            b'\x00{"action":"hangup","outcome":"posted"}',
            b'\x00{"action":"call","outcome":"answered","data":{"guid":"5f3a1c9e-7b24-4d0f"}}',
            b'\x00{"action":"CTI","outcome":"answered","data":{"CTI":%b}}' % _CALL,
            b"\x03\xc0\x00{}",
        ),
        _REFUSED,
    ),
)
