"""The wallboard of the emulator: the parts of the page, the stream of events, and what both never do."""

import asyncio
import json
import re
import signal
import socket
import subprocess
import sys
from contextlib import asynccontextmanager
from random import Random
from time import monotonic

import aiohttp
import pytest
from aiohttp import web
from waiting import until

from ucontact_async.emulator import CallRecord, ContactCentre, Emulator, Faults, Ledger, Switches
from ucontact_async.emulator.wallboard import EVENTS, Wallboard

PARTS = {"/": "text/html", "/_emulator/wallboard.css": "text/css", "/_emulator/wallboard.js": "text/javascript"}
EVENT = re.compile(rb"retry: 1000\nid: (\d+)\ndata: (\{[^\n]*\})\n\n")
SCHEDULE = "Dialers/ScheduleDialerCall"
ROW = {"campaign": "Sales->", "destination": "099123456"}


@pytest.fixture
async def http():
    """A client that is not ours."""
    async with aiohttp.ClientSession() as session:
        yield session


class Board(Wallboard):
    """A wallboard over counters that are set by hand."""

    def __init__(self, *rules, tick=0.25):
        self.ledger = Ledger()
        self.state = ContactCentre({}, self.ledger, Random(1), Switches())
        self.faults = Faults.read({"rules": rules})
        super().__init__(self.state, self.ledger, lambda: self.faults, tick=tick)


@pytest.fixture
def board():
    """A wallboard without faults."""
    return Board()


@asynccontextmanager
async def serving(board):
    """Serve the events of ``board`` at any path of the address that is yielded."""
    server = web.Server(lambda request: board.serve(request, EVENTS), handler_cancellation=True)
    listener = await asyncio.get_running_loop().create_server(server, "127.0.0.1", 0)
    try:
        yield listener.sockets[0].getsockname()
    finally:
        board.close()
        listener.close()
        await server.shutdown(0.1)
        await asyncio.sleep(0)


def read(event):
    """Return the number and the snapshot of one event, written exactly as the format has it."""
    match = EVENT.fullmatch(event)
    assert match, event
    return int(match[1]), json.loads(match[2])


async def next_event(reader):
    return read(await reader.readuntil(b"\n\n"))


@asynccontextmanager
async def watching(url):
    """Yield a reader of the events behind the head, its length in chunks undone."""
    async with aiohttp.ClientSession(read_bufsize=2**20) as session, session.get(url + EVENTS) as response:
        assert response.status == 200
        yield response.content


@pytest.mark.parametrize("path", PARTS)
async def test_the_parts_of_the_page(http, emulator, path):
    """Each part has its type and a policy that runs no script and loads nothing but from here."""
    async with http.get(emulator.url + path) as response:
        assert (response.status, response.content_type, response.charset) == (200, PARTS[path], "utf-8")
        policy = response.headers["Content-Security-Policy"]
        assert "default-src 'none'" in policy
        assert "unsafe" not in policy
        text = await response.text()
    assert not re.search(r"//[a-z]|innerHTML|outerHTML|insertAdjacent|document\.write|eval\(|\son\w+=|style=", text)
    assert not re.search(r"<script(?! src=)|<style", text)


async def test_nothing_of_it_is_at_the_backup_host(http):
    """The port of the backup host has files and nothing else."""
    async with Emulator(backup=True) as emulator:
        for path in (*PARTS, EVENTS):
            async with http.get(emulator.backup_url + path) as response:
                assert response.status == 404


async def test_an_event_says_what_the_state_says(http, emulator):
    """The figures of an event are those of the emulator, by campaign and in all."""
    form = {"callschedule": json.dumps(ROW | {"calldate": "2027-05-05 10:00:00"})}
    headers = {"Authorization": f"Basic {emulator.state.sessions.open('api')}"}
    async with http.post(f"{emulator.url}/Integra/resources/{SCHEDULE}", data=form, headers=headers) as response:
        assert await response.read() == b"1"
    async with watching(emulator.url) as reader:
        _, seen = await next_event(reader)
    state = emulator.snapshot()
    for name in ("applied", "logins", "sessions", "in_flight", "max_in_flight"):
        assert seen[name] == state[name]
    assert (seen["spool"], seen["schedule"], seen["requests"]) == (0, len(state["schedule"]), 1)
    assert seen["campaigns"] == [{"campaign": "Sales->", "spool": 0, "schedule": 1, "applied": 1}]
    latest = {"seq": 1, "endpoint": SCHEDULE, "campaign": "Sales->", "number": "09912****", "answered": True}
    assert seen["latest"] == [latest]


async def test_a_stream_is_one_of_events(http, emulator):
    """The type is that of event streams, nothing is cached, and every event is of a later tick than the one before."""
    async with http.get(emulator.url + EVENTS) as response:
        assert response.content_type == "text/event-stream"
        assert response.headers["Cache-Control"] == "no-store"
        numbers = [(await next_event(response.content))[0] for _ in range(3)]
    assert numbers == sorted(set(numbers))


def test_there_is_one_snapshot_a_tick(board):
    """Whatever happens within a tick, and whoever asks, gets the same event; the next tick has another."""
    first = board.event(7)
    for _ in range(1000):
        board.ledger.record(SCHEDULE, ROW)
    assert board.event(7) is first
    number, later = read(board.event(8))
    assert (number, later["applied"], later["at"]) == (8, 1000, 2.0)
    assert board.event(7) is board.event(8)


async def test_several_viewers_see_the_same_events(emulator):
    """Two viewers of one tick get the same bytes, also when one came later."""
    async with watching(emulator.url) as first, watching(emulator.url) as second:
        seen = [dict([await next_event(reader) for _ in range(3)]) for reader in (first, second)]
        assert emulator._wallboard.viewers == 2
    shared = seen[0].keys() & seen[1].keys()
    assert len(shared) >= 2
    assert all(seen[0][number] == seen[1][number] for number in shared)
    await until(lambda: emulator._wallboard.viewers == 0)


def test_an_event_does_not_grow():
    """Thousands of campaigns, of rules and of effects with long names make no longer event than some dozens."""
    board = Board(*[{"fault": "status", "endpoint": "x" * 300}] * 300)
    for number in range(3000):
        row = {"campaign": f"{number}" + "é\x00" * 500, "destination": "9" * 500}
        board.ledger.record("Dialers/Respool", row)
        board.state.respool(CallRecord(**row))
        board.state.reschedule(CallRecord(**row | {"campaign": f"other {number}"}), "2027-05-05 10:00:00")
    event = board.event(1)
    _, seen = read(event)
    assert (seen["applied"], seen["spool"], seen["schedule"]) == (3000, 3000, 3000)
    assert len(event) < 64_000
    assert (len(seen["campaigns"]), len(seen["faults"])) == (80, 20)
    assert seen["more_campaigns"]


def test_the_campaigns_that_changed_last_are_shown(board):
    """Where there are too many, those of which something was heard last are there, in the order of their names."""
    for number in [*range(100), 3]:
        board.ledger.record(SCHEDULE, {"campaign": f"campaign {number:03d}->"})
    shown = [row["campaign"] for row in board.snapshot()["campaigns"]]
    assert shown == [f"campaign {number:03d}->" for number in (3, *range(61, 100))]


def test_no_number_is_shown(board):
    """The last digits of numbers are hidden, also of one that stands where a campaign should."""
    for fields in (
        {"campaign": "Sales->", "destination": "099123456"},
        {"campaign": "Sales->", "number": "099123456"},
        {"phone": "099123456"},
        {"campaign": "099123456", "destination": 99123456},
        {"outqueue": "Sales->", "destination": ["099123456"]},
        {"campaign": ["Sales->"]},
    ):
        board.ledger.record(SCHEDULE, fields)
        board.state.respool(CallRecord(campaign=str(fields.get("campaign")), destination="099123456"))
    assert b"3456" not in board.event(1)
    assert read(board.event(1))[1]["latest"][-1]["number"] == "09912****"


def test_hits_are_counted_by_rule():
    """Each rule has its own hits; latency is not counted among the faults."""
    board = Board({"fault": "latency"}, {"fault": "status", "endpoint": "Dialers/*", "count": 2})
    for _ in range(3):
        board.faults.choose("Dialers/Respool", {})
    seen = board.snapshot()
    assert [(rule["fault"], rule["struck"]) for rule in seen["faults"]] == [("latency", 3), ("status", 2)]
    assert seen["faults_hit"] == 2


async def test_a_reset_is_seen(emulator):
    """After a reset the figures begin anew; logins stay."""
    emulator.ledger.record(SCHEDULE, ROW)
    emulator.ledger.logins = 2
    emulator.reset()
    seen = emulator._wallboard.snapshot()
    assert (seen["applied"], seen["campaigns"], seen["latest"], seen["logins"]) == (0, [], [], 2)


async def test_viewers_are_bounded(http, emulator):
    """The sixty-fifth is turned away, and let in when another has left."""
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as many:
        watchers = [await many.get(emulator.url + EVENTS) for _ in range(64)]
        async with http.get(emulator.url + EVENTS) as response:
            assert response.status == 503
        watchers.pop().close()
        await until(lambda: emulator._wallboard.viewers == 63)
        async with watching(emulator.url) as reader:
            await next_event(reader)
        for watcher in watchers:
            watcher.close()


def busy_board():
    """Return a wallboard with short ticks and long events."""
    board = Board(tick=0.002)
    for number in range(120):
        board.state.respool(CallRecord(campaign=f"{number}" + "é" * 90, destination="1"))
        board.ledger.record(SCHEDULE, {"campaign": f"other {number}" + "é" * 90})
    return board


async def full_viewer(board, address):
    """Return a socket that asked for events and does not read, and the other end of it once the system is full."""
    slow = socket.socket()
    slow.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    slow.connect(address)
    slow.sendall(b"GET / HTTP/1.0\r\n\r\n")
    await until(lambda: board.viewers == 1)
    (transport,) = board._viewers
    await until(transport.get_write_buffer_size)
    return slow, transport


async def test_who_does_not_read_misses_events():
    """A viewer that stands still is kept no backlog; others go on, and it goes on with what is new."""
    board = busy_board()
    async with serving(board) as address:
        slow, transport = await full_viewer(board, address)
        async with watching("http://{}:{}".format(*address)) as reader:
            for _ in range(50):
                newest, _ = await next_event(reader)
            assert transport.get_write_buffer_size() < 200_000
        stream, writer = await asyncio.open_connection(sock=slow)
        await stream.readuntil(b"\r\n\r\n")
        numbers = [(await next_event(stream))[0]]
        while numbers[-1] <= newest:
            numbers.append((await next_event(stream))[0])
        assert numbers[-1] - numbers[0] + 1 > len(numbers)
        writer.close()
        await writer.wait_closed()


async def test_the_end_does_not_wait_for_who_does_not_read():
    """What a viewer did not take is dropped when the wallboard closes."""
    board = busy_board()
    async with serving(board) as address:
        slow, transport = await full_viewer(board, address)
        board.close()
        assert transport.get_write_buffer_size() == 0
        await until(lambda: board.viewers == 0)
        slow.close()


async def test_viewers_end_with_the_emulator():
    """The end of the emulator is the end of every stream, read or not."""
    async with Emulator() as emulator:
        idle = socket.create_connection(("127.0.0.1", int(emulator.url.rpartition(":")[2])))
        idle.sendall(f"GET {EVENTS} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
        await until(lambda: emulator._wallboard.viewers == 1)
        (transport,) = emulator._wallboard._viewers
        transport.write(b":" * 8_000_000)  # more than the system takes for a viewer that does not read
        watcher = watching(emulator.url)
        reader = await watcher.__aenter__()
        await next_event(reader)
        await until(lambda: emulator._wallboard.viewers == 2)
    assert (emulator._wallboard.viewers, transport.get_write_buffer_size()) == (0, 0)
    with pytest.raises(aiohttp.ClientError):
        await reader.read()
    await watcher.__aexit__(None, None, None)
    idle.close()


def test_the_command_ends_though_a_page_is_open():
    """One line of output, exit 0 within two seconds of SIGTERM, with viewers that read and that do not."""
    command = [sys.executable, "-m", "ucontact_async", "emulator"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        line = process.stdout.readline()
        port = int(line.rpartition(":")[2])
        viewers = [socket.create_connection(("127.0.0.1", port)) for _ in range(2)]
        for viewer in viewers:
            viewer.sendall(f"GET {EVENTS} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
        assert viewers[0].recv(12) == b"HTTP/1.1 200"
        process.send_signal(signal.SIGTERM)
        started = monotonic()
        assert process.wait(5) == 0
        assert monotonic() - started < 2
        assert process.stdout.read() == ""
        for viewer in viewers:
            viewer.close()
