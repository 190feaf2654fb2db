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
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import NamedTuple
from zoneinfo import ZoneInfo

from server import CLIENT_CORE, pin

CONCURRENCY, THREADS, WARM_UP = 64, 32, 1000
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

    zone, limit = ZoneInfo(ZONE), asyncio.Semaphore(CONCURRENCY)
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
        connector=aiohttp.TCPConnector(limit=CONCURRENCY),
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
            return sum(await asyncio.gather(*[work(source) for _ in range(CONCURRENCY)]))

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

    zone, limit = ZoneInfo(ZONE), asyncio.Semaphore(CONCURRENCY)
    async with httpx.AsyncClient(headers=HEADERS) as client:

        async def send(row: Row) -> bool:
            async with limit:
                answer = await client.post(url + PATH, data={"callschedule": json.dumps(document(row, zone))})
                return answer.status_code == 200 and answer.text == "1"

        async def run(rows: Rows) -> int:
            return sum(await asyncio.gather(*[send(row) for row in rows]))

        yield run


def bulk(*, journal: bool) -> Callable[[str], contextlib.AbstractAsyncContextManager[Run]]:
    """Return this library's own variant."""

    @contextlib.asynccontextmanager
    async def opened(url: str) -> AsyncIterator[Run]:
        from ucontact_async import ScheduledCall, UContact

        paths = itertools.count()
        with tempfile.TemporaryDirectory() as folder:
            async with UContact(url, user="api", password="secret", timezone=ZONE) as uc:

                async def run(rows: Rows) -> int:
                    path = Path(folder) / f"{next(paths)}.journal" if journal else None
                    # Row's fields have the names of ScheduledCall's.
                    requests = (ScheduledCall(**row._asdict()) for row in rows)
                    report = await uc.bulk(requests, journal=path, max_concurrency=CONCURRENCY)
                    report.raise_for_status()
                    return report.succeeded

                yield run

    return opened


VARIANTS = {
    "bulk": bulk(journal=False),
    "bulk+journal": bulk(journal=True),
    "aiohttp tuned": aiohttp_tuned,
    "aiohttp naive": aiohttp_naive,
    "requests, 32 threads": requests_threads,
    "httpx": httpx_gather,
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
        await run(rows(WARM_UP))
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
    arguments = parser.parse_args()
    pin(CLIENT_CORE)
    json.dump(asyncio.run(measure(arguments.variant, arguments.url, arguments.rows, lazy=arguments.lazy)), sys.stdout)
