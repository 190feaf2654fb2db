"""The emulator: its fault plans, and its port under any bytes."""

import asyncio
import os
import re
import socket

import msgspec

from ucontact_async.emulator import Emulator
from ucontact_async.emulator.faults import Faults
from ucontact_async.errors import SettingsError
from ucontact_async.settings import ROOT

from .target import DEEP, Target, expect
from .witnessed import BODIES

PATHS = ("/_emulator/ledger", "/_emulator/state", "/_emulator/portal", "/_emulator/portal/desk", "/", "/records/a.mp3")
PATHS += ("/_emulator/portal?form=http://a.example/", "/_emulator/portal/act", "/_emulator/faults", "/_emulator/events")
# Of an answer that nobody asked for a fault in: a page, or the state after one request.
LONGEST = 400_000
_STATUS = re.compile(rb"HTTP/1\.1 (5\d\d)")


def fault_plan(data: bytes) -> None:
    """A fault plan, and what it does to requests."""
    faults = Faults.read(data)
    fields = {"campaign": "Ventas->", "destination": "098344484", "contact": 7}
    for endpoint in ("Dialers/ScheduleDialerCall", "Dialers/Respool", "records/a.mp3"):
        faults.reads_fields(endpoint)
        for _ in range(3):
            chosen = faults.choose(endpoint, fields)
            expect(chosen.latency >= 0, "a latency below zero")
            if chosen.rule is not None:
                repr((chosen.rule.applies, chosen.rule.text, chosen.rule.delay))


class _Wire(asyncio.Transport):
    """A connection without a socket, which keeps what is written to it."""

    def __init__(self) -> None:
        super().__init__({"sockname": ("127.0.0.1", 1), "peername": ("127.0.0.1", 2), "socket": _NOWHERE})
        self.written = bytearray()
        self.closed = False

    def write(self, data):
        self.written += data

    def writelines(self, pieces):
        self.written += b"".join(pieces)

    def is_closing(self):
        return self.closed

    def close(self):
        self.closed = True

    abort = close

    def pause_reading(self):
        """Nothing waits."""

    def resume_reading(self):
        """Nothing waits."""

    def set_write_buffer_limits(self, high=None, low=None):
        """Everything is taken at once."""

    def get_write_buffer_size(self):
        return 0


_NOWHERE = socket.socket()


class _Port:
    """One emulator and one loop for all inputs of a process."""

    def __init__(self) -> None:
        self.pid = os.getpid()
        self.loop = asyncio.new_event_loop()
        self.emulator = Emulator(ledger_cap=1000)
        self.loop.run_until_complete(self.emulator.__aenter__())
        self.token = self.emulator.state.sessions.open("api").encode()
        self.tasks = len(asyncio.all_tasks(self.loop))

    def take(self, data: bytes) -> bytes:
        """Return what is answered to ``data`` on a new connection."""
        return self.loop.run_until_complete(self._take(data))

    async def _take(self, data: bytes) -> bytes:
        protocol, wire = self.emulator._server(), _Wire()
        protocol.connection_made(wire)
        try:
            protocol.data_received(data)
            for _ in range(12):
                await asyncio.sleep(0)
        finally:
            protocol.connection_lost(None)
            for _ in range(200):
                await asyncio.sleep(0)
                if len(asyncio.all_tasks()) <= self.tasks + 1:
                    break
        return bytes(wire.written)


_port: list[_Port] = []


def port() -> _Port:
    """Return the emulator of this process."""
    if not _port or _port[0].pid != os.getpid():
        _port[:] = [_Port()]
    return _port[0]


def requests(data: bytes) -> None:
    """Any bytes on a connection: nothing breaks, nothing stays, and no answer is longer than what was asked for."""
    here = port()
    emulator, sessions = here.emulator, here.emulator.state.sessions
    sessions.live = {here.token.decode(): "api"}
    try:
        written = here.take(data.replace(b"TOKEN", here.token))
        struck = emulator._attendant.faults
        expect(struck is not None or not _STATUS.search(written), f"it answered {_STATUS.search(written)}")
        expect(struck is not None or len(written) <= LONGEST + 20 * len(data), "an answer without bounds")
        expect(len(asyncio.all_tasks(here.loop)) <= here.tasks, "a task is left")
        expect(emulator.ledger.in_flight == 0, "a request is left")
        state = len(msgspec.json.encode(emulator.snapshot()))
        expect(state <= 20_000 + 100 * len(data), f"{state} bytes of state out of {len(data)}")
    finally:
        emulator.reset()


def _post(path: str, body: bytes, more: bytes = b"") -> bytes:
    head = b"POST %b HTTP/1.1\r\nHost: a\r\nAuthorization: Basic TOKEN\r\n%bContent-Length: %d\r\n\r\n"
    return head % (path.encode(), more, len(body)) + body


_PLAN = b'{"seed":1,"rules":[{"endpoint":"Dialers/*","match":{"destination":"09*"},"fault":"status","count":1}]}'
_PLANS = (
    _PLAN,
    b'{"rules":[{"fault":"latency","seconds":0.0,"probability":0.5,"after":1},{"fault":"body","body":"0"}]}',
    b'{"rules":[{"fault":"truncated","endpoint":"[a-z]?*","headers":{"X":"y"},"apply":false,"hold":true}]}',
)
_ACT = (
    b'{"data":{"action":"call","campaign":"Ventas->","destination":"098344484"},"sourceOrigin":"http://a",'
    b'"targetOrigin":"*","sourceWindowName":"","targetWindowName":""}'
)
_FROM_PAGE = b"Origin: http://a\r\nContent-Type: application/json\r\n"

TARGETS = (
    Target("fault plan", fault_plan, (*_PLANS, *DEEP, b'{"rules":[' + DEEP[0]), (SettingsError,)),
    Target(
        "requests to the emulator",
        requests,
        tuple(_post(path if path.startswith("/") else ROOT + path, body) for path, body in BODIES)
        + tuple(b"GET %b HTTP/1.1\r\nHost: a\r\n\r\n" % path.encode() for path in PATHS)
        + (
            _post("/_emulator/portal/act", _ACT, _FROM_PAGE),
            b"PUT /_emulator/faults HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n%b" % (len(_PLAN), _PLAN),
            b"POST /_emulator/reset HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n0\r\n\r\n",
            _post(ROOT + "auth/EndSession?user=api&token=TOKEN", b""),
        ),
        slow=True,
    ),
)
