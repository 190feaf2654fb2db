"""The example services under load: a hundred requests at once beside a bulk run, then SIGTERM; what was cut or doubted.

``python tests/emulated/service_load.py`` prints the figures of all three and ends with 1 if a request was cut, a row is
unknown, a call was made twice, or an acknowledged call was not made.
"""

import argparse
import asyncio
import contextlib
import os
import signal
import socket
import statistics
import sys
import tempfile
import time
from collections import Counter
from datetime import UTC, datetime
from pathlib import Path

import aiohttp
import msgspec

from ucontact_async import Status, open_journal
from ucontact_async.emulator import Emulator

EXAMPLES = Path(__file__).parents[2] / "examples" / "services"
FRAMEWORKS = ("aiohttp", "fastapi", "litestar")
WHEN = datetime(2099, 5, 5, 12, tzinfo=UTC)
# 50 ms an answer, as a server that works has; more rows than the bulk gets done beside the requests.
SLOW = {"rules": [{"endpoint": "Dialers/*", "fault": "latency", "seconds": 0.05}]}
ROWS = 8_000


def row(number):
    """A call as the services take it."""
    return {"campaign": "Ventas->", "destination": f"09{number:07d}", "calldate": WHEN.isoformat()}


class Figures(msgspec.Struct):
    """What one service did: seconds a request, statuses, rows of the bulk, and all that must be nought."""

    framework: str
    seconds: list[float] = []
    statuses: Counter = msgspec.field(default_factory=Counter)
    sent: int = 0
    cut: int = 0
    unknown: int = 0
    twice: int = 0
    lost: int = 0
    sessions: int = 0
    ended_in: float = 0.0
    code: int | None = None

    @property
    def sound(self):
        """Whether nothing was cut, doubted, doubled, lost or left behind, and something was done at all."""
        wrong = self.cut + self.unknown + self.twice + self.lost + self.sessions
        return wrong == 0 and set(self.statuses) == {201} and 0 < self.sent < ROWS

    def __str__(self):
        cuts = statistics.quantiles(self.seconds, n=100)
        p50, p99 = cuts[49] * 1000, cuts[98] * 1000
        return (
            f"{self.framework:<9}{len(self.seconds):>9,}{p50:>8.0f}{p99:>8.0f}{self.sent:>11,}{self.cut:>6}"
            f"{self.unknown:>9}{self.twice:>7}{self.lost:>6}{self.ended_in:>9.1f}"
        )


HEADINGS = "service    requests  p50 ms  p99 ms  bulk rows   cut  unknown  twice  lost  ended s"


@contextlib.asynccontextmanager
async def process_of(framework, emulator, folder):
    """Run an example service as a process of its own, and yield it and its URL once it answers."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    name = f"{framework}_service"
    start = [f"{EXAMPLES / name}.py", str(port)]
    if framework != "aiohttp":
        start = ["-m", "uvicorn", f"{name}:app", "--port", str(port), "--app-dir", str(EXAMPLES), "--log-level=warning"]
    settings = {"URL": emulator.url, "USER": "api", "PASSWORD": "secret", "TIMEZONE": "America/Montevideo"}
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *start,
        cwd=folder,
        stdout=asyncio.subprocess.DEVNULL,
        env=os.environ | {f"UCONTACT_{name}": value for name, value in settings.items()},
    )
    try:
        for _ in range(1000):
            with contextlib.suppress(OSError):
                (await asyncio.open_connection("127.0.0.1", port))[1].close()
                break
            await asyncio.sleep(0.02)
        yield process, f"http://127.0.0.1:{port}"
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


async def load(framework, emulator, folder, *, at_once=100, seconds=5.0):
    """Ask ``at_once`` at a time for ``seconds`` while a bulk run goes on, then SIGTERM; return the figures."""
    emulator.set_faults(SLOW)
    figures = Figures(framework)
    numbers = iter(range(1_000_000, 9_000_000))
    acknowledged = set()
    connector = aiohttp.TCPConnector(limit=0)
    async with (
        process_of(framework, emulator, folder) as (process, url),
        aiohttp.ClientSession(connector=connector) as session,
    ):
        async with session.put(f"{url}/runs/march", json=[row(n) for n in range(ROWS)]) as answer:
            assert answer.status == 202, await answer.text()
        async with session.put(f"{url}/runs/march", json=[row(1)]) as answer:
            assert answer.status == 409

        async def ask(until):
            while True:
                call, began = row(next(numbers)), time.perf_counter()
                try:
                    async with session.post(f"{url}/calls", json=call) as answer:
                        await answer.read()
                except aiohttp.ClientError:
                    figures.cut += 1
                    return
                figures.seconds.append(time.perf_counter() - began)
                figures.statuses[answer.status] += 1
                if answer.status == 201:
                    acknowledged.add(call["destination"])
                if until.is_set():
                    return

        async def view():
            async with session.get(f"{url}/runs/march") as answer:
                return [line async for line in answer.content if line.startswith(b"data: ")]

        ending = asyncio.Event()
        viewer = asyncio.create_task(view())
        asking = [asyncio.create_task(ask(ending)) for _ in range(at_once)]
        await asyncio.sleep(seconds)
        bulk = {row(n)["destination"] for n in range(ROWS)}
        while not any(entry.fields["destination"] in bulk for entry in emulator.ledger):
            await asyncio.sleep(0.05)
        ending.set()
        began = time.perf_counter()
        process.send_signal(signal.SIGTERM)
        await asyncio.gather(*asking)
        assert await viewer
        figures.code = await asyncio.wait_for(process.wait(), 30)
        figures.ended_in = time.perf_counter() - began
    applied = Counter(entry.fields["destination"] for entry in emulator.ledger)
    figures.twice = sum(times > 1 for times in applied.values())
    figures.lost = len(acknowledged - set(applied))
    figures.sessions = emulator.snapshot()["sessions"]
    counts = await asyncio.to_thread(_counts, Path(folder) / "march.journal")
    figures.unknown = counts.get(Status.UNKNOWN, 0) + counts.get("sent", 0)
    figures.sent = counts.get(Status.SUCCEEDED, 0)
    figures.lost += abs(figures.sent - len(set(applied) - acknowledged))
    return figures


def _counts(journal):
    with open_journal(journal) as rows:
        return rows.counts()


async def main(at_once, seconds):
    """Load one service after another and print a line for each."""
    print(f"{at_once} requests at once for {seconds:g} s beside a bulk run, 50 ms an answer, then SIGTERM")
    print(HEADINGS)
    sound = True
    for framework in FRAMEWORKS:
        with tempfile.TemporaryDirectory() as folder:
            async with Emulator() as emulator:
                figures = await load(framework, emulator, folder, at_once=at_once, seconds=seconds)
        print(figures, flush=True)
        sound = sound and figures.sound
    print("no request cut, no row unknown, no call twice or lost" if sound else "NOT SOUND")
    return 0 if sound else 1


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--at-once", type=int, default=100, help="requests at a time (%(default)s)")
    parser.add_argument("--seconds", type=float, default=5.0, help="for how long (%(default)s)")
    arguments = parser.parse_args()
    sys.exit(asyncio.run(main(arguments.at_once, arguments.seconds)))
