"""The rows of a batch of which nobody knows whether they happened, for people, and settled by them.

What can be done about one is not decided here.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, Literal

from ..api import ENDPOINTS
from ..batch.journal_requests import read_request
from ..batch.journal_rows import RESOLVED, JournalRow, check_answers
from ..batch.recollection import key_of
from ..errors import JournalMismatch
from .database import Connection, Database

__all__ = ["SELECT", "batch_of", "journal_row", "resolve", "unknown"]

SELECT: Final = (
    "SELECT r.id, r.content, r.occurrence, r.position, q.endpoint, q.request::text, r.status, r.reason, r.attempts, "
    "r.at, r.undoing FROM ucontact.rows r JOIN ucontact.requests q ON q.row_id = r.id "
    "WHERE r.batch_id = %s AND r.status = ANY(%s) AND r.id > %s ORDER BY r.id LIMIT %s"
)
"""What :func:`journal_row` reads: of a batch, in some of its states, after an id, so many (``None``: all)."""


async def unknown(database: Database, tenant: int, batch: str) -> list[JournalRow]:
    """Return the unknown rows of the batch called ``batch``; :class:`JournalMismatch` if there is no such batch."""
    async with database.connection() as connection:
        number = await batch_of(connection, tenant, batch)
        found = await connection.execute(SELECT, (number, ["unknown"], 0, None))
        return [journal_row(batch, values) for values in await found.fetchall()]


def journal_row(batch: str, values: tuple[Any, ...]) -> JournalRow:
    """Return the row of ``batch`` that ``SELECT`` found as ``values``."""
    id_, content, occurrence, position, endpoint, document, status, reason, attempts, at, undoing = values
    return JournalRow(
        id=id_,
        key=key_of(content, occurrence),
        position=position,
        endpoint=endpoint,
        request=read_request(f"the batch {batch!r}", endpoint, document) if endpoint in ENDPOINTS else None,
        status=status,
        reason=reason,
        attempts=attempts,
        at=at,
        undoing=undoing,
    )


async def resolve(
    database: Database, tenant: int, batch: str, answers: Mapping[str, Literal["succeeded", "failed"]]
) -> None:
    """Settle unknown rows by what a person found out, all of ``answers`` or none; by their keys.

    The next load of the same input has those sent again that ``failed``. Raises :class:`JournalMismatch` for a key that
    no unknown row of the batch has.
    """
    check_answers(answers)
    async with database.transaction() as connection:
        found = await connection.execute(
            "SELECT id, content, occurrence FROM ucontact.rows WHERE batch_id = %s AND status = 'unknown' FOR UPDATE",
            (await batch_of(connection, tenant, batch),),
        )
        ids = {key_of(content, occurrence): id_ for id_, content, occurrence in await found.fetchall()}
        for key in answers:
            if key not in ids:
                raise JournalMismatch(f"the batch {batch!r} has no unknown row {key!r}; nothing was changed")
        await connection.execute(
            # What surely did not happen needs no undo; of what did, one that was begun must still be ended.
            "UPDATE ucontact.rows r SET status = c.status, reason = %s, at = clock_timestamp(), "
            "undoing = undoing AND c.status = 'succeeded' "
            "FROM unnest(%s::bigint[], %s::text[]) AS c (id, status) WHERE r.id = c.id",
            (RESOLVED, [ids[key] for key in answers], [*answers.values()]),
        )


async def batch_of(connection: Connection, tenant: int, name: str) -> int:
    """Return the number of the batch ``name``."""
    found = await connection.execute(
        "SELECT id FROM ucontact.batches WHERE tenant_id = %s AND name = %s", (tenant, name)
    )
    row = await found.fetchone()
    if row is None:
        raise JournalMismatch(
            f"there is no batch {name!r} of this server and user; `ucontact-async fleet status` has all"
        )
    return int(row[0])
