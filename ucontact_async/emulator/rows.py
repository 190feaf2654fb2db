"""Rows of calls to come, by campaign and destination, and how many each campaign has.

The counts go with every change, so that whoever wants them walks no rows; a removal or a look for duplicates must not
cost more in a full spool either.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Generic, Protocol, TypeVar

__all__ = ["Row", "Rows"]

Key = tuple[str, str]


class Row(Protocol):
    """What names a row: a campaign and a destination."""

    @property
    def campaign(self) -> str:
        """The campaign with its arrow."""
        ...

    @property
    def destination(self) -> str:
        """The number to be called."""
        ...


R = TypeVar("R", bound=Row)


class Rows(Generic[R]):
    """Rows in no order but that of equal keys; ``counts`` has those campaigns that have rows, the last changed last."""

    def __init__(self) -> None:
        """Begin without rows."""
        self.counts: dict[str, int] = {}
        self._rows: dict[Key, list[R]] = {}
        self._total = 0

    def add(self, row: R) -> None:
        """Put ``row`` behind those of its campaign and destination."""
        self._rows.setdefault((row.campaign, row.destination), []).append(row)
        self._count(row.campaign, 1)

    def keep(self, key: Key, wanted: Callable[[R], bool]) -> None:
        """Drop the rows of one campaign and destination that are not ``wanted``."""
        rows = self._rows.pop(key, [])
        kept = [row for row in rows if wanted(row)]
        if kept:
            self._rows[key] = kept
        if len(kept) < len(rows):
            self._count(key[0], len(kept) - len(rows))

    def keys_of(self, campaign: str) -> list[Key]:
        """Return the keys of ``campaign``."""
        return [key for key in self._rows if key[0] == campaign]

    def clear(self) -> None:
        """Drop all rows."""
        self._rows.clear()
        self.counts.clear()
        self._total = 0

    def _count(self, campaign: str, change: int) -> None:
        self._total += change
        count = self.counts.pop(campaign, 0) + change
        if count:
            self.counts[campaign] = count

    def __contains__(self, key: Key) -> bool:
        return key in self._rows

    def __len__(self) -> int:
        return self._total

    def __iter__(self) -> Iterator[R]:
        return (row for rows in self._rows.values() for row in rows)
