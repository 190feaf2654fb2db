"""pycurl: libcurl's multi interface in a loop of its own, without asyncio; handles are used again and again."""

import contextlib
from collections.abc import AsyncIterator
from zoneinfo import ZoneInfo

from work import FORM, HEADERS, OPTIONS, PATH, ZONE, Row, Rows, Run, document


def _handle(pycurl, url: str):
    handle = pycurl.Curl()
    handle.setopt(pycurl.URL, url + PATH)
    headers = {**HEADERS, "Content-Type": FORM, "Expect": ""}
    handle.setopt(pycurl.HTTPHEADER, [f"{name}: {value}" for name, value in headers.items()])
    handle.setopt(pycurl.HTTP_VERSION, pycurl.CURL_HTTP_VERSION_1_1)
    handle.setopt(pycurl.NOSIGNAL, 1)
    if OPTIONS.ca is not None:
        handle.setopt(pycurl.CAINFO, str(OPTIONS.ca))
    return handle


@contextlib.asynccontextmanager
async def opened(url: str) -> AsyncIterator[Run]:
    """Give a loop over ``perform`` and ``select`` with as many handles as requests at once."""
    import msgspec
    import pycurl
    from yarl import URL

    zone, encoder = ZoneInfo(ZONE), msgspec.json.Encoder()
    multi = pycurl.CurlMulti()
    multi.setopt(pycurl.M_MAXCONNECTS, OPTIONS.concurrency)
    handles = [_handle(pycurl, url) for _ in range(OPTIONS.concurrency)]

    def send(handle: pycurl.Curl, row: Row) -> None:
        form = {"callschedule": encoder.encode(document(row, zone)).decode()}
        handle.setopt(pycurl.COPYPOSTFIELDS, URL.build(query=form).raw_query_string)
        handle.answer = []
        handle.setopt(pycurl.WRITEFUNCTION, handle.answer.append)
        multi.add_handle(handle)

    async def run(rows: Rows) -> int:
        source, done, waiting = iter(rows), 0, 0
        for handle, row in zip(handles, source, strict=False):
            send(handle, row)
            waiting += 1
        while waiting:
            multi.perform()
            _, ended, failed = multi.info_read()
            if failed:
                raise SystemExit(f"pycurl: {failed[0][1:]}")
            for handle in ended:
                multi.remove_handle(handle)
                done += handle.getinfo(pycurl.RESPONSE_CODE) == 200 and handle.answer == [b"1"]
                if (row := next(source, None)) is not None:
                    send(handle, row)
                else:
                    waiting -= 1
            if not ended:
                multi.select(1.0)
        return done

    try:
        yield run
    finally:
        for handle in handles:
            handle.close()
        multi.close()
