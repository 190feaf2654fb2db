"""The files of recordings over HTTP: what lies at a path of a host, whole or struck by a fault.

It knows neither calls nor filters. A fault names a file by its path without the first slash, ``records/*`` for all.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping

from aiohttp import web

from ..errors import Refused
from ..serving import Authorise, Written, answer_bytes, answer_of
from ..wire import Answer
from .attendant import cut
from .faults import Faults, Rule
from .ledger import Ledger
from .recordings import Host
from .switches import Switches

__all__ = ["FILES", "FileHosts"]

FILES = "/records/"
_TYPES = {"mp3": "audio/mpeg", "gsm": "audio/x-gsm"}


class FileHosts:
    """Serves the files of both hosts."""

    faults: Faults | None = None

    def __init__(
        self,
        files: Mapping[tuple[Host, str], bytes],
        ledger: Ledger,
        switches: Switches,
        *,
        authorise: Authorise,
        refuse: Callable[[float], Awaitable[None]],
    ) -> None:
        """``authorise`` is asked where the switches say so; ``refuse`` makes the port refuse connections."""
        self._files = files
        self._ledger = ledger
        self._switches = switches
        self._authorise = authorise
        self._refuse = refuse

    async def serve(self, request: web.BaseRequest, path: str, host: Host) -> Written:
        """Return what a request for ``path`` is answered; it is counted by ``path``."""
        self._ledger.enter()
        try:
            self._ledger.ask(path.removeprefix("/"))
            chosen = None if self.faults is None else self.faults.choose(path.removeprefix("/"), {})
            if chosen is not None:
                await asyncio.sleep(chosen.latency)
            answer = self._answer(request, path, host)
            if chosen is None or chosen.rule is None:
                return _written(request, answer)
            return await self._strike(request, answer, chosen.rule)
        finally:
            self._ledger.leave()

    def _answer(self, request: web.BaseRequest, path: str, host: Host) -> Answer:
        if request.method not in ("GET", "HEAD"):
            return Answer(405, {"Allow": "GET, HEAD"}, b"")
        if self._switches.records_need_token:
            try:
                self._authorise(request.headers.get("Authorization"))
            except Refused as refused:
                return answer_of(refused)
        content = self._files.get((host, path))
        if content is None:
            return Answer(404, {"Content-Type": "text/html"}, b"<html><body>404 Not Found</body></html>")
        return Answer(200, {"Content-Type": _TYPES[path[-3:]]}, content)

    async def _strike(self, request: web.BaseRequest, answer: Answer, rule: Rule) -> Written:
        match rule.fault:
            case "status":
                return _written(request, Answer(rule.status, rule.headers, rule.text.encode()))
            case "body":
                return _written(request, Answer(200, rule.headers, rule.text.encode()))
            case "truncated":
                announced = {**answer.headers, "Content-Length": str(len(answer.body))}
                half = Answer(answer.status, announced, answer.body[: len(answer.body) // 2])
                return _written(request, half, keep=False)
            case "hang_before_apply" | "hang_after_apply":
                await asyncio.get_running_loop().create_future()
            case "refuse":
                await self._refuse(rule.delay)
        return cut(request, reset=rule.fault.startswith(("reset", "refuse")))


def _written(request: web.BaseRequest, answer: Answer, *, keep: bool = True) -> Written:
    if request.method == "HEAD":
        answer = Answer(answer.status, {"Content-Length": str(len(answer.body)), **answer.headers}, b"")
    keep = keep and request.keep_alive
    return Written(answer_bytes(answer, keep=keep), keep=keep)
