"""The rules of the dial for what is no run: single calls and uploads, judged by the same questions as rows.

It opens the rules once, with the first call, and says no by raising; what is asked is the business of ``rules.py``.
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, tzinfo
from typing import Any

import anyio.to_thread

from ...api.lists import ListFile
from ...endpoint import Pass, Request
from ...errors import Blocked, NotSent, Refused, UContactError
from ...list_file import ListRow, plain_number
from ..clearance import Clearance
from ..options import BulkOptions
from .rules import CALLS, Block, Check, DialRules

__all__ = ["DialGuard", "row_check"]

# Blocked rows that the sentence names; the error has all of them.
_NAMED = 20


class DialGuard:
    """Lets a call of one client pass, or not."""

    def __init__(
        self, rules: DialRules, *, zone: tzinfo | None, now: Callable[[], datetime] = lambda: datetime.now(UTC)
    ) -> None:
        """``zone`` is the server's."""
        self._rules = rules
        self._zone = zone
        self._now = now
        self._clearance: Clearance | None = None
        self._opening = asyncio.Lock()
        self._keys = itertools.count()

    async def admit(self, request: Request[Any]) -> Pass | None:
        """Return the pass of a call, ``None`` for what rings nobody.

        Raises :class:`Blocked`, and :class:`SettingsError` or :class:`JournalError` for a list or journal that cannot
        be read.
        """
        if isinstance(request, ListFile):
            await self.clear([request])
            return None
        if not isinstance(request, CALLS):
            return None
        given = _Pass(await self._check(), next(self._keys), request)
        given.ask()
        return given

    async def clear(self, files: Sequence[Request[Any]]) -> None:
        """Raise :class:`Blocked` naming every row of ``files`` that may not be called, counted through all of them."""
        check = await self._check()
        found: dict[int, Block] = {}
        before = 0
        for file in files:
            if isinstance(file, ListFile):
                blocked = await anyio.to_thread.run_sync(check.blocked_rows, file)
                found |= {before + place: block for place, block in blocked.items()}
                before += file.rows
        if found:
            named = "; ".join(f"row {place}: {block.rule}" for place, block in list(found.items())[:_NAMED])
            more = f"; and {len(found) - _NAMED} more" if len(found) > _NAMED else ""
            first = next(iter(found.values()))
            raise Blocked(first.rule, named + more, rows={place: block.rule for place, block in found.items()})

    async def _check(self) -> Check:
        async with self._opening:
            if self._clearance is None:
                options = BulkOptions(rules=self._rules)
                self._clearance = await Clearance.opened(options, tuple, zone=self._zone, now=self._now)
            assert self._clearance is not None
            check = await self._clearance.refreshed()
        assert check is not None
        return check


class _Pass:
    """One call: what its last question was answered, and what it is booked under."""

    def __init__(self, check: Check, key: int, request: Request[Any]) -> None:
        self._check = check
        self._key = key
        self._request = request
        self._block: Block | None = None

    def ask(self) -> None:
        """Raise :class:`Blocked` if the call is forbidden now."""
        if not self.may_leave():
            raise self._error()

    def may_leave(self) -> bool:
        """Ask the rules again, now."""
        self._block = self._check.blocked(self._key, self._request, {}, counted=False)
        return self._block is None

    def ended(self, error: UContactError | None) -> UContactError | None:
        """Take back what was booked for a call that surely was not made; what a rule held back is :class:`Blocked`."""
        if not isinstance(error, NotSent | Refused):
            self._check.keep(self._key)
            return error
        self._check.release(self._key)
        return error if self._block is None else self._error()

    def _error(self) -> Blocked:
        assert self._block is not None
        return Blocked(self._block.rule, self._block.detail)


def row_check(rules: DialRules, zone: tzinfo | None) -> Callable[[ListRow], Block | None]:
    """Return a function that says what forbids that a row of a list is called; its lists are read now, once."""
    check = Check(rules, zone=zone, now=lambda: datetime.now(UTC))
    check.read()

    def blocked(row: ListRow) -> Block | None:
        return check.blocked_number(tuple(plain_number(number) for number in (row.destination, *row.alternatives)))

    return blocked
