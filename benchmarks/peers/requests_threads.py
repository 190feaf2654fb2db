"""Threads over one pooled ``requests.Session``."""

import contextlib
import json
from collections.abc import AsyncIterator
from zoneinfo import ZoneInfo

from work import HEADERS, OPTIONS, PATH, ZONE, Row, Rows, Run, document

THREADS = 32


@contextlib.asynccontextmanager
async def opened(url: str) -> AsyncIterator[Run]:
    """Give ``map`` over the threads."""
    from concurrent.futures import ThreadPoolExecutor

    import requests
    from requests.adapters import HTTPAdapter

    zone = ZoneInfo(ZONE)
    with requests.Session() as session, ThreadPoolExecutor(THREADS) as threads:
        session.headers.update(HEADERS)
        session.mount(url, HTTPAdapter(pool_maxsize=THREADS))

        def send(row: Row) -> bool:
            form = {"callschedule": json.dumps(document(row, zone))}
            answer = session.post(url + PATH, data=form, timeout=30, verify=OPTIONS.ca or True)
            return answer.status_code == 200 and answer.text == "1"

        async def run(rows: Rows) -> int:
            return sum(threads.map(send, rows))

        yield run
