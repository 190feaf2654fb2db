"""When unknown outcomes stop a run: too many of them, or many more than before. Pure."""

from __future__ import annotations

from collections import deque

__all__ = ["Fuse"]

WINDOW = 100
"""How many rows the latest share of unknown outcomes is taken of, and how many must have come before them."""

FLOOR = 10
"""How many of these must be unknown: a server that fails one call in a hundred reaches it once in ten million."""


class Fuse:
    """Counts the unknown outcomes of one run; it is told of no others, but of how many rows there were."""

    def __init__(self, limit: int | None, jump: float | None) -> None:
        """Blow after more than ``limit`` unknown rows, or once their share is ``jump`` times what it was before.

        Without a ``limit`` it never blows.
        """
        self._limit = limit
        self._jump = jump
        self._latest: deque[int] = deque()
        self._before = 0

    def blown(self, rows: int) -> str | None:
        """Count an unknown outcome, the last of so many ``rows``, and return why the run must stop, if it must."""
        if self._limit is None:
            return None
        self._latest.append(rows)
        rows_before = rows - WINDOW
        while self._latest[0] <= rows_before:
            self._latest.popleft()
            self._before += 1
        recent = len(self._latest)
        if self._before + recent > self._limit:
            return f"more than {self._limit} unknown outcomes (max_unknown)"
        if self._jump is None or rows_before < WINDOW or recent < FLOOR:
            return None
        share = self._before / rows_before
        if recent / WINDOW < self._jump * share:
            return None
        return (
            f"unknown outcomes jumped to {recent} of the last {WINDOW} rows, from {share:.1%} before (max_unknown_jump)"
        )
