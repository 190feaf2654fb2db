"""``unknown``: the rows of a journal of which nobody knows whether they happened, and where to look; settles them."""

from __future__ import annotations

import argparse
import csv
import os
import shlex
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .command import DONE, UNKNOWN, aligned, journal_named, say, tell
from .language import translated

if TYPE_CHECKING:
    from ..batch.journal_rows import JournalRow

__all__ = ["add_answers", "add_parser", "answers_of", "list_unknown", "run"]

_ANSWERS = ("succeeded", "failed")
_COLUMNS: tuple[str, ...] = (
    "key",
    "status",
    "row",
    "operation",
    "campaign",
    "destination",
    "calldate",
    "since",
    "reason",
    "check",
)
_HEADINGS = ("KEY", "ROW", "OPERATION", "CAMPAIGN", "DESTINATION", "CALLDATE", "SINCE (UTC)", "REASON")


def add_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Register ``unknown`` and its arguments."""
    parser = commands.add_parser(
        "unknown", help="list the unknown rows of a journal and where to look, and settle them"
    )
    parser.add_argument("journal", metavar="JOURNAL", type=Path, help="the journal of a run that has ended")
    add_answers(parser)
    parser.set_defaults(run=run)


def add_answers(parser: argparse.ArgumentParser) -> None:
    """Add what says how the rows are listed and settled."""
    add = parser.add_argument
    add("--show", action="store_true", help="show telephone numbers whole")
    add("--csv", metavar="PATH", type=Path, help="write the list to a new file, with an empty column status to fill in")
    add(
        "--set", metavar="KEY=STATUS", action="append", default=[], help="settle a row: succeeded or failed; repeatable"
    )
    add(
        "--from",
        metavar="FILE",
        type=Path,
        dest="answers",
        help="settle the rows of a CSV with the columns key, status",
    )


def run(args: argparse.Namespace) -> int:
    """Settle what is answered and list the rest; 0 if nothing is unknown any more, 3 if something is, 2 for usage."""
    from ..batch.journal_rows import open_journal

    answers = answers_of(args)
    with journal_named(), open_journal(args.journal) as journal:
        if answers:
            journal.resolve_all(answers)
            say(f"{len(answers)} rows settled; the next run of the same input goes by it")
        return list_unknown(args, journal.unknown())


def list_unknown(args: argparse.Namespace, rows: Iterable[JournalRow]) -> int:
    """Print the unknown ``rows``, or write them where ``args`` say; return the exit code."""
    count = _write(args.csv, rows, show=args.show) if args.csv else _print(rows, show=args.show)
    return UNKNOWN if count else DONE


def answers_of(args: argparse.Namespace) -> dict[str, Any]:
    """Return what the options say of rows, by their keys; raise :class:`SettingsError` for what makes no sense."""
    from ..errors import SettingsError

    given = []
    for pair in args.set:
        key, equals, status = pair.partition("=")
        if not equals:
            raise SettingsError(f"--set {pair}: write --set KEY=succeeded or --set KEY=failed")
        given.append(("--set", key, status))
    if args.answers is not None:
        given += _from_file(args.answers)
    answers: dict[str, Any] = {}
    for where, name, word in given:
        key, status = name.strip(), word.strip().lower()
        if status not in _ANSWERS:
            raise SettingsError(f"{where}: the status of {key} is succeeded or failed, not {status!r}")
        if answers.setdefault(key, status) != status:
            raise SettingsError(f"{where}: {key} is both succeeded and failed")
    return answers


def _from_file(path: Path) -> Iterable[tuple[str, str, str]]:
    from ..batch.sources import CsvSource
    from ..errors import SettingsError

    source = CsvSource(path)
    missing = {"key", "status"} - set(source.columns)
    if missing:
        raise SettingsError(f"{path} has no column {', '.join(sorted(missing))}")
    for row in source:
        if row.problem is not None:
            raise SettingsError(f"{path}, line {row.number}: {row.problem}")
        if row.fields["status"].strip():
            yield f"{path}, line {row.number}", row.fields["key"], row.fields["status"]


def _print(rows: Iterable[JournalRow], *, show: bool) -> int:
    from ..batch.remedies import remedy_of

    lines: list[tuple[str, ...]] = [_HEADINGS]
    looks: dict[str, str] = {}
    for row in rows:
        cells = _cells(row, show=show)
        lines.append(tuple(cells[name] for name in ("key", *_COLUMNS[2:-1])))
        looks[cells["operation"]] = remedy_of(row.endpoint).look
    if len(lines) == 1:
        tell("no row is unknown")
        return 0
    print(aligned(lines))
    for operation, look in looks.items():
        tell(f"{operation or translated('rows of an earlier version')}: {translated(look)}")
    say("settle them with --set KEY=succeeded or --set KEY=failed, or fill in a --csv file and give it as --from")
    return len(lines) - 1


def _write(path: Path, rows: Iterable[JournalRow], *, show: bool) -> int:
    from ..batch.remedies import remedy_of

    descriptor = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8-sig", newline="") as file:
        writer = csv.DictWriter(file, _COLUMNS, delimiter=";")
        writer.writeheader()
        count = 0
        for row in rows:
            writer.writerow(_cells(row, show=show) | {"status": "", "check": remedy_of(row.endpoint).look})
            count += 1
    named = shlex.quote(str(path))
    say(f"{path}: {count} unknown rows; fill in the column status, then run this command with --from {named}")
    return count


def _cells(row: JournalRow, *, show: bool) -> dict[str, str]:
    from ..text import mask_phone, printable

    request = row.request
    number = str(getattr(request, "destination", getattr(request, "phone", "")))
    moment = getattr(request, "calldate", None)
    return {
        "key": row.key,
        "row": str(row.position),
        "operation": row.endpoint,
        "campaign": printable(str(getattr(request, "campaign", "")), 80),
        "destination": number if show or not number else mask_phone(number),
        "calldate": "" if moment is None else moment.isoformat(" "),
        "since": "" if row.at is None else f"{row.at:%Y-%m-%d %H:%M:%S}",
        "reason": row.reason,
    }
