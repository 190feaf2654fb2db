"""The options of a run as one frozen value, refused at once where they make no sense."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any, Literal

import msgspec

from ..endpoint import Request
from ..errors import SettingsError
from .report import Report
from .rules.rules import DialRules
from .settle import ReplaceSchedule

__all__ = ["BulkOptions"]

# How long calls on the wire may take to end once a run is told to stop (reliability.md 1.3, rule 6).
GRACE = 10.0
# How long a run goes on trying while nothing gets through: a restarting server is back within this.
PATIENCE = 60.0


class BulkOptions(msgspec.Struct, frozen=True, kw_only=True):
    """The options of :meth:`UContact.stream` and :meth:`UContact.bulk`, described there.

    ``repeat`` has what an earlier run did done again, where that does no harm: an undo goes by another journal than its
    own.
    """

    journal: Path | None = None
    journal_mode: Literal["requests", "keys"] = "requests"
    max_concurrency: int | Literal["auto"] = "auto"
    max_per_second: float | None = None
    max_failures: int | str | None = None
    max_unknown: int | None = 20
    max_unknown_jump: float | None = 5.0
    on_unknown: Literal["hold"] | ReplaceSchedule = "hold"
    on_duplicate: Literal["refuse", "skip", "allow"] = "refuse"
    not_after: datetime | Callable[[Request[Any]], datetime | None] | None = None
    rules: DialRules | None = None
    dry_run: bool = False
    ordered: bool = False
    amended: bool = False
    retry_refused: bool = False
    retry_undone: bool = False
    allow_past: bool = False
    progress: Callable[[Report], None] | None = None
    grace: float = GRACE
    patience: float = PATIENCE
    repeat: bool = False
    operation: str = "*"
    digest: str = ""

    def __post_init__(self) -> None:
        self._check_settling()
        if self.journal_mode not in ("requests", "keys"):
            raise SettingsError(f"journal_mode is 'requests' or 'keys', not {self.journal_mode!r}")
        if self.on_duplicate not in ("refuse", "skip", "allow"):
            raise SettingsError(f"on_duplicate is 'refuse', 'skip' or 'allow', not {self.on_duplicate!r}")
        if self.max_unknown is not None and self.max_unknown < 0:
            raise SettingsError("max_unknown is 0 or more, or None for no limit")
        if self.max_unknown_jump is not None and not self.max_unknown_jump > 1:
            raise SettingsError("max_unknown_jump is a factor greater than 1, or None for no limit")
        self.failures_allowed(0)

    def _check_settling(self) -> None:
        if self.on_unknown == "hold":
            return
        if not isinstance(self.on_unknown, ReplaceSchedule):
            raise SettingsError(f"on_unknown is 'hold' or ReplaceSchedule(...), not {self.on_unknown!r}")
        if self.journal is None and not self.dry_run:
            raise SettingsError("settling needs a journal: a crash in the middle of it must not be forgotten")
        if self.on_duplicate == "allow":
            raise SettingsError("settling removes every call of that second: it cannot go with on_duplicate='allow'")
        if self.ordered:
            raise SettingsError("outcomes in the order of the input would wait for every row that is settled")

    @property
    def keys_only(self) -> bool:
        """Whether the journal keeps nothing of what rows say."""
        return self.journal_mode == "keys"

    def failures_allowed(self, rows: int) -> float:
        """Return how many failures are tolerated after ``rows`` rows."""
        limit = self.max_failures
        if limit is None:
            return float("inf")
        if isinstance(limit, str):
            share = limit.strip()
            number = share.removesuffix("%")
            if share == number or not number.replace(".", "", 1).isdecimal():
                raise SettingsError(f"max_failures is a number of rows or a share such as '1%', not {limit!r}")
            # A share of a handful of rows says nothing yet.
            return max(rows, 100) * float(number) / 100
        if isinstance(limit, bool) or limit < 0:
            raise SettingsError("max_failures is 0 or more")
        return limit

    @property
    def accepted(self) -> frozenset[str]:
        """Return the reasons to skip a row that leave nothing wanting."""
        always = frozenset({"done before", "dry run"})
        return always | {"duplicate"} if self.on_duplicate == "skip" else always
