"""The journal alone: rows a second beside bare batches of the same bytes, and in a file of a million rows.

A row is entered with what it says, marked sent, durably, and settled; 64 at once, as in a bulk run. The bare batch
writes 64 such rows to a plain file and syncs it: no row can be found again in that, none is marked twice. Both are
timed by the wall, in turn, for it is the disk that takes the time. Ends with 1 if a gate is not kept.
"""

import argparse
import asyncio
import itertools
import os
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from hashlib import blake2b
from pathlib import Path
from typing import NamedTuple
from zoneinfo import ZoneInfo

import msgspec
from server import CLIENT_CORE, pin
from work import ZONE, document, rows

from ucontact_async.batch.journal import Entry, FileJournal, Header
from ucontact_async.batch.journal_file import Change, JournalFile

HEADER = Header("https://acme.example", "schedule", "digest")
AT_ONCE, BLOCK = 64, 256
SMALL, LARGE = 10_000, 1_000_000
# Of bare batches, and a file of LARGE rows beside one of SMALL.
SHARE, SLOWER = 0.3, 0.8


class Found(NamedTuple):
    """Rows a second: bare, with a journal of SMALL rows and with a large one; medians, of the ratios in a round too."""

    bare: float
    small: float
    large: float
    share: float
    lasting: float

    @property
    def kept(self) -> bool:
        """Whether both gates are."""
        return self.share >= SHARE and self.lasting >= SLOWER


def entries() -> Iterator[Entry]:
    """Make rows without end, as the intake does."""
    zone, encoder = ZoneInfo(ZONE), msgspec.json.Encoder()
    for number, row in enumerate(rows(10**9)):
        said = encoder.encode(document(row, zone)).decode()
        content = blake2b(b"%d" % number, digest_size=16).digest()
        yield Entry(content, int.from_bytes(content[:8], "big", signed=True), number, "schedule", said)


def fill(path: Path, source: Iterator[Entry], count: int) -> None:
    """Have ``count`` rows succeed in a journal, without waiting for each."""
    file = JournalFile(path, HEADER, amended=False)
    while block := list(itertools.islice(source, min(count, 5000))):
        recalled = file.recall(block)
        file.apply([Change(row.id, "succeeded", "", 1, None, None) for row in recalled])
        count -= len(block)
    file.close()


async def journalled(path: Path, given: list[Entry]) -> float:
    """Return how many rows a second a run does that does nothing but its journal."""
    outcomes = 0

    def deliver(settled: list[int]) -> None:
        nonlocal outcomes
        outcomes += len(settled)

    journal = await FileJournal.open(path, HEADER, deliver=deliver)
    began = time.perf_counter()
    source = (given[start : start + BLOCK] for start in range(0, len(given), BLOCK))
    ready: list[int] = []
    reading = asyncio.Lock()

    async def take() -> int | None:
        async with reading:
            if not ready and (block := next(source, None)) is not None:
                ready.extend([row.id for row in reversed(await journal.recall(block))])
        return ready.pop() if ready else None

    async def work() -> None:
        while (row := await take()) is not None:
            await journal.sent(row)
            journal.settled(row, "succeeded", "", 1, row)

    await asyncio.gather(*[work() for _ in range(AT_ONCE)])
    await journal.flush()
    took = time.perf_counter() - began
    await journal.aclose()
    if outcomes != len(given):
        raise SystemExit(f"{outcomes} outcomes of {len(given)} rows")
    return len(given) / took


def bare(path: Path, given: list[Entry]) -> float:
    """Return how many rows a second plain batches of the same bytes do."""
    file = os.open(path, os.O_CREAT | os.O_WRONLY | os.O_APPEND, 0o600)
    began = time.perf_counter()
    for start in range(0, len(given), AT_ONCE):
        batch = given[start : start + AT_ONCE]
        os.write(file, b"".join([entry.content + entry.request.encode() + b"\n" for entry in batch]))
        os.fdatasync(file)
    took = time.perf_counter() - began
    os.close(file)
    return len(given) / took


def measure(rounds: int, count: int, large: int, folder: Path) -> Found:
    """Compare in turn: bare batches, a small journal, a large one; fresh rows each time."""
    template, small, filled, source = folder / "template", folder / "small", folder / "large", entries()
    fill(template, source, SMALL)
    fill(filled, source, large)
    found: list[tuple[float, float, float]] = []
    for number in range(rounds):
        one, other = ([*itertools.islice(source, count)] for _ in range(2))
        shutil.copy(template, small)  # or it would not stay small
        turns = [
            lambda given=one: bare(folder / "bare", given),
            lambda given=one: asyncio.run(journalled(small, given)),
            lambda given=other: asyncio.run(journalled(filled, given)),
        ]
        shift = number % len(turns)
        rates = {turn: turns[turn]() for turn in [*range(shift, 3), *range(shift)]}
        found.append((rates[0], rates[1], rates[2]))
    median = statistics.median
    return Found(
        *[median(rates) for rates in zip(*found, strict=True)],
        share=median(beside / plain for plain, beside, _ in found),
        lasting=median(late / early for _, early, late in found),
    )


def main() -> int:
    """Print a table; return 1 if a gate is not kept."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--rows", type=int, default=10_000, help="in each round")
    parser.add_argument("--large", type=int, default=LARGE, help="rows of the large journal")
    parser.add_argument("--short", action="store_true", help="three rounds and 50,000 rows: that it works")
    arguments = parser.parse_args()
    if arguments.short:
        arguments.rounds, arguments.rows, arguments.large = 3, 3000, 50_000
    pin(CLIENT_CORE)
    with tempfile.TemporaryDirectory() as folder:
        found = measure(arguments.rounds, arguments.rows, arguments.large, Path(folder))
    print("| 64 rows at once | rows/s | gate |\n|---|---|---|")
    print(f"| bare batches, write and fdatasync | {found.bare:,.0f} | |")
    print(f"| journal of {SMALL:,} rows | {found.small:,.0f} | {found.share:.2f} of bare, at least {SHARE} |")
    print(
        f"| journal of {arguments.large:,} rows | {found.large:,.0f} "
        f"| {found.lasting:.2f} of the small one, at least {SLOWER} |"
    )
    return 0 if found.kept or arguments.short else 1


if __name__ == "__main__":
    sys.exit(main())
