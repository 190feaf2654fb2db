"""Memory of a bulk run over rows that are made while they are sent: it must not grow with their number.

It ends with 1 if a run grows by more than 8 MB, or the last by 1 MB more than the one before it, from 100,000 rows on:
until then the journal's cache fills. The whole proof takes minutes: ``--rows 250000 1000000``.
"""

import argparse
import sys
from collections.abc import Iterator

from bench_bulk import measured
from peers import VARIANTS
from server import serving

# MB of growth, and what a run may have beyond the one before it where both have so many rows.
MOST, MORE, LONG = 8.0, 1.0, 100_000


def growth(client: str, counts: list[int]) -> Iterator[tuple[float, float]]:
    """Yield, for each number of rows, the growth of the peak in MB and the CPU time of a row in us."""
    with serving() as (url, _):
        for count in counts:
            figures = measured(client, url, count, "--lazy")
            yield figures["kib"] / 1024, figures["us"]


def main() -> int:
    """Print the growth of the peak for each number of rows; return 1 if it is too much."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, nargs="+", default=[10_000, 100_000])
    parser.add_argument("--client", choices=VARIANTS, default="bulk+journal")
    arguments = parser.parse_args()
    print(f"| rows, by {arguments.client} | peak memory over the warm client | CPU us per row |\n|---|---|---|")
    found = []
    for count, (grown, us) in zip(arguments.rows, growth(arguments.client, arguments.rows), strict=True):
        print(f"| {count} | +{grown:.2f} MB | {us:.1f} |", flush=True)
        found.append(grown)
    steady = len(found) < 2 or min(arguments.rows[-2:]) < LONG or found[-1] - found[-2] <= MORE
    return 0 if max(found) <= MOST and steady else 1


if __name__ == "__main__":
    sys.exit(main())
