"""CPU and memory per scheduled call: this library beside what one would write instead, side by side in one run.

Each figure comes from a fresh process on one core, the server on another; CPU time, not wall time, from after a
warm-up. The rounds are interleaved in changing order, and ratios are taken within a round: neighbours on the machine
slow all clients of a round alike.
"""

import argparse
import json
import platform
import statistics
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path
from urllib.parse import parse_qs
from zoneinfo import ZoneInfo

from peers import OPTIONS, VARIANTS, ZONE, document, rows
from server import HERE, scheduled, serving

BASE = "aiohttp naive"
SINGLE = {"call after call", "call after call, idle between", "aiohttp call after call"}
FEWER = {"requests, 32 threads": 10, "httpx": 30} | dict.fromkeys(SINGLE, 5)  # slow ones get this part of the rows
LIBRARIES = ("aiohttp", "yarl", "msgspec", "requests", "httpx")


def check_same_work() -> None:
    """Refuse to compare clients that do not send the same: our body must say what the peers' says."""
    from ucontact_async.api import endpoint_of
    from ucontact_async.api.dialers import ScheduledCall
    from ucontact_async.text import Rules

    row, zone = next(rows(1)), ZoneInfo(ZONE)
    request = ScheduledCall(**row._asdict())
    form = parse_qs(endpoint_of(request).encode(request, Rules(zone)).decode(), strict_parsing=True)
    assert {name: json.loads(value) for name, (value,) in form.items()} == {"callschedule": document(row, zone)}


def measured(variant: str, url: str, count: int, *options: str) -> dict[str, float]:
    """Measure one variant in a process of its own, and have the server confirm the number of calls."""
    before = scheduled(url)
    command = [sys.executable, str(HERE / "peers.py"), variant, url, str(count), *options]
    done = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, check=True, timeout=600)
    applied = scheduled(url) - before
    if applied != count + OPTIONS.warm_up:
        raise SystemExit(f"{variant}: the server scheduled {applied} calls, not {count + OPTIONS.warm_up}")
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


def main() -> None:
    """Measure, print one table, and keep every figure if a file is named."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=20_000)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--short", action="store_true", help="few rows, three rounds: that it works, not how fast")
    parser.add_argument(
        "--only",
        nargs="+",
        choices=VARIANTS,
        default=[name for name in VARIANTS if name not in SINGLE],
        metavar="CLIENT",
    )
    parser.add_argument("--json", type=Path, metavar="FILE")
    arguments = parser.parse_args()
    if arguments.short:
        arguments.rows, arguments.rounds = min(arguments.rows, 3000), min(arguments.rounds, 3)
    counts = {name: max(arguments.rows // FEWER.get(name, 1), 100) for name in arguments.only}
    results: dict[str, list[dict[str, float]]] = {name: [] for name in counts}
    check_same_work()
    with serving() as (url, kind):
        for number in range(arguments.rounds):
            shift = number % len(counts)
            order = [*counts][shift:] + [*counts][:shift]
            for name in reversed(order) if number % 2 else order:
                results[name].append(measured(name, url, counts[name]))
    versions = ", ".join(f"{library} {version(library)}" for library in LIBRARIES)
    machine = (
        f"{platform.python_implementation()} {platform.python_version()}, {platform.system()} {platform.machine()}"
    )
    facts = f"{machine}; {versions}. Server: {kind}. {OPTIONS.concurrency} at once, {arguments.rounds} rounds."
    print(table(results, counts), facts, sep="\n\n")
    if arguments.json:
        arguments.json.write_text(json.dumps({"facts": facts, "rows": counts, "rounds": results}, indent=1))


if __name__ == "__main__":
    main()
