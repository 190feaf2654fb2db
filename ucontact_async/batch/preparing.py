"""Items of an input to jobs, a block at a time: requests built, encoded, and given what a journal knows them by.

Each is looked at once, and by itself where a block is not plain; what is known of a row already is not asked here.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from hashlib import blake2b
from itertools import repeat
from typing import Any, Protocol

import msgspec

from ..api import endpoint_of
from ..endpoint import Prepared, Request
from ..errors import InvalidRequest
from ..text import Rules
from .journal import Entry
from .operations import identity_of
from .outcome import Outcome, Status, kept
from .sources import Row

__all__ = ["Encoder", "Job", "LeftOut", "Planner", "Preparation"]

# Fewer are taken one by one: a block costs as much as two of these.
_BLOCK = 8


class LeftOut(Exception):
    """A row of which no request is to be made, and why: a word for programs, a sentence for people."""

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(reason, detail)
        self.reason = reason
        self.detail = detail


class Planner(Protocol):
    """Makes requests of rows, and names their columns."""

    def request(self, row: Row) -> Request[Any]:
        """Return the request of ``row``, or raise :class:`InvalidRequest` or :class:`LeftOut`."""
        ...

    def column_of(self, field: str) -> str:
        """Return the user's name for one of our fields."""
        ...


class Encoder(Protocol):
    """What makes bytes of a request: a caller, or whoever only looks."""

    @property
    def rules(self) -> Rules:
        """What the text formats need to know of the server."""
        ...

    def prepare(self, request: Request[Any]) -> Prepared[Any]:
        """Apply all rules of the API to ``request``; raise :class:`InvalidRequest` naming the field."""
        ...


class Job(msgspec.Struct, gc=False, eq=False):
    """A row that is to be sent; ``id`` and ``key`` are the journal's."""

    index: int
    row: Row | None
    request: Request[Any]
    prepared: Prepared[Any]
    entry: Entry
    id: int = 0
    key: str = ""
    doubted: bool = False
    """Whether an earlier run sent it, and never learnt what became of it."""


class _Planned(msgspec.Struct, gc=False):
    """A request that an item of the input stands for."""

    index: int
    row: Row | None
    request: Request[Any]


class Preparation:
    """Makes jobs of items, and outcomes of those that no job can be made of."""

    def __init__(self, encoder: Encoder, planner: Planner | None, *, lasting: bool) -> None:
        """``lasting`` says whether another process may be asked about the same rows."""
        self._encoder = encoder
        self._planner = planner
        self._lasting = lasting
        self._index = 0

    def jobs_of(self, items: Iterable[Any]) -> tuple[list[Job], list[Outcome]]:
        """Return the jobs of ``items``, in their order, and what is left out of them.

        ``TypeError`` for what is no request.
        """
        planned: list[_Planned] = []
        left_out: list[Outcome] = []
        for item in items:
            index, self._index = self._index, self._index + 1
            found = _Planned(index, None, item) if isinstance(item, Request) else self._plan(item, index)
            if isinstance(found, _Planned):
                planned.append(found)
            else:
                left_out.append(found)
        jobs = self._all_at_once(planned)
        if jobs is None:
            jobs = []
            for found in planned:
                job = self._one(found)
                if isinstance(job, Job):
                    jobs.append(job)
                else:
                    left_out.append(job)
        return jobs, sorted(left_out, key=lambda outcome: outcome.index)

    def _plan(self, item: Any, index: int) -> _Planned | Outcome:
        if not isinstance(item, Row) or self._planner is None:
            raise TypeError(f"item {index} of the input is no request of ucontact_async but {type(item).__name__}")
        try:
            return _Planned(index, item, self._planner.request(item))
        except InvalidRequest as error:
            return self._invalid(error, index, item, None)
        except LeftOut as left:
            return Outcome(index=index, status=Status.SKIPPED, row=item, reason=left.reason, detail=left.detail)

    def _all_at_once(self, planned: Sequence[_Planned]) -> list[Job] | None:
        if len(planned) < _BLOCK or len({type(one.request) for one in planned}) > 1:
            return None
        endpoint = endpoint_of(planned[0].request)
        encoded = endpoint.prepare_all([one.request for one in planned], self._encoder.rules)
        if encoded is None:
            return None
        prepared, block = encoded
        return [*map(self._job, planned, prepared, block.sent.get("calldate", repeat(None)))]

    def _one(self, planned: _Planned) -> Job | Outcome:
        try:
            prepared = self._encoder.prepare(planned.request)
        except InvalidRequest as error:
            return self._invalid(error, planned.index, planned.row, planned.request)
        return self._job(planned, prepared, None)

    def _job(self, planned: _Planned, prepared: Prepared[Any], sent: str | None) -> Job:
        row, request = planned.row, planned.request
        content = blake2b(prepared.path.encode() + b"?" + prepared.body, digest_size=16).digest()
        position = planned.index if row is None else row.number
        identity = identity_of(request, prepared.body, self._encoder.rules.zone, sent=sent, lasting=self._lasting)
        # A login says a password.
        document = prepared.document if prepared.authenticated else ""
        return Job(planned.index, row, request, prepared, Entry(content, identity, position, prepared.path, document))

    def _invalid(self, error: InvalidRequest, index: int, row: Row | None, request: Request[Any] | None) -> Outcome:
        if request is not None and self._planner is not None:
            error = InvalidRequest(self._planner.column_of(error.field), error.reason)
        return Outcome(
            index=index,
            status=Status.SKIPPED,
            request=request,
            row=row,
            error=kept(error),
            reason="invalid",
            detail=str(error),
        )
