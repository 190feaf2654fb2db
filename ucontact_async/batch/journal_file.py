"""The journal's file: one SQLite database, its lock, and what it remembers of each row.

Every method blocks and is called from one thread at a time; the event loop's side is ``journal.py``. It keeps what each
row says, for its owner's eyes only, and does not know what that means.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import re
import sqlite3
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, Any

import msgspec

from ..errors import JournalBusy, JournalError, JournalMismatch
from .journal_identities import RECENT, Identities
from .journal_schema import FORMATS, bring_up
from .outcome import DESYNC
from .recollection import Entry, Recalled, recollect

__all__ = ["DAMAGE", "DOUBTED", "NOT_KEPT", "Change", "Header", "JournalFile"]

# What reading raises where a bad disk, or another program, left what no run wrote.
DAMAGE = (sqlite3.Error, OSError, ValueError, TypeError, OverflowError, LookupError)
# How many rows one statement asks for: SQLite before 3.32 takes 999 values.
_ASKED = 500
# What marks so many rows at once. One statement a row took twice the time, and SQLite's locks for each.
_MARKS = {
    size: f"UPDATE rows SET status = ?, reason = ?, attempts = ?, at = ? WHERE id IN ({', '.join('?' * size)})"  # noqa: S608
    for size in (1, 8, 64, 256)
}
# The reason of a row that ended known, after a try that did not: that one may still arrive.
DOUBTED = "doubted"
NOT_KEPT = "null"
"""In the place of what a row says where that is not kept, or was purged: JSON, for a view reads it."""
_REMOTE = {"nfs", "nfs4", "cifs", "smb3", "smbfs", "afs", "fuse.sshfs", "9p", "ceph", "glusterfs", "fuse.glusterfs"}


class Header(msgspec.Struct, frozen=True):
    """What a journal belongs to: a server, an operation and, for a file, the digest of its bytes.

    ``keys_only``: that it is to keep nothing of what rows say.
    """

    server: str
    operation: str = "*"
    digest: str = ""
    keys_only: bool = False


class Change(msgspec.Struct):
    """A row's next state; who is told when it is durable, or of the error, and what is delivered then."""

    id: int
    status: str
    reason: str
    attempts: int
    tell: Callable[[Exception | None], None] | None
    settled: Any


class JournalFile:
    """The SQLite side, called from one thread at a time; every method blocks."""

    recent = RECENT

    def __init__(
        self,
        path: Path | None,
        header: Header | None,
        *,
        amended: bool,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        """Open or create; no path is a private temporary file that only finds duplicates.

        Without a ``header`` the journal must be there, and is opened to be looked at and not for a run. One that was
        begun with a header of ``keys_only`` never keeps what its rows say.
        """
        self._now = now
        self.keys_only = header is not None and header.keys_only
        self._folder: tempfile.TemporaryDirectory[str] | None = None
        self._lock: IO[bytes] | None = None
        self._broken: JournalError | None = None
        self.durable = durable = path is not None
        if path is None:
            self._folder = tempfile.TemporaryDirectory(prefix="ucontact-")
            path = Path(self._folder.name, "rows.db")
        # Resolved: under two names of one file there must be one lock.
        self.path = path = path.resolve()
        if header is None and not (path.is_file() and path.stat().st_size):
            raise JournalError(f"there is no journal {path}, or no run has used it yet")
        try:
            if durable:
                _refuse_remote(path, _mounts())
                _make_folder(path.parent)
                self._lock = _locked(path)
            self.db = self._open(path, durable=durable)
            self.run = self._begin(header, amended=amended)
        except DAMAGE as error:
            self.close()
            # SQLite says just DatabaseError of a file that is no database, or not a whole one.
            kind = JournalMismatch if type(error) is sqlite3.DatabaseError else JournalError
            raise kind(f"{path} cannot be used as a journal: {error}") from None
        except BaseException:
            self.close()
            raise

    def _open(self, path: Path, *, durable: bool) -> sqlite3.Connection:
        # Created by us first: SQLite would follow the umask, and -wal and -shm take the mode of the main file.
        with contextlib.suppress(FileExistsError):
            os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600))
        self.db = db = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
        db.execute("PRAGMA cache_size = -2000")  # 2 MB whatever the file
        tables = {name for (name,) in db.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
        if tables and not tables >= {"meta", "rows"}:
            raise JournalError(f"{path} is a database of something else; give another journal")
        if durable:
            db.execute("PRAGMA journal_mode = WAL")
            # NORMAL lost 486 acknowledged marks in 920 power cuts, FULL none in 1,160 (reliability.md 2.4 d).
            db.execute("PRAGMA synchronous = FULL")
        else:
            db.execute("PRAGMA journal_mode = OFF")
            db.execute("PRAGMA synchronous = OFF")
        return db

    def _begin(self, header: Header | None, *, amended: bool) -> int:
        db = self.db
        known: dict[str, str] = {}
        if db.execute("SELECT 1 FROM sqlite_master WHERE name = 'rows'").fetchone():
            known = dict(db.execute("SELECT name, value FROM meta").fetchall())
            _refuse_foreign(known, header, self.path, amended=amended)
        elif header is None:
            raise JournalError(f"{self.path} is no journal yet")
        run = int(known.get("run", 0)) + 1
        # All or nothing: a run killed here must leave a file that the next one can use.
        db.execute("BEGIN IMMEDIATE")
        try:
            self._begin_run(known, header, run)
            db.execute("COMMIT")
        except BaseException:
            self._roll_back()  # or close would commit half of it
            raise
        return run

    def _begin_run(self, known: dict[str, str], header: Header | None, run: int) -> None:
        db = self.db
        bring_up(db, known.get("format"), self.seconds())
        self._begin_keys(known)
        if header is not None:
            values = {"server": header.server, "operation": header.operation, "digest": header.digest, "run": str(run)}
            db.executemany("INSERT OR REPLACE INTO meta VALUES (?, ?)", values.items())
        # The run that marked these is dead, or we would not hold the lock: nobody will ever settle them.
        # Their bytes may have left until this moment: a mark may have waited long for its slot.
        db.execute(
            "UPDATE rows SET status = 'unknown', at = ?, reason = CASE reason WHEN '' THEN 'ReplyLost' ELSE reason END "
            "WHERE status = 'sent'",
            (self.seconds(),),
        )
        if header is not None:  # only a run enters rows
            self._identities = Identities(db, self.recent)

    def _begin_keys(self, known: dict[str, str]) -> None:
        """Settle whether this journal keeps keys only: for good, and not once it holds what rows say."""
        if known.get("keeps") == "keys":
            self.keys_only = True
        elif self.keys_only:
            if known and self.db.execute("SELECT 1 FROM requests WHERE request != ? LIMIT 1", (NOT_KEPT,)).fetchone():
                raise JournalMismatch(
                    f"{self.path} holds what its rows say, and is to keep keys only; give another journal, or remove "
                    "that first: ucontact-async journal purge --older 0"
                )
            self.db.execute("INSERT OR REPLACE INTO meta VALUES ('keeps', 'keys')")

    def seconds(self) -> int:
        """Return the present as Unix seconds."""
        return int(self._now().timestamp())

    def recall(self, entries: Sequence[Entry]) -> list[Recalled]:
        """Enter rows that are new and return what is known of each."""
        if self._broken is not None:
            raise self._broken
        try:
            self._transaction()
            recalled = self._recall(entries)
            if self.durable:
                pairs = zip(recalled, entries, strict=True)
                kept = NOT_KEPT if self.keys_only else None
                said = [(row.id, entry.endpoint, kept or entry.request) for row, entry in pairs if entry.request]
                self.db.executemany("INSERT OR IGNORE INTO requests VALUES (?, ?, ?)", said)
        except DAMAGE as error:
            raise self._break(error) from None
        return recalled

    def _recall(self, entries: Sequence[Entry]) -> list[Recalled]:
        """Ask and write once for all ``entries``: by the row it took two statements, and twice the time."""
        db = self.db
        alike = self._alike(entries)
        (last,) = db.execute("SELECT coalesce(max(id), 0) FROM rows").fetchone()
        found = recollect(entries, alike, self.run, itertools.count(last + 1))
        db.executemany("UPDATE rows SET run = ?, position = ?, status = ? WHERE id = ?", found.met)
        db.executemany(
            "INSERT INTO rows (id, content, occurrence, identity, run, position, status) "
            "VALUES (?, ?, ?, ?, ?, ?, 'planned')",
            found.added,
        )
        self._identities.add([(identity, id_) for id_, _, _, identity, _, _ in found.added])
        return found.recalled

    def _alike(self, entries: Sequence[Entry]) -> dict[int, list[list[Any]]]:
        """Return, by identity, what the file holds of the same calls as ``entries``, in the order it was entered."""
        alike: dict[int, list[list[Any]]] = {entry.identity: [] for entry in entries}
        known = sorted(self._identities.find(alike))
        for begin in range(0, len(known), _ASKED):
            part = known[begin : begin + _ASKED]
            for identity, *row in self.db.execute(
                "SELECT identity, id, content, occurrence, run, position, status, reason, undoing, at "  # noqa: S608
                f"FROM rows WHERE id IN ({', '.join('?' * len(part))}) ORDER BY id",
                part,
            ):
                alike[identity].append(row)
        return alike

    def ask(self, question: str, values: Sequence[Any]) -> Iterator[Any]:
        """Yield what the database answers."""
        try:
            yield from self.db.execute(question, values)
        except DAMAGE as error:
            raise self._break(error) from None

    def apply(self, changes: Sequence[Change]) -> tuple[()]:
        """Write ``changes`` and all that was entered before, durably; no row's change is refused.

        Once that failed it fails for ever: with the commit went rows whose ids are known outside, and a mark on one
        of these would be no mark. How calls ended that were on the wire is still written if possible.
        """
        broken = self._broken
        if broken is not None:
            changes = [change for change in changes if change.status != "sent"]
        # Of two changes of one row in one commit the second stands. Most rows of a commit change alike.
        last = {change.id: (change.status, change.reason, change.attempts) for change in changes}
        alike: dict[tuple[str, str, int], list[int]] = {}
        for id_, state in last.items():
            alike.setdefault(state, []).append(id_)
        at = self.seconds()
        try:
            self._transaction()
            for state, ids in alike.items():
                for begin in range(0, len(ids), max(_MARKS)):
                    self._mark((*state, at), ids[begin : begin + max(_MARKS)])
            self.db.execute("COMMIT")
        except sqlite3.Error as error:
            raise self._break(error) from None
        if broken is not None:
            raise broken
        return ()

    def _mark(self, state: tuple[Any, ...], ids: list[int]) -> None:
        size = next(size for size in _MARKS if size >= len(ids))
        self.db.execute(_MARKS[size], (*state, *ids, *ids[-1:] * (size - len(ids))))

    def amend(self, rows: Sequence[int]) -> list[int]:
        """Mark those of ``rows`` as unknown, durably, that are said to have succeeded or failed; return which."""
        if self._broken is not None:
            raise self._broken
        at = self.seconds()
        amended = []
        try:
            self._transaction()
            for id_ in rows:
                changed = self.db.execute(
                    "UPDATE rows SET status = 'unknown', reason = ?, at = ? "
                    "WHERE id = ? AND status IN ('succeeded', 'failed')",
                    (DESYNC, at, id_),
                )
                amended += [id_] * changed.rowcount
            self.db.execute("COMMIT")
        except sqlite3.Error as error:
            raise self._break(error) from None
        return amended

    def _break(self, cause: Exception) -> JournalError:
        self._roll_back()
        if self._broken is None:
            self._broken = JournalError(f"{self.path} cannot be written: {cause}")
        return self._broken

    def _roll_back(self) -> None:
        with contextlib.suppress(sqlite3.Error):
            if self.db.in_transaction:
                self.db.execute("ROLLBACK")

    def _transaction(self) -> None:
        if not self.db.in_transaction:
            self.db.execute("BEGIN IMMEDIATE")

    def close(self) -> None:
        """Commit what was entered, and let go of file and lock."""
        db = self.__dict__.pop("db", None)
        if db is not None:
            with contextlib.suppress(sqlite3.Error):
                if db.in_transaction:
                    db.execute("COMMIT")
            db.close()
        if self._lock is not None:
            self._lock.close()
        if self._folder is not None:
            self._folder.cleanup()


def _locked(path: Path) -> IO[bytes]:
    """Lock a file beside ``path``: closing a descriptor of the database itself would drop SQLite's own locks."""
    descriptor = os.open(f"{path}-lock", os.O_CREAT | os.O_RDWR, 0o600)
    lock = os.fdopen(descriptor, "r+b")
    try:
        if sys.platform == "win32":
            import msvcrt

            msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
        else:
            import fcntl

            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        lock.close()
        raise JournalBusy(f"{path} is in use by another run; wait for it to end, or give another --journal") from None
    return lock


def _make_folder(folder: Path) -> None:
    """Create what is missing on the way to ``folder``, durably, all of it for its owner only."""
    for part in [*reversed(folder.parents), folder]:
        if not part.exists():
            part.mkdir(mode=0o700, exist_ok=True)
            _sync_folder(part.parent)


def _sync_folder(folder: Path) -> None:
    """Have the entries of ``folder`` survive a power cut: SQLite does so for its files, not for the folders above."""
    if os.name != "posix":
        return
    with contextlib.suppress(OSError):  # one that may not be read, or a file system that cannot
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def _mounts() -> str:
    try:
        return Path("/proc/mounts").read_text(encoding="utf-8", errors="surrogateescape")
    except OSError:
        return ""  # no Linux


def _refuse_remote(path: Path, mounts: str) -> None:
    """Refuse a network share, where neither locks nor write-ahead logs can be trusted."""
    target = str(path)
    best, kind = "", ""
    for line in mounts.splitlines():
        _, point, type_, *_ = line.split(" ")
        point = re.sub(r"\\([0-7]{3})", lambda code: chr(int(code[1], 8)), point)
        if (target == point or target.startswith(point.rstrip("/") + "/")) and len(point) >= len(best):
            best, kind = point, type_
    if kind in _REMOTE:
        raise JournalError(f"{path} is on a network share ({kind}); keep the journal on a disk of this machine")


def _refuse_foreign(known: dict[str, str], header: Header | None, path: Path, *, amended: bool) -> None:
    if known.get("format") not in FORMATS:
        raise JournalError(
            f"{path} has format {known.get('format')!r}, which this version does not know; a newer one wrote it"
        )
    if "server" not in known or header is None:
        return
    for name in ("server", "operation"):
        if (other := known.get(name)) != getattr(header, name):
            raise JournalMismatch(
                f"{path} belongs to the {name} {other}, this run to {getattr(header, name)}; give another journal"
            )
    if known.get("digest") != header.digest and not amended:
        raise JournalMismatch(
            f"{path} belongs to another version of this file; if rows were added or mended, say --amended "
            "(amended=True): known rows are then not sent again"
        )
