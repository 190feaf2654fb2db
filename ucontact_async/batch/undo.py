"""The rows of a journal as the removals that take them back: the input of a run, its planner, and the marks.

Before a removal is sent its row is marked as being undone, and as undone when the server has said so: a run that finds
either says so and sends nothing. Which removal fits is the table's business, and how it is sent the run's.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from datetime import UTC, datetime, timedelta
from itertools import islice
from typing import Any, Protocol

from ..endpoint import Request
from ..errors import SettingsError
from ..text import Rules
from .journal_rows import JournalRow
from .outcome import Outcome, Status
from .preparing import LeftOut
from .remedies import remedy_of
from .sources import Row

__all__ = ["QUARANTINE", "Undo", "Undoable"]

QUARANTINE = timedelta(minutes=10)
"""How late a request may still arrive whose answer was lost (``reliability.md`` 2.2)."""

_BLOCK = 256
_COLUMNS = ("campaign", "destination", "since", "until")


class Undoable(Protocol):
    """What an undo asks of the rows that it takes back: :class:`JournalRows` is one."""

    def made(self) -> Iterator[JournalRow]:
        """Yield the rows that happened or may have."""
        ...

    def begin_undo(self, ids: Iterable[int]) -> None:
        """Mark rows, durably, before anything that takes them back is sent."""

    def end_undo(self, undone: Iterable[int], untouched: Iterable[int]) -> None:
        """Mark rows as undone, and take the mark of those back that surely stayed as they were."""

    def doubt_undo(self, id_: int) -> None:
        """Take back how the undo of a row ended: it was begun, and whether it was done is not known."""


class _Removal(Row, frozen=True, kw_only=True):
    """A row of the journal and the request that takes it back, or why there is none."""

    id: int
    begun: bool
    early: bool
    request: Request[None] | None
    left: LeftOut | None


class Undo:
    """An iterable of rows, one for each call that was made or may have been, and the planner of their removals.

    Hand it to a run as both, with the options ``repeat=True`` and ``on_duplicate="allow"``, tell :meth:`note` every
    outcome and :meth:`flush` at the end. ``counts`` are the removals by the endpoint of the call;
    ``waiting`` counts unknown calls that were removed but may not have arrived yet: they are undone by another undo
    after the quarantine.
    """

    columns = _COLUMNS

    def __init__(
        self,
        rows: Undoable,
        rules: Rules,
        *,
        allow_past: bool = False,
        tasks: bool = False,
        quarantine: timedelta = QUARANTINE,
        dry_run: bool = False,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        """``allow_past``: calls whose calldate has passed too; ``tasks``: dialer tasks too, as if removals did that."""
        self.counts: Counter[str] = Counter()
        self.waiting = 0
        self._rows = rows
        self._rules = rules
        self._allow_past = allow_past
        self._tasks = tasks
        self._quarantine = quarantine
        self._dry_run = dry_run
        self._now = now
        self._pending: dict[int, _Removal] = {}
        self._undone: list[int] = []
        self._untouched: list[int] = []

    def __iter__(self) -> Iterator[Row]:
        made = self._rows.made()
        index = 0
        while block := [self._plan(row) for row in islice(made, _BLOCK)]:
            if not self._dry_run:
                self._rows.begin_undo([row.id for row in block if row.request is not None])
            for row in block:
                if row.request is not None:
                    self._pending[index] = row
                yield row
                index += 1

    def request(self, row: Row) -> Request[Any]:
        """Return the removal of ``row``, or raise :class:`LeftOut`."""
        assert isinstance(row, _Removal)
        if row.left is not None:
            raise row.left
        assert row.request is not None
        return row.request

    def column_of(self, field: str) -> str:
        """Return ``field``: the columns are called as the fields are."""
        return field

    def note(self, outcome: Outcome) -> None:
        """Mark the row of ``outcome`` for what became of its removal."""
        if outcome.amends is not None:
            assert isinstance(outcome.row, _Removal)
            self.flush()
            self._rows.doubt_undo(outcome.row.id)
            return
        row = self._pending.pop(outcome.index, None)
        if row is None or self._dry_run:
            return
        if outcome.status is Status.SUCCEEDED:
            if row.early:
                self.waiting += 1
            else:
                self._undone.append(row.id)
        elif not row.begun and (_failed_at_once(outcome) or outcome.reason == "invalid"):
            # Of an earlier attempt nobody knows: only what failed at once surely left the call as it was.
            self._untouched.append(row.id)
        if len(self._undone) + len(self._untouched) >= _BLOCK:
            self.flush()

    def flush(self) -> None:
        """Write the marks that have been gathered."""
        undone, self._undone = self._undone, []
        untouched, self._untouched = self._untouched, []
        self._rows.end_undo(undone, untouched)

    def _plan(self, row: JournalRow) -> _Removal:
        request: Request[None] | None = None
        left: LeftOut | None = None
        try:
            request = self._removal(row)
        except LeftOut as decision:
            left = decision
        else:
            self.counts[row.endpoint] += 1
        at = row.at
        early = row.status == "unknown" and (at is None or self._now() - at < self._quarantine)
        fields = _cells(row.request)
        return _Removal(row.position, fields, id=row.id, begun=row.undoing, early=early, request=request, left=left)

    def _removal(self, row: JournalRow) -> Request[None]:
        remedy = remedy_of(row.endpoint)
        if not row.endpoint:
            raise LeftOut("no request", "an earlier version wrote this row without its request; run its command again")
        removal = "its request is not kept" if row.request is None else remedy.removal(row.request)
        if isinstance(removal, str):
            raise LeftOut("no removal", f"{row.endpoint}: {removal}")
        if not remedy.proven and not self._tasks:
            raise LeftOut("no removal", "the vendor does not say that removals cover tasks; say --tasks to try them")
        if not self._allow_past and self._past(getattr(removal, "since", None)):
            raise LeftOut("late", "calldate has passed, so the call may have been made; say --allow-past to remove it")
        return removal

    def _past(self, moment: datetime | None) -> bool:
        if moment is None:
            return False
        if self._rules.zone is None:
            raise SettingsError("the server's time zone is not known; set UCONTACT_TIMEZONE or give --timezone")
        return moment.replace(tzinfo=self._rules.zone) < self._now()


def _failed_at_once(outcome: Outcome) -> bool:
    return outcome.status is Status.FAILED and outcome.attempts <= 1


def _cells(request: Any) -> dict[str, str]:
    moment = getattr(request, "calldate", None)
    when = "" if moment is None else moment.isoformat(" ")
    cells = {name: str(getattr(request, name, "")) for name in ("campaign", "destination")}
    return cells | {"since": when, "until": when}
