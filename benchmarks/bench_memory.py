"""Memory of a journalled bulk run over rows that are made while they are sent: it must not grow with their number."""

import argparse

from bench_bulk import measured
from peers import VARIANTS
from server import serving


def main() -> None:
    """Print the growth of the peak for each number of rows."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, nargs="+", default=[10_000, 100_000])
    parser.add_argument("--client", choices=VARIANTS, default="bulk+journal")
    arguments = parser.parse_args()
    print(f"| rows, by {arguments.client} | peak memory over the warm client | CPU us per row |\n|---|---|---|")
    with serving() as (url, _):
        for count in arguments.rows:
            figures = measured(arguments.client, url, count, "--lazy")
            print(f"| {count} | +{figures['kib'] / 1024:.2f} MB | {figures['us']:.1f} |", flush=True)


if __name__ == "__main__":
    main()
