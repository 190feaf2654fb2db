"""What everyone writes first: a semaphore, a task a row, a dict as data."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from zoneinfo import ZoneInfo

from work import HEADERS, OPTIONS, PATH, ZONE, Row, Rows, Run, document, trust


@contextlib.asynccontextmanager
async def opened(url: str) -> AsyncIterator[Run]:
    """Give the naive loop over aiohttp."""
    import aiohttp

    zone, limit = ZoneInfo(ZONE), asyncio.Semaphore(OPTIONS.concurrency)
    async with aiohttp.ClientSession(headers=HEADERS, connector=aiohttp.TCPConnector(ssl=trust() or True)) as session:

        async def send(row: Row) -> bool:
            form = {"callschedule": json.dumps(document(row, zone))}
            async with limit, session.post(url + PATH, data=form) as answer:
                return answer.status == 200 and await answer.text() == "1"

        async def run(rows: Rows) -> int:
            return sum(await asyncio.gather(*[send(row) for row in rows]))

        yield run
