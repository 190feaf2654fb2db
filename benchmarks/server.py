"""The server that the measured clients speak to: server.c where a compiler is, else a bare asyncio.Protocol.

Either runs in a process of its own, pinned to the second core, and ends when its standard input does.
"""

import asyncio
import contextlib
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from urllib.request import urlopen

HERE = Path(__file__).parent
CLIENT_CORE, SERVER_CORE = 0, 1


def pin(core: int, pid: int = 0) -> None:
    """Keep a process on one core, where the system can and has it."""
    if hasattr(os, "sched_setaffinity") and core in os.sched_getaffinity(0):
        os.sched_setaffinity(pid, {core})


@contextlib.contextmanager
def serving() -> Iterator[tuple[str, str]]:
    """Run the server; give its address and what kind it is."""
    with tempfile.TemporaryDirectory() as folder:
        command, kind = [sys.executable, str(HERE / "server.py")], "asyncio.Protocol (no C compiler here: slower)"
        compiler = shutil.which("cc") or shutil.which("gcc")
        if compiler and sys.platform == "linux":
            command, kind = [f"{folder}/server"], "C, one epoll thread"
            subprocess.run([compiler, "-O2", "-o", *command, HERE / "server.c"], check=True)
        with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
            try:
                pin(SERVER_CORE, process.pid)
                yield f"http://127.0.0.1:{int(process.stdout.readline())}", kind
            finally:
                process.stdin.close()
                process.wait(10)


def scheduled(url: str) -> int:
    """Ask the server how many calls it has scheduled."""
    with urlopen(f"{url}/count", timeout=10) as answer:
        return int(answer.read())


class Answering(asyncio.Protocol):
    """What server.c does."""

    count = 0

    def connection_made(self, transport: asyncio.Transport) -> None:
        """Begin with nothing read."""
        self.transport, self.kept = transport, b""

    def data_received(self, data: bytes) -> None:
        """Answer every whole request."""
        self.kept += data
        while (end := self.kept.find(b"\r\n\r\n")) >= 0:
            length = re.search(rb"(?i)\ncontent-length: *(\d+)", self.kept[:end])
            whole = end + 4 + (int(length[1]) if length else 0)
            if len(self.kept) < whole:
                return
            body, line = b"1", self.kept[: self.kept.index(b"\r")]
            self.kept = self.kept[whole:]
            if b"/count" in line:
                body = b"%d" % Answering.count
            elif b"/auth/" in line:
                body = b'"YmVuY2g6NmYxYzJhNTItN2IwZS00ZDUzLTljMWYtMmI4ZjVmMGExZDc3"'
            elif b"/ScheduleDialerCall" in line:
                Answering.count += 1
            head = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: %d\r\n\r\n" % len(body)
            self.transport.write(head + body)


async def main() -> None:
    """Serve until standard input ends."""
    loop = asyncio.get_running_loop()
    server = await loop.create_server(Answering, "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    await loop.run_in_executor(None, sys.stdin.read)


if __name__ == "__main__":
    asyncio.run(main())
