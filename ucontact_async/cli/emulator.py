"""``ucontact-async emulator``: a uContact server to try things on, in the foreground until it is told to end.

It knows arguments, signals and one line of output; what is served is the emulator's business.
"""

from __future__ import annotations

import argparse
import shlex
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from .command import USAGE, say

if TYPE_CHECKING:
    import asyncio

    from ..emulator import Emulator

__all__ = ["add_parser", "event_of_signals", "run"]


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Register ``emulator`` and its arguments."""
    parser = subparsers.add_parser("emulator", help="run a local uContact server to test against")
    parser.add_argument("--host", default="127.0.0.1", help="the address to listen on (%(default)s)")
    parser.add_argument("--port", type=int, default=0, help="the port to listen on; 0 (default) takes a free one")
    parser.add_argument("--user", default="api", help="the only user (%(default)s)")
    parser.add_argument("--password", default="secret", help="the user's password (%(default)s)")
    parser.add_argument("--faults", type=Path, metavar="FILE", help="a JSON file with the faults to start with")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Serve until SIGTERM or SIGINT; 2 if the port or the fault file cannot be used."""
    import asyncio

    from ..emulator import Emulator, Faults
    from ..errors import SettingsError

    try:
        faults = None if args.faults is None else Faults.read(args.faults.read_bytes())
        emulator = Emulator(host=args.host, port=args.port, user=args.user, password=args.password, faults=faults)
        asyncio.run(_serve(emulator, args.user, args.password))
    except KeyboardInterrupt:
        return 0
    except (SettingsError, OSError, OverflowError) as error:
        say(f"emulator: {error}")
        return USAGE
    return 0


async def _serve(emulator: Emulator, user: str, password: str) -> None:
    ended = event_of_signals()
    async with emulator:
        print(f"listening on {emulator.url}", flush=True)
        if sys.stderr.isatty():  # a person, who is helped on; programs read the one line
            say(f"what happens on it is shown in a browser: {emulator.url}/")
            say("in another terminal, before the commands that are to use it:")
            say(f"  export UCONTACT_URL={emulator.url} UCONTACT_TIMEZONE=America/Montevideo")
            say(f"  export UCONTACT_USER={shlex.quote(user)} UCONTACT_PASSWORD={shlex.quote(password)}")
        await ended.wait()


def event_of_signals() -> asyncio.Event:
    """Return an event that the first SIGTERM or SIGINT sets, from now on."""
    import asyncio

    ended = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        try:
            loop.add_signal_handler(number, ended.set)
        except NotImplementedError:  # Windows
            signal.signal(number, lambda *_: loop.call_soon_threadsafe(ended.set))
    return ended
