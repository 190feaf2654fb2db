"""``ucontact-async status``: what every campaign is doing, as a table; once, or again and again.

It knows columns and a terminal; when to read again is the watch's business.
"""

from __future__ import annotations

import argparse
import contextlib
import sys
from collections.abc import Mapping
from datetime import datetime
from typing import TYPE_CHECKING

from .command import DONE, HOME, add_server, aligned, client_of, tell

if TYPE_CHECKING:
    from ..api.campaigns import CampaignStatus, OtherStatus
    from ..api.watch import Snapshot
    from ..client import UContact

__all__ = ["add_parser", "run", "table"]

_HEADINGS = [
    *("CAMPAIGN", "AGENTS", "LOGGED", "AVAILABLE", "BUSY", "PAUSED", "WAITING"),
    *("COMPLETED", "ABANDONED", "TOTAL", "TALK", "HOLD", "SERVICE"),
]


def add_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Register ``status`` and its arguments."""
    parser = commands.add_parser("status", help="show what every campaign is doing now")
    parser.add_argument("--watch", action="store_true", help="show it again and again, until Ctrl-C")
    parser.add_argument("--every", type=float, default=5.0, metavar="SECONDS", help="how often (%(default)s)")
    add_server(parser, timezone=False)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Print the table; 2 for settings or a refused login, 4 if the server cannot be read."""
    import asyncio

    with contextlib.suppress(KeyboardInterrupt) if args.watch else contextlib.nullcontext():
        asyncio.run(_run(args))
    return DONE


async def _run(args: argparse.Namespace) -> None:
    async with client_of(args) as uc:
        if args.watch:
            await _watch(uc, args.every)
        else:
            print(table(await uc.campaigns.status()), flush=True)


async def _watch(uc: UContact, every: float) -> None:
    from ..errors import Unauthorized

    async with contextlib.aclosing(uc.campaigns.watch_status(every=every)) as watch:
        async for snapshot in watch:
            if isinstance(snapshot.error, Unauthorized) and snapshot.at is None:
                raise snapshot.error
            _show(snapshot)


def _show(snapshot: Snapshot[dict[str, CampaignStatus | OtherStatus]]) -> None:
    if sys.stdout.isatty():
        sys.stdout.write(HOME)
    now = datetime.now().astimezone()
    if snapshot.error is None:
        print(f"{now:%Y-%m-%d %H:%M:%S}")
    elif snapshot.at is None:
        tell(f"{now:%Y-%m-%d %H:%M:%S}  no answer yet: {snapshot.error}")
    else:
        tell(f"{now:%Y-%m-%d %H:%M:%S}  STALE, {snapshot.age:.0f} s old: {snapshot.error}")
    if snapshot.at is not None:
        print(table(snapshot.data))
    sys.stdout.flush()


def table(found: Mapping[str, CampaignStatus | OtherStatus]) -> str:
    """Return headings, one line a campaign, and a word on objects that are none."""
    from ..api.campaigns import CampaignStatus

    campaigns = [status for status in found.values() if isinstance(status, CampaignStatus)]
    rows = [_HEADINGS, *(_row(status) for status in sorted(campaigns, key=lambda status: status.campaign))]
    lines = aligned(rows, figures=True)
    others = len(found) - len(campaigns)
    return f"{lines}\n({others} more that cannot be read as a campaign)" if others else lines


def _row(status: CampaignStatus) -> list[str]:
    from ..text import printable

    counts = (
        status.total_agents,
        status.logged,
        status.available,
        status.busy,
        status.paused,
        status.waiting,
        status.completed,
        status.abandoned,
        status.total_calls,
    )
    averages = (average and str(average).partition("-")[0] for average in (status.talked, status.hold))
    level = None if status.service_level is None else f"{status.service_level:.1f}%"
    shown = ["-" if figure is None else str(figure) for figure in (*counts, *averages, level)]
    return [printable(status.campaign, 80), *shown]
