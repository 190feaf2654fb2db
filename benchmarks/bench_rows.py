"""A row before it is sent: rows a second of CPU time from file to value to body, beside what one would write by hand.

All stages run in one process in turn, several times; the best of each is printed, and the ratios are of these.
"""

import argparse
import csv
import itertools
import json
import tempfile
import time
from collections import deque
from collections.abc import Callable, Iterable
from pathlib import Path
from urllib.parse import urlencode
from zoneinfo import ZoneInfo

from bench_bulk import facts
from server import CLIENT_CORE, pin
from work import ZONE, document, rows

from ucontact_async import ScheduledCall
from ucontact_async.api import endpoint_of
from ucontact_async.batch.operations import OPERATIONS, plan
from ucontact_async.batch.sources import CsvSource
from ucontact_async.text import Rules


def write_file(path: Path, count: int) -> None:
    """Write the rows as a file that a spreadsheet would."""
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, delimiter=";")
        first = next(rows(1))
        writer.writerow(
            ["campaign", "destination", "calldate", "alternatives", *[f"data.{name}" for name in first.data]]
        )
        for row in rows(count):
            calldate = f"{row.calldate:%Y-%m-%d %H:%M:%S}"
            writer.writerow([row.campaign, row.destination, calldate, ":".join(row.alternatives), *row.data.values()])


def by_hand(path: Path) -> Iterable[dict[str, str]]:
    """Read the file as one writes it first."""
    with path.open(encoding="utf-8", newline="") as file:
        yield from csv.DictReader(file, delimiter=";")


def stages(path: Path, count: int) -> dict[str, Callable[[], Iterable[object]]]:
    """Return what is measured: each stage from what the one before it made."""
    zone, source = ZoneInfo(ZONE), CsvSource(path)
    rules, given = Rules(zone), list(rows(count))
    planned = plan(source.columns, OPERATIONS["schedule"])
    read = list(source)
    requests = [ScheduledCall(**row._asdict()) for row in given]
    endpoint = endpoint_of(requests[0])
    return {
        "file, by csv.DictReader": lambda: by_hand(path),
        "file to rows": lambda: source,
        "rows to requests": lambda: map(planned.request, read),
        "values to requests": lambda: (ScheduledCall(**row._asdict()) for row in given),
        "body, by json.dumps and urlencode": lambda: (
            urlencode({"callschedule": json.dumps(document(row, zone))}) for row in given
        ),
        "requests to bodies": lambda: (endpoint.encode(request, rules) for request in requests),
        "file to bodies": lambda: (endpoint.encode(planned.request(row), rules) for row in source),
    }


def measure(path: Path, count: int, rounds: int) -> dict[str, float]:
    """Return the least CPU seconds of each stage."""
    least: dict[str, float] = {}
    for _, (name, stage) in itertools.product(range(rounds), stages(path, count).items()):
        began = time.process_time()
        deque(stage(), maxlen=0)
        took = time.process_time() - began
        least[name] = min(took, least.get(name, took))
    return least


def main() -> None:
    """Print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=20_000)
    parser.add_argument("--rounds", type=int, default=7)
    arguments = parser.parse_args()
    pin(CLIENT_CORE)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "contacts.csv")
        write_file(path, arguments.rows)
        found = measure(path, arguments.rows, arguments.rounds)
    print(facts(), "", "| stage | rows/s | us a row |", "|---|---|---|", sep="\n")
    for name, seconds in found.items():
        print(f"| {name} | {arguments.rows / seconds:,.0f} | {seconds / arguments.rows * 1e6:.2f} |")


if __name__ == "__main__":
    main()
