"""Answers that blow up: each kind in a process of its own whose memory is limited; its peak is measured.

``python -m tests.security.bombs`` has the real client ask a server (in the parent process) for each kind of answer,
through both lanes, as a recording and as a login, prints the peak memory of the child above what it had before it
asked, and ends with 1 if a child died, took more than 64 MiB, or took the answer for a good one.
"""

import argparse
import gzip
import json
import subprocess
import sys
import tempfile
import zlib
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent / "emulated"))

from scripted_server import Scripted

MIB = 1 << 20
MOST = 64 * MIB
# Address space of a child; what is read without a bound ends it.
LIMIT = 1536 * MIB
PIECE = b"x" * 65_536
CHUNKED = "Transfer-Encoding: chunked\r\n"


def head(fields="", status="200 OK"):
    return f"HTTP/1.1 {status}\r\n{fields}\r\n".encode()


def packed(body, encoding):
    return head(f"Content-Encoding: {encoding}\r\nContent-Length: {len(body)}\r\n") + body


def whole(data):
    """Return a script that sends ``data`` and closes."""

    def script(connection, number, request):
        connection.sendall(data)
        return True

    return script


def endless(begin, piece):
    """Return a script that never ends."""

    def script(connection, number, request):
        connection.sendall(begin)
        while True:
            connection.sendall(piece)

    return script


def deflated(size):
    squeeze = zlib.compressobj(9)
    return b"".join([*(squeeze.compress(bytes(MIB)) for _ in range(size // MIB)), squeeze.flush()])


GZIP = gzip.compress(bytes(512 * MIB), 9)
# A brotli and a zstd stream of zeros, by hand: one that says "repeat the last byte" for hundreds of megabytes.
ZSTD = b"\x28\xb5\x2f\xfd\x04\x58" + (b"\x02\x00\x10\x00" * 4096) + b"\x03\x00\x10\x00"
BROTLI = b"\x5b\xff\xff\xff\xff\x03\x00\x00" * 512
KINDS = {
    "gzip": lambda: whole(packed(GZIP, "gzip")),
    "deflate": lambda: whole(packed(deflated(512 * MIB), "deflate")),
    "br": lambda: whole(packed(BROTLI, "br")),
    "zstd": lambda: whole(packed(ZSTD, "zstd")),
    "gzip in gzip": lambda: whole(packed(gzip.compress(GZIP), "gzip, gzip")),
    "many members of gzip": lambda: whole(packed(gzip.compress(bytes(MIB)) * 512, "gzip")),
    "chunks without end": lambda: endless(head(CHUNKED), b"10000\r\n" + PIECE + b"\r\n"),
    "a body without end": lambda: endless(head(), PIECE),
    "a length of a terabyte": lambda: endless(head(f"Content-Length: {1 << 40}\r\n"), PIECE),
    "a head without end": lambda: endless(b"HTTP/1.1 200 OK\r\n", b"X-Long: " + PIECE[:8000] + b"\r\n"),
    "a line without end": lambda: endless(b"HTTP/1.1 200 OK\r\nX-Long: ", PIECE),
    "interim answers without end": lambda: endless(b"", head(status="103 Early Hints") * 100),
    "a size of a chunk without end": lambda: endless(head(CHUNKED), b"0" * 65_536),
    "JSON nested deeply": lambda: whole(head(f"Content-Length: {8 * MIB}\r\n") + b"[" * (8 * MIB)),
    "JSON of many small parts": lambda: whole(
        head(f"Content-Length: {4 * MIB + 2}\r\n") + b"[" + b"0," * (2 * MIB - 1) + b"0" + b" " + b" ]"
    ),
}
ASKS = ("call", "call by aiohttp", "read", "login", "recording")

CHILD = """
import asyncio, json, resource, sys
from datetime import datetime
url, ask, folder, limit = sys.argv[1], sys.argv[2], sys.argv[3], int(sys.argv[4])
from ucontact_async import Recording, ScheduledCall, UContact, UContactError
call = ScheduledCall(campaign="Ventas->", destination="099123456", calldate=datetime(2099, 5, 5))
peak = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
async def main():
    lane = "session" if ask == "call by aiohttp" else "command"
    secret = {"user": "api", "password": "p"} if ask == "login" else {"token": "t"}
    async with UContact(url, timezone="UTC", lane=lane, **secret) as uc:
        uc = uc.with_options(timeout=3.0)
        resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
        before = peak()
        try:
            async with asyncio.timeout(20):
                if ask == "read":
                    await uc.campaigns.summary()
                elif ask == "login":
                    await uc.login()
                elif ask == "recording":
                    where = Recording(guid="a1b2c3d4")
                    await uc.recordings.download(where, folder, convert=False, max_size=8 << 20)
                else:
                    await uc.send(call)
            said = "good"
        except (UContactError, TimeoutError) as error:
            said = type(error).__name__
        print(json.dumps({"said": said, "peak": peak() - before}), flush=True)
asyncio.run(main())
"""


def explode(kind, ask):
    """Return what the child said of an answer, and how many bytes its memory grew by."""
    with Scripted(KINDS[kind]()) as server, tempfile.TemporaryDirectory() as folder:
        child = [sys.executable, "-c", CHILD, server.url, ask, folder, str(LIMIT)]
        done = subprocess.run(child, capture_output=True, text=True, timeout=120, check=False)
        left = [path.name for path in Path(folder).iterdir()]
    try:
        told = json.loads(done.stdout)
    except ValueError:
        return {"said": f"died: {done.stderr[-300:]}", "peak": 0, "left": left}
    return {**told, "left": left}


def wrong(kind, ask, seen):
    """Return what is wrong with what was seen, or nothing."""
    if seen["said"].startswith("died"):
        return seen["said"]
    if seen["said"] == "good" and ask == "recording" and kind.startswith("JSON"):
        return ""  # a whole file, not longer than it may be
    if seen["said"] == "good" and not (ask == "read" and kind.startswith("JSON of")):
        return "taken for a good answer"
    if seen["peak"] > MOST:
        return f"{seen['peak'] / MIB:.0f} MiB"
    return f"left {seen['left']}" if seen["left"] else ""


def main():
    """Print the table; 1 if something is wrong."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", default="", help="kinds whose name has this in it")
    only, bad = parser.parse_args().only, 0
    print(f"{'peak above the client at rest, MiB':<34}", *(f"{ask:>24}" for ask in ASKS))
    for kind in (kind for kind in KINDS if only in kind):
        cells = []
        for ask in ASKS:
            seen = explode(kind, ask)
            problem = wrong(kind, ask, seen)
            bad += bool(problem)
            cells.append(f"{seen['peak'] / MIB:.1f} {problem or seen['said']}")
        print(f"{kind:<34}", *(f"{cell:>24}" for cell in cells), flush=True)
    print(f"{len(KINDS)} kinds x {len(ASKS)}: {bad} wrong")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
