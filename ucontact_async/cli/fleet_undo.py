"""``fleet undo``: what a batch is known to have made, or may have made, is removed again, as ``undo`` does it."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from .undo import take_back

if TYPE_CHECKING:
    from pathlib import Path

    from ..batch.journal import Header, Journal, OpenJournal
    from ..client import UContact
    from ..fleet.database import Database
    from ..fleet.lease import Lease

__all__ = ["undo"]


async def undo(args: argparse.Namespace, database: Database, uc: UContact) -> int:
    """Take the calls of the batch ``args.undone`` back; the exit codes are those of a run of a file."""
    from ..fleet.undo import undoing
    from ..fleet.worker import Worker

    async with uc, Worker(uc, database, name="undo").living() as lease, undoing(database, lease, args.undone) as rows:
        return await take_back(args, uc, rows, rows.count(), _opener(lease))


def _opener(lease: Lease) -> Callable[[Path], OpenJournal]:
    """Return what opens the undo's own journal, so that nothing is sent once others may count this process dead."""

    def at(path: Path) -> OpenJournal:
        async def open_journal(header: Header, deliver: Callable[[list[Any]], None]) -> Journal:
            from ..batch.journal import FileJournal

            journal = await FileJournal.open(path, header, deliver=deliver)
            journal.may_leave = lease.valid
            return journal

        return open_journal

    return at
