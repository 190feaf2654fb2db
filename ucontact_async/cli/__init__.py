"""``ucontact-async``: the front; each command has a file of its own.

Arguments are read before anything heavy is imported, so that ``--help`` answers at once.
"""

from __future__ import annotations

import argparse
import io
import signal
import sys
from collections.abc import Sequence

from . import (
    bulk,
    completion,
    contract,
    demo,
    doctor,
    emulator,
    fleet,
    journal,
    portal_demo,
    probe,
    recordings,
    report,
    status,
    undo,
    unknown,
    upload,
)
from .command import STOPPED, USAGE, fail, say
from .language import LANGUAGES, Parser, chosen, spoken, translated
from .secrets import secret_in

__all__ = ["main"]


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code: 0 done, 1 some rows not, 2 usage, 3 some unknown, 4 stopped early."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        # As on stderr: a name that this terminal cannot show must not end a run whose calls were made.
        sys.stdout.reconfigure(errors="backslashreplace")
    language, argv = chosen(sys.argv[1:] if argv is None else argv)
    with spoken(language):
        if (why := secret_in(argv)) is not None:
            say(f"ucontact-async: {translated(why)}")
            return USAGE
        parser = _parser()
        if not argv:
            parser.print_help(sys.stderr)
            return USAGE
        return _run(parser.parse_args(argv))


def _run(args: argparse.Namespace) -> int:
    # Until a command has its own handlers, the polite signal ends as the key does: at once, with nothing sent.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        code = int(args.run(args))
    except KeyboardInterrupt:
        say("ucontact-async: interrupted")
        return STOPPED
    except BrokenPipeError:
        # Whoever read our output has left; nothing more to say, also not while the interpreter ends.
        sys.stdout = None
        return STOPPED
    except Exception as error:  # noqa: BLE001  raised anew unless it is ours
        return fail(error)
    return code


def _parser() -> argparse.ArgumentParser:
    parser = _front()
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    demo.add_parser(commands)
    bulk.add_parsers(commands)
    undo.add_parser(commands)
    unknown.add_parser(commands)
    journal.add_parser(commands)
    report.add_parser(commands)
    status.add_parser(commands)
    recordings.add_parser(commands)
    upload.add_parser(commands)
    doctor.add_parser(commands)
    probe.add_parser(commands)
    fleet.add_parser(commands)
    emulator.add_parser(commands)
    portal_demo.add_parser(commands)
    contract.add_parser(commands)
    completion.add_parser(commands, _parser)
    return parser


def _front() -> argparse.ArgumentParser:
    from .. import __version__

    parser = Parser(
        prog="ucontact-async",
        description="Push calls through the uContact Telephony API: fast, never twice, none lost.",
        epilog="The server is read from UCONTACT_URL, UCONTACT_USER, UCONTACT_PASSWORD (or UCONTACT_PASSWORD_FILE, "
        "or UCONTACT_TOKEN) and UCONTACT_TIMEZONE. Exit codes: 0 all done; 1 some rows failed or were left out; "
        "2 usage or settings; 3 some outcomes unknown; 4 stopped early, the same command resumes.",
    )
    parser.add_argument("--version", action="version", version=f"ucontact-async {__version__}")
    what = "tell persons everything in English or in Spanish (UCONTACT_LANG)"
    parser.add_argument("--lang", choices=LANGUAGES, help=what)
    return parser
