"""One line on stderr that tells how a run is doing; silent when nobody watches."""

from __future__ import annotations

import sys
import time
from typing import TextIO

from ..batch.outcome import Outcome
from ..batch.report import Report

__all__ = ["ProgressLine", "lines_of"]

_EVERY = 0.2


class ProgressLine:
    """Rewrites one line of a terminal a few times a second."""

    def __init__(self, total: int, stream: TextIO | None = None) -> None:
        """``total`` is the number of lines of the file, for the share done and the time left."""
        self._stream = stream or sys.stderr
        self._shown = self._stream.isatty()
        self._total = max(total, 1)
        self._started = time.monotonic()
        self._next = self._started
        self._line = 0

    def update(self, outcome: Outcome, report: Report) -> None:
        """Note an outcome."""
        if not self._shown:
            return
        if outcome.row is not None:
            self._line = max(self._line, outcome.row.number)
        now = time.monotonic()
        if now < self._next:
            return
        self._next = now + _EVERY
        seconds = now - self._started
        share = min(self._line / self._total, 1.0)
        left = f"{seconds / share - seconds:.0f} s left" if share > 0 else "..."
        self._write(
            f"{share:4.0%}  {report.rows / max(seconds, 0.001):,.0f}/s  {report.succeeded} succeeded  "
            f"{report.failed} failed  {report.unknown} unknown  {report.skipped} skipped  {left}"
        )

    def close(self) -> None:
        """Wipe the line."""
        if self._shown:
            self._write("")

    def _write(self, text: str) -> None:
        self._stream.write(f"\r\x1b[K{text}")
        self._stream.flush()


def lines_of(path: str) -> int:
    """Return the number of line ends in a file."""
    with open(path, "rb") as file:  # noqa: PTH123  a plain open beside a plain count
        return sum(block.count(b"\n") for block in iter(lambda: file.read(1 << 20), b""))
