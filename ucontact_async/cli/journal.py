"""``journal purge``: what old rows of journals said is forgotten; that they were sent is not."""

from __future__ import annotations

import argparse
import math
import shlex
from datetime import timedelta
from pathlib import Path

from .command import DONE, INCOMPLETE, journal_named, tell

__all__ = ["add_parser", "purge"]


def add_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Register ``journal`` and its actions."""
    actions = commands.add_parser("journal", help="look after journals").add_subparsers(required=True, metavar="ACTION")
    what = "forget the numbers and data of old rows; that they were sent stays known"
    parser = actions.add_parser("purge", help=what, description=f"{what}. A purged row cannot be undone any more.")
    parser.add_argument("journals", metavar="JOURNAL", type=Path, nargs="+", help="journals that no run holds")
    parser.add_argument("--older", metavar="DAYS", type=float, required=True, help="rows that ended so many days ago")
    parser.set_defaults(run=purge)


def purge(args: argparse.Namespace) -> int:
    """Purge every journal; 1 if something old was kept because it is unknown."""
    from ..batch.journal_rows import open_journal
    from ..errors import SettingsError

    if not (math.isfinite(args.older) and 0 <= args.older <= 36_500):
        raise SettingsError(f"--older is a number of days from 0, not {args.older:g}")
    kept = 0
    for path in args.journals:
        with journal_named(), open_journal(path) as journal:
            gone, left = journal.purge(timedelta(days=args.older))
        kept += left
        named = shlex.quote(str(path))
        why = f"; {left} unknown rows are kept: settle them with `ucontact-async unknown {named}`" if left else ""
        tell(f"{path}: {gone} rows forgotten{why}")
    return INCOMPLETE if kept else DONE
