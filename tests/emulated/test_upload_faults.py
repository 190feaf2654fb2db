"""Large requests on connections that break: what never left whole did not happen, and nothing goes on leaving."""

import asyncio
import contextlib
import socket
import ssl
import struct
import sys
import threading
import time
from pathlib import Path

import pytest

from ucontact_async import ListFile, NotSent, Refused, ReplyLost, UContact, UnreadableReply, caller
from ucontact_async.emulator import Emulator

sys.path.insert(0, str(Path(__file__).parent))

import cut_uploads

LARGE = 8 * 2**20


class Lazy:
    """A server in a thread of its own that reads a part of each request, and then does something else."""

    def __init__(self, then, *, reads=65_536):
        self.received = []
        self.ends = []
        self._then = then
        self._reads = reads
        self._listener = socket.create_server(("127.0.0.1", 0))
        # Small, so that what is not read stays with the client.
        self._listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65_536)
        self._threads = []
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"

    def __enter__(self):
        self._accepting = threading.Thread(target=self._accept, daemon=True)
        self._accepting.start()
        return self

    def __exit__(self, *exc_info):
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._accepting.join()

    def _accept(self):
        with contextlib.suppress(OSError):
            while True:
                connection = self._listener.accept()[0]
                thread = threading.Thread(target=self._serve, args=(connection,), daemon=True)
                self._threads.append(thread)
                thread.start()

    def _serve(self, connection):
        with connection, contextlib.suppress(OSError):
            place = len(self.received)
            self.received.append(0)
            while self.received[place] < self._reads:
                self.received[place] += len(connection.recv(65_536))
            self._then(connection)
            while got := connection.recv(1 << 20):
                self.received[place] += len(got)
        self.ends.append(place)

    async def begun(self):
        """Return once some of a request has been read."""
        for _ in range(500):
            if any(self.received):
                return
            await asyncio.sleep(0.01)
        pytest.fail("no request has begun")

    async def ended(self, connections):
        """Return once that many connections have ended."""
        for _ in range(500):
            if len(self.ends) == connections:
                return
            await asyncio.sleep(0.01)
        pytest.fail(f"{len(self.ends)} connections have ended, not {connections}")


def reset(connection):
    time.sleep(0.1)
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    connection.close()


def answer(status, body=b""):
    head = f"HTTP/1.1 {status} X\r\nContent-Length: {len(body)}\r\n\r\n".encode()

    def then(connection):
        connection.sendall(head + body)
        time.sleep(0.1)

    return then


def a_file(size=LARGE):
    return ListFile(campaign="Ventas->", name="list.csv", content=b"x" * size, rows=1, username="api")


def client_of(server, **options):
    return UContact(server.url, token="x", **options)


def loops():
    return pytest.mark.parametrize("loop", ["asyncio", "uvloop"])


def run(loop, main):
    """Run ``main`` on a fresh loop of that kind."""
    factory = None
    if loop == "uvloop":
        factory = pytest.importorskip("uvloop", reason="uvloop is not installed").new_event_loop
    with asyncio.Runner(loop_factory=factory) as runner:
        runner.run(main())


async def lost(server, **options):
    """Upload a large file and return the error."""
    async with client_of(server, **options) as uc:
        with pytest.raises((NotSent, ReplyLost, Refused, UnreadableReply)) as raised:
            await uc.send(a_file())
    return raised.value


@loops()
def test_a_reset_in_the_middle_of_an_upload_is_not_sent(loop):
    """A server that stops reading and resets has not got the whole file: it did not happen, and is tried again."""

    async def main():
        with Lazy(reset) as server:
            error = await lost(server)
            await server.ended(3)
        assert (type(error), error.attempts, error.may_have_happened) == (NotSent, 3, False)
        assert len(server.received) == 3
        assert max(server.received) < LARGE / 4

    run(loop, main)


@loops()
def test_a_time_out_stops_the_upload(loop, monkeypatch):
    """Given up, the rest of a file is not sent to a server that reads again later."""
    monkeypatch.setattr(caller, "UPLOAD_PACE", 2**40)

    async def main():
        with Lazy(lambda connection: time.sleep(0.6)) as server:
            async with client_of(server) as uc:
                with pytest.raises(NotSent, match="before the whole request had left"):
                    await uc.with_options(timeout=0.2).send(a_file())
            await server.ended(3)
        assert max(server.received) < LARGE / 2

    run(loop, main)


@loops()
def test_an_early_refusal_stops_the_upload(loop):
    """A server that refuses a file before it has read it is believed, and the rest of the file stays here."""

    async def main():
        with Lazy(answer(413)) as server:
            error = await lost(server)
            await server.ended(1)
        assert (type(error), error.status) == (Refused, 413)
        assert max(server.received) < LARGE / 2

    run(loop, main)


async def test_an_early_success_is_no_success():
    """``1`` from a server that has not read the file cannot mean the file."""
    with Lazy(answer(200, b"1")) as server:
        error = await lost(server)
        await server.ended(1)
    assert (type(error), error.attempts) == (UnreadableReply, 1)
    assert max(server.received) < LARGE / 2


async def test_an_answer_that_breaks_off_before_all_has_left_is_unknown():
    """What a server that begins to answer makes of a part of a file is not known."""

    def begin(connection):
        connection.sendall(b"HTTP/1.1 200 X\r\nContent-Length: 10\r\n\r\n1")
        reset(connection)

    with Lazy(begin) as server:
        error = await lost(server)
        await server.ended(1)
    assert (type(error), error.attempts, error.phase) == (ReplyLost, 1, "answered")


async def test_an_upload_that_left_whole_may_have_happened():
    """A file that was read to its end and never answered is unknown, and sent once."""
    with Lazy(reset, reads=2_000_000) as server:
        async with client_of(server) as uc:
            with pytest.raises(ReplyLost) as raised:
                await uc.send(a_file(1_500_000))
    assert (raised.value.attempts, len(server.received)) == (1, 1)


async def test_a_cancelled_client_stops_the_upload(monkeypatch):
    """Closing the client ends an upload that nobody takes, after its grace."""
    monkeypatch.setattr("ucontact_async.client.CLOSE_GRACE", 0.1)
    with Lazy(lambda connection: time.sleep(0.5)) as server:
        async with client_of(server) as uc:
            task = asyncio.ensure_future(uc.send(a_file()))
            await server.begun()
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
        await server.ended(1)
    assert max(server.received) < LARGE / 2


async def test_a_large_request_between_small_ones(emulator):
    """Many small requests and a large one share a connection, one after another."""
    async with UContact(emulator.url, user="api", password="secret") as uc:
        for number in range(20):
            await uc.dialers.remove_contact(campaign="Ventas->", destination=f"0900000{number:02d}")
        assert await uc.send(a_file(2**20)) is None
        await uc.dialers.remove_contact(campaign="Ventas->", destination="090000001")


def test_the_time_out_grows_with_the_file(monkeypatch):
    """30 seconds, and one more for each 64 KiB."""
    seen = []

    async def exchange(self, outgoing, attempt):
        seen.append((outgoing.timeout, len(outgoing.body)))
        raise NotSent("nowhere", transient=False)

    monkeypatch.setattr("ucontact_async.pool.SessionLane.exchange", exchange)

    async def main():
        async with UContact("http://127.0.0.1:1", token="x", lane="session") as uc:
            for request in (a_file(100), a_file(LARGE)):
                with pytest.raises(NotSent):
                    await uc.send(request)

    asyncio.run(main())
    (small, _), (large, size) = seen
    assert small == 30
    assert large == 30 + size // 65_536 > 150


@loops()
def test_a_large_file_over_tls(loop):
    """Over TLS a large file arrives whole, and a reset in its middle is told as well."""
    trustme = pytest.importorskip("trustme", reason="trustme is not installed")
    authority = trustme.CA()
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert("127.0.0.1").configure_cert(context)

    async def main():
        async with Emulator(ssl_context=context) as emulator:
            with authority.cert_pem.tempfile() as ca:
                async with UContact(emulator.url, user="api", password="secret", ca=ca) as uc:
                    await uc.send(a_file())
                    emulator.set_faults({"rules": [{"endpoint": "Dialers/*", "fault": "reset_before_read"}]})
                    with pytest.raises(NotSent):
                        await uc.send(a_file())
            assert len(emulator.ledger) == 1

    run(loop, main)


@loops()
@pytest.mark.parametrize("tls", [False, True], ids=["plain", "tls"])
def test_uploads_cut_at_any_moment(loop, tls):
    """Whatever either side does in the middle: what is called not sent was never read whole."""
    authority, factory = None, None
    if loop == "uvloop":
        factory = pytest.importorskip("uvloop", reason="uvloop is not installed").new_event_loop
    if tls:
        authority = pytest.importorskip("trustme", reason="trustme is not installed").CA()
    counts, wrong = cut_uploads.run(60, 7, loop=factory, authority=authority)
    assert not wrong
    assert min(counts["not sent"], counts["success"], counts["unknown"]) > 0
