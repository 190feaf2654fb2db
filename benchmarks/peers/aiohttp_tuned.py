"""aiohttp with every public knob that helps: bytes body by C encoders, workers, no total timeout, no cookies."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterator
from zoneinfo import ZoneInfo

from work import FORM, HEADERS, OPTIONS, PATH, ZONE, Row, Rows, Run, document, trust


@contextlib.asynccontextmanager
async def opened(url: str) -> AsyncIterator[Run]:
    """Give workers over one iterator."""
    import aiohttp
    import msgspec
    from yarl import URL

    zone, target, encoder = ZoneInfo(ZONE), URL(url + PATH), msgspec.json.Encoder()
    async with aiohttp.ClientSession(
        headers={**HEADERS, "Content-Type": FORM},
        connector=aiohttp.TCPConnector(limit=OPTIONS.concurrency, ssl=trust() or True),
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
