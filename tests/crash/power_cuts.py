"""Cut the power at every write of the journal: what it called durable is there when it is opened again.

``python -m tests.crash.power_cuts --cuts 50000 --seed 1`` has the production journal do several runs in processes of
their own, some of them killed, records by strace every write, truncation, sync and directory entry it makes and every
word it gives (``sent`` is durable, an outcome is delivered), and then cuts the power after each of them in many ways:
each write that no sync had reached is kept, dropped or torn by the sector, in any combination; files it had only just
made are there or not. The production journal opens what is left. Wrong is: it cannot be opened, SQLite finds it
corrupt, a row is behind a state that was called durable, or in one it never had.
"""

import argparse
import asyncio
import contextlib
import os
import re
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections import Counter
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from hashlib import blake2b
from multiprocessing import get_context
from pathlib import Path
from random import Random
from typing import NamedTuple

sys.path.insert(0, str(Path(__file__).parent))

from kill_at_syscalls import works

from ucontact_async.batch.journal import Entry, FileJournal, Header
from ucontact_async.batch.journal_file import JournalFile
from ucontact_async.errors import JournalError

HEADER = Header("https://acme.example", "schedule", "digest")
# Inside folders that do not exist yet: they can be lost too.
JOURNAL = "new/deep/run.journal"
SECTOR = 512
SYSCALLS = "openat,pwrite64,pwritev,write,ftruncate,fallocate,fdatasync,fsync,unlink,rename,mkdir,close"
# After a power cut a mark that nobody settled is an unknown outcome.
RECOVERED = {"sent": "unknown"}
# How many rows are known by memory alone: with as many as in production no run of these would fill the table.
RECENT = 16
# Format 3 to format 2, in the place where it lies.
OLDER = """BEGIN IMMEDIATE;
CREATE INDEX rows_identity ON rows (identity);
DROP TABLE identities;
DELETE FROM meta WHERE name = 'sorted';
UPDATE meta SET value = '2' WHERE name = 'format';
COMMIT;"""


class Session(NamedTuple):
    """A run of the journal: rows known or new, how often each is sent and taken back, at once, and how it ends.

    ``older``: what it finds is what the version before left, and brings it up to date.
    """

    rows: int
    cycles: int
    workers: int
    ends: str
    older: bool = False


WORKLOADS = {
    "runs": (
        Session(20, 2, 4, "killed"),
        Session(30, 1, 4, "killed"),
        Session(40, 1, 8, "closed"),
        Session(50, 1, 4, "killed", older=True),
        Session(60, 2, 8, "closed"),
    ),
    # Enough frames that the log is copied into the database on the way, and begun anew.
    "checkpoint": (Session(120, 12, 1, "killed"), Session(150, 1, 8, "closed")),
}


def entry(number):
    """Return what the journal is told of a row."""
    content = blake2b(f"row {number}".encode(), digest_size=16).digest()
    return Entry(content, int.from_bytes(content[:8], "big", signed=True), number + 1)


def say(word, row, status):
    """Tell the recorder: ``issue`` before the journal is told, ``ack`` after it has said that it is durable."""
    os.write(1, f"{word} {row} {status}\n".encode())


async def work(path, session, chance):
    """Do a run of the journal, as the engine does: recall, mark, take back, settle; then close it, or be killed."""

    def deliver(outcomes):
        for row, status in outcomes:
            say("ack", row, status)

    if session.older:
        with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as db:
            db.executescript(f"PRAGMA synchronous = FULL; {OLDER}")
    JournalFile.recent = RECENT
    journal = await FileJournal.open(path, HEADER, deliver=deliver)
    recalled = await journal.recall([entry(number) for number in range(session.rows)])
    for number, row in enumerate(recalled):
        if row.status in ("new", "skipped"):
            say("issue", number, "planned")
    queue = iter([item for item in enumerate(recalled) if item[1].status not in ("succeeded", "unknown")])
    await asyncio.gather(*(_send(journal, queue, session.cycles, chance) for _ in range(session.workers)))
    if session.ends == "killed":
        os.kill(os.getpid(), signal.SIGKILL)
    await journal.aclose()


async def _send(journal, queue, cycles, chance):
    for number, row in queue:
        for cycle in range(cycles):
            say("issue", number, "sent")
            await journal.sent(row.id)
            say("ack", number, "sent")
            if cycle + 1 < cycles:
                say("issue", number, "planned")
                journal.planned(row.id)
        status = chance.choice(["succeeded", "succeeded", "failed", "unknown", "skipped", ""])
        if status:
            say("issue", number, status)
            journal.settled(row.id, status, "", 1, (number, status))


class Event(NamedTuple):
    """Something that the journal did: to a file or a directory, by its path below the root, or said."""

    kind: str
    path: str = ""
    data: bytes = b""
    offset: int = 0
    word: tuple = ()


def record(folder, workload, seed):
    """Have the journal do a workload under strace, and return the events in their order."""
    events, made = [], set()
    for number, session in enumerate(WORKLOADS[workload]):
        trace = Path(folder, "trace")
        words = [sys.executable, __file__, "--record", str(Path(folder, JOURNAL)), workload, str(number), str(seed)]
        env = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
        strace = [
            "strace",
            "-f",
            "--seccomp-bpf",
            "-qq",
            "-xx",
            "-s",
            "100000",
            "-o",
            str(trace),
            "-e",
            f"trace={SYSCALLS}",
        ]
        done = subprocess.run([*strace, *words], stdout=subprocess.DEVNULL, check=False, env=env, timeout=120)
        if done.returncode != (-signal.SIGKILL if session.ends == "killed" else 0):
            raise RuntimeError(f"the run to be recorded ended with {done.returncode}")
        events += read_trace(trace, Reader(Path(folder), made))
    return events


def read_trace(trace, reader):
    """Yield the events that ``reader`` makes of one process's system calls."""
    begun = {}
    for line in trace.read_text().splitlines():
        thread, _, rest = line.partition(" ")
        rest = rest.strip()
        if rest.endswith("<unfinished ...>"):
            begun[thread] = rest.removesuffix("<unfinished ...>").rstrip()
            if rest.startswith(("fsync", "fdatasync", "openat", "mkdir", "unlink")):
                continue  # these count once they are done, a write from when it begins
            rest = begun.pop(thread) + ") = ?"
        elif rest.startswith("<..."):
            if thread not in begun:
                continue
            rest = begun.pop(thread) + rest.partition("resumed>")[2]
        called = re.match(r"(\w+)\((.*)\)\s+= (\S+)", rest, re.DOTALL)
        if called is not None and not called[3].startswith("-"):
            yield from reader(*called.groups())


class Reader:
    """Makes events of system calls."""

    def __init__(self, root, made):
        """Only what is below ``root`` counts, where ``made`` exists."""
        self._root = root
        self._made = made
        self._files = {}

    def __call__(self, name, arguments, result):
        """Yield the events of one call."""
        texts = [bytes.fromhex(text.replace("\\x", "")) for text in re.findall(r'"((?:\\x[0-9a-f]{2})*)"', arguments)]
        first, last = arguments.partition(",")[0], arguments.rpartition(",")[2]
        if name == "write" and first == "1":
            for line in texts[0].decode().splitlines():
                word, row, status = line.split()
                yield Event("word", word=(word, int(row), status))
        elif name == "close":
            self._files.pop(first, None)
        elif name in ("openat", "mkdir", "unlink"):
            path = self._path(os.fsdecode(texts[0]))
            if name == "openat":
                self._files[result] = path
            if path:
                yield from self._entry(name, path, arguments)
        elif path := self._files.get(first, ""):
            yield self._change(name, path, texts, last)

    def _path(self, path):
        if not path.startswith(f"{self._root}/") or path.endswith(("-shm", "-lock")):
            return "." if path == str(self._root) else ""
        return os.path.relpath(path, self._root)

    def _entry(self, name, path, arguments):
        if name == "unlink":
            self._made.discard(path)
            yield Event("remove", path)
        elif name == "mkdir" or ("O_CREAT" in arguments and path not in self._made):
            self._made.add(path)
            yield Event("mkdir" if name == "mkdir" else "make", path)

    @staticmethod
    def _change(name, path, texts, last):
        if name == "pwrite64":
            return Event("write", path, texts[0], int(last))
        if name == "ftruncate":
            return Event("truncate", path, offset=int(last))
        if name in ("fsync", "fdatasync"):
            return Event("sync", path)
        raise RuntimeError(f"the journal uses {name}, which this proof does not know")


@dataclass
class File:
    """A file: what has reached the disk, and what has not for certain."""

    durable: bytearray = field(default_factory=bytearray)
    unsynced: list = field(default_factory=list)


@dataclass
class Folder:
    """A directory: its entries on the disk, and the changes that are not there for certain."""

    durable: dict = field(default_factory=dict)
    unsynced: list = field(default_factory=list)
    now: dict = field(default_factory=dict)


class Disk:
    """What a disk holds for certain, and what it may hold; fed with events."""

    def __init__(self):
        self.root = Folder()
        self.history = {}
        self.acknowledged = {}

    def feed(self, event):
        """Take in one event."""
        if event.kind == "word":
            self._hear(*event.word)
            return
        node, name = self._parent(event.path)
        if event.kind in ("make", "mkdir"):
            self._enter(node, name, File() if event.kind == "make" else Folder())
        elif event.kind == "remove":
            self._enter(node, name, None)
        elif event.kind == "sync":
            self._sync(self.root if event.path == "." else node.now[name])
        else:
            node.now[name].unsynced.append(event)

    def _hear(self, word, row, status):
        states = self.history.setdefault(row, ["new"])
        if word == "issue":
            states.append(status)
        else:  # the last time that it was issued: acknowledgements come in that order
            self.acknowledged[row] = len(states) - 1 - states[::-1].index(status)

    def _parent(self, path):
        *parts, name = path.split("/")
        node = self.root
        for part in parts:
            node = node.now[part]
        return node, name

    @staticmethod
    def _enter(folder, name, what):
        folder.unsynced.append((name, what))
        folder.now = {key: value for key, value in {**folder.now, name: what}.items() if value is not None}

    @staticmethod
    def _sync(node):
        if isinstance(node, Folder):
            node.durable = dict(node.now)
        else:
            for event in node.unsynced:
                _apply(node.durable, event, None)
        node.unsynced = []

    def leave(self, folder, chance, how):
        """Write into ``folder`` what a power cut may leave; ``how`` is nothing, all, or a share that survives."""
        self._leave(self.root, folder, chance, how)

    def _leave(self, node, place, chance, how):
        entries = dict(node.durable)
        of_name = {}
        for name, what in node.unsynced:
            of_name.setdefault(name, []).append(what)
        for name, changes in of_name.items():
            # The changes of one name reach the disk in their order; those of different names in any.
            kept = {"none": 0, "all": len(changes)}.get(how, chance.randrange(len(changes) + 1))
            if kept:
                entries[name] = changes[kept - 1]
        for name, what in entries.items():
            path = Path(place, name)
            if isinstance(what, Folder):
                path.mkdir()
                self._leave(what, path, chance, how)
            elif what is not None:
                path.write_bytes(_image(what, chance, how))


def _image(file, chance, how):
    data = bytearray(file.durable)
    share = chance.choice([0.1, 0.5, 0.9])
    for event in file.unsynced:
        if how == "all" or (how == "some" and chance.random() < share):
            _apply(data, event, None)
        elif how == "torn":
            _apply(data, event, chance)
    if how in ("some", "torn") and chance.random() < 0.3:
        # The file was made longer, and what belongs there never written: what was there before on that disk.
        end = max([len(data), *(event.offset + len(event.data) for event in file.unsynced if event.data)])
        data += chance.choice([bytes, chance.randbytes])(end - len(data))
    return data


def _apply(data, event, chance):
    """Do a write or truncation to ``data``; with a ``chance`` only some of its sectors."""
    if event.kind == "truncate":
        if chance is None or chance.random() < 0.5:
            data[event.offset :] = bytes(max(0, event.offset - len(data)))
        return
    end = event.offset + len(event.data)
    place = event.offset
    while place < end:
        stop = min((place // SECTOR + 1) * SECTOR, end)
        if chance is None or chance.random() < 0.5:
            if len(data) < place:
                data += bytes(place - len(data))
            data[place:stop] = event.data[place - event.offset : stop - event.offset]
        place = stop


def judge(path, disk):
    """Open what the cut left with the production journal; return what is wrong, and what was found."""
    try:
        journal = JournalFile(path, HEADER, amended=False)
    except JournalError as error:
        return f"the journal cannot be opened: {error}", Counter()
    try:
        db = sqlite3.connect(path)
        try:
            found = [text for (text,) in db.execute("PRAGMA integrity_check")]
        finally:
            db.close()
        if found != ["ok"]:
            return f"the journal is corrupt: {found[:3]}", Counter()
        rows = sorted(disk.history)
        statuses = [recalled.status for recalled in journal.recall([entry(row) for row in rows])]
    except (sqlite3.Error, JournalError) as error:
        return f"the journal cannot be read: {error}", Counter()
    finally:
        journal.close()
    for row, status in zip(rows, statuses, strict=True):
        states, least = disk.history[row], disk.acknowledged.get(row, 0)
        if status not in [RECOVERED.get(state, state) for state in states[least:]]:
            known = f"it is {status}, though {states[least]} was durable" if least else f"it never was {status}"
            return f"row {row}: {known} ({' '.join(states)})", Counter()
    return "", Counter(statuses)


WAYS = ("none", "all", "torn", "some", "torn", "some")


def cut(events, points, seed, *, deaf=False):
    """Cut the power after each of ``points`` (event, way); ``deaf`` is a disk that syncs nothing. Return problems."""
    disk, chance = Disk(), Random(seed)
    problems, found, reached = [], Counter(), 0
    memory = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None  # thousands of files that nobody keeps
    with tempfile.TemporaryDirectory(prefix="ucontact-cut-", dir=memory) as place:
        for after, way in points:
            while reached <= after:
                if not (deaf and events[reached].kind == "sync" and events[reached].path.endswith("-wal")):
                    disk.feed(events[reached])
                reached += 1
            folder = Path(place, "disk")
            folder.mkdir()
            disk.leave(folder, chance, way)
            problem, statuses = judge(folder / JOURNAL, disk)
            found += statuses
            if problem:
                problems.append(
                    f"after event {after} ({events[after].kind} {events[after].path}), {way} kept: {problem}"
                )
            shutil.rmtree(folder)
    return problems, found


def spread(events, cuts):
    """Return the points of ``cuts`` cuts, over all that was done to the disk, from first to last."""
    places = [number for number, event in enumerate(events) if event.kind != "word"]
    step = len(places) / cuts
    if step >= 1:
        return [(places[int(number * step)], WAYS[number % len(WAYS)]) for number in range(cuts)]
    times = -(-cuts // len(places))
    points = [(place, WAYS[time_ % len(WAYS)]) for place in places for time_ in range(times)]
    return [points[int(number * len(points) / cuts)] for number in range(cuts)]


def prove(*, cuts, seed, jobs=2, deaf=False, say=print):
    """Do the whole proof and return every violation in a sentence."""
    began = time.monotonic()
    problems, found, done = [], Counter(), 0
    with ProcessPoolExecutor(jobs, mp_context=get_context("spawn")) as pool:
        for workload, share in (("runs", 0.8), ("checkpoint", 0.2)):
            with tempfile.TemporaryDirectory(prefix="ucontact-cut-") as folder:
                events = record(folder, workload, seed)
            kinds = Counter(event.kind for event in events)
            acknowledged = sum(event.word[:1] == ("ack",) for event in events)
            say(
                f"{workload}: {kinds['write']} writes, {kinds['truncate']} truncations, {kinds['sync']} syncs, "
                f"{kinds['make'] + kinds['mkdir'] + kinds['remove']} directory entries, {acknowledged} acknowledged"
            )
            points = spread(events, max(1, round(cuts * share)))
            size = -(-len(points) // (4 * jobs))
            parts = [points[start : start + size] for start in range(0, len(points), size)]
            running = [pool.submit(cut, events, part, seed + number, deaf=deaf) for number, part in enumerate(parts)]
            for future in running:
                wrong, statuses = future.result()
                problems += wrong
                found += statuses
            done += len(points)
    for problem in problems[:20]:
        say(f"VIOLATION {problem}")
    corrupt = sum("corrupt" in problem or "cannot be" in problem for problem in problems)
    say(
        f"{done} power cuts in {time.monotonic() - began:.0f} s, seed {seed}: {corrupt} corrupt or unreadable, "
        f"{len(problems) - corrupt} that lost or moved back what was acknowledged; rows found: {dict(found)}"
    )
    return problems


def main(argv=None):
    """Run the proof; 1 on any violation, 2 where strace cannot work."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--cuts", type=int, default=50_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--record", nargs=4, metavar=("JOURNAL", "WORKLOAD", "SESSION", "SEED"), help=argparse.SUPPRESS)
    args = parser.parse_args(argv)
    if args.record is not None:
        path, workload, number, seed = args.record
        asyncio.run(work(Path(path), WORKLOADS[workload][int(number)], Random(int(seed) * 100 + int(number))))
        return 0
    if missing := works():
        print(missing, file=sys.stderr)
        return 2
    problems = prove(cuts=args.cuts, seed=args.seed, jobs=args.jobs, say=lambda line: print(line, flush=True))
    print("no violation" if not problems else f"{len(problems)} violations")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
