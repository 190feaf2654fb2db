"""The limiter against servers with a knee: how near the best fixed limit, how long a queue, how many unknown rows.

In virtual time over the real limiter, with its real slots and its real gate; then, for sanity, one run of the real
client over real sockets against the emulator. ``--short`` takes seconds, the whole some minutes.
"""

import argparse
import asyncio
import json
import platform
import resource
import statistics
import sys
import time
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent / "tests" / "unit"))

from simulated_server import LAWS, Crowd, simulate

from ucontact_async.limiter import Limiter

# Slots and seconds an answer takes: the knees of issue and tests.
KNEES = {8: 0.1, 64: 0.02, 256: 0.02}
CAP = 512


def settled(run: Crowd, since: float, until: float, rate: float) -> str:
    """Return after how many seconds from ``since`` a second of at least nine tenths of ``rate`` begins."""
    moment = since
    while moment + 1 <= until:
        if run.rate(moment, moment + 1) >= 0.9 * rate:
            return f"{moment - since:.1f}"
        moment += 0.25
    return "never"


def knees(laws: list[str], slots: list[int], seconds: float) -> Iterator[str]:
    """Compare with the best of some fixed limits, and with the perfect one, which is the number of slots."""
    yield "| law | knee | share of best fixed, whole run | from 10 s on | p99 / perfect | settled after s | limit |"
    yield "|---|---|---|---|---|---|---|"
    for law in laws:
        for knee in slots:
            server = {"slots": knee, "seconds": KNEES[knee], "law": law}
            fixed = {limit: simulate(seconds, limit=limit, **server) for limit in (knee, knee * 5 // 4)}
            auto = simulate(seconds, cap=CAP, **server)
            best = max(run.rate(0, seconds) for run in fixed.values())
            late = max(run.rate(10, seconds) for run in fixed.values())
            yield (
                f"| {law} | {knee} | {auto.rate(0, seconds) / best:.0%} | {auto.rate(10, seconds) / late:.0%} "
                f"| {auto.p99(10) / fixed[knee].p99(10):.2f} | {settled(auto, 0, seconds, late)} "
                f"| {auto.limits[-1][1]} |"
            )


def changes(laws: list[str], slots: list[int]) -> Iterator[str]:
    """Halve and double the capacity midway."""
    yield "| law | capacity | share of the new one | p99 / perfect | settled after s |"
    yield "|---|---|---|---|---|"
    for law in laws:
        for knee in slots:
            for new in (knee // 2, knee * 2):
                service = KNEES[knee]
                run = simulate(
                    20,
                    cap=CAP,
                    slots=knee,
                    seconds=service,
                    law=law,
                    events=[(10, lambda server, new=new: server.resize(new))],
                )
                perfect = simulate(10, limit=new, slots=new, seconds=service, law=law)
                yield (
                    f"| {law} | {knee} to {new} | {run.rate(10, 20) * service / new:.0%} "
                    f"| {run.p99(13) / perfect.p99():.2f} | {settled(run, 10, 20, new / service)} |"
                )


def brown_outs(laws: list[str], seeds: range) -> Iterator[str]:
    """Take nine tenths of 20 slots of 50 ms away for 30 s, queue 400 then 503, client's time-out 2 s."""
    yield "| law | seed | limit | unknown rows | successes/s before, during, after | settled after s | sent / success |"
    yield "|---|---|---|---|---|---|---|"
    events = [(30, lambda server: server.resize(2)), (60, lambda server: server.resize(20))]
    for law in laws:
        for seed in seeds:
            for limit in ("auto", 20, 100):
                users = None if limit == "auto" else limit
                run = simulate(
                    90,
                    limit=limit,
                    users=users,
                    patience=2.0,
                    slots=20,
                    seconds=0.05,
                    room=400,
                    law=law,
                    seed=seed,
                    events=events,
                )
                if limit == 100 and run.unknown < 500:
                    raise SystemExit(f"{law}, seed {seed}: 100 in flight left {run.unknown} unknown: no brown-out")
                yield (
                    f"| {law} | {seed} | {limit} | {run.unknown} "
                    f"| {run.rate(2, 30):.0f}, {run.rate(30, 60):.0f}, {run.rate(60, 90):.0f} "
                    f"| {settled(run, 60, 90, run.rate(2, 30))} | {run.requests_per_success:.3f} |"
                )


def cost(count: int) -> Iterator[str]:
    """Measure a turn, a slot and its release, when nobody waits and when somebody always does."""

    async def alone(limiter: Limiter) -> None:
        for _ in range(count):
            await limiter.turn()
            await limiter.acquire()
            limiter.release(0.02)
            limiter.recovered()

    async def crowded(limiter: Limiter) -> None:
        async def user() -> None:
            for _ in range(count // 32):
                await limiter.turn(priority="bulk")
                await limiter.acquire("bulk")
                await asyncio.sleep(0)
                limiter.release(0.02)

        await asyncio.gather(*(user() for _ in range(32)))

    async def turns() -> None:
        await asyncio.gather(*(_yield(count // 32) for _ in range(32)))

    def cpu(work, *arguments) -> float:
        took = []
        for _ in range(5):
            before = resource.getrusage(resource.RUSAGE_SELF).ru_utime
            asyncio.run(work(*arguments))
            took.append(resource.getrusage(resource.RUSAGE_SELF).ru_utime - before)
        return 1e6 * statistics.median(took) / count

    yield f"turn, acquire, release alone: {cpu(alone, Limiter()):.2f} us of CPU"
    waiting = cpu(crowded, Limiter(16)) - cpu(turns)
    yield f"the same where 32 users share 16 slots: {waiting:.2f} us of CPU beside the loop's own"


async def _yield(count: int) -> None:
    for _ in range(count):
        await asyncio.sleep(0)


async def end_to_end(rows: int) -> str:
    """Run the real client over real sockets against the emulator in a process of its own, 20 ms an answer."""
    import aiohttp

    from ucontact_async import ScheduledCall, UContact

    command = [sys.executable, "-m", "ucontact_async", "emulator"]
    process = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE)
    assert process.stdout is not None
    try:
        url = (await process.stdout.readline()).decode().split()[-1]
        faults = {"rules": [{"endpoint": "Dialers/*", "fault": "latency", "seconds": 0.02}]}
        async with aiohttp.ClientSession() as session, session.put(f"{url}/_emulator/faults", json=faults) as answer:
            answer.raise_for_status()
        day = datetime(2099, 5, 5)  # noqa: DTZ001  the server's own dates carry no zone
        calls = (ScheduledCall(campaign="Ventas->", destination=f"09{n:07d}", calldate=day) for n in range(rows))
        async with UContact(url, user="api", password="secret", timezone="UTC") as uc:
            began = time.perf_counter()
            report = await uc.bulk(calls)
            seconds = time.perf_counter() - began
            stats = uc.limiter.stats
        async with aiohttp.ClientSession() as session, session.get(f"{url}/_emulator/state") as answer:
            most = json.loads(await answer.text())["max_in_flight"]
    finally:
        process.terminate()
        await process.wait()
    return (
        f"{report.summary()}; {rows / seconds:.0f} rows/s, at most {most} in flight, limit {stats.max_concurrency}, "
        f"base latency {1000 * (stats.base_latency or 0):.1f} ms"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--short", action="store_true", help="some of the tables, seconds instead of minutes")
    short = parser.parse_args().short
    laws = list(LAWS)
    tables = {
        "Knees": knees(laws, [8, 64] if short else list(KNEES), 13 if short else 20),
        "Capacity halved and doubled": changes(laws[-1:] if short else laws, [8] if short else list(KNEES)),
        "Brown-out to a tenth": brown_outs(laws[-1:] if short else laws, range(1, 2 if short else 4)),
        "Cost": cost(20_000 if short else 200_000),
    }
    print(f"{platform.python_implementation()} {platform.python_version()}, {platform.machine()}; cap {CAP}")
    for title, lines in tables.items():
        print(f"\n### {title}\n")
        for line in lines:
            print(line, flush=True)
    print("\n### The real client against the emulator, 20 ms an answer\n")
    print(asyncio.run(end_to_end(2_000 if short else 20_000)))


if __name__ == "__main__":
    main()
