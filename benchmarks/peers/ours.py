"""This library: a bulk run, with and without its journal, and one call after the other."""

import asyncio
import contextlib
import itertools
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

from work import OPTIONS, ZONE, Client, Row, Rows, Run

Observers = Callable[[], tuple[Any, ...]]

BLOCK = 256  # rows, as ucontact_async.batch.intake reads them


def client(url: str, lane: str = "auto", observers: Observers = tuple):
    """Return a client of the server at ``url``."""
    from ucontact_async import UContact

    return UContact(url, user="api", password="secret", timezone=ZONE, lane=lane, ca=OPTIONS.ca, observers=observers())


def prometheus() -> tuple[Any, ...]:
    """Return an observer that counts into a registry of its own."""
    from prometheus_client import CollectorRegistry

    from ucontact_async.telemetry.prometheus import Prometheus

    return (Prometheus(CollectorRegistry()),)


def otel(share: float) -> Observers:
    """Return what makes an observer by the SDK: metrics, and spans of a ``share`` of the calls, which go nowhere."""

    def made() -> tuple[Any, ...]:
        from opentelemetry.sdk.metrics import MeterProvider
        from opentelemetry.sdk.metrics.export import InMemoryMetricReader
        from opentelemetry.sdk.trace import SpanProcessor, TracerProvider
        from opentelemetry.sdk.trace.sampling import ParentBasedTraceIdRatio

        from ucontact_async.telemetry.otel import OpenTelemetry

        tracing = TracerProvider(sampler=ParentBasedTraceIdRatio(share))
        tracing.add_span_processor(SpanProcessor())
        return (OpenTelemetry(tracing, MeterProvider(metric_readers=[InMemoryMetricReader()])),)

    return made


def paused(rows: Rows, seconds: float) -> Iterator[Row]:
    """Let nothing happen for so many seconds before each block of rows that a run reads."""
    for number, row in enumerate(rows):
        if number % BLOCK == 0:
            time.sleep(seconds)
        yield row


def single(*, pause: float = 0.0) -> Client:
    """Return call after call, idle for ``pause`` seconds in between."""

    @contextlib.asynccontextmanager
    async def opened(url: str) -> AsyncIterator[Run]:
        async with client(url) as uc:

            async def run(rows: Rows) -> int:
                done = 0
                for row in rows:
                    await uc.dialers.schedule(**row._asdict())
                    done += 1
                    if pause:
                        await asyncio.sleep(pause)
                return done

            yield run

    return opened


def bulk(*, journal: bool, lane: str = "auto", pause: float = 0.0, observers: Observers = tuple) -> Client:
    """Return bulk runs, each with a journal of its own if it has one, idle for ``pause`` seconds before each block.

    With as many at once as a block has rows every connection has been idle when its row is sent.
    """

    @contextlib.asynccontextmanager
    async def opened(url: str) -> AsyncIterator[Run]:
        from ucontact_async import ScheduledCall

        paths = itertools.count()
        with tempfile.TemporaryDirectory() as folder:
            async with client(url, lane, observers) as uc:

                async def run(rows: Rows) -> int:
                    path = Path(folder) / f"{next(paths)}.journal" if journal else None
                    # By name, as one writes it: Row._asdict, which the peers don't need, took 6,000 instructions.
                    requests = (
                        ScheduledCall(
                            campaign=row.campaign,
                            destination=row.destination,
                            calldate=row.calldate,
                            alternatives=row.alternatives,
                            agentphone=row.agentphone,
                            data=row.data,
                        )
                        for row in (paused(rows, pause) if pause else rows)
                    )
                    report = await uc.bulk(requests, journal=path, max_concurrency=OPTIONS.concurrency)
                    report.raise_for_status()
                    return report.succeeded

                yield run

    return opened
