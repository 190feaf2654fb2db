"""The wallboard: a page at ``/`` that shows what the emulator is doing, and the stream that keeps it live.

It reads counters and changes nothing. A snapshot costs the same however much has happened; nobody watching, there is
none. Numbers are masked here, because a page is looked at by whoever passes; the ledger has them whole.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
from collections.abc import Callable, Mapping
from importlib.resources import files
from itertools import chain, islice
from typing import TYPE_CHECKING, Any

import msgspec
from aiohttp import web

from ..api import ENDPOINTS
from ..serving import Written, answer_bytes
from ..text import mask_phone, printable
from ..wire import Answer
from .faults import Faults
from .ledger import Entry, Ledger

if TYPE_CHECKING:
    from .state import ContactCentre

__all__ = ["EVENTS", "Wallboard"]

EVENTS = "/_emulator/events"
_PAGE = {
    "/": ("wallboard.html", "text/html"),
    "/_emulator/wallboard.css": ("wallboard.css", "text/css"),
    "/_emulator/wallboard.js": ("wallboard.js", "text/javascript"),
}
_SAFE = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src data:; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}
_TICK = 0.25  # seconds
_VIEWERS = 64
_CAMPAIGNS = 40  # of each kind of count, those that changed last
_LATEST = 12
_RULES = 20
_NUMBERS = ("destination", "number", "phone")
_PATHS = [path for endpoint in ENDPOINTS.values() for path in (endpoint.path, *endpoint.also)]


class Wallboard:
    """Serves the page and its stream of server-sent events, at most one a tick to each viewer.

    An event is computed once a tick, by the first viewer that wants it, and is the same bytes for all. A viewer that
    does not keep up misses events; at most 64 watch at once, the next one is answered 503.
    """

    def __init__(
        self, state: ContactCentre, ledger: Ledger, faults: Callable[[], Faults | None], *, tick: float = _TICK
    ) -> None:
        """``faults`` returns those that strike now; ``tick`` is in seconds."""
        self._state = state
        self._ledger = ledger
        self._faults = faults
        self._tick = tick
        self._number = 0
        self._event = b""
        self._viewers: set[asyncio.Transport] = set()

    @property
    def viewers(self) -> int:
        """How many watch."""
        return len(self._viewers)

    def shows(self, path: str) -> bool:
        """Return whether ``path`` is a part of the wallboard."""
        return path == EVENTS or path in _PAGE

    async def serve(self, request: web.BaseRequest, path: str) -> web.StreamResponse:
        """Answer a GET for ``path``; the answer to one for the events does not end."""
        if path == EVENTS:
            return await self._stream(request)
        file, kind = _PAGE[path]
        answer = Answer(200, {**_SAFE, "Content-Type": f"{kind}; charset=utf-8"}, _read(file))
        return Written(answer_bytes(answer, keep=request.keep_alive), keep=request.keep_alive)

    def close(self) -> None:
        """Send all viewers away, also those that do not read."""
        for transport in self._viewers:
            transport.abort()

    def event(self, number: int) -> bytes:
        """Return the event of the tick ``number``; of one that is over, the event that came after it."""
        if number > self._number:
            self._number = number
            data = msgspec.json.encode({"at": number * self._tick, **self.snapshot()})
            self._event = b"retry: 1000\nid: %d\ndata: %s\n\n" % (number, data)
        return self._event

    def snapshot(self) -> dict[str, Any]:
        """Return what the page shows; its size and its cost are bounded."""
        ledger, rules = self._ledger, _struck(self._faults())
        campaigns, more = self._campaigns()
        return {
            "applied": ledger.total,
            "requests": sum(ledger.requests[path] for path in _PATHS),
            "in_flight": ledger.in_flight,
            "max_in_flight": ledger.max_in_flight,
            "logins": ledger.logins,
            "sessions": len(self._state.sessions.live),
            "spool": len(self._state.spooled),
            "schedule": len(self._state.scheduled),
            "faults_hit": sum(rule["struck"] for rule in rules if rule["fault"] != "latency"),
            "faults": rules[:_RULES],
            "campaigns": campaigns,
            "more_campaigns": more,
            "latest": [_seen(entry) for entry in islice(reversed(ledger.entries), _LATEST)],
        }

    def _campaigns(self) -> tuple[list[dict[str, Any]], bool]:
        spool, schedule = self._state.spooled.counts, self._state.scheduled.counts
        counts = {"spool": spool, "schedule": schedule, "applied": self._ledger.campaigns}
        names = set(chain.from_iterable(islice(reversed(kind), _CAMPAIGNS) for kind in counts.values()))
        rows = [
            {"campaign": _shown(name), **{kind: held.get(name, 0) for kind, held in counts.items()}}
            for name in sorted(names)
        ]
        return rows, max(map(len, counts.values())) > _CAMPAIGNS

    async def _stream(self, request: web.BaseRequest) -> web.StreamResponse:
        transport = request.transport
        if transport is None or len(self._viewers) >= _VIEWERS:
            return Written(answer_bytes(Answer(503, {}, b""), keep=False), keep=False)
        response = web.StreamResponse(headers={**_SAFE, "Content-Type": "text/event-stream"})
        self._viewers.add(transport)
        try:
            with contextlib.suppress(ConnectionError):  # the viewer has left
                await response.prepare(request)
                await self._send(response)
        finally:
            self._viewers.discard(transport)
        return response

    async def _send(self, response: web.StreamResponse) -> None:
        loop, number = asyncio.get_running_loop(), 0
        while True:
            # The loop may wake us a little before the next tick, and a viewer that reads slowly long after it.
            number = max(number + 1, int(loop.time() / self._tick))
            await response.write(self.event(number))
            await asyncio.sleep((number + 1) * self._tick - loop.time())


@functools.cache
def _read(name: str) -> bytes:
    return files("ucontact_async.emulator").joinpath(name).read_bytes()


def _struck(faults: Faults | None) -> list[dict[str, Any]]:
    struck = [] if faults is None else faults.struck
    return [{"fault": rule.fault, "endpoint": printable(rule.endpoint), "struck": times} for rule, times in struck]


def _seen(entry: Entry) -> dict[str, Any]:
    return {
        "seq": entry.seq,
        "endpoint": entry.endpoint,
        "campaign": _shown(str(entry.fields.get("campaign") or entry.fields.get("outqueue") or "")),
        "number": _masked_number(entry.fields),
        "answered": entry.answered,
    }


def _shown(campaign: str) -> str:
    """Cut and escape a name; one without a letter may be a number in the wrong field."""
    digits = any(character.isdigit() for character in campaign)
    letters = any(character.isalpha() for character in campaign)
    return mask_phone(printable(campaign)) if digits and not letters else printable(campaign)


def _masked_number(fields: Mapping[str, Any]) -> str:
    number = next((str(fields[name]) for name in _NUMBERS if fields.get(name)), "")
    return mask_phone(printable(number)) if number else ""
