"""What became of recordings: counts that add up to those that were given, and the first that did not land.

It knows no servers and no files.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec

from ..api.recordings import Recording
from .places import Format

__all__ = ["DownloadReport", "Downloaded", "Problem"]

# Kept for a look; all of them could fill the memory.
_PROBLEMS = 1_000


class Downloaded(msgspec.Struct, frozen=True):
    """A recording that lies in the folder, whole; ``already`` says that it did before."""

    path: Path
    size: int
    format: Format
    already: bool = False


class Problem(msgspec.Struct, frozen=True):
    """A recording that does not lie in the folder, and why."""

    recording: Recording
    error: Exception


class DownloadReport:
    """The counts of a run; they grow while it lasts. ``bytes`` are those that were downloaded."""

    def __init__(self) -> None:
        """Begin with nothing."""
        self.downloaded = 0
        self.already = 0
        self.missing = 0
        self.failed = 0
        self.bytes = 0
        self.problems: list[Problem] = []

    @property
    def recordings(self) -> int:
        """How many recordings were given so far."""
        return self.downloaded + self.already + self.missing + self.failed

    @property
    def complete(self) -> bool:
        """Whether every recording lies in the folder."""
        return not (self.missing or self.failed)

    def landed(self, downloaded: Downloaded) -> None:
        """Count one that lies in the folder."""
        if downloaded.already:
            self.already += 1
        else:
            self.downloaded += 1
            self.bytes += downloaded.size

    def lacking(self, recording: Recording, error: Exception, *, missing: bool) -> None:
        """Count one that does not: ``missing`` from every place, or failed."""
        if missing:
            self.missing += 1
        else:
            self.failed += 1
        if len(self.problems) < _PROBLEMS:
            self.problems.append(Problem(recording, error))

    def summary(self) -> str:
        """Return the counts as one line."""
        return (
            f"{self.recordings} recordings: {self.downloaded} downloaded, {self.already} already there, "
            f"{self.missing} missing, {self.failed} failed"
        )

    def __repr__(self) -> str:
        return f"DownloadReport({self.summary()})"

    def __rich_repr__(self) -> Any:
        yield self.summary()
