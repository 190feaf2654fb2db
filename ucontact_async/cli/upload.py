"""``upload``: the rows of a file as lists of a dialer, a few thousand a file, one file after another."""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import Blocked, JournalMismatch, SettingsError, Unauthorized
from .bulk import journal_of, rejects_of
from .command import (
    CHECK_LOGIN,
    DONE,
    INCOMPLETE,
    STOPPED,
    UNKNOWN,
    USAGE,
    add_server,
    client_of,
    say,
    say_how_to_resume,
    signals,
    tell,
)
from .language import translated
from .mapping import add_map, mapping_of, plan_of

if TYPE_CHECKING:
    import asyncio

    from ..api.lists import ListFile
    from ..batch.lists import BadRow, Cut
    from ..batch.operations import Plan
    from ..batch.options import BulkOptions
    from ..batch.outcome import Outcome
    from ..batch.report import Report
    from ..batch.sources import CsvSource
    from ..batch.workbook import WorkbookSource
    from ..client import UContact
    from ..list_file import ListRow

__all__ = ["add_parser", "run"]

# Bad rows that are named; with --skip-bad all of them are in the rejects file.
_NAMED = 20


def add_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Register ``upload`` and its arguments."""
    parser = commands.add_parser(
        "upload",
        help="make lists of a dialer of the rows of a file",
        description="Upload the rows of a file as lists of a dialer. 'accepted' means queued: the lists arrive "
        "later and inactive, and somebody activates them in the portal. Columns: destination, alternatives (':' "
        "between numbers; a typed number is kind=retries=number, kinds M W H P U), priority (1 first to 9999), "
        "agentphone, data.NAME.",
    )
    add = parser.add_argument
    add("file", metavar="FILE", type=Path, help="a CSV file or workbook whose first line names the columns")
    add("--campaign", metavar="NAME", required=True, help="the dialer of every row, with its arrow: 'Ventas->'")
    add("--timezone-of-list", metavar="ZONE", help="where the numbers live, if not where the server is; sent as it is")
    add("--rows-per-file", metavar="N", type=int, default=5000, help="rows in a list at most (%(default)s)")
    add("--name", metavar="STEM", help="what the names of the lists begin with (FILE's own name)")
    add_map(parser)
    add("--sheet", metavar="NAME", help="the sheet of a workbook that has several")
    what = "whom not to call (TOML): do-not-call lists, numbers; hours and caps are the dialer's business"
    add("--rules", metavar="FILE", type=Path, help=what)
    add("--skip-bad", action="store_true", help="leave out rows that break a rule; without it they stop everything")
    add("--on-duplicate", choices=("refuse", "allow"), default="refuse", help="a number that is there already is bad")
    add("--dry-run", action="store_true", help="check everything, print the files, send nothing")
    add("--journal", metavar="PATH", type=Path, help="what was sent; the same journal resumes (FILE.journal)")
    add("--no-journal", action="store_true", help="keep no journal: a second run uploads everything again")
    add("--report", metavar="PATH", type=Path, help="with --skip-bad: the rows left out, as CSV (FILE.rejects.csv)")
    add("--retry-refused", action="store_true", help="send again what the server refused before")
    add_server(parser, timezone=False)
    parser.set_defaults(run=run, timezone=None)


def run(args: argparse.Namespace) -> int:
    """Check every row, then upload; nothing is sent while a row is bad, unless ``--skip-bad`` leaves it out."""
    import asyncio

    return asyncio.run(_run(args))


async def _run(args: argparse.Namespace) -> int:
    from ..batch.lists import UPLOAD
    from ..batch.workbook import open_source

    if args.no_journal and (args.journal or args.retry_refused):
        raise SettingsError("--no-journal goes with neither --journal nor --retry-refused")
    source = open_source(args.file, sheet=args.sheet)
    planned = plan_of(args, source.columns, UPLOAD)
    say(source.describe())
    if planned.ignored:
        say(f"columns not used: {', '.join(planned.ignored)}")
    async with client_of(args) as uc:
        if uc.rules.user is None and not args.dry_run:
            raise SettingsError("a list has an uploading user: set UCONTACT_USER or give --user")
        planned.check(source, uc.rules)
        upload = _Upload(args, source, planned, uc)
        if not upload.check():
            return INCOMPLETE
        if args.dry_run:
            return upload.show()
        try:
            return await upload.send()
        except JournalMismatch as error:
            belongs = str(error).partition("; ")[0]  # what follows is what helps other commands
            raise JournalMismatch(
                f"{belongs}: only the same file and options resume; upload new rows in a file of their own"
            ) from None


class _Upload:
    """One run of the command: the rows are read once to check them and once more to send them."""

    def __init__(
        self, args: argparse.Namespace, source: CsvSource | WorkbookSource, planned: Plan[ListRow], uc: UContact
    ) -> None:
        from hashlib import blake2b

        import msgspec

        from ..batch.lists import stem_of
        from ..batch.rules.file import read_rules
        from ..batch.rules.guard import row_check

        self._args = args
        self._source = source
        self._plan = planned
        self._uc = uc
        self._stem: str = args.name or stem_of(args.file.stem)
        self._told: dict[str, str] = {}
        self._became: dict[str, str] = {}
        self._bad = 0
        self._rules = None if args.rules is None else msgspec.structs.replace(read_rules(args.rules), caps=())
        self._forbids = (lambda _: None) if self._rules is None else row_check(self._rules, uc.rules.zone)
        self._left = blake2b(digest_size=16)

    def check(self) -> bool:
        """Look at every row, name the bad ones, and return whether the others may be sent."""
        for made in self._cut(self._name):
            self._told[made.file.name] = f"{made.file.name} ({made.file.rows} rows, lines {made.first} to {made.last})"
        if not self._bad:
            return True
        if self._bad > _NAMED:
            say(f"{self._bad} rows break a rule; the first {_NAMED} are named")
        else:
            say(f"{self._bad} rows break a rule")
        if not self._args.skip_bad:
            say("nothing was sent; mend them, or leave them out with --skip-bad")
        return bool(self._args.skip_bad)

    def _name(self, found: BadRow) -> None:
        self._bad += 1
        # What rules leave out today they may let pass tomorrow: then it is another upload.
        self._left.update(f"{found.row.number} ".encode() if isinstance(found.error, Blocked) else b"")
        if self._bad <= _NAMED:
            row, error = found.row, found.error
            if row.problem or isinstance(error, Blocked):
                say(f"row {row.number}: {error.reason if row.problem else error}")
            else:
                say(f"row {row.number}, column {error.field}: {error.reason}")

    def show(self) -> int:
        """Print what would be sent."""
        for told in self._told.values():
            tell(f"{told}: would be sent")
        say("nothing was sent; the same command without --dry-run sends")
        return INCOMPLETE if self._bad else DONE

    async def send(self) -> int:
        """Send one file after another; the first that is not accepted ends the run."""
        import asyncio

        gate = asyncio.Semaphore(1)
        stream = self._uc.run(self._files(gate), self._options())
        hopeless = False

        def stop() -> None:
            if not stream.stop("interrupted"):
                stream.abort()

        # Only in here: a run that is refused must leave the files of the one that lives alone.
        async with stream:
            self._write_rejects()
            with signals(stop):
                async for outcome in stream:
                    self._tell(outcome)
                    hopeless = hopeless or isinstance(outcome.error, Unauthorized)
                    gate.release()
        return self._sum_up(stream.report, hopeless=hopeless)

    async def _files(self, gate: asyncio.Semaphore) -> AsyncIterator[ListFile]:
        # Built when its turn comes: the lists of a large file are never in memory all at once.
        for made in self._cut(lambda _: None):
            await gate.acquire()
            yield made.file

    def _cut(self, bad: Callable[[BadRow], None]) -> Iterator[Cut]:
        from ..api.lists import ListWriter
        from ..batch.lists import cut

        args = self._args
        writer = ListWriter(
            campaign=args.campaign,
            name=self._stem,
            rows_per_file=args.rows_per_file,
            timezone=args.timezone_of_list,
            on_duplicate=args.on_duplicate,
            rules=self._uc.rules,
        )
        return cut(self._source, self._plan, writer, bad, self._forbids)

    def _options(self) -> BulkOptions:
        from hashlib import blake2b

        from ..batch.options import BulkOptions

        args = self._args
        # All that decides what is in a file and what it is called: changed, every file would be a new one.
        operation = f"upload to {args.campaign} as {self._stem} by {self._uc.rules.user}, {args.rows_per_file} a list"
        operation += f", in {args.timezone_of_list}" if args.timezone_of_list else ""
        rows = f"{self._source.digest} {args.skip_bad} {args.on_duplicate} {sorted(mapping_of(args).items())}"
        rows += self._left.hexdigest() if self._rules is not None else ""
        return BulkOptions(
            journal=None if args.no_journal else journal_of(args),
            max_concurrency=1,
            max_failures=0,
            max_unknown=0,
            on_duplicate="allow",
            retry_refused=args.retry_refused,
            rules=self._rules,
            operation=operation,
            digest=blake2b(rows.encode(), digest_size=16).hexdigest(),
        )

    def _write_rejects(self) -> None:
        from ..batch.outcome import Outcome, Status
        from ..batch.report import Rejects

        if not self._bad:
            return
        args = self._args
        rejects = Rejects(rejects_of(args), self._source.columns)

        def reject(found: BadRow) -> None:
            blocked = isinstance(found.error, Blocked) and f"blocked: {found.error.rule}"
            reason = blocked or ("duplicate" if found.duplicate else "invalid")
            rejects.add(Outcome(index=0, status=Status.SKIPPED, row=found.row, reason=reason, detail=str(found.error)))

        for _ in self._cut(reject):
            pass
        rejects.close()
        say(f"left out: {rejects.path} ({rejects.rows} rows, each with its reason)")

    def _tell(self, outcome: Outcome) -> None:
        if outcome.reason == "stopped":
            return
        if outcome.request is None or outcome.reason == "invalid":  # the same for every file: a user name, a zone
            raise SettingsError(outcome.detail)
        name = getattr(outcome.request, "name", "")
        self._became[name] = _status(outcome)
        became = translated(self._became[name])
        detail = f": {translated(outcome.detail)}" if outcome.detail else ""
        tell(f"{translated(self._told[name])}: {became}{detail}")

    def _sum_up(self, report: Report, *, hopeless: bool) -> int:
        for name, told in self._told.items():
            if name not in self._became:
                tell(f"{told}: not sent")
        count = Counter(self._became.get(name, "not sent") for name in self._told)
        tell(
            f"{len(self._told)} lists: {count['accepted']} accepted, {count['refused']} refused, "
            f"{count['unknown']} unknown, {count['not sent']} not sent in {report.seconds:.1f} s"
        )
        if count["accepted"]:
            tell("accepted means queued: a list arrives later and inactive; activate it in the portal")
        if count["unknown"]:
            tell("unknown: look in the portal whether the list is there; it is never sent again")
        if hopeless and not count["accepted"]:
            say(f"ucontact-async: {CHECK_LOGIN}")
            return USAGE
        if count["not sent"]:
            if not self._args.no_journal:
                say_how_to_resume()
            return STOPPED
        if count["unknown"]:
            return UNKNOWN
        return INCOMPLETE if count["refused"] or self._bad else DONE


def _status(outcome: Outcome) -> str:
    if outcome.status == "unknown":
        return "unknown"
    if outcome.status == "failed":
        return "not sent" if outcome.reason == "NotSent" else "refused"
    return "accepted"
