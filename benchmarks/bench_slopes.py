"""What one more row costs, counted instead of timed: instructions in user space, or system calls.

A client is run twice, over more rows the second time; the difference, divided by the rows, is free of start-up and
hardly moved by whatever else the machine does. ``instructions`` needs valgrind, ``syscalls`` strace. Neither sees what
the other counts, nor time in the kernel: bench_bulk.py measures that.
"""

import argparse
import os
import re
import subprocess
import sys
import tempfile
from collections import Counter
from pathlib import Path

from peers import VARIANTS
from server import HERE, serving

# Fixed: other sizes give other figures, by up to two hundredths.
SIZES, SHORT = (300, 900), (100, 300)
BASE = "aiohttp naive"
ALWAYS_ASKED = ("mmap", "mremap", "munmap", "getrandom")
# strace makes every call slow: with more at once a connection would be idle for longer than it is in truth.
BACK_TO_BACK = 16
# Here every connection is to have been idle: a row for each.
IDLE = {"bulk, idle between": 256}


def counted(variant: str, url: str, rows: int, command: list[str], *options: str) -> None:
    """Run ``rows`` rows of a client under ``command``."""
    peer = [sys.executable, str(HERE / "measure.py"), variant, url, str(rows), "--warm-up", "300", *options]
    environment = {**os.environ, "PYTHONHASHSEED": "0"}
    subprocess.run([*command, *peer], stdin=subprocess.DEVNULL, capture_output=True, check=True, env=environment)


def instructions(variant: str, url: str, sizes: tuple[int, int]) -> float:
    """Return the instructions that one more row costs, all threads, the kernel's not included."""
    sums = []
    with tempfile.TemporaryDirectory() as folder:
        for size in sizes:
            out = Path(folder) / str(size)
            command = ["valgrind", "--tool=callgrind", f"--callgrind-out-file={out}"]
            # To make a row is not the client's work.
            counted(variant, url, size, command, "--made", str(max(sizes)))
            sums.append(int(re.search(r"^(?:summary|totals): (\d+)", out.read_text(), re.MULTILINE)[1]))
    return (sums[1] - sums[0]) / (sizes[1] - sizes[0])


def system_calls(variant: str, url: str, sizes: tuple[int, int]) -> dict[str, float]:
    """Return the system calls that one more row costs, by name."""
    at_once = str(IDLE.get(variant, BACK_TO_BACK))
    counts = []
    with tempfile.TemporaryDirectory() as folder:
        for size in sizes:
            out = Path(folder) / str(size)
            counted(variant, url, size, ["strace", "-f", "-c", "-o", str(out)], "--concurrency", at_once)
            lines = re.findall(r"^ *[\d.]+ +[\d.]+ +\d+ +(\d+) +(?:\d+ +)?(\w+)$", out.read_text(), re.MULTILINE)
            counts.append(Counter({name: int(number) for number, name in lines if name != "total"}))
    rows = sizes[1] - sizes[0]
    return {name: (counts[1][name] - counts[0][name]) / rows for name in counts[1]}


def print_instructions(variants: list[str], sizes: tuple[int, int], most: float | None) -> bool:
    """Print a table; return whether the first client stays within ``most``."""
    print("| client | instructions per row | times the first |\n|---|---|---|")
    first = 0.0
    with serving() as (url, _):
        for variant in variants:
            figure = instructions(variant, url, sizes)
            first = first or figure
            print(f"| {variant} | {figure:,.0f} | {figure / first:.2f} |", flush=True)
    return most is None or first <= most


def print_system_calls(variants: list[str], sizes: tuple[int, int], most: float | None) -> bool:
    """Print a table; return whether the first client stays within ``most`` and asks for no memory."""
    print(f"| client | system calls per row | of these {', '.join(ALWAYS_ASKED)} | which |\n|---|---|---|---|")
    kept = True
    with serving() as (url, _):
        for variant in variants:
            calls = system_calls(variant, url, sizes)
            asked = sum(calls.get(name, 0.0) for name in ALWAYS_ASKED)
            often = sorted(((figure, name) for name, figure in calls.items() if figure >= 0.01), reverse=True)
            which = ", ".join(f"{name} {figure:.2f}" for figure, name in often)
            total = sum(figure for figure, _ in often)
            print(f"| {variant} | {total:.2f} | {asked:.2f} | {which} |", flush=True)
            if variant == variants[0] and most is not None:
                kept = total <= most and asked < 0.01
    return kept


def main() -> int:
    """Count, and fail if more is counted than is allowed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", choices=("instructions", "syscalls"))
    parser.add_argument("--only", nargs="+", choices=VARIANTS, metavar="CLIENT")
    parser.add_argument("--most", type=float, help="fail if the first client costs more than this")
    parser.add_argument("--short", action="store_true", help="two clients, fewer rows")
    arguments = parser.parse_args()
    variants = ["bulk", "bulk+journal", "bulk, session lane", "bare epoll", "aiohttp tuned", BASE]
    if arguments.what == "syscalls":
        variants[1:1] = ["bulk, idle between", "call after call, idle between"]
    variants = arguments.only or (["bulk", BASE] if arguments.short else variants)
    show = print_instructions if arguments.what == "instructions" else print_system_calls
    return 0 if show(variants, SHORT if arguments.short else SIZES, arguments.most) else 1


if __name__ == "__main__":
    sys.exit(main())
