"""The clients that are measured, one file each; all do the work of ``work.py``."""

from importlib.util import find_spec

from work import Client

from . import (
    aiohttp_naive,
    aiohttp_single,
    aiohttp_tuned,
    bare_epoll,
    httpx_gather,
    ours,
    pycurl_multi,
    pyreqwest_workers,
    requests_threads,
)

VARIANTS: dict[str, Client] = {
    "bulk": ours.bulk(journal=False),
    "bulk+journal": ours.bulk(journal=True),
    "bulk, session lane": ours.bulk(journal=False, lane="session"),
    "bulk, idle between": ours.bulk(journal=False, pause=0.005),
    "bulk, prometheus": ours.bulk(journal=False, observers=ours.prometheus),
    "bulk, otel": ours.bulk(journal=False, observers=ours.otel(1.0)),
    "bulk, otel, 1 in 100": ours.bulk(journal=False, observers=ours.otel(0.01)),
    "bare epoll": bare_epoll.opened,
    "pycurl, multi": pycurl_multi.opened,
    "pyreqwest": pyreqwest_workers.opened,
    "aiohttp tuned": aiohttp_tuned.opened,
    "aiohttp naive": aiohttp_naive.opened,
    "requests, 32 threads": requests_threads.opened,
    "httpx": httpx_gather.opened,
    "call after call": ours.single(),
    "call after call, idle between": ours.single(pause=0.003),
    "aiohttp call after call": aiohttp_single.opened,
}

# Not among this library's own dependencies: ``python -m pip install -e ".[bench]"``.
NEEDS = {
    "pycurl, multi": "pycurl",
    "pyreqwest": "pyreqwest",
    "requests, 32 threads": "requests",
    "httpx": "httpx",
    "bulk, prometheus": "prometheus_client",
    "bulk, otel": "opentelemetry",
    "bulk, otel, 1 in 100": "opentelemetry",
}


def installed(variants: list[str]) -> list[str]:
    """Return those of ``variants`` that can run here."""
    return [name for name in variants if name not in NEEDS or find_spec(NEEDS[name])]
