"""The fleet's journal: the marks of one worker on the rows that it has claimed, many to a commit.

The rules are the database's (``fleet/schema``); this file asks and tells. It keeps asking while the database is away,
and nothing is sent meanwhile.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict, deque
from collections.abc import Callable, Collection, Iterable, Sequence
from datetime import UTC, datetime
from typing import Any, TypeVar

from ..batch.journal import DOUBTED, Change, Commits, Entry, Recalled
from ..batch.journal_rows import RESOLVED
from ..batch.outcome import DESYNC
from ..batch.sources import Row
from ..endpoint import Request
from ..errors import JournalBusy, JournalMismatch
from .calls import CallsElsewhere
from .database import Connection, Database
from .lease import Lease

__all__ = ["ClaimedRow", "FleetJournal"]

T = TypeVar("T")

# For how long a worker keeps trying to write how its calls ended, in seconds; then they are unknown.
PATIENCE = 120.0


class ClaimedRow(Row, frozen=True, kw_only=True):
    """A row of the fleet's journal that this worker may send; ``number`` is its position.

    ``fields`` are the cells that rules of the dial read, by the names of the rules.
    """

    id: int
    shard: int
    content: bytes
    reason: str
    request: Request[Any]


class FleetJournal(Commits):
    """The side of a run: what was claimed is recalled, marks become commits, and a lease that ended stops the rest."""

    def __init__(
        self,
        database: Database,
        lease: Lease,
        deliver: Callable[[list[Any]], None],
        *,
        elsewhere: CallsElsewhere | None = None,
        patience: float = PATIENCE,
    ) -> None:
        """``deliver`` gets what was settled, after the commit that holds it; ``elsewhere`` is what caps count."""
        super().__init__("the fleet's journal", deliver)
        self.may_leave = lease.valid
        self._database = database
        self._lease = lease
        self._elsewhere = elsewhere
        self._patience = patience
        self._claimed: defaultdict[tuple[bytes, int], deque[ClaimedRow]] = defaultdict(deque)

    def calls(self) -> Iterable[tuple[Request[Any], datetime]]:
        """Return the calls of other workers and other runs that have become known; see :class:`CallsElsewhere`."""
        return () if self._elsewhere is None else self._elsewhere.take()

    def expect(self, rows: Sequence[ClaimedRow]) -> None:
        """Know ``rows`` when they are recalled."""
        for row in rows:
            self._claimed[row.content, row.number].append(row)

    async def recall(self, entries: Sequence[Entry]) -> list[Recalled]:
        """Return which claimed row each of ``entries`` is.

        :class:`JournalMismatch` where a row reads as another call than it was loaded as.
        """
        recalled = []
        for entry in entries:
            waiting = self._claimed.get((entry.content, entry.position))
            if not waiting:
                raise JournalMismatch(
                    f"row {entry.position} would be sent as another call than it was loaded as: another version of "
                    "this library, or another UCONTACT_TIMEZONE, loaded it"
                )
            row = waiting.popleft()
            if not waiting:
                del self._claimed[entry.content, entry.position]
            recalled.append(Recalled(row.id, entry.content.hex(), "new", row.reason, None))
        return recalled

    async def overtaken(self, endpoints: Sequence[str]) -> frozenset[int]:
        """Return no row: which ones were overtaken was decided when they were loaded."""
        return frozenset()

    async def doubted(self, endpoints: Sequence[str], since: int) -> list[tuple[str, str, int]]:
        """Return endpoint, request and moment of what any worker of the tenant sent since then and may still arrive."""

        async def ask(connection: Connection) -> list[tuple[str, str, int]]:
            found = await connection.execute(
                "SELECT q.endpoint, q.request::text, extract(epoch FROM r.at)::bigint FROM ucontact.shards s "
                "JOIN ucontact.rows r ON r.shard_id = s.id JOIN ucontact.requests q ON q.row_id = r.id "
                "WHERE s.tenant_id = %s AND s.removals AND r.at >= %s AND (r.status = 'unknown' OR r.reason = %s) "
                "AND q.endpoint = ANY(%s)",
                (self._lease.tenant, datetime.fromtimestamp(since, UTC), DOUBTED, list(endpoints)),
            )
            return await found.fetchall()

        return await self._database.insist(ask)

    async def amend(self, rows: Sequence[int]) -> list[int]:
        """Mark rows as unknown that this worker called succeeded or failed; see :class:`~.batch.journal.Journal`.

        Also after its lease ended: what it has sent is its own for ever. A row that was loaded anew, or that a person
        settled, is not.
        """
        await self._written_before()

        async def mark(connection: Connection) -> list[tuple[int]]:
            values = ([*rows], self._lease.id)
            await connection.execute(
                "UPDATE ucontact.rows SET status = 'unknown', reason = %s, at = clock_timestamp() "
                "WHERE id = ANY(%s) AND owner = %s AND status IN ('succeeded', 'failed') AND reason <> %s",
                (DESYNC, *values, RESOLVED),
            )
            # Asked apart: the answer to the first may have been lost.
            found = await connection.execute(
                "SELECT id FROM ucontact.rows WHERE id = ANY(%s) AND owner = %s AND status = 'unknown' AND reason = %s",
                (*values, DESYNC),
            )
            return await found.fetchall()

        return [id_ for (id_,) in await self._database.insist(mark, patience=self._patience)]

    def _apply(self, changes: list[Change]) -> asyncio.Future[Collection[int]]:
        return asyncio.ensure_future(self._write(changes))

    async def _write(self, changes: list[Change]) -> Collection[int]:
        # Of two changes of one row in one commit the second stands: nobody waited for the first.
        last = {change.id: change for change in changes}
        # But for a mark that was taken back and is set anew, which would look like a second one.
        back = {c.id: c for c in changes if c.status == "planned" and last[c.id].status == "sent"}
        asked = False

        async def mark(connection: Connection) -> tuple[bool, list[int]]:
            nonlocal asked
            again, asked = asked, True
            if back:
                await self._mark(connection, back, again=again)
            return await self._mark(connection, last, again=again)

        alive, marked = await self._database.insist(mark, patience=self._patience)
        if not alive:
            self._lease.lose()
            self._break(JournalBusy("the lease of this worker ended, and others have taken its rows over"))
        return {id_ for id_, change in last.items() if change.status == "sent"}.difference(marked)

    async def _mark(self, connection: Connection, changes: dict[int, Change], *, again: bool) -> tuple[bool, list[int]]:
        values = [(change.status, change.reason, change.attempts) for change in changes.values()]
        found = await connection.execute(
            "SELECT alive, marked FROM ucontact.mark(%s, %s, %s, %s, %s, %s)",
            (self._lease.id, [*changes], *map(list, zip(*values, strict=True)), again),
        )
        row = await found.fetchone()
        assert row is not None
        return row[0], row[1]

    async def aclose(self) -> None:
        """Write what is left; raise :class:`JournalError` if not all could be written.

        That the lease ended is no such case: how its calls ended a worker may write after that too.
        """
        await self.flush()
        if self._broken is not None and not isinstance(self._broken, JournalBusy):
            raise self._broken
