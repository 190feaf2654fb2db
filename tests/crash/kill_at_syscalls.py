"""Kill the real command at its system calls, one kill a run, resume it, and hold its books against the server's.

``python -m tests.crash.kill_at_syscalls --kills 300 --seed 1`` kills ``ucontact-async schedule FILE`` (real process,
real sockets, real journal; the emulator in another process) by strace: SIGKILL on entering the n-th call of a kind,
before the kernel does it, so that all that was done before stands and nothing after. The points are spread over the
kinds of calls and over the run from the moment it opens its journal. The same words then resume the run to its end.
One line a kind and a summary; 1 if a call was made twice, a row lost, a report untrue, a journal corrupt, or more
rows unknown than were in flight.
"""

import argparse
import itertools
import os
import re
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter, defaultdict
from pathlib import Path
from random import Random

sys.path.insert(0, str(Path(__file__).parent))

from kill_resume import PATIENCE, Command, Server, compare

SYSCALLS = (
    *("sendto", "recvfrom", "write", "read", "pwrite64", "fdatasync", "fsync", "ftruncate", "openat", "close"),
    *("unlink", "fcntl", "socket", "connect", "epoll_ctl", "epoll_wait", "futex"),
)
IN_FLIGHT = 4
ROWS = 24
# Calls overtake each other; one token dies and one call is put off, so that marks are taken back and made again.
FAULTS = [
    {"endpoint": "Dialers/*", "fault": "latency", "seconds": 0.002},
    {"endpoint": "Dialers/*", "fault": "latency", "seconds": 0.004, "probability": 0.5},
    {"endpoint": "Dialers/*", "fault": "status", "status": 401, "after": 5, "count": 1},
    {
        "endpoint": "Dialers/*",
        "fault": "status",
        "status": 429,
        "headers": {"Retry-After": "0"},
        "after": 9,
        "count": 1,
    },
]


def works():
    """Return why system calls cannot be killed here, or an empty text."""
    if shutil.which("strace") is None:
        return "strace is not installed: apt-get install strace"
    probe = ["strace", "-f", "-qq", "-o", os.devnull, "-e", "trace=write"]
    done = subprocess.run([*probe, "-e", "inject=write:signal=KILL:when=1", "echo"], capture_output=True, check=False)
    return "" if done.returncode == -signal.SIGKILL else "strace may not trace here (it needs CAP_SYS_PTRACE)"


class Traced(Command):
    """The command of the proof, and the same under strace."""

    def __init__(self, folder, url):
        """Few rows: a run is short, and its every call is within reach."""
        super().__init__(folder, url, ROWS, "--max-concurrency", str(IN_FLIGHT))

    def traced(self, *options):
        """Run it under strace with ``options`` to its end; return its code and what it wrote to its errors."""
        plain = self.words
        self.words = ["strace", "-f", "-qq", *options, *plain]
        try:
            process = self.start(start_new_session=True)
        finally:
            self.words = plain
        with process:
            try:
                _, errors = process.communicate(timeout=PATIENCE)
            finally:
                if process.poll() is None:  # strace alone would leave the command behind
                    os.killpg(process.pid, signal.SIGKILL)
        return process.returncode, errors


def record(command, folder):
    """Run ``command`` once and return its system calls from the journal's opening on: kind -> numbers in a thread."""
    trace = Path(folder, "trace")
    code, errors = command.traced("-o", str(trace), "-e", f"trace={','.join(SYSCALLS)}")
    if code != 0:
        raise RuntimeError(f"the run to be traced ended with {code}: {errors}")
    counts, found, opened = Counter(), defaultdict(set), False
    for line in trace.read_text(errors="replace").splitlines():
        begun = re.match(r"(\d+) +(\w+)\(", line)
        if begun is None:
            continue
        thread, name = begun.groups()
        counts[thread, name] += 1
        opened = opened or (name == "openat" and f'"{command.journal}-lock"' in line)
        if opened:
            found[name].add(counts[thread, name])
    return {name: sorted(numbers) for name, numbers in found.items()}


def spread(found, kills, chance):
    """Yield points (kind, number) for ever: each kind its share, its numbers from first to last, then once more."""
    # What is rare is taken whole, and the rest of its share goes to the others.
    share, most = 1, max(map(len, found.values()))
    while share < most and sum(min(share, len(numbers)) for numbers in found.values()) < kills:
        share += 1
    while True:
        chosen = []
        for name, numbers in sorted(found.items()):
            step = max(1.0, len(numbers) / share)
            start = chance.random() * step
            places = (int(start + place * step) for place in range(min(share, len(numbers))))
            chosen.append([(name, numbers[place]) for place in places])
        yield from (point for row in itertools.zip_longest(*chosen) for point in row if point is not None)


class Proof:
    """What all workers share: the points to kill at, and what came of them."""

    def __init__(self, points, kills, say):
        """``points`` never end; ``kills`` of them must hit."""
        self.problems = []
        self.killed = Counter()
        self.unknown = Counter()
        self.applied = self.twice = self.lost = self.missed = 0
        self._points = points
        self._left = kills
        self._misses = 3 * kills + 20
        self._say = say
        self._lock = threading.Lock()

    def take(self):
        """Return the next point, ``None`` at the end."""
        with self._lock:
            if self._left == 0 or self._misses == 0:
                return None
            self._left -= 1
            return next(self._points)

    def miss(self):
        """Give a point back that this run did not reach: threads race, and counts differ a little from run to run."""
        with self._lock:
            self._left += 1
            self._misses -= 1
            self.missed += 1

    def add(self, point, problems, unknown, applied, lost):
        """Note a kill and what the books say after it."""
        with self._lock:
            self.killed[point[0]] += 1
            self.unknown[unknown] += 1
            self.applied += applied.total()
            self.twice += sum(times > 1 for times in applied.values())
            self.lost += lost
            for problem in problems:
                self.problems.append(f"killed at {point[0]} number {point[1]}: {problem}")
                self._say(f"VIOLATION {self.problems[-1]}")

    def fail(self, problem):
        """Note that a worker could not go on."""
        with self._lock:
            self.problems.append(problem)


def integrity(command):
    """Return what SQLite finds wrong in a copy of the journal, as the killed process left it."""
    if not command.journal.exists():
        return []
    with tempfile.TemporaryDirectory(dir=command.journal.parent) as folder:
        for suffix in ("", "-wal", "-journal"):
            if (file := Path(f"{command.journal}{suffix}")).exists():
                shutil.copy(file, Path(folder, f"copy{suffix}"))
        db = sqlite3.connect(Path(folder, "copy"))
        try:
            found = [text for (text,) in db.execute("PRAGMA integrity_check")]
        except sqlite3.DatabaseError as error:
            found = [str(error)]
        finally:
            db.close()
    return [] if found == ["ok"] else [f"the journal is corrupt: {found}"]


def kill_once(folder, server, point):
    """Kill a new run at ``point`` and resume it; return what is wrong, unknown, applied, lost; ``None`` for a miss."""
    server.reset(FAULTS)
    command = Traced(folder, server.url)
    name, number = point
    code, errors = command.traced(
        "-o", os.devnull, "-e", f"trace={name}", "-e", f"inject={name}:signal=KILL:when={number}"
    )
    if code != -signal.SIGKILL:
        if code != 0:
            raise RuntimeError(f"a run to be killed at {point} ended by itself with {code}: {errors}")
        return None
    problems = integrity(command)
    code, output, errors = command.run()
    applied = server.applied(quiet=0.02)
    problems += compare(command, applied, code, output) + integrity(command)
    rejected = command.rejected()
    unknown = sum(outcome == "unknown" for outcome in rejected.values())
    if unknown > IN_FLIGHT:
        problems.append(f"{unknown} unknown rows, {IN_FLIGHT} were in flight at most")
    if "Traceback" in errors:
        problems.append(f"the run that resumed says: {errors}")
    lost = sum(not applied[call] for call in command.calls if call not in rejected)
    return problems, unknown, applied, lost


def work(proof, folder):
    """Kill until there is no point left, with an emulator of its own."""
    try:
        with Server() as server:
            while (point := proof.take()) is not None:
                with tempfile.TemporaryDirectory(dir=folder) as place:
                    result = kill_once(place, server, point)
                if result is None:
                    proof.miss()
                else:
                    proof.add(point, *result)
    except Exception as error:  # noqa: BLE001  a thread's error must not be lost
        proof.fail(f"the proof broke: {error!r}")


def prove(folder, *, kills, seed, jobs=2, say=print):
    """Do the whole proof in ``folder`` and return every violation in a sentence."""
    began = time.monotonic()
    with Server(FAULTS) as server:
        Path(folder, "recorded").mkdir()
        found = record(Traced(Path(folder, "recorded"), server.url), folder)
    say(
        f"a run of {ROWS} rows makes {sum(map(len, found.values()))} system calls of {len(found)} kinds that matter, "
        f"counted from the journal's opening: {', '.join(f'{name} {len(n)}' for name, n in sorted(found.items()))}"
    )
    proof = Proof(spread(found, kills, Random(seed)), kills, say)
    workers = [threading.Thread(target=work, args=(proof, folder)) for _ in range(jobs)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    done = proof.killed.total()
    if done < kills:
        proof.problems.append(f"only {done} of {kills} kills")
    for name in sorted(set(found) - set(proof.killed)) if kills >= len(found) else ():
        proof.problems.append(f"no kill at {name}")
    say(f"kills: {', '.join(f'{name} {count}' for name, count in sorted(proof.killed.items()))}")
    say(
        f"{done} kills in {time.monotonic() - began:.0f} s, seed {seed} ({proof.missed} runs ended before their "
        f"point): {done * ROWS} rows, {proof.applied} calls applied, {proof.twice} twice, {proof.lost} lost; unknown "
        f"rows a kill: {dict(sorted(proof.unknown.items()))}, {IN_FLIGHT} allowed"
    )
    return proof.problems


def main(argv=None):
    """Run the proof; 1 on any violation, 2 where strace cannot work."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--kills", type=int, default=300)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--jobs", type=int, default=2)
    args = parser.parse_args(argv)
    if missing := works():
        print(missing, file=sys.stderr)
        return 2
    with tempfile.TemporaryDirectory(prefix="ucontact-kill-") as folder:
        problems = prove(
            folder, kills=args.kills, seed=args.seed, jobs=args.jobs, say=lambda line: print(line, flush=True)
        )
    print("no violation" if not problems else f"{len(problems)} violations")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
