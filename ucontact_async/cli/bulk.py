"""``schedule``, ``respool``, ``task``, ``remove`` and ``dnc add``: the rows of a file through a bulk operation."""

from __future__ import annotations

import argparse
import shlex
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .command import (
    CHECK_LOGIN,
    DONE,
    INCOMPLETE,
    STOPPED,
    UNKNOWN,
    USAGE,
    add_server,
    beside,
    client_of,
    distinct,
    say,
    say_how_to_resume,
    signals,
    tell,
)
from .language import translated
from .mapping import REJECTS, add_map, plan_of

if TYPE_CHECKING:
    from ..batch.history import History
    from ..batch.operations import Plan
    from ..batch.outcome import Outcome
    from ..batch.report import Rejects, Report
    from ..batch.rules.rules import DialRules
    from ..batch.runner import Bulk
    from ..batch.sources import OneRow
    from ..client import UContact
    from .progress import View

__all__ = [
    "add_pace",
    "add_parsers",
    "add_rules",
    "exit_code",
    "follow",
    "history_of",
    "journal_of",
    "pace_of",
    "print_reasons",
    "print_report",
    "rejects_of",
    "rules_of",
    "run",
    "say_ignored",
    "which_of",
    "write_page",
]

# Unknown rows named at the end; all of them are in the rejects file.
_NAMED = 20
_PROFILE = -1.0


def add_parsers(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Register the commands."""
    schedule = commands.add_parser("schedule", help="have a dialer call each number of a file at a date and time")
    respool = commands.add_parser("respool", help="put the contacts of a file back on a dialer's spool, now")
    task = commands.add_parser("task", help="give a dialer each row of a file as a task")
    remove = commands.add_parser("remove", help="take the numbers of a file off a dialer's spool or schedule")
    dnc = commands.add_parser("dnc", help="the do-not-call list").add_subparsers(required=True, metavar="ACTION")
    dnc_add = dnc.add_parser("add", help="put the numbers of a file, or one number, on the do-not-call list")
    parsers = {"schedule": schedule, "respool": respool, "task": task, "remove": remove, "dnc-add": dnc_add}
    for name, parser in parsers.items():
        number = name == "dnc-add"
        what = "a CSV file or workbook whose first line names the columns" + (", or one number" if number else "")
        parser.add_argument("file", metavar="FILE|NUMBER" if number else "FILE", type=Path, help=what)
        _add_arguments(parser)
        parser.set_defaults(run=run, operation=name)
    for parser in (schedule, task):
        _add_settling(parser)
    for parser in (schedule, respool, task):
        add_rules(parser)
    task.add_argument(
        "--mode",
        required=True,
        choices=("priority", "scheduled", "dialer", "now"),
        help="priority: first in the dialer; scheduled: at calldate; dialer: for an agent; now: at once",
    )


def _add_arguments(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("--campaign", metavar="NAME", help="the campaign of every row, with its arrow: 'Ventas->'")
    add_map(parser)
    add("--sheet", metavar="NAME", help="the sheet of a workbook that has several")
    add("--journal", metavar="PATH", type=Path, help="what was sent; the same journal resumes (FILE.journal)")
    add("--no-journal", action="store_true", help="keep no journal: a second run sends everything again")
    what = "keys: no number and no data of a row; such a run cannot be undone"
    add("--journal-mode", choices=("requests", "keys"), default="requests", help=what)
    add_pace(parser)
    add("--on-duplicate", choices=("refuse", "skip", "allow"), default="refuse", help="the second of two equal rows")
    add("--dry-run", action="store_true", help="check everything, print the requests with numbers hidden, send nothing")
    add("--amended", action="store_true", help="the file was changed since its journal was begun")
    add("--retry-undone", action="store_true", help="send again what `undo` took back")
    add("--allow-past", action="store_true", help="send calls whose calldate has passed; they ring at once")


def _add_settling(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    what = "remove and insert again a scheduled call this long after its answer was lost (no SECONDS: the profile's)"
    add("--settle-after", metavar="SECONDS", type=float, nargs="?", const=_PROFILE, help=what)
    add(
        "--settle-margin", metavar="SECONDS", type=float, default=60.0, help="and only so long before its calldate (60)"
    )


def add_pace(parser: argparse.ArgumentParser) -> None:
    """Add what every run of many requests takes: its report, its pace, when it stops, and the server."""
    add = parser.add_argument
    add("--report", metavar="PATH", type=Path, help="the rows that did not succeed, as CSV (FILE.rejects.csv)")
    add("--html", metavar="PATH", type=Path, help="a page about the run: counts, charts over time, what to look at")
    add("--max-concurrency", metavar="N", default="auto", help="calls on the wire at most (auto)")
    add("--max-per-second", metavar="X", type=float, help="calls started in a second at most")
    add("--max-failures", metavar="N", help="stop after more failures than N, or than N%%")
    add("--max-unknown", metavar="N", type=int, default=20, help="stop after more unknown outcomes than N (20)")
    add("--max-unknown-jump", metavar="X", type=float, default=5.0, help="or once their share is X times as high (5)")
    add("--retry-refused", action="store_true", help="send again what the server refused before")
    add_server(parser, profile=True)


def run(args: argparse.Namespace) -> int:
    """Run one of the commands."""
    import asyncio

    return asyncio.run(_run(args))


async def _run(args: argparse.Namespace) -> int:
    from ..batch.operations import OPERATIONS
    from ..batch.report import Rejects
    from ..batch.workbook import open_source
    from ..errors import SettingsError, Unauthorized

    operation = OPERATIONS[f"task-{args.mode}" if args.operation == "task" else args.operation]
    number = _number(args)
    if number is not None and args.journal is None:
        if args.amended or args.retry_refused:
            raise SettingsError("one number has a journal only where --journal names it: it is always sent")
        args.no_journal = True
    options = _options(args, operation.name)
    source = number or open_source(args.file, sheet=args.sheet)
    planned = plan_of(args, source.columns, operation)
    history = history_of(args)
    say(source.describe())
    rules = rules_of(args, source.columns) if hasattr(args, "rules") else None
    say_ignored(planned, rules)
    async with client_of(args) as uc:
        planned.check(source, uc.rules)
        rejects = Rejects(_report_path(args, number), source.columns)
        stream = uc.run(source, options(source.digest, rules), planner=planned)
        report = await follow(stream, source.last, rejects, _show_request(uc) if args.dry_run else None, history)
    print_report(report, rejects, repeated=operation.repeatable)
    write_page(
        args, report, history, {"operation": operation.name, "input": source.describe(), "server": uc.settings.url}
    )
    for outcome in report.problems if number else ():
        say(f"ucontact-async: {outcome.detail}")
    if report.succeeded == 0 and any(isinstance(outcome.error, Unauthorized) for outcome in report.problems):
        say(f"ucontact-async: {CHECK_LOGIN}")
        return USAGE
    _next_step(args, report, rejects)
    return exit_code(report)


def _number(args: argparse.Namespace) -> OneRow | None:
    """Return the number that was given in the place of a file."""
    from ..batch.sources import OneRow

    text = str(args.file)
    is_number = args.operation == "dnc-add" and not args.file.exists() and set(text) <= set("0123456789*#+-")
    return OneRow("destination", text) if is_number else None


def _options(args: argparse.Namespace, operation: str) -> Any:
    from ..batch.options import BulkOptions
    from ..errors import SettingsError

    if args.no_journal and (args.journal or args.amended or args.retry_refused):
        raise SettingsError("--no-journal goes with neither --journal nor --amended nor --retry-refused")
    if operation == "task-now" and args.max_per_second is None:
        raise SettingsError("--mode now rings at once: say how fast with --max-per-second")
    pace = pace_of(args) | _settling(args) | which_of(args)
    journal = None if args.no_journal else journal_of(args)

    def with_digest(digest: str, rules: DialRules | None = None) -> BulkOptions:
        return BulkOptions(
            **pace,
            journal=journal,
            journal_mode=args.journal_mode,
            dry_run=args.dry_run,
            rules=rules,
            operation=operation,
            digest=digest,
        )

    with_digest("")  # refuses bad options before the file is read
    return with_digest


def say_ignored(planned: Plan[Any], rules: DialRules | None) -> None:
    """Name the columns that nothing reads."""
    used = () if rules is None else rules.columns.values()
    if ignored := [column for column in planned.ignored if column not in used]:
        say(f"columns not used: {', '.join(ignored)}")


def add_rules(parser: argparse.ArgumentParser) -> None:
    """Add ``--rules``."""
    what = "when, whom and how often to call: windows, do-not-call lists, caps, numbers (TOML)"
    parser.add_argument("--rules", metavar="FILE", type=Path, help=what)


def rules_of(args: argparse.Namespace, columns: Sequence[str]) -> DialRules | None:
    """Return the rules of ``--rules``; without it, those of the limits that the rows themselves bring along."""
    import msgspec

    from ..batch.rules.file import read_rules
    from ..batch.rules.rules import LIMITS
    from ..errors import SettingsError

    rules = LIMITS if args.rules is None else read_rules(args.rules)
    there = {column.casefold(): column for column in columns}
    found = {name: there[wanted.casefold()] for name, wanted in rules.columns.items() if wanted.casefold() in there}
    for name, wanted in rules.columns.items():
        if name not in found and wanted != name:  # by their own names limits may be absent
            raise SettingsError(f"{args.rules} names the column {wanted!r}, and the file has {', '.join(columns)}")
    return msgspec.structs.replace(rules, **found) if found or args.rules is not None else None


def _settling(args: argparse.Namespace) -> dict[str, Any]:
    from ..batch.settle import ReplaceSchedule

    seconds = getattr(args, "settle_after", None)
    if seconds is None:
        return {}
    quarantine = None if seconds == _PROFILE else seconds
    return {"on_unknown": ReplaceSchedule(quarantine=quarantine, margin=args.settle_margin)}


def pace_of(args: argparse.Namespace) -> dict[str, Any]:
    """Return the options of a run that :func:`add_pace` adds."""
    from ..errors import SettingsError

    concurrency = args.max_concurrency
    if concurrency != "auto":
        if _count(concurrency) in (None, 0):
            raise SettingsError(f"--max-concurrency is auto or a whole number from 1, not {concurrency!r}")
        concurrency = _count(concurrency)
    return {
        "max_concurrency": concurrency,
        "max_per_second": args.max_per_second,
        "max_failures": args.max_failures if (count := _count(args.max_failures)) is None else count,
        "max_unknown": args.max_unknown,
        "max_unknown_jump": args.max_unknown_jump,
        "retry_refused": args.retry_refused,
    }


def which_of(args: argparse.Namespace) -> dict[str, Any]:
    """Return the options that say which rows of a file are sent, as ``load`` of a fleet has them too."""
    return {name: getattr(args, name) for name in ("on_duplicate", "amended", "retry_undone", "allow_past")}


def _count(text: str | None) -> int | None:
    # More digits than anybody has rows, and than Python converts.
    return int(text) if text is not None and text.isdecimal() and len(text) <= 18 else None


def history_of(args: argparse.Namespace) -> History | None:
    """Return what takes down how the run goes, where ``--html`` asks for a page that can be written."""
    if args.html is None:
        return None
    from ..batch.history import History
    from .report_page import check_page

    check_page(args.html)
    return History()


def write_page(args: argparse.Namespace, report: Report, history: History | None, facts: dict[str, str]) -> None:
    """Write the page that :func:`history_of` was asked for."""
    if history is None:
        return
    from .report_page import write_page as write

    write(args.html, report, history, facts)
    tell(f"page: {args.html}")


def _report_path(args: argparse.Namespace, number: OneRow | None) -> Path | None:
    if number is not None:  # a file must not be called after it
        return args.report if args.report is None else Path(args.report)
    return rejects_of(args)


def rejects_of(args: argparse.Namespace) -> Path:
    """Return where the rows that did not succeed go: ``--report``, or beside the file."""
    journal = [journal_of(args)] if "journal" in args else []
    return distinct(Path(args.report or beside(args.file, REJECTS)), args.file, *journal)


def journal_of(args: argparse.Namespace) -> Path:
    """Return where what was sent is kept: ``--journal``, or beside the file."""
    return Path(args.journal or beside(args.file, ".journal"))


async def follow(
    stream: Bulk,
    total: int,
    rejects: Rejects,
    show: Callable[[Outcome], None] | None = None,
    history: History | None = None,
) -> Report:
    """Run ``stream`` to its end; SIGINT and SIGTERM stop it cleanly, a second one at once.

    ``total`` is the last line of the input, ``show`` sees every outcome, ``history`` takes them and is sampled.
    """
    import asyncio

    from .progress import view_of

    view = view_of(total)

    def stop() -> None:
        if not stream.stop("interrupted"):
            stream.abort()

    # Closed in here: a run that is refused must leave the files of the one that lives alone.
    async with stream:
        ticking = asyncio.create_task(_tick(stream, view, history))
        try:
            with signals(stop):
                async for outcome in stream:
                    if stream.report.wants(outcome):
                        rejects.add(outcome)
                    view.note(outcome)
                    if history is not None:
                        history.note(outcome, stream.stats.in_flight)
                    if show is not None:
                        show(outcome)
        finally:
            ticking.cancel()
            view.close()
            rejects.close()
    if history is not None:
        history.sample(stream.report.seconds, stream.report, stream.stats)
    return stream.report


async def _tick(stream: Bulk, view: View, history: History | None) -> None:
    from ..events import Progress
    from .progress import EVERY

    async for event in stream.events(every=EVERY):
        if isinstance(event, Progress):
            view.show(event)
            if history is not None:
                history.sample(event.seconds, stream.report, stream.stats)


def _show_request(uc: UContact) -> Any:
    def show(outcome: Outcome) -> None:
        if outcome.reason == "dry run" and outcome.request is not None:
            path, body = uc.preview(outcome.request)
            print(f"{outcome.position}: POST {path} {body}")

    return show


def print_report(report: Report, rejects: Rejects, *, repeated: bool = False) -> None:
    """Print the counts, why rows did not succeed, and which outcomes are unknown.

    ``repeated`` says of an operation that the same command sends unknown rows again.
    """
    tell(f"{report.summary()} in {report.seconds:.1f} s")
    print_reasons(report)
    if report.settled:
        tell(f"settled: {report.settled} of the succeeded had been unknown; they were removed and inserted again")
    unknown = sorted((o for o in report.problems if o.status == "unknown"), key=lambda outcome: outcome.index)
    if unknown:
        named = ", ".join(outcome.position for outcome in unknown[:_NAMED]) + (" ..." if len(unknown) > _NAMED else "")
        what = "the same command sends these again" if repeated else "these may ring, and are never sent again"
        tell(f"unknown: {named}; {what}")
    if rejects.rows:
        tell(f"not done: {rejects.path} ({rejects.rows} rows, each with its reason)")
    if report.stopped:
        tell(f"stopped early: {report.stopped}")


def print_reasons(report: Report) -> None:
    """Print how many rows did not succeed, by why."""
    for (status, reason), count in sorted(report.reasons.items()):
        tell(f"  {count:>7} {translated(status)}: {translated(reason)}")


def _next_step(args: argparse.Namespace, report: Report, rejects: Rejects) -> None:
    if report.unknown and not args.no_journal and not args.dry_run:
        say(f"where to look, and how to settle them: ucontact-async unknown {shlex.quote(str(journal_of(args)))}")
    if args.dry_run:
        say("nothing was sent; the same command without --dry-run sends")
    elif report.stopped and not args.no_journal:
        say_how_to_resume()
    elif ("skipped", "undone") in report.reasons:
        say("what an undo took back is sent again with --retry-undone; let ten minutes pass after the undo")
    elif rejects.rows and not args.no_journal:
        say(
            f"next: mend {shlex.quote(str(rejects.path))}, then run this command with it and "
            f"--journal {shlex.quote(str(journal_of(args)))} --amended: what is known there is not sent again"
        )


def exit_code(report: Report) -> int:
    """Return the exit code of a run; the highest that applies."""
    if report.stopped:
        return STOPPED
    if report.unknown:
        return UNKNOWN
    return DONE if report.complete else INCOMPLETE
