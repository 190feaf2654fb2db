"""``report``: what a journal says of its runs, in counts; with ``--html`` as the page that a run writes at its end."""

from __future__ import annotations

import argparse
import shlex
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from .bulk import exit_code, print_reasons
from .command import journal_named, say, tell
from .language import translated

if TYPE_CHECKING:
    from datetime import datetime

    from ..batch.history import History
    from ..batch.journal_rows import JournalRow
    from ..batch.outcome import Outcome
    from ..batch.report import Report

__all__ = ["add_parser", "run"]


def add_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Register ``report`` and its arguments."""
    parser = commands.add_parser("report", help="say what a journal knows of its rows, in counts")
    parser.add_argument("journal", metavar="JOURNAL", type=Path, help="the journal of a run that has ended")
    parser.add_argument("--html", metavar="PATH", type=Path, help="write a page about it too")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Print the counts; 0 if all is done, 1 if some rows are not, 3 if some are unknown."""
    from ..batch.journal_rows import open_journal

    if args.html is not None:
        from .report_page import check_page

        check_page(args.html)
    with journal_named(), open_journal(args.journal) as journal:
        fold = _Fold(journal.all())
        facts = {"operation": journal.operation, "server": journal.server, **fold.times()}
    report = fold.report
    tell(report.summary())
    print_reasons(report)
    for name, told in facts.items():
        tell(f"{translated(name)}: {told}")
    if args.html is not None:
        from .report_page import write_page

        write_page(args.html, report, fold.history(), facts)
        tell(f"page: {args.html}")
    if report.unknown:
        say(f"where to look, and how to settle them: ucontact-async unknown {shlex.quote(str(args.journal))}")
    return exit_code(report)


class _Fold:
    """The rows of a journal, counted, and by the second in which they became what they are."""

    def __init__(self, rows: Iterable[JournalRow]) -> None:
        from ..batch.report import Report

        self.report: Report = Report()
        self._moments: dict[datetime, Counter[str]] = {}
        for row in rows:
            outcome = _outcome(row)
            self.report.add(outcome)
            if row.at is not None and row.status != "planned":
                self._moments.setdefault(row.at, Counter())[outcome.status.value] += 1
        if self._moments:
            self.report.close((max(self._moments) - min(self._moments)).total_seconds())

    def times(self) -> dict[str, str]:
        """Return when the first row became what it is, and the last."""
        if not self._moments:
            return {}
        return {
            "first": f"{min(self._moments):%Y-%m-%d %H:%M:%S} UTC",
            "last": f"{max(self._moments):%Y-%m-%d %H:%M:%S} UTC",
        }

    def history(self) -> History:
        """Return the counts over time, by the second."""
        from ..batch.history import History
        from ..batch.report import Report
        from ..limiter import LimiterStats

        history, counts = History(), Report()
        nothing = LimiterStats(
            in_flight=0,
            waiting=0,
            max_concurrency=0,
            gate_seconds=0.0,
            gate="open",
            phase="fixed",
            base_latency=None,
            rate=None,
        )
        began = min(self._moments, default=None)
        for moment in sorted(self._moments):
            for status, count in self._moments[moment].items():
                setattr(counts, status, getattr(counts, status) + count)
            assert began is not None
            history.sample((moment - began).total_seconds() + 1.0, counts, nothing)
        return history


def _outcome(row: JournalRow) -> Outcome:
    from ..batch.outcome import Outcome, Status
    from ..batch.sources import Row

    known = {status.value: status for status in Status}
    status = known.get(row.status, Status.SKIPPED)
    return Outcome(
        index=row.position,
        status=Status.UNKNOWN if row.undoing else status,
        key=row.key,
        request=row.request,
        row=Row(row.position, {}),
        reason="undoing" if row.undoing else row.reason if row.status in known else _WORDS.get(row.status, row.status),
    )


_WORDS = {"planned": "not sent yet"}
