"""Items of an input to jobs, a block at a time: requests built, encoded, and given what a journal knows them by.

Each is looked at once, and by itself where a block is not plain; what is known of a row already is not asked here.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import repeat
from operator import attrgetter
from typing import Any, Protocol

import msgspec

from ..api import endpoint_of
from ..endpoint import Prepared, Request
from ..errors import InvalidRequest
from ..text import Rules
from .journal import Entry
from .operations import digests_of, identities_of
from .outcome import Outcome, Status, kept
from .sources import Row

__all__ = ["Encoder", "Job", "LeftOut", "Planner", "Preparation"]

# Fewer are taken one by one: a block costs as much as two of these.
_BLOCK = 8
_BODY = attrgetter("body")


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
    """Requests that items of the input stand for, by the column; ``positions`` are what people find them by."""

    indices: Sequence[int]
    rows: Sequence[Row | None]
    requests: Sequence[Request[Any]]
    positions: Sequence[int]


class Preparation:
    """Makes jobs of items, and outcomes of those that no job can be made of."""

    def __init__(self, encoder: Encoder, planner: Planner | None, *, lasting: bool) -> None:
        """``lasting`` says whether another process may be asked about the same rows."""
        self._encoder = encoder
        self._planner = planner
        self._lasting = lasting
        self._index = 0

    def jobs_of(self, items: Sequence[Any]) -> tuple[list[Job], list[Outcome]]:
        """Return the jobs of ``items``, in their order, and what is left out of them.

        ``TypeError`` for what is no request.
        """
        planned, left_out = self._planned(items)
        jobs = self._all_at_once(planned)
        if jobs is None:
            jobs = []
            for number, request in enumerate(planned.requests):
                index, row = planned.indices[number], planned.rows[number]
                try:
                    prepared = self._encoder.prepare(request)
                except InvalidRequest as error:
                    left_out.append(self._invalid(error, index, row, request))
                else:
                    one = _Planned([index], [row], [request], [planned.positions[number]])
                    jobs += self._jobs(one, [prepared], None)
        return jobs, sorted(left_out, key=lambda outcome: outcome.index)

    def _planned(self, items: Sequence[Any]) -> tuple[_Planned, list[Outcome]]:
        indices = range(self._index, self._index + len(items))
        self._index = indices.stop
        if all(issubclass(kind, Request) for kind in set(map(type, items))):
            return _Planned(indices, [None] * len(items), items, indices), []
        planned: list[tuple[int, Row | None, Request[Any], int]] = []
        left_out: list[Outcome] = []
        for index, item in zip(indices, items, strict=True):
            if isinstance(item, Request):
                planned.append((index, None, item, index))
            elif isinstance(found := self._request(item, index), Request):
                planned.append((index, item, found, item.number))
            else:
                left_out.append(found)
        return _Planned(*zip(*planned, strict=True)) if planned else _Planned([], [], [], []), left_out

    def _request(self, item: Any, index: int) -> Request[Any] | Outcome:
        if not isinstance(item, Row) or self._planner is None:
            raise TypeError(f"item {index} of the input is no request of ucontact_async but {type(item).__name__}")
        try:
            return self._planner.request(item)
        except InvalidRequest as error:
            return self._invalid(error, index, item, None)
        except LeftOut as left:
            return Outcome(index=index, status=Status.SKIPPED, row=item, reason=left.reason, detail=left.detail)

    def _all_at_once(self, planned: _Planned) -> list[Job] | None:
        requests = planned.requests
        if len(requests) < _BLOCK or len(set(map(type, requests))) > 1:
            return None
        encoded = endpoint_of(requests[0]).prepare_all(requests, self._encoder.rules, documents=self._lasting)
        if encoded is None:
            return None
        prepared, block = encoded
        return self._jobs(planned, prepared, block.sent.get("calldate"))

    def _jobs(self, planned: _Planned, prepared: Sequence[Prepared[Any]], sent: Sequence[Any] | None) -> list[Job]:
        """Return the jobs of requests of one type; ``sent`` are their moments, as they are sent."""
        path = prepared[0].path
        bodies = [*map(_BODY, prepared)]
        contents = digests_of(f"{path}?".encode(), bodies, size=16)
        identities = identities_of(planned.requests, bodies, self._encoder.rules.zone, sent=sent, lasting=self._lasting)
        # A login says a password.
        documents = [one.document if one.authenticated else "" for one in prepared]
        entries = map(Entry, contents, identities, planned.positions, repeat(path), documents)
        return [*map(Job, planned.indices, planned.rows, planned.requests, prepared, entries)]

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
