"""One call after the other through aiohttp, as one writes it first."""

import contextlib
import json
from collections.abc import AsyncIterator
from zoneinfo import ZoneInfo

from work import HEADERS, PATH, ZONE, Rows, Run, document, trust


@contextlib.asynccontextmanager
async def opened(url: str) -> AsyncIterator[Run]:
    """Give the plain loop over ``session.post``."""
    import aiohttp

    zone = ZoneInfo(ZONE)
    async with aiohttp.ClientSession(headers=HEADERS, connector=aiohttp.TCPConnector(ssl=trust() or True)) as session:

        async def run(rows: Rows) -> int:
            done = 0
            for row in rows:
                form = {"callschedule": json.dumps(document(row, zone))}
                async with session.post(url + PATH, data=form) as answer:
                    done += answer.status == 200 and await answer.text() == "1"
            return done

        yield run
