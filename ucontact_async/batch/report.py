"""The fold over outcomes: four counts that add up to the rows read, why, and the CSV of what is left to do."""

from __future__ import annotations

import csv
import os
import re
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import IO, Self

import msgspec

from ..errors import BulkError, InvalidRequest, SettingsError
from .cells import REPORTED, guarded
from .outcome import SUCCEEDED, Outcome, Status

__all__ = ["Counts", "Rejects", "Report"]

# Outcomes kept for a look after the run; all of them are in the journal and in the CSV.
KEPT = 1_000

# The last names in the first line of a file of rejects, also where a spreadsheet has saved it.
_HEAD = re.compile(rb"\b" + rb"\"?[;,\t|]\"?".join(name.encode() for name in REPORTED) + rb"\b")
_LOOK = 65_536


class Counts(msgspec.Struct):
    """Rows of this run only, as they are settled."""

    rows: int = 0
    failed: int = 0
    unknown: int = 0


class Report(msgspec.Struct, kw_only=True):
    """What a run came to. ``rows == succeeded + failed + unknown + skipped``, always.

    ``reasons`` counts what did not succeed by ``(status, reason)``; ``problems`` keeps the first 1,000 such outcomes;
    ``settled`` counts those of the succeeded that had been unknown; ``stopped`` says why a run ended before its input
    did; ``seconds`` is its length; ``accepted`` are the reasons to skip a row that leave nothing wanting. ``lane`` is
    the way that commands took: ``command``, or ``session`` where that was asked for or the other does not work (it is
    the slower one, and as sound).
    """

    succeeded: int = 0
    failed: int = 0
    unknown: int = 0
    skipped: int = 0
    settled: int = 0
    seconds: float = 0.0
    stopped: str | None = None
    lane: str = ""
    accepted: frozenset[str] = frozenset({"done before", "dry run"})
    reasons: Counter[tuple[str, str]] = msgspec.field(default_factory=Counter)
    problems: list[Outcome] = msgspec.field(default_factory=list)
    judged: Counts = msgspec.field(default_factory=Counts)

    @property
    def rows(self) -> int:
        """How many rows were read."""
        return self.succeeded + self.failed + self.unknown + self.skipped

    @property
    def complete(self) -> bool:
        """Whether every row of the input is done: nothing failed, unknown, left out or stopped."""
        return self.stopped is None and all(reason in self.accepted for _, reason in self.reasons)

    def add_all(self, outcomes: Iterable[Outcome]) -> None:
        """Count outcomes as :meth:`add` does, most of them at a third of its cost."""
        plain = 0
        for outcome in outcomes:
            if outcome.status is SUCCEEDED and not outcome.settled and outcome.amends is None:
                plain += 1
            else:
                self.add(outcome)
        self.succeeded += plain

    def add(self, outcome: Outcome) -> None:
        """Count one outcome; one that amends another takes its place."""
        if outcome.amends is not None:
            self._take_back(outcome.amends)
        if outcome.status is SUCCEEDED:
            self.succeeded += 1
            self.settled += outcome.settled
            return
        if outcome.status is Status.FAILED:
            self.failed += 1
        elif outcome.status is Status.UNKNOWN:
            self.unknown += 1
        else:
            self.skipped += 1
        self.reasons[outcome.status.value, outcome.reason] += 1
        if len(self.problems) < KEPT and self.wants(outcome):
            self.problems.append(outcome)

    def _take_back(self, outcome: Outcome) -> None:
        if outcome.status is Status.SUCCEEDED:
            self.succeeded -= 1
            self.settled -= outcome.settled
            return
        self.failed -= 1
        self.reasons[outcome.status.value, outcome.reason] -= 1
        self.reasons += Counter()  # without those that are none any more
        self.problems = [known for known in self.problems if known.index != outcome.index]

    def wants(self, outcome: Outcome) -> bool:
        """Return whether something is wanting after ``outcome``."""
        return outcome.status is not Status.SUCCEEDED and outcome.reason not in self.accepted

    def judge(self, outcome: Outcome) -> Counts:
        """Count what this run found out itself, at the moment it is settled, and return these counts."""
        if outcome.amends is None:
            self.judged.rows += 1
        else:
            self.judged.failed -= outcome.amends.status is Status.FAILED
        if outcome.status is not SUCCEEDED:
            self.judged.failed += outcome.status is Status.FAILED
            self.judged.unknown += outcome.status is Status.UNKNOWN
        return self.judged

    def close(self, seconds: float) -> None:
        """Note the length of the run."""
        self.seconds = seconds

    def summary(self) -> str:
        """Return the counts in one line."""
        return (
            f"{self.rows} rows: {self.succeeded} succeeded, {self.failed} failed, "
            f"{self.unknown} unknown, {self.skipped} skipped"
        )

    def raise_for_status(self) -> Self:
        """Return the report; raise :class:`BulkError` unless every row is done, or was by an earlier run."""
        if not self.complete:
            why = f"; stopped: {self.stopped}" if self.stopped else ""
            raise BulkError(self.summary() + why, self)
        return self


class Rejects:
    """Writes every row that did not succeed to a CSV that opens by double click and can be fed back in.

    UTF-8 with BOM, ``;`` between cells, the file's own columns and then ``row``, ``outcome`` and ``reason``. It is
    created with the first such row, for its owner only. A cell that a spreadsheet would take for a formula, a quantity
    or a date has an apostrophe before it, which :class:`CsvSource` takes off again: feeding back changes nothing.
    """

    def __init__(self, path: Path | None, columns: tuple[str, ...]) -> None:
        """``columns`` are those of the input; without a ``path`` nothing is written.

        Raises :class:`SettingsError` where no file can be made, and where one is that holds no rejects.
        """
        if path is not None:
            _refuse_other(path)
        self.path = path
        self.rows = 0
        self._columns = tuple(column for column in columns if column not in REPORTED)
        self._file: IO[str] | None = None
        self._amended: set[str] = set()

    def add(self, outcome: Outcome) -> None:
        """Write the row of ``outcome``; one that was written before is taken out when the file is closed."""
        if outcome.row is None or self.path is None:
            return
        if self._file is None:
            self.path.unlink(missing_ok=True)
            descriptor = os.open(self.path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
            self._file = os.fdopen(descriptor, "w", encoding="utf-8-sig", newline="")
            self._writer = csv.writer(self._file, delimiter=";")
            self._writer.writerow([*map(guarded, self._columns), *REPORTED])
        if outcome.amends is not None and outcome.amends.status is Status.FAILED:
            self._amended.add(str(outcome.row.number))
            self.rows -= 1
        cells = [guarded(_cell(outcome, column)) for column in self._columns]
        why = guarded(outcome.detail or outcome.reason)
        self._writer.writerow([*cells, outcome.row.number, _word(outcome), why])
        self.rows += 1

    def close(self) -> None:
        """Close the file; remove the one of an earlier run if there is nothing to reject any more."""
        if self._file is not None:
            self._file.close()
            if self._amended:
                self._leave_out()
        elif self.path is not None:
            self.path.unlink(missing_ok=True)

    def _leave_out(self) -> None:
        """Leave out what was written of a row before its last word."""
        assert self.path is not None
        with self.path.open(encoding="utf-8-sig", newline="") as file:
            lines = list(csv.reader(file, delimiter=";"))
        place = len(self._columns)
        kept = [line for line in lines if line[place] not in self._amended or line[place + 1] == Status.UNKNOWN]
        with self.path.open("w", encoding="utf-8-sig", newline="") as file:
            csv.writer(file, delimiter=";").writerows(kept)


def _refuse_other(path: Path) -> None:
    """Raise :class:`SettingsError` unless rejects may be written to ``path``, over those of an earlier run."""
    if not path.parent.is_dir():
        raise SettingsError(f"the directory of {path} does not exist; create it")
    if not path.exists():
        return
    if path.is_file():
        with path.open("rb") as file:
            head = file.read(_LOOK)
        if not head or _HEAD.search(head):
            return
    raise SettingsError(f"{path} is there already and holds no rejects; give --report another name")


def _cell(outcome: Outcome, column: str) -> str:
    assert outcome.row is not None
    text = outcome.row.fields.get(column, "")
    typed, error = outcome.row.typed, outcome.error
    if typed and column in typed and isinstance(error, InvalidRequest) and error.field == column and text.isdigit():
        return f"{text}.0"  # as text it would be taken for the number that it no longer is
    return text


def _word(outcome: Outcome) -> str:
    return outcome.status.value if outcome.status is not Status.SKIPPED else outcome.reason
