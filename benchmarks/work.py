"""The work that every measured client does, so that it is stated once.

A row of Python values becomes a ScheduleDialerCall (date in the server's zone, pairs, JSON, form body), is posted with
its Authorization header over keep-alive connections, and its answer must be 200 and ``1``.
"""

import argparse
import ssl
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from datetime import UTC, datetime, timedelta
from typing import NamedTuple
from zoneinfo import ZoneInfo

PATH = "/Integra/resources/Dialers/ScheduleDialerCall"
ZONE = "America/Montevideo"
HEADERS = {"Authorization": "Basic YmVuY2g6NmYxYzJhNTItN2IwZS00ZDUzLTljMWYtMmI4ZjVmMGExZDc3"}
FORM = "application/x-www-form-urlencoded"
# The same rows in every process, whenever it runs; no zone here has changed its clocks by then.
FIRST = datetime(2099, 5, 5, tzinfo=UTC)

OPTIONS = argparse.Namespace(concurrency=64, warm_up=1000, ca=None)


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
Client = Callable[[str], AbstractAsyncContextManager[Run]]


def trust() -> ssl.SSLContext | None:
    """Return what verifies the server's certificate, ``None`` without TLS."""
    return None if OPTIONS.ca is None else ssl.create_default_context(cafile=OPTIONS.ca)


def authority() -> bytes:
    """Return the certificate of whom to trust."""
    return OPTIONS.ca.read_bytes()


def rows(count: int) -> Iterator[Row]:
    """Make ``count`` different contacts."""
    for n in range(count):
        data = {"id": str(n), "name": "Iñaki Peña", "city": "Paysandú", "plan": "Fibra 600", "debt": f"{n % 997},50"}
        yield Row(
            "Ventas->", f"09{8_000_000 + n}", FIRST + timedelta(seconds=n % 3600), (f"2{n:07}", "24001234"), "", data
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
