"""The least that Python can do on Linux: sockets and one epoll, no event loop, an answer only compared."""

import contextlib
import select
import socket
from collections.abc import AsyncIterator
from urllib.parse import urlsplit
from zoneinfo import ZoneInfo

from work import FORM, HEADERS, OPTIONS, PATH, ZONE, Row, Rows, Run, document, trust


@contextlib.asynccontextmanager
async def opened(url: str) -> AsyncIterator[Run]:
    """Give the loop over ``poll``; over TLS a record that holds no answer is waited through."""
    import msgspec
    from yarl import URL

    zone, encoder, where, context = ZoneInfo(ZONE), msgspec.json.Encoder(), urlsplit(url), trust()
    headers = {"Host": where.netloc, **HEADERS, "Content-Type": FORM}
    head = f"POST {PATH} HTTP/1.1\r\n" + "".join([f"{name}: {value}\r\n" for name, value in headers.items()])
    sockets = [socket.create_connection((where.hostname, where.port)) for _ in range(OPTIONS.concurrency)]
    if context is not None:
        sockets = [context.wrap_socket(each, server_hostname=where.hostname) for each in sockets]
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
