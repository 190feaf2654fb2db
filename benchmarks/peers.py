"""The clients that are measured, each doing the same work, and the process that measures one of them.

The work: a row of Python values becomes a ScheduleDialerCall (date in the server's zone, pairs, JSON, form body), is
posted with its Authorization header over keep-alive connections, and its answer must be 200 and ``1``.
"""

import argparse
import asyncio
import contextlib
import gc
import itertools
import json
import resource
import select
import socket
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlsplit
from zoneinfo import ZoneInfo

from server import CLIENT_CORE, pin

THREADS = 32
PATH = "/Integra/resources/Dialers/ScheduleDialerCall"
ZONE = "America/Montevideo"
HEADERS = {"Authorization": "Basic YmVuY2g6NmYxYzJhNTItN2IwZS00ZDUzLTljMWYtMmI4ZjVmMGExZDc3"}


class Row(NamedTuple):
    """One contact, as a caller's own program would hold it."""

    campaign: str
    destination: str
    calldate: datetime
    alternatives: Sequence[str]
    agentphone: str
    data: Mapping[str, str]


OPTIONS = argparse.Namespace(concurrency=64, warm_up=1000)
Rows = Iterable[Row]
Run = Callable[[Rows], Awaitable[int]]


def rows(count: int) -> Iterator[Row]:
    """Make ``count`` different contacts for tomorrow."""
    first = datetime.now(UTC).replace(microsecond=0) + timedelta(days=1)
    for n in range(count):
        data = {"id": str(n), "name": "Iñaki Peña", "city": "Paysandú", "plan": "Fibra 600", "debt": f"{n % 997},50"}
        yield Row(
            "Ventas->", f"09{8_000_000 + n}", first + timedelta(seconds=n % 3600), (f"2{n:07}", "24001234"), "", data
        )


def document(row: Row, zone: ZoneInfo) -> dict[str, str]:
    """Return the JSON object of the call, as one writes it by hand."""
    return {
        "campaign": row.campaign,
        "destination": row.destination,
        "calldate": row.calldate.astimezone(zone).strftime("%Y-%m-%d %H:%M:%S"),
        "alternatives": ":".join(row.alternatives),
        "agentphone": row.agentphone,
        "data": ":".join(f"{name}={value}" for name, value in row.data.items()),
    }


@contextlib.asynccontextmanager
async def aiohttp_naive(url: str) -> AsyncIterator[Run]:
    """What everyone writes first: a semaphore, a task a row, a dict as data."""
    import aiohttp

    zone, limit = ZoneInfo(ZONE), asyncio.Semaphore(OPTIONS.concurrency)
    async with aiohttp.ClientSession(headers=HEADERS) as session:

        async def send(row: Row) -> bool:
            form = {"callschedule": json.dumps(document(row, zone))}
            async with limit, session.post(url + PATH, data=form) as answer:
                return answer.status == 200 and await answer.text() == "1"

        async def run(rows: Rows) -> int:
            return sum(await asyncio.gather(*[send(row) for row in rows]))

        yield run


@contextlib.asynccontextmanager
async def aiohttp_tuned(url: str) -> AsyncIterator[Run]:
    """Every public knob that helps: bytes body by C encoders, workers, no total timeout, no cookies."""
    import aiohttp
    import msgspec
    from yarl import URL

    zone, target, encoder = ZoneInfo(ZONE), URL(url + PATH), msgspec.json.Encoder()
    async with aiohttp.ClientSession(
        headers={**HEADERS, "Content-Type": "application/x-www-form-urlencoded"},
        connector=aiohttp.TCPConnector(limit=OPTIONS.concurrency),
        timeout=aiohttp.ClientTimeout(total=None),
        cookie_jar=aiohttp.DummyCookieJar(),
        auto_decompress=False,
    ) as session:

        async def work(source: Iterator[Row]) -> int:
            done = 0
            for row in source:
                form = {"callschedule": encoder.encode(document(row, zone)).decode()}
                body = URL.build(query=form).raw_query_string.encode("ascii")
                async with session.post(target, data=body, allow_redirects=False) as answer:
                    done += answer.status == 200 and await answer.read() == b"1"
            return done

        async def run(rows: Rows) -> int:
            source = iter(rows)
            return sum(await asyncio.gather(*[work(source) for _ in range(OPTIONS.concurrency)]))

        yield run


@contextlib.asynccontextmanager
async def requests_threads(url: str) -> AsyncIterator[Run]:
    """Threads over one pooled requests.Session."""
    from concurrent.futures import ThreadPoolExecutor

    import requests
    from requests.adapters import HTTPAdapter

    zone = ZoneInfo(ZONE)
    with requests.Session() as session, ThreadPoolExecutor(THREADS) as threads:
        session.headers.update(HEADERS)
        session.mount(url, HTTPAdapter(pool_maxsize=THREADS))

        def send(row: Row) -> bool:
            answer = session.post(url + PATH, data={"callschedule": json.dumps(document(row, zone))}, timeout=30)
            return answer.status_code == 200 and answer.text == "1"

        async def run(rows: Rows) -> int:
            return sum(threads.map(send, rows))

        yield run


@contextlib.asynccontextmanager
async def httpx_gather(url: str) -> AsyncIterator[Run]:
    """The naive loop over httpx.AsyncClient."""
    import httpx

    zone, limit = ZoneInfo(ZONE), asyncio.Semaphore(OPTIONS.concurrency)
    async with httpx.AsyncClient(headers=HEADERS) as client:

        async def send(row: Row) -> bool:
            async with limit:
                answer = await client.post(url + PATH, data={"callschedule": json.dumps(document(row, zone))})
                return answer.status_code == 200 and answer.text == "1"

        async def run(rows: Rows) -> int:
            return sum(await asyncio.gather(*[send(row) for row in rows]))

        yield run


@contextlib.asynccontextmanager
async def bare_epoll(url: str) -> AsyncIterator[Run]:
    """The least that Python can do on Linux: sockets and one epoll, no event loop, an answer only compared."""
    import msgspec
    from yarl import URL

    zone, encoder, where = ZoneInfo(ZONE), msgspec.json.Encoder(), urlsplit(url)
    headers = {"Host": where.netloc, **HEADERS, "Content-Type": "application/x-www-form-urlencoded"}
    head = f"POST {PATH} HTTP/1.1\r\n" + "".join([f"{name}: {value}\r\n" for name, value in headers.items()])
    sockets = [socket.create_connection((where.hostname, where.port)) for _ in range(OPTIONS.concurrency)]
    by_number = {each.fileno(): each for each in sockets}
    poller = select.epoll()
    for number, each in by_number.items():
        each.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        poller.register(number, select.EPOLLIN)

    def send(target: socket.socket, row: Row) -> None:
        form = {"callschedule": encoder.encode(document(row, zone)).decode()}
        body = URL.build(query=form).raw_query_string
        target.send(f"{head}Content-Length: {len(body)}\r\n\r\n{body}".encode("ascii"))

    async def run(rows: Rows) -> int:
        source, done, waiting = iter(rows), 0, 0
        for each, row in zip(sockets, source, strict=False):
            send(each, row)
            waiting += 1
        while waiting:
            for number, _ in poller.poll():
                answer = by_number[number].recv(4096)
                done += answer.startswith(b"HTTP/1.1 200") and answer.endswith(b"\r\n\r\n1")
                if (row := next(source, None)) is not None:
                    send(by_number[number], row)
                else:
                    waiting -= 1
        return done

    try:
        yield run
    finally:
        poller.close()
        for each in sockets:
            each.close()


@contextlib.asynccontextmanager
async def aiohttp_single(url: str) -> AsyncIterator[Run]:
    """One call after the other, as one writes it first."""
    import aiohttp

    zone = ZoneInfo(ZONE)
    async with aiohttp.ClientSession(headers=HEADERS) as session:

        async def run(rows: Rows) -> int:
            done = 0
            for row in rows:
                form = {"callschedule": json.dumps(document(row, zone))}
                async with session.post(url + PATH, data=form) as answer:
                    done += answer.status == 200 and await answer.text() == "1"
            return done

        yield run


def single(*, pause: float = 0.0) -> Callable[[str], contextlib.AbstractAsyncContextManager[Run]]:
    """Return this library's call after call, idle for ``pause`` seconds in between."""

    @contextlib.asynccontextmanager
    async def opened(url: str) -> AsyncIterator[Run]:
        from ucontact_async import UContact

        async with UContact(url, user="api", password="secret", timezone=ZONE) as uc:

            async def run(rows: Rows) -> int:
                done = 0
                for row in rows:
                    await uc.dialers.schedule(**row._asdict())
                    done += 1
                    if pause:
                        await asyncio.sleep(pause)
                return done

            yield run

    return opened


def bulk(*, journal: bool, lane: str = "auto") -> Callable[[str], contextlib.AbstractAsyncContextManager[Run]]:
    """Return this library's own variant."""

    @contextlib.asynccontextmanager
    async def opened(url: str) -> AsyncIterator[Run]:
        from ucontact_async import ScheduledCall, UContact

        paths = itertools.count()
        with tempfile.TemporaryDirectory() as folder:
            async with UContact(url, user="api", password="secret", timezone=ZONE, lane=lane) as uc:

                async def run(rows: Rows) -> int:
                    path = Path(folder) / f"{next(paths)}.journal" if journal else None
                    # Row's fields have the names of ScheduledCall's.
                    requests = (ScheduledCall(**row._asdict()) for row in rows)
                    report = await uc.bulk(requests, journal=path, max_concurrency=OPTIONS.concurrency)
                    report.raise_for_status()
                    return report.succeeded

                yield run

    return opened


VARIANTS = {
    "bulk": bulk(journal=False),
    "bulk+journal": bulk(journal=True),
    "bulk, session lane": bulk(journal=False, lane="session"),
    "bare epoll": bare_epoll,
    "aiohttp tuned": aiohttp_tuned,
    "aiohttp naive": aiohttp_naive,
    "requests, 32 threads": requests_threads,
    "httpx": httpx_gather,
    "call after call": single(),
    "call after call, idle between": single(pause=0.003),
    "aiohttp call after call": aiohttp_single,
}


def cpu_seconds() -> float:
    """Return the CPU time of this process so far, all threads, system included."""
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


def memory_kib(entry: str) -> int:
    """Return an entry of the process's status, such as VmHWM; 0 where there is none."""
    with contextlib.suppress(OSError):
        for line in Path("/proc/self/status").read_text().splitlines():
            if line.startswith(f"{entry}:"):
                return int(line.split()[1])
    return 0


def forget_peak() -> None:
    """Let VmHWM start again from here."""
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")


async def measure(variant: str, url: str, count: int, *, lazy: bool) -> dict[str, float]:
    """Warm up, run ``count`` rows once, and return what that cost."""
    async with VARIANTS[variant](url) as run:
        await run(rows(OPTIONS.warm_up))
        given = rows(count) if lazy else list(rows(count))
        gc.collect()
        forget_peak()
        memory, cpu, wall = memory_kib("VmRSS"), cpu_seconds(), time.perf_counter()
        done = await run(given)
        cpu, wall = cpu_seconds() - cpu, time.perf_counter() - wall
        if done != count:
            raise SystemExit(f"{variant}: {done} of {count} rows answered 1")
        return {"us": cpu / count * 1e6, "wall_us": wall / count * 1e6, "kib": memory_kib("VmHWM") - memory}


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("variant", choices=VARIANTS)
    parser.add_argument("url")
    parser.add_argument("rows", type=int)
    parser.add_argument("--lazy", action="store_true", help="make the rows while they are sent, not before")
    parser.add_argument("--concurrency", type=int, default=OPTIONS.concurrency)
    parser.add_argument("--warm-up", type=int, default=OPTIONS.warm_up)
    arguments = parser.parse_args(namespace=OPTIONS)
    pin(CLIENT_CORE)
    json.dump(asyncio.run(measure(arguments.variant, arguments.url, arguments.rows, lazy=arguments.lazy)), sys.stdout)
