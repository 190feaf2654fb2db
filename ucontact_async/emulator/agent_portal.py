"""The agent portal: a page that embeds a form and does what the form asks, as the agent who sits at it.

It performs the page's seven "via Proxy" actions on the contact centre's state, and decides nothing of what they do.
Numbers are masked on the page; the ledger has them whole.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from datetime import UTC, datetime
from html import escape
from importlib.resources import files
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import msgspec
from aiohttp import web

from ..api import endpoint_of
from ..api.calls import AgentCall, HangUp
from ..api.dialers import ScheduledCall
from ..api.recordings import TagRecording
from ..errors import InvalidRequest, Refused, Rejected, SettingsError
from ..portal.actions import (
    Action,
    CallAction,
    CallWithPhoneAction,
    CtiAction,
    Envelope,
    HangUpAction,
    RespoolAction,
    ScheduleAction,
    TagAction,
    read_action,
)
from ..portal.cti import CtiCall
from ..portal.page import browser_origin
from ..portal.results import check_same_origin
from ..serving import Call, Written, answer_bytes, read_body
from ..text import PAIRS, PHONE_LIST, Rules, mask_phone, printable
from ..wire import COMMAND_LIMIT, Answer
from .calls import CallRecord
from .ledger import Entry, Ledger

if TYPE_CHECKING:
    from ..endpoint import Request
    from .state import ContactCentre

__all__ = ["PORTAL", "AgentPortal", "Asked"]

PORTAL = "/_emulator/portal"
_PARTS = {f"{PORTAL}.css": ("agent_portal.css", "text/css"), f"{PORTAL}.js": ("agent_portal.js", "text/javascript")}
_DOORS = {"/act": "POST", "/next": "POST", "/desk": "GET"}
_READ = Rules()
_WRITE = Rules(UTC)  # dates without a zone stay as they are written
_SHOWN = 12
_KEPT = 1_000


class Asked(msgspec.Struct, frozen=True, kw_only=True):
    """One action that a page asked for, with the fields it posted; ``refused`` says why it was not performed."""

    action: str
    fields: Any
    reply: dict[str, str] | None = None
    refused: str = ""


class AgentPortal:
    """The portal of one agent, ``agent`` at ``phone``, who has the call that came or was made last.

    ``asked`` has the last thousand actions in their order, also the one that only reads. What is refused is not
    answered, for the vendor's page documents no such answer.
    """

    def __init__(
        self, state: ContactCentre, ledger: Ledger, clock: Callable[[], datetime] = lambda: datetime.now(UTC)
    ) -> None:
        """``clock`` tells the server's local time."""
        self.agent = "Ana"
        self.phone = "1001"
        self.asked: list[Asked] = []
        self._state = state
        self._ledger = ledger
        self._clock = clock

    @property
    def call(self) -> CallRecord | None:
        """The agent's call, ended or not."""
        return next((call for call in reversed(self._state.switchboard.cdr) if call.phone == self.phone), None)

    def dial_next(self) -> CallRecord | None:
        """Let a dialer put its next call through to the agent; ``None`` if none is due."""
        return self._state.dial_next(self._clock(), agent=self.agent, phone=self.phone)

    def act(self, fields: Any) -> dict[str, str] | None:
        """Do what a page asks by the object ``fields``, and return what it is answered; ``None`` for no answer."""
        reply, refused = None, ""
        try:
            reply = self._perform(read_action(fields, _READ))
        except (InvalidRequest, Refused) as error:
            refused = str(error)
        name = str(fields.get("action")) if isinstance(fields, dict) else ""
        self.asked.append(Asked(action=name, fields=fields, reply=reply, refused=refused))
        del self.asked[:-_KEPT]
        return reply

    def clear(self) -> None:
        """Forget what was asked."""
        self.asked.clear()

    def shows(self, path: str) -> bool:
        """Return whether ``path`` is a part of the portal."""
        return path == PORTAL or path in _PARTS or path.removeprefix(PORTAL) in _DOORS

    async def serve(self, request: web.BaseRequest, path: str) -> web.StreamResponse:
        """Answer a request for one of its parts."""
        door = path.removeprefix(PORTAL)
        if request.method != _DOORS.get(door, "GET"):
            return _written(request, Answer(405, {}, b""))
        if path in _PARTS:
            file, kind = _PARTS[path]
            return _written(request, Answer(200, _headers(kind), _read(file)))
        if door == "":
            return _written(request, self._page(request.rel_url.query.get("form", "")))
        if door == "/desk":
            return _written(request, _json(self._desk()))
        try:
            check_same_origin(request.headers, f"{request.scheme}://{request.host}")
        except (InvalidRequest, SettingsError):
            return _written(request, Answer(403, {}, b""))
        if door == "/next":
            self.dial_next()
            return _written(request, Answer(204, {}, b""))
        return await self._take(request)

    async def _take(self, request: web.BaseRequest) -> Written:
        try:
            asked = Envelope.read(await read_body(request, COMMAND_LIMIT) or b"")
        except InvalidRequest:
            return _written(request, Answer(400, {}, b""))
        before = self._ledger.total
        reply = self.act(asked.data)
        entry = self._ledger.entries[-1] if self._ledger.total > before else None
        if reply is None:
            return _written(request, Answer(204, {}, b""), entry)
        answer = Envelope(
            data=reply,
            source_origin=f"{request.scheme}://{request.host}",
            target_origin=asked.source_origin,
            target_window_name=asked.source_window_name,
        )
        return _written(request, Answer(200, _headers("application/json"), answer.write().encode()), entry)

    def _perform(self, action: Action) -> dict[str, str] | None:
        match action:
            case CallAction() | CallWithPhoneAction():
                callerid = action.callerid if isinstance(action, CallAction) else ""
                return {"guid": self._do(self._agent_call(action.campaign, action.destination, callerid))}
            case HangUpAction():
                self._do(HangUp(phone=self.phone))
            case TagAction():
                if (call := self._state.switchboard.find(action.guid)) is None:
                    raise Rejected("there is no such call", status=200)
                self._do(TagRecording(phone=call.destination, guid=action.guid, data=action.message))
            case CtiAction():
                call = self.call
                return {"CTI": msgspec.json.encode({} if call is None else _cti(call)).decode()}
            case RespoolAction():
                self._do(action.respool)
            case ScheduleAction():
                self._do(_scheduled(action))
        return None

    def _agent_call(self, campaign: str, destination: str, callerid: str) -> AgentCall:
        return AgentCall(
            agent=self.agent, phone=self.phone, destination=destination, outqueue=campaign, callerid=callerid
        )

    def _do(self, request: Request[Any]) -> Any:
        """Perform ``request`` as the endpoint does that it belongs to, by the same rules."""
        endpoint = endpoint_of(request)
        fields = msgspec.json.decode(endpoint.prepare(request, _WRITE).document)
        return self._state.handlers[endpoint.path](Call(endpoint.path, fields, request))

    def _desk(self) -> dict[str, Any]:
        call = self.call
        return {
            "agent": self.agent,
            "phone": self.phone,
            "waiting": len(self._state.dial_order(self._clock())),
            "call": None if call is None else _shown_call(call),
            "asked": [_shown_action(asked) for asked in reversed(self.asked[-_SHOWN:])],
        }

    def _page(self, form: str) -> Answer:
        origin = ""
        if form:
            try:
                parts = urlsplit(form)
                origin = browser_origin(f"{parts.scheme}://{parts.netloc}")
            except (SettingsError, ValueError):
                return Answer(400, _headers("text/plain"), b"form= is not the address of a page")
        html = _read("agent_portal.html").decode()
        for name, value in {"form": form or "about:blank", "origin": origin}.items():
            html = html.replace(f"{{{name}}}", escape(value))
        return Answer(200, _headers("text/html", origin or "'none'"), html.encode())


def _cti(call: CallRecord) -> dict[str, str]:
    dialled = {name: getattr(call, name) for name in ("dialerbase", "contact", "retries", "priority")}
    return CtiCall(
        guid=call.guid,
        campaign=call.campaign,
        callerid=call.destination,
        data=PAIRS.decode(call.data, _READ),
        destination=call.destination,
        alternatives=PHONE_LIST.decode(call.alternatives, _READ),
        **dialled,
    ).to_cti()


def _scheduled(action: ScheduleAction) -> ScheduledCall:
    contact = action.respool
    assert action.call_date is not None  # read_action() refuses an action without one
    return ScheduledCall(
        campaign=contact.campaign,
        destination=contact.destination,
        calldate=action.call_date,
        alternatives=contact.alternatives,
        agentphone=contact.agentphone,
        data=contact.data,
    )


def _shown_call(call: CallRecord) -> dict[str, Any]:
    return {
        "campaign": printable(call.campaign),
        "number": mask_phone(printable(call.destination)),
        "dialer": printable(call.dialerbase),
        "started": call.started,
        "ended": call.ended,
    }


def _shown_action(asked: Asked) -> dict[str, str]:
    inner = asked.fields if isinstance(asked.fields, dict) else {}
    for name in ("objetoRespool", "objectDialer"):
        inner = inner | inner[name] if isinstance(inner.get(name), dict) else inner
    number = str(inner.get("destination") or "")
    answer = "refused" if asked.refused else "done" if asked.reply is None else next(iter(asked.reply))
    return {
        "action": printable(asked.action),
        "campaign": printable(str(inner.get("campaign") or "")),
        "number": mask_phone(printable(number)) if number else "",
        "answer": answer,
    }


def _headers(kind: str, framed: str = "'none'") -> dict[str, str]:
    policy = (
        "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src data:; "
        f"frame-src {framed}; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )
    return {
        "Cache-Control": "no-store",
        "Content-Security-Policy": policy,
        "Content-Type": f"{kind}; charset=utf-8",
        "Referrer-Policy": "same-origin",
        "X-Content-Type-Options": "nosniff",
    }


def _json(value: Any) -> Answer:
    return Answer(200, _headers("application/json"), msgspec.json.encode(value))


def _written(request: web.BaseRequest, answer: Answer, entry: Entry | None = None) -> Written:
    def handed_over(_: Any) -> None:
        if entry is not None:
            entry.answered = True

    return Written(answer_bytes(answer, keep=request.keep_alive), keep=request.keep_alive, then=handed_over)


@functools.cache
def _read(name: str) -> bytes:
    return files("ucontact_async.emulator").joinpath(name).read_bytes()
