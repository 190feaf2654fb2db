"""The calls that a journal says were made or may have been: read beside a run that holds it, and never written.

What a call counts for is not known here.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from ..api import ENDPOINTS
from ..endpoint import Request
from ..errors import JournalError
from .journal_file import DAMAGE, NOT_KEPT
from .journal_requests import read_request

__all__ = ["calls_since", "sqlite_version"]

_SELECT = (
    "SELECT endpoint, request, at FROM rows LEFT JOIN requests USING (id) WHERE status IN ('sent', 'succeeded', "
    "'unknown') AND (request IS NULL OR at >= ? OR json_extract(request, '$.calldate') >= ?)"
)


def calls_since(path: Path, since: datetime) -> Iterator[tuple[Request[Any], datetime]]:
    """Yield every request that was sent, or has a ``calldate``, after ``since``, and when its outcome was written.

    Unknown rows are among them. Raises :class:`JournalError` where there is no journal, or one that does not say it.
    """
    if not path.is_file():
        raise JournalError(f"there is no journal {path}, whose calls are to be counted")
    # A calldate is local time without its zone; a day is more than any zone is off.
    local = f"{since.astimezone(UTC) - timedelta(days=1):%Y-%m-%d %H:%M:%S}"
    try:
        with closing(sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro", uri=True)) as db:
            for endpoint, document, at in db.execute(_SELECT, (int(since.timestamp()), local)):
                yield _request(path, endpoint, document), datetime.fromtimestamp(at, UTC)
    except DAMAGE as error:
        raise JournalError(f"the calls of {path} cannot be counted: {error}") from None


def sqlite_version() -> str:
    """Return the version of the SQLite at hand; raise :class:`JournalError` if it cannot keep a journal."""
    try:
        with closing(sqlite3.connect(":memory:")) as db:
            db.execute("SELECT json_extract('{}', '$')")
    except sqlite3.Error as error:
        raise JournalError(f"SQLite {sqlite3.sqlite_version} cannot keep a journal: {error}") from None
    return sqlite3.sqlite_version


def _request(path: Path, endpoint: str | None, document: str | None) -> Request[Any]:
    if not document or endpoint not in ENDPOINTS:
        raise JournalError(
            f"{path} holds calls that do not say whom they rang: an older version began it; give a new journal"
        )
    if document == NOT_KEPT:
        raise JournalError(f"{path} does not keep whom its calls rang (keys only, or purged): they cannot be counted")
    return read_request(path, endpoint, document)
