"""The rows of a batch as an undo sees them, and the place that it takes among the workers meanwhile.

An undo runs in one process; while it does, no worker of the tenant sends a call.
"""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Iterable, Iterator
from typing import Any, Self

import psycopg

from ..batch.journal_rows import JournalRow
from ..errors import JournalBusy
from .database import DURABLE, Database, told
from .lease import Lease
from .unknown import SELECT, batch_of, journal_row

__all__ = ["BatchRows", "undoing"]

_BLOCK = 256


@contextlib.asynccontextmanager
async def undoing(database: Database, lease: Lease, batch: str) -> AsyncIterator[BatchRows]:
    """Keep all workers of the tenant from sending calls inside the block, and yield the rows of ``batch``.

    Raises :class:`JournalBusy` while workers hold rows, :class:`JournalMismatch` if there is no such batch.
    """
    async with database.connection() as connection:
        number = await batch_of(connection, lease.tenant, batch)
        found = await connection.execute("SELECT ucontact.undo(%s, %s)", (lease.id, number))
        row = await found.fetchone()
    if row is None or not row[0]:
        raise JournalBusy(
            "workers are sending: have them leave by `ucontact-async fleet drain`, and begin none meanwhile"
        )
    with BatchRows(database, number, batch) as rows:
        yield rows


class BatchRows:
    """What an undo asks of the rows of one batch; every method blocks, as those of a journal in a file do."""

    def __init__(self, database: Database, number: int, name: str) -> None:
        """Use :func:`undoing`."""
        self.name = name
        self._conninfo = database.conninfo
        self._batch = number

    def __enter__(self) -> Self:
        with told():
            self._connection = psycopg.connect(self._conninfo.reveal(), autocommit=True, connect_timeout=5)
            self._connection.execute(DURABLE)
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._connection.close()

    def count(self) -> int:
        """Return how many rows there are."""
        ((rows,),) = self._ask("SELECT count(*) FROM ucontact.rows WHERE batch_id = %s", self._batch)
        return int(rows)

    def made(self) -> Iterator[JournalRow]:
        """Yield the rows that happened or may have."""
        last = 0
        while found := self._ask(SELECT, self._batch, ["succeeded", "unknown"], last, _BLOCK):
            for values in found:
                yield journal_row(self.name, values)
            last = found[-1][0]

    def begin_undo(self, ids: Iterable[int]) -> None:
        """Mark rows before anything that takes them back is sent."""
        self._mark("UPDATE ucontact.rows SET undoing = true WHERE id = ANY(%s)", ids)

    def end_undo(self, undone: Iterable[int], untouched: Iterable[int]) -> None:
        """Mark rows as undone, and take the mark of those back that surely stayed as they were."""
        self._mark(
            "UPDATE ucontact.rows SET status = 'undone', reason = '', undoing = false, at = clock_timestamp() "
            "WHERE id = ANY(%s)",
            undone,
        )
        self._mark("UPDATE ucontact.rows SET undoing = false WHERE id = ANY(%s)", untouched)

    def doubt_undo(self, id_: int) -> None:
        """Take back how the undo of a row ended: it was begun, and whether it was done is not known."""
        self._mark(
            "UPDATE ucontact.rows SET undoing = true, at = clock_timestamp(), "
            "status = CASE status WHEN 'undone' THEN 'unknown' ELSE status END WHERE id = ANY(%s)",
            [id_],
        )

    def _mark(self, statement: Any, ids: Iterable[int]) -> None:
        if found := [*ids]:
            with told():
                self._connection.execute(statement, (found,))

    def _ask(self, query: Any, *values: Any) -> list[Any]:
        with told():
            return self._connection.execute(query, values).fetchall()
