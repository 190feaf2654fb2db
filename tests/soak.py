"""The demo's workload for minutes, random faults at full speed: memory and descriptors stay flat, the books equal.

``python -m tests.soak --minutes 15`` prints a line a minute and ends with 1 if anything grew or the books differ. One
client lives through all of it, against an emulator in a process of its own; it sends round after round of rows, each
with a journal of its own and with other faults, and reads what the campaigns do meanwhile. Every third round is stopped
on its way and resumed. Linux only: it counts in ``/proc``.
"""

import argparse
import asyncio
import contextlib
import gc
import logging
import os
import statistics
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from random import Random
from types import SimpleNamespace

from ucontact_async import UContact, UContactError
from ucontact_async.adaptive import CAP
from ucontact_async.batch.operations import OPERATIONS, plan
from ucontact_async.batch.options import BulkOptions
from ucontact_async.batch.report import Rejects
from ucontact_async.batch.sources import CsvSource
from ucontact_async.cli import demo

from .crash.kill_resume import CAMPAIGN, Server

ROWS = 4000
# MB by which the last third of the rounds may stand above the highest of the first: what an allocator keeps wanders.
MOST = 8.0
# The limiter's own bound, one for the reads, one for logins, two of the event loop.
MOST_SOCKETS = CAP + 4
# Until here the caches of the interpreter, of the journal's engine and of the allocator fill.
WARM_UP = 3
# Seconds between two tokens that are refused: the library takes two within a minute for another login.
STOLEN = 90.0
READS = [
    {"endpoint": "Supervisor/*", "fault": "status", "status": 503, "probability": 0.05},
    {"endpoint": "Supervisor/*", "fault": "reset_after_read", "probability": 0.05},
    {"endpoint": "Supervisor/*", "fault": "truncated", "probability": 0.05},
    {"endpoint": "Supervisor/*", "fault": "body", "body": "<html>login</html>", "probability": 0.05},
]


def memory(process="self"):
    """Return a process's resident memory in MB."""
    return int(Path(f"/proc/{process}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6


def descriptors():
    """Return what every open descriptor of this process leads to."""
    open_now = []
    for entry in Path("/proc/self/fd").iterdir():
        with contextlib.suppress(FileNotFoundError):  # the one by which the folder was read
            open_now.append(str(entry.readlink()))
    return open_now


def held(server):
    """Return what is held now: memory of both in MB, descriptors that are no sockets, sockets, threads and tasks."""
    gc.collect()
    sockets = [name.startswith("socket:") for name in descriptors()]
    return SimpleNamespace(
        memory=memory(),
        server=memory(server._process.pid),
        files=sockets.count(False),
        sockets=sockets.count(True),
        threads=len(list(Path("/proc/self/task").iterdir())),
        tasks=len(asyncio.all_tasks()),
    )


def faults(chance, *, stolen):
    """Return some of the demo's faults, drawn anew, about every other time with its latency.

    ``stolen`` says whether the token may be refused: a second time within a minute is another login's, and ends a run.
    """
    latency, *others = demo._faults(1, ROWS)["rules"]
    others = [rule | {"probability": chance.uniform(0.005, 0.05)} for rule in others if rule.get("status") != 401]
    rules = [*chance.sample(others, chance.randrange(4, len(others) + 1)), *READS]
    if stolen:
        rules.append({"endpoint": "*", "fault": "status", "status": 401, "after": chance.randrange(ROWS), "count": 1})
    return [latency, *rules] if chance.random() < 0.5 else rules


class Soak:
    """One client and what became of its rounds."""

    def __init__(self, uc, server, folder, seed):
        """``server`` is the emulator's process, ``folder`` is for files and journals."""
        self.uc = uc
        self.server = server
        self.problems = []
        self.counts = Counter()
        self._folder = Path(folder)
        self._stolen = time.monotonic() - STOLEN
        self._chance = Random(seed)
        self._contacts = self._folder / "contacts.csv"
        self._contacts.write_text(demo._contacts(ROWS), encoding="utf-8-sig")

    async def round(self, number):
        """Send every row, stopped and resumed if it is a third one, and hold the books against each other."""
        self.server.reset([])
        if stolen := time.monotonic() > self._stolen + STOLEN:
            self._stolen = time.monotonic()
        self.server.set_faults(faults(self._chance, stolen=stolen), seed=self._chance.randrange(1 << 30))
        journal = self._folder / f"{number}.db"
        reading = asyncio.create_task(self._read())
        try:
            said = {}
            if number % 3 == 2:
                await self._run(journal, said, stop_at=self._chance.randrange(ROWS // 4, ROWS // 2))
            report = await self._run(journal, said)
        finally:
            reading.cancel()
            await asyncio.wait([reading])
        outcomes = list(said.values())
        applied = self.server.applied(quiet=0.5)  # longer than the demo's faults apply late
        ledger = [SimpleNamespace(fields={"destination": a, "calldate": b}) for a, b in applied.elements()]
        _, contradictions = demo.compare(outcomes, SimpleNamespace(ledger=ledger))
        self.problems += [f"round {number}: {contradiction}" for contradiction in contradictions]
        four = report.succeeded + report.failed + report.unknown + report.skipped
        if not len(said) == report.rows == four == ROWS:
            said_of = f"{report.rows} rows, {four} counted, stopped by {report.stopped!r}"
            self.problems.append(f"round {number}: {ROWS} rows, {len(said)} outcomes; the report has {said_of}")
        self.counts.update(rounds=1, rows=ROWS, **Counter(outcome.status.value for outcome in outcomes))
        for file in self._folder.glob(f"{number}.*"):
            file.unlink()

    async def _run(self, journal, said, stop_at=None):
        source = CsvSource(self._contacts)
        planner = plan(source.columns, OPERATIONS["schedule"], campaign=CAMPAIGN)
        rejects = Rejects(journal.with_suffix(".csv"), source.columns)
        options = BulkOptions(
            journal=journal, max_unknown=None, allow_past=True, operation="schedule", digest=source.digest
        )
        stream = self.uc.run(source, options, planner=planner)
        try:
            async with stream:
                async for outcome in stream:
                    if stream.report.wants(outcome):
                        rejects.add(outcome)
                    if outcome.reason != "done before":
                        said[outcome.index] = outcome
                    if stream.report.rows == stop_at:
                        stream.stop("soak")
        finally:
            rejects.close()
        return stream.report

    async def _read(self):
        while True:
            for read in (self.uc.campaigns.summary, self.uc.campaigns.status):
                with contextlib.suppress(UContactError):
                    await read()
                self.counts["reads"] += 1
            await asyncio.sleep(0.02)


def line(minute, soak, seconds, now):
    """Return a line of the table: what was done in ``seconds``, and what is held at their end."""
    counts = soak.counts
    return (
        f"{minute:>6} {counts['rounds']:>7} {counts['rows']:>8} {counts['rows'] / seconds:>7.0f} {counts['reads']:>6} "
        f"{counts['failed']:>7} {counts['unknown']:>8} {now.memory:>7.1f} {now.server:>7.1f} {now.files:>6} "
        f"{now.sockets:>8} {now.threads:>8} {now.tasks:>6}  {'equal' if not soak.problems else 'DIFFER'}"
    )


def growth(samples):
    """Return a sentence for everything that grew over the rounds after the warm-up."""
    third = max(1, len(samples) // 3)
    grown = []
    for name in ("memory", "server"):
        values = [getattr(sample, name) for sample in samples]
        more = statistics.median(values[-third:]) - max(values[:third])
        if more > MOST:
            grown.append(f"{name}: {more:.1f} MB more in the last third of the rounds than in the first")
    if (most := max(sample.sockets for sample in samples)) > MOST_SOCKETS:
        grown.append(f"sockets: {most}")
    for name in ("files", "threads", "tasks"):
        values = [getattr(sample, name) for sample in samples]
        if max(values[third:], default=0) > max(values[:third]):
            grown.append(f"{name}: from {max(values[:third])} to {max(values)}")
    return grown


async def soak(folder, process, minutes, seed):
    """Do rounds for so many minutes and return every problem in a sentence."""
    print(
        "minute  rounds     rows  rows/s  reads  failed  unknown  rss MB  server  files  sockets  threads  tasks  "
        "books",
        flush=True,
    )
    before = held(process)
    async with UContact(process.url, user="api", password="secret", timezone="America/Santiago") as uc:
        work = Soak(uc.with_options(timeout=1.0), process, folder, seed)
        samples, began, number, total = [], time.monotonic(), 0, Counter()
        for minute in range(1, minutes + 1):
            started = time.monotonic()
            while time.monotonic() < began + 60 * minute or len(samples) < WARM_UP + 3:
                await work.round(number)
                number += 1
                samples.append(held(process))
            print(line(minute, work, time.monotonic() - started, samples[-1]), flush=True)
            total += work.counts
            work.counts.clear()
    work.counts.update(total)
    after = held(process)
    print(line("all", work, time.monotonic() - began, after))
    problems = work.problems + growth(samples[WARM_UP:])
    for name in ("files", "sockets", "threads", "tasks"):
        if getattr(after, name) != getattr(before, name):
            problems.append(f"{name}: {getattr(before, name)} before, {getattr(after, name)} after the client closed")
    return problems


def main(argv=None):
    """Run the soak; 1 on growth or on books that differ."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--minutes", type=int, default=15)
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args(argv)
    logging.disable(logging.WARNING)  # every fault that it notices
    with tempfile.TemporaryDirectory(prefix="ucontact-soak-") as folder, Server() as server:
        problems = asyncio.run(soak(folder, server, args.minutes, args.seed))
    for problem in problems[:20]:
        print(f"PROBLEM {problem}")
    print(f"{len(problems)} problems" if problems else "flat and equal")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
