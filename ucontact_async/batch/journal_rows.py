"""What a journal holds, while no run does: its rows for people, settled by them, and the marks of an undo.

Every method blocks. What can be done about a row is not decided here.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Literal, Self

import msgspec

from ..api import ENDPOINTS
from ..endpoint import Request
from ..errors import JournalError, unseen
from .journal_file import DAMAGE, DOUBTED, NOT_KEPT, JournalFile
from .journal_requests import read_request
from .recollection import key_of

__all__ = ["RESOLVED", "JournalRow", "JournalRows", "check_answers", "open_journal"]

_BLOCK = 256
RESOLVED = "resolved"
"""The reason of a row that a person has settled."""
_SELECT = (
    "SELECT id, content, occurrence, position, endpoint, request, status, reason, attempts, at, undoing "
    "FROM rows LEFT JOIN requests USING (id) WHERE id > ? AND {} ORDER BY id LIMIT ?"
)


class JournalRow(msgspec.Struct, frozen=True, kw_only=True):
    """One row of a journal.

    ``key`` names it, ``position`` is its line in the file, or its place in the input. ``endpoint`` is the path after
    ``/Integra/resources/`` and ``request`` what was asked of it, with dates as the server's local time; empty and
    ``None`` in a journal of format 1 whose input has not been read since. ``status`` is one of ``planned, succeeded,
    failed, unknown, skipped, undone``; ``at`` says when it became that (UTC). ``undoing``: an undo of it was begun and
    not ended.
    """

    id: int
    key: str
    position: int
    endpoint: str
    request: Request[Any] | None
    status: str
    reason: str
    attempts: int
    at: datetime | None
    undoing: bool


class JournalRows:
    """The rows of a journal, held as a run holds it: :func:`open_journal` opens it, ``with`` or ``close`` lets go.

    ``server`` and ``operation`` are what it belongs to.
    """

    def __init__(self, path: Path, now: Callable[[], datetime]) -> None:
        """Use :func:`open_journal`."""
        self._file = JournalFile(path, None, amended=False, now=now)
        self.path = self._file.path
        with self._telling():
            meta = dict(self._file.db.execute("SELECT name, value FROM meta").fetchall())
        self.server = str(meta.get("server", ""))
        self.operation = str(meta.get("operation", ""))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()

    def close(self) -> None:
        """Let go of the journal."""
        self._file.close()

    def counts(self) -> dict[str, int]:
        """Return how many rows are in which status."""
        with self._telling():
            return dict(self._file.db.execute("SELECT status, count(*) FROM rows GROUP BY status").fetchall())

    def unknown(self) -> Iterator[JournalRow]:
        """Yield the rows of which nobody knows whether they happened."""
        return self._rows("status = 'unknown'")

    def all(self) -> Iterator[JournalRow]:
        """Yield every row."""
        return self._rows("1")

    def made(self) -> Iterator[JournalRow]:
        """Yield the rows that happened or may have: what an undo has to look at."""
        return self._rows("status IN ('succeeded', 'unknown')")

    def resolve(self, key: str, status: Literal["succeeded", "failed"]) -> None:
        """Settle an unknown row by what a person found out; raises :class:`JournalError` for any other key.

        The next run of the same input skips a row that ``succeeded``, and sends one that ``failed`` again.
        """
        self.resolve_all({key: status})

    def resolve_all(self, answers: Mapping[str, Literal["succeeded", "failed"]]) -> None:
        """Settle many rows as :meth:`resolve` does, all of them or none."""
        check_answers(answers)
        with self._telling():
            found = {
                key_of(content, occurrence): id_
                for id_, content, occurrence in self._file.db.execute(
                    "SELECT id, content, occurrence FROM rows WHERE status = 'unknown'"
                )
            }
        for key in answers:
            if key not in found:
                raise JournalError(f"{self.path} has no unknown row {key!r}; nothing was changed")
        self._mark(
            # What surely did not happen needs no undo; of what did, one that was begun must still be ended.
            "UPDATE rows SET status = ?, reason = ?, at = ?, undoing = undoing AND ? WHERE id = ?",
            [
                (status, RESOLVED, self._file.seconds(), status == "succeeded", found[key])
                for key, status in answers.items()
            ],
        )

    def purge(self, older: timedelta) -> tuple[int, int]:
        """Forget what rows said that ended so long ago, durably; return how many, and how many unknown ones were left.

        Their keys and ends stay: no later run sends one of them again. But nobody can undo them any more, count them
        for a cap, or look them up. What is unknown is kept: settle it first. Nothing of it is left in the file.
        """
        before = int(self._file.seconds() - older.total_seconds())
        old = (
            "FROM requests WHERE request != ? AND id IN (SELECT id FROM rows WHERE "
            "coalesce(at, (SELECT max(at) FROM rows), 0) <= ? AND {})"
        )
        # A removal that may still arrive holds up the calls of its number for ten minutes.
        unknown = f"(status = 'unknown' OR undoing OR (reason = '{DOUBTED}' AND at > {self._file.seconds() - 3600}))"
        with self._telling():
            db = self._file.db
            db.execute("PRAGMA secure_delete = ON")
            (left,) = db.execute(f"SELECT count(*) {old.format(unknown)}", (NOT_KEPT, before)).fetchone()
            ids = f"SELECT id {old.format(f'NOT {unknown}')}"
            gone = db.execute(
                f"UPDATE requests SET request = ? WHERE id IN ({ids})",  # noqa: S608
                (NOT_KEPT, NOT_KEPT, before),
            ).rowcount
            # The pages that are free now, and the log, hold what was written over.
            db.execute("VACUUM")
            db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        return gone, left

    def begin_undo(self, ids: Iterable[int]) -> None:
        """Mark rows, durably, before anything that takes them back is sent: from now on no run may rely on them."""
        self._mark("UPDATE rows SET undoing = 1 WHERE id = ?", [(id_,) for id_ in ids])

    def end_undo(self, undone: Iterable[int], untouched: Iterable[int]) -> None:
        """Mark rows as undone, and take the mark of those back that surely stayed as they were."""
        self._mark(
            "UPDATE rows SET status = 'undone', reason = '', undoing = 0, at = ? WHERE id = ?",
            [(self._file.seconds(), id_) for id_ in undone],
        )
        self._mark("UPDATE rows SET undoing = 0 WHERE id = ?", [(id_,) for id_ in untouched])

    def doubt_undo(self, id_: int) -> None:
        """Take back how the undo of a row ended: it was begun, and whether it was done is not known."""
        self._mark(
            "UPDATE rows SET undoing = 1, status = CASE status WHEN 'undone' THEN 'unknown' ELSE status END "
            "WHERE id = ?",
            [(id_,)],
        )

    def _rows(self, condition: str) -> Iterator[JournalRow]:
        last = 0
        while rows := self._block(condition, last):
            last = rows[-1].id
            yield from rows

    @unseen
    def _block(self, condition: str, last: int) -> list[JournalRow]:
        with self._telling():
            found = self._file.db.execute(_SELECT.format(condition), (last, _BLOCK)).fetchall()
            rows = [self._row(values) for values in found]
        for row in rows:
            if row.id <= last:  # a damaged index would go round for ever
                raise JournalError(f"{self.path} cannot be used as a journal: its rows are out of order")
            last = row.id
        return rows

    def _row(self, values: tuple[Any, ...]) -> JournalRow:
        id_, content, occurrence, position, endpoint, request, status, reason, attempts, at, undoing = values
        if not all(isinstance(text, str) for text in (endpoint or "", status, reason)) or not all(
            isinstance(number, int) for number in (occurrence, position, attempts)
        ):
            raise TypeError(f"row {id_} holds what no run wrote")
        return JournalRow(
            id=id_,
            key=key_of(content, occurrence),
            position=position,
            endpoint=endpoint or "",
            request=self._request(endpoint, request),
            status=status,
            reason=reason,
            attempts=attempts,
            at=None if at is None else datetime.fromtimestamp(at, UTC),
            undoing=bool(undoing),
        )

    def _request(self, path: str | None, document: str | None) -> Request[Any] | None:
        kept = document not in (None, "", NOT_KEPT)
        return read_request(self.path, path, document or "") if path in ENDPOINTS and kept else None

    def _mark(self, statement: str, values: list[tuple[Any, ...]]) -> None:
        if not values:
            return
        db = self._file.db
        with self._telling(), db:
            db.execute("BEGIN IMMEDIATE")
            db.executemany(statement, values)

    @contextlib.contextmanager
    def _telling(self) -> Iterator[None]:
        try:
            yield
        except DAMAGE as error:
            raise JournalError(f"{self.path} cannot be used as a journal: {error}") from None


def check_answers(answers: Mapping[str, str]) -> None:
    """Raise :class:`JournalError` for what no person can say of a row."""
    for status in answers.values():
        if status not in ("succeeded", "failed"):
            raise JournalError(f"a row is resolved as succeeded or failed, not as {status!r}")


def open_journal(
    path: str | os.PathLike[str], *, now: Callable[[], datetime] = lambda: datetime.now(UTC)
) -> JournalRows:
    """Open the journal of an earlier run, to look at its rows and to settle unknown ones.

    ``with open_journal("run.journal") as journal: for row in journal.unknown(): journal.resolve(row.key, "failed")``

    It is locked as by a run: :class:`JournalBusy` while a run holds it, :class:`JournalError` if there is none at
    ``path`` or it cannot be read. Rows that a dead run left as sent become unknown.
    """
    return JournalRows(Path(path), now)
