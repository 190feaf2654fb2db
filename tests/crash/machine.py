"""The machine that a simulated process runs on: its clock, its chance, its disk. Installed before all imports.

The client's code is not changed in any way: it asks the clock, draws chances and opens its journal as ever, and this
machine answers. What a machine does of its own accord is not simulated here but by the world (``world.py``).
"""

import contextlib
import itertools
import random
import sqlite3
import time
from pathlib import Path

perf_counter = time.perf_counter
_Random = random.Random
_connect = sqlite3.connect


class Machine:
    """The one machine of this process; a simulation gives it a clock, a seed and a disk at its start."""

    def __init__(self):
        self.now = 0.0
        self.seeds = itertools.count()
        self.disk = None
        self.changed = None
        """Who is told of each change of a row's status that was committed."""

    def monotonic(self):
        """Return the time since some moment, as ``time.monotonic`` does."""
        return self.now


MACHINE = Machine()


class Chance(_Random):
    """``random.Random``: without a seed of its own it takes the machine's next one, so that a run repeats."""

    def __init__(self, *seed):
        super().__init__(*(seed or [f"machine {next(MACHINE.seeds)}"]))


class Disk:
    """What is on the disk for certain: a commit is, if its connection waits for the disk; the rest is in memory.

    ``full_at`` is the number of the commit from which on the disk is full.
    """

    def __init__(self, *, keeps=False, full_at=None, full=None):
        """``keeps`` says whether to remember what a power cut would leave; ``full`` is told when it is full."""
        self.commits = 0
        self.keeps = keeps
        self._full_at = full_at
        self._full = full
        self._safe = {}

    def mend(self):
        """Let there be room again."""
        self._full_at = None

    def committing(self):
        """Count a commit, and fail if the disk is full."""
        self.commits += 1
        if self._full_at is not None and self.commits >= self._full_at:
            self._full()
            raise sqlite3.OperationalError("database or disk is full")

    def committed(self, path, *, synced):
        """Note that a change of the database at ``path`` is done."""
        if self.keeps and synced:
            self._safe[path] = images(path)

    def after_power_cut(self, path):
        """Return the files that a power cut leaves of the database at ``path``."""
        return self._safe.get(path, {})


def images(path):
    """Return what the files of the database at ``path`` hold, by what their names add to it."""
    return {tail: Path(path + tail).read_bytes() for tail in ("", "-wal") if Path(path + tail).exists()}


_WATCH = """CREATE TEMP TRIGGER watch AFTER UPDATE OF status ON rows
    WHEN old.status IS NOT new.status OR new.status = 'sent'
    BEGIN SELECT changed(old.status, new.status, new.reason); END"""


class Connection(sqlite3.Connection):
    """A connection that tells the disk of every commit, and the machine what has become of a journal's rows."""

    path = ""

    def watch(self, path):
        """Begin to tell of the database at ``path``."""
        self.path = path
        # Not a word of this connection: SQLite holds it where no collector of ours looks.
        changes = self._changes = []
        self._opening = True
        self._watched = False
        self.create_function("changed", 3, lambda *change: changes.append(change))
        self._look()

    def _look(self):
        with contextlib.suppress(sqlite3.OperationalError):  # not yet a journal
            super().execute(_WATCH)
            self._watched = True

    def _committed(self):
        for change in self._changes:
            MACHINE.changed(*change, self._opening)
        self._changes.clear()
        self._opening = False
        if not self._watched:
            self._look()

    def execute(self, sql, *parameters):
        """Do it; a commit may find the disk full."""
        if not self.path:
            return super().execute(sql, *parameters)
        word = sql.lstrip()[:8].upper()
        if word == "ROLLBACK":
            self._changes.clear()
        if word == "COMMIT":
            MACHINE.disk.committing()
        cursor = super().execute(sql, *parameters)
        if word == "COMMIT":
            self._committed()
        if not self.in_transaction and not word.startswith("SELECT"):
            self._tell()
        return cursor

    def executescript(self, sql):
        """Do it; a script ends with a commit."""
        cursor = super().executescript(sql)
        if self.path:
            self._tell()
        return cursor

    def close(self):
        """Close it: the last one to do so writes everything to the database file and waits for the disk."""
        super().close()
        if self.path:
            MACHINE.disk.committed(self.path, synced=True)

    def _tell(self):
        if MACHINE.disk.keeps:
            (level,) = super().execute("PRAGMA synchronous").fetchone()
            MACHINE.disk.committed(self.path, synced=level >= 2)


def _open(path, *args, **options):
    db = _connect(path, *args, factory=Connection, **options)
    if MACHINE.disk is not None and not options.get("uri"):
        db.watch(str(path))
    return db


def install():
    """Make this process run on the simulated machine, for good."""
    time.monotonic = MACHINE.monotonic
    random.Random = Chance
    sqlite3.connect = _open
