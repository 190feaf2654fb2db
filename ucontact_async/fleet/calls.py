"""The calls of others that caps count beside a run's own: what any worker has sent, and what it may be about to send.

Whether a call is one too many is the rules' decision. Every worker counts the rows of shards that were claimed before
its own as if they were sent: of two workers with the same number the later one knows of the earlier one.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

from ..api import ENDPOINTS
from ..batch.journal_requests import read_request
from ..batch.rules.rules import DialRules
from ..endpoint import Request
from .database import Connection

__all__ = ["CallsElsewhere"]

_ROWS = (
    "SELECT r.id, q.endpoint, q.request::text, extract(epoch FROM r.at)::float8 FROM ucontact.shards s "
    "JOIN ucontact.rows r ON r.shard_id = s.id JOIN ucontact.requests q ON q.row_id = r.id "
    "WHERE s.id = ANY(%s) AND (r.status IN ('sent', 'succeeded', 'unknown') "
    "AND (r.at >= %s OR q.request ->> 'calldate' >= %s) "
    "OR r.status = 'planned' AND s.owner IS NOT NULL AND s.id <> ALL(%s) AND s.claimed < %s)"
)


class CallsElsewhere:
    """What one run has to be told: :meth:`read` after each claim, :meth:`take` before a row of it is judged."""

    def __init__(self, rules: DialRules, tenant: int, now: Callable[[], datetime] = lambda: datetime.now(UTC)) -> None:
        """Count as far back as the caps of ``rules`` look."""
        self._hours = max(cap.hours for cap in rules.caps)
        self._tenant = tenant
        self._now = now
        self._states: dict[int, tuple[int, bool]] = {}
        self._known: set[int] = set()
        self._news: list[tuple[Request[Any], datetime]] = []

    async def read(self, connection: Connection, mine: Collection[int], handed: Collection[int]) -> None:
        """Look at what has changed; ``mine`` are the shards of this run, ``handed`` those of their rows it may send."""
        self._known.update(handed)
        found = await connection.execute(
            "SELECT id, claims, owner IS NULL, claimed FROM ucontact.shards "
            "WHERE tenant_id = %s AND NOT removals AND claims > 0",
            (self._tenant,),
        )
        shards = await found.fetchall()
        # A shard that nobody holds stays as it is until it is claimed again.
        changed = [id_ for id_, claims, free, _ in shards if not free or self._states.get(id_) != (claims, free)]
        latest = max((claimed for id_, _, _, claimed in shards if id_ in mine), default=0)
        since = self._now() - timedelta(hours=self._hours)
        # A calldate is local time without its zone; a day is more than any zone is off.
        local = f"{since.astimezone(UTC) - timedelta(days=1):%Y-%m-%d %H:%M:%S}"
        rows = await connection.execute(_ROWS, (changed, since, local, [*mine], latest))
        for id_, endpoint, document, at in await rows.fetchall():
            if id_ not in self._known and endpoint in ENDPOINTS:
                self._known.add(id_)
                sent = self._now() if at is None else datetime.fromtimestamp(at, UTC)
                self._news.append((read_request("the fleet's journal", endpoint, document), sent))
        # Not before: where the answer was lost all of it is asked again.
        self._states = {id_: (claims, free) for id_, claims, free, _ in shards}

    def take(self) -> Iterator[tuple[Request[Any], datetime]]:
        """Yield each call that has become known since this was last asked, and when it was sent."""
        while self._news:
            yield self._news.pop()
