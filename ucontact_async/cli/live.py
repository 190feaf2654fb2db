"""A view of a run that a terminal redraws, built on rich (extra ``live``): counts, pace, server, the last problems."""

from __future__ import annotations

from collections import deque
from typing import TextIO

from rich.console import Console, Group
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from ..batch.outcome import Outcome, Status
from ..events import Progress
from ..text import printable
from .language import translated

__all__ = ["LiveView"]

_PROBLEMS = 3
_NARROW = 64
_STYLES = {"succeeded": "green", "failed": "red", "unknown": "yellow", "skipped": "dim"}


class LiveView:
    """Draws what a run shows of itself, whenever it is shown."""

    def __init__(self, total: int, stream: TextIO) -> None:
        """``total`` is the number of lines of the input."""
        self._total = max(total, 1)
        self._line = 0
        self._problems: deque[Text] = deque(maxlen=_PROBLEMS)
        self._recent: deque[tuple[float, int]] = deque([(0.0, 0)], maxlen=20)
        console = Console(file=stream)
        self.capable = console.is_terminal and not console.is_dumb_terminal
        self._live = Live(
            console=console, auto_refresh=False, transient=True, redirect_stdout=False, redirect_stderr=False
        )

    def note(self, outcome: Outcome) -> None:
        """Note an outcome."""
        if outcome.row is not None:
            self._line = max(self._line, outcome.row.number)
        if outcome.status in (Status.FAILED, Status.UNKNOWN) and not outcome.earlier:
            why = printable(outcome.detail or outcome.reason, 200)
            style = _STYLES[outcome.status]
            told = f"{translated(f'{outcome.position} {outcome.status}')}: {translated(why)}"
            self._problems.append(Text(told, style=style, no_wrap=True, overflow="ellipsis"))

    def show(self, seen: Progress) -> None:
        """Draw anew; the first time where the cursor is."""
        if not self._live.is_started:
            self._live.start()
        self._live.update(self.drawing(seen, self._live.console.width), refresh=True)

    def close(self) -> None:
        """Wipe it."""
        self._live.stop()

    def drawing(self, seen: Progress, width: int) -> Group:
        """Return what a terminal of ``width`` columns shows."""
        began, before = self._recent[0]
        self._recent.append((seen.seconds, seen.rows))
        rate = (seen.rows - before) / max(seen.seconds - began, 0.001)
        share = min(self._line / self._total, 1.0)
        left = _clock(seen.seconds / share - seen.seconds) if share else "?"
        narrow = width < _NARROW
        bar = Table.grid(padding=(0, 1), expand=True)
        bar.add_column(ratio=1)
        bar.add_column(justify="right", no_wrap=True)
        bar.add_row(
            ProgressBar(total=1.0, completed=share, complete_style="cyan", finished_style="cyan"),
            translated(f"{share:.0%}  {left} left"),
        )
        wire = f"{rate:,.0f} rows/s, {seen.in_flight} of {seen.max_concurrency} on the wire"
        pace = Text(translated(wire))
        if seen.gate != "open":
            rest = f"the server gets a rest for {seen.gate_seconds:.0f} s"
            told = "asking whether the server is well" if seen.gate == "probing" else rest
            pace.append(("\n" if narrow else ", ") + translated(told), style="yellow")
        return Group(bar, _counts(seen, narrow=narrow), pace, *self._problems)


def _counts(seen: Progress, *, narrow: bool) -> Table:
    counts = Table.grid(padding=(0, 2))
    cells = []
    for name, style in _STYLES.items():
        count: int = getattr(seen, name)
        cells.append(Text(f"{count:,} {translated(name)}", style=style if count else "dim"))
    for start in range(0, len(cells), 2 if narrow else 4):
        counts.add_row(*cells[start : start + (2 if narrow else 4)])
    return counts


def _clock(seconds: float) -> str:
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
