"""When unknown outcomes stop a run: too many of them, or many more than before. Pure."""

from __future__ import annotations

from collections import deque

__all__ = ["Fuse"]

WINDOW = 100
"""How many rows the latest share of unknown outcomes is taken of, and how many must have come before them."""

FLOOR = 10
"""How many of these must be unknown: a server that fails one call in a hundred reaches it once in ten million."""


class Fuse:
    """Counts the rows of one run as they are settled."""

    def __init__(self, limit: int | None, jump: float | None) -> None:
        """Blow after more than ``limit`` unknown rows, or once their share is ``jump`` times what it was before.

        Without a ``limit`` it never blows.
        """
        self._limit = limit
        self._jump = jump
        self._unknown = 0
        self._latest: deque[bool] = deque()
        self._recent = 0
        self._before = 0
        self._rows_before = 0

    def blown(self, unknown: bool) -> str | None:
        """Count one row and return why the run must stop, if it must."""
        self._latest.append(unknown)
        self._recent += unknown
        if len(self._latest) > WINDOW:
            left = self._latest.popleft()
            self._recent -= left
            self._before += left
            self._rows_before += 1
        if not unknown or self._limit is None:
            return None
        self._unknown += 1
        if self._unknown > self._limit:
            return f"more than {self._limit} unknown outcomes (max_unknown)"
        if self._jump is None or self._rows_before < WINDOW or self._recent < FLOOR:
            return None
        share = self._before / self._rows_before
        if self._recent / WINDOW < self._jump * share:
            return None
        return (
            f"unknown outcomes jumped to {self._recent} of the last {WINDOW} rows, from {share:.1%} before "
            "(max_unknown_jump)"
        )
