"""``ucontact-async portal-demo``: an emulated agent portal and a form inside it, on two origins, in the foreground.

It knows arguments, some made-up contacts and lines of output; what is served is the emulator's business.
"""

from __future__ import annotations

import argparse
from urllib.parse import quote

from .command import DONE, USAGE, say, tell
from .emulator import event_of_signals

__all__ = ["add_parser", "run"]


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Register ``portal-demo`` and its arguments."""
    parser = subparsers.add_parser("portal-demo", help="run an agent portal with a form inside it, to click through")
    parser.add_argument("--form", metavar="URL", help="the address of a form of your own to embed instead")
    parser.add_argument("--port", type=int, default=0, help="the portal's port; 0 (default) takes a free one")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Serve until SIGTERM or SIGINT; 2 if the port or the address cannot be used."""
    import asyncio

    if args.form is not None and not args.form.startswith(("http://", "https://")):
        say("portal-demo: --form is the address of a page, such as http://localhost:8000/")
        return USAGE
    try:
        asyncio.run(_serve(args.port, args.form))
    except KeyboardInterrupt:
        return DONE
    except (OSError, OverflowError) as error:
        say(f"portal-demo: {error}")
        return USAGE
    return DONE


async def _serve(port: int, form: str | None) -> None:
    from ..emulator import CallRecord, Emulator, PortalForm

    ended = event_of_signals()
    async with Emulator(port=port) as emulator, PortalForm(emulator.url) as ours:
        for number in range(1, 4):
            contact = CallRecord(
                campaign="Ventas->",
                destination=f"09900010{number}",
                alternatives=f"09900010{number}:09900020{number}",
                data=f"id=C-000{number}:name=Ana {number}",
                dialerbase="base1",
                contact=number,
            )
            emulator.state.respool(contact)
        tell(f"open {emulator.url}/_emulator/portal?form={quote(form or ours.url, safe=':/')}")
        tell(f"what it did: {emulator.url}/_emulator/ledger")
        await ended.wait()
