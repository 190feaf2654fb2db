"""``undo``: what a journal knows to have been made, or may have been, is removed again; the same command resumes."""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from .bulk import add_pace, exit_code, follow, history_of, pace_of, print_report, write_page
from .command import UNKNOWN, client_of, distinct, journal_named, say, say_how_to_resume, tell
from .language import translated

if TYPE_CHECKING:
    from ..batch.journal import OpenJournal
    from ..batch.journal_rows import JournalRows
    from ..batch.undo import Undo, Undoable
    from ..client import UContact

__all__ = ["add_parser", "add_undo", "run", "take_back"]


def add_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Register ``undo`` and its arguments."""
    parser = commands.add_parser("undo", help="take back what the journal of a run knows to have been made")
    what = "the journal of the run, such as contacts.csv.journal"
    parser.add_argument("undone", metavar="JOURNAL", type=Path, help=what)
    add_undo(parser, "JOURNAL")
    parser.set_defaults(run=run)


def add_undo(parser: argparse.ArgumentParser, undone: str) -> None:
    """Add what says how calls are taken back; ``undone`` is what the parser calls their source."""
    add = parser.add_argument
    add("--journal", metavar="PATH", type=Path, help=f"the journal of the undo itself ({undone}.undo)")
    add("--dry-run", action="store_true", help="print what would be removed, by counts; send nothing")
    add("--allow-past", action="store_true", help="also remove calls whose calldate has passed: they may have rung")
    add("--tasks", action="store_true", help="also try the removals on dialer tasks; the vendor does not say they work")
    add(
        "--quarantine",
        metavar="SECONDS",
        type=float,
        default=600.0,
        help="how late a call with an unknown outcome may still arrive; until then it stays unknown (%(default)g)",
    )
    add_pace(parser)


def run(args: argparse.Namespace) -> int:
    """Take the journal's calls back; the exit codes are those of a run of a file."""
    import asyncio

    return asyncio.run(_run(args))


async def _run(args: argparse.Namespace) -> int:
    from ..batch.journal_rows import open_journal

    with journal_named():
        rows = open_journal(args.undone)
    with rows:
        return await _undo(args, rows)


def _check(args: argparse.Namespace) -> None:
    from ..errors import SettingsError

    if not (math.isfinite(args.quarantine) and args.quarantine >= 0):
        raise SettingsError(f"--quarantine is a number of seconds from 0, not {args.quarantine}")


async def _undo(args: argparse.Namespace, rows: JournalRows) -> int:
    from ..errors import JournalMismatch
    from ..settings import read_environment

    if args.url is None and "url" not in read_environment():
        args.url = rows.server
    async with client_of(args) as uc:
        if uc.settings.url != rows.server:
            raise JournalMismatch(f"{rows.path} belongs to the server {rows.server}, not to {uc.settings.url}")
        return await take_back(args, uc, rows, sum(rows.counts().values()))


async def take_back(
    args: argparse.Namespace,
    uc: UContact,
    rows: Undoable,
    total: int,
    opener: Callable[[Path], OpenJournal] | None = None,
) -> int:
    """Have ``uc`` take back what ``rows``, ``total`` of them, say was made; return the exit code.

    ``opener`` says how the undo's own journal is opened where it is not as usual; a dry run has none.
    """
    from ..batch.options import BulkOptions
    from ..batch.report import Rejects
    from ..batch.undo import Undo

    _check(args)
    history = history_of(args)
    journal: Path = args.journal or Path(f"{args.undone}.undo")
    options = BulkOptions(
        **pace_of(args),
        journal=journal,
        dry_run=args.dry_run,
        on_duplicate="allow",
        repeat=True,
        operation="undo",
    )
    undo = Undo(
        rows,
        uc.rules,
        allow_past=args.allow_past,
        tasks=args.tasks,
        quarantine=timedelta(seconds=args.quarantine),
        dry_run=args.dry_run,
    )
    rejects = Rejects(distinct(Path(args.report or f"{args.undone}.undo.rejects.csv"), journal), undo.columns)
    open_journal = None if opener is None or args.dry_run else opener(journal)
    try:
        stream = uc.run(undo, options, planner=undo, open_journal=open_journal)
        report = await follow(stream, total + 1, rejects, undo.note, history)
    finally:
        undo.flush()
    print_report(report, rejects, repeated=True)
    write_page(args, report, history, {"undone": str(args.undone), "server": uc.settings.url})
    _print_undo(undo, args)
    if report.stopped and not args.dry_run:
        say_how_to_resume()
    code = exit_code(report)
    return UNKNOWN if undo.waiting and code < UNKNOWN else code


def _print_undo(undo: Undo, args: argparse.Namespace) -> None:
    for endpoint, count in sorted(undo.counts.items()):
        tell(f"  {count:>7} {translated('to be removed' if args.dry_run else 'removals')}: {endpoint}")
    if undo.waiting:
        tell(
            f"still unknown: {undo.waiting} calls whose answer was lost less than {args.quarantine:g} s ago were "
            "removed, but may only arrive now; run the same command again after that"
        )
    if args.dry_run:
        say("nothing was sent; the same command without --dry-run removes")
