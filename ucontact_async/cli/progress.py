"""What a terminal shows of a run while it goes on: a line on stderr, or with rich a live view; else nothing."""

from __future__ import annotations

import sys
from importlib.util import find_spec
from typing import Protocol, TextIO

from ..batch.outcome import Outcome
from ..events import Progress
from .language import translated

__all__ = ["EVERY", "ProgressLine", "View", "view_of"]

# Seconds between two drawings.
EVERY = 0.2


class View(Protocol):
    """What shows a run to somebody."""

    def note(self, outcome: Outcome) -> None:
        """Note an outcome."""

    def show(self, seen: Progress) -> None:
        """Draw how far the run is."""

    def close(self) -> None:
        """Wipe what was drawn."""


def view_of(total: int, stream: TextIO | None = None) -> View:
    """Return the view that suits: live where a capable terminal and rich are there, else the line.

    ``total`` is the number of lines of the input.
    """
    shown: TextIO = sys.stderr if stream is None else stream
    if shown.isatty() and find_spec("rich") is not None:
        from .live import LiveView

        view = LiveView(total, shown)
        if view.capable:
            return view
    return ProgressLine(total, shown)


class ProgressLine:
    """Rewrites one line of a terminal a few times a second."""

    def __init__(self, total: int, stream: TextIO | None = None) -> None:
        """``total`` is the number of lines of the file, for the share done and the time left."""
        self._stream = stream or sys.stderr
        self._shown = self._stream.isatty()
        self._total = max(total, 1)
        self._line = 0

    def note(self, outcome: Outcome) -> None:
        """Note an outcome."""
        if outcome.row is not None:
            self._line = max(self._line, outcome.row.number)

    def show(self, seen: Progress) -> None:
        """Write the line anew."""
        if not self._shown:
            return
        seconds = seen.seconds
        share = min(self._line / self._total, 1.0)
        left = f"{seconds / share - seconds:.0f} s left" if share > 0 else "..."
        self._write(
            translated(
                f"{share:4.0%}  {seen.rows / max(seconds, 0.001):,.0f}/s  {seen.succeeded} succeeded  "
                f"{seen.failed} failed  {seen.unknown} unknown  {seen.skipped} skipped  {left}"
            )
        )

    def close(self) -> None:
        """Wipe the line."""
        if self._shown:
            self._write("")

    def _write(self, text: str) -> None:
        self._stream.write(f"\r\x1b[K{text}")
        self._stream.flush()
