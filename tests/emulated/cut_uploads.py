"""Large requests that are cut at any moment, by either side: what we call not sent, no server has read whole.

``python tests/emulated/cut_uploads.py --uploads 2000`` runs that many over plain TCP and over TLS, on asyncio and on
uvloop where it is installed, and exits 1 if a request that was called not sent was read to its end, or one that
succeeded was not. The server reads in another thread, at its own pace, and keeps what it was sent before a reset.
"""

import argparse
import asyncio
import contextlib
import random
import re
import socket
import ssl
import struct
import sys
import threading
import time
from collections import Counter

from ucontact_async import NotSent, Settings, UContactError
from ucontact_async.attempt import Attempt, Outgoing
from ucontact_async.pool import SessionLane
from ucontact_async.settings import Secret, Tls

ENDS = ("answer", "answer", "reset", "reset", "close", "hang", "refuse", "success")
SIZES = (65_537, 131_072, 131_073, 400_000, 2_000_000, 6_000_000)
AT_ONCE = 8
HANG = 0.2


class Reader:
    """A server that reads each request as far as its path says, then does what its path says."""

    def __init__(self, context=None):
        self.whole = Counter()
        self.early = set()
        self._context = context
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=256)
        self._listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65_536)
        self._threads = []
        self.url = f"http{'s' if context else ''}://127.0.0.1:{self._listener.getsockname()[1]}"

    def __enter__(self):
        self._acceptor = threading.Thread(target=self._accept)
        self._acceptor.start()
        return self

    def __exit__(self, *exc_info):
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._acceptor.join()
        for thread in self._threads:
            thread.join()

    def _accept(self):
        with contextlib.suppress(OSError):
            while True:
                thread = threading.Thread(target=self._serve, args=(self._listener.accept()[0],))
                self._threads.append(thread)
                thread.start()

    def _serve(self, connection):
        with connection:
            connection.settimeout(5)
            with contextlib.suppress(OSError):
                if self._context is None:
                    self._serve_requests(connection)
                else:
                    with self._context.wrap_socket(connection, server_side=True) as wrapped:
                        self._serve_requests(wrapped)

    def _serve_requests(self, connection):
        while self._serve_request(connection):
            pass

    def _serve_request(self, connection):
        received = b""
        while b"\r\n\r\n" not in received:
            if not (got := connection.recv(4096)):
                return False
            received += got
        head, _, rest = received.partition(b"\r\n\r\n")
        number, end, reads, pause = re.match(rb"POST /(\d+)/([^/]+)/(\d+)/([\d.]+)", head).groups()
        length, count = re.search(rb"Content-Length: (\d+)", head)[1], len(rest)
        number, end, reads, length = int(number), end.decode(), int(reads), int(length)
        while count < reads and (got := connection.recv(min(65_536, reads - count))):
            count += len(got)
            time.sleep(float(pause))
        early = count < length
        if early:
            self.early.add(number)
            self._end(connection, end)
        while count < length and (got := connection.recv(min(65_536, length - count))):
            count += len(got)
        if count < length:
            return False
        self.whole[number] += 1
        if not early:
            self._end(connection, end)
        return end == "answer"

    @staticmethod
    def _end(connection, end):
        if end == "reset":
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        if end in ("reset", "close"):
            connection.close()
        elif end == "hang":
            time.sleep(HANG)
        else:
            status, body = (413, b"no") if end == "refuse" else (200, b"1")
            connection.sendall(b"HTTP/1.1 %d X\r\nContent-Length: %d\r\n\r\n%s" % (status, len(body), body))


async def upload(lane, number, chance):
    """Send one request, perhaps given up in the middle; return what is claimed of it."""
    size, end = chance.choice(SIZES), chance.choice(ENDS)
    kept = 0 if end == "answer" else chance.choice((0, 1, chance.randrange(140_000), chance.randrange(size)))
    path = f"/{number}/{end}/{max(size - kept, 0)}/{chance.choice((0, 0, 0.0005))}"
    patience = chance.choice((5.0, chance.random() * size / 100e6, chance.random() * size / 20e6))
    outgoing = Outgoing(path, b"x" * size, None, HANG / 2 if end == "hang" else patience, 4096)
    attempt = Attempt()
    try:
        if chance.random() < 0.3:
            async with asyncio.timeout(chance.random() * size / 50e6):
                answer = await lane.exchange(outgoing, attempt)
        else:
            answer = await lane.exchange(outgoing, attempt)
    except NotSent:
        return "not sent" if attempt.left else "no connection"
    except UContactError:
        return "unknown"
    except TimeoutError:  # cancelled: nobody is told, but the attempt may not claim more than is true
        return "not sent" if attempt.incomplete else "cancelled"
    return "success" if answer.status == 200 else "refused"


async def storm(url, uploads, seed, ca=None):
    """Send that many requests, a few at once; return what is claimed of each."""
    lane, chance, claims = SessionLane(Settings(url=url, token=Secret("x"), tls=Tls(ca=ca))), random.Random(seed), {}

    async def sender(numbers):
        for number in numbers:
            claims[number] = await upload(lane, number, chance)

    numbers = iter(range(uploads))
    await asyncio.gather(*(sender(numbers) for _ in range(AT_ONCE)))
    await lane.aclose()
    await asyncio.sleep(0.1)  # the sockets of what was given up
    return claims


def run(uploads, seed, *, loop=None, authority=None):
    """Return how many requests ended how, and what was claimed falsely."""
    context = ca = None
    with contextlib.ExitStack() as stack:
        if authority is not None:
            context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
            authority.issue_cert("127.0.0.1").configure_cert(context)
            ca = stack.enter_context(authority.cert_pem.tempfile())
        with Reader(context) as server, asyncio.Runner(loop_factory=loop) as runner:
            claims = runner.run(storm(server.url, uploads, seed, ca))
    wrong = [f"{number} was read whole" for number in claims if claims[number] == "not sent" and server.whole[number]]
    # Answered early, a request may still be under way when its connection is reset under the next one.
    done = (number for number in claims if claims[number] == "success" and number not in server.early)
    wrong += [f"{number} was read {server.whole[number]} times" for number in done if server.whole[number] != 1]
    return Counter(claims.values()), wrong


def main():
    """Run all four, print a line for each, and return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--uploads", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()
    import trustme

    loops = {"asyncio": None}
    with contextlib.suppress(ImportError):
        import uvloop

        loops["uvloop"] = uvloop.new_event_loop
    failed = False
    for name, loop in loops.items():
        for authority in (None, trustme.CA()):
            counts, wrong = run(args.uploads, args.seed, loop=loop, authority=authority)
            told = ", ".join(f"{count} {claim}" for claim, count in sorted(counts.items()))
            print(f"{name}, {'TLS' if authority else 'plain'}: {told}; {len(wrong)} wrong", flush=True)
            for line in wrong:
                print(f"  wrong: {line}")
            failed = failed or bool(wrong)
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
