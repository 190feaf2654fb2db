"""A service with one form for the agent portal: all seven actions, and what came back of them.

It stands for the service that a user of the library writes, on an origin of its own; it knows the portal's address and
nothing else of the emulator. Whoever looks at the page is the one agent it has.
"""

from __future__ import annotations

import functools
from html import escape
from importlib.resources import files
from types import TracebackType
from typing import Self

from aiohttp import web

from ..api.dialers import Respool
from ..errors import InvalidRequest
from ..portal import (
    Action,
    CallAction,
    CallWithPhoneAction,
    CtiAction,
    CtiCall,
    CtiReply,
    GuidReply,
    HangUpAction,
    RespoolAction,
    Result,
    ScheduleAction,
    TagAction,
    bridge_script,
    page_headers,
    read_result,
    render_action,
)
from ..text import mask_phone, printable

__all__ = ["PortalForm"]

_RESULT = "/result"


class PortalForm:
    """The service; an asynchronous context manager. ``results`` has what came back, oldest first."""

    def __init__(
        self, portal_origin: str, *, host: str = "127.0.0.1", port: int = 0, campaign: str = "Ventas->"
    ) -> None:
        """``port`` 0 takes a free one; calls are made for ``campaign``."""
        self.results: list[Result] = []
        self.url = ""
        self._portal_origin = portal_origin
        self._campaign = campaign
        self._guid = ""
        self._call: CtiCall | None = None
        app = web.Application(client_max_size=2**17)
        app.add_routes([web.get("/", self._page), web.post(_RESULT, self._result)])
        app.add_routes([web.get("/bridge.js", _bridge), web.get("/form.css", _style)])
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
        self._address = host, port

    async def __aenter__(self) -> Self:
        """Start to listen; from now on ``url`` is the address of the page."""
        await self._runner.setup()
        site = web.TCPSite(self._runner, *self._address)
        await site.start()
        self.url = f"http://{self._address[0]}:{self._runner.addresses[0][1]}"
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """End."""
        await self._runner.cleanup()

    async def _result(self, request: web.Request) -> web.Response:
        try:
            result = read_result(await request.read(), request.headers, origin=self.url)
        except InvalidRequest as error:
            return web.Response(status=403 if error.field == "origin" else 400, text=str(error))
        self.results.append(result)
        match result.reply:
            case GuidReply(guid=guid):
                self._guid = guid
            case CtiReply(cti=call):
                self._guid, self._call = call.guid, call
            case None:
                return web.Response(status=204)
        raise web.HTTPSeeOther("/")

    async def _page(self, _: web.Request) -> web.Response:
        html = _read("portal_form.html").decode()
        for name, markup in {"call": self._call_card(), "calls": self._calls(), "contact": self._contact()}.items():
            html = html.replace(f"{{{name}}}", markup)
        return web.Response(text=html, content_type="text/html", headers=page_headers(self._portal_origin))

    def _button(self, action: Action, label: str, inputs: dict[str, str] | None = None) -> str:
        return render_action(action, label, portal_origin=self._portal_origin, result_path=_RESULT, inputs=inputs)

    def _calls(self) -> str:
        call = CallAction(campaign=self._campaign, callerid="24001234", destination="")
        own = CallWithPhoneAction(campaign=self._campaign, destination="")
        return self._button(call, "Call", {"destination": "Number"}) + self._button(
            own, "Call with my phone", {"destination": "Number"}
        )

    def _call_card(self) -> str:
        markup = self._button(CtiAction(), "Which call is this?") + self._button(HangUpAction(), "Hang up")
        if self._guid:
            markup = f'<p class="note">Call <code id="guid">{escape(self._guid)}</code></p>' + markup
            markup += self._button(TagAction(guid=self._guid, message=""), "Tag the recording", {"message": "Note"})
        return markup

    def _contact(self) -> str:
        if self._call is None:
            return '<p class="note">Ask which call this is; then its contact stands here.</p>'
        campaign, number = printable(self._call.campaign), mask_phone(printable(self._call.callerid))
        facts = [("Campaign", campaign), ("Number", number), *sorted(self._call.data.items())]
        rows = "".join(f"<div><dt>{escape(name)}</dt><dd>{escape(text)}</dd></div>" for name, text in facts)
        try:
            respool = Respool.from_cti(self._call.to_cti())
            again = self._button(RespoolAction(respool=respool), "Try the next number", {"destination": "Next number"})
            later = self._button(ScheduleAction(respool=respool), "Schedule", {"call_date": "Call again at"})
        except InvalidRequest as error:  # it has no other number, no dialer made it, or its data cannot be sent
            return f'<dl class="facts">{rows}</dl><p class="note">It cannot be respooled: {escape(str(error))}</p>'
        return f'<dl class="facts">{rows}</dl>{again}{later}'


async def _bridge(_: web.Request) -> web.Response:
    return web.Response(text=bridge_script(), content_type="text/javascript")


async def _style(_: web.Request) -> web.Response:
    return web.Response(body=_read("wallboard.css") + _read("portal_form.css"), content_type="text/css")


@functools.cache
def _read(name: str) -> bytes:
    return files("ucontact_async.emulator").joinpath(name).read_bytes()
