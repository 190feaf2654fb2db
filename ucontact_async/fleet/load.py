"""Rows into the fleet's database: checked, encoded and cut into shards, all of an input in one transaction or none.

Which row is which goes by the rule of every journal; what is to be done with it is the intake's decision, as in a run
on one machine. Nothing is sent here.
"""

from __future__ import annotations

from collections.abc import AsyncIterable, Callable, Iterable, Sequence
from datetime import UTC, datetime
from typing import Any

import msgspec

from ..api import endpoint_of
from ..batch.intake import Intake
from ..batch.journal import DOUBTED, Entry, Recalled
from ..batch.journal_removals import REMOVALS
from ..batch.options import BulkOptions
from ..batch.outcome import Outcome
from ..batch.preparing import Job, Planner
from ..batch.recollection import recollect
from ..batch.report import Report
from ..batch.rules.rules import DialRules
from ..client import UContact
from ..endpoint import Prepared, Request
from ..errors import JournalMismatch, SettingsError
from ..settings import Settings
from ..text import Rules
from .database import Connection
from .lease import tenant_of
from .rules import cells_of, demanding

__all__ = ["SHARD", "Loaded", "load"]

SHARD = 256
"""Rows of a shard: what one claim gives to a worker."""

# Rows left out are written by so many.
_MANY = 10_000
# What a load may make planned again; what is on its way, or may have happened, is left alone.
_AGAIN = ["failed", "undone", "skipped"]
_STANDING_STILL = "idle_in_transaction_session_timeout"


class Loaded(msgspec.Struct, frozen=True, kw_only=True):
    """What a load came to.

    ``rows`` were read; ``planned`` of them are to be sent, or are being sent. ``report`` counts the others: left out,
    or settled before. ``shards`` are those of the batch that have rows to send.
    """

    batch: int
    rows: int
    planned: int
    report: Report
    shards: list[int]


async def load(
    connection: Connection,
    client: UContact,
    items: Iterable[Any] | AsyncIterable[Any],
    *,
    batch: str,
    options: BulkOptions | None = None,
    planner: Planner | None = None,
    shard: int = SHARD,
    watch: Callable[[Outcome], None] | None = None,
) -> Loaded:
    """Enter ``items``, requests or rows of a file, under the name ``batch``; ``connection`` is in a transaction.

    The same name again goes on: what is known there is not sent again, what failed by no fault of its own is. Of
    ``options`` count those that say which rows are sent, and ``operation``, ``digest`` and ``amended``. Of ``rules``
    the columns are kept for the workers, who ask them; what was once loaded with rules only workers with rules send.
    Nothing is seen by workers before the commit, and nothing is left of a load that fails. Commit soon: workers may
    wait for that, and a transaction that stands still after this is ended as any other.

    Raises :class:`JournalMismatch` where the batch has another operation or, unless ``amended``, another digest;
    :class:`SettingsError` for removals among other requests: workers could not keep their order.
    """
    options = options or BulkOptions()
    report = Report(accepted=options.accepted)

    def emit(outcomes: list[Outcome]) -> None:
        for outcome in outcomes:
            report.add(outcome)
            if watch is not None:
                watch(outcome)

    entering = await _Entering.begin(connection, client.settings, batch, options, emit)
    entering.size = shard
    intake = Intake(
        items,
        caller=_Encoder(client.rules),
        journal=entering,
        options=options,
        now=lambda: datetime.now(UTC),
        planner=planner,
        emit=emit,
        room=_room,
        settle=_hold,
    )
    planned = 0
    try:
        while (job := intake.take() or await intake.next()) is not None:
            entering.plan(job)
            planned += 1
    finally:
        await intake.aclose()
    shards = await entering.end()
    return Loaded(batch=entering.batch, rows=planned + report.rows, planned=planned, report=report, shards=shards)


class _Encoder:
    """Makes bytes of a request by the rules of the tenant's server."""

    def __init__(self, rules: Rules) -> None:
        self.rules = rules

    def prepare(self, request: Request[Any]) -> Prepared[Any]:
        return endpoint_of(request).prepare(request, self.rules)


def _hold(_job: Job, lost: Outcome, _at: int | None) -> Outcome:
    """Leave an unknown row what it is."""
    return lost


async def _room() -> None:
    """There is always room: outcomes are counted where they arise."""


class _Entering:
    """The journal of a load: what is recalled is entered, and what is left out is marked."""

    size = SHARD
    _still = "0"

    def __init__(
        self,
        connection: Connection,
        *,
        batch: int,
        tenant: int,
        number: int,
        deliver: Callable[[list[Outcome]], None],
    ) -> None:
        self.batch = batch
        self._deliver = deliver
        self._connection = connection
        self._tenant = tenant
        self._number = number
        self._shard = 0
        self._room = 0
        self._removals: bool | None = None
        self._ended: set[int] = set()
        self._again: list[int] = []
        self._left_out: dict[int, str] = {}
        self._rules: DialRules | None = None
        self._ruled = False
        self._cells: dict[int, dict[str, str]] = {}

    @classmethod
    async def begin(
        cls,
        connection: Connection,
        settings: Settings,
        name: str,
        options: BulkOptions,
        deliver: Callable[[list[Outcome]], None],
    ) -> _Entering:
        """Find or enter the batch ``name``, and keep every other load of it out until the commit."""
        # It takes the time that its input takes, and until its end holds nothing that a worker waits for.
        asked = await connection.execute("SELECT current_setting(%s), set_config(%s, '0', true)", [_STANDING_STILL] * 2)
        ((still, _),) = await asked.fetchall()
        tenant = await tenant_of(connection, settings.url, settings.user or "")
        await connection.execute(
            "INSERT INTO ucontact.batches (tenant_id, name, operation, digest) VALUES (%s, %s, %s, %s) "
            "ON CONFLICT DO NOTHING",
            (tenant, name, options.operation, options.digest),
        )
        found = await connection.execute(
            "SELECT id, operation, digest, loads FROM ucontact.batches WHERE tenant_id = %s AND name = %s FOR UPDATE",
            (tenant, name),
        )
        row = await found.fetchone()
        assert row is not None
        batch, operation, digest, loads = row
        if operation != options.operation:
            raise JournalMismatch(f"the batch {name!r} is of the operation {operation}; give another name (--batch)")
        if digest != options.digest and not options.amended:
            raise JournalMismatch(
                f"the batch {name!r} was loaded from another version of this file; if rows were added or mended, say "
                "--amended (amended=True): known rows are then not sent again; or give another name (--batch)"
            )
        await connection.execute(
            "UPDATE ucontact.batches SET digest = %s, loads = loads + 1, loaded_at = now() WHERE id = %s",
            (options.digest, batch),
        )
        await connection.execute(
            "CREATE TEMP TABLE met (id bigint PRIMARY KEY, position integer NOT NULL) ON COMMIT DROP"
        )
        entering = cls(connection, batch=batch, tenant=tenant, number=loads + 1, deliver=deliver)
        entering._still = still
        await entering._go_by(options.rules)
        return entering

    async def _go_by(self, rules: DialRules | None) -> None:
        self._rules = rules
        found = await self._connection.execute(
            "SELECT FROM ucontact.shards WHERE batch_id = %s AND ruled LIMIT 1", (self.batch,)
        )
        self._ruled = (rules is not None and demanding(rules)) or bool(await found.fetchall())

    async def recall(self, entries: Sequence[Entry]) -> list[Recalled]:
        if not entries:
            return []
        self._check_kind(entries)
        if len(self._left_out) >= _MANY:
            await self._leave_out()
        if len(self._cells) >= _MANY:
            await self._keep_cells()
        fetched = await self._connection.execute(
            "SELECT nextval('ucontact.rows_id_seq') FROM generate_series(1, %s)", (len(entries),)
        )
        ids = [id_ for (id_,) in await fetched.fetchall()]
        found = recollect(entries, await self._alike(entries), self._number, iter(ids))
        if found.met:
            async with self._connection.cursor().copy("COPY met (id, position) FROM STDIN") as copy:
                for _, position, _, id_ in found.met:
                    await copy.write_row((id_, position))
        self._ended.update(row.id for row in found.recalled if row.status in _AGAIN)
        said = {row.id: entry for row, entry in zip(found.recalled, entries, strict=True)}
        await self._enter(found.added, said)
        return found.recalled

    async def overtaken(self, endpoints: Sequence[str]) -> frozenset[int]:
        """Return the rows of this batch that are not done and that a later one of the tenant took over."""
        found = await self._connection.execute(
            "WITH said AS (SELECT r.id, r.status, s.removals, s.batch_id, q.request ->> 'campaign' AS campaign, "
            "replace(coalesce(q.request ->> 'destination', q.request ->> 'number'), '-', '') AS number "
            "FROM ucontact.shards s JOIN ucontact.rows r ON r.shard_id = s.id "
            "JOIN ucontact.requests q ON q.row_id = r.id WHERE s.tenant_id = %(tenant)s "
            "AND r.status IN ('unknown', 'failed', 'succeeded') AND EXISTS (SELECT FROM ucontact.shards x "
            "WHERE x.tenant_id = %(tenant)s AND x.removals)) "
            "SELECT DISTINCT one.id FROM said one JOIN said other USING (campaign, number) "
            "WHERE one.batch_id = %(batch)s AND one.status IN ('unknown', 'failed') "
            "AND other.status IN ('unknown', 'succeeded') AND other.id > one.id AND other.removals <> one.removals",
            {"tenant": self._tenant, "batch": self.batch},
        )
        return frozenset(id_ for (id_,) in await found.fetchall())

    async def _alike(self, entries: Sequence[Entry]) -> dict[int, list[list[Any]]]:
        alike: dict[int, list[list[Any]]] = {entry.identity: [] for entry in entries}
        found = await self._connection.execute(
            "SELECT r.identity, r.id, r.content, r.occurrence, CASE WHEN m.id IS NULL THEN r.load ELSE %s END, "
            "coalesce(m.position, r.position), r.status, r.reason, r.undoing, extract(epoch FROM r.at)::bigint "
            "FROM ucontact.rows r LEFT JOIN met m USING (id) "
            "WHERE r.batch_id = %s AND r.identity = ANY(%s) ORDER BY r.id",
            (self._number, self.batch, [*alike]),
        )
        for identity, *row in await found.fetchall():
            alike[identity].append(row)
        return alike

    def _check_kind(self, entries: Sequence[Entry]) -> None:
        removals = {entry.endpoint in REMOVALS for entry in entries}
        if len(removals | {self._removals} - {None}) > 1:
            raise SettingsError("removals and other requests in one batch could overtake each other; load two batches")
        (self._removals,) = removals

    async def _enter(self, added: list[tuple[Any, ...]], said: dict[int, Entry]) -> None:
        rows = []
        for id_, content, occurrence, identity, load_, position in added:
            if not self._room:
                await self._open_shard()
            self._room -= 1
            rows.append((id_, self.batch, self._shard, content, occurrence, identity, load_, position))
        if not rows:
            return
        cursor = self._connection.cursor()
        async with cursor.copy(
            "COPY ucontact.rows (id, batch_id, shard_id, content, occurrence, identity, load, position) FROM STDIN"
        ) as copy:
            for row in rows:
                await copy.write_row(row)
        async with cursor.copy("COPY ucontact.requests (row_id, endpoint, request) FROM STDIN") as copy:
            for row in rows:
                entry = said[row[0]]
                await copy.write_row((row[0], entry.endpoint, entry.request))

    async def _open_shard(self) -> None:
        found = await self._connection.execute(
            "INSERT INTO ucontact.shards (batch_id, tenant_id, removals, ruled) VALUES (%s, %s, %s, %s) RETURNING id",
            (self.batch, self._tenant, bool(self._removals), self._ruled),
        )
        row = await found.fetchone()
        assert row is not None
        self._shard, self._room = row[0], self.size

    def plan(self, job: Job) -> None:
        """Have ``job`` sent."""
        if job.id in self._ended:
            self._again.append(job.id)
        if self._rules is not None and job.row is not None:
            cells = cells_of(self._rules, job.row)
            if cells or self._number > 1:  # loaded before, it may have had some
                self._cells[job.id] = cells

    def settled(self, row: int, status: str, reason: str, attempts: int, outcome: Any) -> None:
        """Leave ``row`` out: the only end that a row can have here."""
        self._left_out[row] = reason
        self._deliver([outcome])

    async def end(self) -> list[int]:
        """Write what was decided, and return the shards that have rows to send."""
        # From here on who gives one of these shards back waits for the commit: before it nobody else sees that there is
        # something to send again. So a process that stops meanwhile must not hold the workers up.
        await self._connection.execute("SELECT set_config(%s, %s, true)", (_STANDING_STILL, self._still))
        await self._connection.execute(
            "SELECT FROM ucontact.shards WHERE id IN (SELECT shard_id FROM ucontact.rows WHERE id = ANY(%s)) "
            "ORDER BY id FOR UPDATE",
            (self._again,),
        )
        await self._leave_out()
        await self._keep_cells()
        await self._connection.execute(
            "UPDATE ucontact.shards SET ruled = true WHERE batch_id = %s AND NOT ruled AND %s",
            (self.batch, self._ruled),
        )
        await self._connection.execute(
            "UPDATE ucontact.rows r SET position = m.position FROM met m WHERE r.id = m.id AND r.position <> m.position"
        )
        await self._connection.execute(
            "UPDATE ucontact.rows SET status = 'planned', owner = NULL, at = now(), "
            "reason = CASE reason WHEN %s THEN reason ELSE '' END WHERE id = ANY(%s) AND status = ANY(%s)",
            (DOUBTED, self._again, _AGAIN),
        )
        # Of one that is held its owner says at the end whether it is open.
        await self._connection.execute(
            "UPDATE ucontact.shards s SET open = x.planned FROM (SELECT shard_id, "
            "bool_or(status = 'planned') AS planned FROM ucontact.rows WHERE batch_id = %s GROUP BY shard_id) x "
            "WHERE s.id = x.shard_id AND s.owner IS NULL AND s.open <> x.planned",
            (self.batch,),
        )
        found = await self._connection.execute(
            "SELECT id FROM ucontact.shards WHERE batch_id = %s AND open ORDER BY id", (self.batch,)
        )
        return [id_ for (id_,) in await found.fetchall()]

    async def _keep_cells(self) -> None:
        kept, self._cells = self._cells, {}
        await self._connection.execute(
            "INSERT INTO ucontact.cells (row_id, cells) SELECT * FROM unnest(%s::bigint[], %s::json[]) "
            "ON CONFLICT (row_id) DO UPDATE SET cells = excluded.cells",
            ([*kept], [msgspec.json.encode(cells).decode() for cells in kept.values()]),
        )

    async def _leave_out(self) -> None:
        left, self._left_out = self._left_out, {}
        await self._connection.execute(
            "UPDATE ucontact.rows r SET status = 'skipped', reason = c.reason, at = now() "
            "FROM unnest(%s::bigint[], %s::text[]) AS c (id, reason) WHERE r.id = c.id AND r.status = ANY(%s)",
            ([*left], [*left.values()], [*_AGAIN, "planned"]),
        )
