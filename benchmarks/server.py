"""The server that the measured clients speak to: server.c where a compiler is, else a bare asyncio.Protocol.

Either runs in a process of its own, pinned to the second core, and ends when its standard input does.
"""

import asyncio
import contextlib
import json
import os
import re
import shutil
import ssl
import subprocess
import sys
import tempfile
import time
from collections import deque
from collections.abc import Iterator
from pathlib import Path
from typing import ClassVar, NamedTuple
from urllib.parse import parse_qs
from urllib.request import urlopen

HERE = Path(__file__).parent
CLIENT_CORE, SERVER_CORE = 0, 1


class Certificate(NamedTuple):
    """Files: who is to be trusted, and what the server shows and proves it by."""

    ca: str
    chain: str
    key: str


def pin(core: int, pid: int = 0) -> None:
    """Keep a process on one core, where the system can and has it."""
    if hasattr(os, "sched_setaffinity") and core in os.sched_getaffinity(0):
        os.sched_setaffinity(pid, {core})


@contextlib.contextmanager
def certified() -> Iterator[Certificate]:
    """Make a certificate for this machine's own address."""
    import trustme

    authority = trustme.CA()
    own = authority.issue_cert("127.0.0.1")
    with tempfile.TemporaryDirectory() as folder:
        made = Certificate(*[f"{folder}/{name}.pem" for name in Certificate._fields])
        authority.cert_pem.write_to_path(made.ca)
        own.private_key_pem.write_to_path(made.key)
        for part in own.cert_chain_pems:
            part.write_to_path(made.chain, append=True)
        yield made


def _built(folder: str, *, tls: bool) -> str | None:
    """Compile server.c; return the program, ``None`` where that cannot be."""
    compiler = shutil.which("cc") or shutil.which("gcc")
    if not compiler or sys.platform != "linux":
        return None
    command = [compiler, "-O2", "-o", f"{folder}/server", HERE / "server.c"]
    if tls:
        done = subprocess.run([*command, "-DTLS", "-lssl", "-lcrypto"], check=False, capture_output=True)
        return None if done.returncode else f"{folder}/server"  # OpenSSL's headers may not be there
    subprocess.run(command, check=True)
    return f"{folder}/server"


@contextlib.contextmanager
def serving(
    certificate: Certificate | None = None, *, service: float = 0.0, slots: int = 0, keep: bool = False
) -> Iterator[tuple[str, str]]:
    """Run the server; give its address and what kind it is.

    An answer takes ``service`` seconds, ``slots`` are served at once (0: all). With ``keep`` it remembers every body,
    for :func:`kept`.
    """
    words = [str(round(service * 1e6)), str(slots), *(certificate[1:] if certificate else ()), *(["keep"] * keep)]
    with tempfile.TemporaryDirectory() as folder:
        command, kind = [sys.executable, str(HERE / "server.py")], "asyncio.Protocol (no C compiler here: slower)"
        program = None if keep else _built(folder, tls=certificate is not None)
        if program is not None:
            command, kind = [program], "C, one epoll thread"
        with subprocess.Popen([*command, *words], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
            try:
                pin(SERVER_CORE, process.pid)
                yield f"http{'s' * bool(certificate)}://127.0.0.1:{int(process.stdout.readline())}", kind
            finally:
                process.stdin.close()
                process.wait(10)


def _asked(url: str, what: str) -> str:
    """Ask our own server on loopback, whoever it says it is."""
    with urlopen(f"{url}/{what}", timeout=10, context=ssl._create_unverified_context()) as answer:  # noqa: SLF001
        return answer.read().decode()


def scheduled(url: str) -> int:
    """Ask the server how many calls it has scheduled."""
    return int(_asked(url, "count"))


def arrivals(url: str) -> list[float]:
    """Ask at which moments (of ``time.monotonic``) the first bytes of dialer tasks arrived."""
    return [float(line) for line in _asked(url, "arrivals").split()]


def kept(url: str) -> list[dict]:
    """Ask what the requests for calls said, and forget it: path, authorization and decoded form of each."""
    return json.loads(_asked(url, "kept"))


class Answering(asyncio.Protocol):
    """What server.c does, and remembering bodies."""

    count = 0
    arrivals: ClassVar[list[float]] = []
    kept: ClassVar[list[dict]] = []
    due: ClassVar[deque[float]] = deque()
    service = 0.0
    slots = 0
    keep = False

    def connection_made(self, transport: asyncio.Transport) -> None:
        """Begin with nothing read."""
        self.transport, self.held = transport, b""

    def data_received(self, data: bytes) -> None:
        """Answer every whole request."""
        self.held += data
        while (end := self.held.find(b"\r\n\r\n")) >= 0:
            length = re.search(rb"(?i)\ncontent-length: *(\d+)", self.held[:end])
            whole = end + 4 + (int(length[1]) if length else 0)
            if len(self.held) < whole:
                return
            head, body = self.held[:end], self.held[end + 4 : whole]
            self.held = self.held[whole:]
            self._reply(head, body)

    def _reply(self, head: bytes, body: bytes) -> None:
        cls, line = type(self), head.partition(b"\r")[0]
        if b"/count" in line:
            self._answer(b"%d" % cls.count)
        elif b"/arrivals" in line:
            self._answer("".join([f"{moment:.9f}\n" for moment in cls.arrivals]).encode())
        elif b"/kept" in line:
            self._answer(json.dumps(cls.kept).encode())
            cls.kept = []
        elif b"/auth/" in line:
            self._answer(b'"YmVuY2g6NmYxYzJhNTItN2IwZS00ZDUzLTljMWYtMmI4ZjVmMGExZDc3"')
        else:
            if b"/ScheduleDialerCall" in line:
                cls.count += 1
                if cls.keep:
                    cls.kept.append(_said(head, body))
            elif b"/DialerTask" in line:
                cls.arrivals.append(time.monotonic())
            self._serve()

    def _serve(self) -> None:
        cls = type(self)
        if not cls.service:
            self._answer(b"1")
            return
        begin = time.monotonic()
        if cls.slots and len(cls.due) == cls.slots:
            begin = max(begin, cls.due.popleft())
        cls.due.append(begin + cls.service)
        # The loop's clock is time.monotonic.
        asyncio.get_running_loop().call_at(begin + cls.service, self._answer, b"1")

    def _answer(self, body: bytes) -> None:
        head = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: %d\r\n\r\n" % len(body)
        self.transport.write(head + body)


def _said(head: bytes, body: bytes) -> dict:
    form = parse_qs(body.decode("ascii"), keep_blank_values=True, strict_parsing=True)
    authorization = re.search(rb"(?i)\nauthorization: *([^\r]+)", head)
    return {
        "line": head.partition(b"\r")[0].decode(),
        "authorization": authorization[1].decode() if authorization else "",
        "form": {name: [json.loads(value) for value in values] for name, values in form.items()},
    }


async def main(service: str, slots: str, *words: str) -> None:
    """Serve until standard input ends."""
    Answering.service, Answering.slots, Answering.keep = int(service) / 1e6, int(slots), "keep" in words
    files = [word for word in words if word != "keep"]
    context = None
    if files:
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(*files)
    loop = asyncio.get_running_loop()
    server = await loop.create_server(Answering, "127.0.0.1", 0, ssl=context)
    print(server.sockets[0].getsockname()[1], flush=True)
    await loop.run_in_executor(None, sys.stdin.read)


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
