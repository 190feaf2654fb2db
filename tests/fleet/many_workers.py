"""Many worker processes, one emulator, one database: the ledger equals the journal, and the fleet keeps to its cap.

``python tests/fleet/many_workers.py [--workers 4] [--rows 200000] [--cap 64]`` prints the figures and exits 1 on any
violation. Everything is done by the commands that people use.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections import Counter
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

from postgres import Postgres

COMMAND = [sys.executable, "-m", "ucontact_async"]
PATIENCE = 1800


class Stage:
    """An emulator and a database with a file of rows in it; ``environment`` is what the commands are run with."""

    def __init__(self, folder, database):
        self._emulator = subprocess.Popen([*COMMAND, "emulator"], stdout=subprocess.PIPE, text=True)
        self.url = self._emulator.stdout.readline().split()[-1]
        self.folder = folder
        self.database = database
        self.environment = {name: value for name, value in os.environ.items() if not name.startswith("UCONTACT_")} | {
            "UCONTACT_DATABASE": database,
            "UCONTACT_URL": self.url,
            "UCONTACT_USER": "api",
            "UCONTACT_PASSWORD": "secret",
            "UCONTACT_TIMEZONE": "America/Montevideo",
        }

    def __enter__(self):
        return self

    def __exit__(self, *exc_info):
        self._emulator.terminate()
        self._emulator.wait(10)
        self._emulator.stdout.close()

    def start(self, *words):
        """Start a command of the fleet."""
        return subprocess.Popen(
            [*COMMAND, "fleet", *words],
            env=self.environment,
            cwd=self.folder,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def run(self, *words):
        """Run a command of the fleet to its end and return what it said."""
        process = self.start(*words)
        said, _ = process.communicate(timeout=PATIENCE)
        if process.returncode:
            raise RuntimeError(f"fleet {' '.join(words)} ended with {process.returncode}: {said}")
        return said

    def slow(self, seconds):
        """Have every command take so long: without that there is hardly ever more than one at once."""
        rules = {"rules": [{"endpoint": "Dialers/*", "fault": "latency", "seconds": seconds}]}
        request = urllib.request.Request(f"{self.url}/_emulator/faults", json.dumps(rules).encode(), method="PUT")
        urllib.request.urlopen(request, timeout=10).close()

    def load(self, rows, cap):
        """Make the tables, and enter so many rows."""
        with (self.folder / "contacts.csv").open("w", encoding="utf-8") as file:
            file.write("destination;calldate\n")
            file.writelines(f"09{row:07d};2099-05-05 10:00\n" for row in range(rows))
        self.run("init", "--max-concurrency", str(cap))
        self.run("load", "contacts.csv", "--campaign", "Ventas->")

    def ask(self, what):
        """Return what the emulator says of itself."""
        with urllib.request.urlopen(f"{self.url}/_emulator/{what}", timeout=300) as answer:
            return json.load(answer)

    def query(self, statement):
        """Return the rows of a query."""
        import psycopg

        with psycopg.connect(self.database, autocommit=True) as connection:
            return connection.execute(statement).fetchall()

    def violations(self, rows, cap):
        """Compare the journal with the ledger; return the sentences of what is wrong."""
        applied = Counter(entry["fields"]["destination"] for entry in self.ask("ledger"))
        state = self.ask("state")
        journal = dict(self.query("SELECT destination, status FROM ucontact.calls"))
        found = [f"{number} was applied {times} times" for number, times in applied.items() if times > 1]
        found += [f"{number} is {status} and was applied {applied[number]} times" for number, status in journal.items()
                  if applied[number] != (status == "succeeded") and status != "unknown"]  # fmt: skip
        if len(journal) != rows:
            found.append(f"{len(journal)} rows in the journal, {rows} in the file")
        if state["max_in_flight"] > cap:
            found.append(f"{state['max_in_flight']} requests at once, the cap is {cap}")
        if state["logins"] != 1:
            found.append(f"{state['logins']} logins")
        return found


def prove(folder, database, *, workers, rows, cap):
    """Have ``workers`` processes send ``rows``; return violations and figures."""
    with Stage(folder, database) as stage:
        began = time.monotonic()
        stage.load(rows, cap)
        loaded = time.monotonic()
        stage.slow(2.0)  # until all are there: on a busy machine one starts when the others are done
        running = [stage.start("worker", "--once", "--name", f"worker-{number}") for number in range(workers)]
        while stage.query("SELECT count(*) FROM ucontact.workers") != [(workers,)] and time.monotonic() < loaded + 60:
            time.sleep(0.05)
        stage.slow(0.02)
        met = time.monotonic()
        said = [process.communicate(timeout=PATIENCE)[0] for process in running]
        ended = time.monotonic()
        found = stage.violations(rows, cap)
        found += [f"a worker ended with {process.returncode}: {words}"
                  for process, words in zip(running, said, strict=True) if process.returncode]  # fmt: skip
        shares = stage.query(
            "SELECT w.name, count(*) FROM ucontact.rows r JOIN ucontact.workers w ON w.id = r.owner "
            "GROUP BY 1 ORDER BY 1"
        )
        figures = {
            "rows": rows,
            "workers": workers,
            "load rows/s": round(rows / (loaded - began)),
            "sent rows/s": round(rows / (ended - met)),
            "seconds": round(ended - met, 1),
            "journal": dict(stage.query("SELECT status, count(*) FROM ucontact.rows GROUP BY 1")),
            "ledger": stage.ask("state")["applied"],
            "at once at most": f"{stage.ask('state')['max_in_flight']} of {cap}",
            "logins": stage.ask("state")["logins"],
            "share": {name: f"{count} ({count / rows:.1%})" for name, count in shares},
        }
    return found, figures


def main():
    """Run the proof as a command."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--workers", type=int, default=4)
    parser.add_argument("--rows", type=int, default=200_000)
    parser.add_argument("--cap", type=int, default=64)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, Postgres(durable=True) as server:
        found, figures = prove(
            Path(folder), server.url(server.fresh()), workers=args.workers, rows=args.rows, cap=args.cap
        )
    for name, figure in figures.items():
        print(f"{name:>16}: {figure}")
    print(f"{'violations':>16}: {found[:10] if found else 'none'}")
    return bool(found)


if __name__ == "__main__":
    sys.exit(main())
