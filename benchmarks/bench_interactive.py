"""One agent's calls while a bulk runs over the same client: how long they wait, and what the bulk loses by them.

The server runs in a process of its own and takes a stated time for each answer, in a stated number of slots. The bulk
run goes on throughout; for some seconds an agent makes one call after the other beside it, for as long it does not, and
so on. How many rows the bulk does in either is counted by the server, at which moment a call's first byte arrives too;
how long the bulk's own rows are on the wire is what its limiter is told. Ends with 1 if a gate is not kept.
"""

import argparse
import asyncio
import itertools
import random
import statistics
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

from server import CLIENT_CORE, arrivals, pin, scheduled, serving
from work import ZONE, rows

from ucontact_async import DialerTask, Limiter, ScheduledCall, UContact

# Seconds an answer takes, slots, whether the bulk has a journal.
CASES = ((0.02, 16, False), (0.02, 16, True), (0.05, 8, True), (0.1, 64, True))
PHASE, SETTLING = 3.0, 3.0
# The agent asks for so much of what the server can do: the bulk cannot have that.
CALLS = 0.015
# First byte within so many seconds or service times, in all as often the bulk's own, and what the bulk may lose.
SOON, SERVICES, LONGER, LOSS = 0.005, 1.2, 1.5, 0.03


class Case(NamedTuple):
    """What was measured, in seconds; ``lost`` is a share of the bulk's rows, ``called`` of all that was answered."""

    service: float
    slots: int
    journal: bool
    calls: int
    first_byte: float
    in_all: float
    bulk: float
    lost: float
    called: float

    @property
    def soon(self) -> float:
        """In how many seconds the first byte is to leave."""
        return max(SOON, SERVICES * self.service)

    @property
    def kept(self) -> bool:
        """Whether all gates are."""
        return self.first_byte <= self.soon and self.in_all <= LONGER * self.bulk and self.lost <= LOSS


class Watched(Limiter):
    """Remembers what it is told."""

    def __init__(self) -> None:
        super().__init__()
        self.seconds: list[float] = []

    def release(self, seconds: float | None = None) -> None:
        """Remember how long an answer took."""
        if seconds is not None:
            self.seconds.append(seconds)
        super().release(seconds)


def p99(values: list[float]) -> float:
    """Return what one value in a hundred exceeds."""
    return sorted(values)[int(0.99 * len(values))]


def requests() -> Iterator[ScheduledCall]:
    """Make calls for as long as somebody wants them."""
    return (ScheduledCall(**row._asdict()) for row in rows(10**9))


async def agent(uc: UContact, until: float, pause: float, chance: random.Random) -> list[tuple[float, float]]:
    """Make one call after the other, ``pause`` seconds apart on average; return when each began and ended."""
    took = []
    for number in itertools.count():
        await asyncio.sleep(chance.expovariate(1 / pause))
        began = time.monotonic()
        if began >= until:
            return took
        await uc.send(DialerTask.now(campaign="Soporte->", destination=f"098{number:06}"))
        took.append((began, time.monotonic()))
    raise AssertionError


async def measure(service: float, slots: int, pairs: int, *, journal: bool) -> Case:
    """Run a case of so many phases with calls, and as many without."""
    pause, chance = max(service / slots / CALLS - service, 0.01), random.Random(1)
    limiter = Watched()
    with serving(service=service, slots=slots) as (url, _), tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "run.journal") if journal else None
        async with UContact(url, user="api", password="secret", timezone=ZONE, limiter=limiter) as uc:
            async with uc.stream(requests(), journal=path) as outcomes:
                drain = asyncio.ensure_future(_drain(outcomes))
                await asyncio.sleep(SETTLING)
                limiter.seconds.clear()
                calls: list[tuple[float, float]] = []
                rates: dict[bool, list[float]] = {True: [], False: []}
                for number in range(2 * pairs):
                    calling = number % 2 == 0
                    began, before = time.monotonic(), await asyncio.to_thread(scheduled, url)
                    if calling:
                        calls += await agent(uc, began + PHASE, pause, chance)
                    await asyncio.sleep(began + PHASE - time.monotonic())
                    done = await asyncio.to_thread(scheduled, url) - before
                    rates[calling].append(done / (time.monotonic() - began))
                seconds = list(limiter.seconds)
                drain.cancel()
                await asyncio.wait([drain])
            firsts = arrivals(url)
    if len(firsts) != len(calls):
        raise SystemExit(f"{len(calls)} calls were made and {len(firsts)} arrived")
    lost = 1 - statistics.median(with_ / without for with_, without in zip(rates[True], rates[False], strict=True))
    return Case(
        service,
        slots,
        journal,
        len(calls),
        p99([first - began for first, (began, _) in zip(firsts, calls, strict=True)]),
        p99([ended - began for began, ended in calls]),
        p99(seconds),
        lost,
        len(calls) / (len(calls) + PHASE * sum(rates[True])),
    )


async def _drain(outcomes) -> None:
    async for outcome in outcomes:
        if outcome.status != "succeeded":
            raise SystemExit(f"{outcome.position}: {outcome.status} {outcome.detail}")


def run(cases: Iterable[tuple[float, int, bool]], pairs: int) -> Iterator[Case]:
    """Measure one case after the other."""
    for service, slots, journal in cases:
        yield asyncio.run(measure(service, slots, pairs, journal=journal))


def main() -> int:
    """Print a line for each case; return 1 if a gate is not kept."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--short", action="store_true", help="one case, a few seconds: that it works")
    parser.add_argument("--pairs", type=int, default=12, help="phases with calls, and as many without")
    arguments = parser.parse_args()
    pairs, chosen = (2, CASES[1:2]) if arguments.short else (arguments.pairs, CASES)
    pin(CLIENT_CORE)
    print(
        "| an answer takes | slots | journal | calls | p99 to first byte | p99 in all | bulk's own p99 | bulk loses "
        "| calls' share |\n|---|---|---|---|---|---|---|---|---|"
    )
    missed = 0
    for case in run(chosen, pairs):
        missed += not case.kept
        print(
            f"| {1000 * case.service:.0f} ms | {case.slots} | {'yes' if case.journal else 'no'} | {case.calls} "
            f"| {1000 * case.first_byte:.1f} ms | {1000 * case.in_all:.1f} ms | {1000 * case.bulk:.1f} ms "
            f"| {case.lost:.1%} | {case.called:.1%} |",
            flush=True,
        )
    print(f"\n{missed} of {len(chosen)} cases miss a gate" if missed else "\nall gates kept")
    return 1 if missed and not arguments.short else 0


if __name__ == "__main__":
    sys.exit(main())
