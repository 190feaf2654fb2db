"""Every gate of speed in one table: what was measured, what is asked, and whether that is kept.

What is compared is compared within a run: instructions, system calls, or CPU time in the same round, never the wall,
but for the disk and for waiting, which are walls. Ends with 1 if a gate is not kept. ``--short`` takes a few minutes
and few rows, shows that all of it works, and ends with 0; the whole takes half an hour.
"""

import argparse
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import bench_bulk
import bench_interactive
import bench_journal
import bench_memory
import bench_slopes
import knee
from server import CLIENT_CORE, HERE, pin, serving

TRIES = 5  # a busy machine lets connections idle, and adds polls and wake-ups; nothing takes system calls away
FORBIDDEN = bench_slopes.ALWAYS_ASKED


class Gate(NamedTuple):
    """What is asked, what was measured, and whether that is kept."""

    name: str
    asked: str
    measured: str
    kept: bool


def most(name: str, value: float, limit: float, form: str = "{:,.0f}") -> Gate:
    """Return a gate for what is to be small."""
    return Gate(name, f"<= {form.format(limit)}", form.format(value), value <= limit)


def least(name: str, value: float, limit: float, form: str = "{:.2f}") -> Gate:
    """Return a gate for what is to be large."""
    return Gate(name, f">= {form.format(limit)}", form.format(value), value >= limit)


def instructions(*, short: bool) -> Iterator[Gate]:
    """Count what one more row costs, by valgrind."""
    sizes = bench_slopes.SHORT if short else bench_slopes.SIZES
    with serving() as (url, _):
        bulk, journal, tuned, naive = (
            bench_slopes.instructions(name, url, sizes)
            for name in ("bulk", "bulk+journal", "aiohttp tuned", "aiohttp naive")
        )
    yield most("instructions a row, bulk", bulk, 120_000)
    yield Gate("the same with journal", "reported", f"{journal:,.0f}", kept=True)
    yield least("instructions, naive aiohttp / bulk", naive / bulk, 7)
    yield least("instructions, tuned aiohttp / bulk", tuned / bulk, 3.4)


def system_calls(*, short: bool) -> Iterator[Gate]:
    """Count what one more row costs, by strace: the least of some tries."""
    sizes = bench_slopes.SHORT if short else bench_slopes.SIZES
    with serving() as (url, _):
        for name, client, limit in (
            ("system calls a row, bulk", "bulk", 2.3),
            ("system calls a row after idle, bulk", "bulk, idle between", 3.3),
        ):
            least_calls, asked = float("inf"), 0.0
            for _ in range(TRIES):
                calls = bench_slopes.system_calls(client, url, sizes)
                asked = max(asked, *[calls.get(call, 0.0) for call in FORBIDDEN])
                least_calls = min(least_calls, sum(figure for figure in calls.values() if figure >= 0.01))
                if least_calls <= limit:
                    break
            yield most(name, least_calls, limit, "{:.2f}")
            yield Gate(f"of them {', '.join(FORBIDDEN)}", "none", f"{asked:.2f}", asked < 0.01)


def order(*, short: bool) -> Iterator[Gate]:
    """Watch the command under strace."""
    command = [sys.executable, "-m", "tests.crash.durable_marks", "--rows", "200" if short else "2000"]
    done = subprocess.run(command, cwd=HERE.parent, capture_output=True, text=True, check=False)
    said = (done.stdout.splitlines() or done.stderr.splitlines() or ["nothing"])[0]
    yield Gate("each row's fdatasync before its send", "always", said, done.returncode == 0)


def same_work(*, short: bool) -> Iterator[Gate]:
    """Have every client's requests decoded where they arrive."""
    variants = bench_bulk.installed(bench_bulk.AT_ONCE)
    bench_bulk.check_same_work(variants[: 3 if short else None])
    yield Gate(
        "decoded bodies and number of requests, every client", "equal", f"equal, {len(variants)} clients", kept=True
    )


def processor(*, short: bool) -> Iterator[Gate]:
    """Compare the CPU of all clients, plain."""
    rows, rounds = (1500, 1) if short else (20_000, 7)
    variants = bench_bulk.installed([name for name in bench_bulk.AT_ONCE if name != "bulk, session lane"])
    found = bench_bulk.compare(variants, rows, rounds)
    print(bench_bulk.table(found.results, found.counts), end="\n\n", file=sys.stderr)
    for other, own, limit in (
        ("aiohttp naive", "bulk", 6),
        ("aiohttp naive", "bulk+journal", 3),
        ("aiohttp tuned", "bulk", 3.5),
        ("requests, 32 threads", "bulk", 25),
        ("httpx", "bulk", 60),
        ("pyreqwest", "bulk", 2),
    ):
        if other in found.results:
            yield least(f"CPU, {other} / {own}", bench_bulk.ratio(found.results, other, own), limit)
    if "pycurl, multi" in found.results:
        times = bench_bulk.ratio(found.results, "pycurl, multi", "bulk")
        yield Gate("CPU, pycurl / bulk", "reported", f"{times:.2f}", kept=True)
    yield least("share of the bare epoll ceiling", bench_bulk.ratio(found.results, "bare epoll", "bulk"), 0.4)


def processor_tls(*, short: bool) -> Iterator[Gate]:
    """Compare the CPU over TLS."""
    found = bench_bulk.compare(["bulk", "aiohttp naive"], 1500 if short else 20_000, 1 if short else 7, tls=True)
    yield least("CPU over TLS, naive aiohttp / bulk", bench_bulk.ratio(found.results, "aiohttp naive", "bulk"), 3.5)


def single(*, short: bool) -> Iterator[Gate]:
    """Compare one call after the other."""
    own, naive = "call after call", "aiohttp call after call"
    found = bench_bulk.compare([own, naive], 2500 if short else 25_000, 1 if short else 7)
    yield most(
        "CPU of a single call, ours / naive session.post", bench_bulk.ratio(found.results, own, naive), 0.75, "{:.2f}"
    )


def memory(*, short: bool) -> Iterator[Gate]:
    """Stream rows with a journal, many and very many."""
    counts = [2000, 8000] if short else [250_000, 1_000_000]
    (few, _), (many, _) = bench_memory.growth("bulk+journal", counts)
    yield most(f"growth for {counts[1]:,} streamed rows, MB", many, bench_memory.MOST, "{:.2f}")
    yield most(f"{counts[1]:,} minus {counts[0]:,}, MB", many - few, bench_memory.MORE, "{:.2f}")


def journal(*, short: bool) -> Iterator[Gate]:
    """Have the journal write by itself."""
    large = 20_000 if short else bench_journal.LARGE
    with tempfile.TemporaryDirectory() as folder:
        found = bench_journal.measure(3 if short else 9, 2000 if short else 10_000, large, Path(folder))
    yield least("journal alone / bare fdatasync batches", found.share, bench_journal.SHARE)
    yield least(f"journal at {large:,} rows / at {bench_journal.SMALL:,}", found.lasting, bench_journal.SLOWER)


def limiter(*, short: bool) -> Iterator[Gate]:
    """Find knees, by the laws the constants were chosen on and by others, and sit out brown-outs."""
    slots, seconds = ([8], 13) if short else ([8, 64, 256], 20)
    for kind, laws, seed in (("", knee.TUNED, 1), (", unseen laws", [*knee.UNSEEN], knee.UNSEEN_SEEDS[0])):
        found = [knee.find(law, size, seconds, seed) for law in laws for size in slots]
        yield least(f"auto limit, of best fixed from 10 s on, worst{kind}", min(one.late for one in found), knee.SHARE)
        yield most(f"seconds until nine tenths, worst{kind}", max(one.settled for one in found), knee.WITHIN, "{:.1f}")
        p99 = round(max(one.p99 for one in found), 6)
        yield most(f"p99 / that of the perfect limit, worst{kind}", p99, knee.QUEUE, "{:.2f}")
        unknown = max(knee.brown_out(law, seed, "auto").unknown for law in laws[: 1 if short else None])
        yield most(f"unknown rows in a brown-out, worst{kind}", unknown, knee.UNKNOWN)


def interactive(*, short: bool) -> Iterator[Gate]:
    """Have an agent call beside a bulk run."""
    for case in bench_interactive.run(bench_interactive.CASES[: 1 if short else None], 2 if short else 12):
        name = f"call beside a bulk ({1000 * case.service:.0f} ms, {case.slots} slots{', journal' * case.journal})"
        yield most(f"{name}: p99 to first byte, ms", 1000 * case.first_byte, 1000 * case.soon, "{:.1f}")
        yield most(f"{name}: p99 in all / the bulk's", case.in_all / case.bulk, bench_interactive.LONGER, "{:.2f}")
        yield most(f"{name}: the bulk loses", case.lost, bench_interactive.LOSS, "{:.1%}")


SECTIONS: dict[str, Callable[..., Iterator[Gate]]] = {
    "instructions": instructions,
    "syscalls": system_calls,
    "order": order,
    "bodies": same_work,
    "cpu": processor,
    "tls": processor_tls,
    "single": single,
    "memory": memory,
    "journal": journal,
    "limiter": limiter,
    "interactive": interactive,
}


def main() -> int:
    """Print the table; return 1 if a gate is not kept."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--short", action="store_true", help="that it works, not how fast")
    parser.add_argument("--only", nargs="+", choices=SECTIONS, default=[*SECTIONS], metavar="SECTION")
    arguments = parser.parse_args()
    pin(CLIENT_CORE)
    print(bench_bulk.facts(), end="\n\n")
    print("| gate | asked | measured | |\n|---|---|---|---|")
    gates = []
    for section in arguments.only:
        for gate in SECTIONS[section](short=arguments.short):
            gates.append(gate)
            verdict = "kept" if gate.kept else "**not kept**"
            print(f"| {gate.name} | {gate.asked} | {gate.measured} | {verdict} |", flush=True)
    missed = sum(not gate.kept for gate in gates)
    print(f"\n{len(gates) - missed} of {len(gates)} kept" + ", in short form: few rows, one round" * arguments.short)
    return 1 if missed and not arguments.short else 0


if __name__ == "__main__":
    sys.exit(main())
