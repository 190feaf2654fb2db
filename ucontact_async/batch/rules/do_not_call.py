"""Do-not-call lists: a file, numbers at hand or a question to somebody else, and how old they may be.

What two spellings of a number have in common is not decided here.
"""

from __future__ import annotations

import re
from array import array
from bisect import bisect_left
from collections.abc import Callable, Collection, Iterable, Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import msgspec

from ...errors import SettingsError
from .numbers import Numbering

__all__ = ["DoNotCall", "NumberList"]

_NUMBER = re.compile(r"[\s\"'=(]*(\+?[0-9][0-9 ().\-/]*)")
# 5.98991E+11, 99123456.0: what a spreadsheet or a table of floats makes of a number, whose digits are not the number's.
_QUANTITY = re.compile(r"[\s\"'=]*[0-9]+(?:(?:[.,][0-9]+)?[eE][+-]?[0-9]+|\.0)[\s\"]*(?:[;,|\t]|$)")


class DoNotCall(msgspec.Struct, frozen=True):
    """Numbers that nobody may call: ``DoNotCall("dnc.txt", max_age_days=31)``.

    ``numbers`` is a file (one number a line, the first cell of a CSV; what stands before the first number is its
    heading), a collection of numbers, or a function that says of a number, as it would be dialled, whether it is
    listed; one that is slow holds up the run. ``max_age_days`` is how old the list may be: nobody is called by an older
    one. A file is as old as its last change, anything else as ``as_of`` (aware) says. ``name`` is that of the rule in
    outcomes. A file that changes while a run goes on is read again.
    """

    numbers: str | Path | Collection[str] | Callable[[str], bool]
    max_age_days: float | None = 31.0
    as_of: datetime | None = None
    name: str = "do not call"

    def __post_init__(self) -> None:
        if self.as_of is not None and self.as_of.tzinfo is None:
            raise SettingsError(f"as_of of the list {self.name!r} needs a time zone")

    def __repr__(self) -> str:
        # A collection holds numbers of persons.
        given = str(self.numbers) if isinstance(self.numbers, str | Path) else "***"
        return f"DoNotCall({given}, max_age_days={self.max_age_days}, name={self.name!r})"

    def __rich_repr__(self) -> Any:
        yield repr(self)


class NumberList:
    """One list, read."""

    def __init__(self, rule: DoNotCall, numbering: Numbering, now: Callable[[], datetime]) -> None:
        """Use :meth:`read` before it is asked anything."""
        self.rule = rule
        self._numbering = numbering
        self._now = now
        self._path = Path(rule.numbers) if isinstance(rule.numbers, str | Path) else None
        self._stamp: tuple[int, int] | None = None
        self._hashes = array("q")
        self._as_of = rule.as_of

    @property
    def changed(self) -> bool:
        """Whether what was read is no longer what is there; so it is at first."""
        if callable(self.rule.numbers):
            return False
        return self._stamp is None or (self._path is not None and self._look() != self._stamp)

    def read(self) -> None:
        """Read the list; raise :class:`SettingsError` for one that cannot be read, or compared."""
        if self._path is None:
            assert isinstance(self.rule.numbers, Collection)
            numbers: Iterable[tuple[int, str]] = enumerate(self.rule.numbers, 1)
            stamp: tuple[int, int] | None = (0, 0)
        else:
            stamp = self._look()
            numbers = self._lines(self._path)
        # 64 bits of hash: of ten million numbers two are mistaken for one another once in many thousand lists.
        hashes = array("q", sorted({hash(self._canonical(line, number)) for line, number in numbers}))
        if self._path is not None and self._look() != stamp:
            raise SettingsError(f"{self._path} changed while it was read; run again once it is complete")
        self._hashes, self._stamp = hashes, stamp
        if self._path is not None:
            self._as_of = datetime.fromtimestamp((stamp or (0, 0))[1] / 1e9, self._now().tzinfo)

    def old(self) -> str | None:
        """Return, for a list that is too old to call by, a sentence on it."""
        limit = self.rule.max_age_days
        if limit is None or self._as_of is None or (self._now() - self._as_of).total_seconds() <= limit * 86_400:
            return None
        return f"the list is of {self._as_of:%Y-%m-%d}, older than {limit:g} days; get a new one"

    def holds(self, number: str) -> bool:
        """Return whether ``number`` is listed."""
        if callable(self.rule.numbers):
            return bool(self.rule.numbers(number))
        wanted = hash(self._numbering.canonical(number))
        place = bisect_left(self._hashes, wanted)
        return place < len(self._hashes) and self._hashes[place] == wanted

    def _canonical(self, line: int, number: str) -> str:
        if not self._numbering.comparable(number):
            where = "its numbers" if self._path is None else f"{self._path}, line {line}:"
            raise SettingsError(
                f"{where} begin with + or 00; say regions=['UY'] (or another) for them to be known in any spelling"
            )
        return self._numbering.canonical_of(number)

    def _lines(self, path: Path) -> Iterator[tuple[int, str]]:
        try:
            with path.open(encoding="utf-8-sig", errors="replace") as file:
                found = False
                for line, text in enumerate(file, 1):
                    if _QUANTITY.match(text):
                        raise SettingsError(f"{path}, line {line}: holds a quantity, not the digits of a number")
                    match = _NUMBER.match(text)
                    if match:
                        found = True
                        yield line, re.sub(r"[^0-9+]", "", match[1])
                    elif found and text.strip(' \r\n\t";,') and not text.lstrip().startswith("#"):
                        raise SettingsError(f"{path}, line {line}: begins with no number; write one number a line")
        except OSError as error:
            raise SettingsError(f"the list {path} cannot be read: {error.strerror}") from None
        if not found:
            raise SettingsError(f"{path} holds no number; one a line is expected")

    def _look(self) -> tuple[int, int] | None:
        assert self._path is not None
        try:
            seen = self._path.stat()
        except OSError:
            return None
        return seen.st_size, seen.st_mtime_ns
