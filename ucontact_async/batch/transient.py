"""The memory of a run without a journal: which rows of it are the same call, and nothing that outlives it.

The first of them are kept here; a run of more has a private file tell the rest (``journal_file.py``), so that memory
stays bounded.
"""

from __future__ import annotations

import functools
from array import array
from collections.abc import Awaitable, Callable, Collection, Sequence
from datetime import datetime
from operator import attrgetter
from typing import Any

from ..events import JournalLag
from .journal import FileJournal, Header, Journal
from .options import BulkOptions
from .recollection import Entry, Recalled, new, recollect

__all__ = ["TransientJournal", "journal_of"]

# Rows kept in memory: 5 MB. In a file a row takes 37,000 instructions, here 2,500.
KEPT = 32_768
# How many of them are entered into the file at once, and the length of a digest.
_BLOCK, _DIGEST = 1024, 16
_CONTENT, _IDENTITY, _POSITION = map(attrgetter, ("content", "identity", "position"))


class TransientJournal:
    """A journal of one process; see :class:`Journal`."""

    durable = False
    may_leave: Callable[[], bool] | None = None

    def __init__(
        self, deliver: Callable[[list[Any]], None], open_file: Callable[[], Awaitable[FileJournal]], kept: int = KEPT
    ) -> None:
        """``open_file`` opens a journal in a private file, for runs of more than ``kept`` rows."""
        self._deliver = deliver
        self._open_file = open_file
        self._kept = kept
        self._file: FileJournal | None = None
        # A row is a number from 1 on: what it is called, which call it is, where it stands.
        self._contents = bytearray()
        self._identities = array("q")
        self._positions = array("q")
        self._first: dict[int, int] = {}
        # Of calls that were met more than once, all rows, as ``recollect`` wants them.
        self._alike: dict[int, list[list[Any]]] = {}

    async def recall(self, entries: Sequence[Entry]) -> list[Recalled]:
        """Return what is known of each of ``entries``, entering those that are new."""
        if self._file is None and len(self._positions) + len(entries) > self._kept:
            self._file = await self._moved()
        return self._enter(entries) if self._file is None else await self._file.recall(entries)

    def _enter(self, entries: Sequence[Entry]) -> list[Recalled]:
        first = self._first
        contents = [*map(_CONTENT, entries)]
        identities = [*map(_IDENTITY, entries)]
        numbers = range(len(self._positions) + 1, len(self._positions) + 1 + len(entries))
        self._contents += b"".join(contents)
        self._identities.extend(identities)
        self._positions.extend(map(_POSITION, entries))
        if len(set(identities)) == len(identities) and first.keys().isdisjoint(identities):
            first.update(zip(identities, numbers, strict=True))
            return new(numbers, contents)
        recalled = []
        for number, entry in zip(numbers, entries, strict=True):
            if entry.identity in first:
                recalled.append(self._again(entry, number))
            else:
                first[entry.identity] = number
                recalled += new([number], [entry.content])
        return recalled

    def _again(self, entry: Entry, number: int) -> Recalled:
        """Return what is known of a call that was met before."""
        if (same := self._alike.get(entry.identity)) is None:
            at = self._first[entry.identity] - 1
            content = bytes(self._contents[_DIGEST * at : _DIGEST * (at + 1)])
            same = self._alike[entry.identity] = [[at + 1, content, 1, 1, self._positions[at], "planned"]]
        (recalled,) = recollect([entry], {entry.identity: same}, 1, iter([number])).recalled
        return recalled

    async def _moved(self) -> FileJournal:
        """Return a file that remembers what was kept here until now; its rows get the same numbers."""
        file = await self._open_file()
        for begin in range(0, len(self._positions), _BLOCK):
            rows = range(begin, min(begin + _BLOCK, len(self._positions)))
            contents = [bytes(self._contents[_DIGEST * row : _DIGEST * (row + 1)]) for row in rows]
            await file.recall(
                [
                    Entry(content, self._identities[row], self._positions[row])
                    for row, content in zip(rows, contents, strict=True)
                ]
            )
        self._contents, self._identities, self._positions = bytearray(), array("q"), array("q")
        self._first, self._alike = {}, {}
        return file

    async def overtaken(self, endpoints: Collection[str]) -> frozenset[int]:
        """Return nothing: what this run knows of is as old as itself."""
        return frozenset()

    async def doubted(self, endpoints: Collection[str], since: int) -> list[tuple[str, str, int]]:
        """Return nothing, for the same reason."""
        return []

    def calls(self) -> None:
        """Return nothing: a file tells them all, if there is one."""

    async def sent(self, row: int, step: str = "") -> None:
        """Do nothing: no mark would outlive this process."""

    def mark(self, row: int, tell: Callable[[Exception | None], None], step: str = "") -> None:
        """Tell at once that it is done, for the same reason."""
        tell(None)

    def planned(self, row: int, reason: str = "") -> None:
        """Do nothing, for the same reason."""

    def settled(self, row: int, status: str, reason: str, attempts: int, outcome: Any) -> None:
        """Deliver ``outcome``."""
        self._deliver([outcome])

    async def amend(self, rows: Sequence[int]) -> Collection[int]:
        """Return ``rows``: nothing was written of them, and all that was settled has been delivered."""
        return rows

    def lag(self) -> JournalLag:
        """Return that nothing waits to be written."""
        return JournalLag(pending=0, seconds=0.0)

    async def aclose(self) -> None:
        """Forget everything."""
        if self._file is not None:
            await self._file.aclose()


async def journal_of(
    header: Header, deliver: Callable[[list[Any]], None], *, options: BulkOptions, now: Callable[[], datetime]
) -> Journal:
    """Open the journal that ``options`` name as :meth:`FileJournal.open` does, or one of this process."""
    path = None if options.dry_run else options.journal
    open_file = functools.partial(FileJournal.open, path, header, deliver=deliver, amended=options.amended, now=now)
    return TransientJournal(deliver, open_file) if path is None else await open_file()
