"""Kill the real command again and again, resume it by the same words, and hold its books against the server's.

``python -m tests.crash.kill_resume --rows 2000 --kills 20 --seed 1`` prints a line per kill and a summary, and ends
with 1 if a call was made twice, a row was lost, or a report was untrue. It sees what a user sees: processes, files,
exit codes; it knows nothing of the package but its command line, its journal's table and the emulator's doors.
"""

import argparse
import csv
import importlib.util
import json
import os
import re
import selectors
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections import Counter
from pathlib import Path
from random import Random

CONCURRENCY = 16
CAMPAIGN = "Ventas->"
# One half of the calls takes 10 ms, the other 30 ms, so that many are on the wire and they overtake each other.
LATENCY = [
    {"endpoint": "*", "fault": "latency", "seconds": 0.01},
    {"endpoint": "*", "fault": "latency", "seconds": 0.02, "probability": 0.5},
]
PATIENCE = 30.0


def environment(**extra):
    """Return the environment for a command: the package of this very interpreter, and no setting of the user's."""
    found = importlib.util.find_spec("ucontact_async")
    kept = {name: value for name, value in os.environ.items() if not name.startswith("UCONTACT_")}
    return kept | {"PYTHONPATH": str(Path(found.origin).parent.parent), "PYTHONUNBUFFERED": "1"} | extra


class Server:
    """The emulator in a process of its own."""

    def __init__(self, faults=()):
        """Start it, with rules of faults."""
        self._process = subprocess.Popen(
            [sys.executable, "-m", "ucontact_async", "emulator", "--port", "0"],
            stdout=subprocess.PIPE,
            text=True,
            env=environment(),
        )
        with selectors.DefaultSelector() as selector:
            selector.register(self._process.stdout, selectors.EVENT_READ)
            line = self._process.stdout.readline() if selector.select(PATIENCE) else ""
        if not line.startswith("listening on "):
            self.__exit__()
            raise RuntimeError(f"the emulator did not start: {line!r}")
        self.url = line.split()[-1]
        self.set_faults(faults)

    def __enter__(self):
        return self

    def __exit__(self, *exc_info):
        self._process.terminate()
        self._process.communicate(timeout=PATIENCE)

    def set_faults(self, rules, seed=1):
        """Replace all faults."""
        self._ask("faults", method="PUT", data=json.dumps({"seed": seed, "rules": list(rules)}).encode())

    def state(self):
        """Return the emulator's state."""
        return json.loads(self._ask("state"))

    def reset(self, faults):
        """Forget all effects, and replace all faults."""
        self._ask("reset", method="POST")
        self.set_faults(faults)

    def applied(self, quiet=0.2):
        """Return how often each call was applied, once nothing is on its way any more: ``quiet`` for so many seconds.

        Longer than any latency that was asked for.
        """
        last, size = time.monotonic(), -1
        while True:
            state = self.state()
            if (state["in_flight"], state["applied"]) != (0, size):
                last, size = time.monotonic(), state["applied"] if state["in_flight"] == 0 else -1
            elif time.monotonic() - last > quiet:
                break
            time.sleep(min(quiet, 0.02))
        ledger = json.loads(self._ask("ledger"))
        return Counter((entry["fields"]["destination"], entry["fields"]["calldate"]) for entry in ledger)

    def _ask(self, door, **request):
        asked = urllib.request.Request(f"{self.url}/_emulator/{door}", **request)
        with urllib.request.urlopen(asked, timeout=PATIENCE) as answer:
            return answer.read()


class Command:
    """``schedule FILE`` in a folder of its own: the same words every time."""

    def __init__(self, folder, url, rows, *options):
        """Write a file of ``rows`` made-up rows into ``folder``."""
        self.file = Path(folder, "contacts.csv")
        self.journal = Path(folder, "contacts.csv.journal")
        self.rejects = Path(folder, "contacts.csv.rejects.csv")
        self.calls = [(f"09{number:07d}", f"2027-03-{1 + number % 28:02d} 10:00:00") for number in range(rows)]
        lines = [f"{destination};{calldate};{number}" for number, (destination, calldate) in enumerate(self.calls)]
        self.file.write_text("\n".join(["destination;calldate;data.id", *lines, ""]))
        words = [sys.executable, "-m", "ucontact_async", "schedule", str(self.file), "--campaign", CAMPAIGN]
        # The made-up dates pass one day, and the proof shall not rot.
        self.words = [*words, "--max-concurrency", str(CONCURRENCY), "--allow-past", *options]
        self._env = environment(
            UCONTACT_URL=url,
            UCONTACT_USER="api",
            UCONTACT_PASSWORD="secret",
            UCONTACT_TIMEZONE="America/Montevideo",
        )

    def start(self, *words, **options):
        """Start it; whoever starts it ends it."""
        return subprocess.Popen(
            [*self.words, *words],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=self._env,
            cwd=self.file.parent,
            **options,
        )

    def run(self, *words):
        """Run it to its end and return exit code, output and errors."""
        with self.start(*words) as process:
            try:
                output, errors = process.communicate(timeout=PATIENCE)
            finally:
                process.kill()
        return process.returncode, output, errors

    def statuses(self):
        """Return how many rows of the journal are in which state."""
        if not self.journal.exists():
            return Counter()
        db = sqlite3.connect(f"file:{self.journal}?mode=ro", uri=True)
        try:
            return Counter(dict(db.execute("SELECT status, count(*) FROM rows GROUP BY status")))
        except sqlite3.OperationalError as error:
            if "no such table" not in str(error):
                raise
            return Counter()
        finally:
            db.close()

    def wait_for(self, condition, process):
        """Wait until ``condition`` holds for the journal; return whether it did before the process ended."""
        end = time.monotonic() + PATIENCE
        while not condition(self.statuses()):
            if process.poll() is not None:
                return False
            if time.monotonic() > end:
                raise TimeoutError("the command makes no progress")
            time.sleep(0.002)
        return True

    def rejected(self):
        """Return what the report says of the rows that did not succeed: the outcome by the call."""
        if not self.rejects.exists():
            return {}
        with self.rejects.open(encoding="utf-8-sig", newline="") as file:
            # An apostrophe guards what a spreadsheet would change.
            return {
                (row["destination"].removeprefix("'"), row["calldate"].removeprefix("'")): row["outcome"]
                for row in csv.DictReader(file, delimiter=";")
            }


def compare(command, applied, code, output):
    """Return every contradiction between what the finished run says and what the server did."""
    rejected = command.rejected()
    outcomes = Counter(rejected.values())
    problems = []
    for call in command.calls:
        outcome = rejected.get(call, "succeeded")
        allowed = {"succeeded": (1,), "unknown": (0, 1), "failed": (0,)}.get(outcome, (0,))
        if applied[call] not in allowed:
            problems.append(f"row of {call}: we say {outcome}, the server did it {applied[call]} times")
    problems += [f"nobody asked for {call}" for call in applied if call not in set(command.calls)]
    counts = re.search(r"(\d+) rows: (\d+) succeeded, (\d+) failed, (\d+) unknown, (\d+) skipped", output)
    if counts is None:
        return [*problems, f"the run has no summary: {output!r}"]
    rows, *four = map(int, counts.groups())
    if rows != len(command.calls) or sum(four) != rows:
        problems.append(f"the counts do not add up to {len(command.calls)} rows: {counts[0]}")
    if four[2] != outcomes["unknown"]:
        problems.append(f"the summary says {four[2]} unknown, the report names {outcomes['unknown']}")
    expected = 3 if outcomes["unknown"] else 1 if rejected else 0
    if code != expected or code not in (0, 3):
        problems.append(f"the last run ended with {code}; by its outcomes {dict(outcomes)} it is {expected}")
    statuses = command.statuses()
    if statuses["sent"] or statuses["unknown"] != outcomes["unknown"]:
        problems.append(f"the journal says {dict(statuses)}, the report {dict(outcomes)}")
    return problems


class Killer:
    """Kills runs of one command at moments all over their life, and looks at the journal each time."""

    def __init__(self, command, kills, chance, say):
        """``chance`` decides on the moments; ``say`` gets a line for each kill."""
        self.command = command
        self.problems = []
        self.killed = Counter()
        self.most = 0
        self._kills = kills
        self._chance = chance
        self._say = say
        self._moments = self._plan()
        # Until the first run tells: from its start to its first row on the wire.
        self._start_up = 0.5

    def __call__(self):
        """Kill as often as asked, whatever the runs manage to finish in between."""
        for _ in range(10 * self._kills):
            if (number := self.killed.total()) == self._kills:
                return
            kind, settled = self._moments[number]
            if self._once(number + 1, kind, settled):
                self.killed[kind] += 1
            else:  # it was faster, and all is done: what is left to kill is a start, and a look at what is done
                self._moments[number] = ("start", 0)

    def _plan(self):
        """Return kind and place of each kill, a number of settled rows: in order, for the work only goes forward."""
        starts, ends = max(1, self._kills // 4), max(1, self._kills // 4)
        middles = max(0, self._kills - starts - ends)
        rows = len(self.command.calls)
        room = max(0, rows - (ends + 1) * CONCURRENCY) / max(1, middles)
        moments = [("middle", (place + self._chance.random()) * room) for place in range(middles)]
        for _ in range(starts):
            moments.insert(self._chance.randrange(len(moments) + 1), ("start", 0))
        moments += [("end", rows - place * CONCURRENCY) for place in reversed(range(ends))]
        return moments[: self._kills]

    def _once(self, number, kind, settled):
        before = _unresolved(self.command.statuses())
        began = time.monotonic()
        with self.command.start() as process:
            try:
                if kind == "start":
                    alive = self._pause(process, self._chance.uniform(0, 1.2 * self._start_up))
                else:  # at the end: the last rows on the wire, the last commit, the logout
                    after = self._chance.uniform(0, 0.05 if kind == "middle" else 0.03)
                    alive = self._pause_after(process, settled, after)
                alive = alive and process.poll() is None
            finally:
                process.kill()
            _, errors = process.communicate()
        if not alive or process.returncode != -signal.SIGKILL:
            if process.returncode not in (0, 3, -signal.SIGKILL):
                self.problems.append(f"a run ended by itself with {process.returncode}: {errors}")
                self.killed[kind] += 1  # do not try for ever
            return False
        statuses = self.command.statuses()
        new = _unresolved(statuses) - before
        self.most = max(self.most, new)
        if new > CONCURRENCY:
            self.problems.append(f"kill {number}: {new} rows without an outcome, more than were on the wire")
        self._say(
            f"kill {number:>3}  {kind:<6}  after {time.monotonic() - began:5.2f} s  pid {process.pid:<7} "
            f"settled {statuses['succeeded'] + statuses['failed']:>6}  without an outcome {new:>2} new, "
            f"{before + new} in all"
        )
        return True

    def _pause_after(self, process, settled, seconds):
        """Wait until so many rows are settled, and then some seconds; return whether the process lives."""
        began = time.monotonic()
        seen = self.command.statuses()
        self.command.wait_for(lambda statuses: statuses != seen, process)
        self._start_up = time.monotonic() - began
        reached = self.command.wait_for(lambda statuses: _settled(statuses) >= settled, process)
        return reached and self._pause(process, seconds)

    @staticmethod
    def _pause(process, seconds):
        try:
            process.wait(seconds)
        except subprocess.TimeoutExpired:
            return True
        return False


def _settled(statuses):
    return statuses["succeeded"] + statuses["failed"] + statuses["unknown"]


def _unresolved(statuses):
    return statuses["sent"] + statuses["unknown"]


def prove(folder, *, rows, kills, seed, say=print):
    """Do the whole proof in ``folder`` and return every violation in a sentence."""
    began = time.monotonic()
    with Server(LATENCY) as server:
        command = Command(folder, server.url, rows)
        killer = Killer(command, kills, Random(seed), say)
        killer()
        code, output, errors = command.run()
        applied = server.applied()
        state = server.state()
    problems = killer.problems + compare(command, applied, code, output)
    unknown = Counter(command.rejected().values())["unknown"]
    if unknown > kills * CONCURRENCY:
        problems.append(f"{unknown} unknown rows after {kills} kills of {CONCURRENCY} in flight")
    if "Traceback" in errors:
        problems.append(f"the last run says: {errors}")
    if killer.killed.total() < kills:
        problems.append(f"only {killer.killed.total()} of {kills} kills")
    twice = sum(times > 1 for times in applied.values())
    lost = sum(not applied[call] for call in command.calls if call not in command.rejected())
    kinds = ", ".join(f"{count} {kind}" for kind, count in sorted(killer.killed.items()))
    say(f"{kills} kills ({kinds}) in {time.monotonic() - began:.1f} s, seed {seed}; the last run ended with {code}")
    say(
        f"{rows} rows: {applied.total()} calls applied, {twice} twice, {lost} lost, {unknown} unknown "
        f"(at most {killer.most} of a kill, of {CONCURRENCY} allowed), {unknown - _applied(command, applied)} of them "
        f"never applied; {state['logins']} logins, {state['max_in_flight']} in flight at most"
    )
    for problem in problems:
        say(f"VIOLATION {problem}")
    return problems


def _applied(command, applied):
    return sum(applied[call] > 0 for call, outcome in command.rejected().items() if outcome == "unknown")


def main(argv=None):
    """Run the proof; 1 on any violation."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rows", type=int, default=2000)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args(argv)
    with tempfile.TemporaryDirectory(prefix="ucontact-kill-") as folder:
        problems = prove(
            folder, rows=args.rows, kills=args.kills, seed=args.seed, say=lambda line: print(line, flush=True)
        )
    print("no violation" if not problems else f"{len(problems)} violations")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
