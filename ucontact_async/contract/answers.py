"""What each kind of reply looks like on the wire: a type that msgspec can describe, an example, and a check of it.

The checks are lines of JavaScript for Postman; what stands in a reply is the business of ``api`` and ``wire.py``.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal, NamedTuple

import msgspec
from msgspec import UNSET, Meta, UnsetType

from ..api.campaigns import Statuses, Summaries
from ..api.recordings import Empty, Found
from ..api.session import Anything, LoginReply
from ..wire import Done, Guid, Ok, Reply

__all__ = ["Shape", "shape_of"]

_REFUSED = "refused, nothing was done"
_GUID = "[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}"
_TEXT, _JSON = "text/plain", "application/json"
_READ_TEXT = "const said = pm.response.text().trim();"
_READ_JSON = "const said = JSON.parse(pm.response.text());"


class Shape(NamedTuple):
    """A reply on the wire: meaning, media type, type, an example, what ``0`` means (empty: unknown), its check."""

    meaning: str
    media: str
    type: Any
    example: Any
    zero: str
    check: tuple[str, ...]


def _equals(body: str, meaning: str) -> Shape:
    check = _READ_TEXT, f'pm.test("answers {body}", () => pm.expect(said).to.eql("{body}"));'
    return Shape(meaning, _TEXT, Literal[body], body, zero=_REFUSED, check=check)


class QueueElement(msgspec.Struct):
    """One queue; the last element of the list has no `queue` and only ends it."""

    queue: str | UnsetType = UNSET
    loggedIn: Annotated[int, Meta(description="Members logged in.")] | UnsetType = UNSET  # noqa: N815  the server's name
    available: Annotated[int, Meta(description="Logged in and not on a call.")] | UnsetType = UNSET
    callers: Annotated[int, Meta(description="Callers that wait now.")] | UnsetType = UNSET
    holdTime: Annotated[int, Meta(description="Average hold, seconds.")] | UnsetType = UNSET  # noqa: N815  the same
    talkTime: Annotated[int, Meta(description="Average talk, seconds.")] | UnsetType = UNSET  # noqa: N815  the same
    longestHoldTime: Annotated[int, Meta(description="Longest wait now, seconds.")] | UnsetType = UNSET  # noqa: N815
    internalActionId: str | UnsetType = UNSET  # noqa: N815  the same
    dateReceived: Annotated[str, Meta(description="A date as Java writes it.")] | UnsetType = UNSET  # noqa: N815


class CampaignObject(msgspec.Struct):
    """One campaign; an object without `campaign` is an agent or a call that waits, whose keys are not published."""

    campaign: str | UnsetType = UNSET
    availables: int | UnsetType = UNSET
    notavailables: int | UnsetType = UNSET
    paused: int | UnsetType = UNSET
    busy: int | UnsetType = UNSET
    busypaused: int | UnsetType = UNSET
    totalagents: int | UnsetType = UNSET
    logged: int | UnsetType = UNSET
    onwrapup: int | UnsetType = UNSET
    completed: Annotated[int, Meta(description="Calls answered today.")] | UnsetType = UNSET
    abandoned: Annotated[int, Meta(description="Calls abandoned today.")] | UnsetType = UNSET
    totalcalls: int | UnsetType = UNSET
    acd: Annotated[int, Meta(description="Calls that wait now.")] | UnsetType = UNSET
    talked: Annotated[str, Meta(description="Average time, `HH:MM:SS-N`.")] | UnsetType = UNSET
    hold: Annotated[str, Meta(description="Average time, `HH:MM:SS-N`.")] | UnsetType = UNSET
    abandonedlevel: Annotated[str, Meta(description="Per cent.")] | UnsetType = UNSET
    servicelevel: Annotated[str, Meta(description="Per cent.")] | UnsetType = UNSET
    servicelevel2: Annotated[str, Meta(description="Per cent.")] | UnsetType = UNSET
    strategy: str | UnsetType = UNSET
    slevelthreshold: Annotated[str, Meta(description="Seconds.")] | UnsetType = UNSET
    wrapup: Annotated[int, Meta(description="Seconds.")] | UnsetType = UNSET


class RecordingRow(msgspec.Struct):
    """One recorded call. Only `guid` and `calldate` are documented; the others were seen."""

    guid: str
    calldate: str
    src: str | UnsetType = UNSET
    dst: str | UnsetType = UNSET
    campaign: str | UnsetType = UNSET
    accountcode: Annotated[str, Meta(description="The agent.")] | UnsetType = UNSET
    duration: Annotated[int, Meta(description="Seconds.")] | UnsetType = UNSET
    billsec: Annotated[int, Meta(description="Seconds.")] | UnsetType = UNSET
    rating: int | UnsetType = UNSET
    disposition: str | UnsetType = UNSET


_END = {"internalActionId": "1163403671_1196", "dateReceived": "Nov 2, 2018 11:31:42 AM"}
_SUMMARY = [
    {
        "queue": "Ventas->",
        "loggedIn": 3,
        "available": 1,
        "callers": 2,
        "holdTime": 14,
        "talkTime": 95,
        "longestHoldTime": 31,
        **_END,
    },
    _END,
]
_STATUS = {
    "Ventas->": {
        "campaign": "Ventas->",
        **dict.fromkeys(("availables", "notavailables", "paused", "busy", "busypaused"), 0),
        **dict.fromkeys(("totalagents", "logged", "onwrapup", "completed", "abandoned", "totalcalls", "acd"), 0),
        "talked": "00:00:00-0",
        "hold": "00:00:00-0",
        "abandonedlevel": "0",
        "servicelevel": "0.0",
        "servicelevel2": "0.0",
        "strategy": "leastrecent",
        "slevelthreshold": "3",
        "wrapup": 0,
    }
}
_RECORDS = [
    {
        "guid": "5f3a1c9e-7b24-4d0f-9a61-2f8e5d3c7b10",
        "calldate": "2026-05-04 10:00:00.0",
        "src": "1001",
        "dst": "099123456",
        "campaign": "Ventas->",
        "accountcode": "Ana",
        "duration": 30,
        "billsec": 25,
        "disposition": "ANSWERED",
    }
]
_LOGIN = (
    _READ_TEXT,
    "let found = said;",
    "try { found = JSON.parse(said); } catch { /* a bare token is no JSON */ }",
    'const last = Array.isArray(found) ? found.findLast((e) => typeof e === "string") ?? found.at(-1) : found;',
    'const token = typeof last === "string" ? last : String(last?.md5secret ?? "");',
    'pm.test("answers a token", () => pm.expect(token).to.match(/^[A-Za-z0-9+/_-]{16,}={0,2}$/));',
    'if (token.length >= 16) pm.collectionVariables.set("token", token);',
)

_SHAPES: Mapping[type[Reply[Any]], Shape] = {
    Done: _equals("1", "`1`: done."),
    Ok: _equals("OK", "`OK`: started."),
    Guid: Shape(
        "The GUID of the call, before the customer has answered.",
        _TEXT,
        Annotated[str, Meta(pattern=f"^{_GUID}$")],
        "5f3a1c9e-7b24-4d0f-9a61-2f8e5d3c7b10",
        zero=_REFUSED,
        check=(
            _READ_TEXT,
            f'pm.test("answers a GUID", () => pm.expect(said).to.match(/^{_GUID}$/));',
            'if (said !== "0") pm.collectionVariables.set("guid", said);',
        ),
    ),
    Empty: Shape(
        "Nothing: it is done later. 204 is as good.",
        _TEXT,
        Literal[""],
        "",
        zero=_REFUSED,
        check=('pm.test("answers nothing", () => pm.expect(pm.response.text().trim()).to.eql(""));',),
    ),
    LoginReply: Shape(
        "The token, in one of several shapes: a JSON string, bare text, the last string of a JSON list, or the "
        "`md5secret` of an object. `=` may be written `\\u003d`.",
        _JSON,
        str | list[Any] | dict[str, Any],
        "YXBpOjEyM2U0NTY3LWU4OWItNDJkMy1hNDU2LTQyNjYxNDE3NDAwMA==",
        zero=_REFUSED,
        check=_LOGIN,
    ),
    Anything: Shape("The body is not documented; `1` was seen.", _TEXT, str, "1", zero="", check=()),
    Found: Shape(
        "The calls of this page; `[]` for none. The keys are not documented but for two.",
        _JSON,
        list[RecordingRow],
        _RECORDS,
        zero="none, or refused: the page does not say",
        check=(
            _READ_JSON,
            'pm.test("answers a list of calls", () => pm.expect(said === 0 ? [] : said).to.be.an("array"));',
        ),
    ),
    Summaries: Shape(
        "A list of queues, and an element without a queue that ends it.",
        _JSON,
        list[QueueElement],
        _SUMMARY,
        zero=_REFUSED,
        check=(
            _READ_JSON,
            'pm.test("answers queues and an end", () => {',
            '  pm.expect(said).to.be.an("array").that.is.not.empty;',
            '  pm.expect(said.slice(0, -1).every((e) => typeof e.queue === "string")).to.eql(true);',
            '  pm.expect(said.at(-1)).to.not.have.property("queue");',
            "});",
        ),
    ),
    Statuses: Shape(
        "An object of campaigns by their names; an unknown name gets an empty one.",
        _JSON,
        dict[str, CampaignObject],
        _STATUS,
        zero=_REFUSED,
        check=(
            _READ_JSON,
            'pm.test("answers campaigns by name", () => {',
            '  pm.expect(said).to.be.an("object");',
            "  for (const [name, status] of Object.entries(said)) {",
            "    if (status.campaign !== undefined) pm.expect(status.campaign).to.eql(name);",
            "  }",
            "});",
        ),
    ),
}


def shape_of(reply: Reply[Any]) -> Shape:
    """Return what ``reply`` looks like on the wire."""
    return _SHAPES[type(reply)]
