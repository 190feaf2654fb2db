"""What becomes of one request: read, struck by a fault or not, applied, answered.

It knows neither what an endpoint does nor when a fault is due.
"""

from __future__ import annotations

import asyncio
import socket
import struct
import sys
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

from aiohttp import web

from ..serving import Call, Service, Written, answer_bytes, read_body, read_form
from ..wire import Answer
from .faults import NO_FAULT, Chosen, Faults, Rule
from .ledger import Entry, Ledger
from .switches import Switches

if TYPE_CHECKING:
    from ..endpoint import Endpoint

__all__ = ["BODY_LIMIT", "Attendant", "cut"]

BODY_LIMIT = 33_554_432
_LINGER = struct.pack("hh" if sys.platform == "win32" else "ii", 1, 0)
_MISSING = 16  # bytes that a truncated answer announces and never sends


class Attendant:
    """Takes every request of the contract from its head to its answer."""

    faults: Faults | None = None

    def __init__(
        self, service: Service, ledger: Ledger, switches: Switches, refuse: Callable[[float], Awaitable[None]]
    ) -> None:
        """``refuse`` makes the port refuse connections for so many seconds."""
        self._service = service
        self._ledger = ledger
        self._switches = switches
        self._refuse = refuse
        self._late: set[asyncio.TimerHandle] = set()
        self._closed = False

    async def attend(self, request: web.BaseRequest, endpoint: Endpoint[..., object]) -> Written:
        """Return what ``request`` is answered; being cancelled means that the client has left."""
        self._ledger.enter()
        try:
            return await self._attend(request, endpoint)
        finally:
            self._ledger.leave()

    def drop_late(self) -> None:
        """Forget the effects that are still to come."""
        for handle in self._late:
            handle.cancel()
        self._late.clear()

    def close(self) -> None:
        """Let nothing more be applied late."""
        self._closed = True
        self.drop_late()

    async def _attend(self, request: web.BaseRequest, endpoint: Endpoint[..., object]) -> Written:
        faults, chosen = self.faults, NO_FAULT
        by_fields = faults is not None and faults.reads_fields(endpoint.path)
        if faults is not None and not by_fields:
            chosen = faults.choose(endpoint.path, {})
            if chosen.rule is not None and chosen.rule.unread:
                return await self._end_unread(request, chosen.latency, chosen.rule)
        body = await read_body(request, BODY_LIMIT, continues=self._switches.continues)
        if body is None:
            return Written(answer_bytes(Answer(413, {}, b""), keep=False), keep=False)
        form = read_form(request.rel_url.raw_query_string, body)
        if faults is not None and by_fields:
            chosen = faults.choose(endpoint.path, self._service.fields(endpoint, form))
            if chosen.rule is not None and chosen.rule.unread:
                return await self._end_unread(request, chosen.latency, chosen.rule)
        self._ledger.requests[endpoint.path] += 1
        call = self._service.open(endpoint, form, request.headers.get("Authorization"))
        if isinstance(call, Answer) and call.status == 401:
            call = _DEAD_TOKEN.get(self._switches.dead_token, call)
        if chosen is NO_FAULT:
            return self._answer(request, *self._apply(call))
        return await self._strike(request, call, chosen)

    async def _end_unread(self, request: web.BaseRequest, latency: float, rule: Rule) -> Written:
        await asyncio.sleep(latency)
        if rule.fault == "refuse":
            await self._refuse(rule.delay)
        return cut(request, reset=rule.fault != "close_before_read")

    async def _strike(self, request: web.BaseRequest, call: Call | Answer, chosen: Chosen) -> Written:
        rule = chosen.rule
        await self._wait(chosen.latency, call if rule is None or rule.applies else None)
        if rule is None:
            return self._answer(request, *self._apply(call))
        if rule.fault == "late_apply":
            self._apply_later(rule.delay, call)
            await asyncio.sleep(rule.delay if rule.hold else 0)
            return cut(request)
        answer, entry = self._apply(call) if rule.applies else (_OTHER, None)
        match rule.fault:
            case "hang_before_apply" | "hang_after_apply":
                await asyncio.get_running_loop().create_future()
            case "truncated":
                announced = {**answer.headers, "Content-Length": str(len(answer.body) + _MISSING)}
                return self._answer(request, Answer(answer.status, announced, answer.body), keep=False)
            case "unsolicited":
                return self._answer(request, answer, entry, extra=rule)
            case "status":
                return self._answer(request, Answer(rule.status, rule.headers, rule.text.encode()))
            case "body":
                return self._answer(request, Answer(200, rule.headers, rule.text.encode()))
        return cut(request, reset=rule.fault.startswith("reset"))

    async def _wait(self, seconds: float, call: Call | Answer | None) -> None:
        loop = asyncio.get_running_loop()
        end = loop.time() + seconds
        try:
            await asyncio.sleep(seconds)
        except asyncio.CancelledError:
            # The client has left; a server goes on with what it has read all the same.
            if call is not None:
                self._apply_later(end - loop.time(), call)
            raise

    def _apply_later(self, seconds: float, call: Call | Answer) -> None:
        if self._closed:
            return

        def apply() -> None:
            self._late.discard(handle)
            self._apply(call)

        handle = asyncio.get_running_loop().call_later(max(0.0, seconds), apply)
        self._late.add(handle)

    def _apply(self, call: Call | Answer) -> tuple[Answer, Entry | None]:
        """Do what ``call`` asks, unless it is refused already, and return the answer and what it entered."""
        before = self._ledger.total
        answer = call if isinstance(call, Answer) else self._service.perform(call)
        if self._switches.trailing_newline and answer.status == 200 and answer.body:
            answer = Answer(200, answer.headers, answer.body + b"\n")
        return answer, self._ledger.entries[-1] if self._ledger.total > before else None

    def _answer(
        self,
        request: web.BaseRequest,
        answer: Answer,
        entry: Entry | None = None,
        *,
        extra: Rule | None = None,
        keep: bool = True,
    ) -> Written:
        def handed_over(transport: asyncio.Transport) -> None:
            if entry is not None:
                entry.answered = True
            if extra is not None:
                asyncio.get_running_loop().call_later(extra.delay, _send_unasked, transport, extra)

        if self._switches.cookies:
            answer = Answer(answer.status, {**answer.headers, **_COOKIE}, answer.body)
        keep = keep and request.keep_alive
        return Written(answer_bytes(answer, keep=keep), keep=keep, then=handed_over)


_COOKIE = {"Set-Cookie": "JSESSIONID=emulated; Path=/"}
_DEAD_TOKEN = {
    "redirect": Answer(302, {"Location": "/Integra/login.xhtml"}, b""),
    "page": Answer(200, {"Content-Type": "text/html"}, b"<html><body>Log in</body></html>"),
}
_OTHER = Answer(200, {}, b"")


def _send_unasked(transport: asyncio.Transport, rule: Rule) -> None:
    if not transport.is_closing():
        transport.write(answer_bytes(Answer(200, rule.headers, rule.text.encode())))


def cut(request: web.BaseRequest, *, reset: bool = False) -> Written:
    """End the connection of ``request`` without an answer, politely or by ``reset``."""
    transport = request.transport
    if transport is not None:
        if reset:
            transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _LINGER)
            transport.abort()
        else:
            transport.close()
    return Written(b"", keep=False)
