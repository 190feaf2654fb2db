"""The shards of one worker: claimed when rows run low, handed out in blocks, given back when all of a shard is done.

What becomes of a row is the run's business.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Any

from ..api import ENDPOINTS
from ..batch.intake import Source
from ..batch.journal_requests import read_request
from ..batch.outcome import Outcome
from ..errors import JournalMismatch
from .calls import CallsElsewhere
from .database import Connection, Database, DatabaseAway
from .journal import ClaimedRow
from .lease import Lease

__all__ = ["Shards"]

# How often an idle worker looks for work, in seconds.
POLL = 1.0
# Outcomes that do not come by the journal.
_UNMARKED = ("stopped", "invalid")
_log = logging.getLogger(__name__)


class Shards(Source):
    """What a worker has claimed and what is left of it: the input of its run.

    All shards of a run are of one kind: removals are never on their way together with what they could remove.
    """

    def __init__(
        self,
        database: Database,
        lease: Lease,
        *,
        once: bool,
        named: int | None = None,
        share: Callable[[], Awaitable[None]] | None = None,
        ruled: bool = False,
        elsewhere: CallsElsewhere | None = None,
    ) -> None:
        """It ends when nothing more can be claimed: at once where ``once`` says so, or where one shard is ``named``.

        ``share`` returns once something may be sent: before that nothing is claimed. ``ruled`` says that rows may be
        claimed that were loaded under rules of the dial; ``elsewhere`` is told of each claim.
        """
        self.empty = False
        """Whether it ended without having claimed anything."""
        self._database = database
        self._lease = lease
        self.expect: Callable[[list[ClaimedRow]], None] = _nobody
        """Told of rows before they are handed out."""
        self.elsewhere = elsewhere
        self._once = once or named is not None
        self._named = named
        self._share = share
        self._ruled = ruled
        self._warned = False
        self._kind: bool | None = None
        self._left: dict[int, int] = {}
        self._torn: set[int] = set()
        self._rows: deque[ClaimedRow] = deque()
        self._ended = False

    @property
    def held(self) -> bool:
        """Whether something is claimed."""
        return bool(self._left)

    async def ready(self) -> None:
        """Return once rows are at hand, or nothing more will come."""
        while not self._rows and not self._ended:
            await self._claim()

    async def block(self, size: int) -> list[ClaimedRow]:
        """Return up to ``size`` rows; none at the end."""
        rows = [self._rows.popleft() for _ in range(min(size, len(self._rows)))]
        self.expect(rows)
        return rows

    async def aclose(self) -> list[Any]:
        """Hand out nothing more."""
        self._ended = True
        self._rows.clear()
        return []

    async def done(self, outcome: Outcome) -> None:
        """Note an outcome; a shard whose rows are all settled is given back."""
        row = outcome.row
        assert isinstance(row, ClaimedRow)
        if outcome.reason in _UNMARKED:
            self._torn.add(row.shard)  # its mark may not be written yet: at the end of the run it is
        if outcome.reason == "stopped":
            # Refused in the last moment, while the lease was in doubt: the next run claims it again.
            self._ended = True
            self._rows.clear()
        self._left[row.shard] -= 1
        if not self._left[row.shard] and row.shard not in self._torn:
            await self._give_back(row.shard)

    async def give_back(self) -> None:
        """Give back all that is left; after the run's journal was closed."""
        for shard in [*self._left]:
            await self._give_back(shard)
        for shard in [*self._left]:
            self._forget(shard)  # the next claim finds it again, or who ends this life

    async def _give_back(self, shard: int) -> None:
        try:
            async with self._database.connection() as connection:
                await connection.execute("SELECT ucontact.release(%s, %s)", (self._lease.id, shard))
        except DatabaseAway:
            self._torn.add(shard)  # tried again at the end of the run
        else:
            self._forget(shard)

    def _forget(self, shard: int) -> None:
        del self._left[shard]
        self._lease.held.discard(shard)

    async def _claim(self) -> None:
        if self._share is not None:
            await self._share()
        try:
            # Each statement commits by itself: who is stopped here holds no lock. What was claimed by a statement whose
            # answer was lost is found by the next claim.
            async with self._lease.claiming, self._database.connection() as connection:
                shards = await self._claimed(connection)
                rows = await _rows_of(connection, shards) if shards else []
                if self.elsewhere is not None and shards:
                    await self.elsewhere.read(connection, [*self._left, *shards], [row.id for row in rows])
                self._left.update(dict.fromkeys(shards, 0))
                self._lease.held.update(shards)
        except DatabaseAway:
            await asyncio.sleep(POLL)
            return
        for row in rows:
            self._left[row.shard] += 1
        self._rows.extend(rows)
        for shard in shards:
            if not self._left[shard]:  # all of it was taken out meanwhile
                await self._give_back(shard)
        if self._named is not None or (self._once and not shards):
            self._ended = True
            self.empty = self._kind is None
        elif not shards and not any(self._left.values()) and self._kind is not None:
            self._ended = True  # of its kind; another run may find the other one
        elif not shards:
            await asyncio.sleep(POLL)

    async def _claimed(self, connection: Connection) -> list[int]:
        found = await connection.execute(
            "SELECT shard, removing FROM ucontact.claim(%s, %s, 1, %s, %s, %s)",
            (self._lease.id, [*self._lease.held], self._kind, self._named, self._ruled),
        )
        shards = await found.fetchall()
        if not (shards or self._ruled or self._warned):
            waiting = await connection.execute(
                "SELECT FROM ucontact.shards WHERE tenant_id = %s AND open AND owner IS NULL AND ruled LIMIT 1",
                (self._lease.tenant,),
            )
            self._warned = bool(await waiting.fetchall())
            if self._warned:
                _log.warning(
                    "rows that were loaded with rules of the dial wait for a worker that has them (--rules)",
                    extra={"ucontact_event": "RulesMissing"},
                )
        for _, removing in shards:
            self._kind = removing
        return [shard for shard, _ in shards]


async def _rows_of(connection: Connection, shards: list[int]) -> list[ClaimedRow]:
    found = await connection.execute(
        "SELECT r.id, r.shard_id, r.position, r.content, r.reason, q.endpoint, q.request::text, c.cells "
        "FROM ucontact.rows r JOIN ucontact.requests q ON q.row_id = r.id "
        "LEFT JOIN ucontact.cells c ON c.row_id = r.id "
        "WHERE r.shard_id = ANY(%s) AND r.status = 'planned' ORDER BY r.id",
        (shards,),
    )
    return [_row(values) for values in await found.fetchall()]


def _nobody(_rows: list[ClaimedRow]) -> None:
    """Before the run has a journal there are no rows."""


def _row(values: tuple[Any, ...]) -> ClaimedRow:
    id_, shard, position, content, reason, path, document, cells = values
    if path not in ENDPOINTS:
        raise JournalMismatch(f"the journal holds a request to {path}, which this version does not know")
    request = read_request("the fleet's journal", path, document)
    return ClaimedRow(position, cells or {}, id=id_, shard=shard, content=content, reason=reason, request=request)
