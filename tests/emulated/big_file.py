"""A big file through the command line and an emulator in a process of its own: each row counted once, memory flat.

``python tests/emulated/big_file.py --rows 10000 100000`` prints a line for each size and exits 1 if a row is in no
count or in two, if a call that succeeded is not in the server's ledger exactly once, or if the peak memory of the
client grows by more than 8 MB from the smallest file to the largest.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from urllib.request import urlopen

COMMAND = [sys.executable, "-m", "ucontact_async"]
GROWTH_MB = 8.0


def write_file(path, rows):
    """Write ``rows`` made-up contacts, one in a thousand with a bad number."""
    with path.open("w", encoding="utf-8") as file:
        file.write("destination;calldate;data.id;data.name\n")
        for n in range(rows):
            number = f"09{n:08d}" if n % 1000 else f"09 {n}"
            file.write(f"{number};2099-05-05 10:{n % 60:02d};C-{n};Cliente Ñandú {n}\n")


def run_size(rows, folder):
    """Schedule a file of ``rows`` rows; return a line of figures, the peak in MB and what is wrong."""
    file = Path(folder, f"{rows}.csv")
    write_file(file, rows)
    server = subprocess.Popen([*COMMAND, "emulator"], stdout=subprocess.PIPE, text=True)
    try:
        url = server.stdout.readline().split()[-1]
        env = os.environ | {
            "UCONTACT_URL": url,
            "UCONTACT_USER": "api",
            "UCONTACT_PASSWORD": "secret",
            "UCONTACT_TIMEZONE": "America/Montevideo",
        }
        began = time.monotonic()
        arguments = ["schedule", str(file), "--campaign", "Ventas->", "--max-concurrency", "32"]
        client = subprocess.Popen(
            [*COMMAND, *arguments], env=env, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
        )
        printed = client.stdout.read()
        _, status, usage = os.wait4(client.pid, 0)
        client.returncode = os.waitstatus_to_exitcode(status)
        seconds = time.monotonic() - began
        with urlopen(f"{url}/_emulator/ledger", timeout=120) as answer:
            applied = Counter(entry["fields"]["destination"] for entry in json.load(answer))
    finally:
        server.terminate()
        server.wait(10)
        server.stdout.close()
        client.stdout.close()
    bad = (rows + 999) // 1000
    expected = f"{rows} rows: {rows - bad} succeeded, 0 failed, 0 unknown, {bad} skipped"
    wrong = [] if expected in printed and client.returncode == 1 else [f"expected {expected!r}, got {printed!r}"]
    asked = {f"09{n:08d}" for n in range(rows) if n % 1000}
    if set(applied) != asked or set(applied.values()) != {1}:
        wrong.append(f"ledger: {len(asked - set(applied))} missing, {sum(n > 1 for n in applied.values())} twice")
    peak = usage.ru_maxrss / 1024
    cpu = usage.ru_utime + usage.ru_stime
    figures = f"{rows:>8} rows  {rows / seconds:7.0f} rows/s  {cpu:6.1f} s CPU  {peak:6.1f} MB peak"
    return figures, peak, wrong


def main():
    """Run each size and compare."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, nargs="+", default=[10_000, 100_000])
    peaks, failures = [], []
    with tempfile.TemporaryDirectory() as folder:
        for rows in parser.parse_args().rows:
            figures, peak, wrong = run_size(rows, folder)
            print(figures, *(wrong or ["each row in one count, each success in the ledger once"]), sep="  ", flush=True)
            peaks.append(peak)
            failures += wrong
    if peaks[-1] - peaks[0] > GROWTH_MB:
        failures.append("the peak grows with the file")
    print(f"peak memory grew by {peaks[-1] - peaks[0]:.1f} MB")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
