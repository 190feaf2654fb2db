"""CPU and memory per scheduled call: this library beside what one would write instead, side by side in one run.

Each figure comes from a fresh process on one core, the server on another; CPU time, not wall time, from after a
warm-up. The rounds are interleaved in changing order, and ratios are taken within a round: neighbours on the machine
slow all clients of a round alike.
"""

import argparse
import contextlib
import json
import platform
import statistics
import subprocess
import sys
from collections.abc import Iterable
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple
from zoneinfo import ZoneInfo

from peers import VARIANTS, installed
from server import HERE, certified, kept, scheduled, serving
from work import HEADERS, OPTIONS, PATH, ZONE, document, rows

BASE = "aiohttp naive"
SINGLE = {"call after call", "call after call, idle between", "aiohttp call after call"}
FEWER = {"requests, 32 threads": 10, "httpx": 30} | dict.fromkeys(SINGLE, 5)  # slow ones get this part of the rows
LIBRARIES = ("aiohttp", "yarl", "msgspec", "requests", "httpx", "pyreqwest", "pycurl")
OBSERVED = {"bulk, prometheus", "bulk, otel", "bulk, otel, 1 in 100"}
AT_ONCE = [name for name in VARIANTS if name not in SINGLE | OBSERVED | {"bulk, idle between"}]


class Comparison(NamedTuple):
    """Every figure of each client and round, how many rows each had, and what the server was."""

    results: dict[str, list[dict[str, float]]]
    counts: dict[str, int]
    server: str


def check_same_work(variants: Iterable[str]) -> None:
    """Refuse to compare clients that do not send the same: what arrives from each, decoded, must be the rows."""
    zone, count = ZoneInfo(ZONE), 5
    wanted = [
        {"line": f"POST {PATH} HTTP/1.1", "form": {"callschedule": [document(row, zone)]}, "authorization": token}
        for row in rows(count)
        for token in HEADERS.values()
    ]
    with serving(keep=True) as (url, _):
        for variant in variants:
            measured(variant, url, count, "--warm-up", "0", warm_up=0)
            if (said := sorted(kept(url), key=str)) != sorted(wanted, key=str):
                raise SystemExit(f"{variant} sends something else: {said[0]} and not {wanted[0]}")


def measured(variant: str, url: str, count: int, *options: str, warm_up: int = OPTIONS.warm_up) -> dict[str, float]:
    """Measure one variant in a process of its own, and have the server confirm the number of calls."""
    before = scheduled(url)
    command = [sys.executable, str(HERE / "measure.py"), variant, url, str(count), *options]
    done = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, check=True, timeout=600)
    applied = scheduled(url) - before
    if applied != count + warm_up:
        raise SystemExit(f"{variant}: the server scheduled {applied} calls, not {count + warm_up}")
    return json.loads(done.stdout)


def table(results: dict[str, list[dict[str, float]]], counts: dict[str, int]) -> str:
    """Return the figures as a table in Markdown."""
    lines = [
        "| client | CPU us per request, median (min) | naive / this, median (min..max) | peak memory | rows |",
        "|---|---|---|---|---|",
    ]
    for name, rounds in results.items():
        us = [figures["us"] for figures in rounds]
        growth = statistics.median(figures["kib"] for figures in rounds) / 1024
        ratio = ""
        if BASE in results:
            ratios = [base["us"] / own for base, own in zip(results[BASE], us, strict=True)]
            ratio = f"{statistics.median(ratios):.2f} ({min(ratios):.2f}..{max(ratios):.2f})"
        cost = f"{statistics.median(us):.1f} ({min(us):.1f})"
        lines.append(f"| {name} | {cost} | {ratio} | +{growth:.1f} MB | {counts[name]} |")
    return "\n".join(lines)


def compare(variants: list[str], rows: int, rounds: int, *, tls: bool = False) -> Comparison:
    """Measure all ``variants`` in each round, the slow ones over fewer rows."""
    counts = {name: max(rows // FEWER.get(name, 1), 100) for name in variants}
    results: dict[str, list[dict[str, float]]] = {name: [] for name in counts}
    with contextlib.ExitStack() as stack:
        certificate = stack.enter_context(certified()) if tls else None
        url, kind = stack.enter_context(serving(certificate))
        options = ("--ca", certificate.ca) if certificate else ()
        for number in range(rounds):
            shift = number % len(counts)
            order = [*counts][shift:] + [*counts][:shift]
            for name in reversed(order) if number % 2 else order:
                results[name].append(measured(name, url, counts[name], *options))
    return Comparison(results, counts, f"{kind}{', TLS' * tls}")


def ratio(results: dict[str, list[dict[str, float]]], name: str, own: str) -> float:
    """Return how many times the CPU of ``own`` the client ``name`` takes, the median over the rounds."""
    return statistics.median(other["us"] / this["us"] for other, this in zip(results[name], results[own], strict=True))


def facts() -> str:
    """Name the Python, the machine and the versions that were measured."""
    versions = [f"{library} {version(library)}" for library in LIBRARIES if find_spec(library)]
    python = f"{platform.python_implementation()} {platform.python_version()}"
    return f"{python}, {platform.system()} {platform.machine()}; {', '.join(versions)}."


def main() -> None:
    """Measure, print one table, and keep every figure if a file is named."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=20_000)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--short", action="store_true", help="few rows, three rounds: that it works, not how fast")
    parser.add_argument("--tls", action="store_true", help="over TLS")
    parser.add_argument("--only", nargs="+", choices=VARIANTS, default=AT_ONCE, metavar="CLIENT")
    parser.add_argument("--json", type=Path, metavar="FILE")
    arguments = parser.parse_args()
    if arguments.short:
        arguments.rows, arguments.rounds = min(arguments.rows, 3000), min(arguments.rounds, 3)
    variants = installed(arguments.only)
    check_same_work(variants)
    found = compare(variants, arguments.rows, arguments.rounds, tls=arguments.tls)
    note = f"{facts()} Server: {found.server}. {OPTIONS.concurrency} at once, {arguments.rounds} rounds."
    print(table(found.results, found.counts), note, sep="\n\n")
    if absent := set(arguments.only) - set(variants):
        print(f"Not installed: {', '.join(sorted(absent))} (python -m pip install -e '.[bench]').")
    if arguments.json:
        arguments.json.write_text(json.dumps({"facts": note, "rows": found.counts, "rounds": found.results}, indent=1))


if __name__ == "__main__":
    main()
