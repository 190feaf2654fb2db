"""The machine that a simulated process runs on: its clock, its chance, its disk. Installed before all imports.

The client's code is not changed in any way: it asks the clock, draws chances and opens its journal as ever, and this
machine answers. What a machine does of its own accord is not simulated here but by the world (``world.py``).
"""

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

    def __init__(self, *, keeps=False, full_at=None):
        """``keeps`` says whether to remember what a power cut would leave."""
        self.commits = 0
        self._keeps = keeps
        self._full_at = full_at
        self._safe = {}

    def mend(self):
        """Let there be room again."""
        self._full_at = None

    def committing(self):
        """Count a commit, and fail if the disk is full."""
        self.commits += 1
        if self._full_at is not None and self.commits >= self._full_at:
            raise sqlite3.OperationalError("database or disk is full")

    def committed(self, path, *, synced):
        """Note that a change of the database at ``path`` is done."""
        if self._keeps and synced:
            self._safe[path] = images(path)

    def after_power_cut(self, path):
        """Return the files that a power cut leaves of the database at ``path``."""
        return self._safe.get(path, {})


def images(path):
    """Return what the files of the database at ``path`` hold, by what their names add to it."""
    return {tail: Path(path + tail).read_bytes() for tail in ("", "-wal") if Path(path + tail).exists()}


class Connection(sqlite3.Connection):
    """A connection that tells the disk of every commit."""

    path = ""

    def execute(self, sql, *parameters):
        """Do it; a commit may find the disk full."""
        if self.path and sql.lstrip()[:6].upper() == "COMMIT":
            MACHINE.disk.committing()
        cursor = super().execute(sql, *parameters)
        if self.path and not self.in_transaction and sql.lstrip()[:6].upper() != "SELECT":
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
        (level,) = super().execute("PRAGMA synchronous").fetchone()
        MACHINE.disk.committed(self.path, synced=level >= 2)


def _open(path, *args, **options):
    db = _connect(path, *args, factory=Connection, **options)
    if MACHINE.disk is not None and not options.get("uri"):
        db.path = str(path)
    return db


def install():
    """Make this process run on the simulated machine, for good."""
    time.monotonic = MACHINE.monotonic
    random.Random = Chance
    sqlite3.connect = _open
