"""The process that measures one client: CPU time, wall time and the growth of its memory, as JSON."""

import argparse
import asyncio
import contextlib
import gc
import json
import os
import resource
import sys
import time
from pathlib import Path

from peers import VARIANTS
from server import CLIENT_CORE, pin
from work import OPTIONS, rows


def cpu_seconds() -> float:
    """Return the CPU time of this process so far, all threads, system included."""
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


def memory_kib(entry: str) -> int:
    """Return an entry of the process's status, such as VmHWM; 0 where there is none."""
    with contextlib.suppress(OSError):
        for line in Path("/proc/self/status").read_text().splitlines():
            if line.startswith(f"{entry}:"):
                return int(line.split()[1])
    return 0


def forget_peak() -> None:
    """Let VmHWM start again from here."""
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")


async def measure(variant: str, url: str, count: int, *, made: int, lazy: bool) -> dict[str, float]:
    """Warm up, run ``count`` rows once, and return what that cost.

    So many rows are ``made`` at least, for whoever counts the whole process and compares two counts.
    """
    async with VARIANTS[variant](url) as run:
        await run(rows(OPTIONS.warm_up))
        given = rows(count) if lazy else list(rows(max(count, made)))[:count]
        gc.collect()
        forget_peak()
        memory, cpu, wall = memory_kib("VmRSS"), cpu_seconds(), time.perf_counter()
        done = await run(given)
        cpu, wall = cpu_seconds() - cpu, time.perf_counter() - wall
        if done != count:
            raise SystemExit(f"{variant}: {done} of {count} rows answered 1")
        return {"us": cpu / count * 1e6, "wall_us": wall / count * 1e6, "kib": memory_kib("VmHWM") - memory}


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("variant", choices=VARIANTS)
    parser.add_argument("url")
    parser.add_argument("rows", type=int)
    parser.add_argument("--lazy", action="store_true", help="make the rows while they are sent, not before")
    parser.add_argument(
        "--made", type=int, default=0, help="make so many rows at least; those beyond ROWS are not sent"
    )
    parser.add_argument("--concurrency", type=int, default=OPTIONS.concurrency)
    parser.add_argument("--warm-up", type=int, default=OPTIONS.warm_up)
    parser.add_argument("--ca", type=Path, help="trust this certificate authority")
    arguments = parser.parse_args(namespace=OPTIONS)
    pin(CLIENT_CORE)
    figures = measure(arguments.variant, arguments.url, arguments.rows, made=arguments.made, lazy=arguments.lazy)
    json.dump(asyncio.run(figures), sys.stdout)
    sys.stdout.flush()
    os._exit(0)  # pyreqwest's threads crash the interpreter now and then while it ends
