"""``recordings``: the recorded calls of a time, downloaded into a folder; run again, it goes on where it was."""

from __future__ import annotations

import argparse
import sys
import time
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from .command import DONE, INCOMPLETE, STOPPED, add_server, client_of, say_how_to_resume, signals, tell
from .language import translated

if TYPE_CHECKING:
    from ..recordings.report import DownloadReport

__all__ = ["add_parser", "run"]

# Named at the end; the counts are of all.
_NAMED = 20
_EVERY = 0.2
_FILTERS = ("agent", "campaign", "source", "destination", "tag")
_DAYS = {"since": " 00:00:00", "until": " 23:59:59"}


def add_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Register ``recordings`` and its arguments."""
    parser = commands.add_parser("recordings", help="download the recorded calls of a time into a folder")
    add = parser.add_argument
    add("--since", required=True, metavar="WHEN", help="from then on: YYYY-MM-DD [HH:MM[:SS]], the server's local time")
    add("--until", required=True, metavar="WHEN", help="up to then; a day alone is meant whole")
    add("--folder", required=True, metavar="DIR", type=Path, help="where the files go; what is there stays as it is")
    for name in _FILTERS:
        add(f"--{name}", metavar="TEXT", default="", help=f"only calls with this {name}")
    add("--format", choices=("mp3", "gsm", "any"), default="mp3", help="mp3, gsm, or whichever is there (%(default)s)")
    add("--no-convert", action="store_true", help="where only a gsm is there, do not have the server make an mp3 of it")
    add("--send-token", action="store_true", help="show the session's token to the hosts of recordings too")
    add("--max-concurrency", metavar="N", type=int, default=8, help="downloads at once (%(default)s)")
    add_server(parser)
    add("--records", metavar="URL", help="the host of recordings, if it is another (UCONTACT_RECORDS_URL)")
    add("--backup-records", metavar="URL", help="and its backup (UCONTACT_BACKUP_RECORDS_URL)")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Download what is found; 0 if all of it is there, 1 if not, 2 for usage, 4 if it was stopped early."""
    import asyncio

    return asyncio.run(_run(args))


async def _run(args: argparse.Namespace) -> int:
    import asyncio

    from ..errors import UContactError
    from ..recordings.report import DownloadReport

    task = asyncio.current_task()
    assert task is not None
    since, until = _moment(args.since, "since"), _moment(args.until, "until")
    client, seen, started = client_of(args), _Seen(DownloadReport()), time.monotonic()
    stopped = ""
    async with client as uc:
        found = uc.recordings.search(since=since, until=until, **{name: getattr(args, name) for name in _FILTERS})
        try:
            with signals(task.cancel):
                await uc.recordings.download_all(
                    found,
                    args.folder,
                    max_concurrency=args.max_concurrency,
                    format=args.format,
                    convert=not args.no_convert,
                    send_token=args.send_token,
                    progress=seen,
                )
        except asyncio.CancelledError:
            stopped = "interrupted"
        except (UContactError, OSError) as error:
            if not seen.report.recordings:
                raise
            stopped = str(error)
        finally:
            seen.close()
    _print_report(seen.report, time.monotonic() - started, stopped)
    if stopped:
        say_how_to_resume()
        return STOPPED
    return DONE if seen.report.complete else INCOMPLETE


def _moment(text: str, name: str) -> datetime:
    from ..errors import SettingsError
    from ..text import parse_timestamp

    moment = parse_timestamp(text) or parse_timestamp(text.strip() + _DAYS[name])
    if moment is None:
        raise SettingsError(f"--{name} {text}: write YYYY-MM-DD, or YYYY-MM-DD HH:MM[:SS]")
    return moment


class _Seen:
    """The report as it grows, on one line of a terminal; silent where nobody watches."""

    def __init__(self, report: DownloadReport) -> None:
        self.report = report
        self._shown = sys.stderr.isatty()
        self._next = 0.0

    def __call__(self, report: DownloadReport) -> None:
        self.report = report
        now = time.monotonic()
        if self._shown and now >= self._next:
            self._next = now + _EVERY
            self._write(report.summary())

    def close(self) -> None:
        if self._shown:
            self._write("")

    @staticmethod
    def _write(text: str) -> None:
        sys.stderr.write(f"\r\x1b[K{text}")
        sys.stderr.flush()


def _print_report(report: DownloadReport, seconds: float, stopped: str) -> None:
    from ..text import printable

    tell(f"{report.summary()}, {report.bytes:,} bytes in {seconds:.1f} s")
    for problem in report.problems[:_NAMED]:
        tell(f"  {printable(problem.recording.guid) or translated('(no guid)')}: {translated(str(problem.error))}")
    if (more := report.missing + report.failed - _NAMED) > 0:
        tell(f"  and {more} more")
    if stopped:
        tell(f"stopped early: {stopped}")
