"""What every command is made of: the arguments that name a server, its client, exit codes, signals, a word to say."""

from __future__ import annotations

import argparse
import contextlib
import shlex
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .language import translated
from .secrets import add_secrets, secrets_of

if TYPE_CHECKING:
    from ..client import UContact

__all__ = [
    "CHECK_LOGIN",
    "DONE",
    "HOME",
    "INCOMPLETE",
    "STOPPED",
    "UNKNOWN",
    "USAGE",
    "add_server",
    "aligned",
    "beside",
    "client_of",
    "distinct",
    "fail",
    "journal_named",
    "say",
    "say_how_to_resume",
    "server_of",
    "signals",
    "tell",
]

DONE, INCOMPLETE, USAGE, UNKNOWN, STOPPED = 0, 1, 2, 3, 4
# Puts the cursor of a terminal home and wipes what was there.
HOME = "\x1b[H\x1b[2J"
CHECK_LOGIN = "check UCONTACT_USER and UCONTACT_PASSWORD, or UCONTACT_TOKEN"


def add_server(parser: argparse.ArgumentParser, *, timezone: bool = True, profile: bool = False) -> None:
    """Add the arguments that name the server; the rest of its settings come from the environment only."""
    add = parser.add_argument
    add("--url", help="the server (UCONTACT_URL)")
    add("--user", help="the API user (UCONTACT_USER); the password is no argument: UCONTACT_PASSWORD")
    if timezone:
        add("--timezone", metavar="NAME", help="the server's time zone (UCONTACT_TIMEZONE)")
    add_secrets(parser)
    if profile:
        add("--profile", metavar="FILE", help="what `probe` found out about the server (UCONTACT_PROFILE)")


def server_of(args: argparse.Namespace) -> dict[str, Any]:
    """Return what options and environment say of the server: the arguments of a client."""
    from ..errors import SettingsError
    from ..settings import read_environment

    found: dict[str, Any] = read_environment()
    given = ("url", "user", "timezone", "records", "backup_records", "profile")
    found |= {name: value for name in given if (value := getattr(args, name, None)) is not None}
    secrets_of(args, found)
    if getattr(args, "dry_run", False):
        # Nothing is sent, so neither a server nor a password is needed to see what would be.
        found.setdefault("url", "https://dry-run.invalid")
        found.setdefault("token", "dry-run")
    if "url" not in found:
        raise SettingsError("the server is not known: set UCONTACT_URL or give --url")
    return found


def beside(file: Path, ending: str, *, without: str = "") -> Path:
    """Return the path beside ``file`` whose name is its own, less ``without`` at its end, and then ``ending``.

    Raises :class:`SettingsError` for what names no file.
    """
    from ..errors import SettingsError

    if not file.name:
        raise SettingsError(f"{file} is not the path of a file")
    return file.with_name(file.name.removesuffix(without) + ending)


def distinct(report: Path, *others: Path) -> Path:
    """Return ``report``; raise :class:`SettingsError` if it is one of the ``others``, which it would end."""
    from ..errors import SettingsError

    if report.resolve() in [other.resolve() for other in others]:
        raise SettingsError(f"{report} is used by this run itself; give --report another name")
    return report


def client_of(args: argparse.Namespace) -> UContact:
    """Return a client of the server that options and environment name."""
    from ..client import UContact

    return UContact(**server_of(args))


def aligned(rows: Sequence[Sequence[str]], *, figures: bool = False) -> str:
    """Return a table of ``rows`` of cells, a line each; ``figures``: all columns but the first end at their right."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    pads = [str.ljust, *[str.rjust if figures else str.ljust] * (len(widths) - 1)]
    lines = ([pad(cell, width) for pad, cell, width in zip(pads, row, widths, strict=True)] for row in rows)
    return "\n".join("  ".join(cells).rstrip() for cells in lines)


def fail(error: Exception) -> int:
    """Tell what ended a command in a sentence, and return its exit code; what is no error of ours goes on."""
    from ..errors import InvalidRequest, JournalBusy, JournalMismatch, SettingsError, UContactError, Unauthorized

    if isinstance(error, OSError) and error.filename is not None:  # a file that the person named
        say(f"ucontact-async: {error.filename} cannot be used: {error.strerror}")
        return USAGE
    if not isinstance(error, UContactError):
        raise error
    hint = f"; {translated(CHECK_LOGIN)}" if isinstance(error, Unauthorized) else ""
    say(f"ucontact-async: {translated(str(error))}{hint}")
    usage = isinstance(error, SettingsError | InvalidRequest | JournalBusy | JournalMismatch | Unauthorized)
    return USAGE if usage else STOPPED


@contextlib.contextmanager
def journal_named() -> Iterator[None]:
    """Make a journal that a person named, and that cannot be used, an error of usage."""
    from ..errors import JournalError, SettingsError

    try:
        yield
    except JournalError as error:
        raise SettingsError(str(error)) from None


@contextlib.contextmanager
def signals(stop: Callable[[], object]) -> Iterator[None]:
    """Have SIGINT and SIGTERM call ``stop`` instead of what they do otherwise."""
    import asyncio

    loop = asyncio.get_running_loop()
    numbers = (signal.SIGINT, signal.SIGTERM)
    with contextlib.suppress(NotImplementedError):  # Windows
        for number in numbers:
            loop.add_signal_handler(number, stop)
    try:
        yield
    finally:
        with contextlib.suppress(NotImplementedError):
            for number in numbers:
                loop.remove_signal_handler(number)


def say(text: str) -> None:
    """Tell the person at the terminal, not the program that reads our output."""
    print(translated(text), file=sys.stderr)


def say_how_to_resume() -> None:
    """Say the command that goes on with what was stopped, as it was typed."""
    # By ``python -m`` the first argument is a file that cannot be run.
    typed = sys.orig_argv if Path(sys.argv[0]).name == "__main__.py" else sys.argv
    say(f"to resume, run the same command again: {shlex.join(typed)}")


def tell(text: str) -> None:
    """Print for a person what a command came to, at once; where nobody reads it, the exit code still tells."""
    try:
        print(translated(text), flush=True)
    except BrokenPipeError:
        sys.stdout = None
