"""The naive loop over ``httpx.AsyncClient``."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from zoneinfo import ZoneInfo

from work import HEADERS, OPTIONS, PATH, ZONE, Row, Rows, Run, document, trust


@contextlib.asynccontextmanager
async def opened(url: str) -> AsyncIterator[Run]:
    """Give a semaphore and a task a row."""
    import httpx

    zone, limit = ZoneInfo(ZONE), asyncio.Semaphore(OPTIONS.concurrency)
    async with httpx.AsyncClient(headers=HEADERS, verify=trust() or True) as client:

        async def send(row: Row) -> bool:
            async with limit:
                answer = await client.post(url + PATH, data={"callschedule": json.dumps(document(row, zone))})
                return answer.status_code == 200 and answer.text == "1"

        async def run(rows: Rows) -> int:
            return sum(await asyncio.gather(*[send(row) for row in rows]))

        yield run
