"""pyreqwest, the fastest asyncio client over a Rust library: workers, bodies by C encoders, its client set up once."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterator
from zoneinfo import ZoneInfo

from work import FORM, HEADERS, OPTIONS, PATH, ZONE, Row, Rows, Run, authority, document


@contextlib.asynccontextmanager
async def opened(url: str) -> AsyncIterator[Run]:
    """Give workers over one iterator."""
    import msgspec
    from pyreqwest.client import ClientBuilder
    from yarl import URL

    zone, encoder, target = ZoneInfo(ZONE), msgspec.json.Encoder(), url + PATH
    builder = ClientBuilder().default_headers({**HEADERS, "Content-Type": FORM}).http1_only().no_proxy()
    if OPTIONS.ca is not None:
        builder = builder.add_root_certificate_pem(authority())
    async with builder.build() as client:

        async def work(source: Iterator[Row]) -> int:
            done = 0
            for row in source:
                form = {"callschedule": encoder.encode(document(row, zone)).decode()}
                answer = await client.post(target).body_text(URL.build(query=form).raw_query_string).build().send()
                done += answer.status == 200 and await answer.text() == "1"
            return done

        async def run(rows: Rows) -> int:
            source = iter(rows)
            return sum(await asyncio.gather(*[work(source) for _ in range(OPTIONS.concurrency)]))

        yield run
