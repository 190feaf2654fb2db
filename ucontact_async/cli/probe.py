"""``probe``: ask a server what the vendor's page does not say, and write its profile."""

from __future__ import annotations

import argparse
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from .command import DONE, STOPPED, USAGE, add_server, client_of, say, signals, tell
from .language import translated

if TYPE_CHECKING:
    from ..text import Rules

__all__ = ["add_parser"]

_PLAN = """This asks {url} nine questions, with the campaign {campaign} and the number {number}:
- it logs in three times as {user}; whoever else uses that user may have to log in again;
- it sends {burst} reads at once, and holds a connection idle for {idle:g} s;
- it schedules a call in 30 days and removes it again;
{rings}{block}
Take a test campaign and a phone of your own."""
_RINGS = "- it has the dialer make up to four calls to that number, the first in {lead:g} s, {spacing:g} s apart;\n"
_NO_RINGS = "- it makes no call, so that some questions stay open;\n"
_BLOCK = "- it puts the number on the do-not-call list of that campaign, FOR EVER: the API cannot take it off;\n"


def add_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Register the command."""
    parser = commands.add_parser("probe", help="ask a server what the vendor's page does not say; writes its profile")
    add = parser.add_argument
    add("--campaign", metavar="NAME", required=True, help="a test campaign of yours, with its arrow: 'TEST->'")
    add("--number", metavar="N", required=True, help="a phone of yours that may ring")
    add("--yes", action="store_true", help="do not ask before the first request, nor whether the phone rang")
    add("--output", metavar="FILE", type=Path, default=Path("ucontact-profile.toml"), help="the profile (%(default)s)")
    add("--lateness", metavar="SECONDS", type=float, help="how late the server may do what it was sent, if you know it")
    add("--lead", metavar="SECONDS", type=float, default=90.0, help="the first call rings so far ahead (%(default)s)")
    add("--spacing", metavar="SECONDS", type=float, default=60.0, help="between two calls (%(default)s)")
    add("--idle", metavar="SECONDS", type=float, default=20.0, help="watch an idle connection so long (%(default)s)")
    add("--no-ring", action="store_true", help="make no call; some questions then stay open")
    add("--block", action="store_true", help="also put the number on the do-not-call list, from which it cannot come")
    add_server(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Ask; 0 if a profile was written, 2 for usage or without consent, 4 if it was stopped."""
    import asyncio

    return asyncio.run(_run(args))


async def _run(args: argparse.Namespace) -> int:
    import asyncio

    from ..probe.findings import profile_text, write_new
    from ..probe.questions import Probe, ProbeOptions

    client = client_of(args)
    _check(args, client.rules)
    if not _consent(args, client.settings.url, client.settings.user):
        say("nothing was sent")
        return USAGE
    options = ProbeOptions(
        campaign=args.campaign,
        number=args.number,
        lead=args.lead,
        spacing=args.spacing,
        idle=args.idle,
        ring=not args.no_ring,
        block=args.block,
        lateness=args.lateness,
    )
    probe = Probe(client.settings, options, say=say, ask=None if args.yes else _answer)
    task = asyncio.current_task()
    assert task is not None
    try:
        with signals(task.cancel):
            findings = await probe.run()
    except asyncio.CancelledError:
        if probe.clean:
            say("ucontact-async: interrupted; what was scheduled has been removed, and no profile is written")
        else:
            say("ucontact-async: interrupted; not all that was scheduled could be removed, and no profile is written")
        return STOPPED
    write_new(args.output, profile_text(client.settings.url, datetime.now(UTC).date(), findings))
    tell(f"{args.output}: give it as --profile or UCONTACT_PROFILE")
    return DONE


def _check(args: argparse.Namespace, rules: Rules) -> None:
    from ..errors import SettingsError
    from ..text import CAMPAIGN, DIAL_STRING

    CAMPAIGN.encode(args.campaign, "--campaign", rules)
    DIAL_STRING.encode(args.number, "--number", rules)
    if args.output.exists():
        raise SettingsError(f"{args.output} is there already; give another --output, or remove it")
    if not args.output.parent.is_dir():
        raise SettingsError(f"the directory of {args.output} does not exist; create it")
    if not (args.spacing >= 10 and args.lead >= 0 and args.idle >= 0):  # nor what is no number
        raise SettingsError("--spacing is 10 seconds at least, --lead and --idle are 0 or more")


def _consent(args: argparse.Namespace, url: str, user: str | None) -> bool:
    from ..errors import SettingsError
    from ..probe.questions import BURST
    from ..text import mask_phone

    rings = translated(_NO_RINGS) if args.no_ring else translated(_RINGS).format(lead=args.lead, spacing=args.spacing)
    block = translated(_BLOCK) if args.block else ""
    plan = {"url": url, "campaign": args.campaign, "number": mask_phone(args.number), "user": user, "burst": BURST}
    say(translated(_PLAN).format(idle=args.idle, rings=rings, block=block, **plan))
    if args.yes:
        return True
    if not sys.stdin.isatty():
        raise SettingsError("nobody is here to say yes; say it with --yes")
    say("Go on? [y/N]")
    return _said_yes() is True


async def _answer(question: str) -> bool | None:
    # Not in a thread: after Ctrl-C that would wait for a last line all the same.
    import asyncio

    loop = asyncio.get_running_loop()
    readable = asyncio.Event()
    try:
        loop.add_reader(sys.stdin, readable.set)
    except NotImplementedError:  # Windows
        return None
    try:
        say(f"{question} [y/n]")
        await readable.wait()
    finally:
        loop.remove_reader(sys.stdin)
    return _said_yes()


def _said_yes() -> bool | None:
    answer = sys.stdin.readline().strip().lower()
    return {"y": True, "yes": True, "n": False, "no": False}.get(answer)
