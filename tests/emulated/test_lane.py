"""The command lane against a server that says anything, byte by byte, beside the session lane."""

import asyncio
import itertools
import logging
import socket
import struct
import sys
import time
from pathlib import Path

import anyio
import pytest

sys.path.insert(0, str(Path(__file__).parent))

from scripted_server import ANSWER, Scripted

from ucontact_async import NotSent, ReplyLost, ScheduledCall, UContact, UContactError, UnreadableReply
from ucontact_async.attempt import Attempt, Outgoing, Phase
from ucontact_async.lane import LARGEST, CommandLane
from ucontact_async.pool import SessionLane
from ucontact_async.settings import Secret, Settings

BODY = b"callschedule=%7B%7D"


def outgoing(*, timeout=5.0, body=BODY, limit=65_536, authorization="Basic eA=="):
    return Outgoing("/Integra/resources/X", body, authorization, timeout, limit)


def lane_of(url, *, kind="command", connection="keep", **options):
    settings = Settings(url=url, token=Secret("x"), connection=connection)
    session = SessionLane(settings)
    return session if kind == "session" else CommandLane(session, fresh=connection == "fresh", **options)


async def told(lane, **options):
    """Say what came of one request: the answer or the error."""
    attempt = Attempt()
    try:
        answer = await lane.exchange(outgoing(**options), attempt)
    except UContactError as error:
        return type(error).__name__, str(error)
    return answer.status, dict(answer.headers), answer.body, answer.weak


def head(status=200, **headers):
    lines = [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    return "\r\n".join([f"HTTP/1.1 {status} X", *lines, "", ""]).encode()


CHUNKED = head(Transfer_Encoding="chunked")
CLOSED = {
    "length": head(Content_Length=3) + b"abc",
    "no body": head(Content_Length=0),
    "chunks": CHUNKED + b"1\r\na\r\n2\r\nbc\r\n0\r\n\r\n",
    "a chunk with an extension": CHUNKED + b"1;x=y\r\na\r\n0\r\n\r\n",
    "a trailer": CHUNKED + b"1\r\na\r\n0\r\nX: y\r\n\r\n",
    "a broken chunk": CHUNKED + b"1\r\nabc\r\n0\r\n\r\n",
    "no end of chunks": CHUNKED + b"1\r\na\r\n",
    "more than fits": head(Content_Length=20_000) + b"x" * 20_000,
    "chunks that do not fit": CHUNKED + b"2710\r\n" + b"x" * 10_000 + b"\r\n0\r\n\r\n",
    "too long": head(Content_Length=70_000) + b"x" * 70_000,
    "a long head": head(X="y" * 8_000, Content_Length=1) + b"1",
    "a head that never ends": b"HTTP/1.1 200 OK\r\nX: " + b"y" * 100_000,
    "no framing": head() + b"1",
    "old": b"HTTP/1.0 200 OK\r\nContent-Length: 1\r\n\r\n1",
    "closes": head(Content_Length=1, Connection="close") + b"1",
    "interim": head(100) + head(Content_Length=1) + b"1",
    "another status": head(500, Content_Length=1) + b"0",
    "no content": head(204),
    "a redirect": head(302, Location="/login", Content_Length=0),
    "encoded": head(Content_Encoding="gzip", Content_Length=3) + b"abc",
    "two lengths": head(Content_Length=1).replace(b"\r\n\r\n", b"\r\nContent-Length: 2\r\n\r\n") + b"1",
    "length and chunks": head(Content_Length=1, Transfer_Encoding="chunked") + b"1\r\na\r\n0\r\n\r\n",
    "garbage": b"\x00\xff1",
    "HTTP 0.9": b"1",
    "half a status line": b"HTTP/1.1 2",
    "half a head": b"HTTP/1.1 200 OK\r\nContent-Le",
    "half a body": head(Content_Length=3) + b"a",
    "nothing": b"",
}


# In pieces aiohttp keeps a broken chunk to itself until the time is over.
@pytest.mark.parametrize(
    ("data", "pieces"),
    [
        pytest.param(data, pieces, id=f"{name}, {pieces}")
        for name, data in CLOSED.items()
        for pieces in ("at once", "in pieces")
        if (name, pieces) != ("a broken chunk", "in pieces")
    ],
)
async def test_both_lanes_tell_the_same(data, pieces):
    """Whatever comes back, in one piece or in several, on a new connection or a used one, both lanes say the same."""
    cuts = [0, len(data)]
    if pieces == "in pieces":
        cuts = sorted({*cuts, 5, 20, *range(len(data) - 9, len(data))} & {*range(len(data) + 1)})

    def script(connection, number, request):
        if number < used:
            connection.sendall(ANSWER)
            return False
        for begin, end in itertools.pairwise(cuts):
            connection.sendall(data[begin:end])
            time.sleep(0.0005)
        return True

    seen = {}
    for used in (0, 1):
        for kind in ("session", "command"):
            with Scripted(script) as server:
                lane = lane_of(server.url, kind=kind)
                for _ in range(used):
                    await told(lane)
                seen[kind] = await told(lane)
                await lane.aclose()
            assert len(server.requests) == used + 1
        assert seen["command"] == seen["session"]


async def test_both_lanes_send_the_same():
    """Request line, headers and body are the same, on kept connections and on fresh ones."""
    sent = []
    for connection in ("keep", "fresh"):
        for kind in ("session", "command"):
            with Scripted(lambda client, number, request: client.sendall(ANSWER)) as server:
                lane = lane_of(server.url, kind=kind, connection=connection)
                await told(lane, body=b"a=1")
                await told(lane)
                await lane.aclose()
            texts = [request.decode().replace(server.url[7:], "HOST") for request in server.requests]
            parts = [text.partition("\r\n\r\n") for text in texts]
            sent.append([(*sorted(start.split("\r\n")), body) for start, _, body in parts])
    assert sent[0] == sent[1]
    assert sent[2] == sent[3]
    assert sent[0] != sent[2]


@pytest.mark.parametrize(
    ("options", "answer", "connections"),
    [
        ({}, ANSWER, 1),
        ({}, CHUNKED + b"1\r\n1\r\n0\r\n\r\n", 1),
        ({}, head(429, Content_Length=0), 1),
        ({}, head(Content_Length=10_000) + b"x" * 10_000, 1),
        ({}, head(Content_Length=1, Connection="close") + b"1", 5),
        ({}, ANSWER + ANSWER, 5),
        ({"connection": "fresh"}, ANSWER, 5),
        ({"keepalive": 0.0}, ANSWER, 5),
    ],
    ids=["kept", "chunked", "another status", "long", "closes", "twice", "fresh", "idle for too long"],
)
async def test_how_many_connections(options, answer, connections):
    """A connection is used again unless the server, the setting, its age or a byte too many forbids it."""
    with Scripted(lambda client, number, request: client.sendall(answer)) as server:
        lane = lane_of(server.url, **options)
        for _ in range(5):
            await told(lane)
            await asyncio.sleep(0.002)
        await lane.aclose()
    assert (len(server.requests), server.connections) == (5, connections)


async def test_one_answer_too_many(caplog):
    """Two answers to one request on a used connection are none: which is whose cannot be told."""
    script = [ANSWER, ANSWER + ANSWER, head(429, Content_Length=0) + ANSWER]
    with Scripted(lambda client, number, request: client.sendall(script[number])) as server:
        lane = lane_of(server.url)
        assert (await told(lane))[0] == 200
        assert (await told(lane))[0] == "UnreadableReply"
        script[1] = script[2]
        assert (await told(lane))[0] == 200
        assert (await told(lane))[0] == "UnreadableReply"
        await lane.aclose()
    assert (len(server.requests), server.connections) == (4, 2)
    assert caplog.text.count("an answer more than it was asked for") == 2


async def test_an_answer_that_nobody_asked_for(caplog):
    """What comes over an idle connection ends it, and is told."""

    def script(connection, number, request):
        connection.sendall(ANSWER)
        time.sleep(0.01)
        connection.sendall(ANSWER)

    with Scripted(script) as server:
        lane = lane_of(server.url)
        for number in range(1, 4):
            assert (await told(lane))[0] == 200
            while caplog.text.count("an answer more") < number:
                await asyncio.sleep(0.001)
        await lane.aclose()
    assert server.connections == 3


async def test_what_waits_is_seen_before_the_first_byte():
    """The probe decides whether a connection that has been idle is used."""
    asked = []

    def probe(transport):
        asked.append(transport)
        return len(asked) == 1

    with Scripted(lambda client, number, request: client.sendall(ANSWER)) as server:
        lane = lane_of(server.url, probe=probe)
        for _ in range(3):
            await told(lane)
            await asyncio.sleep(0.005)
        await lane.aclose()
    assert (len(asked), server.connections) == (2, 2)


def once(connection, number, request):
    """Answer the first request on each connection and leave the others waiting."""
    if not number:
        connection.sendall(ANSWER)


async def test_every_request_has_its_own_time():
    """One timer ends each request at its own time, whether that was the next one to end when it began or not."""
    with Scripted(once) as server:
        lane = lane_of(server.url)
        await asyncio.gather(*[told(lane) for _ in range(7)])
        with anyio.fail_after(20):
            async with anyio.create_task_group() as group:
                group.start_soon(told, lane)
                for seconds in (0.1, 0.05):
                    group.start_soon(told, lane)
                    assert await told(lane, timeout=seconds) == ("ReplyLost", f"no whole answer within {seconds:g} s")
                    assert await told(lane, timeout=0.01) == ("ReplyLost", "no whole answer within 0.01 s")
                group.cancel_scope.cancel()
        await lane.aclose()


async def test_closing_ends_what_is_on_the_wire():
    """A lane that is closed in the middle of a request waits for no answer; the request's outcome is unknown."""
    with Scripted(once) as server:
        lane = lane_of(server.url)
        assert (await told(lane))[0] == 200
        waiting = asyncio.ensure_future(told(lane, timeout=30.0))
        await asyncio.sleep(0)
        with anyio.fail_after(10):
            await lane.aclose()
            assert (await waiting)[0] == "ReplyLost"


async def test_a_late_answer_to_a_lost_request_is_nobodys():
    """After a time-out or a cancellation the connection is gone, and with it what might still come over it."""

    def script(connection, number, request):
        if number == 1:
            time.sleep(0.05)
        connection.sendall(ANSWER)

    with Scripted(script) as server:
        lane = lane_of(server.url)
        await told(lane)
        assert (await told(lane, timeout=0.02))[:1] == ("ReplyLost",)
        assert (await told(lane))[0] == 200
        attempt = Attempt()
        with anyio.move_on_after(0.02) as scope:
            await lane.exchange(outgoing(), attempt)
        assert scope.cancelled_caught
        assert attempt.phase is Phase.SENT
        assert (await told(lane))[0] == 200
        await lane.aclose()
    assert (len(server.requests), server.connections) == (5, 3)


async def test_who_is_cancelled_in_the_turn_of_its_answer_leaves_the_connection_to_the_next():
    """A connection that was answered is free at once: its last user, cancelled before it wakes, must not close it."""
    answered = asyncio.Event()

    class Watched(Attempt):
        def take_flight(self):
            answered.set()
            return super().take_flight()

    def script(connection, number, request):
        time.sleep(0.02)
        connection.sendall(ANSWER)

    with Scripted(script) as server:
        lane = lane_of(server.url)
        await told(lane)
        first = asyncio.ensure_future(lane.exchange(outgoing(), Watched()))
        await answered.wait()  # we wake before the task does
        first.cancel()
        assert (await told(lane))[0] == 200
        assert first.cancelled()
        await lane.aclose()
    assert (len(server.requests), server.connections) == (3, 1)


async def test_a_connection_that_breaks_while_it_is_idle_is_replaced():
    """A reset or an end that is seen before the first byte costs a new connection and nothing else."""

    def script(connection, number, request):
        connection.sendall(ANSWER)
        if len(server.requests) % 2:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        return True

    with Scripted(script) as server:
        lane = lane_of(server.url)
        for number in range(10):
            assert (await told(lane))[0] == 200
            while server.ended <= number:
                await asyncio.sleep(0.001)
            await asyncio.sleep(0.002)
        await lane.aclose()
    assert (len(server.requests), server.connections) == (10, 10)


@pytest.mark.skipif(not hasattr(socket, "TCP_CORK"), reason="only on Linux: answer and end in one segment")
async def test_a_server_that_closes_without_a_word_is_trusted_once():
    """The first connection that ends so may cost an answer; from then on each is asked before its next use."""

    def script(connection, number, request):
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_CORK, 1)
        connection.sendall(ANSWER)
        connection.shutdown(socket.SHUT_WR)
        return True

    with Scripted(script) as server:
        lane = lane_of(server.url)
        came = [(await told(lane))[0] for _ in range(30)]
        await lane.aclose()
    assert came[0] == 200
    assert came.count(200) >= 29
    assert len(server.requests) == came.count(200)


async def test_what_http_cannot_carry_is_not_sent():
    """A line break in a header is refused before a byte leaves, on a new connection and on a used one."""
    with Scripted(lambda client, number, request: client.sendall(ANSWER)) as server:
        lane = lane_of(server.url)
        for _ in range(2):
            with pytest.raises(NotSent, match="cannot be written as HTTP"):
                await lane.exchange(outgoing(authorization="Basic x\r\nX: y"), Attempt())
            await told(lane)
        await lane.aclose()
    assert len(server.requests) == 2


@pytest.mark.parametrize("kind", ["command", "session"])
async def test_too_late_for_the_first_byte(kind):
    """An attempt whose time has passed sends nothing, on a new connection and on a used one."""
    with Scripted(lambda client, number, request: client.sendall(ANSWER)) as server:
        lane = lane_of(server.url, kind=kind)
        for _ in range(2):
            with pytest.raises(NotSent, match="too late"):
                await lane.exchange(outgoing(), Attempt(send_by=1.0, clock=lambda: 2.0))
            await told(lane)
        await lane.aclose()
    assert len(server.requests) == 2


async def test_what_is_large_takes_the_session_lane():
    """A long body, or an answer that may be long, goes by the lane that takes everything."""

    class Watched(SessionLane):
        sizes = ()

        async def exchange(self, outgoing, attempt):
            self.sizes += ((len(outgoing.body), outgoing.limit),)
            return await super().exchange(outgoing, attempt)

    with Scripted(lambda client, number, request: client.sendall(ANSWER)) as server:
        session = Watched(Settings(url=server.url, token=Secret("x")))
        lane = CommandLane(session)
        assert [(await told(lane, body=bytes(size)))[0] for size in (0, 1, LARGEST, LARGEST + 1)] == [200] * 4
        assert (await told(lane, limit=1_000_000))[0] == 200
        await lane.aclose()
    assert session.sizes == ((LARGEST + 1, 65_536), (len(BODY), 1_000_000))


async def test_where_it_cannot_work_the_session_lane_does(caplog):
    """A transport that does not let itself be driven is found out before the first byte, and told once."""

    class Deaf(SessionLane):
        async def lease(self, attempt):
            connection = await super().lease(attempt)
            connection.transport.set_protocol = lambda protocol: None
            return connection

    with Scripted(lambda client, number, request: client.sendall(ANSWER)) as server:
        lane = CommandLane(Deaf(Settings(url=server.url, token=Secret("x"))))
        assert lane.name == "command"
        assert [came[0] for came in await asyncio.gather(*[told(lane) for _ in range(5)])] == [200] * 5
        assert lane.name == "session"
        await lane.aclose()
    assert len(server.requests) == 5
    assert caplog.text.count("take the session lane") == 1


async def test_no_request_is_confused_with_another():
    """Two hundred at once, answered late and in any order, over few connections: each gets the answer to its own."""

    def script(connection, number, request):
        body = request.partition(b"\r\n\r\n")[2]
        if int(body) % 3 == 0:
            time.sleep(0.001)
        text = head(Content_Length=len(body)) + body
        connection.sendall(text[:20])
        connection.sendall(text[20:])

    with Scripted(script) as server:
        lane, limit = lane_of(server.url), asyncio.Semaphore(7)

        async def ask(number):
            async with limit:
                return (await told(lane, body=b"%d" % number))[2]

        assert await asyncio.gather(*[ask(n) for n in range(200)]) == [b"%d" % n for n in range(200)]
        await lane.aclose()
    assert server.connections <= 7


async def test_the_client_takes_the_lane_it_is_told_to(emulator, caplog):
    """Both lanes carry a client's calls; a secret or a number is in no log line."""
    caplog.set_level(logging.DEBUG)
    for lane in ("auto", "command", "session"):
        async with UContact(emulator.url, user="api", password="secret", timezone="UTC", lane=lane) as uc:
            await uc.calls.block(campaign="Ventas->", phone="099123456")
            assert await uc.campaigns.summary()
            report = await uc.bulk([call()])
            assert report.lane == ("session" if lane == "session" else "command")
    assert "099123456" not in caplog.text


async def test_a_lost_command_is_told_as_ever(emulator):
    """Lost answers stay unknown through the command lane, and the connection is not used again."""
    emulator.set_faults({"rules": [{"endpoint": "Dialers/*", "fault": "truncated", "count": 1}]})
    async with UContact(emulator.url, user="api", password="secret", timezone="UTC", lane="command") as uc:
        with pytest.raises(ReplyLost):
            await uc.send(call())
        await uc.send(call())
    emulator.set_faults({"rules": [{"endpoint": "Dialers/*", "fault": "body", "body": "ready"}]})
    async with UContact(emulator.url, user="api", password="secret", timezone="UTC", lane="command") as uc:
        with pytest.raises(UnreadableReply, match="'ready'"):
            await uc.send(call())


def call():
    from datetime import UTC, datetime

    return ScheduledCall(campaign="Ventas->", destination="099123456", calldate=datetime(2099, 1, 1, tzinfo=UTC))
